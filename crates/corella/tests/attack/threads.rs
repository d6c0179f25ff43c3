//! Other threads and signals: no wake is lost, and schedulers that fill each other's inboxes never block each other.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

use corella::{ErrorKind, Remote};

use crate::promises;
use crate::setup::Setup;

promises![
    a_million_wakes_from_eight_threads_lose_none,
    a_wake_beside_the_poll_that_misses_it_is_not_lost,
    schedulers_that_fill_each_others_inboxes_never_block_each_other,
    schedulers_whose_tasks_wake_each_other_lose_no_wake,
    signals_all_the_time_disturb_nothing,
    sends_and_cancels_from_other_threads_while_the_scheduler_ends_are_answered,
];

fn a_million_wakes_from_eight_threads_lose_none(setup: &Setup) {
    const THREADS: u64 = 8;
    const WAKES: u64 = 125_000;
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            // The task sets its waker and waits for the next number; the thread gives it and wakes.
            let given = Arc::new(AtomicU64::new(0));
            let place: Arc<std::sync::Mutex<Option<Waker>>> = Arc::default();
            let (number, waker) = (Arc::clone(&given), Arc::clone(&place));
            let taken = Arc::new(AtomicU64::new(0));
            let progress = Arc::clone(&taken);
            let task = io.spawn(async move {
                std::future::poll_fn(|context| {
                    *place.lock().unwrap() = Some(context.waker().clone());
                    let seen = given.load(Ordering::SeqCst);
                    progress.store(seen, Ordering::SeqCst);
                    if seen == WAKES { Poll::Ready(()) } else { Poll::Pending }
                })
                .await;
            });
            drop(task.unwrap());
            std::thread::spawn(move || {
                for next in 1..=WAKES {
                    number.store(next, Ordering::SeqCst);
                    let waker = waker.lock().unwrap().clone();
                    waker.into_iter().for_each(Waker::wake);
                    // Now and then wait until it was seen: a lost wake would then wait for ever.
                    while next % 16 == 0 && taken.load(Ordering::SeqCst) < next {
                        std::thread::yield_now();
                    }
                }
            })
        })
        .collect();
    scheduler.run().unwrap();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(scheduler.active_tasks(), 0);
}

/// Passes a ball on to the next scheduler, as often as it has lives.
/// The thread stores a number and wakes; the task looks once a poll. A wake that comes as the task begins to look must
/// have it look again, or it sleeps on an old number.
fn a_wake_beside_the_poll_that_misses_it_is_not_lost(setup: &Setup) {
    const NUMBERS: u64 = 400_000;
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let number = Arc::new(AtomicU64::new(0));
    let (sender, receiver) = std::sync::mpsc::channel::<Waker>();
    let seen = Arc::new(AtomicU64::new(0));
    let stored = Arc::clone(&number);
    let looked = Arc::clone(&seen);
    let thread = std::thread::spawn(move || {
        let waker = receiver.recv().unwrap();
        for next in 1..=NUMBERS {
            // The first wake brings the poll that the second is to meet.
            waker.wake_by_ref();
            for _ in 0..next % 128 {
                std::hint::spin_loop();
            }
            stored.store(next, Ordering::SeqCst);
            waker.wake_by_ref();
            while looked.load(Ordering::SeqCst) < next {
                std::hint::spin_loop();
            }
        }
    });
    // It keeps the scheduler from sleeping, so that no wake of the system's hides a lost one of ours.
    let is_over = Rc::new(Cell::new(false));
    let flag = Rc::clone(&is_over);
    let yielding = io.clone();
    io.spawn(async move {
        while !flag.get() {
            yielding.yield_now().await;
        }
    })
    .unwrap();
    let mut sender = Some(sender);
    let task = std::future::poll_fn(|context| {
        if let Some(sender) = sender.take() {
            sender.send(context.waker().clone()).unwrap();
        }
        let number = number.load(Ordering::SeqCst);
        seen.store(number, Ordering::SeqCst);
        if number == NUMBERS { Poll::Ready(()) } else { Poll::Pending }
    });
    scheduler.block_on(task).unwrap();
    is_over.set(true);
    thread.join().unwrap();
    scheduler.run().unwrap();
}

