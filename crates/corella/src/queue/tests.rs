//! Promises of the queue that only its inside shows, on a simulated machine: what it keeps, and what it asks of the OS.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;

use super::codes;
use super::joined::JOINED_BYTES_MAX;
use super::slots::{RequestId, Slots};
use crate::backend::{Completion, Fault, InjectedFault, Simulation, TRANSFER_PARTS_MAX};
use crate::error::ErrorKind;
use crate::file::Mode;
use crate::op::Op;
use crate::scheduler::{Core, Io, Scheduler};

/// A scheduler on a simulated machine, and its inside.
fn simulated(queue_depth: usize) -> (Simulation, Scheduler, Io, Rc<Core>) {
    let machine = Simulation::new(7);
    let scheduler = Scheduler::builder().queue_depth(queue_depth).build_simulated(&machine).unwrap();
    let io = scheduler.io();
    let core = io.core("look inside").unwrap();
    (machine, scheduler, io, core)
}

/// Submits an operation as a future does, which waits its turn.
fn begin<F: Future + Unpin>(future: &mut F) {
    assert!(Pin::new(future).poll(&mut Context::from_waker(Waker::noop())).is_pending());
}

#[test]
fn the_list_of_those_who_wait_for_room_is_tidied_when_half_of_it_is_given_up_and_not_sooner() {
    const WAITING: usize = 1000;
    let (machine, _scheduler, io, core) = simulated(1);
    machine.script(|_, _| Some(InjectedFault::Delay(Duration::from_secs(3600))));
    let listed = || core.queue.borrow().queued.len();
    let _takes_the_place = io.stat("/").submit().unwrap();
    let mut waiting: Vec<_> = (0..WAITING).map(|_| io.stat("/")).collect();
    waiting.iter_mut().for_each(begin);
    assert_eq!(listed(), WAITING);
    let give_up = |count| (0..count).for_each(|_| begin(&mut io.stat("/")));
    give_up(900);
    assert_eq!(listed(), WAITING + 900, "a look at all of them is not worth its time yet");
    give_up(10_000);
    assert!(listed() <= 2 * WAITING + 100, "{} are listed, of whom {WAITING} wait", listed());
    // Also when they are given up all at once.
    give_up(2 * WAITING - listed());
    drop(waiting);
    give_up(1);
    assert!(listed() <= 2, "{} are listed, and nobody waits", listed());
}

#[test]
fn what_the_backend_has_reported_and_nobody_has_looked_at_is_work_and_no_wait_comes_before_it() {
    let (_machine, mut scheduler, _io, core) = simulated(64);
    // Of requests that are gone, as they stay behind what they answered.
    let stale = RequestId { index: u32::MAX, generation: 1 }.token();
    let late = || Completion { token: stale, outcome: Err(Fault::Interrupted) };
    core.queue.borrow_mut().completions.extend((0..3000).map(|_| late()));
    let mut polls = 0;
    while scheduler.poll().unwrap() {
        polls += 1;
        assert!(scheduler.has_work(), "some are left after {polls} polls");
        assert_eq!(scheduler.prepare_wait().unwrap(), Some(Duration::ZERO));
        assert!(core.queue.borrow().must_reap());
    }
    assert_eq!(polls, 3000 / super::PUMP_BUDGET);
    assert_eq!(scheduler.prepare_wait().unwrap(), None);
}

#[test]
fn what_the_os_still_does_for_nobody_is_waited_for_before_memory_is_freed() {
    let (machine, mut scheduler, io, core) = simulated(64);
    machine.add_file("/data", b"x").unwrap();
    let open = io.open("/data", Mode::Read).submit().unwrap();
    open.cancel();
    assert!(open.is_settled());
    let is_done = || !core.queue.borrow().must_reap();
    assert!(!is_done(), "the machine is opening it");
    while !is_done() {
        scheduler.turn(Duration::from_millis(1)).unwrap();
    }
    assert_eq!(machine.open_descriptors(), 0);
}

#[test]
fn a_shutdown_has_reads_cancelled_before_it_closes_what_they_would_find_ended() {
    for seed in 0..200 {
        let machine = Simulation::new(seed);
        let scheduler = Scheduler::builder().build_simulated(&machine).unwrap();
        let io = scheduler.io();
        let (reader, _writer) = io.pipe().unwrap();
        let read = reader.read(vec![0; 1]).submit().unwrap();
        scheduler.shutdown(Duration::from_secs(1)).unwrap();
        assert_eq!(read.wait().unwrap_err().error.kind(), ErrorKind::Cancelled, "seed {seed}");
    }
}

#[test]
fn an_error_is_explained_where_its_code_alone_does_not_say_and_nowhere_else() {
    let (_machine, _scheduler, _io, core) = simulated(64);
    let mut queue = core.queue.borrow_mut();
    let index = queue.slots.insert(Op::AwaitExit { pid: 1 });
    let [lost, other] = [codes::ECHILD, codes::EINVAL].map(|code| queue.os_error(index, code).to_string());
    queue.slots.remove(index);
    drop(queue);
    assert!(lost.ends_with(super::STATUS_IS_LOST), "{lost}");
    assert!(!other.contains(super::STATUS_IS_LOST), "{other}");
}

