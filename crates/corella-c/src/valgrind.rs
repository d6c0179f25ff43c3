//! Tells valgrind that the kernel has filled memory: it does not see what io_uring writes.

/// A client request of valgrind: a sequence that does nothing on a processor and that valgrind understands.
#[cfg(all(target_arch = "x86_64", unix))]
fn client_request(request: &[u64; 6]) -> u64 {
    let mut answer = 0u64;
    // SAFETY: four rotations of rdi by 128 bits in all and an exchange of rbx with itself leave every register and all
    // memory as they were, and valgrind, which knows the sequence, only reads `request` and sets rdx.
    unsafe {
        std::arch::asm!(
            "rol rdi, 3", "rol rdi, 13", "rol rdi, 61", "rol rdi, 51", "xchg rbx, rbx",
            inout("rdx") answer, in("rax") request.as_ptr(), inout("rdi") 0u64 => _,
        );
    }
    answer
}

#[cfg(not(all(target_arch = "x86_64", unix)))]
fn client_request(_request: &[u64; 6]) -> u64 {
    0
}

const MAKE_MEM_DEFINED: u64 = (b'M' as u64) << 24 | (b'C' as u64) << 16 | 2;

/// Whether this process runs under valgrind's checker of memory, which alone knows that request and answers it.
pub(crate) fn is_present() -> bool {
    client_request(&[MAKE_MEM_DEFINED, 0, 0, 0, 0, 0]) != 0
}

/// `length` bytes at `address` have been written.
pub(crate) fn mark_written(address: usize, length: usize) {
    client_request(&[MAKE_MEM_DEFINED, address as u64, length as u64, 0, 0, 0]);
}
