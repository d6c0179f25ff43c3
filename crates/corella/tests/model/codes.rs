//! The codes that the reference admits, by their Unix names: each with all that say the same.

#[cfg(unix)]
mod of_unix {
    pub const ECONNREFUSED: &[i32] = &[libc::ECONNREFUSED];
    pub const ECONNRESET: &[i32] = &[libc::ECONNRESET];
    pub const EINVAL: &[i32] = &[libc::EINVAL];
    pub const EIO: &[i32] = &[libc::EIO];
    pub const EMFILE: &[i32] = &[libc::EMFILE];
    pub const ENOSPC: &[i32] = &[libc::ENOSPC];
    pub const ENOTCONN: &[i32] = &[libc::ENOTCONN];
    pub const EPIPE: &[i32] = &[libc::EPIPE];
}

#[cfg(unix)]
pub use of_unix::*;

/// What Windows says instead, and a simulated machine there.
#[cfg(windows)]
mod of_windows {
    pub const ECONNREFUSED: &[i32] = &[10061];
    pub const ECONNRESET: &[i32] = &[10054];
    pub const EINVAL: &[i32] = &[87];
    pub const EIO: &[i32] = &[1117];
    pub const EMFILE: &[i32] = &[4];
    pub const ENOSPC: &[i32] = &[112];
    pub const ENOTCONN: &[i32] = &[10057];
    /// Nobody reads a pipe, and a send after the end of sending.
    pub const EPIPE: &[i32] = &[232, 10058];
}

#[cfg(windows)]
pub use of_windows::*;
