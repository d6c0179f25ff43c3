//! Owned buffers: handed in with a request, handed back with its outcome.
//!
//! The OS reads and writes a buffer while its request is in flight, after the caller's stack frame is long gone.
//! So a request owns its buffer, and a buffer is a type whose bytes stay where they are when the value moves.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::ops::{Bound, RangeBounds};

/// A run of bytes as an address and a length: what a request tells a backend of a buffer.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Part {
    pub(crate) pointer: *mut u8,
    pub(crate) length: usize,
}

// SAFETY: a `Part` is an address. Whoever dereferences it (backends, the pool) argues there that the request that
// owns the buffer is still in flight, so that nobody else touches the bytes.
unsafe impl Send for Part {}

/// The runs of bytes of one request. Up to one is kept inline; more go to a list that the queue reuses.
#[derive(Debug, Default)]
pub struct Parts {
    first: Option<Part>,
    pub(crate) rest: Vec<Part>,
    total: u64,
}

impl Parts {
    /// Those of this run alone.
    #[inline(always)]
    pub(crate) fn of(part: Part) -> Parts {
        Parts { first: Some(part), rest: Vec::new(), total: part.length as u64 }
    }

    /// Adds `length` bytes at `pointer`. Empty runs are left out.
    pub fn push(&mut self, pointer: *mut u8, length: usize) {
        if length == 0 {
            return;
        }
        self.total += length as u64;
        let part = Part { pointer, length };
        match self.first {
            None => self.first = Some(part),
            Some(_) => self.rest.push(part),
        }
    }

    /// The sum of the lengths, in bytes.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The run, if there is one and no more.
    #[inline]
    pub(crate) fn only(&self) -> Option<Part> {
        if self.rest.is_empty() { self.first } else { None }
    }

    /// How many runs there are.
    pub(crate) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }

    /// Appends to `list` what is left after the first `skip` bytes, at most `limit` runs.
    pub(crate) fn append_remaining(&self, mut skip: u64, limit: usize, list: &mut Vec<Part>) {
        for part in self.first.iter().chain(&self.rest) {
            if list.len() >= limit {
                return;
            }
            if skip >= part.length as u64 {
                skip -= part.length as u64;
                continue;
            }
            list.push(Part {
                // `skip` is less than the length here, so the address stays inside the run.
                pointer: part.pointer.wrapping_add(skip as usize),
                length: part.length - skip as usize,
            });
            skip = 0;
        }
    }

    /// Tells valgrind that the kernel has filled the `count` bytes after the first `skip`, of which it cannot know.
    #[cfg(corella_valgrind)]
    pub(crate) fn tell_valgrind(&self, skip: u64, count: u64) {
        /// `VG_USERREQ__MAKE_MEM_DEFINED` of valgrind/memcheck.h.
        const MAKE_MEM_DEFINED: u64 = 0x4d43_0002;
        let mut parts = Vec::new();
        self.append_remaining(skip, usize::MAX, &mut parts);
        let mut left = count as usize;
        for part in parts {
            let take = part.length.min(left);
            left -= take;
            let request = [MAKE_MEM_DEFINED, part.pointer as u64, take as u64, 0, 0, 0];
            // SAFETY: the sequence of valgrind/valgrind.h, which turns a register once around and changes nothing but
            // flags; valgrind takes it as a message about memory, of which it looks at the address only.
            unsafe {
                std::arch::asm!(
                    "rol rdi, 3",
                    "rol rdi, 13",
                    "rol rdi, 61",
                    "rol rdi, 51",
                    "xchg rbx, rbx",
                    in("rax") request.as_ptr(),
                    inout("rdx") 0u64 => _,
                    options(nostack)
                );
            }
        }
    }

    /// Copies out the first `count` bytes.
    ///
    /// # Safety
    /// The buffer that these parts point into must be alive, its first `count` bytes initialised, and the OS done
    /// with it.
    pub(crate) unsafe fn copy_prefix(&self, count: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count as usize);
        for part in self.first.iter().chain(&self.rest) {
            let take = part.length.min(count as usize - bytes.len());
            // SAFETY: the caller vouches that the run is alive and its first `take` bytes are initialised.
            bytes.extend_from_slice(unsafe { std::slice::from_raw_parts(part.pointer, take) });
        }
        bytes
    }

    /// Copies `bytes` in at the front and says how many fitted.
    ///
    /// # Safety
    /// The buffer that these parts point into must be alive, writable, and not lent to the OS.
    pub(crate) unsafe fn fill(&self, bytes: &[u8]) -> usize {
        let mut done = 0;
        for part in self.first.iter().chain(&self.rest) {
            let take = part.length.min(bytes.len() - done);
            // SAFETY: the caller vouches for the target; `done + take` is within `bytes`; the two cannot overlap,
            // as the source is the queue's own memory.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr().add(done), part.pointer, take) };
            done += take;
        }
        done
    }
}

