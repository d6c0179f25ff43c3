//! A double of a completion port on a system that has none: withholds, reorders, delays, races and fails packets.
//!
//! The handles are this system's own descriptors, so that the whole engine runs on it against real files, sockets and
//! pipes; what is the double's is when a request is carried out, when its packet comes, and what comes of a cancel. Requests
//! are started, end and report as on Windows: in the overlapped structure first, in a packet then, and with no packet after
//! a refusal, or on handles that skip them. A test under Wine makes the same calls there and here, and compares.

mod calls;
#[cfg(test)]
mod control;
mod plan;
mod waits;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, epoll, eventfd};

#[cfg(test)]
pub(crate) use self::calls::named_pipe;
use self::calls::{Rests, Runs, Task, code_in_packet, code_of_errno, errno_of_code, last_code};
#[cfg(test)]
pub(crate) use self::control::Control;
pub(crate) use self::plan::{AtCancel, Fate, Plan, Timing};
pub(crate) use self::waits::Waits;
use super::blocks::{Call, STATUS_PENDING};
use super::port::*;
use crate::address::Address;
use crate::backend::{Descriptor, RawDescriptor};

/// A status that is not success, as the double has them: the code that it stands for, marked.
const FAILED: usize = 0xc000_0000;

fn status_of(code: Code) -> usize {
    if code == 0 { 0 } else { FAILED | code as usize }
}

/// What other threads post.
#[derive(Debug)]
struct Mailbox {
    keys: Mutex<Vec<usize>>,
    event: OwnedFd,
    is_closed: AtomicBool,
    /// Posts that find no room before one does.
    refusals: AtomicU32,
}

impl Mailbox {
    fn take(&self, mut with: impl FnMut(usize)) {
        // Empty already is as good.
        let _ = rustix::io::read(&self.event, &mut [0; 8]);
        self.keys.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).drain(..).for_each(&mut with);
    }
}

impl Post for Mailbox {
    fn post(&self, key: usize) -> Result<(), Code> {
        if self.is_closed.load(Ordering::Acquire) {
            return Err(ERROR_INVALID_HANDLE);
        }
        let (order, one_less) = (Ordering::AcqRel, |left: u32| left.checked_sub(1));
        if self.refusals.fetch_update(order, Ordering::Acquire, one_less).is_ok() {
            return Err(ERROR_NO_SYSTEM_RESOURCES);
        }
        self.keys.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(key);
        let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
        Ok(())
    }
}

/// A request that the double has.
#[derive(Debug)]
struct Pending {
    overlapped: *mut Overlapped,
    task: Task,
    fate: Fate,
    begun: Instant,
    /// When it was asked for its end.
    asked: Option<Instant>,
}

impl Pending {
    /// How long until it may be carried out.
    fn delay(&self, now: Instant) -> Duration {
        match self.fate.timing {
            Timing::After(time) => (self.begun + time).saturating_duration_since(now),
            _ => Duration::ZERO,
        }
    }

    /// How long until it lets go, if it was asked to.
    fn delay_of_cancel(&self, now: Instant) -> Option<Duration> {
        let asked = self.asked?;
        Some(match self.fate.at_cancel {
            AtCancel::EndsAfter(time) => (asked + time).saturating_duration_since(now),
            AtCancel::Ends | AtCancel::Loses => Duration::ZERO,
        })
    }
}

#[derive(Debug)]
struct State {
    plan: Plan,
    /// Descriptors whose packets come here, and whether they skip those of what ends inside the call.
    skips: BTreeMap<RawDescriptor, bool>,
    /// What those descriptors were of.
    nodes: BTreeMap<RawDescriptor, u64>,
    /// Sockets that somebody else has closed.
    closed: BTreeSet<RawDescriptor>,
    pending: Vec<Pending>,
    ready: VecDeque<Packet>,
    withheld: Vec<Packet>,
    late: Vec<(Instant, Packet)>,
    rests: Rests,
    /// How often each call was made.
    calls: BTreeMap<&'static str, u64>,
    is_closed: bool,
    /// What `associate` answers for what is not overlapped, or another port's.
    refuses_association: Option<Code>,
    provider_skips: bool,
    /// A write that a cancel has stopped tells of nothing, as on Windows.
    forgets_what_went_out: bool,
    manner: Manner,
    polls: Vec<libc::pollfd>,
}

