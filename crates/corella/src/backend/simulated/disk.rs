//! The disk of a simulated machine: files, directories and links in memory, and what of them a crash leaves.
//!
//! Every file and directory has two states: what the running system sees, and what is on the platter. Changes not yet
//! synced are kept in order between the two. A crash takes each of them, tears it, or loses it, as chance has it;
//! what was synced stays. Syncing a file makes its bytes and length safe, and not its name: that is its directory's.

use std::collections::{BTreeMap, VecDeque};

use crate::backend::Errno;

use super::clock::Random;
use crate::fs::FileKind;
use crate::op::OpenOptions;

/// A file, directory or link by number; never used again.
pub(super) type Inode = usize;

type Result<T> = std::result::Result<T, Errno>;

const ROOT: Inode = 0;
/// A disk writes this many bytes as one, or not.
const SECTOR: usize = 512;
/// Links followed on one path before it counts as a loop, as on Linux.
const LINKS_MAX: u32 = 40;
const NAME_BYTES_MAX: usize = 255;
/// Changes of a file kept apart; beyond it the oldest is written back, as a kernel does by and by.
const UNSYNCED_MAX: usize = 1024;
/// No file is longer: what a seek cannot reach cannot be written.
const FILE_BYTES_MAX: u64 = 1 << 40;

#[derive(Clone, Debug)]
enum FileChange {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

#[derive(Clone, Debug, Default)]
struct File {
    bytes: Vec<u8>,
    safe: Vec<u8>,
    unsynced: VecDeque<FileChange>,
}

impl File {
    fn change(&mut self, change: FileChange) {
        self.unsynced.push_back(change);
        if self.unsynced.len() > UNSYNCED_MAX
            && let Some(oldest) = self.unsynced.pop_front()
        {
            apply(&mut self.safe, &oldest);
        }
    }
}

type Names = BTreeMap<Vec<u8>, Inode>;

#[derive(Clone, Debug, Default)]
struct Directory {
    names: Names,
    safe: Names,
    /// A name, and what it refers to from then on.
    unsynced: Vec<(Vec<u8>, Option<Inode>)>,
}

impl Directory {
    fn set(&mut self, name: &[u8], inode: Option<Inode>) {
        match inode {
            Some(inode) => self.names.insert(name.to_vec(), inode),
            None => self.names.remove(name),
        };
        self.unsynced.push((name.to_vec(), inode));
    }
}

#[derive(Clone, Debug)]
enum Content {
    File(File),
    Directory(Directory),
    Link(Vec<u8>),
}

#[derive(Clone, Debug)]
struct Node {
    content: Content,
    permissions: u32,
    /// Names that it has.
    links: u64,
    /// Open descriptors.
    opened: u32,
    modified: u64,
}

/// What the disk knows of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    pub(super) inode: Inode,
    pub(super) kind: FileKind,
    pub(super) size: u64,
    pub(super) permissions: u32,
    pub(super) links: u64,
    /// In nanoseconds since the simulation began.
    pub(super) modified: u64,
}

#[derive(Debug)]
pub(super) struct Disk {
    nodes: BTreeMap<Inode, Node>,
    next: Inode,
    /// Bytes of all files together.
    used: u64,
    pub(super) capacity: u64,
}

impl Disk {
    pub(super) fn new() -> Disk {
        let root = Node {
            content: Content::Directory(Directory::default()),
            permissions: 0o755,
            links: 1,
            opened: 0,
            modified: 0,
        };
        Disk { nodes: BTreeMap::from([(ROOT, root)]), next: ROOT + 1, used: 0, capacity: u64::MAX }
    }

    // Paths.

    fn node(&self, inode: Inode) -> Result<&Node> {
        self.nodes.get(&inode).ok_or(Errno::STALE)
    }

    fn node_mut(&mut self, inode: Inode) -> Result<&mut Node> {
        self.nodes.get_mut(&inode).ok_or(Errno::STALE)
    }

    fn directory(&mut self, inode: Inode) -> Result<&mut Directory> {
        match &mut self.node_mut(inode)?.content {
            Content::Directory(directory) => Ok(directory),
            _ => Err(Errno::NOTDIR),
        }
    }

    fn names(&self, inode: Inode) -> Result<&Names> {
        match &self.node(inode)?.content {
            Content::Directory(directory) => Ok(&directory.names),
            _ => Err(Errno::NOTDIR),
        }
    }

