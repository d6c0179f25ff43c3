//! Addresses of sockets as C has them: a text and a port.

use std::ffi::{c_char, c_int};
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};

use corella::{Address, UnixAddress};

use crate::begin::path;
use crate::codes::{CORELLA_ERROR_TOO_SHORT, CORELLA_OK};
use crate::faults::{Fault, put};

/// As a port: the text is an address of the Unix domain, and no IP address. It is a path; or, behind an "@", a name of
/// Linux's abstract namespace (a path that begins with one is written "./@"); or nothing, of a socket without a name.
pub const CORELLA_PORT_UNIX: c_int = -1;

/// The port of an IP address.
pub(crate) fn port_number(port: c_int) -> Result<u16, Fault> {
    u16::try_from(port).map_err(|_| Fault::input("not a port: 0 to 65535"))
}

/// The address that a text and a port name.
pub(crate) fn address(text: &[u8], port: c_int) -> Result<Address, Fault> {
    match port {
        CORELLA_PORT_UNIX => unix_address(text).map(Address::from),
        _ => internet_address(text, port_number(port)?).map(Address::from),
    }
}

/// An IP address in text, with a zone as a number where it has one, and a port.
pub(crate) fn internet_address(text: &[u8], port: u16) -> Result<SocketAddr, Fault> {
    let wrong = || Fault::input("not an IP address");
    let text = std::str::from_utf8(text).map_err(|_| wrong())?;
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, port));
    }
    format!("[{text}]:{port}").parse().map_err(|_| wrong())
}

pub(crate) fn unix_address(text: &[u8]) -> Result<UnixAddress, Fault> {
    Ok(match text.split_first() {
        None => UnixAddress::unnamed(),
        Some((b'@', name)) => UnixAddress::abstract_name(name),
        Some(_) => UnixAddress::path(path(text)?),
    })
}

/// An address without its port, with the zone of a link-local one.
pub(crate) fn ip_text(address: SocketAddr) -> String {
    match address {
        SocketAddr::V6(address) if address.scope_id() != 0 => format!("{}%{}", address.ip(), address.scope_id()),
        address => address.ip().to_string(),
    }
}

/// An address as C hands it in.
fn text_and_port(address: &Address) -> (Vec<u8>, c_int) {
    match (address.as_internet(), address.as_unix()) {
        (Some(address), _) => (ip_text(address).into_bytes(), c_int::from(address.port())),
        (None, Some(address)) => {
            let text = match (address.as_path(), address.as_abstract_name()) {
                (Some(path), _) => path.as_os_str().as_encoded_bytes().to_vec(),
                (None, Some(name)) => [b"@", name].concat(),
                (None, None) => Vec::new(),
            };
            (text, CORELLA_PORT_UNIX)
        }
        (None, None) => (Vec::new(), CORELLA_PORT_UNIX),
    }
}

/// Writes an address to the caller's places.
///
/// # Safety
/// `text` is null or valid for writing `capacity` bytes.
pub(crate) unsafe fn address_out(
    address: &Address,
    text: *mut c_char,
    capacity: usize,
    port: Option<&mut MaybeUninit<c_int>>,
) -> Result<c_int, Fault> {
    let (bytes, number) = text_and_port(address);
    put(port, number);
    if text.is_null() {
        return Ok(CORELLA_OK);
    }
    if bytes.len() >= capacity {
        return Err(CORELLA_ERROR_TOO_SHORT.into());
    }
    // SAFETY: the text and its end fit into the caller's array, and the two do not overlap.
    unsafe {
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), text.cast(), bytes.len());
        text.add(bytes.len()).write(0);
    }
    Ok(CORELLA_OK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_comes_out_as_it_went_in() {
        for (text, port) in [("127.0.0.1", 80), ("fe80::1%3", 0), ("/run/x", -1), ("@name", -1), ("./@x", -1), ("", -1)]
        {
            let address = address(text.as_bytes(), port).ok().unwrap();
            assert_eq!(text_and_port(&address), (text.as_bytes().to_vec(), port));
        }
        for (text, port) in [("127.0.0.1", -2), ("127.0.0.1", 65536), ("name", 80), ("", 80)] {
            assert!(address(text.as_bytes(), port).is_err(), "{text} {port}");
        }
    }
}