/// The port.
#[derive(Debug)]
pub(crate) struct FakePort {
    state: Rc<RefCell<State>>,
    mailbox: Arc<Mailbox>,
    /// What a foreign loop waits on: an epoll set, filled when one is about to.
    watched: OwnedFd,
    in_watched: RefCell<Vec<OwnedFd>>,
}

impl FakePort {
    pub(crate) fn new(plan: Plan) -> io::Result<FakePort> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let watched = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&watched, &event, epoll::EventData::new_u64(0), epoll::EventFlags::IN)?;
        let mailbox = Arc::new(Mailbox {
            keys: Mutex::default(),
            event,
            is_closed: AtomicBool::new(false),
            refusals: AtomicU32::new(0),
        });
        let state = State {
            plan,
            skips: BTreeMap::new(),
            nodes: BTreeMap::new(),
            closed: BTreeSet::new(),
            pending: Vec::new(),
            ready: VecDeque::new(),
            withheld: Vec::new(),
            late: Vec::new(),
            rests: Rests::new(),
            calls: BTreeMap::new(),
            is_closed: false,
            refuses_association: None,
            provider_skips: true,
            forgets_what_went_out: false,
            manner: Manner::Overlapped,
            polls: Vec::new(),
        };
        Ok(FakePort { state: Rc::new(RefCell::new(state)), mailbox, watched, in_watched: RefCell::default() })
    }

    #[cfg(test)]
    pub(crate) fn control(&self) -> Control {
        Control { state: Rc::clone(&self.state), mailbox: Arc::clone(&self.mailbox) }
    }

    /// Starts a request as its fate has it.
    fn start(&self, name: &'static str, task: Task, overlapped: *mut Overlapped) -> Started {
        let mut state = self.state.borrow_mut();
        let number = state.count(name);
        let mut fate = state.plan.draw(name, number);
        if state.closed.contains(&task.descriptor) {
            return Started::Refused(WSAENOTSOCK);
        }
        if fate.timing == Timing::Inside && task.is_of_file() {
            // As Wine does: a file's requests are carried out inside the call, and their packets tell.
            fate.timing = Timing::PacketFirst;
        }
        if let Some(code) = fate.refused {
            return Started::Refused(code);
        }
        let task = Task { bytes_max: fate.bytes_max.max(1), ..task };
        let mut pending = Pending { overlapped, task, fate, begun: Instant::now(), asked: None };
        if let Some(code) = fate.fails {
            state.end(&pending, code, 0);
            return Started::Pending;
        }
        let outcome = match fate.timing {
            Timing::Inside | Timing::PacketFirst => pending.task.try_now(&mut state.rests),
            Timing::Late(_) => pending.task.try_now(&mut state.rests),
            Timing::Withheld | Timing::After(_) => None,
        };
        match outcome {
            None => state.pending.push(pending),
            // A warning: what fitted was moved, and the packet comes.
            Some((ERROR_MORE_DATA, count)) => state.end(&pending, ERROR_MORE_DATA, count),
            Some((0, count)) if fate.timing == Timing::Inside => {
                let skips = state.skips.get(&pending.task.descriptor).copied().unwrap_or(false);
                if skips {
                    state.write(&pending, 0, count);
                } else {
                    state.end(&pending, 0, count);
                }
                return Started::Ended(count as u32);
            }
            // What failed after its first bytes has begun, and tells of them in its packet.
            Some((code, 0)) if fate.timing == Timing::Inside => return Started::Refused(code),
            Some((code, count)) => state.end(&pending, code, count),
        }
        Started::Pending
    }

    /// Empties the epoll set of all but the mailbox: a foreign loop has ended its wait.
    fn unwatch(&self) {
        for descriptor in self.in_watched.borrow_mut().drain(..) {
            // It was added, and its description may be open elsewhere.
            let _ = epoll::delete(&self.watched, &descriptor);
        }
    }

    /// A request's task. `vectors` are of its buffer.
    fn task(call: Call, descriptor: RawDescriptor, vectors: &[Vector], overlapped: *mut Overlapped) -> Task {
        Task {
            call,
            descriptor,
            parts: Runs::of(vectors),
            // SAFETY: the caller keeps the structure alive, and nobody writes to it before this request has begun.
            offset: unsafe { (*overlapped).place() },
            address: None,
            sender: None,
            connection: -1,
            bytes_max: u64::MAX,
            is_begun: false,
            moved: 0,
        }
    }
}

