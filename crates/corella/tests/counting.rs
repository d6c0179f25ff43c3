//! Counted, not timed: heap allocations, system calls, and memory over a million requests.
//!
//! Allocations are counted by this test's own allocator, on the scheduler's thread. System calls are counted by
//! `strace`, under which this program starts itself again, between two marks.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::pin::Pin;
use std::process::Command;
use std::rc::Rc;
use std::task::{Context, RawWaker, RawWakerVTable, Waker};

use corella::{BackendKind, BufferPool, File, Io, Mode, Scheduler, SliceOf, Socket};
use libtest_mimic::{Arguments, Failed, Trial};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    /// Bytes allocated and not freed by this thread.
    static LIVE_BYTES: Cell<i64> = const { Cell::new(0) };
}

fn count(bytes: i64) {
    // A thread that ends frees after its counters are gone.
    let _ = LIVE_BYTES.try_with(|live| live.set(live.get() + bytes));
    if bytes > 0 {
        let _ = ALLOCATIONS.try_with(|allocations| allocations.set(allocations.get() + 1));
    }
}

// SAFETY: everything is passed on to the system's allocator; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: passed on from the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: passed on from the caller.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const BACKENDS: &[BackendKind] = &[
    BackendKind::Uring,
    BackendKind::Portable,
    #[cfg(feature = "fake-port")]
    BackendKind::Iocp,
];
const WARM_UP: u64 = 2_000;
const COUNTED: u64 = 10_000;

fn scheduler(backend: BackendKind) -> Scheduler {
    Scheduler::builder().backend(backend).build().unwrap()
}

/// A file of 64 KiB that goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("corella-counting-{}-{name}", std::process::id()));
        fs::write(&path, vec![1; 1 << 16]).unwrap();
        Scratch(path)
    }

    fn open(&self, io: &Io) -> File {
        io.open(&self.0, Mode::Read).wait().unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Both ends of a connection, on one scheduler.
fn connection(io: &Io) -> (Socket, Socket) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (other, _) = listener.accept().unwrap();
    (io.adopt_socket(one).unwrap(), io.adopt_socket(other).unwrap())
}

/// Counts the allocations of the rounds after the warm-up: `round` is told its number.
struct Count {
    start: Cell<u64>,
    end: Cell<u64>,
    rounds: Cell<u64>,
}

impl Count {
    fn new() -> Rc<Count> {
        Rc::new(Count { start: Cell::new(0), end: Cell::new(0), rounds: Cell::new(0) })
    }

    /// One more round is over; false after the last.
    fn goes_on(&self) -> bool {
        self.rounds.set(self.rounds.get() + 1);
        if self.rounds.get() == WARM_UP {
            self.start.set(ALLOCATIONS.get());
        }
        if self.rounds.get() == WARM_UP + COUNTED {
            self.end.set(ALLOCATIONS.get());
        }
        self.rounds.get() < WARM_UP + COUNTED
    }

    fn finish(&self, what: &str) {
        let counted = self.end.get() - self.start.get();
        assert_eq!(self.rounds.get(), WARM_UP + COUNTED, "{what} stopped early");
        assert_eq!(counted, 0, "{what}: {counted} allocations in {COUNTED} rounds");
    }
}

fn awaited_requests_allocate_nothing(backend: BackendKind) {
    for inline_reads in [false, true] {
        let builder = Scheduler::builder().backend(backend).inline_reads(inline_reads);
        allocate_nothing_when_awaited(backend, builder.build().unwrap());
    }
}

