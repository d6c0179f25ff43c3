//! Random programs against what must come of them: bytes sent are bytes received, in order and once; a file holds
//! what the last write to each byte left.
//!
//! A failure names its seed; `CORELLA_SEED` runs one seed alone, `CORELLA_SEEDS` so many.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use corella::actions::{Reading, Writing};
use corella::{CancelToken, Error, ErrorKind, Failed, Io, Mode, Moved, Operation, Scheduler, Shutdown, Status};

use crate::promises;
use crate::setup::Setup;

promises![
    what_is_received_is_what_was_sent_whatever_is_cancelled_dropped_or_late,
    a_file_holds_what_its_writes_left_in_submission_order,
];

/// A small generator of numbers that look random (splitmix64).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }
}

fn for_seeds(count: u64, test: impl Fn(u64)) {
    if let Some(seed) = std::env::var("CORELLA_SEED").ok().and_then(|seed| seed.parse().ok()) {
        return test(seed);
    }
    let wanted = std::env::var("CORELLA_SEEDS").ok().and_then(|seeds| seeds.parse().ok());
    for seed in 0..wanted.unwrap_or(count) {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| test(seed)));
        if let Err(panic) = result {
            eprintln!("seed {seed} failed");
            std::panic::resume_unwind(panic);
        }
    }
}

/// The byte at this place of the stream: a short period that no power of two divides.
fn byte_at(place: u64) -> u8 {
    (place % 251) as u8
}

type Received = Result<(usize, Vec<u8>), Failed<Vec<u8>>>;

/// A request of the program, by the ending it has.
enum Pending {
    Status(Status<Reading<Vec<u8>>>),
    Future(Operation<Reading<Vec<u8>>>),
    Callback(Rc<RefCell<Option<Received>>>),
    /// Finished at its first poll.
    Done(Received),
}

fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// One sending and one receiving program on the two ends of a connection.
struct Stream {
    random: Random,
    io: Io,
    scheduler: Scheduler,
    tokens: Vec<CancelToken>,
    sends: VecDeque<(u64, Status<Writing<Vec<u8>>>)>,
    receives: VecDeque<Pending>,
    submitted: u64,
    /// What the outcomes say has gone out.
    sent: Vec<u8>,
    received: Vec<u8>,
    /// Of the last send, of which the system could not say how much it had taken.
    unsure: Vec<u8>,
    is_broken: bool,
}

impl Stream {
    fn disturb<A: corella::Action>(&mut self, operation: Operation<A>) -> Operation<A> {
        match self.random.below(8) {
            0 => operation.deadline(Duration::from_micros(self.random.below(300))),
            1 => {
                let token = CancelToken::new();
                self.tokens.push(token.clone());
                operation.cancel_with(&token)
            }
            _ => operation,
        }
    }

    fn settle_send(&mut self, length: u64, outcome: Result<(usize, Vec<u8>), Failed<Vec<u8>>>) {
        match outcome {
            Ok((count, buffer)) => {
                assert_eq!((count as u64, buffer.len() as u64), (length, length));
                assert!(!self.is_broken, "a send succeeded on a broken lane");
                self.sent.extend_from_slice(&buffer);
            }
            Err(failed) => {
                assert_eq!(failed.buffer.len() as u64, length, "the buffer came back");
                let moved = failed.moved.bytes();
                assert!(moved < length, "{failed:?}");
                match failed.error.kind() {
                    ErrorKind::LaneBroken => {
                        assert!(self.is_broken, "broken by nobody");
                        assert_eq!(failed.moved, Moved::NotStarted);
                    }
                    ErrorKind::Cancelled | ErrorKind::TimedOut => {
                        self.sent.extend_from_slice(&failed.buffer[..moved as usize]);
                        if failed.moved == Moved::Unknown {
                            self.unsure = failed.buffer;
                        }
                        self.is_broken |= moved > 0 || failed.moved == Moved::Unknown;
                    }
                    kind => panic!("{kind:?}: {failed}"),
                }
            }
        }
    }

    fn settle_receive(&mut self, outcome: Received) {
        let (count, buffer) = match outcome {
            Ok((count, buffer)) => (count, buffer),
            Err(failed) => {
                let kind = failed.error.kind();
                assert!(
                    matches!(kind, ErrorKind::Cancelled | ErrorKind::TimedOut | ErrorKind::UnexpectedEnd),
                    "{failed}"
                );
                (failed.moved.bytes() as usize, failed.buffer)
            }
        };
        self.received.extend_from_slice(&buffer[..count]);
    }

