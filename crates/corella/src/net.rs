//! TCP: listeners, connections, names. What the Unix domain has besides is in `unix_socket`.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use crate::address::Address;
use crate::backend::{
    Descriptor, OwnedSocket, RawDescriptor, SocketAnswer, SocketCall, Value, codes, expect_socket, from_socket,
    into_socket, lingers, set_nonblocking,
};
use crate::buffer::{Buffer, BufferMut, Parts, ReadToEnd, tell_filled};
use crate::buffer_pool::{BufferPool, Place, PooledBuffer};
use crate::error::{Error, ErrorKind, Moved};
use crate::op::{Class, Extent, Op, Shutdown, Transfer};
use crate::operation::{Action, ActionReport, ChainHook, OpenedHandle, Operation, Plan, Sealed};
use crate::plain::{HandleRef, Plain, Reading, Writing};
use crate::queue::handles::{Broken, Handle, HandleKey, Pushback, Target};
use crate::queue::slots::{ChainStep, Payload, Report};
use crate::scheduler::Io;

/// Connections that wait to be accepted, at most.
pub(crate) const BACKLOG: i32 = 1024;
/// How long a stream of accepts pauses when there are no descriptors left: at first, and at most.
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// A connection, or a socket on its way to be one: TCP, or of the Unix domain. Clones are the same handle.
///
/// Sends go out in the order they were submitted, receives fill in that order. Dropping the last clone closes it in
/// the background: queued sends go out first, receives are cancelled.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut scheduler = corella::Scheduler::new()?;
/// let io = scheduler.io();
/// let listener = io.listen("127.0.0.1:0".parse()?)?;
/// let address = listener.local_address()?;
/// io.spawn(async move {
///     let connection = listener.accept().await?;
///     let (count, buffer) = connection.recv(vec![0; 64]).await?;
///     connection.send(buffer[..count].to_vec()).await?;
///     Ok::<_, std::io::Error>(())
/// })?;
/// let echoed = scheduler.block_on(async move {
///     let socket = io.connect(address).await?;
///     socket.send("hello").await?;
///     let (_, buffer) = socket.recv_exact(vec![0; 5]).await?;
///     Ok::<_, std::io::Error>(buffer)
/// })??;
/// assert_eq!(echoed, b"hello");
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Socket {
    pub(crate) handle: HandleRef,
}

/// Receives are clones of the socket, sends too: two names for the same handle, for two tasks.
impl Socket {
    /// Receives what there is, up to the buffer's room. Zero is the peer's end.
    ///
    /// A `Vec` is filled up to its length, and an empty one gets nothing: `vec![0; 64]`, or
    /// [`spare()`](crate::SpareCapacity::spare) to append into its capacity.
    ///
    /// Gives `(usize, B)`, the bytes and the buffer; fails with [`Failed<B>`](crate::Failed), the buffer in it.
    pub fn recv<B: BufferMut + Unpin>(&self, buffer: B) -> Operation<Reading<B>> {
        self.handle.transfer(Transfer::Receive(Extent::Some), Reading(buffer))
    }

    /// Fills the whole buffer, or fails with `UnexpectedEnd`.
    ///
    /// A `Vec` is filled up to its length, and an empty one gets nothing: `vec![0; 64]`, or
    /// [`spare()`](crate::SpareCapacity::spare) to append into its capacity.
    ///
    /// Gives `(usize, B)`, the bytes and the buffer; fails with [`Failed<B>`](crate::Failed), the buffer in it.
    pub fn recv_exact<B: BufferMut + Unpin>(&self, buffer: B) -> Operation<Reading<B>> {
        self.handle.transfer(Transfer::Receive(Extent::Exact), Reading(buffer))
    }

    /// Appends everything up to the peer's end to `bytes`.
    ///
    /// Gives `(usize, Vec<u8>)`, the bytes and the buffer; fails with [`Failed<Vec<u8>>`](crate::Failed), the buffer in it.
    pub fn recv_to_end(&self, bytes: Vec<u8>) -> Operation<ReadToEnd> {
        let op = Op::Recv { extent: Extent::ToEnd, parts: Parts::default() };
        self.handle.operation(op, ReadToEnd::new(bytes))
    }

