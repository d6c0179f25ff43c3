//! From a record to the engine: each verb once.

use std::ffi::{OsStr, c_int, c_void};
use std::path::Path;
use std::time::Duration;

use corella::{
    Action, Address, Begun, HostedOptions, HostedRead, Io, OpenOptions, Operation, Positioned, RequestId as EngineId,
};

use crate::addresses::{CORELLA_PORT_UNIX, address, internet_address, port_number, unix_address};
use crate::codes::{
    CORELLA_ERROR_BUSY, CORELLA_ERROR_INVALID_INPUT, CORELLA_ERROR_WRONG_KIND, CORELLA_ERROR_WRONG_STATE, CORELLA_OK,
};
use crate::faults::Fault;
use crate::files::{
    CORELLA_APPEND, CORELLA_CREATE, CORELLA_CREATE_NEW, CORELLA_DIRECT, CORELLA_READ, CORELLA_TRUNCATE, CORELLA_WRITE,
};
use crate::host::Host;
use crate::ids::Key;
use crate::memory::{Lent, LentRun};
use crate::outcome::{IntoSettled, Object, Settled};
use crate::request::{Ending, Extra, Function, Record, Stage, Verb};
use crate::sockets::{CORELLA_SHUTDOWN_BOTH, CORELLA_SHUTDOWN_READ, CORELLA_SHUTDOWN_WRITE};

/// The caller's memory as far as it can be checked.
pub(crate) fn check_memory(data: *mut c_void, length: usize) -> Result<(), Fault> {
    match length {
        0 => Ok(()),
        _ if data.is_null() => Err(Fault::input("a null pointer with a length")),
        _ if length > isize::MAX as usize => Err(Fault::input("a length that no memory has")),
        _ => Ok(()),
    }
}

/// A path of bytes, as the OS has them; on Windows they are UTF-8.
pub(crate) fn path(bytes: &[u8]) -> Result<&Path, Fault> {
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        Ok(Path::new(OsStr::from_bytes(bytes)))
    }
    #[cfg(not(unix))]
    {
        let text = std::str::from_utf8(bytes).map_err(|_| Fault::input("a path that is not UTF-8"))?;
        Ok(Path::new(OsStr::new(text)))
    }
}

/// How the engine took a request.
enum Taken {
    Running(EngineId),
    /// It has settled already, and no closure will run.
    Settled(Settled),
}

/// What an operation is begun with.
struct Launch<'a> {
    host: &'a Host,
    index: u32,
    record: &'a mut Record,
    /// A `corella_wait`: the bare system call is allowed.
    waits: bool,
}

impl Launch<'_> {
    /// Hands an operation over.
    fn start<A: Action>(self, operation: Operation<A>) -> Result<Taken, Refused>
    where
        Result<A::Output, A::Error>: IntoSettled,
    {
        let refused = |error: A::Error| Refused::Engine(Result::<A::Output, A::Error>::Err(error).into_settled());
        // Always direct to the engine, which then lists the outcome in the turn that reaped it; what C calls direct
        // decides on the order among the lists here.
        let mut operation = operation.direct();
        if self.record.deadline_ns >= 0 {
            operation = operation.deadline(Duration::from_nanos(self.record.deadline_ns.unsigned_abs()));
        }
        if let Some(token) = &self.record.token {
            operation = operation.cancel_with(token);
        }
        let host = std::ptr::from_ref(self.host);
        let index = self.index;
        let callback = move |outcome: Result<A::Output, A::Error>| {
            // SAFETY: the engine runs callbacks only inside calls of this host on it, and the host owns the engine; so
            // the host is alive, on this thread. Nothing holds it exclusively: all its fields are behind cells.
            unsafe { &*host }.settle(index, outcome.into_settled());
        };
        if !self.waits {
            return Ok(Taken::Running(operation.then(callback).map_err(refused)?));
        }
        match operation.finish_or_then(callback).map_err(refused)? {
            Begun::Submitted(id) => Ok(Taken::Running(id)),
            Begun::Finished(outcome) => Ok(Taken::Settled(outcome.into_settled())),
        }
    }

    fn positioned<A: Positioned>(self, operation: Operation<A>) -> Result<Taken, Refused>
    where
        Result<A::Output, A::Error>: IntoSettled,
    {
        let operation = if self.record.unordered { operation.unordered() } else { operation };
        self.start(operation)
    }

    fn lent(&mut self) -> Lent {
        let rest = std::mem::take(&mut self.record.parts);
        Lent { data: self.record.data, length: self.record.length, rest }
    }
}

