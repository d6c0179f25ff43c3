//! `corella run --simulate`: a script on a simulated machine, once or for many seeds.
//!
//! Every seed has a process of its own, without randomized addresses where the system allows that: a script may go
//! through a table whose keys are tables, and their order is that of their addresses.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use clap::{Args, ValueEnum};
use corella::{Faults, Simulation};
use corella_lua::Host;

use crate::run::{exit_code, wrong};
use crate::signals;

/// Set for the process that runs one seed, so that it does not start another.
const IS_CHILD: &str = "CORELLA_SIMULATES";

#[derive(Debug, Args)]
pub struct Simulate {
    /// Run the script on a simulated machine: disk, network and clock are in memory, and all chance is the seed's
    #[arg(long, value_name = "SEED")]
    simulate: Option<u64>,
    /// Run it on a simulated machine for each of these seeds, and show the first that fails
    #[arg(long, value_name = "A..B", value_parser = seeds, conflicts_with = "simulate")]
    seeds: Option<Seeds>,
    /// What goes wrong on the simulated machine
    #[arg(long, value_name = "FAULTS", value_delimiter = ',')]
    faults: Vec<Fault>,
    /// A folder whose files are on the simulated disk, under the same names, when the script begins
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    disk: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug)]
struct Seeds {
    first: u64,
    last: u64,
}

