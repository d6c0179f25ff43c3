//! FIFOs that are opened again and again, each in a thread of the pool in which it sleeps.

use std::ffi::CString;
use std::mem::MaybeUninit;

use contender::{Arguments, folder};
use libuv_sys2 as uv;

use crate::check;

/// A FIFO: its request first, so that a pointer to that is one to all of it.
#[repr(C)]
struct Fifo {
    request: uv::uv_fs_t,
    path: CString,
}

/// # Safety
/// `fifo` lives, and its request is not in flight.
unsafe fn open(fifo: *mut Fifo) {
    // SAFETY: by this function's contract.
    unsafe {
        let (main_loop, path) = (uv::uv_default_loop(), (*fifo).path.as_ptr());
        check(uv::uv_fs_open(main_loop, fifo.cast(), path, libc::O_RDONLY, 0, Some(opened)), "open");
    }
}

extern "C" fn opened(request: *mut uv::uv_fs_t) {
    // SAFETY: the request is the first field of a `Fifo` that is never freed, and has just settled.
    unsafe {
        let descriptor = (*request).result as i32;
        check(descriptor, "open");
        uv::uv_fs_req_cleanup(request);
        check(uv::uv_fs_close(uv::uv_default_loop(), request, descriptor, Some(closed)), "close");
    }
}

extern "C" fn closed(request: *mut uv::uv_fs_t) {
    // SAFETY: as in `opened`.
    unsafe {
        uv::uv_fs_req_cleanup(request);
        open(request.cast());
    }
}

/// Keeps the pool busy for as long as the loop runs.
pub fn begin(arguments: &Arguments) {
    for path in folder::as_c_strings(&folder::fifos(arguments)) {
        // SAFETY: an all-zero request is one that libuv may use; nothing of it is ever freed.
        unsafe {
            let request = MaybeUninit::zeroed().assume_init();
            open(Box::leak(Box::new(Fifo { request, path })));
        }
    }
}
