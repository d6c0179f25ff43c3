//! The surface of files and the file system.

use crate::promises;

promises![];
