//! Waits for handles to be signalled (children that end), by the system's own threads: no thread of ours for each.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::os::windows::io::BorrowedHandle;
use std::ptr::null_mut;
use std::sync::Arc;

use windows_sys::Win32::Foundation::{HANDLE, INVALID_HANDLE_VALUE};
use windows_sys::Win32::System::Threading::{
    INFINITE, RegisterWaitForSingleObject, UnregisterWaitEx, WT_EXECUTEONLYONCE,
};

use super::iocp::signalled::Signalled;
use super::{Completion, Completions, Fault, RawDescriptor, Token, Wakeup, children};

/// What a thread of the system's is given.
#[derive(Debug)]
struct Context {
    signalled: Arc<Signalled>,
    token: Token,
}

#[derive(Debug)]
struct Wait {
    token: Token,
    process: RawDescriptor,
    registration: HANDLE,
    /// A thread of the system's may have it until the wait is unregistered.
    context: *mut Context,
}

/// The waits of one scheduler.
#[derive(Debug)]
pub(super) struct Waits {
    signalled: Arc<Signalled>,
    waits: Vec<Wait>,
}

unsafe extern "system" fn on_signal(context: *mut c_void, _timed_out: bool) {
    // SAFETY: the context of a registration lives until that has been unregistered, which waits for this call.
    let context = unsafe { &*context.cast::<Context>() };
    context.signalled.tell(context.token);
}

impl Waits {
    pub(super) fn new(wakeup: Wakeup) -> Waits {
        Waits { signalled: Arc::new(Signalled::new(wakeup)), waits: Vec::new() }
    }

    /// Waits for the end of a process.
    pub(super) fn submit(&mut self, token: Token, process: RawDescriptor, completions: &mut Completions) {
        let context = Box::into_raw(Box::new(Context { signalled: Arc::clone(&self.signalled), token }));
        let mut registration = null_mut();
        // SAFETY: the queue keeps the handle open until the request has settled, and the context is freed after the
        // registration has ended.
        let is_registered = unsafe {
            RegisterWaitForSingleObject(
                &mut registration,
                process as HANDLE,
                Some(on_signal),
                context.cast_const().cast(),
                INFINITE,
                WT_EXECUTEONLYONCE,
            )
        };
        if is_registered == 0 {
            let error = std::io::Error::last_os_error();
            // SAFETY: nobody was given it.
            drop(unsafe { Box::from_raw(context) });
            return completions.push_back(Completion { token, outcome: Err(Fault::from_io(&error)) });
        }
        self.waits.push(Wait { token, process, registration, context });
    }

    /// Gives a wait up. One that was signalled meanwhile is told of by [`drain`](Self::drain).
    pub(super) fn cancel(&mut self, token: Token, completions: &mut Completions) {
        let Some(place) = self.waits.iter().position(|wait| wait.token == token) else { return };
        end(&mut self.waits[place]);
        if !self.signalled.has(token) {
            self.forget(place);
            completions.push_back(Completion { token, outcome: Err(Fault::Interrupted) });
        }
    }

    /// Gives all waits up, but those that were signalled meanwhile.
    pub(super) fn cancel_all(&mut self, completions: &mut Completions) {
        let tokens: Vec<Token> = self.waits.iter().map(|wait| wait.token).collect();
        tokens.into_iter().for_each(|token| self.cancel(token, completions));
    }

    /// Moves what was signalled to `completions`.
    pub(super) fn drain(&mut self, completions: &mut Completions) {
        if self.waits.is_empty() {
            return;
        }
        for token in self.signalled.take() {
            let Some(place) = self.waits.iter().position(|wait| wait.token == token) else { continue };
            end(&mut self.waits[place]);
            // SAFETY: the queue keeps the handle open until the request has settled.
            let process = unsafe { BorrowedHandle::borrow_raw(self.waits[place].process as HANDLE) };
            let outcome = children::reap(process).unwrap_or(Err(Fault::Interrupted));
            self.forget(place);
            completions.push_back(Completion { token, outcome });
        }
    }

    /// Whether nothing is waited for.
    pub(super) fn is_idle(&self) -> bool {
        self.waits.is_empty()
    }

    fn forget(&mut self, place: usize) {
        let wait = self.waits.swap_remove(place);
        // SAFETY: it was unregistered, so no thread of the system's has it any more.
        drop(unsafe { Box::from_raw(wait.context) });
    }
}

/// Unregisters a wait, if that has not been done, and waits for a call of ours that is on its way.
fn end(wait: &mut Wait) {
    let registration = std::mem::replace(&mut wait.registration, null_mut());
    if !registration.is_null() {
        // SAFETY: it is a registration, and was taken out for this one call.
        unsafe { UnregisterWaitEx(registration, INVALID_HANDLE_VALUE) };
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        while let Some(wait) = self.waits.last_mut() {
            end(wait);
            self.forget(self.waits.len() - 1);
        }
    }
}
