//! The completion-port backend: one I/O completion port for one scheduler, as Windows has them.
//!
//! Sockets, pipes and files that are overlapped have their requests started by a call of this thread, and packets tell of
//! their ends; [`CompletionPort`] has the calls. What the system would carry out inside the call (opens, names, writes
//! that move a file's end, compressed and encrypted files), what it has no call for (several buffers of a file) and handles
//! that are not overlapped or another port's go to the pool, in the order of their lanes, which the queue keeps.
//!
//! **Before the call.** A request is published before it is started, as its packet may be there before the call returns.
//! A packet that comes is the truth: a cancel only asks, and one that finds nothing came too late.
//!
//! **Memory.** What the system may touch of a request is in its block (`blocks.rs`), at one address until its packet has
//! been reaped. If the port itself is lost, the blocks are watched instead, as the system writes a request's end there.
#![allow(unsafe_code)]

mod bell;
mod bindings;
mod blocks;
#[cfg(all(unix, feature = "fake-port"))]
pub(crate) mod fake;
#[cfg(all(test, windows))]
mod pipes;
#[cfg_attr(windows, allow(dead_code, reason = "some codes and one method are there for the double"))]
pub(crate) mod port;
#[cfg(all(test, any(windows, feature = "fake-port")))]
mod script;
pub(crate) mod signalled;
mod status;
#[cfg(all(test, unix, feature = "fake-port"))]
mod tests;
#[cfg(windows)]
mod windows;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) use self::bell::Bell;
use self::bindings::{Binding, Bindings};
use self::blocks::{Blocks, Call, InFlight, STATUS_PENDING};
use self::port::{Code, CompletionPort, ERROR_INVALID_PARAMETER, Manner, Packet, Started, WSAENOTSOCK, WSAEWOULDBLOCK};
use self::status::{Ended, judge};
use super::pool::Pool;
use super::{
    Arrival, Completion, Completions, Fault, Outcome, RawDescriptor, Submission, TRANSFER_BYTES_MAX, Token, Value,
    WaitsBy, Wakeup, perform,
};
use crate::address::Address;
use crate::op::{Class, Op, Shutdown};
use crate::sync::thread;

/// The port of this system: the double, where there is no other.
#[cfg(unix)]
pub(crate) type Port = fake::FakePort;
#[cfg(windows)]
pub(crate) type Port = windows::WindowsPort;

#[cfg(windows)]
use super::waits::Waits;
#[cfg(unix)]
use fake::Waits;

/// The key of the packets of requests.
const KEY_REQUEST: usize = 0;
/// The key of the packet that ends a wait.
const KEY_WAKE: usize = 1;
/// Packets of one dequeue at most.
const BATCH: usize = 128;
/// Of a socket that no port takes; the system's own text names a parameter that nobody gave.
const ANOTHER_PORTS: &str = "the socket belongs to another completion port already";
/// How often blocks are looked at when there is no port any more, and threads of the pool that are to be found in a call.
const LOOK_TIME: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub(crate) struct Iocp<P: CompletionPort> {
    blocks: Blocks,
    bindings: Bindings,
    bell: Arc<Bell>,
    pool: Pool,
    /// Children that are waited for.
    waits: Waits,
    /// Where packets are dequeued to. Kept for its memory.
    packets: Box<[Packet]>,
    /// The port has failed, with this code; blocks are looked at instead, and nothing new is started.
    lost: Option<Code>,
    /// Last, as the blocks may still be the system's while it is open.
    port: P,
}

impl<P: CompletionPort> Iocp<P> {
    pub(crate) fn new(port: P, pool_threads: usize) -> Iocp<P> {
        let bell = Arc::new(Bell::new(port.poster()));
        let wakeup = Wakeup::Port(Arc::downgrade(&bell));
        let (pool, waits) = (Pool::new(pool_threads, wakeup.clone()), Waits::new(wakeup));
        Iocp {
            blocks: Blocks::default(),
            bindings: Bindings::default(),
            bell,
            pool,
            waits,
            packets: vec![Packet::EMPTY; BATCH].into_boxed_slice(),
            lost: None,
            port,
        }
    }

