//! Operations on files, pipes and terminals, and on any handle.

use std::ffi::{c_char, c_int, c_void};
use std::mem::MaybeUninit;

use corella::Error;

use crate::begin::check_memory;
use crate::codes::{CORELLA_ERROR_BUSY, CORELLA_ERROR_CLOSED, CORELLA_ERROR_WRONG_KIND, CORELLA_OK};
use crate::faults::{Fault, put};
use crate::host::Host;
use crate::ids::{Buffer, Handle, Request, Scheduler};
use crate::memory::bytes;
use crate::os::{owned_file, raw_file, raw_socket};
use crate::outcome::Object;
use crate::registry::{host_of, on_host};
use crate::request::{Extra, Record, Verb};

/// For reading.
pub const CORELLA_READ: c_int = 1;
/// For writing.
pub const CORELLA_WRITE: c_int = 2;
/// For writing; every write goes to the end of the file as it then is, and positioned writes are refused.
pub const CORELLA_APPEND: c_int = 4;
/// Made if it does not exist.
pub const CORELLA_CREATE: c_int = 8;
/// Made, and an error if it exists.
pub const CORELLA_CREATE_NEW: c_int = 16;
/// Emptied.
pub const CORELLA_TRUNCATE: c_int = 32;
/// Past the page cache: buffers, offsets and lengths must be aligned to the device's blocks.
pub const CORELLA_DIRECT: c_int = 64;

/// Counted from the start.
pub const CORELLA_SEEK_START: c_int = 0;
/// Counted from the cursor.
pub const CORELLA_SEEK_CURRENT: c_int = 1;
/// Counted from the end.
pub const CORELLA_SEEK_END: c_int = 2;

/// Makes a request without a handle.
pub(crate) fn prepare_on_scheduler(
    name: &'static str,
    scheduler: Scheduler,
    verb: Verb,
    request: Option<&mut MaybeUninit<Request>>,
    fill: impl FnOnce(&mut Record) -> Result<(), Fault>,
) -> c_int {
    let Some(request) = request else {
        return crate::faults::remember(name, Fault::input("no place for the request"));
    };
    request.write(std::ptr::null_mut());
    on_host(name, scheduler, |host, _| prepare(host, verb, request, fill))
}

/// Makes a request on a handle.
#[inline]
pub(crate) fn prepare_on_handle(
    name: &'static str,
    handle: Handle,
    verb: Verb,
    request: Option<&mut MaybeUninit<Request>>,
    fill: impl FnOnce(&mut Record) -> Result<(), Fault>,
) -> c_int {
    let Some(request) = request else {
        return crate::faults::remember(name, Fault::input("no place for the request"));
    };
    request.write(std::ptr::null_mut());
    on_host(name, handle, |host, key| {
        let can = match (host.handles.borrow().get(key)?, verb) {
            (Object::Child(_), verb) => verb == Verb::AwaitExit,
            (Object::Directory(_), verb) => verb == Verb::ReadEntries,
            (_, Verb::Close | Verb::CloseNow) => true,
            (Object::File(_) | Object::Socket(_) | Object::Datagrams(_), Verb::Barrier) => true,
            (Object::File(_), verb) => is_of_files(verb),
            (Object::Socket(_), verb) => is_of_sockets(verb),
            (Object::Datagrams(_), verb) => is_of_datagrams(verb),
            (Object::Listener(_), verb) => matches!(verb, Verb::Accept | Verb::AwaitReadable),
        };
        if !can {
            return Err(CORELLA_ERROR_WRONG_KIND.into());
        }
        prepare(host, verb, request, |record| {
            record.handle = key;
            fill(record)
        })
    })
}

pub(crate) fn is_of_files(verb: Verb) -> bool {
    use Verb::*;
    verb.is_plain_transfer() && !matches!(verb, Receive | ReceiveExact | Send)
        || matches!(verb, ReadToEnd | ReadToEndAt | Seek | Sync | SyncData | Truncate | Allocate | StatHandle)
}

fn is_of_sockets(verb: Verb) -> bool {
    use Verb::*;
    matches!(verb, Receive | ReceiveExact | ReceiveToEnd | ReceivePooled | Send | Shutdown | ConnectSocket)
        || matches!(verb, AwaitReadable | AwaitWritable)
}

