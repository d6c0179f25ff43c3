//! Point 2: requests on one handle take effect as if run one at a time in submission order.

use crate::promises;

promises![];