    fn file(&mut self, inode: Inode) -> Result<&mut File> {
        match &mut self.node_mut(inode)?.content {
            Content::File(file) => Ok(file),
            Content::Directory(_) => Err(Errno::ISDIR),
            Content::Link(_) => Err(Errno::INVAL),
        }
    }

    /// The directory and last name of a path. Links on the way are followed; one at its end is if `follow`.
    fn locate(&self, path: &[u8], follow: bool) -> Result<(Inode, Vec<u8>)> {
        if path.is_empty() {
            return Err(Errno::NOENT);
        }
        let mut left: Vec<Vec<u8>> = parts(path);
        // A directory and a name in it; the root is `.` of itself.
        let mut parents = vec![ROOT];
        let mut links = 0;
        while let Some(name) = left.pop() {
            let directory = *parents.last().unwrap_or(&ROOT);
            if name.len() > NAME_BYTES_MAX {
                return Err(Errno::NAMETOOLONG);
            }
            if name == b".." {
                if parents.len() > 1 {
                    parents.pop();
                }
                continue;
            }
            let found = self.names(directory)?.get(&name).copied();
            if let Some(inode) = found
                && let Content::Link(target) = &self.node(inode)?.content
                && (follow || !left.is_empty())
            {
                links += 1;
                if links > LINKS_MAX {
                    return Err(Errno::LOOP);
                }
                if target.starts_with(b"/") {
                    parents.truncate(1);
                }
                left.extend(parts(target));
                continue;
            }
            if left.is_empty() {
                return Ok((directory, name));
            }
            let inode = found.ok_or(Errno::NOENT)?;
            self.names(inode)?;
            parents.push(inode);
        }
        Ok((*parents.last().unwrap_or(&ROOT), b".".to_vec()))
    }

    fn find(&self, path: &[u8], follow: bool) -> Result<Inode> {
        let (directory, name) = self.locate(path, follow)?;
        let inode = match name.as_slice() {
            b"." => directory,
            name => *self.names(directory)?.get(name).ok_or(Errno::NOENT)?,
        };
        if path.ends_with(b"/") {
            self.names(inode)?;
        }
        Ok(inode)
    }

    /// The place for a new name.
    fn vacant(&self, path: &[u8]) -> Result<(Inode, Vec<u8>)> {
        let (directory, name) = self.locate(path, false)?;
        match name == b"." || self.names(directory)?.contains_key(&name) {
            true => Err(Errno::EXIST),
            false => Ok((directory, name)),
        }
    }

    fn add(&mut self, directory: Inode, name: &[u8], content: Content, permissions: u32, now: u64) -> Result<Inode> {
        let inode = self.next;
        self.next += 1;
        self.nodes.insert(inode, Node { content, permissions, links: 1, opened: 0, modified: now });
        self.directory(directory)?.set(name, Some(inode));
        Ok(inode)
    }

    /// A file or directory lost a name or a descriptor: without any of both it is gone.
    fn forget_if_unused(&mut self, inode: Inode) {
        if let Some(node) = self.nodes.get(&inode)
            && node.links == 0
            && node.opened == 0
        {
            if let Content::File(file) = &node.content {
                self.used -= file.bytes.len() as u64;
            }
            self.nodes.remove(&inode);
        }
    }

    // What programs ask of it.

    pub(super) fn open(&mut self, path: &[u8], options: &OpenOptions, now: u64) -> Result<Inode> {
        let found = match self.find(path, !options.create_new) {
            Err(Errno::NOENT) if (options.create || options.create_new) && !path.ends_with(b"/") => None,
            found => Some(found?),
        };
        let inode = match found {
            Some(_) if options.create_new => return Err(Errno::EXIST),
            Some(inode) => inode,
            None => {
                let (directory, name) = self.locate(path, true)?;
                let permissions = options.permissions & !0o022;
                self.add(directory, &name, Content::File(File::default()), permissions, now)?
            }
        };
        let writes = options.write || options.append;
        match &self.node(inode)?.content {
            Content::Directory(_) if writes => return Err(Errno::ISDIR),
            Content::File(_) if options.truncate && writes => self.truncate(inode, 0, now)?,
            _ => {}
        }
        self.node_mut(inode)?.opened += 1;
        Ok(inode)
    }