fn is_of_datagrams(verb: Verb) -> bool {
    use Verb::*;
    matches!(verb, ReceiveDatagram | SendDatagram | ConnectSocket | AwaitReadable | AwaitWritable)
}

/// Makes two handles at once.
pub(crate) fn pair(
    name: &'static str,
    scheduler: Scheduler,
    (one, other): (Option<&mut MaybeUninit<Handle>>, Option<&mut MaybeUninit<Handle>>),
    make: impl FnOnce(&corella::Io) -> Result<(Object, Object), Error>,
) -> c_int {
    on_host(name, scheduler, |host, _| {
        let (Some(one), Some(other)) = (one, other) else { return Err(Fault::input("no place for the handles")) };
        let (first, second) = make(&host.io)?;
        one.write(host.handles.borrow_mut().insert(first)?.id());
        other.write(host.handles.borrow_mut().insert(second)?.id());
        Ok(CORELLA_OK)
    })
}

fn prepare(
    host: &Host,
    verb: Verb,
    request: &mut MaybeUninit<Request>,
    fill: impl FnOnce(&mut Record) -> Result<(), Fault>,
) -> Result<c_int, Fault> {
    let mut requests = host.requests.borrow_mut();
    let (key, record) = requests.insert(verb)?;
    if let Err(fault) = fill(record) {
        let remains = requests.free(key.index);
        drop(requests);
        drop(remains);
        return Err(fault);
    }
    request.write(key.id());
    Ok(CORELLA_OK)
}

/// A request that moves the caller's bytes.
#[inline(always)]
pub(crate) fn transfer(
    name: &'static str,
    handle: Handle,
    verb: Verb,
    (data, length, offset): (*mut c_void, usize, i64),
    mut request: Option<&mut MaybeUninit<Request>>,
) -> c_int {
    if let Some(place) = request.as_deref_mut()
        && let Some(made) = transfer_at_once(handle, verb, (data, length, offset))
    {
        place.write(made);
        return CORELLA_OK;
    }
    prepare_on_handle(name, handle, verb, request, |record| {
        check_memory(data, length)?;
        if offset < 0 {
            return Err(Fault::input("a negative offset"));
        }
        record.lend(data, length, offset);
        Ok(())
    })
}

/// The way of most of them, in which nothing can panic. `None`, and nothing done, where anything is not as usual.
#[inline(always)]
fn transfer_at_once(handle: Handle, verb: Verb, (data, length, offset): (*mut c_void, usize, i64)) -> Option<Request> {
    let (host, handle) = host_of(handle).ok()?;
    let (handles, mut requests) = (host.handles.try_borrow().ok()?, host.requests.try_borrow_mut().ok()?);
    let can = match handles.get(handle).ok()? {
        Object::File(_) => is_of_files(verb),
        Object::Socket(_) => is_of_sockets(verb),
        _ => false,
    };
    if !can || offset < 0 || check_memory(data, length).is_err() {
        return None;
    }
    let (key, record) = requests.insert_again(verb)?;
    record.handle = handle;
    record.lend(data, length, offset);
    Some(key.id())
}

/// A request with one number.
fn number(
    name: &'static str,
    handle: Handle,
    verb: Verb,
    value: i64,
    request: Option<&mut MaybeUninit<Request>>,
) -> c_int {
    prepare_on_handle(name, handle, verb, request, |record| {
        if value < 0 {
            return Err(Fault::input("a negative offset or length"));
        }
        record.offset = value;
        Ok(())
    })
}

fn plain(name: &'static str, handle: Handle, verb: Verb, request: Option<&mut MaybeUninit<Request>>) -> c_int {
    prepare_on_handle(name, handle, verb, request, |_| Ok(()))
}

/// Opens the file at `path` (`length` bytes; on Windows UTF-8) with `flags`, a sum of CORELLA_READ and its kin. The
/// outcome has the handle: `corella_take_handle`. Regular files, block devices, FIFOs and character devices; a directory
/// is an error. The path is copied. Without an order among other operations on paths.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn corella_open(
    scheduler: Scheduler,
    path: *const c_char,
    length: usize,
    flags: c_int,
    request: Option<&mut MaybeUninit<Request>>,
) -> c_int {
    prepare_on_scheduler("corella_open", scheduler, Verb::Open, request, |record| {
        // SAFETY: the caller's string, for this call.
        let first = unsafe { bytes(path, length) }?.to_vec();
        record.extra = Some(Box::new(Extra { first, flags, ..Extra::default() }));
        Ok(())
    })
}

