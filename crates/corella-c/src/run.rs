//! Turning the scheduler and delivering what has settled.
//!
//! Each function here is a loop over `fetch`, which does all the work, catches any panic, and returns one settled request at
//! a time as plain numbers; the loop then calls the callback from a frame that has nothing to drop and holds no reference.
//! So a callback may leave by longjmp, and may end the scheduler: the loop knows only its id and `fetch` looks it up again.
//! Nothing records that a callback is running, so there is nothing to mend after a jump, and calls may nest.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::time::{Duration, Instant};

use crate::begin;
use crate::codes::{CORELLA_ERROR_INVALID_ID, CORELLA_ERROR_SCHEDULER_GONE, CORELLA_ERROR_STALE_ID, CORELLA_OK};
use crate::faults::{Fault, put};
use crate::host::Host;
use crate::ids::{Key, Request, RequestId, Scheduler, SchedulerId};
use crate::registry::{host_of, on_host};
use crate::request::{DIRECT, ENQUEUED, Function, Requests, SCHEDULED, Stage};

/// What a loop is after.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Goal {
    /// Nothing runs any more.
    Idle,
    /// One turn, waiting at most until a time.
    Turn,
    /// This request has settled.
    Settled,
    /// A request for `corella_next`.
    Enqueued,
}

/// All that a loop knows: numbers, and nothing to drop.
#[derive(Clone, Copy)]
struct Drive {
    scheduler: Scheduler,
    goal: Goal,
    request: Request,
    /// `None`: as long as it takes.
    until: Option<Instant>,
    /// Not at all, which needs no clock.
    without_waiting: bool,
    has_turned: bool,
    /// What `fetch` found: with a function, a callback to call.
    function: Option<Function>,
    found: Request,
    user_data: *mut c_void,
}

/// What `fetch` says beside codes.
const CALL: c_int = i32::MAX;

impl Drive {
    fn new(scheduler: Scheduler, goal: Goal) -> Drive {
        let null = std::ptr::null_mut();
        let (found, user_data) = (std::ptr::null_mut(), std::ptr::null_mut());
        let (until, without_waiting, has_turned) = (None, false, false);
        Drive { scheduler, goal, request: null, until, without_waiting, has_turned, function: None, found, user_data }
    }

    /// With a limit in nanoseconds; negative for none.
    fn limited(mut self, limit_ns: i64) -> Drive {
        self.without_waiting = limit_ns == 0;
        if self.without_waiting {
            return self;
        }
        let limit = u64::try_from(limit_ns).ok().map(Duration::from_nanos);
        self.until = limit.and_then(|limit| Instant::now().checked_add(limit));
        self
    }
}

/// The loop. Its frame holds plain numbers only.
///
/// The callback is called with an ABI that lets a jump and a foreign exception through; no frame from here to the exported
/// function has anything to drop.
#[inline(always)]
fn drive(mut drive: Drive) -> c_int {
    loop {
        let code = fetch(&mut drive);
        if code != CALL {
            return code;
        }
        if let Some(function) = drive.function {
            // SAFETY: the host gave this function for such calls, on this thread, with these arguments.
            unsafe { function(drive.found, drive.user_data) };
        }
    }
}

/// Does all there is to do until a callback is to be called (`CALL`), or the goal is reached.
#[inline(never)]
fn fetch(drive: &mut Drive) -> c_int {
    let was_begun = drive.function.is_some();
    let code = on_host("corella_run", drive.scheduler, |host, _| {
        let mut requests = host.free_delivered();
        // The way of most calls: nothing but the next callback.
        if matches!(drive.goal, Goal::Idle | Goal::Turn)
            && !host.stopping.get()
            && let Next::Call = next_callback(host, &mut requests, drive)
        {
            return Ok(CALL);
        }
        drop(requests);
        fetch_from(host, drive)
    });
    match code {
        // A callback has ended the scheduler.
        CORELLA_ERROR_STALE_ID | CORELLA_ERROR_INVALID_ID if was_begun => CORELLA_ERROR_SCHEDULER_GONE,
        code => code,
    }
}

