//! Point 7: callbacks.

use crate::promises;

promises![];
