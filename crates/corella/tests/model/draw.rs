//! How a program is drawn: from a seed, or from the bytes of a fuzzer.

use crate::program::{FileOp, Link, Place, Program, SocketOp, Step, Stop, TOKENS, Taking, Verb};

/// Where choices come from.
pub enum Source {
    /// Random numbers from a seed (SplitMix64), so that a seed means the same for ever.
    Seed(u64),
    /// Bytes, each a choice; zeros when they are used up.
    Bytes(Vec<u8>, usize),
}

impl Source {
    pub fn seed(seed: u64) -> Source {
        Source::Seed(seed ^ 0x5851_f42d_4c95_7f2d)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        match self {
            Source::Seed(state) => {
                *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut mixed = *state;
                mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                ((mixed ^ (mixed >> 31)) % limit as u64) as usize
            }
            Source::Bytes(bytes, used) => {
                let mut number = 0;
                for _ in 0..if limit > 256 { 2 } else { 1 } {
                    number = number << 8 | usize::from(bytes.get(*used).copied().unwrap_or(0));
                    *used += 1;
                }
                number % limit
            }
        }
    }

    fn chance(&mut self, percent: usize) -> bool {
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

    /// Whether nothing more is to be drawn.
    fn is_used_up(&self) -> bool {
        matches!(self, Source::Bytes(bytes, used) if used >= &bytes.len())
    }
}

/// How often each thing happens in this program.
struct Weights {
    numbers: [usize; 16],
    /// Operations that something may stop, in per cent.
    stops: usize,
    /// How much more often than otherwise statuses are held and then dropped, the oldest first.
    gives_up: usize,
    closes: usize,
    lists: usize,
}

impl Program {
    /// The program of a seed: its shape is drawn first, so that seeds differ in kind and not only in detail.
    pub fn draw(seed: u64, steps: usize) -> Program {
        Program::draw_from(&mut Source::seed(seed), seed, steps)
    }

