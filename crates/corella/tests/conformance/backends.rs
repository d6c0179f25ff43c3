//! Point 8 in the depths: what backends owe of it. Nothing spins, and nothing that waits takes what others need.

use std::io::Write;
#[cfg(unix)]
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use corella::{BackendKind, ErrorKind, Mode, Scheduler};

#[cfg(unix)]
use crate::lanes::make_fifo;
use crate::promises;
use crate::setup::Setup;
#[cfg(unix)]
use crate::setup::refuse_call;

promises![
    #[cfg(unix)]
    positioned_reads_of_a_shared_file_take_nothing_out_of_it,
    an_idle_scheduler_sleeps_after_a_look_up,
    an_idle_scheduler_sleeps_beside_a_pipe_that_nobody_reads,
    the_os_handle_is_not_readable_once_all_is_done,
    a_call_that_came_before_a_foreign_loop_watches_does_not_keep_it_awake,
    has_work_says_true_of_what_has_not_been_handed_over,
    #[cfg(unix)]
    opens_that_wait_take_no_thread_that_files_need,
    #[cfg(unix)]
    opens_given_up_take_no_thread_for_good,
    #[cfg(unix)]
    a_fifo_whose_writer_came_and_went_before_its_turn_is_open_for_what_was_written,
    #[cfg(unix)]
    a_close_without_a_thread_to_be_had_closes_all_the_same,
    #[cfg(unix)]
    a_write_to_a_full_stream_is_stopped_in_time,
    #[cfg(unix)]
    a_read_of_bytes_that_another_took_is_stopped_in_time,
    #[cfg(unix)]
    a_mode_that_others_change_makes_no_call_wait_or_fail,
    #[cfg(unix)]
    a_socket_that_others_make_non_blocking_still_waits,
    #[cfg(unix)]
    a_socket_that_becomes_a_listener_waits_like_one,
    #[cfg(unix)]
    a_terminal_is_waited_for_in_the_mode_that_it_has,
    #[cfg(unix)]
    a_close_that_lingers_holds_nobody_up,
    #[cfg(unix)]
    a_backend_that_takes_nothing_answers_with_its_error,
    #[cfg(unix)]
    a_device_is_read_beside_everything_else,
    #[cfg(windows)]
    a_socket_of_another_port_is_refused_with_the_reason_and_its_buffer,
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

#[cfg(unix)]
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
    let (reader, mut writer) = crate::setup::pipe();
    #[cfg(unix)]
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
            let is_quiet =
                timeout.is_none() && !crate::setup::is_told_within(scheduler.os_handle(), Duration::from_millis(50));
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

fn a_call_that_came_before_a_foreign_loop_watches_does_not_keep_it_awake(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let remote = scheduler.remote();
    let caller = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        remote.wake();
    });
    // It sleeps by itself when the call comes, and nothing is at the OS.
    scheduler.run_for(Duration::from_millis(60)).unwrap();
    caller.join().unwrap();
    for loops in 0.. {
        let timeout = scheduler.prepare_wait().unwrap();
        if timeout.is_none() && !crate::setup::is_told_within(scheduler.os_handle(), Duration::from_millis(50)) {
            break;
        }
        scheduler.poll().unwrap();
        assert!(loops <= IDLE_TURNS_MAX, "the handle stays readable");
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

#[cfg(unix)]
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

#[cfg(unix)]
fn a_fifo_whose_writer_came_and_went_before_its_turn_is_open_for_what_was_written(setup: &Setup) {
    let mut scheduler = setup.builder().pool_threads(2).build().unwrap();
    let io = scheduler.io();
    let nobodys = make_fifo(setup);
    let path = setup.path("second");
    std::fs::rename(&nobodys, &path).unwrap();
    let nobodys = make_fifo(setup);
    // As many as may be waited for at once.
    let others: Vec<_> = (0..64).map(|_| io.open(&nobodys, Mode::Read).submit().unwrap()).collect();
    let open = io.open(&path, Mode::Read).submit().unwrap();
    let writer = std::thread::spawn(move || std::fs::write(path, "whole message").unwrap());
    // Where a reader is there before its turn, the writer goes on; elsewhere it waits for the reader.
    for _ in 0..100 {
        scheduler.turn(Duration::from_millis(1)).unwrap();
    }
    others.iter().for_each(|other| other.cancel());
    turn_until(&mut scheduler, "an open of a FIFO that has been written to", || open.is_settled());
    let file = open.wait().unwrap();
    assert_eq!(file.read_to_end(Vec::new()).wait().unwrap().1, b"whole message");
    writer.join().unwrap();
}

#[cfg(unix)]
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

#[cfg(unix)]
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

/// Both ends of a pipe and of a FIFO, in blocking mode.
#[cfg(unix)]
fn blocking_streams(setup: &Setup) -> [(OwnedFd, OwnedFd); 2] {
    let (reader, writer) = crate::setup::pipe();
    let path = make_fifo(setup);
    let both = std::fs::File::options().read(true).write(true).open(&path).unwrap();
    let fifo_reader = std::fs::File::open(&path).unwrap();
    let fifo_writer = std::fs::File::options().write(true).open(&path).unwrap();
    drop(both);
    [(reader.into(), writer.into()), (fifo_reader.into(), fifo_writer.into())]
}

/// Drops a scheduler, which must not hang.
fn ends(scheduler: Scheduler) {
    let start = Instant::now();
    drop(scheduler);
    assert!(start.elapsed() < SOON, "the end took {:?}", start.elapsed());
}

#[cfg(unix)]
fn a_write_to_a_full_stream_is_stopped_in_time(setup: &Setup) {
    for (reader, writer) in blocking_streams(setup) {
        let mut scheduler = setup.scheduler();
        let file = scheduler.io().adopt_file(writer, "stream").unwrap();
        let write = file.write(vec![7; 1 << 20]).deadline(Duration::from_millis(20)).submit().unwrap();
        turn_until(&mut scheduler, "a write past its deadline", || write.is_settled());
        let failed = write.wait().unwrap_err();
        assert_eq!(failed.error.kind(), ErrorKind::TimedOut);
        // What it says it moved is what is there.
        let moved = failed.moved.bytes();
        assert!(moved > 0 && moved < 1 << 20, "{moved}");
        ends(scheduler);
        drop(file);
        set_nonblocking(&reader, true);
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut std::fs::File::from(reader), &mut bytes).unwrap();
        assert_eq!(bytes.len() as u64, moved);
    }
}

