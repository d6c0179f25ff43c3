//! io_uring: one ring, one thread, one enter for a batch. Sockets, and wakes from another thread.

use std::ffi::CString;
use std::io;
use std::os::fd::IntoRawFd;
use std::sync::atomic::Ordering;

use contender::{Arguments, Run, connection_ended, folder};
use io_uring::{IoUring, cqueue, opcode, squeue, types};

/// A ring as it is set up best for one thread.
pub fn ring(entries: u32) -> io::Result<IoUring> {
    IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_coop_taskrun()
        .setup_cqsize(4 * entries.max(1024))
        .build(entries)
}

pub fn push(ring: &mut IoUring, entry: &squeue::Entry) -> io::Result<()> {
    // SAFETY: the memory that entries name is never freed, and used by one request at a time.
    while unsafe { ring.submission().push(entry) }.is_err() {
        ring.submit()?;
    }
    Ok(())
}

pub fn completions(ring: &mut IoUring, batch: &mut Vec<cqueue::Entry>) -> io::Result<()> {
    ring.submit_and_wait(1)?;
    batch.clear();
    batch.extend(ring.completion());
    Ok(())
}

const ACCEPT: u64 = u64::MAX;
const SENDS: u64 = 1 << 32;
/// The open of a FIFO, by its number, and what closes one.
const FIFO: u64 = 1 << 33;
const CLOSES: u64 = 1 << 34;

/// Opens the FIFO again, and closes what was opened: the kernel's workers sleep in it.
fn open_fifo(ring: &mut IoUring, fifos: &[CString], word: u64) -> io::Result<()> {
    let path = fifos[word as u32 as usize].as_ptr();
    push(ring, &opcode::OpenAt::new(types::Fd(libc::AT_FDCWD), path).build().user_data(word))
}

/// Receive, send, receive: one request at a time for each connection, by its descriptor.
pub fn echo(arguments: &Arguments) -> io::Result<()> {
    let listener = crate::listen()?.into_raw_fd();
    let bytes = arguments.need("bytes") as usize;
    let mut ring = ring(1024)?;
    let mut buffers: Vec<Option<&'static mut [u8]>> = Vec::new();
    let accept = opcode::Accept::new(types::Fd(listener), std::ptr::null_mut(), std::ptr::null_mut());
    let accept = accept.flags(libc::SOCK_CLOEXEC).build().user_data(ACCEPT);
    push(&mut ring, &accept)?;
    let fifos = folder::as_c_strings(&folder::fifos(arguments));
    for place in 0..fifos.len() {
        open_fifo(&mut ring, &fifos, FIFO | place as u64)?;
    }
    let mut batch = Vec::new();
    loop {
        completions(&mut ring, &mut batch)?;
        for completion in &batch {
            let (word, result) = (completion.user_data(), completion.result());
            if word == CLOSES {
                continue;
            }
            if word != ACCEPT && word & FIFO != 0 {
                push(&mut ring, &opcode::Close::new(types::Fd(result)).build().user_data(CLOSES))?;
                open_fifo(&mut ring, &fifos, word)?;
                continue;
            }
            let descriptor = if word == ACCEPT { result } else { word as u32 as i32 };
            if word != ACCEPT && result <= 0 {
                // SAFETY: the connection has ended and its descriptor is nobody else's.
                unsafe { libc::close(descriptor) };
                connection_ended();
                continue;
            }
            if word == ACCEPT {
                assert!(result >= 0, "accept: {result}");
                let place = descriptor as usize;
                if buffers.len() <= place {
                    buffers.resize_with(place + 1, || None);
                }
                buffers[place].get_or_insert_with(|| Box::leak(vec![0; bytes].into_boxed_slice()));
                crate::epoll::set_no_delay(descriptor);
                push(&mut ring, &accept)?;
            }
            let Some(buffer) = buffers[descriptor as usize].as_mut() else { unreachable!("it was accepted") };
            let is_receive = word == ACCEPT || word & SENDS != 0;
            let entry = if is_receive {
                let receive = opcode::Recv::new(types::Fd(descriptor), buffer.as_mut_ptr(), bytes as u32);
                receive.build().user_data(descriptor as u64)
            } else {
                let send = opcode::Send::new(types::Fd(descriptor), buffer.as_ptr(), result as u32);
                send.flags(libc::MSG_WAITALL).build().user_data(descriptor as u64 | SENDS)
            };
            push(&mut ring, &entry)?;
        }
    }
}

/// Receives, one request at a time, and throws away what came.
pub fn stream(arguments: &Arguments) -> io::Result<()> {
    let listener = crate::listen()?;
    let bytes = arguments.need("bytes") as usize;
    let buffer: &'static mut [u8] = Box::leak(vec![0; bytes].into_boxed_slice());
    let mut ring = ring(8)?;
    loop {
        let (stream, _) = listener.accept()?;
        let descriptor = stream.into_raw_fd();
        let receive = opcode::Recv::new(types::Fd(descriptor), buffer.as_mut_ptr(), bytes as u32).build();
        let mut batch = Vec::new();
        loop {
            push(&mut ring, &receive)?;
            completions(&mut ring, &mut batch)?;
            if batch.iter().any(|completion| completion.result() <= 0) {
                break;
            }
        }
        // SAFETY: the connection has ended and its descriptor is nobody else's.
        unsafe { libc::close(descriptor) };
        connection_ended();
    }
}

/// A read of an eventfd, which another thread writes.
pub fn wake(arguments: &Arguments) -> io::Result<()> {
    let limit = arguments.limit();
    let mut ring = ring(8)?;
    let mut batch = Vec::new();
    let value: &'static mut [u8; 8] = Box::leak(Box::new([0; 8]));
    let run = Run::begin();
    let (waker, thread) = crate::Waker::start();
    let read = opcode::Read::new(types::Fd(waker.descriptor), value.as_mut_ptr(), 8).build();
    let mut done = 0;
    while limit.allows(done) {
        push(&mut ring, &read)?;
        completions(&mut ring, &mut batch)?;
        done += 1;
        waker.done.store(done, Ordering::Release);
    }
    waker.is_over.store(true, Ordering::Release);
    let _ = thread.join();
    run.end(done)
}
