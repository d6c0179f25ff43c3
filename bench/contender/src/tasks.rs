//! What a task needs nothing of its runtime for but to be polled again.

use std::future::poll_fn;
use std::task::Poll;

/// For runtimes that have no yield of their own: wakes itself, and goes on when it is polled again.
pub async fn yield_once() {
    let mut has_yielded = false;
    poll_fn(|context| {
        if has_yielded {
            return Poll::Ready(());
        }
        has_yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
