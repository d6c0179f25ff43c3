//! The built command, run as a user runs it: beside a shell's programs, with signals and both backends of Linux. What it does
//! on Windows leg `windows` holds against the same scripts.
#![allow(dead_code, reason = "each test target uses a part")]

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Both backends, as `CORELLA_BACKEND` names them.
pub const BACKENDS: [&str; 2] = ["uring", "portable"];

/// The command.
pub fn corella() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_corella"));
    command.env_remove("CORELLA_BACKEND").stdin(Stdio::null());
    command
}

/// One of the scripts in `examples/`.
pub fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name)
}

/// The directory of one test.
pub fn directory_of(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// A directory for one test, empty.
pub fn empty_directory(name: &str) -> PathBuf {
    let path = directory_of(name);
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// Runs a script given as text.
pub fn run_script(name: &str, script: &str, arguments: &[&str]) -> Ended {
    let directory = empty_directory(name);
    let path = directory.join("script.lua");
    std::fs::write(&path, script).unwrap();
    let ended = end_of(corella().current_dir(&directory).arg("run").arg("script.lua").args(arguments));
    std::fs::remove_dir_all(directory).unwrap();
    ended
}

/// Bytes without a pattern that a mistake could preserve.
pub fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut bytes = Vec::with_capacity(count);
    while bytes.len() < count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(count);
    bytes
}

/// What came of a command.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

pub fn end_of(command: &mut Command) -> Ended {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let ended = Ended { code: status.code(), stdout: text(&stdout), stderr: text(&stderr) };
    assert!(!ended.stderr.contains("panicked"), "{ended:?}");
    ended
}

/// Starts a script given as text, with a pipe for each of its standard streams.
pub fn start(name: &str, backend: &str, script: &str) -> Child {
    let path = empty_directory(name).join("script.lua");
    std::fs::write(&path, script).unwrap();
    let mut command = corella();
    command.current_dir(path.parent().unwrap()).args(["run", "script.lua"]).env("CORELLA_BACKEND", backend);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// What comes of a command that has to end by itself within `limit`. Its standard input stays open meanwhile.
pub fn end_within(limit: Duration, child: &mut Child) -> Ended {
    let give_up = Instant::now() + limit;
    let mut status = child.try_wait().unwrap();
    while status.is_none() && Instant::now() < give_up {
        std::thread::sleep(Duration::from_millis(5));
        status = child.try_wait().unwrap();
    }
    if status.is_none() {
        child.kill().unwrap();
    }
    let text = |stream: &mut dyn Read| {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let stdout = child.stdout.take().map_or_else(String::new, |mut stream| text(&mut stream));
    let stderr = child.stderr.take().map_or_else(String::new, |mut stream| text(&mut stream));
    let Some(status) = status else { panic!("it did not end within {limit:?}: {stdout}{stderr}") };
    Ended { code: status.code(), stdout, stderr }
}

/// `serve.lua` on a directory; ended when the test is.
pub struct Server {
    child: Child,
    pub url: String,
    pub port: u16,
}

impl Server {
    pub fn start(directory: &Path, backend: &str) -> Server {
        Server::start_script(&example("serve.lua"), directory, backend)
    }

    /// The same with a script of the test's own.
    pub fn start_script(script: &Path, directory: &Path, backend: &str) -> Server {
        let mut command = corella();
        command.arg("run").arg(script).arg(directory).arg("0").env("CORELLA_BACKEND", backend);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().split(' ').next_back().unwrap().to_string();
        assert_eq!(line.trim(), format!("serving {} on {url}", directory.display()));
        let port = url.rsplit(':').next().unwrap().parse().unwrap();
        Server { child, url, port }
    }

    /// The most memory that it has had resident, in KiB.
    pub fn memory_peak_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// curl, quiet, with a limit.
pub fn curl() -> Command {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "120"]);
    command
}

/// The bytes that curl gives.
pub fn curl_bytes<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Vec<u8> {
    let output = curl().args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The text that curl gives.
pub fn curl_text<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> String {
    String::from_utf8(curl_bytes(arguments)).unwrap()
}
