//! FileHandle: files, pipes and the standard streams, as scripts hold them.

use std::io::{IsTerminal, SeekFrom};
use std::rc::Rc;

use corella::{File, Mode};
use mlua::{AnyUserData, IntoLua, Lua, Table, UserData, UserDataFields, UserDataMethods, Value};

use crate::arguments::Arguments;
use crate::request::Request;
use crate::runtime::Runtime;
use crate::stream::{Rights, Stream, Transport};
use crate::verb::{Problem, direct, verb};
use crate::work::{Life, Positioned, Work};

/// What a script holds of a file. Letting go of it closes the file in the background, buffered output included.
pub(crate) struct FileHandle(pub(crate) Rc<Stream>);

impl UserData for FileHandle {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_meta_field("__name", "FileHandle");
        fields.add_meta_field_with("__index", |lua| lua.named_registry_value::<Table>("corella.FileHandle"));
        fields.add_meta_field_with("__close", |lua| lua.named_registry_value::<Value>("corella.close"));
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_meta_method("__tostring", |_, this, ()| {
            Ok(this.0.with_buffers(|buffers| match buffers.life {
                Life::New => "FileHandle (not open)".to_string(),
                Life::Closed | Life::Closing => format!("FileHandle (closed, {})", buffers.name),
                Life::Opening | Life::Open => format!("FileHandle ({})", buffers.name),
            }))
        });
    }
}

const NO_RIGHTS: Rights = Rights { read: false, write: false, append: false };

fn new_handle(lua: &Lua, runtime: &Rc<Runtime>) -> mlua::Result<AnyUserData> {
    lua.create_userdata(FileHandle(Stream::new(runtime, Transport::None, "an unopened handle", NO_RIGHTS)))
}

fn stream_of(arguments: &mut Arguments) -> Result<Rc<Stream>, String> {
    let object = arguments.object::<FileHandle>("FileHandle")?;
    let handle = object.borrow::<FileHandle>().map_err(|error| error.to_string())?;
    Ok(Rc::clone(&handle.0))
}

fn mode(name: Option<&str>) -> Result<(Mode, Rights), String> {
    let rights = |read, write, append| Rights { read, write, append };
    match name {
        None | Some("r") => Ok((Mode::Read, rights(true, false, false))),
        Some("w") => Ok((Mode::Write, rights(false, true, false))),
        Some("wa") => Ok((Mode::Append, rights(false, true, true))),
        Some("rw") => Ok((Mode::ReadWrite, rights(true, true, false))),
        Some(other) => {
            let known = "\"r\", \"w\" (empties), \"wa\" (appends) or \"rw\" is expected";
            Err(format!("bad argument #2 to 'open' (mode: {known}, got \"{other}\")"))
        }
    }
}

/// `handle:open(path, mode)`, or `FileHandle.open(path, mode)` with a handle of its own. Gives the handle.
fn open(lua: &Lua, runtime: &Rc<Runtime>, arguments: &mut Arguments) -> Result<Rc<Request>, String> {
    let object = match arguments.object_of::<FileHandle>() {
        Some(object) => object,
        None => new_handle(lua, runtime).map_err(|error| error.to_string())?,
    };
    let stream = Rc::clone(&object.borrow::<FileHandle>().map_err(|error| error.to_string())?.0);
    let path = arguments.path("path")?;
    let (mode, rights) = mode(arguments.optional_word("mode")?.as_deref())?;
    Ok(stream.open(path, mode.into(), rights, object, arguments.options.deadline))
}

fn whole(arguments: &mut Arguments, what: &str) -> Result<usize, String> {
    let count = arguments.count(what)?;
    usize::try_from(count).map_err(|_| format!("{what}: {count} is more than this machine can hold"))
}

fn seek_target(arguments: &mut Arguments) -> Result<SeekFrom, String> {
    let offset = arguments.optional_integer("offset")?;
    let Some(offset) = offset else { return Err("bad argument #1 to 'seek' (offset: an integer is expected)".into()) };
    match arguments.optional_word("from")?.as_deref() {
        None | Some("start") => match u64::try_from(offset) {
            Ok(offset) => Ok(SeekFrom::Start(offset)),
            Err(_) => {
                Err(format!("bad argument #1 to 'seek' (offset: must not be negative from the start, got {offset})"))
            }
        },
        Some("current") => Ok(SeekFrom::Current(offset)),
        Some("end") => Ok(SeekFrom::End(offset)),
        Some(other) => Err(format!(
            "bad argument #2 to 'seek' (from: \"start\", \"current\" or \"end\" is expected, got \"{other}\")"
        )),
    }
}

/// All values that are left, as text, one after the other.
fn printed(arguments: &mut Arguments) -> Result<Vec<u8>, String> {
    let mut bytes = arguments.bytes("text")?;
    while arguments.has_more() {
        bytes.extend(arguments.bytes("text")?);
    }
    Ok(bytes)
}

