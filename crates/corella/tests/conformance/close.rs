//! Point 3: barriers and close.

use crate::promises;

promises![];
