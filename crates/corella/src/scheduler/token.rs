//! Cancel tokens: one word that stops many requests, from any thread.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use super::remote::Inbox;
use crate::queue::slots::RequestId;

/// Stops every request that was given it, and every one that will be. Clones are the same token.
///
/// Dropping a token is not cancelling.
///
/// ```
/// # fn main() -> Result<(), corella::Error> {
/// let mut scheduler = corella::Scheduler::new()?;
/// let io = scheduler.io();
/// let token = corella::CancelToken::new();
/// let timer = io.sleep(std::time::Duration::from_secs(60)).cancel_with(&token).submit()?;
/// token.cancel();
/// let error = timer.wait().unwrap_err();
/// assert_eq!(error.kind(), corella::ErrorKind::Cancelled);
/// # Ok(()) }
/// ```
#[derive(Clone, Default)]
pub struct CancelToken {
    shared: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    cancelled: bool,
    /// The unsettled requests that were given this token, by scheduler and name.
    requests: BTreeMap<(u64, RequestId), Arc<Inbox>>,
}

impl CancelToken {
    /// A token that has not been cancelled.
    pub fn new() -> CancelToken {
        CancelToken::default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Cancels. The requests stop when their scheduler next turns; a second call does nothing.
    pub fn cancel(&self) {
        let requests = {
            let mut state = self.lock();
            state.cancelled = true;
            std::mem::take(&mut state.requests)
        };
        for ((_, request), inbox) in requests {
            inbox.push_cancel(request);
        }
    }

    /// Whether it has been cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.lock().cancelled
    }

    /// Ties a request to this token, until the registration is dropped. Also says whether it is cancelled already.
    pub(crate) fn register(&self, inbox: &Arc<Inbox>, request: RequestId) -> (Registration, bool) {
        let mut state = self.lock();
        let key = (inbox.scheduler, request);
        if !state.cancelled {
            state.requests.insert(key, Arc::clone(inbox));
        }
        let cancelled = state.cancelled;
        drop(state);
        (Registration { token: self.clone(), key }, cancelled)
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        write!(formatter, "CancelToken(cancelled: {}, requests: {})", state.cancelled, state.requests.len())
    }
}

/// A request's place in its token's list.
pub(crate) struct Registration {
    token: CancelToken,
    key: (u64, RequestId),
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.token.lock().requests.remove(&self.key);
    }
}
