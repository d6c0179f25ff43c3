//! Contenders as processes, on a processor of their own; the load has another.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::contenders::{Contender, Kind};
use crate::fixtures;
use crate::load;
use crate::workloads::{Needs, Work, Workload};

/// A server that has not ended so long after it was told to never will.
const PATIENCE: Duration = Duration::from_secs(10);
/// Where contenders run, and where the load does.
const CONTENDER_PROCESSOR: usize = 0;
pub const LOAD_PROCESSOR: usize = 1;

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
pub fn machine(counts_kernel: bool) -> String {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let processors = text("/proc/cpuinfo");
    let model = processors.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("an unknown processor");
    let count = processors.lines().filter(|line| line.starts_with("processor")).count();
    let load = text("/proc/loadavg");
    format!(
        "{}, {count} processors, Linux {}; load average {} before the first round.\n\
         Instructions are counted in user space by valgrind (callgrind), system calls by strace, allocations by valgrind; \
         instructions in the kernel {}.",
        model.trim_start_matches([' ', '\t', ':']),
        text("/proc/sys/kernel/osrelease").trim(),
        load.split(' ').next().unwrap_or("unknown"),
        if counts_kernel { "by perf" } else { "are not counted: this machine has no performance counters" },
    )
}

/// Where its program is: in the folder of the programs, or, an interpreter of others, on the PATH.
fn program_of(contender: &Contender, programs: &Path) -> Result<PathBuf, String> {
    let of_ours = programs.join(contender.program);
    if of_ours.exists() {
        return Ok(of_ours);
    }
    let elsewhere = std::env::var_os("PATH").unwrap_or_default();
    let mut found = std::env::split_paths(&elsewhere).map(|folder| folder.join(contender.program));
    match contender.kind {
        Kind::Interpreter { .. } => found.find(|path| path.exists()),
        _ => None,
    }
    .ok_or_else(|| format!("{} is not there", contender.program))
}

/// What follows the program's name.
fn arguments_of(workload: &Workload, contender: &Contender) -> Result<Vec<String>, String> {
    let mut words: Vec<String> = contender.arguments.iter().map(|word| word.to_string()).collect();
    match contender.kind {
        Kind::InC => return Ok(vec!["127.0.0.1".into(), "0".into()]),
        Kind::Interpreter { scripts } => {
            let script = scripts.iter().find(|(work, _)| *work == workload.called).map(|(_, script)| script);
            let script = script.ok_or("there is no script for it")?;
            words.push(format!("{}/../lua/{script}", env!("CARGO_MANIFEST_DIR")));
            return Ok(words);
        }
        Kind::Program => words.insert(0, workload.called.to_string()),
    }
    match workload.work {
        Work::Echo { bytes, .. } | Work::Churn { bytes, .. } | Work::Stream { bytes } => {
            words.extend(["--bytes".into(), bytes.to_string()]);
        }
        Work::Idle { .. } => words.extend(["--bytes".into(), load::IDLE_BYTES.to_string()]),
        Work::Alone { arguments, needs, .. } => {
            words.extend(arguments.iter().map(|word| word.to_string()));
            let (key, path) = match needs {
                Needs::Nothing => return Ok(words),
                Needs::File => ("--file", fixtures::file()?),
                Needs::NewFile => ("--file", fixtures::new_file()?),
                Needs::SmallFiles => ("--folder", fixtures::small_files()?),
            };
            words.extend([key.into(), path.to_string_lossy().into_owned()]);
        }
        Work::Start => {}
    }
    Ok(words)
}

/// The command of a contender: pinned, or behind a `wrapper` that counts what no other process disturbs.
pub fn command(
    workload: &Workload,
    contender: &Contender,
    programs: &Path,
    wrapper: &[String],
) -> Result<Command, String> {
    let program = program_of(contender, programs)?;
    let mut command = match wrapper.split_first() {
        None => Command::new(&program),
        Some((first, rest)) => {
            let mut command = Command::new(first);
            command.args(rest).arg(&program);
            command
        }
    };
    command.args(arguments_of(workload, contender)?);
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
    pub fn cpu(&self) -> Duration {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id()));
        let of_thread = |entry: std::io::Result<fs::DirEntry>| -> Option<u64> {
            let text = fs::read_to_string(entry.ok()?.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse().ok()
        };
        Duration::from_nanos(threads.into_iter().flatten().filter_map(of_thread).sum())
    }

    /// Bytes that it has in memory, and bytes that it has mapped.
    pub fn memory(&self) -> Result<(f64, f64), String> {
        let path = format!("/proc/{}/status", self.child.id());
        let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        let kilobytes = |name: &str| -> Option<f64> {
            text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
        };
        match (kilobytes("VmRSS:"), kilobytes("VmSize:")) {
            (Some(resident), Some(mapped)) => Ok((resident * 1024.0, mapped * 1024.0)),
            _ => Err(format!("{path} tells no memory")),
        }
    }

    /// Ends it as a terminal would.
    pub fn end(mut self) -> Result<(), String> {
        self.signal();
        self.wait()
    }

    /// Its clients have gone, and it ends by itself.
    pub fn end_by_itself(mut self) -> Result<(), String> {
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