/// Sets the permissions (as in chmod(2)) of the file that a request by `corella_open` makes, before the process's mask;
/// 0666 (octal) at first. Without effect on Windows.
#[unsafe(no_mangle)]
pub extern "C" fn corella_set_permissions(request: Request, permissions: c_int) -> c_int {
    on_host("corella_set_permissions", request, |host, key| {
        let mut requests = host.requests.borrow_mut();
        match requests.ready(key)? {
            Record { verb: Verb::Open, extra: Some(extra), .. } => {
                extra.permissions = Some(permissions.cast_unsigned() & 0o7777);
                Ok(CORELLA_OK)
            }
            _ => Err(crate::codes::CORELLA_ERROR_WRONG_STATE.into()),
        }
    })
}

/// Reads what there is at the cursor, up to `length` bytes, to `data`. The outcome's count is how many; 0 is the end.
#[unsafe(no_mangle)]
pub extern "C" fn corella_read(
    file: Handle,
    data: *mut c_void,
    length: usize,
    request: Option<&mut MaybeUninit<Request>>,
) -> c_int {
    transfer("corella_read", file, Verb::Read, (data, length, 0), request)
}

/// Reads at `offset` bytes from the start, up to `length` bytes, to `data`. The outcome's count is how many; 0 is the end.
#[unsafe(no_mangle)]
pub extern "C" fn corella_read_at(
    file: Handle,
    data: *mut c_void,
    length: usize,
    offset: i64,
    request: Option<&mut MaybeUninit<Request>>,
) -> c_int {
    transfer("corella_read_at", file, Verb::ReadAt, (data, length, offset), request)
}

/// Reads exactly `length` bytes at the cursor to `data`. CORELLA_ERROR_UNEXPECTED_END, with the count of what came, if the
/// end is before that.
#[unsafe(no_mangle)]
pub extern "C" fn corella_read_exact(
    file: Handle,
    data: *mut c_void,
    length: usize,
    request: Option<&mut MaybeUninit<Request>>,
) -> c_int {
    transfer("corella_read_exact", file, Verb::ReadExact, (data, length, 0), request)
}

/// Reads exactly `length` bytes at `offset` to `data`; otherwise as `corella_read_exact`.
#[unsafe(no_mangle)]
pub extern "C" fn corella_read_exact_at(
    file: Handle,
    data: *mut c_void,
    length: usize,
    offset: i64,
    request: Option<&mut MaybeUninit<Request>>,
) -> c_int {
    transfer("corella_read_exact_at", file, Verb::ReadExactAt, (data, length, offset), request)
}

/// Reads everything from the cursor to the end. The outcome has a buffer with it: `corella_take_buffer`, after a failure
/// too, with what came until then.
#[unsafe(no_mangle)]
pub extern "C" fn corella_read_to_end(file: Handle, request: Option<&mut MaybeUninit<Request>>) -> c_int {
    plain("corella_read_to_end", file, Verb::ReadToEnd, request)
}

/// Reads everything from `offset` to the end; otherwise as `corella_read_to_end`.
#[unsafe(no_mangle)]
pub extern "C" fn corella_read_to_end_at(
    file: Handle,
    offset: i64,
    request: Option<&mut MaybeUninit<Request>>,
) -> c_int {
    number("corella_read_to_end_at", file, Verb::ReadToEndAt, offset, request)
}

/// Writes all `length` bytes at `data` at the cursor, or in append mode at the end.
#[unsafe(no_mangle)]
pub extern "C" fn corella_write(
    file: Handle,
    data: *const c_void,
    length: usize,
    request: Option<&mut MaybeUninit<Request>>,
) -> c_int {
    transfer("corella_write", file, Verb::Write, (data.cast_mut(), length, 0), request)
}

