//! Schedulers: their settings, their beginning and end, and what they know of themselves.

use std::ffi::{CString, c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::time::Duration;

use corella::{BackendKind, BackendReason, KernelFeatures, Scheduler as Engine, SchedulerBuilder};

use crate::codes::{
    CORELLA_ERROR_DEFECT, CORELLA_ERROR_NOTHING_TO_TAKE, CORELLA_ERROR_SCHEDULER_GONE, CORELLA_ERROR_STALE_ID,
    CORELLA_ERROR_TIMED_OUT, CORELLA_OK,
};
use crate::faults::{Fault, c_string, put, remember, text_out};
use crate::files::prepare_on_scheduler;
use crate::host::{Host, Observer};
use crate::ids::{Key, Request, Scheduler, Settings};
use crate::registry::{self, guarded, on_host};
use crate::request::{Callback, Verb};
use crate::{signals, threads};

/// The machine's best backend, or the one that the environment variable CORELLA_BACKEND names.
pub const CORELLA_BACKEND_BEST: c_int = 0;
/// io_uring (Linux).
pub const CORELLA_BACKEND_URING: c_int = 1;
/// Readiness for sockets and pipes, and a bounded pool of threads for files.
pub const CORELLA_BACKEND_PORTABLE: c_int = 2;
/// An I/O completion port (Windows).
pub const CORELLA_BACKEND_IOCP: c_int = 3;

/// One of CORELLA_BACKEND_BEST and its kin.
pub const CORELLA_SETTING_BACKEND: c_int = 0;
/// Requests at once at most; 65536 at first.
pub const CORELLA_SETTING_QUEUE_DEPTH: c_int = 1;
/// Places in io_uring's submission ring; 256 at first.
pub const CORELLA_SETTING_RING_ENTRIES: c_int = 2;
/// Threads of the pool at most; 8 at first.
pub const CORELLA_SETTING_POOL_THREADS: c_int = 3;
/// Work from other threads that may wait at once; 65536 at first.
pub const CORELLA_SETTING_INBOX_JOBS: c_int = 4;
/// Sleeps at once at most; they do not count towards the queue's depth.
pub const CORELLA_SETTING_SLEEPS: c_int = 5;
/// Callbacks, direct ones apart, that are called before the scheduler looks for I/O again; 256 at first.
pub const CORELLA_SETTING_CALLBACKS_PER_TURN: c_int = 6;

/// What settings hold.
#[derive(Clone)]
pub(crate) struct Chosen {
    builder: SchedulerBuilder,
    callbacks_per_turn: usize,
    inbox_jobs: usize,
}

impl Default for Chosen {
    fn default() -> Chosen {
        Chosen { builder: Engine::builder(), callbacks_per_turn: 256, inbox_jobs: 1 << 16 }
    }
}

/// Makes settings, all as at first. Yours; free them with `corella_settings_free`. Not bound to a thread.
#[unsafe(no_mangle)]
pub extern "C" fn corella_settings_new(settings: Option<&mut MaybeUninit<Settings>>) -> c_int {
    guarded("corella_settings_new", || threads::add_settings(settings))
}

/// Changes one of them: `setting` is CORELLA_SETTING_QUEUE_DEPTH or one of its kin, `value` its number.
#[unsafe(no_mangle)]
pub extern "C" fn corella_settings_set(settings: Settings, setting: c_int, value: c_int) -> c_int {
    guarded("corella_settings_set", || {
        threads::with_settings(settings, |chosen| {
            let least = c_int::from(setting != CORELLA_SETTING_BACKEND);
            if value < least {
                return Err(Fault::input("a limit below 1"));
            }
            let count = value as usize;
            let builder = chosen.builder.clone();
            chosen.builder = match (setting, value) {
                (CORELLA_SETTING_BACKEND, CORELLA_BACKEND_BEST) => Chosen::default().builder,
                (CORELLA_SETTING_BACKEND, CORELLA_BACKEND_URING) => builder.backend(BackendKind::Uring),
                (CORELLA_SETTING_BACKEND, CORELLA_BACKEND_PORTABLE) => builder.backend(BackendKind::Portable),
                (CORELLA_SETTING_BACKEND, CORELLA_BACKEND_IOCP) => builder.backend(BackendKind::Iocp),
                (CORELLA_SETTING_QUEUE_DEPTH, _) => builder.queue_depth(count),
                (CORELLA_SETTING_RING_ENTRIES, _) => builder.ring_entries(value.cast_unsigned()),
                (CORELLA_SETTING_POOL_THREADS, _) => builder.pool_threads(count),
                (CORELLA_SETTING_INBOX_JOBS, _) => {
                    chosen.inbox_jobs = count;
                    builder.inbox_jobs(count)
                }
                (CORELLA_SETTING_SLEEPS, _) => builder.sleeps(count),
                (CORELLA_SETTING_CALLBACKS_PER_TURN, _) => {
                    chosen.callbacks_per_turn = count;
                    builder
                }
                _ => return Err(Fault::input("no such setting or backend")),
            };
            Ok(CORELLA_OK)
        })
    })
}

/// Frees settings. Schedulers made with them are not touched.
#[unsafe(no_mangle)]
pub extern "C" fn corella_settings_free(settings: Settings) -> c_int {
    threads::remove_settings(settings)
}

/// Starts a scheduler for the calling thread, which is from then on the only one that may use it and what is made with it.
/// `settings` may be null. Yours; free it with `corella_scheduler_free` on the same thread before that ends (otherwise it is
/// leaked). At most 1023 at once in a process.
///
/// The first one sees to it that a write to a pipe without a reader is an error: if SIGPIPE has its default, which kills
/// the process, it gets a handler that does nothing.
#[unsafe(no_mangle)]
pub extern "C" fn corella_scheduler_new(settings: Settings, scheduler: Option<&mut MaybeUninit<Scheduler>>) -> c_int {
    guarded("corella_scheduler_new", || {
        let Some(place) = scheduler else { return Err(Fault::input("no place for the scheduler")) };
        place.write(std::ptr::null_mut());
        let chosen = match settings.is_null() {
            true => Chosen::default(),
            false => threads::with_settings(settings, |chosen| Ok(chosen.clone()))?,
        };
        let engine = chosen.builder.build()?;
        signals::survive_broken_pipes();
        let number = registry::claim()?;
        let host = Host::new(number, engine, chosen.callbacks_per_turn, chosen.inbox_jobs);
        let host = registry::enter(Box::new(host));
        let pointer = std::ptr::from_ref(host);
        host.with_engine(|engine| {
            engine.on_unobserved(move |unobserved| {
                // SAFETY: the engine calls it inside calls of the host that owns the engine.
                unsafe { &*pointer }.report(unobserved.error);
            });
            Ok(())
        })?;
        place.write(host.id());
        Ok(CORELLA_OK)
    })
}

/// Ends a scheduler in good order: cancels every request, waits until the OS has let go of all buffers, at most
/// `limit_ns` nanoseconds (negative: as long as it takes), and lets all settle. Afterwards their callbacks are still to be
/// run (`corella_run`), outcomes read and taken, everything freed; new requests answer CORELLA_ERROR_SCHEDULER_GONE. Then
/// `corella_scheduler_free`.
///
/// CORELLA_ERROR_TIMED_OUT: the OS would not let go of some in time. `leaked`, if not null, is told how many; their memory,
/// the caller's too, must never be freed or used again.
#[unsafe(no_mangle)]
pub extern "C" fn corella_shutdown(
    scheduler: Scheduler,
    limit_ns: i64,
    leaked: Option<&mut MaybeUninit<i64>>,
) -> c_int {
    on_host("corella_shutdown", scheduler, |host, _| {
        let Some(engine) = host.engine.borrow_mut().take() else { return Err(CORELLA_ERROR_SCHEDULER_GONE.into()) };
        host.inbox.end();
        let limit = u64::try_from(limit_ns).map_or(Duration::MAX, Duration::from_nanos);
        let result = engine.shutdown(limit);
        host.fetch_outcomes();
        put(leaked, result.as_ref().err().map_or(0, |left| left.requests.len() as i64));
        match result {
            Ok(()) => Ok(CORELLA_OK),
            Err(_) => {
                host.has_leaked.set(true);
                Err(CORELLA_ERROR_TIMED_OUT.into())
            }
        }
    })
}

/// Ends a scheduler and frees it with everything made with it: requests are cancelled, and it waits until the OS has let go
/// of every buffer; no callback is called for them, and after it the caller's memory is lent to nobody. All its ids are
/// stale from then on. May be called in a callback.
///
/// After a defect, or a shutdown that timed out, the memory is leaked instead, as nobody knows whether the OS still writes
/// to it; the answer is then CORELLA_ERROR_DEFECT or CORELLA_OK.
#[unsafe(no_mangle)]
pub extern "C" fn corella_scheduler_free(scheduler: Scheduler) -> c_int {
    const NAME: &str = "corella_scheduler_free";
    let key = match registry::host_of(scheduler) {
        Ok((_, key)) => key,
        // A spoiled one is freed as far as that goes; everything else is an error.
        Err(CORELLA_ERROR_DEFECT) => match Key::of(scheduler) {
            Some(key) => key,
            None => return remember(NAME, CORELLA_ERROR_DEFECT),
        },
        Err(code) => return remember(NAME, code),
    };
    guarded(NAME, || {
        let pointer = registry::leave(key.scheduler).ok_or(CORELLA_ERROR_STALE_ID)?;
        let (unused, is_spoiled) = {
            // SAFETY: just taken out of the list, alive, and nobody's else.
            let host = unsafe { &*pointer };
            host.inbox.end();
            if host.is_spoiled() {
                // Its tables may be half changed; numbers this large have not been used.
                (key.generation.wrapping_add(1 << 20) & crate::ids::GENERATION_MASK | 1, true)
            } else {
                // The engine ends first: it waits for the OS. Only then is what the OS wrote to freed.
                let engine = host.engine.borrow_mut().take();
                drop(engine);
                (host.unused_generation(), false)
            }
        };
        // SAFETY: as above.
        let is_leaked = is_spoiled || unsafe { &*pointer }.has_leaked.get();
        if !is_leaked {
            // SAFETY: made by a box and freed this once; nothing of the engine's, whose closures knew it, is left.
            drop(unsafe { Box::from_raw(pointer) });
        }
        registry::release(key.scheduler, unused);
        if is_spoiled { Err(CORELLA_ERROR_DEFECT.into()) } else { Ok(CORELLA_OK) }
    })
}

impl Host {
    /// A generation that none of the ids made so far has.
    fn unused_generation(&self) -> u32 {
        let tables = [
            self.requests.borrow().unused_generation(),
            self.handles.borrow().unused_generation(),
            self.buffers.borrow().unused_generation(),
            self.pools.borrow().unused_generation(),
        ];
        tables.into_iter().max().unwrap_or(1)
    }
}

/// Settles after `nanoseconds`, counted from its submission. It needs no place in the queue.
#[unsafe(no_mangle)]
pub extern "C" fn corella_sleep(
    scheduler: Scheduler,
    nanoseconds: i64,
    request: Option<&mut MaybeUninit<Request>>,
) -> c_int {
    prepare_on_scheduler("corella_sleep", scheduler, Verb::Sleep, request, |record| {
        record.offset = nanoseconds;
        match nanoseconds < 0 {
            true => Err(Fault::input("a negative time")),
            false => Ok(()),
        }
    })
}

/// Writes the time of the scheduler's clock, in nanoseconds from a start of its own: it only goes forward. What deadlines
/// and sleeps are measured by.
#[unsafe(no_mangle)]
pub extern "C" fn corella_now_ns(scheduler: Scheduler, now: Option<&mut MaybeUninit<i64>>) -> c_int {
    on_host("corella_now_ns", scheduler, |host, _| {
        put(now, i64::try_from(host.io.now().as_nanos()).unwrap_or(i64::MAX));
        Ok(CORELLA_OK)
    })
}

/// The backend in use: CORELLA_BACKEND_URING or one of its kin.
#[unsafe(no_mangle)]
pub extern "C" fn corella_backend(scheduler: Scheduler) -> c_int {
    on_host("corella_backend", scheduler, |host, _| {
        let kind = host.with_engine(|engine| Ok(engine.backend()))?;
        Ok(match kind.name() {
            "uring" => CORELLA_BACKEND_URING,
            "portable" => CORELLA_BACKEND_PORTABLE,
            "iocp" => CORELLA_BACKEND_IOCP,
            other => unreachable!("the settings know no backend {other}"),
        })
    })
}

/// Why it is that one, in words, such as what the kernel refused; null on failure. Valid until the next call of this
/// function on this thread.
#[unsafe(no_mangle)]
pub extern "C" fn corella_backend_reason(
    scheduler: Scheduler,
    length: Option<&mut MaybeUninit<usize>>,
) -> *const c_char {
    thread_local! {
        static TEXT: std::cell::RefCell<CString> = std::cell::RefCell::default();
    }
    let mut text = std::ptr::null();
    on_host("corella_backend_reason", scheduler, |host, _| {
        let reason = host.with_engine(|engine| Ok(reason_text(engine.backend_reason())))?;
        text = TEXT.with(|kept| {
            *kept.borrow_mut() = c_string(reason);
            text_out(&kept.borrow(), length)
        });
        Ok(CORELLA_OK)
    });
    text
}

fn reason_text(reason: &BackendReason) -> String {
    match reason {
        BackendReason::Best => "it is the best for this platform".into(),
        BackendReason::Builder => "the settings named it".into(),
        BackendReason::Environment => "the environment variable CORELLA_BACKEND named it".into(),
        BackendReason::UringRefused { os_code: Some(code), what } => {
            format!("io_uring was refused: {what}: {}", std::io::Error::from_raw_os_error(*code))
        }
        BackendReason::UringRefused { os_code: None, what } => format!("io_uring was refused: {what}"),
        other => format!("{other:?}"),
    }
}

/// What io_uring has on this machine, in words: set-up flags, places in its rings, and the operations that the kernel lacks,
/// which the portable backend does; null where another backend is in use. Valid until the next call of this function on
/// this thread.
#[unsafe(no_mangle)]
pub extern "C" fn corella_kernel_features(
    scheduler: Scheduler,
    length: Option<&mut MaybeUninit<usize>>,
) -> *const c_char {
    thread_local! {
        static TEXT: std::cell::RefCell<CString> = std::cell::RefCell::default();
    }
    let mut text = std::ptr::null();
    on_host("corella_kernel_features", scheduler, |host, _| {
        let features = host.with_engine(|engine| Ok(engine.kernel_features()))?;
        let features = features.ok_or(CORELLA_ERROR_NOTHING_TO_TAKE)?;
        text = TEXT.with(|kept| {
            *kept.borrow_mut() = c_string(features_text(&features));
            text_out(&kept.borrow(), length)
        });
        Ok(CORELLA_OK)
    });
    text
}

fn features_text(features: &KernelFeatures) -> String {
    let lacks = features.opcodes.iter().filter(|(_, has)| !has).map(|(name, _)| *name);
    let lacks: Vec<_> = lacks.collect();
    let lacks = if lacks.is_empty() { "nothing".to_string() } else { lacks.join(", ") };
    let KernelFeatures { setup, submission_entries, completion_entries, .. } = features;
    format!("setup: {setup}; rings: {submission_entries} and {completion_entries} places; lacks: {lacks}")
}

/// How many failures nobody took so far: of requests freed while they ran, of handles closed by being freed.
#[unsafe(no_mangle)]
pub extern "C" fn corella_unobserved_failures(scheduler: Scheduler) -> i64 {
    let mut count = 0;
    on_host("corella_unobserved_failures", scheduler, |host, _| {
        count = host.unobserved.get() as i64;
        Ok(CORELLA_OK)
    });
    count
}

/// Has each of those told from now on: as a settled request with the failure, this callback, user data and tag; with a null
/// callback `corella_next` hands it out. Without this call they are only counted.
#[unsafe(no_mangle)]
pub extern "C" fn corella_on_unobserved(
    scheduler: Scheduler,
    callback: Callback,
    user_data: *mut c_void,
    tag: c_int,
) -> c_int {
    on_host("corella_on_unobserved", scheduler, |host, _| {
        host.observer.set(Some(Observer { callback, user_data, tag }));
        Ok(CORELLA_OK)
    })
}

/// A request in flight, as it was when it was asked for.
pub(crate) struct OutstandingText {
    text: CString,
    age_ns: i64,
}

/// Makes a list of the engine's requests in flight, oldest first, and answers with how many there are; the two functions
/// below look at it until the next call of this one. For a look from outside: it allocates.
#[unsafe(no_mangle)]
pub extern "C" fn corella_outstanding(scheduler: Scheduler) -> c_int {
    on_host("corella_outstanding", scheduler, |host, _| {
        let list = host.with_engine(|engine| Ok(engine.outstanding()))?;
        let entries = list.into_iter().map(|entry| OutstandingText {
            text: c_string(match entry.target.is_empty() {
                true => entry.operation.to_string(),
                false => format!("{} of {}", entry.operation, entry.target),
            }),
            age_ns: i64::try_from(entry.age.as_nanos()).unwrap_or(i64::MAX),
        });
        let entries: Vec<_> = entries.collect();
        let count = entries.len();
        host.outstanding.replace(entries);
        Ok(c_int::try_from(count).unwrap_or(c_int::MAX))
    })
}

/// Operation and target of the entry `index` (from 0) of that list; null if there is none.
#[unsafe(no_mangle)]
pub extern "C" fn corella_outstanding_text(
    scheduler: Scheduler,
    index: c_int,
    length: Option<&mut MaybeUninit<usize>>,
) -> *const c_char {
    let mut text = std::ptr::null();
    on_host("corella_outstanding_text", scheduler, |host, _| {
        let list = host.outstanding.borrow();
        let entry = usize::try_from(index).ok().and_then(|index| list.get(index));
        text = text_out(&entry.ok_or(CORELLA_ERROR_NOTHING_TO_TAKE)?.text, length);
        Ok(CORELLA_OK)
    });
    text
}

/// For how many nanoseconds it had been in flight; negative if there is none.
#[unsafe(no_mangle)]
pub extern "C" fn corella_outstanding_age_ns(scheduler: Scheduler, index: c_int) -> i64 {
    let mut age_ns = -1;
    on_host("corella_outstanding_age_ns", scheduler, |host, _| {
        let list = host.outstanding.borrow();
        let entry = usize::try_from(index).ok().and_then(|index| list.get(index));
        age_ns = entry.ok_or(CORELLA_ERROR_NOTHING_TO_TAKE)?.age_ns;
        Ok(CORELLA_OK)
    });
    age_ns
}
