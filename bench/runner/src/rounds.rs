//! One round of a contender: what it came to, in time and in memory.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::contenders::Contender;
use crate::fixtures::Fifos;
use crate::load::{IDLE_BYTES, Load, Sender, Until};
use crate::process::{Server, command};
use crate::workloads::{Work, Workload};

/// Before a round is timed, so that all buffers are there.
const WARM_UP: Duration = Duration::from_millis(50);
/// How long a server has to come to rest before its memory is looked at.
const REST: Duration = Duration::from_millis(100);

/// What a run came to.
#[derive(Deserialize)]
pub struct Timed {
    operations: u64,
    elapsed_ns: u64,
    cpu_ns: u64,
}

impl Timed {
    pub fn per_second(&self) -> f64 {
        self.operations as f64 * 1e9 / self.elapsed_ns as f64
    }

    pub fn cpu_per_operation(&self) -> f64 {
        self.cpu_ns as f64 / self.operations as f64
    }

    pub fn milliseconds(&self) -> f64 {
        self.elapsed_ns as f64 / self.operations as f64 / 1e6
    }
}

/// Operations a second and CPU time; not for `Work::Idle`.
pub fn timed(workload: &Workload, contender: &Contender, programs: &Path, seconds: f64) -> Result<Timed, String> {
    let time = Duration::from_secs_f64(seconds);
    match workload.work {
        Work::Alone { .. } => {
            let mut command = command(workload, contender, programs, &[])?;
            command.args(["--seconds", &seconds.to_string()]);
            let output = command.stderr(Stdio::inherit()).output().map_err(|error| error.to_string())?;
            serde_json::from_slice(&output.stdout).map_err(|error| format!("{command:?}: {error}"))
        }
        Work::Start => starts(workload, contender, programs, time),
        Work::Echo { connections, bytes, .. } => {
            let server = Server::start(command(workload, contender, programs, &[])?)?;
            let mut load = Load::connect(server.port, connections, bytes)?;
            serves(server, |until| load.run(until), time)
        }
        Work::Churn { connections, bytes } => {
            let server = Server::start(command(workload, contender, programs, &[])?)?;
            let mut load = Load::connect(server.port, connections, bytes)?;
            serves(server, |until| load.run_with_churn(until), time)
        }
        Work::Stream { bytes } => {
            let server = Server::start(command(workload, contender, programs, &[])?)?;
            let mut sender = Sender::connect(server.port, bytes)?;
            serves(server, |until| sender.run(until), time)
        }
        Work::Idle { .. } => Err("is not timed".into()),
    }
}

/// What a server does under a load, after it has warmed up.
fn serves(
    server: Server,
    mut load: impl FnMut(Until) -> Result<(u64, Duration), String>,
    time: Duration,
) -> Result<Timed, String> {
    load(Until::Time(WARM_UP))?;
    let cpu = server.cpu();
    let (operations, elapsed) = load(Until::Time(time))?;
    let cpu_ns = (server.cpu() - cpu).as_nanos() as u64;
    server.end()?;
    Ok(Timed { operations, elapsed_ns: elapsed.as_nanos() as u64, cpu_ns })
}

/// One start after the other.
fn starts(workload: &Workload, contender: &Contender, programs: &Path, time: Duration) -> Result<Timed, String> {
    let (begun, cpu) = (Instant::now(), cpu_of_children());
    let mut operations = 0;
    while begun.elapsed() < time {
        let mut command = command(workload, contender, programs, &[])?;
        let status = command.stdout(Stdio::null()).status().map_err(|error| format!("{command:?}: {error}"))?;
        if !status.success() {
            return Err(format!("{command:?}: {status}"));
        }
        operations += 1;
    }
    let cpu_ns = (cpu_of_children() - cpu).as_nanos() as u64;
    Ok(Timed { operations, elapsed_ns: begun.elapsed().as_nanos() as u64, cpu_ns })
}

/// CPU time of all that were waited for.
fn cpu_of_children() -> Duration {
    // SAFETY: the structure is plain numbers, and there to be filled.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &mut usage);
        usage
    };
    let time = |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000);
    time(usage.ru_utime) + time(usage.ru_stime)
}

/// Latencies in nanoseconds at a rate, from the time at which each message was to be sent.
pub fn latencies(
    workload: &Workload,
    contender: &Contender,
    programs: &Path,
    seconds: f64,
    rate: f64,
    is_beside_slow_work: bool,
) -> Result<Vec<u64>, String> {
    let Work::Echo { connections, bytes, .. } = workload.work else { return Err("not a server".into()) };
    let mut command = command(workload, contender, programs, &[])?;
    let fifos = if is_beside_slow_work { Some(Fifos::new()?) } else { None };
    if let Some(fifos) = &fifos {
        command.arg("--fifos").arg(&fifos.folder);
    }
    let server = Server::start(command)?;
    let mut load = Load::connect(server.port, connections, bytes)?;
    load.run(Until::Time(WARM_UP))?;
    let latencies = load.run_at_rate(rate, Duration::from_secs_f64(seconds))?;
    drop(load);
    server.end()?;
    Ok(latencies)
}

/// Bytes in memory, and bytes mapped, for each connection that waits for its next message.
pub fn idle(workload: &Workload, contender: &Contender, programs: &Path) -> Result<(f64, f64), String> {
    let Work::Idle { few, many } = workload.work else { return Err("not idle".into()) };
    let server = Server::start(command(workload, contender, programs, &[])?)?;
    let mut load = Load::connect(server.port, few, IDLE_BYTES)?;
    // A message from each: then all are accepted, and have what they need to receive another.
    load.run(Until::Answers(few as u64))?;
    std::thread::sleep(REST);
    let (resident_before, mapped_before) = server.memory()?;
    load.connect_more(many)?;
    load.run(Until::Answers((few + many) as u64))?;
    std::thread::sleep(REST);
    let (resident, mapped) = server.memory()?;
    drop(load);
    server.end()?;
    Ok(((resident - resident_before) / many as f64, (mapped - mapped_before) / many as f64))
}
