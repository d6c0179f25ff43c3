//! A simulated machine: its descriptors, and every operation carried out on its disk and network in simulated time.
//!
//! A request goes through two moments, each drawn by chance: when it takes effect, and when that is reported. A cancel
//! takes a while as well, so it comes before the one, between them, or after.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::mem::discriminant;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::clock::{Events, Random};
use super::disk::{Disk, Facts, Inode};
use super::effects::internet;
use super::network::{Ask, Network, Progress, SocketId};
use super::{Faults, InjectedFault as Injected};
use crate::address::Address;
use crate::backend::{
    Descriptor, Errno, Fault, Nature, Outcome, RawDescriptor, SocketAnswer, SocketCall, StandardStream, Value, codes,
};
use crate::fs::FileKind;
use crate::op::{Class, Op, OpenOptions};

/// Nanoseconds that a simulated device takes, at least and at most.
const DISK_TIME: (u64, u64) = (5_000, 200_000);
pub(super) const NETWORK_TIME: (u64, u64) = (10_000, 300_000);
/// Until the program's side hears of it.
const REPORT_TIME: (u64, u64) = (0, 20_000);
/// What a long delay adds.
const LONG_DELAY: (u64, u64) = (1_000_000, 50_000_000);
/// What looking costs, so that a program that only looks gets on.
pub(super) const LOOK_TIME: u64 = 1_000;
/// How much later each further batch begins that the machine's queue has no room for.
const BATCH_TIME: u64 = 20_000;

/// A simulated descriptor, which closes itself.
#[derive(Debug)]
pub(crate) struct Number {
    raw: RawDescriptor,
    boot: u64,
    /// Where the machine learns of descriptors that were dropped; anywhere, as a descriptor may go to other threads.
    dropped: Arc<Mutex<Vec<(u64, RawDescriptor)>>>,
}

impl Number {
    pub(crate) fn raw(&self) -> RawDescriptor {
        self.raw
    }

    /// The number alone, for a close to come.
    pub(crate) fn into_raw(mut self) -> RawDescriptor {
        std::mem::replace(&mut self.raw, -1)
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        if self.raw >= 0 {
            self.dropped.lock().unwrap_or_else(PoisonError::into_inner).push((self.boot, self.raw));
        }
    }
}

/// What a descriptor refers to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Object {
    File {
        inode: Inode,
        options: OpenOptions,
    },
    Socket(SocketId),
    /// An end of a pipe, which is a connection of which only one direction is used.
    Pipe {
        id: SocketId,
        is_reader: bool,
    },
    Standard(StandardStream),
    /// A standard stream that is a file, whose cursor all who hold it share.
    Redirected(StandardStream),
}

/// The file that a standard stream is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Redirection {
    pub(super) inode: Inode,
    pub(super) cursor: u64,
}

/// What is to happen.
#[derive(Debug)]
enum Event {
    /// A request is tried.
    Try(u64),
    /// What became of it is reported.
    Report(u64),
    /// It is cancelled, if it is not too late.
    Cancel(u64),
    /// Something arrives at a socket.
    Arrive(SocketId),
    Crash,
}

#[derive(Debug)]
enum Stage {
    /// To be tried, at a time.
    Pending,
    /// Until something changes at its socket.
    Waiting,
    Done,
}

/// A request in flight.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) op: Op,
    /// As errors have it, if somebody is to be told.
    pub(super) name: String,
    pub(super) descriptor: RawDescriptor,
    pub(super) class: Class,
    pub(super) offset: Option<u64>,
    /// For what reads: how much at most.
    pub(super) length: usize,
    /// For what writes.
    pub(super) input: Vec<u8>,
    stage: Stage,
    /// Faults have had their chance: each request gets one.
    is_tested: bool,
    is_cancelled: bool,
    outcome: Outcome,
    pub(super) output: Vec<u8>,
}

/// What became of a request.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) token: u64,
    pub(super) outcome: Outcome,
    /// What was read.
    pub(super) output: Vec<u8>,
}

/// One operation to carry out; see `Submission`.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) token: u64,
    pub(super) op: Op,
    pub(super) name: String,
    pub(super) descriptor: RawDescriptor,
    pub(super) class: Class,
    pub(super) offset: Option<u64>,
    pub(super) length: usize,
    pub(super) input: Vec<u8>,
}

