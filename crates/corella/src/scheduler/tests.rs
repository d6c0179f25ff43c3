//! Promises of the scheduler that a forked child shows best from its inside.

use std::time::Duration;

use super::Scheduler;
use crate::backend::fork::tests::holds_in_child;

#[test]
fn a_blocking_call_that_turns_in_a_forked_child_gives_up_and_in_the_parent_goes_on() {
    let scheduler = Scheduler::new().unwrap();
    let io = scheduler.io();
    let sleep = io.sleep(Duration::from_millis(1)).submit().unwrap();
    let core = io.core("look inside").unwrap();
    assert!(holds_in_child(|| !core.turn_towards(|| false)));
    assert!(core.turn_towards(|| true));
    sleep.wait().unwrap();
}