/// Writes all `length` bytes at `data` at `offset`. CORELLA_ERROR_INVALID_INPUT in append mode.
#[unsafe(no_mangle)]
pub extern "C" fn corella_write_at(
    file: Handle,
    data: *const c_void,
    length: usize,
    offset: i64,
    request: Option<&mut MaybeUninit<Request>>,
) -> c_int {
    transfer("corella_write_at", file, Verb::WriteAt, (data.cast_mut(), length, offset), request)
}

/// Moves the cursor to `offset` bytes from `from` (CORELLA_SEEK_START, _CURRENT or _END), in turn with the other
/// operations at the cursor. The outcome's count is its place.
#[unsafe(no_mangle)]
pub extern "C" fn corella_seek(
    file: Handle,
    offset: i64,
    from: c_int,
    request: Option<&mut MaybeUninit<Request>>,
) -> c_int {
    prepare_on_handle("corella_seek", file, Verb::Seek, request, |record| {
        record.offset = offset;
        record.second_number = i64::from(from);
        Ok(())
    })
}

/// Makes everything written so far durable, attributes included; fsync(2). Waits for all before it on this handle and
/// holds back all after.
#[unsafe(no_mangle)]
pub extern "C" fn corella_sync(file: Handle, request: Option<&mut MaybeUninit<Request>>) -> c_int {
    plain("corella_sync", file, Verb::Sync, request)
}

/// As `corella_sync`, without the attributes that reading does not need; fdatasync(2).
#[unsafe(no_mangle)]
pub extern "C" fn corella_sync_data(file: Handle, request: Option<&mut MaybeUninit<Request>>) -> c_int {
    plain("corella_sync_data", file, Verb::SyncData, request)
}

/// Makes the file `length` bytes long. Waits for all before it and holds back all after.
#[unsafe(no_mangle)]
pub extern "C" fn corella_truncate(file: Handle, length: i64, request: Option<&mut MaybeUninit<Request>>) -> c_int {
    number("corella_truncate", file, Verb::Truncate, length, request)
}

/// Reserves `length` bytes from `offset`, growing the file; fallocate(2). The OS's error where a file system cannot.
#[unsafe(no_mangle)]
pub extern "C" fn corella_allocate(
    file: Handle,
    offset: i64,
    length: i64,
    request: Option<&mut MaybeUninit<Request>>,
) -> c_int {
    prepare_on_handle("corella_allocate", file, Verb::Allocate, request, |record| {
        if offset < 0 || length < 0 {
            return Err(Fault::input("a negative offset or length"));
        }
        record.offset = offset;
        record.second_number = length;
        Ok(())
    })
}

/// Asks what the file system knows of an open file; see `corella_metadata`.
#[unsafe(no_mangle)]
pub extern "C" fn corella_stat_handle(file: Handle, request: Option<&mut MaybeUninit<Request>>) -> c_int {
    plain("corella_stat_handle", file, Verb::StatHandle, request)
}

/// Settles when everything before it on this file or socket has, and holds back everything after.
#[unsafe(no_mangle)]
pub extern "C" fn corella_barrier(handle: Handle, request: Option<&mut MaybeUninit<Request>>) -> c_int {
    plain("corella_barrier", handle, Verb::Barrier, request)
}

/// Closes the handle for all its clones: queued writes go out first (within the deadline), reads, receives and accepts
/// are cancelled. The id stays yours, to be freed with `corella_handle_free`.
#[unsafe(no_mangle)]
pub extern "C" fn corella_close(handle: Handle, request: Option<&mut MaybeUninit<Request>>) -> c_int {
    plain("corella_close", handle, Verb::Close, request)
}

/// As `corella_close`, and queued writes are cancelled too.
#[unsafe(no_mangle)]
pub extern "C" fn corella_close_now(handle: Handle, request: Option<&mut MaybeUninit<Request>>) -> c_int {
    plain("corella_close_now", handle, Verb::CloseNow, request)
}

/// Frees a handle's id. With the last clone the handle is closed in the background, as by `corella_close`; a failure of
/// that goes to `corella_on_unobserved`. Requests on it go on.
#[unsafe(no_mangle)]
pub extern "C" fn corella_handle_free(handle: Handle) -> c_int {
    on_host("corella_handle_free", handle, |host, key| {
        let object = host.handles.borrow_mut().remove(key)?;
        drop(object);
        Ok(CORELLA_OK)
    })
}

