//! The file system: operations on paths.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use corella::actions::Plain;
use corella::{Directory, Entry, FileKind, Io, Metadata, Operation};
use mlua::{Lua, Table};

use crate::directory;
use crate::os_text::bytes_of;
use crate::request::{Class, Outcome, Request, Stop};
use crate::runtime::Runtime;
use crate::verb::verb;

fn kind_name(kind: FileKind) -> &'static str {
    match kind {
        FileKind::File => "file",
        FileKind::Directory => "directory",
        FileKind::SymbolicLink => "link",
        FileKind::Pipe => "pipe",
        FileKind::Socket => "socket",
        FileKind::CharacterDevice => "character device",
        FileKind::BlockDevice => "block device",
        _ => "other",
    }
}

/// Seconds since 1970, as `os.time` counts.
fn seconds(time: SystemTime) -> f64 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => after.as_secs_f64(),
        Err(before) => -before.duration().as_secs_f64(),
    }
}

/// What `fs.stat` gives.
pub(crate) fn metadata_table(lua: &Lua, metadata: &Metadata) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.set("kind", kind_name(metadata.kind))?;
    table.set("size", metadata.size)?;
    table.set("permissions", metadata.permissions)?;
    table.set("modified", seconds(metadata.modified))?;
    table.set("accessed", seconds(metadata.accessed))?;
    table.set("created", metadata.created.map(seconds))?;
    table.set("links", metadata.links)?;
    table.set("inode", metadata.inode)?;
    table.set("device", metadata.device)?;
    table.set("user", metadata.user)?;
    table.set("group", metadata.group)?;
    table.set("allocated", metadata.allocated)?;
    Ok(table)
}

/// What `fs.readdir` gives.
pub(crate) fn entries_table(lua: &Lua, entries: &[Entry]) -> mlua::Result<Table> {
    let table = lua.create_table_with_capacity(entries.len(), 0)?;
    for entry in entries {
        table.push(entry_table(lua, entry)?)?;
    }
    Ok(table)
}

/// One name in a directory.
pub(crate) fn entry_table(lua: &Lua, entry: &Entry) -> mlua::Result<Table> {
    let table = lua.create_table_with_capacity(0, 2)?;
    table.set("name", lua.create_string(bytes_of(&entry.name))?)?;
    table.set("kind", kind_name(entry.kind))?;
    Ok(table)
}

/// Reads a directory batch by batch into one request.
struct Listing {
    runtime: Rc<Runtime>,
    directory: Directory,
    entries: Vec<Entry>,
    request: Rc<Request>,
}

impl Listing {
    fn read_next(mut self) {
        let runtime = Rc::clone(&self.runtime);
        let request = Rc::clone(&self.request);
        let submitted = self.directory.next_entries().direct().then(move |outcome| match outcome {
            Ok(batch) if batch.is_empty() => self.request.settle(Ok(Outcome::Entries(self.entries))),
            Ok(batch) => {
                self.entries.extend(batch);
                self.read_next();
            }
            Err(error) => self.request.settle(Err(error.into())),
        });
        drop(runtime);
        match submitted {
            Ok(id) => request.set_stop(Stop::Engine(id)),
            Err(error) => request.settle(Err(error.into())),
        }
    }
}

fn read_directory(runtime: &Rc<Runtime>, path: &Path, deadline: Option<Duration>) -> Rc<Request> {
    let request = Request::new(runtime, Class::Counted);
    let (shared, settles) = (Rc::clone(runtime), Rc::clone(&request));
    let submitted = runtime.io().read_directory(path).direct().then(move |outcome| match outcome {
        Ok(directory) => {
            Listing { runtime: shared, directory, entries: Vec::new(), request: settles }.read_next();
        }
        Err(error) => settles.settle(Err(error.into())),
    });
    match submitted {
        Ok(id) => request.set_stop(Stop::Engine(id)),
        Err(error) => request.settle(Err(error.into())),
    }
    request.limit(deadline, "readdir", || {});
    request
}

/// An operation on one path that gives nothing.
fn plain(
    lua: &Lua,
    runtime: &Rc<Runtime>,
    verbs: &Table,
    name: &'static str,
    operation: fn(&Io, PathBuf) -> Operation<Plain>,
) -> mlua::Result<()> {
    let shared = Rc::clone(runtime);
    verb(lua, verbs, name, move |_, arguments| {
        let path = arguments.path("path")?;
        Ok(shared.begin_plain(arguments.options.deadline, operation(shared.io(), path)))
    })
}

/// An operation on two paths that gives nothing.
fn of_two(
    lua: &Lua,
    runtime: &Rc<Runtime>,
    verbs: &Table,
    name: &'static str,
    of: [&'static str; 2],
    operation: fn(&Io, PathBuf, PathBuf) -> Operation<Plain>,
) -> mlua::Result<()> {
    let shared = Rc::clone(runtime);
    verb(lua, verbs, name, move |_, arguments| {
        let (first, second) = (arguments.path(of[0])?, arguments.path(of[1])?);
        Ok(shared.begin_plain(arguments.options.deadline, operation(shared.io(), first, second)))
    })
}

/// Adds the operations on paths to `verbs`.
pub(crate) fn install_verbs(lua: &Lua, runtime: &Rc<Runtime>, verbs: &Table) -> mlua::Result<()> {
    plain(lua, runtime, verbs, "unlink", |io, path| io.unlink(path))?;
    plain(lua, runtime, verbs, "mkdir", |io, path| io.make_directory(path))?;
    plain(lua, runtime, verbs, "rmdir", |io, path| io.remove_directory(path))?;
    plain(lua, runtime, verbs, "sync", |io, path| io.sync_directory(path))?;
    of_two(lua, runtime, verbs, "rename", ["from", "to"], |io, from, to| io.rename(from, to))?;
    of_two(lua, runtime, verbs, "link", ["from", "to"], |io, from, to| io.hard_link(from, to))?;
    of_two(lua, runtime, verbs, "symlink", ["content", "path"], |io, from, to| io.symbolic_link(from, to))?;
    let shared = Rc::clone(runtime);
    verb(lua, verbs, "readlink", move |_, arguments| {
        let operation = shared.io().read_link(arguments.path("path")?);
        Ok(shared.begin(Class::Counted, arguments.options.deadline, operation, |outcome| {
            let content: PathBuf = outcome?;
            Ok(Outcome::Bytes(bytes_of(content.as_os_str())))
        }))
    })?;
    let shared = Rc::clone(runtime);
    verb(lua, verbs, "stat", move |_, arguments| {
        let path = arguments.path("path")?;
        Ok(shared.begin(Class::Counted, arguments.options.deadline, shared.io().stat(path), |outcome| {
            Ok(Outcome::Metadata(Box::new(outcome?)))
        }))
    })?;
    let shared = Rc::clone(runtime);
    verb(lua, verbs, "lstat", move |_, arguments| {
        let path = arguments.path("path")?;
        Ok(shared.begin(Class::Counted, arguments.options.deadline, shared.io().stat_link(path), |outcome| {
            Ok(Outcome::Metadata(Box::new(outcome?)))
        }))
    })?;
    let shared = Rc::clone(runtime);
    verb(lua, verbs, "opendir", move |lua, arguments| {
        directory::open(lua, &shared, &arguments.path("path")?, arguments.options.deadline)
    })?;
    let shared = Rc::clone(runtime);
    verb(lua, verbs, "readdir", move |_, arguments| {
        Ok(read_directory(&shared, &arguments.path("path")?, arguments.options.deadline))
    })
}
