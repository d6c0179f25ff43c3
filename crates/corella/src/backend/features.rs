//! What the kernel has of io_uring, for people who ask: `corella probe`.

#[cfg(target_os = "linux")]
use io_uring::opcode;

#[cfg(target_os = "linux")]
use super::Uring;

/// What a scheduler found of io_uring on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KernelFeatures {
    /// Set-up flags that the kernel took, in words.
    pub setup: &'static str,
    /// Places in its submission ring.
    pub submission_entries: u32,
    /// Places in its completion ring.
    pub completion_entries: u32,
    /// The opcodes that operations are lowered to, and whether the kernel has each. What it lacks goes to the portable
    /// backend beside the ring.
    pub opcodes: Vec<(&'static str, bool)>,
}

#[cfg(target_os = "linux")]
macro_rules! opcodes {
    ($($name:ident),* $(,)?) => {
        &[$((stringify!($name), opcode::$name::CODE)),*]
    };
}

/// What `Uring::lower` and the ring's own business use.
#[cfg(target_os = "linux")]
const OPCODES: &[(&str, u8)] = opcodes![
    Read,
    Write,
    Readv,
    Writev,
    Recv,
    Send,
    SendMsg,
    RecvMsg,
    Accept,
    Connect,
    Shutdown,
    OpenAt,
    Close,
    Statx,
    Fsync,
    Ftruncate,
    Fallocate,
    RenameAt,
    UnlinkAt,
    MkDirAt,
    LinkAt,
    SymlinkAt,
    PollAdd,
    AsyncCancel,
];

#[cfg(target_os = "linux")]
impl Uring {
    pub(crate) fn features(&self) -> KernelFeatures {
        let (submission_entries, completion_entries) = self.entries();
        let opcodes = OPCODES.iter().map(|(name, code)| (*name, self.supports(*code))).collect();
        KernelFeatures { setup: self.flags(), submission_entries, completion_entries, opcodes }
    }
}
