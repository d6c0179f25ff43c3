//! Sets a machine up, has a program run on it, and has the reference judge what it saw.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use corella::marks::Census;
use corella::{
    BackendKind, CancelToken, DatagramSocket, Faults, File, Io, Listener, OpenOptions, Scheduler, SchedulerBuilder,
    Simulation, Socket,
};

use crate::codes;
use crate::diary::{Diary, Record, drop_kept};
use crate::program::{FileOp, Link, Place, Program, SocketOp, Step, TOKENS, Verb};
use crate::reference::{
    Circumstances, Datagrams, Door, FileReference, Stream, Verdict, check_datagrams, check_delivery_order,
    check_failure, check_listener, check_stream,
};
use crate::run::{End, NAME, Rests, Run};

/// What files hold before the program begins: more than its positioned writes reach.
const CONTENT: [u8; 300] = [0xee; 300];

/// The machine that a program runs on.
pub enum Machine {
    Simulated,
    /// With this backend of the builder's, and a folder for its files.
    Real(BackendKind, SchedulerBuilder, PathBuf),
}

impl Machine {
    fn is_simulated(&self) -> bool {
        matches!(self, Machine::Simulated)
    }

    /// Whether writes to streams that end on their way may leave it open how much went out: a port tells of the end alone.
    fn hides_moved(&self) -> bool {
        matches!(self, Machine::Real(BackendKind::Iocp, ..))
    }
}

/// What is wrong with a program on a machine; a panic is. On a simulated machine also gives its history.
pub fn verdict(program: &Program, machine: &Machine) -> Result<u64, String> {
    let run = catch_unwind(AssertUnwindSafe(|| run(program, machine)));
    run.unwrap_or_else(|panic| {
        drop_kept();
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Err(format!("it panicked: {}", text.unwrap_or("?")))
    })
}

fn run(program: &Program, machine: &Machine) -> Result<u64, String> {
    // Standard streams are shared by everybody on a real machine.
    let program = &Program { shares: program.shares && machine.is_simulated(), ..program.clone() };
    let simulation = Simulation::new(program.seed);
    let (mut scheduler, folder, address) = match machine {
        Machine::Simulated => {
            let builder = Scheduler::builder().queue_depth(program.depth);
            (builder.build_simulated(&simulation).unwrap(), PathBuf::from("/"), "10.0.0.1:0")
        }
        Machine::Real(kind, builder, folder) => {
            let builder = builder.clone().backend(*kind).queue_depth(program.depth);
            (builder.build().unwrap(), folder.clone(), "127.0.0.1:0")
        }
    };
    let address: SocketAddr = address.parse().unwrap();
    simulation.add_name(NAME, address.ip());
    let path = |number: usize| folder.join(format!("file{number}"));
    let write_file = |path: &Path| match machine {
        Machine::Simulated => simulation.add_file(path, CONTENT).unwrap(),
        Machine::Real(..) => std::fs::write(path, CONTENT).unwrap(),
    };
    (0..program.files).for_each(|number| write_file(&path(number)));
    let files = open_files(program, &simulation, &mut scheduler, path);
    let listeners: Vec<Listener> = (0..program.listeners).map(|_| scheduler.io().listen(address).unwrap()).collect();
    let addresses = listeners.iter().map(|listener| listener.local_address().unwrap()).collect();
    let ends = link(&mut scheduler, program, address, machine.is_simulated());
    simulation.set_faults(faults(program, simulation.open_descriptors()));

    let time = machine.is_simulated().then(|| scheduler.io());
    let diary = Rc::new(Diary::new(time));
    let scheduler_io: Io = scheduler.io();
    let alone = |handle| vec![handle];
    let mut run = Run {
        program,
        scheduler: &mut scheduler,
        simulation: machine.is_simulated().then_some(&simulation),
        io: scheduler_io,
        files: files.into_iter().map(|file| vec![file]).collect(),
        ends: ends.into_iter().map(|end| vec![end]).collect(),
        listeners: listeners.into_iter().map(alone).collect(),
        addresses,
        tokens: (0..TOKENS).map(|_| CancelToken::new()).collect(),
        diary: Rc::clone(&diary),
        statuses: Vec::new(),
        futures: Vec::new(),
        tasks: Vec::new(),
        messages: 0,
    };
    program.steps.iter().for_each(|step| run.step(*step));
    let rests = {
        let descriptors = Program { descriptors: 1000, ..program.clone() };
        simulation.set_faults(faults(&descriptors, simulation.open_descriptors()));
        run.finish()?
    };
    let tokens = std::mem::take(&mut run.tokens);
    drop(run);
    drop_kept();
    let history = end(scheduler, &simulation, &tokens)?;
    let judge = Judge { program, machine, diary: &diary, rests: &rests };
    judge.judge(|number| match machine {
        Machine::Simulated => simulation.file(path(number)).unwrap(),
        Machine::Real(..) => std::fs::read(path(number)).unwrap(),
    })?;
    Ok(history)
}

