//! The contract as one list of named promises, run by the same code against every backend.
//!
//! `uring` and `portable` force their backend; `refused` has the kernel refuse io_uring (as container run-times do)
//! and lets the scheduler choose. `CORELLA_BACKEND` narrows the run to one of the three. A test that does not end
//! fails by itself.

mod setup;

mod bounds;
mod callbacks;
mod cancel;
mod close;
mod errors;
mod fairness;
mod files;
mod memory;
mod network;
mod once;
mod order;
mod random;
mod tasks;
mod writes;

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};

use setup::{Setup, Variant};

/// One promise of the contract.
pub struct Promise {
    /// The promise itself, as words.
    pub name: &'static str,
    pub test: fn(&Setup),
}

/// Lists functions as promises under their own names.
#[macro_export]
macro_rules! promises {
    ($($test:ident),* $(,)?) => {
        pub const PROMISES: &[$crate::Promise] =
            &[$($crate::Promise { name: stringify!($test), test: $test }),*];
    };
}

/// Every point of the contract, with its promises.
const POINTS: &[(&str, &[Promise])] = &[
    ("once", once::PROMISES),
    ("order", order::PROMISES),
    ("close", close::PROMISES),
    ("writes", writes::PROMISES),
    ("cancel", cancel::PROMISES),
    ("memory", memory::PROMISES),
    ("callbacks", callbacks::PROMISES),
    ("bounds", bounds::PROMISES),
    ("fairness", fairness::PROMISES),
    ("errors", errors::PROMISES),
    ("files", files::PROMISES),
    ("network", network::PROMISES),
    ("tasks", tasks::PROMISES),
    ("random", random::PROMISES),
];

/// Longer than any promise takes; what is not done by then hangs.
const TIME_LIMIT: Duration = Duration::from_secs(60);

fn run(point: &'static str, promise: &'static Promise, variant: Variant) -> Result<(), Failed> {
    let (sender, receiver) = mpsc::channel();
    let name = format!("{}-{point}-{}", variant.name(), promise.name);
    let thread = thread::Builder::new().name(name.clone()).spawn(move || {
        // A thread of its own, as a refusal by the kernel lasts as long as the thread.
        let setup = Setup::new(variant, &name);
        (promise.test)(&setup);
        let _ = sender.send(());
    })?;
    match receiver.recv_timeout(TIME_LIMIT) {
        Err(mpsc::RecvTimeoutError::Timeout) => Err(format!("still running after {TIME_LIMIT:?}").into()),
        _ => thread.join().map_err(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            Failed::from(text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("panicked").to_string())
        }),
    }
}

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for variant in Variant::wanted() {
        let is_missing = variant.is_missing();
        for (point, promises) in POINTS {
            for promise in *promises {
                let name = format!("{}::{point}::{}", variant.name(), promise.name);
                let trial = Trial::test(name, move || run(point, promise, variant));
                trials.push(trial.with_ignored_flag(is_missing));
            }
        }
    }
    libtest_mimic::run(&arguments, trials).exit();
}
