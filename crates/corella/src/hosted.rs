//! Requests of a host that keeps a record of each by itself, as the C interface does: it names them by numbers of its
//! own, and finds numbers and outcomes in one list after each turn. Such a request has no closure, and its outcome goes
//! through no type of the program's.
//!
//! Not for programs in Rust: those have the four endings.

use std::time::Duration;

use crate::buffer::{Buffer, BufferMut, Parts};
use crate::error::{Error, ErrorKind};
use crate::file::File;
use crate::net::Socket;
use crate::op::{At, Extent, Op};
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

/// A read, by where it begins and whether less than all is a success.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct HostedRead {
    /// `None`: at the cursor.
    pub offset: Option<u64>,
    pub exact: bool,
}

impl File {
    /// Reads into a host's bytes. A `Copy` buffer has nothing to drop, so it needs no way back.
    #[doc(hidden)]
    pub fn hosted_read<B: BufferMut + Copy>(
        &self,
        read: HostedRead,
        buffer: B,
        options: HostedOptions<'_>,
    ) -> Result<RequestId, Error> {
        let at = read.offset.map_or(At::Cursor, At::Offset);
        let (payload, parts) = filled_by(buffer);
        submit(&self.handle, Op::Read { at, extent: extent(read), parts }, payload, options)
    }

    /// Writes a host's bytes, at the cursor without an offset.
    #[doc(hidden)]
    pub fn hosted_write<B: Buffer + Copy>(
        &self,
        offset: Option<u64>,
        buffer: B,
        options: HostedOptions<'_>,
    ) -> Result<RequestId, Error> {
        let at = offset.map_or(At::Cursor, At::Offset);
        let (payload, parts) = taken_from(buffer);
        submit(&self.handle, Op::Write { at, parts }, payload, options)
    }
}

impl Socket {
    /// Receives into a host's bytes.
    #[doc(hidden)]
    pub fn hosted_receive<B: BufferMut + Copy>(
        &self,
        exact: bool,
        buffer: B,
        options: HostedOptions<'_>,
    ) -> Result<RequestId, Error> {
        let (payload, parts) = filled_by(buffer);
        let extent = extent(HostedRead { offset: None, exact });
        submit(&self.handle, Op::Recv { extent, parts }, payload, options)
    }

    /// Sends a host's bytes.
    #[doc(hidden)]
    pub fn hosted_send<B: Buffer + Copy>(&self, buffer: B, options: HostedOptions<'_>) -> Result<RequestId, Error> {
        let (payload, parts) = taken_from(buffer);
        submit(&self.handle, Op::Send { parts }, payload, options)
    }
}

fn extent(read: HostedRead) -> Extent {
    if read.exact { Extent::Exact } else { Extent::Some }
}

/// A buffer in its slot's storage, and its addresses as they are there.
#[inline]
fn filled_by<B: BufferMut + Copy>(buffer: B) -> (Payload, Parts) {
    let (mut payload, mut parts) = (Payload::new(buffer), Parts::default());
    if let Some(buffer) = payload.get_mut::<B>() {
        buffer.target_parts(&mut parts);
    }
    (payload, parts)
}

#[inline]
fn taken_from<B: Buffer + Copy>(buffer: B) -> (Payload, Parts) {
    let (mut payload, mut parts) = (Payload::new(buffer), Parts::default());
    if let Some(buffer) = payload.get_mut::<B>() {
        buffer.source_parts(&mut parts);
    }
    (payload, parts)
}

fn submit(handle: &HandleRef, op: Op, payload: Payload, options: HostedOptions<'_>) -> Result<RequestId, Error> {
    let core = match handle.io.try_core() {
        Ok(core) => core,
        Err(kind) => return Err(Error::new(kind, op.to_string(), handle.closed_name())),
    };
    let deadline = options.deadline.map(|duration| core.after(duration));
    let request = Request {
        op,
        handle: Some(handle.key),
        unordered: options.unordered,
        bare: false,
        waits_its_turn: false,
        deadline,
        due: None,
        token: options.token.cloned(),
        chain: None,
        payload,
        ending: Ending::Hosted(options.name),
    };
    let result = {
        let mut queue = core.queue.borrow_mut();
        if !options.in_turn {
            queue.set_now(core.now());
        }
        queue.submit(request)
    };
    core.drop_leftovers();
    core.rethrow();
    result.map_err(|refusal| match refusal.error {
        error if error.kind() == ErrorKind::Closed && error.target().is_empty() => {
            error.with_target(handle.closed_name())
        }
        error => error,
    })
}
