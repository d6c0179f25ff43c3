//! Datagrams: UDP, and messages of the Unix domain.

use std::ffi::{c_char, c_int, c_void};
use std::mem::MaybeUninit;

use crate::addresses::{address, address_out};
use crate::codes::{CORELLA_ERROR_NOTHING_TO_TAKE, CORELLA_ERROR_WRONG_KIND, CORELLA_ERROR_WRONG_STATE, CORELLA_OK};
use crate::faults::{Fault, put};
use crate::files::transfer;
use crate::ids::{Handle, Request, Scheduler};
use crate::memory::bytes;
use crate::os::owned_socket;
use crate::outcome::{Object, Value};
use crate::registry::on_host;
use crate::request::{Extra, Record, Verb};
use crate::results::settled;

/// Makes a socket for datagrams at the address `ip` and `port`: UDP (port 0 has the OS choose one), or with
/// CORELLA_PORT_UNIX of the Unix domain. Yours, to be freed with `corella_handle_free`. Does not block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn corella_bind_datagrams(
    scheduler: Scheduler,
    ip: *const c_char,
    length: usize,
    port: c_int,
    socket: Option<&mut MaybeUninit<Handle>>,
) -> c_int {
    on_host("corella_bind_datagrams", scheduler, |host, _| {
        // SAFETY: the caller's string, for this call.
        let made = host.io.bind_datagrams(address(unsafe { bytes(ip, length) }?, port)?)?;
        put(socket, host.handles.borrow_mut().insert(Object::Datagrams(made))?.id());
        Ok(CORELLA_OK)
    })
}

/// Makes a socket for datagrams without an address, of the family of that in `ip` and `port`, for what has to be set before
/// it is bound (`corella_bind`) or connected (`corella_socket_connect`). Its first send gives it an address. Does not block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn corella_datagram_socket(
    scheduler: Scheduler,
    ip: *const c_char,
    length: usize,
    port: c_int,
    socket: Option<&mut MaybeUninit<Handle>>,
) -> c_int {
    on_host("corella_datagram_socket", scheduler, |host, _| {
        // SAFETY: the caller's string, for this call.
        let made = host.io.datagram_socket(address(unsafe { bytes(ip, length) }?, port)?)?;
        put(socket, host.handles.borrow_mut().insert(Object::Datagrams(made))?.id());
        Ok(CORELLA_OK)
    })
}

/// Makes two sockets for datagrams that are connected to each other, of the Unix domain: nothing is lost between them, and
/// a send waits for room. Both yours. The OS's error where it has no such sockets (Windows).
#[unsafe(no_mangle)]
pub extern "C" fn corella_datagram_pair(
    scheduler: Scheduler,
    one: Option<&mut MaybeUninit<Handle>>,
    other: Option<&mut MaybeUninit<Handle>>,
) -> c_int {
    crate::files::pair("corella_datagram_pair", scheduler, (one, other), |io| {
        let (one, other) = io.datagram_pair()?;
        Ok((Object::Datagrams(one), Object::Datagrams(other)))
    })
}

/// Takes an OS handle (on Unix a descriptor, on Windows a SOCKET) over as a socket for datagrams. It is the library's from
/// this call on and closed by it, also when this fails, unless it was not an open OS handle at all.
#[unsafe(no_mangle)]
pub extern "C" fn corella_adopt_datagrams(
    scheduler: Scheduler,
    os_handle: isize,
    socket: Option<&mut MaybeUninit<Handle>>,
) -> c_int {
    on_host("corella_adopt_datagrams", scheduler, |host, _| {
        let adopted = host.io.adopt_datagrams(owned_socket(os_handle)?)?;
        put(socket, host.handles.borrow_mut().insert(Object::Datagrams(adopted))?.id());
        Ok(CORELLA_OK)
    })
}

/// Receives one datagram, of which up to `length` bytes go to `data`. The outcome's count is how many, which may be 0 for an
/// empty one; `corella_sender` says whose it is, `corella_is_truncated` whether the rest of it is lost. A connected socket is
/// also told here that nobody is at its peer's address.
#[unsafe(no_mangle)]
pub extern "C" fn corella_receive_datagram(
    socket: Handle,
    data: *mut c_void,
    length: usize,
    request: Option<&mut MaybeUninit<Request>>,
) -> c_int {
    transfer("corella_receive_datagram", socket, Verb::ReceiveDatagram, (data, length, 0), request)
}

