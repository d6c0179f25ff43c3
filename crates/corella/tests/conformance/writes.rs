//! Point 4: whole writes and broken lanes.

use crate::promises;

promises![];
