//! A machine that is not there: its disk and network are in memory, its clock moves when there is nothing else to do,
//! and chance decides, from a seed, how long everything takes and what goes wrong.
//!
//! `world` carries operations out, on `disk` and `network`, with `clock` for chance and time. This page is the backend
//! around it: it holds the program's buffers to the rules of memory. A buffer to be filled is poisoned until its
//! request ends, and a buffer to be written is compared with what it was: whoever touches either is found out.
#![allow(unsafe_code)]

pub(super) mod clock;
mod datagrams;
mod disk;
mod effects;
mod network;
mod world;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{
    Clock, Completion, Completions, Descriptor, Errno, Nature, OsDescriptor, RawDescriptor, SocketAnswer, SocketCall,
    StandardStream, Submission, Token, Wakeup, os,
};
use crate::address::Address;
use crate::buffer::Part;
use crate::op::{Class, Op};
use crate::sync::AtomicBool;
pub(crate) use world::Number;
use world::{LOOK_TIME, Report, Task, World};

/// What a lent buffer is full of until its request ends.
const POISON: u8 = 0xd7;

/// What goes wrong on a simulated machine. Probabilities are per request, from 0.0 to 1.0.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Faults {
    /// Reads, writes, sends and receives that move a part only.
    pub short_transfers: f64,
    /// Requests that take up to 50 ms longer.
    pub delays: f64,
    /// Operations on files and paths that fail with EIO.
    pub disk_errors: f64,
    /// Writes that land 512 bytes further on.
    pub misdirected_writes: f64,
    /// Sends and receives at which the connection is reset.
    pub resets: f64,
    /// Datagrams that are lost on their way.
    pub datagram_losses: f64,
    /// Receives that take up to 50 ms longer, so that the sender meets a full window.
    pub slow_readers: f64,
    /// Descriptors at once at most; beyond it EMFILE.
    pub descriptors: usize,
    /// Bytes of all files together at most; beyond it ENOSPC.
    pub disk_bytes: u64,
    /// Requests that the machine takes in between two waits; those beyond begin later, batch by batch.
    pub queue_entries: usize,
    /// Operations that the machine does not have, by the first word of their names in errors (`allocate`,
    /// `sync_data`): they fail with ENOSYS.
    pub missing_operations: Vec<String>,
}

impl Default for Faults {
    /// Nothing goes wrong.
    fn default() -> Faults {
        Faults {
            short_transfers: 0.0,
            delays: 0.0,
            disk_errors: 0.0,
            misdirected_writes: 0.0,
            resets: 0.0,
            datagram_losses: 0.0,
            slow_readers: 0.0,
            descriptors: 1 << 20,
            disk_bytes: u64::MAX,
            queue_entries: usize::MAX,
            missing_operations: Vec::new(),
        }
    }
}

/// One fault, for one operation; see [`Simulation::script`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum InjectedFault {
    /// It fails with this code of the OS, and has no effect.
    Error(i32),
    /// It moves a part only.
    Short,
    /// It takes so much longer.
    Delay(Duration),
    /// Its connection is reset.
    Reset,
    /// It lands 512 bytes further on.
    Misdirected,
}

/// A simulated machine, on which a scheduler can be started: [`Scheduler::simulated`](crate::Scheduler::simulated).
/// Clones are the same machine.
///
/// The same program on the same seed has the same history, whatever the real machine does. Files survive from one
/// scheduler to the next, and a [`crash`](Self::crash) takes what was not synced.
///
/// A log that forgets to sync its folder loses everything, on some seed:
/// ```
/// use corella::{Mode, Scheduler, Simulation};
///
/// fn survives(seed: u64, syncs_folder: bool) -> Result<bool, Box<dyn std::error::Error>> {
///     let machine = Simulation::new(seed);
///     let mut scheduler = Scheduler::simulated(&machine)?;
///     let io = scheduler.io();
///     scheduler.block_on(async move {
///         let log = io.open("/log", Mode::Append).await?;
///         log.write("important").await?;
///         log.sync().await?;
///         if syncs_folder {
///             io.sync_directory("/").await?;
///         }
///         Ok::<_, std::io::Error>(())
///     })??;
///     machine.crash();
///     Ok(machine.file("/log").is_some_and(|bytes| bytes == b"important"))
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// assert!((0..20).any(|seed| !survives(seed, false).unwrap()));
/// assert!((0..20).all(|seed| survives(seed, true).unwrap()));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Simulation {
    world: Rc<RefCell<World>>,
}

