//! A file system that another program answers for (FUSE), and that answers everything but reads.

use std::ffi::CString;
use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read, Write};
#[cfg(unix)]
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use crate::setup::Setup;

/// Numbers of linux/fuse.h.
const LOOKUP: u32 = 1;
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const OPEN: u32 = 14;
const READ: u32 = 15;
const RELEASE: u32 = 18;
const FLUSH: u32 = 25;
const INIT: u32 = 26;
const INTERRUPT: u32 = 36;
const BATCH_FORGET: u32 = 42;

const HEADER_BYTES: usize = 40;
const ROOT: u64 = 1;
const FILE: u64 = 2;
const FILE_BYTES: u64 = 1 << 20;

/// Numbers one behind the other, as the kernel has them.
#[derive(Default)]
struct Message(Vec<u8>);

#[cfg(unix)]
impl Message {
    fn word(mut self, value: u32) -> Message {
        self.0.extend_from_slice(&value.to_ne_bytes());
        self
    }

    fn long(mut self, value: u64) -> Message {
        self.0.extend_from_slice(&value.to_ne_bytes());
        self
    }

    fn zeroes(mut self, bytes: usize) -> Message {
        self.0.resize(self.0.len() + bytes, 0);
        self
    }

    /// `struct fuse_attr`.
    fn attributes(self, node: u64) -> Message {
        let (mode, size) = if node == ROOT { (libc::S_IFDIR | 0o755, 0) } else { (libc::S_IFREG | 0o644, FILE_BYTES) };
        let times = 3 * 8 + 3 * 4;
        self.long(node)
            .long(size)
            .long(size.div_ceil(512))
            .zeroes(times)
            .word(mode)
            .word(1)
            .zeroes(3 * 4)
            .word(4096)
            .word(0)
    }
}

/// What is answered to a request, or nothing; an error is a number below zero.
#[cfg(unix)]
fn answer(opcode: u32, node: u64) -> Option<Result<Message, i32>> {
    let message = Message::default();
    Some(Ok(match opcode {
        FORGET | BATCH_FORGET | INTERRUPT | READ => return None,
        INIT => message.word(7).word(31).zeroes(4 + 4 + 2 + 2).word(1 << 17).word(1).zeroes(2 + 2 + 4 + 28),
        LOOKUP => message.long(FILE).zeroes(3 * 8 + 2 * 4).attributes(FILE),
        GETATTR => message.zeroes(8 + 4 + 4).attributes(node),
        // Past the page cache.
        OPEN => message.long(0).word(1).word(0),
        RELEASE | FLUSH => message,
        _ => return Some(Err(-libc::ENOSYS)),
    }))
}

/// Answers, and writes a byte for each read that it does not answer.
#[cfg(unix)]
fn serve(mut device: File, mut told: PipeWriter) {
    let mut request = vec![0; 1 << 18];
    // Until the file system is unmounted, or the process ends.
    while let Ok(length) = device.read(&mut request) {
        assert!(length >= HEADER_BYTES);
        let word = |place: usize| u32::from_ne_bytes(request[place..place + 4].try_into().unwrap());
        let long = |place: usize| u64::from_ne_bytes(request[place..place + 8].try_into().unwrap());
        let (opcode, unique, node) = (word(4), long(8), long(16));
        if opcode == READ {
            told.write_all(b"r").unwrap();
        }
        let Some(answer) = answer(opcode, node) else { continue };
        let (error, Message(body)) = match answer {
            Ok(message) => (0, message),
            Err(error) => (error, Message::default()),
        };
        let header = Message::default().word(16 + body.len() as u32).word(error as u32).long(unique);
        // The asker may be gone (ENOENT).
        let _ = device.write(&[header.0, body].concat());
    }
}

/// Serves in a process of its own, which ends with this thread: a read waits for its answer whatever happens to who
/// asked, and so would the end of a process whose own threads are the askers.
#[cfg(unix)]
fn serve_elsewhere(device: File) -> PipeReader {
    let (reader, writer) = crate::setup::pipe();
    // SAFETY: the child allocates, which glibc's allocator can after a fork, and leaves by _exit.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        // SAFETY: two system calls on this process.
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            // Whoever reads the output of the test waits for nobody else.
            libc::close(libc::STDOUT_FILENO);
            libc::close(libc::STDERR_FILENO);
            serve(device, writer);
            libc::_exit(0);
        }
    }
    reader
}

#[cfg(unix)]
impl Setup {
    /// A file whose reads nobody ever answers, in a process that has mounts of its own; and where a byte comes for each
    /// read that waits.
    pub fn stalled_file(&self) -> Option<(PathBuf, PipeReader)> {
        let device = File::options().read(true).write(true).open("/dev/fuse").ok()?;
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
        let folder = self.mount("fuse", &options)?;
        let reads = serve_elsewhere(device);
        let path = folder.join("stalled");
        // Only once it answers: what the kernel asks before that has no limit of time.
        let name = CString::new(path.to_str().unwrap()).unwrap();
        // SAFETY: a path that lives through the call.
        assert_eq!(unsafe { libc::access(name.as_ptr(), libc::F_OK) }, 0);
        Some((path, reads))
    }
}