fn allocate_nothing_when_awaited(backend: BackendKind, mut scheduler: Scheduler) {
    let io = scheduler.io();
    let scratch = Scratch::new(&format!("await-{}", backend.name()));
    let file = scratch.open(&io);
    let count = Count::new();
    scheduler
        .block_on(async {
            let mut buffer = vec![0; 4096];
            while count.goes_on() {
                (_, buffer) = file.read_at(buffer, 4096 * (count.rounds.get() % 16)).await.unwrap();
            }
        })
        .unwrap();
    count.finish("reads of a file, awaited");

    let (here, there) = connection(&io);
    let count = Count::new();
    io.spawn(async move {
        let mut buffer = vec![0; 64];
        loop {
            let (moved, filled) = there.recv(buffer).await.unwrap();
            if moved == 0 {
                return;
            }
            (_, buffer) = there.send(filled).await.unwrap();
        }
    })
    .unwrap();
    scheduler
        .block_on(async {
            let mut buffer = vec![7; 64];
            while count.goes_on() {
                (_, buffer) = here.send(buffer).await.unwrap();
                (_, buffer) = here.recv_exact(buffer).await.unwrap();
            }
        })
        .unwrap();
    count.finish("sends and receives, awaited");
}

fn requests_with_callbacks_allocate_nothing(backend: BackendKind) {
    fn read_on(file: File, buffer: Vec<u8>, count: Rc<Count>) {
        if count.goes_on() {
            let next = file.clone();
            let offset = 4096 * (count.rounds.get() % 16);
            file.read_at(buffer, offset).then(move |outcome| read_on(next, outcome.unwrap().1, count)).unwrap();
        }
    }
    fn echo(socket: Socket, buffer: Vec<u8>) {
        let next = socket.clone();
        let receive = socket.recv(buffer).then(move |outcome| {
            let (moved, buffer) = outcome.unwrap();
            if moved > 0 {
                let next_after = next.clone();
                next.send(buffer).then(move |outcome| echo(next_after, outcome.unwrap().1)).unwrap();
            }
        });
        receive.unwrap();
    }
    fn ping(socket: Socket, buffer: Vec<u8>, count: Rc<Count>) {
        if !count.goes_on() {
            return socket.close().then(|outcome| outcome.unwrap()).map(drop).unwrap();
        }
        let next = socket.clone();
        socket
            .send(buffer)
            .then(move |outcome| {
                let next_after = next.clone();
                let receive = next.recv_exact(outcome.unwrap().1);
                receive.then(move |outcome| ping(next_after, outcome.unwrap().1, count)).unwrap();
            })
            .unwrap();
    }
    let mut scheduler = scheduler(backend);
    let io = scheduler.io();
    let scratch = Scratch::new(&format!("then-{}", backend.name()));
    let count = Count::new();
    read_on(scratch.open(&io), vec![0; 4096], Rc::clone(&count));
    scheduler.run().unwrap();
    count.finish("reads of a file with callbacks");

    let (here, there) = connection(&io);
    let count = Count::new();
    echo(there, vec![0; 64]);
    ping(here, vec![7; 64], Rc::clone(&count));
    scheduler.run().unwrap();
    count.finish("sends and receives with callbacks");
}

fn vectored_joined_and_pooled_requests_allocate_nothing(backend: BackendKind) {
    let mut scheduler = scheduler(backend);
    let io = scheduler.io();
    let (here, there) = connection(&io);
    let pool = BufferPool::new(4, 1024);
    let count = Count::new();
    scheduler
        .block_on(async {
            let mut stream = there.recv_stream(&pool);
            let mut parts: Vec<Vec<u8>> = vec![vec![1; 8]; 8];
            let (mut first, mut second) = (vec![2; 32], vec![3; 32]);
            let (mut received, mut joined) = (0, 0);
            while count.goes_on() {
                (_, parts) = here.send(parts).await.unwrap();
                // Two at once: the second rides on the first, or follows it.
                let one = here.send(first).submit().unwrap();
                let other = here.send(second).submit().unwrap();
                joined += 128;
                while received < joined {
                    received += stream.next().await.unwrap().unwrap().len();
                }
                (_, first) = one.await.unwrap();
                (_, second) = other.await.unwrap();
            }
        })
        .unwrap();
    count.finish("vectored and joined sends, pooled receives");
}

