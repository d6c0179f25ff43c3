//! Time: sleeps, intervals, and limits on any future.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::error::{Error, ErrorKind};
use crate::operation::{Operation, Plan};
use crate::plain::Plain;
use crate::scheduler::Io;

impl Io {
    /// Settles after `duration`, counted from its submission. Sleeps that are awaited count from the scheduler's next look at
    /// the clock, at the latest when the poll that begins them ends: never early, and late by the rest of that poll at most.
    ///
    /// ```
    /// # use std::time::{Duration, Instant};
    /// # fn main() -> Result<(), corella::Error> {
    /// let scheduler = corella::Scheduler::new()?;
    /// let start = Instant::now();
    /// scheduler.io().sleep(Duration::from_millis(5)).wait()?;
    /// assert!(start.elapsed() >= Duration::from_millis(5));
    /// # Ok(()) }
    /// ```
    pub fn sleep(&self, duration: Duration) -> Operation<Plain> {
        Operation::new(self.clone(), Plan::Sleep(duration), Plain)
    }

    /// The time since the scheduler started, by the clock that its deadlines and sleeps go by; zero once it is gone.
    pub fn now(&self) -> Duration {
        // By what the program sees of the clock its sleeps have begun.
        self.try_core().map_or(Duration::ZERO, |core| Duration::from_nanos(core.after(Duration::ZERO)))
    }

    /// Ticks every `period`, the first time after one. A late tick does not move those after it, and ticks that
    /// nobody waited for are counted and not made up for. A period of less than a microsecond counts as one.
    pub fn interval(&self, period: Duration) -> Interval {
        let period = period.max(Duration::from_micros(1));
        Interval { io: self.clone(), period, next: self.now().saturating_add(period) }
    }

    /// Gives `future` at most `limit`; then it is dropped, which cancels what it awaits, and the answer is
    /// `TimedOut`.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), corella::Error> {
    /// let mut scheduler = corella::Scheduler::new()?;
    /// let io = scheduler.io();
    /// let forever = std::future::pending::<()>();
    /// let outcome = scheduler.block_on(io.timeout(Duration::from_millis(2), forever))?;
    /// assert_eq!(outcome.unwrap_err().kind(), corella::ErrorKind::TimedOut);
    /// # Ok(()) }
    /// ```
    pub fn timeout<F: Future>(&self, limit: Duration, future: F) -> Timeout<F> {
        Timeout { future: Some(Box::pin(future)), sleep: self.sleep(limit) }
    }

    /// Lets the other ready tasks run before this one goes on.
    pub fn yield_now(&self) -> YieldNow {
        YieldNow { has_yielded: false }
    }
}

/// A clock that ticks; see [`Io::interval`].
#[derive(Debug)]
pub struct Interval {
    io: Io,
    period: Duration,
    /// On the scheduler's clock.
    next: Duration,
}

impl Interval {
    /// Waits for the next tick and says how many have passed since the last: one, or more if this is late.
    pub async fn tick(&mut self) -> Result<u64, Error> {
        let early = self.next.saturating_sub(self.io.now());
        match early.is_zero() {
            false => self.io.sleep(early).await?,
            // It is late and need not wait, but others have their turn.
            true => self.io.yield_now().await,
        }
        let late = self.io.now().saturating_sub(self.next);
        let passed = 1 + late.as_nanos() / self.period.as_nanos();
        // As many periods as have passed are less than the time that has.
        let passed_time = u64::try_from(self.period.as_nanos().saturating_mul(passed)).unwrap_or(u64::MAX);
        self.next = self.next.saturating_add(Duration::from_nanos(passed_time));
        Ok(passed.try_into().unwrap_or(u64::MAX))
    }
}

/// A future with a limit; see [`Io::timeout`].
pub struct Timeout<F> {
    /// Gone once it has ended.
    future: Option<Pin<Box<F>>>,
    sleep: Operation<Plain>,
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Some(future) = &mut this.future else { panic!("a timeout was polled after its end") };
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            this.future = None;
            return Poll::Ready(Ok(output));
        }
        match Pin::new(&mut this.sleep).poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(result) => {
                this.future = None;
                Poll::Ready(Err(result.err().unwrap_or_else(|| Error::new(ErrorKind::TimedOut, "timeout", ""))))
            }
        }
    }
}

impl<F> fmt::Debug for Timeout<F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Timeout(ended: {})", self.future.is_none())
    }
}

/// Yields once; see [`Io::yield_now`].
#[derive(Debug)]
pub struct YieldNow {
    has_yielded: bool,
}

impl Future for YieldNow {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.has_yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
