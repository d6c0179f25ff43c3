//! Sessions: lines from another thread, and what ends them.

use std::cell::RefCell;
use std::rc::Rc;

use crate::{Answer, Host};

#[test]
fn an_interrupt_ends_a_line_that_was_entered_and_has_not_begun() {
    let reports = Rc::new(RefCell::new(Vec::new()));
    let kept = Rc::clone(&reports);
    let mut host = Host::with_reporter(move |report| kept.borrow_mut().push(report.to_string())).unwrap();
    let (prompt, service) = host.prompt();
    // The host has not looked yet when the user changes his mind.
    let answer = prompt.enter("Scheduler.sleep(5) entered = true", false);
    prompt.interrupt();
    let other = prompt.enter("if entered then error('it went on') end", false);
    prompt.end();
    assert_eq!(host.serve(service), 0);
    assert_eq!([answer.recv(), other.recv()], [Ok(Answer::Done); 2]);
    assert_eq!(reports.take(), ["interrupted"]);
}