    pub(crate) fn submit(&mut self, submission: &Submission<'_>, completions: &mut Completions) {
        match (submission.class, submission.op) {
            (Class::Socket | Class::Listener | Class::Datagram, Op::Shutdown { how }) => {
                finish(submission.token, perform(submission), completions);
                if matches!(how, Shutdown::Read | Shutdown::Both) {
                    self.end_receive(submission.descriptor);
                }
            }
            (Class::Child, Op::AwaitExit { .. }) => {
                self.waits.submit(submission.token, submission.descriptor, completions);
            }
            (Class::Datagram, Op::Connect { address }) => {
                let connected = self.port.connect_datagrams(submission.descriptor, address);
                let outcome = connected.map(|()| Value::Count(0)).map_err(|code| self.fault(code));
                finish(submission.token, outcome, completions);
            }
            (Class::Socket | Class::Listener | Class::Datagram | Class::Stream, Op::Close) if !submission.lingers => {
                finish(submission.token, perform(submission), completions);
            }
            _ => match overlapped_call(submission).map(|call| (call, self.bind(submission))) {
                Some((call, Ok(Binding::Port { skips }))) => self.start(call, skips, submission, completions),
                Some((_, Err(fault))) => finish(submission.token, Err(fault), completions),
                Some((_, Ok(Binding::Pool))) | None => self.pool.submit(submission),
            },
        }
    }

    /// Has the packets of a descriptor come to this port, at its first request.
    fn bind(&mut self, submission: &Submission<'_>) -> Result<Binding, Fault> {
        if let Some(code) = self.lost {
            return Err(self.fault(code));
        }
        let descriptor = submission.descriptor;
        if let Some(binding) = self.bindings.get(descriptor) {
            return Ok(binding);
        }
        let is_socket = matches!(submission.class, Class::Socket | Class::Listener | Class::Datagram);
        // Of a pipe or a socket for datagrams a call may end with a warning, that there was more, and whether a packet
        // follows that is not said; so there all come.
        let may_warn = matches!(submission.class, Class::Stream | Class::Datagram);
        if submission.class == Class::Datagram && matches!(submission.op, Op::RecvFrom { .. } | Op::SendTo { .. }) {
            self.port.prepare_datagrams(descriptor);
        }
        let binding = match self.port.associate(descriptor, KEY_REQUEST) {
            Ok(()) if !is_socket && self.port.manner(descriptor) == Manner::Synchronous => Binding::Pool,
            Ok(()) => Binding::Port { skips: !may_warn && self.port.skip_on_success(descriptor, is_socket) },
            // It is not overlapped, or another port's.
            Err(ERROR_INVALID_PARAMETER) if !is_socket => Binding::Pool,
            // The code says nothing to anybody who does not know what this call is.
            Err(ERROR_INVALID_PARAMETER) => {
                return Err(Fault::InvalidFor(self.port.host_code(ERROR_INVALID_PARAMETER), ANOTHER_PORTS));
            }
            Err(code) => return Err(self.fault(code)),
        };
        self.bindings.set(descriptor, Some(binding));
        Ok(binding)
    }

    fn start(&mut self, call: Call, skips: bool, submission: &Submission<'_>, completions: &mut Completions) {
        let descriptor = submission.descriptor;
        let connection = match call {
            Call::Accept => match self.port.new_connection(descriptor) {
                Ok(connection) => Some(connection),
                Err(code) => {
                    return finish(submission.token, Err(self.fault(code)), completions);
                }
            },
            _ => None,
        };
        let is_of_stream = submission.offset.is_none();
        let in_flight = InFlight {
            token: submission.token,
            call,
            descriptor,
            connection,
            is_of_stream,
            is_shut: false,
            is_refused: false,
        };
        let place = submission.offset.unwrap_or(0);
        let index = self.blocks.publish(in_flight, place, submission.parts, TRANSFER_BYTES_MAX as usize);
        match self.make_call(call, index, submission) {
            Started::Ended(count) if skips => self.end(index, 0, count, completions),
            Started::Refused(code) => {
                if let Some(in_flight) = self.blocks.in_flight_mut(index) {
                    in_flight.is_refused = true;
                }
                self.end(index, code, 0, completions);
            }
            Started::Pending | Started::Ended(_) => {}
        }
    }