    /// Receives into buffers of `pool`, as a stream.
    pub fn recv_stream(&self, pool: &BufferPool) -> RecvStream {
        RecvStream { socket: self.clone(), pool: pool.clone() }
    }

    /// Sends the whole buffer.
    ///
    /// Gives `(usize, B)`, the bytes and the buffer; fails with [`Failed<B>`](crate::Failed), the buffer in it.
    pub fn send<B: Buffer + Unpin>(&self, buffer: B) -> Operation<Writing<B>> {
        self.handle.transfer(Transfer::Send, Writing(buffer))
    }

    /// Sends at once what there is room for, and waits for nothing: gives how many bytes went out. It is no request, takes no
    /// buffer away and allocates nothing.
    ///
    /// Zero if nothing could be sent now: there is no room, sends before it have not gone out, the handle is being closed, or
    /// the system has no such call (Windows). What has not gone out is for [`send`](Self::send). Many small sends of one turn are
    /// cheaper as requests, which are handed over in one call.
    ///
    /// If a part has gone out, the next send goes on with it: should that one fail or be cancelled, the lane is broken, though it
    /// had sent nothing itself.
    ///
    /// Fails with [`Error`]; then the connection takes no more sends.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut scheduler = corella::Scheduler::new()?;
    /// # let (socket, peer) = scheduler.io().socket_pair()?;
    /// let bytes = b"a short message";
    /// let sent = socket.try_send(bytes)?;
    /// if sent < bytes.len() {
    ///     scheduler.block_on(socket.send(&bytes[sent..]))??;
    /// }
    /// # assert_eq!(scheduler.block_on(peer.recv(vec![0; 64]))??.0, bytes.len());
    /// # Ok(()) }
    /// ```
    pub fn try_send(&self, bytes: &[u8]) -> Result<usize, Error> {
        let core = self.handle.io.core("send")?;
        let sent = core.queue.borrow_mut().send_at_once(self.handle.key, bytes)?;
        Ok(sent as usize)
    }

    /// Says that nobody will go on with what [`try_send`](Self::try_send) has sent in part: no more is sent.
    #[doc(hidden)]
    pub fn give_up_rest(&self) {
        if let Ok(core) = self.handle.io.try_core() {
            core.queue.borrow_mut().give_up_rest(self.handle.key);
        }
    }

    /// Settles when a receive would find something: bytes, the peer's end, or an error. Nothing is taken by it.
    ///
    /// Gives `()`; fails with [`Error`].
    pub fn readable(&self) -> Operation<Plain> {
        self.handle.operation(Op::AwaitReady { writes: false }, Plain)
    }

    /// Settles when a send would find room, or an error. It waits for the sends before it.
    ///
    /// Gives `()`; fails with [`Error`].
    pub fn writable(&self) -> Operation<Plain> {
        self.handle.operation(Op::AwaitReady { writes: true }, Plain)
    }

    /// Connects an unconnected socket. Sends and receives submitted after it wait for it.
    ///
    /// Gives `()`; fails with [`Error`].
    pub fn connect(&self, address: SocketAddr) -> Operation<Plain> {
        self.handle.operation(Op::Connect { address: address.into() }, Plain)
    }

    /// Shuts a direction down. That of sending after the sends before it.
    ///
    /// Gives `()`; fails with [`Error`].
    pub fn shutdown(&self, how: Shutdown) -> Operation<Plain> {
        self.handle.operation(Op::Shutdown { how }, Plain)
    }

    /// Settles when everything before it on this handle has, and holds back everything after.
    ///
    /// Gives `()`; fails with [`Error`].
    pub fn barrier(&self) -> Operation<Plain> {
        self.handle.operation(Op::Barrier, Plain)
    }

    /// Closes the handle for all its clones: queued sends go out first (within the deadline), receives are cancelled.
    ///
    /// Gives `()`; fails with [`Error`].
    pub fn close(&self) -> Operation<Plain> {
        self.handle.close(false)
    }

