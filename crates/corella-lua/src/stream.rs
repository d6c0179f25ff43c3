//! A stream: a file or connection with its buffers, whose requests are carried out one after the other.
//!
//! Reads, lines, prints and seeks share buffers and a position, so they queue here; each may take several requests of
//! the engine. Positioned requests wait here only for what was asked before them, and then the engine orders them.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use corella::{Action, Child, ErrorKind, File, OpenOptions, Operation, RequestId, Socket};

use mlua::AnyUserData;

use crate::encoding::Encoding;
use crate::failure::{Failure, OperationError};
use crate::input::Input;
use crate::received::Taken;
use crate::request::{Class, Outcome, Request, Stop};
use crate::runtime::Runtime;
use crate::work::{BUFFER_SIZE, Buffering, Buffers, Entry, LINE_END, Life, Step, Work};

/// What moves the bytes.
#[derive(Clone)]
pub(crate) enum Transport {
    None,
    File(File),
    Socket(Socket),
}

/// What the engine's answer means for the front entry.
pub(crate) type Finish<A> = fn(&Rc<Stream>, Result<<A as Action>::Output, <A as Action>::Error>);

pub(crate) struct State {
    pub(crate) transport: Transport,
    pub(crate) buffers: Buffers,
    /// The program that it is, or was, a pipe to.
    pub(crate) child: Option<Rc<Child>>,
    pub(crate) at_engine: Option<AtEngine>,
}

/// A request of the engine's.
#[derive(Clone, Copy)]
pub(crate) struct AtEngine {
    pub(crate) id: RequestId,
    pub(crate) purpose: Purpose,
}

/// What a request of the engine's is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// It receives for a task that is not in the queue.
    Task,
    /// It reads for the front entry.
    Fill,
    /// Whatever else the front entry needs.
    Other,
}

pub(crate) struct Stream {
    pub(crate) runtime: Rc<Runtime>,
    pub(crate) state: RefCell<State>,
}

/// What a stream is open for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rights {
    pub(crate) read: bool,
    pub(crate) write: bool,
    pub(crate) append: bool,
}

impl Rights {
    /// The mode of these rights, as a script says it.
    pub(crate) fn mode(self) -> &'static str {
        match (self.read, self.write, self.append) {
            (_, _, true) => "wa",
            (true, true, _) => "rw",
            (false, true, _) => "w",
            _ => "r",
        }
    }
}

impl Stream {
    /// A stream that is not open yet, or one of what is open already.
    pub(crate) fn new(runtime: &Rc<Runtime>, transport: Transport, name: &str, rights: Rights) -> Rc<Stream> {
        let buffers = Buffers {
            life: if matches!(transport, Transport::None) { Life::New } else { Life::Open },
            name: name.into(),
            can_read: rights.read,
            can_write: rights.write,
            appends: rights.append,
            can_seek: false,
            queue: VecDeque::new(),
            input: Input::default(),
            output: Vec::new(),
            buffering: Buffering::Full,
            buffer_size: BUFFER_SIZE,
            ahead: BUFFER_SIZE,
            encoding: Encoding::Binary,
            separator: LINE_END.into(),
            mode: rights.mode(),
            is_standard_output: false,
            position: 0,
            moves: 0,
            is_lent: false,
            given_back: Vec::new(),
            is_recalled: false,
            eof: false,
            deferred: None,
        };
        let state = RefCell::new(State { transport, buffers, child: None, at_engine: None });
        Rc::new(Stream { runtime: Rc::clone(runtime), state })
    }

    /// What can be asked at once.
    pub(crate) fn with_buffers<R>(&self, look: impl FnOnce(&mut Buffers) -> R) -> R {
        look(&mut self.state.borrow_mut().buffers)
    }

    /// The file, while there is one.
    pub(crate) fn file(&self) -> Option<File> {
        match &self.state.borrow().transport {
            Transport::File(file) => Some(file.clone()),
            _ => None,
        }
    }

