//! Windows behind the trait: a completion port of the system's and its calls.

mod providers;

use std::cell::OnceCell;
use std::ffi::c_void;
use std::io;
use std::mem::{ManuallyDrop, size_of};
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, SockRef, Socket, Type};
use windows_sys::Wdk::Storage::FileSystem::{
    FileFsDeviceInformation, FileReplaceCompletionInformation, NtQueryVolumeInformationFile, NtSetInformationFile,
};
use windows_sys::Win32::Foundation::{
    ERROR_IO_PENDING, ERROR_MORE_DATA, GetLastError, HANDLE, INVALID_HANDLE_VALUE, RtlNtStatusToDosError,
    STATUS_FILE_CLOSED, STATUS_HANDLES_CLOSED, STATUS_LOCAL_DISCONNECT, WAIT_IO_COMPLETION, WAIT_TIMEOUT,
};
use windows_sys::Win32::Networking::WinSock as sockets;
use windows_sys::Win32::Networking::WinSock::{SOCKADDR, SOCKET, WSABUF};
use windows_sys::Win32::Storage::FileSystem::{
    BY_HANDLE_FILE_INFORMATION, FILE_ATTRIBUTE_COMPRESSED, FILE_ATTRIBUTE_ENCRYPTED, GetFileInformationByHandle,
    ReadFile, SetFileCompletionNotificationModes, WriteFile,
};
use windows_sys::Win32::System::IO::{
    CancelIoEx, CreateIoCompletionPort, GetQueuedCompletionStatusEx, IO_STATUS_BLOCK, OVERLAPPED, OVERLAPPED_ENTRY,
    PostQueuedCompletionStatus,
};
use windows_sys::Win32::System::Ioctl::FILE_DEVICE_NULL;
use windows_sys::Win32::System::Threading::{
    CREATE_WAITABLE_TIMER_HIGH_RESOLUTION, CancelWaitableTimer, CreateWaitableTimerExW, INFINITE, SetWaitableTimer,
    TIMER_ALL_ACCESS,
};
use windows_sys::Win32::System::WindowsProgramming::{
    FILE_SKIP_COMPLETION_PORT_ON_SUCCESS, FILE_SKIP_SET_EVENT_ON_HANDLE,
};

use self::providers::{accept_ex, bind_if_unbound, connect_ex, lend, may_skip, tell_of_resets};
use super::port::{
    ACCEPT_BYTES, Code, CompletionPort, ERROR_ABANDONED_WAIT_0, ERROR_INVALID_HANDLE, ERROR_OPERATION_ABORTED, Manner,
    Overlapped, Packet, Post, Started, Vector,
};
use crate::address::{Address, UnixAddress};
use crate::backend::os;
use crate::backend::{Descriptor, RawDescriptor, address, from_socket};

// The plain types of the trait are handed to the system as its own.
const _: () = assert!(size_of::<Overlapped>() == size_of::<OVERLAPPED>());
const _: () = assert!(size_of::<Packet>() == size_of::<OVERLAPPED_ENTRY>());
const _: () = assert!(size_of::<Vector>() == size_of::<WSABUF>());

/// A port of the system's, closed with the last who has it.
#[derive(Debug)]
struct Handle {
    port: ManuallyDrop<OwnedHandle>,
    /// Somebody else has closed it, and its number may be another's by now.
    is_gone: AtomicBool,
}

impl Handle {
    fn raw(&self) -> HANDLE {
        self.port.as_raw_handle()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if !self.is_gone.load(Ordering::Relaxed) {
            // SAFETY: nobody has it any more.
            unsafe { ManuallyDrop::drop(&mut self.port) };
        }
    }
}

#[derive(Debug)]
pub(crate) struct WindowsPort {
    port: Arc<Handle>,
    /// Ends short waits: made at the first of them, if the system has such timers.
    timer: OnceCell<Option<OwnedHandle>>,
}

