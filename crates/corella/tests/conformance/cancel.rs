//! Point 5: cancel and deadline: what truly happened, and nothing received is lost.

use crate::promises;

promises![];
