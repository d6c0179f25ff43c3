//! The OS's codes that promises name, by their Unix names.

#[cfg(unix)]
pub use libc::{
    EADDRINUSE, EBADF, ECONNABORTED, ECONNREFUSED, ECONNRESET, EEXIST, EINVAL, EMSGSIZE, ENOENT, EPIPE, ESPIPE,
};

/// A datagram for nobody.
#[cfg(unix)]
pub const EDESTADDRREQ: &[i32] = &[libc::EDESTADDRREQ];

/// A name that is longer than any may be.
#[cfg(unix)]
pub const ENAMETOOLONG: &[i32] = &[libc::ENAMETOOLONG];

/// A file that is no program.
#[cfg(unix)]
pub const ENOEXEC: &[i32] = &[libc::EACCES];

/// A folder for a program that there is not.
#[cfg(unix)]
pub const ENOFOLDER: &[i32] = &[libc::ENOENT];

/// What Windows says instead.
#[cfg(windows)]
mod of_windows {
    pub const EADDRINUSE: i32 = 10048;
    /// A handle that is not open for this: access is denied.
    pub const EBADF: i32 = 5;
    pub const ECONNABORTED: i32 = 10053;
    pub const ECONNREFUSED: i32 = 10061;
    pub const ECONNRESET: i32 = 10054;
    /// A datagram for nobody: the socket is not connected, or (so Wine) has no address yet.
    pub const EDESTADDRREQ: &[i32] = &[10057, 10022];
    pub const EEXIST: i32 = 80;
    pub const EINVAL: i32 = 87;
    pub const EMSGSIZE: i32 = 10040;
    /// A name that is longer than any may be: as a path it is too long, or no name at all; Wine looks for it.
    pub const ENAMETOOLONG: &[i32] = &[206, 123, 2];
    pub const ENOENT: i32 = 2;
    /// A file that is no program: it is of no kind that can be run; Wine looks for one of the name with an extension.
    pub const ENOEXEC: &[i32] = &[193, 216, 2];
    /// A folder for a program that there is not.
    pub const ENOFOLDER: &[i32] = &[267, 2, 3];
    /// A send after the end of sending.
    pub const EPIPE: i32 = 10058;
    pub const ESPIPE: i32 = 132;
}

#[cfg(windows)]
pub use of_windows::*;

/// The words of Unix, or what Windows says of this code.
pub fn says(unix: &str, windows: i32) -> String {
    if cfg!(unix) { unix.to_owned() } else { text(windows) }
}

/// What the system says of a code, as errors show it.
pub fn text(code: i32) -> String {
    std::io::Error::from_raw_os_error(code).to_string()
}