    /// Closes the handle for all its clones; queued sends are cancelled too.
    ///
    /// Gives `()`; fails with [`Error`].
    pub fn close_now(&self) -> Operation<Plain> {
        self.handle.close(true)
    }

    /// Whether it takes requests.
    pub fn is_open(&self) -> bool {
        self.handle.is_open()
    }

    /// Gives an unconnected socket its own address.
    pub fn bind(&self, address: SocketAddr) -> Result<(), Error> {
        self.handle.set(format!("bind to {address}"), SocketCall::Bind(address.into()))
    }

    /// Makes a bound socket a listener.
    pub fn listen(self) -> Result<Listener, Error> {
        self.handle.set("listen", SocketCall::Listen(BACKLOG))?;
        self.handle.set_class(Class::Listener);
        Ok(Listener { handle: self.handle.clone() })
    }

    /// Its own address; of a socket of the internet. [`local_endpoint`](Self::local_endpoint) has those of all.
    pub fn local_address(&self) -> Result<SocketAddr, Error> {
        self.handle.internet("local address", SocketCall::LocalAddress)
    }

    /// The peer's address; of a socket of the internet. [`peer_endpoint`](Self::peer_endpoint) has those of all.
    pub fn peer_address(&self) -> Result<SocketAddr, Error> {
        self.handle.internet("peer address", SocketCall::PeerAddress)
    }

    /// Sends small writes at once instead of gathering them (TCP_NODELAY).
    pub fn set_no_delay(&self, yes: bool) -> Result<(), Error> {
        self.handle.set("set no_delay", SocketCall::SetNoDelay(yes))
    }

    /// Whether small writes go out at once.
    pub fn no_delay(&self) -> Result<bool, Error> {
        match self.handle.ask("no_delay", SocketCall::NoDelay)? {
            SocketAnswer::Flag(yes) => Ok(yes),
            other => unreachable!("no_delay gave {other:?}"),
        }
    }

    /// Has the OS probe an idle connection (SO_KEEPALIVE), after `idle` if given.
    pub fn set_keep_alive(&self, yes: bool, idle: Option<Duration>) -> Result<(), Error> {
        self.handle.set("set keep_alive", SocketCall::SetKeepAlive(yes, idle))
    }

    /// What a close does with bytes not yet acknowledged (SO_LINGER): `Some(0)` resets the connection.
    pub fn set_linger(&self, duration: Option<Duration>) -> Result<(), Error> {
        self.handle.set("set linger", SocketCall::SetLinger(duration))?;
        self.handle.set_lingers(duration.is_some_and(|duration| !duration.is_zero()));
        Ok(())
    }

    /// Asks for a send buffer of so many bytes; the OS has the last word.
    pub fn set_send_buffer(&self, bytes: usize) -> Result<(), Error> {
        self.handle.set("set send buffer", SocketCall::SetSendBuffer(bytes))
    }

    /// Asks for a receive buffer of so many bytes; the OS has the last word.
    pub fn set_receive_buffer(&self, bytes: usize) -> Result<(), Error> {
        self.handle.set("set receive buffer", SocketCall::SetReceiveBuffer(bytes))
    }

    /// How many routers a packet may pass (IP_TTL, IPv4).
    pub fn set_time_to_live(&self, hops: u32) -> Result<(), Error> {
        self.handle.set("set time to live", SocketCall::SetTimeToLive(hops))
    }

    /// Lets an address be bound again right after its last user (SO_REUSEADDR).
    pub fn set_reuse_address(&self, yes: bool) -> Result<(), Error> {
        self.handle.set("set reuse_address", SocketCall::SetReuseAddress(yes))
    }

    /// The socket's pending error, cleared by asking (SO_ERROR).
    pub fn take_error(&self) -> Result<Option<std::io::Error>, Error> {
        match self.handle.ask("take error", SocketCall::TakeError)? {
            SocketAnswer::Pending(error) => Ok(error),
            other => unreachable!("take error gave {other:?}"),
        }
    }

    /// Takes the connection out of this scheduler, to be adopted by another, on any thread.
    ///
    /// `Busy`, with the socket, while it has other clones or requests in flight.
    pub fn detach(self) -> Result<Detached, (Socket, Error)> {
        match self.handle.give_away() {
            Ok(detached) => Ok(detached),
            Err(error) => Err((self, error)),
        }
    }

