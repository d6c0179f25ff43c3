//! Readiness: epoll, level-triggered, and non-blocking sockets.

use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd, IntoRawFd};
use std::sync::atomic::Ordering;

use contender::{Arguments, Run};

pub fn set_no_delay(descriptor: c_int) {
    let yes: c_int = 1;
    // SAFETY: the option's value is an int that lives for the call.
    unsafe {
        let (value, size) = ((&raw const yes).cast::<c_void>(), size_of::<c_int>() as u32);
        libc::setsockopt(descriptor, libc::IPPROTO_TCP, libc::TCP_NODELAY, value, size);
    }
}

fn watch(set: c_int, descriptor: c_int) {
    let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: descriptor as u64 };
    // SAFETY: the event lives for the call.
    assert_eq!(unsafe { libc::epoll_ctl(set, libc::EPOLL_CTL_ADD, descriptor, &mut event) }, 0);
}

/// Sends all; a full socket, which an echo of one message at a time never meets, is polled for.
fn send_all(descriptor: c_int, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        // SAFETY: the bytes live for the call.
        let sent = unsafe { libc::send(descriptor, bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) };
        match sent {
            sent if sent > 0 => bytes = &bytes[sent as usize..],
            _ if io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock => {
                let mut poll = libc::pollfd { fd: descriptor, events: libc::POLLOUT, revents: 0 };
                // SAFETY: the structure lives for the call.
                unsafe { libc::poll(&mut poll, 1, -1) };
            }
            _ => return,
        }
    }
}

pub fn echo(arguments: &Arguments) -> io::Result<()> {
    let listener = crate::listen()?;
    listener.set_nonblocking(true)?;
    let listener = listener.into_raw_fd();
    let mut buffer = vec![0; arguments.need("bytes") as usize];
    // SAFETY: a call with a flag.
    let set = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    watch(set, listener);
    let mut events = vec![libc::epoll_event { events: 0, u64: 0 }; 1024];
    loop {
        // SAFETY: there is room for so many events.
        let count = unsafe { libc::epoll_wait(set, events.as_mut_ptr(), events.len() as c_int, -1) };
        for event in &events[..count.max(0) as usize] {
            let descriptor = event.u64 as c_int;
            if descriptor == listener {
                let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
                // SAFETY: no address is asked for.
                let accepted = unsafe { libc::accept4(listener, std::ptr::null_mut(), std::ptr::null_mut(), flags) };
                if accepted >= 0 {
                    set_no_delay(accepted);
                    watch(set, accepted);
                }
                continue;
            }
            // SAFETY: the buffer is that long.
            let count = unsafe { libc::recv(descriptor, buffer.as_mut_ptr().cast(), buffer.len(), 0) };
            match count {
                count if count > 0 => send_all(descriptor, &buffer[..count as usize]),
                _ => {
                    // SAFETY: the connection has ended and its descriptor is nobody else's.
                    unsafe { libc::close(descriptor) };
                    contender::connection_ended();
                }
            }
        }
    }
}

/// Receives when there is something, and throws it away.
pub fn stream(arguments: &Arguments) -> io::Result<()> {
    let listener = crate::listen()?;
    let mut buffer = vec![0; arguments.need("bytes") as usize];
    // SAFETY: a call with a flag.
    let set = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    loop {
        let (stream, _) = listener.accept()?;
        stream.set_nonblocking(true)?;
        let descriptor = stream.as_raw_fd();
        watch(set, descriptor);
        loop {
            let mut event = libc::epoll_event { events: 0, u64: 0 };
            // SAFETY: room for one event, and a buffer that is that long.
            let count = unsafe {
                libc::epoll_wait(set, &mut event, 1, -1);
                libc::recv(descriptor, buffer.as_mut_ptr().cast(), buffer.len(), 0)
            };
            if count == 0 {
                break;
            }
        }
        contender::connection_ended();
    }
}

/// An eventfd that another thread writes.
pub fn wake(arguments: &Arguments) -> io::Result<()> {
    let limit = arguments.limit();
    // SAFETY: a call with a flag.
    let set = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    let run = Run::begin();
    let (waker, thread) = crate::Waker::start();
    watch(set, waker.descriptor);
    let mut done = 0;
    while limit.allows(done) {
        let (mut event, mut value) = (libc::epoll_event { events: 0, u64: 0 }, 0u64);
        // SAFETY: room for one event, and for eight bytes.
        unsafe {
            libc::epoll_wait(set, &mut event, 1, -1);
            libc::read(waker.descriptor, (&raw mut value).cast(), 8);
        }
        done += 1;
        waker.done.store(done, Ordering::Release);
    }
    waker.is_over.store(true, Ordering::Release);
    let _ = thread.join();
    run.end(done)
}
