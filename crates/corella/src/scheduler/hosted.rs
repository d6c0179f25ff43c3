//! What became of a host's requests, until the host fetches it; see [`crate::hosted`].

use std::cell::RefCell;
use std::collections::VecDeque;

use crate::backend::Value;
use crate::error::{Error, Moved};
use crate::queue::slots::Report;

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
    list: RefCell<VecDeque<HostedOutcome>>,
}

impl HostedOutcomes {
    /// The next one.
    #[inline]
    pub fn fetch(&self) -> Option<HostedOutcome> {
        self.list.borrow_mut().pop_front()
    }

    pub(crate) fn add(&self, name: u32, report: Report) {
        let Report { result, moved } = report;
        let error = match result {
            Ok(Value::Count(_)) => None,
            other => other.err(),
        };
        self.list.borrow_mut().push_back(HostedOutcome { name, moved, error });
    }
}