    /// The call that starts a request which has been published.
    fn make_call(&mut self, call: Call, index: u32, submission: &Submission<'_>) -> Started {
        let descriptor = submission.descriptor;
        let block = self.blocks.block(index);
        let overlapped = block.overlapped();
        // SAFETY: the block keeps all but the buffer until its packet has been reaped or the call has said that none
        // comes, and the queue keeps the buffer until then, and the descriptor open.
        unsafe {
            match (call, submission.op) {
                (Call::Read, _) => self.port.start_read(descriptor, block.vectors()[0], overlapped),
                (Call::Write, _) => self.port.start_write(descriptor, block.vectors()[0], overlapped),
                (Call::Receive, _) => self.port.start_receive(descriptor, block.vectors(), block.flags(), overlapped),
                (Call::Send, _) => self.port.start_send(descriptor, block.vectors(), overlapped),
                (Call::ReceiveFrom, _) => self.port.start_receive_from(
                    descriptor,
                    block.vectors(),
                    block.flags(),
                    block.addresses(),
                    block.sender_length(),
                    overlapped,
                ),
                (Call::SendTo, Op::SendTo { address, .. }) => {
                    self.port.start_send_to(descriptor, block.vectors(), address.as_ref(), overlapped)
                }
                (Call::Connect, Op::Connect { address }) => self.port.start_connect(descriptor, address, overlapped),
                (Call::Accept, _) => {
                    let addresses = block.addresses();
                    match self.blocks.connection(index) {
                        Some(connection) => self.port.start_accept(descriptor, connection, addresses, overlapped),
                        None => unreachable!("an accept is published with the connection that it fills"),
                    }
                }
                (call, other) => unreachable!("{other} is no {call:?}"),
            }
        }
    }

    /// A request has ended: its block is free, and the queue is told.
    fn end(&mut self, index: u32, code: Code, count: u32, completions: &mut Completions) {
        let Some(in_flight) = self.blocks.reap(index) else { unreachable!("one end for each request") };
        let token = in_flight.token;
        let outcome = self.outcome(in_flight, index, code, count);
        finish(token, outcome, completions);
    }

    fn outcome(&self, in_flight: InFlight, index: u32, code: Code, count: u32) -> Outcome {
        let InFlight { call, descriptor, connection, is_shut, is_of_stream, is_refused, .. } = in_flight;
        let fault = |code| self.fault(code);
        let room = self.blocks.block(index).room();
        let may_have_moved =
            is_of_stream && !is_refused && matches!(call, Call::Write | Call::Send) && !self.port.tells_what_went_out();
        match judge(call, code, count) {
            // As Windows may tell of a socket that somebody else has closed, which is no end.
            Ended::Moved(0)
                if matches!(call, Call::Receive | Call::ReceiveFrom) && !self.port.is_socket(descriptor) =>
            {
                Err(fault(WSAENOTSOCK))
            }
            Ended::Moved(_) if call == Call::Accept => {
                let Some(connection) = connection else { unreachable!("published with it") };
                self.port.finish_accept(descriptor, connection).map(Value::Descriptor).map_err(fault)
            }
            Ended::Moved(_) if call == Call::Connect => {
                self.port.finish_connect(descriptor).map(|()| Value::Count(0)).map_err(fault)
            }
            ended @ (Ended::Moved(count) | Ended::Cut(count)) if call == Call::ReceiveFrom => {
                let block = self.blocks.block(index);
                let size = matches!(ended, Ended::Moved(_)).then_some(count);
                let (count, sender) = (count.min(block.room()), self.port.address(block.sender()));
                Ok(Value::Datagram(Arrival { count, size, sender }))
            }
            // The other side has written no bytes, which is no end: that has a code of its own.
            Ended::Moved(0) if call == Call::Read && code == 0 && room > 0 && self.port.is_pipe(descriptor) => {
                Err(Fault::Interrupted)
            }
            Ended::Moved(count) | Ended::Cut(count) => Ok(Value::Count(u64::from(count))),
            Ended::Aborted if is_shut => Ok(Value::Count(0)),
            Ended::Aborted if may_have_moved => Err(Fault::StoppedSomewhere(None)),
            Ended::Failed(code) if may_have_moved => Err(Fault::StoppedSomewhere(Some(self.port.host_code(code)))),
            Ended::Aborted => Err(self.lost.map_or(Fault::Interrupted, fault)),
            Ended::Failed(code) => Err(fault(code)),
        }
    }

