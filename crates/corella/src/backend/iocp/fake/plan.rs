//! What a fake port does with each request: by default as Windows mostly does, and otherwise from a seed or a script.

use std::fmt;
use std::time::Duration;

use super::super::port::Code;
#[cfg(test)]
use super::super::port::ERROR_OPERATION_ABORTED;
use crate::backend::simulated::clock::Random;

/// When a request is carried out, and when its packet comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timing {
    /// Inside the call if it can be, and the call says so.
    Inside,
    /// Inside the call if it can be; the call says that it is pending, and the packet is there before it returns.
    PacketFirst,
    /// No earlier than after this time.
    After(Duration),
    /// As soon as it can be, but the packet comes so much later.
    Late(Duration),
    /// As soon as it can be, but the packet stays away until it is released.
    #[cfg_attr(not(test), expect(dead_code, reason = "only scripts ask for it"))]
    Withheld,
}

/// What comes of asking for the end of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtCancel {
    /// It ends at once.
    Ends,
    /// It ends after this time, unless it is done before.
    EndsAfter(Duration),
    /// The request wins: it is carried out if it can be, and only ends otherwise.
    Loses,
}

/// What happens to one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fate {
    pub(crate) timing: Timing,
    pub(crate) at_cancel: AtCancel,
    /// Bytes that it moves at most.
    pub(crate) bytes_max: u64,
    /// The call refuses it.
    pub(crate) refused: Option<Code>,
    /// It is pending and its packet says this.
    pub(crate) fails: Option<Code>,
}

impl Fate {
    /// As Windows mostly does.
    pub(crate) const ORDINARY: Fate =
        Fate { timing: Timing::Inside, at_cancel: AtCancel::Ends, bytes_max: u64::MAX, refused: None, fails: None };

    #[cfg(test)]
    pub(crate) fn at(timing: Timing) -> Fate {
        Fate { timing, ..Fate::ORDINARY }
    }

    /// Somebody else who has the handle stops it.
    #[cfg(test)]
    pub(crate) fn stopped_by_another() -> Fate {
        Fate { fails: Some(ERROR_OPERATION_ABORTED), ..Fate::ORDINARY }
    }
}

type Script = Box<dyn FnMut(&'static str, u64) -> Option<Fate>>;

/// Draws fates.
pub(crate) struct Plan {
    random: Option<Random>,
    script: Option<Script>,
}

impl fmt::Debug for Plan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Plan({:?})", self.random)
    }
}

impl Plan {
    /// The ordinary for every request, or what chance makes of it from this seed.
    pub(crate) fn new(seed: Option<u64>) -> Plan {
        Plan { random: seed.map(Random::new), script: None }
    }

    /// Asks `script` first: it is told the call and how many of its name there have been.
    #[cfg(test)]
    pub(crate) fn set_script(&mut self, script: impl FnMut(&'static str, u64) -> Option<Fate> + 'static) {
        self.script = Some(Box::new(script));
    }

    /// The fate of the next request.
    pub(crate) fn draw(&mut self, call: &'static str, number: u64) -> Fate {
        if let Some(fate) = self.script.as_mut().and_then(|script| script(call, number)) {
            return fate;
        }
        let Some(random) = &mut self.random else { return Fate::ORDINARY };
        let timing = match random.below(8) {
            0..3 => Timing::Inside,
            3..5 => Timing::PacketFirst,
            5 => Timing::Late(Duration::from_micros(random.below(400))),
            // What goes out is begun inside the call: a peer may wait for it while nobody turns.
            _ if matches!(call, "WSASend" | "WSASendTo" | "WriteFile" | "ConnectEx") => {
                Timing::Late(Duration::from_micros(random.below(400)))
            }
            _ => Timing::After(Duration::from_micros(random.below(400))),
        };
        let at_cancel = match random.below(3) {
            0 => AtCancel::Ends,
            1 => AtCancel::EndsAfter(Duration::from_micros(random.below(400))),
            _ => AtCancel::Loses,
        };
        // Only what waits for a stream's bytes is ever short on Windows.
        let is_read = matches!(call, "WSARecv");
        let bytes_max = if is_read && random.chance(0.2) { 1 + random.below(40) } else { u64::MAX };
        Fate { timing, at_cancel, bytes_max, ..Fate::ORDINARY }
    }

    /// A number below `limit` for the order of packets: the first of all without a seed.
    pub(crate) fn pick(&mut self, limit: usize) -> usize {
        self.random.as_mut().map_or(0, |random| random.below(limit as u64) as usize)
    }

    /// How many packets one dequeue gives of so many.
    pub(crate) fn batch(&mut self, count: usize) -> usize {
        match &mut self.random {
            Some(random) if count > 0 => 1 + random.below(count as u64) as usize,
            _ => count,
        }
    }
}
