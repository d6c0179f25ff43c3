//! `cargo xtask windows` and `cargo xtask wine`: Rust for Windows on a Debian machine, and its programs under Wine.
//!
//! Debian's cargo and rustc build the standard library from source for targets that rustup may not have here. Programs
//! run in a Wine prefix of the work tree's own, whose server is ended with the run: its services would otherwise keep
//! the run's pipes open.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::repository_root;

pub const CARGO: &str = "/usr/bin/cargo";
/// Of the standard library: stock packages of Debian's have an older cargo and put these elsewhere.
pub const SOURCES: &str = "/usr/lib/rustlib/src/rust/library/std/Cargo.toml";
const RUSTC: &str = "/usr/bin/rustc";
const RUSTDOC: &str = "/usr/bin/rustdoc";
const TARGET: &str = "x86_64-pc-windows-gnu";
const MINGW_GCC: &str = "x86_64-w64-mingw32-gcc";
/// Where Wine 8.0 has its 64-bit loader on Debian; the script on the path asks for a 32-bit one too.
const WINE_PLACES: &[&str] = &["/usr/lib/wine/wine64", "wine64", "wine"];
/// How long a server may take to end its programs before it is killed.
const SERVER_END_TIME: Duration = Duration::from_secs(10);
/// How often a program is asked whether it has ended, and its server whether it is there.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
const LACKING_DLL: &str = "bcryptprimitives.dll";
/// Says that this process has mounts of its own.
const OWN_MOUNTS: &str = "CORELLA_OWN_MOUNTS";
/// The drive that is soon full, and the bytes that it has room for.
const SMALL_DRIVE: &str = "s:";
const SMALL_DRIVE_BYTES: u32 = 1 << 20;

/// Runs Debian's cargo for Windows with these arguments; what it runs runs under Wine.
pub fn cargo(arguments: &[String]) -> ExitCode {
    run_with_own_mounts();
    // Ctrl-C is for cargo; this one ends with it, and then the server.
    let _interrupted = crate::interrupt_flag();
    concluded(Prefix::prepared().and_then(|prefix| {
        let mut command = for_target(arguments, TARGET, "windows")?;
        // Of this workspace's crates, in whatever is built of them.
        command.env("CARGO_BUILD_WARNINGS", "deny").env("CARGO_UNSTABLE_WARNINGS", "true");
        let runner = format!("{} wine", own_path()?.display());
        prefix.run(command.env("CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER", runner))
    }))
}

/// Type-checks the engine and the C library for a system, with warnings denied.
pub fn cross(target: &str) -> ExitCode {
    let arguments = ["check", "-p", "corella", "-p", "corella-c"].map(str::to_owned);
    concluded(for_target(&arguments, target, "cross").and_then(|mut command| {
        command.env("RUSTFLAGS", "-D warnings");
        run(&mut command)
    }))
}

/// Builds the programs that show what Wine lacks, and runs each: one that fails shows that the lack is gone. Reports like
/// a test program.
pub fn lacks() -> ExitCode {
    let folder = repository_root().join("crates/corella/tests/wine");
    concluded(Prefix::prepared().and_then(|prefix| {
        let entries = fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let mut sources: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        sources.sort();
        println!("\nrunning {} tests", sources.len());
        let mut failed = 0;
        for source in &sources {
            let name = source.file_stem().unwrap_or_default().display();
            let is_shown = prefix.shows_lack(source)?;
            failed += u32::from(!is_shown);
            println!("test {name} ... {}", if is_shown { "ok" } else { "FAILED" });
        }
        let passed = sources.len() as u32 - failed;
        let verdict = if failed == 0 { "ok" } else { "FAILED" };
        println!("\ntest result: {verdict}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out");
        Ok(u8::from(failed > 0))
    }))
}

/// Runs a program for Windows under Wine.
pub fn wine(program: &[String]) -> ExitCode {
    // Within a run of ours the prefix is ready, and its server is the run's to end.
    let is_within = std::env::var_os("WINEPREFIX").is_some_and(|prefix| prefix == Prefix::place().as_os_str());
    if !is_within {
        run_with_own_mounts();
    }
    // Ctrl-C is for the program; this one ends with it, and then the server.
    let _interrupted = crate::interrupt_flag();
    if is_within {
        return concluded(run(Command::new(loader()).args(program)));
    }
    concluded(Prefix::prepared().and_then(|prefix| prefix.run(Command::new(loader()).args(program))))
}

