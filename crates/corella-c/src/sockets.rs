//! Connections: TCP and the Unix domain; listeners, names.

use std::ffi::{c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::time::Duration;

use corella::{Address, Error, Socket};

use crate::addresses::{CORELLA_PORT_UNIX, address, address_out, internet_address, port_number};
use crate::codes::{CORELLA_ERROR_INVALID_ID, CORELLA_ERROR_WRONG_KIND, CORELLA_OK};
use crate::faults::{Fault, put};
use crate::files::{prepare_on_handle, prepare_on_scheduler, transfer};
use crate::ids::{Handle, Key, Pool, Request, Scheduler};
use crate::memory::bytes;
use crate::outcome::Object;
use crate::registry::on_host;
use crate::request::{Extra, Verb};

/// No more receives.
pub const CORELLA_SHUTDOWN_READ: c_int = 0;
/// No more sends; the peer reads an end. Queued sends go out first.
pub const CORELLA_SHUTDOWN_WRITE: c_int = 1;
/// Both.
pub const CORELLA_SHUTDOWN_BOTH: c_int = 2;

/// Listens for TCP connections on the IP address in the text `ip` (`length` bytes) and `port`; port 0 has the OS choose
/// one, see `corella_local_address`. The address may be bound again right after its last user. With CORELLA_PORT_UNIX listens
/// at a path, at which it makes a file that must not be there yet and that only the program removes. Does not block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn corella_listen(
    scheduler: Scheduler,
    ip: *const c_char,
    length: usize,
    port: c_int,
    listener: Option<&mut MaybeUninit<Handle>>,
) -> c_int {
    on_host("corella_listen", scheduler, |host, _| {
        // SAFETY: the caller's string, for this call.
        let address = address(unsafe { bytes(ip, length) }?, port)?;
        let made = match address {
            Address::Unix(address) => host.io.listen_unix(address)?,
            Address::Internet(address) => host.io.listen(address)?,
            _ => return Err(Fault::input("not an address")),
        };
        let key = host.handles.borrow_mut().insert(Object::Listener(made))?;
        put(listener, key.id());
        Ok(CORELLA_OK)
    })
}

/// Accepts one connection. The outcome has the socket: `corella_take_handle`.
#[unsafe(no_mangle)]
pub extern "C" fn corella_accept(listener: Handle, request: Option<&mut MaybeUninit<Request>>) -> c_int {
    prepare_on_handle("corella_accept", listener, Verb::Accept, request, |_| Ok(()))
}

/// Connects over TCP to `host`, an IP address or a name (`length` bytes, copied), which is resolved on the library's pool
/// of threads and whose addresses are tried in turn; with CORELLA_PORT_UNIX to a listener of the Unix domain. A deadline
/// covers it all. The outcome has the socket.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn corella_connect(
    scheduler: Scheduler,
    host: *const c_char,
    length: usize,
    port: c_int,
    request: Option<&mut MaybeUninit<Request>>,
) -> c_int {
    // SAFETY: the caller's string, for this call.
    unsafe { on_name("corella_connect", scheduler, Verb::Connect, (host, length, port), request) }
}

/// Looks a name up on the library's pool of threads. The outcome's count is how many addresses it has: `corella_address`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn corella_resolve(
    scheduler: Scheduler,
    name: *const c_char,
    length: usize,
    port: c_int,
    request: Option<&mut MaybeUninit<Request>>,
) -> c_int {
    // SAFETY: the caller's string, for this call.
    unsafe { on_name("corella_resolve", scheduler, Verb::Resolve, (name, length, port), request) }
}

/// # Safety
/// `name` is null or valid for `length` bytes.
unsafe fn on_name(
    function: &'static str,
    scheduler: Scheduler,
    verb: Verb,
    (name, length, port): (*const c_char, usize, c_int),
    request: Option<&mut MaybeUninit<Request>>,
) -> c_int {
    prepare_on_scheduler(function, scheduler, verb, request, |record| {
        // SAFETY: by this function's contract.
        let first = unsafe { bytes(name, length) }?.to_vec();
        if port != CORELLA_PORT_UNIX || verb != Verb::Connect {
            port_number(port)?;
        }
        record.extra = Some(Box::new(Extra { first, port, ..Extra::default() }));
        Ok(())
    })
}