impl Simulation {
    /// A machine with an empty disk, on which nothing goes wrong.
    pub fn new(seed: u64) -> Simulation {
        Simulation { world: Rc::new(RefCell::new(World::new(seed))) }
    }

    /// Says what goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        let mut world = self.world.borrow_mut();
        world.disk.capacity = faults.disk_bytes;
        world.faults = faults;
    }

    /// Has `script` say what goes wrong, operation by operation: it is told the operation as errors name it
    /// (`write 5 bytes`) and how many there have been, and may answer with a fault. Where it does not, chance goes on.
    ///
    /// It must not use the machine.
    pub fn script(&self, script: impl FnMut(&str, u64) -> Option<InjectedFault> + 'static) {
        self.world.borrow_mut().script = Some(Box::new(script));
    }

    /// A random number for the program, from the seed.
    pub fn random(&self) -> u64 {
        self.world.borrow_mut().offered.next()
    }

    /// The machine's time since it was made.
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.world.borrow().now.get())
    }

    /// How many operations there have been.
    pub fn operations(&self) -> u64 {
        self.world.borrow().operations
    }

    /// Descriptors that are open.
    pub fn open_descriptors(&self) -> usize {
        let mut world = self.world.borrow_mut();
        world.sweep();
        world.open_descriptors()
    }

    /// A number made of all that has happened: the same for the same history.
    pub fn history(&self) -> u64 {
        self.world.borrow().history()
    }

    /// Stops the machine as a power cut does: bytes and names not synced are lost, torn or kept by chance, every
    /// connection is gone, and what is in flight fails. A new scheduler starts it again.
    pub fn crash(&self) {
        let mut world = self.world.borrow_mut();
        world.crash();
    }

    /// Has the machine crash at this time of its clock; then `run` and `block_on` return an error.
    pub fn crash_at(&self, time: Duration) {
        let time = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.world.borrow_mut().crash_at(time);
    }

    /// Lets nothing through between two addresses, in either direction, until [`heal`](Self::heal). What is sent over a
    /// connection is held back, datagrams are lost.
    pub fn partition(&self, one: IpAddr, other: IpAddr) {
        self.world.borrow_mut().network.partition(one, other);
    }

    /// Ends all partitions: what was held back arrives.
    pub fn heal(&self) {
        self.world.borrow_mut().heal();
    }

    /// Gives an address a name, for `connect_name` and `resolve`. `localhost` has one.
    pub fn add_name(&self, name: &str, address: IpAddr) {
        self.world.borrow_mut().network.add_name(name, address);
    }

    /// The bytes of a file as a program would read them, or nothing if there is no such file.
    pub fn file(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        self.world.borrow_mut().disk.contents(path.as_ref().as_os_str().as_encoded_bytes()).ok()
    }

    /// Has the program's standard input be this file, which is made if need be.
    ///
    /// The OS's error for a path that cannot be one.
    pub fn redirect_stdin(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.redirect(StandardStream::Input, path.as_ref())
    }

    /// Has what the program writes to its standard output go into this file, which is made if need be.
    ///
    /// The OS's error for a path that cannot be one.
    pub fn redirect_stdout(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.redirect(StandardStream::Output, path.as_ref())
    }

    fn redirect(&self, stream: StandardStream, path: &Path) -> io::Result<()> {
        Ok(self.world.borrow_mut().redirect(stream, path.as_os_str().as_encoded_bytes())?)
    }

    /// Puts a file on the disk, safe from crashes, with the directories to it.
    ///
    /// The OS's error for a path that cannot be one.
    pub fn add_file(&self, path: impl AsRef<Path>, bytes: impl Into<Vec<u8>>) -> io::Result<()> {
        let result = self.world.borrow_mut().disk.put(path.as_ref().as_os_str().as_encoded_bytes(), bytes.into());
        result.map_err(Into::into)
    }
}

impl fmt::Debug for Simulation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Simulation({:?})", self.world.borrow())
    }
}

/// What a request has lent.
#[derive(Debug)]
struct Lent {
    parts: Vec<Part>,
    /// What a buffer to be written holds; nothing for one to be filled.
    written: Option<Vec<u8>>,
}

