//! An awaited sleep is a timer and nothing else, and yet everything that is promised of requests holds for it.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use corella::actions::Plain;
use corella::{CancelToken, ErrorKind, Io, Operation};

use crate::promises;
use crate::setup::Setup;

promises![
    an_awaited_sleep_is_listed_and_its_name_cancels_it,
    an_awaited_sleep_that_is_given_another_ending_ends_in_its_own_time,
    an_awaited_sleep_that_is_over_can_be_given_another_ending,
    awaited_sleeps_end_as_cancelled_with_their_scheduler,
    sleeps_of_one_poll_end_by_their_durations_and_then_in_turn,
    a_sleep_counts_from_what_its_task_last_saw_of_the_clock,
    sleeps_and_requests_that_end_in_one_turn_come_by_their_times,
    a_sleep_counts_from_the_poll_that_begins_it_though_nothing_turns_after_it,
    a_sleep_that_a_callback_begins_counts_from_that_callback,
    a_sleep_for_ever_is_as_old_as_it_is,
    sleeps_dropped_as_they_end_wake_nobody_and_leave_nothing,
];

const HOUR: Duration = Duration::from_secs(3600);

fn poll(sleep: &mut Operation<Plain>) -> Poll<Result<(), corella::Error>> {
    Pin::new(sleep).poll(&mut Context::from_waker(Waker::noop()))
}

/// A sleep that has been polled once.
fn awaited(io: &Io, duration: Duration) -> Operation<Plain> {
    let mut sleep = io.sleep(duration);
    assert!(poll(&mut sleep).is_pending());
    sleep
}

fn an_awaited_sleep_is_listed_and_its_name_cancels_it(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let inner = io.clone();
    let task = io.spawn(async move { inner.sleep(HOUR).await }).unwrap();
    scheduler.poll().unwrap();
    let listed = scheduler.outstanding();
    let [sleep] = &listed[..] else { panic!("{listed:?}") };
    assert_eq!((sleep.operation.as_str(), sleep.target.as_str(), sleep.at_os), ("sleep", "", false));
    assert!(sleep.age < HOUR);
    io.cancel(sleep.id);
    io.cancel(sleep.id);
    let error = scheduler.block_on(task).unwrap().unwrap().unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::Cancelled, "sleep"));
    assert!(scheduler.outstanding().is_empty());
    // Its name is nobody's any more, also when another has its place.
    let mut next = awaited(&io, HOUR);
    io.cancel(sleep.id);
    scheduler.poll().unwrap();
    assert!(poll(&mut next).is_pending());
}

fn an_awaited_sleep_that_is_given_another_ending_ends_in_its_own_time(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let begun = io.now();
    let [waits, asks, calls] = [3, 2, 1].map(|milliseconds| awaited(&io, Duration::from_millis(milliseconds)));
    let was_called = Rc::new(Cell::new(false));
    let flag = Rc::clone(&was_called);
    calls.then(move |outcome| flag.set(outcome.is_ok())).unwrap();
    let asks = asks.submit().unwrap();
    assert_eq!(scheduler.outstanding().len(), 3);
    waits.wait().unwrap();
    assert!(io.now() - begun >= Duration::from_millis(3));
    assert!(asks.is_settled());
    scheduler.run().unwrap();
    assert!(was_called.get());
    // What it has become can be cancelled by its name.
    let id = awaited(&io, HOUR).then(|outcome| assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Cancelled)).unwrap();
    io.cancel(id);
    scheduler.run().unwrap();
}

fn an_awaited_sleep_that_is_over_can_be_given_another_ending(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let [waits, asks, calls] = [awaited(&io, Duration::ZERO), awaited(&io, HOUR), awaited(&io, Duration::ZERO)];
    let hour = scheduler.outstanding().iter().map(|sleep| sleep.id).collect::<Vec<_>>();
    scheduler.poll().unwrap();
    hour.iter().for_each(|id| io.cancel(*id));
    assert!(scheduler.outstanding().is_empty());
    waits.wait().unwrap();
    assert_eq!(asks.submit().unwrap().wait().unwrap_err().kind(), ErrorKind::Cancelled);
    let was_called = Rc::new(Cell::new(false));
    let flag = Rc::clone(&was_called);
    calls.then(move |outcome| flag.set(outcome.is_ok())).unwrap();
    scheduler.run().unwrap();
    assert!(was_called.get());
}

