//! Instructions of the hot paths, counted by callgrind: how many an operation costs in user space, which does not depend
//! on how busy a machine is.
//!
//! This program starts itself again under valgrind, twice for each path with so many and three times so many operations;
//! the difference is theirs. `STORED` says what each may cost. A path that has become cheaper is to be stored as such.

use std::cell::Cell;
use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::pin::pin;
use std::process::Command;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use corella::{File, Mode, Scheduler, SliceOf, Socket};
use libtest_mimic::{Arguments, Failed, Trial};

/// A hot path: its name, the backend, and the instructions that one operation was counted to cost.
const STORED: &[(&str, &str, f64)] = &[
    ("echo with callbacks", "uring", 1_977.0),
    ("echo awaited", "uring", 2_723.0),
    ("reads awaited", "uring", 1_377.0),
    ("reads waited for", "uring", 2_019.0),
    ("lone reads awaited", "uring", 506.0),
    ("writes at once", "uring", 3_444.0),
    ("writes at once, unordered", "uring", 3_095.0),
    ("sleeps armed and dropped", "uring", 442.0),
    ("sleeps dropped a turn later", "uring", 499.0),
    ("sleeps that end", "uring", 1_090.0),
    ("tasks spawned and joined", "uring", 1_518.0),
    ("tasks that yield", "uring", 271.0),
    ("safe points", "uring", 58.0),
    ("echo with callbacks", "portable", 3_252.0),
    ("echo awaited", "portable", 4_134.0),
    ("safe points", "portable", 40.0),
];

/// More than this above what is stored is a failure; so much below, and the stored number is out of date.
const TOLERANCE: f64 = 0.05;

const CONNECTIONS: u64 = 64;
const MESSAGE_BYTES: usize = 64;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [mark, path, operations] = &words[..]
        && mark == "--counted"
    {
        return run(path, operations.parse().unwrap());
    }
    let is_of_the_profile = std::env::current_exe().unwrap().iter().any(|folder| folder == "packaged");
    let trials = STORED.iter().map(|(path, backend, stored)| {
        let name = format!("{}::{}", backend, path.replace(' ', "_"));
        // What is stored is of the profile that the leg names.
        Trial::test(name, move || costs_what_is_stored(path, backend, *stored)).with_ignored_flag(!is_of_the_profile)
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit();
}

fn costs_what_is_stored(path: &str, backend: &str, stored: f64) -> Result<(), Failed> {
    let few = 30 * CONNECTIONS;
    let counted = (instructions(path, backend, 3 * few)? - instructions(path, backend, few)?) / (2 * few) as f64;
    let change = 100.0 * (counted / stored - 1.0);
    println!("{backend}: {path}: {counted:.1} instructions an operation, {change:+.1} % of what is stored");
    match counted <= stored * (1.0 + TOLERANCE) {
        true => Ok(()),
        false => Err(format!("{counted:.1} instructions an operation, and {stored:.1} are stored").into()),
    }
}

/// Instructions of a whole run.
fn instructions(path: &str, backend: &str, operations: u64) -> Result<f64, Failed> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(std::env::current_exe()?);
    valgrind.args(["--counted", path, &operations.to_string()]).env("CORELLA_BACKEND", backend);
    let output = valgrind.output()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let count = text.lines().find_map(|line| line.split("Collected :").nth(1)?.trim().parse().ok());
    match count {
        Some(count) if output.status.success() => Ok(count),
        _ => Err(format!("{valgrind:?}: {}\n{text}", output.status).into()),
    }
}

/// Carries out so many operations of a path.
fn run(path: &str, operations: u64) {
    let mut scheduler = Scheduler::new().unwrap();
    match path {
        "echo with callbacks" => echo(scheduler, operations, |_, socket, answered| {
            receive(socket, vec![0; 4096], answered);
        }),
        "echo awaited" => echo(scheduler, operations, |scheduler, socket, answered| {
            drop(scheduler.spawn(serve(socket, answered)).unwrap());
        }),
        "reads awaited" => reads(scheduler, operations),
        "reads waited for" => {
            let file = scratch(&scheduler);
            let mut buffer = vec![0; 4096];
            for place in 0..operations {
                buffer = file.read_at(buffer, place % 16 * 4096).wait().unwrap().1;
            }
        }
        "lone reads awaited" => {
            let file = scratch(&scheduler);
            let read = async {
                let mut buffer = vec![0; 4096];
                for place in 0..operations {
                    buffer = file.read_at(buffer, place % 16 * 4096).await.unwrap().1;
                }
            };
            scheduler.block_on(read).unwrap();
        }
        "writes at once" => writes(scheduler, operations, false),
        "writes at once, unordered" => writes(scheduler, operations, true),
        "sleeps armed and dropped" => scheduler.block_on(sleeps(scheduler.io(), operations, Until::Dropped)).unwrap(),
        "sleeps dropped a turn later" => scheduler.block_on(sleeps(scheduler.io(), operations, Until::Later)).unwrap(),
        "sleeps that end" => scheduler.block_on(sleeps(scheduler.io(), operations, Until::Over)).unwrap(),
        "tasks spawned and joined" => {
            let io = scheduler.io();
            let task = async move {
                for number in 0..operations {
                    assert_eq!(io.spawn(async move { number }).unwrap().await.unwrap(), number);
                }
            };
            scheduler.block_on(task).unwrap();
        }
        "tasks that yield" => {
            for _ in 0..16 {
                let io = scheduler.io();
                let task = async move {
                    for _ in 0..operations / 16 {
                        io.yield_now().await;
                    }
                };
                drop(scheduler.spawn(task).unwrap());
            }
            scheduler.run().unwrap();
        }
        "safe points" => {
            for _ in 0..operations {
                std::hint::black_box(std::hint::black_box(&scheduler).has_work());
            }
        }
        other => panic!("no path {other}"),
    }
}