    /// The program of some bytes, as long as they last.
    #[allow(dead_code, reason = "the fuzzer's")]
    pub fn from_bytes(bytes: &[u8]) -> Program {
        let seed = bytes.iter().fold(0u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        Program::draw_from(&mut Source::Bytes(bytes.to_vec(), 0), seed, 200)
    }

    fn draw_from(source: &mut Source, seed: u64, steps: usize) -> Program {
        let shares = source.chance(25);
        let mut program = Program {
            seed,
            files: 1 + source.below(3) + if shares { 2 } else { 0 },
            shares,
            appends: source.chance(20),
            sets_lengths: source.chance(40),
            links: (0..source.below(3)).map(|_| draw_link(source)).collect(),
            listeners: source.pick(&[(2, 0), (3, 1), (2, 2)]),
            depth: source.pick(&[(2, 1), (2, 2), (2, 4), (9, 1000)]),
            window: source.pick(&[(2, 4096), (1, 1 << 16)]),
            short_transfers: source.pick(&[(2, 0), (2, 30), (1, 90)]),
            delays: source.pick(&[(2, 0), (1, 20)]),
            slow_readers: source.pick(&[(3, 0), (1, 40)]),
            disk_errors: source.pick(&[(3, 0), (1, 10)]),
            resets: source.pick(&[(4, 0), (1, 3)]),
            disk_is_small: source.chance(10),
            descriptors: source.pick(&[(4, 1000), (1, 2)]),
            queue_entries: source.pick(&[(4, 1000), (1, 1)]),
            steps: Vec::new(),
        };
        let weights = Weights {
            numbers: std::array::from_fn(|_| 1 + source.below(8)),
            stops: source.pick(&[(1, 0), (1, 20), (1, 60)]),
            gives_up: source.pick(&[(1, 0), (1, 30)]),
            closes: source.pick(&[(2, 0), (1, 2), (1, 10)]),
            lists: source.pick(&[(2, 0), (1, 40)]),
        };
        while program.steps.len() < steps && !source.is_used_up() {
            let step = program.draw_step(source, &weights);
            program.steps.push(step);
        }
        program
    }

    fn draw_place(&self, source: &mut Source) -> Place {
        let total = self.files + 2 * self.links.len() + self.listeners;
        match source.below(total) {
            number if number < self.files => Place::File(number),
            number if number < self.files + 2 * self.links.len() => Place::End(number - self.files),
            number => Place::Listener(number - self.files - 2 * self.links.len()),
        }
    }

    fn draw_step(&self, source: &mut Source, weights: &Weights) -> Step {
        let Weights { numbers, closes, .. } = weights;
        if source.chance(30) {
            let number = source.below(64);
            let place = self.draw_place(source);
            return source.pick(&[
                (numbers[0] * 4, Step::Poll),
                (numbers[1] * 2, Step::Turn(1 + number as u64 * 10)),
                (2, Step::CancelToken(number % TOKENS)),
                (4, Step::CancelStatus(number)),
                (numbers[15], Step::DropStatus(number)),
                (weights.gives_up, Step::DropStatus(0)),
                (2, Step::DropAllStatuses),
                (6, Step::TakeStatus(number)),
                (1, Step::CallBackStatus(number)),
                (1, Step::AwaitStatus(number)),
                (4, Step::PollFuture(number)),
                (3, Step::DropFuture(number)),
                (2, Step::KillTask(number)),
                (1, Step::Clone(place)),
                (*closes, Step::Drop(place)),
                (usize::from(self.links.len() + self.listeners > 0), Step::Partition),
                (usize::from(self.links.len() + self.listeners > 0), Step::Heal),
            ]);
        }
        let verb = self.draw_verb(source, weights);
        let taking = source.pick(&[
            (numbers[9] + weights.gives_up, Taking::Status),
            (numbers[10], Taking::Callback),
            (2, Taking::DirectCallback),
            (numbers[11], Taking::Task),
            (2, Taking::Future),
            (1, Taking::FinishOrCallback),
            (if self.can_try(verb) { 4 } else { 0 }, Taking::TryOrCallback),
            (usize::from(verb.ends_by_itself()), Taking::Wait),
        ]);
        let mut stop = match source.chance(weights.stops) {
            true if source.chance(50) => Stop::Deadline(source.below(400) as u64),
            true => Stop::Token(source.below(TOKENS)),
            false => Stop::Nothing,
        };
        // One that nobody answers would hold the only place at the OS for good, or what both ends have behind it.
        let may_hold_for_good = self.is_shallow() || matches!(verb, Verb::Socket { op: SocketOp::Barrier, .. });
        if may_hold_for_good && !verb.ends_by_itself() && !matches!(stop, Stop::Deadline(_)) {
            stop = Stop::Deadline(source.below(400) as u64);
        }
        if weights.closes > 0 && stop == Stop::Nothing && matches!(verb, Verb::Socket { op: SocketOp::Send { .. }, .. })
        {
            // Both ends may be closed, and each wait for what the other does not take.
            stop = Stop::Deadline(50_000);
        }
        let parts = if source.chance(weights.lists) { 2 + source.below(11) } else { 1 };
        Step::Do { verb, taking, stop, parts }
    }

    fn draw_verb(&self, source: &mut Source, weights: &Weights) -> Verb {
        if source.chance(weights.closes) && source.chance(50) {
            return Verb::Close { place: self.draw_place(source), now: source.chance(30) };
        }
        if self.listeners > 0 && source.chance(20) {
            let listener = source.below(self.listeners);
            return match source.chance(50) {
                true => Verb::Accept { listener },
                false => Verb::Connect { listener, by_name: source.chance(50) },
            };
        }
        match !self.links.is_empty() && source.chance(40) {
            true => {
                let end = source.below(2 * self.links.len());
                Verb::Socket { end, op: draw_socket_op(source, weights, self.link(end), end) }
            }
            false => {
                let file = source.below(self.files);
                Verb::File { file, op: self.draw_file_op(source, weights, file) }
            }
        }
    }

    fn draw_file_op(&self, source: &mut Source, weights: &Weights, file: usize) -> FileOp {
        let numbers = &weights.numbers;
        let length = draw_length(source);
        let (near, far) = (source.below(100) as u64, source.below(100) as u64 + 200);
        // What may pass the end is left to programs that do not count on places inside.
        let place = source.pick(&[(3, near), (usize::from(self.sets_lengths), far)]);
        let unordered = !self.sets_lengths && source.chance(25);
        if self.is_shared(file) {
            let is_input = self.shared_input() == Some(file);
            // What comes back to its front is not where the next write goes.
            return match is_input {
                true => source.pick(&[
                    (numbers[2], FileOp::ReadAt { place, length, unordered }),
                    (2 * numbers[3], FileOp::Read { length }),
                    (1, FileOp::ReadExact { length }),
                    (1, FileOp::ReadToEnd),
                    (1, FileOp::Stat),
                    (1, FileOp::Barrier),
                ]),
                false => source.pick(&[
                    (2 * numbers[5], FileOp::Write { length }),
                    (numbers[4], FileOp::WriteAt { place, length, unordered }),
                    (numbers[2], FileOp::ReadAt { place, length, unordered }),
                    (1, FileOp::Stat),
                    (1, FileOp::Sync),
                    (1, FileOp::Barrier),
                ]),
            };
        }
        let write_at = if self.appends { 0 } else { numbers[4] };
        let sets_length = usize::from(self.sets_lengths);
        let offset = source.below(200) as i64 - 100;
        source.pick(&[
            (numbers[2], FileOp::ReadAt { place, length, unordered }),
            (1, FileOp::ReadExactAt { place, length }),
            (1, FileOp::ReadToEndAt { place }),
            (numbers[3], FileOp::Read { length }),
            (1, FileOp::ReadExact { length }),
            (1, FileOp::ReadToEnd),
            (write_at, FileOp::WriteAt { place, length, unordered }),
            (numbers[5], FileOp::Write { length }),
            (1, FileOp::Seek { place }),
            (1, FileOp::SeekBy { offset }),
            (1, FileOp::SeekFromEnd { offset }),
            (sets_length, FileOp::Truncate { length: place }),
            (sets_length, FileOp::Allocate { place, length: 1 + length as u64 }),
            (1, FileOp::Stat),
            (1, FileOp::Sync),
            (1, FileOp::Barrier),
        ])
    }
}

fn draw_length(source: &mut Source) -> usize {
    let (little, much) = (1 + source.below(16), 1 + source.below(200));
    source.pick(&[(1, 0), (4, little), (2, much)])
}

fn draw_link(source: &mut Source) -> Link {
    source.pick(&[(5, Link::Tcp), (1, Link::Pair), (1, Link::Pipe), (2, Link::Datagrams)])
}

fn draw_socket_op(source: &mut Source, weights: &Weights, link: Link, end: usize) -> SocketOp {
    let numbers = &weights.numbers;
    let length = draw_length(source);
    let large = if source.chance(20) && link != Link::Datagrams { length * 100 } else { length };
    let (is_stream, has_two_ways) = (link != Link::Datagrams, link != Link::Pipe);
    // A pipe has an end for each.
    let sends = usize::from(has_two_ways || end.is_multiple_of(2));
    let receives = usize::from(has_two_ways || !end.is_multiple_of(2));
    let receives_on = receives * usize::from(is_stream);
    source.pick(&[
        (sends * numbers[6] * 2, SocketOp::Send { length: large }),
        (receives * numbers[7] * 2, SocketOp::Receive { length: length.max(1) }),
        (receives_on * numbers[8], SocketOp::ReceiveExact { length: length.max(1) }),
        (receives_on * usize::from(numbers[12] > 6), SocketOp::ReceiveToEnd),
        (usize::from(is_stream && has_two_ways && numbers[13] > 6), SocketOp::ShutDownWrites),
        (usize::from(numbers[14] > 4), SocketOp::Barrier),
    ])
}
