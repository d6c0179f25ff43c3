//! Cancel tokens: one word that stops many requests, from any thread.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::remote::Inbox;
use crate::backend::fork;
use crate::queue::slots::RequestId;
use crate::sync::{AtomicBool, AtomicU64, Mutex, MutexGuard};

/// Stops every request that was given it, and every one that will be. Clones are the same token.
///
/// Dropping a token is not cancelling. A token that requests of a process were given is that process's: in a forked child
/// a request with it is refused with `WrongProcess`.
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
    shared: Arc<Shared>,
}

/// The unsettled requests that were given a token, by scheduler and name.
type Requests = BTreeMap<(u64, RequestId), Arc<Inbox>>;

#[derive(Default)]
struct Shared {
    cancelled: AtomicBool,
    /// One more than the number of the process whose requests are given this token; zero until the first.
    process: AtomicU64,
    requests: Mutex<Requests>,
}

/// This process as [`Shared::process`] has it.
fn here() -> u64 {
    fork::generation() + 1
}

impl CancelToken {
    /// A token that has not been cancelled.
    pub fn new() -> CancelToken {
        CancelToken::default()
    }

    /// The list of requests; nothing where it is empty, and in a forked child, to which neither they nor the lock
    /// belong: a thread that is not there any more may have had it at the fork.
    fn lock(&self) -> Option<MutexGuard<'_, Requests>> {
        let is_ours = self.shared.process.load(Ordering::SeqCst) == here();
        is_ours.then(|| self.shared.requests.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }

    /// Makes it a token of this process's requests. False: it is one of a parent's.
    pub(crate) fn claim(&self) -> bool {
        let claimed = self.shared.process.compare_exchange(0, here(), Ordering::SeqCst, Ordering::SeqCst);
        claimed.map_or_else(|process| process == here(), |_| true)
    }

    /// Cancels. The requests stop when their scheduler next turns; a second call does nothing.
    ///
    /// In a forked child it does not reach the requests of its parent.
    pub fn cancel(&self) {
        // Before the look at the list. A request that comes meanwhile claims the token and looks at this after: in the
        // one order of these four, either it is found in the list or it finds this.
        self.shared.cancelled.store(true, Ordering::SeqCst);
        let requests = self.lock().map(|mut requests| std::mem::take(&mut *requests));
        for ((_, request), inbox) in requests.unwrap_or_default() {
            inbox.push_cancel(request);
        }
    }

    /// Whether it has been cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.shared.cancelled.load(Ordering::SeqCst)
    }

    /// Ties a request to this token, which has been claimed, until the registration is dropped. Also says whether it is
    /// cancelled already.
    pub(crate) fn register(&self, inbox: &Arc<Inbox>, request: RequestId) -> (Registration, bool) {
        let key = (inbox.scheduler, request);
        let mut requests = self.lock();
        // Under the lock: whoever cancels after this finds the request in the list.
        let cancelled = self.is_cancelled();
        if !cancelled && let Some(requests) = &mut requests {
            requests.insert(key, Arc::clone(inbox));
        }
        drop(requests);
        (Registration { token: self.clone(), key }, cancelled)
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.lock().map_or(0, |requests| requests.len());
        write!(formatter, "CancelToken(cancelled: {}, requests: {count})", self.is_cancelled())
    }
}

/// A request's place in its token's list.
pub(crate) struct Registration {
    token: CancelToken,
    key: (u64, RequestId),
}

impl Drop for Registration {
    fn drop(&mut self) {
        // What is taken out is dropped after the lock: it may be the last that is left of a scheduler.
        let taken = self.token.lock().and_then(|mut requests| requests.remove(&self.key));
        drop(taken);
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::backend::fork::tests::holds_in_child;
    use crate::backend::{Wakeup, fork};

    #[test]
    fn a_forked_child_waits_for_no_lock_that_a_thread_of_its_parent_holds() {
        fork::watch();
        let inbox = Arc::new(Inbox::new(1, Wakeup::Flag(Arc::default()), 1));
        let token = CancelToken::new();
        assert!(token.claim());
        let (registration, is_cancelled) = token.register(&inbox, RequestId { index: 0, generation: 1 });
        assert!(!is_cancelled);
        let mut registration = Some(registration);
        let held = token.lock();
        let is_answered = holds_in_child(|| {
            drop(registration.take());
            token.cancel();
            token.is_cancelled() && format!("{token:?}").contains("cancelled: true")
        });
        assert!(is_answered);
        drop(held);
        assert!(!token.is_cancelled());
        token.cancel();
        assert!(inbox.has_arrived());
        drop(registration);
    }
}
