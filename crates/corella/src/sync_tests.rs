//! Every structure that two threads touch, in the orders in which they may come: the inbox, wakers, cancel tokens, the
//! queue of the pool, the bells of the backends, what waits for children. The leg `threads` runs these.
//!
//! What is handed from one thread to the next and never touched by two at once (a child to be started, a directory that is
//! read) needs no order of its own: one lock, taken by whoever has it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;

use super::{AtomicBool, AtomicU64, Mutex, thread};
#[cfg(feature = "fake-port")]
use crate::backend::iocp::{self, port};
use crate::backend::pool::Pool;
use crate::backend::portable::{Bell, Notify};
use crate::backend::reaper::{Reaper, Watch};
use crate::backend::{Completions, Submission, Token, WaitsBy};
use crate::op::{Class, Op, OpenOptions};
use crate::queue::slots::RequestId;
use crate::rehearsal::{Sleeper, in_any_order};
use crate::scheduler::remote::{Arrived, Inbox};
use crate::scheduler::tasks::{ROOT, TaskWaker};
use crate::scheduler::token::CancelToken;

fn id(index: u32) -> RequestId {
    RequestId { index, generation: 1 }
}

#[test]
fn what_is_sent_into_an_inbox_is_found_by_one_who_sleeps() {
    in_any_order(|| {
        let (sleeper, wakeup) = Sleeper::new();
        let inbox = Arc::new(Inbox::new(1, wakeup, 8));
        let senders: Vec<_> = (0..2)
            .map(|number| {
                let inbox = Arc::clone(&inbox);
                thread::spawn(move || {
                    inbox.push_cancel(id(number));
                    inbox.push_wake(ROOT);
                    inbox.push_cancel(id(number + 10));
                })
            })
            .collect();
        let (mut cancels, mut wakes) = (Vec::new(), 0);
        while cancels.len() < 4 || wakes < 2 {
            let mut arrived = Arrived::default();
            sleeper.turn(&inbox, &mut arrived);
            cancels.extend(std::mem::take(&mut arrived.cancels));
            wakes += arrived.wakes.len();
        }
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        cancels.sort();
        assert_eq!(cancels, [id(0), id(1), id(10), id(11)]);
    });
}

#[test]
fn an_inbox_that_ends_takes_each_thing_or_refuses_it() {
    in_any_order(|| {
        let (_, wakeup) = Sleeper::new();
        let inbox = Arc::new(Inbox::new(1, wakeup, 8));
        let other = Arc::clone(&inbox);
        let sender = thread::spawn(move || {
            other.push_cancel(id(1));
            other.push_wake(ROOT);
            other.has_ended()
        });
        let arrived = inbox.end();
        assert!(inbox.has_ended() && arrived.cancels.len() <= 1 && arrived.wakes.len() <= 1);
        sender.join().unwrap();
        // What came later is nowhere.
        assert!(inbox.end().cancels.is_empty());
    });
}