/// A second id of the same file, socket or listener: they share its cursor and its order. Yours, to be freed.
#[unsafe(no_mangle)]
pub extern "C" fn corella_handle_clone(handle: Handle, clone: Option<&mut MaybeUninit<Handle>>) -> c_int {
    on_host("corella_handle_clone", handle, |host, key| {
        let object = match host.handles.borrow().get(key)? {
            Object::File(file) => Object::File(file.clone()),
            Object::Socket(socket) => Object::Socket(socket.clone()),
            Object::Listener(listener) => Object::Listener(listener.clone()),
            Object::Datagrams(socket) => Object::Datagrams(socket.clone()),
            Object::Directory(_) | Object::Child(_) => return Err(CORELLA_ERROR_WRONG_KIND.into()),
        };
        let key = host.handles.borrow_mut().insert(object)?;
        put(clone, key.id());
        Ok(CORELLA_OK)
    })
}

/// Whether a handle takes requests: 1 yes, 0 it is closed or being closed.
#[unsafe(no_mangle)]
pub extern "C" fn corella_is_open(handle: Handle) -> c_int {
    on_host("corella_is_open", handle, |host, key| {
        Ok(c_int::from(match host.handles.borrow().get(key)? {
            Object::File(file) => file.is_open(),
            Object::Socket(socket) => socket.is_open(),
            Object::Listener(listener) => listener.is_open(),
            Object::Datagrams(socket) => socket.is_open(),
            Object::Directory(_) | Object::Child(_) => true,
        }))
    })
}

/// Whether a file has places to seek to and to read at: 1 for a regular file or block device that this process opened.
#[unsafe(no_mangle)]
pub extern "C" fn corella_can_seek(file: Handle) -> c_int {
    on_host("corella_can_seek", file, |host, key| match host.handles.borrow().get(key)? {
        Object::File(file) => Ok(c_int::from(file.can_seek())),
        _ => Err(CORELLA_ERROR_WRONG_KIND.into()),
    })
}

/// Where the next operation at a file's cursor goes, in bytes from the start, once those submitted have settled.
#[unsafe(no_mangle)]
pub extern "C" fn corella_cursor(file: Handle, cursor: Option<&mut MaybeUninit<i64>>) -> c_int {
    on_host("corella_cursor", file, |host, key| match host.handles.borrow().get(key)? {
        Object::File(file) => {
            put(cursor, file.cursor()? as i64);
            Ok(CORELLA_OK)
        }
        _ => Err(CORELLA_ERROR_WRONG_KIND.into()),
    })
}

/// The OS's handle of a file or socket (on Unix a descriptor), for a look with tools. It stays the library's.
/// CORELLA_ERROR_CLOSED once it is closed.
#[unsafe(no_mangle)]
pub extern "C" fn corella_handle_os_handle(handle: Handle, os_handle: Option<&mut MaybeUninit<isize>>) -> c_int {
    on_host("corella_handle_os_handle", handle, |host, key| {
        let number = match host.handles.borrow().get(key)? {
            Object::File(file) => file.descriptor_number(),
            Object::Socket(socket) => socket.descriptor_number(),
            Object::Datagrams(socket) => socket.descriptor_number(),
            _ => return Err(CORELLA_ERROR_WRONG_KIND.into()),
        };
        let number = number.ok_or(CORELLA_ERROR_CLOSED)?;
        put(os_handle, number as isize);
        Ok(CORELLA_OK)
    })
}

/// Whether a file is a terminal: 1 or 0; 0 once it is closed.
#[unsafe(no_mangle)]
pub extern "C" fn corella_is_terminal(file: Handle) -> c_int {
    on_host("corella_is_terminal", file, |host, key| match host.handles.borrow().get(key)? {
        Object::File(file) => Ok(c_int::from(file.is_terminal())),
        _ => Err(CORELLA_ERROR_WRONG_KIND.into()),
    })
}

