//! Wakes from another thread: what it takes is a waker, which every runtime has, so that all share this.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use crate::{Limit, Run};

#[derive(Default)]
struct Shared {
    waiting: Mutex<Option<Waker>>,
    wakes: AtomicU64,
    is_over: AtomicBool,
}

/// Wakes whoever waits, until all is over.
fn wake_on(shared: &Shared) {
    while !shared.is_over.load(Ordering::Acquire) {
        let waiting = shared.waiting.lock().expect("nobody panics").take();
        if let Some(waker) = waiting {
            shared.wakes.fetch_add(1, Ordering::AcqRel);
            waker.wake();
        }
        std::hint::spin_loop();
    }
}

/// A task waits, a thread wakes it, and so on: an operation is one such wake.
pub async fn from_another_thread(limit: Limit) -> ! {
    let shared = Arc::new(Shared::default());
    let thread = {
        let shared = Arc::clone(&shared);
        std::thread::spawn(move || wake_on(&shared))
    };
    let run = Run::begin();
    let mut done = 0;
    while limit.allows(done) {
        poll_fn(|context| {
            if shared.wakes.load(Ordering::Acquire) > done {
                return Poll::Ready(());
            }
            *shared.waiting.lock().expect("nobody panics") = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
        done += 1;
    }
    shared.is_over.store(true, Ordering::Release);
    let _ = thread.join();
    run.end(done)
}
