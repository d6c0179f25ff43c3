//! Point 10 where the OS has a signal to tell of an error: a write that nobody will read is an error, and ends no
//! process.

use std::mem::MaybeUninit;
#[cfg(unix)]
use std::os::fd::AsRawFd;
#[cfg(unix)]
use std::os::unix::net::UnixStream;

use corella::{ErrorKind, File, Io, OpenOptions, Shutdown};

#[cfg(unix)]
use crate::lanes::make_fifo;
use crate::promises;
#[cfg(unix)]
use crate::setup::{Setup, refuse_call, refuse_call_with_flag};

promises![
    #[cfg(unix)]
    a_write_that_nobody_will_read_is_an_error_and_ends_no_process,
    #[cfg(unix)]
    a_write_that_nobody_will_read_ends_no_process_on_a_kernel_without_the_flag_for_it,
    #[cfg(unix)]
    a_write_that_nobody_will_read_ends_no_process_on_a_kernel_without_flags,
    #[cfg(unix)]
    a_signal_that_the_host_holds_back_stays_the_hosts,
];

/// RWF_NOSIGNAL of linux/fs.h, since Linux 6.18.
const NO_SIGNAL: u32 = 0x100;

/// Has SIGPIPE end this process, as it does in one that the Rust runtime has not prepared.
#[cfg(unix)]
fn let_the_signal_end_this_process() {
    // SAFETY: the default action runs none of this program's code.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

#[cfg(unix)]
fn has_signal(fill: impl FnOnce(*mut libc::sigset_t)) -> bool {
    let mut set = MaybeUninit::zeroed();
    fill(set.as_mut_ptr());
    // SAFETY: `fill` asked the system for the set, and all zeroes would be a valid one.
    unsafe { libc::sigismember(set.as_ptr(), libc::SIGPIPE) == 1 }
}

#[cfg(unix)]
fn is_pending() -> bool {
    // SAFETY: the set lives through the call.
    has_signal(|set| assert_eq!(unsafe { libc::sigpending(set) }, 0))
}

#[cfg(unix)]
fn is_held_back() -> bool {
    // SAFETY: the set lives through the call, which changes nothing.
    has_signal(|set| assert_eq!(unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), set) }, 0))
}

/// Writes to a stream that has lost its reader: plainly, or as several parts with more writes behind.
fn broken_pipe(file: &File, has_parts: bool) {
    if !has_parts {
        let failed = file.write(vec![7; 3]).wait().unwrap_err();
        return assert_eq!((failed.error.os_code(), failed.buffer), (Some(libc::EPIPE), vec![7; 3]));
    }
    let first = file.write([vec![1; 3], vec![2; 3]]).submit().unwrap();
    let others: Vec<_> = (0..3).map(|_| file.write("behind").submit()).collect();
    let failed = first.wait().unwrap_err();
    assert_eq!((failed.error.os_code(), failed.buffer), (Some(libc::EPIPE), [vec![1; 3], vec![2; 3]]));
    for other in others {
        let error = other.and_then(|other| other.wait()).unwrap_err().error;
        assert_eq!(error.kind(), ErrorKind::LaneBroken, "{error}");
    }
}

fn adopted_pipe(io: &Io) -> (std::io::PipeReader, File) {
    let (reader, writer) = crate::setup::pipe();
    (reader, io.adopt_file(writer, "pipe").unwrap())
}

/// Writes to everything that can lose its reader, before and while the write is on its way.
#[cfg(unix)]
fn write_without_readers(setup: &Setup) {
    [false, true].into_iter().for_each(|has_parts| write_to_all(setup, has_parts));
}

