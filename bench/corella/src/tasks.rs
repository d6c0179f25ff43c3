//! Timers, tasks, wakes from other threads, and the safe point of a virtual machine.

use std::error::Error;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use contender::{Arguments, Run};
use corella::Scheduler;

type Ended = Result<(), Box<dyn Error>>;

/// Arms timers of an hour and cancels them, a thousand at a time.
pub fn timers(mut scheduler: Scheduler, arguments: &Arguments) -> Ended {
    let (io, limit) = (scheduler.io(), arguments.limit());
    let run = Run::begin();
    let mut armed = 0;
    scheduler.block_on(async {
        while limit.allows(armed) {
            let mut sleeps: Vec<_> = (0..1000).map(|_| io.sleep(Duration::from_secs(3600))).collect();
            poll_fn(|context| {
                for sleep in &mut sleeps {
                    assert!(pin!(sleep).poll(context).is_pending());
                }
                Poll::Ready(())
            })
            .await;
            armed += 1000;
        }
    })?;
    run.end(armed)
}

/// Arms timers of a millisecond, a thousand at a time, and waits until all have fired.
pub fn fired(mut scheduler: Scheduler, arguments: &Arguments) -> Ended {
    let (io, limit) = (scheduler.io(), arguments.limit());
    let run = Run::begin();
    let mut fired = 0;
    scheduler.block_on(async {
        while limit.allows(fired) {
            let mut sleeps: Vec<_> = (0..1000).map(|_| io.sleep(Duration::from_millis(1))).collect();
            // Armed when they are first polled; all before one is waited for. What has fired is not polled again.
            let mut are_over = vec![false; sleeps.len()];
            poll_fn(|context| {
                for (sleep, is_over) in sleeps.iter_mut().zip(&mut are_over) {
                    *is_over = *is_over || pin!(sleep).poll(context).is_ready();
                }
                Poll::Ready(())
            })
            .await;
            for (sleep, is_over) in sleeps.into_iter().zip(are_over) {
                if !is_over {
                    sleep.await?;
                }
            }
            fired += 1000;
        }
        Ok::<(), corella::Error>(())
    })??;
    run.end(fired)
}

/// Spawns a task that does nothing and joins it.
pub fn spawned(mut scheduler: Scheduler, arguments: &Arguments) -> Ended {
    let (io, limit) = (scheduler.io(), arguments.limit());
    let run = Run::begin();
    let mut done = 0u64;
    scheduler.block_on(async {
        while limit.allows(done) {
            let task = io.spawn(async move { done })?;
            assert_eq!(task.await?, done);
            done += 1;
        }
        Ok::<(), corella::Error>(())
    })??;
    run.end(done)
}

/// Sixteen tasks yield to each other.
pub fn yielding(mut scheduler: Scheduler, arguments: &Arguments) -> Ended {
    let io = scheduler.io();
    let limit = std::rc::Rc::new(arguments.limit());
    let done = std::rc::Rc::new(std::cell::Cell::new(0u64));
    let run = Run::begin();
    for _ in 0..16 {
        let (io, limit, done) = (io.clone(), limit.clone(), done.clone());
        drop(scheduler.spawn(async move {
            while limit.allows(done.get()) {
                done.set(done.get() + 1);
                io.yield_now().await;
            }
        })?);
    }
    scheduler.run()?;
    run.end(done.get())
}

/// Another thread wakes a task, and so on.
pub fn woken(mut scheduler: Scheduler, arguments: &Arguments) -> Ended {
    scheduler.block_on(contender::wake::from_another_thread(arguments.limit()))?
}

/// Asks whether there is work while there is none. On readiness the answer may be yes now and then for nothing.
pub fn has_work(scheduler: Scheduler, arguments: &Arguments) -> Ended {
    let limit = arguments.limit();
    let run = Run::begin();
    let mut asked = 0u64;
    while limit.allows(asked) {
        std::hint::black_box(std::hint::black_box(&scheduler).has_work());
        asked += 1;
    }
    run.end(asked)
}
