//! The file system: operations on paths. They have no lane and no order among each other.

use std::ffi::{CString, OsString};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
#[cfg(unix)]
use std::time::Duration;
use std::time::SystemTime;

use crate::backend::{Value, kind_of_entry};
use crate::error::{Error, ErrorKind};
use crate::op::{DirectoryReader, Op};
use crate::operation::{Action, ActionReport, Operation, Plan, Sealed};
use crate::plain::Plain;
use crate::scheduler::Io;

/// What a path or handle refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    SymbolicLink,
    /// A pipe or FIFO.
    Pipe,
    /// A socket.
    Socket,
    /// A character device, such as a terminal.
    CharacterDevice,
    /// A block device.
    BlockDevice,
    /// Something else, or not known.
    Other,
}

impl FileKind {
    #[cfg(unix)]
    pub(crate) fn from_mode(mode: rustix::fs::RawMode) -> FileKind {
        use rustix::fs::FileType;
        match FileType::from_raw_mode(mode) {
            FileType::RegularFile => FileKind::File,
            FileType::Directory => FileKind::Directory,
            FileType::Symlink => FileKind::SymbolicLink,
            FileType::Fifo => FileKind::Pipe,
            FileType::Socket => FileKind::Socket,
            FileType::CharacterDevice => FileKind::CharacterDevice,
            FileType::BlockDevice => FileKind::BlockDevice,
            FileType::Unknown => FileKind::Other,
        }
    }
}

/// What the file system knows of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metadata {
    /// What it is.
    pub kind: FileKind,
    /// Its length, in bytes.
    pub size: u64,
    /// Permission bits, as in chmod(2).
    pub permissions: u32,
    /// When its content last changed.
    pub modified: SystemTime,
    /// When it was last read, as far as the file system keeps that.
    pub accessed: SystemTime,
    /// When it was made, where the file system and the system call know.
    pub created: Option<SystemTime>,
    /// How many names it has.
    pub links: u64,
    /// The file system's number for it.
    pub inode: u64,
    /// The device that it is on.
    pub device: u64,
    /// Its owner.
    pub user: u32,
    /// Its group.
    pub group: u32,
    /// Bytes taken on the device.
    pub allocated: u64,
}

#[cfg(unix)]
fn time(seconds: i64, nanoseconds: u32) -> SystemTime {
    let within = Duration::from_nanos(u64::from(nanoseconds));
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let time = match seconds < 0 {
        false => SystemTime::UNIX_EPOCH.checked_add(whole),
        true => SystemTime::UNIX_EPOCH.checked_sub(whole),
    };
    time.and_then(|time| time.checked_add(within)).unwrap_or(SystemTime::UNIX_EPOCH)
}

#[allow(clippy::unnecessary_cast, reason = "the widths of these fields differ between systems")]
impl Metadata {
    #[cfg(unix)]
    pub(crate) fn from_stat(stat: &rustix::fs::Stat) -> Metadata {
        Metadata {
            kind: FileKind::from_mode(stat.st_mode as _),
            size: stat.st_size as u64,
            permissions: stat.st_mode as u32 & 0o7777,
            modified: time(stat.st_mtime as i64, stat.st_mtime_nsec as u32),
            accessed: time(stat.st_atime as i64, stat.st_atime_nsec as u32),
            created: None,
            links: stat.st_nlink as u64,
            inode: stat.st_ino as u64,
            device: stat.st_dev as u64,
            user: stat.st_uid,
            group: stat.st_gid,
            allocated: stat.st_blocks as u64 * 512,
        }
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn from_statx(statx: &libc::statx) -> Metadata {
        let at = |stamp: libc::statx_timestamp| time(stamp.tv_sec, stamp.tv_nsec);
        Metadata {
            kind: FileKind::from_mode(statx.stx_mode.into()),
            size: statx.stx_size,
            permissions: u32::from(statx.stx_mode) & 0o7777,
            modified: at(statx.stx_mtime),
            accessed: at(statx.stx_atime),
            created: (statx.stx_mask & libc::STATX_BTIME != 0).then(|| at(statx.stx_btime)),
            links: u64::from(statx.stx_nlink),
            inode: statx.stx_ino,
            device: libc::makedev(statx.stx_dev_major, statx.stx_dev_minor) as u64,
            user: statx.stx_uid,
            group: statx.stx_gid,
            allocated: statx.stx_blocks * 512,
        }
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.kind == FileKind::Directory
    }

    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        self.kind == FileKind::File
    }
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The name, without the directory.
    pub name: OsString,
    /// What it is, where the directory says so itself.
    pub kind: FileKind,
}