type Answered = Rc<Cell<u64>>;

/// Clients and a server in step: every client sends, the server turns until all are answered, every client reads.
fn echo(mut scheduler: Scheduler, operations: u64, begin: impl Fn(&Scheduler, Socket, Answered)) {
    let listener = scheduler.io().listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let answered = Answered::default();
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(TcpStream::connect(listener.local_address().unwrap()).unwrap());
        begin(&scheduler, listener.accept().wait().unwrap(), Rc::clone(&answered));
    }
    let mut answer = [0; MESSAGE_BYTES];
    for round in 1..=operations / CONNECTIONS {
        for client in &mut clients {
            client.write_all(&[b'x'; MESSAGE_BYTES]).unwrap();
        }
        while answered.get() < round * CONNECTIONS {
            scheduler.poll().unwrap();
        }
        for client in &mut clients {
            client.read_exact(&mut answer).unwrap();
        }
    }
    drop(clients);
    drop(listener);
    scheduler.run().unwrap();
}

fn receive(socket: Socket, buffer: Vec<u8>, answered: Answered) {
    let next = socket.clone();
    let submitted = socket.recv(buffer).then(move |outcome| match outcome.unwrap() {
        (0, _) => {}
        (count, buffer) => send_back(next, buffer, count, answered),
    });
    submitted.unwrap();
}

fn send_back(socket: Socket, buffer: Vec<u8>, count: usize, answered: Answered) {
    let next = socket.clone();
    let submitted = socket.send(buffer.slice(..count)).then(move |outcome| {
        answered.set(answered.get() + 1);
        receive(next, outcome.unwrap().1.into_inner(), answered);
    });
    submitted.unwrap();
}

async fn serve(socket: Socket, answered: Answered) {
    let mut buffer = vec![0; 4096];
    loop {
        let (count, received) = socket.recv(buffer).await.unwrap();
        if count == 0 {
            return;
        }
        buffer = socket.send(received.slice(..count)).await.unwrap().1.into_inner();
        answered.set(answered.get() + 1);
    }
}

/// A file of 64 KiB, without a name any more.
fn scratch(scheduler: &Scheduler) -> File {
    let path: PathBuf = std::env::temp_dir().join(format!("corella-instructions-{}", std::process::id()));
    std::fs::write(&path, vec![1; 1 << 16]).unwrap();
    let file = scheduler.io().open(&path, Mode::ReadWrite).wait().unwrap();
    std::fs::remove_file(path).unwrap();
    file
}

/// Thirty-two tasks read one file.
fn reads(mut scheduler: Scheduler, operations: u64) {
    let file = scratch(&scheduler);
    for _ in 0..32 {
        let file = file.clone();
        let task = async move {
            let mut buffer = vec![0; 4096];
            for place in 0..operations / 32 {
                buffer = file.read_at(buffer, place % 16 * 4096).await.unwrap().1;
            }
        };
        drop(scheduler.spawn(task).unwrap());
    }
    scheduler.run().unwrap();
}

/// Tasks write to one file, each to places of its own, in order or not.
fn writes(mut scheduler: Scheduler, operations: u64, is_unordered: bool) {
    const TASKS: u64 = 320;
    const TURNS: u64 = 18;
    let file = scratch(&scheduler);
    file.write_at(vec![1; 1], TASKS * TURNS * 4096).wait().unwrap();
    for task in 0..TASKS {
        let file = file.clone();
        let task = async move {
            let mut buffer = vec![0; 512];
            for turn in 0..operations / TASKS {
                // Far from each other, as chance has it.
                let place = (task * TURNS + turn % TURNS) * 2039 % (TASKS * TURNS) * 4096;
                let write = file.write_at(buffer, place);
                buffer = if is_unordered { write.unordered().await } else { write.await }.unwrap().1;
            }
        };
        drop(scheduler.spawn(task).unwrap());
    }
    scheduler.run().unwrap();
}

/// What becomes of sleeps.
enum Until {
    /// Dropped in the poll that armed them.
    Dropped,
    Later,
    Over,
}

async fn sleeps(io: corella::Io, operations: u64, until: Until) {
    let duration = |number| match until {
        // All are over by the next turn, which they are for in no order of their own.
        Until::Over => Duration::from_nanos(number * 29 % CONNECTIONS),
        Until::Dropped | Until::Later => Duration::from_secs(3600 + number),
    };
    for _ in 0..operations / CONNECTIONS {
        let mut sleeps: Vec<_> = (0..CONNECTIONS).map(|number| io.sleep(duration(number))).collect();
        poll_fn(|context| {
            for sleep in &mut sleeps {
                assert!(pin!(sleep).poll(context).is_pending());
            }
            Poll::Ready(())
        })
        .await;
        match until {
            Until::Dropped => {}
            Until::Later => io.yield_now().await,
            Until::Over => {
                for sleep in sleeps {
                    sleep.await.unwrap();
                }
            }
        }
    }
}
