//! The outcome table: what each event does to a request in each state. One enum, one match.
//!
//! ARCHITECTURE.md has the same table with the owner of the buffer and the effect on the lane beside each cell.

/// Where a request is between its submission and the taking of its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Free to start, but as many requests as allowed are at the OS.
    Queued,
    /// An earlier request on its handle must settle first.
    Held,
    /// The backend has it.
    AtOs,
    /// The backend has it and was asked to let go.
    CancelAsked,
    /// Its outcome is known and waits to be taken.
    Settled,
}

/// What can happen to a request after its submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The OS reports that all, or enough, was done.
    Done,
    /// The OS moved a part, and the operation is not whole without the rest.
    Short,
    /// The OS reports an error.
    Error,
    /// The OS let go without having moved anything.
    Interrupted,
    /// Its token, its status or its program cancels it.
    Cancel,
    /// Its deadline has passed.
    Deadline,
    /// Its future was dropped: nobody will take the outcome.
    Abandon,
    /// Its handle is being closed and this kind of operation does not outlive that, or the close is a `close_now`.
    Close,
    /// An earlier write on its lane failed.
    LaneBroken,
    /// The scheduler ends.
    Shutdown,
}

/// The sorts of request that the table tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    /// Holds a lane: it settles when the OS has let go.
    Laned,
    /// Holds no lane (an open, a look-up, a sleep): a cancel settles it at once.
    Free,
    /// The close of a handle: it cannot be stopped, only hurried.
    Close,
}

/// What the queue does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Settle as done, with what the OS gave.
    Succeed,
    /// Settle with the OS's error.
    Fail,
    /// Settle as stopped by the event's cause: nothing was started.
    StopUnstarted,
    /// Settle as stopped by the cause that was asked for: it started, and this much moved.
    Stop,
    /// Settle as stopped; what the OS still does for it is thrown away when it comes.
    Orphan,
    /// Settle as broken.
    Break,
    /// Hand the rest to the OS.
    Continue,
    /// Ask the OS to let go, and remember the cause.
    AskOs,
    /// Close now: cancel what the close was waiting for.
    Hurry,
    /// Throw the outcome away; what was received goes to the front of the lane.
    Discard,
    /// Nothing.
    Ignore,
    /// Cannot happen; an assertion says so.
    Unreachable,
}

/// The table.
pub(crate) fn decide(state: State, sort: Sort, event: Event) -> Step {
    use Event::*;
    match (state, event) {
        // Not at the OS yet.
        (State::Queued | State::Held, Done | Short | Error | Interrupted) => Step::Unreachable,
        (State::Queued | State::Held, LaneBroken) => Step::Break,
        (State::Queued | State::Held, Abandon) if sort == Sort::Close => Step::Ignore,
        (State::Queued | State::Held, Cancel | Deadline | Abandon | Close | Shutdown) => match sort {
            Sort::Laned | Sort::Free => Step::StopUnstarted,
            Sort::Close => Step::Hurry,
        },

        // At the OS.
        (State::AtOs | State::CancelAsked, Done) => Step::Succeed,
        (State::AtOs | State::CancelAsked, Error) => Step::Fail,
        (State::AtOs, Short | Interrupted) => Step::Continue,
        (State::CancelAsked, Short | Interrupted) => Step::Stop,
        (State::AtOs, Cancel | Deadline | Abandon | Close | Shutdown) => match sort {
            Sort::Laned => Step::AskOs,
            Sort::Free => Step::Orphan,
            Sort::Close => Step::Ignore,
        },
        (State::CancelAsked, Cancel | Deadline | Abandon | Close | Shutdown) => Step::Ignore,
        // A lane has one write at the OS, and writes joined to it go back to `Held` before it settles.
        (State::AtOs | State::CancelAsked, LaneBroken) => Step::Unreachable,

        // Settled: the OS has let go, so it reports nothing more.
        (State::Settled, Done | Short | Error | Interrupted | LaneBroken) => Step::Unreachable,
        (State::Settled, Abandon) => Step::Discard,
        (State::Settled, Cancel | Deadline | Close | Shutdown) => Step::Ignore,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS_OF_PROGRAM: [Event; 5] =
        [Event::Cancel, Event::Deadline, Event::Abandon, Event::Close, Event::Shutdown];
    const EVENTS_OF_OS: [Event; 4] = [Event::Done, Event::Short, Event::Error, Event::Interrupted];

    #[test]
    fn a_request_not_yet_started_stops_at_once_and_the_os_knows_nothing_of_it() {
        for state in [State::Queued, State::Held] {
            for event in EVENTS_OF_PROGRAM {
                assert_eq!(decide(state, Sort::Laned, event), Step::StopUnstarted);
                assert_eq!(decide(state, Sort::Free, event), Step::StopUnstarted);
            }
            for event in EVENTS_OF_OS {
                assert_eq!(decide(state, Sort::Laned, event), Step::Unreachable);
            }
            assert_eq!(decide(state, Sort::Laned, Event::LaneBroken), Step::Break);
        }
    }

    #[test]
    fn what_holds_a_lane_settles_only_when_the_os_has_let_go() {
        for event in EVENTS_OF_PROGRAM {
            assert_eq!(decide(State::AtOs, Sort::Laned, event), Step::AskOs);
            assert_eq!(decide(State::CancelAsked, Sort::Laned, event), Step::Ignore);
            assert_eq!(decide(State::AtOs, Sort::Free, event), Step::Orphan);
        }
    }

    #[test]
    fn success_and_the_os_error_win_over_a_cancel() {
        for state in [State::AtOs, State::CancelAsked] {
            assert_eq!(decide(state, Sort::Laned, Event::Done), Step::Succeed);
            assert_eq!(decide(state, Sort::Laned, Event::Error), Step::Fail);
        }
        assert_eq!(decide(State::AtOs, Sort::Laned, Event::Short), Step::Continue);
        assert_eq!(decide(State::CancelAsked, Sort::Laned, Event::Short), Step::Stop);
    }

    #[test]
    fn a_close_can_be_hurried_but_not_stopped() {
        for state in [State::Queued, State::Held] {
            assert_eq!(decide(state, Sort::Close, Event::Deadline), Step::Hurry);
            assert_eq!(decide(state, Sort::Close, Event::Abandon), Step::Ignore);
        }
        assert_eq!(decide(State::AtOs, Sort::Close, Event::Cancel), Step::Ignore);
    }

    #[test]
    fn nothing_changes_a_settled_request_but_its_abandonment() {
        for event in [Event::Cancel, Event::Deadline, Event::Close, Event::Shutdown] {
            assert_eq!(decide(State::Settled, Sort::Laned, event), Step::Ignore);
        }
        assert_eq!(decide(State::Settled, Sort::Laned, Event::Abandon), Step::Discard);
        for event in EVENTS_OF_OS {
            assert_eq!(decide(State::Settled, Sort::Laned, event), Step::Unreachable);
        }
    }
}