/// Bytes to write.
///
/// Implemented for `Vec<u8>`, `Box<[u8]>`, `&'static [u8]`, `&'static str`, `String`, [`PooledBuffer`](crate::PooledBuffer), the types
/// of `bytes` (with that feature), and for lists of them (`Vec<B>`, `[B; N]`), which are written as one.
///
/// # Safety
/// The runs that `source_parts` pushes must be initialised, and stay valid at the same addresses while the value's
/// bytes are moved, until it is next used as a value of its type: while a request has it, it is raw storage.
pub unsafe trait Buffer: 'static {
    /// Pushes each run of bytes to be written, in order.
    fn source_parts(&self, parts: &mut Parts);
}

/// Room to read into.
///
/// A `Vec<u8>` or slice is filled from its start up to its length; [`Spare`] appends to a `Vec`'s capacity instead.
///
/// # Safety
/// The runs that `target_parts` pushes must be writable, not shared, and stay valid at the same addresses while
/// the value's bytes are moved, until it is next used as a value of its type: while a request has it, it is raw
/// storage. Type and state must stay sound whatever bytes arrive.
pub unsafe trait BufferMut: 'static {
    /// Pushes each run of bytes that may be filled, in order.
    fn target_parts(&mut self, parts: &mut Parts);

    /// Told once, when the request has settled, how many bytes from the start of the runs were filled.
    ///
    /// # Safety
    /// The first `count` bytes of the runs last pushed must be initialised.
    unsafe fn filled(&mut self, count: usize) {
        let _ = count;
    }
}

macro_rules! slice_buffers {
    ($($type:ty),*) => {$(
        // SAFETY: the bytes live on the heap (or are static), owned by the value, and do not move with it. That a box
        // which moves claims them anew is no matter: the value moves as raw storage while the addresses are in use.
        unsafe impl Buffer for $type {
            fn source_parts(&self, parts: &mut Parts) {
                let bytes: &[u8] = self.as_ref();
                parts.push(bytes.as_ptr().cast_mut(), bytes.len());
            }
        }
    )*};
}

slice_buffers!(Vec<u8>, Box<[u8]>, &'static [u8], &'static str, String);

macro_rules! mutable_slice_buffers {
    ($($type:ty),*) => {$(
        // SAFETY: the bytes live on the heap, are uniquely owned and initialised, and do not move with the value; for a
        // box as above.
        unsafe impl BufferMut for $type {
            fn target_parts(&mut self, parts: &mut Parts) {
                let bytes: &mut [u8] = self.as_mut();
                parts.push(bytes.as_mut_ptr(), bytes.len());
            }
        }
    )*};
}

mutable_slice_buffers!(Vec<u8>, Box<[u8]>);

#[cfg(feature = "bytes")]
mod shared_bytes {
    use super::{Buffer, BufferMut, Parts, Spare};
    use bytes::{Bytes, BytesMut};

    slice_buffers!(Bytes, BytesMut);
    mutable_slice_buffers!(BytesMut);

    // SAFETY: the spare capacity is owned, on the heap, and nobody else's.
    unsafe impl BufferMut for Spare<BytesMut> {
        fn target_parts(&mut self, parts: &mut Parts) {
            let room = self.0.spare_capacity_mut();
            parts.push(room.as_mut_ptr().cast(), room.len());
        }

        unsafe fn filled(&mut self, count: usize) {
            let length = self.0.len() + count;
            // SAFETY: the caller vouches that `count` bytes after the old length are initialised.
            unsafe { self.0.set_len(length) };
        }
    }
}

