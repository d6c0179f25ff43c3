//! Address objects: where a socket is to be reached, as scripts hold it.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use corella::{Address, UnixAddress};
use mlua::{
    IntoLua, Lua, MetaMethod, MultiValue, Table, UserData, UserDataFields, UserDataMethods, UserDataRef, Value,
};

use crate::arguments::Arguments;
use crate::failure::{Failure, OperationError};
use crate::request::{Listener, Outcome, Request, Stop};
use crate::runtime::Runtime;
use crate::verb::verb;

/// What a script holds of an address.
pub(crate) struct Endpoint(pub(crate) Address);

impl UserData for Endpoint {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_meta_field("__name", "Address");
        fields.add_field_method_get("family", |_, this| {
            Ok(match this.0.as_internet() {
                Some(SocketAddr::V4(_)) => "inet",
                Some(SocketAddr::V6(_)) => "inet6",
                None => "unix",
            })
        });
        fields.add_field_method_get("host", |_, this| Ok(this.0.as_internet().map(|address| address.ip().to_string())));
        fields.add_field_method_get("port", |_, this| Ok(this.0.as_internet().map(|address| address.port())));
        fields.add_field_method_get("path", |lua, this| match this.0.as_unix() {
            Some(unix) => Ok(Value::String(lua.create_string(unix_name(unix))?)),
            None => Ok(Value::Nil),
        });
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_meta_method(MetaMethod::ToString, |_, this, ()| Ok(this.0.to_string()));
        methods.add_meta_function(MetaMethod::Eq, |_, (one, other): (Value, Value)| {
            let address = |value: &Value| value.as_userdata()?.borrow::<Endpoint>().ok();
            let (one, other): (Option<UserDataRef<_>>, Option<UserDataRef<_>>) = (address(&one), address(&other));
            Ok(matches!((one, other), (Some(one), Some(other)) if one.0 == other.0))
        });
    }
}

/// A Unix-domain address as a script writes it: a path, a name behind an `@`, or nothing.
pub(crate) fn unix_name(address: &UnixAddress) -> Vec<u8> {
    match (address.as_path(), address.as_abstract_name()) {
        (Some(path), _) => crate::os_text::bytes_of(path.as_os_str()),
        (None, Some(name)) => [b"@", name].concat(),
        (None, None) => Vec::new(),
    }
}

/// The Unix-domain address that a script has written.
fn unix_address(written: &[u8]) -> UnixAddress {
    match written {
        [b'@', name @ ..] => UnixAddress::abstract_name(name),
        path => UnixAddress::path(crate::os_text::os_string(path)),
    }
}

/// An address as an operation's results have it: host and port, or the name of a Unix-domain socket.
pub(crate) fn address_values(lua: &Lua, address: &Address) -> mlua::Result<MultiValue> {
    let values = match (address.as_internet(), address.as_unix()) {
        (Some(address), _) => vec![address.ip().to_string().into_lua(lua)?, Value::Integer(address.port().into())],
        (None, Some(unix)) => vec![Value::String(lua.create_string(unix_name(unix))?)],
        (None, None) => Vec::new(),
    };
    Ok(MultiValue::from_vec(values))
}

/// Where a script wants to: an address, or a name that has to be resolved first.
pub(crate) enum Place {
    Known(Address),
    Named(String, u16),
}

impl Place {
    /// An address object, or a host and a port.
    pub(crate) fn take(arguments: &mut Arguments) -> Result<Place, String> {
        if let Some(object) = arguments.object_of::<Endpoint>() {
            let endpoint = object.borrow::<Endpoint>().map_err(|error| error.to_string())?;
            return Ok(Place::Known(endpoint.0.clone()));
        }
        let (host, port) = (arguments.host()?, arguments.port()?);
        Ok(match host.parse::<IpAddr>() {
            Ok(ip) => Place::Known(SocketAddr::new(ip, port).into()),
            Err(_) => Place::Named(host, port),
        })
    }

    /// As errors show it.
    pub(crate) fn name(&self) -> String {
        match self {
            Place::Known(address) => address.to_string(),
            Place::Named(host, port) => format!("{host}:{port}"),
        }
    }

    /// Does `then` with the address, after the name has been resolved if it is one; a deadline covers both. What that
    /// gives has to be Lua's values.
    pub(crate) fn resolve(
        self,
        runtime: &Rc<Runtime>,
        operation: &'static str,
        deadline: Option<Duration>,
        then: impl FnOnce(Address, Option<Duration>) -> Rc<Request> + 'static,
    ) -> Rc<Request> {
        let (host, port) = match self {
            Place::Known(address) => return then(address, deadline),
            Place::Named(host, port) => (host, port),
        };
        let due = deadline.map(|deadline| Instant::now() + deadline);
        let request = Request::new(runtime, crate::request::Class::Counted);
        let (settles, name) = (Rc::clone(&request), format!("{host}:{port}"));
        let look_up = runtime.io().resolve(&host, port);
        let look_up = match deadline {
            Some(deadline) => look_up.deadline(deadline),
            None => look_up,
        };
        let begun = look_up.direct().then(move |outcome| {
            let address = match outcome {
                Ok(addresses) => addresses
                    .first()
                    .copied()
                    .ok_or_else(|| Failure::from(OperationError::invalid(operation, name, "it has no address"))),
                Err(error) => Err(error.into()),
            };
            match address {
                Ok(address) => {
                    let left = due.map(|due| due.saturating_duration_since(Instant::now()));
                    let second = then(address.into(), left);
                    second.listen(Listener::Relay(Rc::clone(&settles)));
                    settles.set_stop(Stop::Call(Box::new(move || second.cancel())));
                }
                Err(failure) => settles.settle(Err(failure)),
            }
        });
        match begun {
            Ok(id) => request.set_stop(Stop::Engine(id)),
            Err(error) => request.settle(Err(error.into())),
        }
        request
    }
}

/// An address as a request's outcome.
fn settled(lua: &Lua, runtime: &Rc<Runtime>, address: Address) -> Rc<Request> {
    let made = lua.create_userdata(Endpoint(address));
    let values = made.map(|object| MultiValue::from_vec(vec![Value::UserData(object)])).unwrap_or_default();
    Request::settled(runtime, Ok(Outcome::Values(values)))
}

/// Adds what makes address objects to Socket's operations, and to `raw` how they are known.
pub(crate) fn install_verbs(lua: &Lua, runtime: &Rc<Runtime>, verbs: &Table) -> mlua::Result<()> {
    let shared = Rc::clone(runtime);
    verb(lua, verbs, "sockaddr", move |lua, arguments| {
        let (_, second) = arguments.peek_two();
        if second.is_nil() {
            let written = arguments.bytes("path")?;
            return Ok(settled(lua, &shared, unix_address(&written).into()));
        }
        let place = Place::take(arguments)?;
        let (lua, runtime) = (lua.clone(), Rc::clone(&shared));
        let deadline = arguments.options.deadline;
        Ok(place.resolve(&shared, "sockaddr", deadline, move |address, _| settled(&lua, &runtime, address)))
    })
}

pub(crate) fn install_raw(lua: &Lua, raw: &Table) -> mlua::Result<()> {
    let is_address = |_: &Lua, value: Value| Ok(value.as_userdata().is_some_and(|object| object.is::<Endpoint>()));
    raw.set("is_address", lua.create_function(is_address)?)
}