fn seeds(text: &str) -> Result<Seeds, String> {
    let (first, last) = text.split_once("..").ok_or("two numbers with .. between them, as in 1..1000")?;
    let number = |text: &str| text.parse().map_err(|_| format!("{text} is no number"));
    let seeds = Seeds { first: number(first)?, last: number(last)? };
    match seeds.first <= seeds.last {
        true => Ok(seeds),
        false => Err("the first is behind the last".into()),
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Fault {
    /// Operations on files and paths fail with EIO, one in a hundred
    Disk,
    /// Connections are reset, datagrams lost
    Net,
    /// Reads, writes, sends and receives move a part only
    Short,
    /// Requests take up to 50 ms longer
    Delays,
    /// Writes land 512 bytes further on
    Misdirected,
    /// The disk has room for 64 KiB
    Full,
    /// No more than 16 descriptors are open at once
    Descriptors,
}

impl Simulate {
    pub fn is_wanted(&self) -> bool {
        self.simulate.is_some() || self.seeds.is_some()
    }

    /// Whether something is said of a simulated machine that there is not.
    pub fn is_idle_talk(&self) -> bool {
        !self.is_wanted() && (!self.faults.is_empty() || self.disk.is_some())
    }

    /// Runs the script.
    pub fn run(self, name: &str, source: &[u8], arguments: &[OsString]) -> ExitCode {
        match (self.simulate, self.seeds) {
            (Some(seed), _) if is_child() => self.run_here(seed, name, source, arguments),
            (Some(seed), _) => self.run_in_a_process(seed),
            (None, Some(seeds)) => self.run_all(seeds),
            (None, None) => wrong("no seed is given"),
        }
    }

    /// Runs one seed in this process; the history is the last line on standard error.
    fn run_here(&self, seed: u64, name: &str, source: &[u8], arguments: &[OsString]) -> ExitCode {
        let machine = Simulation::new(seed);
        if let Some(folder) = &self.disk
            && let Err(error) = copy(folder, Path::new("/"), &machine)
        {
            return wrong(&format!("cannot copy {} onto the simulated disk: {error}", folder.display()));
        }
        machine.set_faults(self.faults());
        let reporter = |report: &str| {
            // With nowhere to write to there is nobody to tell.
            let _ = writeln!(std::io::stderr(), "corella: {report}");
        };
        let mut host = match Host::simulated(&machine, reporter) {
            Ok(host) => host,
            Err(error) => return wrong(&error.to_string()),
        };
        if let Err(error) = signals::end_the_script(host.interrupter()) {
            return wrong(&format!("cannot wait for signals: {error}"));
        }
        let code = host.run(name, source, arguments);
        drop(host);
        let (operations, time) = (machine.operations(), machine.now());
        let _ = writeln!(
            std::io::stderr(),
            "seed {seed}: {operations} operations in {time:?} of simulated time, history {:016x}",
            machine.history()
        );
        exit_code(code)
    }

    fn faults(&self) -> Faults {
        let mut faults = Faults::default();
        for fault in &self.faults {
            match fault {
                Fault::Disk => faults.disk_errors = 0.01,
                Fault::Net => (faults.resets, faults.datagram_losses) = (0.01, 0.05),
                Fault::Short => faults.short_transfers = 0.3,
                Fault::Delays => (faults.delays, faults.slow_readers) = (0.05, 0.05),
                Fault::Misdirected => faults.misdirected_writes = 0.01,
                Fault::Full => faults.disk_bytes = 64 << 10,
                Fault::Descriptors => faults.descriptors = 16,
            }
        }
        faults
    }

    /// Becomes a process that runs this seed.
    fn run_in_a_process(&self, seed: u64) -> ExitCode {
        match this_command(seed).and_then(become_command) {
            Ok(code) => code,
            Err(error) => wrong(&format!("cannot start a process for seed {seed}: {error}")),
        }
    }

    /// Runs every seed, and shows the first that fails.
    fn run_all(&self, Seeds { first, last }: Seeds) -> ExitCode {
        for seed in first..=last {
            let output = this_command(seed).and_then(|mut command| command.stdin(Stdio::null()).output());
            let output = match output {
                Ok(output) => output,
                Err(error) => return wrong(&format!("cannot start a process for seed {seed}: {error}")),
            };
            if output.status.success() {
                continue;
            }
            let _ = std::io::stdout().write_all(&output.stdout);
            let _ = std::io::stderr().write_all(&output.stderr);
            let again: Vec<String> = words_for(seed).iter().map(|word| quoted(&word.to_string_lossy())).collect();
            let _ = writeln!(std::io::stderr(), "corella: seed {seed} fails; again: corella {}", again.join(" "));
            return exit_code(output.status.code().unwrap_or(1));
        }
        let _ = writeln!(std::io::stderr(), "corella: seeds {first} to {last} pass");
        ExitCode::SUCCESS
    }
}

fn is_child() -> bool {
    std::env::var_os(IS_CHILD).is_some()
}

/// This command for one seed. Addresses are not randomized where the system allows that; elsewhere the order of keys
/// that are tables or functions is not the seed's.
fn this_command(seed: u64) -> std::io::Result<Command> {
    #[cfg(target_os = "linux")]
    {
        use nix::sys::personality::{self, Persona};
        if let Ok(persona) = personality::get() {
            let _ = personality::set(persona | Persona::ADDR_NO_RANDOMIZE);
        }
    }
    let mut command = Command::new(std::env::current_exe()?);
    command.args(words_for(seed)).env(IS_CHILD, "1");
    Ok(command)
}

/// Has this process go on as another; it returns only if that cannot be.
#[cfg(unix)]
fn become_command(mut command: Command) -> std::io::Result<ExitCode> {
    Err(std::os::unix::process::CommandExt::exec(&mut command))
}

/// Runs another process in place of this one, and ends as it ends.
#[cfg(windows)]
fn become_command(mut command: Command) -> std::io::Result<ExitCode> {
    command.status().map(|status| exit_code(status.code().unwrap_or(1)))
}

/// The words of this command line, with this seed instead of what it says of seeds.
fn words_for(seed: u64) -> Vec<OsString> {
    let mut words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let is_named = |word: &OsString, name: &str| {
        let text = word.to_string_lossy();
        text == format!("--{name}") || text.starts_with(&format!("--{name}="))
    };
    for name in ["simulate", "seeds"] {
        if let Some(place) = words.iter().position(|word| is_named(word, name)) {
            let has_value_behind = !words[place].to_string_lossy().contains('=');
            words.drain(place..=place + usize::from(has_value_behind));
            words.splice(place..place, ["--simulate".into(), seed.to_string().into()]);
            return words;
        }
    }
    words
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./,=:+@%".contains(&byte);
    match !word.is_empty() && word.bytes().all(is_plain) {
        true => word.to_string(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// Puts the files of a real folder onto the simulated disk.
fn copy(folder: &Path, place: &Path, machine: &Simulation) -> std::io::Result<()> {
    let mut entries: Vec<_> = std::fs::read_dir(folder)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let place = place.join(entry.file_name());
        match entry.file_type()? {
            kind if kind.is_dir() => copy(&entry.path(), &place, machine)?,
            kind if kind.is_file() => machine.add_file(&place, std::fs::read(entry.path())?)?,
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_two_numbers_in_their_order() {
        assert!(seeds("1..10").is_ok() && seeds("5..5").is_ok());
        for wrong in ["", "1", "..", "1..", "9..1", "a..b", "-1..3"] {
            assert!(seeds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(quoted("run"), "run");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