// SAFETY: each element keeps its own promise, and moving the list moves the elements, which they allow.
unsafe impl<B: Buffer> Buffer for Vec<B> {
    fn source_parts(&self, parts: &mut Parts) {
        self.iter().for_each(|buffer| buffer.source_parts(parts));
    }
}

// SAFETY: as for the list above.
unsafe impl<B: Buffer, const N: usize> Buffer for [B; N] {
    fn source_parts(&self, parts: &mut Parts) {
        self.iter().for_each(|buffer| buffer.source_parts(parts));
    }
}

/// Tells each of `buffers` its share of the `count` bytes that arrived over all of them.
///
/// # Safety
/// As for [`BufferMut::filled`], over the concatenation of the buffers' runs.
unsafe fn filled_in_turn<B: BufferMut>(buffers: &mut [B], mut count: usize) {
    for buffer in buffers {
        let mut parts = Parts::default();
        buffer.target_parts(&mut parts);
        let share = count.min(parts.total() as usize);
        // SAFETY: the runs are filled in order, so this buffer's first `share` bytes are among the `count`.
        unsafe { buffer.filled(share) };
        count -= share;
    }
}

// SAFETY: as for `Buffer`.
unsafe impl<B: BufferMut> BufferMut for Vec<B> {
    fn target_parts(&mut self, parts: &mut Parts) {
        self.iter_mut().for_each(|buffer| buffer.target_parts(parts));
    }

    unsafe fn filled(&mut self, count: usize) {
        // SAFETY: passed on from the caller.
        unsafe { filled_in_turn(self, count) };
    }
}

// SAFETY: as for `Buffer`.
unsafe impl<B: BufferMut, const N: usize> BufferMut for [B; N] {
    fn target_parts(&mut self, parts: &mut Parts) {
        self.iter_mut().for_each(|buffer| buffer.target_parts(parts));
    }

    unsafe fn filled(&mut self, count: usize) {
        // SAFETY: passed on from the caller.
        unsafe { filled_in_turn(self, count) };
    }
}

/// The unused capacity of a growable buffer as room to read into; the bytes read are appended.
///
/// Made by [`SpareCapacity::spare`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spare<B>(pub B);

/// Growable buffers that can lend their unused capacity.
pub trait SpareCapacity: Sized {
    /// Reads append into the unused capacity instead of filling the length.
    ///
    /// ```
    /// use corella::SpareCapacity;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let scheduler = corella::Scheduler::new()?;
    /// let file = scheduler.io().open("Cargo.toml", corella::Mode::Read).wait()?;
    /// let (count, text) = file.read_at(Vec::with_capacity(64).spare(), 0).wait()?;
    /// assert_eq!(text.0.len(), count);
    /// # Ok(()) }
    /// ```
    fn spare(self) -> Spare<Self> {
        Spare(self)
    }
}

impl SpareCapacity for Vec<u8> {}
#[cfg(feature = "bytes")]
impl SpareCapacity for bytes::BytesMut {}

// SAFETY: the spare capacity is owned, on the heap, and nobody else's.
unsafe impl BufferMut for Spare<Vec<u8>> {
    fn target_parts(&mut self, parts: &mut Parts) {
        let room = self.0.spare_capacity_mut();
        parts.push(room.as_mut_ptr().cast(), room.len());
    }

    unsafe fn filled(&mut self, count: usize) {
        let length = self.0.len() + count;
        // SAFETY: the caller vouches that `count` bytes after the old length are initialised.
        unsafe { self.0.set_len(length) };
    }
}

/// A part of a buffer, to send or fill no more than that; the whole buffer comes back.
///
/// Made by [`SliceOf::slice`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice<B> {
    buffer: B,
    start: usize,
    end: usize,
}

impl<B> Slice<B> {
    /// The whole buffer.
    pub fn into_inner(self) -> B {
        self.buffer
    }

    /// Pushes the part of `all` that lies within the range.
    fn cut(&self, all: &Parts, parts: &mut Parts) {
        let mut place = 0;
        for part in all.first.iter().chain(&all.rest) {
            let from = self.start.clamp(place, place + part.length);
            let to = self.end.clamp(from, place + part.length.max(from - place));
            parts.push(part.pointer.wrapping_add(from - place), to - from);
            place += part.length;
        }
    }
}