    pub(super) fn close(&mut self, inode: Inode) {
        if let Ok(node) = self.node_mut(inode) {
            node.opened -= 1;
        }
        self.forget_if_unused(inode);
    }

    pub(super) fn stat(&self, path: &[u8], follow: bool) -> Result<Facts> {
        self.facts(self.find(path, follow)?)
    }

    pub(super) fn facts(&self, inode: Inode) -> Result<Facts> {
        let node = self.node(inode)?;
        let (kind, size) = match &node.content {
            Content::File(file) => (FileKind::File, file.bytes.len() as u64),
            Content::Directory(directory) => (FileKind::Directory, directory.names.len() as u64),
            Content::Link(target) => (FileKind::SymbolicLink, target.len() as u64),
        };
        let Node { permissions, links, modified, .. } = *node;
        Ok(Facts { inode, kind, size, permissions, links, modified })
    }

    pub(super) fn rename(&mut self, from: &[u8], to: &[u8]) -> Result<()> {
        let (source, name) = self.locate(from, false)?;
        let inode = *self.names(source)?.get(&name).ok_or(Errno::NOENT)?;
        let (target, new_name) = self.locate(to, false)?;
        if new_name == b"." {
            return Err(Errno::BUSY);
        }
        let is_directory = matches!(self.node(inode)?.content, Content::Directory(_));
        if is_directory && self.is_inside(target, inode) {
            return Err(Errno::INVAL);
        }
        let replaced = self.names(target)?.get(&new_name).copied();
        if replaced == Some(inode) {
            return Ok(());
        }
        if let Some(old) = replaced {
            match (&self.node(old)?.content, is_directory) {
                (Content::Directory(directory), true) if directory.names.is_empty() => {}
                (Content::Directory(_), true) => return Err(Errno::NOTEMPTY),
                (Content::Directory(_), false) => return Err(Errno::ISDIR),
                (_, true) => return Err(Errno::NOTDIR),
                (_, false) => {}
            }
            self.node_mut(old)?.links -= 1;
        }
        self.directory(source)?.set(&name, None);
        self.directory(target)?.set(&new_name, Some(inode));
        replaced.into_iter().for_each(|old| self.forget_if_unused(old));
        Ok(())
    }

    /// Whether `directory` is `ancestor` or lies somewhere in it.
    fn is_inside(&self, directory: Inode, ancestor: Inode) -> bool {
        directory == ancestor
            || self.names(ancestor).is_ok_and(|names| names.values().any(|inode| self.is_inside(directory, *inode)))
    }

    pub(super) fn unlink(&mut self, path: &[u8]) -> Result<()> {
        let (directory, name) = self.locate(path, false)?;
        let inode = *self.names(directory)?.get(&name).ok_or(Errno::NOENT)?;
        if matches!(self.node(inode)?.content, Content::Directory(_)) {
            return Err(Errno::ISDIR);
        }
        self.directory(directory)?.set(&name, None);
        self.node_mut(inode)?.links -= 1;
        self.forget_if_unused(inode);
        Ok(())
    }

    pub(super) fn make_directory(&mut self, path: &[u8], permissions: u32, now: u64) -> Result<()> {
        let (directory, name) = self.vacant(path)?;
        self.add(directory, &name, Content::Directory(Directory::default()), permissions & !0o022, now).map(drop)
    }

    pub(super) fn remove_directory(&mut self, path: &[u8]) -> Result<()> {
        let (directory, name) = self.locate(path, false)?;
        if name == b"." {
            return Err(Errno::BUSY);
        }
        let inode = *self.names(directory)?.get(&name).ok_or(Errno::NOENT)?;
        if !self.names(inode)?.is_empty() {
            return Err(Errno::NOTEMPTY);
        }
        self.directory(directory)?.set(&name, None);
        self.node_mut(inode)?.links -= 1;
        self.forget_if_unused(inode);
        Ok(())
    }

    pub(super) fn hard_link(&mut self, from: &[u8], to: &[u8]) -> Result<()> {
        let inode = self.find(from, false)?;
        if matches!(self.node(inode)?.content, Content::Directory(_)) {
            return Err(Errno::PERM);
        }
        let (directory, name) = self.vacant(to)?;
        self.directory(directory)?.set(&name, Some(inode));
        self.node_mut(inode)?.links += 1;
        Ok(())
    }