#[cfg(unix)]
fn a_read_of_bytes_that_another_took_is_stopped_in_time(setup: &Setup) {
    for (reader, writer) in blocking_streams(setup) {
        let mut scheduler = setup.scheduler();
        let io = scheduler.io();
        let mut writer = std::fs::File::from(writer);
        let files = [io.adopt_file(reader.try_clone().unwrap(), "one"), io.adopt_file(reader, "other")];
        for _ in 0..50 {
            let reads = [&files[0], &files[1]].map(|file| file.as_ref().unwrap().read(vec![0; 1]).submit().unwrap());
            scheduler.poll().unwrap();
            scheduler.poll().unwrap();
            // One byte for two, and each is told of it.
            writer.write_all(b"x").unwrap();
            turn_until(&mut scheduler, "one of two reads", || reads.iter().any(|read| read.is_settled()));
            reads.iter().for_each(|read| read.cancel());
            turn_until(&mut scheduler, "the other", || reads.iter().all(|read| read.is_settled()));
            let got = reads.into_iter().map(|read| read.wait()).filter(Result::is_ok).count();
            assert_eq!(got, 1);
        }
        ends(scheduler);
    }
}

#[cfg(unix)]
fn a_mode_that_others_change_makes_no_call_wait_or_fail(setup: &Setup) {
    for (reader, writer) in blocking_streams(setup) {
        let mut scheduler = setup.scheduler();
        let io = scheduler.io();
        let mut writer = std::fs::File::from(writer);
        let other = reader.try_clone().unwrap();
        let file = io.adopt_file(reader, "stream").unwrap();
        for nonblocking in [true, false, true, true, false, false] {
            set_nonblocking(&other, nonblocking);
            let read = file.read(vec![0; 4]).deadline(Duration::from_millis(10)).submit().unwrap();
            turn_until(&mut scheduler, "a read past its deadline", || read.is_settled());
            assert_eq!(read.wait().unwrap_err().error.kind(), ErrorKind::TimedOut);
            let read = file.read(vec![0; 4]).submit().unwrap();
            scheduler.poll().unwrap();
            writer.write_all(b"here").unwrap();
            turn_until(&mut scheduler, "a read of what is there", || read.is_settled());
            assert_eq!(read.wait().unwrap().1, b"here");
        }
        ends(scheduler);
    }
}

