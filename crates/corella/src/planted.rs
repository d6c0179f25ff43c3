//! Deliberate defects, to show that the checks would find the like. They are there with the feature `planted` only,
//! which tests of the tests turn on, and then on the thread alone that [`plant`]s one.

/// A defect that can be planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// Two operations at the cursor, or in one direction of a stream, run at once.
    LaneForgetsOrder,
    /// Overlapping ranges run at once.
    OverlapNotHeldBack,
    /// A write past the end runs beside reads that reach that end.
    ExtendingWriteNotHeldBack,
    /// A barrier does not wait for what is before it.
    BarrierDoesNotWait,
    /// A short write counts as whole.
    ShortWriteIsWhole,
    /// Success after a cancel is told as cancelled, with nothing done.
    RacedCancelDeniesSuccess,
    /// A byte received for nobody is lost.
    ByteDroppedAtRacedCancel,
    /// What was received for nobody goes behind what came later.
    PushbackOutOfOrder,
    /// A settled request wakes nobody, now and then.
    WakeLost,
    /// A deadline is forgotten when there is no room at the OS.
    DeadlineLostWhenFull,
    /// A failed write leaves its lane as it was.
    BrokenLaneForgotten,
    /// A write that failed half-way leaves the cursor where it was.
    CursorStaysAtFailure,
    /// The length that a truncate leaves is not learned.
    TruncateNotLearned,
    /// Those who wait for a request that is given up before it began wait for ever.
    GivenUpReleasesNobody,
    /// A read that was cut goes on where it began.
    ReadGoesOnAtItsBeginning,
    /// A status dropped is cancelled instead of let go on.
    DetachIsCancel,
    /// A send that is tried at once passes those of its lane that wait.
    TriedSendPassesOthers,

    // These were thought up by somebody who had read the engine and not the checks.
    /// The end of a file counts as moved when the write that is to move it begins.
    EndKnownTooEarly,
    /// A write that rode on another's call begins anew, whatever went out of it.
    RiderBeginsAnew,
    /// A close does not let queued writes go out.
    CloseDropsWrites,
    /// Appends run beside positioned operations.
    AppendPassesPositioned,
    /// A request without order passes barriers as well.
    UnorderedPassesBarriers,
    /// A sync holds nobody back.
    SyncIsNoBarrier,
    /// What was too late is told as cancelled.
    LateToldAsCancelled,
    /// A cancel of a request that is gone meets the one that has its place now.
    StaleNameMeetsTheNext,
    /// A cancel settles at once what the OS still has.
    SettledBeforeTheOsLetsGo,

    // These were the engine's own, until the model found them.
    /// A read at the cursor that is on its way keeps what it has read when the cursor goes back behind it, as nobody wanted
    /// what the one before had read.
    ReadIsNotBroughtBack,
}

#[cfg(feature = "planted")]
mod switch {
    use std::cell::Cell;

    use super::Defect;

    thread_local! {
        static PLANTED: Cell<Option<Defect>> = const { Cell::new(None) };
        static TIMES: Cell<u64> = const { Cell::new(0) };
    }

    /// Plants a defect in everything that this thread runs from now on, or none.
    pub fn plant(defect: Option<Defect>) {
        PLANTED.set(defect);
    }

    /// How often a planted defect has had its chance on this thread.
    pub fn times() -> u64 {
        TIMES.get()
    }

    pub(crate) fn is(defect: Defect) -> bool {
        let is_it = PLANTED.get() == Some(defect);
        TIMES.set(TIMES.get() + u64::from(is_it));
        is_it
    }
}

#[cfg(feature = "planted")]
pub(crate) use switch::is;
#[cfg(feature = "planted")]
pub use switch::{plant, times};

/// How often a planted defect has had its chance.
#[cfg(not(feature = "planted"))]
pub(crate) const fn times() -> u64 {
    0
}

/// Whether this defect is planted.
#[cfg(not(feature = "planted"))]
#[inline(always)]
pub(crate) const fn is(_defect: Defect) -> bool {
    false
}
