//! Requests: one record each, from the call that names the operation until it is freed.

use std::ffi::{CString, c_int, c_void};

use corella::{CancelToken, Error, RequestId as EngineId};

use crate::children::Program;
use crate::codes::{
    CORELLA_ERROR_NOT_SETTLED, CORELLA_ERROR_REJECTED, CORELLA_ERROR_STALE_ID, CORELLA_ERROR_WRONG_STATE, code_of,
};
use crate::ids::{INDEX_MAX, Key, Request};
use crate::outcome::{Moved, Value};
use crate::table::{never_or_earlier, next_generation};

/// Called with a request that has settled, and what the host gave with it, on the thread of its scheduler and inside a
/// function that turns the scheduler.
pub type Callback = Option<unsafe extern "C-unwind" fn(request: Request, user_data: *mut c_void)>;
pub(crate) type Function = unsafe extern "C-unwind" fn(Request, *mut c_void);

/// No record.
pub(crate) const NONE: u32 = u32::MAX;

/// What a request is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Nothing: sent in from another thread, or told of a failure that nobody took.
    Nothing,
    Sleep,
    // Files and pipes.
    Open,
    Read,
    ReadAt,
    ReadExact,
    ReadExactAt,
    ReadToEnd,
    ReadToEndAt,
    Write,
    WriteAt,
    Seek,
    Sync,
    SyncData,
    Truncate,
    Allocate,
    StatHandle,
    // Sockets.
    Connect,
    ConnectSocket,
    Resolve,
    Accept,
    Receive,
    ReceiveExact,
    ReceiveToEnd,
    ReceivePooled,
    Send,
    Shutdown,
    AwaitReadable,
    AwaitWritable,
    // Datagrams.
    ReceiveDatagram,
    SendDatagram,
    // Child processes.
    StartProgram,
    AwaitExit,
    // Any handle.
    Barrier,
    Close,
    CloseNow,
    // Paths.
    Stat,
    StatLink,
    Rename,
    Unlink,
    MakeDirectory,
    RemoveDirectory,
    SyncDirectory,
    HardLink,
    SymbolicLink,
    ReadLink,
    OpenDirectory,
    ReadEntries,
}

impl Verb {
    /// Whether it moves bytes of a buffer that the host names.
    #[inline]
    pub(crate) fn moves_bytes(self) -> bool {
        self.is_plain_transfer() || matches!(self, Verb::ReceiveDatagram | Verb::SendDatagram)
    }

    /// Whether nothing but numbers comes of it.
    #[inline]
    pub(crate) fn is_plain_transfer(self) -> bool {
        use Verb::*;
        matches!(self, Read | ReadAt | ReadExact | ReadExactAt | Write | WriteAt | Receive | ReceiveExact | Send)
    }

    /// Whether it fills them.
    #[inline]
    pub(crate) fn fills(self) -> bool {
        self.moves_bytes() && !matches!(self, Verb::Write | Verb::WriteAt | Verb::Send | Verb::SendDatagram)
    }
}

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Free,
    /// Named, and without an ending.
    Ready,
    Running,
    Settled,
}

/// How the host takes the outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It asks: submit, or a wait.
    Asked,
    Callback,
    /// Handed out by `corella_next`.
    Enqueued,
}

/// Arguments that few operations have.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extra {
    /// A path, name, address or link's content.
    pub(crate) first: Vec<u8>,
    /// A second path.
    pub(crate) second: Vec<u8>,
    /// Of an address: a number, or that of the Unix domain.
    pub(crate) port: c_int,
    pub(crate) flags: c_int,
    pub(crate) permissions: Option<u32>,
    pub(crate) program: Option<Box<Program>>,
}