fn memory_does_not_grow_over_a_million_requests(backend: BackendKind) {
    const REQUESTS: u64 = 1_000_000;
    let mut scheduler = scheduler(backend);
    let io = scheduler.io();
    let (here, there) = connection(&io);
    let mut after_a_tenth = None;
    scheduler
        .block_on(async {
            let (mut sent, mut received) = (vec![1; 16], vec![0; 16]);
            for round in 0..REQUESTS / 4 {
                (_, sent) = here.send(sent).await.unwrap();
                (_, received) = there.recv_exact(received).await.unwrap();
                // One that is cancelled, and a timer that never fires.
                let pending = there.recv(vec![0; 16]).submit().unwrap();
                pending.cancel();
                let timer = io.sleep(std::time::Duration::from_secs(1000)).submit().unwrap();
                timer.cancel();
                pending.await.unwrap_err();
                drop(timer);
                if round == REQUESTS / 40 {
                    after_a_tenth = Some(LIVE_BYTES.get());
                }
            }
        })
        .unwrap();
    let grown = LIVE_BYTES.get() - after_a_tenth.unwrap();
    assert!(grown < 4096, "{grown} bytes more after a million requests than after a hundred thousand");
}

/// What a million calls leave behind, once a tenth of them has warmed everything up.
fn grown_over_a_million(mut call: impl FnMut()) -> i64 {
    (0..100_000).for_each(|_| call());
    let before = LIVE_BYTES.get();
    (0..1_000_000).for_each(|_| call());
    LIVE_BYTES.get() - before
}

fn memory_does_not_grow_while_nothing_turns(backend: BackendKind) {
    let scheduler = scheduler(backend);
    let io = scheduler.io();
    let file = io.open("/proc/self/exe", Mode::Read).wait().unwrap();
    let seek = || assert_eq!(file.seek(std::io::SeekFrom::Start(1)).wait().unwrap(), 1);
    assert!(grown_over_a_million(seek) < 4096, "blocking calls");
    let take = || drop(file.barrier().submit().unwrap().take().unwrap());
    assert!(grown_over_a_million(take) < 4096, "statuses taken at once");
    let remote = scheduler.remote();
    let sleep = io.sleep(std::time::Duration::from_secs(1000)).submit().unwrap();
    let id = sleep.id();
    assert!(grown_over_a_million(|| remote.cancel(id)) < 64 << 10, "cancels of one request");
    drop(scheduler);
    assert!(grown_over_a_million(|| remote.cancel(id)) < 4096, "cancels after the end");
    drop(sleep);
}

fn memory_comes_back_after_a_million_timers_that_were_cancelled(backend: BackendKind) {
    let scheduler = scheduler(backend);
    let io = scheduler.io();
    let waker = Waker::noop();
    let burst = |count: u64| {
        let mut sleeps: Vec<_> = (0..count).map(|_| io.sleep(std::time::Duration::from_secs(1000))).collect();
        for sleep in &mut sleeps {
            assert!(Pin::new(sleep).poll(&mut Context::from_waker(waker)).is_pending());
        }
    };
    burst(1000);
    let before = LIVE_BYTES.get();
    burst(1_000_000);
    let grown = LIVE_BYTES.get() - before;
    assert!(grown < 1 << 20, "{grown} bytes are left of a million timers");
}

fn memory_does_not_grow_with_lists_of_parts_that_are_too_many_to_keep(backend: BackendKind) {
    const AT_ONCE: usize = 64;
    let mut scheduler = scheduler(backend);
    let io = scheduler.io();
    let [(here, there), (vectored, feeder)] = [connection(&io), connection(&io)];
    let mut round = || {
        // Those that wait in the lane each hold a list; as many others need lists of their own, and give them back first.
        let waiting: Vec<_> = (0..AT_ONCE).map(|_| here.recv(vec![0; 1]).submit().unwrap()).collect();
        let lists: Vec<_> = (0..AT_ONCE).map(|_| vectored.recv_exact(vec![vec![0; 1]; 2]).submit().unwrap()).collect();
        feeder.send(vec![7; 2 * AT_ONCE]).wait().unwrap();
        lists.into_iter().for_each(|receive| drop(receive.wait().unwrap()));
        for _ in 0..AT_ONCE {
            there.send("x").wait().unwrap();
            scheduler.poll().unwrap();
        }
        waiting.into_iter().for_each(|receive| drop(receive.wait().unwrap()));
    };
    (0..20).for_each(|_| round());
    let before = LIVE_BYTES.get();
    (0..50).for_each(|_| round());
    let grown = LIVE_BYTES.get() - before;
    assert!(grown < 16 << 10, "{grown} bytes in fifty rounds");
}

