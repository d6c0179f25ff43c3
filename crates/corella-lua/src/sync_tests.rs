//! What the host shares with other threads, in the orders in which they may come: the prompt's lines and interrupts, and
//! what ends a program. The leg `threads` runs these, each also with a fault that it must find.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use corella::rehearsal::{Door, in_any_order, thread, with_fault};

use super::{AtomicBool, AtomicU64};
use crate::interruption::{Interrupter, Interruption};
use crate::prompt::{Answer, Line, Lines, Service, session};

/// Runs lines without Lua: `print` ends by itself, at the next look, and any other when it is killed.
#[derive(Default)]
struct Runner {
    running: Option<Line>,
    has_printed: Arc<AtomicBool>,
    kills: Arc<AtomicU64>,
}

impl Runner {
    /// What a host does, without the Lua: until the session ends.
    fn serve(&mut self, door: &Door, mut service: Service) {
        loop {
            if let Some(line) = self.running.take_if(|line| line.text == "print") {
                line.reply.send(Answer::Done).unwrap();
            }
            if !service.attend(self) {
                break;
            }
            if self.running.as_ref().is_none_or(|line| line.text != "print") {
                door.turn();
            }
        }
    }
}

impl Lines for Runner {
    fn is_running(&self) -> bool {
        self.running.is_some()
    }

    fn begin(&mut self, line: Line) {
        self.running = Some(line);
        self.has_printed.store(true, Ordering::SeqCst);
    }

    fn complete(&mut self, path: &str) -> Vec<String> {
        vec![path.into()]
    }

    fn kill(&mut self) {
        self.kills.fetch_add(1, Ordering::SeqCst);
        // Nobody kills what is not there.
        self.running.take().unwrap().reply.send(Answer::Done).unwrap();
    }
}

/// Ctrl-C comes when its user has seen what the line printed first.
#[test]
fn an_interrupt_that_follows_what_a_line_printed_ends_that_line() {
    in_any_order(|| {
        let (door, mut runner) = (Door::new(), Runner::default());
        let (prompt, service) = session(Some(door.remote()));
        let (has_printed, kills) = (Arc::clone(&runner.has_printed), Arc::clone(&runner.kills));
        let user = prompt.clone();
        let editor = thread::spawn(move || {
            assert_eq!(prompt.run("print and wait"), Some(Answer::Done));
            assert_eq!(kills.load(Ordering::SeqCst), 1);
            prompt.end();
        });
        let signals = thread::spawn(move || {
            while !has_printed.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            user.interrupt();
        });
        runner.serve(&door, service);
        editor.join().unwrap();
        signals.join().unwrap();
    });
}

#[test]
#[should_panic]
fn an_interrupt_forgotten_when_the_line_begins_is_found() {
    with_fault("forgotten when the line begins", an_interrupt_that_follows_what_a_line_printed_ends_that_line);
}

#[test]
fn an_interrupt_ends_the_line_that_was_there_when_it_came_and_no_other() {
    in_any_order(|| {
        let (door, mut runner) = (Door::new(), Runner::default());
        let (prompt, service) = session(Some(door.remote()));
        let kills = Arc::clone(&runner.kills);
        let has_come = Arc::new(AtomicBool::new(false));
        let (user, comes) = (prompt.clone(), Arc::clone(&has_come));
        let editor = thread::spawn(move || {
            assert_eq!(prompt.run("print"), Some(Answer::Done));
            assert_eq!(prompt.complete("pri"), ["pri"]);
            let (came_before, killed) = (has_come.load(Ordering::SeqCst), kills.load(Ordering::SeqCst));
            assert_eq!(prompt.run("print"), Some(Answer::Done));
            assert!(!came_before || kills.load(Ordering::SeqCst) == killed, "it ended a later line");
            prompt.end();
        });
        let signals = thread::spawn(move || {
            user.interrupt();
            comes.store(true, Ordering::SeqCst);
        });
        runner.serve(&door, service);
        editor.join().unwrap();
        signals.join().unwrap();
        assert!(runner.kills.load(Ordering::SeqCst) <= 1);
    });
}

#[test]
#[should_panic]
fn an_interrupt_that_ends_whatever_line_is_there_is_found() {
    with_fault("of any line", an_interrupt_ends_the_line_that_was_there_when_it_came_and_no_other);
}

#[test]
fn a_program_that_sleeps_ends_with_the_code_that_an_interrupt_asks_for() {
    in_any_order(|| {
        let door = Door::new();
        let interruption = Arc::new(Interruption::new());
        let interrupter = Interrupter::new(Some(door.remote()), &interruption);
        let signals = thread::spawn(move || interrupter.interrupt_and_tell(130));
        let code = loop {
            match interruption.code() {
                Some(code) => break code,
                None => door.turn(),
            }
        };
        assert_eq!((code, interruption.tells()), (130, true));
        signals.join().unwrap();
    });
}

#[test]
#[should_panic]
fn a_wake_before_what_it_is_for_is_found() {
    with_fault("woken too early", a_program_that_sleeps_ends_with_the_code_that_an_interrupt_asks_for);
}
