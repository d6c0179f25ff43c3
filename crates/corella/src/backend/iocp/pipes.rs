//! Promises about overlapped named pipes, on a completion port of Windows, with the whole engine above it.
//!
//! Wine carries a file's requests out inside their calls; a pipe's may wait for as long as the other side likes. So these
//! show there what the double shows on every system: cancels, drops in flight, ends, and that nothing blocks.

use std::cell::Cell;
use std::fs::File as OsFile;
use std::future::Future;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::pin::Pin;
use std::ptr::{null, null_mut};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use windows_sys::Win32::Foundation::{
    ERROR_NO_DATA, ERROR_PIPE_NOT_CONNECTED, GENERIC_READ, GENERIC_WRITE, INVALID_HANDLE_VALUE,
};
use windows_sys::Win32::Storage::FileSystem::{CreateFileW, FILE_FLAG_OVERLAPPED, OPEN_EXISTING, PIPE_ACCESS_DUPLEX};
use windows_sys::Win32::System::IO::CreateIoCompletionPort;
use windows_sys::Win32::System::Pipes::{
    CreateNamedPipeW, DisconnectNamedPipe, PIPE_READMODE_MESSAGE, PIPE_TYPE_BYTE, PIPE_TYPE_MESSAGE, PIPE_WAIT,
};

use crate::backend::{BackendKind, OsDescriptor, from_file};
use crate::buffer::{BufferMut, Parts};
use crate::error::{ErrorKind, Moved};
use crate::file::{File, Mode};
use crate::scheduler::{Io, Scheduler};

/// Bytes that a pipe holds for each direction.
const ROOM: u32 = 4096;

fn name() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!(r"\\.\pipe\corella-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// The server's end of a named pipe, overlapped.
fn server(name: &str, of_messages: bool) -> OwnedHandle {
    let name: Vec<u16> = name.encode_utf16().chain([0]).collect();
    let mode = if of_messages { PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE } else { PIPE_TYPE_BYTE };
    let open = PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED;
    // SAFETY: the name ends with a zero and lives through the call; the handle is checked before it is owned.
    unsafe {
        let server = CreateNamedPipeW(name.as_ptr(), open, mode | PIPE_WAIT, 1, ROOM, ROOM, 0, null());
        assert_ne!(server, INVALID_HANDLE_VALUE);
        OwnedHandle::from_raw_handle(server)
    }
}

/// The client's end, with these flags.
fn client(name: &str, flags: u32) -> OwnedHandle {
    let name: Vec<u16> = name.encode_utf16().chain([0]).collect();
    // SAFETY: as for the server.
    unsafe {
        let access = GENERIC_READ | GENERIC_WRITE;
        let client = CreateFileW(name.as_ptr(), access, 0, null(), OPEN_EXISTING, flags, null_mut());
        assert_ne!(client, INVALID_HANDLE_VALUE);
        OwnedHandle::from_raw_handle(client)
    }
}

/// Both ends of a named pipe, overlapped.
pub(super) fn named_pipe(of_messages: bool) -> (OsDescriptor, OsDescriptor) {
    let name = name();
    let server = server(&name, of_messages);
    (from_file(server), from_file(client(&name, FILE_FLAG_OVERLAPPED)))
}

fn scheduler() -> (Scheduler, Io) {
    let scheduler = Scheduler::builder().backend(BackendKind::Iocp).build().unwrap();
    let io = scheduler.io();
    (scheduler, io)
}

/// Both ends, one adopted and one opened by its path.
fn pipe(io: &Io, of_messages: bool) -> (File, File) {
    let name = name();
    let server = io.adopt_file(server(&name, of_messages), "server").unwrap();
    (server, io.open(&name, Mode::ReadWrite).wait().unwrap())
}

fn turn_until(scheduler: &mut Scheduler, what: &str, is_done: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_done() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what} does not come");
        scheduler.turn(Duration::from_millis(1)).unwrap();
    }
}

fn poll_once<F: Future + Unpin>(scheduler: &mut Scheduler, future: &mut F) -> Poll<F::Output> {
    scheduler.block_on(std::future::poll_fn(|context| Poll::Ready(Pin::new(&mut *future).poll(context)))).unwrap()
}