    /// Hands the descriptor back as the standard library's, blocking, with the bytes that had been received for
    /// requests that nobody waited for. Errors as for [`detach`](Self::detach).
    pub fn into_std(self) -> Result<(TcpStream, Vec<u8>), (Socket, Error)> {
        let detached = self.detach()?;
        // A socket whose mode cannot be set is not one; the standard library's calls will say so.
        let _ = set_nonblocking(&detached.descriptor, false);
        Ok((detached.descriptor.into(), detached.received))
    }

    /// The OS's number for it, or nothing once it is closed.
    pub fn descriptor_number(&self) -> Option<RawDescriptor> {
        self.handle.descriptor_number()
    }
}

/// A connection between two schedulers: it may go to another thread.
#[derive(Debug)]
pub struct Detached {
    descriptor: OwnedSocket,
    /// Bytes that had been received for requests that nobody waited for: the first that the next receive gets.
    received: Vec<u8>,
    /// Connections that had been accepted so.
    connections: Vec<OwnedSocket>,
    /// A send on it failed, so that there is a gap after which nothing may be sent.
    broken: Option<Broken>,
}

impl Detached {
    /// The bytes already received.
    pub fn received(&self) -> &[u8] {
        &self.received
    }

    /// The descriptor, the bytes already received, and connections already accepted.
    pub fn into_parts(self) -> (OwnedSocket, Vec<u8>, Vec<OwnedSocket>) {
        (self.descriptor, self.received, self.connections)
    }
}

impl From<TcpStream> for Detached {
    fn from(stream: TcpStream) -> Detached {
        Detached { descriptor: stream.into(), received: Vec::new(), connections: Vec::new(), broken: None }
    }
}

impl From<TcpListener> for Detached {
    fn from(listener: TcpListener) -> Detached {
        Detached { descriptor: listener.into(), received: Vec::new(), connections: Vec::new(), broken: None }
    }
}

impl From<OwnedSocket> for Detached {
    fn from(descriptor: OwnedSocket) -> Detached {
        Detached { descriptor, received: Vec::new(), connections: Vec::new(), broken: None }
    }
}

/// Calls on a handle's socket that finish at once.
impl HandleRef {
    pub(crate) fn ask(&self, operation: impl Into<String>, call: SocketCall) -> Result<SocketAnswer, Error> {
        let operation = operation.into();
        let core = self.io.core(&operation)?;
        let queue = core.queue.borrow();
        let handle = queue.handles.find(self.key).map(|index| &queue.handles[index]);
        let Some((handle, descriptor)) = handle.and_then(|handle| Some((handle, handle.descriptor.as_ref()?))) else {
            return Err(Error::new(ErrorKind::Closed, operation, self.closed_name()));
        };
        let answer = queue.backend.socket_call(descriptor, call);
        answer.map_err(|error| Error::from_io(&error, operation, handle.name(&queue.backend)))
    }

    pub(crate) fn set(&self, operation: impl Into<String>, call: SocketCall) -> Result<(), Error> {
        self.ask(operation, call).map(drop)
    }

    pub(crate) fn address(&self, operation: &str, call: SocketCall) -> Result<Address, Error> {
        match self.ask(operation, call)? {
            SocketAnswer::Address(address) => Ok(address),
            other => unreachable!("{operation} gave {other:?}"),
        }
    }

    fn internet(&self, operation: &str, call: SocketCall) -> Result<SocketAddr, Error> {
        let address = self.address(operation, call)?;
        let other = || Error::new(ErrorKind::InvalidInput, operation, address.to_string());
        address.as_internet().ok_or_else(|| other().with_note("it is not of the internet"))
    }

    /// Whether its close waits; what it accepts inherits that.
    fn lingers(&self) -> bool {
        let Ok(core) = self.io.try_core() else { return false };
        let queue = core.queue.borrow();
        queue.handles.find(self.key).is_some_and(|index| queue.handles[index].lingers)
    }