/// Sends `length` bytes at `data` as one datagram: to the address of `corella_set_destination`, and without that to the
/// peer that the socket is connected to. One that is too long for the network is the OS's error (EMSGSIZE), and nothing of
/// it is sent. Datagrams go out in the order they were submitted; UDP may lose, double and reorder them on the way.
#[unsafe(no_mangle)]
pub extern "C" fn corella_send_datagram(
    socket: Handle,
    data: *const c_void,
    length: usize,
    request: Option<&mut MaybeUninit<Request>>,
) -> c_int {
    transfer("corella_send_datagram", socket, Verb::SendDatagram, (data.cast_mut(), length, 0), request)
}

/// Sets where a request by `corella_send_datagram` sends to. The text is copied. CORELLA_ERROR_WRONG_STATE for other
/// operations.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn corella_set_destination(
    request: Request,
    ip: *const c_char,
    length: usize,
    port: c_int,
) -> c_int {
    on_host("corella_set_destination", request, |host, key| {
        // SAFETY: the caller's string, for this call.
        let first = unsafe { bytes(ip, length) }?;
        address(first, port)?;
        match host.requests.borrow_mut().ready(key)? {
            record @ Record { verb: Verb::SendDatagram, .. } => {
                record.extra = Some(Box::new(Extra { first: first.to_vec(), port, ..Extra::default() }));
                Ok(CORELLA_OK)
            }
            _ => Err(CORELLA_ERROR_WRONG_STATE.into()),
        }
    })
}

/// Writes who sent the datagram that a settled request received, as `corella_local_address` writes an address: an empty
/// text with CORELLA_PORT_UNIX for a sender of the Unix domain without a name. CORELLA_ERROR_NOTHING_TO_TAKE if the request
/// has received none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn corella_sender(
    request: Request,
    ip: *mut c_char,
    capacity: usize,
    port: Option<&mut MaybeUninit<c_int>>,
) -> c_int {
    settled("corella_sender", request, |_, record| match &record.value {
        // SAFETY: the caller's array.
        Value::Datagram { sender, .. } => unsafe { address_out(sender, ip, capacity, port) },
        _ => Err(CORELLA_ERROR_NOTHING_TO_TAKE.into()),
    })
}

/// Whether the datagram was longer than the memory that it was received to, so that its rest is lost: 1 or 0.
#[unsafe(no_mangle)]
pub extern "C" fn corella_is_truncated(request: Request) -> c_int {
    settled("corella_is_truncated", request, |_, record| match &record.value {
        Value::Datagram { size, .. } => Ok(c_int::from(*size != Some(record.count))),
        _ => Err(CORELLA_ERROR_NOTHING_TO_TAKE.into()),
    })
}

/// Writes the datagram's own length in bytes, of which `corella_count` were received. CORELLA_ERROR_NOTHING_TO_TAKE if it
/// was cut and the system does not tell (all but Linux and Windows).
#[unsafe(no_mangle)]
pub extern "C" fn corella_datagram_size(request: Request, size: Option<&mut MaybeUninit<i64>>) -> c_int {
    settled("corella_datagram_size", request, |_, record| match &record.value {
        Value::Datagram { size: Some(bytes), .. } => {
            put(size, *bytes);
            Ok(CORELLA_OK)
        }
        _ => Err(CORELLA_ERROR_NOTHING_TO_TAKE.into()),
    })
}

/// Lets a socket for datagrams send to all hosts of a network (SO_BROADCAST): `yes` 1 or 0.
#[unsafe(no_mangle)]
pub extern "C" fn corella_set_broadcast(socket: Handle, yes: c_int) -> c_int {
    on_host("corella_set_broadcast", socket, |host, key| match host.handles.borrow().get(key)? {
        Object::Datagrams(socket) => {
            socket.set_broadcast(yes != 0)?;
            Ok::<_, Fault>(CORELLA_OK)
        }
        _ => Err(CORELLA_ERROR_WRONG_KIND.into()),
    })
}