/// Says which operations fail, and how.
type Script = Box<dyn FnMut(&str, u64) -> Option<Injected>>;

pub(crate) struct World {
    pub(super) random: Random,
    /// For the program's own use, so that what it draws does not move what the machine draws.
    pub(super) offered: Random,
    pub(super) now: Rc<Cell<u64>>,
    events: Events<Event>,
    pub(super) disk: Disk,
    pub(super) network: Network,
    /// By number.
    descriptors: Vec<Option<Object>>,
    sockets: BTreeMap<SocketId, RawDescriptor>,
    /// By stream.
    pub(super) redirections: [Option<Redirection>; 3],
    /// Requests taken in since the last wait.
    pub(super) batch: usize,
    requests: BTreeMap<u64, Request>,
    dropped: Arc<Mutex<Vec<(u64, RawDescriptor)>>>,
    pub(super) faults: Faults,
    pub(super) script: Option<Script>,
    history: DefaultHasher,
    pub(super) operations: u64,
    /// Counts the starts of the machine: what is left from before a crash is no more.
    pub(super) boot: u64,
    pub(super) has_crashed: bool,
    /// A scheduler runs on it.
    pub(super) is_used: bool,
}

impl fmt::Debug for World {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "World(at {} ns, {} requests in flight)", self.now.get(), self.requests.len())
    }
}

fn done() -> Outcome {
    Ok(Value::Count(0))
}

impl World {
    pub(super) fn new(seed: u64) -> World {
        World {
            random: Random::new(seed),
            offered: Random::new(!seed),
            now: Rc::default(),
            events: Events::new(),
            disk: Disk::new(),
            network: Network::new(),
            descriptors: Vec::new(),
            sockets: BTreeMap::new(),
            redirections: [None; 3],
            batch: 0,
            requests: BTreeMap::new(),
            dropped: Arc::default(),
            faults: Faults::default(),
            script: None,
            history: DefaultHasher::new(),
            operations: 0,
            boot: 0,
            has_crashed: false,
            is_used: false,
        }
    }

    // Time.

    pub(super) fn within(&mut self, (least, most): (u64, u64)) -> u64 {
        least + self.random.below(most - least + 1)
    }

    /// How long the device of an operation takes.
    fn duration(&mut self, class: Class, op: &Op) -> u64 {
        let span = match class {
            Class::Socket | Class::Listener | Class::Datagram => NETWORK_TIME,
            _ => DISK_TIME,
        };
        let mut delay = if self.random.chance(self.faults.delays) { self.within(LONG_DELAY) } else { 0 };
        if matches!(op, Op::Recv { .. }) && self.random.chance(self.faults.slow_readers) {
            delay += self.within(LONG_DELAY);
        }
        delay += (self.batch / self.faults.queue_entries.max(1)) as u64 * BATCH_TIME;
        self.batch += 1;
        self.within(span) + delay
    }

    fn schedule_in(&mut self, delay: u64, event: Event) {
        self.events.schedule(self.now.get() + delay, event);
    }

    pub(super) fn crash_at(&mut self, time: u64) {
        self.events.schedule(time, Event::Crash);
    }

    pub(super) fn next_time(&self) -> Option<u64> {
        self.events.next_time()
    }

    /// The history so far, as one number.
    pub(super) fn history(&self) -> u64 {
        self.history.finish()
    }

    fn record(&mut self, what: u8, token: u64, detail: u64) {
        (what, self.now.get(), token, detail).hash(&mut self.history);
    }

    // Descriptors.

    /// Closes what was dropped.
    pub(super) fn sweep(&mut self) {
        let dropped = std::mem::take(&mut *self.dropped.lock().unwrap_or_else(PoisonError::into_inner));
        for (boot, raw) in dropped {
            if boot == self.boot {
                self.close(raw);
            }
        }
    }

    pub(super) fn new_descriptor(&mut self, object: Object) -> Result<Descriptor, Errno> {
        self.sweep();
        // The lowest that is free, as POSIX has it.
        let free = self.free_descriptor()?;
        let raw = free.unwrap_or(self.descriptors.len());
        match free {
            Some(free) => self.descriptors[free] = Some(object),
            None => self.descriptors.push(Some(object)),
        }
        if let Object::Socket(id) | Object::Pipe { id, .. } = object {
            self.sockets.insert(id, raw as RawDescriptor);
        }
        Ok(Descriptor::Simulated(Number {
            raw: raw as RawDescriptor,
            boot: self.boot,
            dropped: Arc::clone(&self.dropped),
        }))
    }