impl State {
    /// Counts a call.
    fn count(&mut self, name: &'static str) -> u64 {
        let count = self.calls.entry(name).or_default();
        *count += 1;
        *count
    }

    /// The system's word on a request, where a program may look for it.
    fn write(&mut self, pending: &Pending, code: Code, count: u64) {
        // SAFETY: the caller of the `start_` call keeps the structure until the packet has been dequeued.
        unsafe {
            (&raw mut (*pending.overlapped).internal_high).write_volatile(count as usize);
            (&raw mut (*pending.overlapped).internal).write_volatile(status_of(code_in_packet(code)));
        }
    }

    /// A request ends, and its packet is on its way.
    fn end(&mut self, pending: &Pending, code: Code, count: u64) {
        self.write(pending, code, count);
        let packet = Packet::new(super::KEY_REQUEST, pending.overlapped, count as u32);
        match pending.fate.timing {
            Timing::Withheld => self.withheld.push(packet),
            Timing::Late(time) => self.late.push((Instant::now() + time, packet)),
            _ => self.ready.push_back(packet),
        }
    }

    /// Carries out what can be carried out now.
    fn go_on(&mut self, now: Instant) {
        let is_due = |(due, _): &mut (Instant, Packet)| *due <= now;
        self.ready.extend(self.late.extract_if(.., is_due).map(|(_, packet)| packet));
        let mut place = 0;
        while place < self.pending.len() {
            let pending = &mut self.pending[place];
            let may_begin = pending.delay(now) == Duration::ZERO;
            let lets_go = pending.delay_of_cancel(now) == Some(Duration::ZERO);
            let tries = may_begin && !(lets_go && pending.fate.at_cancel == AtCancel::Ends);
            let outcome = if tries { pending.task.try_now(&mut self.rests) } else { None };
            let outcome = match outcome {
                None if lets_go => {
                    let moved = if self.forgets_what_went_out { 0 } else { pending.task.moved };
                    Some((ERROR_OPERATION_ABORTED, moved))
                }
                outcome => outcome,
            };
            match outcome {
                Some((code, count)) => {
                    let pending = self.pending.remove(place);
                    self.end(&pending, code, count);
                }
                None => place += 1,
            }
        }
    }

    /// How long until a delay is over.
    fn next_delay(&self, now: Instant) -> Option<Duration> {
        let delays = self.pending.iter().flat_map(|pending| [Some(pending.delay(now)), pending.delay_of_cancel(now)]);
        let late = self.late.iter().map(|(due, _)| Some(due.saturating_duration_since(now)));
        delays.chain(late).flatten().filter(|delay| *delay > Duration::ZERO).min()
    }

    /// Gives packets out, in an order and number that chance has.
    fn hand_out(&mut self, packets: &mut [Packet]) -> usize {
        let count = self.plan.batch(self.ready.len().min(packets.len()));
        for packet in &mut packets[..count] {
            let place = self.plan.pick(self.ready.len());
            if let Some(next) = self.ready.remove(place) {
                *packet = next;
            }
        }
        count
    }
}

impl CompletionPort for FakePort {
    fn poster(&self) -> Arc<dyn Post> {
        Arc::clone(&self.mailbox) as Arc<dyn Post>
    }

    fn associate(&self, descriptor: RawDescriptor, _key: usize) -> Result<(), Code> {
        let mut state = self.state.borrow_mut();
        state.count("CreateIoCompletionPort");
        match state.refuses_association {
            Some(code) => Err(code),
            // By what it is, as numbers are used again; one file may be open twice, and so says nothing.
            None => {
                let (is_file, node) = calls::identity(descriptor);
                let before = state.nodes.insert(descriptor, node);
                if !is_file && before == Some(node) {
                    return Err(ERROR_INVALID_PARAMETER);
                }
                state.skips.insert(descriptor, false);
                state.closed.remove(&descriptor);
                Ok(())
            }
        }
    }