    fn set_lingers(&self, lingers: bool) {
        if let Ok(core) = self.io.try_core()
            && let Some(handle) = core.queue.borrow_mut().handles.get_mut(self.key)
        {
            handle.lingers = lingers;
        }
    }

    fn set_class(&self, class: Class) {
        if let Ok(core) = self.io.try_core()
            && let Some(handle) = core.queue.borrow_mut().handles.get_mut(self.key)
        {
            handle.class = class;
        }
    }

    pub(crate) fn give_away(&self) -> Result<Detached, Error> {
        let core = self.io.core("hand over")?;
        let given = core.queue.borrow_mut().give_away(self.key, self.is_the_only());
        let (descriptor, handle) = given.map_err(|kind| Error::new(kind, "hand over", ""))?;
        let broken = match handle.broken {
            Some(Broken::UntilHanded(_) | Broken::ForGood) => Some(Broken::ForGood),
            Some(Broken::Partly | Broken::PartlyUntil(_)) => Some(Broken::Partly),
            None => None,
        };
        let pushback = handle.pushback.map_or_else(Pushback::default, |pushback| *pushback);
        let (received, connections) = pushback.into_parts();
        let owned = |connection: Descriptor| Some(into_socket(connection.into_os().ok()?));
        let connections = connections.into_iter().filter_map(owned).collect();
        let descriptor = into_socket(descriptor);
        Ok(Detached { descriptor, received, connections, broken })
    }

    pub(crate) fn descriptor_number(&self) -> Option<RawDescriptor> {
        let core = self.io.try_core().ok()?;
        let queue = core.queue.borrow();
        let handle = &queue.handles[queue.handles.find(self.key)?];
        handle.descriptor.as_ref().and_then(Descriptor::os_number)
    }
}

/// A socket that takes connections, over TCP or of the Unix domain. Clones are the same handle.
#[derive(Clone, Debug)]
pub struct Listener {
    pub(crate) handle: HandleRef,
}

/// Gives a connection that was accepted.
#[derive(Debug)]
pub struct Accepting {
    lingers: bool,
}

impl Sealed for Accepting {}

impl Action for Accepting {
    type Output = Socket;
    type Error = Error;

    fn finish(self, io: &Io, report: ActionReport) -> Result<Socket, Error> {
        let Value::Descriptor(descriptor) = report.0.result? else { unreachable!("accept gives a descriptor") };
        let handle = io.new_handle("accept", descriptor, Class::Socket)?;
        if self.lingers {
            handle.set_lingers(true);
        }
        Ok(Socket { handle })
    }
}

impl Listener {
    /// Accepts one connection.
    ///
    /// Gives a [`Socket`]; fails with [`Error`].
    pub fn accept(&self) -> Operation<Accepting> {
        self.handle.operation(Op::Accept, Accepting { lingers: self.handle.lingers() })
    }

    /// Settles when a accept would find something: a connection, or an error. Nothing is taken by it.
    ///
    /// Gives `()`; fails with [`Error`].
    pub fn readable(&self) -> Operation<Plain> {
        self.handle.operation(Op::AwaitReady { writes: false }, Plain)
    }

    /// Accepts one after the other, until it is closed.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut scheduler = corella::Scheduler::new()?;
    /// # let io = scheduler.io();
    /// let listener = io.listen("127.0.0.1:0".parse()?)?;
    /// # let client = io.connect(listener.local_address()?).submit()?;
    /// let mut connections = listener.incoming();
    /// let first = scheduler.block_on(connections.next())?.unwrap()?;
    /// # client.wait()?;
    /// listener.close().wait()?;
    /// assert!(scheduler.block_on(connections.next())?.is_none());
    /// # drop(first); Ok(()) }
    /// ```
    pub fn incoming(&self) -> Incoming {
        Incoming { listener: self.clone(), pause: None }
    }

    /// Its own address, of the internet; after listening on port 0 it has the port.
    pub fn local_address(&self) -> Result<SocketAddr, Error> {
        self.handle.internet("local address", SocketCall::LocalAddress)
    }

    /// Closes the handle for all its clones; accepts are cancelled.
    pub fn close(&self) -> Operation<Plain> {
        self.handle.close(false)
    }

