//! Tasks: futures that the scheduler polls, their wakers, and the handles that wait for them.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, RawWakerVTable, Wake, Waker};

use super::Io;
use super::remote::Inbox;
use crate::error::{Error, ErrorKind};
use crate::planted::{self, Defect};
use crate::queue::slots::{RequestId, RunCallback};
use crate::sync::{AtomicBool, thread_local};

/// Names one task, for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TaskKey {
    index: u32,
    generation: u32,
}

/// The future that `block_on` drives; it is in no table.
pub(crate) const ROOT: TaskKey = TaskKey { index: u32::MAX, generation: 0 };

/// Something for the scheduler to run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ready {
    Task(TaskKey),
    /// The callback of a settled request, and what knows its types.
    Callback(RequestId, RunCallback),
}

/// What is to run, in the order it became ready.
#[derive(Default)]
pub(crate) struct ReadyQueue {
    list: RefCell<VecDeque<Ready>>,
}

impl ReadyQueue {
    pub(crate) fn push(&self, ready: Ready) {
        self.list.borrow_mut().push_back(ready);
    }

    pub(crate) fn pop(&self) -> Option<Ready> {
        self.list.borrow_mut().pop_front()
    }

    /// Takes the future of `block_on` out if it is next.
    pub(crate) fn pop_root(&self) -> bool {
        let mut list = self.list.borrow_mut();
        let is_root = matches!(list.front(), Some(Ready::Task(ROOT)));
        if is_root {
            list.pop_front();
        }
        is_root
    }

    pub(crate) fn len(&self) -> usize {
        self.list.borrow().len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.borrow().is_empty()
    }
}

thread_local! {
    /// The ready queues of the schedulers on this thread, so that a wake from their own thread is a push.
    static LOCAL: RefCell<Vec<(u64, Rc<ReadyQueue>)>> = const { RefCell::new(Vec::new()) };
}

/// Makes a scheduler's queue known to the wakers on its thread.
pub(crate) fn enter_thread(scheduler: u64, ready: &Rc<ReadyQueue>) {
    LOCAL.with(|local| local.borrow_mut().push((scheduler, Rc::clone(ready))));
}

/// Undoes `enter_thread`.
pub(crate) fn leave_thread(scheduler: u64) {
    let _ = LOCAL.try_with(|local| local.borrow_mut().retain(|(other, _)| *other != scheduler));
}

/// Wakes one task, from any thread.
pub(crate) struct TaskWaker {
    key: TaskKey,
    inbox: Arc<Inbox>,
    /// It is in a ready queue or on its way there.
    is_ready: AtomicBool,
}

impl TaskWaker {
    pub(crate) fn new(key: TaskKey, inbox: Arc<Inbox>) -> Arc<TaskWaker> {
        Arc::new(TaskWaker { key, inbox, is_ready: AtomicBool::new(false) })
    }

    /// Called before a poll: wakes from now on count.
    pub(crate) fn begins(&self) {
        // A store would not do: it could come after the poll's reads in the one order of things, so that a wake that
        // the poll has not seen still finds the task ready.
        self.is_ready.swap(false, Ordering::AcqRel);
    }

    /// Wakes it on its scheduler's own thread, whose ready queue this is.
    pub(crate) fn wake_here(&self, ready: &ReadyQueue) {
        if planted::is(Defect::WakeLost) && planted::times().is_multiple_of(16) {
            return;
        }
        if !self.is_ready.swap(true, Ordering::AcqRel) {
            ready.push(Ready::Task(self.key));
        }
    }

    fn make_ready(&self) {
        if self.is_ready.swap(true, Ordering::AcqRel) {
            return;
        }
        let scheduler = self.inbox.scheduler;
        let was_local = LOCAL.try_with(|local| match local.borrow().iter().find(|(other, _)| *other == scheduler) {
            Some((_, ready)) => {
                ready.push(Ready::Task(self.key));
                true
            }
            None => false,
        });
        if !was_local.unwrap_or(false) {
            self.inbox.push_wake(self.key);
        }
    }
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.make_ready();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.make_ready();
    }
}

pub(crate) type TaskFuture = Pin<Box<dyn Future<Output = ()>>>;

/// Told when a task ends otherwise than by finishing.
pub(crate) trait EndsTask {
    fn end(&self, kind: ErrorKind);
}

