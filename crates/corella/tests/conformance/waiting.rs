//! What a thread waits in until somebody comes: the open of a FIFO, and on Windows, where opens do not wait, a read of a pipe
//! that is not overlapped.

use corella::{Action, ErrorKind, Io, Operation, actions};

use crate::setup::Setup;

/// Something to wait at. With it goes the other side, and whoever still waits goes on.
#[cfg(unix)]
pub struct Door(std::path::PathBuf);
/// Something to wait at. With it goes the other side, and whoever still waits goes on.
#[cfg(windows)]
pub struct Door(corella::File, std::io::PipeWriter);

/// The request that waits.
#[cfg(unix)]
pub type Waiting = actions::Opening;
/// The request that waits.
#[cfg(windows)]
pub type Waiting = actions::Reading<Vec<u8>>;

#[cfg(unix)]
impl Door {
    pub fn new(setup: &Setup, _io: &Io) -> Door {
        use std::sync::atomic::{AtomicU32, Ordering};
        static COUNT: AtomicU32 = AtomicU32::new(0);
        Door(crate::lanes::fifo(&setup.path(format!("door-{}", COUNT.fetch_add(1, Ordering::Relaxed)))))
    }

    /// Waits for the other side, on a thread of the pool's or of the kernel's.
    pub fn wait(&self, io: &Io) -> Operation<Waiting> {
        io.open(&self.0, corella::Mode::Read)
    }

    /// Whoever waits goes on; later ones wait, once what is given has gone.
    pub fn come(&self) -> impl Sized {
        // Both ends at once: whoever waits goes on, one after the other.
        std::fs::OpenOptions::new().read(true).write(true).open(&self.0).unwrap()
    }
}

#[cfg(windows)]
impl Door {
    pub fn new(_setup: &Setup, io: &Io) -> Door {
        let (reader, writer) = std::io::pipe().unwrap();
        Door(io.adopt_file(reader, "door").unwrap(), writer)
    }

    /// Waits for the other side, on a thread of the pool's.
    pub fn wait(&self, _io: &Io) -> Operation<Waiting> {
        self.0.read(vec![0; 1])
    }

    /// Whoever waits goes on; later ones wait.
    pub fn come(&self) -> impl Sized {
        use std::io::Write;
        (&self.1).write_all(b"x").unwrap();
    }
}

/// Why it did not come to an end.
pub fn kind(error: &<Waiting as Action>::Error) -> ErrorKind {
    #[cfg(unix)]
    return error.kind();
    #[cfg(windows)]
    return error.error.kind();
}
