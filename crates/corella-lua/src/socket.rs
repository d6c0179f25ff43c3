//! Socket: connections and listeners, over TCP or of the Unix domain, and datagram sockets, as scripts hold them.

use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::rc::Rc;
use std::time::Duration;

use corella::actions::Plain;
use corella::{Address, DatagramSocket, ErrorKind, Failed, Listener, Operation, Shutdown, Socket as Connection};
use mlua::{AnyUserData, Lua, MultiValue, Table, UserData, UserDataFields, UserDataMethods, Value};

use crate::address::{Place, address_values};
use crate::arguments::Arguments;
use crate::datagram::{DatagramLine, Wish};
use crate::failure::{Failure, OperationError};
use crate::received::Line;
use crate::request::{Class, Outcome, Request};
use crate::runtime::Runtime;
use crate::stream::{Rights, Stream, Transport};
use crate::verb::{Problem, direct, verb};
use crate::work::Work;
use crate::{accept, coroutines, datagram, file_handle};

/// How far a socket is.
enum State {
    New,
    /// For datagrams, of no family yet.
    NewDatagram,
    Bound(Connection),
    Connecting,
    Connected {
        connection: Connection,
        stream: Rc<Stream>,
    },
    Listening(Listener, Rc<Line<Connection>>),
    Datagram(DatagramSocket, Rc<DatagramLine>),
    /// What it was called.
    Closed(String),
}

/// What a socket without an address is called.
const NAMELESS: &str = "a socket";

/// What errors call a connection: its peer, or where the peer has no name, itself.
fn name_of(connection: &Connection) -> String {
    let named = |address: &Address| !address.as_unix().is_some_and(|unix| unix.is_unnamed());
    match (connection.peer_endpoint().ok().filter(named), connection.local_endpoint().ok().filter(named)) {
        (Some(peer), _) => peer.to_string(),
        (None, Some(own)) => format!("{own} (local)"),
        (None, None) => "a connection".into(),
    }
}

/// What a script holds of a socket. Letting go of it closes it in the background; sends go out first.
#[derive(Clone)]
pub(crate) struct Socket(pub(crate) Rc<Inner>);

pub(crate) struct Inner {
    runtime: Rc<Runtime>,
    state: RefCell<State>,
    /// Its number in the script's object.
    number: Cell<u64>,
}

impl Deref for Socket {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.runtime.sockets.remove(self.number.get());
    }
}

impl UserData for Socket {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_meta_field("__name", "Socket");
        fields.add_meta_field_with("__index", |lua| lua.named_registry_value::<Table>("corella.Socket"));
        fields.add_meta_field_with("__close", |lua| lua.named_registry_value::<Value>("corella.close"));
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_meta_method("__tostring", |_, this, ()| Ok(format!("Socket ({})", this.describe())));
    }
}

/// A connection that was accepted, as a script's value.
pub(crate) fn connection_value(lua: &Lua, runtime: &Rc<Runtime>, connection: Connection) -> mlua::Result<Value> {
    let socket = Socket::new(runtime);
    socket.connected(connection);
    Ok(Value::UserData(socket.into_object(lua)?))
}

/// A socket that is not connected yet.
pub(crate) fn unconnected(lua: &Lua, runtime: &Rc<Runtime>) -> mlua::Result<AnyUserData> {
    Socket::new(runtime).into_object(lua)
}

fn socket_of(arguments: &mut Arguments) -> Result<Socket, String> {
    let object = arguments.object::<Socket>("Socket")?;
    let socket = object.borrow::<Socket>().map_err(|error| error.to_string())?;
    Ok(socket.clone())
}

impl Socket {
    fn new(runtime: &Rc<Runtime>) -> Socket {
        Socket(Rc::new(Inner { runtime: Rc::clone(runtime), state: RefCell::new(State::New), number: Cell::new(0) }))
    }