/// Makes an unconnected TCP socket of the family of the IP address in `ip`, for what has to be set before it connects or
/// listens. Does not block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn corella_socket(
    scheduler: Scheduler,
    ip: *const c_char,
    length: usize,
    socket: Option<&mut MaybeUninit<Handle>>,
) -> c_int {
    on_host("corella_socket", scheduler, |host, _| {
        // SAFETY: the caller's string, for this call.
        let address = internet_address(unsafe { bytes(ip, length) }?, 0)?;
        let made = host.io.socket(address)?;
        let key = host.handles.borrow_mut().insert(Object::Socket(made))?;
        put(socket, key.id());
        Ok(CORELLA_OK)
    })
}

/// Makes an unconnected socket of the Unix domain, for what has to be set before it connects or listens. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn corella_unix_socket(scheduler: Scheduler, socket: Option<&mut MaybeUninit<Handle>>) -> c_int {
    on_host("corella_unix_socket", scheduler, |host, _| {
        let made = host.io.unix_socket()?;
        put(socket, host.handles.borrow_mut().insert(Object::Socket(made))?.id());
        Ok(CORELLA_OK)
    })
}

/// Makes two sockets that are connected to each other, to talk to a child process or within this one. Both yours. Does not
/// block.
#[unsafe(no_mangle)]
pub extern "C" fn corella_socket_pair(
    scheduler: Scheduler,
    one: Option<&mut MaybeUninit<Handle>>,
    other: Option<&mut MaybeUninit<Handle>>,
) -> c_int {
    crate::files::pair("corella_socket_pair", scheduler, (one, other), |io| {
        let (one, other) = io.socket_pair()?;
        Ok((Object::Socket(one), Object::Socket(other)))
    })
}

/// Connects a socket made by `corella_socket` to an IP address, or one by `corella_unix_socket` (CORELLA_PORT_UNIX). Sends
/// and receives submitted after it wait for it. For datagrams it makes the address the peer: where `corella_send_datagram`
/// goes to and the only one whose datagrams are received; it may be changed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn corella_socket_connect(
    socket: Handle,
    ip: *const c_char,
    length: usize,
    port: c_int,
    request: Option<&mut MaybeUninit<Request>>,
) -> c_int {
    prepare_on_handle("corella_socket_connect", socket, Verb::ConnectSocket, request, |record| {
        // SAFETY: the caller's string, for this call.
        let first = unsafe { bytes(ip, length) }?.to_vec();
        address(&first, port)?;
        record.extra = Some(Box::new(Extra { first, port, ..Extra::default() }));
        Ok(())
    })
}

/// Receives what there is, up to `length` bytes, to `data`. The outcome's count is how many; 0 is the peer's end.
#[unsafe(no_mangle)]
pub extern "C" fn corella_receive(
    socket: Handle,
    data: *mut c_void,
    length: usize,
    request: Option<&mut MaybeUninit<Request>>,
) -> c_int {
    transfer("corella_receive", socket, Verb::Receive, (data, length, 0), request)
}

/// Receives exactly `length` bytes; CORELLA_ERROR_UNEXPECTED_END, with the count of what came, if the peer's end is before.
#[unsafe(no_mangle)]
pub extern "C" fn corella_receive_exact(
    socket: Handle,
    data: *mut c_void,
    length: usize,
    request: Option<&mut MaybeUninit<Request>>,
) -> c_int {
    transfer("corella_receive_exact", socket, Verb::ReceiveExact, (data, length, 0), request)
}