/// Why a request did not begin.
enum Refused {
    Code(Fault),
    /// The engine gave everything back.
    Engine(Settled),
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Refused {
        Refused::Code(fault)
    }
}

impl From<c_int> for Refused {
    fn from(code: c_int) -> Refused {
        Refused::Code(code.into())
    }
}

/// Hands a ready request to the engine with this ending.
pub(crate) fn submit(
    host: &Host,
    key: Key,
    ending: Ending,
    callback: Option<(Function, *mut c_void)>,
) -> Result<c_int, Fault> {
    begin(host, key, ending, callback, false)
}

/// Begins a `corella_wait`. The request may have settled when this returns.
pub(crate) fn begin_wait(host: &Host, key: Key) -> Result<c_int, Fault> {
    begin(host, key, Ending::Asked, None, true)
}

fn begin(
    host: &Host,
    key: Key,
    ending: Ending,
    callback: Option<(Function, *mut c_void)>,
    waits: bool,
) -> Result<c_int, Fault> {
    let mut requests = host.requests.borrow_mut();
    // In a callback that a turn has led to, or soon after it.
    let is_in_turn = requests.delivered.is_some();
    let record = requests.ready(key)?;
    if let Some((function, user_data)) = callback {
        record.callback = Some(function);
        record.user_data = user_data;
    }
    record.ending = ending;
    record.stage = Stage::Running;
    let lends = record.buffer.filter(|_| record.verb != Verb::ReceivePooled);
    if let Some(buffer) = lends {
        let mut buffers = host.buffers.borrow_mut();
        let buffer = buffers.get_mut(buffer)?;
        if buffer.lent > 0 && record.verb.fills() {
            record.stage = Stage::Ready;
            return Err(CORELLA_ERROR_BUSY.into());
        }
        buffer.lent += 1;
    }
    // With one run of bytes there is nothing to give back but numbers; a wait may be a bare call and has its own way.
    if !waits && record.verb.is_plain_transfer() && record.parts.is_empty() {
        let begun = hand_over(host, key.index, record, is_in_turn);
        return match begun {
            Ok(engine) => {
                record.engine = Some(engine);
                requests.running += 1;
                requests.running_enqueued += usize::from(ending == Ending::Enqueued);
                Ok(CORELLA_OK)
            }
            Err(fault) => {
                record.stage = Stage::Ready;
                take_back(host, lends);
                Err(fault)
            }
        };
    }
    let taken = launch(Launch { host, index: key.index, record, waits });
    let record = requests.at(key.index);
    match taken {
        Ok(taken) => {
            requests.running += 1;
            requests.running_enqueued += usize::from(ending == Ending::Enqueued);
            match taken {
                Taken::Running(engine) => requests.at(key.index).engine = Some(engine),
                Taken::Settled(settled) => {
                    drop(requests);
                    host.settle(key.index, settled);
                }
            }
            Ok(CORELLA_OK)
        }
        Err(refused) => {
            record.stage = Stage::Ready;
            take_back(host, lends);
            match refused {
                Refused::Code(fault) => Err(fault),
                Refused::Engine(settled) => {
                    requests.at(key.index).parts = settled.parts;
                    Err(settled.error.map_or_else(|| settled.code.into(), Fault::from))
                }
            }
        }
    }
}

/// The library's buffer is lent to a request that did not begin no longer.
fn take_back(host: &Host, lent: Option<Key>) {
    if let Some(buffer) = lent
        && let Ok(buffer) = host.buffers.borrow_mut().get_mut(buffer)
    {
        buffer.lent -= 1;
    }
}

/// A file among the handles, and so on: what the verbs below are done to.
macro_rules! object {
    ($handles:ident, $target:ident, $kind:ident) => {
        match $handles.get($target)? {
            Object::$kind(object) => object,
            _ => return Err(CORELLA_ERROR_WRONG_KIND.into()),
        }
    };
}

/// An operation that every handle but a directory has.
macro_rules! any_object {
    ($launch:ident, $handles:ident, $target:ident, $method:ident) => {
        match $handles.get($target)? {
            Object::File(file) => $launch.start(file.$method()),
            Object::Socket(socket) => $launch.start(socket.$method()),
            Object::Datagrams(socket) => $launch.start(socket.$method()),
            _ => Err(CORELLA_ERROR_WRONG_KIND.into()),
        }
    };
}