fn memory_does_not_grow_with_requests_given_up_in_the_queue(backend: BackendKind) {
    let scheduler = Scheduler::builder().backend(backend).queue_depth(2).build().unwrap();
    let io = scheduler.io();
    let (here, there) = connection(&io);
    let receives = [&here, &there].map(|socket| socket.recv(vec![0; 1]).submit().unwrap());
    let waker = Waker::noop();
    let give_up = || {
        let mut sync = here.send("x");
        let polled = Pin::new(&mut sync).poll(&mut Context::from_waker(waker));
        assert!(polled.is_pending());
    };
    assert!(grown_over_a_million(give_up) < 64 << 10);
    drop(receives);
}

// Wakers.

thread_local! {
    static CLONES: Cell<u64> = const { Cell::new(0) };
}

/// Wakes nobody, and counts its clones.
static COUNTING_WAKER: RawWakerVTable = RawWakerVTable::new(
    |nothing| {
        CLONES.set(CLONES.get() + 1);
        RawWaker::new(nothing, &COUNTING_WAKER)
    },
    |_| {},
    |_| {},
    |_| {},
);

fn a_poll_of_what_runs_still_clones_no_waker_that_it_has(backend: BackendKind) {
    let scheduler = scheduler(backend);
    let io = scheduler.io();
    // SAFETY: it has no data, and its functions do nothing but count.
    let waker = unsafe { Waker::from_raw(RawWaker::new(std::ptr::null(), &COUNTING_WAKER)) };
    let mut sleep = io.sleep(std::time::Duration::from_secs(1000));
    let before = CLONES.get();
    for _ in 0..100 {
        assert!(Pin::new(&mut sleep).poll(&mut Context::from_waker(&waker)).is_pending());
    }
    assert_eq!(CLONES.get() - before, 1);
}

// System calls.

/// A system call that nothing else here makes.
fn mark() {
    // SAFETY: it has no arguments and cannot fail.
    unsafe { libc::getppid() };
}

const RING_ENTRIES: u32 = 32;
const BATCH: u32 = 100;

