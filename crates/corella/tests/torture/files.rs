//! Files: random programs buffered and direct, and the ends of disks, sizes and descriptors.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::future::Future;
use std::path::Path;
use std::task::{Context, Poll, Waker};

use corella::{Buffer, BufferMut, ErrorKind, Failed, File, Io, Mode, OpenOptions, Parts, Scheduler};

use crate::setup::Setup;
use crate::{Random, promises, rounds};

promises![
    what_was_written_in_any_order_is_what_is_read,
    what_was_written_past_the_cache_is_what_is_read,
    a_full_disk_loses_nothing_that_it_took,
    a_limit_of_file_sizes_loses_nothing_that_was_taken,
    a_full_device_refuses_every_write,
    descriptors_that_run_out_come_back,
];

const BLOCK: usize = 4096;
const BLOCKS: usize = 64;

/// Memory that direct transfers take.
struct Aligned(*mut u8, usize);

impl Aligned {
    fn layout(bytes: usize) -> Layout {
        Layout::from_size_align(bytes, BLOCK).unwrap()
    }

    fn filled(bytes: usize, byte: u8) -> Aligned {
        // SAFETY: the layout has a size, as no caller asks for nothing.
        let pointer = unsafe { alloc_zeroed(Aligned::layout(bytes)) };
        assert!(!pointer.is_null());
        // SAFETY: just allocated with that size.
        unsafe { pointer.write_bytes(byte, bytes) };
        Aligned(pointer, bytes)
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: allocated and initialised with that size, and borrowed with the value.
        unsafe { std::slice::from_raw_parts(self.0, self.1) }
    }
}

impl Drop for Aligned {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, and this value's alone.
        unsafe { dealloc(self.0, Aligned::layout(self.1)) };
    }
}

// SAFETY: the memory is on the heap, initialised, and owned by the value alone.
unsafe impl BufferMut for Aligned {
    fn target_parts(&mut self, parts: &mut Parts) {
        parts.push(self.0, self.1);
    }
}

// SAFETY: as above.
unsafe impl Buffer for Aligned {
    fn source_parts(&self, parts: &mut Parts) {
        parts.push(self.0, self.1);
    }
}

/// A scheduler of a random depth.
fn scheduler(setup: &Setup, random: &mut Random) -> Scheduler {
    let depth = [1, 2, 4, 1000][random.below(4)];
    setup.builder().queue_depth(depth).build().unwrap()
}

/// Writes and reads blocks in flight all at once, against what a list of bytes says that each block is.
async fn write_and_read(file: File, random: &mut Random) {
    let mut blocks = [0u8; BLOCKS];
    let mut writes = Vec::new();
    for _ in 0..500 {
        let (block, count) = (random.below(BLOCKS - 4), 1 + random.below(4));
        let place = (block * BLOCK) as u64;
        if random.chance(50) {
            let byte = random.number() as u8;
            blocks[block..block + count].fill(byte);
            let mut write = Box::pin(file.write_at(Aligned::filled(count * BLOCK, byte), place));
            // Begun, which is its place in the order, and let go on.
            match write.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(written) => assert_eq!(written.map(|(count, _)| count).unwrap(), count * BLOCK),
                Poll::Pending => writes.push(write),
            }
        } else {
            let (_, buffer) = file.read_exact_at(Aligned::filled(count * BLOCK, 0xee), place).await.unwrap();
            for (number, chunk) in buffer.bytes().chunks(BLOCK).enumerate() {
                assert!(chunk.iter().all(|byte| *byte == blocks[block + number]), "block {}", block + number);
            }
        }
        if random.chance(10) {
            file.sync().await.unwrap();
        }
        if writes.len() > 20 || random.chance(5) {
            for write in std::mem::take(&mut writes) {
                write.await.map(drop).unwrap();
            }
        }
    }
    for write in writes {
        write.await.map(drop).unwrap();
    }
}

fn write_and_read_round(setup: &Setup, path: &Path, direct: bool, random: &mut Random) {
    let mut scheduler = scheduler(setup, random);
    let io = scheduler.io();
    let options = OpenOptions::new().read(true).write(true).direct(direct);
    let file = scheduler.block_on(io.open(path, options)).unwrap().unwrap();
    let zeros = Aligned::filled(BLOCKS * BLOCK, 0);
    scheduler.block_on(file.write_at(zeros, 0)).unwrap().map(drop).unwrap();
    scheduler.block_on(write_and_read(file, random)).unwrap();
    scheduler.run().unwrap();
}

fn what_was_written_in_any_order_is_what_is_read(setup: &Setup) {
    let path = setup.file("buffered", &[0; BLOCKS * BLOCK]);
    rounds(|random| write_and_read_round(setup, &path, false, random));
}

