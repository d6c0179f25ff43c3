//! What is done with a request before its ending, and the three endings that turn nothing.

use std::ffi::{c_int, c_void};

use crate::begin;
use crate::codes::{CORELLA_ERROR_INVALID_ID, CORELLA_ERROR_WRONG_STATE, CORELLA_OK};
use crate::faults::Fault;
use crate::ids::{Buffer, Key, Request, Token};
use crate::registry::on_host;
use crate::request::{Callback, Ending, Record, Stage, Verb};
use crate::threads;

/// Changes a request that has not begun.
fn option(name: &'static str, request: Request, change: impl FnOnce(&mut Record) -> Result<(), Fault>) -> c_int {
    on_host(name, request, |host, key| {
        change(host.requests.borrow_mut().ready(key)?)?;
        Ok(CORELLA_OK)
    })
}

/// Cancels the request when it has not settled within `nanoseconds` of its submission, time in the queue included.
/// Negative: no deadline, as at first. Its outcome is then CORELLA_ERROR_TIMED_OUT, with what had moved.
#[unsafe(no_mangle)]
pub extern "C" fn corella_set_deadline_ns(request: Request, nanoseconds: i64) -> c_int {
    option("corella_set_deadline_ns", request, |record| {
        record.deadline_ns = nanoseconds.max(-1);
        record.is_plain = false;
        Ok(())
    })
}

/// The same in milliseconds.
#[unsafe(no_mangle)]
pub extern "C" fn corella_set_deadline_ms(request: Request, milliseconds: c_int) -> c_int {
    option("corella_set_deadline_ms", request, |record| {
        record.deadline_ns = i64::from(milliseconds.max(-1)) * if milliseconds < 0 { 1 } else { 1_000_000 };
        record.is_plain = false;
        Ok(())
    })
}

/// Cancels the request when `token` is cancelled, or at once if it is already. Freeing the token is not cancelling.
#[unsafe(no_mangle)]
pub extern "C" fn corella_set_token(request: Request, token: Token) -> c_int {
    let token = threads::token(token);
    option("corella_set_token", request, |record| {
        record.token = Some(token?);
        record.is_plain = false;
        Ok(())
    })
}

/// Has the callback run before those that are not direct (`yes` 1), or among them (0, as at first).
#[unsafe(no_mangle)]
pub extern "C" fn corella_set_direct(request: Request, yes: c_int) -> c_int {
    option("corella_set_direct", request, |record| {
        record.direct = yes != 0;
        Ok(())
    })
}

/// Takes a positioned read or write of a file out of the order of its handle (`yes` 1): it runs beside anything but
/// barriers and the close, and the program answers for overlaps. CORELLA_ERROR_WRONG_STATE for other operations.
#[unsafe(no_mangle)]
pub extern "C" fn corella_set_unordered(request: Request, yes: c_int) -> c_int {
    use Verb::{ReadAt, ReadExactAt, WriteAt};
    option("corella_set_unordered", request, |record| {
        if !matches!(record.verb, ReadAt | ReadExactAt | WriteAt) {
            return Err(CORELLA_ERROR_WRONG_STATE.into());
        }
        record.unordered = yes != 0;
        record.is_plain = false;
        Ok(())
    })
}

/// Sets what the request is told apart by; see `corella_user_data` and `corella_tag`. The library looks at neither.
/// `corella_then` sets the user data as well. Possible in every state.
#[unsafe(no_mangle)]
pub extern "C" fn corella_set_user_data(request: Request, user_data: *mut c_void, tag: c_int) -> c_int {
    on_host("corella_set_user_data", request, |host, key| {
        let mut requests = host.requests.borrow_mut();
        let record = requests.get(key)?;
        record.user_data = user_data;
        record.tag = tag;
        Ok(CORELLA_OK)
    })
}

