//! Reaching a thread of the pool that blocks in a call: the stop of a read of a pipe that is not overlapped, say, into which
//! nobody ever writes.

use std::cell::OnceCell;
use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr::null_mut;
use std::sync::Arc;

use windows_sys::Win32::Foundation::{DUPLICATE_SAME_ACCESS, DuplicateHandle, HANDLE, WAIT_OBJECT_0};
use windows_sys::Win32::System::IO::{CancelIoEx, CancelSynchronousIo, OVERLAPPED};
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, GetCurrentThread, INFINITE, ResetEvent, SetEvent, WaitForMultipleObjects, WaitForSingleObject,
};

thread_local! {
    /// Of the threads that can be reached.
    static OF_THIS_THREAD: OnceCell<Interrupter> = const { OnceCell::new() };
}

/// What others have of a thread, to end the call that it is in.
#[derive(Clone, Debug)]
pub(crate) struct Interrupter(Option<Arc<Thread>>);

#[derive(Debug)]
struct Thread {
    handle: OwnedHandle,
    /// Set for as long as its call is to end: what is overlapped is waited for beside it.
    is_asked: OwnedHandle,
}

impl Interrupter {
    /// That of this thread, which can be reached from now on. (Without the means for it, it cannot.)
    pub(crate) fn of_this_thread() -> Interrupter {
        OF_THIS_THREAD.with(|place| place.get_or_init(|| Interrupter(Thread::this().ok().map(Arc::new))).clone())
    }

    /// Asks the thread to end the call that it is in, and gives whether that has been found. A call that is just about to
    /// begin is found by nobody: whoever wants the end asks again.
    pub(crate) fn interrupt(&self) -> bool {
        let Some(thread) = &self.0 else { return true };
        // SAFETY: event and thread are open.
        unsafe {
            SetEvent(thread.is_asked.as_raw_handle());
            CancelSynchronousIo(thread.handle.as_raw_handle()) != 0
        }
    }

    /// The call has ended: the next one is to go on.
    pub(crate) fn reset(&self) {
        if let Some(thread) = &self.0 {
            // SAFETY: the event is open.
            unsafe { ResetEvent(thread.is_asked.as_raw_handle()) };
        }
    }
}

impl Thread {
    fn this() -> io::Result<Thread> {
        let mut handle = null_mut();
        // SAFETY: the first three are names of this process and this thread; the result is checked before it is owned.
        let handle = unsafe {
            let process = GetCurrentProcess();
            match DuplicateHandle(process, GetCurrentThread(), process, &mut handle, 0, 0, DUPLICATE_SAME_ACCESS) {
                0 => return Err(io::Error::last_os_error()),
                _ => OwnedHandle::from_raw_handle(handle),
            }
        };
        Ok(Thread { handle, is_asked: super::event(false)? })
    }
}

/// Whether somebody has asked this thread to end the call that it is in, or has just been in.
pub(in crate::backend) fn this_thread_is_asked() -> bool {
    OF_THIS_THREAD.with(|place| {
        let Some(Interrupter(Some(thread))) = place.get() else { return false };
        // SAFETY: the event is open.
        unsafe { WaitForSingleObject(thread.is_asked.as_raw_handle(), 0) == WAIT_OBJECT_0 }
    })
}

/// Waits for an overlapped request of this thread, whose end sets `ended`; asks the system for that end if this thread is
/// asked for it. Not more than that: the request may be the system's still when this returns.
///
/// # Safety
/// The request is in flight on the handle, with this structure, and `ended` is its event.
pub(in crate::backend) unsafe fn wait_for(handle: HANDLE, overlapped: *mut OVERLAPPED, ended: HANDLE) {
    OF_THIS_THREAD.with(|place| {
        let Some(Interrupter(Some(thread))) = place.get() else { return };
        let events = [ended, thread.is_asked.as_raw_handle()];
        // SAFETY: both events are open, and the caller's promise for the request.
        unsafe {
            if WaitForMultipleObjects(2, events.as_ptr(), 0, INFINITE) == WAIT_OBJECT_0 + 1 {
                CancelIoEx(handle, overlapped);
            }
        }
    });
}