/// The backend.
pub(crate) struct Simulated {
    world: Rc<RefCell<World>>,
    lent: BTreeMap<u64, Lent>,
    woken: Arc<AtomicBool>,
    /// Always ready, so that a foreign event loop turns the scheduler, which moves the clock.
    ready: OsDescriptor,
}

impl fmt::Debug for Simulated {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Simulated({:?})", self.world.borrow())
    }
}

impl Simulated {
    /// The machine, if no scheduler runs on it.
    pub(crate) fn new(simulation: &Simulation) -> io::Result<Simulated> {
        if simulation.world.borrow().is_used {
            return Err(Errno::BUSY.into());
        }
        let ready = os::always_ready()?;
        simulation.world.borrow_mut().start();
        let (lent, woken) = (BTreeMap::new(), Arc::new(AtomicBool::new(false)));
        Ok(Simulated { world: Rc::clone(&simulation.world), lent, woken, ready })
    }

    pub(super) fn submit(&mut self, submission: &Submission<'_>, _completions: &mut Completions) {
        let parts = submission.parts.to_vec();
        let length = parts.iter().map(|part| part.length).sum();
        let writes = matches!(submission.op, Op::Write { .. } | Op::Send { .. } | Op::SendTo { .. });
        let written = writes.then(|| contents(&parts));
        if !writes {
            poison(&parts);
        }
        let input = written.clone().unwrap_or_default();
        let token = submission.token.0;
        if !parts.is_empty() {
            self.lent.insert(token, Lent { parts, written });
        }
        let is_named = self.world.borrow().wants_names();
        let name = if is_named { submission.op.to_string() } else { String::new() };
        self.world.borrow_mut().begin(Task {
            token,
            name,
            op: submission.op.without_parts(),
            descriptor: submission.descriptor,
            class: submission.class,
            offset: submission.offset,
            length,
            input,
        });
    }

    /// Reads what the machine has in memory of a file: by chance all that was asked for, or nothing.
    pub(super) fn read_at_once(&self, raw: RawDescriptor, part: Part, offset: u64) -> u64 {
        match self.world.borrow_mut().read_at_once(raw, offset, part.length) {
            Some(bytes) => {
                fill(&[part], &bytes);
                bytes.len() as u64
            }
            None => 0,
        }
    }

    /// Sends at once what there is room for, by chance.
    pub(super) fn send_at_once(&self, raw: RawDescriptor, bytes: &[u8]) -> Option<Result<u64, i32>> {
        self.world.borrow_mut().send_at_once(raw, bytes)
    }

    pub(super) fn cancel(&mut self, token: Token, _op: &Op, _raw: RawDescriptor, _completions: &mut Completions) {
        self.world.borrow_mut().ask_cancel(token.0);
    }

    pub(super) fn cancel_all(&mut self, _completions: &mut Completions) -> bool {
        false
    }

