//! From a record to the engine.

use std::ffi::{OsStr, c_int, c_void};
use std::path::Path;
use std::time::Duration;

use corella::{HostedOptions, HostedTransfer, RequestId as EngineId, submit_hosted, submit_hosted_plain};

use crate::codes::{CORELLA_ERROR_BUSY, CORELLA_ERROR_WRONG_KIND, CORELLA_OK};
use crate::faults::Fault;
use crate::host::Host;
use crate::ids::Key;
use crate::launch::{Launch, Refused, Taken, launch};
use crate::memory::LentRun;
use crate::outcome::Object;
use crate::request::{Ending, Function, Record, Stage, Verb};

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

/// Hands a ready request to the engine with this ending.
#[inline(always)]
pub(crate) fn submit(
    host: &Host,
    key: Key,
    ending: Ending,
    callback: Option<(Function, *mut c_void)>,
) -> Result<c_int, Fault> {
    if begin_plain(host, key, ending, callback)? {
        return Ok(CORELLA_OK);
    }
    begin(host, key, ending, callback, false)
}

/// The way of most requests: a transfer that nothing special concerns, in whose way there is nothing. Otherwise false, and
/// nothing has begun.
#[inline(always)]
fn begin_plain(
    host: &Host,
    key: Key,
    ending: Ending,
    callback: Option<(Function, *mut c_void)>,
) -> Result<bool, Fault> {
    let mut requests = host.requests.borrow_mut();
    // In a callback that a turn has led to, or soon after it.
    let is_in_turn = requests.delivered.is_some();
    let record = requests.ready(key)?;
    if !record.is_plain {
        return Ok(false);
    }
    let handles = host.handles.borrow();
    let offset = record.offset.unsigned_abs();
    let transfer = match (handles.get(record.handle)?, record.verb) {
        (Object::Socket(socket), Verb::Receive) => HostedTransfer::Receive { socket, exact: false },
        (Object::Socket(socket), Verb::Send) => HostedTransfer::Send { socket },
        (Object::File(file), Verb::ReadAt) => HostedTransfer::Read { file, offset: Some(offset), exact: false },
        _ => return Ok(false),
    };
    let run = (std::ptr::with_exposed_provenance_mut(record.data), record.length);
    let Some(engine) = submit_hosted_plain(transfer, run, key.index, is_in_turn) else { return Ok(false) };
    record.ending = ending;
    if let Some((function, user_data)) = callback {
        record.callback = Some(function);
        record.user_data = user_data;
    }
    record.stage = Stage::Running;
    record.engine = Some(engine);
    requests.running += 1;
    requests.running_enqueued += usize::from(ending == Ending::Enqueued);
    Ok(true)
}

/// Begins a `corella_wait`. The request may have settled when this returns.
pub(crate) fn begin_wait(host: &Host, key: Key) -> Result<c_int, Fault> {
    begin(host, key, Ending::Asked, None, true)
}

#[inline(never)]
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
    let lends = record.buffer.filter(|_| record.verb != Verb::ReceivePooled);
    if let Some(buffer) = lends {
        let mut buffers = host.buffers.borrow_mut();
        let buffer = buffers.get_mut(buffer)?;
        if buffer.lent > 0 && record.verb.fills() {
            return Err(CORELLA_ERROR_BUSY.into());
        }
        buffer.lent += 1;
    }
    record.stage = Stage::Running;
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

/// Hands a transfer of one run of bytes to the engine, which will tell its index and outcome after a turn.
fn hand_over(host: &Host, index: u32, record: &Record, in_turn: bool) -> Result<EngineId, Fault> {
    let handles = host.handles.borrow();
    let run = LentRun { data: record.data, length: record.length };
    let offset = record.offset.unsigned_abs();
    let deadline = u64::try_from(record.deadline_ns).ok().map(Duration::from_nanos);
    let options =
        HostedOptions { name: index, deadline, token: record.token.as_ref(), unordered: record.unordered, in_turn };
    let read = |file, offset, exact| HostedTransfer::Read { file, offset, exact };
    let transfer = match (handles.get(record.handle)?, record.verb) {
        (Object::Socket(socket), Verb::Receive) => HostedTransfer::Receive { socket, exact: false },
        (Object::Socket(socket), Verb::ReceiveExact) => HostedTransfer::Receive { socket, exact: true },
        (Object::Socket(socket), Verb::Send) => HostedTransfer::Send { socket },
        (Object::File(file), Verb::Read) => read(file, None, false),
        (Object::File(file), Verb::ReadAt) => read(file, Some(offset), false),
        (Object::File(file), Verb::ReadExact) => read(file, None, true),
        (Object::File(file), Verb::ReadExactAt) => read(file, Some(offset), true),
        (Object::File(file), Verb::Write) => HostedTransfer::Write { file, offset: None },
        (Object::File(file), Verb::WriteAt) => HostedTransfer::Write { file, offset: Some(offset) },
        _ => return Err(CORELLA_ERROR_WRONG_KIND.into()),
    };
    submit_hosted(transfer, run, options).map_err(Fault::from)
}
