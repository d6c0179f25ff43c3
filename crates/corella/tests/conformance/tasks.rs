//! Tasks, timers, remotes and foreign event loops.

use crate::promises;

promises![];
