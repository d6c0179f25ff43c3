//! Contenders as processes, on a processor of their own; the load has another.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::load::{self, Load};
use crate::workloads::{Contender, Work, Workload};

const FILE_BYTES: u64 = 256 << 20;
/// A server that has not ended so long after it was told to never will.
const PATIENCE: Duration = Duration::from_secs(10);
/// Where contenders run, and where the load does.
const CONTENDER_PROCESSOR: usize = 0;
pub const LOAD_PROCESSOR: usize = 1;

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
}

/// Pins the calling thread to one processor, where there is more than one.
pub fn pin(processor: usize) {
    // SAFETY: the set is a plain value, filled and passed by its size.
    unsafe {
        if libc::sysconf(libc::_SC_NPROCESSORS_ONLN) < 2 {
            return;
        }
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(processor, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set);
    }
}

/// The machine in a line, and what it lacks.
pub fn machine() -> String {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let processors = text("/proc/cpuinfo");
    let model = processors.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("an unknown processor");
    let count = processors.lines().filter(|line| line.starts_with("processor")).count();
    let load = text("/proc/loadavg");
    format!(
        "{}, {count} processors, Linux {}; load average {} before the first round.\n\
         Instructions are counted in user space by valgrind (callgrind), system calls by strace, allocations by valgrind; \
         instructions in the kernel are not counted.",
        model.trim_start_matches([' ', '\t', ':']),
        text("/proc/sys/kernel/osrelease").trim(),
        load.split(' ').next().unwrap_or("unknown"),
    )
}

/// A file that is in the page cache, made and read once.
fn file() -> Result<PathBuf, String> {
    static FILE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    FILE.get_or_init(make_file).clone()
}

fn make_file() -> Result<PathBuf, String> {
    let folder = std::env::var_os("CORELLA_BENCH_FOLDER").map_or_else(std::env::temp_dir, PathBuf::from);
    let path = folder.join("corella-bench-file");
    let problem = |error| format!("{}: {error}", path.display());
    if fs::metadata(&path).map_or(0, |metadata| metadata.len()) != FILE_BYTES {
        let block: Vec<u8> = (0..1u32 << 20).map(|place| (place.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        fs::write(&path, block.repeat((FILE_BYTES >> 20) as usize)).map_err(problem)?;
    }
    // Into the cache, and out of the kernel's list of what is to be written.
    let opened = fs::File::open(&path).map_err(problem)?;
    opened.sync_all().map_err(problem)?;
    std::io::copy(&mut &opened, &mut std::io::sink()).map_err(problem)?;
    Ok(path)
}

/// The command of a contender: pinned, or behind a `wrapper` that counts what no other process disturbs.
pub fn command(
    workload: &Workload,
    contender: &Contender,
    programs: &Path,
    wrapper: &[String],
) -> Result<Command, String> {
    let program = programs.join(contender.program);
    if !program.exists() {
        return Err(format!("{} was not built", contender.program));
    }
    let mut command = match wrapper.split_first() {
        None => Command::new(&program),
        Some((first, rest)) => {
            let mut command = Command::new(first);
            command.args(rest).arg(&program);
            command
        }
    };
    if contender.is_in_c() {
        command.args(["127.0.0.1", "0"]);
    } else {
        command.arg(workload.called).args(contender.arguments);
        match workload.work {
            Work::Echo { bytes, .. } => {
                command.args(["--bytes", &bytes.to_string()]);
            }
            Work::Alone { arguments, needs_file, .. } => {
                command.args(arguments);
                if needs_file {
                    command.arg("--file").arg(file()?);
                }
            }
        }
    }
    command.envs(contender.environment.iter().copied());
    if wrapper.is_empty() {
        // SAFETY: a system call in the child, before it becomes the contender.
        unsafe {
            command.pre_exec(|| {
                pin(CONTENDER_PROCESSOR);
                Ok(())
            });
        }
    }
    Ok(command)
}

/// A server that has said where it listens. Ended when it goes.
pub struct Server {
    child: Child,
    pub port: u16,
}

impl Server {
    pub fn start(mut command: Command) -> Result<Server, String> {
        let mut child = command.stdout(Stdio::piped()).spawn().map_err(|error| format!("{command:?}: {error}"))?;
        let mut line = String::new();
        if let Some(output) = child.stdout.as_mut() {
            let _ = BufReader::new(output).read_line(&mut line);
        }
        // `port N`, or `echo on IP:N with BACKEND`.
        let word = line.split([' ', ':', '\n']).find_map(|word| word.parse().ok());
        match word {
            Some(port) => Ok(Server { child, port }),
            None => Err(format!("{command:?}: {line:?} tells no port")),
        }
    }

    /// CPU time of all its threads so far.
    fn cpu(&self) -> Duration {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id()));
        let of_thread = |entry: std::io::Result<fs::DirEntry>| -> Option<u64> {
            let text = fs::read_to_string(entry.ok()?.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse().ok()
        };
        Duration::from_nanos(threads.into_iter().flatten().filter_map(of_thread).sum())
    }

    /// Ends it as a terminal would.
    pub fn end(mut self, load: Load) -> Result<(), String> {
        drop(load);
        self.signal();
        self.wait()
    }

    /// Its clients go, and it ends by itself.
    pub fn end_after(mut self, load: Load) -> Result<(), String> {
        drop(load);
        self.wait()
    }

    fn signal(&self) {
        // SAFETY: a signal to a child that has not been waited for.
        unsafe { libc::kill(self.child.id() as i32, libc::SIGTERM) };
    }

    fn wait(&mut self) -> Result<(), String> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            match self.child.try_wait() {
                Ok(None) => std::thread::sleep(Duration::from_millis(5)),
                Ok(Some(_)) => return Ok(()),
                Err(error) => return Err(error.to_string()),
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        Err("it did not end when it was told to".into())
    }
}

/// One round of a contender.
pub fn timed(workload: &Workload, contender: &Contender, programs: &Path, seconds: f64) -> Result<Timed, String> {
    let mut command = command(workload, contender, programs, &[])?;
    let Work::Echo { connections, bytes, .. } = workload.work else {
        command.args(["--seconds", &seconds.to_string()]);
        let output = command.stderr(Stdio::inherit()).output().map_err(|error| error.to_string())?;
        return serde_json::from_slice(&output.stdout).map_err(|error| format!("{command:?}: {error}"));
    };
    let server = Server::start(command)?;
    let mut load = Load::connect(server.port, connections, bytes)?;
    load.run(load::Until::Time(Duration::from_secs_f64(0.1)))?;
    let cpu = server.cpu();
    let (operations, elapsed) = load.run(load::Until::Time(Duration::from_secs_f64(seconds)))?;
    let cpu_ns = (server.cpu() - cpu).as_nanos() as u64;
    server.end(load)?;
    Ok(Timed { operations, elapsed_ns: elapsed.as_nanos() as u64, cpu_ns })
}

/// Latencies in nanoseconds at a rate, from the time at which each message was to be sent.
pub fn latencies(
    workload: &Workload,
    contender: &Contender,
    programs: &Path,
    seconds: f64,
    rate: f64,
) -> Result<Vec<u64>, String> {
    let Work::Echo { connections, bytes, .. } = workload.work else { return Err("not a server".into()) };
    let server = Server::start(command(workload, contender, programs, &[])?)?;
    let mut load = Load::connect(server.port, connections, bytes)?;
    load.run(load::Until::Time(Duration::from_secs_f64(0.1)))?;
    let latencies = load.run_at_rate(rate, Duration::from_secs_f64(seconds))?;
    server.end(load)?;
    Ok(latencies)
}
