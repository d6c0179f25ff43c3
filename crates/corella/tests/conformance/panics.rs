//! Point 7, where the program panics: nothing of anybody else is lost, at the end of a scheduler neither.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use corella::{Io, Mode, Scheduler};

use crate::promises;
use crate::setup::{Setup, processor_time};

promises![
    a_panic_while_a_scheduler_ends_is_told_and_every_other_callback_runs,
    a_panic_in_a_waker_loses_no_other_wake,
    a_panic_in_the_hook_keeps_the_hook_and_loses_no_failure,
    a_task_killed_with_a_panicking_destructor_is_told_to_who_joins,
    a_task_that_kills_itself_with_a_panicking_destructor_is_gone,
    a_run_after_a_panic_that_left_block_on_waits_as_ever,
    a_destructor_may_not_block,
];

/// Panics when it is dropped.
struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("a destructor");
        }
    }
}

fn panics(code: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(code)).is_err()
}

fn count(counter: &Rc<Cell<u32>>) -> impl Fn() + use<> {
    let counter = Rc::clone(counter);
    move || counter.set(counter.get() + 1)
}

/// Something of the program's that panics as the scheduler ends.
type Trouble = fn(&Io);

fn a_panic_while_a_scheduler_ends_is_told_and_every_other_callback_runs(setup: &Setup) {
    let troubles: [Trouble; 4] = [
        |io| assert!(io.sleep(Duration::from_secs(99)).then(|_| panic!("a callback")).is_ok()),
        |io| assert!(io.sleep(Duration::from_secs(99)).direct().then(|_| panic!("a direct callback")).is_ok()),
        |io| {
            let value = PanicsWhenDropped;
            drop(io.spawn(async move {
                std::future::pending::<()>().await;
                drop(value);
            }));
        },
        |io| {
            let mut sleep = io.sleep(Duration::from_secs(99));
            let waker = Waker::from(Arc::new(PanickingWaker));
            let _ = Pin::new(&mut sleep).poll(&mut Context::from_waker(&waker));
            std::mem::forget(sleep);
        },
    ];
    for trouble in troubles {
        let mut scheduler = setup.scheduler();
        let io = scheduler.io();
        let (socket, _peer) = setup.connection(&io);
        let ran = Rc::new(Cell::new(0));
        let received = count(&ran);
        socket
            .recv(vec![0; 10])
            .then(move |outcome| {
                assert_eq!(outcome.unwrap_err().buffer.len(), 10);
                received();
            })
            .unwrap();
        scheduler.poll().unwrap();
        trouble(&io);
        for _ in 0..1000 {
            let slept = count(&ran);
            io.sleep(Duration::from_secs(99)).then(move |_| slept()).unwrap();
        }
        assert!(panics(|| scheduler.shutdown(Duration::from_secs(60)).unwrap()));
        assert_eq!(ran.get(), 1001);
        // The same, when it is only dropped: then no callback runs, and the panic is of destructors and wakers alone.
        let mut scheduler = setup.scheduler();
        let (socket, _peer) = setup.connection(&scheduler.io());
        let receive = socket.recv(vec![0; 10]).submit().unwrap();
        scheduler.poll().unwrap();
        trouble(&scheduler.io());
        let _ = panics(|| drop(scheduler));
        assert_eq!(receive.take().unwrap().unwrap_err().buffer.len(), 10, "the OS has let go of it");
    }
}

struct PanickingWaker;

impl Wake for PanickingWaker {
    fn wake(self: Arc<Self>) {
        panic!("a waker");
    }
}