    /// Whether it takes requests.
    pub fn is_open(&self) -> bool {
        self.handle.is_open()
    }

    /// Takes the listener out of this scheduler, with connections already accepted. Errors as for
    /// [`Socket::detach`].
    pub fn detach(self) -> Result<Detached, (Listener, Error)> {
        match self.handle.give_away() {
            Ok(detached) => Ok(detached),
            Err(error) => Err((self, error)),
        }
    }
}

/// Connections as they come; see [`Listener::incoming`].
#[derive(Debug)]
pub struct Incoming {
    listener: Listener,
    /// What the next accept waits first, after one that failed for lack of something.
    pause: Option<Duration>,
}

impl Incoming {
    /// The next connection; nothing once the listener is closed.
    ///
    /// An error is of one accept: the next call goes on. When the process or the system is out of descriptors or
    /// memory (`EMFILE`, `ENFILE`, `ENOBUFS`, `ENOMEM`), it first waits 5 ms, and twice as long after each further such
    /// error up to a second, so that a loop over all errors does not spin.
    pub async fn next(&mut self) -> Option<Result<Socket, Error>> {
        if let Some(pause) = self.pause {
            // Where there is no time any more, the accept says why.
            let _ = self.listener.handle.io.sleep(pause).await;
        }
        match self.listener.accept().await {
            Err(_) if !self.listener.is_open() => None,
            outcome => {
                let lacks = outcome.as_ref().err().and_then(Error::os_code).is_some_and(is_shortage);
                let longer = self.pause.map_or(PAUSE_MIN, |pause| (pause * 2).min(PAUSE_MAX));
                self.pause = lacks.then_some(longer);
                Some(outcome)
            }
        }
    }
}

/// Whether the OS says that it is out of descriptors or memory, which may be over soon.
fn is_shortage(code: i32) -> bool {
    [codes::EMFILE, codes::ENFILE, codes::ENOBUFS, codes::ENOMEM].contains(&code)
}

/// Bytes as they come, in buffers of a pool; see [`Socket::recv_stream`].
///
/// While every buffer of the pool is out nothing is received: the peer is slowed down instead of this program's memory
/// growing.
#[derive(Debug)]
pub struct RecvStream {
    socket: Socket,
    pool: BufferPool,
}

impl RecvStream {
    /// The next bytes, in a buffer that returns to the pool when it is dropped; nothing at the peer's end.
    ///
    /// With all buffers out `await` and `wait` wait for one, `submit` and `then` answer `Rejected`.
    #[expect(clippy::should_implement_trait, reason = "the name that streams give it")]
    pub fn next(&mut self) -> Operation<ReceivingPooled> {
        let action = ReceivingPooled { pool: self.pool.clone(), buffer: None, place: None };
        self.socket.handle.transfer(Transfer::Receive(Extent::Some), action)
    }
}

/// Gives received bytes in a pooled buffer.
#[derive(Debug)]
pub struct ReceivingPooled {
    pool: BufferPool,
    buffer: Option<PooledBuffer>,
    /// In the line for a buffer.
    place: Option<Place>,
}

impl Sealed for ReceivingPooled {}

impl Action for ReceivingPooled {
    type Output = Option<PooledBuffer>;
    type Error = Error;

    fn prepare(&mut self, waker: Option<&std::task::Waker>) -> bool {
        if self.buffer.is_none() {
            self.buffer = self.pool.take();
            match (&self.buffer, waker) {
                (None, Some(waker)) => self.pool.wait_for_one(&mut self.place, waker),
                (None, None) => {}
                (Some(_), _) => self.place = None,
            }
        }
        self.buffer.is_some()
    }

    fn parts(&mut self, parts: &mut Parts) {
        if let Some(buffer) = &mut self.buffer {
            buffer.target_parts(parts);
        }
    }

    fn finish(mut self, _io: &Io, report: ActionReport) -> Result<Option<PooledBuffer>, Error> {
        report.0.result?;
        let count = report.0.moved.bytes();
        let Some(mut buffer) = self.buffer.take() else { return Ok(None) };
        tell_filled(&mut buffer, count);
        Ok((count > 0).then_some(buffer))
    }
}

