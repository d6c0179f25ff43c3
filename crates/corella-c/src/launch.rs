//! Operations by their verbs: each once.

use std::ffi::c_int;
use std::time::Duration;

use corella::{Action, Address, Begun, Io, OpenOptions, Operation, Positioned, RequestId as EngineId};

use crate::addresses::{CORELLA_PORT_UNIX, address, internet_address, port_number, unix_address};
use crate::begin::path;
use crate::codes::{CORELLA_ERROR_INVALID_INPUT, CORELLA_ERROR_WRONG_KIND, CORELLA_ERROR_WRONG_STATE};
use crate::faults::Fault;
use crate::files::{
    CORELLA_APPEND, CORELLA_CREATE, CORELLA_CREATE_NEW, CORELLA_DIRECT, CORELLA_READ, CORELLA_TRUNCATE, CORELLA_WRITE,
    is_of_files,
};
use crate::host::Host;
use crate::memory::Lent;
use crate::outcome::{IntoSettled, Object, Settled};
use crate::request::{Extra, Record, Verb};
use crate::sockets::{CORELLA_SHUTDOWN_BOTH, CORELLA_SHUTDOWN_READ, CORELLA_SHUTDOWN_WRITE};

/// How the engine took a request.
pub(crate) enum Taken {
    Running(EngineId),
    /// It has settled already, and no closure will run.
    Settled(Settled),
}

/// What an operation is begun with.
pub(crate) struct Launch<'a> {
    pub(crate) host: &'a Host,
    pub(crate) index: u32,
    pub(crate) record: &'a mut Record,
    /// A `corella_wait`: the bare system call is allowed.
    pub(crate) waits: bool,
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
pub(crate) enum Refused {
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

/// Carries a request's verb out.
pub(crate) fn launch(launch: Launch<'_>) -> Result<Taken, Refused> {
    use Verb::*;
    match launch.record.verb {
        Nothing => Err(CORELLA_ERROR_WRONG_STATE.into()),
        Sleep => {
            let duration = Duration::from_nanos(launch.record.offset.unsigned_abs());
            let sleep = launch.host.io.sleep(duration);
            launch.start(sleep)
        }
        Receive | ReceiveExact | ReceiveToEnd | ReceivePooled | Send | Shutdown | Accept | ConnectSocket => {
            on_connection(launch)
        }
        Barrier | Close | CloseNow | AwaitReadable | AwaitWritable => on_any(launch),
        ReceiveDatagram | SendDatagram => on_datagrams(launch),
        StartProgram | AwaitExit => on_child(launch),
        ReadEntries => on_directory(launch),
        verb if is_of_files(verb) => on_file(launch),
        _ => on_names(launch),
    }
}

fn on_file(mut launch: Launch<'_>) -> Result<Taken, Refused> {
    let handles = launch.host.handles.borrow();
    let target = launch.record.handle;
    let offset = launch.record.offset.unsigned_abs();
    match launch.record.verb {
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
        other => unreachable!("{other:?} is carried out elsewhere"),
    }
}

fn on_connection(mut launch: Launch<'_>) -> Result<Taken, Refused> {
    let host = launch.host;
    let handles = host.handles.borrow();
    let target = launch.record.handle;
    match launch.record.verb {
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
        other => unreachable!("{other:?} is carried out elsewhere"),
    }
}

/// What handles of several kinds can do.
fn on_any(launch: Launch<'_>) -> Result<Taken, Refused> {
    let handles = launch.host.handles.borrow();
    let target = launch.record.handle;
    match launch.record.verb {
        Verb::Barrier => any_object!(launch, handles, target, barrier),
        Verb::Close => match handles.get(target)? {
            Object::Listener(listener) => launch.start(listener.close()),
            _ => any_object!(launch, handles, target, close),
        },
        Verb::CloseNow => match handles.get(target)? {
            Object::Listener(listener) => launch.start(listener.close()),
            _ => any_object!(launch, handles, target, close_now),
        },
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
        other => unreachable!("{other:?} is carried out elsewhere"),
    }
}

fn on_datagrams(mut launch: Launch<'_>) -> Result<Taken, Refused> {
    let handles = launch.host.handles.borrow();
    let target = launch.record.handle;
    match launch.record.verb {
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
        other => unreachable!("{other:?} is carried out elsewhere"),
    }
}

fn on_child(launch: Launch<'_>) -> Result<Taken, Refused> {
    let host = launch.host;
    let handles = host.handles.borrow();
    let target = launch.record.handle;
    match launch.record.verb {
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
        other => unreachable!("{other:?} is carried out elsewhere"),
    }
}

fn on_directory(launch: Launch<'_>) -> Result<Taken, Refused> {
    let mut handles = launch.host.handles.borrow_mut();
    match handles.get_mut(launch.record.handle)? {
        Object::Directory(directory) => launch.start(directory.next_entries()),
        _ => Err(CORELLA_ERROR_WRONG_KIND.into()),
    }
}

/// Operations on paths and names.
fn on_names(launch: Launch<'_>) -> Result<Taken, Refused> {
    let io = &launch.host.io;
    let Launch { host, index, record, waits } = launch;
    let extra = record.extra.take().unwrap_or_default();
    let result = on_name(Launch { host, index, record, waits }, io, &extra);
    record.extra = Some(extra);
    result
}

fn on_name(launch: Launch<'_>, io: &Io, extra: &Extra) -> Result<Taken, Refused> {
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
