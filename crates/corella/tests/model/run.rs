//! Runs a program on a machine, writes down what it saw, and has the reference judge it.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use corella::{
    Action, CancelToken, Error, ErrorKind, Failed, Faults, File, Io, JoinHandle, Moved, OpenOptions, Operation,
    Scheduler, SchedulerBuilder, Shutdown, Simulation, Socket, Status,
};

use crate::program::{FileOp, Program, SocketOp, Step, Stop, TOKENS, Taking, Verb};
use crate::reference::{FileReference, Outcome, Record, check_stream};

/// What files hold before the program begins: more than its positioned writes reach.
const CONTENT: [u8; 300] = [0xee; 300];

/// The machine that a program runs on.
pub enum Machine {
    Simulated,
    /// With the builder's backend, and a folder for its files.
    Real(SchedulerBuilder, PathBuf),
}

/// What the program has seen so far.
#[derive(Default)]
struct Diary {
    /// Counts submissions and deliveries.
    moment: Cell<u64>,
    /// Where time is the machine's, and says something.
    time: Option<Io>,
    records: RefCell<Vec<Record<Verb>>>,
}

impl Diary {
    fn next_moment(&self) -> u64 {
        self.moment.set(self.moment.get() + 1);
        self.moment.get()
    }

    fn submitted(&self, index: usize) {
        let record = &mut self.records.borrow_mut()[index];
        record.submitted = self.next_moment();
        record.due_at = record.deadline.zip(self.time.as_ref()).map(|(deadline, io)| io.now() + deadline);
    }

    fn delivered(&self, index: usize, outcome: Outcome) {
        let record = &mut self.records.borrow_mut()[index];
        assert!(record.outcome.is_none(), "delivered twice: {record:?}, {outcome:?}");
        record.delivered = Some(self.next_moment());
        record.outcome = Some(outcome);
        record.delivered_at = self.time.as_ref().map(Io::now);
    }

    /// Its status is dropped: it goes on.
    fn let_go(&self, index: usize, cannot_fail: bool) {
        let record = &mut self.records.borrow_mut()[index];
        let is_write = matches!(record.op, Verb::File { op: FileOp::WriteAt { .. }, .. });
        record.outcome = match is_write && cannot_fail && !record.may_stop {
            true => Some(Outcome::Number(record.content.len() as u64)),
            false => Some(Outcome::Unseen),
        };
    }

    fn given_up(&self, index: usize) {
        let record = &mut self.records.borrow_mut()[index];
        if record.outcome.is_none() {
            record.outcome = Some(Outcome::Unseen);
        }
    }
}

/// A status of any type.
trait Held {
    fn is_settled(&self) -> bool;
    fn cancel(&self);
    fn take(self: Box<Self>) -> Option<Outcome>;
}

struct HeldStatus<A: Action> {
    status: Status<A>,
    convert: fn(Result<A::Output, A::Error>) -> Outcome,
}

impl<A: Action> Held for HeldStatus<A> {
    fn is_settled(&self) -> bool {
        self.status.is_settled()
    }

    fn cancel(&self) {
        self.status.cancel();
    }

    fn take(self: Box<Self>) -> Option<Outcome> {
        Some((self.convert)(self.status.take().ok()?))
    }
}

fn of_read(outcome: Result<(usize, Vec<u8>), Failed<Vec<u8>>>) -> Outcome {
    match outcome {
        Ok((count, mut bytes)) => {
            bytes.truncate(count);
            Outcome::Bytes(bytes)
        }
        Err(failed) => {
            let Failed { error, buffer, moved, .. } = failed;
            let bytes = buffer[..moved.bytes() as usize].to_vec();
            Outcome::Failed { kind: error.kind(), os_code: error.os_code(), moved, bytes }
        }
    }
}

fn of_write(outcome: Result<(usize, Vec<u8>), Failed<Vec<u8>>>) -> Outcome {
    match outcome {
        Ok((count, _)) => Outcome::Number(count as u64),
        Err(Failed { error, moved, .. }) => {
            Outcome::Failed { kind: error.kind(), os_code: error.os_code(), moved, bytes: Vec::new() }
        }
    }
}

