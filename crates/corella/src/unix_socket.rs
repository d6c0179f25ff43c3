//! Connections of the Unix domain: between processes of one machine, at a path or a name.

use crate::address::{Address, UnixAddress};
use crate::backend::{Descriptor, SocketCall, check_address};
use crate::error::Error;
use crate::net::{BACKLOG, Connecting, Listener, Socket};
use crate::op::{Class, Op};
use crate::operation::{Operation, Plan};
use crate::plain::Plain;
use crate::scheduler::Io;

/// Addresses of every family.
impl Socket {
    /// Its own address, of whatever family.
    pub fn local_endpoint(&self) -> Result<Address, Error> {
        self.handle.address("local address", SocketCall::LocalAddress)
    }

    /// The peer's address, of whatever family. The peer of a Unix-domain listener's connection mostly has no name.
    pub fn peer_endpoint(&self) -> Result<Address, Error> {
        self.handle.address("peer address", SocketCall::PeerAddress)
    }

    /// Gives an unconnected socket of the Unix domain its own address.
    pub fn bind_unix(&self, address: impl Into<UnixAddress>) -> Result<(), Error> {
        let address = Address::from(address.into());
        self.handle.set(format!("bind to {address}"), SocketCall::Bind(address))
    }

    /// Connects an unconnected socket of the Unix domain. Sends and receives submitted after it wait for it.
    ///
    /// Gives `()`; fails with [`Error`].
    pub fn connect_unix(&self, address: impl Into<UnixAddress>) -> Operation<Plain> {
        let address = Address::from(address.into());
        match check_address(&address) {
            Ok(()) => self.handle.operation(Op::Connect { address }, Plain),
            Err(error) => {
                let plan = Plan::Invalid(Error::from_io(&error, Op::Connect { address }.to_string(), ""));
                self.handle.plan(plan, Plain)
            }
        }
    }
}

/// Addresses of every family.
impl Listener {
    /// Its own address, of whatever family.
    pub fn local_endpoint(&self) -> Result<Address, Error> {
        self.handle.address("local address", SocketCall::LocalAddress)
    }
}

impl Io {
    /// Listens for connections of the Unix domain, at a path (at which it makes a file that nobody removes but the
    /// program, and that must not be there yet) or at a name of Linux's abstract namespace.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut scheduler = corella::Scheduler::new()?;
    /// let io = scheduler.io();
    /// let path = std::env::temp_dir().join(format!("corella-example-{}", std::process::id()));
    /// let listener = io.listen_unix(&*path)?;
    /// let (client, server) = (io.connect_unix(&*path).submit()?, listener.accept().wait()?);
    /// let client = client.wait()?;
    /// client.send("hello").wait()?;
    /// assert_eq!(server.recv_exact(vec![0; 5]).wait()?.1, b"hello");
    /// assert_eq!(client.peer_endpoint()?.as_unix().unwrap().as_path(), Some(&*path));
    /// # std::fs::remove_file(path)?; Ok(()) }
    /// ```
    pub fn listen_unix(&self, address: impl Into<UnixAddress>) -> Result<Listener, Error> {
        let operation = "listen";
        let address = Address::from(address.into());
        let core = self.core(operation)?;
        let make = || {
            let backend = &core.queue.borrow().backend;
            let descriptor = backend.new_socket(&address, Class::Listener)?;
            backend.socket_call(&descriptor, SocketCall::Bind(address.clone()))?;
            backend.socket_call(&descriptor, SocketCall::Listen(BACKLOG))?;
            Ok::<Descriptor, std::io::Error>(descriptor)
        };
        let descriptor = make().map_err(|error| Error::from_io(&error, operation, address.to_string()))?;
        self.new_handle(operation, descriptor, Class::Listener).map(|handle| Listener { handle })
    }

    /// An unconnected socket of the Unix domain, for what has to be set before it connects or listens.
    pub fn unix_socket(&self) -> Result<Socket, Error> {
        let operation = "socket";
        let address = Address::from(UnixAddress::unnamed());
        let made = self.core(operation)?.queue.borrow().backend.new_socket(&address, Class::Socket);
        let descriptor = made.map_err(|error| Error::from_io(&error, operation, "the Unix domain"))?;
        self.new_handle(operation, descriptor, Class::Socket).map(|handle| Socket { handle })
    }

    /// Connects to a listener of the Unix domain. One that has no room for more is waited for.
    ///
    /// Gives a [`Socket`]; fails with [`Error`].
    pub fn connect_unix(&self, address: impl Into<UnixAddress>) -> Operation<Connecting> {
        let address = Address::from(address.into());
        let plan = match check_address(&address) {
            Ok(()) => Plan::Connect(address),
            Err(error) => Plan::Invalid(Error::from_io(&error, Op::Connect { address }.to_string(), "")),
        };
        Operation::new(self.clone(), plan, Connecting::to_one())
    }

    /// Two sockets that are connected to each other: to talk to a child process, or within this one.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let scheduler = corella::Scheduler::new()?;
    /// let (one, other) = scheduler.io().socket_pair()?;
    /// one.send("both").wait()?;
    /// other.send("ways").wait()?;
    /// assert_eq!(other.recv_exact(vec![0; 4]).wait()?.1, b"both");
    /// assert_eq!(one.recv_exact(vec![0; 4]).wait()?.1, b"ways");
    /// # Ok(()) }
    /// ```
    pub fn socket_pair(&self) -> Result<(Socket, Socket), Error> {
        let operation = "socket pair";
        let made = self.core(operation)?.queue.borrow().backend.socket_pair(Class::Socket);
        let [one, other] = made.map_err(|error| Error::from_io(&error, operation, ""))?;
        let socket = |descriptor| self.new_handle(operation, descriptor, Class::Socket).map(|handle| Socket { handle });
        Ok((socket(one)?, socket(other)?))
    }
}