/// Sets the offset, length or duration of an operation that has one, for languages without 64-bit integers: `high`
/// are its upper, `low` its lower 32 bits.
#[unsafe(no_mangle)]
pub extern "C" fn corella_set_offset_pair(request: Request, high: c_int, low: c_int) -> c_int {
    option("corella_set_offset_pair", request, |record| {
        record.offset = i64::from(high) << 32 | i64::from(low.cast_unsigned());
        match record.offset < 0 && record.verb != Verb::Seek {
            true => Err(Fault::input("a negative offset, length or duration")),
            false => Ok(()),
        }
    })
}

/// Adds `length` bytes at `data` to those that the request reads or writes, which makes it a vectored one: all parts in
/// the order they were added, the one given with the operation first. Lent like that one. Up to eight parts allocate
/// nothing once the request's place has been used for as many.
#[unsafe(no_mangle)]
pub extern "C" fn corella_add_part(request: Request, data: *mut c_void, length: usize) -> c_int {
    option("corella_add_part", request, |record| {
        begin::check_memory(data, length)?;
        if !record.verb.moves_bytes() || record.buffer.is_some() {
            return Err(CORELLA_ERROR_WRONG_STATE.into());
        }
        record.is_plain = false;
        if record.parts.is_empty() {
            record.parts.push((record.data, record.length));
        }
        record.parts.push((data.expose_provenance(), length));
        Ok(())
    })
}

/// Has the request read or write `length` bytes of the library's buffer from its byte `start` on, instead of the
/// caller's memory. The buffer is lent until the request settles.
#[unsafe(no_mangle)]
pub extern "C" fn corella_set_buffer(request: Request, buffer: Buffer, start: usize, length: usize) -> c_int {
    on_host("corella_set_buffer", request, |host, key| {
        let place = Key::of(buffer).filter(|buffer| buffer.scheduler == key.scheduler);
        let place = place.ok_or(CORELLA_ERROR_INVALID_ID)?;
        let address = host.buffers.borrow_mut().get_mut(place)?.part(start, length)?;
        let mut requests = host.requests.borrow_mut();
        let record = requests.ready(key)?;
        if !record.verb.moves_bytes() || !record.parts.is_empty() {
            return Err(CORELLA_ERROR_WRONG_STATE.into());
        }
        record.data = address;
        record.length = length;
        record.buffer = Some(place);
        record.is_plain = false;
        Ok(CORELLA_OK)
    })
}

/// Ending 2, ask: hands the request to the queue. Ask `corella_status` how it stands, or `corella_wait` for it; it is
/// yours, and you free it with `corella_free`.
///
/// On failure nothing was started, and the request is as it was: after CORELLA_ERROR_REJECTED it may be submitted again.
#[unsafe(no_mangle)]
pub extern "C" fn corella_submit(request: Request) -> c_int {
    on_host("corella_submit", request, |host, key| begin::submit(host, key, Ending::Asked, None))
}

/// Ending 3, a callback: hands the request to the queue and has `callback` called with it once it has settled; never
/// inside this call, always inside `corella_run`, `corella_run_once`, `corella_run_ready` or `corella_wait`, on this
/// thread, in completion order (direct ones before the others). `user_data` is handed on.
///
/// The request is lent to the callback: the library frees it when the scheduler is next turned, at latest when the
/// callback has returned; `corella_keep` makes it yours. The callback may call anything, `corella_scheduler_free`
/// included, and may leave by longjmp. On failure as for `corella_submit`, and the callback is not called.
///
/// Of a request that `corella_submit` was called for, running or settled, it changes the ending to this one.
#[unsafe(no_mangle)]
pub extern "C" fn corella_then(request: Request, callback: Callback, user_data: *mut c_void) -> c_int {
    on_host("corella_then", request, |host, key| match callback {
        None => Err(Fault::input("a null callback")),
        Some(callback) => match begin::submit(host, key, Ending::Callback, Some((callback, user_data))) {
            Err(fault) if fault.is(CORELLA_ERROR_WRONG_STATE) => {
                // It has begun: perhaps by `corella_submit`.
                let is_changed = host.requests.borrow_mut().call_back(key, callback, user_data)?;
                if is_changed { Ok(CORELLA_OK) } else { Err(fault) }
            }
            begun => begun,
        },
    })
}