fn a_panic_in_a_waker_loses_no_other_wake(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let due = Duration::from_millis(5);
    let mut first = io.sleep(due);
    let waker = Waker::from(Arc::new(PanickingWaker));
    assert!(Pin::new(&mut first).poll(&mut Context::from_waker(&waker)).is_pending());
    let woken = Rc::new(Cell::new(0));
    for _ in 0..10 {
        let woke = count(&woken);
        let sleep = io.sleep(due);
        scheduler
            .spawn(async move {
                sleep.await.unwrap();
                woke();
            })
            .unwrap();
    }
    scheduler.poll().unwrap();
    std::thread::sleep(2 * due);
    assert!(panics(|| scheduler.run().unwrap()));
    scheduler.run().unwrap();
    assert_eq!(woken.get(), 10);
}

fn a_panic_in_the_hook_keeps_the_hook_and_loses_no_failure(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let seen = Rc::new(Cell::new(0));
    let saw = count(&seen);
    scheduler.on_unobserved(move |_| {
        saw();
        panic!("the hook");
    });
    for number in 0..10 {
        drop(scheduler.io().open(setup.path(format!("nothing{number}")), Mode::Read).submit().unwrap());
    }
    for _ in 0..20 {
        let _ = panics(|| scheduler.run().unwrap());
    }
    assert_eq!((seen.get(), scheduler.unobserved_failures()), (10, 10));
}

fn a_task_killed_with_a_panicking_destructor_is_told_to_who_joins(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let value = PanicsWhenDropped;
    let task = scheduler
        .spawn(async move {
            std::future::pending::<()>().await;
            drop(value);
        })
        .unwrap();
    scheduler.poll().unwrap();
    assert!(panics(|| task.kill()));
    assert!(task.is_finished());
    assert!(task.wait().is_err());
}

fn a_task_that_kills_itself_with_a_panicking_destructor_is_gone(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let own = Rc::new(RefCell::new(None::<corella::JoinHandle<()>>));
    let handle = Rc::clone(&own);
    let value = PanicsWhenDropped;
    let task = scheduler
        .spawn(async move {
            handle.borrow().as_ref().unwrap().kill();
            std::future::pending::<()>().await;
            drop(value);
        })
        .unwrap();
    own.replace(Some(task));
    assert!(panics(|| scheduler.run().unwrap()));
    assert_eq!(scheduler.active_tasks(), 0);
    assert!(own.take().unwrap().is_finished());
}

fn a_run_after_a_panic_that_left_block_on_waits_as_ever(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let future = async {
        io.spawn(async { panic!("a task") }).unwrap();
        io.yield_now().await;
        std::future::pending::<()>().await;
    };
    assert!(panics(|| scheduler.block_on(future).unwrap()));
    let start = Instant::now();
    let before = processor_time();
    io.sleep(Duration::from_millis(300)).then(|_| ()).unwrap();
    scheduler.run().unwrap();
    assert!(start.elapsed() >= Duration::from_millis(300));
    let spent = processor_time() - before;
    assert!(spent < Duration::from_millis(100), "{spent:?} of processor time to wait 300 ms");
}

/// Blocks when it is dropped, if it is allowed to.
struct WaitsWhenDropped {
    io: Io,
    refused: Rc<Cell<u32>>,
}

impl Drop for WaitsWhenDropped {
    fn drop(&mut self) {
        if self.io.sleep(Duration::from_secs(99)).wait().is_err() {
            self.refused.set(self.refused.get() + 1);
        }
    }
}

fn a_destructor_may_not_block(setup: &Setup) {
    let mut scheduler: Scheduler = setup.scheduler();
    let io = scheduler.io();
    let refused = Rc::new(Cell::new(0));
    let value = WaitsWhenDropped { io: io.clone(), refused: Rc::clone(&refused) };
    // The callback of a cancelled request that is refused: its values are dropped by the scheduler.
    let task = scheduler
        .spawn(async move {
            std::future::pending::<()>().await;
            drop(value);
        })
        .unwrap();
    scheduler.poll().unwrap();
    task.kill();
    assert_eq!(refused.get(), 1);
    let mut future = Box::pin(async move { io.yield_now().await });
    let mut context = Context::from_waker(Waker::noop());
    assert!(matches!(future.as_mut().poll(&mut context), Poll::Pending));
}
