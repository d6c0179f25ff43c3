//! Point 8: bounds.

use crate::promises;

promises![];