/// A request's record. It keeps its list of parts, and with that its memory, when it is used again.
pub(crate) struct Record {
    pub(crate) generation: u32,
    pub(crate) stage: Stage,
    pub(crate) ending: Ending,
    pub(crate) direct: bool,
    pub(crate) unordered: bool,
    /// It transfers one run of the caller's bytes, and has no option that the engine has to know of.
    pub(crate) is_plain: bool,
    /// Freed while it runs: nobody's.
    pub(crate) detached: bool,
    pub(crate) verb: Verb,
    /// The list it is on while settled and undelivered.
    list: u8,
    /// Its neighbours there; the next of the free ones when it is free.
    previous: u32,
    next: u32,
    pub(crate) handle: Key,
    pub(crate) data: usize,
    pub(crate) length: usize,
    pub(crate) parts: Vec<(usize, usize)>,
    /// A 64-bit argument: an offset, a length, a duration.
    pub(crate) offset: i64,
    pub(crate) second_number: i64,
    /// The library's buffer or pool that it uses.
    pub(crate) buffer: Option<Key>,
    pub(crate) extra: Option<Box<Extra>>,
    /// Nanoseconds from its submission; negative for none.
    pub(crate) deadline_ns: i64,
    pub(crate) token: Option<CancelToken>,
    pub(crate) callback: Option<Function>,
    pub(crate) user_data: *mut c_void,
    pub(crate) tag: c_int,
    /// The engine's name for it while it runs.
    pub(crate) engine: Option<EngineId>,
    pub(crate) code: c_int,
    pub(crate) count: i64,
    pub(crate) moved: Moved,
    pub(crate) value: Value,
    pub(crate) error: Option<Error>,
    /// The error in words, once somebody has asked.
    pub(crate) text: Option<CString>,
}

impl Record {
    fn new(generation: u32) -> Record {
        Record {
            generation,
            stage: Stage::Free,
            ending: Ending::Asked,
            direct: false,
            unordered: false,
            is_plain: false,
            detached: false,
            verb: Verb::Nothing,
            list: NO_LIST,
            previous: NONE,
            next: NONE,
            handle: Key { scheduler: 0, index: 0, generation: 0 },
            data: 0,
            length: 0,
            parts: Vec::new(),
            offset: 0,
            second_number: 0,
            buffer: None,
            extra: None,
            deadline_ns: -1,
            token: None,
            callback: None,
            user_data: std::ptr::null_mut(),
            tag: 0,
            engine: None,
            code: 0,
            count: 0,
            moved: Moved::NotStarted,
            value: Value::Nothing,
            error: None,
            text: None,
        }
    }
}

impl Record {
    /// Makes a free one ready for its options.
    #[inline(always)]
    fn begin(&mut self, verb: Verb) {
        self.verb = verb;
        self.stage = Stage::Ready;
        self.direct = false;
        self.unordered = false;
        self.is_plain = false;
        self.detached = false;
        self.list = NO_LIST;
        self.data = 0;
        self.length = 0;
        self.offset = 0;
        self.buffer = None;
        self.deadline_ns = -1;
        self.callback = None;
        self.user_data = std::ptr::null_mut();
        self.tag = 0;
        self.code = 0;
        self.count = 0;
        self.moved = Moved::NotStarted;
    }

    /// Puts in the bytes that it moves.
    #[inline(always)]
    pub(crate) fn lend(&mut self, data: *mut c_void, length: usize, offset: i64) {
        self.is_plain = self.verb.is_plain_transfer();
        self.data = data.expose_provenance();
        self.length = length;
        self.offset = offset;
    }

    #[cold]
    pub(crate) fn fail(&mut self, error: Error) {
        self.code = code_of(error.kind());
        self.error = Some(error);
    }

    #[inline(always)]
    fn become_free(&mut self, next: u32) {
        self.stage = Stage::Free;
        self.generation = next_generation(self.generation);
        self.next = next;
    }
}

/// The lists of what has settled and was not delivered, each in completion order.
pub(crate) const DIRECT: u8 = 0;
pub(crate) const SCHEDULED: u8 = 1;
pub(crate) const ENQUEUED: u8 = 2;
const LISTS: usize = 3;
const NO_LIST: u8 = 3;

#[derive(Clone, Copy)]
struct List {
    first: u32,
    last: u32,
}

/// What a freed record leaves to be dropped, outside the borrow of the table: its code may call the engine. A box, as most
/// leave nothing.
pub(crate) type Remains = Box<Content>;

