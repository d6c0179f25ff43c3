//! Runs named promises on every backend, each in a thread of its own with a limit of time.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};

use crate::setup::{Setup, Variant};

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

/// A point of the contract, with its promises.
pub type Point = (&'static str, &'static [Promise]);

fn run(point: &'static str, promise: &'static Promise, variant: Variant, time_limit: Duration) -> Result<(), Failed> {
    let (sender, receiver) = mpsc::channel();
    let name = format!("{}-{point}-{}", variant.name(), promise.name);
    let thread = thread::Builder::new().name(name.clone()).spawn(move || {
        // A thread of its own, as a refusal by the kernel lasts as long as the thread.
        let setup = Setup::new(variant, &name);
        (promise.test)(&setup);
        let _ = sender.send(());
    })?;
    match receiver.recv_timeout(time_limit) {
        Err(mpsc::RecvTimeoutError::Timeout) => Err(format!("still running after {time_limit:?}").into()),
        _ => thread.join().map_err(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            Failed::from(text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("panicked").to_string())
        }),
    }
}

/// Runs what the arguments ask for. What is not done after `time_limit` hangs.
pub fn run_all(points: &'static [Point], time_limit: Duration) -> ! {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for variant in Variant::wanted() {
        let is_missing = variant.is_missing();
        for (point, promises) in points {
            for promise in *promises {
                let name = format!("{}::{point}::{}", variant.name(), promise.name);
                let trial = Trial::test(name, move || run(point, promise, variant, time_limit));
                trials.push(trial.with_ignored_flag(is_missing));
            }
        }
    }
    libtest_mimic::run(&arguments, trials).exit()
}
