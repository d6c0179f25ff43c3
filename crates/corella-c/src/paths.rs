//! Operations on paths. They have no order among each other. Paths are copied; on Windows they are UTF-8.

use std::ffi::{c_char, c_int};
use std::mem::MaybeUninit;

use crate::codes::{CORELLA_ERROR_WRONG_KIND, CORELLA_OK};
use crate::files::{prepare_on_handle, prepare_on_scheduler};
use crate::ids::{Handle, Request, Scheduler};
use crate::memory::bytes;
use crate::outcome::Object;
use crate::registry::on_host;
use crate::request::{Extra, Verb};

/// # Safety
/// `path` is null or valid for its length.
unsafe fn on_path(
    name: &'static str,
    scheduler: Scheduler,
    verb: Verb,
    (path, length): (*const c_char, usize),
    request: Option<&mut MaybeUninit<Request>>,
) -> c_int {
    prepare_on_scheduler(name, scheduler, verb, request, |record| {
        // SAFETY: by this function's contract.
        let first = unsafe { bytes(path, length) }?.to_vec();
        record.extra = Some(Box::new(Extra { first, ..Extra::default() }));
        Ok(())
    })
}

/// # Safety
/// The paths are null or valid for their lengths.
unsafe fn on_paths(
    name: &'static str,
    scheduler: Scheduler,
    verb: Verb,
    [first, second]: [(*const c_char, usize); 2],
    request: Option<&mut MaybeUninit<Request>>,
) -> c_int {
    prepare_on_scheduler(name, scheduler, verb, request, |record| {
        // SAFETY: by this function's contract.
        let (first, second) = unsafe { (bytes(first.0, first.1)?.to_vec(), bytes(second.0, second.1)?.to_vec()) };
        record.extra = Some(Box::new(Extra { first, second, ..Extra::default() }));
        Ok(())
    })
}

/// Asks what `path` refers to, symbolic links followed; stat(2). See `corella_metadata`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn corella_stat(
    scheduler: Scheduler,
    path: *const c_char,
    length: usize,
    request: Option<&mut MaybeUninit<Request>>,
) -> c_int {
    // SAFETY: the caller's string, for this call.
    unsafe { on_path("corella_stat", scheduler, Verb::Stat, (path, length), request) }
}

/// Asks what `path` itself is, a symbolic link not followed; lstat(2). See `corella_metadata`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn corella_stat_link(
    scheduler: Scheduler,
    path: *const c_char,
    length: usize,
    request: Option<&mut MaybeUninit<Request>>,
) -> c_int {
    // SAFETY: the caller's string, for this call.
    unsafe { on_path("corella_stat_link", scheduler, Verb::StatLink, (path, length), request) }
}

/// Gives a file another name, replacing what has that name; rename(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn corella_rename(
    scheduler: Scheduler,
    from: *const c_char,
    from_length: usize,
    to: *const c_char,
    to_length: usize,
    request: Option<&mut MaybeUninit<Request>>,
) -> c_int {
    let paths = [(from, from_length), (to, to_length)];
    // SAFETY: the caller's strings, for this call.
    unsafe { on_paths("corella_rename", scheduler, Verb::Rename, paths, request) }
}

/// Removes a file's name; unlink(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn corella_unlink(
    scheduler: Scheduler,
    path: *const c_char,
    length: usize,
    request: Option<&mut MaybeUninit<Request>>,
) -> c_int {
    // SAFETY: the caller's string, for this call.
    unsafe { on_path("corella_unlink", scheduler, Verb::Unlink, (path, length), request) }
}

/// Makes a directory; mkdir(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn corella_make_directory(
    scheduler: Scheduler,
    path: *const c_char,
    length: usize,
    request: Option<&mut MaybeUninit<Request>>,
) -> c_int {
    // SAFETY: the caller's string, for this call.
    unsafe { on_path("corella_make_directory", scheduler, Verb::MakeDirectory, (path, length), request) }
}

/// Removes an empty directory; rmdir(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn corella_remove_directory(
    scheduler: Scheduler,
    path: *const c_char,
    length: usize,
    request: Option<&mut MaybeUninit<Request>>,
) -> c_int {
    // SAFETY: the caller's string, for this call.
    unsafe { on_path("corella_remove_directory", scheduler, Verb::RemoveDirectory, (path, length), request) }
}

/// Makes the names in a directory durable: what was made, renamed and removed in it so far.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn corella_sync_directory(
    scheduler: Scheduler,
    path: *const c_char,
    length: usize,
    request: Option<&mut MaybeUninit<Request>>,
) -> c_int {
    // SAFETY: the caller's string, for this call.
    unsafe { on_path("corella_sync_directory", scheduler, Verb::SyncDirectory, (path, length), request) }
}

/// Gives a file a second name; link(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn corella_hard_link(
    scheduler: Scheduler,
    from: *const c_char,
    from_length: usize,
    to: *const c_char,
    to_length: usize,
    request: Option<&mut MaybeUninit<Request>>,
) -> c_int {
    let paths = [(from, from_length), (to, to_length)];
    // SAFETY: the caller's strings, for this call.
    unsafe { on_paths("corella_hard_link", scheduler, Verb::HardLink, paths, request) }
}

/// Makes `path` a symbolic link to `content`; symlink(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn corella_symbolic_link(
    scheduler: Scheduler,
    content: *const c_char,
    content_length: usize,
    path: *const c_char,
    path_length: usize,
    request: Option<&mut MaybeUninit<Request>>,
) -> c_int {
    let paths = [(content, content_length), (path, path_length)];
    // SAFETY: the caller's strings, for this call.
    unsafe { on_paths("corella_symbolic_link", scheduler, Verb::SymbolicLink, paths, request) }
}

/// Reads the content of a symbolic link; readlink(2). The outcome has it as a buffer: `corella_take_buffer`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn corella_read_link(
    scheduler: Scheduler,
    path: *const c_char,
    length: usize,
    request: Option<&mut MaybeUninit<Request>>,
) -> c_int {
    // SAFETY: the caller's string, for this call.
    unsafe { on_path("corella_read_link", scheduler, Verb::ReadLink, (path, length), request) }
}

/// Opens a directory to read its names. The outcome has the handle: `corella_take_handle`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn corella_open_directory(
    scheduler: Scheduler,
    path: *const c_char,
    length: usize,
    request: Option<&mut MaybeUninit<Request>>,
) -> c_int {
    // SAFETY: the caller's string, for this call.
    unsafe { on_path("corella_open_directory", scheduler, Verb::OpenDirectory, (path, length), request) }
}

/// Reads the next names of a directory, up to a few hundred, in no particular order, without "." and "..". The outcome's
/// count is how many, 0 at the end: `corella_entry_name`.
#[unsafe(no_mangle)]
pub extern "C" fn corella_read_entries(directory: Handle, request: Option<&mut MaybeUninit<Request>>) -> c_int {
    prepare_on_handle("corella_read_entries", directory, Verb::ReadEntries, request, |_| Ok(()))
}

/// Has a directory start again from the first name.
#[unsafe(no_mangle)]
pub extern "C" fn corella_rewind(directory: Handle) -> c_int {
    on_host("corella_rewind", directory, |host, key| match host.handles.borrow_mut().get_mut(key)? {
        Object::Directory(directory) => {
            directory.rewind();
            Ok(CORELLA_OK)
        }
        _ => Err(CORELLA_ERROR_WRONG_KIND.into()),
    })
}
