//! TCP echo, and a server that throws away what it gets.

use std::ffi::{c_char, c_int};
use std::mem::MaybeUninit;

use contender::{Arguments, announce, connection_ended};
use libuv_sys2 as uv;

use crate::check;

/// A connection: its handle first, so that a pointer to that is one to all of it.
#[repr(C)]
struct Connection {
    stream: uv::uv_tcp_t,
    write: uv::uv_write_t,
    buffer: Vec<u8>,
}

extern "C" fn give_buffer(handle: *mut uv::uv_handle_t, _suggested: usize, buffer: *mut uv::uv_buf_t) {
    // SAFETY: the handle is the first field of a connection, which lives until it is closed; libuv wants its buffer now.
    unsafe {
        let connection = handle.cast::<Connection>();
        let bytes = &mut (*connection).buffer;
        *buffer = uv::uv_buf_init(bytes.as_mut_ptr().cast::<c_char>(), bytes.len() as u32);
    }
}

extern "C" fn closed(handle: *mut uv::uv_handle_t) {
    // SAFETY: made by a box when it was accepted, and libuv is done with it.
    drop(unsafe { Box::from_raw(handle.cast::<Connection>()) });
    connection_ended();
}

extern "C" fn written(_write: *mut uv::uv_write_t, _status: c_int) {}

extern "C" fn received(stream: *mut uv::uv_stream_t, count: isize, _buffer: *const uv::uv_buf_t) {
    let connection = stream.cast::<Connection>();
    // SAFETY: as in `give_buffer`; closing is the last that is done with it, and writing uses its one request, since the
    // client sends only when it was answered.
    unsafe {
        if count < 0 {
            uv::uv_close(stream.cast(), Some(closed));
        } else if count > 0 {
            let mut part = uv::uv_buf_init((*connection).buffer.as_mut_ptr().cast(), count as u32);
            // Most writes go out at once, and then need no request.
            let sent = uv::uv_try_write(stream, &part, 1);
            if sent == count as c_int {
                return;
            }
            let sent = sent.max(0);
            part.base = part.base.add(sent as usize);
            part.len -= sent as usize;
            check(uv::uv_write(&mut (*connection).write, stream, &part, 1, Some(written)), "write");
        }
    }
}

static BUFFER_BYTES: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

extern "C" fn connected(listener: *mut uv::uv_stream_t, status: c_int) {
    check(status, "listen");
    // SAFETY: an all-zero connection is one that libuv may initialise, with an empty buffer written over the zeros.
    unsafe {
        let connection = Box::into_raw(Box::new(Connection {
            stream: MaybeUninit::zeroed().assume_init(),
            write: MaybeUninit::zeroed().assume_init(),
            buffer: vec![0; BUFFER_BYTES.load(std::sync::atomic::Ordering::Relaxed)],
        }));
        uv::uv_tcp_init((*listener).loop_, &mut (*connection).stream);
        check(uv::uv_accept(listener, connection.cast()), "accept");
        uv::uv_tcp_nodelay(&mut (*connection).stream, 1);
        let is_echo = IS_ECHO.load(std::sync::atomic::Ordering::Relaxed);
        let came: uv::uv_read_cb = Some(if is_echo { received } else { thrown_away });
        check(uv::uv_read_start(connection.cast(), Some(give_buffer), came), "read");
    }
}

extern "C" fn thrown_away(stream: *mut uv::uv_stream_t, count: isize, _buffer: *const uv::uv_buf_t) {
    if count < 0 {
        // SAFETY: closing is the last that is done with it.
        unsafe { uv::uv_close(stream.cast(), Some(closed)) };
    }
}

/// What is done with what comes: `echo` sends it back, `stream` does not.
static IS_ECHO: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(true);

pub fn serve(arguments: &Arguments) {
    crate::slow::begin(arguments);
    IS_ECHO.store(arguments.workload == "echo", std::sync::atomic::Ordering::Relaxed);
    BUFFER_BYTES.store(arguments.need("bytes") as usize, std::sync::atomic::Ordering::Relaxed);
    // SAFETY: the loop, the listener and the addresses live until the process ends; libuv's calls are made as it documents.
    unsafe {
        let main_loop = uv::uv_default_loop();
        let listener: &mut uv::uv_tcp_t = Box::leak(Box::new(MaybeUninit::zeroed().assume_init()));
        uv::uv_tcp_init(main_loop, listener);
        let mut address: uv::sockaddr_in = MaybeUninit::zeroed().assume_init();
        check(uv::uv_ip4_addr(c"127.0.0.1".as_ptr(), 0, &mut address), "address");
        check(uv::uv_tcp_bind(listener, (&raw const address).cast(), 0), "bind");
        check(uv::uv_listen((&raw mut *listener).cast(), 1024, Some(connected)), "listen");
        let mut length = size_of::<uv::sockaddr_in>() as c_int;
        check(uv::uv_tcp_getsockname(listener, (&raw mut address).cast(), &mut length), "name");
        announce(u16::from_be(address.sin_port));
        uv::uv_run(main_loop, uv::uv_run_mode_UV_RUN_DEFAULT);
    }
}
