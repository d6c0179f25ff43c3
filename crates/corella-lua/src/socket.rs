//! Socket: TCP connections and listeners, as scripts hold them.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use corella::actions::Plain;
use corella::{ErrorKind, Failed, Listener, Operation, Shutdown, Socket as Connection};
use mlua::{AnyUserData, IntoLua, Lua, MultiValue, Table, UserData, UserDataFields, UserDataMethods, Value};

use crate::accept;
use crate::arguments::Arguments;
use crate::failure::{Failure, OperationError};
use crate::file_handle;
use crate::request::{Class, Outcome, Request};
use crate::runtime::Runtime;
use crate::stream::{Rights, Stream, Transport};
use crate::verb::{Problem, direct, verb};
use crate::work::Work;

/// How far a socket is.
enum State {
    New,
    Bound(Connection),
    Connecting,
    Connected {
        connection: Connection,
        stream: Rc<Stream>,
    },
    Listening(Listener),
    /// What it was called.
    Closed(String),
}

/// What a socket without an address is called.
const NAMELESS: &str = "a socket";

/// An address as errors show it.
fn endpoint(host: &str, port: u16) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

/// What a script holds of a socket. Letting go of it closes it in the background; sends go out first.
#[derive(Clone)]
pub(crate) struct Socket {
    runtime: Rc<Runtime>,
    state: Rc<RefCell<State>>,
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
    socket.into_lua(lua)
}

fn socket_of(arguments: &mut Arguments) -> Result<Socket, String> {
    let object = arguments.object::<Socket>("Socket")?;
    let socket = object.borrow::<Socket>().map_err(|error| error.to_string())?;
    Ok(socket.clone())
}

/// A host as an address, if it is written as one.
fn address_of(host: &str, port: u16) -> Option<SocketAddr> {
    host.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, port))
}

impl Socket {
    fn new(runtime: &Rc<Runtime>) -> Socket {
        Socket { runtime: Rc::clone(runtime), state: Rc::new(RefCell::new(State::New)) }
    }

