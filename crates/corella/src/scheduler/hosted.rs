//! What became of a host's requests, until the host fetches it; see [`crate::hosted`].

use std::cell::RefCell;

use crate::backend::Value;
use crate::error::{Error, Moved};
use crate::queue::slots::{Report, Slot};

/// How a request ended.
#[doc(hidden)]
#[derive(Debug)]
pub struct HostedOutcome {
    pub name: u32,
    pub moved: Moved,
    /// `None` for success.
    pub error: Option<Error>,
}

/// The outcomes that the host has yet to fetch, in completion order. It stays when the scheduler has ended.
#[doc(hidden)]
#[derive(Debug, Default)]
pub struct HostedOutcomes {
    list: RefCell<Vec<HostedOutcome>>,
}

impl HostedOutcomes {
    /// Exchanges the list with an empty one.
    #[inline]
    pub fn fetch(&self, empty: &mut Vec<HostedOutcome>) {
        std::mem::swap(&mut *self.list.borrow_mut(), empty);
    }

    /// Whether there are none. [`Scheduler::has_work`](crate::Scheduler::has_work) does not say: it is to be cheap.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.list.borrow().is_empty()
    }

    #[inline(always)]
    pub(crate) fn add(&self, outcome: HostedOutcome) {
        self.list.borrow_mut().push(outcome);
    }
}

impl HostedOutcome {
    /// Takes it out of a settled request's slot, where nothing else is.
    #[inline]
    pub(crate) fn of(name: u32, slot: &mut Slot) -> HostedOutcome {
        match &slot.report {
            _ if slot.is_plain_success => HostedOutcome { name, moved: Moved::Bytes(slot.moved), error: None },
            Some(Report { result: Ok(Value::Count(_)), moved }) => {
                let outcome = HostedOutcome { name, moved: *moved, error: None };
                // A number has nothing to drop; to find that out costs a call.
                std::mem::forget(slot.report.take());
                outcome
            }
            _ => HostedOutcome::of_failure(name, slot.report.take()),
        }
    }

    #[cold]
    fn of_failure(name: u32, report: Option<Report>) -> HostedOutcome {
        let (moved, error) = match report {
            Some(Report { result, moved }) => (moved, result.err()),
            None => (Moved::NotStarted, None),
        };
        HostedOutcome { name, moved, error }
    }
}
