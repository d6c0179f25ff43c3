//! Datagrams: UDP, and Unix-domain sockets that keep the boundaries of messages.

use crate::address::Address;
use crate::backend::{
    Descriptor, OwnedSocket, RawDescriptor, SocketAnswer, SocketCall, Value, check_address, expect_socket, from_socket,
    into_socket, set_nonblocking,
};
use crate::buffer::{Buffer, BufferMut, Parts, tell_filled};
use crate::error::{Error, Failed};
use crate::op::{Class, Op};
use crate::operation::{Action, ActionReport, Operation, Plan, Sealed};
use crate::plain::{HandleRef, Plain, Writing};
use crate::queue::handles::Pushback;
use crate::scheduler::Io;

/// A datagram that was received.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Datagram<B> {
    /// The caller's buffer; the datagram is its first `count` bytes.
    pub buffer: B,
    /// Bytes received; none is an empty datagram.
    pub count: usize,
    /// The datagram's own length. More than `count` if it was longer than the buffer and its rest is lost; nothing if
    /// that is so and the system does not tell the length (all but Linux and Windows).
    pub size: Option<usize>,
    /// Who sent it.
    pub sender: Address,
}

impl<B> Datagram<B> {
    /// Whether the buffer was too short for it, so that its rest is lost.
    pub fn is_truncated(&self) -> bool {
        self.size != Some(self.count)
    }
}

/// A datagram that had been received for nobody, as far as its buffer had room for it.
pub type ReturnedDatagram = Datagram<Vec<u8>>;

/// A socket for datagrams: messages that are sent whole and received whole, each with its sender. Clones are the same
/// handle.
///
/// Sends go out one by one in the order they were submitted, and receives fill in that order; what happens to them on
/// the way is the network's: UDP may lose, double and reorder. A datagram that came for a request that was given up
/// goes to the next receive, whole and with its sender. Dropping the last clone closes it in the background.
///
/// ```
/// use std::net::SocketAddr;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let scheduler = corella::Scheduler::new()?;
/// let io = scheduler.io();
/// let any = SocketAddr::from(([127, 0, 0, 1], 0));
/// let (one, other) = (io.bind_datagrams(any)?, io.bind_datagrams(any)?);
/// one.send_to("hello", other.local_address()?).wait()?;
/// let datagram = other.recv_from(vec![0; 1500]).wait()?;
/// assert_eq!(&datagram.buffer[..datagram.count], b"hello");
/// assert_eq!(datagram.sender, one.local_address()?);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct DatagramSocket {
    handle: HandleRef,
}

impl DatagramSocket {
    /// Receives one datagram and tells who sent it. A buffer too short for it gets its beginning, and is told its size.
    ///
    /// A `Vec` is filled up to its length: `vec![0; 1500]`, or [`spare()`](crate::SpareCapacity::spare) to append into its
    /// capacity. The parts of a list are 64 at most.
    ///
    /// Gives a [`Datagram<B>`]; fails with [`Failed<B>`](crate::Failed), the buffer in it. A connected socket is also told
    /// here that nobody is at its peer's address (`ECONNREFUSED`).
    pub fn recv_from<B: BufferMut + Unpin>(&self, buffer: B) -> Operation<ReceivingFrom<B>> {
        self.handle.operation(Op::RecvFrom { parts: Parts::default() }, ReceivingFrom(buffer))
    }

    /// Sends the whole buffer as one datagram to `address`. One that is too long for the network is an error
    /// (`EMSGSIZE`), and nothing of it is sent.
    ///
    /// Gives `(usize, B)`, the bytes and the buffer; fails with [`Failed<B>`](crate::Failed), the buffer in it.
    pub fn send_to<B: Buffer + Unpin>(&self, buffer: B, address: impl Into<Address>) -> Operation<Writing<B>> {
        let address = address.into();
        let checked = check_address(&address);
        let op = Op::SendTo { address: Some(address), parts: Parts::default() };
        match checked {
            Ok(()) => self.handle.operation(op, Writing(buffer)),
            Err(error) => {
                let plan = Plan::Invalid(Error::from_io(&error, op.to_string().replacen(" 0 bytes", "", 1), ""));
                self.handle.plan(plan, Writing(buffer))
            }
        }
    }

