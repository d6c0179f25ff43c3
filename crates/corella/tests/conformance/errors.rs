//! Point 10: errors name operation and target, and bad input is answered.

use crate::promises;

promises![];