/// Waits below this are ended by a timer: the system's clock, by which a dequeue's own time is measured, goes in steps of
/// up to 16 ms, and nothing below a millisecond can be said to it.
const SHORT: Duration = Duration::from_millis(16);

/// What a timer calls: that it did ends an alertable wait, which is all that is wanted.
unsafe extern "system" fn on_time(_argument: *const c_void, _low: u32, _high: u32) {}

/// A timer of high resolution where the system has those (Windows 10, 1803), or an ordinary one.
fn new_timer() -> Option<OwnedHandle> {
    for flags in [CREATE_WAITABLE_TIMER_HIGH_RESOLUTION, 0] {
        // SAFETY: neither a name nor attributes are given; the result is checked before it is owned.
        unsafe {
            let timer = CreateWaitableTimerExW(null(), null(), flags, TIMER_ALL_ACCESS);
            if !timer.is_null() {
                return Some(OwnedHandle::from_raw_handle(timer));
            }
        }
    }
    None
}

/// Posts to a port, which it keeps open.
#[derive(Debug)]
struct Poster(Arc<Handle>);

impl Post for Poster {
    fn post(&self, key: usize) -> Result<(), Code> {
        // SAFETY: the port is open; a packet without a structure is told by its key.
        checked(unsafe { PostQueuedCompletionStatus(self.0.raw(), 0, key, null()) })
    }
}

impl WindowsPort {
    pub(crate) fn new() -> io::Result<WindowsPort> {
        // SAFETY: it makes a port and is given no handle; the result is checked before it is owned.
        unsafe {
            // Threads that may run its packets at once; one dequeues them.
            let port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, null_mut(), 0, 1);
            if port.is_null() {
                return Err(io::Error::last_os_error());
            }
            let port = ManuallyDrop::new(OwnedHandle::from_raw_handle(port));
            let handle = Handle { port, is_gone: AtomicBool::new(false) };
            Ok(WindowsPort { port: Arc::new(handle), timer: OnceCell::new() })
        }
    }

    fn raw(&self) -> HANDLE {
        self.port.raw()
    }

    /// Starts the timer that ends the next wait of this thread, which is to be alertable.
    fn start_timer(&self, timeout: Duration) -> Option<HANDLE> {
        let timer = self.timer.get_or_init(new_timer).as_ref()?.as_raw_handle();
        // From now on, which is what a negative time says.
        let due = -i64::try_from(timeout.as_nanos().div_ceil(100)).unwrap_or(i64::MAX);
        // SAFETY: the timer is open, and the time lives through the call.
        let is_set = unsafe { SetWaitableTimer(timer, &due, 0, Some(on_time), null(), 0) } != 0;
        is_set.then_some(timer)
    }
}

fn last_code() -> Code {
    // SAFETY: it looks at the thread's last code.
    unsafe { GetLastError() }
}

fn checked(result: i32) -> Result<(), Code> {
    if result == 0 { Err(last_code()) } else { Ok(()) }
}

fn code_of_error(error: &io::Error) -> Code {
    error.raw_os_error().map_or(sockets::WSAEINVAL as Code, |code| code as Code)
}

/// Whether a status is a warning, by the two bits of its severity.
fn is_warning(status: usize) -> bool {
    status as u32 >> 30 == 2
}

/// What a call has said that gives something other than zero for success.
///
/// # Safety
/// `overlapped` is that of the call.
unsafe fn started(has_ended: bool, overlapped: *mut Overlapped) -> Started {
    const WSAEMSGSIZE: Code = sockets::WSAEMSGSIZE as Code;
    if has_ended {
        // SAFETY: the caller's promise; a request that has ended is not the system's any more.
        return Started::Ended(unsafe { (*overlapped).internal_high } as u32);
    }
    match last_code() {
        ERROR_IO_PENDING => Started::Pending,
        // A message that did not fit is a warning, of which a packet tells as well; one that was not sent is an error, of which
        // none does.
        // SAFETY: the caller's promise; the status is a machine word, which the system has written by now if it will.
        ERROR_MORE_DATA | WSAEMSGSIZE if is_warning(unsafe { (&raw const (*overlapped).internal).read_volatile() }) => {
            Started::Pending
        }
        code => Started::Refused(code),
    }
}

