//! What is left of requests when their scheduler has ended, and somebody still keeps an outcome.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use corella::{BufferPool, Mode, Scheduler, Status};

use crate::promises;
use crate::setup::Setup;

promises![
    a_callback_that_had_no_turn_is_dropped_with_its_scheduler_whatever_outcome_is_kept,
    an_outcome_dropped_after_the_end_is_gone_whatever_other_is_kept,
];

/// Waits until a request has settled.
fn settle<A: corella::Action>(scheduler: &mut Scheduler, status: &Status<A>) {
    while !status.is_settled() {
        scheduler.turn(Duration::from_secs(1)).unwrap();
    }
}

fn a_callback_that_had_no_turn_is_dropped_with_its_scheduler_whatever_outcome_is_kept(setup: &Setup) {
    let mut scheduler = setup.builder().tasks_per_turn(1).build().unwrap();
    let io = scheduler.io();
    let file = io.open(setup.file("data", b"x"), Mode::Read).wait().unwrap();
    let held = Rc::new(Cell::new(0));
    for _ in 0..3 {
        let inside = Rc::clone(&held);
        file.barrier().then(move |_| inside.set(inside.get() + 1)).unwrap();
    }
    let kept = file.barrier().submit().unwrap();
    settle(&mut scheduler, &kept);
    while held.get() == 0 {
        scheduler.poll().unwrap();
    }
    assert!(held.get() < 3, "one a turn");
    drop(scheduler);
    assert_eq!(Rc::strong_count(&held), 1);
    kept.take().unwrap().unwrap();
}

fn an_outcome_dropped_after_the_end_is_gone_whatever_other_is_kept(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let file = scheduler.io().open(setup.path("data"), Mode::Write).wait().unwrap();
    let pool = BufferPool::new(1, 16);
    let mine = file.write_at(pool.take().unwrap(), 0).submit().unwrap();
    let other = file.write_at("more", 0).submit().unwrap();
    settle(&mut scheduler, &mine);
    settle(&mut scheduler, &other);
    drop(scheduler);
    assert!(pool.take().is_none(), "the outcome has the only buffer");
    drop(mine);
    assert!(pool.take().is_some());
    assert_eq!(other.wait().unwrap().0, 4);
}