    pub(super) fn symbolic_link(&mut self, content: &[u8], path: &[u8], now: u64) -> Result<()> {
        let (directory, name) = self.vacant(path)?;
        self.add(directory, &name, Content::Link(content.to_vec()), 0o777, now).map(drop)
    }

    pub(super) fn read_link(&self, path: &[u8]) -> Result<Vec<u8>> {
        match &self.node(self.find(path, false)?)?.content {
            Content::Link(target) => Ok(target.clone()),
            _ => Err(Errno::INVAL),
        }
    }

    /// The names in a directory, with what they are.
    pub(super) fn entries(&self, path: &[u8]) -> Result<Vec<(Vec<u8>, FileKind)>> {
        let names = self.names(self.find(path, true)?)?;
        names.iter().map(|(name, inode)| Ok((name.clone(), self.facts(*inode)?.kind))).collect()
    }

    pub(super) fn read(&mut self, inode: Inode, offset: u64, length: usize) -> Result<Vec<u8>> {
        let bytes = &self.file(inode)?.bytes;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let end = start.saturating_add(length).min(bytes.len());
        Ok(bytes[start..end].to_vec())
    }

    /// Writes at `offset`, or at the end; as many bytes as there is room for.
    pub(super) fn write(&mut self, inode: Inode, offset: Option<u64>, bytes: &[u8], now: u64) -> Result<usize> {
        let room = self.capacity.saturating_sub(self.used);
        let file = self.file(inode)?;
        let length = file.bytes.len() as u64;
        let start = offset.unwrap_or(length);
        if start.saturating_add(bytes.len() as u64) > FILE_BYTES_MAX {
            return Err(Errno::FBIG);
        }
        let end = (start + bytes.len() as u64).min(length.saturating_add(room).max(start));
        let count = (end - start) as usize;
        if count == 0 || start > length.saturating_add(room) {
            return Err(Errno::NOSPC);
        }
        let bytes = bytes[..count].to_vec();
        put(&mut file.bytes, start as usize, &bytes);
        file.change(FileChange::Write { offset: start as usize, bytes });
        self.used += end.saturating_sub(length);
        self.node_mut(inode)?.modified = now;
        Ok(count)
    }

    pub(super) fn truncate(&mut self, inode: Inode, length: u64, now: u64) -> Result<()> {
        if length > FILE_BYTES_MAX {
            return Err(Errno::FBIG);
        }
        let room = self.capacity.saturating_sub(self.used);
        let file = self.file(inode)?;
        let old = file.bytes.len() as u64;
        if length > old.saturating_add(room) {
            return Err(Errno::NOSPC);
        }
        file.bytes.resize(length as usize, 0);
        file.change(FileChange::Length(length as usize));
        self.used = self.used + length - old;
        self.node_mut(inode)?.modified = now;
        Ok(())
    }

    pub(super) fn allocate(&mut self, inode: Inode, offset: u64, length: u64, now: u64) -> Result<()> {
        if length == 0 {
            return Err(Errno::INVAL);
        }
        let end = offset.checked_add(length).ok_or(Errno::FBIG)?;
        match end > self.file(inode)?.bytes.len() as u64 {
            true => self.truncate(inode, end, now),
            false => Ok(()),
        }
    }

    /// Makes what was written safe from a crash; of a directory, its names.
    pub(super) fn sync(&mut self, inode: Inode) -> Result<()> {
        match &mut self.node_mut(inode)?.content {
            Content::File(file) => {
                for change in std::mem::take(&mut file.unsynced) {
                    apply(&mut file.safe, &change);
                }
            }
            Content::Directory(directory) => {
                directory.unsynced.clear();
                directory.safe = directory.names.clone();
            }
            Content::Link(_) => {}
        }
        Ok(())
    }

    pub(super) fn sync_directory(&mut self, path: &[u8]) -> Result<()> {
        let inode = self.find(path, true)?;
        self.names(inode)?;
        self.sync(inode)
    }

    // What the simulation's owner asks of it.

    /// The whole of a file.
    pub(super) fn contents(&mut self, path: &[u8]) -> Result<Vec<u8>> {
        let inode = self.find(path, true)?;
        Ok(self.file(inode)?.bytes.clone())
    }