    /// Opens it and gives `handle`, the script's. An open one refuses.
    pub(crate) fn open(
        self: &Rc<Self>,
        path: PathBuf,
        options: OpenOptions,
        rights: Rights,
        handle: AnyUserData,
        deadline: Option<Duration>,
    ) -> Rc<Request> {
        let name = path.to_string_lossy().into_owned();
        self.open_as(&name, rights, rights.mode(), Work::Open { path, options, handle }, deadline)
    }

    /// Has `work` open it. An open one refuses.
    pub(crate) fn open_as(
        self: &Rc<Self>,
        name: &str,
        rights: Rights,
        mode: &'static str,
        work: Work,
        deadline: Option<Duration>,
    ) -> Rc<Request> {
        let is_free = self.with_buffers(|buffers| {
            let is_free = matches!(buffers.life, Life::New | Life::Closed) && buffers.queue.is_empty();
            if is_free {
                buffers.life = Life::Opening;
                buffers.name = name.into();
                (buffers.can_read, buffers.can_write) = (rights.read, rights.write);
                (buffers.appends, buffers.mode) = (rights.append, mode);
            }
            is_free
        });
        if !is_free {
            let error = OperationError::invalid("open", name, "the handle is already open");
            return Request::settled(&self.runtime, Err(error.into()));
        }
        self.state.borrow_mut().child = None;
        self.enqueue(work, deadline)
    }

    /// Asks for something; it is done in its turn.
    pub(crate) fn submit(self: &Rc<Self>, mut work: Work, deadline: Option<Duration>) -> Rc<Request> {
        let refusal = self.with_buffers(|buffers| {
            let name = &*buffers.name;
            if !buffers.is_open() {
                return Some(buffers.not_open(work.name()));
            }
            let why = match () {
                () if work.reads() && !buffers.can_read => "the handle is open for writing only",
                () if work.writes() && !buffers.can_write => "the handle is open for reading only",
                () => return buffers.encode(&mut work).err(),
            };
            Some(OperationError::invalid(work.name(), name, why))
        });
        match refusal {
            Some(error) => Request::settled(&self.runtime, Err(error.into())),
            None => self.enqueue(work, deadline),
        }
    }

    /// Closes it: output goes out first, reads that wait are cancelled.
    pub(crate) fn close(self: &Rc<Self>, deadline: Option<Duration>) -> Rc<Request> {
        let waiting: Vec<_> = self.with_buffers(|buffers| {
            let reads = buffers.queue.iter().filter(|entry| entry.work.reads());
            reads.map(|entry| Rc::clone(&entry.request)).collect()
        });
        let request = self.submit(Work::Close, deadline);
        if !request.is_settled() {
            self.with_buffers(|buffers| buffers.life = Life::Closing);
        }
        for read in waiting {
            self.interrupt(&read, ErrorKind::Cancelled);
        }
        request
    }

    /// Forgets the transport: the reads that wait are cancelled. For a connection, whose close is the engine's.
    pub(crate) fn cut_off(self: &Rc<Self>) {
        let waiting: Vec<_> = self.with_buffers(|buffers| {
            buffers.life = Life::Closing;
            buffers.queue.iter().map(|entry| Rc::clone(&entry.request)).collect()
        });
        for request in waiting {
            self.interrupt(&request, ErrorKind::Cancelled);
        }
    }

    /// Writes out what is buffered; the next to write is told of a failure.
    pub(crate) fn flush_behind(self: &Rc<Self>) {
        let is_needed = self.with_buffers(|buffers| !buffers.output.is_empty() && buffers.queue.is_empty());
        if !is_needed {
            return;
        }
        let request = self.enqueue(Work::Flush, None);
        let stream = Rc::clone(self);
        request.on_failure(move |failure| stream.with_buffers(|buffers| buffers.deferred = Some(failure)));
    }

    /// Writes out what is buffered, in its turn.
    pub(crate) fn flush(self: &Rc<Self>) -> Rc<Request> {
        self.submit(Work::Flush, None)
    }

