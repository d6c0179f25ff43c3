//! The codes that the reference admits, by their Unix names.

#[cfg(unix)]
pub use libc::{ECONNREFUSED, ECONNRESET, EINVAL, EIO, EMFILE, ENOSPC, ENOTCONN, EPIPE};

/// What Windows says instead, and a simulated machine there.
#[cfg(windows)]
mod of_windows {
    pub const ECONNREFUSED: i32 = 10061;
    pub const ECONNRESET: i32 = 10054;
    pub const EINVAL: i32 = 87;
    pub const EIO: i32 = 1117;
    pub const EMFILE: i32 = 4;
    pub const ENOSPC: i32 = 112;
    pub const ENOTCONN: i32 = 10057;
    pub const EPIPE: i32 = 232;
}

#[cfg(windows)]
pub use of_windows::*;