/// What runs under strace; the calls between the marks count.
fn run_scenario(name: &str) {
    match name.split_once('-').unwrap() {
        ("batch", _) => {
            let builder = Scheduler::builder().backend(BackendKind::Uring).ring_entries(RING_ENTRIES);
            let mut scheduler = builder.build().unwrap();
            let io = scheduler.io();
            let scratch = Scratch::new("batch");
            let file = scratch.open(&io);
            let left = Rc::new(Cell::new(BATCH));
            for number in 0..BATCH {
                let left = Rc::clone(&left);
                let read = file.read_at(vec![0; 512], u64::from(number) * 512);
                read.then(move |_| left.set(left.get() - 1)).unwrap();
                if number == 0 {
                    // What the ring watches for itself goes out with the first, before the counting.
                    scheduler.run().unwrap();
                    // What the allocator may want of the kernel it has before.
                    drop(std::hint::black_box(vec![1u8; 100 << 10]));
                    mark();
                }
            }
            scheduler.poll().unwrap();
            mark();
            scheduler.run().unwrap();
            assert_eq!(left.get(), 0);
        }
        ("blocking", backend) => {
            let backend = BACKENDS.iter().find(|kind| kind.name() == backend).unwrap();
            let scheduler = scheduler(*backend);
            let scratch = Scratch::new(name);
            let file = scratch.open(&scheduler.io());
            let buffer = vec![0; 4096];
            mark();
            let read = file.read_at(buffer, 8192).wait();
            mark();
            assert_eq!(read.unwrap().0, 4096);
        }
        ("lone", backend) => {
            let backend = BACKENDS.iter().find(|kind| kind.name() == backend).unwrap();
            let mut scheduler = scheduler(*backend);
            let scratch = Scratch::new(name);
            let file = scratch.open(&scheduler.io());
            let buffer = scheduler.block_on(read_often(&file, vec![0; 4096])).unwrap();
            mark();
            let read = scheduler.block_on(file.read_at(buffer, 8192)).unwrap();
            mark();
            assert_eq!(read.unwrap().0, 4096);
        }
        ("direct", backend) => {
            let backend = BACKENDS.iter().find(|kind| kind.name() == backend).unwrap();
            let mut scheduler = scheduler(*backend);
            let scratch = Scratch::new(name);
            let options = corella::OpenOptions::new().read(true).direct(true);
            let file = scheduler.io().open(&scratch.0, options).wait().unwrap();
            // Aligned by taking what is aligned of more.
            let bytes = vec![0; 2 * 4096];
            let start = bytes.as_ptr().align_offset(4096);
            mark();
            scheduler.block_on(read_often(&file, bytes.slice(start..start + 4096))).unwrap();
            mark();
        }
        ("crowd", backend) => {
            let backend = BACKENDS.iter().find(|kind| kind.name() == backend).unwrap();
            let mut scheduler = scheduler(*backend);
            let io = scheduler.io();
            let scratch = Scratch::new(name);
            let files: Vec<_> = (0..10).map(|_| scratch.open(&io)).collect();
            for file in &files {
                scheduler.block_on(read_often(file, vec![0; 4096])).unwrap();
            }
            for file in files {
                io.spawn(async move { file.read_at(vec![0; 4096], 0).await.unwrap() }).unwrap();
            }
            mark();
            scheduler.poll().unwrap();
            mark();
            scheduler.run().unwrap();
        }
        ("wakes", backend) => {
            let backend = BACKENDS.iter().find(|kind| kind.name() == backend).unwrap();
            let mut scheduler = scheduler(*backend);
            let io = scheduler.io();
            scheduler.poll().unwrap();
            let tasks = (0..100).map(|_| {
                let io = io.clone();
                io.clone().spawn(async move {
                    for _ in 0..10 {
                        io.yield_now().await;
                    }
                })
            });
            let tasks: Vec<_> = tasks.collect::<Result<_, _>>().unwrap();
            mark();
            scheduler.poll().unwrap();
            mark();
            scheduler.run().unwrap();
            assert!(tasks.iter().all(|task| task.is_finished()));
        }
        other => panic!("{other:?}"),
    }
}

/// Reads a file until it is known how its reads are best tried.
async fn read_often<B: corella::BufferMut + Unpin>(file: &File, mut buffer: B) -> B {
    for _ in 0..10 {
        (_, buffer) = file.read_at(buffer, 4096).await.unwrap();
    }
    buffer
}

/// The names of the system calls that a scenario makes between its marks.
fn calls_of(scenario: &str) -> Vec<String> {
    let trace = std::env::temp_dir().join(format!("corella-trace-{}-{scenario}", std::process::id()));
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new("strace");
    command.arg("-o").arg(&trace).arg(program).env("CORELLA_SCENARIO", scenario);
    let status = command.status().expect("strace runs");
    let text = fs::read_to_string(&trace).unwrap();
    let _ = fs::remove_file(trace);
    assert!(status.success(), "{text}");
    let names = text.lines().map(|line| line.split('(').next().unwrap_or_default().to_string());
    let after = names.skip_while(|name| name != "getppid").skip(1);
    after.take_while(|name| name != "getppid").collect()
}

fn a_turn_that_submits_n_requests_enters_the_kernel_n_by_ring_size_times() {
    let calls = calls_of("batch-uring");
    let enters = calls.iter().filter(|name| *name == "io_uring_enter").count() as u32;
    // One of the hundred went before the first mark.
    assert_eq!(enters, (BATCH - 1).div_ceil(RING_ENTRIES), "{calls:?}");
    assert_eq!(calls.len() as u32, enters, "{calls:?}");
}

fn a_blocking_read_on_an_idle_file_is_one_system_call(backend: BackendKind) {
    let calls = calls_of(&format!("blocking-{}", backend.name()));
    assert_eq!(calls, ["pread64"]);
}

