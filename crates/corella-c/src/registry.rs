//! From an id to its host: which thread has which scheduler, and why an id may not be used.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::codes::{
    CORELLA_ERROR_DEFECT, CORELLA_ERROR_INVALID_ID, CORELLA_ERROR_REJECTED, CORELLA_ERROR_STALE_ID,
    CORELLA_ERROR_WRONG_PROCESS, CORELLA_ERROR_WRONG_THREAD,
};
use crate::faults::{Fault, remember};
use crate::host::Host;
use crate::ids::{Key, Kind, Named, SCHEDULERS_MAX};
use crate::table::next_generation;

/// What every thread may know of a scheduler's number.
struct Slot {
    /// The thread that has it; 0 for none.
    owner: AtomicU64,
    /// Of the scheduler that has it, or had it last.
    generation: AtomicU32,
    /// The first generation of its objects.
    objects: AtomicU32,
    /// Of the process whose thread has it, or had it last.
    fork_generation: AtomicU64,
}

impl Slot {
    const fn new() -> Slot {
        Slot {
            owner: AtomicU64::new(0),
            generation: AtomicU32::new(0),
            objects: AtomicU32::new(1),
            fork_generation: AtomicU64::new(0),
        }
    }
}

static SLOTS: [Slot; SCHEDULERS_MAX] = [const { Slot::new() }; SCHEDULERS_MAX];
static THREADS: AtomicU64 = AtomicU64::new(0);

/// The number of no scheduler, and more than an id has room for.
const NONE: u32 = u32::MAX;

thread_local! {
    /// The host that was used last, by its scheduler's number.
    static LAST: Cell<(u32, *const Host)> = const { Cell::new((NONE, std::ptr::null())) };
    /// All hosts of this thread. A thread that ends without freeing one leaks it: the OS may still write to its buffers.
    static OWN: RefCell<Vec<*mut Host>> = const { RefCell::new(Vec::new()) };
    static THREAD: Cell<u64> = const { Cell::new(0) };
}

fn this_thread() -> u64 {
    THREAD.with(|number| {
        if number.get() == 0 {
            number.set(THREADS.fetch_add(1, Ordering::Relaxed) + 1);
        }
        number.get()
    })
}

/// A number for a new scheduler of this thread, with its generation and the first one of its objects.
pub(crate) fn claim() -> Result<(u32, u32, u32), c_int> {
    let thread = this_thread();
    for (index, slot) in SLOTS.iter().enumerate() {
        if slot.owner.compare_exchange(0, thread, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            let generation = next_generation(slot.generation.load(Ordering::Relaxed));
            slot.generation.store(generation, Ordering::Relaxed);
            slot.fork_generation.store(corella::fork_generation(), Ordering::Relaxed);
            return Ok((index as u32 + 1, generation, slot.objects.load(Ordering::Relaxed)));
        }
    }
    Err(CORELLA_ERROR_REJECTED)
}

fn slot(number: u32) -> &'static Slot {
    &SLOTS[number as usize - 1]
}

/// Gives a number back; what follows begins its objects with this generation.
pub(crate) fn release(number: u32, objects: u32) {
    slot(number).objects.store(objects, Ordering::Relaxed);
    slot(number).owner.store(0, Ordering::Release);
}

pub(crate) fn enter(host: Box<Host>) -> &'static Host {
    let host = Box::into_raw(host);
    OWN.with(|own| own.borrow_mut().push(host));
    // SAFETY: just made from a box, and freed only after `leave`.
    unsafe { &*host }
}

/// Takes a host out of this thread's list. It is the caller's to drop, once, or to leak.
pub(crate) fn leave(number: u32) -> Option<*mut Host> {
    LAST.set((NONE, std::ptr::null()));
    OWN.with(|own| {
        let mut own = own.borrow_mut();
        // SAFETY: as in `host`.
        let place = own.iter().position(|pointer| unsafe { &**pointer }.number == number)?;
        Some(own.swap_remove(place))
    })
}

/// The host of a scheduler of this thread.
#[inline]
pub(crate) fn host(number: u32) -> Result<&'static Host, c_int> {
    let (last, pointer) = LAST.get();
    // SAFETY: `LAST` and `OWN` list hosts of this thread that `leave` has not taken out, and only a host that was taken out
    // is freed. The reference is used within one exported function, and none of them frees a host that it still uses.
    let host = if last == number { unsafe { &*pointer } } else { search(number)? };
    match host.is_usable() {
        true => Ok(host),
        false => Err(host.why_unusable()),
    }
}

#[cold]
fn search(number: u32) -> Result<&'static Host, c_int> {
    if number == 0 || number as usize > SCHEDULERS_MAX {
        return Err(CORELLA_ERROR_INVALID_ID);
    }
    let found = OWN.try_with(|own| {
        // SAFETY: as in `host`.
        own.borrow().iter().map(|pointer| unsafe { &**pointer }).find(|host| host.number == number)
    });
    if let Ok(Some(host)) = found {
        LAST.set((number, host));
        return Ok(host);
    }
    match slot(number).owner.load(Ordering::Acquire) {
        0 => Err(CORELLA_ERROR_STALE_ID),
        _ if slot(number).fork_generation.load(Ordering::Relaxed) != corella::fork_generation() => {
            Err(CORELLA_ERROR_WRONG_PROCESS)
        }
        _ => Err(CORELLA_ERROR_WRONG_THREAD),
    }
}

/// The host that an id belongs to. A scheduler's own id is checked whole.
#[inline]
pub(crate) fn host_of<T: Named>(id: *mut T) -> Result<(&'static Host, Key), c_int> {
    let key = Key::of(id).ok_or(CORELLA_ERROR_INVALID_ID)?;
    if T::KIND == Kind::Scheduler && key.scheduler != 0 && key.scheduler as usize <= SCHEDULERS_MAX {
        let generation = slot(key.scheduler).generation.load(Ordering::Relaxed);
        if generation != key.generation {
            let is_later = key.generation > generation || generation == 0;
            return Err(if is_later { CORELLA_ERROR_INVALID_ID } else { CORELLA_ERROR_STALE_ID });
        }
    }
    Ok((host(key.scheduler)?, key))
}

/// Runs the inside of a function on the host of an id. No panic gets out: it makes the scheduler unusable.
#[inline]
pub(crate) fn on_host<T: Named>(
    name: &'static str,
    id: *mut T,
    call: impl FnOnce(&'static Host, Key) -> Result<c_int, Fault>,
) -> c_int {
    let (host, key) = match host_of(id) {
        Ok(found) => found,
        Err(code) => return remember(name, code),
    };
    match catch_unwind(AssertUnwindSafe(|| call(host, key))) {
        Ok(Ok(code)) => code,
        Ok(Err(fault)) => remember(name, fault),
        Err(panic) => {
            host.spoil(&panic);
            remember(name, CORELLA_ERROR_DEFECT)
        }
    }
}

/// The same for what has no scheduler.
pub(crate) fn guarded(name: &'static str, call: impl FnOnce() -> Result<c_int, Fault>) -> c_int {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(code)) => code,
        Ok(Err(fault)) => remember(name, fault),
        Err(_) => remember(name, CORELLA_ERROR_DEFECT),
    }
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_string()
}