/// What there is to do until then, from turn to turn.
#[inline(never)]
fn fetch_from(host: &Host, drive: &mut Drive) -> Result<c_int, Fault> {
    loop {
        let mut is_over_budget = false;
        match drive.goal {
            Goal::Idle if host.stopping.get() => {
                host.stopping.set(false);
                return Ok(CORELLA_OK);
            }
            Goal::Enqueued => {
                if let Some(key) = host.requests.borrow_mut().pop(ENQUEUED) {
                    drive.found = key.id();
                    return Ok(1);
                }
            }
            goal => {
                if goal == Goal::Settled
                    && let Some(code) = settled_code(host, drive.request)?
                {
                    return Ok(code);
                }
                match next_callback(host, &mut host.requests.borrow_mut(), drive) {
                    Next::Call => return Ok(CALL),
                    Next::Nothing => {}
                    Next::OverBudget => is_over_budget = true,
                }
            }
        }
        if drive.has_turned && drive.goal == Goal::Turn {
            return Ok(c_int::from(has_more(host)));
        }
        if host.engine.borrow().is_none() {
            // It has been shut down: what had settled is delivered, and nothing more will.
            return match drive.goal {
                Goal::Settled => Err(CORELLA_ERROR_SCHEDULER_GONE.into()),
                _ => Ok(CORELLA_OK),
            };
        }
        host.take_inbox();
        if host.requests.borrow().has_undelivered() && !is_over_budget && drive.goal != Goal::Settled {
            let has_mine = match drive.goal {
                Goal::Enqueued => host.requests.borrow().has(ENQUEUED),
                _ => has_callbacks(host),
            };
            if has_mine {
                continue;
            }
        }
        let Some(limit) = limit(host, drive, is_over_budget) else {
            if drive.goal == Goal::Idle {
                // Nothing of C's runs. What the engine does for itself, a close in the background, comes first.
                let answer = host.with_engine(|engine| engine.run());
                host.fetch_outcomes();
                answer?;
                if has_more(host) || host.requests.borrow().running > 0 {
                    continue;
                }
            }
            return Ok(CORELLA_OK);
        };
        let is_late = drive.without_waiting || drive.until.is_some_and(|until| until <= Instant::now());
        if drive.has_turned && is_late && drive.goal == Goal::Enqueued {
            return Ok(CORELLA_OK);
        }
        host.delivered_since_turn.set(0);
        drive.has_turned = true;
        let answer = host.with_engine(|engine| engine.turn(limit).map(drop));
        // Nowhere else: until a turn has looked at them they are what keeps the next one from waiting.
        host.fetch_outcomes();
        answer?;
        host.take_inbox();
    }
}

/// How long the next turn may wait; `None` when there is nothing to wait for.
fn limit(host: &Host, drive: &Drive, is_over_budget: bool) -> Option<Duration> {
    let requests = host.requests.borrow();
    let waits_for_nothing = match drive.goal {
        Goal::Idle => requests.running == 0 && !is_over_budget,
        Goal::Enqueued => drive.until.is_none() && !drive.without_waiting && requests.running_enqueued == 0,
        Goal::Turn | Goal::Settled => false,
    };
    if waits_for_nothing {
        return None;
    }
    if is_over_budget || drive.without_waiting {
        return Some(Duration::ZERO);
    }
    Some(match drive.until {
        None => Duration::MAX,
        Some(until) => until.saturating_duration_since(Instant::now()),
    })
}

/// The code of the request that is waited for, once it has settled.
fn settled_code(host: &Host, request: Request) -> Result<Option<c_int>, Fault> {
    let key = Key::of(request).ok_or(CORELLA_ERROR_INVALID_ID)?;
    let mut requests = host.requests.borrow_mut();
    let record = requests.get(key)?;
    Ok((record.stage == Stage::Settled).then_some(record.code))
}

fn has_callbacks(host: &Host) -> bool {
    let requests = host.requests.borrow();
    requests.has(DIRECT) || requests.has(SCHEDULED)
}

/// Whether another turn would find something to do at once.
fn has_more(host: &Host) -> bool {
    has_callbacks(host) || host.has_outcomes() || host.inbox.has_arrived()
}

enum Next {
    Call,
    Nothing,
    /// There are more, but I/O has its turn first.
    OverBudget,
}

/// Takes the next callback off its list: direct ones first, the others within their budget.
#[inline(always)]
fn next_callback(host: &Host, requests: &mut Requests, drive: &mut Drive) -> Next {
    let key = match requests.pop(DIRECT) {
        Some(key) => key,
        None if !requests.has(SCHEDULED) => return Next::Nothing,
        None if host.delivered_since_turn.get() >= host.callbacks_per_turn => return Next::OverBudget,
        None => {
            host.delivered_since_turn.set(host.delivered_since_turn.get() + 1);
            match requests.pop(SCHEDULED) {
                Some(key) => key,
                None => return Next::Nothing,
            }
        }
    };
    requests.delivered = Some(key);
    let record = requests.at(key.index);
    drive.function = record.callback;
    drive.user_data = record.user_data;
    drive.found = key.id::<RequestId>();
    Next::Call
}

