//! Random reads of one file.

use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;

use contender::{Arguments, BLOCK_BYTES, Limit, Offsets, Run, aligned_block, length_of};
use libuv_sys2 as uv;

use crate::check;

/// What the requests of a run share. One thread, and callbacks on it.
struct Shared {
    main_loop: *mut uv::uv_loop_t,
    descriptor: i32,
    offsets: Offsets,
    limit: Limit,
    begun: u64,
    done: u64,
}

#[repr(C)]
struct Read {
    request: uv::uv_fs_t,
    buffer: &'static mut [u8],
    shared: *mut Shared,
}

/// # Safety
/// `read` and what it shares live, and its request is not in flight.
unsafe fn begin(read: *mut Read) {
    // SAFETY: by this function's contract.
    unsafe {
        let shared = (*read).shared;
        if !(*shared).limit.allows((*shared).begun) {
            return;
        }
        (*shared).begun += 1;
        let offset = (*shared).offsets.next_offset();
        let part = uv::uv_buf_init((*read).buffer.as_mut_ptr().cast(), BLOCK_BYTES as u32);
        let (main_loop, descriptor) = ((*shared).main_loop, (*shared).descriptor);
        let code = uv::uv_fs_read(main_loop, read.cast(), descriptor, &part, 1, offset as i64, Some(finished));
        check(code, "read");
    }
}

extern "C" fn finished(request: *mut uv::uv_fs_t) {
    // SAFETY: the request is the first field of a `Read` that is never freed, and has just settled.
    unsafe {
        assert_eq!((*request).result, BLOCK_BYTES as isize);
        uv::uv_fs_req_cleanup(request);
        let read = request.cast::<Read>();
        (*(*read).shared).done += 1;
        begin(read);
    }
}

pub fn read(arguments: &Arguments) {
    use std::os::unix::fs::OpenOptionsExt;
    let path = arguments.path();
    let flags = if arguments.has("direct") { libc::O_DIRECT } else { 0 };
    let file = std::fs::File::options().read(true).custom_flags(flags).open(&path);
    let file = file.unwrap_or_else(|error| contender::fail(&error.to_string()));
    // SAFETY: the default loop lives as long as the process.
    let main_loop = unsafe { uv::uv_default_loop() };
    let shared: *mut Shared = Box::leak(Box::new(Shared {
        main_loop,
        descriptor: file.as_raw_fd(),
        offsets: Offsets::new(length_of(&path)),
        limit: arguments.limit(),
        begun: 0,
        done: 0,
    }));
    let run = Run::begin();
    for _ in 0..arguments.need("depth") {
        // SAFETY: an all-zero request is one that libuv may use; nothing of it is ever freed.
        unsafe {
            let request = MaybeUninit::zeroed().assume_init();
            begin(Box::leak(Box::new(Read { request, buffer: aligned_block(), shared })));
        }
    }
    // SAFETY: the loop is this thread's, and what it uses is never freed.
    unsafe {
        uv::uv_run(main_loop, uv::uv_run_mode_UV_RUN_DEFAULT);
        run.end((*shared).done)
    }
}
