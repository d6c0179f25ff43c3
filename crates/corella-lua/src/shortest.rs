//! The shortest way of a call that waits: one request of the engine's, and the task is resumed with what came of it. There
//! is no `Request`, as nobody but the task can ask for it.
//!
//! It is tried first, for calls without options and callback. What cannot be done so goes the long way, which also finds what
//! is wrong with the call. `coroutines.rs` makes methods of that.

use std::ffi::c_int;
use std::rc::Rc;

use corella::{Error, ErrorKind, Failed, RequestId, Socket as Connection};
use mlua::{Function, Lua, Table};

use crate::coroutines::{Call, Next, Shortest};
use crate::failure::{Failure, OperationError};
use crate::lent::{Arrival, Lent, Transfer};
use crate::reading::FILL_MAX;
use crate::request::{Class, Request};
use crate::runtime::{Ready, Runtime};
use crate::socket::Socket;
use crate::stream::{AtEngine, Purpose, Stream, Transport};
use crate::tasks::TaskKey;
use crate::work::Work;
use crate::{arguments, coroutines};

/// Calls of a task that may finish at once, and the bytes that they may move, until others have their turn.
const OPERATIONS_AT_ONCE: u32 = 128;
const BYTES_AT_ONCE: usize = 1 << 20;

/// What a task has asked for and waits for.
pub(crate) enum Awaited {
    /// It is resumed with what this gives.
    Given(Rc<Request>),
    /// It asks for that itself.
    Request(Rc<Request>),
    /// A request of the engine's that only this task knows. It may wait so that the host sees it at once, see `coroutines.rs`.
    Engine { id: RequestId, is_short: bool },
    /// Its turn, with what came of its request.
    Turn { answer: Option<Box<Result<Answer, Failure>>>, is_short: bool },
}

impl Awaited {
    /// The task that waits for it is no more: it goes on only if the script holds its Status.
    pub(crate) fn cancel(&self, runtime: &Runtime) {
        match self {
            Awaited::Given(request) | Awaited::Request(request) if request.is_shared() => {}
            Awaited::Given(request) => request.abandon(),
            Awaited::Request(request) => request.cancel(),
            Awaited::Engine { id, .. } => runtime.io().cancel(*id),
            Awaited::Turn { answer, .. } => {
                if let Some(Ok(Answer::Received(stream, place, bytes))) = answer.as_deref() {
                    stream.give_back(*place, bytes);
                }
            }
        }
    }
}

/// What came of a request that only one task knows.
pub(crate) enum Answer {
    Nothing,
    /// From a connection, at this place, which gets them back if the task is killed before its turn.
    Received(Rc<Stream>, u64, Vec<u8>),
    Count(usize),
}

/// What a task may still do before it has to give way.
#[derive(Clone, Copy)]
pub(crate) struct Budget {
    operations: u32,
    bytes: usize,
}

impl Budget {
    pub(crate) const FULL: Budget = Budget { operations: OPERATIONS_AT_ONCE, bytes: BYTES_AT_ONCE };

    /// Takes an operation from it; nothing if there is none left.
    fn spend(self, bytes: usize) -> Option<Budget> {
        let operations = self.operations.checked_sub(1)?;
        (self.bytes > 0).then(|| Budget { operations, bytes: self.bytes.saturating_sub(bytes) })
    }
}

