//! Tasks, timers, other threads, and foreign event loops.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use corella::{BackendKind, CancelToken, ErrorKind, Mode, Scheduler};

use crate::promises;
use crate::setup::Setup;

promises![
    tasks_are_spawned_joined_and_killed,
    a_killed_task_lets_go_of_what_it_awaited,
    sleeps_end_in_order_and_never_early,
    an_interval_ticks_and_counts_what_it_missed,
    an_interval_of_nothing_ticks_by_the_microsecond,
    a_timeout_drops_what_takes_too_long,
    run_ends_when_nothing_is_left_and_when_it_is_told_to,
    a_run_for_a_while_turns_that_long_and_ends_early_when_it_is_told_to,
    other_threads_send_spawn_cancel_and_wake,
    a_foreign_executor_may_poll_an_operation,
    has_work_says_true_in_time,
    a_foreign_event_loop_drives_the_scheduler,
    two_schedulers_on_one_thread_do_not_disturb_each_other,
    a_status_takes_a_callback_late,
    a_program_that_talks_to_itself_does_not_hang_when_it_blocks,
    a_turn_without_a_limit_waits_until_something_happens,
    a_poll_says_whether_there_is_more_to_do_at_once,
    a_safe_point_is_told_of_work_and_of_nothing_else,
    a_task_is_woken_from_another_thread,
    a_turn_runs_all_that_is_ready,
    jobs_that_come_while_others_wait_their_turn_are_all_done,
    a_sleep_with_an_earlier_deadline_is_told_that_it_was_too_late,
    #[cfg(unix)]
    a_foreign_loop_that_watches_the_handle_is_told_of_each_completion,
];

fn tasks_are_spawned_joined_and_killed(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let inner = io.clone();
    let task = scheduler.spawn(async move { inner.spawn(async { 20 }).unwrap().await.unwrap() + 1 }).unwrap();
    assert_eq!(scheduler.active_tasks(), 1);
    assert_eq!(task.wait().unwrap(), 21);
    let endless = io.spawn(std::future::pending::<()>()).unwrap();
    scheduler.poll().unwrap();
    assert!(!endless.is_finished());
    endless.kill();
    endless.kill();
    assert_eq!(scheduler.block_on(endless).unwrap().unwrap_err().kind(), ErrorKind::Killed);
    assert_eq!(scheduler.active_tasks(), 0);
}

fn a_killed_task_lets_go_of_what_it_awaited(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let (socket, _peer) = setup.connection(&io);
    let task = io.spawn(async move { socket.recv(vec![0; 1]).await.is_ok() }).unwrap();
    scheduler.poll().unwrap();
    assert_eq!(scheduler.outstanding().len(), 1);
    task.kill();
    scheduler.run().unwrap();
    assert!(scheduler.outstanding().is_empty());
}

fn sleeps_end_in_order_and_never_early(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let order = Rc::new(RefCell::new(Vec::new()));
    for micros in [36_000u64, 9000, 20_000, 0, 14_000, 4000] {
        let (io, list) = (io.clone(), Rc::clone(&order));
        let task = scheduler.spawn(async move {
            let start = Instant::now();
            io.sleep(Duration::from_micros(micros)).await.unwrap();
            assert!(start.elapsed() >= Duration::from_micros(micros));
            list.borrow_mut().push(micros);
        });
        drop(task.unwrap());
    }
    scheduler.run().unwrap();
    assert_eq!(*order.borrow(), [0, 4000, 9000, 14_000, 20_000, 36_000]);
}

fn an_interval_ticks_and_counts_what_it_missed(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let start = Instant::now();
    let mut interval = scheduler.io().interval(Duration::from_millis(2));
    let mut ticks = 0;
    scheduler
        .block_on(async {
            for round in 0..5 {
                if round == 2 {
                    std::thread::sleep(Duration::from_millis(9));
                }
                ticks += interval.tick().await.unwrap();
            }
        })
        .unwrap();
    assert!(ticks >= 8, "{ticks}");
    assert!(start.elapsed() >= Duration::from_millis(2) * ticks as u32);
}

fn an_interval_of_nothing_ticks_by_the_microsecond(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let begun = Instant::now();
    let mut interval = scheduler.io().interval(Duration::ZERO);
    for _ in 0..10 {
        let ticks = scheduler.block_on(interval.tick()).unwrap().unwrap();
        assert!((1..=begun.elapsed().as_micros() as u64 + 1).contains(&ticks), "{ticks}");
    }
}

