//! A host: what this side keeps of one scheduler, on the scheduler's thread.

use std::any::Any;
use std::cell::{Cell, RefCell, RefMut};
use std::ffi::{c_int, c_void};
use std::rc::Rc;
use std::sync::Arc;

use corella::{BufferPool, Error, HostedOutcome, HostedOutcomes, Io, Moved as EngineMoved, Scheduler as Engine};

use crate::buffers::OwnBuffer;
use crate::codes::{CORELLA_ERROR_DEFECT, CORELLA_ERROR_SCHEDULER_GONE, CORELLA_ERROR_WRONG_PROCESS, CORELLA_OK};
use crate::ids::{Key, Named};
use crate::inbox::Inbox;
use crate::outcome::{Moved, Object, Settled};
use crate::registry::panic_text;
use crate::request::{ENQUEUED, Ending, Function, Record, Requests, SCHEDULED, Stage, Verb};
use crate::table::Table;
use crate::valgrind;

/// Whoever is told of failures that nobody took.
#[derive(Clone, Copy)]
pub(crate) struct Observer {
    pub(crate) callback: Option<Function>,
    pub(crate) user_data: *mut c_void,
    pub(crate) tag: c_int,
}

pub(crate) struct Host {
    pub(crate) number: u32,
    pub(crate) generation: u32,
    /// The fork generation in which it may be used; another number once it may not be at all.
    usable: Cell<u64>,
    fork_generation: u64,
    /// `None` once it has been shut down. Dropped before the tables, whose memory the OS may be writing to.
    pub(crate) engine: RefCell<Option<Engine>>,
    /// What became of plain transfers, until it is in their records.
    outcomes: Rc<HostedOutcomes>,
    /// Kept for its memory.
    fetched: RefCell<Vec<HostedOutcome>>,
    pub(crate) io: Io,
    pub(crate) requests: RefCell<Requests>,
    pub(crate) handles: RefCell<Table<Object>>,
    pub(crate) buffers: RefCell<Table<OwnBuffer>>,
    pub(crate) pools: RefCell<Table<BufferPool>>,
    pub(crate) inbox: Arc<Inbox>,
    /// `corella_run` is to return.
    pub(crate) stopping: Cell<bool>,
    /// Callbacks that are not direct, delivered since the last turn.
    pub(crate) delivered_since_turn: Cell<usize>,
    /// Those at most, before the scheduler is turned again.
    pub(crate) callbacks_per_turn: usize,
    pub(crate) observer: Cell<Option<Observer>>,
    /// Failures nobody took: of requests freed while they ran.
    pub(crate) unobserved: Cell<u64>,
    /// A shutdown gave up on requests whose memory must therefore stay.
    pub(crate) has_leaked: Cell<bool>,
    /// What the last list of requests in flight said.
    pub(crate) outstanding: RefCell<Vec<crate::scheduler::OutstandingText>>,
    /// What the defect was.
    defect: RefCell<String>,
    under_valgrind: bool,
}

/// A fork generation that no process has.
const NEVER: u64 = u64::MAX;

impl Host {
    pub(crate) fn new(
        (number, generation, objects): (u32, u32, u32),
        engine: Engine,
        callbacks_per_turn: usize,
        posts_max: usize,
    ) -> Host {
        let fork_generation = corella::fork_generation();
        Host {
            number,
            generation,
            usable: Cell::new(fork_generation),
            fork_generation,
            outcomes: engine.hosted_outcomes(),
            fetched: RefCell::default(),
            io: engine.io(),
            inbox: Arc::new(Inbox::new(number, engine.remote(), posts_max)),
            engine: RefCell::new(Some(engine)),
            requests: RefCell::new(Requests::new(number, objects)),
            handles: RefCell::new(Table::new(number, objects)),
            buffers: RefCell::new(Table::new(number, objects)),
            pools: RefCell::new(Table::new(number, objects)),
            stopping: Cell::new(false),
            delivered_since_turn: Cell::new(0),
            callbacks_per_turn,
            observer: Cell::new(None),
            unobserved: Cell::new(0),
            has_leaked: Cell::new(false),
            outstanding: RefCell::default(),
            defect: RefCell::default(),
            under_valgrind: valgrind::is_present(),
        }
    }

    #[inline]
    pub(crate) fn is_usable(&self) -> bool {
        self.usable.get() == corella::fork_generation()
    }

    #[cold]
    pub(crate) fn why_unusable(&self) -> c_int {
        match self.fork_generation == corella::fork_generation() {
            true => CORELLA_ERROR_DEFECT,
            false => CORELLA_ERROR_WRONG_PROCESS,
        }
    }

    /// Whether a defect was caught here.
    pub(crate) fn is_spoiled(&self) -> bool {
        self.usable.get() == NEVER
    }

    /// A defect was caught: nothing here is to be trusted any more.
    pub(crate) fn spoil(&self, panic: &Box<dyn Any + Send>) {
        self.usable.set(NEVER);
        if let Ok(mut defect) = self.defect.try_borrow_mut() {
            *defect = panic_text(&**panic);
        }
    }

    pub(crate) fn id<T: Named>(&self) -> *mut T {
        Key { scheduler: self.number, index: 0, generation: self.generation }.id()
    }

    /// Runs `call` on the engine; `CORELLA_ERROR_SCHEDULER_GONE` once that is shut down.
    pub(crate) fn with_engine<T>(
        &self,
        call: impl FnOnce(&mut Engine) -> Result<T, Error>,
    ) -> Result<T, crate::faults::Fault> {
        match &mut *self.engine.borrow_mut() {
            None => Err(CORELLA_ERROR_SCHEDULER_GONE.into()),
            Some(engine) => Ok(call(engine)?),
        }
    }