/// What a poll of a task takes.
pub(crate) struct Polled {
    pub(crate) future: TaskFuture,
    pub(crate) waker: Waker,
    pub(crate) state: Arc<TaskWaker>,
}

/// The task that is being polled, or else the future that `block_on` drives.
pub(crate) struct Current {
    pub(crate) state: Arc<TaskWaker>,
    vtable: &'static RawWakerVTable,
}

impl Current {
    /// `waker` is its own.
    pub(crate) fn new(state: Arc<TaskWaker>, waker: &Waker) -> Current {
        Current { state, vtable: waker.vtable() }
    }

    /// Whether this waker wakes it and does nothing else.
    pub(crate) fn is_woken_by(&self, waker: &Waker) -> bool {
        waker.data() == Arc::as_ptr(&self.state).cast() && std::ptr::eq(waker.vtable(), self.vtable)
    }
}

/// Says who is being driven by `block_on`, until that returns or panics.
pub(crate) struct Driven<'a>(&'a RefCell<Option<Current>>);

impl<'a> Driven<'a> {
    pub(crate) fn begin(place: &'a RefCell<Option<Current>>, current: Current) -> Driven<'a> {
        place.replace(Some(current));
        Driven(place)
    }
}

impl Drop for Driven<'_> {
    fn drop(&mut self) {
        self.0.take();
    }
}

/// A task between two polls.
pub(crate) struct Task {
    generation: u32,
    /// Away while it is being polled.
    pub(crate) polled: Option<Polled>,
    pub(crate) join: Rc<dyn EndsTask>,
    killed: bool,
}

enum Entry {
    Used(Task),
    Free { generation: u32, next: Option<u32> },
}

#[derive(Default)]
pub(crate) struct Tasks {
    entries: Vec<Entry>,
    first_free: Option<u32>,
    count: usize,
}

impl Tasks {
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Adds a task, which whoever adds it puts into the ready queue.
    pub(crate) fn insert(&mut self, future: TaskFuture, join: Rc<dyn EndsTask>, inbox: &Arc<Inbox>) -> TaskKey {
        let index = self.first_free.unwrap_or_else(|| {
            self.entries.push(Entry::Free { generation: 0, next: None });
            (self.entries.len() - 1) as u32
        });
        let entry = &mut self.entries[index as usize];
        let Entry::Free { generation, next } = *entry else { unreachable!("the free list holds free entries") };
        self.first_free = next;
        self.count += 1;
        let key = TaskKey { index, generation };
        let state = TaskWaker::new(key, Arc::clone(inbox));
        // So that a wake before its first poll does not list it twice.
        state.is_ready.store(true, Ordering::Relaxed);
        let waker = Waker::from(Arc::clone(&state));
        let polled = Some(Polled { future, waker, state });
        *entry = Entry::Used(Task { generation, polled, join, killed: false });
        key
    }

    fn get_mut(&mut self, key: TaskKey) -> Option<&mut Task> {
        match self.entries.get_mut(key.index as usize)? {
            Entry::Used(task) if task.generation == key.generation => Some(task),
            _ => None,
        }
    }

    /// Takes out what a poll of a task takes.
    pub(crate) fn begin(&mut self, key: TaskKey) -> Option<Polled> {
        self.get_mut(key)?.polled.take()
    }

    /// Puts it back after the poll; gives it back again if the task was killed meanwhile.
    pub(crate) fn suspend(&mut self, key: TaskKey, polled: Polled) -> Option<Polled> {
        match self.get_mut(key) {
            Some(task) if !task.killed => {
                task.polled = Some(polled);
                None
            }
            _ => Some(polled),
        }
    }

    /// Takes a task out. What is returned is to be dropped outside any borrow.
    pub(crate) fn remove(&mut self, key: TaskKey) -> Option<Task> {
        self.get_mut(key)?;
        let free = Entry::Free { generation: key.generation.wrapping_add(1), next: self.first_free };
        let Entry::Used(task) = std::mem::replace(&mut self.entries[key.index as usize], free) else { unreachable!() };
        self.first_free = Some(key.index);
        self.count -= 1;
        Some(task)
    }