pub(crate) struct Content {
    _value: Value,
    _token: Option<CancelToken>,
    _extra: Option<Box<Extra>>,
}

/// All requests of a scheduler.
pub(crate) struct Requests {
    scheduler: u32,
    first_generation: u32,
    records: Vec<Record>,
    first_free: u32,
    lists: [List; LISTS],
    /// Running, those that nobody owns included.
    pub(crate) running: usize,
    /// Of these, those that `corella_next` will hand out.
    pub(crate) running_enqueued: usize,
    /// The one that a callback was called with last: freed when the scheduler is next turned.
    pub(crate) delivered: Option<Key>,
}

impl Requests {
    pub(crate) fn new(scheduler: u32, first_generation: u32) -> Requests {
        Requests {
            scheduler,
            first_generation,
            records: Vec::new(),
            first_free: NONE,
            lists: [List { first: NONE, last: NONE }; LISTS],
            running: 0,
            running_enqueued: 0,
            delivered: None,
        }
    }

    /// A new record, ready for its options. `CORELLA_ERROR_REJECTED` when there are as many as ids can tell apart.
    pub(crate) fn insert(&mut self, verb: Verb) -> Result<(Key, &mut Record), c_int> {
        if self.first_free == NONE {
            let index = self.records.len() as u32;
            if index > INDEX_MAX {
                return Err(CORELLA_ERROR_REJECTED);
            }
            self.records.push(Record::new(self.first_generation));
            self.first_free = index;
        }
        self.insert_again(verb).ok_or(CORELLA_ERROR_REJECTED)
    }

    /// The same if there is a record that is free. Nothing here can panic.
    #[inline(always)]
    pub(crate) fn insert_again(&mut self, verb: Verb) -> Option<(Key, &mut Record)> {
        let index = self.first_free;
        let record = self.records.get_mut(index as usize)?;
        self.first_free = record.next;
        record.begin(verb);
        Some((Key { scheduler: self.scheduler, index, generation: record.generation }, record))
    }

    #[inline]
    pub(crate) fn get(&mut self, key: Key) -> Result<&mut Record, c_int> {
        match self.records.get_mut(key.index as usize) {
            None => Err(never_or_earlier(key, self.first_generation)),
            Some(record) if record.generation == key.generation && record.stage != Stage::Free && !record.detached => {
                Ok(record)
            }
            Some(_) => Err(CORELLA_ERROR_STALE_ID),
        }
    }

    pub(crate) fn at(&mut self, index: u32) -> &mut Record {
        &mut self.records[index as usize]
    }

    pub(crate) fn ready(&mut self, key: Key) -> Result<&mut Record, c_int> {
        match self.get(key)? {
            record if record.stage == Stage::Ready => Ok(record),
            _ => Err(CORELLA_ERROR_WRONG_STATE),
        }
    }

    pub(crate) fn settled(&mut self, key: Key) -> Result<&mut Record, c_int> {
        match self.get(key)? {
            record if record.stage == Stage::Settled => Ok(record),
            _ => Err(CORELLA_ERROR_NOT_SETTLED),
        }
    }

    /// Has a request that its host meant to ask end with a callback instead. Whether it was such a one.
    pub(crate) fn call_back(&mut self, key: Key, callback: Function, user_data: *mut c_void) -> Result<bool, c_int> {
        let record = self.get(key)?;
        let is_settled = record.stage == Stage::Settled;
        if record.ending != Ending::Asked || !is_settled && record.stage != Stage::Running {
            return Ok(false);
        }
        record.ending = Ending::Callback;
        record.callback = Some(callback);
        record.user_data = user_data;
        if is_settled {
            let list = if record.direct { DIRECT } else { SCHEDULED };
            self.enlist(key.index, list);
        }
        Ok(true)
    }

    /// Puts a settled request at the end of a list.
    #[inline]
    pub(crate) fn enlist(&mut self, index: u32, list: u8) {
        let ends = &mut self.lists[list as usize];
        let last = std::mem::replace(&mut ends.last, index);
        let record = &mut self.records[index as usize];
        record.list = list;
        record.previous = last;
        record.next = NONE;
        match last {
            NONE => ends.first = index,
            last => self.records[last as usize].next = index,
        }
    }