fn what_was_written_past_the_cache_is_what_is_read(setup: &Setup) {
    let path = setup.file("direct", &[0; BLOCKS * BLOCK]);
    let options = OpenOptions::new().read(true).write(true).direct(true);
    let opens = setup.scheduler().io().open(&path, options).wait().is_ok();
    // A file system without direct transfers shows the order all the same.
    rounds(|random| write_and_read_round(setup, &path, opens, random));
}

/// Appends numbered records until one fails, and gives how many bytes were told as taken.
fn append_until_refused(io: &Io, path: &Path, random: &mut Random) -> (Vec<u8>, Vec<i32>) {
    let file = io.open(path, Mode::Append).wait().unwrap();
    let (mut taken, mut codes) = (Vec::new(), Vec::new());
    let mut statuses = Vec::new();
    for number in 0..400u32 {
        let record: Vec<u8> = number.to_le_bytes().repeat(1 + random.below(2000));
        if let Ok(status) = file.write(record.clone()).submit() {
            statuses.push((record, status));
        }
    }
    for (record, status) in statuses {
        match status.wait() {
            Ok(_) => taken.extend_from_slice(&record),
            Err(Failed { error, moved, .. }) => {
                taken.extend_from_slice(&record[..moved.bytes() as usize]);
                assert!(matches!(error.kind(), ErrorKind::Os | ErrorKind::LaneBroken), "{error}");
                codes.extend(error.os_code());
            }
        }
    }
    file.close().wait().unwrap();
    (taken, codes)
}

fn a_full_disk_loses_nothing_that_it_took(setup: &Setup) {
    if !setup.is_own_process_with_mounts() {
        return;
    }
    let Some(folder) = setup.mount("tmpfs", "size=256k") else {
        // Where nothing can be mounted, a limit of the process stands in for the end of the disk.
        return a_limit_of_file_sizes_loses_nothing_that_was_taken(setup);
    };
    rounds(|random| {
        let scheduler = setup.scheduler();
        let path = folder.join("log");
        let (taken, codes) = append_until_refused(&scheduler.io(), &path, random);
        assert!(codes.iter().all(|code| *code == libc::ENOSPC) && !codes.is_empty(), "{codes:?}");
        assert_eq!(std::fs::read(&path).unwrap(), taken);
        std::fs::remove_file(&path).unwrap();
    });
}

fn a_limit_of_file_sizes_loses_nothing_that_was_taken(setup: &Setup) {
    if !setup.is_own_process() {
        return;
    }
    // SAFETY: system calls on this process alone; the structure lives through them.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        let limit = libc::rlimit { rlim_cur: 100_000, rlim_max: 100_000 };
        assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &limit), 0);
    }
    rounds(|random| {
        let scheduler = setup.scheduler();
        let path = setup.path("log");
        let (taken, codes) = append_until_refused(&scheduler.io(), &path, random);
        assert!(codes.iter().all(|code| *code == libc::EFBIG) && !codes.is_empty(), "{codes:?}");
        assert_eq!(std::fs::read(&path).unwrap(), taken);
        std::fs::remove_file(&path).unwrap();
    });
}

fn a_full_device_refuses_every_write(setup: &Setup) {
    rounds(|random| {
        let scheduler = setup.scheduler();
        let io = scheduler.io();
        for _ in 0..50 {
            // One each, as a failure breaks the lane of a stream for good.
            let file = io.open("/dev/full", Mode::Write).wait().unwrap();
            let length = 1 + random.below(100_000);
            let failed = file.write(vec![1; length]).wait().unwrap_err();
            assert_eq!((failed.error.os_code(), failed.moved.bytes()), (Some(libc::ENOSPC), 0));
            assert_eq!(failed.buffer.len(), length);
            file.close().wait().unwrap();
        }
    });
}

fn descriptors_that_run_out_come_back(setup: &Setup) {
    if !setup.is_own_process() {
        return;
    }
    let path = setup.file("data", b"data");
    // SAFETY: a system call on this process alone; the structure lives through it.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &libc::rlimit { rlim_cur: 64, rlim_max: 64 }) };
    assert_eq!(result, 0);
    rounds(|random| {
        let mut scheduler = setup.scheduler();
        let io = scheduler.io();
        let mut files = Vec::new();
        for _ in 0..200 {
            match scheduler.block_on(io.open(&path, Mode::Read)).unwrap() {
                Ok(file) => files.push(file),
                Err(error) => {
                    assert_eq!(error.os_code(), Some(libc::EMFILE), "{error}");
                    files.truncate(random.below(files.len().max(1)));
                    scheduler.run().unwrap();
                }
            }
        }
        drop(files);
        scheduler.run().unwrap();
        assert!(scheduler.block_on(io.open(&path, Mode::Read)).unwrap().is_ok());
    });
}
