//! SIGPIPE, whose default kills a process that writes to a pipe without a reader.

/// Sees to it that such a write is an error and nothing else.
///
/// Sockets need nothing: the engine sends with MSG_NOSIGNAL. For pipes there is no such flag on the kernels in use, so the
/// signal gets a handler that does nothing, if it has its default. A handler, and not `SIG_IGN`, because a program that is
/// started from here would inherit that.
#[cfg(unix)]
pub(crate) fn survive_broken_pipes() {
    use std::sync::atomic::{AtomicBool, Ordering};
    extern "C" fn nothing(_signal: libc::c_int) {}
    // No `Once`: a child forked while another thread is inside one would wait for it for ever. Twice does no harm.
    static IS_DONE: AtomicBool = AtomicBool::new(false);
    if IS_DONE.load(Ordering::Acquire) {
        return;
    }
    // SAFETY: `action` is a valid place, and zeroed bytes are a valid `sigaction`; a handler that does nothing is
    // allowed in every signal's context.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        if libc::sigaction(libc::SIGPIPE, std::ptr::null(), &mut action) == 0 && action.sa_sigaction == libc::SIG_DFL {
            action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
            action.sa_flags = libc::SA_RESTART;
            libc::sigaction(libc::SIGPIPE, &action, std::ptr::null_mut());
        }
    }
    IS_DONE.store(true, Ordering::Release);
}

#[cfg(not(unix))]
pub(crate) fn survive_broken_pipes() {}