    fn fault(&self, code: Code) -> Fault {
        Fault::Os(self.port.host_code(code))
    }

    /// Receiving has been shut down: the receive that waits learns that this is the end.
    fn end_receive(&mut self, descriptor: RawDescriptor) {
        let waiting: Vec<u32> = self.blocks.on(descriptor, Call::Receive).collect();
        for index in waiting {
            if let Some(in_flight) = self.blocks.in_flight_mut(index) {
                in_flight.is_shut = true;
            }
            self.ask_to_end(index);
        }
    }

    pub(crate) fn cancel(&mut self, token: Token, op: &Op, _descriptor: RawDescriptor, completions: &mut Completions) {
        match self.blocks.find(token) {
            Some(index) => self.ask_to_end(index),
            None if matches!(op, Op::AwaitExit { .. }) => self.waits.cancel(token, completions),
            None => self.pool.cancel(token, op, completions),
        }
    }

    /// Asks the system to let go of a request. That there is none any more means that its packet is there already.
    fn ask_to_end(&mut self, index: u32) {
        let overlapped = self.blocks.block(index).overlapped();
        if let Some(in_flight) = self.blocks.in_flight_mut(index) {
            let descriptor = in_flight.descriptor;
            let _ = self.port.cancel(descriptor, overlapped);
        }
    }

    pub(crate) fn cancel_all(&mut self, completions: &mut Completions) -> bool {
        for index in self.blocks.all_in_flight() {
            self.ask_to_end(index);
        }
        self.waits.cancel_all(completions);
        self.pool.cancel_all(completions);
        true
    }

    pub(crate) fn wait(&mut self, timeout: Option<Duration>, completions: &mut Completions) -> io::Result<()> {
        let may_have_packets = !self.is_idle() || !self.pool.is_idle() || self.bell.is_rung();
        self.drain(completions);
        let timeout = if completions.is_empty() { timeout } else { Some(Duration::ZERO) };
        if self.lost.is_some() {
            return self.wait_without_port(timeout, completions);
        }
        if timeout == Some(Duration::ZERO) && !may_have_packets {
            return Ok(());
        }
        let timeout = if self.bell.take_owed() { Some(Duration::ZERO) } else { timeout };
        let timeout = match self.pool.look_for_calls() {
            true => Some(timeout.map_or(LOOK_TIME, |timeout| timeout.min(LOOK_TIME))),
            false => timeout,
        };
        let mut packets = std::mem::take(&mut self.packets);
        let dequeued = self.port.dequeue(&mut packets, timeout);
        // What arrives meanwhile is for the next turn, so that a flood cannot hold this one.
        for packet in &packets[..dequeued.unwrap_or(0)] {
            match packet.key {
                KEY_REQUEST => self.reap(packet, completions),
                _ => self.bell.was_heard(),
            }
        }
        self.packets = packets;
        self.drain(completions);
        match dequeued {
            Ok(_) => Ok(()),
            Err(code) => self.lose_port(code),
        }
    }

    fn reap(&mut self, packet: &Packet, completions: &mut Completions) {
        let Some(index) = self.blocks.of_packet(packet) else { return };
        let code = self.port.code_of(self.blocks.block(index).status());
        self.end(index, code, packet.count, completions);
    }

    /// Moves what other threads have finished to `completions`.
    fn drain(&mut self, completions: &mut Completions) {
        self.waits.drain(completions);
        for job in self.pool.drain(completions) {
            if matches!(job.submission().op, Op::Connect { .. } | Op::AwaitReady { .. }) {
                // It had to wait for a while, and no event tells when it need not.
                self.pool.submit(&job.submission());
                continue;
            }
            // Only a system that has readiness would have it wait; what it said is all there is to say.
            finish(job.submission().token, Err(self.fault(WSAEWOULDBLOCK)), completions);
        }
    }

