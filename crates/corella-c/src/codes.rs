//! The codes that functions answer with, and their words.

use std::ffi::{CStr, c_char, c_int};

use corella::ErrorKind;

/// It went well.
pub const CORELLA_OK: c_int = 0;
/// The operating system refused; `corella_os_code` has its code.
pub const CORELLA_ERROR_OS: c_int = -1;
/// It was cancelled: by `corella_cancel`, by its token, or by the close of its handle.
pub const CORELLA_ERROR_CANCELLED: c_int = -2;
/// Its deadline passed.
pub const CORELLA_ERROR_TIMED_OUT: c_int = -3;
/// The handle is closed, or being closed.
pub const CORELLA_ERROR_CLOSED: c_int = -4;
/// An earlier write on the same handle failed; this one was not started, so that the stream has no gap.
pub const CORELLA_ERROR_LANE_BROKEN: c_int = -5;
/// A limit set at start is reached; nothing was started, and the request may be given its ending again later.
pub const CORELLA_ERROR_REJECTED: c_int = -6;
/// The scheduler has been shut down.
pub const CORELLA_ERROR_SCHEDULER_GONE: c_int = -7;
/// This is a forked child of the process that made the scheduler.
pub const CORELLA_ERROR_WRONG_PROCESS: c_int = -8;
/// The arguments cannot be right; nothing was done.
pub const CORELLA_ERROR_INVALID_INPUT: c_int = -9;
/// The end came before all the bytes that were asked for.
pub const CORELLA_ERROR_UNEXPECTED_END: c_int = -10;
/// A name could not be resolved.
pub const CORELLA_ERROR_NAME_NOT_RESOLVED: c_int = -11;
/// It is in use: requests in flight, other clones, or bytes lent to a request.
pub const CORELLA_ERROR_BUSY: c_int = -12;
/// A null id, a number that never was an id, or the id of another kind of thing.
pub const CORELLA_ERROR_INVALID_ID: c_int = -13;
/// The id was valid once; what it named has been freed.
pub const CORELLA_ERROR_STALE_ID: c_int = -14;
/// The scheduler of this id belongs to another thread.
pub const CORELLA_ERROR_WRONG_THREAD: c_int = -15;
/// The handle cannot do this: a file that is asked to accept, a socket that is asked to seek.
pub const CORELLA_ERROR_WRONG_KIND: c_int = -16;
/// The request is not in the state for this: an ending for one that has its ending already, an option for one that runs.
pub const CORELLA_ERROR_WRONG_STATE: c_int = -17;
/// The request has not settled, so there is no outcome to look at.
pub const CORELLA_ERROR_NOT_SETTLED: c_int = -18;
/// The outcome has nothing of the sort, or it was taken before.
pub const CORELLA_ERROR_NOTHING_TO_TAKE: c_int = -19;
/// The caller's array is too short for the answer.
pub const CORELLA_ERROR_TOO_SHORT: c_int = -20;
/// A defect inside Corella was caught. The scheduler is unusable from now on and answers everything with this.
pub const CORELLA_ERROR_DEFECT: c_int = -21;

/// Each code with its name and its words.
const CODES: &[(c_int, &CStr, &CStr)] = &[
    (CORELLA_OK, c"CORELLA_OK", c"no error"),
    (CORELLA_ERROR_OS, c"CORELLA_ERROR_OS", c"the operating system refused"),
    (CORELLA_ERROR_CANCELLED, c"CORELLA_ERROR_CANCELLED", c"cancelled"),
    (CORELLA_ERROR_TIMED_OUT, c"CORELLA_ERROR_TIMED_OUT", c"deadline passed"),
    (CORELLA_ERROR_CLOSED, c"CORELLA_ERROR_CLOSED", c"the handle is closed"),
    (CORELLA_ERROR_LANE_BROKEN, c"CORELLA_ERROR_LANE_BROKEN", c"an earlier write on this handle failed"),
    (CORELLA_ERROR_REJECTED, c"CORELLA_ERROR_REJECTED", c"rejected, a limit is reached"),
    (CORELLA_ERROR_SCHEDULER_GONE, c"CORELLA_ERROR_SCHEDULER_GONE", c"the scheduler has ended"),
    (
        CORELLA_ERROR_WRONG_PROCESS,
        c"CORELLA_ERROR_WRONG_PROCESS",
        c"called in a forked child of the scheduler's process",
    ),
    (CORELLA_ERROR_INVALID_INPUT, c"CORELLA_ERROR_INVALID_INPUT", c"invalid input"),
    (CORELLA_ERROR_UNEXPECTED_END, c"CORELLA_ERROR_UNEXPECTED_END", c"the end came too early"),
    (CORELLA_ERROR_NAME_NOT_RESOLVED, c"CORELLA_ERROR_NAME_NOT_RESOLVED", c"the name does not resolve"),
    (CORELLA_ERROR_BUSY, c"CORELLA_ERROR_BUSY", c"in use"),
    (CORELLA_ERROR_INVALID_ID, c"CORELLA_ERROR_INVALID_ID", c"not an id of this kind"),
    (CORELLA_ERROR_STALE_ID, c"CORELLA_ERROR_STALE_ID", c"what the id named has been freed"),
    (CORELLA_ERROR_WRONG_THREAD, c"CORELLA_ERROR_WRONG_THREAD", c"the scheduler belongs to another thread"),
    (CORELLA_ERROR_WRONG_KIND, c"CORELLA_ERROR_WRONG_KIND", c"not possible on this kind of handle"),
    (CORELLA_ERROR_WRONG_STATE, c"CORELLA_ERROR_WRONG_STATE", c"not possible in the request's state"),
    (CORELLA_ERROR_NOT_SETTLED, c"CORELLA_ERROR_NOT_SETTLED", c"the request has not settled"),
    (CORELLA_ERROR_NOTHING_TO_TAKE, c"CORELLA_ERROR_NOTHING_TO_TAKE", c"nothing of the sort, or taken before"),
    (CORELLA_ERROR_TOO_SHORT, c"CORELLA_ERROR_TOO_SHORT", c"the array is too short"),
    (CORELLA_ERROR_DEFECT, c"CORELLA_ERROR_DEFECT", c"a defect inside Corella; the scheduler is unusable"),
];

