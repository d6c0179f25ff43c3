//! What a call that fails remembers, for the thread that made it.

use std::cell::RefCell;
use std::ffi::{CString, c_char, c_int};
use std::mem::MaybeUninit;

use corella::Error;

use crate::codes::{self, CORELLA_ERROR_INVALID_INPUT};

/// Why a call did not do what it was asked to, where no request says so.
pub(crate) struct Fault {
    code: c_int,
    os_code: c_int,
    /// The whole text, where the engine made one.
    text: Option<String>,
    note: &'static str,
}

impl Fault {
    /// Arguments that cannot be right.
    pub(crate) fn input(note: &'static str) -> Fault {
        Fault { code: CORELLA_ERROR_INVALID_INPUT, os_code: 0, text: None, note }
    }

    pub(crate) fn is(&self, code: c_int) -> bool {
        self.code == code
    }
}

impl From<c_int> for Fault {
    fn from(code: c_int) -> Fault {
        Fault { code, os_code: 0, text: None, note: "" }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        let code = codes::code_of(error.kind());
        Fault { code, os_code: error.os_code().unwrap_or(0), text: Some(error.to_string()), note: "" }
    }
}

struct Last {
    code: c_int,
    os_code: c_int,
    text: CString,
}

thread_local! {
    static LAST: RefCell<Last> = RefCell::new(Last { code: 0, os_code: 0, text: CString::default() });
}

/// A `CString` of any text; what follows a NUL byte inside is cut.
pub(crate) fn c_string(text: impl Into<Vec<u8>>) -> CString {
    let mut bytes = text.into();
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    CString::new(bytes).unwrap_or_default()
}

/// Keeps the failure of the function `name` for `corella_last_error_text` and gives its code.
#[cold]
pub(crate) fn remember(name: &'static str, fault: impl Into<Fault>) -> c_int {
    let fault: Fault = fault.into();
    let text = fault.text.unwrap_or_else(|| {
        let words = codes::words(fault.code).to_string_lossy();
        let note = if fault.note.is_empty() { "" } else { ": " };
        format!("{name}: {words}{note}{}", fault.note)
    });
    // A thread that ends may call once its values are gone; then nobody can ask any more.
    let _ = LAST.try_with(|last| {
        *last.borrow_mut() = Last { code: fault.code, os_code: fault.os_code, text: c_string(text) };
    });
    fault.code
}

/// The code of the last call on this thread that failed by itself; `CORELLA_OK` if none has. A call that answers with how
/// a request ended has not failed by itself: ask the request.
#[unsafe(no_mangle)]
pub extern "C" fn corella_last_error() -> c_int {
    LAST.try_with(|last| last.borrow().code).unwrap_or(0)
}

/// The OS's code (`errno`, or the code of GetLastError) of that failure; 0 if the OS gave none.
#[unsafe(no_mangle)]
pub extern "C" fn corella_last_error_os_code() -> c_int {
    LAST.try_with(|last| last.borrow().os_code).unwrap_or(0)
}

/// That failure in words: function or operation, target, reason, OS code. UTF-8, ends with a NUL byte; `length`, if not
/// null, is told its length in bytes without that. Valid until the next call on this thread that fails.
#[unsafe(no_mangle)]
pub extern "C" fn corella_last_error_text(length: Option<&mut MaybeUninit<usize>>) -> *const c_char {
    LAST.try_with(|last| text_out(&last.borrow().text, length)).unwrap_or(c"".as_ptr())
}

/// Hands a text out as pointer and length.
pub(crate) fn text_out(text: &std::ffi::CStr, length: Option<&mut MaybeUninit<usize>>) -> *const c_char {
    put(length, text.count_bytes());
    text.as_ptr()
}

/// Writes an answer to its place, if there is one.
pub(crate) fn put<T>(place: Option<&mut MaybeUninit<T>>, value: T) {
    if let Some(place) = place {
        place.write(value);
    }
}