fn of_error(error: Error) -> Outcome {
    Outcome::Failed { kind: error.kind(), os_code: error.os_code(), moved: Moved::NotStarted, bytes: Vec::new() }
}

fn of_plain(outcome: Result<(), Error>) -> Outcome {
    outcome.map_or_else(of_error, |()| Outcome::Number(0))
}

fn of_seek(outcome: Result<u64, Error>) -> Outcome {
    outcome.map_or_else(of_error, Outcome::Number)
}

fn of_stat(outcome: Result<corella::Metadata, Error>) -> Outcome {
    outcome.map_or_else(of_error, |metadata| Outcome::Number(metadata.size))
}

/// A running program.
struct Run<'a> {
    program: &'a Program,
    scheduler: &'a mut Scheduler,
    io: Io,
    files: Vec<File>,
    ends: Vec<Socket>,
    tokens: Vec<CancelToken>,
    diary: Rc<Diary>,
    statuses: Vec<(usize, Box<dyn Held>)>,
    tasks: Vec<(usize, JoinHandle<()>)>,
    /// Each message differs from its neighbours.
    messages: u8,
}

impl Run<'_> {
    fn content(&mut self, length: usize) -> Vec<u8> {
        self.messages = self.messages.wrapping_add(1);
        (0..length).map(|place| self.messages.wrapping_mul(37).wrapping_add((place as u8).wrapping_mul(11))).collect()
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Do { verb, taking, stop } => self.begin(verb, taking, stop),
            Step::Poll => drop(self.scheduler.poll().unwrap()),
            Step::Turn(microseconds) => self.scheduler.run_for(Duration::from_micros(microseconds)).unwrap(),
            Step::CancelToken(number) => self.tokens[number].cancel(),
            Step::CancelStatus(number) => {
                if !self.statuses.is_empty() {
                    let (index, status) = &self.statuses[number % self.statuses.len()];
                    self.diary.records.borrow_mut()[*index].may_stop = true;
                    status.cancel();
                }
            }
            Step::DropStatus(number) => {
                if !self.statuses.is_empty() {
                    self.drop_status(number % self.statuses.len());
                }
            }
            Step::DropAllStatuses => (0..self.statuses.len()).rev().for_each(|place| self.drop_status(place)),
            Step::TakeStatus(number) => {
                if !self.statuses.is_empty() {
                    let place = number % self.statuses.len();
                    if self.statuses[place].1.is_settled() {
                        let (index, status) = self.statuses.remove(place);
                        self.diary.delivered(index, status.take().unwrap());
                    }
                }
            }
            Step::KillTask(number) => {
                if !self.tasks.is_empty() {
                    let place = number % self.tasks.len();
                    if self.may_go_unseen(self.tasks[place].0) {
                        let (index, task) = self.tasks.remove(place);
                        self.diary.given_up(index);
                        task.kill();
                    }
                }
            }
        }
    }

    /// Lets a request go on for nobody, if the reference can tell what may come of it.
    fn drop_status(&mut self, place: usize) {
        if self.may_go_unseen(self.statuses[place].0) {
            let (index, status) = self.statuses.remove(place);
            self.diary.let_go(index, self.program.disk_errors == 0);
            drop(status);
        }
    }

    /// Whether the reference can tell what is possible if nobody sees this outcome.
    fn may_go_unseen(&self, index: usize) -> bool {
        let records = self.diary.records.borrow();
        // Those that went unseen as well leave everything to the next.
        let is_later = |record: &&Record<Verb>| {
            record.submitted > records[index].submitted && record.outcome != Some(Outcome::Unseen)
        };
        let later = || records.iter().filter(is_later);
        match records[index].op {
            Verb::File { op: FileOp::Write { .. } | FileOp::Truncate { .. } | FileOp::Seek { .. }, .. } => false,
            // Without a truncate it is inside what the file holds from the beginning.
            Verb::File { op: FileOp::WriteAt { .. }, .. } => {
                let is_truncate =
                    |step: &Step| matches!(step, Step::Do { verb: Verb::File { op: FileOp::Truncate { .. }, .. }, .. });
                !self.program.steps.iter().any(is_truncate)
            }
            // What it read is the next one's, unless that has gone on from behind it.
            Verb::File { file, op: FileOp::Read { .. } } => !later().any(|record| {
                matches!(record.op, Verb::File { file: other, op } if other == file
                    && matches!(op, FileOp::Read { .. } | FileOp::Write { .. } | FileOp::Seek { .. }))
            }),
            Verb::File { .. } | Verb::Socket { op: SocketOp::Send { .. }, .. } => true,
            // What it got goes to the next, which must not have got what came after.
            Verb::Socket { end, .. } => !later().any(|record| {
                matches!(record.op, Verb::Socket { end: other, op } if other == end
                    && !matches!(op, SocketOp::Send { .. }))
            }),
        }
    }

    fn begin(&mut self, verb: Verb, taking: Taking, stop: Stop) {
        let index = self.diary.records.borrow().len();
        let content = match verb {
            Verb::File { op: FileOp::WriteAt { length, .. } | FileOp::Write { length }, .. }
            | Verb::Socket { op: SocketOp::Send { length }, .. } => self.content(length),
            _ => Vec::new(),
        };
        let may_stop = stop != Stop::Nothing;
        // A status is taken when the program likes, so its time says nothing.
        let deadline = match stop {
            Stop::Deadline(microseconds) if taking != Taking::Status => Some(Duration::from_micros(microseconds)),
            _ => None,
        };
        let record = Record {
            op: verb,
            submitted: 0,
            delivered: None,
            may_stop,
            deadline,
            due_at: None,
            delivered_at: None,
            outcome: None,
            content: content.clone(),
        };
        self.diary.records.borrow_mut().push(record);
        match verb {
            Verb::File { file, op } => {
                let file = self.files[file].clone();
                match op {
                    FileOp::ReadAt { place, length } => {
                        self.start(index, file.read_at(vec![0; length], place), of_read, taking, stop);
                    }
                    FileOp::ReadExactAt { place, length } => {
                        self.start(index, file.read_exact_at(vec![0; length], place), of_read, taking, stop);
                    }
                    FileOp::Read { length } => self.start(index, file.read(vec![0; length]), of_read, taking, stop),
                    FileOp::WriteAt { place, .. } => {
                        self.start(index, file.write_at(content, place), of_write, taking, stop);
                    }
                    FileOp::Write { .. } => self.start(index, file.write(content), of_write, taking, stop),
                    FileOp::Seek { place } => {
                        let to = std::io::SeekFrom::Start(place);
                        self.start(index, file.seek(to), of_seek, taking, stop);
                    }
                    FileOp::Truncate { length } => self.start(index, file.truncate(length), of_plain, taking, stop),
                    FileOp::Stat => self.start(index, file.stat(), of_stat, taking, stop),
                    FileOp::Sync => self.start(index, file.sync(), of_plain, taking, stop),
                    FileOp::Barrier => self.start(index, file.barrier(), of_plain, taking, stop),
                }
            }
            Verb::Socket { end, op } => {
                let socket = self.ends[end].clone();
                match op {
                    SocketOp::Send { .. } => self.start(index, socket.send(content), of_write, taking, stop),
                    SocketOp::Receive { length } => {
                        self.start(index, socket.recv(vec![0; length]), of_read, taking, stop);
                    }
                    SocketOp::ReceiveExact { length } => {
                        self.start(index, socket.recv_exact(vec![0; length]), of_read, taking, stop);
                    }
                }
            }
        }
    }

    fn start<A: Action>(
        &mut self,
        index: usize,
        operation: Operation<A>,
        convert: fn(Result<A::Output, A::Error>) -> Outcome,
        taking: Taking,
        stop: Stop,
    ) {
        let operation = match stop {
            Stop::Nothing => operation,
            Stop::Deadline(microseconds) => operation.deadline(Duration::from_micros(microseconds)),
            Stop::Token(number) => operation.cancel_with(&self.tokens[number]),
        };
        let diary = Rc::clone(&self.diary);
        let refused = |error: A::Error| match convert(Err(error)) {
            Outcome::Failed { kind, .. } => Outcome::Refused(kind),
            other => unreachable!("{other:?} is no refusal"),
        };
        match taking {
            Taking::Status => {
                diary.submitted(index);
                match operation.submit() {
                    Ok(status) => self.statuses.push((index, Box::new(HeldStatus { status, convert }))),
                    Err(error) => diary.delivered(index, refused(error)),
                }
            }
            Taking::Callback | Taking::DirectCallback => {
                let operation = if taking == Taking::DirectCallback { operation.direct() } else { operation };
                diary.submitted(index);
                let inside = Rc::clone(&diary);
                if let Err(error) = operation.then(move |outcome| inside.delivered(index, convert(outcome))) {
                    diary.delivered(index, refused(error));
                }
            }
            Taking::Task => {
                let task = self.io.spawn(async move {
                    diary.submitted(index);
                    diary.delivered(index, convert(operation.await));
                });
                self.tasks.push((index, task.unwrap()));
            }
            Taking::Wait => {
                diary.submitted(index);
                let outcome = operation.wait();
                diary.delivered(index, convert(outcome));
            }
        }
    }

    /// Lets everything come to its end; gives what was left in each direction of each connection.
    fn finish(&mut self) -> Result<Vec<Vec<u8>>, String> {
        let mut rests: Vec<_> = Vec::new();
        for end in &self.ends {
            // Behind what has been submitted, tasks included.
            let (io, end) = (self.io.clone(), end.clone());
            let rest = self.io.spawn(async move {
                io.yield_now().await;
                let rest = end.recv_to_end(Vec::new()).submit().unwrap();
                end.shutdown(Shutdown::Write).await.unwrap();
                rest.await.unwrap().1
            });
            rests.push(rest.unwrap());
        }
        let tasks = std::mem::take(&mut self.tasks);
        let statuses = std::mem::take(&mut self.statuses);
        let mut left = Vec::new();
        let all = async {
            for (_, task) in tasks {
                let _ = task.await;
            }
            for rest in rests {
                left.push(rest.await.unwrap());
            }
        };
        self.scheduler.block_on(all).map_err(|error| format!("{error}: {:?}", self.scheduler.outstanding()))?;
        for (index, status) in statuses {
            while !status.is_settled() {
                self.scheduler.turn(Duration::from_secs(1)).map_err(|error| error.to_string())?;
            }
            self.diary.delivered(index, status.take().unwrap());
        }
        self.scheduler.run().map_err(|error| error.to_string())?;
        Ok(left)
    }
}

