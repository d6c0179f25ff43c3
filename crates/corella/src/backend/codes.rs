//! The OS's error codes that Corella itself looks at or answers with, by their Unix names on every system.

/// An error of the OS's, as a simulated machine answers it.
#[cfg(unix)]
pub(crate) use rustix::io::Errno;

#[cfg(unix)]
pub(crate) use libc::{
    EAGAIN, EBADF, ECANCELED, ECHILD, EINTR, EINVAL, EIO, EISDIR, EMFILE, ENFILE, ENOBUFS, ENOMEM, ENOSYS,
    ENOTRECOVERABLE, ESPIPE,
};

#[cfg(windows)]
pub(crate) use of_windows::*;

/// The code that Windows has for each. Where it has several, the one whose text says it best.
#[cfg(windows)]
mod of_windows {
    use std::io;

    use windows_sys::Win32::Foundation as files;
    use windows_sys::Win32::Networking::WinSock as sockets;

    pub(crate) const EAGAIN: i32 = sockets::WSAEWOULDBLOCK;
    // What a handle says that is not open for this.
    pub(crate) const EBADF: i32 = files::ERROR_ACCESS_DENIED as i32;
    pub(crate) const ECANCELED: i32 = files::ERROR_OPERATION_ABORTED as i32;
    pub(crate) const ECHILD: i32 = files::ERROR_WAIT_NO_CHILDREN as i32;
    pub(crate) const EINTR: i32 = sockets::WSAEINTR;
    pub(crate) const EINVAL: i32 = files::ERROR_INVALID_PARAMETER as i32;
    pub(crate) const EIO: i32 = files::ERROR_IO_DEVICE as i32;
    pub(crate) const EISDIR: i32 = files::ERROR_DIRECTORY_NOT_SUPPORTED as i32;
    pub(crate) const EMFILE: i32 = files::ERROR_TOO_MANY_OPEN_FILES as i32;
    pub(crate) const ENFILE: i32 = sockets::WSAEMFILE;
    pub(crate) const ENOBUFS: i32 = sockets::WSAENOBUFS;
    pub(crate) const ENOMEM: i32 = files::ERROR_NOT_ENOUGH_MEMORY as i32;
    pub(crate) const ENOSYS: i32 = files::ERROR_CALL_NOT_IMPLEMENTED as i32;
    pub(crate) const ENOTRECOVERABLE: i32 = files::ERROR_INTERNAL_ERROR as i32;
    pub(crate) const ESPIPE: i32 = files::ERROR_SEEK_ON_DEVICE as i32;

    /// An error of the OS's, as a simulated machine answers it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Errno(i32);

    impl Errno {
        pub(crate) const ADDRINUSE: Errno = Errno(sockets::WSAEADDRINUSE);
        pub(crate) const AFNOSUPPORT: Errno = Errno(sockets::WSAEAFNOSUPPORT);
        pub(crate) const BADF: Errno = Errno(EBADF);
        pub(crate) const BUSY: Errno = Errno(files::ERROR_BUSY as i32);
        pub(crate) const CONNREFUSED: Errno = Errno(sockets::WSAECONNREFUSED);
        pub(crate) const CONNRESET: Errno = Errno(sockets::WSAECONNRESET);
        pub(crate) const DESTADDRREQ: Errno = Errno(sockets::WSAEDESTADDRREQ);
        pub(crate) const EXIST: Errno = Errno(files::ERROR_ALREADY_EXISTS as i32);
        pub(crate) const FBIG: Errno = Errno(files::ERROR_FILE_TOO_LARGE as i32);
        pub(crate) const INVAL: Errno = Errno(EINVAL);
        pub(crate) const IO: Errno = Errno(EIO);
        pub(crate) const ISCONN: Errno = Errno(sockets::WSAEISCONN);
        pub(crate) const ISDIR: Errno = Errno(EISDIR);
        pub(crate) const LOOP: Errno = Errno(files::ERROR_CANT_RESOLVE_FILENAME as i32);
        pub(crate) const MFILE: Errno = Errno(EMFILE);
        pub(crate) const MSGSIZE: Errno = Errno(sockets::WSAEMSGSIZE);
        pub(crate) const NAMETOOLONG: Errno = Errno(files::ERROR_FILENAME_EXCED_RANGE as i32);
        pub(crate) const NOENT: Errno = Errno(files::ERROR_FILE_NOT_FOUND as i32);
        pub(crate) const NOSPC: Errno = Errno(files::ERROR_DISK_FULL as i32);
        pub(crate) const NOSYS: Errno = Errno(ENOSYS);
        pub(crate) const NOTCONN: Errno = Errno(sockets::WSAENOTCONN);
        pub(crate) const NOTDIR: Errno = Errno(files::ERROR_DIRECTORY as i32);
        pub(crate) const NOTEMPTY: Errno = Errno(files::ERROR_DIR_NOT_EMPTY as i32);
        pub(crate) const NOTSOCK: Errno = Errno(sockets::WSAENOTSOCK);
        pub(crate) const PERM: Errno = Errno(files::ERROR_ACCESS_DENIED as i32);
        pub(crate) const PIPE: Errno = Errno(files::ERROR_NO_DATA as i32);
        pub(crate) const STALE: Errno = Errno(files::ERROR_FILE_INVALID as i32);

        pub(crate) fn raw_os_error(self) -> i32 {
            self.0
        }

        pub(crate) fn from_io_error(error: &io::Error) -> Option<Errno> {
            error.raw_os_error().map(Errno)
        }
    }

    impl From<Errno> for io::Error {
        fn from(code: Errno) -> io::Error {
            io::Error::from_raw_os_error(code.0)
        }
    }
}