fn a_timeout_drops_what_takes_too_long(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let (socket, _peer) = setup.connection(&io);
    let outcome = scheduler.block_on(io.timeout(Duration::from_millis(2), socket.recv(vec![0; 1]))).unwrap();
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::TimedOut);
    assert_eq!(scheduler.block_on(io.timeout(Duration::from_secs(50), async { 5 })).unwrap().unwrap(), 5);
    scheduler.run().unwrap();
}

fn run_ends_when_nothing_is_left_and_when_it_is_told_to(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    scheduler.run().unwrap();
    let listener = io.listen("127.0.0.1:0".parse().unwrap()).unwrap();
    listener.accept().then(drop).unwrap();
    let inner = io.clone();
    io.sleep(Duration::from_millis(1)).then(move |_| inner.stop()).unwrap();
    scheduler.run().unwrap();
    assert_eq!(scheduler.outstanding().len(), 1);
    listener.close().then(|outcome| outcome.unwrap()).unwrap();
    scheduler.run().unwrap();
    assert!(scheduler.outstanding().is_empty());
}

fn a_run_for_a_while_turns_that_long_and_ends_early_when_it_is_told_to(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let ticks = Rc::new(Cell::new(0));
    let counted = Rc::clone(&ticks);
    let clock = io.clone();
    drop(
        io.spawn(async move {
            loop {
                clock.sleep(Duration::from_millis(2)).await.unwrap();
                counted.set(counted.get() + 1);
            }
        })
        .unwrap(),
    );
    let start = Instant::now();
    scheduler.run_for(Duration::from_millis(50)).unwrap();
    assert!(start.elapsed() >= Duration::from_millis(50));
    // A machine that is busy elsewhere may have let the thread run only at the beginning and at the end.
    while ticks.get() == 0 {
        scheduler.run_for(Duration::from_millis(50)).unwrap();
    }
    let stopping = io.clone();
    io.sleep(Duration::from_millis(2)).then(move |_| stopping.stop()).unwrap();
    let start = Instant::now();
    scheduler.run_for(Duration::from_secs(3600)).unwrap();
    assert!(start.elapsed() < Duration::from_secs(600));
}

fn other_threads_send_spawn_cancel_and_wake(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let (socket, _peer) = setup.connection(&io);
    let pending = socket.recv(vec![0; 1]).submit().unwrap();
    let (id, remote) = (pending.id(), scheduler.remote());
    let sum = Arc::new(AtomicU64::new(0));
    let total = Arc::clone(&sum);
    let thread = std::thread::spawn(move || {
        for number in 1..=100 {
            let total = Arc::clone(&total);
            let add = move |_: &corella::Io| {
                total.fetch_add(number, Ordering::SeqCst);
            };
            remote.send(add).unwrap();
        }
        remote
            .spawn(move |io| {
                let sleep = io.sleep(Duration::from_millis(1));
                async move {
                    sleep.await.unwrap();
                    total.fetch_add(10_000, Ordering::SeqCst);
                }
            })
            .unwrap();
        remote.cancel(id);
    });
    assert_eq!(pending.wait().unwrap_err().error.kind(), ErrorKind::Cancelled);
    thread.join().unwrap();
    scheduler.run().unwrap();
    assert_eq!(sum.load(Ordering::SeqCst), 15_050);
}

struct Counting(AtomicU64);

impl Wake for Counting {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn a_foreign_executor_may_poll_an_operation(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let mut sleep = scheduler.io().sleep(Duration::from_millis(1));
    let (first, second) = (Arc::new(Counting(AtomicU64::new(0))), Arc::new(Counting(AtomicU64::new(0))));
    for counting in [&first, &second] {
        let waker = Waker::from(Arc::clone(counting));
        assert!(Pin::new(&mut sleep).poll(&mut Context::from_waker(&waker)).is_pending());
    }
    scheduler.run().unwrap();
    // The last waker is the one that counts.
    assert_eq!((first.0.load(Ordering::SeqCst), second.0.load(Ordering::SeqCst)), (0, 1));
    let polled = Pin::new(&mut sleep).poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(polled, Poll::Ready(Ok(()))));
}

fn has_work_says_true_in_time(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let file = io.open(setup.file("data", b"x"), Mode::Read).wait().unwrap();
    for round in 0..100 {
        let done = Rc::new(Cell::new(false));
        let flag = Rc::clone(&done);
        match round % 3 {
            0 => drop(io.sleep(Duration::ZERO).then(move |_| flag.set(true)).unwrap()),
            1 => drop(file.read_at(vec![0; 1], 0).then(move |_| flag.set(true)).unwrap()),
            _ => drop(io.spawn(async move { flag.set(true) }).unwrap()),
        }
        scheduler.prepare_wait().unwrap();
        // The OS may take its time; a safe point asks again and again.
        let start = Instant::now();
        while !done.get() {
            if (0..16).any(|_| scheduler.has_work()) {
                scheduler.poll().unwrap();
            }
            assert!(start.elapsed() < Duration::from_secs(20), "round {round}");
        }
    }
}