    /// Has an outcome put into its record, which is then put where its ending wants it. False if there is something to be
    /// given up.
    #[inline(always)]
    pub(crate) fn settle(&mut self, index: u32, put: impl FnOnce(&mut Record)) -> bool {
        let record = &mut self.records[index as usize];
        debug_assert_eq!(record.stage, Stage::Running);
        put(record);
        record.stage = Stage::Settled;
        record.engine = None;
        self.running -= 1;
        let is_simple = !record.detached && record.buffer.is_none();
        let list = match record.ending {
            Ending::Asked => return is_simple,
            Ending::Callback if record.direct => DIRECT,
            Ending::Callback => SCHEDULED,
            Ending::Enqueued => {
                self.running_enqueued -= 1;
                ENQUEUED
            }
        };
        self.enlist(index, list);
        is_simple
    }

    fn unlist(&mut self, index: u32) {
        let record = &mut self.records[index as usize];
        let (list, previous, next) = (record.list, record.previous, record.next);
        if list == NO_LIST {
            return;
        }
        record.list = NO_LIST;
        match previous {
            NONE => self.lists[list as usize].first = next,
            previous => self.records[previous as usize].next = next,
        }
        match next {
            NONE => self.lists[list as usize].last = previous,
            next => self.records[next as usize].previous = previous,
        }
    }

    pub(crate) fn has(&self, list: u8) -> bool {
        self.lists[list as usize].first != NONE
    }

    /// Whether anything is undelivered.
    pub(crate) fn has_undelivered(&self) -> bool {
        self.lists.iter().any(|list| list.first != NONE)
    }

    pub(crate) fn pop(&mut self, list: u8) -> Option<Key> {
        let index = self.lists[list as usize].first;
        if index == NONE {
            return None;
        }
        let record = &mut self.records[index as usize];
        record.list = NO_LIST;
        let (next, generation) = (record.next, record.generation);
        self.lists[list as usize].first = next;
        match next {
            NONE => self.lists[list as usize].last = NONE,
            next => self.records[next as usize].previous = NONE,
        }
        Some(Key { scheduler: self.scheduler, index, generation })
    }

    /// Frees the record that was lent to the last callback, unless that has freed it itself.
    #[inline(always)]
    pub(crate) fn free_delivered(&mut self) -> Option<Remains> {
        let key = self.delivered.take()?;
        let record = &mut self.records[key.index as usize];
        if record.generation != key.generation || record.stage != Stage::Settled {
            return None;
        }
        if !record.is_plain || record.error.is_some() {
            return self.free(key.index);
        }
        // It is on no list, and has nothing but numbers.
        debug_assert!(record.list == NO_LIST && record.parts.is_empty());
        debug_assert!(record.token.is_none() && record.extra.is_none() && matches!(record.value, Value::Nothing));
        record.become_free(std::mem::replace(&mut self.first_free, key.index));
        None
    }

    /// Frees a record that does not run.
    #[inline]
    pub(crate) fn free(&mut self, index: u32) -> Option<Remains> {
        if self.records[index as usize].list != NO_LIST {
            self.unlist(index);
        }
        let first_free = std::mem::replace(&mut self.first_free, index);
        let record = &mut self.records[index as usize];
        record.become_free(first_free);
        record.parts.clear();
        if record.error.is_some() {
            record.error = None;
            record.text = None;
        }
        if matches!(record.value, Value::Nothing) && record.token.is_none() && record.extra.is_none() {
            return None;
        }
        Some(Box::new(Content {
            _value: std::mem::replace(&mut record.value, Value::Nothing),
            _token: record.token.take(),
            _extra: record.extra.take(),
        }))
    }

    /// Everything that ids of this table may have named is stale from here on.
    pub(crate) fn unused_generation(&self) -> u32 {
        let last = self.records.iter().map(|record| record.generation).max();
        next_generation(last.unwrap_or(self.first_generation))
    }
}
