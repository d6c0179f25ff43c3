//! Runs named promises on every backend, each in a thread of its own with a limit of time.

#[path = "lacks.rs"]
mod lacks;

use std::cell::RefCell;
use std::panic::{self, PanicHookInfo};
use std::sync::{RwLock, mpsc};
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

/// Lists functions as promises under their own names. One that only some systems can keep has the attribute of its
/// function.
#[macro_export]
macro_rules! promises {
    ($($(#[$attribute:meta])* $test:ident),* $(,)?) => {
        pub const PROMISES: &[$crate::Promise] =
            &[$($(#[$attribute])* $crate::Promise { name: stringify!($test), test: $test }),*];
    };
}

/// A point of the contract, with its promises.
pub type Point = (&'static str, &'static [Promise]);

thread_local! {
    /// What this thread has said in panics, while a promise runs on it.
    static PANICS: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps the panics of a promise's thread for its report, as promises about panics are to pass in silence.
pub fn keep_panics() {
    let tell = panic::take_hook();
    panic::set_hook(Box::new(move |panic: &PanicHookInfo| {
        let is_kept = PANICS
            .with_borrow_mut(|panics| panics.as_mut().map(|panics| panics.push_str(&format!("{panic}\n"))).is_some());
        if !is_kept {
            tell(panic);
        }
    }));
}

/// A child that is being started has a copy of every descriptor until its program runs, and what another promise closes
/// meanwhile is not closed yet. So those that start children have the process for themselves.
static CHILDREN: RwLock<()> = RwLock::new(());

/// Runs one promise on one backend, in a thread of its own.
pub fn run(name: String, promise: &'static Promise, variant: Variant, time_limit: Duration) -> Result<(), Failed> {
    let (sender, receiver) = mpsc::channel();
    let thread = thread::Builder::new().name(name.clone()).spawn(move || {
        // Whoever panicked with it has let go of it.
        let starts_children = ["::children::", "::others::"].iter().any(|point| name.contains(point));
        let _alone = starts_children.then(|| CHILDREN.write().unwrap_or_else(|poisoned| poisoned.into_inner()));
        let _beside = (!starts_children).then(|| CHILDREN.read().unwrap_or_else(|poisoned| poisoned.into_inner()));
        PANICS.set(Some(String::new()));
        let result = panic::catch_unwind(|| {
            // A thread of its own, as a refusal by the kernel lasts as long as the thread.
            let setup = Setup::new(variant, &name);
            (promise.test)(&setup);
        });
        let _ = sender.send(result.map_err(|_| PANICS.take().unwrap_or_default()));
    })?;
    let Ok(result) = receiver.recv_timeout(time_limit) else {
        return Err(format!("still running after {time_limit:?}").into());
    };
    thread.join().map_err(|_| "panicked at its end")?;
    result.map_err(Failed::from)
}

/// With `CORELLA_FAIL_FAST` the first failure ends the whole run, as is wanted where any failure is as good as another.
fn end_at_failure(result: Result<(), Failed>) -> Result<(), Failed> {
    if let Err(failed) = &result
        && std::env::var_os("CORELLA_FAIL_FAST").is_some()
    {
        println!("{}", failed.message().unwrap_or("failed"));
        std::process::exit(101);
    }
    result
}

/// Runs what the arguments ask for. What is not done after `time_limit` hangs.
pub fn run_all(points: &'static [Point], time_limit: Duration) -> ! {
    let arguments = Arguments::from_args();
    keep_panics();
    let mut trials = Vec::new();
    for variant in Variant::wanted() {
        let is_missing = variant.is_missing();
        for (point, promises) in points {
            for promise in *promises {
                let name = format!("{}::{point}::{}", variant.name(), promise.name);
                let lacks = lacks::has_lack(&format!("{point}::{}", promise.name));
                let trial = Trial::test(name.clone(), move || end_at_failure(run(name, promise, variant, time_limit)));
                trials.push(trial.with_ignored_flag(is_missing || lacks));
            }
        }
    }
    libtest_mimic::run(&arguments, trials).exit()
}
