//! Writes at random places, appends that are synced, and many small files.

use std::ffi::CString;
use std::mem::MaybeUninit;

use contender::folder::{self, SMALL_FILE_BYTES};
use contender::{Arguments, BLOCK_BYTES, Progress, Run, aligned_block, fail};
use libuv_sys2 as uv;

use crate::check;

/// What the requests of a run share. One thread, and callbacks on it.
struct Shared {
    main_loop: *mut uv::uv_loop_t,
    paths: Vec<CString>,
    progress: Progress,
}

/// One file after the other, or one append after the other: each step begins the next in its callback.
#[repr(C)]
struct Chain {
    /// First, so that a pointer to it is one to all.
    request: uv::uv_fs_t,
    descriptor: i32,
    buffer: &'static mut [u8],
    shared: *const Shared,
}

impl Chain {
    fn leaked(shared: *const Shared, descriptor: i32) -> *mut Chain {
        // SAFETY: an all-zero request is one that libuv may use.
        let request = unsafe { MaybeUninit::zeroed().assume_init() };
        Box::leak(Box::new(Chain { request, descriptor, buffer: aligned_block(), shared }))
    }
}

/// The chain of a request that has settled, what the request came to, and its memory given back.
///
/// # Safety
/// `request` is the first field of a `Chain` and has just settled.
unsafe fn settled(request: *mut uv::uv_fs_t, what: &str) -> (*mut Chain, isize) {
    // SAFETY: by this function's contract.
    unsafe {
        let result = (*request).result;
        check(result.min(0) as i32, what);
        uv::uv_fs_req_cleanup(request);
        (request.cast(), result)
    }
}

fn shared(arguments: &Arguments, paths: Vec<CString>) -> &'static Shared {
    // SAFETY: the default loop lives as long as the process.
    let main_loop = unsafe { uv::uv_default_loop() };
    Box::leak(Box::new(Shared { main_loop, paths, progress: Progress::new(arguments, 0) }))
}

fn run(shared: &Shared, run: Run) -> ! {
    // SAFETY: the loop is this thread's, and what it uses is never freed.
    unsafe { uv::uv_run(shared.main_loop, uv::uv_run_mode_UV_RUN_DEFAULT) };
    run.end(shared.progress.done())
}

/// Opens it now, with no callback.
fn open(arguments: &Arguments, flags: i32) -> i32 {
    let path = folder::as_c_strings(&[arguments.path()]).remove(0);
    // SAFETY: a request of all zeros, which is over when the call returns.
    unsafe {
        let mut request = MaybeUninit::zeroed().assume_init();
        let code = uv::uv_fs_open(uv::uv_default_loop(), &mut request, path.as_ptr(), flags, 0o666, None);
        check(code, "open");
        uv::uv_fs_req_cleanup(&mut request);
        code
    }
}

/// # Safety
/// `chain` and what it shares live, and its request is not in flight.
unsafe fn append_next(chain: *mut Chain) {
    // SAFETY: by this function's contract.
    unsafe {
        let shared = &*(*chain).shared;
        if shared.progress.begin().is_some() {
            let part = uv::uv_buf_init((*chain).buffer.as_mut_ptr().cast(), BLOCK_BYTES as u32);
            let request = chain.cast();
            check(
                uv::uv_fs_write(shared.main_loop, request, (*chain).descriptor, &part, 1, -1, Some(appended)),
                "write",
            );
        }
    }
}

extern "C" fn appended(request: *mut uv::uv_fs_t) {
    // SAFETY: as in `settled`.
    unsafe {
        let (chain, count) = settled(request, "write");
        assert_eq!(count, BLOCK_BYTES as isize);
        let main_loop = (*(*chain).shared).main_loop;
        check(uv::uv_fs_fdatasync(main_loop, request, (*chain).descriptor, Some(synced)), "sync");
    }
}

extern "C" fn synced(request: *mut uv::uv_fs_t) {
    // SAFETY: as in `settled`.
    unsafe {
        let (chain, _) = settled(request, "sync");
        (*(*chain).shared).progress.end();
        append_next(chain);
    }
}

pub fn append(arguments: &Arguments) {
    let descriptor = open(arguments, libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND);
    let shared = shared(arguments, Vec::new());
    let begun = Run::begin();
    // SAFETY: nothing of it is ever freed.
    unsafe { append_next(Chain::leaked(shared, descriptor)) };
    run(shared, begun)
}