    /// Moves the clock to what happens next, or to the end of `timeout`.
    pub(super) fn wait(&mut self, timeout: Option<Duration>, completions: &mut Completions) -> io::Result<()> {
        self.world.borrow_mut().batch = 0;
        let now = self.world.borrow().now.get();
        let until = match timeout {
            None => u64::MAX,
            // Looking takes time as well.
            Some(timeout) => now.saturating_add(u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX).max(LOOK_TIME)),
        };
        let was_woken = self.woken.swap(false, Ordering::AcqRel);
        let until = if was_woken || !completions.is_empty() { now + LOOK_TIME } else { until };
        loop {
            let next = self.world.borrow().next_time().filter(|time| *time <= until);
            let Some(time) = next else { break };
            let clock = Rc::clone(&self.world.borrow().now);
            clock.set(clock.get().max(time));
            self.happen(completions);
            if !completions.is_empty() {
                return Ok(());
            }
        }
        let world = self.world.borrow();
        if until < u64::MAX {
            world.now.set(until);
            return Ok(());
        }
        let what = match world.has_crashed {
            true => "the simulated machine has crashed",
            false => "nothing is left that could happen: the program waits for ever",
        };
        Err(io::Error::new(io::ErrorKind::Deadlock, what))
    }

    /// Has everything happen that is due.
    fn happen(&mut self, completions: &mut Completions) {
        loop {
            let step = self.world.borrow_mut().step();
            match step {
                None => return,
                Some(None) => {}
                Some(Some(report)) => completions.push_back(self.hand_back(report)),
            }
        }
    }

    /// Gives a request's buffer back, filled if it is to be.
    fn hand_back(&mut self, report: Report) -> Completion {
        let Report { token, outcome, output } = report;
        if let Some(lent) = self.lent.remove(&token) {
            match lent.written {
                Some(written) => assert!(
                    contents(&lent.parts) == written,
                    "somebody changed a buffer while it was being written (request {token})"
                ),
                None => {
                    assert!(
                        is_poisoned(&lent.parts),
                        "somebody wrote to a buffer while it was being filled (request {token})"
                    );
                    fill(&lent.parts, &output);
                }
            }
        }
        Completion { token: Token(token), outcome }
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    pub(super) fn has_completions(&mut self) -> bool {
        let world = self.world.borrow();
        let now = world.now.get() + LOOK_TIME;
        world.now.set(now);
        world.next_time().is_some_and(|time| time <= now)
    }

    pub(super) fn forget_descriptor(&mut self, descriptor: RawDescriptor) {
        let world = self.world.borrow();
        assert!(!world.is_in_flight(descriptor), "descriptor {descriptor} is given up with requests in flight on it");
    }

    pub(super) fn is_idle(&self) -> bool {
        self.world.borrow().in_flight() == 0
    }

    pub(super) fn clock(&self) -> Clock {
        Clock::Simulated(Rc::clone(&self.world.borrow().now))
    }

    pub(super) fn wakeup(&self) -> Wakeup {
        Wakeup::Flag(Arc::clone(&self.woken))
    }

    pub(super) fn os_handle(&self) -> RawDescriptor {
        os::raw(&self.ready)
    }

    pub(super) fn standard(&self, stream: StandardStream) -> io::Result<Descriptor> {
        Ok(self.world.borrow_mut().standard(stream)?)
    }

    pub(super) fn nature(&self, number: &Number) -> io::Result<Nature> {
        Ok(self.world.borrow().nature(number.raw())?)
    }

    pub(super) fn new_socket(&self, address: &Address, class: Class) -> io::Result<Descriptor> {
        Ok(self.world.borrow_mut().new_socket(address, class)?)
    }

    pub(super) fn socket_pair(&self, class: Class) -> io::Result<[Descriptor; 2]> {
        Ok(self.world.borrow_mut().socket_pair(class)?)
    }

    pub(super) fn pipe(&self) -> io::Result<[Descriptor; 2]> {
        Ok(self.world.borrow_mut().pipe()?)
    }

    pub(super) fn socket_call(&self, number: &Number, call: SocketCall) -> io::Result<SocketAnswer> {
        Ok(self.world.borrow_mut().socket_call(number.raw(), call)?)
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        self.world.borrow_mut().end();
    }
}

/// The bytes of a request's buffer.
fn contents(parts: &[Part]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.length).sum());
    for part in parts {
        // SAFETY: the parts are the backend's from submission to completion (see the page of backends), and those of a
        // write are initialized.
        bytes.extend_from_slice(unsafe { std::slice::from_raw_parts(part.pointer, part.length) });
    }
    bytes
}

fn poison(parts: &[Part]) {
    for part in parts {
        // SAFETY: the parts of a read are the backend's to write from submission to completion; nobody else reads them.
        unsafe { part.pointer.write_bytes(POISON, part.length) };
    }
}

fn is_poisoned(parts: &[Part]) -> bool {
    parts.iter().all(|part| {
        // SAFETY: still the backend's, and initialized by `poison`.
        unsafe { std::slice::from_raw_parts(part.pointer, part.length) }.iter().all(|byte| *byte == POISON)
    })
}

/// Puts what was read into the first bytes of the buffer.
fn fill(parts: &[Part], mut bytes: &[u8]) {
    for part in parts {
        let (now, later) = bytes.split_at(part.length.min(bytes.len()));
        // SAFETY: the backend's to write, until the request is reported or this call returns; `now` is no longer than the
        // part, and is memory of our own.
        unsafe { part.pointer.copy_from_nonoverlapping(now.as_ptr(), now.len()) };
        bytes = later;
    }
}