/// Ending 4, handed out: hands the request to the queue, for `corella_next` to give it back once it has settled. It is
/// yours then, and you free it with `corella_free`. For hosts that must not be called back. On failure as for
/// `corella_submit`.
#[unsafe(no_mangle)]
pub extern "C" fn corella_enqueue(request: Request) -> c_int {
    on_host("corella_enqueue", request, |host, key| begin::submit(host, key, Ending::Enqueued, None))
}

/// How a request stands: 1 done, 0 running (or not begun), negative: it failed, and the number is why. Turns nothing.
#[unsafe(no_mangle)]
pub extern "C" fn corella_status(request: Request) -> c_int {
    on_host("corella_status", request, |host, key| {
        let mut requests = host.requests.borrow_mut();
        let record = requests.get(key)?;
        Ok(match (record.stage, record.code) {
            (Stage::Settled, CORELLA_OK) => 1,
            (Stage::Settled, code) => code,
            _ => 0,
        })
    })
}

/// Asks a request to stop. It settles all the same, once the OS has let go of its buffer, with what truly happened;
/// full success despite a cancel is success. After its end this does nothing. For other threads:
/// `corella_remote_cancel`, and tokens.
#[unsafe(no_mangle)]
pub extern "C" fn corella_cancel(request: Request) -> c_int {
    on_host("corella_cancel", request, |host, key| {
        let engine = match host.requests.borrow_mut().get(key)? {
            record if record.stage == Stage::Running => record.engine,
            record if record.stage == Stage::Ready => return Err(CORELLA_ERROR_WRONG_STATE.into()),
            _ => None,
        };
        engine.into_iter().for_each(|engine| host.io.cancel(engine));
        Ok(CORELLA_OK)
    })
}

/// Frees a request: its outcome, and what was not taken out of it (a handle is closed). One that has not begun is
/// forgotten. One that runs goes on by itself, its callback is not called, its failure goes to
/// `corella_on_unobserved`; the caller's memory stays lent until it has settled, which nobody will be told of.
#[unsafe(no_mangle)]
pub extern "C" fn corella_free(request: Request) -> c_int {
    on_host("corella_free", request, |host, key| {
        host.free_request(key)?;
        Ok(CORELLA_OK)
    })
}

/// Makes the request that a callback was called with the caller's own, to be freed with `corella_free`. To be called
/// before the scheduler is turned again.
#[unsafe(no_mangle)]
pub extern "C" fn corella_keep(request: Request) -> c_int {
    on_host("corella_keep", request, |host, key| {
        let mut requests = host.requests.borrow_mut();
        requests.get(key)?;
        match requests.delivered == Some(key) {
            true => requests.delivered = None,
            false => return Err(CORELLA_ERROR_WRONG_STATE.into()),
        }
        Ok(CORELLA_OK)
    })
}

/// What `corella_then` or `corella_set_user_data` gave the request; null if nothing did, and for an id that names none.
#[unsafe(no_mangle)]
pub extern "C" fn corella_user_data(request: Request) -> *mut c_void {
    let mut user_data = std::ptr::null_mut();
    on_host("corella_user_data", request, |host, key| {
        user_data = host.requests.borrow_mut().get(key)?.user_data;
        Ok(CORELLA_OK)
    });
    user_data
}

/// The number that `corella_set_user_data` gave the request; 0 if it did not, and for an id that names none.
#[unsafe(no_mangle)]
pub extern "C" fn corella_tag(request: Request) -> c_int {
    let mut tag = 0;
    on_host("corella_tag", request, |host, key| {
        tag = host.requests.borrow_mut().get(key)?.tag;
        Ok(CORELLA_OK)
    });
    tag
}