/// Buffers of which a part can be sent or filled.
pub trait SliceOf: Sized {
    /// The bytes `range` of this buffer, as far as it has them.
    ///
    /// ```
    /// use corella::SliceOf;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let scheduler = corella::Scheduler::new()?;
    /// let path = std::env::temp_dir().join("corella-slice-example");
    /// let file = scheduler.io().open(&path, corella::Mode::ReadWrite).wait()?;
    /// let (count, slice) = file.write_at(vec![7; 100].slice(..10), 0).wait()?;
    /// assert_eq!((count, slice.into_inner().len()), (10, 100));
    /// # std::fs::remove_file(path)?; Ok(()) }
    /// ```
    fn slice(self, range: impl RangeBounds<usize>) -> Slice<Self> {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => usize::MAX,
        };
        Slice { buffer: self, start, end: end.max(start) }
    }
}

impl<B: Buffer> SliceOf for B {}

// SAFETY: the runs are parts of those of the buffer inside, which keeps the promise for them.
unsafe impl<B: Buffer> Buffer for Slice<B> {
    fn source_parts(&self, parts: &mut Parts) {
        let mut all = Parts::default();
        self.buffer.source_parts(&mut all);
        self.cut(&all, parts);
    }
}

macro_rules! fillable_slices {
    ($($type:ty),*) => {$(
        // SAFETY: as above; and these are initialised throughout, so that nothing is to be told of what was filled.
        unsafe impl BufferMut for Slice<$type> {
            fn target_parts(&mut self, parts: &mut Parts) {
                let mut all = Parts::default();
                self.buffer.target_parts(&mut all);
                self.cut(&all, parts);
            }
        }
    )*};
}

fillable_slices!(Vec<u8>, Box<[u8]>);

/// The buffer of a read to the end: a `Vec` that the queue lets grow between the parts of the read.
pub struct ReadToEnd {
    pub(crate) bytes: Vec<u8>,
    /// Its length when the read began.
    start: usize,
}

impl ReadToEnd {
    /// Reads are appended to `bytes`.
    pub(crate) fn new(bytes: Vec<u8>) -> ReadToEnd {
        let start = bytes.len();
        ReadToEnd { bytes, start }
    }

    /// Room for the next part, or nothing where there is no memory. `expected` is what is believed to be left.
    pub(crate) fn room(&mut self, expected: u64) -> Option<Parts> {
        const LEAST: usize = 32;
        const MOST: usize = 64 << 20;
        if self.bytes.capacity() - self.bytes.len() < LEAST {
            // So much more than expected that the read that finds the end needs no more room.
            let expected = usize::try_from(expected).unwrap_or(MOST).min(MOST) + LEAST;
            let doubled = self.bytes.len().min(MOST);
            self.bytes.try_reserve(expected.max(doubled).max(8 << 10)).ok()?;
        }
        let mut parts = Parts::default();
        let room = self.bytes.spare_capacity_mut();
        parts.push(room.as_mut_ptr().cast(), room.len());
        Some(parts)
    }

    /// `count` bytes have arrived in the room last given out.
    pub(crate) fn arrived(&mut self, count: usize) {
        let length = (self.bytes.len() + count).min(self.bytes.capacity());
        // SAFETY: the OS, or `take_all`, has just filled `count` bytes from the old length on; and the sum is
        // within the capacity.
        unsafe { self.bytes.set_len(length) };
    }

    /// Moves bytes that are already here into the room; `arrived` is to be told.
    pub(crate) fn take_all(&mut self, bytes: &mut VecDeque<u8>) -> usize {
        let Some(parts) = self.room(bytes.len() as u64) else { return 0 };
        fill_from(&parts, 0, bytes)
    }

    /// The bytes that this read brought, taken out again.
    pub(crate) fn give_back(&mut self) -> Vec<u8> {
        self.bytes.split_off(self.start)
    }
}

/// Tells the buffer of a settled request how many bytes arrived in it.
pub(crate) fn tell_filled<B: BufferMut>(buffer: &mut B, count: u64) {
    // SAFETY: `count` is what the OS, or the queue's own copying, reported as filled from the start of the runs.
    unsafe { buffer.filled(count as usize) };
}

