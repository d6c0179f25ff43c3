//! What the system under test lacks, promise by promise. Each lack is shown by a C program of its own (`tests/wine/`).

/// Promises that Wine 8.0 cannot keep, with what it lacks. Windows has it all.
#[cfg(windows)]
const OF_WINE: &[(&str, &str)] = &[
    ("surface::names_are_made_moved_linked_and_removed", "symbolic links (symbolic_links.c)"),
    ("surface::allocate_and_truncate_change_the_length", "room that is taken with the length (reserved_room.c)"),
    (
        "extents::inside_what_was_allocated_writes_hold_back_nobody",
        "room that is taken with the length (reserved_room.c)",
    ),
    ("limits::a_task_that_always_yields_starves_nobody", "times of threads by less than 10 ms (thread_times.c)"),
    (
        "limits::a_task_that_reads_only_what_is_there_starves_nobody",
        "times of threads by less than 10 ms (thread_times.c)",
    ),
    ("limits::a_full_pool_delays_no_timer_and_no_socket", "times of threads by less than 10 ms (thread_times.c)"),
    ("limits::callbacks_that_submit_more_starve_nobody", "times of threads by less than 10 ms (thread_times.c)"),
    (
        "limits::a_connection_that_never_stops_sending_starves_nobody",
        "times of threads by less than 10 ms (thread_times.c)",
    ),
    (
        "limits::an_idle_scheduler_does_not_spin_whatever_it_did_before",
        "times of threads by less than 10 ms (thread_times.c)",
    ),
    ("limits::many_requests_on_one_file_cost_each_the_same", "times of threads by less than 10 ms (thread_times.c)"),
];

/// Whether the system lacks what a promise, named with its point, is about.
#[cfg(unix)]
pub fn has_lack(_promise: &str) -> bool {
    false
}

/// Whether the system lacks what a promise, named with its point, is about.
#[cfg(windows)]
pub fn has_lack(promise: &str) -> bool {
    is_wine() && OF_WINE.iter().any(|(name, _)| *name == promise)
}

#[cfg(windows)]
fn is_wine() -> bool {
    use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleA, GetProcAddress};
    // SAFETY: both names end with a zero, and this library is in every process.
    unsafe { GetProcAddress(GetModuleHandleA(c"ntdll.dll".as_ptr().cast()), c"wine_get_version".as_ptr().cast()) }
        .is_some()
}
