//! What tests under `--cfg corella_shuttle` stand on, here and in the crates on top of this one: threads whose orders are
//! tried one after the other, and the door of a scheduler that sleeps as one does.
//!
//! Whoever waits here waits for the flag of a wake alone, and the scheduler underneath ends a run in which nobody gets on:
//! a wake that is lost is found.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ::shuttle::scheduler::{PctScheduler, RandomScheduler};
use ::shuttle::{Config, FailurePersistence, MaxSteps, Runner};

pub use ::shuttle::{sync, thread};

use crate::backend::{Wakeup, fork};
use crate::scheduler::remote::{Arrived, Inbox, Remote};

/// Orders that are tried of each kind.
const ORDERS: usize = 20_000;

/// Runs a program under many orders of its threads: random ones, and those with few changes between them.
pub fn in_any_order(program: impl Fn() + Send + Sync + 'static) {
    fork::watch();
    let program = Arc::new(program);
    let mut config = Config::new();
    config.max_steps = MaxSteps::FailAfter(20_000);
    config.failure_persistence = FailurePersistence::Print;
    let run = Arc::clone(&program);
    Runner::new(RandomScheduler::new(ORDERS), config.clone()).run(move || run());
    Runner::new(PctScheduler::new(3, ORDERS), config).run(move || program());
}

std::thread_local! {
    // Of the thread that all threads of a program tried here run on.
    static PLANTED: Cell<Option<&'static str>> = const { Cell::new(None) };
}

/// Whether this fault is planted.
pub fn is_planted(fault: &str) -> bool {
    PLANTED.get() == Some(fault)
}

/// Tries a promise with a fault, which must break it.
pub fn with_fault(fault: &'static str, promise: fn()) {
    PLANTED.set(Some(fault));
    promise();
}

/// Sleeps as a backend does: until somebody rings.
pub(crate) struct Sleeper(Arc<crate::sync::AtomicBool>);

impl Sleeper {
    pub(crate) fn new() -> (Sleeper, Wakeup) {
        let flag = Arc::new(crate::sync::AtomicBool::new(false));
        (Sleeper(Arc::clone(&flag)), Wakeup::Flag(flag))
    }

    pub(crate) fn sleep(&self) {
        while !self.0.swap(false, Ordering::AcqRel) {
            thread::yield_now();
        }
    }

    /// A turn of a scheduler as far as its inbox goes: takes what is there, and sleeps if there is nothing.
    pub(crate) fn turn(&self, inbox: &Inbox, arrived: &mut Arrived) -> bool {
        if inbox.has_arrived() {
            inbox.take(arrived);
            return true;
        }
        if inbox.may_sleep() {
            self.sleep();
        }
        inbox.is_awake();
        false
    }
}

/// A scheduler of which there is nothing but the door towards other threads.
pub struct Door {
    inbox: Arc<Inbox>,
    sleeper: Sleeper,
}

impl Door {
    /// One that nobody has sent anything into.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Door {
        let (sleeper, wakeup) = Sleeper::new();
        Door { inbox: Arc::new(Inbox::new(1, wakeup, 8)), sleeper }
    }

    /// What other threads hold of it.
    pub fn remote(&self) -> Remote {
        Remote::new(Arc::clone(&self.inbox))
    }

    /// Turns once, and sleeps if nobody has called.
    pub fn turn(&self) {
        self.sleeper.turn(&self.inbox, &mut Arrived::default());
    }
}