    /// Whether the engine has something to tell of plain transfers.
    pub(crate) fn has_outcomes(&self) -> bool {
        !self.outcomes.is_empty()
    }

    /// Writes what the engine has to tell of plain transfers into their records.
    pub(crate) fn fetch_outcomes(&self) {
        let mut fetched = self.fetched.take();
        self.outcomes.fetch(&mut fetched);
        let mut requests = self.requests.borrow_mut();
        for outcome in fetched.drain(..) {
            let index = outcome.name;
            if !self.settle_plain(outcome, &mut requests) {
                self.give_up(index, requests);
                requests = self.requests.borrow_mut();
            }
        }
        drop(requests);
        self.fetched.replace(fetched);
    }

    /// The same as `settle` for a request that leaves nothing but numbers. False if there is something to be given up.
    #[inline(always)]
    fn settle_plain(&self, outcome: HostedOutcome, requests: &mut Requests) -> bool {
        let HostedOutcome { name, moved, error } = outcome;
        requests.settle(name, |record| {
            (record.count, record.moved) = match moved {
                EngineMoved::Bytes(count) => (count as i64, Moved::Exactly),
                EngineMoved::NotStarted => (0, Moved::NotStarted),
                EngineMoved::Unknown => (0, Moved::Unknown),
            };
            record.code = CORELLA_OK;
            if let Some(error) = error {
                record.fail(error);
            }
            if self.under_valgrind && record.verb.fills() {
                mark_written(record, record.count as usize, &[]);
            }
        })
    }

    /// Writes the outcome of a running request into its record and puts it where its ending wants it. Called by the
    /// engine, inside a turn; calls nothing of C's.
    pub(crate) fn settle(&self, index: u32, settled: Settled) {
        // Those that the engine has told of so far came before this one.
        self.fetch_outcomes();
        let mut requests = self.requests.borrow_mut();
        let is_simple = requests.settle(index, |record| {
            if self.under_valgrind && record.verb.fills() {
                mark_written(record, settled.count as usize, &settled.parts);
            }
            record.code = settled.code;
            record.count = settled.count;
            record.moved = settled.moved;
            record.value = settled.value;
            record.error = settled.error;
            record.parts = settled.parts;
        });
        if !is_simple {
            self.give_up(index, requests);
        }
    }

    /// Gives up the library's buffer of a settled request, and the request itself if it is nobody's.
    #[cold]
    fn give_up(&self, index: u32, mut requests: RefMut<'_, Requests>) {
        let record = requests.at(index);
        let lent = if record.verb == Verb::ReceivePooled { None } else { record.buffer };
        if let Some(buffer) = lent
            && let Ok(buffer) = self.buffers.borrow_mut().get_mut(buffer)
        {
            buffer.lent -= 1;
        }
        if record.detached {
            let error = record.error.take();
            let remains = requests.free(index);
            drop(requests);
            drop(remains);
            error.into_iter().for_each(|error| self.report(error));
        }
    }

    /// A failure that nobody took: counted, and told to whoever wants to know.
    pub(crate) fn report(&self, error: Error) {
        if error.kind() == corella::ErrorKind::Cancelled {
            // What was stopped because nobody wanted it has not failed.
            return;
        }
        self.unobserved.set(self.unobserved.get() + 1);
        let Some(observer) = self.observer.get() else { return };
        let mut requests = self.requests.borrow_mut();
        // With no record left it is counted, and that is all.
        let Ok((key, record)) = requests.insert(Verb::Nothing) else { return };
        let settled = Settled::failed(error);
        record.code = settled.code;
        record.error = settled.error;
        record.callback = observer.callback;
        record.user_data = observer.user_data;
        record.tag = observer.tag;
        record.stage = Stage::Settled;
        let list = if observer.callback.is_some() { SCHEDULED } else { ENQUEUED };
        record.ending = if observer.callback.is_some() { Ending::Callback } else { Ending::Enqueued };
        requests.enlist(key.index, list);
    }

    /// Frees a request, or lets it go on by itself.
    pub(crate) fn free_request(&self, key: Key) -> Result<(), c_int> {
        let remains = {
            let mut requests = self.requests.borrow_mut();
            let record = requests.get(key)?;
            if record.stage == Stage::Running {
                record.detached = true;
                if record.ending == Ending::Enqueued {
                    requests.running_enqueued -= 1;
                }
                requests.at(key.index).ending = Ending::Asked;
                return Ok(());
            }
            requests.free(key.index)
        };
        drop(remains);
        Ok(())
    }

    /// Frees the request that was lent to the last callback.
    #[inline(always)]
    pub(crate) fn free_delivered(&self) -> RefMut<'_, Requests> {
        let mut requests = self.requests.borrow_mut();
        match requests.free_delivered() {
            None => requests,
            Some(remains) => {
                drop(requests);
                drop(remains);
                self.requests.borrow_mut()
            }
        }
    }
}

/// Tells valgrind of the bytes that a request has filled.
fn mark_written(record: &Record, count: usize, parts: &[(usize, usize)]) {
    let mut left = count;
    let whole = [(record.data, record.length)];
    for (address, length) in if parts.is_empty() { &whole[..] } else { parts } {
        let filled = left.min(*length);
        valgrind::mark_written(*address, filled);
        left -= filled;
    }
}