/// Goes on as a process with mounts of its own, where one may have those (as root), so that a drive can be made that is soon
/// full. They go with the run.
fn run_with_own_mounts() {
    let may_mount = || Command::new("unshare").args(["--mount", "true"]).stderr(Stdio::null()).status();
    if std::env::var_os(OWN_MOUNTS).is_some() || !may_mount().is_ok_and(|status| status.success()) {
        return;
    }
    let Ok(program) = own_path() else { return };
    let mut command = Command::new("unshare");
    command.arg("--mount").arg(program).args(std::env::args_os().skip(1)).env(OWN_MOUNTS, "1");
    // It returns only if that could not be.
    let error = command.exec();
    println!("windows: no mounts of its own: {error}");
}

/// Debian's cargo, for a target whose standard library it builds from source.
fn for_target(arguments: &[String], target: &str, directory: &str) -> Result<Command, String> {
    let (verb, rest) = arguments.split_first().ok_or("which command of cargo's?")?;
    let mut command = Command::new(CARGO);
    command.current_dir(repository_root());
    // What rustup's cargo, which runs us, has set for its own.
    for name in ["CARGO", "RUSTUP_TOOLCHAIN", "RUSTUP_HOME", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "LD_LIBRARY_PATH"]
    {
        command.env_remove(name);
    }
    command
        .arg(verb)
        .args(["-Zbuild-std=std,panic_unwind", "--target", target])
        .arg("--target-dir")
        .arg(repository_root().join("target").join(directory))
        .args(rest)
        .env("RUSTC", RUSTC)
        .env("RUSTDOC", RUSTDOC)
        // Building the standard library is behind a gate of the compiler's.
        .env("RUSTC_BOOTSTRAP", "1");
    Ok(command)
}

fn run(command: &mut Command) -> Result<u8, String> {
    let status = command.status().map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    Ok(code_of(status))
}

fn code_of(status: ExitStatus) -> u8 {
    status.code().map_or(u8::MAX, |code| u8::try_from(code).unwrap_or(u8::MAX))
}