fn open_files(
    program: &Program,
    simulation: &Simulation,
    scheduler: &mut Scheduler,
    path: impl Fn(usize) -> PathBuf,
) -> Vec<File> {
    let io = scheduler.io();
    let mode = OpenOptions::new().read(true).write(!program.appends).append(program.appends);
    let mut open = |number: usize| match (program.is_shared(number), program.shared_input() == Some(number)) {
        (false, _) => scheduler.block_on(io.open(path(number), mode)).unwrap().unwrap(),
        (true, true) => {
            simulation.redirect_stdin(path(number)).unwrap();
            io.stdin().unwrap()
        }
        (true, false) => {
            simulation.redirect_stdout(path(number)).unwrap();
            io.stdout().unwrap()
        }
    };
    (0..program.files).map(&mut open).collect()
}

fn faults(program: &Program, descriptors_open: usize) -> Faults {
    let share = |percent: usize| percent as f64 / 100.0;
    let mut faults = Faults::default();
    faults.short_transfers = share(program.short_transfers);
    faults.delays = share(program.delays);
    faults.slow_readers = share(program.slow_readers);
    faults.disk_errors = share(program.disk_errors);
    faults.resets = share(program.resets);
    faults.descriptors = descriptors_open + program.descriptors;
    faults.queue_entries = program.queue_entries;
    if program.disk_is_small {
        faults.disk_bytes = (program.files * CONTENT.len() + 100) as u64;
    }
    faults
}

/// Both ends of each link.
fn link(scheduler: &mut Scheduler, program: &Program, address: SocketAddr, is_simulated: bool) -> Vec<End> {
    let io = scheduler.io();
    let mut ends = Vec::new();
    for link in &program.links {
        match link {
            Link::Tcp => ends.extend(connect(scheduler, address, program.window).map(End::Socket)),
            // Windows has no pairs.
            Link::Pair if cfg!(windows) && !is_simulated => {
                ends.extend(connect(scheduler, address, program.window).map(End::Socket));
            }
            Link::Pair => {
                let (one, other) = io.socket_pair().unwrap();
                ends.extend([one, other].map(End::Socket));
            }
            Link::Pipe => {
                let (reader, writer) = io.pipe().unwrap();
                ends.extend([writer, reader].map(End::Pipe));
            }
            Link::Datagrams if is_simulated || cfg!(windows) => {
                ends.extend(connect_datagrams(scheduler, address).map(End::Datagrams));
            }
            Link::Datagrams => {
                let (one, other) = io.datagram_pair().unwrap();
                ends.extend([one, other].map(End::Datagrams));
            }
        }
    }
    ends
}

/// Both ends of a connection.
fn connect(scheduler: &mut Scheduler, address: SocketAddr, window: usize) -> [Socket; 2] {
    let io = scheduler.io();
    let listener = io.listen(address).unwrap();
    let address = listener.local_address().unwrap();
    let pair = async {
        // The connect first: there may be place for one at a time.
        let connect = io.connect(address).submit().unwrap();
        (listener.accept().await.unwrap(), connect.await.unwrap())
    };
    let (accepted, connected) = scheduler.block_on(pair).unwrap();
    let ends = [connected, accepted];
    for end in &ends {
        end.set_receive_buffer(window).unwrap();
        end.set_send_buffer(window).unwrap();
    }
    scheduler.block_on(listener.close()).unwrap().unwrap();
    ends
}

/// Two sockets for datagrams that are each other's peers.
fn connect_datagrams(scheduler: &mut Scheduler, address: SocketAddr) -> [DatagramSocket; 2] {
    let io = scheduler.io();
    let ends = [(); 2].map(|()| io.bind_datagrams(address).unwrap());
    for (end, peer) in [(&ends[0], &ends[1]), (&ends[1], &ends[0])] {
        scheduler.block_on(end.connect(peer.local_address().unwrap())).unwrap().unwrap();
    }
    ends
}