    /// Sends the whole buffer as one datagram to the peer that the socket is connected to.
    ///
    /// Gives `(usize, B)`, the bytes and the buffer; fails with [`Failed<B>`](crate::Failed), the buffer in it.
    pub fn send<B: Buffer + Unpin>(&self, buffer: B) -> Operation<Writing<B>> {
        self.handle.operation(Op::SendTo { address: None, parts: Parts::default() }, Writing(buffer))
    }

    /// Settles when a receive would find something: a datagram, or an error. Nothing is taken by it.
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

    /// Makes `address` the peer: where [`send`](Self::send) goes to, and the only one whose datagrams are received. It may
    /// be changed.
    ///
    /// Gives `()`; fails with [`Error`].
    pub fn connect(&self, address: impl Into<Address>) -> Operation<Plain> {
        let address = address.into();
        match check_address(&address) {
            Ok(()) => self.handle.operation(Op::Connect { address }, Plain),
            Err(error) => {
                let plan = Plan::Invalid(Error::from_io(&error, format!("connect to {address}"), ""));
                self.handle.plan(plan, Plain)
            }
        }
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

    /// Gives the socket its own address.
    pub fn bind(&self, address: impl Into<Address>) -> Result<(), Error> {
        let address = address.into();
        self.handle.set(format!("bind to {address}"), SocketCall::Bind(address))
    }

    /// Its own address.
    pub fn local_address(&self) -> Result<Address, Error> {
        self.handle.address("local address", SocketCall::LocalAddress)
    }

    /// The address of the peer that it is connected to.
    pub fn peer_address(&self) -> Result<Address, Error> {
        self.handle.address("peer address", SocketCall::PeerAddress)
    }

    /// Lets it send to all hosts of a network (SO_BROADCAST).
    pub fn set_broadcast(&self, yes: bool) -> Result<(), Error> {
        self.handle.set("set broadcast", SocketCall::SetBroadcast(yes))
    }

    /// How many routers a packet may pass (IP_TTL, IPv4).
    pub fn set_time_to_live(&self, hops: u32) -> Result<(), Error> {
        self.handle.set("set time to live", SocketCall::SetTimeToLive(hops))
    }

    /// Lets an address be bound by several sockets, as the system has it (SO_REUSEADDR).
    pub fn set_reuse_address(&self, yes: bool) -> Result<(), Error> {
        self.handle.set("set reuse_address", SocketCall::SetReuseAddress(yes))
    }

    /// Asks for a send buffer of so many bytes; the OS has the last word.
    pub fn set_send_buffer(&self, bytes: usize) -> Result<(), Error> {
        self.handle.set("set send buffer", SocketCall::SetSendBuffer(bytes))
    }

    /// Asks for a receive buffer of so many bytes; the OS has the last word. What finds no room in it is lost.
    pub fn set_receive_buffer(&self, bytes: usize) -> Result<(), Error> {
        self.handle.set("set receive buffer", SocketCall::SetReceiveBuffer(bytes))
    }

    /// The socket's pending error, cleared by asking (SO_ERROR).
    pub fn take_error(&self) -> Result<Option<std::io::Error>, Error> {
        match self.handle.ask("take error", SocketCall::TakeError)? {
            SocketAnswer::Pending(error) => Ok(error),
            other => unreachable!("take error gave {other:?}"),
        }
    }

    /// Hands the descriptor back, blocking, with the datagrams that had been received for requests that nobody waited
    /// for.
    ///
    /// `Busy`, with the socket, while it has other clones or requests in flight.
    pub fn into_std(self) -> Result<(OwnedSocket, Vec<ReturnedDatagram>), (DatagramSocket, Error)> {
        let given = self.handle.io.core("hand back").and_then(|core| {
            let given = core.queue.borrow_mut().give_away(self.handle.key, self.handle.is_the_only());
            given.map_err(|kind| Error::new(kind, "hand back", self.handle.closed_name()))
        });
        match given {
            Ok((descriptor, handle)) => {
                let socket = into_socket(descriptor);
                // A socket whose mode cannot be set is not one; the standard library's calls will say so.
                let _ = set_nonblocking(&socket, false);
                let received = handle.pushback.map_or_else(Vec::new, |pushback| returned(*pushback));
                Ok((socket, received))
            }
            Err(error) => Err((self, error)),
        }
    }

    /// The OS's number for it, or nothing once it is closed.
    pub fn descriptor_number(&self) -> Option<RawDescriptor> {
        self.handle.descriptor_number()
    }
}

fn returned(mut pushback: Pushback) -> Vec<ReturnedDatagram> {
    let datagrams = std::iter::from_fn(|| pushback.take_datagram());
    datagrams
        .map(|(_, datagram)| {
            let size = datagram.arrival.size.map(|size| size as usize);
            let (count, sender) = (datagram.bytes.len(), datagram.arrival.sender);
            Datagram { buffer: datagram.bytes, count, size, sender }
        })
        .collect()
}

/// Gives a datagram.
#[derive(Debug)]
pub struct ReceivingFrom<B>(B);

impl<B> Sealed for ReceivingFrom<B> {}

impl<B: BufferMut + Unpin> Action for ReceivingFrom<B> {
    type Output = Datagram<B>;
    type Error = Failed<B>;