fn a_foreign_event_loop_drives_the_scheduler(setup: &Setup) {
    // What comes before the loop waits, and what comes while it does.
    for _ in 0..20 {
        drive_from_outside(setup);
    }
}

fn drive_from_outside(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let remote = scheduler.remote();
    let (socket, mut peer) = setup.connection(&io);
    let done = Rc::new(Cell::new(0));
    let counts = [0, 1, 2].map(|_| Rc::clone(&done));
    let [one, two, three] = counts;
    socket.recv_exact(vec![0; 4]).then(move |outcome| one.set(one.get() + outcome.unwrap().0)).unwrap();
    io.sleep(Duration::from_millis(3)).then(move |_| two.set(two.get() + 10)).unwrap();
    let file = io.open(setup.file("data", b"0123456789"), Mode::Read).wait().unwrap();
    file.read_at(vec![0; 10], 0).then(move |outcome| three.set(three.get() + outcome.unwrap().0)).unwrap();
    let called = Arc::new(AtomicU64::new(0));
    let (call, counted) = (Arc::clone(&called), Arc::clone(&called));
    let thread = std::thread::spawn(move || {
        use std::io::Write;
        peer.write_all(b"data").unwrap();
        std::thread::sleep(Duration::from_millis(5));
        // More than once: each is to end a wait of its own.
        for _ in 0..5 {
            let (call, seen) = (Arc::clone(&call), call.load(Ordering::SeqCst));
            remote.send(move |_| call.store(seen + 1, Ordering::SeqCst)).unwrap();
            while counted.load(Ordering::SeqCst) == seen {
                std::thread::sleep(Duration::from_micros(100));
            }
        }
    });
    let start = Instant::now();
    while done.get() < 24 || called.load(Ordering::SeqCst) < 5 {
        assert!(start.elapsed() < Duration::from_secs(10), "{} {}", done.get(), called.load(Ordering::SeqCst));
        let timeout = scheduler.prepare_wait().unwrap().unwrap_or(Duration::from_secs(20));
        crate::setup::is_told_within(scheduler.os_handle(), timeout);
        scheduler.poll().unwrap();
    }
    assert!(start.elapsed() < Duration::from_secs(10), "something came, and the loop was not woken");
    thread.join().unwrap();
}

fn two_schedulers_on_one_thread_do_not_disturb_each_other(setup: &Setup) {
    let (mut one, mut other) = (setup.scheduler(), setup.scheduler());
    let (io, token) = (other.io(), CancelToken::new());
    let far = io.sleep(Duration::from_secs(100)).cancel_with(&token).submit().unwrap();
    let (sender, receiver) = (Rc::new(Cell::new(None::<Waker>)), Rc::new(Cell::new(false)));
    let (waker, flag) = (Rc::clone(&sender), Rc::clone(&receiver));
    let task = io.spawn(std::future::poll_fn(move |context| {
        waker.set(Some(context.waker().clone()));
        if flag.get() { Poll::Ready(()) } else { Poll::Pending }
    }));
    drop(task.unwrap());
    other.poll().unwrap();
    let (waker, flag) = (Rc::clone(&sender), Rc::clone(&receiver));
    one.block_on(async move {
        flag.set(true);
        // A task of the other scheduler, woken from a task of this one.
        waker.take().unwrap().wake();
        token.cancel();
    })
    .unwrap();
    assert_eq!(far.wait().unwrap_err().kind(), ErrorKind::Cancelled);
    other.run().unwrap();
    assert_eq!((one.active_tasks(), other.active_tasks()), (0, 0));
    drop(one);
    let last: Scheduler = other;
    last.io().sleep(Duration::ZERO).wait().unwrap();
}

fn a_status_takes_a_callback_late(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let file = scheduler.io().open(setup.file("data", b"abc"), Mode::Read).wait().unwrap();
    for settle_first in [false, true] {
        let status = file.read_at(vec![0; 3], 0).submit().unwrap();
        while settle_first && !status.is_settled() {
            scheduler.turn(Duration::from_secs(1)).unwrap();
        }
        let seen = Rc::new(Cell::new(0));
        let count = Rc::clone(&seen);
        status.then(move |outcome| count.set(outcome.unwrap().0)).unwrap();
        assert_eq!(seen.get(), 0);
        scheduler.run().unwrap();
        assert_eq!(seen.get(), 3);
    }
}