/// Ends the scheduler, which has given everything back.
fn end(mut scheduler: Scheduler, simulation: &Simulation, tokens: &[CancelToken]) -> Result<u64, String> {
    // The handles close in the background.
    scheduler.run().map_err(|error| error.to_string())?;
    if scheduler.census() != Census::default() {
        return Err(format!("not given back: {:?}, {:?}", scheduler.census(), scheduler.outstanding()));
    }
    for token in tokens.iter().map(|token| format!("{token:?}")) {
        if !token.contains("requests: 0") {
            return Err(format!("a token knows a request that is over: {token}"));
        }
    }
    simulation.set_faults(Faults::default());
    drop(scheduler);
    match simulation.open_descriptors() {
        0 => Ok(simulation.history()),
        count => Err(format!("{count} descriptors are left open")),
    }
}

/// A program's run, to be judged.
struct Judge<'a> {
    program: &'a Program,
    machine: &'a Machine,
    diary: &'a Diary,
    rests: &'a Rests,
}

impl Judge<'_> {
    fn judge(&self, content: impl Fn(usize) -> Vec<u8>) -> Verdict {
        let mut records = self.diary.records.borrow().clone();
        // A task that was killed before its first poll submitted nothing.
        records.retain(|record| record.submitted > 0);
        records.sort_by_key(|record| record.submitted);
        self.check_deadlines(&records)?;
        for number in 0..self.program.files {
            let of_file = |record: &Record<Verb>| match record.op {
                Verb::File { file, op } if file == number => Some(record.with(op)),
                _ => None,
            };
            let records: Vec<Record<FileOp>> = records.iter().filter_map(of_file).collect();
            let appends = self.program.appends && !self.program.is_shared(number);
            let mut reference = FileReference::new(&CONTENT, appends, self.circumstances_of_file(number));
            reference.check(&records)?;
            reference.check_content(&content(number))?;
        }
        (0..2 * self.program.links.len()).try_for_each(|end| self.check_direction(&records, end))?;
        (0..self.program.listeners).try_for_each(|number| self.check_door(&records, number))?;
        records.iter().try_for_each(|record| self.check_close(record))
    }

    fn check_deadlines(&self, records: &[Record<Verb>]) -> Verdict {
        // What a device takes at most once it has begun, and until that is reported; a close comes after that.
        let is_slow = self.program.delays > 0 || self.program.slow_readers > 0;
        let slack = Duration::from_millis(if is_slow { 110 } else { 1 });
        for record in records {
            let slack = if matches!(record.op, Verb::Close { .. }) { 3 * slack } else { slack };
            if let (Some(due), Some(delivered)) = (record.due_at, record.delivered_at)
                && delivered > due + slack
            {
                return Err(format!("settled {:?} after its deadline: {record:?}", delivered - due));
            }
        }
        Ok(())
    }

    fn circumstances_of_file(&self, number: usize) -> Circumstances {
        // A place before the beginning is wrong on every machine.
        let mut errors = codes::EINVAL.to_vec();
        if self.machine.is_simulated() {
            errors.extend(if self.program.disk_errors > 0 { codes::EIO } else { &[] });
            errors.extend(if self.program.disk_is_small { codes::ENOSPC } else { &[] });
        }
        Circumstances { errors, closed_at: self.diary.closed_at(Place::File(number)), hides_moved: false }
    }

    /// What one end sends and its neighbour receives.
    fn check_direction(&self, records: &[Record<Verb>], end: usize) -> Verdict {
        let of = |wanted: usize, receives: bool| -> Vec<Record<SocketOp>> {
            let of_socket = records.iter().filter_map(|record| match record.op {
                Verb::Socket { end, op } if end == wanted && op.receives() == receives => Some(record.with(op)),
                _ => None,
            });
            of_socket.collect()
        };
        let (sends, receives) = (of(end, false), of(end ^ 1, true));
        check_delivery_order(&sends.iter().filter(|record| record.op != SocketOp::Barrier).collect::<Vec<_>>())?;
        check_delivery_order(&receives.iter().collect::<Vec<_>>())?;
        if self.program.link(end) == Link::Datagrams {
            return self.check_datagrams(&sends, &receives, end);
        }
        let closed_at = |end: usize| self.diary.closed_at(Place::End(end));
        let is_lossy = self.program.resets > 0 && self.machine.is_simulated();
        let hides_moved = self.machine.hides_moved();
        let mut sender = Circumstances { errors: Vec::new(), closed_at: closed_at(end), hides_moved };
        let mut receiver = Circumstances { closed_at: closed_at(end ^ 1), ..Circumstances::default() };
        if is_lossy || closed_at(end ^ 1).is_some() || closed_at(end).is_some() {
            sender.errors.extend([codes::ECONNRESET, codes::EPIPE, codes::ENOTCONN].concat());
            receiver.errors.extend(codes::ECONNRESET);
        }
        if sends.iter().any(|record| record.op == SocketOp::ShutDownWrites) {
            sender.errors.extend([codes::EPIPE, codes::ENOTCONN].concat());
        }
        // A real machine throws away what is on its way when a connection is closed with something unread.
        let may_lose_the_end =
            is_lossy || closed_at(end ^ 1).is_some() || (closed_at(end).is_some() && !self.machine.is_simulated());
        let rest = &self.rests.bytes[end ^ 1];
        check_stream(&Stream { sends: &sends, receives: &receives, rest, sender, receiver, may_lose_the_end })
    }

    /// The same of datagrams.
    fn check_datagrams(&self, sends: &[Record<SocketOp>], receives: &[Record<SocketOp>], end: usize) -> Verdict {
        let is_simulated = self.machine.is_simulated();
        let was_closed = |end: usize| {
            let place = Place::End(end);
            self.program.has(|verb| matches!(verb, Verb::Close { place: other, .. } if other == place))
                || self.program.steps.contains(&Step::Drop(place))
        };
        // Who sends to nobody is told so, at the next call of either kind.
        let errors = match was_closed(end) || was_closed(end ^ 1) {
            true => [codes::ECONNREFUSED, codes::ECONNRESET, codes::ENOTCONN].concat(),
            false => Vec::new(),
        };
        let circumstances = |end: usize, hides_moved: bool| {
            let closed_at = self.diary.closed_at(Place::End(end));
            Circumstances { errors: errors.clone(), closed_at, hides_moved }
        };
        let is_lossy = is_simulated && (self.program.resets > 0 || self.program.steps.contains(&Step::Partition));
        check_datagrams(&Datagrams {
            sends,
            receives,
            rest: &self.rests.datagrams[end ^ 1],
            sender: circumstances(end, self.machine.hides_moved()),
            receiver: circumstances(end ^ 1, false),
            may_be_lost: is_lossy || was_closed(end) || was_closed(end ^ 1),
            are_in_order: !is_simulated,
        })
    }

    fn check_door(&self, records: &[Record<Verb>], number: usize) -> Verdict {
        let of = |is_it: &dyn Fn(Verb) -> bool| -> Vec<&Record<Verb>> {
            records.iter().filter(|record| is_it(record.op)).collect()
        };
        let accepts = of(&|verb| verb == Verb::Accept { listener: number });
        let connects = of(&|verb| matches!(verb, Verb::Connect { listener, .. } if listener == number));
        let has_few = self.program.descriptors < 1000 && self.machine.is_simulated();
        let few = if has_few { codes::EMFILE } else { &[] };
        // Until the end it was open, if the program did not close it.
        let was_closed =
            self.program.has(|verb| matches!(verb, Verb::Close { place, .. } if place == Place::Listener(number)))
                || self.program.steps.contains(&Step::Drop(Place::Listener(number)));
        let mut connect_errors: Vec<i32> = few.to_vec();
        if was_closed {
            // One that had come and was not accepted is reset, which a real machine may tell as the connect's end.
            connect_errors.extend([codes::ECONNREFUSED, codes::ECONNRESET].concat());
        }
        check_listener(&Door {
            accepts: &accepts,
            connects: &connects,
            rest: &self.rests.connections[number],
            circumstances: Circumstances {
                errors: few.to_vec(),
                closed_at: self.diary.closed_at(Place::Listener(number)),
                hides_moved: false,
            },
            may_throw_away: was_closed,
            connect_errors: Circumstances { errors: connect_errors, ..Circumstances::default() },
        })
    }

    /// The first close closes; any other is an error and nothing else.
    fn check_close(&self, record: &Record<Verb>) -> Verdict {
        let (Verb::Close { place, .. }, Some(outcome)) = (record.op, &record.outcome) else { return Ok(()) };
        let closed_at = self.diary.closed_at(place);
        check_failure(record, outcome, &Circumstances { closed_at, ..Circumstances::default() })
    }
}
