//! Statuses and futures of any type that a program holds for a while.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use corella::{Action, Operation, Status};

use crate::diary::{Diary, Outcome};

pub type Convert<A> = fn(Result<<A as Action>::Output, <A as Action>::Error>) -> Outcome;

/// Something that will write an outcome into a diary.
pub type Task = Pin<Box<dyn Future<Output = ()>>>;

/// A status of any type.
pub trait Held {
    fn is_settled(&self) -> bool;
    fn cancel(&self);
    fn take(self: Box<Self>) -> Option<Outcome>;
    /// Has a callback write it down.
    fn call_back(self: Box<Self>, diary: Rc<Diary>, index: usize);
    /// Has a task write it down.
    fn into_task(self: Box<Self>, diary: Rc<Diary>, index: usize) -> Task;
}

pub struct HeldStatus<A: Action> {
    pub status: Status<A>,
    pub convert: Convert<A>,
}

impl<A: Action> Held for HeldStatus<A> {
    fn is_settled(&self) -> bool {
        self.status.is_settled()
    }

    fn cancel(&self) {
        self.status.cancel();
    }

    fn take(self: Box<Self>) -> Option<Outcome> {
        Some((self.convert)(self.status.take().ok()?))
    }

    fn call_back(self: Box<Self>, diary: Rc<Diary>, index: usize) {
        let convert = self.convert;
        let given = self.status.then(move |outcome| diary.delivered(index, convert(outcome)));
        assert!(given.is_ok(), "the scheduler is there, so a status takes a callback");
    }

    fn into_task(self: Box<Self>, diary: Rc<Diary>, index: usize) -> Task {
        Box::pin(async move { diary.delivered(index, (self.convert)(self.status.await)) })
    }
}

/// A future of any type, polled at least once.
pub trait HeldFuture {
    /// By nobody who would be woken.
    fn poll(&mut self) -> Option<Outcome>;
    fn into_task(self: Box<Self>, diary: Rc<Diary>, index: usize) -> Task;
}

pub struct HeldOperation<A: Action> {
    pub operation: Operation<A>,
    pub convert: Convert<A>,
}

impl<A: Action> HeldFuture for HeldOperation<A> {
    fn poll(&mut self) -> Option<Outcome> {
        match Pin::new(&mut self.operation).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(outcome) => Some((self.convert)(outcome)),
            Poll::Pending => None,
        }
    }

    fn into_task(self: Box<Self>, diary: Rc<Diary>, index: usize) -> Task {
        Box::pin(async move { diary.delivered(index, (self.convert)(self.operation.await)) })
    }
}
