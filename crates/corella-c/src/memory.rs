//! The caller's memory as a buffer of the engine.

use std::ffi::c_char;

use corella::{Buffer, BufferMut, Parts};

/// Runs of bytes that a C program lends until a request has settled.
///
/// The program vouches that they are valid, for reading or for writing, that long; so `corella.h` says.
#[derive(Debug, Default)]
pub(crate) struct Lent {
    /// The runs. With more than one they are all in `rest`, and the first pair is not looked at.
    pub(crate) data: usize,
    pub(crate) length: usize,
    pub(crate) rest: Vec<(usize, usize)>,
}

/// One run of a C program's bytes, lent like those of `Lent`: what most requests have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LentRun {
    pub(crate) data: usize,
    pub(crate) length: usize,
}

// SAFETY: as for `Lent`.
unsafe impl Buffer for LentRun {
    fn source_parts(&self, parts: &mut Parts) {
        parts.push(std::ptr::with_exposed_provenance_mut(self.data), self.length);
    }
}

// SAFETY: as for `Lent`.
unsafe impl BufferMut for LentRun {
    fn target_parts(&mut self, parts: &mut Parts) {
        self.source_parts(parts);
    }
}

impl Lent {
    fn push(&self, parts: &mut Parts) {
        let at = |address: usize| std::ptr::with_exposed_provenance_mut(address);
        if self.rest.is_empty() {
            return parts.push(at(self.data), self.length);
        }
        for (address, length) in &self.rest {
            parts.push(at(*address), *length);
        }
    }
}

// SAFETY: the caller of the C function that was given these runs has promised that they are initialised and stay in place
// until the request has settled. Moving this value moves no byte of them.
unsafe impl Buffer for Lent {
    fn source_parts(&self, parts: &mut Parts) {
        self.push(parts);
    }
}

// SAFETY: as above, for runs that may be written and that nobody else uses meanwhile; they hold bytes, for which every
// value is sound.
unsafe impl BufferMut for Lent {
    fn target_parts(&mut self, parts: &mut Parts) {
        self.push(parts);
    }
}

/// The bytes of a string or array that C hands in for the duration of a call.
///
/// # Safety
/// `data` is null or valid for reading `length` bytes while the result lives.
pub(crate) unsafe fn bytes<'a>(data: *const c_char, length: usize) -> Result<&'a [u8], crate::faults::Fault> {
    match (data.is_null(), length) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(crate::faults::Fault::input("a null pointer with a length")),
        (false, length) if length > isize::MAX as usize => {
            Err(crate::faults::Fault::input("a length that no memory has"))
        }
        // SAFETY: not null, within what a slice may span, and valid by this function's contract.
        (false, length) => Ok(unsafe { std::slice::from_raw_parts(data.cast(), length) }),
    }
}
