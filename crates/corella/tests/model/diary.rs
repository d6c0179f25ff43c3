//! What a program saw: a record of each operation, with when it was submitted and when its outcome was handed over.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use corella::{Datagram, Error, ErrorKind, Failed, Io, Metadata, Moved, Socket};

use crate::program::{FileOp, Place, Taking, Verb};

/// What an operation came to, as its program saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The bytes that a read gave, or the number of a write, a seek or a stat; of a connection, its client's port.
    Bytes(Vec<u8>),
    Number(u64),
    Failed {
        kind: ErrorKind,
        os_code: Option<i32>,
        moved: Moved,
        /// What had arrived.
        bytes: Vec<u8>,
    },
    /// Given up: its future or status was dropped.
    Unseen,
    /// Refused at submission: nothing happened.
    Refused(ErrorKind, Option<i32>),
}

/// One operation with all that is known of it.
#[derive(Clone, Debug)]
pub struct Record<Op> {
    pub op: Op,
    pub taking: Taking,
    /// Its place in the order of all submissions and deliveries.
    pub submitted: u64,
    /// When the program was handed the outcome.
    pub delivered: Option<u64>,
    /// It had a token, was cancelled by its status, or its handle was closed.
    pub may_cancel: bool,
    pub has_deadline: bool,
    pub deadline: Option<Duration>,
    /// On the machine's clock.
    pub due_at: Option<Duration>,
    pub delivered_at: Option<Duration>,
    pub outcome: Option<Outcome>,
    /// Nobody saw its outcome, but there is only one that it can have.
    pub is_sure: bool,
    /// What a write writes.
    pub content: Vec<u8>,
    /// A send that was tried has sent what stands before this.
    pub goes_on: bool,
}

impl<Op> Record<Op> {
    pub fn new(op: Op, taking: Taking, content: Vec<u8>) -> Record<Op> {
        Record {
            op,
            taking,
            submitted: 0,
            delivered: None,
            may_cancel: false,
            has_deadline: false,
            deadline: None,
            due_at: None,
            delivered_at: None,
            outcome: None,
            is_sure: false,
            content,
            goes_on: false,
        }
    }

    /// Whether anybody or anything asked it to stop.
    pub fn may_stop(&self) -> bool {
        self.may_cancel || self.has_deadline
    }

    /// The same of another type.
    pub fn with<Other>(&self, op: Other) -> Record<Other> {
        Record {
            op,
            taking: self.taking,
            submitted: self.submitted,
            delivered: self.delivered,
            may_cancel: self.may_cancel,
            has_deadline: self.has_deadline,
            deadline: self.deadline,
            due_at: self.due_at,
            delivered_at: self.delivered_at,
            outcome: self.outcome.clone(),
            is_sure: self.is_sure,
            goes_on: self.goes_on,
            content: self.content.clone(),
        }
    }
}

/// What the program has seen so far.
#[derive(Default)]
pub struct Diary {
    /// Counts submissions and deliveries.
    moment: Cell<u64>,
    /// Where time is the machine's, and says something.
    time: Option<Io>,
    pub records: RefCell<Vec<Record<Verb>>>,
    /// When each handle was closed, or its last clone dropped.
    closed: RefCell<Vec<(Place, u64)>>,
}

impl Diary {
    /// An empty one, with the clock of a machine whose time says something.
    pub fn new(time: Option<Io>) -> Diary {
        Diary { time, ..Diary::default() }
    }

    fn next_moment(&self) -> u64 {
        self.moment.set(self.moment.get() + 1);
        self.moment.get()
    }

    pub fn submitted(&self, index: usize) {
        let moment = self.next_moment();
        let mut records = self.records.borrow_mut();
        let record = &mut records[index];
        record.submitted = moment;
        record.due_at = record.deadline.zip(self.time.as_ref()).map(|(deadline, io)| io.now() + deadline);
        let (verb, may_stop) = (record.op, record.may_stop());
        drop(records);
        if let Verb::Close { place, now } = verb
            && self.closed_at(place).is_none()
        {
            self.closed.borrow_mut().push((place, moment));
            self.close_stops(place, now || may_stop);
        }
    }

    /// The last clone of a handle is dropped.
    pub fn dropped(&self, place: Place) {
        if self.closed_at(place).is_none() {
            let moment = self.next_moment();
            self.closed.borrow_mut().push((place, moment));
            self.close_stops(place, false);
        }
    }

    /// A close stops what it does not wait for; one that is in a hurry, everything.
    pub fn close_stops(&self, place: Place, everything: bool) {
        for record in self.records.borrow_mut().iter_mut() {
            let is_open = record.outcome.is_none() || record.is_sure;
            let is_stopped = everything || record.op.ends_at_close();
            if record.op.place() == Some(place) && record.submitted > 0 && is_open && is_stopped {
                record.may_cancel = true;
                if std::mem::take(&mut record.is_sure) {
                    record.outcome = Some(Outcome::Unseen);
                }
            }
        }
    }

    pub fn closed_at(&self, place: Place) -> Option<u64> {
        self.closed.borrow().iter().find(|(other, _)| *other == place).map(|(_, moment)| *moment)
    }

    pub fn delivered(&self, index: usize, outcome: Outcome) {
        let moment = self.next_moment();
        let record = &mut self.records.borrow_mut()[index];
        assert!(record.outcome.is_none(), "delivered twice: {record:?}, {outcome:?}");
        record.delivered = Some(moment);
        record.outcome = Some(outcome);
        record.delivered_at = self.time.as_ref().map(Io::now);
    }