impl Runtime {
    /// What the engine calls when it has settled a request that only the task that is running knows.
    fn answers<T: 'static>(
        self: &Rc<Self>,
        task: TaskKey,
        convert: impl FnOnce(T) -> Result<Answer, Failure> + 'static,
    ) -> impl FnOnce(T) + 'static {
        let runtime = Rc::clone(self);
        move |outcome| {
            runtime.count(Class::Counted, -1);
            runtime.answer(task, convert(outcome));
        }
    }

    /// Has a task resumed, unless it was killed.
    fn answer(&self, task: TaskKey, answer: Result<Answer, Failure>) {
        let answer = if let Ok(Answer::Nothing) = answer { None } else { Some(Box::new(answer)) };
        if let Some(told) = self.tasks.borrow_mut().get_mut(task) {
            let is_short = matches!(told.awaits, Some(Awaited::Engine { is_short: true, .. }));
            told.awaits = Some(Awaited::Turn { answer, is_short });
            self.make_ready(Ready::Resume(task));
        }
    }

    /// Has the tasks whose transfers have ended have their turn with the others.
    pub(crate) fn settle_transfers(&self) {
        while let Some(Arrival { lent: Lent { stream, task, what }, buffer, moved, error }) = self.transfers.next() {
            let answer = match what {
                Transfer::Receive => stream
                    .received(task, buffer, error)
                    .map(|received| received.map(|(place, bytes)| Answer::Received(stream, place, bytes))),
                Transfer::Send { whole } => {
                    let gone = whole - buffer.len() + moved;
                    self.keep_send_buffer(buffer);
                    stream.sent(task, (whole, gone), error).map(|sent| sent.map(Answer::Count))
                }
            };
            if let Some(answer) = answer {
                self.answer(task, answer);
            }
        }
    }

    /// The task that is running is about to wait for a request of the engine's, unless that was refused.
    fn awaits(&self, call: &Call<'_>, submitted: Result<RequestId, Failure>) -> Next {
        match submitted {
            Ok(id) => {
                self.count(Class::Counted, 1);
                self.waits_for(call, id)
            }
            Err(failure) => call.fail(failure),
        }
    }

    /// The task that is running is about to wait for this, which is counted elsewhere.
    #[inline]
    fn waits_for(&self, call: &Call<'_>, id: RequestId) -> Next {
        self.waits.set(Some((id, call.is_short())));
        Next::Wait
    }

    /// Has the task that is running sleep.
    fn sleep_now(self: &Rc<Self>, call: &Call<'_>, length: f64) -> Next {
        let (Some(task), Ok(length)) = (self.task_that_can_wait(), arguments::seconds(&mlua::Value::Number(length)))
        else {
            return Next::GoTheLongWay;
        };
        let operation = self.io().sleep(length);
        let answers = self.answers(task, |outcome: Result<(), Error>| Ok(outcome.map(|()| Answer::Nothing)?));
        self.awaits(call, operation.direct().then(answers).map_err(Failure::from))
    }
}

impl Socket {
    /// Sends. It is tried at once: most sends find room, and then there is nothing to wait for.
    #[inline]
    fn send_now(&self, call: &Call<'_>, bytes: &[u8]) -> Next {
        let runtime = call.runtime;
        let Some(task) = runtime.task_that_can_wait() else { return Next::GoTheLongWay };
        let sent = self.with_connection(|connection, stream| {
            let Some(left) = runtime.budget.get().spend(bytes.len()) else {
                return self.send_later(call, (connection, stream), task, bytes, 0);
            };
            runtime.budget.set(left);
            match connection.try_send(bytes) {
                Ok(count) if count == bytes.len() && count > 0 => call.give_count(count),
                Ok(count) => self.send_later(call, (connection, stream), task, bytes, count),
                Err(error) => call.fail(error.into()),
            }
        });
        sent.unwrap_or(Next::GoTheLongWay)
    }