impl Entry {
    pub(crate) fn from_std(entry: &std::fs::DirEntry) -> Entry {
        let kind = entry.file_type().map_or(FileKind::Other, |kind| kind_of_entry(&kind));
        Entry { name: entry.file_name(), kind }
    }
}

/// A path as the OS takes it, or why it cannot be one.
pub(crate) fn os_path(path: &Path, operation: &str) -> Result<Arc<std::ffi::CStr>, Error> {
    match CString::new(path.as_os_str().as_encoded_bytes()) {
        Ok(path) => Ok(Arc::from(path)),
        Err(_) => {
            let target = path.to_string_lossy().replace('\0', "\\0");
            Err(Error::new(ErrorKind::InvalidInput, operation, target).with_note("the path has a NUL byte inside"))
        }
    }
}

/// Gives what the file system knows.
#[derive(Debug)]
pub struct Stat;

impl Sealed for Stat {}

impl Action for Stat {
    type Output = Metadata;
    type Error = Error;

    fn finish(self, _io: &Io, report: ActionReport) -> Result<Metadata, Error> {
        match report.0.result? {
            Value::Metadata(metadata) => Ok(*metadata),
            other => unreachable!("stat gave {other:?}"),
        }
    }
}

/// Gives the content of a symbolic link.
#[derive(Debug)]
pub struct ReadLink;

impl Sealed for ReadLink {}

impl Action for ReadLink {
    type Output = PathBuf;
    type Error = Error;

    fn finish(self, _io: &Io, report: ActionReport) -> Result<PathBuf, Error> {
        match report.0.result? {
            Value::Path(path) => Ok(path),
            other => unreachable!("readlink gave {other:?}"),
        }
    }
}

/// Gives an open directory.
#[derive(Debug)]
pub struct OpenDirectory {
    path: Arc<std::ffi::CStr>,
}

impl Sealed for OpenDirectory {}

impl Action for OpenDirectory {
    type Output = Directory;
    type Error = Error;

    fn finish(self, io: &Io, report: ActionReport) -> Result<Directory, Error> {
        report.0.result?;
        Ok(Directory { io: io.clone(), reader: Arc::new(Mutex::new(None)), path: self.path })
    }
}

/// Gives the next entries of a directory.
#[derive(Debug)]
pub struct ReadDirectory;

impl Sealed for ReadDirectory {}

impl Action for ReadDirectory {
    type Output = Vec<Entry>;
    type Error = Error;

    fn finish(self, _io: &Io, report: ActionReport) -> Result<Vec<Entry>, Error> {
        match report.0.result? {
            Value::Entries(entries) => Ok(entries),
            other => unreachable!("readdir gave {other:?}"),
        }
    }
}

/// A directory being read, as a stream of batches.
///
/// ```
/// # fn main() -> Result<(), corella::Error> {
/// let scheduler = corella::Scheduler::new()?;
/// let mut directory = scheduler.io().read_directory("src").wait()?;
/// let mut names = Vec::new();
/// loop {
///     let batch = directory.next_entries().wait()?;
///     if batch.is_empty() {
///         break;
///     }
///     names.extend(batch.into_iter().map(|entry| entry.name));
/// }
/// assert!(names.contains(&"lib.rs".into()));
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Directory {
    io: Io,
    reader: DirectoryReader,
    path: Arc<std::ffi::CStr>,
}

impl Directory {
    /// The next names, up to a few hundred, in no particular order, without `.` and `..`; none at the end.
    pub fn next_entries(&mut self) -> Operation<ReadDirectory> {
        let op = Op::ReadDirectory { reader: Arc::clone(&self.reader), path: Arc::clone(&self.path) };
        Operation::new(self.io.clone(), Plan::Op(op), ReadDirectory)
    }

    /// Starts again from the first name.
    pub fn rewind(&mut self) {
        self.reader = Arc::new(Mutex::new(None));
    }
}

/// The permissions of a new directory before the process's mask.
const DIRECTORY_PERMISSIONS: u32 = 0o777;

impl Io {
    fn on_path<A: Action>(
        &self,
        path: &Path,
        operation: &str,
        action: A,
        op: impl FnOnce(Arc<std::ffi::CStr>) -> Op,
    ) -> Operation<A> {
        let plan = os_path(path, operation).map_or_else(Plan::Invalid, |path| Plan::Op(op(path)));
        Operation::new(self.clone(), plan, action)
    }