    /// Its status is dropped: it goes on.
    pub fn let_go(&self, index: usize, cannot_fail: bool) {
        let record = &mut self.records.borrow_mut()[index];
        let is_write = matches!(record.op, Verb::File { op: FileOp::WriteAt { .. }, .. });
        record.is_sure = is_write && cannot_fail && !record.may_stop();
        record.outcome = match record.is_sure {
            true => Some(Outcome::Number(record.content.len() as u64)),
            false => Some(Outcome::Unseen),
        };
    }

    /// Its future is dropped.
    pub fn given_up(&self, index: usize) {
        let record = &mut self.records.borrow_mut()[index];
        if record.outcome.is_none() {
            record.outcome = Some(Outcome::Unseen);
        }
    }

    pub fn may_stop(&self, index: usize) {
        let verb = {
            let record = &mut self.records.borrow_mut()[index];
            record.may_cancel = true;
            record.op
        };
        if let Verb::Close { place, .. } = verb {
            self.close_stops(place, true);
        }
    }

    /// Whether everything has come to its end, but for what may be left.
    pub fn is_over(&self, may_be_left: impl Fn(Verb) -> bool) -> bool {
        let records = self.records.borrow();
        records.iter().all(|record| record.outcome.is_some() || may_be_left(record.op))
    }
}

// What outcomes are, whatever their types.

thread_local! {
    /// Connections stay until the program's end, so that their addresses can be asked for.
    static KEPT: RefCell<Vec<Socket>> = const { RefCell::new(Vec::new()) };
}

/// Drops the connections that outcomes gave.
pub fn drop_kept() {
    let kept = KEPT.take();
    drop(kept);
}

fn port_of(address: Result<std::net::SocketAddr, Error>) -> Outcome {
    // An unknown one is nobody's.
    Outcome::Number(address.map_or(0, |address| u64::from(address.port())))
}

pub fn of_accept(outcome: Result<Socket, Error>) -> Outcome {
    outcome.map_or_else(of_error, |socket| {
        let port = port_of(socket.peer_address());
        KEPT.with_borrow_mut(|kept| kept.push(socket));
        port
    })
}

pub fn of_connect(outcome: Result<Socket, Error>) -> Outcome {
    outcome.map_or_else(of_error, |socket| {
        let port = port_of(socket.local_address());
        KEPT.with_borrow_mut(|kept| kept.push(socket));
        port
    })
}

/// What a transfer with this buffer gives.
pub type Transferred<B> = Result<(usize, B), Failed<B>>;

pub fn of_read(outcome: Transferred<Vec<u8>>) -> Outcome {
    match outcome {
        Ok((count, mut bytes)) => {
            bytes.truncate(count);
            Outcome::Bytes(bytes)
        }
        Err(Failed { error, mut buffer, moved, .. }) => {
            buffer.truncate(moved.bytes() as usize);
            Outcome::Failed { kind: error.kind(), os_code: error.os_code(), moved, bytes: buffer }
        }
    }
}

pub fn of_list_read(outcome: Transferred<Vec<Vec<u8>>>) -> Outcome {
    of_read(match outcome {
        Ok((count, parts)) => Ok((count, parts.concat())),
        Err(Failed { error, buffer, moved, .. }) => {
            let mut bytes = buffer.concat();
            bytes.truncate(moved.bytes() as usize);
            return Outcome::Failed { kind: error.kind(), os_code: error.os_code(), moved, bytes };
        }
    })
}

/// What a receive of a datagram with this buffer gives.
pub type Arrived<B> = Result<Datagram<B>, Failed<B>>;

pub fn of_datagram(outcome: Arrived<Vec<u8>>) -> Outcome {
    of_read(outcome.map(|datagram| (datagram.count, datagram.buffer)))
}

pub fn of_list_datagram(outcome: Arrived<Vec<Vec<u8>>>) -> Outcome {
    of_list_read(outcome.map(|datagram| (datagram.count, datagram.buffer)))
}

pub fn of_write<B>(outcome: Transferred<B>) -> Outcome {
    match outcome {
        Ok((count, _)) => Outcome::Number(count as u64),
        Err(Failed { error, moved, .. }) => {
            Outcome::Failed { kind: error.kind(), os_code: error.os_code(), moved, bytes: Vec::new() }
        }
    }
}

pub fn of_error(error: Error) -> Outcome {
    Outcome::Failed { kind: error.kind(), os_code: error.os_code(), moved: Moved::NotStarted, bytes: Vec::new() }
}

pub fn of_plain(outcome: Result<(), Error>) -> Outcome {
    outcome.map_or_else(of_error, |()| Outcome::Number(0))
}

pub fn of_seek(outcome: Result<u64, Error>) -> Outcome {
    outcome.map_or_else(of_error, Outcome::Number)
}

pub fn of_stat(outcome: Result<Metadata, Error>) -> Outcome {
    outcome.map_or_else(of_error, |metadata| Outcome::Number(metadata.size))
}

/// A port that accepted connections are asked for, for the listener's own drain.
pub fn port_of_accepted(socket: Socket) -> u64 {
    match of_accept(Ok(socket)) {
        Outcome::Number(port) => port,
        other => unreachable!("{other:?} is no port"),
    }
}
