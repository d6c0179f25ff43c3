//! The limits: what the kernel's interfaces cost with nothing around them. `--interface ring`, `epoll` or `pread`.
//!
//! They keep no order, cancel nothing, and handle no error but by ending.

mod epoll;
mod ring;

use std::net::TcpListener;
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use contender::{Arguments, BLOCK_BYTES, Offsets, Run, aligned_block, announce, length_of, unknown};

fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    match (arguments.workload.as_str(), arguments.text("interface")) {
        ("echo", Some("ring")) => ring::echo(&arguments),
        ("echo", Some("epoll")) => epoll::echo(&arguments),
        ("read", Some("ring")) => ring::read(&arguments),
        ("read", Some("pread")) => pread(&arguments),
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
    std::fs::File::options().read(true).custom_flags(flags).open(arguments.path())
}

/// One read after the other.
fn pread(arguments: &Arguments) -> std::io::Result<()> {
    let file = open(arguments)?;
    let mut offsets = Offsets::new(length_of(&arguments.path()));
    let (buffer, limit) = (aligned_block(), arguments.limit());
    assert_eq!(buffer.len(), BLOCK_BYTES);
    let run = Run::begin();
    let mut done = 0;
    while limit.allows(done) {
        file.read_exact_at(buffer, offsets.next_offset())?;
        done += 1;
    }
    run.end(done)
}
