//! Writes to what nobody will read any more answer EPIPE and send no SIGPIPE, which would end a host that has not
//! prepared for it.
//!
//! Sockets have a flag against it, and so have pipes where the kernel is new enough ([`write_flag`]). Elsewhere the
//! signal, which the kernel sends to the thread that writes, is held back from that thread and taken away
//! ([`without_signal`]); threads of the pool hold it back for good. What the host does with the signal is left as it is.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::ptr::null_mut;

use super::{Fault, Outcome};

thread_local! {
    static IS_HELD_BACK: Cell<bool> = const { Cell::new(false) };
}

/// Has this thread, which is one of our own, never get the signal.
pub(super) fn hold_back_for_good() {
    // SAFETY: the set is one that `only_sigpipe` has made, and lives through the call.
    let result = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &only_sigpipe(), null_mut()) };
    IS_HELD_BACK.set(result == 0);
}

/// Makes a call with the signal let through, as a program that is started in it would keep it held back for good. The call
/// writes to no stream.
pub(super) fn let_through<T>(call: impl FnOnce() -> T) -> T {
    if !IS_HELD_BACK.get() {
        return call();
    }
    // SAFETY: the set is one that `only_sigpipe` has made, and lives through the call.
    unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &only_sigpipe(), null_mut()) };
    let result = call();
    hold_back_for_good();
    result
}

/// Makes a call that may write to a stream, and sees to it that no signal comes of it.
pub(super) fn without_signal(call: impl FnOnce() -> Outcome) -> Outcome {
    if IS_HELD_BACK.get() || is_ignored() {
        return call();
    }
    let was_pending = is_pending();
    let mut before = MaybeUninit::uninit();
    // SAFETY: both sets live through the call, which fills the second.
    let before = unsafe {
        libc::pthread_sigmask(libc::SIG_BLOCK, &only_sigpipe(), before.as_mut_ptr());
        before.assume_init()
    };
    let outcome = call();
    // One that was pending before is the host's, and the thread has no two of them.
    if matches!(outcome, Err(Fault::Os(libc::EPIPE))) && !was_pending {
        take_away();
    }
    // SAFETY: `before` was filled by the first call, which cannot fail with arguments as these.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &before, null_mut()) };
    outcome
}

/// Whether the host ignores the signal, so that nothing is to be seen to.
pub(super) fn is_ignored() -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: the call changes nothing and fills the structure, unless it fails.
    unsafe {
        libc::sigaction(libc::SIGPIPE, std::ptr::null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

fn only_sigpipe() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: the first call makes an empty set, which the second adds to.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGPIPE);
        set.assume_init()
    }
}

fn is_pending() -> bool {
    let mut set = MaybeUninit::uninit();
    // SAFETY: the first call fills the set that the second looks at, unless it fails.
    unsafe { libc::sigpending(set.as_mut_ptr()) == 0 && libc::sigismember(set.as_ptr(), libc::SIGPIPE) == 1 }
}

/// Takes a pending signal away that this thread holds back; its own before one of the process.
#[cfg(not(any(target_vendor = "apple", target_os = "openbsd")))]
fn take_away() {
    let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: set and time live through the call, which with no time to wait only looks.
    while unsafe { libc::sigtimedwait(&only_sigpipe(), null_mut(), &now) } == -1 {
        if std::io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
            return;
        }
    }
}

#[cfg(any(target_vendor = "apple", target_os = "openbsd"))]
fn take_away() {
    if is_pending() {
        let mut number = 0;
        // SAFETY: set and number live through the call. It finds what is pending, and so does not wait.
        unsafe { libc::sigwait(&only_sigpipe(), &mut number) };
    }
}

#[cfg(target_os = "linux")]
mod flag {
    use std::sync::atomic::{AtomicI32, Ordering};

    use rustix::event::{EventfdFlags, eventfd};
    use std::os::fd::AsRawFd;

    /// RWF_NOSIGNAL of linux/fs.h, since Linux 6.18.
    const NO_SIGNAL: libc::c_int = 0x100;
    const UNKNOWN: libc::c_int = -1;

    static FLAG: AtomicI32 = AtomicI32::new(UNKNOWN);

    /// The flag of a write that asks for no signal; zero where the kernel has none. It is asked once.
    pub(in crate::backend) fn write_flag() -> libc::c_int {
        match FLAG.load(Ordering::Relaxed) {
            UNKNOWN => {
                let Some(flag) = ask() else { return 0 };
                FLAG.store(flag, Ordering::Relaxed);
                flag
            }
            known => known,
        }
    }

    /// Asks the kernel, by a read that its file refuses whatever the flags; nothing if that could not be done now.
    fn ask() -> Option<libc::c_int> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).ok()?;
        let mut byte = 0u8;
        let part = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
        // SAFETY: the part and its byte live through the call.
        let result = unsafe { libc::preadv2(event.as_raw_fd(), &part, 1, -1, NO_SIGNAL) };
        let code = std::io::Error::last_os_error().raw_os_error();
        // An event has eight bytes, and one is too few; a kernel that lacks the flag says so before it looks.
        Some(if result == -1 && code == Some(libc::EINVAL) { NO_SIGNAL } else { 0 })
    }
}

#[cfg(target_os = "linux")]
pub(super) use flag::write_flag;