    /// A file with these bytes, synced, with the directories to it.
    pub(super) fn put(&mut self, path: &[u8], bytes: Vec<u8>) -> Result<()> {
        for (index, _) in path.iter().enumerate().filter(|(index, byte)| **byte == b'/' && *index > 0) {
            match self.make_directory(&path[..index], 0o755, 0) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error),
            }
        }
        let inode = self.open(path, &OpenOptions::new().write(true).create(true).truncate(true), 0)?;
        self.write(inode, None, &bytes, 0)
            .map(drop)
            .or_else(|error| if bytes.is_empty() { Ok(()) } else { Err(error) })?;
        self.close(inode);
        let inodes: Vec<Inode> = self.nodes.keys().copied().collect();
        inodes.into_iter().try_for_each(|inode| self.sync(inode))
    }

    // The crash.

    /// Leaves what was synced, and of the rest what chance leaves: changes of a file whole, torn, or lost, each by
    /// itself; those of a directory up to some moment.
    pub(super) fn crash(&mut self, random: &mut Random) {
        for node in self.nodes.values_mut() {
            node.opened = 0;
            match &mut node.content {
                Content::File(file) => {
                    for change in std::mem::take(&mut file.unsynced) {
                        match random.below(3) {
                            0 => {}
                            1 => apply(&mut file.safe, &change),
                            _ => tear(&mut file.safe, &change, random),
                        }
                    }
                    file.bytes = file.safe.clone();
                }
                Content::Directory(directory) => {
                    let kept = random.below(directory.unsynced.len() as u64 + 1) as usize;
                    for (name, inode) in std::mem::take(&mut directory.unsynced).into_iter().take(kept) {
                        match inode {
                            Some(inode) => directory.safe.insert(name, inode),
                            None => directory.safe.remove(&name),
                        };
                    }
                    directory.names = directory.safe.clone();
                }
                Content::Link(_) => {}
            }
        }
        self.check_file_system();
    }

    /// As at a start after a crash: names that lead nowhere go, links are counted, and what has no name goes.
    fn check_file_system(&mut self) {
        let mut links: BTreeMap<Inode, u64> = BTreeMap::from([(ROOT, 1)]);
        let known: Vec<Inode> = self.nodes.keys().copied().collect();
        let mut left = vec![ROOT];
        while let Some(inode) = left.pop() {
            let Ok(directory) = self.directory(inode) else { continue };
            directory.names.retain(|_, inode| known.binary_search(inode).is_ok());
            directory.safe = directory.names.clone();
            for inode in directory.names.values() {
                let count = links.entry(*inode).or_default();
                *count += 1;
                if *count == 1 {
                    left.push(*inode);
                }
            }
        }
        self.nodes.retain(|inode, _| links.contains_key(inode));
        self.used = 0;
        for (inode, node) in &mut self.nodes {
            node.links = links[inode];
            if let Content::File(file) = &node.content {
                self.used += file.bytes.len() as u64;
            }
        }
    }
}

/// The names of a path, last first, without the empty ones and `.`.
fn parts(path: &[u8]) -> Vec<Vec<u8>> {
    let names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".");
    names.rev().map(<[u8]>::to_vec).collect()
}

fn put(bytes: &mut Vec<u8>, offset: usize, new: &[u8]) {
    let end = offset + new.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(new);
}

fn apply(safe: &mut Vec<u8>, change: &FileChange) {
    match change {
        FileChange::Write { offset, bytes } => put(safe, *offset, bytes),
        FileChange::Length(length) => safe.resize(*length, 0),
    }
}

