//! What is known of a file's end, and how much of a file is at the OS at once.

use std::fs;

use corella::{Mode, Scheduler};

use crate::promises;
use crate::setup::Setup;

promises![
    inside_what_was_allocated_writes_hold_back_nobody,
    inside_what_others_have_written_writes_hold_back_nobody_once_that_is_known,
    any_number_of_reads_are_at_the_os_at_once_when_writes_are_over,
    any_number_of_unordered_requests_are_at_the_os_at_once_when_barriers_are_over,
];

/// How many of the outstanding requests the OS has.
fn at_os(scheduler: &Scheduler) -> usize {
    scheduler.outstanding().iter().filter(|request| request.at_os).count()
}

fn inside_what_was_allocated_writes_hold_back_nobody(setup: &Setup) {
    let scheduler = setup.scheduler();
    let file = scheduler.io().open(setup.file("data", b""), Mode::ReadWrite).wait().unwrap();
    file.allocate(0, 1000).wait().unwrap();
    let write = file.write_at(vec![1; 100], 500).submit().unwrap();
    let read = file.read_at(vec![9; 100], 800).submit().unwrap();
    assert_eq!(at_os(&scheduler), 2);
    assert_eq!(read.wait().unwrap().1, [0; 100]);
    write.wait().unwrap();
}

fn inside_what_others_have_written_writes_hold_back_nobody_once_that_is_known(setup: &Setup) {
    let scheduler = setup.scheduler();
    let path = setup.file("data", b"");
    let file = scheduler.io().open(&path, Mode::ReadWrite).wait().unwrap();
    fs::write(&path, vec![2; 1000]).unwrap();
    assert_eq!(file.stat().wait().unwrap().size, 1000);
    let write = file.write_at(vec![1; 100], 500).submit().unwrap();
    let read = file.read_at(vec![9; 100], 800).submit().unwrap();
    assert_eq!(at_os(&scheduler), 2);
    assert_eq!(read.wait().unwrap().1, [2; 100]);
    write.wait().unwrap();
}

/// More than a request looks back over.
const MANY: u64 = 600;

fn any_number_of_reads_are_at_the_os_at_once_when_writes_are_over(setup: &Setup) {
    let scheduler = setup.scheduler();
    let file = scheduler.io().open(setup.file("data", &[1; MANY as usize]), Mode::ReadWrite).wait().unwrap();
    file.write_at("x", 0).wait().unwrap();
    let reads: Vec<_> = (0..MANY).map(|place| file.read_at(vec![0; 1], place).submit().unwrap()).collect();
    assert_eq!(at_os(&scheduler), MANY as usize);
    for read in reads {
        assert_eq!(read.wait().unwrap().0, 1);
    }
}

fn any_number_of_unordered_requests_are_at_the_os_at_once_when_barriers_are_over(setup: &Setup) {
    let scheduler = setup.scheduler();
    let file = scheduler.io().open(setup.file("data", &[1; MANY as usize]), Mode::ReadWrite).wait().unwrap();
    file.barrier().wait().unwrap();
    let ordered = file.write_at("x", 0).submit().unwrap();
    let reads: Vec<_> = (0..MANY).map(|place| file.read_at(vec![0; 1], place).unordered().submit().unwrap()).collect();
    assert_eq!(at_os(&scheduler), 1 + MANY as usize);
    for read in reads {
        assert_eq!(read.wait().unwrap().0, 1);
    }
    ordered.wait().unwrap();
}