    /// Whether output waits to be written out, or is on its way.
    pub(crate) fn has_output(&self) -> bool {
        self.with_buffers(|buffers| !buffers.output.is_empty() || !buffers.queue.is_empty())
    }

    fn enqueue(self: &Rc<Self>, work: Work, deadline: Option<Duration>) -> Rc<Request> {
        let request = Request::new(&self.runtime, Class::Counted);
        let (stream, stopped) = (Rc::downgrade(self), Rc::downgrade(&request));
        request.set_stop(Stop::Call(Box::new(move || {
            if let (Some(stream), Some(request)) = (stream.upgrade(), stopped.upgrade()) {
                stream.interrupt(&request, ErrorKind::Cancelled);
            }
        })));
        self.with_buffers(|buffers| {
            let entry =
                Entry::new(&request, work, buffers.encoding, deadline.map(|deadline| self.runtime.now() + deadline));
            buffers.queue.push_back(entry);
        });
        self.advance();
        if let (Some(deadline), false) = (deadline, request.is_settled()) {
            self.start_timer(&request, deadline);
        }
        request
    }

    fn start_timer(self: &Rc<Self>, request: &Rc<Request>, deadline: Duration) {
        let mut state = self.state.borrow_mut();
        let Some(entry) = state.buffers.queue.iter_mut().find(|entry| Rc::ptr_eq(&entry.request, request)) else {
            return;
        };
        let (stream, late) = (Rc::clone(self), Rc::clone(request));
        let timer = self.runtime.io().sleep(deadline).direct().then(move |outcome| {
            if outcome.is_ok() {
                stream.interrupt(&late, ErrorKind::TimedOut);
            }
        });
        // Without a place for a timer it goes on without one: a late answer is better than none.
        entry.timer = timer.ok();
    }

    /// Stops a request: at once if it has not begun, else when the OS lets go.
    fn interrupt(self: &Rc<Self>, request: &Rc<Request>, kind: ErrorKind) {
        let mut state = self.state.borrow_mut();
        let place = state.buffers.queue.iter().position(|entry| Rc::ptr_eq(&entry.request, request));
        let Some(place) = place else { return };
        if place == 0
            && let Some(AtEngine { id, purpose: Purpose::Fill | Purpose::Other }) = state.at_engine
        {
            state.buffers.queue[0].stopped.get_or_insert(kind);
            drop(state);
            self.runtime.io().cancel(id);
            return;
        }
        let Some(entry) = state.buffers.queue.remove(place) else { return };
        if let Work::Close = entry.work {
            state.buffers.life = Life::Open;
        }
        let failure = state.buffers.stopped(&entry, kind);
        drop(state);
        self.settle(entry, Err(failure));
    }

    fn settle(&self, entry: Entry, result: Result<Outcome, Failure>) {
        if let Some(timer) = entry.timer {
            self.runtime.io().cancel(timer);
        }
        entry.request.settle(result);
    }

    /// Takes steps until one has to be waited for.
    pub(crate) fn advance(self: &Rc<Self>) {
        loop {
            let (step, transport) = {
                let mut state = self.state.borrow_mut();
                if state.at_engine.is_some() {
                    return;
                }
                (state.buffers.next_step(), state.transport.clone())
            };
            match step {
                Step::Fill(_) if self.runtime.is_cut_short() => self.give_up(),
                Step::Open(..) if self.runtime.is_cut_short() && !self.can_write() => self.give_up(),
                Step::Start(_) if self.runtime.is_cut_short() => self.give_up(),
                Step::Start(command) => self.launch(self.runtime.io().start(command), Purpose::Other, Self::started),
                Step::Rest => return,
                Step::Settle(result) => self.settle_front(self.received_by_front(result)),
                Step::Open(path, options) => {
                    self.launch(self.runtime.io().open(path, options), Purpose::Other, Self::opened)
                }
                Step::Fill(room) => self.fill(&transport, room),
                Step::WriteOut(bytes) => self.write_out(&transport, bytes),
                Step::FindEnd => self.on_file(&transport, |file| file.stat(), Self::end_found),
                Step::SeekEngine(to) => self.on_file(&transport, |file| file.seek(to), Self::seeked),
                Step::Close => self.on_file(&transport, File::close, Self::closed),
                Step::PassOn => self.pass_on(&transport),
            }
        }
    }