/// A buffer that tells when it is freed.
struct Watched(Vec<u8>, Rc<Cell<bool>>);

impl Drop for Watched {
    fn drop(&mut self) {
        self.1.set(true);
    }
}

// SAFETY: the bytes are the vector's, on the heap.
unsafe impl BufferMut for Watched {
    fn target_parts(&mut self, parts: &mut Parts) {
        self.0.target_parts(parts);
    }
}

#[test]
fn bytes_go_both_ways_between_an_adopted_end_and_one_opened_by_its_path() {
    let (mut scheduler, io) = scheduler();
    let (server, client) = pipe(&io, false);
    for (from, to) in [(&server, &client), (&client, &server)] {
        let read = to.read_exact(vec![0; 100_000]).submit().unwrap();
        let content: Vec<u8> = (0..100_000).map(|place| place as u8).collect();
        assert_eq!(scheduler.block_on(from.write(content.clone())).unwrap().unwrap().0, 100_000);
        assert_eq!(scheduler.block_on(read).unwrap().unwrap().1, content);
    }
    drop(client);
    assert_eq!(scheduler.block_on(server.read(vec![0; 9])).unwrap().unwrap().0, 0, "the end");
    let failed = scheduler.block_on(server.write("nobody reads")).unwrap().unwrap_err();
    assert_eq!(failed.error.os_code(), Some(ERROR_NO_DATA as i32), "{}", failed.error);
}

#[test]
fn a_read_that_waits_is_cancelled_and_takes_nothing_from_the_next() {
    let (mut scheduler, io) = scheduler();
    let (server, client) = pipe(&io, false);
    for _ in 0..20 {
        let read = server.read(vec![0; 9]).submit().unwrap();
        let late = server.read(vec![0; 9]).deadline(Duration::from_millis(2)).submit().unwrap();
        scheduler.poll().unwrap();
        read.cancel();
        turn_until(&mut scheduler, "both reads", || read.is_settled() && late.is_settled());
        let failed = read.wait().unwrap_err();
        assert_eq!((failed.error.kind(), failed.moved), (ErrorKind::Cancelled, Moved::Bytes(0)));
        assert_eq!(late.wait().unwrap_err().error.kind(), ErrorKind::TimedOut);
        scheduler.block_on(client.write("bytes")).unwrap().unwrap();
        let (count, bytes) = scheduler.block_on(server.read(vec![0; 9])).unwrap().unwrap();
        assert_eq!(&bytes[..count], b"bytes");
    }
}

#[test]
fn what_a_dropped_read_gets_goes_to_the_next() {
    let (mut scheduler, io) = scheduler();
    let (server, client) = pipe(&io, false);
    for round in 0..20u8 {
        let mut read = server.read_exact(vec![0; 4]);
        assert!(poll_once(&mut scheduler, &mut read).is_pending());
        // Half of it arrives before it is dropped; and no turn tells this scheduler of it.
        drop(client.write(vec![round; 2]).submit().unwrap());
        drop(read);
        drop(client.write(vec![round; 2]).submit().unwrap());
        assert_eq!(scheduler.block_on(server.read_exact(vec![0; 4])).unwrap().unwrap().1, [round; 4]);
    }
}

#[test]
fn a_scheduler_that_goes_waits_until_the_system_has_let_go() {
    let (mut scheduler, io) = scheduler();
    let (server, _client) = pipe(&io, false);
    let is_freed = Rc::new(Cell::new(false));
    let mut read = server.read(Watched(vec![0; 100], Rc::clone(&is_freed)));
    assert!(poll_once(&mut scheduler, &mut read).is_pending());
    std::mem::forget(read);
    let write = server.write(vec![0; 1 << 20]).submit().unwrap();
    let start = Instant::now();
    scheduler.shutdown(Duration::from_secs(10)).unwrap();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert!(write.wait().is_err());
}