/// The code for an error of the engine.
pub(crate) fn code_of(kind: ErrorKind) -> c_int {
    match kind {
        ErrorKind::Os => CORELLA_ERROR_OS,
        ErrorKind::Cancelled | ErrorKind::Killed => CORELLA_ERROR_CANCELLED,
        ErrorKind::TimedOut => CORELLA_ERROR_TIMED_OUT,
        ErrorKind::Closed => CORELLA_ERROR_CLOSED,
        ErrorKind::LaneBroken => CORELLA_ERROR_LANE_BROKEN,
        ErrorKind::Rejected => CORELLA_ERROR_REJECTED,
        ErrorKind::SchedulerGone => CORELLA_ERROR_SCHEDULER_GONE,
        ErrorKind::WrongProcess => CORELLA_ERROR_WRONG_PROCESS,
        ErrorKind::InvalidInput => CORELLA_ERROR_INVALID_INPUT,
        ErrorKind::UnexpectedEnd => CORELLA_ERROR_UNEXPECTED_END,
        ErrorKind::NameNotResolved => CORELLA_ERROR_NAME_NOT_RESOLVED,
        ErrorKind::Busy => CORELLA_ERROR_BUSY,
        // Those of tasks and nesting, which nothing in C runs into: a defect if one does.
        _ => CORELLA_ERROR_DEFECT,
    }
}

pub(crate) fn words(code: c_int) -> &'static CStr {
    CODES.iter().find(|entry| entry.0 == code).map_or(c"unknown code", |entry| entry.2)
}

/// The version of the library in use, as `major * 1000000 + minor * 1000 + patch`. A program compiled for
/// CORELLA_VERSION works with any library of the same major version (while that is 0: of the same minor version) that
/// is not older.
#[unsafe(no_mangle)]
pub extern "C" fn corella_version() -> c_int {
    CORELLA_VERSION
}

/// The version as text, such as "0.1.0". Lives as long as the program.
#[unsafe(no_mangle)]
pub extern "C" fn corella_version_text() -> *const c_char {
    const TEXT: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(text) => text,
        Err(_) => panic!("a version has no NUL byte inside"),
    };
    TEXT.as_ptr()
}

/// The version that this header belongs to; compare with `corella_version`.
pub const CORELLA_VERSION: c_int = 1000;

/// A code's name, such as "CORELLA_ERROR_TIMED_OUT"; "CORELLA_ERROR_UNKNOWN" for a number that is no code. Lives as long
/// as the program.
#[unsafe(no_mangle)]
pub extern "C" fn corella_code_name(code: c_int) -> *const c_char {
    CODES.iter().find(|entry| entry.0 == code).map_or(c"CORELLA_ERROR_UNKNOWN", |entry| entry.1).as_ptr()
}

/// What a code means, in words. Lives as long as the program.
#[unsafe(no_mangle)]
pub extern "C" fn corella_code_text(code: c_int) -> *const c_char {
    words(code).as_ptr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_named_once_and_none_is_left_out() {
        let codes: Vec<c_int> = CODES.iter().map(|entry| entry.0).collect();
        assert_eq!(codes, (-21..=0).rev().collect::<Vec<_>>());
        for (code, name, _) in CODES {
            assert_eq!(*code == 0, name.to_str().unwrap() == "CORELLA_OK");
        }
    }

    #[test]
    fn the_version_of_the_header_is_that_of_the_package() {
        let parts: Vec<c_int> = env!("CARGO_PKG_VERSION").split('.').map(|part| part.parse().unwrap()).collect();
        assert_eq!(CORELLA_VERSION, parts[0] * 1_000_000 + parts[1] * 1000 + parts[2]);
    }
}
