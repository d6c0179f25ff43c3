//! Requests of a host that keeps a record of each by itself, as the C interface does: it names them by numbers of its
//! own, and finds numbers and outcomes in one list after each turn. Such a request has no closure, and its outcome goes
//! through no type of the program's.
//!
//! Not for programs in Rust: those have the four endings.

use std::time::Duration;

use crate::backend::Token;
use crate::buffer::{Buffer, BufferMut, Part, Parts};
use crate::error::{Error, ErrorKind};
use crate::file::File;
use crate::net::Socket;
use crate::op::{At, Extent, Op, Transfer};
use crate::plain::HandleRef;
use crate::queue::Request;
use crate::queue::slots::{Ending, Payload, RequestId};
use crate::scheduler::token::CancelToken;

/// What a request is begun with, beside its operation.
#[doc(hidden)]
#[derive(Debug, Default)]
pub struct HostedOptions<'a> {
    /// The host's own number for it.
    pub name: u32,
    pub deadline: Option<Duration>,
    pub token: Option<&'a CancelToken>,
    pub unordered: bool,
    /// A turn has just looked at the clock, and its time is good enough for the request's age.
    pub in_turn: bool,
}

/// A transfer of a host's bytes.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub enum HostedTransfer<'a> {
    /// At the cursor without an offset. `exact`: less than all is a failure.
    Read {
        file: &'a File,
        offset: Option<u64>,
        exact: bool,
    },
    /// At the cursor without an offset.
    Write {
        file: &'a File,
        offset: Option<u64>,
    },
    Receive {
        socket: &'a Socket,
        exact: bool,
    },
    Send {
        socket: &'a Socket,
    },
}

/// Hands a transfer of one run of bytes, without options, to the queue, if nothing is in its way. Otherwise `None`, nothing
/// is done, and [`submit_hosted`] takes it or says why not.
#[doc(hidden)]
#[inline(always)]
pub fn submit_hosted_plain(
    transfer: HostedTransfer<'_>,
    (pointer, length): (*mut u8, usize),
    name: u32,
    in_turn: bool,
) -> Option<RequestId> {
    let part = Part { pointer, length };
    // Of each kind there is code of its own, and what it is told and answers with fits into registers.
    let token = match transfer {
        _ if length == 0 => None,
        HostedTransfer::Receive { socket, exact: false } => receive(&socket.handle, part, name, in_turn),
        HostedTransfer::Send { socket } => send(&socket.handle, part, name, in_turn),
        HostedTransfer::Read { file, offset: Some(offset), exact: false } => {
            read(&file.handle, offset, part, name, in_turn)
        }
        _ => None,
    };
    token.map(RequestId::from_token)
}

#[inline(never)]
fn receive(handle: &HandleRef, part: Part, name: u32, in_turn: bool) -> Option<Token> {
    submit_plain(handle, Transfer::Receive(Extent::Some), part, name, in_turn)
}

#[inline(never)]
fn send(handle: &HandleRef, part: Part, name: u32, in_turn: bool) -> Option<Token> {
    submit_plain(handle, Transfer::Send, part, name, in_turn)
}

#[inline(never)]
fn read(handle: &HandleRef, offset: u64, part: Part, name: u32, in_turn: bool) -> Option<Token> {
    submit_plain(handle, Transfer::Read(Extent::Some, offset), part, name, in_turn)
}

#[inline(always)]
fn submit_plain(handle: &HandleRef, plain: Transfer, part: Part, name: u32, in_turn: bool) -> Option<Token> {
    let core = handle.io.try_core().ok()?;
    let mut queue = core.queue.borrow_mut();
    if !in_turn {
        queue.set_now(core.now());
    }
    queue.submit_hosted_transfer(handle.key, plain, part, name).map(RequestId::token)
}

