//! Runs a program on a machine and writes down what it saw.

mod drain;
mod ends;

use std::io::SeekFrom;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use corella::{
    Action, Begun, CancelToken, DatagramSocket, File, Io, JoinHandle, Listener, Operation, Scheduler, Shutdown,
    Simulation, Socket,
};

pub use drain::LAST;
pub use ends::End;

use crate::diary::{
    Diary, Outcome, Record, of_accept, of_connect, of_datagram, of_error, of_list_datagram, of_list_read, of_plain,
    of_read, of_seek, of_stat, of_write,
};
use crate::held::{Convert, Held, HeldFuture, HeldOperation, HeldStatus};
use crate::program::{FileOp, Place, Program, SocketOp, Step, Stop, Taking, Verb};

/// How long what a real machine does may take in the end.
const PATIENCE: Duration = Duration::from_secs(20);

/// The name that a simulated machine's listeners go by; a real one's go by that of the local host.
pub const NAME: &str = "server";

/// What was left when all the program's own operations were over.
#[derive(Default)]
pub struct Rests {
    /// Bytes, for each end of a connection.
    pub bytes: Vec<Vec<u8>>,
    /// Datagrams, for each end of a link.
    pub datagrams: Vec<Vec<Vec<u8>>>,
    /// Ports of the clients of connections, for each listener.
    pub connections: Vec<Vec<u64>>,
}

/// A running program.
pub struct Run<'a> {
    pub program: &'a Program,
    pub scheduler: &'a mut Scheduler,
    /// The machine, if it is a simulated one.
    pub simulation: Option<&'a Simulation>,
    pub io: Io,
    /// With their clones.
    pub files: Vec<Vec<File>>,
    pub ends: Vec<Vec<End>>,
    pub listeners: Vec<Vec<Listener>>,
    pub addresses: Vec<SocketAddr>,
    pub tokens: Vec<CancelToken>,
    pub diary: Rc<Diary>,
    pub statuses: Vec<(usize, Box<dyn Held>)>,
    pub futures: Vec<(usize, Box<dyn HeldFuture>)>,
    pub tasks: Vec<(usize, JoinHandle<()>)>,
    /// Each message differs from its neighbours.
    pub messages: u8,
}