fn a_program_that_talks_to_itself_does_not_hang_when_it_blocks(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let listener = io.listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_address().unwrap();
    let task = io.spawn(async move {
        let socket = listener.accept().await.unwrap();
        let (_, bytes) = socket.recv_exact(vec![0; 4]).await.unwrap();
        socket.send(bytes).await.unwrap();
    });
    drop(task.unwrap());
    // Blocking calls all of them; the task that answers runs meanwhile.
    let socket = io.connect(address).wait().unwrap();
    socket.send("self").wait().unwrap();
    assert_eq!(socket.recv_exact(vec![0; 4]).wait().unwrap().1, b"self");
}

fn a_poll_says_whether_there_is_more_to_do_at_once(setup: &Setup) {
    let mut scheduler = setup.builder().tasks_per_turn(1).build().unwrap();
    while scheduler.poll().unwrap() {}
    assert!(!scheduler.poll().unwrap(), "there is nothing to do");
    // More tasks than have their turn in one.
    let tasks: Vec<_> = (0..3).map(|_| scheduler.spawn(async {}).unwrap()).collect();
    assert!(scheduler.poll().unwrap(), "two tasks are left");
    while scheduler.poll().unwrap() {}
    assert!(tasks.iter().all(|task| task.is_finished()));
    // More that has settled than is told of in one.
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let count = Rc::new(Cell::new(0));
    for _ in 0..3000 {
        let count = Rc::clone(&count);
        io.sleep(Duration::ZERO).then(move |_| count.set(count.get() + 1)).unwrap();
    }
    std::thread::sleep(Duration::from_millis(2));
    let mut more = 0;
    while scheduler.poll().unwrap() {
        more += 1;
    }
    assert!(more > 0 && count.get() == 3000, "{more} polls said so, of {} told", count.get());
}

fn a_safe_point_is_told_of_work_and_of_nothing_else(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    while scheduler.poll().unwrap() {}
    let _later = io.sleep(Duration::from_secs(600)).submit().unwrap();
    while scheduler.poll().unwrap() {}
    // Also when it looks at the clock, which it does now and then. Where a look at the OS is a system call, each sixteenth
    // answer says yes for the sake of that look.
    let told = (0..64).filter(|_| scheduler.has_work()).count();
    let looks = if scheduler.backend() == BackendKind::Uring { 0 } else { 64 / 16 };
    assert!(told <= looks, "nothing is due for ten minutes, and {told} of 64 answers say there is work");
    let task = scheduler.spawn(async {}).unwrap();
    assert!(scheduler.has_work(), "a task is ready");
    while scheduler.poll().unwrap() {}
    assert!(task.is_finished());
    let remote = scheduler.remote();
    std::thread::spawn(move || remote.spawn(|_| async {}).unwrap()).join().unwrap();
    assert!(scheduler.has_work(), "something has arrived");
    while scheduler.poll().unwrap() {}
    let soon = io.sleep(Duration::from_millis(1)).submit().unwrap();
    std::thread::sleep(Duration::from_millis(2));
    assert!((0..64).any(|_| scheduler.has_work()), "a sleep is over");
    soon.wait().unwrap();
}

fn a_task_is_woken_from_another_thread(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    for _ in 0..20 {
        let (sender, receiver) = std::sync::mpsc::channel::<Waker>();
        let is_set = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let seen = Arc::clone(&is_set);
        let task = scheduler.spawn(std::future::poll_fn(move |context| match seen.load(Ordering::SeqCst) {
            true => Poll::Ready(()),
            false => {
                sender.send(context.waker().clone()).unwrap();
                Poll::Pending
            }
        }));
        let thread = std::thread::spawn(move || {
            let waker = receiver.recv().unwrap();
            is_set.store(true, Ordering::SeqCst);
            waker.wake();
        });
        let task = task.unwrap();
        let start = Instant::now();
        while !task.is_finished() {
            scheduler.turn(Duration::from_secs(1)).unwrap();
            assert!(start.elapsed() < Duration::from_secs(30), "nobody has woken it");
        }
        thread.join().unwrap();
    }
}

fn a_turn_runs_all_that_is_ready(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let count = Rc::new(Cell::new(0));
    let add = || {
        let count = Rc::clone(&count);
        move || count.set(count.get() + 1)
    };
    for _ in 0..50 {
        let task = add();
        drop(scheduler.spawn(async move { task() }).unwrap());
    }
    scheduler.poll().unwrap();
    assert_eq!(count.get(), 50);
    let file = io.open(setup.file("data", b"x"), Mode::Read).wait().unwrap();
    for _ in 0..50 {
        let callback = add();
        file.barrier().direct().then(move |_| callback()).unwrap();
    }
    scheduler.poll().unwrap();
    assert_eq!(count.get(), 100);
}