/// Receives everything up to the peer's end. The outcome has a buffer with it: `corella_take_buffer`, after a failure too.
#[unsafe(no_mangle)]
pub extern "C" fn corella_receive_to_end(socket: Handle, request: Option<&mut MaybeUninit<Request>>) -> c_int {
    prepare_on_handle("corella_receive_to_end", socket, Verb::ReceiveToEnd, request, |_| Ok(()))
}

/// Receives what there is into a buffer of `pool`: `corella_take_buffer`, which goes back to the pool when it is freed. At
/// the peer's end the outcome has none. CORELLA_ERROR_REJECTED from the ending while all buffers are out, a wait included:
/// nothing is received then, and the peer is slowed down instead of this program's memory growing.
#[unsafe(no_mangle)]
pub extern "C" fn corella_receive_pooled(
    socket: Handle,
    pool: Pool,
    request: Option<&mut MaybeUninit<Request>>,
) -> c_int {
    prepare_on_handle("corella_receive_pooled", socket, Verb::ReceivePooled, request, |record| {
        let pool = Key::of(pool).filter(|pool| pool.scheduler == record.handle.scheduler);
        record.buffer = Some(pool.ok_or(CORELLA_ERROR_INVALID_ID)?);
        Ok(())
    })
}

/// Sends all `length` bytes at `data`. Sends go out in the order they were submitted.
#[unsafe(no_mangle)]
pub extern "C" fn corella_send(
    socket: Handle,
    data: *const c_void,
    length: usize,
    request: Option<&mut MaybeUninit<Request>>,
) -> c_int {
    transfer("corella_send", socket, Verb::Send, (data.cast_mut(), length, 0), request)
}

/// Shuts a direction of a connection down: CORELLA_SHUTDOWN_READ, _WRITE (after the sends before it) or _BOTH.
#[unsafe(no_mangle)]
pub extern "C" fn corella_shut_down(socket: Handle, how: c_int, request: Option<&mut MaybeUninit<Request>>) -> c_int {
    prepare_on_handle("corella_shut_down", socket, Verb::Shutdown, request, |record| {
        if !(CORELLA_SHUTDOWN_READ..=CORELLA_SHUTDOWN_BOTH).contains(&how) {
            return Err(Fault::input("not a direction to shut down"));
        }
        record.second_number = i64::from(how);
        Ok(())
    })
}

/// An option that connections and datagrams have.
macro_rules! set_on_either {
    ($function:ident, $socket:ident, $method:ident($($value:expr),*)) => {
        on_host(stringify!($function), $socket, |host, key| {
            match host.handles.borrow().get(key)? {
                Object::Socket(socket) => socket.$method($($value),*)?,
                Object::Datagrams(socket) => socket.$method($($value),*)?,
                _ => return Err(CORELLA_ERROR_WRONG_KIND.into()),
            }
            Ok(CORELLA_OK)
        })
    };
}

fn on_socket(name: &'static str, socket: Handle, call: impl FnOnce(&Socket) -> Result<(), Error>) -> c_int {
    on_host(name, socket, |host, key| match host.handles.borrow().get(key)? {
        Object::Socket(socket) => {
            call(socket)?;
            Ok(CORELLA_OK)
        }
        _ => Err(CORELLA_ERROR_WRONG_KIND.into()),
    })
}

/// Settles when a receive, or an accept of a listener, would find something: bytes, a datagram, a connection, an end or an
/// error. Nothing is taken by it.
#[unsafe(no_mangle)]
pub extern "C" fn corella_await_readable(socket: Handle, request: Option<&mut MaybeUninit<Request>>) -> c_int {
    prepare_on_handle("corella_await_readable", socket, Verb::AwaitReadable, request, |_| Ok(()))
}

/// Settles when a send would find room, or an error. It waits for the sends before it.
#[unsafe(no_mangle)]
pub extern "C" fn corella_await_writable(socket: Handle, request: Option<&mut MaybeUninit<Request>>) -> c_int {
    prepare_on_handle("corella_await_writable", socket, Verb::AwaitWritable, request, |_| Ok(()))
}

