//! A bounded pool of equal buffers, for receiving from many connections without allocating.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::task::Waker;

use crate::buffer::{Buffer, BufferMut, Parts};

/// A bounded pool of equal buffers, for receiving from many connections without allocating.
///
/// ```
/// let pool = corella::BufferPool::new(2, 4096);
/// let first = pool.take().unwrap();
/// let second = pool.take().unwrap();
/// assert!(pool.take().is_none(), "two is all there are");
/// drop(first);
/// assert!(pool.take().is_some());
/// # drop(second);
/// ```
#[derive(Clone)]
pub struct BufferPool {
    shared: Rc<PoolShared>,
}

struct PoolShared {
    state: RefCell<PoolState>,
    buffer_bytes: usize,
}

struct PoolState {
    free: Vec<Box<[u8]>>,
    /// Buffers that may still be made.
    unmade: usize,
    /// Who waits for a buffer, each with the number of its place.
    waiting: VecDeque<(u64, Waker)>,
    last_place: u64,
}

impl PoolState {
    fn has_free(&self) -> bool {
        !self.free.is_empty() || self.unmade > 0
    }
}

/// A place in the line for a buffer. Who leaves it after having been called, and without the buffer, calls the next.
pub(crate) struct Place {
    pool: Rc<PoolShared>,
    number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        let next = {
            let mut state = self.pool.state.borrow_mut();
            match state.waiting.iter().position(|(number, _)| *number == self.number) {
                Some(index) => {
                    let own = state.waiting.remove(index);
                    drop(state);
                    drop(own);
                    None
                }
                None if state.has_free() => state.waiting.pop_front(),
                None => None,
            }
        };
        if let Some((_, waker)) = next {
            waker.wake();
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Place({})", self.number)
    }
}

impl BufferPool {
    /// A pool of at most `count` buffers of `buffer_bytes` bytes each, made as they are first needed.
    pub fn new(count: usize, buffer_bytes: usize) -> BufferPool {
        BufferPool {
            shared: Rc::new(PoolShared {
                state: RefCell::new(PoolState {
                    free: Vec::new(),
                    unmade: count,
                    waiting: VecDeque::new(),
                    last_place: 0,
                }),
                buffer_bytes,
            }),
        }
    }

    /// A buffer, if one is free. It returns to the pool when it is dropped.
    pub fn take(&self) -> Option<PooledBuffer> {
        let mut state = self.shared.state.borrow_mut();
        let bytes = match state.free.pop() {
            Some(bytes) => bytes,
            None if state.unmade > 0 => {
                state.unmade -= 1;
                vec![0; self.shared.buffer_bytes].into_boxed_slice()
            }
            None => return None,
        };
        Some(PooledBuffer { bytes: Some(bytes), filled: 0, pool: Rc::clone(&self.shared) })
    }

    /// Wakes `waker` when a buffer comes back and the line is at `place`, which is taken if there is none yet.
    pub(crate) fn wait_for_one(&self, place: &mut Option<Place>, waker: &Waker) {
        let mut state = self.shared.state.borrow_mut();
        let number = place.as_ref().map(|place| place.number);
        if let Some((_, old)) = state.waiting.iter_mut().find(|(other, _)| Some(*other) == number) {
            let old = std::mem::replace(old, waker.clone());
            drop(state);
            return drop(old);
        }
        state.last_place += 1;
        let number = state.last_place;
        state.waiting.push_back((number, waker.clone()));
        drop(state);
        *place = Some(Place { pool: Rc::clone(&self.shared), number });
    }

    /// The size of each buffer, in bytes.
    pub fn buffer_bytes(&self) -> usize {
        self.shared.buffer_bytes
    }
}

impl fmt::Debug for BufferPool {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.state.borrow();
        formatter
            .debug_struct("BufferPool")
            .field("buffer_bytes", &self.shared.buffer_bytes)
            .field("free", &(state.free.len() + state.unmade))
            .finish()
    }
}

/// A buffer of a [`BufferPool`]. As a slice it is the bytes last received into it.
pub struct PooledBuffer {
    bytes: Option<Box<[u8]>>,
    filled: usize,
    pool: Rc<PoolShared>,
}

impl PooledBuffer {
    /// Makes it `count` bytes long (at most its full size), to be filled by hand.
    pub fn set_length(&mut self, count: usize) {
        self.filled = count.min(self.pool.buffer_bytes);
    }
}

impl Deref for PooledBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.as_ref().map_or(&[], |bytes| &bytes[..self.filled])
    }
}

impl DerefMut for PooledBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        let filled = self.filled;
        self.bytes.as_mut().map_or(&mut [], |bytes| &mut bytes[..filled])
    }
}

impl AsRef<[u8]> for PooledBuffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for PooledBuffer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PooledBuffer({} of {} bytes)", self.filled, self.pool.buffer_bytes)
    }
}

impl Drop for PooledBuffer {
    fn drop(&mut self) {
        let waiting = {
            let mut state = self.pool.state.borrow_mut();
            state.free.extend(self.bytes.take());
            state.waiting.pop_front()
        };
        if let Some((_, waker)) = waiting {
            waker.wake();
        }
    }
}

// SAFETY: the whole boxed slice is owned, initialised, on the heap, and does not move with the value. A box that moves
// claims it anew, but while the addresses are in use the value moves as raw storage.
unsafe impl BufferMut for PooledBuffer {
    fn target_parts(&mut self, parts: &mut Parts) {
        self.filled = 0;
        if let Some(bytes) = &mut self.bytes {
            parts.push(bytes.as_mut_ptr(), bytes.len());
        }
    }

    unsafe fn filled(&mut self, count: usize) {
        self.filled = count;
    }
}

// SAFETY: the bytes live on the heap, owned by the value, and do not move with it; the box is as above.
unsafe impl Buffer for PooledBuffer {
    fn source_parts(&self, parts: &mut Parts) {
        parts.push(self.as_ptr().cast_mut(), self.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pooled_buffer_returns_when_it_is_dropped() {
        let pool = BufferPool::new(1, 16);
        let buffer = pool.take().unwrap();
        assert!(pool.take().is_none());
        drop(buffer);
        assert!(pool.take().is_some());
    }
}