    /// As a script holds it.
    fn into_object(self, lua: &Lua) -> mlua::Result<AnyUserData> {
        let number = self.runtime.sockets.add(&self.0);
        self.number.set(number);
        coroutines::numbered(lua, lua.create_userdata(self)?, number)
    }

    fn describe(&self) -> String {
        match &*self.state.borrow() {
            State::New => "not connected".into(),
            State::NewDatagram => "for datagrams, not bound".into(),
            State::Datagram(socket, _) => match socket.local_address() {
                Ok(address) => format!("for datagrams, at {address}"),
                Err(_) => "for datagrams".into(),
            },
            State::Bound(connection) => match connection.local_endpoint() {
                Ok(address) => format!("bound to {address}"),
                Err(_) => "bound".into(),
            },
            State::Connecting => "connecting".into(),
            State::Connected { connection, .. } => format!("connected to {}", name_of(connection)),
            State::Listening(listener, _) => match listener.local_endpoint() {
                Ok(address) => format!("listening on {address}"),
                Err(_) => "listening".into(),
            },
            State::Closed(name) if name == NAMELESS => "closed".into(),
            State::Closed(name) => format!("closed, {name}"),
        }
    }

    /// What errors call it.
    fn name(&self) -> String {
        let address = match &*self.state.borrow() {
            State::New | State::NewDatagram | State::Connecting => None,
            State::Bound(connection) => connection.local_endpoint().ok(),
            State::Datagram(socket, _) => socket.local_address().ok(),
            State::Connected { stream, .. } => return stream.with_buffers(|buffers| buffers.name.to_string()),
            State::Listening(listener, _) => listener.local_endpoint().ok(),
            State::Closed(name) => return name.clone(),
        };
        address.map_or_else(|| NAMELESS.into(), |address| address.to_string())
    }

    /// Why an operation cannot be done as things are.
    fn refusal(&self, operation: &str) -> Failure {
        match &*self.state.borrow() {
            State::Closed(name) => OperationError::closed(operation, name).into(),
            _ => OperationError::invalid(operation, NAMELESS, format!("it is {}", self.describe())).into(),
        }
    }

    fn refused(&self, operation: &str) -> Rc<Request> {
        Request::settled(&self.runtime, Err(self.refusal(operation)))
    }

    fn connected(&self, connection: Connection) {
        // Scripts send heads and bodies apart; the engine joins what waits.
        let _ = connection.set_no_delay(true);
        let name = name_of(&connection);
        let rights = Rights { read: true, write: true, append: false };
        let stream = Stream::new(&self.runtime, Transport::Socket(connection.clone()), &name, rights);
        self.state.replace(State::Connected { connection, stream });
    }

    // Connecting.

    fn connect(&self, object: AnyUserData, place: Place, deadline: Option<Duration>) -> Rc<Request> {
        let name = place.name();
        let is_for_datagrams = matches!(*self.state.borrow(), State::NewDatagram | State::Datagram(..));
        if is_for_datagrams {
            let socket = self.clone();
            return place.resolve(&self.runtime, "connect", deadline, move |address, deadline| {
                socket.connect_datagrams(object, address, deadline)
            });
        }
        let old = self.state.replace(State::Connecting);
        let io = self.runtime.io();
        let operation = match (&old, place) {
            (State::New, Place::Known(Address::Internet(address))) => io.connect(address),
            (State::New, Place::Known(Address::Unix(address))) => io.connect_unix(address),
            (State::New, Place::Named(host, port)) => io.connect_name(&host, port),
            (State::Bound(connection), Place::Known(address)) => {
                let operation = match address {
                    Address::Internet(address) => connection.connect(address),
                    Address::Unix(address) => connection.connect_unix(address),
                    _ => unreachable!("there are two families"),
                };
                let (socket, connection) = (self.clone(), connection.clone());
                return self.runtime.begin(Class::Counted, deadline, operation, move |outcome| match outcome {
                    Ok(()) => socket.arrived(connection, object),
                    Err(error) => Err(socket.not_connected(error, &name)),
                });
            }
            _ => {
                self.state.replace(old);
                return self.refused(&format!("connect to {name}"));
            }
        };
        let socket = self.clone();
        self.runtime.begin(Class::Counted, deadline, operation, move |outcome| match outcome {
            Ok(connection) => socket.arrived(connection, object),
            Err(error) => Err(socket.not_connected(error, &name)),
        })
    }

