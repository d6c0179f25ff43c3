//! Point 6: memory, shutdown and fork.

use crate::promises;

promises![];
