//! The steps of a stream that need the engine: what is asked of it, and what its answer means for the front entry.

use std::rc::Rc;
use std::time::Duration;

use corella::actions::Reading;
use corella::{Action, Error, ErrorKind, Failed, File, Metadata, Operation, Spare, SpareCapacity};

use mlua::Value;

use crate::failure::{Failure, OperationError};
use crate::request::{Outcome, Stop};
use crate::stream::{Finish, Purpose, Stream, Transport};
use crate::work::{Entry, Life, Positioned, Work};

/// A read into new memory, and how it went.
type Fill = Reading<Spare<Vec<u8>>>;
type Filled = Result<<Fill as Action>::Output, <Fill as Action>::Error>;

impl Stream {
    /// Asks a file for something on behalf of the front entry.
    pub(crate) fn on_file<A: Action>(
        self: &Rc<Self>,
        transport: &Transport,
        operation: impl FnOnce(&File) -> Operation<A>,
        finish: Finish<A>,
    ) {
        match transport {
            Transport::File(file) => self.launch(operation(file), Purpose::Other, finish),
            _ => {
                let error = self.with_buffers(|buffers| buffers.not_open(buffers.front_name()));
                self.settle_front(Err(error.into()));
            }
        }
    }

    /// A failure that came of a request to stop, told of the request as a whole.
    fn as_stopped(&self, failure: Failure) -> Failure {
        self.with_buffers(|buffers| {
            let entry = buffers.queue.front();
            match entry.and_then(|entry| Some((entry, entry.stopped?))) {
                Some((entry, kind)) => buffers.stopped(entry, kind),
                None => failure,
            }
        })
    }

    fn no_memory(&self, operation: String, bytes: usize) -> Failure {
        let why = format!("there is no memory for {bytes} bytes");
        self.with_buffers(|buffers| OperationError::new(ErrorKind::Rejected, operation, &*buffers.name, why).into())
    }

    // Opening and closing.

    pub(crate) fn opened(self: &Rc<Self>, outcome: Result<File, Error>) {
        let file = match outcome {
            Ok(file) => file,
            Err(error) => {
                self.with_buffers(|buffers| buffers.life = Life::New);
                return self.settle_front(Err(self.as_stopped(error.into())));
            }
        };
        let appends = self.with_buffers(|buffers| {
            buffers.life = Life::Open;
            buffers.moves = buffers.moves.wrapping_add(1);
            buffers.can_seek = file.can_seek();
            (buffers.position, buffers.eof, buffers.deferred) = (0, false, None);
            buffers.input.clear();
            buffers.ahead = buffers.buffer_size;
            buffers.appends && buffers.can_seek
        });
        let transport = Transport::File(file);
        self.state.borrow_mut().transport = transport.clone();
        match appends {
            true => self.on_file(&transport, File::stat, Self::end_of_append_found),
            false => self.settle_opened(),
        }
    }

    fn settle_opened(&self) {
        let handle = self.with_buffers(|buffers| match buffers.queue.front() {
            Some(Entry { work: Work::Open { handle, .. } | Work::Start { handle, .. }, .. }) => {
                Some(Value::UserData(handle.clone()))
            }
            _ => None,
        });
        self.settle_front(Ok(Outcome::Values(handle.into_iter().collect())));
    }

    fn end_of_append_found(self: &Rc<Self>, outcome: Result<Metadata, Error>) {
        // Without it the place is counted from the start.
        let end = outcome.map_or(0, |metadata| metadata.size);
        self.with_buffers(|buffers| buffers.position = end);
        self.settle_opened();
    }

    pub(crate) fn closed(self: &Rc<Self>, outcome: Result<(), Error>) {
        let (transport, earlier) = {
            let mut state = self.state.borrow_mut();
            let buffers = &mut state.buffers;
            buffers.life = Life::Closed;
            buffers.input.clear();
            let earlier = buffers.queue.front_mut().and_then(|entry| entry.failure.take());
            let earlier = earlier.or_else(|| buffers.deferred.take());
            (std::mem::replace(&mut state.transport, Transport::None), earlier)
        };
        drop(transport);
        self.settle_front(match earlier {
            Some(failure) => Err(failure),
            None => outcome.map(|()| Outcome::Nothing).map_err(Failure::from),
        });
    }

    // Seeking.

    pub(crate) fn end_found(self: &Rc<Self>, outcome: Result<Metadata, Error>) {
        let result = outcome.map_err(Failure::from).and_then(|metadata| {
            self.with_buffers(|buffers| match buffers.queue.front() {
                Some(Entry { work: Work::Seek { to }, .. }) => {
                    let to = *to;
                    let std::io::SeekFrom::End(offset) = to else { return Ok(Outcome::Nothing) };
                    buffers.move_to(metadata.size.checked_add_signed(offset), to)
                }
                _ => Ok(Outcome::Nothing),
            })
        });
        self.settle_front(result);
    }

    pub(crate) fn seeked(self: &Rc<Self>, outcome: Result<u64, Error>) {
        if let Ok(place) = &outcome {
            self.with_buffers(|buffers| {
                buffers.input.clear();
                buffers.moves = buffers.moves.wrapping_add(1);
                (buffers.position, buffers.eof) = (*place, false);
            });
        }
        self.settle_front(outcome.map(Outcome::Count).map_err(Failure::from));
    }

    // Moving bytes.

