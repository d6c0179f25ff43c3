//! The surface of sockets, names and adoption.

use crate::promises;

promises![];