    fn on_paths(
        &self,
        from: &Path,
        to: &Path,
        operation: &str,
        op: impl FnOnce(Arc<std::ffi::CStr>, Arc<std::ffi::CStr>) -> Op,
    ) -> Operation<Plain> {
        let paths = os_path(from, operation).and_then(|from| Ok((from, os_path(to, operation)?)));
        let plan = paths.map_or_else(Plan::Invalid, |(from, to)| Plan::Op(op(from, to)));
        Operation::new(self.clone(), plan, Plain)
    }

    /// What `path` refers to, symbolic links followed; stat(2).
    ///
    /// Gives [`Metadata`]; fails with [`Error`].
    pub fn stat(&self, path: impl AsRef<Path>) -> Operation<Stat> {
        self.on_path(path.as_ref(), "stat", Stat, |path| Op::Stat { path, follow: true })
    }

    /// What `path` itself is, a symbolic link not followed; lstat(2).
    ///
    /// Gives [`Metadata`]; fails with [`Error`].
    pub fn stat_link(&self, path: impl AsRef<Path>) -> Operation<Stat> {
        self.on_path(path.as_ref(), "stat", Stat, |path| Op::Stat { path, follow: false })
    }

    /// Makes the names in a directory safe from a crash: a new, renamed or removed file's is so only then, whatever was
    /// synced of the file itself; fsync(2).
    pub fn sync_directory(&self, path: impl AsRef<Path>) -> Operation<Plain> {
        self.on_path(path.as_ref(), "sync", Plain, |path| Op::SyncDirectory { path })
    }

    /// Gives a file another name, replacing what has that name; rename(2).
    ///
    /// Gives `()`; fails with [`Error`].
    pub fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Operation<Plain> {
        self.on_paths(from.as_ref(), to.as_ref(), "rename", |from, to| Op::Rename { from, to })
    }

    /// Removes a file's name; unlink(2).
    ///
    /// Gives `()`; fails with [`Error`].
    pub fn unlink(&self, path: impl AsRef<Path>) -> Operation<Plain> {
        self.on_path(path.as_ref(), "unlink", Plain, |path| Op::Unlink { path })
    }

    /// Makes a directory; mkdir(2).
    ///
    /// Gives `()`; fails with [`Error`].
    pub fn make_directory(&self, path: impl AsRef<Path>) -> Operation<Plain> {
        let permissions = DIRECTORY_PERMISSIONS;
        self.on_path(path.as_ref(), "mkdir", Plain, |path| Op::MakeDirectory { path, permissions })
    }

    /// Removes an empty directory; rmdir(2).
    ///
    /// Gives `()`; fails with [`Error`].
    pub fn remove_directory(&self, path: impl AsRef<Path>) -> Operation<Plain> {
        self.on_path(path.as_ref(), "rmdir", Plain, |path| Op::RemoveDirectory { path })
    }

    /// Gives a file a second name; link(2).
    ///
    /// Gives `()`; fails with [`Error`].
    pub fn hard_link(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Operation<Plain> {
        self.on_paths(from.as_ref(), to.as_ref(), "hard link", |from, to| Op::HardLink { from, to })
    }

    /// Makes `path` a symbolic link to `content`; symlink(2).
    ///
    /// Gives `()`; fails with [`Error`].
    pub fn symbolic_link(&self, content: impl AsRef<Path>, path: impl AsRef<Path>) -> Operation<Plain> {
        self.on_paths(content.as_ref(), path.as_ref(), "symbolic link", |content, path| Op::SymbolicLink {
            content,
            path,
        })
    }

    /// The content of a symbolic link; readlink(2).
    ///
    /// Gives a `PathBuf`; fails with [`Error`].
    pub fn read_link(&self, path: impl AsRef<Path>) -> Operation<ReadLink> {
        self.on_path(path.as_ref(), "readlink", ReadLink, |path| Op::ReadLink { path })
    }

    /// Opens a directory to read its names.
    ///
    /// Gives a [`Directory`]; fails with [`Error`].
    pub fn read_directory(&self, path: impl AsRef<Path>) -> Operation<OpenDirectory> {
        match os_path(path.as_ref(), "opendir") {
            Ok(path) => {
                let action = OpenDirectory { path: Arc::clone(&path) };
                Operation::new(self.clone(), Plan::Op(Op::OpenDirectory { path }), action)
            }
            Err(error) => {
                let action = OpenDirectory { path: Arc::from(c"") };
                Operation::new(self.clone(), Plan::Invalid(error), action)
            }
        }
    }
}