impl Run<'_> {
    fn content(&mut self, length: usize) -> Vec<u8> {
        self.messages = self.messages.wrapping_add(1);
        (0..length).map(|place| self.messages.wrapping_mul(37).wrapping_add((place as u8).wrapping_mul(11))).collect()
    }

    pub fn step(&mut self, step: Step) {
        match step {
            Step::Do { verb, taking, stop, parts } => self.begin(verb, taking, stop, parts),
            Step::Poll => drop(self.scheduler.poll().unwrap()),
            Step::Turn(microseconds) => self.scheduler.run_for(Duration::from_micros(microseconds)).unwrap(),
            Step::CancelToken(number) => self.tokens[number].cancel(),
            Step::DropAllStatuses => (0..self.statuses.len()).rev().for_each(|place| self.drop_status(place)),
            Step::CancelStatus(number)
            | Step::DropStatus(number)
            | Step::TakeStatus(number)
            | Step::CallBackStatus(number)
            | Step::AwaitStatus(number) => {
                if !self.statuses.is_empty() {
                    self.step_with_status(step, number % self.statuses.len());
                }
            }
            Step::PollFuture(number) if !self.futures.is_empty() => {
                let place = number % self.futures.len();
                if let Some(outcome) = self.futures[place].1.poll() {
                    self.diary.delivered(self.futures.remove(place).0, outcome);
                }
            }
            Step::DropFuture(number) if !self.futures.is_empty() => {
                let place = number % self.futures.len();
                if self.may_go_unseen(self.futures[place].0) {
                    let (index, future) = self.futures.remove(place);
                    self.diary.given_up(index);
                    drop(future);
                }
            }
            Step::KillTask(number) if !self.tasks.is_empty() => {
                let place = number % self.tasks.len();
                if self.may_go_unseen(self.tasks[place].0) {
                    let (index, task) = self.tasks.remove(place);
                    self.diary.given_up(index);
                    task.kill();
                }
            }
            Step::PollFuture(_) | Step::DropFuture(_) | Step::KillTask(_) => {}
            Step::Clone(place) => self.clone_handle(place),
            Step::Drop(place) => self.drop_clone(place),
            Step::Partition => {
                let machine = "10.0.0.1".parse().unwrap();
                self.simulation.into_iter().for_each(|simulation| simulation.partition(machine, machine));
            }
            Step::Heal => self.simulation.into_iter().for_each(Simulation::heal),
        }
    }

    fn step_with_status(&mut self, step: Step, place: usize) {
        match step {
            Step::CancelStatus(_) => {
                let (index, status) = &self.statuses[place];
                self.diary.may_stop(*index);
                status.cancel();
            }
            Step::DropStatus(_) => self.drop_status(place),
            Step::TakeStatus(_) if self.statuses[place].1.is_settled() => {
                let (index, status) = self.statuses.remove(place);
                self.diary.delivered(index, status.take().unwrap());
            }
            Step::CallBackStatus(_) => {
                let (index, status) = self.statuses.remove(place);
                status.call_back(Rc::clone(&self.diary), index);
            }
            Step::AwaitStatus(_) => {
                let (index, status) = self.statuses.remove(place);
                let task = self.io.spawn(status.into_task(Rc::clone(&self.diary), index));
                self.tasks.push((index, task.unwrap()));
            }
            _ => {}
        }
    }

    fn clone_handle(&mut self, place: Place) {
        fn one_more<T: Clone>(clones: &mut Vec<T>) {
            clones.extend(clones.first().cloned());
        }
        match place {
            Place::File(file) => one_more(&mut self.files[file]),
            Place::End(end) => one_more(&mut self.ends[end]),
            Place::Listener(listener) => one_more(&mut self.listeners[listener]),
        }
    }

    fn drop_clone(&mut self, place: Place) {
        let left = match place {
            Place::File(file) => self.files[file].len(),
            Place::End(end) => self.ends[end].len(),
            Place::Listener(listener) => self.listeners[listener].len(),
        };
        if left == 1 {
            self.diary.dropped(place);
        }
        match place {
            Place::File(file) => drop(self.files[file].pop()),
            Place::End(end) => drop(self.ends[end].pop()),
            Place::Listener(listener) => drop(self.listeners[listener].pop()),
        }
    }

    /// Lets a request go on for nobody, if the reference can tell what may come of it.
    fn drop_status(&mut self, place: usize) {
        if self.may_go_unseen(self.statuses[place].0) {
            let (index, status) = self.statuses.remove(place);
            self.diary.let_go(index, self.program.disk_errors == 0 && !self.program.disk_is_small);
            drop(status);
        }
    }

    /// Whether the reference can tell what is possible if nobody sees this outcome.
    fn may_go_unseen(&self, index: usize) -> bool {
        let records = self.diary.records.borrow();
        // Those that went unseen as well leave everything to the next.
        let is_later = |record: &&Record<Verb>| {
            record.submitted > records[index].submitted && record.outcome != Some(Outcome::Unseen)
        };
        // One that has not got anything yet gets it; a write has gone on.
        let is_empty_handed = |number: usize| {
            records[number].op.ends_at_close()
                && records[number].taking == Taking::Status
                && records[number].outcome.is_none()
                && self.statuses.iter().any(|(other, status)| *other == number && !status.is_settled())
        };
        let later = |is_it: &dyn Fn(Verb) -> bool| {
            let mut records = records.iter().enumerate();
            records.any(|(number, record)| is_later(&record) && is_it(record.op) && !is_empty_handed(number))
        };
        match records[index].op {
            // Without such operations it is inside what the file holds from the beginning.
            Verb::File { op: FileOp::WriteAt { .. }, .. } => !self.program.sets_lengths,
            // What it read is the next one's, unless that has gone on from behind it.
            Verb::File { file, op } if op.reads_on() => {
                !later(&|verb| matches!(verb, Verb::File { file: other, op } if other == file && op.uses_cursor()))
            }
            Verb::File { op, .. } => !op.is_write() && !op.uses_cursor() && !op.sets_length(),
            // What it got goes to the next, which must not have got what came after.
            Verb::Socket { end, op } if op.receives() => {
                !later(&|verb| matches!(verb, Verb::Socket { end: other, op } if other == end && op.receives()))
            }
            Verb::Accept { listener } => {
                !later(&|verb| matches!(verb, Verb::Accept { listener: other } if other == listener))
            }
            Verb::Socket { .. } | Verb::Connect { .. } | Verb::Close { .. } => true,
        }
    }

    fn begin(&mut self, verb: Verb, taking: Taking, stop: Stop, parts: usize) {
        let is_there = match verb {
            Verb::File { file, .. } | Verb::Close { place: Place::File(file), .. } => !self.files[file].is_empty(),
            Verb::Socket { end, .. } | Verb::Close { place: Place::End(end), .. } => !self.ends[end].is_empty(),
            Verb::Accept { listener } | Verb::Close { place: Place::Listener(listener), .. } => {
                !self.listeners[listener].is_empty()
            }
            Verb::Connect { .. } => true,
        };
        if !is_there {
            return;
        }
        let content = match verb {
            Verb::File { op: FileOp::WriteAt { length, .. } | FileOp::Write { length }, .. }
            | Verb::Socket { op: SocketOp::Send { length }, .. } => self.content(length),
            _ => Vec::new(),
        };
        let whole = content.len();
        let (verb, taking, content) = match (taking, verb) {
            (Taking::TryOrCallback, Verb::Socket { end, .. }) => match self.try_send(end, content) {
                Some(rest) => (Verb::Socket { end, op: SocketOp::Send { length: rest.len() } }, Taking::Callback, rest),
                None => return,
            },
            _ => (verb, taking, content),
        };
        let goes_on = content.len() < whole;
        let index = self.diary.records.borrow().len();
        let mut record = Record::new(verb, taking, content.clone());
        record.goes_on = goes_on;
        record.may_cancel = matches!(stop, Stop::Token(_));
        record.has_deadline = matches!(stop, Stop::Deadline(_));
        // A status or future is taken when the program likes, so its time says nothing.
        let is_prompt = !matches!(taking, Taking::Status | Taking::Future);
        if let (Stop::Deadline(microseconds), true) = (stop, is_prompt) {
            record.deadline = Some(Duration::from_micros(microseconds));
        }
        self.diary.records.borrow_mut().push(record);
        let begin = Begin { index, taking, stop, parts };
        match verb {
            Verb::File { file, op } => self.begin_on_file(begin, file, op, content),
            Verb::Socket { end, op } => self.begin_on_end(begin, end, op, content),
            Verb::Accept { listener } => {
                let clones = &self.listeners[listener];
                let accept = clones[index % clones.len()].accept();
                self.start(begin, accept, of_accept);
            }
            Verb::Connect { listener, by_name } => {
                let address = self.addresses[listener];
                let connect = match by_name {
                    true => {
                        self.io.connect_name(if self.simulation.is_some() { NAME } else { "localhost" }, address.port())
                    }
                    false => self.io.connect(address),
                };
                self.start(begin, connect, of_connect);
            }
            Verb::Close { place, now } => match place {
                Place::File(file) if now => self.start(begin, self.files[file][0].close_now(), of_plain),
                Place::File(file) => self.start(begin, self.files[file][0].close(), of_plain),
                Place::End(end) => self.start(begin, self.ends[end][0].close(now), of_plain),
                Place::Listener(listener) => self.start(begin, self.listeners[listener][0].close(), of_plain),
            },
        }
    }

    /// Sends at once what there is room for, and gives what is left. What went out, or failed, is a send of its own.
    fn try_send(&self, end: usize, mut content: Vec<u8>) -> Option<Vec<u8>> {
        let index = self.diary.records.borrow().len();
        let clones = &self.ends[end];
        let End::Socket(socket) = &clones[index % clones.len()] else { unreachable!("drawn for connections only") };
        let (sent, outcome) = match socket.try_send(&content) {
            Ok(0) => return Some(content),
            Ok(sent) => (sent, Outcome::Number(sent as u64)),
            Err(error) => (content.len(), of_error(error)),
        };
        let rest = content.split_off(sent);
        let verb = Verb::Socket { end, op: SocketOp::Send { length: sent } };
        self.diary.records.borrow_mut().push(Record::new(verb, Taking::TryOrCallback, content));
        self.diary.submitted(index);
        self.diary.delivered(index, outcome);
        (!rest.is_empty()).then_some(rest)
    }

    fn begin_on_file(&mut self, begin: Begin, file: usize, op: FileOp, content: Vec<u8>) {
        let clones = &self.files[file];
        let file = clones[begin.index % clones.len()].clone();
        match op {
            FileOp::ReadAt { place, length, unordered: true } => {
                self.start(begin, file.read_at(vec![0; length], place).unordered(), of_read);
            }
            FileOp::ReadAt { place, length, .. } if begin.parts > 1 => {
                self.start(begin, file.read_at(pieces(vec![0; length], begin.parts), place), of_list_read);
            }
            FileOp::ReadAt { place, length, .. } => self.start(begin, file.read_at(vec![0; length], place), of_read),
            FileOp::ReadExactAt { place, length } if begin.parts > 1 => {
                self.start(begin, file.read_exact_at(pieces(vec![0; length], begin.parts), place), of_list_read);
            }
            FileOp::ReadExactAt { place, length } => {
                self.start(begin, file.read_exact_at(vec![0; length], place), of_read);
            }
            FileOp::ReadToEndAt { place } => self.start(begin, file.read_to_end_at(Vec::new(), place), of_read),
            FileOp::Read { length } if begin.parts > 1 => {
                self.start(begin, file.read(pieces(vec![0; length], begin.parts)), of_list_read);
            }
            FileOp::Read { length } => self.start(begin, file.read(vec![0; length]), of_read),
            FileOp::ReadExact { length } => self.start(begin, file.read_exact(vec![0; length]), of_read),
            FileOp::ReadToEnd => self.start(begin, file.read_to_end(Vec::new()), of_read),
            FileOp::WriteAt { place, unordered: true, .. } => {
                self.start(begin, file.write_at(content, place).unordered(), of_write);
            }
            FileOp::WriteAt { place, .. } if begin.parts > 1 => {
                self.start(begin, file.write_at(pieces(content, begin.parts), place), of_write);
            }
            FileOp::WriteAt { place, .. } => self.start(begin, file.write_at(content, place), of_write),
            FileOp::Write { .. } if begin.parts > 1 => {
                self.start(begin, file.write(pieces(content, begin.parts)), of_write);
            }
            FileOp::Write { .. } => self.start(begin, file.write(content), of_write),
            FileOp::Seek { place } => self.start(begin, file.seek(SeekFrom::Start(place)), of_seek),
            FileOp::SeekBy { offset } => self.start(begin, file.seek(SeekFrom::Current(offset)), of_seek),
            FileOp::SeekFromEnd { offset } => self.start(begin, file.seek(SeekFrom::End(offset)), of_seek),
            FileOp::Truncate { length } => self.start(begin, file.truncate(length), of_plain),
            FileOp::Allocate { place, length } => self.start(begin, file.allocate(place, length), of_plain),
            FileOp::Stat => self.start(begin, file.stat(), of_stat),
            FileOp::Sync => self.start(begin, file.sync(), of_plain),
            FileOp::Barrier => self.start(begin, file.barrier(), of_plain),
        }
    }

    fn begin_on_end(&mut self, begin: Begin, end: usize, op: SocketOp, content: Vec<u8>) {
        let clones = &self.ends[end];
        match clones[begin.index % clones.len()].clone() {
            End::Socket(socket) => self.begin_on_socket(begin, &socket, op, content),
            End::Pipe(file) => self.begin_on_pipe(begin, &file, op, content),
            End::Datagrams(socket) => self.begin_on_datagrams(begin, &socket, op, content),
        }
    }

    fn begin_on_socket(&mut self, begin: Begin, socket: &Socket, op: SocketOp, content: Vec<u8>) {
        match op {
            SocketOp::Send { .. } if begin.parts > 1 => {
                self.start(begin, socket.send(pieces(content, begin.parts)), of_write);
            }
            SocketOp::Send { .. } => self.start(begin, socket.send(content), of_write),
            SocketOp::Receive { length } if begin.parts > 1 => {
                self.start(begin, socket.recv(pieces(vec![0; length], begin.parts)), of_list_read);
            }
            SocketOp::Receive { length } => self.start(begin, socket.recv(vec![0; length]), of_read),
            SocketOp::ReceiveExact { length } => self.start(begin, socket.recv_exact(vec![0; length]), of_read),
            SocketOp::ReceiveToEnd => self.start(begin, socket.recv_to_end(Vec::new()), of_read),
            SocketOp::ShutDownWrites => self.start(begin, socket.shutdown(Shutdown::Write), of_plain),
            SocketOp::Barrier => self.start(begin, socket.barrier(), of_plain),
        }
    }

    fn begin_on_pipe(&mut self, begin: Begin, file: &File, op: SocketOp, content: Vec<u8>) {
        match op {
            SocketOp::Send { .. } if begin.parts > 1 => {
                self.start(begin, file.write(pieces(content, begin.parts)), of_write);
            }
            SocketOp::Send { .. } => self.start(begin, file.write(content), of_write),
            SocketOp::Receive { length } if begin.parts > 1 => {
                self.start(begin, file.read(pieces(vec![0; length], begin.parts)), of_list_read);
            }
            SocketOp::Receive { length } => self.start(begin, file.read(vec![0; length]), of_read),
            SocketOp::ReceiveExact { length } => self.start(begin, file.read_exact(vec![0; length]), of_read),
            SocketOp::ReceiveToEnd => self.start(begin, file.read_to_end(Vec::new()), of_read),
            SocketOp::Barrier => self.start(begin, file.barrier(), of_plain),
            SocketOp::ShutDownWrites => unreachable!("not drawn for pipes"),
        }
    }

    fn begin_on_datagrams(&mut self, begin: Begin, socket: &DatagramSocket, op: SocketOp, content: Vec<u8>) {
        match op {
            SocketOp::Send { .. } if begin.parts > 1 => {
                self.start(begin, socket.send(pieces(content, begin.parts)), of_write);
            }
            SocketOp::Send { .. } => self.start(begin, socket.send(content), of_write),
            SocketOp::Receive { length } if begin.parts > 1 => {
                let parts = pieces(vec![0; length], begin.parts);
                self.start(begin, socket.recv_from(parts), of_list_datagram);
            }
            SocketOp::Receive { length } => self.start(begin, socket.recv_from(vec![0; length]), of_datagram),
            SocketOp::Barrier => self.start(begin, socket.barrier(), of_plain),
            SocketOp::ReceiveExact { .. } | SocketOp::ReceiveToEnd | SocketOp::ShutDownWrites => {
                unreachable!("not drawn for datagrams")
            }
        }
    }

    fn start<A: Action>(&mut self, begin: Begin, operation: Operation<A>, convert: Convert<A>) {
        let Begin { index, taking, stop, .. } = begin;
        let operation = match stop {
            Stop::Nothing => operation,
            Stop::Deadline(microseconds) => operation.deadline(Duration::from_micros(microseconds)),
            Stop::Token(number) => operation.cancel_with(&self.tokens[number]),
        };
        let diary = Rc::clone(&self.diary);
        let refused = |error: A::Error| match convert(Err(error)) {
            Outcome::Failed { kind, os_code, .. } => Outcome::Refused(kind, os_code),
            other => unreachable!("{other:?} is no refusal"),
        };
        if taking != Taking::Task {
            diary.submitted(index);
        }
        let inside = Rc::clone(&diary);
        let callback = move |outcome| inside.delivered(index, convert(outcome));
        match taking {
            Taking::Status => match operation.submit() {
                Ok(status) => self.statuses.push((index, Box::new(HeldStatus { status, convert }))),
                Err(error) => diary.delivered(index, refused(error)),
            },
            Taking::Callback | Taking::DirectCallback => {
                let operation = if taking == Taking::DirectCallback { operation.direct() } else { operation };
                if let Err(error) = operation.then(callback) {
                    diary.delivered(index, refused(error));
                }
            }
            Taking::FinishOrCallback => match operation.finish_or_then(callback) {
                Ok(Begun::Finished(outcome)) => diary.delivered(index, convert(outcome)),
                Ok(Begun::Submitted(_)) => {}
                Err(error) => diary.delivered(index, refused(error)),
            },
            Taking::Task => {
                let task = self.io.spawn(async move {
                    diary.submitted(index);
                    diary.delivered(index, convert(operation.await));
                });
                self.tasks.push((index, task.unwrap()));
            }
            Taking::Future => {
                let mut future = HeldOperation { operation, convert };
                match future.poll() {
                    Some(outcome) => diary.delivered(index, outcome),
                    None => self.futures.push((index, Box::new(future))),
                }
            }
            Taking::TryOrCallback => unreachable!("what is left of it is a callback's"),
            Taking::Wait => {
                let outcome = operation.wait();
                diary.delivered(index, convert(outcome));
            }
        }
    }

    // The end.

    /// Lets everything come to its end; gives what was left.
    pub fn finish(&mut self) -> Result<Rests, String> {
        self.simulation.into_iter().for_each(Simulation::heal);
        for (index, status) in std::mem::take(&mut self.statuses) {
            status.call_back(Rc::clone(&self.diary), index);
        }
        for (index, future) in std::mem::take(&mut self.futures) {
            self.io.spawn(future.into_task(Rc::clone(&self.diary), index)).unwrap();
        }
        // Two ends that are both closed take nothing from each other: what they still send ends by its deadline or token.
        let is_closed = |end: usize| self.diary.closed_at(Place::End(end)).is_some();
        if (0..self.ends.len()).any(|end| is_closed(end) && is_closed(end ^ 1)) {
            self.tokens.iter().for_each(CancelToken::cancel);
        }
        let bytes = self.drain_streams()?;
        let datagrams = self.drain_datagrams()?;
        let diary = Rc::clone(&self.diary);
        self.turn_until(|| diary.is_over(|verb| matches!(verb, Verb::Accept { .. })))?;
        let connections = self.drain_listeners()?;
        self.turn_until(|| diary.is_over(|_| false))?;
        self.tasks.clear();
        self.scheduler.run().map_err(|error| error.to_string())?;
        Ok(Rests { bytes, datagrams, connections })
    }

    /// Turns until it is so; on a simulated machine there is always something to do, or it will never be.
    fn turn_until(&mut self, is_so: impl Fn() -> bool) -> Result<(), String> {
        let start = Instant::now();
        while !is_so() {
            let turned = self.scheduler.turn(Duration::from_millis(100));
            let is_hopeless = self.simulation.is_none() && start.elapsed() > PATIENCE
                || self.simulation.is_some_and(|_| self.io.now() > Duration::from_secs(3600));
            if turned.is_err() || is_hopeless {
                return Err(format!("something never ends: {:?}", self.scheduler.outstanding()));
            }
        }
        Ok(())
    }
}

/// One operation as it is begun.
#[derive(Clone, Copy)]
struct Begin {
    index: usize,
    taking: Taking,
    stop: Stop,
    parts: usize,
}

/// Bytes in so many buffers, with an empty one at the end.
fn pieces(bytes: Vec<u8>, count: usize) -> Vec<Vec<u8>> {
    let size = bytes.len().div_ceil(count - 1).max(1);
    let mut list: Vec<Vec<u8>> = bytes.chunks(size).map(<[u8]>::to_vec).collect();
    list.resize(count, Vec::new());
    list
}
