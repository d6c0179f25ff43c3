//! What a settled request has to say, and what can be taken out of it.

use std::ffi::{c_char, c_int};
use std::mem::MaybeUninit;
use std::time::SystemTime;

use corella::{FileKind, Metadata};

use crate::buffers::{Bytes, OwnBuffer};
use crate::codes::{CORELLA_ERROR_NOTHING_TO_TAKE, CORELLA_OK, words};
use crate::faults::{Fault, c_string, put, text_out};
use crate::host::Host;
use crate::ids::{Buffer, Handle, Request};
use crate::outcome::{Moved, Value};
use crate::registry::{host_of, on_host};
use crate::request::Record;

/// The request never started.
pub const CORELLA_MOVED_NOTHING: c_int = 0;
/// It started, and exactly the count of bytes moved.
pub const CORELLA_MOVED_EXACTLY: c_int = 1;
/// It started, and the OS cannot say how much it did.
pub const CORELLA_MOVED_UNKNOWN: c_int = 2;

/// What it is: one of CORELLA_KIND_FILE and its kin.
pub const CORELLA_METADATA_KIND: c_int = 0;
/// Its length in bytes.
pub const CORELLA_METADATA_SIZE: c_int = 1;
/// Permission bits, as in chmod(2).
pub const CORELLA_METADATA_PERMISSIONS: c_int = 2;
/// When its content last changed, in nanoseconds since 1970.
pub const CORELLA_METADATA_MODIFIED_NS: c_int = 3;
/// When it was last read, as far as the file system keeps that, in nanoseconds since 1970.
pub const CORELLA_METADATA_ACCESSED_NS: c_int = 4;
/// When it was made, in nanoseconds since 1970; CORELLA_ERROR_NOTHING_TO_TAKE where nobody knows.
pub const CORELLA_METADATA_CREATED_NS: c_int = 5;
/// How many names it has.
pub const CORELLA_METADATA_LINKS: c_int = 6;
/// The file system's number for it.
pub const CORELLA_METADATA_INODE: c_int = 7;
/// The device that it is on.
pub const CORELLA_METADATA_DEVICE: c_int = 8;
/// Its owner.
pub const CORELLA_METADATA_USER: c_int = 9;
/// Its group.
pub const CORELLA_METADATA_GROUP: c_int = 10;
/// Bytes taken on the device.
pub const CORELLA_METADATA_ALLOCATED: c_int = 11;

/// A regular file.
pub const CORELLA_KIND_FILE: c_int = 1;
/// A directory.
pub const CORELLA_KIND_DIRECTORY: c_int = 2;
/// A symbolic link.
pub const CORELLA_KIND_SYMBOLIC_LINK: c_int = 3;
/// A pipe or FIFO.
pub const CORELLA_KIND_PIPE: c_int = 4;
/// A socket.
pub const CORELLA_KIND_SOCKET: c_int = 5;
/// A character device, such as a terminal.
pub const CORELLA_KIND_CHARACTER_DEVICE: c_int = 6;
/// A block device.
pub const CORELLA_KIND_BLOCK_DEVICE: c_int = 7;
/// Something else, or not known.
pub const CORELLA_KIND_OTHER: c_int = 8;

fn kind_number(kind: FileKind) -> c_int {
    match kind {
        FileKind::File => CORELLA_KIND_FILE,
        FileKind::Directory => CORELLA_KIND_DIRECTORY,
        FileKind::SymbolicLink => CORELLA_KIND_SYMBOLIC_LINK,
        FileKind::Pipe => CORELLA_KIND_PIPE,
        FileKind::Socket => CORELLA_KIND_SOCKET,
        FileKind::CharacterDevice => CORELLA_KIND_CHARACTER_DEVICE,
        FileKind::BlockDevice => CORELLA_KIND_BLOCK_DEVICE,
        _ => CORELLA_KIND_OTHER,
    }
}

