//! OS handles as C hands them in and out: descriptors on Unix; handles and sockets on Windows.

use crate::codes::CORELLA_ERROR_OS;
use crate::faults::Fault;

#[cfg(unix)]
pub(crate) use unix::{owned_file, owned_socket, raw_file, raw_number, raw_socket};
#[cfg(windows)]
pub(crate) use windows::{owned_file, owned_socket, raw_file, raw_number, raw_socket};

const NO_HANDLE: &str = "not an OS handle";

#[cfg(unix)]
mod unix {
    use std::ffi::c_int;
    use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};

    use super::*;

    /// An OS handle of the caller's, as our own. One that is not open is left alone.
    pub(crate) fn owned_file(os_handle: isize) -> Result<OwnedFd, Fault> {
        let number = c_int::try_from(os_handle).ok().filter(|number| *number >= 0);
        let number = number.ok_or(Fault::input(NO_HANDLE))?;
        // SAFETY: F_GETFD only asks, and answers EBADF for a number that is no open descriptor.
        if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
            return Err(CORELLA_ERROR_OS.into());
        }
        // SAFETY: it is open, and the caller of the exported function has handed it over.
        Ok(unsafe { OwnedFd::from_raw_fd(number) })
    }

    /// The same for a socket.
    pub(crate) fn owned_socket(os_handle: isize) -> Result<OwnedFd, Fault> {
        owned_file(os_handle)
    }

    /// An OS handle that is the caller's from now on.
    pub(crate) fn raw_file(descriptor: impl Into<OwnedFd>) -> isize {
        descriptor.into().into_raw_fd() as isize
    }

    pub(crate) fn raw_socket(descriptor: impl Into<OwnedFd>) -> isize {
        raw_file(descriptor)
    }

    /// What a foreign loop waits on.
    pub(crate) fn raw_number(handle: &impl AsFd) -> isize {
        handle.as_fd().as_raw_fd() as isize
    }
}

#[cfg(windows)]
mod windows {
    use std::os::windows::io::{
        AsHandle, AsRawHandle, FromRawHandle, FromRawSocket, IntoRawHandle, IntoRawSocket, OwnedHandle, OwnedSocket,
        RawHandle, RawSocket,
    };

    use windows_sys::Win32::Foundation::GetHandleInformation;
    use windows_sys::Win32::Networking::WinSock::{SO_TYPE, SOL_SOCKET, getsockopt};

    use super::*;

    /// An OS handle of the caller's, as our own. One that is not open is left alone.
    pub(crate) fn owned_file(os_handle: isize) -> Result<OwnedHandle, Fault> {
        if os_handle == 0 || os_handle == -1 {
            return Err(Fault::input(NO_HANDLE));
        }
        let handle: RawHandle = std::ptr::with_exposed_provenance_mut(os_handle as usize);
        let mut flags = 0;
        // SAFETY: it only asks, and fails for a number that is no open handle.
        if unsafe { GetHandleInformation(handle, &mut flags) } == 0 {
            return Err(CORELLA_ERROR_OS.into());
        }
        // SAFETY: it is open, and the caller of the exported function has handed it over.
        Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
    }

    /// The same for a socket.
    pub(crate) fn owned_socket(os_handle: isize) -> Result<OwnedSocket, Fault> {
        if os_handle == -1 {
            return Err(Fault::input(NO_HANDLE));
        }
        let socket = os_handle as usize;
        let (mut kind, mut length) = (0i32, size_of::<i32>() as i32);
        // SAFETY: it only asks, of a number of any value, and writes at most the four bytes of `kind`.
        let answer = unsafe { getsockopt(socket, SOL_SOCKET, SO_TYPE, (&raw mut kind).cast(), &mut length) };
        if answer != 0 {
            return Err(CORELLA_ERROR_OS.into());
        }
        // SAFETY: it is an open socket, and the caller of the exported function has handed it over.
        Ok(unsafe { OwnedSocket::from_raw_socket(socket as RawSocket) })
    }

    /// An OS handle that is the caller's from now on.
    pub(crate) fn raw_file(handle: impl Into<OwnedHandle>) -> isize {
        handle.into().into_raw_handle().expose_provenance() as isize
    }

    pub(crate) fn raw_socket(socket: impl Into<OwnedSocket>) -> isize {
        socket.into().into_raw_socket() as isize
    }

    /// What a foreign loop waits on.
    pub(crate) fn raw_number(handle: &impl AsHandle) -> isize {
        handle.as_handle().as_raw_handle().expose_provenance() as isize
    }
}
