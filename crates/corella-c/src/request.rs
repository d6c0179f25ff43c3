//! Requests: one record each, from the call that names the operation until it is freed.

use std::ffi::{CString, c_int, c_void};

use corella::{CancelToken, Error, RequestId as EngineId};

use crate::children::Program;
use crate::codes::{
    CORELLA_ERROR_NOT_SETTLED, CORELLA_ERROR_REJECTED, CORELLA_ERROR_STALE_ID, CORELLA_ERROR_WRONG_STATE,
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
    pub(crate) fn moves_bytes(self) -> bool {
        self.is_plain_transfer() || matches!(self, Verb::ReceiveDatagram | Verb::SendDatagram)
    }

    /// Whether nothing but numbers comes of it.
    pub(crate) fn is_plain_transfer(self) -> bool {
        use Verb::*;
        matches!(self, Read | ReadAt | ReadExact | ReadExactAt | Write | WriteAt | Receive | ReceiveExact | Send)
    }

    /// Whether it fills them.
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

/// What a freed record leaves to be dropped, outside the borrow of the table: its code may call the engine.
pub(crate) struct Remains {
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
        let index = match self.first_free {
            NONE => {
                let index = self.records.len() as u32;
                if index > INDEX_MAX {
                    return Err(CORELLA_ERROR_REJECTED);
                }
                self.records.push(Record::new(self.first_generation));
                index
            }
            index => index,
        };
        let record = &mut self.records[index as usize];
        if self.first_free == index {
            self.first_free = record.next;
        }
        record.verb = verb;
        record.stage = Stage::Ready;
        record.direct = false;
        record.unordered = false;
        record.detached = false;
        record.list = NO_LIST;
        record.data = 0;
        record.length = 0;
        record.offset = 0;
        record.buffer = None;
        record.deadline_ns = -1;
        record.callback = None;
        record.user_data = std::ptr::null_mut();
        record.tag = 0;
        record.code = 0;
        record.count = 0;
        record.moved = Moved::NotStarted;
        Ok((Key { scheduler: self.scheduler, index, generation: record.generation }, record))
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
    pub(crate) fn enlist(&mut self, index: u32, list: u8) {
        let last = std::mem::replace(&mut self.lists[list as usize].last, index);
        match last {
            NONE => self.lists[list as usize].first = index,
            last => self.records[last as usize].next = index,
        }
        let record = &mut self.records[index as usize];
        record.list = list;
        record.previous = last;
        record.next = NONE;
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

    /// Frees a record that does not run.
    pub(crate) fn free(&mut self, index: u32) -> Option<Remains> {
        if self.records[index as usize].list != NO_LIST {
            self.unlist(index);
        }
        let first_free = std::mem::replace(&mut self.first_free, index);
        let record = &mut self.records[index as usize];
        record.stage = Stage::Free;
        record.generation = next_generation(record.generation);
        record.next = first_free;
        record.parts.clear();
        if record.error.is_some() {
            record.error = None;
            record.text = None;
        }
        if matches!(record.value, Value::Nothing) && record.token.is_none() && record.extra.is_none() {
            return None;
        }
        Some(Remains {
            _value: std::mem::replace(&mut record.value, Value::Nothing),
            _token: record.token.take(),
            _extra: record.extra.take(),
        })
    }

    /// Everything that ids of this table may have named is stale from here on.
    pub(crate) fn unused_generation(&self) -> u32 {
        let last = self.records.iter().map(|record| record.generation).max();
        next_generation(last.unwrap_or(self.first_generation))
    }
}

/// What is done with a request before its ending, and the three endings that turn nothing.
pub mod exported {
    use std::ffi::{c_int, c_void};

    use super::{Callback, Ending, Record, Stage};
    use crate::begin;
    use crate::codes::{CORELLA_ERROR_INVALID_ID, CORELLA_ERROR_WRONG_STATE, CORELLA_OK};
    use crate::faults::Fault;
    use crate::ids::{Buffer, Key, Request, Token};
    use crate::registry::on_host;
    use crate::threads;

    /// Changes a request that has not begun.
    fn option(name: &'static str, request: Request, change: impl FnOnce(&mut Record) -> Result<(), Fault>) -> c_int {
        on_host(name, request, |host, key| {
            change(host.requests.borrow_mut().ready(key)?)?;
            Ok(CORELLA_OK)
        })
    }

    /// Cancels the request when it has not settled within `nanoseconds` of its submission, time in the queue included.
    /// Negative: no deadline, as at first. Its outcome is then CORELLA_ERROR_TIMED_OUT, with what had moved.
    #[unsafe(no_mangle)]
    pub extern "C" fn corella_set_deadline_ns(request: Request, nanoseconds: i64) -> c_int {
        option("corella_set_deadline_ns", request, |record| {
            record.deadline_ns = nanoseconds.max(-1);
            Ok(())
        })
    }

    /// The same in milliseconds.
    #[unsafe(no_mangle)]
    pub extern "C" fn corella_set_deadline_ms(request: Request, milliseconds: c_int) -> c_int {
        option("corella_set_deadline_ms", request, |record| {
            record.deadline_ns = i64::from(milliseconds.max(-1)) * if milliseconds < 0 { 1 } else { 1_000_000 };
            Ok(())
        })
    }

    /// Cancels the request when `token` is cancelled, or at once if it is already. Freeing the token is not cancelling.
    #[unsafe(no_mangle)]
    pub extern "C" fn corella_set_token(request: Request, token: Token) -> c_int {
        let token = threads::token(token);
        option("corella_set_token", request, |record| {
            record.token = Some(token?);
            Ok(())
        })
    }

    /// Has the callback run before those that are not direct (`yes` 1), or among them (0, as at first).
    #[unsafe(no_mangle)]
    pub extern "C" fn corella_set_direct(request: Request, yes: c_int) -> c_int {
        option("corella_set_direct", request, |record| {
            record.direct = yes != 0;
            Ok(())
        })
    }

    /// Takes a positioned read or write of a file out of the order of its handle (`yes` 1): it runs beside anything but
    /// barriers and the close, and the program answers for overlaps. CORELLA_ERROR_WRONG_STATE for other operations.
    #[unsafe(no_mangle)]
    pub extern "C" fn corella_set_unordered(request: Request, yes: c_int) -> c_int {
        use super::Verb::{ReadAt, ReadExactAt, WriteAt};
        option("corella_set_unordered", request, |record| {
            if !matches!(record.verb, ReadAt | ReadExactAt | WriteAt) {
                return Err(CORELLA_ERROR_WRONG_STATE.into());
            }
            record.unordered = yes != 0;
            Ok(())
        })
    }

    /// Sets what the request is told apart by; see `corella_user_data` and `corella_tag`. The library looks at neither.
    /// `corella_then` sets the user data as well. Possible in every state.
    #[unsafe(no_mangle)]
    pub extern "C" fn corella_set_user_data(request: Request, user_data: *mut c_void, tag: c_int) -> c_int {
        on_host("corella_set_user_data", request, |host, key| {
            let mut requests = host.requests.borrow_mut();
            let record = requests.get(key)?;
            record.user_data = user_data;
            record.tag = tag;
            Ok(CORELLA_OK)
        })
    }

    /// Sets the offset, length or duration of an operation that has one, for languages without 64-bit integers: `high`
    /// are its upper, `low` its lower 32 bits.
    #[unsafe(no_mangle)]
    pub extern "C" fn corella_set_offset_pair(request: Request, high: c_int, low: c_int) -> c_int {
        option("corella_set_offset_pair", request, |record| {
            record.offset = i64::from(high) << 32 | i64::from(low.cast_unsigned());
            match record.offset < 0 && record.verb != super::Verb::Seek {
                true => Err(Fault::input("a negative offset, length or duration")),
                false => Ok(()),
            }
        })
    }

    /// Adds `length` bytes at `data` to those that the request reads or writes, which makes it a vectored one: all parts in
    /// the order they were added, the one given with the operation first. Lent like that one. Up to eight parts allocate
    /// nothing once the request's place has been used for as many.
    #[unsafe(no_mangle)]
    pub extern "C" fn corella_add_part(request: Request, data: *mut c_void, length: usize) -> c_int {
        option("corella_add_part", request, |record| {
            begin::check_memory(data, length)?;
            if !record.verb.moves_bytes() || record.buffer.is_some() {
                return Err(CORELLA_ERROR_WRONG_STATE.into());
            }
            if record.parts.is_empty() {
                record.parts.push((record.data, record.length));
            }
            record.parts.push((data.expose_provenance(), length));
            Ok(())
        })
    }

    /// Has the request read or write `length` bytes of the library's buffer from its byte `start` on, instead of the
    /// caller's memory. The buffer is lent until the request settles.
    #[unsafe(no_mangle)]
    pub extern "C" fn corella_set_buffer(request: Request, buffer: Buffer, start: usize, length: usize) -> c_int {
        on_host("corella_set_buffer", request, |host, key| {
            let place = Key::of(buffer).filter(|buffer| buffer.scheduler == key.scheduler);
            let place = place.ok_or(CORELLA_ERROR_INVALID_ID)?;
            let address = host.buffers.borrow_mut().get_mut(place)?.part(start, length)?;
            let mut requests = host.requests.borrow_mut();
            let record = requests.ready(key)?;
            if !record.verb.moves_bytes() || !record.parts.is_empty() {
                return Err(CORELLA_ERROR_WRONG_STATE.into());
            }
            record.data = address;
            record.length = length;
            record.buffer = Some(place);
            Ok(CORELLA_OK)
        })
    }

    /// Ending 2, ask: hands the request to the queue. Ask `corella_status` how it stands, or `corella_wait` for it; it is
    /// yours, and you free it with `corella_free`.
    ///
    /// On failure nothing was started, and the request is as it was: after CORELLA_ERROR_REJECTED it may be submitted again.
    #[unsafe(no_mangle)]
    pub extern "C" fn corella_submit(request: Request) -> c_int {
        on_host("corella_submit", request, |host, key| begin::submit(host, key, Ending::Asked, None))
    }

    /// Ending 3, a callback: hands the request to the queue and has `callback` called with it once it has settled; never
    /// inside this call, always inside `corella_run`, `corella_run_once`, `corella_run_ready` or `corella_wait`, on this
    /// thread, in completion order (direct ones before the others). `user_data` is handed on.
    ///
    /// The request is lent to the callback: the library frees it when the scheduler is next turned, at latest when the
    /// callback has returned; `corella_keep` makes it yours. The callback may call anything, `corella_scheduler_free`
    /// included, and may leave by longjmp. On failure as for `corella_submit`, and the callback is not called.
    ///
    /// Of a request that `corella_submit` was called for, running or settled, it changes the ending to this one.
    #[unsafe(no_mangle)]
    pub extern "C" fn corella_then(request: Request, callback: Callback, user_data: *mut c_void) -> c_int {
        on_host("corella_then", request, |host, key| match callback {
            None => Err(Fault::input("a null callback")),
            Some(callback) if host.requests.borrow_mut().call_back(key, callback, user_data)? => Ok(CORELLA_OK),
            Some(callback) => begin::submit(host, key, Ending::Callback, Some((callback, user_data))),
        })
    }

    /// Ending 4, handed out: hands the request to the queue, for `corella_next` to give it back once it has settled. It is
    /// yours then, and you free it with `corella_free`. For hosts that must not be called back. On failure as for
    /// `corella_submit`.
    #[unsafe(no_mangle)]
    pub extern "C" fn corella_enqueue(request: Request) -> c_int {
        on_host("corella_enqueue", request, |host, key| begin::submit(host, key, Ending::Enqueued, None))
    }

    /// How a request stands: 1 done, 0 running (or not begun), negative: it failed, and the number is why. Turns nothing.
    #[unsafe(no_mangle)]
    pub extern "C" fn corella_status(request: Request) -> c_int {
        on_host("corella_status", request, |host, key| {
            let mut requests = host.requests.borrow_mut();
            let record = requests.get(key)?;
            Ok(match (record.stage, record.code) {
                (Stage::Settled, CORELLA_OK) => 1,
                (Stage::Settled, code) => code,
                _ => 0,
            })
        })
    }

    /// Asks a request to stop. It settles all the same, once the OS has let go of its buffer, with what truly happened;
    /// full success despite a cancel is success. After its end this does nothing. For other threads:
    /// `corella_remote_cancel`, and tokens.
    #[unsafe(no_mangle)]
    pub extern "C" fn corella_cancel(request: Request) -> c_int {
        on_host("corella_cancel", request, |host, key| {
            let engine = match host.requests.borrow_mut().get(key)? {
                record if record.stage == Stage::Running => record.engine,
                record if record.stage == Stage::Ready => return Err(CORELLA_ERROR_WRONG_STATE.into()),
                _ => None,
            };
            engine.into_iter().for_each(|engine| host.io.cancel(engine));
            Ok(CORELLA_OK)
        })
    }

    /// Frees a request: its outcome, and what was not taken out of it (a handle is closed). One that has not begun is
    /// forgotten. One that runs goes on by itself, its callback is not called, its failure goes to
    /// `corella_on_unobserved`; the caller's memory stays lent until it has settled, which nobody will be told of.
    #[unsafe(no_mangle)]
    pub extern "C" fn corella_free(request: Request) -> c_int {
        on_host("corella_free", request, |host, key| {
            host.free_request(key)?;
            Ok(CORELLA_OK)
        })
    }

    /// Makes the request that a callback was called with the caller's own, to be freed with `corella_free`. To be called
    /// before the scheduler is turned again.
    #[unsafe(no_mangle)]
    pub extern "C" fn corella_keep(request: Request) -> c_int {
        on_host("corella_keep", request, |host, key| {
            let mut requests = host.requests.borrow_mut();
            requests.get(key)?;
            match requests.delivered == Some(key) {
                true => requests.delivered = None,
                false => return Err(CORELLA_ERROR_WRONG_STATE.into()),
            }
            Ok(CORELLA_OK)
        })
    }

    /// What `corella_then` or `corella_set_user_data` gave the request; null if nothing did, and for an id that names none.
    #[unsafe(no_mangle)]
    pub extern "C" fn corella_user_data(request: Request) -> *mut c_void {
        let mut user_data = std::ptr::null_mut();
        on_host("corella_user_data", request, |host, key| {
            user_data = host.requests.borrow_mut().get(key)?.user_data;
            Ok(CORELLA_OK)
        });
        user_data
    }

    /// The number that `corella_set_user_data` gave the request; 0 if it did not, and for an id that names none.
    #[unsafe(no_mangle)]
    pub extern "C" fn corella_tag(request: Request) -> c_int {
        let mut tag = 0;
        on_host("corella_tag", request, |host, key| {
            tag = host.requests.borrow_mut().get(key)?.tag;
            Ok(CORELLA_OK)
        });
        tag
    }
}
