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
    (
        "ends::a_reset_that_came_before_a_receive_is_an_error_and_no_end",
        "resets that no receive waits for (early_reset.c)",
    ),
    (
        "datagrams::a_receive_is_told_of_a_datagram_that_reached_nobody_before_it",
        "word of a datagram to nobody for a later receive (late_receive.c)",
    ),
    (
        "lifetimes::a_socket_that_somebody_else_closes_ends_the_send_that_is_on_its_way",
        "an end of a send on a socket that is closed (closed_socket.c)",
    ),
    (
        "lifetimes::a_port_that_somebody_else_closes_ends_the_sleep_at_it",
        "an end of a sleep at a port that is closed (closed_port.c)",
    ),
    (
        "others::another_process_gives_the_name_of_a_file_that_is_open_to_a_new_one",
        "names that are free once their file is deleted (kept_name.c)",
    ),
    (
        "others::another_process_puts_a_file_in_the_place_of_one_that_is_open",
        "files in the place of one that is open (kept_place.c)",
    ),
];

/// Whether the system lacks what a promise, named with its point, is about.
#[cfg(unix)]
pub fn has_lack(_promise: &str) -> bool {
    false
}

/// Whether the system lacks what a promise, named with its point, is about.
#[cfg(windows)]
pub fn has_lack(promise: &str) -> bool {
    let needs_drive = promise == "shortages::a_drive_that_fills_up_took_exactly_what_was_reported";
    if needs_drive && !std::path::Path::new(crate::setup::SMALL_DRIVE).exists() {
        return true;
    }
    is_wine() && OF_WINE.iter().any(|(name, _)| *name == promise)
}

#[cfg(windows)]
fn is_wine() -> bool {
    use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleA, GetProcAddress};
    // SAFETY: both names end with a zero, and this library is in every process.
    unsafe { GetProcAddress(GetModuleHandleA(c"ntdll.dll".as_ptr().cast()), c"wine_get_version".as_ptr().cast()) }
        .is_some()
}
