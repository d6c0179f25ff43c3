//! Addresses of sockets: of the internet, and of Unix-domain sockets. Plain data, the same on every system.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a socket is to be reached.
///
/// ```
/// use corella::{Address, UnixAddress};
/// use std::net::SocketAddr;
///
/// let internet = Address::from(SocketAddr::from(([127, 0, 0, 1], 53)));
/// assert_eq!(internet.to_string(), "127.0.0.1:53");
/// let unix = Address::from(UnixAddress::from("/run/log.socket"));
/// assert_eq!(unix.as_unix().and_then(|address| address.as_path()).unwrap().to_str(), Some("/run/log.socket"));
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Address {
    /// A host's address and a port.
    Internet(SocketAddr),
    /// Of a Unix-domain socket.
    Unix(UnixAddress),
}

impl Address {
    /// Host and port, if it is of the internet.
    pub fn as_internet(&self) -> Option<SocketAddr> {
        match self {
            Address::Internet(address) => Some(*address),
            Address::Unix(_) => None,
        }
    }

    /// The address of a Unix-domain socket, if it is one.
    pub fn as_unix(&self) -> Option<&UnixAddress> {
        match self {
            Address::Internet(_) => None,
            Address::Unix(address) => Some(address),
        }
    }

    /// Whether nobody can be reached by it: no port yet, no name.
    pub(crate) fn is_nobodys(&self) -> bool {
        match self {
            Address::Internet(address) => address.port() == 0,
            Address::Unix(address) => address.is_unnamed(),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Address {
        Address::Internet(address)
    }
}

impl From<UnixAddress> for Address {
    fn from(address: UnixAddress) -> Address {
        Address::Unix(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Internet(address) => address.fmt(out),
            Address::Unix(address) => address.fmt(out),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{self}")
    }
}

/// The address of a Unix-domain socket: a path, a name in Linux's abstract namespace, or none.
///
/// It can be made on every system. Where the system has no such sockets, or a path is longer than it takes (107 bytes on
/// Linux), the operation that is given it fails and says so.
///
/// ```
/// use corella::UnixAddress;
/// let named = UnixAddress::from("/run/log.socket");
/// let hidden = UnixAddress::abstract_name("log");
/// assert_eq!((named.to_string(), hidden.to_string()), ("/run/log.socket".into(), "@log".into()));
/// assert!(UnixAddress::unnamed().is_unnamed());
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UnixAddress {
    name: Name,
}

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Name {
    None,
    Path(Arc<Path>),
    Abstract(Arc<[u8]>),
}

impl UnixAddress {
    /// A path, at which a bind makes a file. Nobody removes that but the program.
    pub fn path(path: impl AsRef<Path>) -> UnixAddress {
        UnixAddress { name: Name::Path(path.as_ref().into()) }
    }

    /// A name without a file, gone with its socket; on Linux only.
    pub fn abstract_name(name: impl AsRef<[u8]>) -> UnixAddress {
        UnixAddress { name: Name::Abstract(name.as_ref().into()) }
    }

    /// No name: that of a socket that was never bound, or is one of a pair.
    pub fn unnamed() -> UnixAddress {
        UnixAddress { name: Name::None }
    }

    /// Its path, if it has one.
    pub fn as_path(&self) -> Option<&Path> {
        match &self.name {
            Name::Path(path) => Some(path),
            _ => None,
        }
    }

    /// Its name in the abstract namespace, if it has one.
    pub fn as_abstract_name(&self) -> Option<&[u8]> {
        match &self.name {
            Name::Abstract(name) => Some(name),
            _ => None,
        }
    }

    /// Whether it has no name at all.
    pub fn is_unnamed(&self) -> bool {
        matches!(self.name, Name::None)
    }
}

impl From<&Path> for UnixAddress {
    fn from(path: &Path) -> UnixAddress {
        UnixAddress::path(path)
    }
}

impl From<PathBuf> for UnixAddress {
    fn from(path: PathBuf) -> UnixAddress {
        UnixAddress::path(path)
    }
}

impl From<&str> for UnixAddress {
    fn from(path: &str) -> UnixAddress {
        UnixAddress::path(path)
    }
}

/// A path as it is, a name of the abstract namespace behind an `@`.
impl fmt::Display for UnixAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Name::None => write!(out, "an unnamed socket"),
            Name::Path(path) => path.display().fmt(out),
            Name::Abstract(name) => write!(out, "@{}", name.escape_ascii()),
        }
    }
}

impl fmt::Debug for UnixAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{self}")
    }
}
