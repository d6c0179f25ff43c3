//! Addresses in the OS's form, and back.

use std::io;

use socket2::{Domain, SockAddr};

use crate::address::{Address, UnixAddress};

fn cannot_be(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

/// An address as the OS takes it, or why it cannot.
pub(super) fn to_os(address: &Address) -> io::Result<SockAddr> {
    match address {
        Address::Internet(address) => Ok(SockAddr::from(*address)),
        Address::Unix(unix) => unix_to_os(unix),
    }
}

#[cfg(windows)]
fn unix_to_os(_unix: &UnixAddress) -> io::Result<SockAddr> {
    Err(cannot_be("there are no Unix-domain sockets on completion ports"))
}

#[cfg(unix)]
fn unix_to_os(unix: &UnixAddress) -> io::Result<SockAddr> {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let bytes = match (unix.as_path(), unix.as_abstract_name()) {
        (Some(path), _) if path.as_os_str().is_empty() => return Err(cannot_be("the path is empty")),
        (Some(path), _) if path.as_os_str().as_bytes().contains(&0) => {
            return Err(cannot_be("the path has a NUL byte inside"));
        }
        (Some(path), _) => path.as_os_str().as_bytes().to_vec(),
        (None, Some(_)) if !cfg!(any(target_os = "linux", target_os = "android")) => {
            return Err(cannot_be("only Linux has abstract names"));
        }
        (None, Some(name)) => [b"\0", name].concat(),
        (None, None) => Vec::new(),
    };
    SockAddr::unix(OsStr::from_bytes(&bytes)).map_err(|_| cannot_be("the name is longer than the system takes"))
}

/// An address that the OS gave. One without a family is that of a Unix-domain socket without a name.
pub(super) fn from_os(address: &SockAddr) -> io::Result<Address> {
    if let Some(internet) = address.as_socket() {
        return Ok(internet.into());
    }
    unix_from_os(address).map(Address::from)
}

#[cfg(windows)]
fn unix_from_os(_address: &SockAddr) -> io::Result<UnixAddress> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "not an address of the internet"))
}

#[cfg(unix)]
fn unix_from_os(address: &SockAddr) -> io::Result<UnixAddress> {
    let has_family = address.len() > 0 && i32::from(address.family()) != libc::AF_UNSPEC;
    if has_family && !address.is_unix() {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "an address of neither the internet nor Unix"));
    }
    Ok(match (address.as_pathname(), address.as_abstract_namespace()) {
        _ if !has_family => UnixAddress::unnamed(),
        (Some(path), _) => UnixAddress::path(path),
        (None, Some(name)) => UnixAddress::abstract_name(name),
        (None, None) => UnixAddress::unnamed(),
    })
}

/// The family of an address's sockets.
pub(super) fn domain(address: &Address) -> Domain {
    match address {
        Address::Internet(address) => Domain::for_address(*address),
        Address::Unix(_) => Domain::UNIX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_back_as_they_went() {
        let mut addresses: Vec<Address> = vec![
            std::net::SocketAddr::from(([127, 0, 0, 1], 80)).into(),
            "[::1%3]:8080".parse::<std::net::SocketAddr>().unwrap().into(),
        ];
        if cfg!(unix) {
            addresses.extend([
                UnixAddress::path("/tmp/a socket").into(),
                UnixAddress::path("relative").into(),
                UnixAddress::unnamed().into(),
            ]);
        }
        if cfg!(target_os = "linux") {
            addresses.push(UnixAddress::abstract_name("name").into());
            addresses.push(UnixAddress::abstract_name(b"\0\xff").into());
        }
        for address in addresses {
            assert_eq!(from_os(&to_os(&address).unwrap()).unwrap(), address);
        }
    }

    #[cfg(windows)]
    #[test]
    fn an_address_of_a_unix_domain_socket_is_refused_where_there_are_none() {
        let error = to_os(&UnixAddress::path("a socket").into()).unwrap_err();
        assert!(error.to_string().contains("no Unix-domain sockets"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn what_no_address_can_be_is_refused_with_the_reason() {
        let refused = |address: UnixAddress| to_os(&address.into()).unwrap_err().to_string();
        assert!(refused(UnixAddress::path("")).contains("empty"));
        assert!(refused(UnixAddress::path("a\0b")).contains("NUL"));
        assert!(refused(UnixAddress::path("x".repeat(200))).contains("longer"));
    }
}