    fn can_write(&self) -> bool {
        self.with_buffers(|buffers| buffers.can_write)
    }

    /// The program was cut short: what would have to wait for others does not begin.
    fn give_up(&self) {
        let stopped = |buffers: &mut Buffers| {
            let operation = buffers.front_name();
            OperationError::stopped(ErrorKind::Cancelled, operation, &*buffers.name)
        };
        let error = self.with_buffers(stopped);
        self.settle_front(Err(error.into()));
    }

    pub(crate) fn settle_front(&self, result: Result<Outcome, Failure>) {
        let entry = self.with_buffers(|buffers| {
            // The next to look for the end of a record may look for another one.
            buffers.input.forget_search();
            buffers.queue.pop_front()
        });
        if let Some(entry) = entry {
            self.settle(entry, result);
        }
    }

    /// What a read has taken can be given back if only a task asks for it.
    fn received_by_front(self: &Rc<Self>, result: Result<Outcome, Failure>) -> Result<Outcome, Failure> {
        let buffers = &self.state.borrow().buffers;
        match (result, buffers.queue.front()) {
            (Ok(Outcome::Bytes(bytes)), Some(entry)) if entry.work.takes() && entry.request.is_of_one_task() => {
                Ok(Outcome::Received(Box::new(Taken {
                    stream: Rc::downgrade(self),
                    bytes,
                    encoding: entry.encoding,
                    place: buffers.input.taken_at(),
                    end: buffers.position,
                    moves: buffers.moves,
                })))
            }
            (result, _) => result,
        }
    }

    /// What had been received at `place` for a task that is no more is for the next to ask.
    pub(crate) fn give_back(self: &Rc<Self>, place: u64, bytes: &[u8]) {
        let mut state = self.state.borrow_mut();
        let is_there = state.buffers.take_back(place, bytes);
        match state.at_engine {
            Some(AtEngine { id, purpose: Purpose::Task | Purpose::Fill }) if is_there && !state.buffers.can_seek => {
                // Who waits for more has it already.
                state.buffers.is_recalled = true;
                drop(state);
                self.runtime.io().cancel(id);
            }
            _ => {
                drop(state);
                self.advance();
            }
        }
    }

    /// Submits a request of the engine for the front entry.
    pub(crate) fn launch<A: Action>(self: &Rc<Self>, operation: Operation<A>, purpose: Purpose, finish: Finish<A>) {
        let stream = Rc::clone(self);
        let submitted = operation.direct().then(move |outcome| {
            stream.state.borrow_mut().at_engine = None;
            finish(&stream, outcome);
            stream.advance();
        });
        match submitted {
            Ok(id) => self.state.borrow_mut().at_engine = Some(AtEngine { id, purpose }),
            Err(error) => finish(self, Err(error)),
        }
    }
}

/// What the script still had buffered goes out when it lets go of its handle; the engine closes after it.
impl Drop for Stream {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        if let Some(failure) = state.buffers.deferred.take() {
            self.runtime.report_lost_output(&failure);
        }
        let output = std::mem::take(&mut state.buffers.output);
        if output.is_empty() {
            return;
        }
        if let Transport::File(file) = &state.transport {
            let operation = match state.buffers.place_of_output(output.len()) {
                Some(place) => file.write_at(output, place),
                None => file.write(output),
            };
            let request = self.runtime.begin(Class::Counted, None, operation, |outcome| match outcome {
                Ok(_) => Ok(Outcome::Nothing),
                Err(failed) => Err(failed.into()),
            });
            let (runtime, is_standard_output) = (Rc::clone(&self.runtime), state.buffers.is_standard_output);
            request.on_failure(move |failure| {
                if is_standard_output && failure.is_broken_pipe() {
                    runtime.end_for_want_of_readers();
                }
                runtime.report_lost_output(&failure);
            });
        }
    }
}
