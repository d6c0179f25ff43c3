//! The `corella` command under Wine beside the one of this machine. The leg `windows` builds both before.
#![cfg(unix)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One at a time: each begins and ends the server of the prefix.
static PREFIX: Mutex<()> = Mutex::new(());

fn one_at_a_time() -> MutexGuard<'static, ()> {
    PREFIX.lock().unwrap_or_else(PoisonError::into_inner)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn here() -> Command {
    Command::new(root().join("target/debug/corella"))
}

fn wine() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.arg("wine").arg(root().join("target/windows/x86_64-pc-windows-gnu/debug/corella.exe"));
    command
}

fn example(name: &str) -> PathBuf {
    root().join("examples").join(name)
}

/// A folder of one test's own, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("corella-wine-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn succeeded(output: Output) -> String {
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {told}", output.status);
    String::from_utf8(output.stdout).unwrap().replace("\r\n", "\n")
}

/// What a script prints, without what no two runs have in common: numbers, the name of the backend, a temporary file's.
fn skeleton(text: &str) -> Vec<String> {
    let without_numbers = |word: &str| match word.strip_prefix("/tmp/").or(word.strip_prefix('\\')) {
        Some(_) => "FILE".to_owned(),
        None => word.split(|letter: char| letter.is_ascii_digit()).filter(|part| !part.is_empty()).collect(),
    };
    let words = |line: &str| line.split(' ').map(without_numbers).collect::<Vec<String>>().join(" ");
    text.replace("the uring backend", "the backend")
        .replace("the portable backend", "the backend")
        .replace("the iocp backend", "the backend")
        .lines()
        .map(words)
        .collect()
}

#[test]
fn the_tour_prints_the_same_on_both_systems() {
    let _guard = one_at_a_time();
    let linux = succeeded(here().arg("run").arg(example("tour.lua")).env_remove("CORELLA_BACKEND").output().unwrap());
    let windows = succeeded(wine().arg("run").arg(example("tour.lua")).output().unwrap());
    assert!(windows.starts_with("Corella on the iocp backend: the best for this machine\n"), "{windows}");
    assert!(windows.contains("All of it was checked."), "{windows}");
    assert_eq!(skeleton(&windows), skeleton(&linux));
}