#[cfg(unix)]
fn write_to_all(setup: &Setup, has_parts: bool) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let (reader, writer) = adopted_pipe(&io);
    drop(reader);
    broken_pipe(&writer, has_parts);

    let (reader, writer) = adopted_pipe(&io);
    let write = writer.write(vec![0; 1 << 20]).submit().unwrap();
    for _ in 0..10 {
        scheduler.poll().unwrap();
    }
    assert!(!write.is_settled());
    drop(reader);
    let failed = write.wait().unwrap_err();
    assert_eq!(failed.error.os_code(), Some(libc::EPIPE));
    assert!(failed.moved.bytes() > 0);

    let (reader, writer) = crate::setup::pipe();
    // SAFETY: changes the mode of a description that is this test's alone.
    assert_eq!(unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) }, 0);
    let writer = io.adopt_file(writer, "pipe").unwrap();
    drop(reader);
    broken_pipe(&writer, has_parts);

    let fifo = make_fifo(setup);
    let reader = io.open(&fifo, OpenOptions::new().read(true)).submit().unwrap();
    let writer = io.open(&fifo, OpenOptions::new().write(true)).wait().unwrap();
    reader.wait().unwrap().close().wait().unwrap();
    broken_pipe(&writer, has_parts);
    std::fs::remove_file(fifo).unwrap();

    let (reader, writer) = UnixStream::pair().unwrap();
    let writer = io.adopt_file(std::os::fd::OwnedFd::from(writer), "pair").unwrap();
    drop(reader);
    broken_pipe(&writer, has_parts);

    let (socket, peer) = setup.connection(&io);
    drop(peer);
    while socket.send("x").wait().is_ok() {}
    let (socket, _peer) = setup.connection(&io);
    socket.shutdown(Shutdown::Write).wait().unwrap();
    assert!(socket.send([vec![1; 3], vec![2; 3]]).wait().is_err());

    // What has no readers to lose.
    assert_eq!(io.open("/dev/null", OpenOptions::new().write(true)).wait().unwrap().write("x").wait().unwrap().0, 1);
    assert!(!is_pending() && !is_held_back());
}

#[cfg(unix)]
fn a_write_that_nobody_will_read_is_an_error_and_ends_no_process(setup: &Setup) {
    if setup.is_own_process() {
        let_the_signal_end_this_process();
        write_without_readers(setup);
    }
}

#[cfg(unix)]
fn a_write_that_nobody_will_read_ends_no_process_on_a_kernel_without_the_flag_for_it(setup: &Setup) {
    if setup.is_own_process() {
        let_the_signal_end_this_process();
        for call in [libc::SYS_preadv2, libc::SYS_pwritev2] {
            refuse_call_with_flag(call, NO_SIGNAL, libc::EOPNOTSUPP);
        }
        write_without_readers(setup);
    }
}

#[cfg(unix)]
fn a_write_that_nobody_will_read_ends_no_process_on_a_kernel_without_flags(setup: &Setup) {
    if setup.is_own_process() {
        let_the_signal_end_this_process();
        for call in [libc::SYS_preadv2, libc::SYS_pwritev2] {
            refuse_call(call, libc::ENOSYS);
        }
        write_without_readers(setup);
    }
}

#[cfg(unix)]
fn a_signal_that_the_host_holds_back_stays_the_hosts(setup: &Setup) {
    if !setup.is_own_process() {
        return;
    }
    let_the_signal_end_this_process();
    for call in [libc::SYS_preadv2, libc::SYS_pwritev2] {
        refuse_call_with_flag(call, NO_SIGNAL, libc::EOPNOTSUPP);
    }
    let scheduler = setup.scheduler();
    let lose_reader = || {
        let (reader, writer) = adopted_pipe(&scheduler.io());
        drop(reader);
        broken_pipe(&writer, false);
    };
    let mut set = MaybeUninit::zeroed();
    // SAFETY: the set lives through the calls, which hold the signal back from this thread.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGPIPE);
        assert_eq!(libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut()), 0);
    }
    lose_reader();
    assert!(is_held_back() && !is_pending(), "the write's own is taken away");
    // SAFETY: sends a signal that this thread holds back.
    assert_eq!(unsafe { libc::raise(libc::SIGPIPE) }, 0);
    lose_reader();
    assert!(is_held_back() && is_pending(), "the host's is left");
}
