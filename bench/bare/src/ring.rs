//! io_uring: one ring, one thread, one enter for a batch.

use std::io;
use std::os::fd::{AsRawFd, IntoRawFd};

use contender::{Arguments, BLOCK_BYTES, Offsets, Run, aligned_block, connection_ended, length_of};
use io_uring::{IoUring, cqueue, opcode, squeue, types};

/// A ring as it is set up best for one thread.
fn ring(entries: u32) -> io::Result<IoUring> {
    IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_coop_taskrun()
        .setup_cqsize(4 * entries.max(1024))
        .build(entries)
}

fn push(ring: &mut IoUring, entry: &squeue::Entry) -> io::Result<()> {
    // SAFETY: the memory that entries name is never freed, and used by one request at a time.
    while unsafe { ring.submission().push(entry) }.is_err() {
        ring.submit()?;
    }
    Ok(())
}

fn completions(ring: &mut IoUring, batch: &mut Vec<cqueue::Entry>) -> io::Result<()> {
    ring.submit_and_wait(1)?;
    batch.clear();
    batch.extend(ring.completion());
    Ok(())
}

pub fn read(arguments: &Arguments) -> io::Result<()> {
    let file = crate::open(arguments)?;
    let mut offsets = Offsets::new(length_of(&arguments.path()));
    let depth = arguments.need("depth") as usize;
    let (mut ring, limit) = (ring(256)?, arguments.limit());
    ring.submitter().register_files(&[file.as_raw_fd()])?;
    let buffers: Vec<_> = (0..depth).map(|_| aligned_block().as_mut_ptr()).collect();
    let mut batch = Vec::with_capacity(depth);
    let entry = |slot: usize, offset| {
        opcode::Read::new(types::Fixed(0), buffers[slot], BLOCK_BYTES as u32)
            .offset(offset)
            .build()
            .user_data(slot as u64)
    };
    let run = Run::begin();
    let (mut begun, mut done) = (0, 0);
    for slot in 0..depth {
        push(&mut ring, &entry(slot, offsets.next_offset()))?;
        begun += 1;
    }
    while done < begun {
        completions(&mut ring, &mut batch)?;
        for completion in &batch {
            assert_eq!(completion.result(), BLOCK_BYTES as i32);
            done += 1;
            if limit.allows(begun) {
                begun += 1;
                push(&mut ring, &entry(completion.user_data() as usize, offsets.next_offset()))?;
            }
        }
    }
    run.end(done)
}

const ACCEPT: u64 = u64::MAX;
const SENDS: u64 = 1 << 32;

/// Receive, send, receive: one request at a time for each connection, by its descriptor.
pub fn echo(arguments: &Arguments) -> io::Result<()> {
    let listener = crate::listen()?.into_raw_fd();
    let bytes = arguments.need("bytes") as usize;
    let mut ring = ring(1024)?;
    let mut buffers: Vec<Option<&'static mut [u8]>> = Vec::new();
    let accept = opcode::Accept::new(types::Fd(listener), std::ptr::null_mut(), std::ptr::null_mut());
    let accept = accept.flags(libc::SOCK_CLOEXEC).build().user_data(ACCEPT);
    push(&mut ring, &accept)?;
    let mut batch = Vec::new();
    loop {
        completions(&mut ring, &mut batch)?;
        for completion in &batch {
            let (word, result) = (completion.user_data(), completion.result());
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
