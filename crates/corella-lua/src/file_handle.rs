//! FileHandle: files, pipes and the standard streams, as scripts hold them.

use std::io::{IsTerminal, SeekFrom};
use std::rc::Rc;

use corella::{File, Mode};
use mlua::{
    AnyUserData, BString, Either, IntoLua, Lua, Table, UserData, UserDataFields, UserDataMethods, UserDataRef, Value,
};

use crate::arguments::Arguments;
use crate::child::{self, Side};
use crate::encoding::Encoding;
use crate::request::Request;
use crate::runtime::Runtime;
use crate::stream::{Rights, Stream, Transport};
use crate::verb::{Problem, direct, verb};
use crate::work::{BUFFER_SIZE_MAX, Buffering, Life, Positioned, Work};

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

/// The names that scripts have for when output goes out.
const BUFFERINGS: [(&str, Buffering); 3] =
    [("unbuffered", Buffering::None), ("line", Buffering::Line), ("full", Buffering::Full)];

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
            let known = "\"r\", \"w\" (empties), \"wa\" (appends), \"rw\", or \"p\" or \"wp\" (a program) is expected";
            Err(format!("bad argument #2 to 'open' (mode: {known}, got \"{other}\")"))
        }
    }
}

/// A command and its mode, if that is one of a pipe to a program. A table of words can be nothing else.
fn command(arguments: &mut Arguments) -> Result<Option<(Value, Side)>, String> {
    let (first, mode) = arguments.peek_two();
    let named = mode.as_string().and_then(|mode| Side::of_mode(&mode.to_string_lossy()));
    let side = match (&first, named) {
        (_, Some(side)) => side,
        (Value::Table(_), None) if mode.is_nil() => Side::Output,
        (Value::Table(_), None) => {
            return Err("bad argument #2 to 'open' (mode: \"p\", \"rp\" or \"wp\" is expected)".into());
        }
        _ => return Ok(None),
    };
    let command = arguments.any();
    arguments.any();
    Ok(Some((command, side)))
}

/// `handle:open(path, mode)`, or `FileHandle.open(path, mode)` with a handle of its own. Gives the handle.
fn open(lua: &Lua, runtime: &Rc<Runtime>, arguments: &mut Arguments) -> Result<Rc<Request>, String> {
    let object = match arguments.object_of::<FileHandle>() {
        Some(object) => object,
        None => new_handle(lua, runtime).map_err(|error| error.to_string())?,
    };
    let stream = Rc::clone(&object.borrow::<FileHandle>().map_err(|error| error.to_string())?.0);
    if let Some((command, side)) = command(arguments)? {
        return child::open(&stream, object, command, side, arguments);
    }
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
        Ok(Work::print(bytes))
    })?;
    work(lua, verbs, "read", |arguments| Ok(Work::Read { length: arguments.count("length")? }))?;
    verb(lua, verbs, "readline", |_, arguments| readline(&stream_of(arguments)?, arguments))?;
    work(lua, verbs, "peek", |arguments| {
        let length = arguments.optional_count("length")?;
        Ok(Work::Peek { length: length.unwrap_or(1) })
    })?;
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
    verb(lua, verbs, "exit_status", |lua, arguments| Ok(stream_of(arguments)?.exit_status(lua, arguments)))?;
    work(lua, verbs, "sync", |_| Ok(Work::Positioned(Positioned::Sync)))?;
    work(lua, verbs, "truncate", |arguments| {
        Ok(Work::Positioned(Positioned::Truncate { length: arguments.count("length")? }))
    })
}

/// `readline(separator)`, of files and connections.
pub(crate) fn readline(stream: &Rc<Stream>, arguments: &mut Arguments) -> Result<Rc<Request>, String> {
    let separator = match separator(arguments)? {
        Some(separator) => separator,
        None => stream.with_buffers(|buffers| Rc::clone(&buffers.separator)),
    };
    let limit = arguments.options.limit.unwrap_or(u64::MAX);
    Ok(stream.submit(Work::ReadLine { separator, limit }, arguments.options.deadline))
}

/// What ends a record, if it is said.
fn separator(arguments: &mut Arguments) -> Result<Option<Rc<[u8]>>, String> {
    let separator = arguments.optional_bytes("separator")?;
    match separator {
        Some(bytes) if bytes.is_empty() => Err(arguments.wrong("separator", "must not be empty")),
        separator => Ok(separator.map(Rc::from)),
    }
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
            _ => Err(Problem::from(buffers.not_open("tell"))),
        })
    })?;
    direct(lua, methods, "eof", |_, arguments| Ok(stream_of(arguments)?.with_buffers(|buffers| buffers.eof)))?;
    direct(lua, methods, "is_closed", |_, arguments| {
        Ok(stream_of(arguments)?.with_buffers(|buffers| !buffers.is_open()))
    })?;
    direct(lua, methods, "mode", |_, arguments| {
        let stream = stream_of(arguments)?;
        Ok(stream.with_buffers(|buffers| (buffers.life != Life::New).then_some(buffers.mode)))
    })?;
    direct(lua, methods, "get_fd", |_, arguments| {
        let stream = stream_of(arguments)?;
        Ok(stream.file().and_then(|file| file.descriptor_number()))
    })?;
    direct(lua, methods, "isatty", |_, arguments| {
        let stream = stream_of(arguments)?;
        Ok(stream.file().is_some_and(|file| file.is_terminal()))
    })?;
    direct(lua, methods, "kill", |_, arguments| stream_of(arguments)?.kill(arguments))?;
    direct(lua, methods, "pid", |_, arguments| stream_of(arguments)?.process_id())?;
    let shared = Rc::clone(runtime);
    direct(lua, methods, "pipe", move |_, _| {
        let (reader, writer) = shared.io().pipe()?;
        let handle = |file, rights| FileHandle(Stream::new(&shared, Transport::File(file), "a pipe", rights));
        Ok((handle(reader, Rights { read: true, ..NO_RIGHTS }), handle(writer, Rights { write: true, ..NO_RIGHTS })))
    })?;
    install_settings(lua, methods)
}

