//! Names of the OS's as Lua has them: bytes. On Windows they are Unicode, and UTF-8 in a script.

use std::ffi::{OsStr, OsString};

/// A name that a script has given. On Windows what is not UTF-8 is no name of anything.
#[cfg(unix)]
pub(crate) fn os_string(bytes: &[u8]) -> OsString {
    <OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(bytes).to_owned()
}

/// A name that a script has given. On Windows what is not UTF-8 is no name of anything.
#[cfg(windows)]
pub(crate) fn os_string(bytes: &[u8]) -> OsString {
    String::from_utf8_lossy(bytes).into_owned().into()
}

/// A name as a script gets it.
#[cfg(unix)]
pub(crate) fn bytes_of(name: &OsStr) -> Vec<u8> {
    std::os::unix::ffi::OsStrExt::as_bytes(name).to_vec()
}

/// A name as a script gets it.
#[cfg(windows)]
pub(crate) fn bytes_of(name: &OsStr) -> Vec<u8> {
    name.to_string_lossy().into_owned().into_bytes()
}