/// Gives an unconnected socket its own address. Does not block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn corella_bind(socket: Handle, ip: *const c_char, length: usize, port: c_int) -> c_int {
    on_host("corella_bind", socket, |host, key| {
        // SAFETY: the caller's string, for this call.
        let address = address(unsafe { bytes(ip, length) }?, port)?;
        match (host.handles.borrow().get(key)?, address) {
            (Object::Socket(socket), Address::Internet(address)) => socket.bind(address)?,
            (Object::Socket(socket), Address::Unix(address)) => socket.bind_unix(address)?,
            (Object::Datagrams(socket), address) => socket.bind(address)?,
            _ => return Err(CORELLA_ERROR_WRONG_KIND.into()),
        }
        Ok(CORELLA_OK)
    })
}

/// Makes a bound socket a listener; its id is that of the listener from then on. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn corella_socket_listen(socket: Handle) -> c_int {
    on_host("corella_socket_listen", socket, |host, key| {
        let mut handles = host.handles.borrow_mut();
        let object = handles.get_mut(key)?;
        let Object::Socket(socket) = object else { return Err(CORELLA_ERROR_WRONG_KIND.into()) };
        let listener = socket.clone().listen()?;
        *object = Object::Listener(listener);
        Ok(CORELLA_OK)
    })
}

/// Writes the text of a socket's or listener's own IP address to `ip`, an array of `capacity` bytes, with a NUL byte at
/// its end, and its port to `port`; for one of the Unix domain its path or name, and CORELLA_PORT_UNIX. 64 bytes are enough
/// for any IP address, 112 for any path; CORELLA_ERROR_TOO_SHORT if it does not fit.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn corella_local_address(
    handle: Handle,
    ip: *mut c_char,
    capacity: usize,
    port: Option<&mut MaybeUninit<c_int>>,
) -> c_int {
    on_host("corella_local_address", handle, |host, key| {
        let address = match host.handles.borrow().get(key)? {
            Object::Socket(socket) => socket.local_endpoint()?,
            Object::Listener(listener) => listener.local_endpoint()?,
            Object::Datagrams(socket) => socket.local_address()?,
            _ => return Err(CORELLA_ERROR_WRONG_KIND.into()),
        };
        // SAFETY: the caller's array.
        unsafe { address_out(&address, ip, capacity, port) }
    })
}

/// The same for the other end of a connection.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn corella_peer_address(
    socket: Handle,
    ip: *mut c_char,
    capacity: usize,
    port: Option<&mut MaybeUninit<c_int>>,
) -> c_int {
    on_host("corella_peer_address", socket, |host, key| {
        let address = match host.handles.borrow().get(key)? {
            Object::Socket(socket) => socket.peer_endpoint()?,
            Object::Datagrams(socket) => socket.peer_address()?,
            _ => return Err(CORELLA_ERROR_WRONG_KIND.into()),
        };
        // SAFETY: the caller's array.
        unsafe { address_out(&address, ip, capacity, port) }
    })
}

/// Sends at once what there is room for of `length` bytes at `data`, and waits for nothing; `*sent` becomes how many bytes
/// went out. It is no request, and the bytes are the caller's again when it returns. 0 if nothing could be sent now: there is
/// no room, sends before it have not gone out, the handle is being closed, or the system has no such call (Windows). What has
/// not gone out is for `corella_send`; if that fails or is cancelled after a part went out here, the connection sends no more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn corella_try_send(
    socket: Handle,
    data: *const c_void,
    length: usize,
    sent: Option<&mut MaybeUninit<i64>>,
) -> c_int {
    on_host("corella_try_send", socket, |host, key| {
        // SAFETY: the caller's bytes, for the time of the call.
        let bytes = unsafe { bytes(data.cast(), length) }?;
        let count = match host.handles.borrow().get(key)? {
            Object::Socket(socket) => socket.try_send(bytes)?,
            _ => return Err(CORELLA_ERROR_WRONG_KIND.into()),
        };
        put(sent, count as i64);
        Ok(CORELLA_OK)
    })
}