    fn skip_on_success(&self, descriptor: RawDescriptor, is_socket: bool) -> bool {
        let mut state = self.state.borrow_mut();
        state.count("SetFileCompletionNotificationModes");
        let skips = !is_socket || state.provider_skips;
        state.skips.insert(descriptor, skips);
        skips
    }

    fn is_socket(&self, descriptor: RawDescriptor) -> bool {
        !self.state.borrow().closed.contains(&descriptor)
    }

    fn is_pipe(&self, _descriptor: RawDescriptor) -> bool {
        // Those of the system beneath do not tell of writes of no bytes.
        false
    }

    fn manner(&self, _descriptor: RawDescriptor) -> Manner {
        self.state.borrow().manner
    }

    fn dissociate(&self, descriptor: RawDescriptor) {
        let mut state = self.state.borrow_mut();
        state.skips.remove(&descriptor);
        state.nodes.remove(&descriptor);
    }

    fn dequeue(&self, packets: &mut [Packet], timeout: Option<Duration>) -> Result<usize, Code> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        let mut state = self.state.borrow_mut();
        state.count("GetQueuedCompletionStatusEx");
        self.unwatch();
        loop {
            if state.is_closed {
                return Err(ERROR_ABANDONED_WAIT_0);
            }
            self.mailbox.take(|key| state.ready.push_back(Packet::new(key, std::ptr::null_mut(), 0)));
            let now = Instant::now();
            state.go_on(now);
            if !state.ready.is_empty() {
                return Ok(state.hand_out(packets));
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(now));
            if left == Some(Duration::ZERO) {
                return Ok(0);
            }
            let sleep = left.into_iter().chain(state.next_delay(now)).min();
            let State { pending, polls, .. } = &mut *state;
            let may_go_on = pending.iter().filter(|pending| pending.delay(now) == Duration::ZERO);
            let interests = may_go_on.map(|pending| (pending.task.descriptor, pending.task.interest()));
            calls::poll(&self.mailbox.event, interests, sleep.map(|sleep| sleep.as_nanos() as u64), polls);
        }
    }

    unsafe fn start_read(&self, descriptor: RawDescriptor, vector: Vector, overlapped: *mut Overlapped) -> Started {
        self.start("ReadFile", FakePort::task(Call::Read, descriptor, &[vector], overlapped), overlapped)
    }

    unsafe fn start_write(&self, descriptor: RawDescriptor, vector: Vector, overlapped: *mut Overlapped) -> Started {
        self.start("WriteFile", FakePort::task(Call::Write, descriptor, &[vector], overlapped), overlapped)
    }

    unsafe fn start_receive(
        &self,
        descriptor: RawDescriptor,
        vectors: &[Vector],
        _flags: *mut u32,
        overlapped: *mut Overlapped,
    ) -> Started {
        self.start("WSARecv", FakePort::task(Call::Receive, descriptor, vectors, overlapped), overlapped)
    }

    unsafe fn start_send(&self, descriptor: RawDescriptor, vectors: &[Vector], overlapped: *mut Overlapped) -> Started {
        self.start("WSASend", FakePort::task(Call::Send, descriptor, vectors, overlapped), overlapped)
    }

    unsafe fn start_receive_from(
        &self,
        descriptor: RawDescriptor,
        vectors: &[Vector],
        _flags: *mut u32,
        sender: *mut u8,
        sender_length: *mut i32,
        overlapped: *mut Overlapped,
    ) -> Started {
        let task = FakePort::task(Call::ReceiveFrom, descriptor, vectors, overlapped);
        self.start("WSARecvFrom", Task { sender: Some((sender, sender_length)), ..task }, overlapped)
    }

    unsafe fn start_send_to(
        &self,
        descriptor: RawDescriptor,
        vectors: &[Vector],
        address: Option<&Address>,
        overlapped: *mut Overlapped,
    ) -> Started {
        let task = FakePort::task(Call::SendTo, descriptor, vectors, overlapped);
        self.start("WSASendTo", Task { address: address.cloned(), ..task }, overlapped)
    }

    fn address(&self, bytes: &[u8]) -> Address {
        calls::address(bytes)
    }

    fn connect_datagrams(&self, descriptor: RawDescriptor, address: &Address) -> Result<(), Code> {
        calls::connect_datagrams(descriptor, address)
    }

    unsafe fn start_connect(
        &self,
        descriptor: RawDescriptor,
        address: &Address,
        overlapped: *mut Overlapped,
    ) -> Started {
        let task = FakePort::task(Call::Connect, descriptor, &[], overlapped);
        self.start("ConnectEx", Task { address: Some(address.clone()), ..task }, overlapped)
    }

    fn finish_connect(&self, _descriptor: RawDescriptor) -> Result<(), Code> {
        self.state.borrow_mut().count("SO_UPDATE_CONNECT_CONTEXT");
        Ok(())
    }

    fn new_connection(&self, listener: RawDescriptor) -> Result<Descriptor, Code> {
        calls::new_connection(listener).map_err(|error| code_of_errno(error.raw_os_error().unwrap_or(libc::EIO)))
    }

    unsafe fn start_accept(
        &self,
        listener: RawDescriptor,
        connection: &Descriptor,
        addresses: *mut u8,
        overlapped: *mut Overlapped,
    ) -> Started {
        // As Windows does: the memory is the request's.
        // SAFETY: there is as much room as the caller promises.
        unsafe { addresses.write_bytes(0xac, ACCEPT_BYTES) };
        let task = FakePort::task(Call::Accept, listener, &[], overlapped);
        self.start("AcceptEx", Task { connection: connection.raw(), ..task }, overlapped)
    }

    fn finish_accept(&self, _listener: RawDescriptor, connection: Descriptor) -> Result<Descriptor, Code> {
        self.state.borrow_mut().count("SO_UPDATE_ACCEPT_CONTEXT");
        Ok(connection)
    }

    fn cancel(&self, _descriptor: RawDescriptor, overlapped: *mut Overlapped) -> Result<(), Code> {
        let mut state = self.state.borrow_mut();
        state.count("CancelIoEx");
        match state.pending.iter_mut().find(|pending| pending.overlapped == overlapped) {
            Some(pending) => {
                pending.asked.get_or_insert_with(Instant::now);
                // Its end is written now if it ends now, as it may be looked for without a packet.
                state.go_on(Instant::now());
                Ok(())
            }
            None => Err(ERROR_NOT_FOUND),
        }
    }

    fn tells_what_went_out(&self) -> bool {
        !self.state.borrow().forgets_what_went_out
    }

    fn code_of(&self, status: usize) -> Code {
        debug_assert_ne!(status, STATUS_PENDING, "a packet of a request that has not ended");
        (status & !FAILED) as Code
    }

    fn host_code(&self, code: Code) -> i32 {
        errno_of_code(code)
    }

    fn watch(&self) -> Result<(), Code> {
        let mut state = self.state.borrow_mut();
        self.unwatch();
        // What has come due by now is there; of what comes later a delay tells. One moment for both, so that nothing falls
        // between them.
        let now = Instant::now();
        state.go_on(now);
        let mut watched = self.in_watched.borrow_mut();
        let add = |descriptor: OwnedFd, flags| match epoll::add(
            &self.watched,
            &descriptor,
            epoll::EventData::new_u64(0),
            flags,
        ) {
            Ok(()) => Ok(Some(descriptor)),
            // A file, which is always ready.
            Err(rustix::io::Errno::PERM) => Ok(None),
            Err(error) => Err(code_of_errno(error.raw_os_error())),
        };
        let mut is_ready = !state.ready.is_empty() || state.next_delay(now).is_some();
        for pending in &state.pending {
            let interest =
                if pending.task.interest() == libc::POLLIN { epoll::EventFlags::IN } else { epoll::EventFlags::OUT };
            // SAFETY: makes another number for a descriptor that the request keeps open.
            let copy = unsafe { libc::fcntl(pending.task.descriptor, libc::F_DUPFD_CLOEXEC, 0) };
            match add(calls::own(copy).map_err(|_| last_code())?, interest)? {
                Some(descriptor) => watched.push(descriptor),
                None => is_ready = true,
            }
        }
        if is_ready {
            let _ = rustix::io::write(&self.mailbox.event, &1u64.to_ne_bytes());
        }
        Ok(())
    }

    fn os_handle(&self) -> RawDescriptor {
        self.watched.as_raw_fd()
    }
}

impl Drop for FakePort {
    fn drop(&mut self) {
        self.mailbox.is_closed.store(true, Ordering::Release);
    }
}