/// Hands a transfer to the queue. A `Copy` buffer has nothing to drop, so it needs no way back: its addresses suffice.
#[doc(hidden)]
#[inline]
pub fn submit_hosted<B: Buffer + BufferMut + Copy>(
    transfer: HostedTransfer<'_>,
    mut buffer: B,
    options: HostedOptions<'_>,
) -> Result<RequestId, Error> {
    let mut parts = Parts::default();
    match transfer {
        HostedTransfer::Read { .. } | HostedTransfer::Receive { .. } => buffer.target_parts(&mut parts),
        HostedTransfer::Write { .. } | HostedTransfer::Send { .. } => buffer.source_parts(&mut parts),
    }
    let handle = match transfer {
        HostedTransfer::Read { file, .. } | HostedTransfer::Write { file, .. } => &file.handle,
        HostedTransfer::Receive { socket, .. } | HostedTransfer::Send { socket } => &socket.handle,
    };
    let core = match handle.io.try_core() {
        Ok(core) => core,
        Err(kind) => return Err(Error::new(kind, op(transfer, parts).to_string(), handle.closed_name())),
    };
    let request = Request {
        op: op(transfer, parts),
        handle: Some(handle.key),
        unordered: options.unordered,
        bare: false,
        waits_its_turn: false,
        deadline: options.deadline.map(|duration| core.after(duration)),
        due: None,
        token: options.token.cloned(),
        chain: None,
    };
    let result = {
        let mut queue = core.queue.borrow_mut();
        if !options.in_turn {
            queue.set_now(core.now());
        }
        queue.submit(request, &mut Payload::empty(), &mut Ending::Hosted(options.name))
    };
    core.drop_leftovers();
    core.rethrow();
    result.map_err(|error| named(error, handle))
}

fn extent(exact: bool) -> Extent {
    if exact { Extent::Exact } else { Extent::Some }
}

#[inline(always)]
fn op(transfer: HostedTransfer<'_>, parts: Parts) -> Op {
    let at = |offset: Option<u64>| offset.map_or(At::Cursor, At::Offset);
    match transfer {
        HostedTransfer::Read { offset, exact, .. } => Op::Read { at: at(offset), extent: extent(exact), parts },
        HostedTransfer::Write { offset, .. } => Op::Write { at: at(offset), parts },
        HostedTransfer::Receive { exact, .. } => Op::Recv { extent: extent(exact), parts },
        HostedTransfer::Send { .. } => Op::Send { parts },
    }
}

/// A closed handle is in no table any more, but its name is known here.
#[cold]
fn named(error: Error, handle: &HandleRef) -> Error {
    match error.kind() == ErrorKind::Closed && error.target().is_empty() {
        true => error.with_target(handle.closed_name()),
        false => error,
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::time::Duration;

    use rustix::time::{ClockId, clock_gettime};

    use super::*;
    use crate::{BackendKind, Scheduler};

    /// CPU time of this thread.
    fn used() -> Duration {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }

    #[test]
    fn who_waits_for_the_rest_sleeps_though_a_host_has_something_to_fetch() {
        for backend in [BackendKind::Uring, BackendKind::Portable] {
            let Ok(mut scheduler) = Scheduler::builder().backend(backend).build() else { continue };
            let io = scheduler.io();
            let (one, _other) = io.socket_pair().unwrap();
            let mut bytes = *b"fetch me";
            let transfer = HostedTransfer::Send { socket: &one };
            submit_hosted_plain(transfer, (bytes.as_mut_ptr(), bytes.len()), 7, false).unwrap();
            let outcomes = scheduler.hosted_outcomes();
            while outcomes.is_empty() {
                scheduler.turn(Duration::MAX).unwrap();
            }
            // A host is told at once that there is something.
            scheduler.turn(Duration::MAX).unwrap();
            assert_eq!(scheduler.prepare_wait().unwrap(), Some(Duration::ZERO));
            let begun = used();
            io.sleep(Duration::from_millis(300)).then(|outcome| outcome.unwrap()).unwrap();
            scheduler.run().unwrap();
            let used = used() - begun;
            assert!(used < Duration::from_millis(150), "{used:?} of CPU time, {backend:?}");
            let mut list = Vec::new();
            outcomes.fetch(&mut list);
            assert_eq!(list[0].name, 7);
        }
    }
}