fn pass_on(remotes: Arc<Vec<Remote>>, place: usize, lives: u64, done: Arc<AtomicU64>) {
    if lives == 0 {
        done.fetch_add(1, Ordering::SeqCst);
        remotes.iter().for_each(Remote::wake);
        return;
    }
    let next = (place + 1) % remotes.len();
    let others = Arc::clone(&remotes);
    let counted = Arc::clone(&done);
    let sent = remotes[next].send(move |_| pass_on(others, next, lives - 1, counted));
    if let Err(error) = sent {
        // A full inbox answers at once; the ball is out.
        assert_eq!(error.kind(), ErrorKind::Rejected);
        done.fetch_add(1, Ordering::SeqCst);
        remotes.iter().for_each(Remote::wake);
    }
}

fn schedulers_that_fill_each_others_inboxes_never_block_each_other(setup: &Setup) {
    const BALLS: u64 = 200;
    const LIVES: u64 = 500;
    for schedulers in [2, 4] {
        let done = Arc::new(AtomicU64::new(0));
        let (sender, receiver) = std::sync::mpsc::channel();
        let start: Arc<std::sync::Barrier> = Arc::new(std::sync::Barrier::new(schedulers + 1));
        std::thread::scope(|scope| {
            for _ in 0..schedulers {
                let (sender, start, done) = (sender.clone(), Arc::clone(&start), Arc::clone(&done));
                let builder = setup.builder().inbox_jobs(64);
                scope.spawn(move || {
                    let mut scheduler = builder.build().unwrap();
                    sender.send(scheduler.remote()).unwrap();
                    start.wait();
                    while done.load(Ordering::SeqCst) < BALLS {
                        scheduler.turn(Duration::from_secs(10)).unwrap();
                    }
                });
            }
            let remotes = Arc::new(receiver.iter().take(schedulers).collect::<Vec<_>>());
            start.wait();
            for ball in 0..BALLS {
                pass_on(Arc::clone(&remotes), ball as usize % schedulers, LIVES, Arc::clone(&done));
            }
        });
        assert!(done.load(Ordering::SeqCst) >= BALLS);
    }
}

fn schedulers_whose_tasks_wake_each_other_lose_no_wake(setup: &Setup) {
    const ROUNDS: u64 = 20_000;
    for schedulers in [2usize, 4] {
        // A ring of tasks, one on each scheduler: each waits for its number, and wakes the next.
        type Place = Arc<(AtomicU64, std::sync::Mutex<Option<Waker>>)>;
        let places: Arc<Vec<Place>> = Arc::new((0..schedulers).map(|_| Place::default()).collect());
        let give = |place: &Place, number: u64| {
            place.0.store(number, Ordering::SeqCst);
            let waker = place.1.lock().unwrap().take();
            waker.into_iter().for_each(Waker::wake);
        };
        std::thread::scope(|scope| {
            for index in 0..schedulers {
                let (places, builder) = (Arc::clone(&places), setup.builder());
                scope.spawn(move || {
                    let mut scheduler = builder.build().unwrap();
                    let own = Arc::clone(&places[index]);
                    scheduler
                        .block_on(async {
                            for round in 1..=ROUNDS {
                                std::future::poll_fn(|context| {
                                    *own.1.lock().unwrap() = Some(context.waker().clone());
                                    match own.0.load(Ordering::SeqCst) >= round {
                                        true => Poll::Ready(()),
                                        false => Poll::Pending,
                                    }
                                })
                                .await;
                                let next = (index + 1) % schedulers;
                                // The ball goes round; the first starts the next round.
                                give(&places[next], if next == 0 { round + 1 } else { round });
                            }
                        })
                        .unwrap();
                });
            }
            give(&places[0], 1);
        });
        assert_eq!(places[0].0.load(Ordering::SeqCst), ROUNDS + 1);
    }
}