#[cfg(unix)]
fn a_socket_that_others_make_non_blocking_still_waits(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let (listener, connection) = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let connection = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (listener, connection)
    };
    let (mut peer, _) = listener.accept().unwrap();
    let (other, other_listener) = (connection.try_clone().unwrap(), listener.try_clone().unwrap());
    let io = scheduler.io();
    let (socket, listener) = (io.adopt_socket(connection).unwrap(), io.adopt_listener(listener).unwrap());
    other.set_nonblocking(true).unwrap();
    other_listener.set_nonblocking(true).unwrap();
    let receive = socket.recv(vec![0; 4]).submit().unwrap();
    let accept = listener.accept().submit().unwrap();
    for _ in 0..5 {
        scheduler.turn(Duration::from_millis(5)).unwrap();
    }
    assert!(!receive.is_settled() && !accept.is_settled());
    peer.write_all(b"here").unwrap();
    let _client = std::net::TcpStream::connect(listener.local_address().unwrap()).unwrap();
    turn_until(&mut scheduler, "a receive and an accept", || receive.is_settled() && accept.is_settled());
    assert_eq!(receive.wait().unwrap().1, b"here");
    accept.wait().unwrap();
}

#[cfg(unix)]
fn a_socket_that_becomes_a_listener_waits_like_one(setup: &Setup) {
    // With the opcodes missing the ring's own fallback does it, for which sockets are blocking.
    let masked = [io_uring::opcode::Connect::CODE, io_uring::opcode::Accept::CODE, io_uring::opcode::Recv::CODE];
    let builder = masked.iter().fold(setup.builder(), |builder, code| builder.mask_opcode(*code));
    let mut scheduler = builder.build().unwrap();
    let io = scheduler.io();
    let socket = io.socket("127.0.0.1:0".parse().unwrap()).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    // It is no connection, and is found to be none.
    assert_eq!(socket.recv(vec![0; 1]).wait().unwrap_err().error.os_code(), Some(libc::ENOTCONN));
    let listener = socket.listen().unwrap();
    let accept = listener.accept().deadline(Duration::from_millis(10)).submit().unwrap();
    turn_until(&mut scheduler, "an accept past its deadline", || accept.is_settled());
    assert_eq!(accept.wait().unwrap_err().kind(), ErrorKind::TimedOut);
    let accept = listener.accept().submit().unwrap();
    let _client = std::net::TcpStream::connect(listener.local_address().unwrap()).unwrap();
    accept.wait().unwrap();
}

#[cfg(unix)]
fn a_device_is_read_beside_everything_else(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    for device in ["/dev/zero", "/dev/random", "/dev/urandom"] {
        let file = io.open(device, Mode::Read).wait().unwrap();
        let read = file.read(vec![0; 64 << 20]).submit().unwrap();
        scheduler.poll().unwrap();
        // By a thread of its own, or so little at once that nobody is held up.
        let is_settled = read.is_settled();
        let (count, _) = read.wait().unwrap();
        assert!(count > 0 && (!is_settled || count <= 1 << 20), "{device}: {count} bytes at once");
        // Whole all the same, in parts too.
        let (count, bytes) = file.read_exact(vec![vec![1; 3 << 20], vec![1; 5]]).wait().unwrap();
        assert_eq!(count, (3 << 20) + 5);
        assert!(device != "/dev/zero" || bytes.iter().flatten().all(|byte| *byte == 0));
    }
}

