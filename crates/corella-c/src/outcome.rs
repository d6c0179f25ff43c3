//! From what the engine gives to what a record keeps.

use std::ffi::{CString, c_int};
use std::net::SocketAddr;

use corella::{
    Address, Child, Datagram, DatagramSocket, Directory, Entry, Error, Failed, File, FileKind, Listener, Metadata,
    Moved as EngineMoved, PooledBuffer, Socket,
};

use crate::addresses::ip_text;
use crate::buffers::{Bytes, OwnBuffer};
use crate::children::exit_number;
use crate::codes::{CORELLA_OK, code_of};
use crate::faults::c_string;
use crate::memory::Lent;

/// What a handle's id names.
pub(crate) enum Object {
    File(File),
    Socket(Socket),
    Listener(Listener),
    Directory(Directory),
    Datagrams(DatagramSocket),
    Child(Box<Child>),
}

/// What an outcome holds beside its numbers, to be looked at or taken out.
pub(crate) enum Value {
    Nothing,
    Object(Object),
    Buffer(OwnBuffer),
    Metadata(Box<Metadata>),
    Entries(Vec<(CString, FileKind)>),
    Addresses(Vec<CString>),
    /// Whose a datagram is, and its own length where that is known.
    Datagram {
        sender: Address,
        size: Option<i64>,
    },
}

/// How far a transfer got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moved {
    NotStarted,
    Exactly,
    Unknown,
}

/// How a request ended, as its record keeps it.
pub(crate) struct Settled {
    pub(crate) code: c_int,
    pub(crate) count: i64,
    pub(crate) moved: Moved,
    pub(crate) value: Value,
    pub(crate) error: Option<Error>,
    /// The list of parts, to be used again.
    pub(crate) parts: Vec<(usize, usize)>,
}

impl Settled {
    pub(crate) fn done(count: i64, value: Value) -> Settled {
        Settled { code: CORELLA_OK, count, moved: Moved::Exactly, value, error: None, parts: Vec::new() }
    }

    pub(crate) fn failed(error: Error) -> Settled {
        let code = code_of(error.kind());
        let moved = Moved::NotStarted;
        Settled { code, count: 0, moved, value: Value::Nothing, error: Some(error), parts: Vec::new() }
    }
}

/// Outcomes of the engine's actions.
pub(crate) trait IntoSettled {
    fn into_settled(self) -> Settled;
}

impl<T: Outcome> IntoSettled for Result<T, Error> {
    fn into_settled(self) -> Settled {
        self.map_or_else(Settled::failed, |outcome| outcome.settled())
    }
}

fn failed_transfer<B>(failed: Failed<B>) -> (Settled, B) {
    let (count, moved) = match failed.moved {
        EngineMoved::NotStarted => (0, Moved::NotStarted),
        EngineMoved::Bytes(count) => (count as i64, Moved::Exactly),
        EngineMoved::Unknown => (0, Moved::Unknown),
    };
    (Settled { count, moved, ..Settled::failed(failed.error) }, failed.buffer)
}

impl IntoSettled for Result<(usize, Lent), Failed<Lent>> {
    #[inline]
    fn into_settled(self) -> Settled {
        match self {
            Ok((count, lent)) => Settled { parts: lent.rest, ..Settled::done(count as i64, Value::Nothing) },
            Err(failed) => {
                let (settled, lent) = failed_transfer(failed);
                Settled { parts: lent.rest, ..settled }
            }
        }
    }
}

impl IntoSettled for Result<Datagram<Lent>, Failed<Lent>> {
    fn into_settled(self) -> Settled {
        match self {
            Ok(Datagram { buffer, count, size, sender, .. }) => {
                let value = Value::Datagram { sender, size: size.map(|size| size as i64) };
                Settled { parts: buffer.rest, ..Settled::done(count as i64, value) }
            }
            Err(failed) => {
                let (settled, lent) = failed_transfer(failed);
                Settled { parts: lent.rest, ..settled }
            }
        }
    }
}

/// Reads to an end: what came is a buffer, with a failure too.
impl IntoSettled for Result<(usize, Vec<u8>), Failed<Vec<u8>>> {
    fn into_settled(self) -> Settled {
        let buffer = |bytes| Value::Buffer(OwnBuffer::new(Bytes::Own(bytes)));
        match self {
            Ok((count, bytes)) => Settled::done(count as i64, buffer(bytes)),
            Err(failed) => {
                let (settled, bytes) = failed_transfer(failed);
                Settled { value: buffer(bytes), ..settled }
            }
        }
    }
}

/// What successes give.
trait Outcome {
    fn settled(self) -> Settled;
}

impl Outcome for () {
    fn settled(self) -> Settled {
        Settled::done(0, Value::Nothing)
    }
}

/// The place of a cursor.
impl Outcome for u64 {
    fn settled(self) -> Settled {
        Settled::done(i64::try_from(self).unwrap_or(i64::MAX), Value::Nothing)
    }
}

macro_rules! objects {
    ($($type:ident),*) => {$(
        impl Outcome for $type {
            fn settled(self) -> Settled {
                Settled::done(0, Value::Object(Object::$type(self)))
            }
        }
    )*};
}

objects!(File, Socket, Directory);

impl Outcome for Child {
    fn settled(self) -> Settled {
        Settled::done(0, Value::Object(Object::Child(Box::new(self))))
    }
}

/// How a process ended.
impl Outcome for std::process::ExitStatus {
    fn settled(self) -> Settled {
        Settled::done(exit_number(self), Value::Nothing)
    }
}

impl Outcome for Metadata {
    fn settled(self) -> Settled {
        Settled::done(0, Value::Metadata(Box::new(self)))
    }
}

/// The content of a symbolic link.
impl Outcome for std::path::PathBuf {
    fn settled(self) -> Settled {
        let bytes = self.into_os_string().into_encoded_bytes();
        Settled::done(bytes.len() as i64, Value::Buffer(OwnBuffer::new(Bytes::Own(bytes))))
    }
}

impl Outcome for Vec<Entry> {
    fn settled(self) -> Settled {
        let entries = self.into_iter().map(|entry| (c_string(entry.name.into_encoded_bytes()), entry.kind));
        let entries: Vec<_> = entries.collect();
        Settled::done(entries.len() as i64, Value::Entries(entries))
    }
}

impl Outcome for Vec<SocketAddr> {
    fn settled(self) -> Settled {
        let addresses: Vec<_> = self.into_iter().map(|address| c_string(ip_text(address))).collect();
        Settled::done(addresses.len() as i64, Value::Addresses(addresses))
    }
}

/// Bytes in a buffer of a pool; nothing at the peer's end.
impl Outcome for Option<PooledBuffer> {
    fn settled(self) -> Settled {
        match self {
            None => Settled::done(0, Value::Nothing),
            Some(buffer) => Settled::done(buffer.len() as i64, Value::Buffer(OwnBuffer::new(Bytes::Pooled(buffer)))),
        }
    }
}