    /// The lowest number that is free among those that were used, if any; the error if no more may be open.
    pub(super) fn free_descriptor(&self) -> Result<Option<usize>, Errno> {
        let free = self.descriptors.iter().position(Option::is_none);
        match free.unwrap_or(self.descriptors.len()) >= self.faults.descriptors {
            true => Err(Errno::MFILE),
            false => Ok(free),
        }
    }

    pub(super) fn object(&self, raw: RawDescriptor) -> Result<Object, Errno> {
        let object = usize::try_from(raw).ok().and_then(|index| *self.descriptors.get(index)?);
        object.ok_or(Errno::BADF)
    }

    pub(super) fn file(&self, raw: RawDescriptor) -> Result<Inode, Errno> {
        match self.object(raw)? {
            Object::File { inode, .. } => Ok(inode),
            Object::Redirected(stream) => self.redirection(stream).map(|file| file.inode),
            _ => Err(Errno::INVAL),
        }
    }

    pub(super) fn redirection(&self, stream: StandardStream) -> Result<Redirection, Errno> {
        self.redirections[stream as usize].ok_or(Errno::BADF)
    }

    /// Has a standard stream be a file from now on.
    pub(super) fn redirect(&mut self, stream: StandardStream, path: &[u8]) -> Result<(), Errno> {
        let options = OpenOptions::new().read(true).write(true).create(true);
        let inode = self.disk.open(path, &options, self.now.get())?;
        if let Some(old) = self.redirections[stream as usize].replace(Redirection { inode, cursor: 0 }) {
            self.disk.close(old.inode);
        }
        Ok(())
    }

    pub(super) fn socket(&self, raw: RawDescriptor) -> Result<SocketId, Errno> {
        match self.object(raw)? {
            Object::Socket(id) => Ok(id),
            _ => Err(Errno::NOTSOCK),
        }
    }

    pub(super) fn open_descriptors(&self) -> usize {
        self.descriptors.iter().flatten().count()
    }

    pub(super) fn is_in_flight(&self, raw: RawDescriptor) -> bool {
        self.requests.values().any(|request| request.descriptor == raw && !matches!(request.op, Op::Close))
    }

    pub(super) fn close(&mut self, raw: RawDescriptor) {
        assert!(!self.is_in_flight(raw), "descriptor {raw} is closed with requests in flight on it");
        let Ok(object) = self.object(raw) else { return };
        self.descriptors[raw as usize] = None;
        match object {
            Object::File { inode, .. } => self.disk.close(inode),
            Object::Socket(id) | Object::Pipe { id, .. } => {
                let delay = self.within(NETWORK_TIME);
                self.sockets.remove(&id);
                self.network.close(id, self.now.get(), delay);
                self.follow_asks();
            }
            Object::Standard(_) | Object::Redirected(_) => {}
        }
    }

    // What is answered at once.

    pub(super) fn standard(&mut self, stream: StandardStream) -> Result<Descriptor, Errno> {
        self.new_descriptor(match self.redirections[stream as usize] {
            Some(_) => Object::Redirected(stream),
            None => Object::Standard(stream),
        })
    }

    pub(super) fn nature(&self, raw: RawDescriptor) -> Result<Nature, Errno> {
        match self.object(raw)? {
            Object::File { .. } | Object::Redirected(_) => {
                let Facts { kind, size, .. } = self.disk.facts(self.file(raw)?)?;
                Ok(Nature { kind, size, is_answered_by_program: false })
            }
            Object::Socket(_) => Ok(Nature { kind: FileKind::Socket, size: 0, is_answered_by_program: false }),
            Object::Pipe { .. } | Object::Standard(_) => {
                Ok(Nature { kind: FileKind::Pipe, size: 0, is_answered_by_program: false })
            }
        }
    }

    pub(super) fn new_socket(&mut self, address: &Address, class: Class) -> Result<Descriptor, Errno> {
        internet(address)?;
        let id = match class {
            Class::Datagram => self.network.add_datagrams(),
            _ => self.network.add(),
        };
        self.new_descriptor(Object::Socket(id))
    }

