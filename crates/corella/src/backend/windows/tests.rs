//! What bare calls do on Windows, without a port: they are the pool's and the blocking endings'.

use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::super::{Descriptor, Fault, Outcome, Submission, Token, Value, WaitsBy};
use super::*;
use crate::buffer::{Part, Parts};
use crate::fs::{FileKind, Metadata};
use crate::op::{At, Extent, Op, OpenOptions};

/// A directory of one test's own, removed with it.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Directory {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // Numbers of processes come again soon, and what a test that failed has left is not this one's.
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos();
        let name = format!("corella-perform-{now}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Directory(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn name(path: &Path) -> Arc<CStr> {
    CString::new(path.as_os_str().as_encoded_bytes()).unwrap().into()
}

fn carry_out(op: &Op, descriptor: RawDescriptor, class: Class, parts: &[Part], offset: Option<u64>) -> Outcome {
    let (token, waits_by, lingers) = (Token(1), WaitsBy::Class, false);
    perform(&Submission { token, op, descriptor, class, parts, offset, waits_by, extends: false, lingers })
}

use super::super::perform;

const FILE: Class = Class::File { append: false };

fn on_path(op: Op) -> Outcome {
    carry_out(&op, -1, Class::Stream, &[], None)
}

fn open(path: &Path, options: OpenOptions) -> Result<OsDescriptor, i32> {
    match on_path(Op::Open { path: name(path), options }) {
        Ok(Value::Descriptor(Descriptor::Os(descriptor))) => Ok(descriptor),
        Err(Fault::Os(code)) => Err(code),
        other => panic!("{other:?}"),
    }
}

fn both() -> OpenOptions {
    OpenOptions::new().read(true).write(true).create(true)
}

fn count(outcome: Outcome) -> u64 {
    match outcome {
        Ok(Value::Count(count)) => count,
        other => panic!("{other:?}"),
    }
}

fn write(file: &OsDescriptor, class: Class, offset: Option<u64>, chunks: &[&[u8]]) -> u64 {
    let parts: Vec<Part> =
        chunks.iter().map(|bytes| Part { pointer: bytes.as_ptr().cast_mut(), length: bytes.len() }).collect();
    let at = offset.map_or(At::Cursor, At::Offset);
    count(carry_out(&Op::Write { at, parts: Parts::default() }, raw(file), class, &parts, offset))
}

fn read(file: &OsDescriptor, offset: u64, lengths: &[usize]) -> Vec<u8> {
    let mut chunks: Vec<Vec<u8>> = lengths.iter().map(|length| vec![0; *length]).collect();
    let parts: Vec<Part> =
        chunks.iter_mut().map(|bytes| Part { pointer: bytes.as_mut_ptr(), length: bytes.len() }).collect();
    let op = Op::Read { at: At::Offset(offset), extent: Extent::Some, parts: Parts::default() };
    let count = count(carry_out(&op, raw(file), FILE, &parts, Some(offset)));
    let mut bytes = chunks.concat();
    bytes.truncate(count as usize);
    bytes
}

fn stat(path: &Path, follow: bool) -> Metadata {
    match on_path(Op::Stat { path: name(path), follow }) {
        Ok(Value::Metadata(metadata)) => *metadata,
        other => panic!("{other:?}"),
    }
}

#[test]
fn bytes_are_where_they_were_written_and_past_the_end_there_are_none() {
    let directory = Directory::new();
    let file = open(&directory.path("bytes"), both()).unwrap();
    assert_eq!(write(&file, FILE, Some(2), &[b"cd", b"", b"efg"]), 5);
    assert_eq!(write(&file, FILE, Some(0), &[b"ab"]), 2);
    assert_eq!(read(&file, 1, &[2, 100]), b"bcdefg");
    assert_eq!(read(&file, 7, &[1]), b"");
    assert_eq!(read(&file, 1 << 33, &[1]), b"");
}

#[test]
fn an_append_goes_to_the_end_wherever_that_is() {
    let directory = Directory::new();
    let path = directory.path("log");
    let options = OpenOptions::new().append(true).create(true);
    let (first, second) = (open(&path, options).unwrap(), open(&path, options).unwrap());
    for (file, line) in [(&first, b"one "), (&second, b"two "), (&first, b"end ")] {
        assert_eq!(write(file, Class::File { append: true }, None, &[line]), 4);
    }
    assert_eq!(fs::read(path).unwrap(), b"one two end ");
}

#[test]
fn a_file_that_is_open_can_be_read_written_and_renamed_by_others() {
    let directory = Directory::new();
    let file = open(&directory.path("shared"), both()).unwrap();
    write(&file, FILE, Some(0), &[b"text"]);
    let other = fs::OpenOptions::new().read(true).write(true).open(directory.path("shared")).unwrap();
    assert_eq!(other.metadata().unwrap().len(), 4);
    let (from, to) = (name(&directory.path("shared")), name(&directory.path("renamed")));
    count(on_path(Op::Rename { from, to }));
    assert_eq!(fs::read(directory.path("renamed")).unwrap(), b"text");
    assert_eq!(read(&file, 0, &[9]), b"text");
}