/// Looks at a settled request.
pub(crate) fn settled(
    name: &'static str,
    request: Request,
    look: impl FnOnce(&'static Host, &mut Record) -> Result<c_int, Fault>,
) -> c_int {
    on_host(name, request, |host, key| look(host, host.requests.borrow_mut().settled(key)?))
}

/// How a settled request ended: CORELLA_OK, or the code of its failure. CORELLA_ERROR_NOT_SETTLED before that.
#[unsafe(no_mangle)]
pub extern "C" fn corella_code(request: Request) -> c_int {
    settled("corella_code", request, |_, record| Ok(record.code))
}

/// The OS's code of a request's failure (`errno`, or the code of GetLastError); 0 if the OS gave none.
#[unsafe(no_mangle)]
pub extern "C" fn corella_os_code(request: Request) -> c_int {
    settled("corella_os_code", request, |_, record| {
        Ok(record.error.as_ref().and_then(|error| error.os_code()).unwrap_or(0))
    })
}

/// A settled request's count: bytes moved, for a failed transfer too; the place of a cursor; entries or addresses that
/// came; how a child ended. 0 for others, and for an id that names none.
#[unsafe(no_mangle)]
pub extern "C" fn corella_count(request: Request) -> i64 {
    let mut count = 0;
    settled("corella_count", request, |_, record| {
        count = record.count;
        Ok(CORELLA_OK)
    });
    count
}

/// Code and count in one call: answers with the code and writes the count to its place.
#[unsafe(no_mangle)]
pub extern "C" fn corella_result(request: Request, count: Option<&mut MaybeUninit<i64>>) -> c_int {
    // The way of most calls, in which nothing can panic.
    if let Ok((host, key)) = host_of(request)
        && let Ok(mut requests) = host.requests.try_borrow_mut()
        && let Ok(record) = requests.settled(key)
    {
        put(count, record.count);
        return record.code;
    }
    settled("corella_result", request, |_, record| {
        put(count, record.count);
        Ok(record.code)
    })
}

/// The same with the count's upper and lower 32 bits, for languages without 64-bit integers.
#[unsafe(no_mangle)]
pub extern "C" fn corella_result_pair(
    request: Request,
    high: Option<&mut MaybeUninit<c_int>>,
    low: Option<&mut MaybeUninit<c_int>>,
) -> c_int {
    settled("corella_result_pair", request, |_, record| {
        put_pair(record.count, high, low);
        Ok(record.code)
    })
}

fn put_pair(value: i64, high: Option<&mut MaybeUninit<c_int>>, low: Option<&mut MaybeUninit<c_int>>) {
    put(high, (value >> 32) as c_int);
    put(low, value as c_int);
}

/// What a settled transfer's count means: CORELLA_MOVED_NOTHING, _EXACTLY or _UNKNOWN.
#[unsafe(no_mangle)]
pub extern "C" fn corella_moved(request: Request) -> c_int {
    settled("corella_moved", request, |_, record| {
        Ok(match record.moved {
            Moved::NotStarted => CORELLA_MOVED_NOTHING,
            Moved::Exactly => CORELLA_MOVED_EXACTLY,
            Moved::Unknown => CORELLA_MOVED_UNKNOWN,
        })
    })
}

/// A failure in words: operation with its numbers, target, reason, OS code. UTF-8, ends with a NUL byte; `length`, if not
/// null, is told its length in bytes without that. Valid until the request is freed; null if it has not settled.
#[unsafe(no_mangle)]
pub extern "C" fn corella_error_text(request: Request, length: Option<&mut MaybeUninit<usize>>) -> *const c_char {
    let mut text = std::ptr::null();
    settled("corella_error_text", request, |_, record| {
        let Record { error, text: kept, code, .. } = record;
        text = match error {
            None => text_out(words(*code), length),
            Some(error) => text_out(kept.get_or_insert_with(|| c_string(error.to_string())), length),
        };
        Ok(CORELLA_OK)
    });
    text
}

/// Takes the handle out of the outcome of an open, accept, connect, directory's open or program's start. Yours, to be freed with
/// `corella_handle_free`. CORELLA_ERROR_NOTHING_TO_TAKE the second time.
#[unsafe(no_mangle)]
pub extern "C" fn corella_take_handle(request: Request, handle: Option<&mut MaybeUninit<Handle>>) -> c_int {
    settled("corella_take_handle", request, |host, record| {
        let Some(place) = handle else { return Err(Fault::input("no place for the handle")) };
        place.write(std::ptr::null_mut());
        match std::mem::replace(&mut record.value, Value::Nothing) {
            Value::Object(object) => {
                let key = host.handles.borrow_mut().insert(object)?;
                place.write(key.id());
                Ok(CORELLA_OK)
            }
            other => {
                record.value = other;
                Err(CORELLA_ERROR_NOTHING_TO_TAKE.into())
            }
        }
    })
}

/// Takes the buffer out of the outcome of a read or receive to the end, of a pooled receive, or of a link's reading. Yours,
/// to be freed with `corella_buffer_free`. CORELLA_ERROR_NOTHING_TO_TAKE if there is none, or the second time.
#[unsafe(no_mangle)]
pub extern "C" fn corella_take_buffer(request: Request, buffer: Option<&mut MaybeUninit<Buffer>>) -> c_int {
    settled("corella_take_buffer", request, |host, record| {
        let Some(place) = buffer else { return Err(Fault::input("no place for the buffer")) };
        place.write(std::ptr::null_mut());
        match std::mem::replace(&mut record.value, Value::Nothing) {
            Value::Buffer(buffer) => {
                let key = host.buffers.borrow_mut().insert(buffer)?;
                place.write(key.id());
                Ok(CORELLA_OK)
            }
            other => {
                record.value = other;
                Err(CORELLA_ERROR_NOTHING_TO_TAKE.into())
            }
        }
    })
}

/// Bytes as a buffer of the host's, or null where there are none.
pub(crate) fn buffer_of(host: &Host, bytes: Vec<u8>) -> Result<Buffer, Fault> {
    if bytes.is_empty() {
        return Ok(std::ptr::null_mut());
    }
    let key = host.buffers.borrow_mut().insert(OwnBuffer::new(Bytes::Own(bytes)))?;
    Ok(key.id())
}

fn nanoseconds(time: SystemTime) -> i64 {
    let limited = |nanoseconds: u128| i64::try_from(nanoseconds).unwrap_or(i64::MAX);
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => limited(after.as_nanos()),
        Err(before) => -limited(before.duration().as_nanos()),
    }
}

