//! What is run, and by whom: a workload is an entry of `WORKLOADS`. Who can do it is in `contenders`.

/// What a workload does.
pub enum Work {
    /// A TCP server that sends back what it gets, and so many clients with one message in flight each.
    Echo { connections: usize, bytes: usize, latency: Latency },
    /// The same server; each client connects, sends a message, has its answer, closes, and connects anew.
    Churn { connections: usize, bytes: usize },
    /// A server that throws away what it gets; an operation is so many bytes.
    Stream { bytes: usize },
    /// The memory of an echo server for each connection that waits: `many` more of them after the first `few`.
    Idle { few: usize, many: usize },
    /// A program that does it all by itself. `counted` is how many operations are enough to count what one costs.
    Alone { arguments: &'static [&'static str], needs: Needs, counted: u64 },
    /// From a program's start to its end.
    Start,
}

/// Whether latencies are measured, at a rate that all contenders get.
#[derive(Clone, Copy, PartialEq)]
pub enum Latency {
    No,
    Yes,
    /// Once by itself, and once while so many opens of FIFOs sleep in the pool of the server.
    WithAndWithoutSlowWork,
}

/// What a program works on.
#[derive(Clone, Copy, PartialEq)]
pub enum Needs {
    Nothing,
    /// A large file in the page cache.
    File,
    /// The path of a file that is not there yet.
    NewFile,
    /// A folder of small files.
    SmallFiles,
}

pub struct Workload {
    pub name: &'static str,
    /// What contenders call it.
    pub called: &'static str,
    /// What a contender must be able to do for it, in the words of `contenders`.
    pub ability: &'static str,
    pub work: Work,
}

const fn echo(name: &'static str, connections: usize, bytes: usize, latency: Latency) -> Workload {
    Workload { name, called: "echo", ability: "echo", work: Work::Echo { connections, bytes, latency } }
}

const fn on_file(name: &'static str, called: &'static str, arguments: &'static [&'static str]) -> Workload {
    Workload { name, called, ability: called, work: Work::Alone { arguments, needs: Needs::File, counted: 2048 } }
}

const fn ordered(workload: Workload) -> Workload {
    Workload { ability: "ordered write", ..workload }
}

const fn alone(name: &'static str, called: &'static str, counted: u64) -> Workload {
    Workload { name, called, ability: called, work: Work::Alone { arguments: &[], needs: Needs::Nothing, counted } }
}

pub const WORKLOADS: &[Workload] = &[
    on_file("cached reads, depth 1", "read", &["--depth", "1"]),
    on_file("cached reads, depth 32", "read", &["--depth", "32"]),
    on_file("cached reads, depth 128", "read", &["--depth", "128"]),
    Workload { ability: "direct", ..on_file("direct reads, depth 32", "read", &["--depth", "32", "--direct"]) },
    on_file("random writes, depth 32, order waived", "write", &["--depth", "32", "--order", "waived"]),
    ordered(on_file("random writes, depth 32, order kept", "write", &["--depth", "32", "--order", "kept"])),
    ordered(on_file(
        "random writes, depth 32, a tenth overlapping",
        "write",
        &["--depth", "32", "--order", "overlapping"],
    )),
    on_file("random writes, depth 1024, order waived", "write", &["--depth", "1024", "--order", "waived"]),
    ordered(on_file("random writes, depth 1024, order kept", "write", &["--depth", "1024", "--order", "kept"])),
    ordered(on_file(
        "random writes, depth 1024, a tenth overlapping",
        "write",
        &["--depth", "1024", "--order", "overlapping"],
    )),
    Workload {
        name: "append and sync",
        called: "append",
        ability: "append",
        work: Work::Alone { arguments: &[], needs: Needs::NewFile, counted: 64 },
    },
    Workload {
        name: "small files: open, stat, read, close",
        called: "files",
        ability: "files",
        work: Work::Alone { arguments: &["--depth", "32"], needs: Needs::SmallFiles, counted: 512 },
    },
    echo("echo, 1 connection, 64 bytes", 1, 64, Latency::No),
    echo("echo, 64 connections, 64 bytes", 64, 64, Latency::No),
    echo("echo, 512 connections, 64 bytes", 512, 64, Latency::Yes),
    echo("echo, 4096 connections, 64 bytes", 4096, 64, Latency::No),
    echo("echo, 1 connection, 16 KiB", 1, 16 * 1024, Latency::No),
    echo("echo, 64 connections, 16 KiB", 64, 16 * 1024, Latency::No),
    echo("echo, 512 connections, 16 KiB", 512, 16 * 1024, Latency::No),
    Workload {
        name: "connection churn",
        called: "echo",
        ability: "churn",
        work: Work::Churn { connections: 64, bytes: 64 },
    },
    Workload { name: "one-way stream", called: "stream", ability: "stream", work: Work::Stream { bytes: 64 * 1024 } },
    Workload {
        name: "idle connections",
        called: "echo",
        ability: "idle",
        work: Work::Idle { few: 1_000, many: 10_000 },
    },
    Workload {
        name: "echo beside slow work, 64 connections, 64 bytes",
        called: "echo",
        ability: "slow",
        work: Work::Echo { connections: 64, bytes: 64, latency: Latency::WithAndWithoutSlowWork },
    },
    alone("timers armed and cancelled", "timers", 16_000),
    alone("timers armed and fired", "fire", 16_000),
    alone("tasks spawned and joined", "spawn", 16_000),
    alone("tasks that yield", "yield", 16_000),
    alone("wakes from another thread", "wake", 0),
    alone("has_work when idle", "has-work", 16_000),
    Workload {
        name: "echo in Lua, 64 connections, 64 bytes",
        called: "echo",
        ability: "echo in Lua",
        work: Work::Echo { connections: 64, bytes: 64, latency: Latency::No },
    },
    Workload { name: "start of an empty script", called: "start", ability: "start", work: Work::Start },
];
