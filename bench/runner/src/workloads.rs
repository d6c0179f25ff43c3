//! What is run, and by whom: a workload is an entry of `WORKLOADS`, a contender one of `CONTENDERS`.

/// What a workload does.
pub enum Work {
    /// A TCP server that sends back what it gets, and so many clients with one message in flight each.
    Echo { connections: usize, bytes: usize, latency: bool },
    /// A program that does it all by itself. `counted` is how many operations are enough to count what one costs.
    Alone { arguments: &'static [&'static str], needs_file: bool, counted: u64 },
}

pub struct Workload {
    pub name: &'static str,
    /// What contenders call it.
    pub called: &'static str,
    pub work: Work,
}

const fn echo(name: &'static str, connections: usize, bytes: usize, latency: bool) -> Workload {
    Workload { name, called: "echo", work: Work::Echo { connections, bytes, latency } }
}

const fn on_file(name: &'static str, called: &'static str, arguments: &'static [&'static str]) -> Workload {
    Workload { name, called, work: Work::Alone { arguments, needs_file: true, counted: 2048 } }
}

const fn alone(name: &'static str, called: &'static str, counted: u64) -> Workload {
    Workload { name, called, work: Work::Alone { arguments: &[], needs_file: false, counted } }
}

pub const WORKLOADS: &[Workload] = &[
    on_file("cached reads, depth 1", "read", &["--depth", "1"]),
    on_file("cached reads, depth 32", "read", &["--depth", "32"]),
    on_file("cached reads, depth 128", "read", &["--depth", "128"]),
    on_file("direct reads, depth 32", "read", &["--depth", "32", "--direct"]),
    echo("echo, 1 connection, 64 bytes", 1, 64, false),
    echo("echo, 64 connections, 64 bytes", 64, 64, false),
    echo("echo, 512 connections, 64 bytes", 512, 64, true),
    echo("echo, 4096 connections, 64 bytes", 4096, 64, false),
    echo("echo, 64 connections, 16 KiB", 64, 16 * 1024, false),
    on_file("random writes, depth 32, order kept", "write", &["--depth", "32", "--order", "kept"]),
    on_file("random writes, depth 32, order waived", "write", &["--depth", "32", "--order", "waived"]),
    on_file("random writes, depth 32, a tenth overlapping", "write", &["--depth", "32", "--order", "overlapping"]),
    on_file("random writes, depth 1024, order kept", "write", &["--depth", "1024", "--order", "kept"]),
    on_file("random writes, depth 1024, order waived", "write", &["--depth", "1024", "--order", "waived"]),
    alone("timers armed and cancelled", "timers", 16_000),
    alone("tasks spawned and joined", "spawn", 16_000),
    alone("tasks that yield", "yield", 16_000),
    alone("wakes from another thread", "wake", 0),
    alone("has_work when idle", "has-work", 16_000),
];

pub struct Contender {
    pub name: &'static str,
    pub program: &'static str,
    pub arguments: &'static [&'static str],
    pub environment: &'static [(&'static str, &'static str)],
    /// What it can do, as contenders call it.
    works: &'static [&'static str],
}

const fn contender(name: &'static str, program: &'static str, works: &'static [&'static str]) -> Contender {
    Contender { name, program, arguments: &[], environment: &[], works }
}

pub const CONTENDERS: &[Contender] = &[
    Contender {
        arguments: &["--style", "callbacks"],
        environment: &[("CORELLA_BACKEND", "uring")],
        ..contender("corella callbacks", "contender-corella", &["echo", "read"])
    },
    Contender {
        environment: &[("CORELLA_BACKEND", "uring")],
        ..contender(
            "corella await",
            "contender-corella",
            &["echo", "read", "write", "timers", "spawn", "yield", "wake", "has-work"],
        )
    },
    Contender {
        environment: &[("CORELLA_BACKEND", "portable")],
        ..contender("corella portable", "contender-corella", &["echo", "read", "write", "wake", "has-work"])
    },
    Contender {
        environment: &[("CORELLA_BACKEND", "uring")],
        ..contender("corella from C", "contender-corella-c", &["echo"])
    },
    contender("tokio", "contender-tokio", &["echo", "read", "timers", "spawn", "yield", "wake"]),
    contender("compio", "contender-compio", &["echo", "read", "timers", "spawn", "wake"]),
    contender("monoio", "contender-monoio", &["echo", "read", "timers", "spawn"]),
    contender("libuv", "contender-libuv", &["echo", "read", "timers"]),
    Contender { arguments: &["--interface", "ring"], ..contender("bare ring", "contender-bare", &["echo", "read"]) },
    Contender { arguments: &["--interface", "epoll"], ..contender("bare epoll", "contender-bare", &["echo"]) },
    Contender { arguments: &["--interface", "pread"], ..contender("bare pread", "contender-bare", &["read"]) },
];

impl Contender {
    /// The echo server of `examples/c`, with arguments of its own.
    pub fn is_in_c(&self) -> bool {
        self.program.ends_with("-c")
    }

    pub fn can(&self, workload: &Workload) -> bool {
        let is_one_at_a_time = self.arguments.contains(&"pread");
        let has_depth = matches!(workload.work, Work::Alone { arguments, .. }
            if arguments.windows(2).any(|pair| pair[0] == "--depth" && pair[1] != "1"));
        self.works.contains(&workload.called) && !(is_one_at_a_time && has_depth)
    }
}