    /// Has the task wait until what is not gone yet has been sent.
    #[inline(never)]
    fn send_later(
        &self,
        call: &Call<'_>,
        (connection, stream): (&Connection, &Rc<Stream>),
        task: TaskKey,
        bytes: &[u8],
        gone: usize,
    ) -> Next {
        let runtime = call.runtime;
        let (rest, whole) = (&bytes[gone..], bytes.len());
        let lent = Lent { stream: Rc::clone(stream), task, what: Transfer::Send { whole } };
        let buffer = runtime.send_buffer(rest);
        match runtime.transfers.begin(connection, lent, buffer, runtime.is_in_turn.get()) {
            Ok(id) => runtime.waits_for(call, id),
            Err(buffer) => {
                let keeps = self.clone();
                let answers = runtime.answers(task, move |outcome: Result<_, Failed<Vec<u8>>>| {
                    drop(keeps);
                    match outcome {
                        Ok((count, _)) => Ok(Answer::Count(gone + count)),
                        Err(Failed { error, moved, .. }) => Err(unsent(error, gone + moved.bytes() as usize, whole)),
                    }
                });
                let begun = connection.send(buffer).direct().then(answers);
                runtime.awaits(
                    call,
                    begun.map_err(|failed| match gone {
                        0 => failed.into(),
                        _ => {
                            // Nobody will go on with what is gone.
                            connection.give_up_rest();
                            unsent(failed.error, gone, whole)
                        }
                    }),
                )
            }
        }
    }
}

/// Why a send has failed, told of the whole, of which so many bytes have gone.
fn unsent(error: Error, gone: usize, whole: usize) -> Failure {
    OperationError::of_the_rest(error, gone as u64, format!("send {whole} bytes")).into()
}

impl Stream {
    /// Receives what there is on a connection, if nobody else has asked for anything.
    fn receive_now(self: Rc<Self>, call: &Call<'_>, most: usize) -> Next {
        let runtime = &self.runtime;
        let Some(task) = runtime.task_that_can_wait() else { return Next::GoTheLongWay };
        let mut state = self.state.borrow_mut();
        if state.at_engine.is_some() || !state.buffers.is_plain_and_quiet() || runtime.is_cut_short() {
            return Next::GoTheLongWay;
        }
        if !state.buffers.input.is_empty() {
            let bytes = state.buffers.take_received(most);
            // Finalizers may run, and use this socket.
            drop(state);
            return call.give_bytes(&bytes);
        }
        let Transport::Socket(connection) = &state.transport else { return Next::GoTheLongWay };
        let buffer = if most <= FILL_MAX { runtime.receive_buffer(most) } else { None };
        let Some(buffer) = buffer else { return Next::GoTheLongWay };
        let lent = Lent { stream: Rc::clone(&self), task, what: Transfer::Receive };
        match runtime.transfers.begin(connection, lent, buffer, runtime.is_in_turn.get()) {
            Ok(id) => {
                state.at_engine = Some(AtEngine { id, purpose: Purpose::Task });
                runtime.waits_for(call, id)
            }
            Err(buffer) => {
                runtime.keep_receive_buffer(buffer);
                Next::GoTheLongWay
            }
        }
    }

    /// The send of a task has ended. Gives what the task is to be resumed with; nothing if it was killed.
    pub(crate) fn sent(
        &self,
        task: TaskKey,
        (whole, gone): (usize, usize),
        error: Option<Error>,
    ) -> Option<Result<usize, Failure>> {
        if !self.runtime.tasks.borrow().has(task) {
            return None;
        }
        Some(match error {
            None => Ok(gone),
            Some(error) => Err(unsent(error, gone, whole)),
        })
    }

    /// The receive of a task that is there has ended, and has brought this. Whether that is for the task just as it is.
    #[inline]
    pub(crate) fn passes_on(&self, bytes: &[u8]) -> bool {
        let mut state = self.state.borrow_mut();
        let buffers = &mut state.buffers;
        let is_plain = buffers.input.is_empty() && !buffers.is_recalled && buffers.queue.is_empty();
        if is_plain {
            buffers.eof = bytes.is_empty();
            buffers.position += bytes.len() as u64;
            buffers.input.pass(bytes.len());
            state.at_engine = None;
        }
        is_plain
    }