    /// Takes outcomes from the front, as the program would.
    fn collect(&mut self) {
        while let Some((length, status)) = self.sends.pop_front() {
            match status.take() {
                Ok(outcome) => self.settle_send(length, outcome),
                Err(status) => {
                    self.sends.push_front((length, status));
                    break;
                }
            }
        }
        while let Some(pending) = self.receives.pop_front() {
            let taken = match pending {
                Pending::Status(status) => status.take().map_err(Pending::Status),
                Pending::Future(mut future) => match poll_once(&mut future) {
                    Poll::Ready(outcome) => Ok(outcome),
                    Poll::Pending => Err(Pending::Future(future)),
                },
                Pending::Callback(place) => {
                    let outcome = place.take();
                    outcome.ok_or(Pending::Callback(place))
                }
                Pending::Done(outcome) => Ok(outcome),
            };
            match taken {
                Ok(outcome) => self.settle_receive(outcome),
                Err(pending) => {
                    self.receives.push_front(pending);
                    break;
                }
            }
        }
    }

    /// Drops the youngest receive, or the oldest that has not settled, which the OS may just be filling. One that has
    /// settled behind younger ones is never dropped: its bytes would come out of turn.
    fn drop_a_future(&mut self) {
        if self.random.one_in(2) && matches!(self.receives.back(), Some(Pending::Future(_))) {
            self.receives.pop_back();
            return;
        }
        self.collect();
        if matches!(self.receives.front(), Some(Pending::Future(_))) {
            self.receives.pop_front();
        }
    }
}

fn what_is_received_is_what_was_sent_whatever_is_cancelled_dropped_or_late(setup: &Setup) {
    for_seeds(120, |seed| {
        let mut random = Random::new(seed);
        let scheduler = setup.builder().ring_entries(1 << random.below(8)).build().unwrap();
        let io = scheduler.io();
        let (sender, peer) = setup.connection(&io);
        sender.set_send_buffer(4096 << random.below(4)).unwrap();
        let receiver = io.adopt_socket(peer).unwrap();
        let mut stream = Stream {
            random,
            io,
            scheduler,
            tokens: Vec::new(),
            sends: VecDeque::new(),
            receives: VecDeque::new(),
            submitted: 0,
            sent: Vec::new(),
            received: Vec::new(),
            unsure: Vec::new(),
            is_broken: false,
        };
        for _ in 0..150 {
            match stream.random.below(12) {
                0..=3 if stream.sends.len() < 40 => {
                    let most = 1 << (4 + stream.random.below(13));
                    let length = 1 + stream.random.below(most);
                    let bytes: Vec<u8> = (stream.submitted..stream.submitted + length).map(byte_at).collect();
                    let operation = sender.send(bytes);
                    let disturbed = stream.random.one_in(10);
                    let operation = if disturbed { stream.disturb(operation) } else { operation };
                    match operation.submit() {
                        Ok(status) => {
                            stream.submitted += length;
                            stream.sends.push_back((length, status));
                        }
                        Err(refused) => {
                            assert_eq!(refused.error.kind(), ErrorKind::LaneBroken, "{refused}");
                            assert!(stream.is_broken || !stream.sends.is_empty());
                        }
                    }
                }
                4..=7 if stream.receives.len() < 40 => {
                    let buffer = vec![0; 1 + stream.random.below(40_000) as usize];
                    let operation = match stream.random.one_in(3) {
                        true => receiver.recv_exact(buffer),
                        false => receiver.recv(buffer),
                    };
                    let operation = stream.disturb(operation);
                    let pending = match stream.random.below(3) {
                        0 => Pending::Status(operation.submit().unwrap()),
                        1 => {
                            let mut future = operation;
                            match poll_once(&mut future) {
                                Poll::Ready(outcome) => Pending::Done(outcome),
                                Poll::Pending => Pending::Future(future),
                            }
                        }
                        _ => {
                            let place = Rc::new(RefCell::new(None));
                            let result = Rc::clone(&place);
                            operation.then(move |outcome| drop(result.replace(Some(outcome)))).unwrap();
                            Pending::Callback(place)
                        }
                    };
                    stream.receives.push_back(pending);
                }
                8 => {
                    if let Some(token) = stream.tokens.pop() {
                        token.cancel();
                    }
                }
                9 => stream.drop_a_future(),
                _ => {
                    stream.scheduler.turn(Duration::from_micros(stream.random.below(200))).unwrap();
                    stream.collect();
                }
            }
        }
        finish(stream, &sender, &receiver);
    });
}