    pub(crate) fn fill(self: &Rc<Self>, transport: &Transport, room: usize) {
        let mut buffer = Vec::new();
        if buffer.try_reserve_exact(room).is_err() {
            let name = self.with_buffers(|buffers| buffers.front_name());
            return self.settle_front(Err(self.no_memory(name, room)));
        }
        let (can_seek, offset) =
            self.with_buffers(|buffers| (buffers.can_seek, buffers.position + buffers.input.len() as u64));
        let operation: Operation<Fill> = match transport {
            Transport::File(file) if can_seek => file.read_at(buffer.spare(), offset),
            Transport::File(file) => file.read(buffer.spare()),
            Transport::Socket(socket) => socket.recv(buffer.spare()),
            Transport::None => return self.on_file(transport, File::close, Self::closed),
        };
        self.launch(operation, Purpose::Fill, Self::filled);
    }

    fn filled(self: &Rc<Self>, outcome: Filled) {
        let is_recalled = self.with_buffers(|buffers| std::mem::take(&mut buffers.is_recalled));
        match outcome {
            Ok((count, buffer)) => self.with_buffers(|buffers| match (count, buffers.queue.front_mut()) {
                (0, Some(entry)) => entry.at_end = true,
                _ => buffers.input.push(&buffer.0),
            }),
            Err(failed) => {
                // What came before it was stopped is for the next read.
                let is_stopped = self.with_buffers(|buffers| {
                    buffers.input.push(&failed.buffer.0);
                    buffers.queue.front().is_none_or(|entry| entry.stopped.is_some())
                });
                if is_recalled && !is_stopped && failed.error.kind() == ErrorKind::Cancelled {
                    // It looks again at what was given back.
                    return;
                }
                self.settle_front(Err(self.as_stopped(failed.error.into())));
            }
        }
    }

    pub(crate) fn write_out(self: &Rc<Self>, transport: &Transport, bytes: Vec<u8>) {
        let place = self.with_buffers(|buffers| buffers.place_of_output(bytes.len()));
        let write = |file: &File| match place {
            Some(place) => file.write_at(bytes, place),
            None => file.write(bytes),
        };
        self.on_file(transport, write, Self::written_out);
    }

    fn written_out(self: &Rc<Self>, outcome: Result<(usize, Vec<u8>), Failed<Vec<u8>>>) {
        let (count, closes) = self.with_buffers(|buffers| match buffers.queue.front() {
            Some(Entry { work: Work::Print { count, .. }, .. }) => (Some(*count), false),
            Some(Entry { work: Work::Close, .. }) => (None, true),
            _ => (None, false),
        });
        match (outcome, count) {
            (Ok(_), Some(count)) => self.settle_front(Ok(Outcome::Count(count))),
            (Ok(_), None) => {}
            (Err(failed), _) => {
                let failure = self.as_stopped(failed.into());
                if failure.is_broken_pipe() && self.with_buffers(|buffers| buffers.is_standard_output) {
                    self.runtime.end_for_want_of_readers();
                }
                match closes {
                    // It is closed all the same, and then told.
                    true => self.with_buffers(|buffers| {
                        buffers.queue.iter_mut().take(1).for_each(|entry| entry.failure = Some(failure.clone()));
                    }),
                    false => self.settle_front(Err(failure)),
                }
            }
        }
    }

    /// Hands the front entry to the engine, which from now on keeps its order.
    pub(crate) fn pass_on(self: &Rc<Self>, transport: &Transport) {
        let entry = self.with_buffers(|buffers| buffers.queue.pop_front());
        let (Some(entry), Transport::File(file)) = (entry, transport) else { return };
        if let Some(timer) = entry.timer {
            self.runtime.io().cancel(timer);
        }
        let name = entry.work.name();
        let Work::Positioned(positioned) = entry.work else { return };
        let hand_over = HandOver { stream: Rc::clone(self), request: entry.request, due: entry.due };
        match positioned {
            Positioned::ReadAt { length, offset } => {
                let mut buffer = Vec::new();
                match buffer.try_reserve_exact(length) {
                    Ok(()) => {
                        hand_over.submit(file.read_at(buffer.spare(), offset), |(_, buffer)| Outcome::Bytes(buffer.0))
                    }
                    Err(_) => hand_over.request.settle(Err(self.no_memory(name, length))),
                }
            }
            Positioned::WriteAt { bytes, offset } => {
                hand_over.submit(file.write_at(bytes, offset), |(count, _)| Outcome::Count(count as u64));
            }
            Positioned::Sync => hand_over.submit(file.sync(), |()| Outcome::Nothing),
            Positioned::Truncate { length } => hand_over.submit(file.truncate(length), |()| Outcome::Nothing),
        }
    }
}

/// A request on its way to the engine; it keeps its handle alive until it settles.
struct HandOver {
    stream: Rc<Stream>,
    request: Rc<crate::request::Request>,
    due: Option<Duration>,
}

impl HandOver {
    fn submit<A: Action>(self, operation: Operation<A>, convert: fn(A::Output) -> Outcome)
    where
        Failure: From<A::Error>,
    {
        let HandOver { stream, request, due } = self;
        let operation = match due {
            Some(due) => operation.deadline(due.saturating_sub(stream.runtime.now())),
            None => operation,
        };
        let settles = Rc::clone(&request);
        let submitted = operation.direct().then(move |outcome| {
            settles.settle(outcome.map(convert).map_err(Failure::from));
            drop(stream);
        });
        match submitted {
            Ok(id) => request.set_stop(Stop::Engine(id)),
            Err(error) => request.settle(Err(error.into())),
        }
    }
}
