//! Handles as the queue sees them: a descriptor, its lanes, its cursor, and what came back to the front of a lane.

use std::collections::VecDeque;
use std::ops::{Index, IndexMut};
use std::rc::Rc;

use super::extents::Extents;
use super::slots::{NONE, RequestId};
use crate::backend::{Arrival, Backend, Descriptor, NO_DESCRIPTOR, RawDescriptor, SocketAnswer, SocketCall, WaitsBy};
use crate::op::{Class, Lanes};
use crate::planted::{self, Defect};

/// What errors call a socket whose addresses can no more be asked for.
pub(crate) const CLOSED_SOCKET: &str = "a closed socket";

/// No handle.
pub(crate) const NO_HANDLE: u32 = u32::MAX;

/// Names one handle, for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HandleKey {
    pub(crate) index: u32,
    generation: u32,
}

/// What a handle is called in errors.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    Path(Rc<str>),
    Static(&'static str),
    /// Looked up when it is needed: the peer's address, or one's own where there is no peer (any more).
    Socket,
}

/// One list of requests in submission order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lane {
    pub(crate) head: u32,
    pub(crate) tail: u32,
}

/// Whether a handle takes requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    Open,
    /// A close is queued; nothing new is taken.
    Closing,
}

/// Why a lane takes no writes, or soon may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// It takes them: a send that was tried has sent a part of what there was. The next goes on with it.
    Partly,
    /// It takes them: this one goes on with what was sent in part. If it fails the lane is broken, though it sent nothing.
    PartlyUntil(RequestId),
    /// Until the program has been handed the failure of this request.
    UntilHanded(RequestId),
    ForGood,
}

/// What the OS handed over for requests that nobody waits for any more: the next ones get it first.
#[derive(Debug, Default)]
pub(crate) struct Pushback {
    /// Bytes by their place in the stream, in order. Requests may be given up in any order.
    segments: VecDeque<(u64, VecDeque<u8>)>,
    /// Connections by their place among all that were accepted, in order.
    connections: VecDeque<(u64, Descriptor)>,
    /// Datagrams by their place among all that were received, in order.
    datagrams: VecDeque<(u64, Returned)>,
}

/// A datagram that was received for nobody, with as much of it as its buffer had room for.
#[derive(Debug)]
pub(crate) struct Returned {
    pub(crate) bytes: Vec<u8>,
    pub(crate) arrival: Arrival,
}

impl Pushback {
    pub(crate) fn new(bytes: Vec<u8>, connections: Vec<Descriptor>) -> Pushback {
        let connections = (0..).zip(connections).collect();
        let mut pushback = Pushback { connections, ..Pushback::default() };
        pushback.insert(0, bytes);
        pushback
    }

    /// Puts bytes back that were received from `place` on.
    pub(crate) fn insert(&mut self, place: u64, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            let index = match planted::is(Defect::PushbackOutOfOrder) {
                true => self.segments.len(),
                false => self.segments.partition_point(|(other, _)| *other < place),
            };
            self.segments.insert(index, (place, bytes.into()));
        }
    }

    /// Puts a connection back that had this place among those accepted.
    pub(crate) fn insert_connection(&mut self, place: u64, connection: Descriptor) {
        let index = self.connections.partition_point(|(other, _)| *other < place);
        self.connections.insert(index, (place, connection));
    }

    /// The first connection, with its place.
    pub(crate) fn take_connection(&mut self) -> Option<(u64, Descriptor)> {
        self.connections.pop_front()
    }

    /// Puts a datagram back that had this place among those received.
    pub(crate) fn insert_datagram(&mut self, place: u64, datagram: Returned) {
        let index = self.datagrams.partition_point(|(other, _)| *other < place);
        self.datagrams.insert(index, (place, datagram));
    }

    /// The first datagram, with its place.
    pub(crate) fn take_datagram(&mut self) -> Option<(u64, Returned)> {
        self.datagrams.pop_front()
    }

    pub(crate) fn has_datagrams(&self) -> bool {
        !self.datagrams.is_empty()
    }

    pub(crate) fn has_connections(&self) -> bool {
        !self.connections.is_empty()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.segments.is_empty() && self.connections.is_empty() && self.datagrams.is_empty()
    }

    /// Whether there are bytes from before this place.
    pub(crate) fn begins_before(&self, place: u64) -> bool {
        self.segments.front().is_some_and(|(first, _)| *first < place)
    }

    /// Has `take` remove bytes from the front, as many as it likes and says; gives their place and count.
    pub(crate) fn take(&mut self, mut take: impl FnMut(&mut VecDeque<u8>) -> usize) -> Option<(u64, u64)> {
        let (place, bytes) = self.segments.front_mut()?;
        let first = *place;
        let count = take(bytes) as u64;
        *place += count;
        if bytes.is_empty() {
            self.segments.pop_front();
        }
        Some((first, count))
    }

    /// All of it, in order.
    pub(crate) fn into_parts(self) -> (Vec<u8>, Vec<Descriptor>) {
        let connections = self.connections.into_iter().map(|(_, connection)| connection).collect();
        (self.segments.into_iter().flat_map(|(_, bytes)| bytes).collect(), connections)
    }
}