#[test]
fn a_pipe_that_nobody_serves_holds_the_schedulers_thread_for_no_moment() {
    let (mut scheduler, io) = scheduler();
    let (server, client) = pipe(&io, false);
    let read = server.read(vec![0; 9]).submit().unwrap();
    // More than there is room for.
    let write = server.write(vec![7; 1 << 20]).submit().unwrap();
    let start = Instant::now();
    for _ in 0..20 {
        scheduler.block_on(io.sleep(Duration::from_millis(1))).unwrap().unwrap();
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert!(!read.is_settled() && !write.is_settled());
    let arrived = scheduler.block_on(client.read_exact(vec![0; 1 << 20])).unwrap().unwrap().1;
    assert!(arrived.iter().all(|byte| *byte == 7));
    assert_eq!(scheduler.block_on(write).unwrap().unwrap().0, 1 << 20);
}

#[test]
fn a_write_stopped_nobody_knows_where_says_so_and_breaks_its_lane() {
    let (mut scheduler, io) = scheduler();
    let (server, client) = pipe(&io, false);
    let write = server.write(vec![7; 1 << 20]).submit().unwrap();
    let behind = server.write("behind").submit().unwrap();
    scheduler.block_on(client.read_exact(vec![0; 100])).unwrap().unwrap();
    write.cancel();
    turn_until(&mut scheduler, "both", || write.is_settled() && behind.is_settled());
    let failed = write.wait().unwrap_err();
    assert_eq!((failed.error.kind(), failed.moved), (ErrorKind::Cancelled, Moved::Unknown));
    assert_eq!(behind.wait().unwrap_err().error.kind(), ErrorKind::LaneBroken);
}

#[test]
fn a_write_whose_reader_goes_says_that_nobody_knows_how_much_was_read() {
    let (mut scheduler, io) = scheduler();
    for by_thread in [false, true] {
        let (reader, writer, _kept) = if by_thread { ends_for_threads(&io, false) } else { ends_of_port(&io) };
        let write = writer.write(vec![7; 1 << 20]).submit().unwrap();
        scheduler.block_on(reader.read_exact(vec![0; 100])).unwrap().unwrap();
        drop(reader);
        let failed = scheduler.block_on(write).unwrap().unwrap_err();
        assert_eq!((failed.error.kind(), failed.moved), (ErrorKind::Os, Moved::Unknown), "{}", failed.error);
        let behind = writer.write("behind").wait().unwrap_err();
        assert_eq!((behind.error.kind(), behind.moved), (ErrorKind::LaneBroken, Moved::NotStarted));
    }
}

#[test]
fn a_message_that_does_not_fit_comes_in_parts_and_each_tells_its_size() {
    let (mut scheduler, io) = scheduler();
    let (server, client) = pipe(&io, true);
    for waits in [false, true] {
        let read = waits.then(|| server.read(vec![0; 10]).submit().unwrap());
        let write = client.write((0..30).collect::<Vec<u8>>()).submit().unwrap();
        let first = match read {
            Some(read) => scheduler.block_on(read).unwrap().unwrap(),
            None => scheduler.block_on(server.read(vec![0; 10])).unwrap().unwrap(),
        };
        assert_eq!(first, (10, (0..10).collect()));
        let (count, rest) = scheduler.block_on(server.read(vec![0; 100])).unwrap().unwrap();
        assert_eq!(&rest[..count], (10..30).collect::<Vec<u8>>());
        assert_eq!(scheduler.block_on(write).unwrap().unwrap().0, 30);
    }
}

#[test]
fn a_pipe_that_its_server_disconnects_is_an_error_and_no_end() {
    let (mut scheduler, io) = scheduler();
    let name = name();
    let server = server(&name, false);
    let client = io.open(&name, Mode::ReadWrite).wait().unwrap();
    let read = client.read(vec![0; 9]).submit().unwrap();
    scheduler.poll().unwrap();
    // SAFETY: the handle is open.
    assert_ne!(unsafe { DisconnectNamedPipe(server.as_raw_handle()) }, 0);
    let failed = scheduler.block_on(read).unwrap().unwrap_err();
    assert_eq!(failed.error.os_code(), Some(ERROR_PIPE_NOT_CONNECTED as i32), "{}", failed.error);
}

#[test]
fn handles_that_are_not_overlapped_or_another_ports_are_read_and_written_all_the_same() {
    let (mut scheduler, io) = scheduler();
    let path = std::env::temp_dir().join(format!("corella-foreign-{}", std::process::id()));
    std::fs::write(&path, b"content").unwrap();
    let plain: OwnedHandle = OsFile::open(&path).unwrap().into();
    let overlapped = {
        use std::os::windows::fs::OpenOptionsExt;
        let mut options = OsFile::options();
        OwnedHandle::from(options.read(true).custom_flags(FILE_FLAG_OVERLAPPED).open(&path).unwrap())
    };
    // SAFETY: makes a port, and gives it the handle, which is open.
    let foreign = unsafe {
        let port = CreateIoCompletionPort(overlapped.as_raw_handle(), null_mut(), 5, 1);
        assert!(!port.is_null());
        OwnedHandle::from_raw_handle(port)
    };
    for handle in [plain, overlapped] {
        let file = io.adopt_file(handle, "foreign").unwrap();
        let read = file.read_at(vec![0; 7], 0).submit().unwrap();
        assert_eq!(scheduler.block_on(read).unwrap().unwrap().1, b"content");
    }
    // And a pipe whose end is not overlapped.
    let name = name();
    let server = io.adopt_file(server(&name, false), "server").unwrap();
    let plain = io.adopt_file(client(&name, 0), "client").unwrap();
    let read = plain.read(vec![0; 9]).submit().unwrap();
    scheduler.block_on(server.write("bytes")).unwrap().unwrap();
    let (count, bytes) = scheduler.block_on(read).unwrap().unwrap();
    assert_eq!(&bytes[..count], b"bytes");
    drop(foreign);
    scheduler.run().unwrap();
    std::fs::remove_file(path).unwrap();
}

/// What keeps another program's port, and the ends of pipes, open.
type Kept = Box<dyn std::any::Any>;

/// A pipe's two ends, one for a port.
fn ends_of_port(io: &Io) -> (File, File, Kept) {
    let (reader, writer) = pipe(io, false);
    (reader, writer, Box::new(()))
}

/// A pipe's two ends as only threads can read and write them: not overlapped, or of another port.
fn ends_for_threads(io: &Io, of_another_port: bool) -> (File, File, Kept) {
    if !of_another_port {
        let (reader, writer) = std::io::pipe().unwrap();
        return (io.adopt_file(reader, "reader").unwrap(), io.adopt_file(writer, "writer").unwrap(), Box::new(()));
    }
    let name = name();
    let ends = [server(&name, false), client(&name, FILE_FLAG_OVERLAPPED)];
    let ports = ends.each_ref().map(|end| {
        // SAFETY: makes a port, and gives it the handle, which is open.
        unsafe {
            let port = CreateIoCompletionPort(end.as_raw_handle(), null_mut(), 5, 1);
            assert!(!port.is_null());
            OwnedHandle::from_raw_handle(port)
        }
    });
    let [reader, writer] = ends.map(|end| io.adopt_file(end, "end").unwrap());
    (reader, writer, Box::new(ports))
}

#[test]
fn a_thread_that_waits_in_a_read_is_reached_by_cancels_deadlines_and_the_end() {
    for of_another_port in [false, true] {
        let mut scheduler = Scheduler::builder().backend(BackendKind::Iocp).pool_threads(2).build().unwrap();
        let io = scheduler.io();
        let (reader, writer, _kept) = ends_for_threads(&io, of_another_port);
        for round in 0..50 {
            let read = reader.read(vec![0; 9]).submit().unwrap();
            let late = reader.read(vec![0; 9]).deadline(Duration::from_millis(2)).submit().unwrap();
            // The thread is in its call, on its way there, or has not been started.
            match round % 3 {
                0 => scheduler.block_on(io.sleep(Duration::from_millis(5))).unwrap().unwrap(),
                1 => drop(scheduler.poll().unwrap()),
                _ => {}
            }
            read.cancel();
            turn_until(&mut scheduler, "both reads", || read.is_settled() && late.is_settled());
            let failed = read.wait().unwrap_err();
            assert_eq!(failed.error.kind(), ErrorKind::Cancelled);
            assert_eq!(failed.moved.bytes(), 0);
            assert_eq!(late.wait().unwrap_err().error.kind(), ErrorKind::TimedOut);
            // The two threads are free, for this read and its write, and nothing was taken from the next.
            let next = reader.read(vec![0; 9]).submit().unwrap();
            let write = writer.write("bytes").submit().unwrap();
            let (count, bytes) = scheduler.block_on(next).unwrap().unwrap();
            assert_eq!(&bytes[..count], b"bytes");
            assert_eq!(scheduler.block_on(write).unwrap().unwrap().0, 5);
        }
        let last = reader.read(vec![0; 9]).submit().unwrap();
        scheduler.block_on(io.sleep(Duration::from_millis(5))).unwrap().unwrap();
        scheduler.shutdown(Duration::from_secs(20)).unwrap();
        assert_eq!(last.wait().unwrap_err().error.kind(), ErrorKind::Cancelled);
    }
}

#[test]
fn a_thread_that_waits_in_a_write_is_reached_and_says_that_nobody_knows_how_far_it_came() {
    for of_another_port in [false, true] {
        let (mut scheduler, io) = scheduler();
        let (reader, writer, _kept) = ends_for_threads(&io, of_another_port);
        let parts = vec![vec![1; 10], vec![2; 1 << 20]];
        let write = writer.write(parts).deadline(Duration::from_millis(50)).submit().unwrap();
        let behind = writer.write("behind").submit().unwrap();
        scheduler.block_on(reader.read_exact(vec![0; 100])).unwrap().unwrap();
        turn_until(&mut scheduler, "both", || write.is_settled() && behind.is_settled());
        let failed = write.wait().unwrap_err();
        assert_eq!((failed.error.kind(), failed.moved), (ErrorKind::TimedOut, Moved::Unknown));
        assert_eq!(behind.wait().unwrap_err().error.kind(), ErrorKind::LaneBroken);
    }
}

#[test]
fn a_read_by_a_thread_into_several_buffers_ends_with_what_was_there() {
    let (mut scheduler, io) = scheduler();
    let (reader, writer, _kept) = ends_for_threads(&io, false);
    scheduler.block_on(writer.write("four")).unwrap().unwrap();
    let parts = vec![vec![0; 4], vec![0; 4]];
    let read = reader.read(parts).deadline(Duration::from_secs(20));
    let (count, parts) = scheduler.block_on(read).unwrap().unwrap();
    assert_eq!((count, &parts[0][..]), (4, &b"four"[..]));
}

#[test]
fn a_write_of_no_bytes_by_the_other_side_is_not_the_end() {
    use std::io::Write;
    let (mut scheduler, io) = scheduler();
    for of_messages in [Some(false), Some(true), None] {
        // By the port, or by a thread.
        let (reader, mut writer) = match of_messages {
            Some(of_messages) => {
                let name = name();
                let reader = io.adopt_file(server(&name, of_messages), "reader").unwrap();
                (reader, OsFile::from(client(&name, 0)))
            }
            None => {
                let (reader, writer) = std::io::pipe().unwrap();
                (io.adopt_file(reader, "reader").unwrap(), OsFile::from(OwnedHandle::from(writer)))
            }
        };
        for is_early in [true, false] {
            let mut read = reader.read(vec![0; 9]);
            if is_early {
                assert!(poll_once(&mut scheduler, &mut read).is_pending());
            }
            assert_eq!(writer.write(&[]).unwrap(), 0);
            assert!(poll_once(&mut scheduler, &mut read).is_pending(), "{of_messages:?}: nothing has been written yet");
            writer.write_all(b"bytes").unwrap();
            let (count, bytes) = scheduler.block_on(read).unwrap().unwrap();
            assert_eq!(&bytes[..count], b"bytes", "{of_messages:?}");
        }
        drop(writer);
        assert_eq!(scheduler.block_on(reader.read(vec![0; 9])).unwrap().unwrap().0, 0);
    }
}
