//! Files by io_uring: reads and writes at random places, appends that are synced, many small files.

use std::ffi::CString;
use std::io;
use std::os::fd::AsRawFd;

use contender::folder::{self, SMALL_FILE_BYTES};
use contender::{Arguments, BLOCK_BYTES, Offsets, Progress, Run, aligned_block, length_of};
use io_uring::{IoUring, opcode, squeue, types};

use crate::ring::{completions, push, ring};

pub fn read_or_write(arguments: &Arguments) -> io::Result<()> {
    let file = crate::open(arguments)?;
    let mut offsets = Offsets::new(length_of(&arguments.path()));
    let depth = arguments.need("depth") as usize;
    let (mut ring, limit) = (ring(256)?, arguments.limit());
    ring.submitter().register_files(&[file.as_raw_fd()])?;
    let buffers: Vec<_> = (0..depth).map(|_| aligned_block().as_mut_ptr()).collect();
    let mut batch = Vec::with_capacity(depth);
    let writes = arguments.workload == "write";
    let entry = |slot: usize, offset| {
        let (file, bytes) = (types::Fixed(0), BLOCK_BYTES as u32);
        let entry = match writes {
            true => opcode::Write::new(file, buffers[slot], bytes).offset(offset).build(),
            false => opcode::Read::new(file, buffers[slot], bytes).offset(offset).build(),
        };
        entry.user_data(slot as u64)
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

/// A write linked to its sync, one pair after the other.
pub fn append(arguments: &Arguments) -> io::Result<()> {
    let file = std::fs::File::options().append(true).create(true).open(arguments.path())?;
    let (mut ring, limit) = (ring(8)?, arguments.limit());
    ring.submitter().register_files(&[file.as_raw_fd()])?;
    let block = aligned_block();
    let write = opcode::Write::new(types::Fixed(0), block.as_ptr(), BLOCK_BYTES as u32).offset(u64::MAX).build();
    let write = write.flags(squeue::Flags::IO_LINK).user_data(BLOCK_BYTES as u64);
    let sync = opcode::Fsync::new(types::Fixed(0)).flags(types::FsyncFlags::DATASYNC).build().user_data(0);
    let run = Run::begin();
    let mut done = 0;
    while limit.allows(done) {
        push(&mut ring, &write)?;
        push(&mut ring, &sync)?;
        ring.submit_and_wait(2)?;
        for completion in ring.completion() {
            assert_eq!(completion.result() as u64, completion.user_data());
        }
        done += 1;
    }
    run.end(done)
}

/// What a chain of requests for one file is at.
#[derive(Clone, Copy)]
enum Step {
    Open,
    Stat,
    Read,
    Close,
}

struct Chain {
    step: Step,
    descriptor: i32,
    found: Box<libc::statx>,
    buffer: &'static mut [u8],
}

impl Chain {
    fn push(&mut self, ring: &mut IoUring, path: &CString, place: u64) -> io::Result<()> {
        let file = types::Fd(self.descriptor);
        let entry = match self.step {
            Step::Open => {
                let flags = libc::O_RDONLY | libc::O_CLOEXEC;
                opcode::OpenAt::new(types::Fd(libc::AT_FDCWD), path.as_ptr()).flags(flags).build()
            }
            Step::Stat => {
                let found = (&raw mut *self.found).cast();
                let (flags, mask) = (libc::AT_EMPTY_PATH, libc::STATX_BASIC_STATS);
                opcode::Statx::new(file, c"".as_ptr(), found).flags(flags).mask(mask).build()
            }
            Step::Read => opcode::Read::new(file, self.buffer.as_mut_ptr(), BLOCK_BYTES as u32).build(),
            Step::Close => opcode::Close::new(file).build(),
        };
        push(ring, &entry.user_data(place))
    }

    /// Whether the file is done with.
    fn advance(&mut self, result: i32) -> bool {
        assert!(result >= 0, "{}", io::Error::from_raw_os_error(-result));
        match self.step {
            Step::Open => (self.step, self.descriptor) = (Step::Stat, result),
            Step::Stat => {
                assert_eq!(self.found.stx_size, SMALL_FILE_BYTES as u64);
                self.step = Step::Read;
            }
            Step::Read => {
                assert_eq!(result, SMALL_FILE_BYTES as i32);
                self.step = Step::Close;
            }
            Step::Close => self.step = Step::Open,
        }
        matches!(self.step, Step::Open)
    }
}

pub fn small(arguments: &Arguments) -> io::Result<()> {
    let paths = folder::as_c_strings(&folder::small_files(arguments));
    let (mut ring, progress) = (ring(256)?, Progress::new(arguments, 0));
    let mut chains: Vec<(Chain, usize)> = Vec::new();
    for _ in 0..arguments.need("depth") {
        // SAFETY: the structure is plain numbers.
        let found = Box::new(unsafe { std::mem::zeroed() });
        chains.push((Chain { step: Step::Open, descriptor: -1, found, buffer: aligned_block() }, 0));
    }
    let mut batch = Vec::with_capacity(chains.len());
    let run = Run::begin();
    let mut in_flight = 0;
    for (place, (chain, path)) in chains.iter_mut().enumerate() {
        if let Some(number) = progress.begin() {
            *path = number as usize % paths.len();
            chain.push(&mut ring, &paths[*path], place as u64)?;
            in_flight += 1;
        }
    }
    while in_flight > 0 {
        completions(&mut ring, &mut batch)?;
        for completion in &batch {
            let place = completion.user_data();
            let (chain, path) = &mut chains[place as usize];
            if chain.advance(completion.result()) {
                progress.end();
                match progress.begin() {
                    Some(number) => *path = number as usize % paths.len(),
                    None => {
                        in_flight -= 1;
                        continue;
                    }
                }
            }
            chain.push(&mut ring, &paths[*path], place)?;
        }
    }
    run.end(progress.done())
}