/// Sends and receives of both ends, connected.
fn connect(scheduler: &mut Scheduler, address: SocketAddr, count: usize, window: usize) -> Vec<Socket> {
    let io = scheduler.io();
    let listener = io.listen(address).unwrap();
    let address = listener.local_address().unwrap();
    let mut ends = Vec::new();
    for _ in 0..count {
        let pair = async { (io.connect(address).submit().unwrap(), listener.accept().await.unwrap()) };
        let (connect, accepted) = scheduler.block_on(pair).unwrap();
        let connected = scheduler.block_on(connect).unwrap().unwrap();
        for end in [connected, accepted] {
            end.set_receive_buffer(window).unwrap();
            end.set_send_buffer(window).unwrap();
            ends.push(end);
        }
    }
    scheduler.block_on(listener.close()).unwrap().unwrap();
    ends
}

/// Runs a program; an error says what was wrong. On a simulated machine also gives its history.
pub fn run(program: &Program, machine: &Machine) -> Result<u64, String> {
    let simulation = Simulation::new(program.seed);
    let (mut scheduler, folder, address, errors) = match machine {
        Machine::Simulated => {
            let builder = Scheduler::builder().queue_depth(program.depth);
            let scheduler = builder.build_simulated(&simulation).unwrap();
            (scheduler, PathBuf::from("/"), "10.0.0.1:0", &[libc::EIO][..])
        }
        Machine::Real(builder, folder) => {
            let scheduler = builder.clone().queue_depth(program.depth).build().unwrap();
            (scheduler, folder.clone(), "127.0.0.1:0", &[][..])
        }
    };
    let io = scheduler.io();
    let path = |number: usize| folder.join(format!("file{number}"));
    let write_file = |path: &Path| match machine {
        Machine::Simulated => simulation.add_file(path, CONTENT).unwrap(),
        Machine::Real(..) => std::fs::write(path, CONTENT).unwrap(),
    };
    let mode = OpenOptions::new().read(true).write(!program.appends).append(program.appends);
    let files: Vec<File> = (0..program.files)
        .map(|number| {
            write_file(&path(number));
            scheduler.block_on(io.open(path(number), mode)).unwrap().unwrap()
        })
        .collect();
    let ends = connect(&mut scheduler, address.parse().unwrap(), program.connections, program.window);
    let mut faults = Faults::default();
    faults.short_transfers = program.short_transfers as f64 / 100.0;
    faults.delays = program.delays as f64 / 100.0;
    faults.disk_errors = program.disk_errors as f64 / 100.0;
    simulation.set_faults(faults);

    let tokens = (0..TOKENS).map(|_| CancelToken::new()).collect();
    let time = matches!(machine, Machine::Simulated).then(|| scheduler.io());
    let diary = Rc::new(Diary { time, ..Diary::default() });
    let (statuses, tasks) = (Vec::new(), Vec::new());
    let scheduler_io = scheduler.io();
    let mut run = Run {
        program,
        scheduler: &mut scheduler,
        io: scheduler_io,
        files,
        ends,
        tokens,
        diary: Rc::clone(&diary),
        statuses,
        tasks,
        messages: 0,
    };
    program.steps.iter().for_each(|step| run.step(*step));
    let rests = run.finish()?;
    drop(run);
    // The handles close in the background.
    scheduler.run().map_err(|error| error.to_string())?;
    if !scheduler.outstanding().is_empty() || scheduler.active_tasks() > 0 {
        return Err(format!("left over: {:?}, {} tasks", scheduler.outstanding(), scheduler.active_tasks()));
    }
    simulation.set_faults(Faults::default());
    drop(scheduler);
    if simulation.open_descriptors() > 0 {
        return Err(format!("{} descriptors are left open", simulation.open_descriptors()));
    }
    judge(program, &diary, &rests, errors, |number| match machine {
        Machine::Simulated => simulation.file(path(number)).unwrap(),
        Machine::Real(..) => std::fs::read(path(number)).unwrap(),
    })?;
    Ok(simulation.history())
}