/// What sort of device a handle is of.
fn device_type(descriptor: RawDescriptor) -> Option<u32> {
    // The type and the characteristics, as a FILE_FS_DEVICE_INFORMATION.
    let mut device = [0u32; 2];
    let mut status = IO_STATUS_BLOCK::default();
    // SAFETY: the handle is open, and both structures live through the call, which fills them.
    let result = unsafe {
        NtQueryVolumeInformationFile(
            descriptor as HANDLE,
            &mut status,
            device.as_mut_ptr().cast(),
            size_of_val(&device) as u32,
            FileFsDeviceInformation,
        )
    };
    (result >= 0).then_some(device[0])
}

impl CompletionPort for WindowsPort {
    fn poster(&self) -> Arc<dyn Post> {
        Arc::new(Poster(Arc::clone(&self.port)))
    }

    fn associate(&self, descriptor: RawDescriptor, key: usize) -> Result<(), Code> {
        // SAFETY: both are open.
        let port = unsafe { CreateIoCompletionPort(descriptor as HANDLE, self.raw(), key, 0) };
        if port.is_null() { Err(last_code()) } else { Ok(()) }
    }

    fn skip_on_success(&self, descriptor: RawDescriptor, is_socket: bool) -> bool {
        let flags = (FILE_SKIP_COMPLETION_PORT_ON_SUCCESS | FILE_SKIP_SET_EVENT_ON_HANDLE) as u8;
        (!is_socket || may_skip(descriptor))
            // SAFETY: the handle is open.
            && unsafe { SetFileCompletionNotificationModes(descriptor as HANDLE, flags) } != 0
    }

    fn is_socket(&self, descriptor: RawDescriptor) -> bool {
        // SAFETY: a number that is no socket's is refused.
        SockRef::from(&unsafe { lend(descriptor) }).r#type().is_ok()
    }

    fn is_pipe(&self, descriptor: RawDescriptor) -> bool {
        os::is_pipe(descriptor as HANDLE)
    }

    fn manner(&self, descriptor: RawDescriptor) -> Manner {
        // It answers inside the call; at its end Wine tells of that twice, by the call and by a packet.
        if device_type(descriptor) == Some(FILE_DEVICE_NULL) {
            return Manner::Synchronous;
        }
        let mut facts = BY_HANDLE_FILE_INFORMATION::default();
        // SAFETY: the handle is open, and the structure lives through the call, which fills it.
        let is_told = unsafe { GetFileInformationByHandle(descriptor as HANDLE, &mut facts) } != 0;
        let inside = FILE_ATTRIBUTE_COMPRESSED | FILE_ATTRIBUTE_ENCRYPTED;
        match is_told && facts.dwFileAttributes & inside != 0 {
            true => Manner::Synchronous,
            false => Manner::Overlapped,
        }
    }

    fn dissociate(&self, descriptor: RawDescriptor) {
        // A structure of a port and a key, both none.
        let none = [0usize; 2];
        let mut status = IO_STATUS_BLOCK::default();
        // SAFETY: the handle is open, and both structures live through the call. Systems before 8.1 refuse it.
        unsafe {
            NtSetInformationFile(
                descriptor as HANDLE,
                &mut status,
                none.as_ptr().cast(),
                size_of_val(&none) as u32,
                FileReplaceCompletionInformation,
            )
        };
    }