/// Sends small writes at once (`yes` 1) instead of gathering them (TCP_NODELAY).
#[unsafe(no_mangle)]
pub extern "C" fn corella_set_no_delay(socket: Handle, yes: c_int) -> c_int {
    on_socket("corella_set_no_delay", socket, |socket| socket.set_no_delay(yes != 0))
}

/// Whether small writes go out at once: 1 or 0.
#[unsafe(no_mangle)]
pub extern "C" fn corella_no_delay(socket: Handle) -> c_int {
    on_host("corella_no_delay", socket, |host, key| match host.handles.borrow().get(key)? {
        Object::Socket(socket) => Ok(c_int::from(socket.no_delay()?)),
        _ => Err(CORELLA_ERROR_WRONG_KIND.into()),
    })
}

/// Has the OS probe an idle connection (SO_KEEPALIVE), after `idle_seconds` if that is more than 0.
#[unsafe(no_mangle)]
pub extern "C" fn corella_set_keep_alive(socket: Handle, yes: c_int, idle_seconds: c_int) -> c_int {
    on_socket("corella_set_keep_alive", socket, |socket| {
        let idle = u64::try_from(idle_seconds).ok().filter(|seconds| *seconds > 0);
        socket.set_keep_alive(yes != 0, idle.map(Duration::from_secs))
    })
}

/// What a close does with bytes not yet acknowledged (SO_LINGER): waits so many seconds; 0 resets the connection; negative
/// is the usual, in the background.
#[unsafe(no_mangle)]
pub extern "C" fn corella_set_linger(socket: Handle, seconds: c_int) -> c_int {
    on_socket("corella_set_linger", socket, |socket| {
        socket.set_linger(u64::try_from(seconds).ok().map(Duration::from_secs))
    })
}

/// Asks for a send buffer of so many bytes; the OS has the last word.
#[unsafe(no_mangle)]
pub extern "C" fn corella_set_send_buffer(socket: Handle, bytes: usize) -> c_int {
    set_on_either!(corella_set_send_buffer, socket, set_send_buffer(bytes))
}

/// Asks for a receive buffer of so many bytes; the OS has the last word.
#[unsafe(no_mangle)]
pub extern "C" fn corella_set_receive_buffer(socket: Handle, bytes: usize) -> c_int {
    set_on_either!(corella_set_receive_buffer, socket, set_receive_buffer(bytes))
}

/// How many routers a packet may pass (IP_TTL, IPv4): 1 to 255.
#[unsafe(no_mangle)]
pub extern "C" fn corella_set_time_to_live(socket: Handle, hops: c_int) -> c_int {
    set_on_either!(corella_set_time_to_live, socket, set_time_to_live(hops.cast_unsigned()))
}

/// Lets an address be bound again right after its last user (SO_REUSEADDR): `yes` 1 or 0.
#[unsafe(no_mangle)]
pub extern "C" fn corella_set_reuse_address(socket: Handle, yes: c_int) -> c_int {
    set_on_either!(corella_set_reuse_address, socket, set_reuse_address(yes != 0))
}

/// The socket's pending error as the OS's code, cleared by asking (SO_ERROR); 0 for none. Negative if it cannot be asked.
#[unsafe(no_mangle)]
pub extern "C" fn corella_take_socket_error(socket: Handle) -> c_int {
    on_host("corella_take_socket_error", socket, |host, key| match host.handles.borrow().get(key)? {
        Object::Socket(socket) => Ok(os_code(socket.take_error()?)),
        Object::Datagrams(socket) => Ok(os_code(socket.take_error()?)),
        _ => Err(CORELLA_ERROR_WRONG_KIND.into()),
    })
}

fn os_code(error: Option<std::io::Error>) -> c_int {
    error.and_then(|error| error.raw_os_error()).unwrap_or(0)
}