/// Turns and calls callbacks until no request runs, or until `corella_stop`. CORELLA_OK then.
///
/// A callback may leave this function by longjmp: what was settled and not delivered is delivered by the next call.
/// CORELLA_ERROR_SCHEDULER_GONE when a callback has freed the scheduler. Callbacks may run, wait and turn themselves.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn corella_run(scheduler: Scheduler) -> c_int {
    drive(Drive::new(scheduler, Goal::Idle))
}

/// One turn: waits at most `limit_ns` nanoseconds (negative: as long as it takes) for something to happen, unless callbacks
/// are due already, and calls them. Answers 1 if there is more to do at once, 0 if not. Otherwise as `corella_run`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn corella_run_once(scheduler: Scheduler, limit_ns: i64) -> c_int {
    drive(Drive::new(scheduler, Goal::Turn).limited(limit_ns))
}

/// The same without waiting: for a VM's safe points, when `corella_has_work` says so.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn corella_run_ready(scheduler: Scheduler) -> c_int {
    drive(Drive::new(scheduler, Goal::Turn).limited(0))
}

/// Ending 1, wait: carries a request out, or waits for one that was submitted, and answers with how it ended: CORELLA_OK or
/// the code of its failure. On a regular file with nothing in its way this is the bare system call. The request is yours,
/// before and after: look at its outcome and free it with `corella_free`.
///
/// Meanwhile it turns the scheduler and calls callbacks, so that a program that talks to itself does not hang. A callback
/// may leave it by longjmp: the request then stays submitted and its buffer lent. CORELLA_ERROR_STALE_ID when a callback
/// has freed the request.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn corella_wait(request: Request) -> c_int {
    let mut scheduler = std::ptr::null_mut();
    let code = on_host("corella_wait", request, |host, key| {
        scheduler = host.id::<SchedulerId>();
        let stage = host.requests.borrow_mut().get(key)?.stage;
        if stage == Stage::Ready {
            begin::begin_wait(host, key)?;
        }
        let mut requests = host.requests.borrow_mut();
        Ok(match requests.get(key)? {
            record if record.stage == Stage::Settled => record.code,
            _ => CALL,
        })
    });
    if code != CALL {
        return code;
    }
    drive(Drive { request, ..Drive::new(scheduler, Goal::Settled) })
}

/// Ending 1 in one call: waits, answers with how the request ended, writes its count to `count` (if not null) and frees it
/// with all that was not taken. Its failure in words is `corella_last_error_text` then.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn corella_finish(request: Request, count: Option<&mut MaybeUninit<i64>>) -> c_int {
    let code = corella_wait(request);
    finished(request, code, |_, record| {
        put(count, record.count);
        Ok(())
    })
}

/// The same for an operation whose outcome has a handle, which it takes: yours. Null after a failure.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn corella_finish_handle(
    request: Request,
    handle: Option<&mut MaybeUninit<crate::ids::Handle>>,
) -> c_int {
    let code = corella_wait(request);
    finish_handle(request, code, handle)
}

fn finish_handle(request: Request, code: c_int, handle: Option<&mut MaybeUninit<crate::ids::Handle>>) -> c_int {
    let Some(place) = handle else { return finished(request, code, |_, _| Ok(())) };
    place.write(std::ptr::null_mut());
    finished(request, code, |host, record| {
        if let crate::outcome::Value::Object(_) = record.value
            && let crate::outcome::Value::Object(object) =
                std::mem::replace(&mut record.value, crate::outcome::Value::Nothing)
        {
            place.write(host.handles.borrow_mut().insert(object)?.id());
        }
        Ok(())
    })
}

/// Takes what is wanted out of a request that has been waited for, and frees it.
fn finished(
    request: Request,
    code: c_int,
    take: impl FnOnce(&Host, &mut crate::request::Record) -> Result<(), Fault>,
) -> c_int {
    if !free_unless_settled(request) {
        // It was no request, or did not begin: the code is why.
        return code;
    }
    on_host("corella_finish", request, |host, key| {
        let error = {
            let mut requests = host.requests.borrow_mut();
            let record = requests.settled(key)?;
            take(host, record)?;
            record.error.take()
        };
        host.free_request(key)?;
        match error {
            Some(error) => Err(error.into()),
            None => Ok(CORELLA_OK),
        }
    })
}

/// Whether a request has settled; if it never began, it is freed. Says nothing of what is wrong with it.
fn free_unless_settled(request: Request) -> bool {
    let Ok((host, key)) = host_of(request) else { return false };
    let stage = host.requests.borrow_mut().get(key).map(|record| record.stage);
    if stage == Ok(Stage::Ready) {
        // It exists, as was just seen.
        let _ = host.free_request(key);
    }
    stage == Ok(Stage::Settled)
}

