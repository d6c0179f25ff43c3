//! Schedulers that wake each other in storms, with signals all the time.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use corella::{CancelToken, ErrorKind, Mode, Remote, Scheduler};

use crate::setup::Setup;
use crate::{promises, rounds};

promises![schedulers_that_wake_each_other_in_a_storm_of_signals_lose_no_wake];

/// Messages that each thread sends to each other.
const MESSAGES: u64 = 300;
const THREADS: usize = 4;

extern "C" fn on_signal(_signal: libc::c_int) {}

/// One of the schedulers: counts what it is told, tells the others, reads a file and cancels what the others cancel.
fn take_part(
    setup: &Setup,
    place: usize,
    meet: impl FnOnce(Remote) -> Vec<Remote>,
    received: &Arc<AtomicU64>,
    token: &CancelToken,
) {
    let mut scheduler: Scheduler = setup.builder().inbox_jobs(16).build().unwrap();
    let others = meet(scheduler.remote());
    let io = scheduler.io();
    let stopped = Rc::new(Cell::new(None));
    let seen = Rc::clone(&stopped);
    io.sleep(Duration::from_secs(600))
        .cancel_with(token)
        .then(move |outcome| seen.set(outcome.err().map(|error| error.kind())))
        .unwrap();
    let path = setup.path(format!("data{place}"));
    let work = {
        let (io, counted) = (io.clone(), Arc::clone(received));
        async move {
            let file = io.open(path, Mode::ReadWrite).await.unwrap();
            for number in 0..MESSAGES {
                for other in &others {
                    // Its inbox may be full; it empties it.
                    while other.send(tell(Arc::clone(&counted))).is_err_and(|error| error.kind() == ErrorKind::Rejected)
                    {
                        io.yield_now().await;
                    }
                    other.wake();
                }
                file.write_at(number.to_le_bytes().to_vec(), 0).await.unwrap();
                assert_eq!(file.read_exact_at(vec![0; 8], 0).await.unwrap().1, number.to_le_bytes());
            }
        }
    };
    let task = io.spawn(work).unwrap();
    let expected = MESSAGES * (THREADS * (THREADS - 1)) as u64;
    while !(task.is_finished() && received.load(Ordering::SeqCst) == expected && stopped.get().is_some()) {
        if task.is_finished() && received.load(Ordering::SeqCst) == expected {
            // Everybody has heard everything: the first to see it stops all.
            token.cancel();
        }
        scheduler.turn(Duration::from_millis(20)).unwrap();
    }
    assert_eq!(stopped.get(), Some(ErrorKind::Cancelled));
    drop(task);
}

/// A message.
fn tell(received: Arc<AtomicU64>) -> impl FnOnce(&corella::Io) + Send {
    move |_| {
        received.fetch_add(1, Ordering::SeqCst);
    }
}

fn schedulers_that_wake_each_other_in_a_storm_of_signals_lose_no_wake(setup: &Setup) {
    // SAFETY: the handler does nothing; without SA_RESTART every system call answers EINTR.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_signal as *const () as usize;
        libc::sigaction(libc::SIGUSR2, &action, std::ptr::null_mut());
    }
    rounds(|_| {
        let (received, token, is_over) = (Arc::default(), CancelToken::new(), AtomicBool::new(false));
        let (sender, arrived) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let (mut doors, mut threads) = (Vec::new(), Vec::new());
            for place in 0..THREADS {
                let (door, others) = std::sync::mpsc::channel();
                doors.push(door);
                let (sender, received, token) = (sender.clone(), &received, &token);
                let meet = move |remote| {
                    // SAFETY: asks for this thread's own name.
                    let own = unsafe { libc::pthread_self() };
                    sender.send((place, remote, own as usize)).unwrap();
                    others.recv().unwrap()
                };
                threads.push(scope.spawn(move || take_part(setup, place, meet, received, token)));
            }
            let mut remotes: Vec<(usize, Remote, usize)> = (0..THREADS).map(|_| arrived.recv().unwrap()).collect();
            remotes.sort_by_key(|(place, ..)| *place);
            for (place, door) in doors.iter().enumerate() {
                let others = remotes.iter().filter(|(other, ..)| *other != place).map(|(_, remote, _)| remote.clone());
                door.send(others.collect()).unwrap();
            }
            let targets: Vec<usize> = remotes.iter().map(|(_, _, thread)| *thread).collect();
            let is_over = &is_over;
            let signals = scope.spawn(move || {
                while !is_over.load(Ordering::SeqCst) {
                    for target in &targets {
                        // SAFETY: the threads' handles live until this loop has ended, so the names are theirs.
                        unsafe { libc::pthread_kill(*target as libc::pthread_t, libc::SIGUSR2) };
                    }
                    std::thread::yield_now();
                }
            });
            while !threads.iter().all(std::thread::ScopedJoinHandle::is_finished) {
                std::thread::sleep(Duration::from_millis(1));
            }
            is_over.store(true, Ordering::SeqCst);
            signals.join().unwrap();
            drop(threads);
        });
    });
}