    /// Two sockets that are connected to each other.
    pub(super) fn socket_pair(&mut self, class: Class) -> Result<[Descriptor; 2], Errno> {
        if class == Class::Datagram {
            return Err(Errno::AFNOSUPPORT);
        }
        let [one, other] = self.network.add_pair();
        Ok([self.new_descriptor(Object::Socket(one))?, self.new_descriptor(Object::Socket(other))?])
    }

    /// The ends of a new pipe: for reading, for writing.
    pub(super) fn pipe(&mut self) -> Result<[Descriptor; 2], Errno> {
        let [reader, writer] = self.network.add_pair();
        let reader = self.new_descriptor(Object::Pipe { id: reader, is_reader: true })?;
        Ok([reader, self.new_descriptor(Object::Pipe { id: writer, is_reader: false })?])
    }

    pub(super) fn socket_call(&mut self, raw: RawDescriptor, call: SocketCall) -> Result<SocketAnswer, Errno> {
        let id = self.socket(raw)?;
        let unbound = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);
        match call {
            SocketCall::Bind(address) => self.network.bind(id, internet(&address)?)?,
            SocketCall::Listen(backlog) => self.network.listen(id, backlog.try_into().unwrap_or(0))?,
            SocketCall::LocalAddress => {
                return Ok(SocketAnswer::Address(self.network.local(id)?.unwrap_or(unbound).into()));
            }
            SocketCall::PeerAddress => return Ok(SocketAnswer::Address(self.network.peer(id)?.into())),
            SocketCall::NoDelay => return Ok(SocketAnswer::Flag(self.network.no_delay(id)?)),
            SocketCall::TakeError => {
                let error = self.network.take_error(id)?;
                return Ok(SocketAnswer::Pending(error.map(Into::into)));
            }
            SocketCall::SetNoDelay(yes) => self.network.set_no_delay(id, yes)?,
            SocketCall::SetLinger(duration) => {
                self.network.set_resets_at_close(id, duration == Some(Duration::ZERO))?;
            }
            SocketCall::SetReceiveBuffer(bytes) => self.network.set_window(id, bytes)?,
            // What is sent is in the peer's window at once; probes, hops and reuse change nothing here.
            SocketCall::SetSendBuffer(_)
            | SocketCall::SetKeepAlive(..)
            | SocketCall::SetTimeToLive(_)
            | SocketCall::SetReuseAddress(_)
            | SocketCall::SetBroadcast(_) => {}
        }
        Ok(SocketAnswer::Done)
    }

    // Requests.

    /// Whether somebody is to be told of operations by name.
    pub(super) fn wants_names(&self) -> bool {
        self.script.is_some() || !self.faults.missing_operations.is_empty()
    }

    pub(super) fn begin(&mut self, task: Task) {
        self.sweep();
        self.operations += 1;
        let Task { token, op, name, descriptor, class, offset, length, input } = task;
        discriminant(&op).hash(&mut self.history);
        input.hash(&mut self.history);
        self.record(0, token, length as u64 ^ offset.unwrap_or(u64::MAX));
        self.check_order(descriptor, &op, class);
        let duration = if self.has_crashed { 0 } else { self.duration(class, &op) };
        let (stage, is_tested, is_cancelled) = (Stage::Pending, false, false);
        let (outcome, output) = (done(), Vec::new());
        let request = Request {
            op,
            name,
            descriptor,
            class,
            offset,
            length,
            input,
            stage,
            is_tested,
            is_cancelled,
            outcome,
            output,
        };
        let previous = self.requests.insert(token, request);
        assert!(previous.is_none(), "request {token} was submitted twice");
        if self.has_crashed {
            self.finish(token, Err(Fault::from(Errno::IO)), 0);
        } else {
            self.schedule_in(duration, Event::Try(token));
        }
    }

    /// What is in memory of a file, if it is so by chance, which it is mostly. Faults, and whoever decides on each operation,
    /// are to meet them all.
    pub(super) fn read_at_once(&mut self, raw: RawDescriptor, offset: u64, length: usize) -> Option<Vec<u8>> {
        let Faults { short_transfers, delays, disk_errors, .. } = self.faults;
        let is_flawless = short_transfers + delays + disk_errors == 0.0;
        if self.has_crashed || self.wants_names() || !is_flawless || self.random.chance(0.25) {
            return None;
        }
        let Object::File { inode, options, .. } = self.object(raw).ok()? else { return None };
        let bytes = if options.read { self.disk.read(inode, offset, length).ok()? } else { return None };
        self.operations += 1;
        bytes.hash(&mut self.history);
        self.record(3, offset, bytes.len() as u64);
        Some(bytes)
    }

    /// Sends at once what there is room for, mostly. It may be short and may meet a reset, as a request may; delays, and whoever
    /// decides on each operation, are to meet them all.
    pub(super) fn send_at_once(&mut self, raw: RawDescriptor, bytes: &[u8]) -> Option<Result<u64, i32>> {
        let Faults { short_transfers, delays, resets, .. } = self.faults;
        if self.has_crashed || self.wants_names() || delays > 0.0 || self.random.chance(0.25) {
            return None;
        }
        self.operations += 1;
        bytes.hash(&mut self.history);
        let now = self.now.get();
        if let (true, Ok(id)) = (self.random.chance(resets), self.socket(raw)) {
            self.network.reset(id, now);
        }
        let is_short = !bytes.is_empty() && self.random.chance(short_transfers);
        let tried = if is_short { 1 + self.random.below(bytes.len() as u64) as usize } else { bytes.len() };
        let delay = self.within(NETWORK_TIME);
        let sent = self.socket(raw).and_then(|id| self.network.send(id, &bytes[..tried], now, delay));
        self.follow_asks();
        self.record(4, raw as u64, bytes.len() as u64);
        match sent {
            Ok(Progress::Done(count)) => Some(Ok(count as u64)),
            Ok(Progress::Waits) => None,
            Err(code) => Some(Err(code.raw_os_error())).filter(|sent| *sent != Err(codes::EINTR)),
        }
    }

    /// What a queue owes the OS: one request at a time in each direction of a stream, and none on what is closed.
    fn check_order(&self, descriptor: RawDescriptor, op: &Op, class: Class) {
        if descriptor < 0 {
            return;
        }
        let lanes = |op: &Op| op.lanes(class);
        let overlaps = |other: &Request| (0..2).any(|lane| lanes(op).contains(lane) && lanes(&other.op).contains(lane));
        let is_stream = !matches!(class, Class::File { .. });
        for other in self.requests.values().filter(|other| other.descriptor == descriptor) {
            // Once closed, the number may be another's before the close is reported.
            let is_closing = matches!(other.op, Op::Close);
            if is_closing && matches!(other.stage, Stage::Done) {
                continue;
            }
            assert!(!is_closing, "{op} on descriptor {descriptor}, which is being closed");
            assert!(!is_stream || !overlaps(other), "{op} and {} at once on descriptor {descriptor}", other.op);
        }
    }

    pub(super) fn ask_cancel(&mut self, token: u64) {
        self.record(1, token, 0);
        let delay = self.within(REPORT_TIME);
        self.schedule_in(delay, Event::Cancel(token));
    }

    /// What is in flight, as it would be listed.
    pub(super) fn in_flight(&self) -> usize {
        self.requests.len()
    }

    fn finish(&mut self, token: u64, outcome: Outcome, delay: u64) {
        let Some(request) = self.requests.get_mut(&token) else { return };
        request.stage = Stage::Done;
        request.outcome = outcome;
        self.schedule_in(delay, Event::Report(token));
    }

    /// The next thing that happens by now; `None` when nothing does.
    pub(super) fn step(&mut self) -> Option<Option<Report>> {
        self.sweep();
        match self.events.pop(self.now.get())? {
            Event::Try(token) => self.try_request(token),
            Event::Cancel(token) => self.cancel(token),
            Event::Arrive(id) => {
                self.network.arrive(id, self.now.get());
                self.follow_asks();
            }
            Event::Crash => self.crash(),
            Event::Report(token) => {
                let Some(request) = self.requests.remove(&token) else { return Some(None) };
                let detail = match &request.outcome {
                    Ok(Value::Count(count)) => *count,
                    Ok(_) => 1 << 40,
                    Err(Fault::Os(code)) => 1 << 41 | *code as u64,
                    Err(_) => 1 << 42,
                };
                request.output.hash(&mut self.history);
                self.record(2, token, detail);
                return Some(Some(Report { token, outcome: request.outcome, output: request.output }));
            }
        }
        Some(None)
    }

    fn follow_asks(&mut self) {
        while !self.network.asks.is_empty() {
            for ask in std::mem::take(&mut self.network.asks) {
                match ask {
                    Ask::ArriveAt(time, id) => self.events.schedule(time.max(self.now.get()), Event::Arrive(id)),
                    Ask::Try(id) => self.wake(id),
                }
            }
        }
    }

    /// Has what waits at a socket tried again.
    fn wake(&mut self, id: SocketId) {
        let Some(raw) = self.sockets.get(&id).copied() else { return };
        let waits = |request: &Request| request.descriptor == raw && matches!(request.stage, Stage::Waiting);
        let tokens: Vec<u64> =
            self.requests.iter().filter(|(_, request)| waits(request)).map(|(token, _)| *token).collect();
        for token in tokens {
            if let Some(request) = self.requests.get_mut(&token) {
                request.stage = Stage::Pending;
            }
            let delay = self.within(REPORT_TIME);
            self.schedule_in(delay, Event::Try(token));
        }
    }

    fn cancel(&mut self, token: u64) {
        let Some(request) = self.requests.get_mut(&token) else { return };
        request.is_cancelled = true;
        let is_stopped = match (&request.stage, request.class) {
            (Stage::Done, _) => false,
            (Stage::Waiting, _) => true,
            // A device may have begun, and then it goes on; only waiting is no more.
            (Stage::Pending, _) => self.random.chance(0.5),
        };
        if is_stopped {
            let delay = self.within(REPORT_TIME);
            self.finish(token, Err(Fault::Interrupted), delay);
        }
    }

    fn try_request(&mut self, token: u64) {
        let Some(mut request) = self.requests.remove(&token) else { return };
        if matches!(request.stage, Stage::Pending) {
            let injection = match std::mem::replace(&mut request.is_tested, true) {
                false => self.inject(&mut request),
                true => None,
            };
            match injection {
                Some(Injected::Error(code)) => self.end_with(token, request, Err(Fault::Os(code))),
                Some(Injected::Delay(duration)) => {
                    self.requests.insert(token, request);
                    self.schedule_in(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX), Event::Try(token));
                }
                _ => match self.effect(&mut request) {
                    Ok(Progress::Done(value)) => self.end_with(token, request, Ok(value)),
                    Ok(Progress::Waits) if request.is_cancelled => {
                        self.end_with(token, request, Err(Fault::Interrupted));
                    }
                    Ok(Progress::Waits) => {
                        request.stage = Stage::Waiting;
                        self.requests.insert(token, request);
                    }
                    Err(code) => self.end_with(token, request, Err(Fault::from(code))),
                },
            }
        } else {
            self.requests.insert(token, request);
        }
        self.follow_asks();
    }

    fn end_with(&mut self, token: u64, request: Request, outcome: Outcome) {
        self.requests.insert(token, request);
        let delay = self.within(REPORT_TIME);
        self.finish(token, outcome, delay);
    }

    // Ends.

    pub(super) fn heal(&mut self) {
        self.network.heal(self.now.get());
        self.follow_asks();
    }

    /// The machine stops: what was not synced is left to chance, connections are gone, requests fail.
    pub(super) fn crash(&mut self) {
        if self.has_crashed {
            return;
        }
        self.record(3, 0, 0);
        self.has_crashed = true;
        self.events.clear();
        self.disk.crash(&mut self.random);
        self.network.crash();
        self.descriptors.clear();
        self.redirections = [None; 3];
        self.sockets.clear();
        self.boot += 1;
        let tokens: Vec<u64> = self.requests.keys().copied().collect();
        for token in tokens {
            self.finish(token, Err(Fault::from(Errno::IO)), 0);
        }
    }

    /// A scheduler begins to use the machine.
    pub(super) fn start(&mut self) {
        self.has_crashed = false;
        self.is_used = true;
    }

    /// The scheduler has ended: its sockets are closed, as a process's are.
    pub(super) fn end(&mut self) {
        self.is_used = false;
        self.requests.clear();
        self.sweep();
    }
}