    fn connect_datagrams(&self, object: AnyUserData, address: Address, deadline: Option<Duration>) -> Rc<Request> {
        match self.datagrams_for(&address) {
            Ok(socket) => self.runtime.begin(Class::Counted, deadline, socket.connect(address), move |outcome| {
                outcome?;
                Ok(Outcome::Values(MultiValue::from_vec(vec![Value::UserData(object)])))
            }),
            Err(failure) => Request::settled(&self.runtime, Err(failure)),
        }
    }

    /// The datagram socket; one that has none yet gets one of the address's family.
    fn datagrams_for(&self, address: &Address) -> Result<DatagramSocket, Failure> {
        let is_new = matches!(*self.state.borrow(), State::NewDatagram);
        if is_new {
            let socket = self.runtime.io().datagram_socket(address.clone())?;
            self.state.replace(State::Datagram(socket, Line::new()));
        }
        self.datagrams().map(|(socket, _)| socket).ok_or_else(|| self.refusal("sendto"))
    }

    fn datagrams(&self) -> Option<(DatagramSocket, Rc<DatagramLine>)> {
        match &*self.state.borrow() {
            State::Datagram(socket, line) => Some((socket.clone(), Rc::clone(line))),
            _ => None,
        }
    }

    /// Connected at last; unless the script has closed it meanwhile.
    fn arrived(&self, connection: Connection, object: AnyUserData) -> Result<Outcome, Failure> {
        let is_closed = matches!(*self.state.borrow(), State::Closed(_));
        if is_closed {
            return Err(OperationError::closed("connect", NAMELESS).into());
        }
        self.connected(connection);
        Ok(Outcome::Values(MultiValue::from_vec(vec![Value::UserData(object)])))
    }

    fn not_connected(&self, error: corella::Error, name: &str) -> Failure {
        let is_waited_for = matches!(*self.state.borrow(), State::Connecting);
        if is_waited_for {
            self.state.replace(State::New);
        }
        match error.kind() {
            ErrorKind::NameNotResolved => error.into(),
            _ => OperationError::told_of(error, "connect", name).into(),
        }
    }

    fn bind(&self, place: Place, deadline: Option<Duration>) -> Rc<Request> {
        let is_unbound = |socket: &Socket| matches!(*socket.state.borrow(), State::New | State::NewDatagram);
        if !is_unbound(self) {
            return self.refused("bind");
        }
        let socket = self.clone();
        place.resolve(&self.runtime, "bind", deadline, move |address, _| {
            let result = match is_unbound(&socket) {
                true => socket.bind_to(address),
                false => Err(socket.refusal("bind")),
            };
            Request::settled(&socket.runtime, result)
        })
    }

    fn bind_to(&self, address: Address) -> Result<Outcome, Failure> {
        let io = self.runtime.io();
        let told = |error| OperationError::told_of(error, "bind", address.to_string());
        let is_datagram = matches!(*self.state.borrow(), State::NewDatagram);
        // The engine's socket has no name yet; the address says more.
        let state = match &address {
            _ if is_datagram => State::Datagram(io.bind_datagrams(address.clone()).map_err(told)?, Line::new()),
            Address::Internet(internet) => {
                let connection = io.socket(*internet)?;
                connection.set_reuse_address(true)?;
                connection.bind(*internet).map_err(told)?;
                State::Bound(connection)
            }
            Address::Unix(unix) => {
                let connection = io.unix_socket()?;
                connection.bind_unix(unix.clone()).map_err(told)?;
                State::Bound(connection)
            }
            _ => unreachable!("there are two families"),
        };
        self.state.replace(state);
        Ok(Outcome::Nothing)
    }