    fn dequeue(&self, packets: &mut [Packet], timeout: Option<Duration>) -> Result<usize, Code> {
        let short = timeout.filter(|timeout| !timeout.is_zero() && *timeout < SHORT);
        let timer = short.and_then(|timeout| self.start_timer(timeout));
        // Upwards, as the system's clock has no finer step: a wait that ended early would be begun again and again.
        let milliseconds = timeout.map_or(INFINITE, |timeout| {
            u32::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(INFINITE).min(INFINITE - 1)
        });
        let mut count = 0;
        // SAFETY: the port is open, and there is room for as many packets as are told.
        let result = unsafe {
            GetQueuedCompletionStatusEx(
                self.raw(),
                packets.as_mut_ptr().cast(),
                packets.len() as u32,
                &mut count,
                milliseconds,
                i32::from(timer.is_some()),
            )
        };
        let result = checked(result);
        if let Some(timer) = timer {
            // SAFETY: the timer is open. A call of it that is on its way would end the next such wait early, no more.
            unsafe { CancelWaitableTimer(timer) };
        }
        match result {
            Ok(()) => Ok(count as usize),
            Err(WAIT_TIMEOUT | WAIT_IO_COMPLETION) => Ok(0),
            Err(code) => {
                let is_gone = matches!(code, ERROR_ABANDONED_WAIT_0 | ERROR_INVALID_HANDLE);
                self.port.is_gone.store(is_gone, Ordering::Relaxed);
                Err(code)
            }
        }
    }

    unsafe fn start_read(&self, descriptor: RawDescriptor, vector: Vector, overlapped: *mut Overlapped) -> Started {
        // SAFETY: the trait's promise.
        unsafe {
            let result =
                ReadFile(descriptor as HANDLE, vector.pointer.cast(), vector.length, null_mut(), overlapped.cast());
            started(result != 0, overlapped)
        }
    }

    unsafe fn start_write(&self, descriptor: RawDescriptor, vector: Vector, overlapped: *mut Overlapped) -> Started {
        // SAFETY: the trait's promise.
        unsafe {
            let result =
                WriteFile(descriptor as HANDLE, vector.pointer.cast(), vector.length, null_mut(), overlapped.cast());
            started(result != 0, overlapped)
        }
    }

    unsafe fn start_receive(
        &self,
        descriptor: RawDescriptor,
        vectors: &[Vector],
        flags: *mut u32,
        overlapped: *mut Overlapped,
    ) -> Started {
        // SAFETY: the trait's promise.
        unsafe {
            let result = sockets::WSARecv(
                descriptor as SOCKET,
                vectors.as_ptr().cast(),
                vectors.len() as u32,
                null_mut(),
                flags,
                overlapped.cast(),
                None,
            );
            started(result == 0, overlapped)
        }
    }

    unsafe fn start_send(&self, descriptor: RawDescriptor, vectors: &[Vector], overlapped: *mut Overlapped) -> Started {
        // SAFETY: the trait's promise.
        unsafe {
            let result = sockets::WSASend(
                descriptor as SOCKET,
                vectors.as_ptr().cast(),
                vectors.len() as u32,
                null_mut(),
                0,
                overlapped.cast(),
                None,
            );
            started(result == 0, overlapped)
        }
    }

    unsafe fn start_receive_from(
        &self,
        descriptor: RawDescriptor,
        vectors: &[Vector],
        flags: *mut u32,
        sender: *mut u8,
        sender_length: *mut i32,
        overlapped: *mut Overlapped,
    ) -> Started {
        // SAFETY: the trait's promise.
        unsafe {
            let result = sockets::WSARecvFrom(
                descriptor as SOCKET,
                vectors.as_ptr().cast(),
                vectors.len() as u32,
                null_mut(),
                flags,
                sender.cast(),
                sender_length,
                overlapped.cast(),
                None,
            );
            started(result == 0, overlapped)
        }
    }