/// Hands a transfer of one run of bytes to the engine, which will tell its index and outcome after a turn.
fn hand_over(host: &Host, index: u32, record: &Record, in_turn: bool) -> Result<EngineId, Fault> {
    let handles = host.handles.borrow();
    let run = LentRun { data: record.data, length: record.length };
    let offset = record.offset.unsigned_abs();
    let deadline = u64::try_from(record.deadline_ns).ok().map(Duration::from_nanos);
    let options =
        HostedOptions { name: index, deadline, token: record.token.as_ref(), unordered: record.unordered, in_turn };
    let read = |offset, exact| HostedRead { offset, exact };
    let begun = match (handles.get(record.handle)?, record.verb) {
        (Object::Socket(socket), Verb::Receive) => socket.hosted_receive(false, run, options),
        (Object::Socket(socket), Verb::ReceiveExact) => socket.hosted_receive(true, run, options),
        (Object::Socket(socket), Verb::Send) => socket.hosted_send(run, options),
        (Object::File(file), Verb::Read) => file.hosted_read(read(None, false), run, options),
        (Object::File(file), Verb::ReadAt) => file.hosted_read(read(Some(offset), false), run, options),
        (Object::File(file), Verb::ReadExact) => file.hosted_read(read(None, true), run, options),
        (Object::File(file), Verb::ReadExactAt) => file.hosted_read(read(Some(offset), true), run, options),
        (Object::File(file), Verb::Write) => file.hosted_write(None, run, options),
        (Object::File(file), Verb::WriteAt) => file.hosted_write(Some(offset), run, options),
        _ => return Err(CORELLA_ERROR_WRONG_KIND.into()),
    };
    begun.map_err(Fault::from)
}