fn concluded(result: Result<u8, String>) -> ExitCode {
    match result {
        Ok(code) => ExitCode::from(code),
        Err(problem) => {
            println!("windows: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn own_path() -> Result<PathBuf, String> {
    std::env::current_exe().map_err(|error| format!("where this program is: {error}"))
}

fn loader() -> &'static str {
    let is_there = |place: &&&str| Command::new(place).arg("--version").stdout(Stdio::null()).status().is_ok();
    WINE_PLACES.iter().find(is_there).unwrap_or(&"wine")
}

/// A place with what Wine takes for a Windows machine. Its server ends when it is dropped.
struct Prefix(PathBuf);

impl Prefix {
    fn place() -> PathBuf {
        repository_root().join("target/windows/prefix")
    }

    /// The prefix of this work tree, with its services running and what Wine lacks.
    fn prepared() -> Result<Prefix, String> {
        let prefix = Prefix(Prefix::place());
        fs::create_dir_all(&prefix.0).map_err(|error| format!("{}: {error}", prefix.0.display()))?;
        // The server and the services are started here, with nobody's output, and not by a test with the test's.
        if prefix.tool("wineserver", &["-p"]).is_err() {
            // One is there that a run which was killed has left.
            prefix.end();
            prefix.tool("wineserver", &["-p"])?;
        }
        let library = prefix.0.join("drive_c/windows/system32").join(LACKING_DLL);
        let source = repository_root().join("xtask/windows/bcryptprimitives.c");
        if is_older(&library, &source) {
            prefix.tool(loader(), &["wineboot", "--init"])?;
            let mut compile = Command::new(MINGW_GCC);
            compile.args(["-shared", "-O2", "-Wall", "-Werror", "-o"]).arg(&library).arg(&source).arg("-ladvapi32");
            if run(&mut compile)? != 0 {
                return Err(format!("{LACKING_DLL} could not be built"));
            }
        } else {
            prefix.tool(loader(), &["wineboot"])?;
        }
        prefix.add_small_drive()?;
        Ok(prefix)
    }

    /// Makes a drive that is soon full. Without mounts of our own there is none, and what needs it is skipped.
    fn add_small_drive(&self) -> Result<(), String> {
        let (folder, drive) = (self.0.join("small-drive"), self.0.join("dosdevices").join(SMALL_DRIVE));
        let failed = |error: io::Error| format!("the small drive: {error}");
        let _ = fs::remove_file(&drive);
        if std::env::var_os(OWN_MOUNTS).is_none() {
            return Ok(());
        }
        fs::create_dir_all(&folder).map_err(failed)?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={SMALL_DRIVE_BYTES}"), "corella"]).arg(&folder);
        if run(&mut mount)? != 0 {
            return Ok(());
        }
        std::os::unix::fs::symlink(&folder, &drive).map_err(failed)
    }

    fn environment(&self) -> Vec<(&'static str, PathBuf)> {
        vec![
            ("WINEPREFIX", self.0.clone()),
            ("WINEDEBUG", "-all".into()),
            // Neither .NET nor a browser is to be asked for, and there is no screen.
            ("WINEDLLOVERRIDES", "mscoree=;mshtml=".into()),
            ("DISPLAY", PathBuf::new()),
        ]
    }

    /// Builds a program in C and runs it: whether it ends with success.
    fn shows_lack(&self, source: &Path) -> Result<bool, String> {
        let program = repository_root().join("target/windows").join(source.file_stem().unwrap_or_default());
        let program = program.with_extension("exe");
        let mut compile = Command::new(MINGW_GCC);
        compile.args(["-O1", "-Wall", "-Werror", "-o"]).arg(&program).arg(source).arg("-lws2_32");
        if run(&mut compile)? != 0 {
            return Err(format!("{} could not be built", source.display()));
        }
        Ok(self.run(Command::new(loader()).arg(&program))? == 0)
    }

    /// Runs a command that runs programs here. Without the server, which can fail, they would wait for ever.
    fn run(&self, command: &mut Command) -> Result<u8, String> {
        let name = command.get_program().display().to_string();
        let failed = |error: io::Error| format!("{name}: {error}");
        let mut child = command.envs(self.environment()).spawn().map_err(failed)?;
        let mut looked = Instant::now();
        loop {
            if let Some(status) = child.try_wait().map_err(failed)? {
                return Ok(code_of(status));
            }
            if looked.elapsed() > LOOK_INTERVAL {
                looked = Instant::now();
                if self.servers().is_empty() {
                    self.kill_programs();
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err("Wine's server has ended by itself, and with it what ran there".into());
                }
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Runs one of Wine's own programs, whose output is nobody's.
    fn tool(&self, program: &str, arguments: &[&str]) -> Result<(), String> {
        let mut command = Command::new(program);
        command.args(arguments).envs(self.environment());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        match run(&mut command)? {
            0 => Ok(()),
            code => Err(format!("{program} {} ended with {code}", arguments.join(" "))),
        }
    }
}

impl Prefix {
    /// Ends the server, and with it all that runs there.
    fn end(&self) {
        // It fails if the server has ended already, and if it has lost the lock by which it is found: so it does when
        // it is started by itself on Debian, and not by the first program.
        let _ = self.tool("wineserver", &["-k"]);
        let _ = self.tool("wineserver", &["-w"]);
        for server in self.servers() {
            // It ends its programs first.
            let _ = rustix::process::kill_process(server, rustix::process::Signal::INT);
        }
        let start = Instant::now();
        while !self.servers().is_empty() {
            if start.elapsed() > SERVER_END_TIME {
                for server in self.servers() {
                    let _ = rustix::process::kill_process(server, rustix::process::Signal::KILL);
                }
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.kill_programs();
    }

    /// Ends the programs that a server has left: each holds the pipe by which it would see that the server is gone.
    fn kill_programs(&self) {
        let variable = [b"WINEPREFIX=", self.0.as_os_str().as_bytes()].concat();
        let is_ours = |place: &Path| {
            let program = fs::read_link(place.join("exe")).unwrap_or_default();
            let is_wine = program.file_name().is_some_and(|name| name.as_bytes().starts_with(b"wine"));
            let environment = fs::read(place.join("environ")).unwrap_or_default();
            is_wine && environment.split(|byte| *byte == 0).any(|one| one == variable)
        };
        for program in processes(is_ours) {
            let _ = rustix::process::kill_process(program, rustix::process::Signal::KILL);
        }
    }

    /// The servers of this prefix that run: each stays in a folder that is named by the prefix's device and number.
    fn servers(&self) -> Vec<rustix::process::Pid> {
        let Ok(prefix) = fs::metadata(&self.0) else { return Vec::new() };
        let folder = format!("server-{:x}-{:x}", prefix.dev(), prefix.ino());
        let is_server = |place: &Path| {
            let is_there = fs::read_link(place.join("cwd")).is_ok_and(|cwd| cwd.ends_with(&folder));
            let name = fs::read_to_string(place.join("comm")).unwrap_or_default();
            is_there && name.starts_with("wineserver")
        };
        processes(is_server)
    }
}

/// The processes of which that is so, by their folders in `/proc`.
fn processes(which: impl Fn(&Path) -> bool) -> Vec<rustix::process::Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter(|entry| which(&entry.path()));
    numbers
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok().and_then(rustix::process::Pid::from_raw))
        .collect()
}

impl Drop for Prefix {
    fn drop(&mut self) {
        self.end();
    }
}

/// Whether a file that is made of another must be made.
fn is_older(made: &Path, source: &Path) -> bool {
    let time = |path: &Path| -> io::Result<_> { fs::metadata(path)?.modified() };
    match (time(made), time(source)) {
        (Ok(made), Ok(source)) => made < source,
        _ => true,
    }
}