/// Some sectors of a write reach the platter and some do not.
fn tear(safe: &mut Vec<u8>, change: &FileChange, random: &mut Random) {
    let FileChange::Write { offset, bytes } = change else { return };
    let mut start = 0;
    while start < bytes.len() {
        let end = bytes.len().min((*offset + start) / SECTOR * SECTOR + SECTOR - *offset);
        if random.chance(0.5) {
            put(safe, offset + start, &bytes[start..end]);
        }
        start = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::OpenOptions;

    fn create(disk: &mut Disk, path: &str) -> Inode {
        let options = OpenOptions::new().write(true).create(true);
        disk.open(path.as_bytes(), &options, 0).unwrap()
    }

    #[test]
    fn what_was_synced_survives_a_crash_and_names_are_their_directorys() {
        for seed in 0..100 {
            let mut disk = Disk::new();
            let kept = create(&mut disk, "/kept");
            disk.write(kept, None, b"synced", 0).unwrap();
            disk.sync(kept).unwrap();
            disk.sync_directory(b"/").unwrap();
            disk.write(kept, Some(0), b"SYNCED", 0).unwrap();
            disk.crash(&mut Random::new(seed));
            let inode = disk.find(b"/kept", true).unwrap();
            let bytes = disk.read(inode, 0, 100).unwrap();
            assert!(bytes == b"synced" || bytes == b"SYNCED", "{bytes:?}");
        }
    }

    #[test]
    fn a_synced_file_without_a_synced_name_can_be_lost() {
        let survives = |seed| {
            let mut disk = Disk::new();
            let file = create(&mut disk, "/log");
            disk.write(file, None, b"text", 0).unwrap();
            disk.sync(file).unwrap();
            disk.crash(&mut Random::new(seed));
            disk.find(b"/log", true).is_ok()
        };
        let survivors = (0..100).filter(|seed| survives(*seed)).count();
        assert!((20..80).contains(&survivors), "{survivors}");
    }

    #[test]
    fn a_torn_write_leaves_some_of_its_sectors() {
        let outcomes: std::collections::BTreeSet<usize> = (0..200)
            .map(|seed| {
                let mut disk = Disk::new();
                let file = create(&mut disk, "/file");
                disk.truncate(file, 2048, 0).unwrap();
                disk.sync(file).unwrap();
                disk.sync_directory(b"/").unwrap();
                disk.write(file, Some(0), &[1; 2048], 0).unwrap();
                disk.crash(&mut Random::new(seed));
                let bytes = disk.read(file, 0, 2048).unwrap();
                assert!(bytes.chunks(SECTOR).all(|sector| sector.iter().all(|byte| *byte == sector[0])));
                bytes.iter().filter(|byte| **byte == 1).count() / SECTOR
            })
            .collect();
        assert_eq!(outcomes.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn paths_links_and_directories_behave_as_elsewhere() {
        let mut disk = Disk::new();
        disk.make_directory(b"/a", 0o777, 0).unwrap();
        disk.make_directory(b"a/b/", 0o777, 0).unwrap();
        create(&mut disk, "/a/b/../file");
        assert_eq!(disk.stat(b"a/./file", true).unwrap().kind, FileKind::File);
        disk.symbolic_link(b"../a/file", b"/a/link", 0).unwrap();
        assert_eq!(disk.stat(b"/a/link", true).unwrap().kind, FileKind::File);
        assert_eq!(disk.stat(b"/a/link", false).unwrap().kind, FileKind::SymbolicLink);
        assert_eq!(disk.read_link(b"/a/link").unwrap(), b"../a/file");
        disk.symbolic_link(b"loop", b"/loop", 0).unwrap();
        assert_eq!(disk.stat(b"/loop", true).unwrap_err(), Errno::LOOP);
        assert_eq!(disk.stat(b"/a/file/", true).unwrap_err(), Errno::NOTDIR);
        assert_eq!(disk.stat(b"/a/none/file", true).unwrap_err(), Errno::NOENT);
        assert_eq!(disk.remove_directory(b"/a").unwrap_err(), Errno::NOTEMPTY);
        assert_eq!(disk.rename(b"/a", b"/a/b/c").unwrap_err(), Errno::INVAL);
        assert_eq!(disk.unlink(b"/a/b").unwrap_err(), Errno::ISDIR);
        disk.hard_link(b"/a/file", b"/second").unwrap();
        assert_eq!(disk.stat(b"/second", true).unwrap().links, 2);
        disk.rename(b"/second", b"/a/link").unwrap();
        assert_eq!(disk.entries(b"/a").unwrap().len(), 3);
        disk.unlink(b"/a/file").unwrap();
        disk.remove_directory(b"/a/b").unwrap();
    }

    #[test]
    fn a_full_disk_takes_what_it_has_room_for() {
        let mut disk = Disk::new();
        disk.capacity = 10;
        let file = create(&mut disk, "/file");
        assert_eq!(disk.write(file, None, b"1234567", 0), Ok(7));
        assert_eq!(disk.write(file, None, b"89abcdef", 0), Ok(3));
        assert_eq!(disk.write(file, None, b"g", 0), Err(Errno::NOSPC));
        assert_eq!(disk.write(file, Some(2), b"overwritten", 0), Ok(8));
        disk.close(file);
        disk.unlink(b"/file").unwrap();
        let file = create(&mut disk, "/file");
        assert_eq!(disk.write(file, None, b"1234567", 0), Ok(7));
    }
}