/// Adds FileHandle's operations to `verbs`.
pub(crate) fn install_verbs(lua: &Lua, runtime: &Rc<Runtime>, verbs: &Table) -> mlua::Result<()> {
    let shared = Rc::clone(runtime);
    verb(lua, verbs, "open", move |lua, arguments| open(lua, &shared, arguments))?;
    verb(lua, verbs, "close", |_, arguments| Ok(stream_of(arguments)?.close(arguments.options.deadline)))?;
    work(lua, verbs, "print", |arguments| {
        let bytes = printed(arguments)?;
        Ok(Work::Print { count: bytes.len() as u64, bytes })
    })?;
    work(lua, verbs, "read", |arguments| Ok(Work::Read { length: arguments.count("length")? }))?;
    work(lua, verbs, "readline", |_| Ok(Work::ReadLine))?;
    work(lua, verbs, "readall", |_| Ok(Work::ReadAll))?;
    work(lua, verbs, "seek", |arguments| Ok(Work::Seek { to: seek_target(arguments)? }))?;
    work(lua, verbs, "flush", |_| Ok(Work::Flush))?;
    work(lua, verbs, "read_at", |arguments| {
        let length = whole(arguments, "length")?;
        Ok(Work::Positioned(Positioned::ReadAt { length, offset: arguments.count("offset")? }))
    })?;
    work(lua, verbs, "write_at", |arguments| {
        let bytes = arguments.bytes("data")?;
        Ok(Work::Positioned(Positioned::WriteAt { bytes, offset: arguments.count("offset")? }))
    })?;
    work(lua, verbs, "sync", |_| Ok(Work::Positioned(Positioned::Sync)))?;
    work(lua, verbs, "truncate", |arguments| {
        Ok(Work::Positioned(Positioned::Truncate { length: arguments.count("length")? }))
    })
}

/// An operation on an open handle.
fn work(
    lua: &Lua,
    verbs: &Table,
    name: &'static str,
    of: impl Fn(&mut Arguments) -> Result<Work, String> + 'static,
) -> mlua::Result<()> {
    verb(lua, verbs, name, move |_, arguments| {
        let stream = stream_of(arguments)?;
        let work = of(arguments)?;
        Ok(stream.submit(work, arguments.options.deadline))
    })
}

/// Adds FileHandle's calls that finish at once to `methods`.
pub(crate) fn install(lua: &Lua, runtime: &Rc<Runtime>, methods: &Table) -> mlua::Result<()> {
    let shared = Rc::clone(runtime);
    direct(lua, methods, "new", move |lua, _| Ok(new_handle(lua, &shared)?))?;
    direct(lua, methods, "tell", |_, arguments| {
        let stream = stream_of(arguments)?;
        stream.with_buffers(|buffers| match buffers.life {
            Life::Open | Life::Opening => Ok(buffers.position),
            _ => Err(Problem::from(crate::failure::OperationError::closed("tell", &*buffers.name))),
        })
    })?;
    direct(lua, methods, "eof", |_, arguments| Ok(stream_of(arguments)?.with_buffers(|buffers| buffers.eof)))?;
    direct(lua, methods, "is_closed", |_, arguments| {
        Ok(stream_of(arguments)?.with_buffers(|buffers| !matches!(buffers.life, Life::Open | Life::Opening)))
    })
}

/// A standard stream as a FileHandle. One that cannot be had is a handle that is not open.
fn standard(
    lua: &Lua,
    runtime: &Rc<Runtime>,
    file: Result<File, corella::Error>,
    name: &str,
    rights: Rights,
) -> mlua::Result<(Rc<Stream>, Value)> {
    let transport = match file {
        Ok(file) => Transport::File(file),
        Err(error) => {
            runtime.report(error.to_string());
            Transport::None
        }
    };
    let stream = Stream::new(runtime, transport, name, rights);
    Ok((Rc::clone(&stream), FileHandle(stream).into_lua(lua)?))
}

/// Adds the standard streams to `globals`, and to `raw` what `print` needs.
pub(crate) fn install_standard(lua: &Lua, runtime: &Rc<Runtime>, raw: &Table, globals: &Table) -> mlua::Result<()> {
    let (io, write) = (runtime.io().clone(), Rights { write: true, ..NO_RIGHTS });
    let (_, input) = standard(lua, runtime, io.stdin(), "standard input", Rights { read: true, ..NO_RIGHTS })?;
    let (output, output_handle) = standard(lua, runtime, io.stdout(), "standard output", write)?;
    let (errors, errors_handle) = standard(lua, runtime, io.stderr(), "standard error", write)?;
    // Somebody watches: each print is to be seen at once.
    output.with_buffers(|buffers| {
        buffers.is_standard_output = true;
        buffers.is_unbuffered = std::io::stdout().is_terminal();
    });
    errors.with_buffers(|buffers| buffers.is_unbuffered = true);
    globals.set("stdin", input)?;
    globals.set("stdout", output_handle)?;
    globals.set("stderr", errors_handle)?;
    runtime.output.replace(Some(Rc::clone(&output)));
    let quick = Rc::clone(&output);
    let print_now = move |_: &Lua, line: mlua::LuaString| Ok(quick.print_now(&line.as_bytes()));
    raw.set("print_now", lua.create_function(print_now)?)?;
    // For where the caller cannot be suspended: it goes out in its turn, and a failure is reported.
    let print_behind = move |_: &Lua, line: mlua::LuaString| {
        let bytes = line.as_bytes().to_vec();
        let request = output.submit(Work::Print { count: bytes.len() as u64, bytes }, None);
        drop::<Rc<Request>>(request);
        Ok(())
    };
    raw.set("print_behind", lua.create_function(print_behind)?)
}

impl Stream {
    /// Takes a line of output if there is nothing to wait for.
    fn print_now(&self, line: &[u8]) -> bool {
        self.with_buffers(|buffers| {
            let has_room = buffers.has_room(line.len());
            if has_room {
                buffers.accept(line);
            }
            has_room
        })
    }
}
