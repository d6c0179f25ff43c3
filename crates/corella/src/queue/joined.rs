//! Joined writes: what is queued on a stream behind a write goes out in the same vectored call.
//!
//! A stream has at most one write at the OS, so a queue of small ones would cost a call each. Instead the head of
//! the lane takes its followers along. Each stays a request of its own: it settles when its last byte is out, and
//! cancelling one fails no other, as the rest are handed over again without it.

use super::lanes::SEND;
use super::outcome::State;
use super::slots::NONE;
use super::{Outcome, RequestQueue, Value};
use crate::backend::TRANSFER_PARTS_MAX;
use crate::marks::{self, Mark};
use crate::op::{At, Op};
use crate::planted::{self, Defect};

/// Bytes of one joined call at most: beyond it, joining saves nothing and holds the outcomes back.
pub(super) const JOINED_BYTES_MAX: u64 = 1 << 20;

impl RequestQueue {
    /// Takes writes along that wait directly behind `leader`, whose parts are already listed.
    pub(super) fn join_followers(&mut self, leader: u32) {
        let mut bytes: u64 = self.parts.iter().map(|part| part.length as u64).sum();
        let mut next = self.slots[leader].links[SEND].next;
        while next != NONE && bytes < JOINED_BYTES_MAX && self.parts.len() < TRANSFER_PARTS_MAX {
            let slot = &self.slots[next];
            let (Op::Write { at: At::Cursor, .. } | Op::Send { .. }) = slot.op else { break };
            let Some(parts) = slot.op.parts() else { break };
            // An empty write has nothing to send, and one that is to be stopped is stopped by itself.
            if slot.state != State::Held || slot.cause.is_some() || parts.total() == 0 {
                break;
            }
            debug_assert_eq!(slot.moved, 0, "what has gone out in part is the head of its lane");
            parts.append_remaining(0, TRANSFER_PARTS_MAX, &mut self.parts);
            bytes += parts.total();
            let slot = &mut self.slots[next];
            slot.state = State::AtOs;
            next = slot.links[SEND].next;
            self.slots[leader].joined += 1;
            marks::hit(Mark::Joined);
        }
    }

    /// Shares out what one call did among the writes that it carried.
    pub(super) fn complete_joined(&mut self, leader: u32, joined: u32, outcome: Outcome) {
        let mut followers = std::mem::take(&mut self.followers);
        let mut next = self.slots[leader].links[SEND].next;
        for _ in 0..joined {
            followers.push(self.slots.id(next));
            next = self.slots[next].links[SEND].next;
        }
        let mut left = match outcome {
            Ok(Value::Count(count)) => count,
            _ => 0,
        };
        let share = left.min(self.remaining(leader));
        left -= share;
        // All go back to their lane first, so that the leader's settling finds them there.
        for id in &followers {
            let follower = id.index;
            let share = left.min(self.remaining(follower));
            left -= share;
            let slot = &mut self.slots[follower];
            if !planted::is(Defect::RiderBeginsAnew) {
                slot.moved += share;
            }
            slot.begun |= share > 0;
            slot.state = State::Held;
            if slot.blocker == NONE {
                // Its predecessor has settled meanwhile: nobody else would look at it again, if it is to go on.
                self.rechecks.push_back(*id);
            }
        }
        let outcome = match outcome {
            Ok(Value::Count(_)) => Ok(Value::Count(share)),
            other => other,
        };
        self.apply(leader, outcome);
        for id in followers.drain(..) {
            // The leader's failure may have broken the lane; then they have settled, and may be gone.
            let Some(follower) = self.slots.find(id).filter(|index| self.slots[*index].state == State::Held) else {
                continue;
            };
            if self.remaining(follower) == 0 {
                let moved = self.slots[follower].moved;
                self.settle(follower, Ok(Value::Count(moved)));
            } else if self.slots[follower].cause.is_some() {
                marks::hit(Mark::JoinedStopped);
                let error = self.stop_error(follower);
                self.settle(follower, Err(error));
            }
        }
        self.followers = followers;
    }

    fn remaining(&self, index: u32) -> u64 {
        let slot = &self.slots[index];
        slot.op.parts().map_or(0, |parts| parts.total() - slot.moved)
    }
}