#[test]
fn opens_make_empty_and_refuse_as_they_are_asked_to() {
    const ERROR_FILE_NOT_FOUND: i32 = 2;
    const ERROR_FILE_EXISTS: i32 = 80;
    let directory = Directory::new();
    let path = directory.path("file");
    assert_eq!(open(&path, OpenOptions::new().read(true)).unwrap_err(), ERROR_FILE_NOT_FOUND);
    fs::write(&path, "old").unwrap();
    assert_eq!(open(&path, both().create_new(true)).unwrap_err(), ERROR_FILE_EXISTS);
    open(&path, both()).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"old");
    open(&path, both().truncate(true)).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"");
    open(&directory.path("read-only"), both().permissions(0o444)).unwrap();
    assert_eq!(stat(&directory.path("read-only"), true).permissions, 0o444);
    let mut permissions = fs::metadata(directory.path("read-only")).unwrap().permissions();
    #[expect(clippy::permissions_set_readonly_false, reason = "it can be removed then")]
    permissions.set_readonly(false);
    fs::set_permissions(directory.path("read-only"), permissions).unwrap();
    // One that there is to be made empty has no length, and whoever opened it is told what it is.
    for options in [OpenOptions::new().read(true), OpenOptions::new().write(true).truncate(true)] {
        let here = open(&directory.0, options).unwrap();
        assert_eq!(nature(&here).unwrap().kind, FileKind::Directory);
    }
}

#[test]
fn names_may_be_long_and_in_any_script() {
    let directory = Directory::new();
    let mut path = directory.path("ünïcode-日本語-🦜");
    for _ in 0..4 {
        count(on_path(Op::MakeDirectory { path: name(&path), permissions: 0o777 }));
        path.push("n".repeat(100));
    }
    assert!(path.as_os_str().len() > 300);
    let file = open(&path, both()).unwrap();
    write(&file, FILE, Some(0), &[b"far away"]);
    assert_eq!(stat(&path, true).size, 8);
    let second = path.with_file_name("second");
    count(on_path(Op::Rename { from: name(&path), to: name(&second) }));
    drop(file);
    count(on_path(Op::Unlink { path: name(&second) }));
    assert!(!second.exists());
}

#[test]
fn a_length_is_set_and_reserved() {
    let directory = Directory::new();
    let path = directory.path("length");
    let file = open(&path, both()).unwrap();
    write(&file, FILE, Some(0), &[b"0123456789"]);
    let done = |op: Op| count(carry_out(&op, raw(&file), FILE, &[], None));
    done(Op::Truncate { length: 4 });
    assert_eq!(read(&file, 0, &[20]), b"0123");
    done(Op::Allocate { offset: 0, length: 3 });
    assert_eq!(stat(&path, true).size, 4);
    done(Op::Allocate { offset: 4, length: 4 });
    assert_eq!(read(&file, 0, &[20]), b"0123\0\0\0\0");
    done(Op::Sync { data_only: false });
}

#[test]
fn a_stat_tells_what_is_there() {
    let directory = Directory::new();
    let path = directory.path("file");
    fs::write(&path, "12345").unwrap();
    count(on_path(Op::HardLink { from: name(&path), to: name(&directory.path("second")) }));
    let metadata = stat(&path, true);
    assert_eq!((metadata.kind, metadata.size, metadata.links), (FileKind::File, 5, 2));
    assert_eq!(metadata.inode, stat(&directory.path("second"), true).inode);
    let age = metadata.modified.elapsed().unwrap_or_default();
    assert!(age.as_secs() < 60, "{age:?}");
    let here = stat(&directory.0, true);
    assert_eq!((here.kind, here.permissions), (FileKind::Directory, 0o777));
}

#[test]
fn a_handle_that_is_not_overlapped_serves_as_well() {
    let directory = Directory::new();
    let path = directory.path("plain");
    let plain = fs::OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
    let file = from_file(plain.into());
    assert_eq!(write(&file, FILE, Some(3), &[b"def"]), 3);
    assert_eq!(write(&file, FILE, Some(0), &[b"abc"]), 3);
    assert_eq!(read(&file, 2, &[9]), b"cdef");
}

#[test]
fn sockets_alone_have_a_mode_in_which_calls_do_not_block() {
    use std::io::{ErrorKind, Read};
    let directory = Directory::new();
    let (reader, writer) = std::io::pipe().unwrap();
    let null = fs::OpenOptions::new().write(true).open("NUL").unwrap();
    let file = open(&directory.path("file"), both()).unwrap();
    for none in [from_file(reader.into()), from_file(writer.into()), from_file(null.into()), file] {
        set_nonblocking(&none, true).unwrap();
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut socket = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    set_nonblocking(&socket, true).unwrap();
    assert_eq!(socket.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn the_process_that_starts_a_program_learns_how_it_ended() {
    use super::super::children::{reap, signal, start};
    let command = |script: &str| {
        let mut command = std::process::Command::new("cmd.exe");
        command.args(["/c", script]);
        Arc::new(std::sync::Mutex::new(Some(command)))
    };
    let child = |script: &str| match start(&command(script)) {
        Ok(Value::Child(started)) => started.child.into_descriptor().unwrap(),
        other => panic!("{other:?}"),
    };
    let ended = child("exit 7");
    let status = loop {
        match reap(ended.as_handle()) {
            Some(outcome) => break outcome.unwrap(),
            None => std::thread::yield_now(),
        }
    };
    assert!(matches!(status, Value::Exit(7)), "{status:?}");
    signal(0, &ended, 9).unwrap();
    let none = std::process::Command::new("no such program");
    let refused = start(&Arc::new(std::sync::Mutex::new(Some(none)))).unwrap_err();
    assert!(matches!(refused, Fault::Os(2)), "{refused:?}");
}