fn awaited_sleeps_end_as_cancelled_with_their_scheduler(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let [mut polls, waits, submits, _drops] = [HOUR; 4].map(|hour| awaited(&io, hour));
    drop(scheduler);
    let Poll::Ready(Err(error)) = poll(&mut polls) else { panic!("it is over") };
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert!(error.to_string().contains("the scheduler ends"), "{error}");
    assert_eq!(waits.wait().unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(submits.submit().unwrap_err().kind(), ErrorKind::SchedulerGone);
}

fn sleeps_and_requests_that_end_in_one_turn_come_by_their_times(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let token = CancelToken::new();
    let order = Rc::new(RefCell::new(Vec::new()));
    for milliseconds in [5, 6, 7, 8] {
        let (io, order, token) = (io.clone(), Rc::clone(&order), token.clone());
        let task = async move {
            let sleep = io.sleep(Duration::from_millis(milliseconds));
            // With a token it is a request like any other.
            if milliseconds % 2 == 0 { sleep.cancel_with(&token).await } else { sleep.await }.unwrap();
            order.borrow_mut().push(milliseconds);
        };
        scheduler.spawn(task).unwrap();
    }
    scheduler.poll().unwrap();
    std::thread::sleep(Duration::from_millis(30));
    scheduler.run().unwrap();
    assert_eq!(*order.borrow(), [5, 6, 7, 8]);
}

fn a_sleep_counts_from_the_poll_that_begins_it_though_nothing_turns_after_it(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let mut sleep = scheduler.io().sleep(Duration::from_millis(20));
    let begins = std::future::poll_fn(|context| {
        assert!(Pin::new(&mut sleep).poll(context).is_pending());
        Poll::Ready(())
    });
    scheduler.block_on(begins).unwrap();
    std::thread::sleep(Duration::from_millis(40));
    assert!((0..16).any(|_| scheduler.has_work()), "it is over");
    scheduler.poll().unwrap();
    assert!(poll(&mut sleep).is_ready());
}

fn a_sleep_that_a_callback_begins_counts_from_that_callback(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let kept = Rc::new(RefCell::new(None));
    let place = Rc::clone(&kept);
    let inner = io.clone();
    let begins = move |_| _ = place.replace(Some(awaited(&inner, Duration::from_millis(20))));
    io.sleep(Duration::ZERO).then(begins).unwrap();
    io.sleep(Duration::ZERO).then(|_| std::thread::sleep(Duration::from_millis(40))).unwrap();
    // Without a wait, in which it might end.
    while kept.borrow().is_none() {
        scheduler.poll().unwrap();
    }
    scheduler.poll().unwrap();
    assert!(poll(kept.borrow_mut().as_mut().unwrap()).is_ready(), "it is over");
}

fn a_sleep_for_ever_is_as_old_as_it_is(setup: &Setup) {
    let scheduler = setup.scheduler();
    std::thread::sleep(Duration::from_millis(100));
    let _sleep = awaited(&scheduler.io(), Duration::MAX);
    let age = scheduler.outstanding()[0].age;
    assert!(age < Duration::from_millis(100), "{age:?}, which is the scheduler's");
}

/// Notes when it is woken.
struct Noting(usize, Arc<Mutex<Vec<usize>>>);

impl Wake for Noting {
    fn wake(self: Arc<Self>) {
        self.1.lock().unwrap().push(self.0);
    }
}

fn sleeps_of_one_poll_end_by_their_durations_and_then_in_turn(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let milliseconds = [5, 1, 3, 1, 5, 3, 0, 1];
    let order = Arc::default();
    let mut sleeps: Vec<_> = milliseconds.iter().map(|duration| io.sleep(Duration::from_millis(*duration))).collect();
    let arm = async {
        for (number, sleep) in sleeps.iter_mut().enumerate() {
            let waker = Waker::from(Arc::new(Noting(number, Arc::clone(&order))));
            assert!(Pin::new(sleep).poll(&mut Context::from_waker(&waker)).is_pending());
        }
        // By the end of this poll all are armed.
        io.yield_now().await;
    };
    scheduler.block_on(arm).unwrap();
    scheduler.run().unwrap();
    let mut expected: Vec<usize> = (0..milliseconds.len()).collect();
    expected.sort_by_key(|number| milliseconds[*number]);
    assert_eq!(*order.lock().unwrap(), expected);
    assert!(sleeps.iter_mut().all(|sleep| poll(sleep).is_ready()));
}

fn a_sleep_counts_from_what_its_task_last_saw_of_the_clock(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let task = async {
        // A short one after a long time is due after one that was longer, and is known to have begun before.
        let mut first = awaited(&io, Duration::from_millis(5));
        let seen = io.now();
        while io.now() - seen < Duration::from_millis(10) {
            std::hint::spin_loop();
        }
        io.sleep(Duration::from_millis(1)).await.unwrap();
        assert!(io.now() - seen >= Duration::from_millis(11));
        assert!(poll(&mut first).is_ready());
    };
    scheduler.block_on(task).unwrap();
}

fn sleeps_dropped_as_they_end_wake_nobody_and_leave_nothing(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    for round in 0..300 {
        let sleeps: Vec<_> = (0..20).map(|number| awaited(&io, Duration::from_micros(10 * number))).collect();
        if round % 2 == 0 {
            scheduler.turn(Duration::from_micros(50)).unwrap();
        }
        drop(sleeps);
        assert!(scheduler.outstanding().is_empty());
    }
    // Nothing is left to wait for.
    scheduler.run().unwrap();
}
