//! Marks: rare moments of the engine, counted, so that tests can show that they were there and not only that nothing
//! went wrong. They count with the feature `marks` only, which tests turn on, on the thread of the scheduler; otherwise
//! they cost nothing.

macro_rules! marks {
    ($($(#[doc = $what:expr])+ $name:ident,)*) => {
        /// A moment worth counting.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mark {
            $($(#[doc = $what])+ $name,)*
        }

        impl Mark {
            /// All of them.
            pub const ALL: &'static [Mark] = &[$(Mark::$name,)*];
        }
    };
}

marks! {
    /// A cancel or deadline came too late: the request succeeded all the same.
    RacedCancel,
    /// A cancel or deadline found a request that had moved some of its bytes.
    StoppedHalfway,
    /// A request was stopped before it began.
    StoppedUnstarted,
    /// There was no room at the OS.
    FullQueue,
    /// The queue was at its depth, and a request was refused.
    Rejected,
    /// The OS took a part of a write.
    ShortWrite,
    /// The OS gave a part of what was to be read whole.
    ShortRead,
    /// The OS let go of a request that is to go on.
    Resumed,
    /// A range waited for one that it overlaps.
    OverlapHeldBack,
    /// A range waited for one that it does not overlap, as one of them may move the end.
    ExtensionHeldBack,
    /// The extents of a long lane said of a request that nothing is in its way.
    FreeByExtents,
    /// They said that something is.
    HeldByExtents,
    /// A request waited for a barrier, or a barrier for it.
    BarrierHeldBack,
    /// An unordered request passed others.
    UnorderedPassed,
    /// A failed write broke its lane.
    BrokenLane,
    /// A write failed for one before it.
    FailedForAnother,
    /// A read was carried out at once.
    InlineRead,
    /// A read was tried at once, and there was not all of it.
    InlineInVain,
    /// A send that was tried went out at once, or a part of it.
    InlineSend,
    /// A part of it only.
    InlineSendInPart,
    /// A send was not tried at once, as one of its lane was before it.
    InlineSendHeldBack,
    /// Bytes came back to the front of their lane.
    BytesPushedBack,
    /// A connection came back to the front of its lane.
    ConnectionPushedBack,
    /// A file's cursor went back, as nobody wanted what was read.
    CursorWentBack,
    /// A request got what had come back.
    TookFromFront,
    /// The OS was asked to let go of a receive or accept, as something had come back before it.
    ReceiveInterrupted,
    /// What the OS gave went behind what had come back meanwhile.
    WentBehind,
    /// Writes rode on the call of another.
    Joined,
    /// A write that rode along was stopped, and the others went on.
    JoinedStopped,
    /// The OS reported on a request that had settled without it.
    LateOutcome,
    /// A close cancelled what was before it.
    CloseCancelled,
    /// A close could wait no longer.
    CloseHurried,
    /// An outcome was dropped that nobody had taken.
    Discarded,
    /// A request of several steps went on with its next.
    ChainWentOn,
    /// A request of several steps was stopped between two of them.
    ChainStopped,
}

/// Whether marks count.
pub(crate) const ENABLED: bool = cfg!(feature = "marks");

/// What a scheduler has not given back. All zero once its program is over.
#[cfg(feature = "marks")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Requests that have a slot.
    pub slots: usize,
    /// Handles in the queue's table.
    pub handles: usize,
    /// Deadlines and sleeps, those included that are over and whose futures have not been told.
    pub timers: usize,
    /// Requests that the OS has.
    pub at_os: usize,
    /// Requests that count towards the depth, and sleeps.
    pub counted: usize,
    /// Requests that have not settled.
    pub unsettled: usize,
    /// Tasks in the table, and entries in the lists of what is to run.
    pub tasks: usize,
    /// The program's values waiting to be dropped.
    pub leftovers: usize,
}

#[cfg(feature = "marks")]
mod counters {
    use std::cell::Cell;

    use super::Mark;

    thread_local! {
        static COUNTS: [Cell<u64>; Mark::ALL.len()] = const { [const { Cell::new(0) }; Mark::ALL.len()] };
    }

    pub(crate) fn hit(mark: Mark) {
        COUNTS.with(|counts| counts[mark as usize].set(counts[mark as usize].get() + 1));
    }

    /// How often this has happened to the schedulers of this thread.
    pub fn count(mark: Mark) -> u64 {
        COUNTS.with(|counts| counts[mark as usize].get())
    }
}

#[cfg(feature = "marks")]
pub use counters::count;
#[cfg(feature = "marks")]
pub(crate) use counters::hit;

/// Counts one moment.
#[cfg(not(feature = "marks"))]
#[inline(always)]
pub(crate) const fn hit(_mark: Mark) {}