    /// The port gives no more packets (somebody has closed it): what the system has is asked for, and its end looked for in
    /// the blocks from now on. The program learns why.
    fn lose_port(&mut self, code: Code) -> io::Result<()> {
        self.lost = Some(code);
        for index in self.blocks.all_in_flight() {
            self.ask_to_end(index);
        }
        Err(self.io_error(code))
    }

    fn wait_without_port(&mut self, timeout: Option<Duration>, completions: &mut Completions) -> io::Result<()> {
        let start = Instant::now();
        loop {
            self.pool.look_for_calls();
            for index in self.blocks.all_in_flight() {
                let (status, count) = (self.blocks.block(index).status(), self.blocks.block(index).count());
                if status != STATUS_PENDING {
                    let code = self.port.code_of(status);
                    self.end(index, code, count, completions);
                }
            }
            self.drain(completions);
            self.bell.was_heard();
            if !completions.is_empty() || timeout.is_some_and(|timeout| start.elapsed() >= timeout) {
                return Ok(());
            }
            let is_idle = self.is_idle() && self.pool.is_idle();
            if let (true, Some(code)) = (is_idle, self.lost) {
                return Err(self.io_error(code));
            }
            thread::sleep(LOOK_TIME);
        }
    }

    fn io_error(&self, code: Code) -> io::Error {
        io::Error::from_raw_os_error(self.port.host_code(code))
    }

    /// A foreign event loop is about to wait.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if self.pool.look_for_calls() || self.bell.is_owed() {
            // The next turn looks again.
            self.bell.ring_at_once().map_err(|code| self.io_error(code))?;
        }
        self.port.watch().map_err(|code| self.io_error(code))
    }

    pub(crate) fn forget_descriptor(&mut self, descriptor: RawDescriptor) {
        self.bindings.set(descriptor, None);
    }

    /// Lets another port have a handle, where the system can.
    pub(crate) fn part_with(&mut self, descriptor: RawDescriptor) {
        self.port.dissociate(descriptor);
    }

    pub(crate) fn is_idle(&self) -> bool {
        // The pool's jobs own all their memory.
        self.blocks.count_in_flight() == 0 && self.waits.is_idle()
    }

    pub(crate) fn tells_what_went_out(&self) -> bool {
        self.port.tells_what_went_out()
    }

    pub(crate) fn wakeup(&self) -> Wakeup {
        Wakeup::Port(Arc::downgrade(&self.bell))
    }

    pub(crate) fn os_handle(&self) -> RawDescriptor {
        self.port.os_handle()
    }
}

fn finish(token: Token, outcome: Outcome, completions: &mut Completions) {
    completions.push_back(Completion { token, outcome });
}

/// The overlapped call for an operation; nothing where it is for the pool.
fn overlapped_call(submission: &Submission<'_>) -> Option<Call> {
    match (submission.class, submission.op) {
        (Class::Socket | Class::Listener, Op::Recv { .. }) => Some(Call::Receive),
        (Class::Socket | Class::Listener, Op::Send { .. }) => Some(Call::Send),
        // ConnectEx is of the internet.
        (Class::Socket | Class::Listener, Op::Connect { address: Address::Internet(_) }) => Some(Call::Connect),
        (Class::Socket | Class::Listener, Op::Accept) => Some(Call::Accept),
        (Class::Datagram, Op::RecvFrom { .. }) => Some(Call::ReceiveFrom),
        (Class::Datagram, Op::SendTo { .. }) => Some(Call::SendTo),
        // A stream takes what it can get of several buffers: the first.
        (Class::Stream, Op::Read { .. }) => Some(Call::Read),
        (Class::Stream, Op::Write { .. }) => Some(Call::Write),
        // Another program answers for it, inside the call.
        (Class::File { .. }, _) if submission.waits_by == WaitsBy::Patience => None,
        // A file's read or write is whole, and there is no call for several buffers. Without an offset it appends.
        (Class::File { .. }, Op::Read { .. }) if is_single(submission) => Some(Call::Read),
        (Class::File { .. }, Op::Write { .. }) if is_single(submission) && !submission.extends => Some(Call::Write),
        _ => None,
    }
}

fn is_single(submission: &Submission<'_>) -> bool {
    submission.parts.len() == 1 && submission.offset.is_some()
}