    /// Marks a task killed. Its future is returned to be dropped, unless it is just being polled.
    pub(crate) fn kill(&mut self, key: TaskKey) -> Option<Task> {
        let task = self.get_mut(key)?;
        if task.polled.is_none() {
            task.killed = true;
            return None;
        }
        self.remove(key)
    }

    /// All tasks there are.
    pub(crate) fn keys(&self) -> Vec<TaskKey> {
        let entries = self.entries.iter().enumerate();
        let used = entries.filter_map(|(index, entry)| match entry {
            Entry::Used(task) => Some(TaskKey { index: index as u32, generation: task.generation }),
            Entry::Free { .. } => None,
        });
        used.collect()
    }
}

/// What a task leaves behind.
pub(crate) struct JoinState<T> {
    result: Cell<Option<Result<T, ErrorKind>>>,
    waiting: Cell<Option<Waker>>,
    is_done: Cell<bool>,
}

impl<T> JoinState<T> {
    pub(crate) fn new() -> Rc<JoinState<T>> {
        Rc::new(JoinState { result: Cell::new(None), waiting: Cell::new(None), is_done: Cell::new(false) })
    }

    pub(crate) fn set(&self, result: Result<T, ErrorKind>) {
        if self.is_done.replace(true) {
            return;
        }
        self.result.set(Some(result));
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }
}

impl<T> EndsTask for JoinState<T> {
    fn end(&self, kind: ErrorKind) {
        self.set(Err(kind));
    }
}

/// Waits for a spawned task: as a future, or with [`wait`](JoinHandle::wait). Dropping it lets the task go on.
pub struct JoinHandle<T> {
    pub(crate) state: Rc<JoinState<T>>,
    pub(crate) key: TaskKey,
    pub(crate) io: Io,
}

impl<T: 'static> JoinHandle<T> {
    /// Whether the task has ended.
    pub fn is_finished(&self) -> bool {
        self.state.is_done.get()
    }

    /// Ends the task where it stands: its future is dropped, what it awaited is cancelled.
    pub fn kill(&self) {
        self.io.kill(self.key);
    }

    /// Turns the scheduler until the task has ended.
    pub fn wait(self) -> Result<T, Error> {
        while !self.state.is_done.get() {
            let core = self.io.core("join")?;
            if core.is_inside() {
                return Err(join_error(ErrorKind::WaitInsideTask));
            }
            if !core.turn_towards(|| self.state.is_done.get()) {
                return Err(join_error(ErrorKind::WrongProcess));
            }
        }
        self.state.result.take().unwrap_or(Err(ErrorKind::Panicked)).map_err(join_error)
    }
}

fn join_error(kind: ErrorKind) -> Error {
    Error::new(kind, "join", "")
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.state.result.take() {
            Some(result) => Poll::Ready(result.map_err(join_error)),
            None => {
                self.state.waiting.set(Some(context.waker().clone()));
                Poll::Pending
            }
        }
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "JoinHandle({:?}, finished: {})", self.key, self.state.is_done.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Wakeup;

    #[test]
    fn a_wake_of_the_schedulers_own_thread_is_a_push_and_any_other_goes_through_the_inbox() {
        let one = Rc::new(ReadyQueue::default());
        let other = Rc::new(ReadyQueue::default());
        // Numbers that no scheduler of this process gets.
        let inboxes =
            [u64::MAX, u64::MAX - 1].map(|number| Arc::new(Inbox::new(number, Wakeup::Flag(Arc::default()), 1)));
        let wake = |place: usize| TaskWaker::new(ROOT, Arc::clone(&inboxes[place])).wake();
        let lengths = || (one.len(), other.len(), inboxes.each_ref().map(|inbox| inbox.has_arrived()));
        enter_thread(u64::MAX, &one);
        enter_thread(u64::MAX - 1, &other);
        wake(0);
        assert_eq!(lengths(), (1, 0, [false, false]));
        wake(1);
        assert_eq!(lengths(), (1, 1, [false, false]));
        // One has gone, and the other is as it was.
        leave_thread(u64::MAX);
        wake(1);
        assert_eq!(lengths(), (1, 2, [false, false]));
        wake(0);
        assert_eq!(lengths(), (1, 2, [true, false]));
        leave_thread(u64::MAX - 1);
        wake(1);
        assert_eq!(lengths(), (1, 2, [true, true]));
    }
}