    fn listen(&self) -> Result<(), Failure> {
        match self.state.replace(State::Connecting) {
            State::Bound(connection) => {
                let listener = connection.clone().listen();
                let state = match listener {
                    Ok(listener) => State::Listening(listener, Line::new()),
                    Err(error) => {
                        self.state.replace(State::Bound(connection));
                        return Err(error.into());
                    }
                };
                self.state.replace(state);
                Ok(())
            }
            old => {
                self.state.replace(old);
                Err(self.refusal("listen"))
            }
        }
    }

    // Transfers.

    /// What a connected one transfers through.
    #[inline]
    pub(crate) fn with_connection<R>(&self, transfer: impl FnOnce(&Connection, &Rc<Stream>) -> R) -> Option<R> {
        match &*self.state.borrow() {
            State::Connected { connection, stream } => Some(transfer(connection, stream)),
            _ => None,
        }
    }

    pub(crate) fn stream(&self) -> Option<Rc<Stream>> {
        match &*self.state.borrow() {
            State::Connected { stream, .. } => Some(Rc::clone(stream)),
            _ => None,
        }
    }

    fn with_stream(&self, work: Work, deadline: Option<Duration>) -> Rc<Request> {
        match self.stream() {
            Some(stream) => stream.submit(work, deadline),
            None => self.refused(&work.name()),
        }
    }

    fn send(&self, bytes: Vec<u8>, deadline: Option<Duration>) -> Rc<Request> {
        let operation = match &*self.state.borrow() {
            State::Connected { connection, .. } => Ok(connection.send(bytes)),
            _ => Err(format!("send {} bytes", bytes.len())),
        };
        let keeps = self.clone();
        let convert = move |outcome: Result<(usize, Vec<u8>), Failed<Vec<u8>>>| {
            drop(keeps);
            Ok(Outcome::Count(outcome?.0 as u64))
        };
        match operation {
            Ok(operation) => self.runtime.begin(Class::Counted, deadline, operation, convert),
            Err(name) => self.refused(&name),
        }
    }

    fn shutdown(&self, how: Shutdown, deadline: Option<Duration>) -> Rc<Request> {
        let operation = match &*self.state.borrow() {
            State::Connected { connection, .. } => Some(connection.shutdown(how)),
            _ => None,
        };
        let verb = match how {
            Shutdown::Read => "shutdown read",
            Shutdown::Write => "shutdown write",
            Shutdown::Both => "shutdown both",
        };
        match operation {
            Some(operation) => self.begin_named(deadline, operation, verb, self.name()),
            None => self.refused(verb),
        }
    }

    /// Submits an operation that gives nothing; its failure is told of the name that the script knows.
    fn begin_named(
        &self,
        deadline: Option<Duration>,
        operation: Operation<Plain>,
        verb: &'static str,
        name: String,
    ) -> Rc<Request> {
        self.runtime.begin(Class::Counted, deadline, operation, move |outcome| match outcome {
            Ok(()) => Ok(Outcome::Nothing),
            Err(error) => Err(OperationError::told_of(error, verb, name).into()),
        })
    }

    fn close(&self, deadline: Option<Duration>) -> Rc<Request> {
        // The engine's handle has to live until its close is submitted.
        let name = self.name();
        let state = self.state.replace(State::Closed(name.clone()));
        let operation = match &state {
            State::Closed(_) => return self.refused("close"),
            State::New | State::NewDatagram | State::Connecting => {
                return Request::settled(&self.runtime, Ok(Outcome::Nothing));
            }
            State::Datagram(socket, _) => socket.close(),
            State::Bound(connection) => connection.close(),
            State::Listening(listener, _) => listener.close(),
            State::Connected { connection, stream } => {
                stream.cut_off();
                connection.close()
            }
        };
        self.begin_named(deadline, operation, "close", name)
    }