/// Gives the addresses of a name.
#[derive(Debug)]
pub struct Resolving;

impl Sealed for Resolving {}

impl Action for Resolving {
    type Output = Vec<SocketAddr>;
    type Error = Error;

    fn finish(self, _io: &Io, report: ActionReport) -> Result<Vec<SocketAddr>, Error> {
        match report.0.result? {
            Value::Addresses(addresses) => Ok(addresses),
            other => unreachable!("resolve gave {other:?}"),
        }
    }
}

/// Gives a connection: resolves a name if need be, and tries its addresses in turn.
#[derive(Debug)]
pub struct Connecting {
    /// Those not tried yet, last first.
    left: Vec<SocketAddr>,
    socket: Option<Socket>,
}

impl Sealed for Connecting {}

impl Action for Connecting {
    type Output = Socket;
    type Error = Error;

    const CHAIN: Option<ChainHook> = Some(ChainHook(Connecting::advance));

    fn open(&mut self, io: &Io, address: &Address) -> Result<OpenedHandle, Error> {
        let socket = io.new_socket(address)?;
        let key = socket.handle.key;
        self.socket = Some(socket);
        Ok(OpenedHandle(key))
    }

    fn finish(self, _io: &Io, report: ActionReport) -> Result<Socket, Error> {
        report.0.result?;
        match self.socket {
            Some(socket) => Ok(socket),
            None => unreachable!("a connect that succeeds has a socket"),
        }
    }
}

impl Connecting {
    /// To one address alone.
    pub(crate) fn to_one() -> Connecting {
        Connecting { left: Vec::new(), socket: None }
    }

    /// After the look-up, or after an address that failed: the next one.
    fn advance(payload: &mut Payload, io: &Io, report: Report) -> ChainStep {
        let Some(this) = payload.get_mut::<Connecting>() else { unreachable!("the payload is the action's") };
        let failure = match report.result {
            Ok(Value::Addresses(mut addresses)) => {
                addresses.reverse();
                this.left = addresses;
                None
            }
            Err(error) if error.kind() == ErrorKind::Os => Some(error),
            result => return ChainStep::Settle(Report { result, moved: report.moved }),
        };
        let Some(address) = this.left.pop() else {
            let none = || Error::new(ErrorKind::NameNotResolved, "connect", "").with_note("it has no address");
            let result = Err(failure.unwrap_or_else(none));
            return ChainStep::Settle(Report { result, moved: Moved::NotStarted });
        };
        let address = Address::from(address);
        match io.new_socket(&address) {
            Ok(socket) => {
                let key = socket.handle.key;
                // The one that failed is closed in the background.
                this.socket = Some(socket);
                ChainStep::Next(Op::Connect { address }, key)
            }
            Err(error) => ChainStep::Settle(Report { result: Err(error), moved: Moved::NotStarted }),
        }
    }
}

impl Io {
    pub(crate) fn new_handle(&self, operation: &str, descriptor: Descriptor, class: Class) -> Result<HandleRef, Error> {
        let core = self.core(operation)?;
        let handle = Handle::new(descriptor, class, Target::Socket);
        let key: HandleKey = core.queue.borrow_mut().adopt(handle);
        Ok(HandleRef::new(self.clone(), key, None))
    }

    fn new_socket(&self, address: &Address) -> Result<Socket, Error> {
        let operation = "socket";
        let made = self.core(operation)?.queue.borrow().backend.new_socket(address, Class::Socket);
        let descriptor = made.map_err(|error| Error::from_io(&error, operation, address.to_string()))?;
        self.new_handle(operation, descriptor, Class::Socket).map(|handle| Socket { handle })
    }

    /// An unconnected TCP socket of the same family as `address`, for what has to be set before it connects or
    /// listens.
    pub fn socket(&self, address: SocketAddr) -> Result<Socket, Error> {
        self.new_socket(&address.into())
    }

