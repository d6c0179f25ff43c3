//! Point 8 in the depths: what backends owe of it. Nothing spins, and nothing that waits takes what others need.

use std::io::Write;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use corella::{ErrorKind, Mode, Scheduler};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::lanes::make_fifo;
use crate::promises;
use crate::setup::{Setup, refuse_call};

promises![
    an_idle_scheduler_sleeps_after_a_look_up,
    an_idle_scheduler_sleeps_beside_a_pipe_that_nobody_reads,
    the_os_handle_is_not_readable_once_all_is_done,
    has_work_says_true_of_what_has_not_been_handed_over,
    opens_that_wait_take_no_thread_that_files_need,
    opens_given_up_take_no_thread_for_good,
    a_close_without_a_thread_to_be_had_closes_all_the_same,
];

const SOON: Duration = Duration::from_secs(5);

/// Turns until `is_done`, which has to come true.
fn turn_until(scheduler: &mut Scheduler, what: &str, mut is_done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_done() {
        assert!(start.elapsed() < SOON, "{what}: not after {SOON:?}");
        scheduler.turn(Duration::from_millis(20)).unwrap();
    }
}

/// How often turns of 200 ms return within 200 ms, with nothing to do.
fn idle_turns(scheduler: &mut Scheduler) -> u32 {
    let limit = Duration::from_millis(200);
    let start = Instant::now();
    let mut turns = 0;
    while start.elapsed() < limit {
        scheduler.turn(limit).unwrap();
        turns += 1;
    }
    turns
}

/// Late news of what is over already may end a few turns early; one that spins has thousands.
const IDLE_TURNS_MAX: u32 = 20;

fn set_nonblocking(descriptor: impl AsFd, yes: bool) {
    let mut flags = rustix::fs::fcntl_getfl(&descriptor).unwrap();
    flags.set(rustix::fs::OFlags::NONBLOCK, yes);
    rustix::fs::fcntl_setfl(&descriptor, flags).unwrap();
}

fn an_idle_scheduler_sleeps_after_a_look_up(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    scheduler.io().resolve("127.0.0.1", 80).wait().unwrap();
    let turns = idle_turns(&mut scheduler);
    assert!(turns <= IDLE_TURNS_MAX, "{turns} turns");
}

fn an_idle_scheduler_sleeps_beside_a_pipe_that_nobody_reads(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let (reader, mut writer) = std::io::pipe().unwrap();
    set_nonblocking(&reader, true);
    let pipe = io.adopt_file(reader, "pipe").unwrap();
    let read = pipe.read(vec![0; 1]).submit().unwrap();
    scheduler.poll().unwrap();
    scheduler.poll().unwrap();
    writer.write_all(b"a").unwrap();
    read.wait().unwrap();
    writer.write_all(b"b").unwrap();
    let turns = idle_turns(&mut scheduler);
    assert!(turns <= IDLE_TURNS_MAX, "{turns} turns");
    // It was not lost by that.
    assert_eq!(pipe.read(vec![0; 9]).wait().unwrap().0, 1);
}

fn the_os_handle_is_not_readable_once_all_is_done(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let remote = scheduler.remote();
    io.resolve("127.0.0.1", 80).wait().unwrap();
    let file = io.open(setup.file("data", b"content"), Mode::Read).wait().unwrap();
    file.read_at(vec![0; 7], 0).submit().unwrap().wait().unwrap();
    for round in 0..3 {
        let mut loops = 0;
        loop {
            let timeout = scheduler.prepare_wait().unwrap();
            let quiet = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
            let is_quiet = timeout.is_none() && {
                let handle = scheduler.os_handle();
                let mut watched = [PollFd::new(&handle, PollFlags::IN)];
                poll(&mut watched, Some(&quiet)).unwrap() == 0
            };
            if is_quiet {
                break;
            }
            scheduler.poll().unwrap();
            loops += 1;
            assert!(loops <= IDLE_TURNS_MAX, "round {round}: the handle stays readable");
        }
        // Another thread's call, which finds the scheduler about to wait.
        remote.wake();
    }
}