/// # Safety
/// As for `append_next`.
unsafe fn write_next(chain: *mut Chain) {
    // SAFETY: by this function's contract.
    unsafe {
        let shared = &*(*chain).shared;
        if let Some(offset) = shared.progress.begin_at_offset() {
            let part = uv::uv_buf_init((*chain).buffer.as_mut_ptr().cast(), BLOCK_BYTES as u32);
            let (request, descriptor) = (chain.cast(), (*chain).descriptor);
            let code = uv::uv_fs_write(shared.main_loop, request, descriptor, &part, 1, offset as i64, Some(written));
            check(code, "write");
        }
    }
}

extern "C" fn written(request: *mut uv::uv_fs_t) {
    // SAFETY: as in `settled`.
    unsafe {
        let (chain, count) = settled(request, "write");
        assert_eq!(count, BLOCK_BYTES as isize);
        (*(*chain).shared).progress.end();
        write_next(chain);
    }
}

pub fn write(arguments: &Arguments) {
    let descriptor = open(arguments, libc::O_RDWR);
    let file_bytes = contender::length_of(&arguments.path());
    // SAFETY: the default loop lives as long as the process.
    let main_loop = unsafe { uv::uv_default_loop() };
    let progress = Progress::new(arguments, file_bytes);
    let shared: &Shared = Box::leak(Box::new(Shared { main_loop, paths: Vec::new(), progress }));
    let begun = Run::begin();
    for _ in 0..arguments.need("depth") {
        // SAFETY: nothing of it is ever freed.
        unsafe { write_next(Chain::leaked(shared, descriptor)) };
    }
    run(shared, begun)
}

/// # Safety
/// As for `append_next`.
unsafe fn open_next(chain: *mut Chain) {
    // SAFETY: by this function's contract.
    unsafe {
        let shared = &*(*chain).shared;
        if let Some(number) = shared.progress.begin() {
            let path = shared.paths[number as usize % shared.paths.len()].as_ptr();
            check(uv::uv_fs_open(shared.main_loop, chain.cast(), path, libc::O_RDONLY, 0, Some(opened)), "open");
        }
    }
}

extern "C" fn opened(request: *mut uv::uv_fs_t) {
    // SAFETY: as in `settled`.
    unsafe {
        let (chain, descriptor) = settled(request, "open");
        (*chain).descriptor = descriptor as i32;
        check(uv::uv_fs_fstat((*(*chain).shared).main_loop, request, descriptor as i32, Some(looked_at)), "stat");
    }
}

extern "C" fn looked_at(request: *mut uv::uv_fs_t) {
    // SAFETY: as in `settled`; what was found is in the request until it is cleaned up or used again.
    unsafe {
        assert_eq!((*request).statbuf.st_size, SMALL_FILE_BYTES as u64);
        let (chain, _) = settled(request, "stat");
        let part = uv::uv_buf_init((*chain).buffer.as_mut_ptr().cast(), BLOCK_BYTES as u32);
        let main_loop = (*(*chain).shared).main_loop;
        check(uv::uv_fs_read(main_loop, request, (*chain).descriptor, &part, 1, 0, Some(was_read)), "read");
    }
}

extern "C" fn was_read(request: *mut uv::uv_fs_t) {
    // SAFETY: as in `settled`.
    unsafe {
        let (chain, count) = settled(request, "read");
        assert_eq!(count, SMALL_FILE_BYTES as isize);
        check(uv::uv_fs_close((*(*chain).shared).main_loop, request, (*chain).descriptor, Some(closed)), "close");
    }
}

extern "C" fn closed(request: *mut uv::uv_fs_t) {
    // SAFETY: as in `settled`.
    unsafe {
        let (chain, _) = settled(request, "close");
        (*(*chain).shared).progress.end();
        open_next(chain);
    }
}

pub fn small(arguments: &Arguments) {
    let paths = folder::as_c_strings(&folder::small_files(arguments));
    let shared = shared(arguments, paths);
    if shared.paths.is_empty() {
        fail("there are no files");
    }
    let begun = Run::begin();
    for _ in 0..arguments.need("depth") {
        // SAFETY: nothing of it is ever freed.
        unsafe { open_next(Chain::leaked(shared, -1)) };
    }
    run(shared, begun)
}