fn judge(
    program: &Program,
    diary: &Diary,
    rests: &[Vec<u8>],
    errors: &[i32],
    content: impl Fn(usize) -> Vec<u8>,
) -> Result<(), String> {
    let mut records = diary.records.take();
    // A task that was killed before its first poll submitted nothing.
    records.retain(|record| record.submitted > 0);
    records.sort_by_key(|record| record.submitted);
    // What a device takes at most once it has begun, and until that is reported.
    let slack = Duration::from_millis(if program.delays > 0 { 60 } else { 1 });
    for record in &records {
        if let (Some(due), Some(delivered)) = (record.due_at, record.delivered_at)
            && delivered > due + slack
        {
            return Err(format!("settled {:?} after its deadline: {record:?}", delivered - due));
        }
    }
    for number in 0..program.files {
        let mut reference = FileReference::new(&CONTENT, program.appends, errors);
        for record in &records {
            if let Verb::File { file, op } = record.op
                && file == number
            {
                reference.check(&with_op(record, op))?;
            }
        }
        reference.check_content(&content(number))?;
    }
    for end in 0..2 * program.connections {
        let of = |wanted: usize, sends: bool| -> Vec<Record<SocketOp>> {
            let of_socket = records.iter().filter_map(|record| match record.op {
                Verb::Socket { end, op } if end == wanted && matches!(op, SocketOp::Send { .. }) == sends => {
                    Some(with_op(record, op))
                }
                _ => None,
            });
            of_socket.collect()
        };
        // Its peer is its neighbour.
        check_stream(&of(end, true), &of(end ^ 1, false), &rests[end ^ 1])?;
    }
    if records.iter().any(|record| record.outcome == Some(Outcome::Refused(ErrorKind::Closed))) {
        return Err("refused as closed, but nothing was".into());
    }
    Ok(())
}

fn with_op<Op>(record: &Record<Verb>, op: Op) -> Record<Op> {
    let Record { submitted, delivered, may_stop, deadline, due_at, delivered_at, outcome, content, .. } =
        record.clone();
    Record { op, submitted, delivered, may_stop, deadline, due_at, delivered_at, outcome, content }
}