    unsafe fn start_send_to(
        &self,
        descriptor: RawDescriptor,
        vectors: &[Vector],
        address: Option<&Address>,
        overlapped: *mut Overlapped,
    ) -> Started {
        let Some(address) = address else {
            // SAFETY: the trait's promise.
            return unsafe { self.start_send(descriptor, vectors, overlapped) };
        };
        let name = match address::to_os(address) {
            Ok(name) => name,
            Err(error) => return Started::Refused(code_of_error(&error)),
        };
        // SAFETY: the trait's promise; the address is copied by the call.
        unsafe {
            let result = sockets::WSASendTo(
                descriptor as SOCKET,
                vectors.as_ptr().cast(),
                vectors.len() as u32,
                null_mut(),
                0,
                name.as_ptr().cast(),
                name.len(),
                overlapped.cast(),
                None,
            );
            started(result == 0, overlapped)
        }
    }

    fn address(&self, bytes: &[u8]) -> Address {
        let mut storage = SockAddrStorage::zeroed();
        let length = bytes.len().min(size_of::<sockets::SOCKADDR_STORAGE>());
        // SAFETY: a `SockAddrStorage` is a `SOCKADDR_STORAGE`, any bytes are a valid one, and no more are copied than it has.
        unsafe {
            let place = std::ptr::from_mut(storage.view_as::<sockets::SOCKADDR_STORAGE>()).cast::<u8>();
            place.copy_from_nonoverlapping(bytes.as_ptr(), length);
        }
        // SAFETY: the system has written so many bytes of the address.
        let name = unsafe { SockAddr::new(storage, length as i32) };
        address::from_os(&name).unwrap_or_else(|_| UnixAddress::unnamed().into())
    }

    fn prepare_datagrams(&self, descriptor: RawDescriptor) {
        // SAFETY: the queue keeps the socket open.
        let has_peer = SockRef::from(&unsafe { lend(descriptor) }).peer_addr().is_ok();
        tell_of_resets(descriptor, has_peer);
    }

    fn connect_datagrams(&self, descriptor: RawDescriptor, address: &Address) -> Result<(), Code> {
        // SAFETY: the queue keeps the socket open.
        let socket = unsafe { lend(descriptor) };
        let connected = address::to_os(address).and_then(|name| SockRef::from(&socket).connect(&name));
        connected.map_err(|error| code_of_error(&error))
    }

    unsafe fn start_connect(
        &self,
        descriptor: RawDescriptor,
        address: &Address,
        overlapped: *mut Overlapped,
    ) -> Started {
        let name = bind_if_unbound(descriptor, address).and_then(|()| address::to_os(address));
        let name = match name {
            Ok(name) => name,
            Err(error) => return Started::Refused(code_of_error(&error)),
        };
        let Some(connect) = connect_ex(descriptor) else { return Started::Refused(last_code()) };
        // SAFETY: the trait's promise; the address is copied by the call.
        unsafe {
            let peer = name.as_ptr().cast::<SOCKADDR>();
            let result = connect(descriptor as SOCKET, peer, name.len(), null(), 0, null_mut(), overlapped.cast());
            started(result != 0, overlapped)
        }
    }

    fn finish_connect(&self, descriptor: RawDescriptor) -> Result<(), Code> {
        // SAFETY: the queue keeps the socket open; the option takes no value.
        let result = unsafe {
            sockets::setsockopt(
                descriptor as SOCKET,
                sockets::SOL_SOCKET,
                sockets::SO_UPDATE_CONNECT_CONTEXT,
                null(),
                0,
            )
        };
        if result == 0 { Ok(()) } else { Err(last_code()) }
    }

    fn new_connection(&self, listener: RawDescriptor) -> Result<Descriptor, Code> {
        // SAFETY: the queue keeps the listener open.
        let listener = unsafe { lend(listener) };
        let make = || {
            let family = SockRef::from(&listener).local_addr()?.family();
            Socket::new(Domain::from(i32::from(family)), Type::STREAM, Some(Protocol::TCP))
        };
        let socket = make().map_err(|error| code_of_error(&error))?;
        Ok(Descriptor::Os(from_socket(socket.into())))
    }

