//! Point 9: fairness.

use crate::promises;

promises![];