/// What is known of a child process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChildState {
    pub(crate) pid: i32,
    /// What it ended with, as wait(2) has it, once somebody has been told.
    pub(crate) status: Option<i32>,
}

#[derive(Debug)]
pub(crate) struct Handle {
    generation: u32,
    pub(crate) class: Class,
    pub(crate) life: Life,
    pub(crate) descriptor: Option<Descriptor>,
    pub(crate) target: Target,
    pub(crate) lanes: [Lane; Lanes::COUNT],
    /// The last barrier, append or write at the cursor, settled or not.
    pub(crate) last_wall: Option<RequestId>,
    /// Where the ranges of a long lane stand.
    pub(crate) extents: Option<Box<Extents>>,
    /// Barriers in the lanes.
    pub(crate) barriers: u32,
    /// Requests in the lanes that are more than plain reads. While there are none, a read needs no look at the others.
    pub(crate) not_only_reads: u32,
    pub(crate) broken: Option<Broken>,
    /// Where the next cursor operation on a file goes.
    pub(crate) cursor: u64,
    /// The least that the file's length is known to be.
    pub(crate) known_end: u64,
    pub(crate) pushback: Option<Box<Pushback>>,
    /// Settled receives and accepts that the program has yet to take.
    pub(crate) untaken: u32,
    /// How many bytes of a stream the OS has handed over.
    pub(crate) received: u64,
    /// How its requests wait.
    pub(crate) waits_by: WaitsBy,
    /// Of a child process.
    pub(crate) child: Option<ChildState>,
    /// Its close waits until what was sent has arrived (SO_LINGER).
    pub(crate) lingers: bool,
    /// Whether reads of it are tried at once.
    pub(crate) inline: Inline,
}

/// Whether a file's reads are worth trying at once, by a call that gives what is in the page cache and does not block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inline {
    /// The OS was not asked whether it can. So many reads have been; of many a file there is but one.
    Unasked(u8),
    Yes,
    /// The last try was in vain; not for so many reads to come.
    After(u8),
    Never,
}

impl Handle {
    /// Whether the lane takes no writes.
    pub(crate) fn refuses_writes(&self) -> bool {
        matches!(self.broken, Some(Broken::UntilHanded(_) | Broken::ForGood))
    }

    pub(crate) fn new(descriptor: Descriptor, class: Class, target: Target) -> Handle {
        Handle {
            generation: 0,
            class,
            life: Life::Open,
            descriptor: Some(descriptor),
            target,
            lanes: [Lane { head: NONE, tail: NONE }; Lanes::COUNT],
            last_wall: None,
            extents: None,
            barriers: 0,
            not_only_reads: 0,
            broken: None,
            cursor: 0,
            known_end: 0,
            pushback: None,
            untaken: 0,
            received: 0,
            waits_by: WaitsBy::default(),
            child: None,
            lingers: false,
            inline: Inline::Unasked(0),
        }
    }

    pub(crate) fn raw(&self) -> RawDescriptor {
        self.descriptor.as_ref().map_or(NO_DESCRIPTOR, Descriptor::raw)
    }

    /// Whether no request is in its lanes.
    pub(crate) fn is_quiet(&self) -> bool {
        self.lanes.iter().all(|lane| lane.head == NONE)
    }