    unsafe fn start_accept(
        &self,
        listener: RawDescriptor,
        connection: &Descriptor,
        addresses: *mut u8,
        overlapped: *mut Overlapped,
    ) -> Started {
        const LENGTH: u32 = (ACCEPT_BYTES / 2) as u32;
        let Some(accept) = accept_ex(listener) else { return Started::Refused(last_code()) };
        let mut received = 0;
        // SAFETY: the trait's promise. What was received is told of in this call only, and nothing is asked for.
        unsafe {
            let result = accept(
                listener as SOCKET,
                connection.raw() as SOCKET,
                addresses.cast(),
                0,
                LENGTH,
                LENGTH,
                &mut received,
                overlapped.cast(),
            );
            started(result != 0, overlapped)
        }
    }

    fn finish_accept(&self, listener: RawDescriptor, connection: Descriptor) -> Result<Descriptor, Code> {
        let listener = listener as SOCKET;
        // SAFETY: both are open, and the value lives through the call.
        let result = unsafe {
            sockets::setsockopt(
                connection.raw() as SOCKET,
                sockets::SOL_SOCKET,
                sockets::SO_UPDATE_ACCEPT_CONTEXT,
                (&raw const listener).cast(),
                size_of::<SOCKET>() as i32,
            )
        };
        if result == 0 { Ok(connection) } else { Err(last_code()) }
    }

    fn cancel(&self, descriptor: RawDescriptor, overlapped: *mut Overlapped) -> Result<(), Code> {
        // SAFETY: the queue keeps the handle open, and the structure is only compared with those in flight.
        checked(unsafe { CancelIoEx(descriptor as HANDLE, overlapped.cast()) })
    }

    fn tells_what_went_out(&self) -> bool {
        // That of a pipe's write says none, whatever the reader has taken; and a socket's state is "indeterminate".
        false
    }

    fn code_of(&self, status: usize) -> Code {
        match status as i32 {
            // Of requests whose handle somebody has closed; what came of that differs.
            STATUS_HANDLES_CLOSED | STATUS_FILE_CLOSED | STATUS_LOCAL_DISCONNECT => ERROR_OPERATION_ABORTED,
            // SAFETY: a function of numbers.
            status => unsafe { RtlNtStatusToDosError(status) },
        }
    }

    fn host_code(&self, code: Code) -> i32 {
        code as i32
    }

    /// A port can be waited for as it is.
    fn watch(&self) -> Result<(), Code> {
        Ok(())
    }

    fn os_handle(&self) -> RawDescriptor {
        self.raw() as RawDescriptor
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_wait_below_a_millisecond_takes_its_time_and_ends_early_for_a_packet() {
        let port = WindowsPort::new().unwrap();
        let mut packets = [Packet::EMPTY; 4];
        let start = Instant::now();
        for _ in 0..50 {
            let begun = Instant::now();
            assert_eq!(port.dequeue(&mut packets, Some(Duration::from_micros(300))), Ok(0));
            assert!(begun.elapsed() >= Duration::from_micros(300), "{:?}", begun.elapsed());
        }
        assert!(start.elapsed() < Duration::from_millis(50 * 10), "{:?}", start.elapsed());
        // A packet that is there, and one that comes meanwhile.
        port.poster().post(7).unwrap();
        assert_eq!(port.dequeue(&mut packets, Some(Duration::from_micros(300))), Ok(1));
        let poster = port.poster();
        let other = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(2));
            poster.post(8).unwrap();
        });
        let mut count = 0;
        while count == 0 {
            count = port.dequeue(&mut packets, Some(Duration::from_millis(15))).unwrap();
        }
        assert_eq!((count, packets[0].key), (1, 8));
        other.join().unwrap();
        // The timer of the past disturbs no later wait.
        let begun = Instant::now();
        assert_eq!(port.dequeue(&mut packets, Some(Duration::from_millis(60))), Ok(0));
        assert!(begun.elapsed() >= Duration::from_millis(50), "{:?}", begun.elapsed());
    }
}