/// Makes a pipe: what is written to `writer` is read from `reader`, whose end comes when the writer is closed. Both are
/// files, and yours. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn corella_pipe(
    scheduler: Scheduler,
    reader: Option<&mut MaybeUninit<Handle>>,
    writer: Option<&mut MaybeUninit<Handle>>,
) -> c_int {
    pair("corella_pipe", scheduler, (reader, writer), |io| {
        let (reader, writer) = io.pipe()?;
        Ok((Object::File(reader), Object::File(writer)))
    })
}

/// Hands out a standard stream as a file: 0 standard input, 1 standard output, 2 standard error.
#[unsafe(no_mangle)]
pub extern "C" fn corella_standard_stream(
    scheduler: Scheduler,
    number: c_int,
    file: Option<&mut MaybeUninit<Handle>>,
) -> c_int {
    on_host("corella_standard_stream", scheduler, |host, _| {
        let stream = match number {
            0 => host.io.stdin(),
            1 => host.io.stdout(),
            2 => host.io.stderr(),
            _ => return Err(Fault::input("not a standard stream")),
        };
        let key = host.handles.borrow_mut().insert(Object::File(stream?))?;
        put(file, key.id());
        Ok(CORELLA_OK)
    })
}

/// Takes an OS handle (on Unix a descriptor) over as a file: anything that can be read or written, a pipe's end too. A
/// regular file goes on at its present cursor. Errors call it `name`. It is the library's from this call on and closed by
/// it, also when this fails, unless it was not an open OS handle at all.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn corella_adopt_file(
    scheduler: Scheduler,
    os_handle: isize,
    name: *const c_char,
    name_length: usize,
    file: Option<&mut MaybeUninit<Handle>>,
) -> c_int {
    on_host("corella_adopt_file", scheduler, |host, _| {
        // SAFETY: the caller's string, for this call.
        let name = String::from_utf8_lossy(unsafe { bytes(name, name_length) }?).into_owned();
        let descriptor = owned_file(os_handle)?;
        let adopted = host.io.adopt_file(descriptor, &name)?;
        let key = host.handles.borrow_mut().insert(Object::File(adopted))?;
        put(file, key.id());
        Ok(CORELLA_OK)
    })
}

/// Hands a file's or socket's OS handle back: the caller's from then on, blocking, a file's cursor where the handle's was.
/// `received`, if not null, gets the bytes that had been received for abandoned requests, or null if there are none; they
/// are otherwise lost, and datagrams are lost in any case. The id is freed. CORELLA_ERROR_BUSY, and nothing done, while it
/// has clones or requests in flight.
#[unsafe(no_mangle)]
pub extern "C" fn corella_release(
    handle: Handle,
    os_handle: Option<&mut MaybeUninit<isize>>,
    received: Option<&mut MaybeUninit<Buffer>>,
) -> c_int {
    on_host("corella_release", handle, |host, key| {
        let Some(os_handle) = os_handle else { return Err(Fault::input("no place for the OS handle")) };
        let object = host.handles.borrow_mut().remove(key)?;
        let (number, bytes) = match object {
            Object::File(file) => match file.into_std() {
                Ok((file, bytes)) => (raw_file(file), bytes),
                Err((file, error)) => return put_back(host, key, Object::File(file), error),
            },
            Object::Socket(socket) => match socket.into_std() {
                Ok((stream, bytes)) => (raw_socket(stream), bytes),
                Err((socket, error)) => return put_back(host, key, Object::Socket(socket), error),
            },
            Object::Datagrams(socket) => match socket.into_std() {
                Ok((socket, _)) => (raw_socket(socket), Vec::new()),
                Err((socket, error)) => return put_back(host, key, Object::Datagrams(socket), error),
            },
            other => {
                host.handles.borrow_mut().put_back(key, other);
                return Err(CORELLA_ERROR_WRONG_KIND.into());
            }
        };
        os_handle.write(number);
        let buffer = crate::results::buffer_of(host, bytes)?;
        put(received, buffer);
        Ok(CORELLA_OK)
    })
}

/// A handle that could not be given away keeps its id.
pub(crate) fn put_back(host: &Host, key: crate::ids::Key, object: Object, error: Error) -> Result<c_int, Fault> {
    host.handles.borrow_mut().put_back(key, object);
    match error.kind() {
        corella::ErrorKind::Busy => Err(CORELLA_ERROR_BUSY.into()),
        _ => Err(error.into()),
    }
}