fn launch(mut launch: Launch<'_>) -> Result<Taken, Refused> {
    let host = launch.host;
    let handles = host.handles.borrow();
    let target = launch.record.handle;
    let offset = launch.record.offset.unsigned_abs();
    match launch.record.verb {
        Verb::Nothing => Err(CORELLA_ERROR_WRONG_STATE.into()),
        Verb::Sleep => launch.start(host.io.sleep(Duration::from_nanos(offset))),
        Verb::Read => {
            let object = object!(handles, target, File);
            let lent = launch.lent();
            launch.positioned(object.read(lent))
        }
        Verb::ReadAt => {
            let object = object!(handles, target, File);
            let lent = launch.lent();
            launch.positioned(object.read_at(lent, offset))
        }
        Verb::ReadExact => {
            let object = object!(handles, target, File);
            let lent = launch.lent();
            launch.positioned(object.read_exact(lent))
        }
        Verb::ReadExactAt => {
            let object = object!(handles, target, File);
            let lent = launch.lent();
            launch.positioned(object.read_exact_at(lent, offset))
        }
        Verb::ReadToEnd => launch.start(object!(handles, target, File).read_to_end(Vec::new())),
        Verb::ReadToEndAt => launch.start(object!(handles, target, File).read_to_end_at(Vec::new(), offset)),
        Verb::Write => {
            let object = object!(handles, target, File);
            let lent = launch.lent();
            launch.positioned(object.write(lent))
        }
        Verb::WriteAt => {
            let object = object!(handles, target, File);
            let lent = launch.lent();
            launch.positioned(object.write_at(lent, offset))
        }
        Verb::Seek => {
            let to = seek_target(launch.record)?;
            launch.start(object!(handles, target, File).seek(to))
        }
        Verb::Sync => launch.start(object!(handles, target, File).sync()),
        Verb::SyncData => launch.start(object!(handles, target, File).sync_data()),
        Verb::Truncate => launch.start(object!(handles, target, File).truncate(offset)),
        Verb::Allocate => {
            let length = launch.record.second_number.unsigned_abs();
            launch.start(object!(handles, target, File).allocate(offset, length))
        }
        Verb::StatHandle => launch.start(object!(handles, target, File).stat()),
        Verb::Barrier => any_object!(launch, handles, target, barrier),
        Verb::Close => match handles.get(target)? {
            Object::Listener(listener) => launch.start(listener.close()),
            _ => any_object!(launch, handles, target, close),
        },
        Verb::CloseNow => match handles.get(target)? {
            Object::Listener(listener) => launch.start(listener.close()),
            _ => any_object!(launch, handles, target, close_now),
        },
        Verb::Receive => {
            let object = object!(handles, target, Socket);
            let lent = launch.lent();
            launch.start(object.recv(lent))
        }
        Verb::ReceiveExact => {
            let object = object!(handles, target, Socket);
            let lent = launch.lent();
            launch.start(object.recv_exact(lent))
        }
        Verb::ReceiveToEnd => launch.start(object!(handles, target, Socket).recv_to_end(Vec::new())),
        Verb::ReceivePooled => {
            let pools = host.pools.borrow();
            let Some(pool) = launch.record.buffer else { return Err(CORELLA_ERROR_INVALID_INPUT.into()) };
            launch.start(object!(handles, target, Socket).recv_stream(pools.get(pool)?).next())
        }
        Verb::Send => {
            let object = object!(handles, target, Socket);
            let lent = launch.lent();
            launch.start(object.send(lent))
        }
        Verb::Shutdown => {
            let how = match launch.record.second_number as c_int {
                CORELLA_SHUTDOWN_READ => corella::Shutdown::Read,
                CORELLA_SHUTDOWN_WRITE => corella::Shutdown::Write,
                CORELLA_SHUTDOWN_BOTH => corella::Shutdown::Both,
                _ => return Err(Fault::input("not a direction to shut down").into()),
            };
            launch.start(object!(handles, target, Socket).shutdown(how))
        }
        Verb::Accept => launch.start(object!(handles, target, Listener).accept()),
        Verb::ConnectSocket => {
            let address = extra(launch.record, |extra| address(&extra.first, extra.port))?;
            match (handles.get(target)?, address) {
                (Object::Socket(socket), Address::Internet(address)) => launch.start(socket.connect(address)),
                (Object::Socket(socket), Address::Unix(address)) => launch.start(socket.connect_unix(address)),
                (Object::Datagrams(socket), address) => launch.start(socket.connect(address)),
                _ => Err(CORELLA_ERROR_WRONG_KIND.into()),
            }
        }
        Verb::AwaitReadable => match handles.get(target)? {
            Object::Socket(socket) => launch.start(socket.readable()),
            Object::Datagrams(socket) => launch.start(socket.readable()),
            Object::Listener(listener) => launch.start(listener.readable()),
            _ => Err(CORELLA_ERROR_WRONG_KIND.into()),
        },
        Verb::AwaitWritable => match handles.get(target)? {
            Object::Socket(socket) => launch.start(socket.writable()),
            Object::Datagrams(socket) => launch.start(socket.writable()),
            _ => Err(CORELLA_ERROR_WRONG_KIND.into()),
        },
        Verb::ReceiveDatagram => {
            let socket = object!(handles, target, Datagrams);
            let lent = launch.lent();
            launch.start(socket.recv_from(lent))
        }
        Verb::SendDatagram => {
            let socket = object!(handles, target, Datagrams);
            let to = launch.record.extra.as_ref().map(|extra| address(&extra.first, extra.port)).transpose()?;
            let lent = launch.lent();
            match to {
                Some(address) => launch.start(socket.send_to(lent, address)),
                None => launch.start(socket.send(lent)),
            }
        }
        Verb::StartProgram => {
            let file = |key| match handles.get(key)? {
                Object::File(file) => Ok(file),
                _ => Err(CORELLA_ERROR_WRONG_KIND.into()),
            };
            let command = extra(launch.record, |extra| match &extra.program {
                Some(program) => program.command(file),
                None => Err(CORELLA_ERROR_INVALID_INPUT.into()),
            })?;
            launch.start(host.io.start(command))
        }
        Verb::AwaitExit => launch.start(object!(handles, target, Child).exit_status()),
        Verb::ReadEntries => {
            drop(handles);
            let mut handles = host.handles.borrow_mut();
            match handles.get_mut(target)? {
                Object::Directory(directory) => launch.start(directory.next_entries()),
                _ => Err(CORELLA_ERROR_WRONG_KIND.into()),
            }
        }
        _ => {
            drop(handles);
            launch_on_names(launch, &host.io)
        }
    }
}