#[cfg(unix)]
fn a_terminal_is_waited_for_in_the_mode_that_it_has(setup: &Setup) {
    let (mut keyboard, mut terminal) = (-1, -1);
    let none = std::ptr::null_mut();
    // SAFETY: the two numbers live through the call; nothing else is asked for.
    assert_eq!(unsafe { libc::openpty(&mut keyboard, &mut terminal, none, none.cast(), none.cast()) }, 0);
    // SAFETY: both are fresh from the kernel.
    let [keyboard, terminal] = [keyboard, terminal].map(|raw| unsafe { OwnedFd::from_raw_fd(raw) });
    let mut scheduler = setup.scheduler();
    let file = scheduler.io().adopt_file(terminal.try_clone().unwrap(), "terminal").unwrap();
    let read = file.read(vec![0; 10]).deadline(Duration::from_millis(10)).submit().unwrap();
    turn_until(&mut scheduler, "a read past its deadline", || read.is_settled());
    assert_eq!(read.wait().unwrap_err().error.kind(), ErrorKind::TimedOut);
    let read = file.read(vec![0; 10]).submit().unwrap();
    scheduler.poll().unwrap();
    rustix::io::write(&keyboard, b"typed\n").unwrap();
    turn_until(&mut scheduler, "a read of a line", || read.is_settled());
    let (count, line) = read.wait().unwrap();
    assert_eq!(&line[..count], b"typed\n");
    // Nobody looks at what is shown.
    let write = file.write(vec![b'x'; 1 << 20]).deadline(Duration::from_millis(20)).submit().unwrap();
    turn_until(&mut scheduler, "a write past its deadline", || write.is_settled());
    assert_eq!(write.wait().unwrap_err().error.kind(), ErrorKind::TimedOut);
    assert!(!rustix::fs::fcntl_getfl(&terminal).unwrap().contains(rustix::fs::OFlags::NONBLOCK));
    ends(scheduler);
}

#[cfg(unix)]
fn a_close_that_lingers_holds_nobody_up(setup: &Setup) {
    // A child that is started elsewhere in the process has a copy of the socket for a moment, and the close would not
    // be the last.
    if !setup.is_own_process() {
        return;
    }
    let lingering = Duration::from_secs(1);
    for is_adopted in [false, true] {
        let scheduler = setup.scheduler();
        let io = scheduler.io();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (peer, _) = listener.accept().unwrap();
        if is_adopted {
            rustix::net::sockopt::set_socket_linger(&stream, Some(lingering)).unwrap();
        }
        let socket = io.adopt_socket(stream).unwrap();
        if !is_adopted {
            socket.set_linger(Some(lingering)).unwrap();
        }
        // More than the peer, which never looks, has room for.
        let send = socket.send(vec![7; 32 << 20]).deadline(Duration::from_millis(50)).wait();
        assert_eq!(send.unwrap_err().error.kind(), ErrorKind::TimedOut);
        let start = Instant::now();
        let close = socket.close_now().submit().unwrap();
        let mut ticks = 0;
        while !close.is_settled() {
            io.sleep(Duration::from_millis(1)).wait().unwrap();
            ticks += 1;
        }
        assert!(start.elapsed() >= lingering / 2, "it did not linger: {:?}", start.elapsed());
        // On the scheduler's thread it would be one or two.
        assert!(ticks > 50, "{ticks} ticks in {:?}", start.elapsed());
        close.wait().unwrap();
        drop(peer);
    }
}