#[test]
fn lists_of_parts_are_kept_for_the_next_but_not_without_end() {
    let (machine, scheduler, io, core) = simulated(1024);
    machine.add_file("/data", vec![1; 4096]).unwrap();
    let file = io.open("/data", Mode::Read).wait().unwrap();
    let lists = || {
        let queue = core.queue.borrow();
        assert!(queue.spare_lists.iter().all(|list| list.capacity() > 0), "a list without memory saves nothing");
        queue.spare_lists.len()
    };
    for _ in 0..100 {
        file.read_at(vec![0; 8], 0).wait().unwrap();
    }
    assert_eq!(lists(), 0);
    let vectored = || vec![vec![0; 8]; 10];
    let reads: Vec<_> = (0..100).map(|_| file.read_at(vectored(), 0).submit().unwrap()).collect();
    for read in reads {
        read.wait().unwrap();
    }
    assert_eq!(lists(), 64);
    drop(scheduler);
}

#[test]
fn a_receive_given_up_before_anything_came_leaves_nothing_behind() {
    let (_machine, mut scheduler, io, core) = simulated(64);
    let (reader, _writer) = io.pipe().unwrap();
    let mut read = reader.read(vec![0; 8]);
    begin(&mut read);
    drop(read);
    scheduler.run().unwrap();
    let queue = core.queue.borrow();
    assert!(queue.handles.indices().into_iter().all(|index| queue.handles[index].pushback.is_none()));
}

/// Sends so many messages of this size at once, behind one that is at the OS. Gives how many bytes, and in how many parts,
/// the call has that comes after that one.
fn call_behind_one(count: usize, bytes: usize) -> (u64, usize) {
    let (machine, mut scheduler, io, core) = simulated(1024);
    machine.script(|_, number| (number == 1).then_some(InjectedFault::Delay(Duration::from_secs(1))));
    let (_reader, writer) = io.pipe().unwrap();
    let first = writer.write("first").submit().unwrap();
    let _behind: Vec<_> = (0..count).map(|_| writer.write(vec![1; bytes]).submit().unwrap()).collect();
    while !first.is_settled() {
        scheduler.turn(Duration::from_millis(1)).unwrap();
    }
    let queue = core.queue.borrow();
    assert_eq!(queue.at_os, 1, "one call carries them");
    (queue.parts.iter().map(|part| part.length as u64).sum(), queue.parts.len())
}

#[test]
fn writes_queued_on_a_stream_go_out_in_one_call_up_to_its_bounds() {
    assert_eq!(call_behind_one(10, 100), (1000, 10));
    assert_eq!(call_behind_one(100, 100), (100 * TRANSFER_PARTS_MAX as u64, TRANSFER_PARTS_MAX));
    // The one that reaches the bound is the last.
    let large = 300 << 10;
    assert_eq!(call_behind_one(10, large), (4 * large as u64, 4));
    assert!(3 * (large as u64) < JOINED_BYTES_MAX && JOINED_BYTES_MAX < 4 * large as u64);
}

#[test]
fn a_stream_that_answers_that_it_would_block_is_waited_for_once_by_readiness_and_a_file_is_not() {
    let (machine, _scheduler, io, _core) = simulated(64);
    machine.add_file("/data", b"bytes").unwrap();
    let file = io.open("/data", Mode::Read).wait().unwrap();
    let (reader, writer) = io.pipe().unwrap();
    writer.write("bytes").wait().unwrap();
    let answers = |times: u64| {
        let (before, mut given) = (machine.operations(), 0);
        machine.script(move |_, _| {
            given += 1;
            (given <= times).then_some(InjectedFault::Error(codes::EAGAIN))
        });
        before
    };
    let before = answers(1);
    assert_eq!(reader.read(vec![0; 2]).wait().unwrap().1, b"by");
    assert_eq!(machine.operations() - before, 2);
    // Waited for in that way already, it is told what the OS says.
    let before = answers(5);
    let failed = reader.read(vec![0; 2]).wait().unwrap_err();
    assert_eq!((failed.error.os_code(), machine.operations() - before), (Some(codes::EAGAIN), 1));
    answers(1);
    assert_eq!(file.read_at(vec![0; 2], 0).wait().unwrap_err().error.os_code(), Some(codes::EAGAIN));
}

#[test]
fn every_place_for_a_request_is_used_before_more_are_made() {
    let mut slots = Slots::default();
    let places: Vec<u32> = (0..200).map(|_| slots.insert(Op::Sleep)).collect();
    assert_eq!(places, (0..200).collect::<Vec<u32>>());
    places.iter().rev().for_each(|place| slots.remove(*place));
    let again: Vec<u32> = (0..200).map(|_| slots.insert(Op::Sleep)).collect();
    assert_eq!(again, places);
}