    fn accept(&self, arguments: &mut Arguments) -> Rc<Request> {
        let (listener, line) = match &*self.state.borrow() {
            State::Listening(listener, line) => (listener.clone(), Rc::clone(line)),
            _ => return self.refused("accept"),
        };
        if arguments.callback.is_some() && arguments.options.deadline.is_some() {
            let why =
                "a deadline is for one connection, and with a callback they are accepted until the socket is closed";
            let error = OperationError::invalid("accept", self.name(), why);
            return Request::settled(&self.runtime, Err(error.into()));
        }
        match arguments.callback.take() {
            Some(callback) => accept::keep_accepting(&self.runtime, listener, &line, callback),
            None => accept::accept(&self.runtime, listener, &line, arguments.options.deadline),
        }
    }

    /// Waits until there is something to receive or accept, or room to send; false after the time to wait.
    fn poll(&self, writes: bool, limit: Option<Duration>) -> Rc<Request> {
        let has_some = |state: &State| match state {
            State::Connected { stream, .. } => stream.with_buffers(|buffers| !buffers.input.is_empty()),
            State::Listening(_, line) => line.has_some(),
            State::Datagram(_, line) => line.has_some(),
            _ => false,
        };
        let (operation, class) = match &*self.state.borrow() {
            state if !writes && has_some(state) => {
                let values = MultiValue::from_vec(vec![Value::Boolean(true)]);
                return Request::settled(&self.runtime, Ok(Outcome::Values(values)));
            }
            State::Connected { connection, .. } if writes => (connection.writable(), Class::Counted),
            State::Connected { connection, .. } => (connection.readable(), Class::Counted),
            State::Datagram(socket, _) if writes => (socket.writable(), Class::Counted),
            State::Datagram(socket, _) => (socket.readable(), Class::Counted),
            State::Listening(listener, _) if !writes => (listener.readable(), Class::Passive),
            _ => return Request::settled(&self.runtime, Err(self.refusal("poll"))),
        };
        let keeps = self.clone();
        self.runtime.begin(class, limit, operation, move |outcome| {
            drop(keeps);
            let is_ready = match outcome {
                Err(error) if error.kind() == ErrorKind::TimedOut => false,
                outcome => outcome.map(|()| true)?,
            };
            Ok(Outcome::Values(MultiValue::from_vec(vec![Value::Boolean(is_ready)])))
        })
    }

    fn address(&self, operation: &str, is_local: bool) -> Result<Address, Problem> {
        Ok(match (&*self.state.borrow(), is_local) {
            (State::Bound(connection) | State::Connected { connection, .. }, true) => connection.local_endpoint()?,
            (State::Listening(listener, _), true) => listener.local_endpoint()?,
            (State::Connected { connection, .. }, false) => connection.peer_endpoint()?,
            (State::Datagram(socket, _), true) => socket.local_address()?,
            (State::Datagram(socket, _), false) => socket.peer_address()?,
            _ => return Err(Problem::Failure(self.refusal(operation))),
        })
    }
}

fn direction(word: Option<&str>) -> Result<Shutdown, String> {
    match word {
        None | Some("write") => Ok(Shutdown::Write),
        Some("read") => Ok(Shutdown::Read),
        Some("both") => Ok(Shutdown::Both),
        Some(other) => {
            let known = "\"write\", \"read\" or \"both\" is expected";
            Err(format!("bad argument #1 to 'shutdown' (direction: {known}, got \"{other}\")"))
        }
    }
}

/// Whether a socket is to be for datagrams.
fn kind(arguments: &mut Arguments) -> Result<bool, String> {
    match arguments.optional_word("kind")?.as_deref() {
        None | Some("stream") => Ok(false),
        Some("datagram") => Ok(true),
        Some(other) => {
            Err(arguments.wrong("kind", &format!("\"stream\" or \"datagram\" is expected, got \"{other}\"")))
        }
    }
}