#[cfg(unix)]
fn a_backend_that_takes_nothing_answers_with_its_error(setup: &Setup) {
    let scheduler = setup.builder().ring_entries(4).build().unwrap();
    if scheduler.backend() != BackendKind::Uring || !setup.is_own_process() {
        return;
    }
    let io = scheduler.io();
    // Somebody has taken the ring's number away, and something else has it.
    let ring = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .flatten()
        .find(|entry| std::fs::read_link(entry.path()).is_ok_and(|link| link.to_string_lossy().contains("[io_uring]")));
    let ring: i32 = ring.unwrap().file_name().to_str().unwrap().parse().unwrap();
    let other = std::fs::File::open("/dev/null").unwrap();
    // SAFETY: both are numbers of open descriptors, and the process is this promise's alone.
    assert!(unsafe { libc::dup2(std::os::fd::AsRawFd::as_raw_fd(&other), ring) } >= 0);
    let stats: Vec<_> = (0..20).map(|_| io.stat("/").submit().unwrap()).collect();
    // Those beyond the ring's room were told at once; the others are lost with it.
    let told: Vec<_> = stats.into_iter().filter_map(|stat| stat.take().map_err(std::mem::forget).ok()).collect();
    assert!(told.len() >= 12, "{}", told.len());
    for outcome in told {
        let code = outcome.unwrap_err().os_code();
        assert!(matches!(code, Some(libc::EBADF | libc::EOPNOTSUPP)), "{code:?}");
    }
    // It gives up, and leaks what it cannot reap.
    drop(scheduler);
}

#[cfg(unix)]
fn positioned_reads_of_a_shared_file_take_nothing_out_of_it(setup: &Setup) {
    use std::os::fd::AsRawFd;
    // Its standard input is the whole process's.
    if !setup.is_own_process() {
        return;
    }
    let file = std::fs::File::open(setup.file("input", b"0123456789ABCDEFGHIJ")).unwrap();
    // SAFETY: nothing else of this process uses its standard input.
    assert_eq!(unsafe { libc::dup2(file.as_raw_fd(), 0) }, 0);
    let mut scheduler = setup.scheduler();
    let input = scheduler.io().stdin().unwrap();
    let positioned = input.read_at(vec![0; 4], 10).submit().unwrap();
    turn_until(&mut scheduler, "a positioned read", || positioned.is_settled());
    drop(positioned);
    // Given up once it has read: those bytes are gone from the file that others share, and are the next one's.
    let at_the_cursor = input.read(vec![0; 4]).submit().unwrap();
    turn_until(&mut scheduler, "a read at the cursor", || at_the_cursor.is_settled());
    drop(at_the_cursor);
    assert_eq!(input.read_at(vec![0; 4], 16).wait().unwrap().1, b"GHIJ");
    assert_eq!(input.read(vec![0; 4]).wait().unwrap().1, b"0123");
    assert_eq!(input.read(vec![0; 4]).wait().unwrap().1, b"4567");
}

#[cfg(windows)]
fn a_socket_of_another_port_is_refused_with_the_reason_and_its_buffer(setup: &Setup) {
    use std::os::windows::io::{AsRawSocket, FromRawHandle, OwnedHandle};

    use windows_sys::Win32::Foundation::INVALID_HANDLE_VALUE;
    use windows_sys::Win32::System::IO::CreateIoCompletionPort;
    let peer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    // SAFETY: the socket is open; the port is made by this call, and owned once it is known to be there.
    let _elsewhere = unsafe {
        let port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, std::ptr::null_mut(), 0, 0);
        assert!(!port.is_null(), "{}", std::io::Error::last_os_error());
        assert_eq!(CreateIoCompletionPort(socket.as_raw_socket() as _, port, 7, 0), port);
        OwnedHandle::from_raw_handle(port)
    };
    let scheduler = setup.scheduler();
    let socket = scheduler.io().adopt_datagrams(socket).unwrap();
    let failed = socket.recv_from(vec![7; 4]).wait().unwrap_err();
    assert_eq!((failed.error.kind(), &failed.buffer[..]), (ErrorKind::InvalidInput, &[7; 4][..]));
    assert_eq!(failed.error.os_code(), Some(87));
    assert!(
        failed.to_string().ends_with("(os error 87): the socket belongs to another completion port already"),
        "{failed}"
    );
    let failed = socket.send_to("kept", peer.local_addr().unwrap()).wait().unwrap_err();
    assert_eq!(failed.buffer, "kept");
    socket.close().wait().unwrap();
}