fn field_of(metadata: &Metadata, field: c_int) -> Result<i64, Fault> {
    Ok(match field {
        CORELLA_METADATA_KIND => i64::from(kind_number(metadata.kind)),
        CORELLA_METADATA_SIZE => metadata.size as i64,
        CORELLA_METADATA_PERMISSIONS => i64::from(metadata.permissions),
        CORELLA_METADATA_MODIFIED_NS => nanoseconds(metadata.modified),
        CORELLA_METADATA_ACCESSED_NS => nanoseconds(metadata.accessed),
        CORELLA_METADATA_CREATED_NS => nanoseconds(metadata.created.ok_or(CORELLA_ERROR_NOTHING_TO_TAKE)?),
        CORELLA_METADATA_LINKS => metadata.links as i64,
        CORELLA_METADATA_INODE => metadata.inode as i64,
        CORELLA_METADATA_DEVICE => metadata.device as i64,
        CORELLA_METADATA_USER => i64::from(metadata.user),
        CORELLA_METADATA_GROUP => i64::from(metadata.group),
        CORELLA_METADATA_ALLOCATED => metadata.allocated as i64,
        _ => return Err(Fault::input("no such field of metadata")),
    })
}

fn metadata_field(record: &Record, field: c_int) -> Result<i64, Fault> {
    match &record.value {
        Value::Metadata(metadata) => field_of(metadata, field),
        _ => Err(CORELLA_ERROR_NOTHING_TO_TAKE.into()),
    }
}

/// Writes one field (CORELLA_METADATA_SIZE and its kin) of what a stat found to `value`.
#[unsafe(no_mangle)]
pub extern "C" fn corella_metadata(request: Request, field: c_int, value: Option<&mut MaybeUninit<i64>>) -> c_int {
    settled("corella_metadata", request, |_, record| {
        put(value, metadata_field(record, field)?);
        Ok(CORELLA_OK)
    })
}

/// The same as the value's upper and lower 32 bits.
#[unsafe(no_mangle)]
pub extern "C" fn corella_metadata_pair(
    request: Request,
    field: c_int,
    high: Option<&mut MaybeUninit<c_int>>,
    low: Option<&mut MaybeUninit<c_int>>,
) -> c_int {
    settled("corella_metadata_pair", request, |_, record| {
        put_pair(metadata_field(record, field)?, high, low);
        Ok(CORELLA_OK)
    })
}

/// The name of the entry `index` (from 0) that `corella_read_entries` gave, as bytes of the OS's (on Windows UTF-8) with a
/// NUL byte at the end; null if there is none. Valid until the request is freed.
#[unsafe(no_mangle)]
pub extern "C" fn corella_entry_name(
    request: Request,
    index: c_int,
    length: Option<&mut MaybeUninit<usize>>,
) -> *const c_char {
    let mut name = std::ptr::null();
    settled("corella_entry_name", request, |_, record| match &record.value {
        Value::Entries(entries) => {
            let entry = usize::try_from(index).ok().and_then(|index| entries.get(index));
            name = text_out(&entry.ok_or(CORELLA_ERROR_NOTHING_TO_TAKE)?.0, length);
            Ok(CORELLA_OK)
        }
        _ => Err(CORELLA_ERROR_NOTHING_TO_TAKE.into()),
    });
    name
}

/// What that entry is, where the directory says so itself: CORELLA_KIND_FILE and its kin.
#[unsafe(no_mangle)]
pub extern "C" fn corella_entry_kind(request: Request, index: c_int) -> c_int {
    settled("corella_entry_kind", request, |_, record| match &record.value {
        Value::Entries(entries) => {
            let entry = usize::try_from(index).ok().and_then(|index| entries.get(index));
            Ok(kind_number(entry.ok_or(CORELLA_ERROR_NOTHING_TO_TAKE)?.1))
        }
        _ => Err(CORELLA_ERROR_NOTHING_TO_TAKE.into()),
    })
}

/// The IP address `index` (from 0) that `corella_resolve` found, as text with a NUL byte at the end; null if there is none.
/// Valid until the request is freed.
#[unsafe(no_mangle)]
pub extern "C" fn corella_address(
    request: Request,
    index: c_int,
    length: Option<&mut MaybeUninit<usize>>,
) -> *const c_char {
    let mut text = std::ptr::null();
    settled("corella_address", request, |_, record| match &record.value {
        Value::Addresses(addresses) => {
            let address = usize::try_from(index).ok().and_then(|index| addresses.get(index));
            text = text_out(address.ok_or(CORELLA_ERROR_NOTHING_TO_TAKE)?, length);
            Ok(CORELLA_OK)
        }
        _ => Err(CORELLA_ERROR_NOTHING_TO_TAKE.into()),
    });
    text
}
