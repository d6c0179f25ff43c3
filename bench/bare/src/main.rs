//! The limits: what the kernel's interfaces cost with nothing around them. `--interface ring`, `epoll` or `calls`,
//! which makes one call after the other.
//!
//! They keep no order, cancel nothing, and handle no error but by ending.

mod calls;
mod epoll;
mod ring;
mod ring_files;

use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;

use contender::{Arguments, announce, unknown};

fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    match (arguments.workload.as_str(), arguments.text("interface")) {
        ("echo", Some("ring")) => ring::echo(&arguments),
        ("echo", Some("epoll")) => epoll::echo(&arguments),
        ("stream", Some("ring")) => ring::stream(&arguments),
        ("stream", Some("epoll")) => epoll::stream(&arguments),
        ("read" | "write", Some("ring")) => ring_files::read_or_write(&arguments),
        ("read", Some("calls")) => calls::read(&arguments),
        ("append", Some("ring")) => ring_files::append(&arguments),
        ("append", Some("calls")) => calls::append(&arguments),
        ("files", Some("ring")) => ring_files::small(&arguments),
        ("files", Some("calls")) => calls::small(&arguments),
        ("wake", Some("ring")) => ring::wake(&arguments),
        ("wake", Some("epoll")) => epoll::wake(&arguments),
        _ => unknown(&arguments),
    }
}

fn listen() -> std::io::Result<TcpListener> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    announce(listener.local_addr()?.port());
    Ok(listener)
}

fn open(arguments: &Arguments) -> std::io::Result<std::fs::File> {
    let flags = if arguments.has("direct") { libc::O_DIRECT } else { 0 };
    std::fs::File::options().read(true).write(arguments.workload == "write").custom_flags(flags).open(arguments.path())
}

/// An eventfd that another thread writes whenever `done` says that the last write was seen; ends when `is_over`.
struct Waker {
    descriptor: i32,
    done: std::sync::atomic::AtomicU64,
    is_over: std::sync::atomic::AtomicBool,
}

impl Waker {
    fn start() -> (std::sync::Arc<Waker>, std::thread::JoinHandle<()>) {
        use std::sync::atomic::Ordering;
        // SAFETY: a call with flags.
        let descriptor = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        let waker = std::sync::Arc::new(Waker { descriptor, done: Default::default(), is_over: Default::default() });
        let other = std::sync::Arc::clone(&waker);
        let thread = std::thread::spawn(move || {
            let mut sent = 0;
            while !other.is_over.load(Ordering::Acquire) {
                if other.done.load(Ordering::Acquire) == sent {
                    sent += 1;
                    let one = 1u64;
                    // SAFETY: eight bytes that live for the call.
                    unsafe { libc::write(other.descriptor, (&raw const one).cast(), 8) };
                }
                std::hint::spin_loop();
            }
        });
        (waker, thread)
    }
}