    fn describe(&self) -> String {
        match &*self.state.borrow() {
            State::New => "not connected".into(),
            State::Bound(connection) => match connection.local_address() {
                Ok(address) => format!("bound to {address}"),
                Err(_) => "bound".into(),
            },
            State::Connecting => "connecting".into(),
            State::Connected { connection, .. } => match connection.peer_address() {
                Ok(address) => format!("connected to {address}"),
                Err(_) => "connected".into(),
            },
            State::Listening(listener) => match listener.local_address() {
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
            State::New | State::Connecting => None,
            State::Bound(connection) => connection.local_address().ok(),
            State::Connected { stream, .. } => return stream.with_buffers(|buffers| buffers.name.to_string()),
            State::Listening(listener) => listener.local_address().ok(),
            State::Closed(name) => return name.clone(),
        };
        address.map_or_else(|| NAMELESS.into(), |address| address.to_string())
    }

    fn is_new(&self) -> bool {
        matches!(*self.state.borrow(), State::New)
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
        let name = connection.peer_address().map_or_else(|_| "a connection".into(), |address| address.to_string());
        let rights = Rights { read: true, write: true, append: false };
        let stream = Stream::new(&self.runtime, Transport::Socket(connection.clone()), &name, rights);
        self.state.replace(State::Connected { connection, stream });
    }

    // Connecting.

    fn connect(&self, object: AnyUserData, host: &str, port: u16, deadline: Option<Duration>) -> Rc<Request> {
        let (address, name) = (address_of(host, port), endpoint(host, port));
        let old = self.state.replace(State::Connecting);
        let io = self.runtime.io();
        match (old, address) {
            (State::New, address) => {
                let operation = match address {
                    Some(address) => io.connect(address),
                    None => io.connect_name(host, port),
                };
                let socket = self.clone();
                self.runtime.begin(Class::Counted, deadline, operation, move |outcome| match outcome {
                    Ok(connection) => socket.arrived(connection, object),
                    Err(error) => Err(socket.not_connected(error, &name)),
                })
            }
            (State::Bound(connection), Some(address)) => {
                let operation = connection.connect(address);
                let socket = self.clone();
                self.runtime.begin(Class::Counted, deadline, operation, move |outcome| match outcome {
                    Ok(()) => socket.arrived(connection, object),
                    Err(error) => Err(socket.not_connected(error, &name)),
                })
            }
            (old, _) => {
                self.state.replace(old);
                self.refused(&format!("connect to {name}"))
            }
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

    fn bind(&self, host: &str, port: u16, deadline: Option<Duration>) -> Rc<Request> {
        if !self.is_new() {
            return self.refused("bind");
        }
        if let Some(address) = address_of(host, port) {
            return Request::settled(&self.runtime, self.bind_to(address));
        }
        let (socket, name) = (self.clone(), endpoint(host, port));
        let operation = self.runtime.io().resolve(host, port);
        self.runtime.begin(Class::Counted, deadline, operation, move |outcome| match outcome?.first() {
            Some(address) if socket.is_new() => socket.bind_to(*address),
            Some(_) => Err(socket.refusal("bind")),
            None => Err(OperationError::invalid("bind", name, "it has no address").into()),
        })
    }

    fn bind_to(&self, address: SocketAddr) -> Result<Outcome, Failure> {
        let connection = self.runtime.io().socket(address)?;
        connection.set_reuse_address(true)?;
        // The engine's socket has no name yet; the address says more.
        connection.bind(address).map_err(|error| OperationError::told_of(error, "bind", address.to_string()))?;
        self.state.replace(State::Bound(connection));
        Ok(Outcome::Nothing)
    }

    fn listen(&self) -> Result<(), Failure> {
        match self.state.replace(State::Connecting) {
            State::Bound(connection) => {
                let listener = connection.clone().listen();
                let state = match listener {
                    Ok(listener) => State::Listening(listener),
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

    fn stream(&self) -> Option<Rc<Stream>> {
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
            State::New | State::Connecting => return Request::settled(&self.runtime, Ok(Outcome::Nothing)),
            State::Bound(connection) => connection.close(),
            State::Listening(listener) => listener.close(),
            State::Connected { connection, stream } => {
                stream.cut_off();
                connection.close()
            }
        };
        self.begin_named(deadline, operation, "close", name)
    }

    fn listener(&self) -> Option<Listener> {
        match &*self.state.borrow() {
            State::Listening(listener) => Some(listener.clone()),
            _ => None,
        }
    }

    fn accept(&self, arguments: &mut Arguments) -> Rc<Request> {
        let Some(listener) = self.listener() else { return self.refused("accept") };
        match arguments.callback.take() {
            Some(callback) => accept::keep_accepting(&self.runtime, listener, callback),
            None => {
                let operation = listener.accept();
                self.runtime.begin(Class::Passive, arguments.options.deadline, operation, move |outcome| {
                    drop(listener);
                    Ok(Outcome::Connection(outcome?))
                })
            }
        }
    }

    fn address(&self, operation: &str, is_local: bool) -> Result<(String, u16), Problem> {
        let address = match (&*self.state.borrow(), is_local) {
            (State::Bound(connection) | State::Connected { connection, .. }, true) => connection.local_address()?,
            (State::Listening(listener), true) => listener.local_address()?,
            (State::Connected { connection, .. }, false) => connection.peer_address()?,
            _ => return Err(Problem::Failure(self.refusal(operation))),
        };
        Ok((address.ip().to_string(), address.port()))
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

fn install_connecting(lua: &Lua, runtime: &Rc<Runtime>, verbs: &Table) -> mlua::Result<()> {
    let shared = Rc::clone(runtime);
    verb(lua, verbs, "connect", move |lua, arguments| {
        let object = match arguments.object_of::<Socket>() {
            Some(object) => object,
            None => lua.create_userdata(Socket::new(&shared)).map_err(|error| error.to_string())?,
        };
        let socket = object.borrow::<Socket>().map_err(|error| error.to_string())?.clone();
        let (host, port) = (arguments.host()?, arguments.port()?);
        Ok(socket.connect(object, &host, port, arguments.options.deadline))
    })?;
    verb(lua, verbs, "bind", |_, arguments| {
        let socket = socket_of(arguments)?;
        let (host, port) = (arguments.host()?, arguments.port()?);
        Ok(socket.bind(&host, port, arguments.options.deadline))
    })?;
    verb(lua, verbs, "accept", |_, arguments| Ok(socket_of(arguments)?.accept(arguments)))
}

/// Adds Socket's operations to `verbs`.
pub(crate) fn install_verbs(lua: &Lua, runtime: &Rc<Runtime>, verbs: &Table) -> mlua::Result<()> {
    install_connecting(lua, runtime, verbs)?;
    verb(lua, verbs, "recv", |_, arguments| {
        let socket = socket_of(arguments)?;
        let most = arguments.count("length")?;
        Ok(socket.with_stream(Work::Receive { most }, arguments.options.deadline))
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
        Ok(socket.send(arguments.bytes("data")?, arguments.options.deadline))
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
    direct(lua, methods, "new", move |lua, _| Ok(lua.create_userdata(Socket::new(&shared))?))?;
    direct(lua, methods, "listen", |_, arguments| {
        let object = arguments.object::<Socket>("Socket")?;
        let socket = object.borrow::<Socket>()?.clone();
        match socket.listen() {
            Ok(()) => Ok(object),
            Err(failure) => Err(Problem::Failure(failure)),
        }
    })?;
    direct(lua, methods, "local_address", |_, arguments| socket_of(arguments)?.address("local_address", true))?;
    direct(lua, methods, "remote_address", |_, arguments| socket_of(arguments)?.address("remote_address", false))?;
    direct(lua, methods, "is_closed", |_, arguments| {
        Ok(matches!(*socket_of(arguments)?.state.borrow(), State::Closed(_)))
    })
}