/// Copies the first `count` bytes out of a settled request's buffer.
pub(crate) fn copy_out(parts: &Parts, count: u64) -> Vec<u8> {
    // SAFETY: the queue calls this for a settled request whose payload still sits in its slot: the buffer is alive,
    // the OS has let go of it and has reported `count` bytes as filled.
    unsafe { parts.copy_prefix(count) }
}

/// Moves bytes from the front of `bytes` into what is left of a buffer after `skip`; says how many.
pub(crate) fn fill_from(parts: &Parts, skip: u64, bytes: &mut VecDeque<u8>) -> usize {
    let mut list = Vec::new();
    parts.append_remaining(skip, usize::MAX, &mut list);
    let mut rest = Parts::default();
    list.iter().for_each(|part| rest.push(part.pointer, part.length));
    // SAFETY: the queue calls this for a request that it has not handed to the OS; the payload in its slot keeps the
    // buffer alive and nobody else touches it.
    let count = unsafe { rest.fill(bytes.make_contiguous()) };
    bytes.drain(..count);
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remaining_parts_start_after_the_bytes_already_moved() {
        let buffers = vec![vec![1u8; 3], vec![], vec![2u8; 5], vec![3u8; 2]];
        let mut parts = Parts::default();
        buffers.source_parts(&mut parts);
        assert_eq!(parts.total(), 10);
        let mut list = Vec::new();
        parts.append_remaining(4, 8, &mut list);
        assert_eq!(list.iter().map(|part| part.length).collect::<Vec<_>>(), [4, 2]);
        assert_eq!(list[0].pointer.cast_const(), buffers[2].as_ptr().wrapping_add(1));
        list.clear();
        parts.append_remaining(0, 2, &mut list);
        assert_eq!(list.len(), 2);
        list.clear();
        parts.append_remaining(10, 8, &mut list);
        assert!(list.is_empty());
    }

    #[test]
    fn bytes_copied_in_and_out_are_spread_over_the_parts() {
        let mut buffers = [vec![0u8; 2], vec![0u8; 3]];
        let mut parts = Parts::default();
        buffers.target_parts(&mut parts);
        // SAFETY: `buffers` is alive and lent to nobody.
        let (filled, copied) = unsafe { (parts.fill(b"abcdefg"), parts.copy_prefix(4)) };
        assert_eq!((filled, &copied[..]), (5, &b"abcd"[..]));
        assert_eq!(buffers, [b"ab".to_vec(), b"cde".to_vec()]);
    }

    #[test]
    fn a_list_of_spare_buffers_is_filled_in_order() {
        let mut buffers = vec![Vec::with_capacity(4).spare(), Vec::with_capacity(4).spare()];
        let mut parts = Parts::default();
        buffers.target_parts(&mut parts);
        let first_room = buffers[0].0.capacity();
        let bytes: Vec<u8> = (0..first_room as u8 + 1).collect();
        // SAFETY: `fill` initialised exactly as many bytes as `filled` is told of.
        unsafe {
            let count = parts.fill(&bytes);
            buffers.filled(count);
        }
        assert_eq!(buffers[0].0.len(), first_room);
        assert_eq!(buffers[1].0, [first_room as u8]);
    }

    #[test]
    fn a_slice_is_the_part_of_the_runs_within_its_range() {
        let buffers = vec![vec![1u8; 3], vec![2u8; 5], vec![3u8; 2]];
        let lengths = |range: std::ops::Range<usize>| {
            let mut parts = Parts::default();
            buffers.clone().slice(range).source_parts(&mut parts);
            parts.first.iter().chain(&parts.rest).map(|part| part.length).collect::<Vec<_>>()
        };
        assert_eq!(lengths(0..10), [3, 5, 2]);
        assert_eq!(lengths(2..9), [1, 5, 1]);
        assert_eq!(lengths(4..6), [2]);
        assert_eq!(lengths(3..3), [0usize; 0]);
        assert_eq!(lengths(9..100), [1]);
        assert_eq!(lengths(50..100), [0usize; 0]);
    }
}