fn jobs_that_come_while_others_wait_their_turn_are_all_done(setup: &Setup) {
    let mut scheduler = setup.builder().tasks_per_turn(1).build().unwrap();
    let (remote, done) = (scheduler.remote(), Arc::new(AtomicU64::new(0)));
    let send = |count: u64| {
        for _ in 0..count {
            let done = Arc::clone(&done);
            remote
                .send(move |_| {
                    done.fetch_add(1, Ordering::SeqCst);
                })
                .unwrap();
        }
    };
    send(3);
    assert!(scheduler.poll().unwrap(), "two are left");
    assert!(scheduler.has_work());
    send(2);
    scheduler.run().unwrap();
    assert_eq!(done.load(Ordering::SeqCst), 5);
    // What runs may send in more, and then there is more to do.
    let (again, counted) = (scheduler.remote(), Arc::clone(&done));
    let task = scheduler.spawn(async move {
        let add = move |_: &corella::Io| {
            counted.fetch_add(1, Ordering::SeqCst);
        };
        again.send(add).unwrap()
    });
    assert!(scheduler.poll().unwrap(), "a job has come");
    scheduler.run().unwrap();
    assert_eq!(done.load(Ordering::SeqCst), 6);
    assert!(task.unwrap().is_finished());
}

fn a_sleep_with_an_earlier_deadline_is_told_that_it_was_too_late(setup: &Setup) {
    let scheduler = setup.scheduler();
    let sleep = scheduler.io().sleep(Duration::from_secs(3600)).deadline(Duration::from_millis(1));
    assert_eq!(sleep.wait().unwrap_err().kind(), ErrorKind::TimedOut);
    let sleep = scheduler.io().sleep(Duration::from_millis(1)).deadline(Duration::from_secs(3600));
    sleep.wait().unwrap();
}

fn a_turn_without_a_limit_waits_until_something_happens(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let remote = scheduler.remote();
    let is_about_to_wake = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let told = std::sync::Arc::clone(&is_about_to_wake);
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        told.store(true, std::sync::atomic::Ordering::SeqCst);
        remote.wake();
    });
    let mut turns = 0;
    while !is_about_to_wake.load(std::sync::atomic::Ordering::SeqCst) {
        scheduler.turn(Duration::MAX).unwrap();
        turns += 1;
    }
    thread.join().unwrap();
    // One, and those that a signal of the OS's cuts short; without a wait it would be thousands.
    assert!(turns < 20, "{turns} turns");
}

/// As an event loop does that registers descriptors once, and is told of changes only.
#[cfg(unix)]
fn a_foreign_loop_that_watches_the_handle_is_told_of_each_completion(setup: &Setup) {
    use rustix::event::{Timespec, epoll};
    let mut scheduler = setup.scheduler();
    let (socket, peer) = setup.connection(&scheduler.io());
    let watch = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    epoll::add(&watch, scheduler.os_handle(), epoll::EventData::new_u64(1), epoll::EventFlags::IN).unwrap();
    for _ in 0..3 {
        let received = Rc::new(Cell::new(false));
        let flag = Rc::clone(&received);
        socket.recv(vec![0; 8]).then(move |_| flag.set(true)).unwrap();
        let sender = peer.try_clone().unwrap();
        let mut has_sent = false;
        let start = Instant::now();
        while !received.get() {
            assert!(start.elapsed() < Duration::from_secs(10), "nobody told of the completion");
            let limit = match scheduler.prepare_wait().unwrap() {
                Some(Duration::ZERO) => Timespec { tv_sec: 0, tv_nsec: 0 },
                _ => Timespec { tv_sec: 20, tv_nsec: 0 },
            };
            if !has_sent && limit.tv_sec > 0 {
                has_sent = true;
                let mut sender = sender.try_clone().unwrap();
                std::thread::spawn(move || {
                    std::thread::sleep(Duration::from_millis(10));
                    std::io::Write::write_all(&mut sender, b"x").unwrap();
                });
            }
            let mut events = Vec::with_capacity(4);
            match epoll::wait(&watch, rustix::buffer::spare_capacity(&mut events), Some(&limit)) {
                // The ring's own work interrupts a wait where it is not deferred.
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => panic!("{error}"),
            }
            scheduler.poll().unwrap();
        }
    }
}