    /// The name that errors give it.
    pub(crate) fn name(&self, backend: &Backend) -> String {
        match &self.target {
            Target::Path(path) => path.to_string(),
            Target::Static(name) => (*name).to_string(),
            Target::Socket => {
                let Some(descriptor) = &self.descriptor else { return CLOSED_SOCKET.into() };
                let ask = |call| match backend.socket_call(descriptor, call) {
                    Ok(SocketAnswer::Address(address)) => Some(address),
                    _ => None,
                };
                let peer = ask(SocketCall::PeerAddress).filter(|address| !address.is_nobodys());
                match (peer, self.class) {
                    (Some(address), _) => return address.to_string(),
                    (None, Class::Listener) => {}
                    (None, _) => {
                        let local = ask(SocketCall::LocalAddress).filter(|address| !address.is_nobodys());
                        return local
                            .map_or_else(|| "an unconnected socket".into(), |local| format!("{local} (local)"));
                    }
                }
                ask(SocketCall::LocalAddress).map_or_else(|| "a listener".into(), |address| address.to_string())
            }
        }
    }
}

enum Entry {
    Used(Box<Handle>),
    Free { generation: u32, next: u32 },
}

/// All handles of a scheduler.
#[derive(Default)]
pub(crate) struct Handles {
    entries: Vec<Entry>,
    first_free: Option<u32>,
}

impl Handles {
    /// Whether this request is still to go on with what was sent in part.
    pub(crate) fn go_on_with(&self, id: RequestId, key: Option<HandleKey>) -> bool {
        let handle = key.and_then(|key| self.find(key)).map(|index| &self[index]);
        handle.is_some_and(|handle| handle.broken == Some(Broken::PartlyUntil(id)))
    }

    pub(crate) fn insert(&mut self, handle: Handle) -> HandleKey {
        let index = self.first_free.unwrap_or_else(|| {
            self.entries.push(Entry::Free { generation: 1, next: NO_HANDLE });
            (self.entries.len() - 1) as u32
        });
        let entry = &mut self.entries[index as usize];
        let Entry::Free { generation, next } = *entry else { unreachable!("the free list holds free entries") };
        self.first_free = (next != NO_HANDLE).then_some(next);
        *entry = Entry::Used(Box::new(Handle { generation, ..handle }));
        HandleKey { index, generation }
    }

    pub(crate) fn remove(&mut self, index: u32) -> Handle {
        let entry = &mut self.entries[index as usize];
        let Entry::Used(handle) = entry else { unreachable!("only used entries are freed") };
        let free =
            Entry::Free { generation: handle.generation.wrapping_add(1), next: self.first_free.unwrap_or(NO_HANDLE) };
        let Entry::Used(handle) = std::mem::replace(entry, free) else { unreachable!() };
        self.first_free = Some(index);
        *handle
    }

    /// The index of a handle that still exists, open or closing.
    pub(crate) fn find(&self, key: HandleKey) -> Option<u32> {
        match self.entries.get(key.index as usize)? {
            Entry::Used(handle) if handle.generation == key.generation => Some(key.index),
            _ => None,
        }
    }

    /// A handle by key, while it exists.
    pub(crate) fn get_mut(&mut self, key: HandleKey) -> Option<&mut Handle> {
        self.find(key).map(|index| &mut self[index])
    }

    /// The key of a handle that exists.
    pub(crate) fn key(&self, index: u32) -> HandleKey {
        HandleKey { index, generation: self[index].generation }
    }

    /// All handles that exist.
    pub(crate) fn indices(&self) -> Vec<u32> {
        let entries = self.entries.iter().enumerate();
        entries.filter(|(_, entry)| matches!(entry, Entry::Used(_))).map(|(index, _)| index as u32).collect()
    }
}

impl Index<u32> for Handles {
    type Output = Handle;

    #[inline(always)]
    fn index(&self, index: u32) -> &Handle {
        match &self.entries[index as usize] {
            Entry::Used(handle) => handle,
            Entry::Free { .. } => unreachable!("handle {index} is not in use"),
        }
    }
}

impl IndexMut<u32> for Handles {
    #[inline(always)]
    fn index_mut(&mut self, index: u32) -> &mut Handle {
        match &mut self.entries[index as usize] {
            Entry::Used(handle) => handle,
            Entry::Free { .. } => unreachable!("handle {index} is not in use"),
        }
    }
}