/// A socket that is not connected yet, of the kind that a script asks for.
fn of_kind(runtime: &Rc<Runtime>, arguments: &mut Arguments) -> Result<Socket, String> {
    let is_datagram = kind(arguments)?;
    let socket = Socket::new(runtime);
    if is_datagram {
        socket.state.replace(State::NewDatagram);
    }
    Ok(socket)
}

fn bind(arguments: &mut Arguments) -> Result<Rc<Request>, String> {
    let socket = socket_of(arguments)?;
    let place = Place::take(arguments)?;
    Ok(socket.bind(place, arguments.options.deadline))
}

/// Adds to `raw` the bind of a socket that is made to listen.
pub(crate) fn install_raw(lua: &Lua, raw: &Table) -> mlua::Result<()> {
    verb(lua, raw, "listen", |_, arguments| bind(arguments))
}

fn install_connecting(lua: &Lua, runtime: &Rc<Runtime>, verbs: &Table) -> mlua::Result<()> {
    let shared = Rc::clone(runtime);
    verb(lua, verbs, "connect", move |lua, arguments| {
        let object = match arguments.object_of::<Socket>() {
            Some(object) => object,
            None => unconnected(lua, &shared).map_err(|error| error.to_string())?,
        };
        let socket = object.borrow::<Socket>().map_err(|error| error.to_string())?.clone();
        let place = Place::take(arguments)?;
        Ok(socket.connect(object, place, arguments.options.deadline))
    })?;
    verb(lua, verbs, "bind", |_, arguments| bind(arguments))?;
    verb(lua, verbs, "accept", |_, arguments| Ok(socket_of(arguments)?.accept(arguments)))
}

/// Adds Socket's operations to `verbs`.
pub(crate) fn install_verbs(lua: &Lua, runtime: &Rc<Runtime>, verbs: &Table) -> mlua::Result<()> {
    install_connecting(lua, runtime, verbs)?;
    let shared = Rc::clone(runtime);
    verb(lua, verbs, "socket", move |lua, arguments| {
        let object = of_kind(&shared, arguments)?.into_object(lua).map_err(|error| error.to_string())?;
        let values = MultiValue::from_vec(vec![Value::UserData(object)]);
        Ok(Request::settled(&shared, Ok(Outcome::Values(values))))
    })?;
    verb(lua, verbs, "recv", |_, arguments| {
        let socket = socket_of(arguments)?;
        let most = arguments.count("length")?;
        match socket.datagrams() {
            Some(datagrams) => {
                let length = usize::try_from(most).unwrap_or(usize::MAX);
                let wish = Wish { length, tells_sender: false };
                Ok(datagram::receive(&socket.runtime, datagrams, wish, arguments.options.deadline))
            }
            None => Ok(socket.with_stream(Work::Receive { most }, arguments.options.deadline)),
        }
    })?;
    verb(lua, verbs, "recvfrom", |_, arguments| {
        let socket = socket_of(arguments)?;
        let length = arguments.count("length")?;
        match socket.datagrams() {
            Some(datagrams) => {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                let wish = Wish { length, tells_sender: true };
                Ok(datagram::receive(&socket.runtime, datagrams, wish, arguments.options.deadline))
            }
            None => Ok(socket.refused(&format!("recvfrom {length} bytes"))),
        }
    })?;
    verb(lua, verbs, "sendto", |_, arguments| {
        let socket = socket_of(arguments)?;
        let bytes = arguments.bytes("data")?;
        let place = Place::take(arguments)?;
        let is_for_datagrams = matches!(*socket.state.borrow(), State::NewDatagram | State::Datagram(..));
        if !is_for_datagrams {
            return Ok(socket.refused(&format!("sendto {} bytes", bytes.len())));
        }
        let runtime = Rc::clone(&socket.runtime);
        Ok(place.resolve(&runtime, "sendto", arguments.options.deadline, move |address, deadline| {
            match socket.datagrams_for(&address) {
                Ok(datagrams) => datagram::send(&socket.runtime, &datagrams, bytes, Some(address), deadline),
                Err(failure) => Request::settled(&socket.runtime, Err(failure)),
            }
        }))
    })?;
    verb(lua, verbs, "read", |_, arguments| {
        let socket = socket_of(arguments)?;
        let length = arguments.count("length")?;
        Ok(socket.with_stream(Work::Read { length }, arguments.options.deadline))
    })?;
    verb(lua, verbs, "readline", |_, arguments| {
        let socket = socket_of(arguments)?;
        match socket.stream() {
            Some(stream) => file_handle::readline(&stream, arguments),
            None => Ok(socket.refused("readline")),
        }
    })?;
    verb(lua, verbs, "send", |_, arguments| {
        let socket = socket_of(arguments)?;
        let bytes = arguments.bytes("data")?;
        match socket.datagrams() {
            Some((datagrams, _)) => {
                Ok(datagram::send(&socket.runtime, &datagrams, bytes, None, arguments.options.deadline))
            }
            None => Ok(socket.send(bytes, arguments.options.deadline)),
        }
    })?;
    verb(lua, verbs, "poll", |_, arguments| {
        let socket = socket_of(arguments)?;
        let writes = match arguments.optional_word("direction")?.as_deref() {
            None | Some("read") => false,
            Some("write") => true,
            Some(other) => {
                return Err(
                    arguments.wrong("direction", &format!("\"read\" or \"write\" is expected, got \"{other}\""))
                );
            }
        };
        let limit = if arguments.has_more() { Some(arguments.seconds()?) } else { arguments.options.deadline };
        Ok(socket.poll(writes, limit))
    })?;
    verb(lua, verbs, "shutdown", |_, arguments| {
        let socket = socket_of(arguments)?;
        let how = direction(arguments.optional_word("direction")?.as_deref())?;
        Ok(socket.shutdown(how, arguments.options.deadline))
    })?;
    verb(lua, verbs, "close", |_, arguments| Ok(socket_of(arguments)?.close(arguments.options.deadline)))
}

