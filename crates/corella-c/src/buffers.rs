//! Bytes that the library owns: single buffers, and bounded pools of them.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;

use corella::{BufferPool, PooledBuffer};

use crate::codes::{CORELLA_ERROR_BUSY, CORELLA_ERROR_REJECTED, CORELLA_OK};
use crate::faults::{Fault, put};
use crate::ids::{Buffer, Pool, Scheduler};
use crate::registry::on_host;

pub(crate) enum Bytes {
    Own(Vec<u8>),
    /// Goes back to its pool when it is dropped.
    Pooled(PooledBuffer),
}

/// A buffer of the library's.
pub(crate) struct OwnBuffer {
    bytes: Bytes,
    /// Requests that use it.
    pub(crate) lent: u32,
}

impl OwnBuffer {
    pub(crate) fn new(bytes: Bytes) -> OwnBuffer {
        OwnBuffer { bytes, lent: 0 }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        match &mut self.bytes {
            Bytes::Own(bytes) => bytes,
            Bytes::Pooled(buffer) => buffer,
        }
    }

    /// The address of `length` bytes from `start` on.
    pub(crate) fn part(&mut self, start: usize, length: usize) -> Result<usize, Fault> {
        let bytes = self.bytes_mut();
        match start.checked_add(length).is_some_and(|end| end <= bytes.len()) {
            true => Ok(bytes.as_mut_ptr().expose_provenance() + start),
            false => Err(Fault::input("more than the buffer has")),
        }
    }
}

/// Buffers larger than this are a mistake of the caller's.
const BYTES_MAX: usize = isize::MAX as usize;

/// Makes a buffer of `length` zero bytes (at least 1). Yours; free it with `corella_buffer_free`.
#[unsafe(no_mangle)]
pub extern "C" fn corella_buffer_new(
    scheduler: Scheduler,
    length: usize,
    buffer: Option<&mut MaybeUninit<Buffer>>,
) -> c_int {
    on_host("corella_buffer_new", scheduler, |host, _| {
        if length == 0 || length > BYTES_MAX {
            return Err(Fault::input("a buffer of no length, or of more than memory has"));
        }
        let mut bytes = Vec::new();
        if bytes.try_reserve_exact(length).is_err() {
            return Err(Fault::input("a buffer for which there is no memory"));
        }
        bytes.resize(length, 0);
        let key = host.buffers.borrow_mut().insert(OwnBuffer::new(Bytes::Own(bytes)))?;
        put(buffer, key.id());
        Ok(CORELLA_OK)
    })
}

/// The address of a buffer's bytes, or null for an id that names none. They stay there until it is freed. While a request
/// fills them they are not to be touched, while one writes them out they are only to be read.
#[unsafe(no_mangle)]
pub extern "C" fn corella_buffer_data(buffer: Buffer) -> *mut c_void {
    let mut data = std::ptr::null_mut();
    on_host("corella_buffer_data", buffer, |host, key| {
        data = host.buffers.borrow_mut().get_mut(key)?.bytes_mut().as_mut_ptr().cast();
        Ok(CORELLA_OK)
    });
    data
}

/// A buffer's length in bytes; 0 for an id that names none. One that came with an outcome is as long as what came.
#[unsafe(no_mangle)]
pub extern "C" fn corella_buffer_length(buffer: Buffer) -> usize {
    let mut length = 0;
    on_host("corella_buffer_length", buffer, |host, key| {
        length = host.buffers.borrow_mut().get_mut(key)?.bytes_mut().len();
        Ok(CORELLA_OK)
    });
    length
}

/// Frees a buffer; one of a pool goes back to it. CORELLA_ERROR_BUSY while it is lent to a request that has not settled.
#[unsafe(no_mangle)]
pub extern "C" fn corella_buffer_free(buffer: Buffer) -> c_int {
    on_host("corella_buffer_free", buffer, |host, key| {
        let freed = {
            let mut buffers = host.buffers.borrow_mut();
            if buffers.get_mut(key)?.lent > 0 {
                return Err(CORELLA_ERROR_BUSY.into());
            }
            buffers.remove(key)?
        };
        // A waiting task may be woken by it, outside the borrow.
        drop(freed);
        Ok(CORELLA_OK)
    })
}

/// Makes a bounded pool of at most `count` buffers of `length` bytes each, made as they are first needed, for
/// `corella_receive_pooled`: to receive from many connections with as many buffers as have bytes in them. Yours; free it
/// with `corella_pool_free`.
#[unsafe(no_mangle)]
pub extern "C" fn corella_pool_new(
    scheduler: Scheduler,
    count: c_int,
    length: usize,
    pool: Option<&mut MaybeUninit<Pool>>,
) -> c_int {
    on_host("corella_pool_new", scheduler, |host, _| {
        if count < 1 || length == 0 || length > BYTES_MAX {
            return Err(Fault::input("a pool of nothing, or of more than memory has"));
        }
        let key = host.pools.borrow_mut().insert(BufferPool::new(count as usize, length))?;
        put(pool, key.id());
        Ok(CORELLA_OK)
    })
}

/// Takes a buffer out of a pool, to be filled by hand and sent; it goes back when it is freed. CORELLA_ERROR_REJECTED while
/// all are out.
#[unsafe(no_mangle)]
pub extern "C" fn corella_pool_take(pool: Pool, buffer: Option<&mut MaybeUninit<Buffer>>) -> c_int {
    on_host("corella_pool_take", pool, |host, key| {
        let Some(place) = buffer else { return Err(Fault::input("no place for the buffer")) };
        place.write(std::ptr::null_mut());
        let mut pools = host.pools.borrow_mut();
        let pool = pools.get_mut(key)?;
        let mut taken = pool.take().ok_or(CORELLA_ERROR_REJECTED)?;
        taken.set_length(pool.buffer_bytes());
        let key = host.buffers.borrow_mut().insert(OwnBuffer::new(Bytes::Pooled(taken)))?;
        place.write(key.id());
        Ok(CORELLA_OK)
    })
}

/// Frees a pool's name. Its buffers stay valid until each is freed.
#[unsafe(no_mangle)]
pub extern "C" fn corella_pool_free(pool: Pool) -> c_int {
    on_host("corella_pool_free", pool, |host, key| {
        let freed = host.pools.borrow_mut().remove(key)?;
        drop(freed);
        Ok(CORELLA_OK)
    })
}