fn has_work_says_true_of_what_has_not_been_handed_over(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let file = io.open(setup.file("data", b"content"), Mode::Read).wait().unwrap();
    // A safe point of a virtual machine: it polls when there is something to do, and not otherwise.
    let safe_point = |scheduler: &mut Scheduler| {
        if scheduler.has_work() {
            scheduler.poll().unwrap();
        }
    };
    let read = file.read_at(vec![0; 7], 0).submit().unwrap();
    let look_up = io.resolve("127.0.0.1", 80).submit().unwrap();
    let start = Instant::now();
    while !read.is_settled() || !look_up.is_settled() {
        assert!(start.elapsed() < SOON, "read {:?}, look-up {:?}", read.progress(), look_up.progress());
        safe_point(&mut scheduler);
    }
    read.wait().unwrap();
    look_up.wait().unwrap();
}

fn opens_that_wait_take_no_thread_that_files_need(setup: &Setup) {
    let mut scheduler = setup.builder().pool_threads(2).build().unwrap();
    let io = scheduler.io();
    let fifo = make_fifo(setup);
    let path = setup.file("data", b"content");
    let file = io.open(&path, Mode::ReadWrite).wait().unwrap();
    // More than are at an OS at once.
    let opens: Vec<_> = (0..100).map(|_| io.open(&fifo, Mode::Read).submit().unwrap()).collect();
    for _ in 0..20 {
        scheduler.turn(Duration::from_millis(1)).unwrap();
    }
    let stat = io.stat(&path).submit().unwrap();
    let sync = file.sync().submit().unwrap();
    let read = file.read_at(vec![0; 7], 0).submit().unwrap();
    turn_until(&mut scheduler, "a stat, a sync and a read beside opens of a FIFO", || {
        stat.is_settled() && sync.is_settled() && read.is_settled()
    });
    let close = file.close().submit().unwrap();
    turn_until(&mut scheduler, "a close beside opens of a FIFO", || close.is_settled());
    assert!(opens.iter().all(|open| !open.is_settled()));
    opens[99].cancel();
    turn_until(&mut scheduler, "a cancel of the last in line", || opens[99].is_settled());
    let start = Instant::now();
    drop(io.open(&path, Mode::Read).wait().unwrap());
    drop(scheduler);
    assert!(start.elapsed() < SOON, "the end waited for opens that nobody wants");
}

fn opens_given_up_take_no_thread_for_good(setup: &Setup) {
    let scheduler = setup.builder().pool_threads(2).build().unwrap();
    let io = scheduler.io();
    let fifo = make_fifo(setup);
    for _ in 0..10 {
        let open = io.open(&fifo, Mode::Read).deadline(Duration::from_millis(5)).wait();
        assert_eq!(open.unwrap_err().kind(), ErrorKind::TimedOut);
    }
    // What waits for others waits among themselves, and these are gone.
    io.resolve("127.0.0.1", 80).deadline(SOON).wait().unwrap();
    io.stat(&fifo).deadline(SOON).wait().unwrap();
    let other = std::thread::spawn({
        let fifo = fifo.clone();
        move || std::fs::File::options().write(true).open(fifo).unwrap()
    });
    io.open(&fifo, Mode::Read).deadline(SOON).wait().unwrap();
    drop(other.join().unwrap());
}

fn a_close_without_a_thread_to_be_had_closes_all_the_same(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let path = setup.file("data", b"content");
    let files: Vec<_> = (0..4).map(|_| io.adopt_file(std::fs::File::open(&path).unwrap(), "data").unwrap()).collect();
    for call in [libc::SYS_clone, libc::SYS_clone3] {
        refuse_call(call, libc::EAGAIN);
    }
    // The refusal is real.
    assert!(std::thread::Builder::new().spawn(|| {}).is_err());
    for file in files {
        file.close().wait().unwrap();
    }
    let entries = std::fs::read_dir("/proc/self/fd").unwrap();
    let open = entries.filter(|entry| std::fs::read_link(entry.as_ref().unwrap().path()).is_ok_and(|to| to == path));
    assert_eq!(open.count(), 0);
}