/// Adds Socket's calls that finish at once to `methods`.
pub(crate) fn install(lua: &Lua, runtime: &Rc<Runtime>, methods: &Table) -> mlua::Result<()> {
    let shared = Rc::clone(runtime);
    direct(lua, methods, "new", move |lua, arguments| Ok(of_kind(&shared, arguments)?.into_object(lua)?))?;
    let shared = Rc::clone(runtime);
    direct(lua, methods, "pair", move |lua, arguments| {
        let (one, other) = (Socket::new(&shared), Socket::new(&shared));
        if kind(arguments)? {
            let (first, second) = shared.io().datagram_pair()?;
            one.state.replace(State::Datagram(first, Line::new()));
            other.state.replace(State::Datagram(second, Line::new()));
        } else {
            let (first, second) = shared.io().socket_pair()?;
            one.connected(first);
            other.connected(second);
        }
        Ok((one.into_object(lua)?, other.into_object(lua)?))
    })?;
    direct(lua, methods, "listen", |_, arguments| {
        let object = arguments.object::<Socket>("Socket")?;
        let socket = object.borrow::<Socket>()?.clone();
        match socket.listen() {
            Ok(()) => Ok(object),
            Err(failure) => Err(Problem::Failure(failure)),
        }
    })?;
    direct(lua, methods, "local_address", |lua, arguments| {
        Ok(address_values(lua, &socket_of(arguments)?.address("local_address", true)?)?)
    })?;
    direct(lua, methods, "remote_address", |lua, arguments| {
        Ok(address_values(lua, &socket_of(arguments)?.address("remote_address", false)?)?)
    })?;
    direct(lua, methods, "is_closed", |_, arguments| {
        Ok(matches!(*socket_of(arguments)?.state.borrow(), State::Closed(_)))
    })
}
