//! One call after the other: the thread waits in each.

use std::ffi::CString;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;

use contender::folder::{self, SMALL_FILE_BYTES};
use contender::{Arguments, BLOCK_BYTES, Offsets, Run, aligned_block, length_of};

pub fn read(arguments: &Arguments) -> io::Result<()> {
    let file = crate::open(arguments)?;
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

pub fn append(arguments: &Arguments) -> io::Result<()> {
    let mut file = std::fs::File::options().append(true).create(true).open(arguments.path())?;
    let (buffer, limit) = (aligned_block(), arguments.limit());
    let run = Run::begin();
    let mut done = 0;
    while limit.allows(done) {
        file.write_all(buffer)?;
        file.sync_data()?;
        done += 1;
    }
    run.end(done)
}

fn open_and_read(path: &CString, buffer: &mut [u8]) -> io::Result<()> {
    // SAFETY: the path lives for the call; the descriptor is this file's alone.
    let file = unsafe {
        let descriptor = libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        std::fs::File::from_raw_fd(descriptor)
    };
    // SAFETY: the structure is plain numbers, and filled by the call.
    let size = unsafe {
        let mut found: libc::stat = std::mem::zeroed();
        libc::fstat(file.as_raw_fd(), &mut found);
        found.st_size
    };
    assert_eq!(size, SMALL_FILE_BYTES as i64);
    assert_eq!(file.read_at(buffer, 0)?, SMALL_FILE_BYTES);
    Ok(())
}

/// One file after the other, whatever the depth that others have.
pub fn small(arguments: &Arguments) -> io::Result<()> {
    let paths = folder::as_c_strings(&folder::small_files(arguments));
    let (buffer, limit) = (aligned_block(), arguments.limit());
    let run = Run::begin();
    let mut done = 0;
    while limit.allows(done) {
        open_and_read(&paths[done as usize % paths.len()], buffer)?;
        done += 1;
    }
    run.end(done)
}