/// What can be asked of a handle, and set with an argument.
fn install_settings(lua: &Lua, methods: &Table) -> mlua::Result<()> {
    direct(lua, methods, "encoding", |_, arguments| {
        let stream = stream_of(arguments)?;
        let name = arguments.optional_word("name")?;
        let encoding = name.as_deref().map(|name| match Encoding::named(name) {
            Some(encoding) => Ok(encoding),
            None => {
                let known = format!("one of {} is expected, got \"{name}\"", Encoding::offered());
                Err(arguments.wrong("name", &known))
            }
        });
        let encoding = encoding.transpose()?;
        Ok(stream.with_buffers(|buffers| {
            buffers.encoding = encoding.unwrap_or(buffers.encoding);
            buffers.encoding.name()
        }))
    })?;
    direct(lua, methods, "record_separator", |lua, arguments| {
        let stream = stream_of(arguments)?;
        let separator = separator(arguments)?;
        let separator = stream.with_buffers(|buffers| {
            buffers.separator = separator.unwrap_or_else(|| Rc::clone(&buffers.separator));
            Rc::clone(&buffers.separator)
        });
        Ok(lua.create_string(&*separator)?)
    })?;
    direct(lua, methods, "buffer_type", |_, arguments| {
        let stream = stream_of(arguments)?;
        let name = arguments.optional_word("name")?;
        let buffering = name.as_deref().map(|name| match BUFFERINGS.iter().find(|(known, _)| *known == name) {
            Some((_, buffering)) => Ok(*buffering),
            None => {
                let known = format!("\"unbuffered\", \"line\" or \"full\" is expected, got \"{name}\"");
                Err(arguments.wrong("name", &known))
            }
        });
        if let Some(buffering) = buffering.transpose()? {
            stream.with_buffers(|buffers| buffers.buffering = buffering);
            if buffering == Buffering::None {
                stream.flush_behind();
            }
        }
        let buffering = stream.with_buffers(|buffers| buffers.buffering);
        Ok(BUFFERINGS.iter().find(|(_, known)| *known == buffering).map(|(name, _)| *name))
    })?;
    direct(lua, methods, "buffer_size", |_, arguments| {
        let stream = stream_of(arguments)?;
        if let Some(size) = arguments.optional_count("bytes")? {
            let size = usize::try_from(size).ok().filter(|size| (1..=BUFFER_SIZE_MAX).contains(size));
            let Some(size) = size else {
                return Err(arguments.wrong("bytes", &format!("1 to {BUFFER_SIZE_MAX} is expected")).into());
            };
            stream.with_buffers(|buffers| (buffers.buffer_size, buffers.ahead) = (size, size));
        }
        Ok(stream.with_buffers(|buffers| buffers.buffer_size as u64))
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
        if std::io::stdout().is_terminal() {
            buffers.buffering = Buffering::None;
        }
    });
    errors.with_buffers(|buffers| buffers.buffering = Buffering::None);
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
        let request = output.submit(Work::print(bytes), None);
        drop::<Rc<Request>>(request);
        Ok(())
    };
    raw.set("print_behind", lua.create_function(print_behind)?)
}

/// Anything that was given where a handle is wanted.
type Given = Either<UserDataRef<FileHandle>, Value>;

/// Adds to `raw` the shortest ways: what the buffers alone can do, without a request. Nothing means that it takes one.
pub(crate) fn install_shortest(lua: &Lua, raw: &Table) -> mlua::Result<()> {
    // Records for many calls at once, of which the Lua side gives back those that it did not need.
    let lend = |lua: &Lua, (handle, limit, is_cut): (Given, usize, bool)| {
        let Either::Left(handle) = handle else { return Ok(None) };
        let records = handle.0.with_buffers(|buffers| buffers.lend(limit));
        records.map(|records| records.into_list(lua, is_cut)).transpose()
    };
    raw.set("lend", lua.create_function(lend)?)?;
    let give_back = |_: &Lua, (handle, records): (UserDataRef<FileHandle>, usize)| {
        handle.0.with_buffers(|buffers| buffers.take_lent(records));
        Ok(())
    };
    raw.set("give_back", lua.create_function(give_back)?)?;
    let read_now = |_: &Lua, (handle, length): (Given, Value)| match (handle, length) {
        (Either::Left(handle), Value::Integer(length)) if length > 0 => {
            let bytes = handle.0.with_buffers(|buffers| buffers.read_now(length as u64));
            Ok(bytes.map(BString::from))
        }
        _ => Ok(None),
    };
    raw.set("read_now", lua.create_function(read_now)?)?;
    let write_now = |_: &Lua, (handle, text): (Given, Value)| match (handle, text) {
        (Either::Left(handle), Value::String(text)) => {
            let bytes = text.as_bytes();
            Ok(handle.0.print_now(&bytes).then_some(bytes.len()))
        }
        _ => Ok(None),
    };
    raw.set("write_now", lua.create_function(write_now)?)
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
