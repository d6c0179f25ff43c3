//! Timers, wakes from another thread, and whether the loop has anything to do.

use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use contender::{Arguments, Limit, Run};
use libuv_sys2 as uv;

use crate::check;

extern "C" fn never(_timer: *mut uv::uv_timer_t) {}

extern "C" fn fired(_timer: *mut uv::uv_timer_t) {}

/// They stay where they are: the vector is never grown.
fn thousand() -> Vec<uv::uv_timer_t> {
    // SAFETY: the timers live until the process ends, and are of the default loop.
    unsafe {
        let main_loop = uv::uv_default_loop();
        let mut timers: Vec<uv::uv_timer_t> = (0..1000).map(|_| MaybeUninit::zeroed().assume_init()).collect();
        for timer in &mut timers {
            uv::uv_timer_init(main_loop, timer);
        }
        timers
    }
}

/// Arms timers of an hour and stops them, a thousand at a time.
pub fn timers(arguments: &Arguments) {
    let (mut timers, limit) = (thousand(), arguments.limit());
    let run = Run::begin();
    let mut armed = 0;
    while limit.allows(armed) {
        // SAFETY: the timers are initialised, and of this thread's loop.
        unsafe {
            for timer in &mut timers {
                check(uv::uv_timer_start(timer, Some(never), 3_600_000, 0), "timer");
            }
            for timer in &mut timers {
                check(uv::uv_timer_stop(timer), "timer");
            }
        }
        armed += 1000;
    }
    run.end(armed)
}

/// Arms timers of a millisecond, a thousand at a time, and runs until all have fired.
pub fn fire(arguments: &Arguments) {
    let (mut timers, limit) = (thousand(), arguments.limit());
    let run = Run::begin();
    let mut done = 0;
    while limit.allows(done) {
        // SAFETY: as above.
        unsafe {
            uv::uv_update_time(uv::uv_default_loop());
            for timer in &mut timers {
                check(uv::uv_timer_start(timer, Some(fired), 1, 0), "timer");
            }
            uv::uv_run(uv::uv_default_loop(), uv::uv_run_mode_UV_RUN_DEFAULT);
        }
        done += 1000;
    }
    run.end(done)
}

/// What the loop and the thread that wakes it share.
struct Wakes {
    handle: uv::uv_async_t,
    limit: Limit,
    done: AtomicU64,
    is_over: AtomicBool,
}

/// A handle that another thread may use, which libuv allows for `uv_async_send` alone.
struct Sender(*mut Wakes);

// SAFETY: the other thread calls `uv_async_send`, and reads atomics.
unsafe impl Send for Sender {}

impl Sender {
    /// Wakes the loop, and again when it has seen that.
    fn run(self) {
        // SAFETY: the structure is never freed, and shared by its atomics and `uv_async_send` alone.
        unsafe {
            let wakes = self.0;
            let mut sent = 0;
            while !(*wakes).is_over.load(Ordering::Acquire) {
                if (*wakes).done.load(Ordering::Acquire) == sent {
                    sent += 1;
                    check(uv::uv_async_send(&raw mut (*wakes).handle), "wake");
                }
                std::hint::spin_loop();
            }
        }
    }
}

extern "C" fn woken(handle: *mut uv::uv_async_t) {
    // SAFETY: the handle is in a structure that is never freed; only this thread writes `done`.
    unsafe {
        let wakes = (*handle).data.cast::<Wakes>();
        let done = (*wakes).done.fetch_add(1, Ordering::AcqRel) + 1;
        if !(*wakes).limit.allows(done) {
            (*wakes).is_over.store(true, Ordering::Release);
            uv::uv_close(handle.cast(), None);
        }
    }
}

/// Another thread wakes the loop, and so on: an operation is one such wake.
pub fn wake(arguments: &Arguments) {
    // SAFETY: the structure is never freed; an all-zero handle is one that libuv may initialise.
    unsafe {
        let (handle, limit) = (MaybeUninit::zeroed().assume_init(), arguments.limit());
        let (done, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
        let wakes = Box::into_raw(Box::new(Wakes { handle, limit, done, is_over }));
        (*wakes).handle.data = wakes.cast();
        check(uv::uv_async_init(uv::uv_default_loop(), &raw mut (*wakes).handle, Some(woken)), "wake");
        (*wakes).handle.data = wakes.cast();
        let sender = Sender(wakes);
        let run = Run::begin();
        let thread = std::thread::spawn(move || {
            let sender = sender;
            sender.run();
        });
        uv::uv_run(uv::uv_default_loop(), uv::uv_run_mode_UV_RUN_DEFAULT);
        let _ = thread.join();
        run.end((*wakes).done.load(Ordering::Acquire))
    }
}

/// Asks whether there is work while there is none.
pub fn has_work(arguments: &Arguments) {
    let limit = arguments.limit();
    // SAFETY: the default loop lives as long as the process.
    let main_loop = unsafe { uv::uv_default_loop() };
    let run = Run::begin();
    let mut asked = 0;
    while limit.allows(asked) {
        // SAFETY: as above.
        let has_work: c_int = unsafe { uv::uv_loop_alive(std::hint::black_box(main_loop)) };
        assert_eq!(has_work, 0);
        asked += 1;
    }
    run.end(asked)
}
