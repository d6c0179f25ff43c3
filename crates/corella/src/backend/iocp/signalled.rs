//! What the threads that wait for handles tell the scheduler's: which of them were signalled.

use std::sync::PoisonError;

use super::super::{Token, Wakeup};
use crate::sync::{Mutex, MutexGuard};

#[derive(Debug)]
pub(crate) struct Signalled {
    tokens: Mutex<Vec<Token>>,
    wakeup: Wakeup,
}

impl Signalled {
    pub(crate) fn new(wakeup: Wakeup) -> Signalled {
        Signalled { tokens: Mutex::new(Vec::new()), wakeup }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Token>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of one, and wakes the scheduler's thread: in this order, since it looks once when it is woken.
    pub(crate) fn tell(&self, token: Token) {
        self.lock().push(token);
        self.wakeup.wake();
    }

    /// Whether it was told of and not taken yet.
    pub(crate) fn has(&self, token: Token) -> bool {
        self.lock().contains(&token)
    }

    /// What was told of since the last time.
    pub(crate) fn take(&self) -> Vec<Token> {
        std::mem::take(&mut *self.lock())
    }
}