extern "C" fn on_signal(_: libc::c_int) {}

fn signals_all_the_time_disturb_nothing(setup: &Setup) {
    // SAFETY: the handler does nothing; without SA_RESTART every system call answers EINTR.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_signal as *const () as usize;
        libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut());
    }
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    // SAFETY: asks for this thread's own name.
    let target = unsafe { libc::pthread_self() } as usize;
    let is_over = Arc::new(AtomicBool::new(false));
    let sent = Arc::new(AtomicU64::new(0));
    let (stop, count) = (Arc::clone(&is_over), Arc::clone(&sent));
    let signals = std::thread::spawn(move || {
        while !stop.load(Ordering::SeqCst) {
            // SAFETY: the thread is waited for below, so it lives.
            unsafe { libc::pthread_kill(target as libc::pthread_t, libc::SIGUSR1) };
            count.fetch_add(1, Ordering::SeqCst);
            std::thread::yield_now();
        }
    });
    let (socket, peer) = setup.connection(&io);
    let other = io.adopt_socket(peer).unwrap();
    let file = io.open(setup.path("data"), corella::Mode::ReadWrite).wait().unwrap();
    let ticks = Rc::new(Cell::new(0));
    let counted = Rc::clone(&ticks);
    let clock = io.clone();
    io.spawn(async move {
        for _ in 0..50 {
            clock.sleep(Duration::from_millis(1)).await.unwrap();
            counted.set(counted.get() + 1);
        }
    })
    .unwrap();
    scheduler
        .block_on(async {
            let mut round = 0u64;
            while round < 2000 || sent.load(Ordering::SeqCst) < 2000 {
                round += 1;
                let bytes = round.to_le_bytes().to_vec();
                file.write_at(bytes.clone(), round * 8).await.unwrap();
                socket.send(bytes.clone()).await.unwrap();
                assert_eq!(other.recv_exact(vec![0; 8]).await.unwrap().1, bytes);
                assert_eq!(file.read_at(vec![0; 8], round * 8).await.unwrap().1, bytes);
            }
        })
        .unwrap();
    for round in 1..500u64 {
        // Bare calls too.
        assert_eq!(file.read_at(vec![0; 8], round * 8).wait().unwrap().1, round.to_le_bytes());
    }
    scheduler.run().unwrap();
    assert_eq!(ticks.get(), 50);
    is_over.store(true, Ordering::SeqCst);
    signals.join().unwrap();
}

fn sends_and_cancels_from_other_threads_while_the_scheduler_ends_are_answered(setup: &Setup) {
    for _ in 0..100 {
        let mut scheduler = setup.scheduler();
        let io = scheduler.io();
        let remote = scheduler.remote();
        let token = corella::CancelToken::new();
        let (socket, _peer) = setup.connection(&io);
        let pending = socket.recv(vec![0; 8]).cancel_with(&token).submit().unwrap();
        let id = pending.id();
        let threads: Vec<_> = (0..4)
            .map(|number| {
                let (remote, token) = (remote.clone(), token.clone());
                std::thread::spawn(move || {
                    loop {
                        match number {
                            0 => token.cancel(),
                            1 => remote.cancel(id),
                            _ => remote.wake(),
                        }
                        match remote.send(|_| {}) {
                            Err(error) if error.kind() == ErrorKind::SchedulerGone => return,
                            Err(error) => assert_eq!(error.kind(), ErrorKind::Rejected),
                            Ok(()) => {}
                        }
                    }
                })
            })
            .collect();
        scheduler.poll().unwrap();
        drop(scheduler);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        // Its buffer comes back even now.
        let outcome = pending.wait().unwrap_err();
        assert_eq!((outcome.error.kind(), outcome.buffer.len()), (ErrorKind::Cancelled, 8));
    }
}