/// Ending 4: hands out the next request that was given to `corella_enqueue` and has settled: answers 1 and writes it to
/// `request`; it is yours. 0 and null when there is none within `limit_ns` nanoseconds, or, with a negative limit, when none
/// runs any more. Turns the scheduler and calls no callback: those wait for `corella_run` and its kin.
#[unsafe(no_mangle)]
pub extern "C" fn corella_next(
    scheduler: Scheduler,
    limit_ns: i64,
    request: Option<&mut MaybeUninit<Request>>,
) -> c_int {
    let Some(place) = request else {
        return crate::faults::remember("corella_next", Fault::input("no place for the request"));
    };
    let mut drive = Drive::new(scheduler, Goal::Enqueued).limited(limit_ns);
    let code = fetch(&mut drive);
    place.write(if code == 1 { drive.found } else { std::ptr::null_mut() });
    code
}

/// Makes `corella_run` return after the callback that is running, or at once when it is next called. For other threads:
/// `corella_remote_stop`.
#[unsafe(no_mangle)]
pub extern "C" fn corella_stop(scheduler: Scheduler) -> c_int {
    on_host("corella_stop", scheduler, |host, _| {
        host.stopping.set(true);
        host.io.stop();
        Ok(CORELLA_OK)
    })
}

/// Whether `corella_run_ready` or `corella_next` would find something to do: 1 or 0. For a VM's safe points: a couple of
/// loads with io_uring, a countdown elsewhere. It may say 1 for nothing, and says 1 at latest on the sixteenth call after
/// there is work.
#[unsafe(no_mangle)]
pub extern "C" fn corella_has_work(scheduler: Scheduler) -> c_int {
    on_host("corella_has_work", scheduler, |host, _| {
        if host.requests.borrow().has_undelivered() || host.has_outcomes() || host.inbox.has_arrived() {
            return Ok(1);
        }
        Ok(host.engine.borrow().as_ref().map_or(0, |engine| c_int::from(engine.has_work())))
    })
}

/// The scheduler's own OS handle, for a foreign event loop: on Unix a descriptor that is readable when `corella_run_ready`
/// has work, on Windows a handle that can be waited for. It stays the scheduler's. Call `corella_prepare_wait` before each
/// wait on it.
#[unsafe(no_mangle)]
pub extern "C" fn corella_os_handle(scheduler: Scheduler, os_handle: Option<&mut MaybeUninit<isize>>) -> c_int {
    on_host("corella_os_handle", scheduler, |host, _| {
        let number = host.with_engine(|engine| Ok(crate::os::raw_number(&engine.os_handle())))?;
        put(os_handle, number);
        Ok(CORELLA_OK)
    })
}

fn may_wait(host: &Host) -> Result<Option<Duration>, Fault> {
    host.take_inbox();
    let wait = host.with_engine(|engine| engine.prepare_wait())?;
    match host.requests.borrow().has_undelivered() || host.inbox.has_arrived() {
        true => Ok(Some(Duration::ZERO)),
        false => Ok(wait),
    }
}

/// Hands over what is batched and tells `timeout_ms` how long a foreign event loop may wait on the OS handle: milliseconds,
/// rounded up, -1 for as long as it likes; in the form that epoll_wait and poll take. After the wait, however it ended,
/// `corella_run_ready` or `corella_next` with a limit of 0.
#[unsafe(no_mangle)]
pub extern "C" fn corella_prepare_wait(scheduler: Scheduler, timeout_ms: Option<&mut MaybeUninit<c_int>>) -> c_int {
    on_host("corella_prepare_wait", scheduler, |host, _| {
        let milliseconds = |wait: Duration| c_int::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(c_int::MAX);
        put(timeout_ms, may_wait(host)?.map_or(-1, milliseconds));
        Ok(CORELLA_OK)
    })
}

/// The same in nanoseconds.
#[unsafe(no_mangle)]
pub extern "C" fn corella_prepare_wait_ns(scheduler: Scheduler, timeout_ns: Option<&mut MaybeUninit<i64>>) -> c_int {
    on_host("corella_prepare_wait_ns", scheduler, |host, _| {
        let nanoseconds = |wait: Duration| i64::try_from(wait.as_nanos()).unwrap_or(i64::MAX);
        put(timeout_ns, may_wait(host)?.map_or(-1, nanoseconds));
        Ok(CORELLA_OK)
    })
}
