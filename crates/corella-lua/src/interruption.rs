//! What ends a program from another thread.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use corella::Remote;

use crate::sync::{AtomicBool, AtomicI32, is_planted};

/// No exit code is this one.
const NOT_INTERRUPTED: i32 = i32::MIN;

/// Whether and how a program is to end; its host looks at this between two turns.
pub(crate) struct Interruption {
    /// The exit code to end with, or `NOT_INTERRUPTED`.
    code: AtomicI32,
    /// What is outstanding is to be told first.
    tells: AtomicBool,
}

impl Interruption {
    pub(crate) fn new() -> Interruption {
        Interruption { code: AtomicI32::new(NOT_INTERRUPTED), tells: AtomicBool::new(false) }
    }

    /// The exit code that was asked for.
    pub(crate) fn code(&self) -> Option<i32> {
        Some(self.code.load(Ordering::SeqCst)).filter(|code| *code != NOT_INTERRUPTED)
    }

    /// Whether what is outstanding is to be told. Known to whoever knows the code.
    pub(crate) fn tells(&self) -> bool {
        self.tells.load(Ordering::SeqCst)
    }
}

/// Ends a host's program from another thread, as a signal's handler does.
#[derive(Clone)]
pub struct Interrupter {
    remote: Option<Remote>,
    interruption: Arc<Interruption>,
}

impl Interrupter {
    pub(crate) fn new(remote: Option<Remote>, interruption: &Arc<Interruption>) -> Interrupter {
        Interrupter { remote, interruption: Arc::clone(interruption) }
    }

    /// The same, and says first what is outstanding: operation, target and age.
    pub fn interrupt_and_tell(&self, code: i32) {
        self.interruption.tells.store(true, Ordering::SeqCst);
        self.interrupt(code);
    }

    /// Ends the program with this exit code as `os.exit` would: tasks are killed, what waits is cancelled, and what
    /// was printed or written goes out. A script that never waits goes on until it does.
    pub fn interrupt(&self, code: i32) {
        if is_planted("woken too early") {
            self.wake();
            return self.interruption.code.store(code, Ordering::SeqCst);
        }
        self.interruption.code.store(code, Ordering::SeqCst);
        self.wake();
    }

    fn wake(&self) {
        self.remote.iter().for_each(Remote::wake);
    }
}

impl fmt::Debug for Interrupter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Interrupter({:?})", self.interruption.code())
    }
}