#[test]
fn a_wake_beside_the_poll_that_misses_it_is_not_lost() {
    in_any_order(|| {
        let (sleeper, wakeup) = Sleeper::new();
        let inbox = Arc::new(Inbox::new(1, wakeup, 8));
        let state = TaskWaker::new(ROOT, Arc::clone(&inbox));
        let waker = Waker::from(Arc::clone(&state));
        let progress = Arc::new(AtomicU64::new(0));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (waker, progress) = (waker.clone(), Arc::clone(&progress));
                thread::spawn(move || {
                    progress.fetch_add(1, Ordering::SeqCst);
                    waker.wake_by_ref();
                })
            })
            .collect();
        // The task is polled when it was woken, and otherwise the thread sleeps.
        let mut is_woken = true;
        loop {
            if is_woken {
                state.begins();
                if progress.load(Ordering::SeqCst) == 2 {
                    break;
                }
            }
            let mut arrived = Arrived::default();
            sleeper.turn(&inbox, &mut arrived);
            is_woken = !arrived.wakes.is_empty();
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn a_cancel_beside_a_submission_reaches_it() {
    in_any_order(|| {
        let (_, wakeup) = Sleeper::new();
        let inbox = Arc::new(Inbox::new(1, wakeup, 8));
        let token = CancelToken::new();
        let others: Vec<_> = (0..2)
            .map(|_| {
                let token = token.clone();
                thread::spawn(move || token.cancel())
            })
            .collect();
        let mut registrations = Vec::new();
        let mut told = Vec::new();
        for number in 0..2 {
            assert!(token.claim());
            let (registration, is_cancelled) = token.register(&inbox, id(number));
            registrations.push(registration);
            told.push(is_cancelled);
        }
        others.into_iter().for_each(|other| other.join().unwrap());
        let mut arrived = Arrived::default();
        inbox.take(&mut arrived);
        for (number, was_told) in told.into_iter().enumerate() {
            assert_ne!(was_told, arrived.cancels.contains(&id(number as u32)), "request {number} hears it once");
        }
    });
}

#[test]
fn a_request_that_settles_beside_its_cancel_leaves_nothing_in_the_token() {
    in_any_order(|| {
        let (_, wakeup) = Sleeper::new();
        let inbox = Arc::new(Inbox::new(1, wakeup, 8));
        let token = CancelToken::new();
        assert!(token.claim());
        let (registration, _) = token.register(&inbox, id(1));
        let other = token.clone();
        let thread = thread::spawn(move || other.cancel());
        drop(registration);
        thread.join().unwrap();
        assert!(format!("{token:?}").contains("requests: 0"));
    });
}

/// A barrier's worth of work for a thread: a look at what is not there.
fn stat(token: u64) -> (Token, Op) {
    (Token(token), Op::Stat { path: Arc::from(c"/nowhere/at/all"), follow: true })
}

fn submit(pool: &mut Pool, token: Token, op: &Op) {
    pool.submit(&Submission {
        token,
        op,
        descriptor: -1,
        class: Class::Stream,
        parts: &[],
        offset: None,
        waits_by: WaitsBy::Class,
        extends: false,
        lingers: false,
    });
}

#[test]
fn every_job_of_a_pool_comes_back_once_and_its_sleeper_is_woken() {
    in_any_order(|| {
        let (sleeper, wakeup) = Sleeper::new();
        let mut pool = Pool::new(2, wakeup);
        let mut completions = Completions::new();
        let jobs: Vec<_> = (1..=4).map(stat).collect();
        for (token, op) in &jobs {
            submit(&mut pool, *token, op);
        }
        // One is given up, wherever it is.
        pool.cancel(jobs[3].0, &jobs[3].1, &mut completions);
        pool.drain(&mut completions);
        while !pool.is_idle() {
            sleeper.sleep();
            pool.drain(&mut completions);
        }
        let mut tokens: Vec<u64> = completions.iter().map(|completion| completion.token.0).collect();
        tokens.sort();
        assert_eq!(tokens, [1, 2, 3, 4]);
    });
}

#[test]
fn a_pool_that_goes_lets_its_threads_go() {
    in_any_order(|| {
        let (_, wakeup) = Sleeper::new();
        let mut pool = Pool::new(1, wakeup);
        for (token, op) in (1..=2).map(stat) {
            submit(&mut pool, token, &op);
        }
        // A thread that stayed would be told as a deadlock.
        drop(pool);
    });
}

#[test]
fn a_job_that_changes_crews_is_in_one_of_them_at_every_moment() {
    let folder = std::env::temp_dir().join(format!("corella-crews-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("fifo");
    let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU);
    rustix::fs::mknodat(rustix::fs::CWD, &*name, kind, mode, 0).unwrap();
    let op: Arc<std::ffi::CStr> = name.into();
    in_any_order(move || {
        let (sleeper, wakeup) = Sleeper::new();
        let mut pool = Pool::new(1, wakeup);
        // For both, it waits for nobody.
        let options = OpenOptions::new().read(true).write(true);
        submit(&mut pool, Token(1), &Op::Open { path: Arc::clone(&op), options });
        for _ in 0..3 {
            assert!(pool.has(Token(1)), "a cancel would find nothing");
            thread::yield_now();
        }
        let mut completions = Completions::new();
        while !pool.is_idle() {
            sleeper.sleep();
            pool.drain(&mut completions);
        }
        assert_eq!(completions.len(), 1);
    });
    std::fs::remove_dir_all(folder).unwrap();
}

/// A poller that keeps a notification until it is looked at.
struct Notified(AtomicBool);

impl Notify for Notified {
    fn notify(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_bell_that_was_rung_is_heard_by_one_who_looks_only_where_it_says_so() {
    in_any_order(|| {
        let bell = Arc::new(Bell::new(Notified(AtomicBool::new(false))));
        let done = Arc::new(AtomicU64::new(0));
        let ringers: Vec<_> = (0..2)
            .map(|_| {
                let (bell, done) = (Arc::clone(&bell), Arc::clone(&done));
                thread::spawn(move || {
                    done.fetch_add(1, Ordering::SeqCst);
                    bell.ring();
                })
            })
            .collect();
        let mut seen = 0;
        while seen < 2 {
            if bell.is_rung() {
                bell.is_looked_at();
                if bell.poller.0.swap(false, Ordering::SeqCst) {
                    seen = done.load(Ordering::SeqCst);
                }
            }
            thread::yield_now();
        }
        ringers.into_iter().for_each(|ringer| ringer.join().unwrap());
    });
}

/// The packets that are in a port, and how many more it refuses before it takes one.
#[cfg(feature = "fake-port")]
#[derive(Default)]
struct Posted(Mutex<u32>, AtomicU64);

#[cfg(feature = "fake-port")]
impl std::fmt::Debug for Posted {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Posted")
    }
}

#[cfg(feature = "fake-port")]
impl port::Post for Posted {
    fn post(&self, _key: usize) -> Result<(), port::Code> {
        let one_less = |left: u64| left.checked_sub(1);
        if self.1.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok() {
            return Err(port::ERROR_NO_SYSTEM_RESOURCES);
        }
        let mut packets = self.0.lock().unwrap();
        *packets += 1;
        assert!(*packets == 1, "at most one packet of a bell's is in the port");
        Ok(())
    }
}

#[cfg(feature = "fake-port")]
#[test]
fn a_bell_of_a_port_posts_one_packet_and_no_ring_goes_unheard() {
    for refusals in [0, 1, 3] {
        in_any_order(move || ring_a_bell_of_a_port(refusals));
    }
}

#[cfg(feature = "fake-port")]
fn ring_a_bell_of_a_port(refusals: u64) {
    let posted = Arc::new(Posted(Mutex::default(), AtomicU64::new(refusals)));
    let bell = Arc::new(iocp::Bell::new(Arc::clone(&posted) as Arc<dyn port::Post>));
    let done = Arc::new(AtomicU64::new(0));
    let ringers: Vec<_> = (0..2)
        .map(|_| {
            let (bell, done) = (Arc::clone(&bell), Arc::clone(&done));
            thread::spawn(move || {
                done.fetch_add(1, Ordering::SeqCst);
                bell.ring();
            })
        })
        .collect();
    let mut seen = 0;
    while seen < 2 {
        if std::mem::take(&mut *posted.0.lock().unwrap()) > 0 {
            bell.was_heard();
            seen = done.load(Ordering::SeqCst);
        }
        thread::yield_now();
    }
    ringers.into_iter().for_each(|ringer| ringer.join().unwrap());
}

#[cfg(feature = "fake-port")]
#[test]
fn each_wait_that_was_signalled_is_told_of_once_to_one_who_sleeps() {
    in_any_order(|| {
        let (sleeper, wakeup) = Sleeper::new();
        let signalled = Arc::new(iocp::signalled::Signalled::new(wakeup));
        let tellers: Vec<_> = (1..=3)
            .map(|number| {
                let signalled = Arc::clone(&signalled);
                thread::spawn(move || signalled.tell(Token(number)))
            })
            .collect();
        let mut heard = Vec::new();
        while heard.len() < 3 {
            sleeper.sleep();
            heard.extend(signalled.take());
        }
        tellers.into_iter().for_each(|teller| teller.join().unwrap());
        heard.sort_by_key(|token| token.0);
        assert_eq!(heard, [Token(1), Token(2), Token(3)]);
        assert!(!signalled.has(Token(1)) && signalled.take().is_empty());
    });
}

/// Children that end when they are told to, by their numbers.
#[derive(Default)]
struct Children {
    /// The keys of those that are watched.
    watched: Mutex<Vec<(usize, usize)>>,
    has_ended: [AtomicBool; 3],
    /// How often each was found to be over.
    fetched: [AtomicU64; 3],
    /// Threads that wait for them.
    waiters: AtomicU64,
}

struct Watched(Arc<Children>);

impl Watch for Watched {
    type Child = usize;

    fn add(&self, key: usize, child: &usize) -> std::io::Result<()> {
        self.0.watched.lock().unwrap().push((key, *child));
        Ok(())
    }

    fn remove(&self, child: &usize) {
        self.0.watched.lock().unwrap().retain(|(_, other)| other != child);
    }

    fn wait(&self, keys: &mut Vec<usize>) -> std::io::Result<()> {
        assert_eq!(self.0.waiters.fetch_add(1, Ordering::SeqCst), 0, "one thread waits for all");
        while keys.is_empty() {
            let watched = self.0.watched.lock().unwrap();
            let ended = watched.iter().filter(|(_, child)| self.0.has_ended[*child].load(Ordering::SeqCst));
            keys.extend(ended.map(|(key, _)| *key));
            drop(watched);
            thread::yield_now();
        }
        self.0.waiters.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    }

    fn is_over(&self, child: &usize) -> bool {
        let is_over = self.0.has_ended[*child].load(Ordering::SeqCst);
        if is_over {
            self.0.fetched[*child].fetch_add(1, Ordering::SeqCst);
        }
        is_over
    }

    fn wait_blocking(&self, _: usize) {
        unreachable!("all of them can be watched");
    }
}

#[test]
fn each_orphan_is_fetched_once_by_one_thread_which_goes_when_none_is_left() {
    in_any_order(|| {
        let children = Arc::new(Children::default());
        let reaper = Arc::new(Reaper::new(Watched(Arc::clone(&children))));
        // One is there already when it ends, one ends as it comes, and one comes when the others may be gone.
        Reaper::add(&reaper, 0);
        let (other, ending) = (Arc::clone(&reaper), Arc::clone(&children));
        let adopter = thread::spawn(move || {
            Reaper::add(&other, 1);
            ending.has_ended[1].store(true, Ordering::SeqCst);
        });
        children.has_ended[0].store(true, Ordering::SeqCst);
        adopter.join().unwrap();
        children.has_ended[2].store(true, Ordering::SeqCst);
        Reaper::add(&reaper, 2);
        while children.fetched.iter().any(|fetched| fetched.load(Ordering::SeqCst) == 0) {
            thread::yield_now();
        }
        drop(reaper);
        // A thread that stayed would go round for good, which ends a run as a failure.
        assert!(children.fetched.iter().all(|fetched| fetched.load(Ordering::SeqCst) == 1));
    });
}

/// A watch that breaks when it is waited for.
struct Broken(Arc<AtomicU64>);

impl Watch for Broken {
    type Child = ();

    fn add(&self, _: usize, (): &()) -> std::io::Result<()> {
        Ok(())
    }

    fn remove(&self, (): &()) {}

    fn wait(&self, _: &mut Vec<usize>) -> std::io::Result<()> {
        Err(std::io::ErrorKind::OutOfMemory.into())
    }

    fn is_over(&self, (): &()) -> bool {
        unreachable!("nothing is told of")
    }

    fn wait_blocking(&self, (): ()) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_reaper_that_can_wait_no_more_gives_each_orphan_a_thread_of_its_own() {
    in_any_order(|| {
        let given = Arc::new(AtomicU64::new(0));
        let reaper = Arc::new(Reaper::new(Broken(Arc::clone(&given))));
        let other = Arc::clone(&reaper);
        let adopter = thread::spawn(move || Reaper::add(&other, ()));
        Reaper::add(&reaper, ());
        adopter.join().unwrap();
        while given.load(Ordering::SeqCst) < 2 {
            thread::yield_now();
        }
    });
}