    fn parts(&mut self, parts: &mut Parts) {
        self.0.target_parts(parts);
    }

    fn finish(mut self, _io: &Io, report: ActionReport) -> Result<Datagram<B>, Failed<B>> {
        match report.0.result {
            Ok(Value::Datagram(arrival)) => {
                tell_filled(&mut self.0, arrival.count.into());
                let (count, size) = (arrival.count as usize, arrival.size.map(|size| size as usize));
                Ok(Datagram { buffer: self.0, count, size, sender: arrival.sender })
            }
            Ok(other) => unreachable!("recv_from gave {other:?}"),
            Err(error) => Err(Failed { error, buffer: self.0, moved: report.0.moved }),
        }
    }
}

impl Io {
    /// A socket for datagrams that has no address yet, of the same family as `address`, for what has to be set before it
    /// is bound. Its first send gives it an address.
    pub fn datagram_socket(&self, address: impl Into<Address>) -> Result<DatagramSocket, Error> {
        let (operation, address) = ("socket", address.into());
        let made = self.core(operation)?.queue.borrow().backend.new_socket(&address, Class::Datagram);
        let descriptor = made.map_err(|error| Error::from_io(&error, operation, address.to_string()))?;
        self.new_handle(operation, descriptor, Class::Datagram).map(|handle| DatagramSocket { handle })
    }

    /// A socket for datagrams at `address`: UDP (port 0 has the OS choose one), or of the Unix domain.
    pub fn bind_datagrams(&self, address: impl Into<Address>) -> Result<DatagramSocket, Error> {
        let address = address.into();
        let socket = self.datagram_socket(address.clone())?;
        let bound = socket.handle.set("bind", SocketCall::Bind(address.clone()));
        bound.map_err(|error| error.with_target(address.to_string()))?;
        Ok(socket)
    }

    /// Two sockets for datagrams that are connected to each other, of the Unix domain: nothing is lost between them, and a
    /// send waits for room.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let scheduler = corella::Scheduler::new()?;
    /// # let io = scheduler.io();
    /// let (one, other) = io.datagram_pair()?;
    /// one.send("a message").wait()?;
    /// assert_eq!(other.recv_from(vec![0; 64]).wait()?.count, 9);
    /// # Ok(()) }
    /// ```
    pub fn datagram_pair(&self) -> Result<(DatagramSocket, DatagramSocket), Error> {
        let operation = "socket pair";
        let made = self.core(operation)?.queue.borrow().backend.socket_pair(Class::Datagram);
        let [one, other] = made.map_err(|error| Error::from_io(&error, operation, ""))?;
        let socket = |descriptor| {
            self.new_handle(operation, descriptor, Class::Datagram).map(|handle| DatagramSocket { handle })
        };
        Ok((socket(one)?, socket(other)?))
    }

    /// Takes a datagram socket over: one of the standard library's, or any descriptor of one.
    ///
    /// The descriptor is made blocking or non-blocking as the backend wants it.
    pub fn adopt_datagrams(&self, socket: impl Into<OwnedSocket>) -> Result<DatagramSocket, Error> {
        let operation = "adopt";
        let descriptor = socket.into();
        let fault = |error: std::io::Error| Error::from_io(&error, operation, "socket");
        expect_socket(&descriptor).map_err(fault)?;
        let descriptor = Descriptor::Os(from_socket(descriptor));
        self.core(operation)?.queue.borrow().backend.take_in(&descriptor).map_err(fault)?;
        self.new_handle(operation, descriptor, Class::Datagram).map(|handle| DatagramSocket { handle })
    }
}