/// Operations on paths and names.
fn launch_on_names(launch: Launch<'_>, io: &Io) -> Result<Taken, Refused> {
    let Launch { host, index, record, waits } = launch;
    let extra = record.extra.take().unwrap_or_default();
    let result = launch_on_name(Launch { host, index, record, waits }, io, &extra);
    record.extra = Some(extra);
    result
}

fn launch_on_name(launch: Launch<'_>, io: &Io, extra: &Extra) -> Result<Taken, Refused> {
    let first = path(&extra.first);
    match launch.record.verb {
        Verb::Open => launch.start(io.open(first?, open_options(extra)?)),
        Verb::Stat => launch.start(io.stat(first?)),
        Verb::StatLink => launch.start(io.stat_link(first?)),
        Verb::Rename => launch.start(io.rename(first?, path(&extra.second)?)),
        Verb::Unlink => launch.start(io.unlink(first?)),
        Verb::MakeDirectory => launch.start(io.make_directory(first?)),
        Verb::RemoveDirectory => launch.start(io.remove_directory(first?)),
        Verb::SyncDirectory => launch.start(io.sync_directory(first?)),
        Verb::HardLink => launch.start(io.hard_link(first?, path(&extra.second)?)),
        Verb::SymbolicLink => launch.start(io.symbolic_link(first?, path(&extra.second)?)),
        Verb::ReadLink => launch.start(io.read_link(first?)),
        Verb::OpenDirectory => launch.start(io.read_directory(first?)),
        Verb::Connect if extra.port == CORELLA_PORT_UNIX => launch.start(io.connect_unix(unix_address(&extra.first)?)),
        Verb::Connect => {
            let port = port_number(extra.port)?;
            match internet_address(&extra.first, port) {
                Ok(address) => launch.start(io.connect(address)),
                Err(_) => launch.start(io.connect_name(name(extra)?, port)),
            }
        }
        Verb::Resolve => launch.start(io.resolve(name(extra)?, port_number(extra.port)?)),
        other => unreachable!("{other:?} is on a handle"),
    }
}

fn extra<T>(record: &Record, look: impl FnOnce(&Extra) -> Result<T, Fault>) -> Result<T, Fault> {
    match &record.extra {
        Some(extra) => look(extra),
        None => Err(CORELLA_ERROR_INVALID_INPUT.into()),
    }
}

fn name(extra: &Extra) -> Result<&str, Fault> {
    std::str::from_utf8(&extra.first).map_err(|_| Fault::input("a name that is not UTF-8"))
}

/// What `corella_open` was told.
fn open_options(extra: &Extra) -> Result<OpenOptions, Fault> {
    let known = CORELLA_READ
        | CORELLA_WRITE
        | CORELLA_APPEND
        | CORELLA_CREATE
        | CORELLA_CREATE_NEW
        | CORELLA_TRUNCATE
        | CORELLA_DIRECT;
    if extra.flags & !known != 0 || extra.flags & (CORELLA_READ | CORELLA_WRITE | CORELLA_APPEND) == 0 {
        return Err(Fault::input("flags that open nothing"));
    }
    let has = |flag: c_int| extra.flags & flag != 0;
    let options = OpenOptions::new()
        .read(has(CORELLA_READ))
        .write(has(CORELLA_WRITE))
        .append(has(CORELLA_APPEND))
        .create(has(CORELLA_CREATE))
        .create_new(has(CORELLA_CREATE_NEW))
        .truncate(has(CORELLA_TRUNCATE))
        .direct(has(CORELLA_DIRECT));
    Ok(match extra.permissions {
        Some(bits) => options.permissions(bits),
        None => options,
    })
}

fn seek_target(record: &Record) -> Result<std::io::SeekFrom, Fault> {
    use crate::files::{CORELLA_SEEK_CURRENT, CORELLA_SEEK_END, CORELLA_SEEK_START};
    match record.second_number as c_int {
        CORELLA_SEEK_START if record.offset < 0 => Err(Fault::input("a place before the start")),
        CORELLA_SEEK_START => Ok(std::io::SeekFrom::Start(record.offset.unsigned_abs())),
        CORELLA_SEEK_CURRENT => Ok(std::io::SeekFrom::Current(record.offset)),
        CORELLA_SEEK_END => Ok(std::io::SeekFrom::End(record.offset)),
        _ => Err(Fault::input("not a place to seek from")),
    }
}