    /// The receive of a task has ended. Gives what the task is to be resumed with, and its place in the stream; nothing if it was
    /// killed.
    pub(crate) fn received(
        self: &Rc<Self>,
        task: TaskKey,
        bytes: Vec<u8>,
        error: Option<Error>,
    ) -> Option<Result<(u64, Vec<u8>), Failure>> {
        let most = bytes.capacity();
        let is_there = self.runtime.tasks.borrow().has(task);
        let mut state = self.state.borrow_mut();
        state.at_engine = None;
        let buffers = &mut state.buffers;
        let is_recalled = std::mem::take(&mut buffers.is_recalled);
        let answer = match error {
            None if is_there && buffers.input.is_empty() => {
                buffers.eof = bytes.is_empty();
                buffers.position += bytes.len() as u64;
                buffers.input.pass(bytes.len());
                Ok(bytes)
            }
            // What came first is first, and if the task was killed what has come is for the next to ask.
            error => {
                buffers.input.push(&bytes);
                match error {
                    None if is_there => Ok(buffers.take_received(most)),
                    None => Ok(Vec::new()),
                    Some(error)
                        if error.kind() == ErrorKind::Cancelled
                            && is_recalled
                            && is_there
                            && !buffers.input.is_empty() =>
                    {
                        Ok(buffers.take_received(most))
                    }
                    Some(error) if error.kind() == ErrorKind::Cancelled => {
                        let name = Work::Receive { most: most as u64 }.name();
                        Err(OperationError::stopped(ErrorKind::Cancelled, name, &*buffers.name).into())
                    }
                    Some(error) => Err(error.into()),
                }
            }
        };
        let place = buffers.input.taken_at();
        let is_asked_for_more = !buffers.queue.is_empty();
        drop(state);
        if is_asked_for_more {
            self.advance();
        }
        is_there.then(|| answer.map(|bytes| (place, bytes)))
    }
}

struct Recv;

impl Shortest for Recv {
    const ARGUMENTS: c_int = 2;
    const LEAVES: c_int = 1;

    fn now(call: &Call<'_>) -> Next {
        match (call.socket().and_then(|socket| socket.stream()), call.integer(2)) {
            (Some(stream), Some(most @ 1..)) => stream.receive_now(call, most as usize),
            _ => Next::GoTheLongWay,
        }
    }
}

struct Send;

impl Shortest for Send {
    const ARGUMENTS: c_int = 2;
    const LEAVES: c_int = 1;
    const FREES_ARGUMENTS: bool = true;

    fn now(call: &Call<'_>) -> Next {
        match (call.socket(), call.bytes(2)) {
            (Some(socket), Some(bytes)) => socket.send_now(call, bytes),
            _ => Next::GoTheLongWay,
        }
    }
}

struct Sleep;

impl Shortest for Sleep {
    const ARGUMENTS: c_int = 1;
    const LEAVES: c_int = 0;

    fn now(call: &Call<'_>) -> Next {
        call.number(1).map_or(Next::GoTheLongWay, |length| call.runtime.sleep_now(call, length))
    }
}

/// Adds to `raw` what makes methods of the shortest ways, and what they are told of where nothing can wait.
pub(crate) fn install(lua: &Lua, runtime: &Rc<Runtime>, raw: &Table) -> mlua::Result<()> {
    let located: Function = raw.get("located")?;
    let shared = Rc::clone(runtime);
    let kept = lua.create_function(move |lua, ()| match shared.failure.take() {
        Some(failure) => failure.into_value(lua),
        None => Ok(mlua::Value::Nil),
    })?;
    coroutines::prepare(lua, runtime);
    let sooner = move |lua: &Lua, (name, later): (String, Function)| {
        let functions = (later, kept.clone(), located.clone());
        match name.as_str() {
            "recv" => coroutines::sooner::<Recv>(lua, functions),
            "send" => coroutines::sooner::<Send>(lua, functions),
            _ => coroutines::sooner::<Sleep>(lua, functions),
        }
    };
    raw.set("sooner", lua.create_function(sooner)?)?;
    let shared = Rc::clone(runtime);
    let set_barriers = move |_: &Lua, count: u32| {
        shared.barriers.set(count);
        Ok(())
    };
    raw.set("set_barriers", lua.create_function(set_barriers)?)
}
