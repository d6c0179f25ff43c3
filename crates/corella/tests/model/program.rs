//! Random programs: what they do as plain data, how they are drawn from a seed, and how a failing one is made short.

use std::fmt;

/// Random numbers from a seed (SplitMix64), so that a seed means the same for ever.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed ^ 0x5851_f42d_4c95_7f2d)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of these, by weight.
    fn pick<T: Copy>(&mut self, choices: &[(usize, T)]) -> T {
        let mut left = self.below(choices.iter().map(|(weight, _)| weight).sum());
        for (weight, choice) in choices {
            if left < *weight {
                return *choice;
            }
            left -= weight;
        }
        unreachable!("the weights sum up")
    }
}

/// An operation on a file. Lengths and places are small, so that ranges meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileOp {
    ReadAt { place: u64, length: usize },
    ReadExactAt { place: u64, length: usize },
    Read { length: usize },
    WriteAt { place: u64, length: usize },
    Write { length: usize },
    Seek { place: u64 },
    Truncate { length: u64 },
    Stat,
    Sync,
    Barrier,
}

/// An operation on one end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketOp {
    Send { length: usize },
    Receive { length: usize },
    ReceiveExact { length: usize },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    File { file: usize, op: FileOp },
    Socket { end: usize, op: SocketOp },
}

/// How an outcome is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taking {
    Status,
    Callback,
    DirectCallback,
    /// By a task that awaits it.
    Task,
    /// Blocking, on files only: nobody may ever send.
    Wait,
}

/// What may stop it early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    Nothing,
    /// In microseconds.
    Deadline(u64),
    /// A token of the program's, by number.
    Token(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Do {
        verb: Verb,
        taking: Taking,
        stop: Stop,
    },
    /// One turn that does not wait.
    Poll,
    /// Turns for so many microseconds.
    Turn(u64),
    CancelToken(usize),
    /// Of the statuses held, this one (modulo how many there are).
    CancelStatus(usize),
    DropStatus(usize),
    /// All of them, the newest first.
    DropAllStatuses,
    TakeStatus(usize),
    /// Ends a task where it stands, with what it awaits.
    KillTask(usize),
}

/// A program with the machine that it runs on.
#[derive(Clone)]
pub struct Program {
    pub seed: u64,
    pub files: usize,
    pub appends: bool,
    pub connections: usize,
    pub depth: usize,
    /// Small ones make senders wait.
    pub window: usize,
    /// In per cent.
    pub short_transfers: usize,
    pub delays: usize,
    pub disk_errors: usize,
    pub steps: Vec<Step>,
}

pub const TOKENS: usize = 4;

impl Program {
    /// The program of a seed: its shape is drawn first, so that seeds differ in kind and not only in detail.
    pub fn draw(seed: u64, steps: usize) -> Program {
        let mut random = Random::new(seed);
        let mut program = Program {
            seed,
            files: 1 + random.below(3),
            appends: random.chance(20),
            connections: random.below(3),
            depth: random.pick(&[(3, 1), (3, 2), (2, 4), (4, 1000)]),
            window: random.pick(&[(2, 4096), (1, 1 << 16)]),
            short_transfers: random.pick(&[(2, 0), (2, 30), (1, 90)]),
            delays: random.pick(&[(2, 0), (1, 20)]),
            disk_errors: random.pick(&[(3, 0), (1, 10)]),
            steps: Vec::new(),
        };
        if program.depth < steps {
            // A receive that nobody answers would hold the only place at the OS for good.
            program.connections = 0;
        }
        // How often each thing happens in this program.
        let weights: Vec<usize> = (0..12).map(|_| 1 + random.below(8)).collect();
        let stops = random.pick(&[(1, 0), (1, 20), (1, 60)]);
        for _ in 0..steps {
            let step = program.draw_step(&mut random, &weights, stops);
            program.steps.push(step);
        }
        program
    }

    fn draw_step(&self, random: &mut Random, weights: &[usize], stops: usize) -> Step {
        if random.chance(30) {
            let number = random.below(64);
            return random.pick(&[
                (weights[0] * 2, Step::Poll),
                (weights[1], Step::Turn(1 + number as u64 * 10)),
                (1, Step::CancelToken(number % TOKENS)),
                (2, Step::CancelStatus(number)),
                (2, Step::DropStatus(number)),
                (1, Step::DropAllStatuses),
                (4, Step::TakeStatus(number)),
                (1, Step::KillTask(number)),
            ]);
        }
        let (little, much) = (1 + random.below(16), 1 + random.below(200));
        let length = random.pick(&[(1, 0), (4, little), (2, much)]);
        let place = random.below(100) as u64;
        let on_socket = self.connections > 0 && random.chance(40);
        let verb = match on_socket {
            false => {
                let write_at = if self.appends { 0 } else { weights[4] };
                let op = random.pick(&[
                    (weights[2], FileOp::ReadAt { place, length }),
                    (1, FileOp::ReadExactAt { place, length }),
                    (weights[3], FileOp::Read { length }),
                    (write_at, FileOp::WriteAt { place, length }),
                    (weights[5], FileOp::Write { length }),
                    (1, FileOp::Seek { place }),
                    (1, FileOp::Truncate { length: place }),
                    (1, FileOp::Stat),
                    (1, FileOp::Sync),
                    (1, FileOp::Barrier),
                ]);
                Verb::File { file: random.below(self.files), op }
            }
            true => {
                let large = if random.chance(20) { length * 100 } else { length };
                let op = random.pick(&[
                    (weights[6], SocketOp::Send { length: large }),
                    (weights[7], SocketOp::Receive { length: length.max(1) }),
                    (weights[8] / 2, SocketOp::ReceiveExact { length: length.max(1) }),
                ]);
                Verb::Socket { end: random.below(2 * self.connections), op }
            }
        };
        let taking = random.pick(&[
            (weights[9], Taking::Status),
            (weights[10], Taking::Callback),
            (2, Taking::DirectCallback),
            (weights[11], Taking::Task),
            (usize::from(!on_socket), Taking::Wait),
        ]);
        let stop = match random.chance(stops) {
            true if random.chance(50) => Stop::Deadline(random.below(400) as u64),
            true => Stop::Token(random.below(TOKENS)),
            false => Stop::Nothing,
        };
        Step::Do { verb, taking, stop }
    }

    /// A shorter program that fails as well: pieces are left out as long as it does.
    pub fn shrink(&self, fails: impl Fn(&Program) -> bool) -> Program {
        let mut program = self.clone();
        let mut piece = program.steps.len() / 2;
        while piece > 0 {
            let mut start = 0;
            while start < program.steps.len() {
                let mut shorter = program.clone();
                shorter.steps.drain(start..(start + piece).min(program.steps.len()));
                match fails(&shorter) {
                    true => program = shorter,
                    false => start += piece,
                }
            }
            piece /= 2;
        }
        program
    }
}

impl fmt::Display for Program {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Program { seed, files, appends, connections, depth, window, short_transfers, delays, disk_errors, steps } =
            self;
        writeln!(
            out,
            "seed {seed}: {files} files (append mode: {appends}), {connections} connections, depth {depth},"
        )?;
        writeln!(
            out,
            "window {window}, faults in per cent: short {short_transfers}, late {delays}, EIO {disk_errors}"
        )?;
        steps.iter().enumerate().try_for_each(|(number, step)| writeln!(out, "  {number}: {step:?}"))
    }
}
