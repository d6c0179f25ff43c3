//! What plain operations carry and give back, and the counted references that handles are.

use std::cell::Cell;
use std::fmt;
use std::ops::Deref;
use std::rc::Rc;

use crate::backend::Value;
use crate::buffer::{Buffer, BufferMut, Parts, ReadToEnd, tell_filled};
use crate::error::{Error, Failed};
use crate::op::{Op, Transfer};
use crate::operation::{Action, ActionReport, Operation, Plan, Positioned, Sealed};
use crate::queue::handles::{CLOSED_SOCKET, HandleKey, Life};
use crate::queue::slots::Report;
use crate::scheduler::Io;

/// Moves bytes out of a buffer and gives it back.
#[derive(Debug)]
pub struct Writing<B>(pub(crate) B);

impl<B> Sealed for Writing<B> {}
impl<B> Sealed for Reading<B> {}

impl<B: Buffer + Unpin> Action for Writing<B> {
    type Output = (usize, B);
    type Error = Failed<B>;

    fn parts(&mut self, parts: &mut Parts) {
        self.0.source_parts(parts);
    }

    fn finish(self, _io: &Io, report: ActionReport) -> Result<(usize, B), Failed<B>> {
        transferred(self.0, report.0)
    }
}

/// Moves bytes into a buffer and gives it back.
#[derive(Debug)]
pub struct Reading<B>(pub(crate) B);

impl<B: BufferMut + Unpin> Action for Reading<B> {
    type Output = (usize, B);
    type Error = Failed<B>;

    fn parts(&mut self, parts: &mut Parts) {
        self.0.target_parts(parts);
    }

    fn finish(mut self, _io: &Io, report: ActionReport) -> Result<(usize, B), Failed<B>> {
        tell_filled(&mut self.0, report.0.moved.bytes());
        transferred(self.0, report.0)
    }
}

impl<B: Buffer + Unpin> Positioned for Writing<B> {}
impl<B: BufferMut + Unpin> Positioned for Reading<B> {}

fn transferred<B>(buffer: B, report: Report) -> Result<(usize, B), Failed<B>> {
    match report.result {
        Ok(value) => {
            if let Value::Count(_) = value {
                // A number has nothing to drop; to find that out costs a call.
                std::mem::forget(value);
            }
            Ok((report.moved.bytes() as usize, buffer))
        }
        Err(error) => Err(Failed { error, buffer, moved: report.moved }),
    }
}

impl Sealed for ReadToEnd {}

impl Action for ReadToEnd {
    type Output = (usize, Vec<u8>);
    type Error = Failed<Vec<u8>>;

    fn finish(self, _io: &Io, report: ActionReport) -> Result<(usize, Vec<u8>), Failed<Vec<u8>>> {
        transferred(self.bytes, report.0)
    }
}

/// Gives nothing back.
#[derive(Debug)]
pub struct Plain;

impl Sealed for Plain {}

impl Action for Plain {
    const SLEEPS: bool = true;

    type Output = ();
    type Error = Error;

    fn finish(self, _io: &Io, report: ActionReport) -> Result<(), Error> {
        report.0.result.map(drop)
    }
}

/// A handle of the queue as those see it who use it: clones of it and the operations on it have one in common.
pub(crate) struct Named {
    pub(crate) io: Io,
    pub(crate) key: HandleKey,
    /// What errors call it, also once it is closed; a socket's addresses are asked of the OS while it is open.
    pub(crate) name: Option<Rc<str>>,
    /// Operations are not counted.
    clones: Cell<u32>,
}

/// A counted reference to a handle of the queue. The last one to go closes it in the background.
pub(crate) struct HandleRef(Rc<Named>);

impl Deref for HandleRef {
    type Target = Named;

    fn deref(&self) -> &Named {
        &self.0
    }
}

impl HandleRef {
    pub(crate) fn new(io: Io, key: HandleKey, name: Option<Rc<str>>) -> HandleRef {
        HandleRef(Rc::new(Named { io, key, name, clones: Cell::new(1) }))
    }

    pub(crate) fn operation<A: Action>(&self, op: Op, action: A) -> Operation<A> {
        self.plan(Plan::Op(op), action)
    }

    #[inline]
    pub(crate) fn transfer<A: Action>(&self, transfer: Transfer, action: A) -> Operation<A> {
        self.plan(Plan::Transfer(transfer), action)
    }

    #[inline]
    pub(crate) fn plan<A: Action>(&self, plan: Plan, action: A) -> Operation<A> {
        Operation::on(Rc::clone(&self.0), plan, action)
    }

    pub(crate) fn close(&self, now: bool) -> Operation<Plain> {
        self.plan(Plan::Close { now }, Plain)
    }

    /// Whether there is no other clone.
    pub(crate) fn is_the_only(&self) -> bool {
        self.clones.get() == 1
    }
}

impl Named {
    /// What errors call it once it is closed.
    pub(crate) fn closed_name(&self) -> &str {
        self.name.as_deref().unwrap_or(CLOSED_SOCKET)
    }

    /// Whether the handle takes requests.
    pub(crate) fn is_open(&self) -> bool {
        let Ok(core) = self.io.try_core() else { return false };
        let queue = core.queue.borrow();
        queue.handles.find(self.key).is_some_and(|index| queue.handles[index].life == Life::Open)
    }
}

impl Clone for HandleRef {
    fn clone(&self) -> HandleRef {
        self.clones.set(self.clones.get() + 1);
        HandleRef(Rc::clone(&self.0))
    }
}

impl Drop for HandleRef {
    fn drop(&mut self) {
        let left = self.clones.get() - 1;
        self.clones.set(left);
        if left == 0
            && let Ok(core) = self.io.try_core()
        {
            let closes = core.queue.borrow_mut().close_unowned(self.key);
            if closes {
                core.drop_leftovers();
                core.rethrow();
            }
        }
    }
}

impl fmt::Debug for HandleRef {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let core = self.io.try_core().ok();
        let name = core.as_ref().and_then(|core| core.queue.try_borrow().ok()?.name_of(self.key));
        match name {
            Some(name) => formatter.write_str(&name),
            None => write!(formatter, "{} (closed)", self.name.as_deref().unwrap_or("socket")),
        }
    }
}