/// Lets everything settle, and compares.
fn finish(mut stream: Stream, sender: &corella::Socket, receiver: &corella::Socket) {
    let end = sender.shutdown(Shutdown::Write).submit().unwrap();
    // The rest of the stream, behind all receives: so they all get what is theirs first.
    let rest = receiver.recv_to_end(Vec::new()).submit().unwrap();
    while !(end.is_settled() && rest.is_settled()) {
        stream.scheduler.turn(Duration::from_secs(5)).unwrap();
        stream.collect();
    }
    // Callbacks and futures take what has settled in the turns after.
    while !(stream.sends.is_empty() && stream.receives.is_empty()) {
        stream.scheduler.poll().unwrap();
        stream.collect();
    }
    end.wait().unwrap();
    let (_, rest) = rest.wait().unwrap();
    stream.received.extend_from_slice(&rest);
    let more = stream.received.len().saturating_sub(stream.sent.len()).min(stream.unsure.len());
    stream.sent.extend_from_slice(&stream.unsure[..more]);
    let (received, sent) = (stream.received.len(), stream.sent.len());
    let differs = stream.received.iter().zip(&stream.sent).position(|(one, other)| one != other);
    assert!(
        stream.received == stream.sent,
        "{received} bytes received, {sent} sent, {} submitted; first difference at {differs:?}",
        stream.submitted
    );
    assert!(stream.io.is_gone() || stream.scheduler.outstanding().is_empty());
}

/// A file of whole bytes as its writes leave it, one after the other.
#[derive(Default)]
struct FileModel {
    bytes: Vec<u8>,
    cursor: usize,
}

impl FileModel {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        if self.bytes.len() < offset + bytes.len() {
            self.bytes.resize(offset + bytes.len(), 0);
        }
        self.bytes[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    fn read(&self, offset: usize, length: usize) -> Vec<u8> {
        let start = offset.min(self.bytes.len());
        self.bytes[start..(offset + length).min(self.bytes.len()).max(start)].to_vec()
    }
}

enum Expected {
    Bytes(Status<Reading<Vec<u8>>>, Vec<u8>),
    Written(Status<Writing<Vec<u8>>>, usize),
    Nothing(Status<corella::actions::Plain>),
    Length(Status<corella::actions::Stat>, u64),
}

fn check(expected: Expected, seed: u64, number: usize) -> Result<(), Error> {
    match expected {
        Expected::Bytes(status, bytes) => {
            let (count, buffer) = status.wait()?;
            assert!(buffer[..count] == bytes, "seed {seed}, operation {number}: {count} of {}", bytes.len());
        }
        Expected::Written(status, length) => assert_eq!(status.wait()?.0, length),
        Expected::Nothing(status) => status.wait()?,
        Expected::Length(status, length) => assert_eq!(status.wait()?.size, length, "seed {seed}, {number}"),
    }
    Ok(())
}

fn a_file_holds_what_its_writes_left_in_submission_order(setup: &Setup) {
    const SPAN: u64 = 40_000;
    for_seeds(60, |seed| {
        let mut random = Random::new(seed);
        let entries = 1 << random.below(8);
        let scheduler =
            setup.builder().ring_entries(entries).pool_threads(1 + random.below(8) as usize).build().unwrap();
        let io = scheduler.io();
        let path = setup.path(format!("model-{seed}"));
        let file = io.open(&path, Mode::ReadWrite).wait().unwrap();
        let mut model = FileModel::default();
        let mut pending = Vec::new();
        for number in 0..200 {
            let offset = random.below(SPAN) as usize;
            let length = 1 + random.below(8_000) as usize;
            let fill = vec![number as u8 ^ seed as u8; length];
            pending.push(match random.below(20) {
                0..=5 => {
                    model.write(offset, &fill);
                    Expected::Written(file.write_at(fill, offset as u64).submit().unwrap(), length)
                }
                6..=11 => {
                    let read = file.read_at(vec![0; length], offset as u64);
                    Expected::Bytes(read.submit().unwrap(), model.read(offset, length))
                }
                12 | 13 => {
                    let at = model.cursor;
                    model.write(at, &fill);
                    model.cursor += length;
                    Expected::Written(file.write(fill).submit().unwrap(), length)
                }
                14 | 15 => {
                    let bytes = model.read(model.cursor, length);
                    model.cursor += bytes.len();
                    Expected::Bytes(file.read(vec![0; length]).submit().unwrap(), bytes)
                }
                16 => {
                    model.bytes.resize(offset, 0);
                    Expected::Nothing(file.truncate(offset as u64).submit().unwrap())
                }
                17 => Expected::Nothing(file.barrier().submit().unwrap()),
                18 => {
                    model.cursor = offset;
                    file.seek(std::io::SeekFrom::Start(offset as u64)).then(|place| assert!(place.is_ok())).unwrap();
                    continue;
                }
                _ => Expected::Length(file.stat().submit().unwrap(), model.bytes.len() as u64),
            });
        }
        for (number, expected) in pending.into_iter().enumerate() {
            check(expected, seed, number).unwrap();
        }
        file.close().wait().unwrap();
        assert!(std::fs::read(&path).unwrap() == model.bytes, "seed {seed}");
    });
}