#[test]
fn copies_and_checksums_are_the_same_on_both_systems() {
    let _guard = one_at_a_time();
    let folder = Folder::new("copy");
    let bytes: Vec<u8> = (0..3_000_000u32).map(|place| (place.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    fs::write(folder.0.join("original"), &bytes).unwrap();
    let run = |mut command: Command, words: &[&str]| {
        command.arg("run").arg(example(words[0])).args(&words[1..]).current_dir(&folder.0);
        succeeded(command.output().unwrap())
    };
    let linux = run(here(), &["copy.lua", "original", "by-linux"]);
    let windows = run(wine(), &["copy.lua", "original", "by-windows"]);
    assert_eq!(skeleton(&windows.replace("by-windows", "COPY")), skeleton(&linux.replace("by-linux", "COPY")));
    for copy in ["by-linux", "by-windows"] {
        assert!(fs::read(folder.0.join(copy)).unwrap() == bytes, "{copy} differs");
    }
    fs::create_dir_all(folder.0.join("tree/below")).unwrap();
    fs::write(folder.0.join("tree/below/empty"), "").unwrap();
    fs::rename(folder.0.join("by-windows"), folder.0.join("tree/copy")).unwrap();
    assert_eq!(run(wine(), &["checksum.lua", "tree"]), run(here(), &["checksum.lua", "tree"]));
}

/// Connections, files, sleeps and chance, all of a simulated machine's.
const SIMULATED: &str = r#"
local listener = Socket.listen("10.0.0.1", 4000)
listener:accept(function(accepted)
    local peer <close> = accepted:result()
    for line in peer:lines() do peer:send(line:upper() .. "\n") end
end)
for number = 1, 5 do
    Scheduler.spawn(function()
        Scheduler.sleep(math.random() / 100)
        local socket <close> = Socket.connect("10.0.0.1", 4000)
        socket:send("number " .. number .. "\n")
        local file <close> = FileHandle.open("/" .. number, "w")
        file:print(socket:readline())
        print(number, Scheduler.now(), math.random(1000))
    end)
end
"#;

#[test]
fn the_command_probes_reads_lines_and_simulates_the_same_on_both_systems() {
    let _guard = one_at_a_time();
    let probed = succeeded(wine().args(["probe", "--json"]).output().unwrap());
    for part in ["\"chosen\": \"iocp\"", "\"system\": \"Windows x86_64\"", "\"offered\": true"] {
        assert!(probed.contains(part), "{part} is not in {probed}");
    }
    let read = |mut command: Command| {
        command.arg("repl").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut prompt = command.spawn().unwrap();
        let lines = b"x = 6\nprint(x * 7)\nx + 1\nfor i = 1, 2 do\n print(i)\nend\n";
        std::io::Write::write_all(&mut prompt.stdin.take().unwrap(), lines).unwrap();
        succeeded(prompt.wait_with_output().unwrap())
    };
    let told = read(wine());
    assert_eq!(told, read(here()));
    assert_eq!(told.split_whitespace().collect::<Vec<_>>(), ["42", "7", "1", "2"]);
    let simulate =
        |mut command: Command| succeeded(command.args(["run", "--simulate", "7", "-e", SIMULATED]).output().unwrap());
    let told = simulate(wine());
    assert_eq!(told, simulate(here()));
    assert_eq!(told.lines().count(), 5, "{told}");
}

/// Waits for the line that says where it serves.
fn served_at(server: &mut Child) -> String {
    let output = BufReader::new(server.stdout.as_mut().unwrap());
    let line = output.lines().map_while(Result::ok).find(|line| line.contains("http://")).expect("it serves");
    line[line.find("http://").unwrap()..].trim().to_owned()
}

#[test]
fn a_file_of_64_mib_is_served_byte_for_byte_and_ctrl_c_ends_the_server() {
    let _guard = one_at_a_time();
    let folder = Folder::new("serve");
    let bytes: Vec<u8> = (0..64u32 << 20).map(|place| (place.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
    fs::write(folder.0.join("large"), &bytes).unwrap();
    let mut server = wine();
    server.arg("run").arg(example("serve.lua")).arg(&folder.0).arg("0");
    let mut server = server.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).spawn().unwrap();
    let address = served_at(&mut server);
    let copy = folder.0.join("copy");
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--max-time", "60", "--output"]);
    let told = curl_output(curl.arg(&copy).arg(format!("{address}/large")));
    let is_same = fs::read(&copy).is_ok_and(|copy| copy == bytes);
    // As a terminal does it: everybody in the foreground gets it.
    let group = rustix::process::Pid::from_child(&server);
    rustix::process::kill_process_group(group, rustix::process::Signal::INT).unwrap();
    let ended = server.wait_with_output().unwrap();
    assert!(is_same, "curl: {told}");
    assert_eq!(ended.status.code(), Some(130), "{}", String::from_utf8_lossy(&ended.stderr));
}

fn curl_output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr))
}

/// Where the leg has built `corella_c.dll` and its import library.
fn windows_library() -> PathBuf {
    root().join("target/windows/x86_64-pc-windows-gnu/debug")
}

/// The program that calls every function of corella.h, with a jump out of callbacks and waits among its promises: linked
/// with the import library and run beside the DLL, and with the static library in it.
#[test]
fn every_function_of_the_c_interface_keeps_its_promises_under_wine() {
    let _guard = one_at_a_time();
    let folder = Folder::new("interface");
    let sources = root().join("crates/corella-c");
    fs::copy(windows_library().join("corella_c.dll"), folder.0.join("corella_c.dll")).unwrap();
    for library in ["libcorella_c.dll.a", "libcorella_c.a"] {
        let program = folder.0.join(library).with_extension("exe");
        let mut compiler = Command::new("x86_64-w64-mingw32-gcc");
        compiler.args(["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-g", "-O1"]);
        compiler.arg("-D__USE_MINGW_ANSI_STDIO=1").arg("-I").arg(sources.join("include"));
        compiler.arg(sources.join("tests/c/interface.c")).arg(windows_library().join(library));
        // What the installed package names as the static library's own needs.
        compiler.args(["-Wl,-Bstatic", "-lpthread", "-lkernel32", "-lntdll", "-luserenv", "-lws2_32", "-ldbghelp"]);
        succeeded(compiler.arg("-o").arg(&program).output().unwrap());
        let scratch = folder.0.join("scratch");
        fs::create_dir(&scratch).unwrap();
        let mut wine = Command::new(env!("CARGO_BIN_EXE_xtask"));
        let told = succeeded(wine.arg("wine").arg(&program).arg(&scratch).output().unwrap());
        assert!(told.contains("test a_callback_may_leave_run_by_a_jump_and_nothing_is_lost ... ok"), "{told}");
        assert!(told.contains("test a_wait_that_is_jumped_out_of_leaves_its_request_submitted ... ok"), "{told}");
        fs::remove_dir_all(&scratch).unwrap();
    }
}