    /// Listens for TCP connections on `address`; port 0 has the OS choose one. The address may be bound again right
    /// after its last user.
    pub fn listen(&self, address: SocketAddr) -> Result<Listener, Error> {
        let operation = "listen";
        let core = self.core(operation)?;
        let make = || {
            let backend = &core.queue.borrow().backend;
            let descriptor = backend.new_socket(&address.into(), Class::Socket)?;
            backend.socket_call(&descriptor, SocketCall::SetReuseAddress(true))?;
            backend.socket_call(&descriptor, SocketCall::Bind(address.into()))?;
            backend.socket_call(&descriptor, SocketCall::Listen(BACKLOG))?;
            Ok::<Descriptor, std::io::Error>(descriptor)
        };
        let descriptor = make().map_err(|error| Error::from_io(&error, operation, address.to_string()))?;
        self.new_handle(operation, descriptor, Class::Listener).map(|handle| Listener { handle })
    }

    /// Connects to an address over TCP.
    ///
    /// Gives a [`Socket`]; fails with [`Error`].
    pub fn connect(&self, address: SocketAddr) -> Operation<Connecting> {
        let action = Connecting::to_one();
        Operation::new(self.clone(), Plan::Connect(address.into()), action)
    }

    /// Resolves a name on the pool and connects to its addresses in turn, until one answers. A deadline covers it
    /// all.
    ///
    /// Gives a [`Socket`]; fails with [`Error`].
    pub fn connect_name(&self, name: &str, port: u16) -> Operation<Connecting> {
        let action = Connecting { left: Vec::new(), socket: None };
        Operation::new(self.clone(), resolve_plan(name, port), action)
    }

    /// The addresses of a name, by the system's resolver on the pool.
    ///
    /// Gives a `Vec<SocketAddr>`; fails with [`Error`].
    pub fn resolve(&self, name: &str, port: u16) -> Operation<Resolving> {
        Operation::new(self.clone(), resolve_plan(name, port), Resolving)
    }

    /// Takes a connection over: one that [`Socket::detach`] gave, on this thread or another, or one of the standard
    /// library's. What it had received comes first.
    ///
    /// The descriptor is made blocking or non-blocking as the backend wants it.
    pub fn adopt_socket(&self, detached: impl Into<Detached>) -> Result<Socket, Error> {
        self.adopt_detached(detached.into(), Class::Socket).map(|handle| Socket { handle })
    }

    /// Takes a listener over, as [`adopt_socket`](Self::adopt_socket) does a connection.
    pub fn adopt_listener(&self, detached: impl Into<Detached>) -> Result<Listener, Error> {
        self.adopt_detached(detached.into(), Class::Listener).map(|handle| Listener { handle })
    }

    fn adopt_detached(&self, detached: Detached, class: Class) -> Result<HandleRef, Error> {
        let operation = "adopt";
        let core = self.core(operation)?;
        let Detached { descriptor, received, connections, broken } = detached;
        let fault = |error: std::io::Error| Error::from_io(&error, operation, "socket");
        // Refused here, and not at its first request.
        expect_socket(&descriptor).map_err(fault)?;
        let lingers = lingers(&descriptor);
        let of_socket = |socket| Descriptor::Os(from_socket(socket));
        let descriptor = of_socket(descriptor);
        let connections: Vec<_> = connections.into_iter().map(of_socket).collect();
        for descriptor in connections.iter().chain([&descriptor]) {
            core.queue.borrow().backend.take_in(descriptor).map_err(fault)?;
        }
        let mut handle = Handle::new(descriptor, class, Target::Socket);
        handle.lingers = lingers;
        handle.broken = broken;
        if !received.is_empty() || !connections.is_empty() {
            handle.received = received.len() as u64;
            handle.pushback = Some(Box::new(Pushback::new(received, connections)));
        }
        let key = core.queue.borrow_mut().adopt(handle);
        Ok(HandleRef::new(self.clone(), key, None))
    }
}

fn resolve_plan(name: &str, port: u16) -> Plan {
    if name.is_empty() || name.contains('\0') {
        let target = format!("{}:{port}", name.replace('\0', "\\0"));
        let error = Error::new(ErrorKind::InvalidInput, "resolve", target);
        return Plan::Invalid(error.with_note("a name has at least one character, and no NUL byte"));
    }
    Plan::Op(Op::Resolve { name: name.into(), port })
}