fn a_lone_awaited_read_of_what_is_cached_is_one_system_call(backend: BackendKind) {
    let calls = calls_of(&format!("lone-{}", backend.name()));
    assert_eq!(calls, ["preadv2"]);
}

fn a_read_past_the_page_cache_is_never_tried_at_once(backend: BackendKind) {
    let calls = calls_of(&format!("direct-{}", backend.name()));
    assert!(!calls.iter().any(|name| name == "preadv2"), "{calls:?}");
}

fn awaited_reads_of_many_tasks_go_in_one_batch() {
    let calls = calls_of("crowd-uring");
    assert_eq!(calls, ["io_uring_enter"]);
}

fn a_wake_on_the_own_thread_is_no_system_call(backend: BackendKind) {
    let calls = calls_of(&format!("wakes-{}", backend.name()));
    // With nothing at the OS, the turn that runs what was woken makes none either.
    assert_eq!(calls, [""; 0]);
}

fn main() {
    if let Ok(scenario) = std::env::var("CORELLA_SCENARIO") {
        return run_scenario(&scenario);
    }
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    type Test = fn(BackendKind);
    let counted: [(&str, Test); 11] = [
        ("awaited_requests_allocate_nothing", awaited_requests_allocate_nothing),
        ("requests_with_callbacks_allocate_nothing", requests_with_callbacks_allocate_nothing),
        ("vectored_joined_and_pooled_requests_allocate_nothing", vectored_joined_and_pooled_requests_allocate_nothing),
        ("memory_does_not_grow_over_a_million_requests", memory_does_not_grow_over_a_million_requests),
        ("memory_does_not_grow_while_nothing_turns", memory_does_not_grow_while_nothing_turns),
        (
            "memory_does_not_grow_with_requests_given_up_in_the_queue",
            memory_does_not_grow_with_requests_given_up_in_the_queue,
        ),
        (
            "memory_does_not_grow_with_lists_of_parts_that_are_too_many_to_keep",
            memory_does_not_grow_with_lists_of_parts_that_are_too_many_to_keep,
        ),
        (
            "memory_comes_back_after_a_million_timers_that_were_cancelled",
            memory_comes_back_after_a_million_timers_that_were_cancelled,
        ),
        (
            "a_poll_of_what_runs_still_clones_no_waker_that_it_has",
            a_poll_of_what_runs_still_clones_no_waker_that_it_has,
        ),
        ("a_blocking_read_on_an_idle_file_is_one_system_call", a_blocking_read_on_an_idle_file_is_one_system_call),
        ("a_wake_on_the_own_thread_is_no_system_call", a_wake_on_the_own_thread_is_no_system_call),
    ];
    for backend in BACKENDS.iter().copied() {
        for (name, test) in counted {
            trials.push(Trial::test(format!("{}::{name}", backend.name()), move || {
                test(backend);
                Ok::<(), Failed>(())
            }));
        }
    }
    // Ports are Windows', which has no such call.
    for backend in [BackendKind::Uring, BackendKind::Portable] {
        let tried: [(&str, Test); 2] = [
            (
                "a_lone_awaited_read_of_what_is_cached_is_one_system_call",
                a_lone_awaited_read_of_what_is_cached_is_one_system_call,
            ),
            ("a_read_past_the_page_cache_is_never_tried_at_once", a_read_past_the_page_cache_is_never_tried_at_once),
        ];
        for (name, test) in tried {
            trials.push(Trial::test(format!("{}::{name}", backend.name()), move || {
                test(backend);
                Ok(())
            }));
        }
    }
    trials.push(Trial::test("uring::awaited_reads_of_many_tasks_go_in_one_batch", || {
        awaited_reads_of_many_tasks_go_in_one_batch();
        Ok(())
    }));
    let batch = "a_turn_that_submits_n_requests_enters_the_kernel_n_by_ring_size_times";
    trials.push(Trial::test(format!("uring::{batch}"), || {
        a_turn_that_submits_n_requests_enters_the_kernel_n_by_ring_size_times();
        Ok(())
    }));
    libtest_mimic::run(&arguments, trials).exit();
}
