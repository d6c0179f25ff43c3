//! Programs in C, C++ and Python against an installation made for them, as their authors would build and run them.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

const BACKENDS: [&str; 2] = ["uring", "portable"];
const WARNINGS: [&str; 4] = ["-Wall", "-Wextra", "-Werror", "-pedantic"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// A directory of this test run's, empty.
fn fresh(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

/// The prefix that `cargo xtask install` laid out, once.
fn prefix() -> &'static Path {
    static PREFIX: OnceLock<PathBuf> = OnceLock::new();
    PREFIX.get_or_init(|| {
        let prefix = fresh("prefix");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(["run", "--quiet", "--package", "xtask", "--", "install", "--prefix"]).arg(&prefix);
        succeeds(command.current_dir(root()));
        prefix
    })
}

fn succeeds(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}\n{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    output
}

fn pkg_config(arguments: &[&str]) -> Vec<String> {
    let mut command = Command::new("pkg-config");
    command.args(arguments).arg("corella").env("PKG_CONFIG_PATH", prefix().join("lib/pkgconfig"));
    let output = succeeds(&mut command);
    String::from_utf8(output.stdout).unwrap().split_whitespace().map(str::to_string).collect()
}

/// Builds a program with gcc against the installation.
fn build(name: &str, compiler: &[&str], sources: &[PathBuf]) -> PathBuf {
    let program = fresh(&format!("program-{name}")).join(name);
    let mut command = Command::new(compiler[0]);
    command.args(&compiler[1..]).args(WARNINGS).args(sources).args(pkg_config(&["--cflags", "--libs"]));
    succeeds(command.arg("-lpthread").arg("-o").arg(&program));
    program
}

fn run(program: &Path, backend: &str) -> Command {
    with_library(Command::new(program), backend)
}

fn with_library(mut command: Command, backend: &str) -> Command {
    command.env("LD_LIBRARY_PATH", prefix().join("lib")).env("CORELLA_BACKEND", backend);
    command
}

fn test_source(name: &str) -> PathBuf {
    root().join("crates/corella-c/tests/c").join(name)
}

fn example(name: &str) -> PathBuf {
    root().join("examples/c").join(name)
}

const C11: [&str; 4] = ["gcc", "-std=c11", "-g", "-O1"];

#[test]
fn the_test_program_calls_every_function() {
    let header = fs::read_to_string(root().join("crates/corella-c/include/corella.h")).unwrap();
    let program = fs::read_to_string(test_source("interface.c")).unwrap();
    let mut names: Vec<&str> = header
        .split(|c: char| !c.is_alphanumeric() && c != '_' && c != '(')
        .filter_map(|word| word.split_once('(').map(|(name, _)| name))
        .filter(|name| name.starts_with("corella_"))
        .collect();
    names.dedup();
    assert!(names.len() > 100, "{}", names.len());
    let missing: Vec<_> = names.into_iter().filter(|name| !program.contains(&format!("{name}("))).collect();
    assert_eq!(missing, Vec::<&str>::new(), "never called");
}

#[test]
fn every_function_keeps_its_promises() {
    let program = build("interface", &C11, &[test_source("interface.c")]);
    for backend in BACKENDS {
        succeeds(run(&program, backend).arg(fresh(&format!("interface-{backend}"))));
    }
}

#[test]
fn every_function_keeps_its_promises_under_address_sanitizer() {
    let compiler = ["gcc", "-std=c11", "-g", "-O1", "-fsanitize=address,undefined"];
    let program = build("sanitized", &compiler, &[test_source("interface.c")]);
    for backend in BACKENDS {
        succeeds(run(&program, backend).arg(fresh(&format!("sanitized-{backend}"))));
    }
}

#[test]
fn every_function_keeps_its_promises_under_valgrind() {
    let program = build("checked", &C11, &[test_source("interface.c")]);
    for backend in BACKENDS {
        let mut valgrind = with_library(Command::new("valgrind"), backend);
        valgrind.args(["-q", "--leak-check=full", "--errors-for-leak-kinds=definite", "--error-exitcode=9"]);
        // Threads that call all the time leave the others no turn unless valgrind gives turns.
        valgrind.args(["--child-silent-after-fork=yes", "--fair-sched=yes"]);
        valgrind.arg(&program).arg(fresh(&format!("checked-{backend}")));
        // See interface.c for what valgrind cannot run beside a ring.
        succeeds(valgrind.arg(if backend == "uring" { "alone" } else { "childless" }));
    }
}

#[test]
fn a_child_forked_while_the_first_scheduler_is_made_waits_for_nobody() {
    let program = build("fork_at_start", &C11, &[test_source("fork_at_start.c")]);
    for backend in BACKENDS {
        for function in ["sigaction", "__register_atfork"] {
            succeeds(run(&program, backend).arg(function));
        }
    }
}

#[test]
fn the_header_is_one_of_cpp_as_well() {
    let program = build("included", &["g++", "-std=c++17"], &[test_source("included.cpp")]);
    succeeds(&mut run(&program, "portable"));
}

/// The first program of docs/EMBEDDING.md, built with the command that it gives.
#[test]
fn a_fresh_installation_works_as_the_documentation_says() {
    let text = fs::read_to_string(prefix().join("share/doc/corella/EMBEDDING.md")).unwrap();
    let source = text.split("```c\n").nth(1).and_then(|rest| rest.split("```").next()).expect("it has a program");
    let folder = fresh("documented");
    fs::write(folder.join("example.c"), source).unwrap();
    let command = "cc example.c $(pkg-config --cflags --libs corella) -o example";
    assert!(text.contains(command), "the documentation gives another command");
    let mut shell = Command::new("sh");
    shell.args(["-ec", command]).current_dir(&folder).env("PKG_CONFIG_PATH", prefix().join("lib/pkgconfig"));
    succeeds(&mut shell);
    for backend in BACKENDS {
        let output = succeeds(run(&folder.join("example"), backend).arg("/etc/passwd"));
        assert!(String::from_utf8_lossy(&output.stdout).contains("bytes"), "{output:?}");
    }
}

#[test]
fn the_static_library_needs_no_other_file_at_run_time() {
    let program = fresh("static").join("interface");
    let mut command = Command::new("gcc");
    command.args(WARNINGS).arg("-std=c11").arg(test_source("interface.c")).args(pkg_config(&["--cflags"]));
    command.arg(prefix().join("lib/libcorella.a"));
    let private = pkg_config(&["--libs", "--static"]);
    command.args(private.iter().filter(|flag| *flag != "-lcorella"));
    succeeds(command.arg("-o").arg(&program));
    succeeds(Command::new(&program).arg(fresh("static-run")));
}

#[test]
fn cmake_finds_the_package() {
    let folder = fresh("cmake");
    let project = "cmake_minimum_required(VERSION 3.16)\nproject(example C)\nfind_package(Corella 0.1 REQUIRED)\n\
        foreach(kind corella static)\n  add_executable(with_${kind} example.c)\n\
        \x20 target_link_libraries(with_${kind} Corella::${kind})\nendforeach()\n";
    fs::write(folder.join("CMakeLists.txt"), project).unwrap();
    let source = "#include <corella.h>\nint main(void) { return corella_version() != CORELLA_VERSION; }\n";
    fs::write(folder.join("example.c"), source).unwrap();
    let prefix_path = format!("-DCMAKE_PREFIX_PATH={}", prefix().display());
    succeeds(Command::new("cmake").args(["-S", ".", "-B", "build", &prefix_path]).current_dir(&folder));
    succeeds(Command::new("cmake").args(["--build", "build"]).current_dir(&folder));
    for kind in ["with_corella", "with_static"] {
        succeeds(&mut Command::new(folder.join("build").join(kind)));
    }
}

#[test]
fn a_plain_epoll_loop_reads_files_beside_its_own_descriptors() {
    let program = build("epoll", &C11, &[example("epoll.c")]);
    for backend in BACKENDS {
        let mut command = run(&program, backend);
        command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        let header = prefix().join("include/corella.h");
        writeln!(child.stdin.take().unwrap(), "{}\n/nonexistent", header.display()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let length = fs::metadata(&header).unwrap().len();
        assert!(text.contains(&format!("corella.h: {length} bytes")), "{text}");
        assert!(text.contains("/nonexistent: open for reading of /nonexistent: No such file"), "{text}");
    }
}

#[test]
fn a_server_answers_line_by_line_with_callbacks() {
    let program = build("lines", &C11, &[example("lines.c")]);
    for backend in BACKENDS {
        let mut server = run(&program, backend).arg("2").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut port = String::new();
        BufReader::new(server.stdout.as_mut().unwrap()).read_line(&mut port).unwrap();
        let connect = || TcpStream::connect(("127.0.0.1", port.trim().parse().unwrap())).unwrap();
        // Both at once, and lines that come in halves and several at a time.
        let (mut one, mut other) = (connect(), connect());
        one.write_all(b"first\nsec").unwrap();
        other.write_all(b"a\nb\nc\n").unwrap();
        let mut answer = [0; 6];
        other.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"A\nB\nC\n");
        one.write_all(b"ond\n").unwrap();
        one.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        one.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "FIRST\nSECOND\n");
        drop(other);
        let output = server.wait_with_output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    }
}

#[test]
fn a_reader_without_callbacks_has_many_reads_in_flight() {
    let program = build("sum", &C11, &[example("sum.c")]);
    let path = fresh("summed").join("file");
    let bytes: Vec<u8> = (0..5_000_001u32).map(|place| (place.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs::write(&path, &bytes).unwrap();
    let sum: u64 = bytes.iter().map(|byte| u64::from(*byte)).sum();
    for backend in BACKENDS {
        let output = succeeds(run(&program, backend).arg(&path));
        assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), sum.to_string());
    }
}

#[test]
fn glibs_main_loop_reads_files_beside_its_own_sources() {
    let flags = |what: &str| {
        let output = succeeds(Command::new("pkg-config").args([what, "glib-2.0"]));
        String::from_utf8(output.stdout).unwrap().split_whitespace().map(str::to_string).collect::<Vec<_>>()
    };
    let program = fresh("program-glib").join("glib");
    let mut command = Command::new("gcc");
    command.args(["-std=c11"]).args(WARNINGS).arg(example("glib.c")).args(pkg_config(&["--cflags", "--libs"]));
    // GLib's own headers are not for -pedantic.
    let system = flags("--cflags").into_iter().map(|flag| flag.replacen("-I", "-isystem", 1)).collect::<Vec<_>>();
    succeeds(command.args(system).args(flags("--libs")).arg("-o").arg(&program));
    for backend in BACKENDS {
        let output = succeeds(run(&program, backend).arg(prefix().join("include/corella.h")));
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("corella.h: ") && text.contains("the loop ticked"), "{text}");
    }
}

#[test]
fn an_asyncio_loop_awaits_files_beside_its_own_sockets() {
    for backend in BACKENDS {
        let mut python = with_library(Command::new("python3"), backend);
        python.args(["-W", "error"]).arg(root().join("examples/python/serve_files.py"));
        python.arg(fresh(&format!("python-{backend}"))).env("CORELLA_LIBRARY", prefix().join("lib/libcorella.so"));
        let output = succeeds(python.env("PYTHONDONTWRITEBYTECODE", "1"));
        assert_eq!(output.stdout, b"served 100 clients, 7680000 bytes\n");
    }
}

/// The machine of examples/c/vm, built with these flags.
fn machine(name: &str, flags: &[&str]) -> PathBuf {
    let mut sources: Vec<_> = fs::read_dir(example("vm")).unwrap().map(|entry| entry.unwrap().path()).collect();
    sources.retain(|path| path.extension().is_some_and(|extension| extension == "c"));
    sources.sort();
    let compiler: Vec<_> = C11.iter().chain(&["-D_DEFAULT_SOURCE"]).chain(flags).copied().collect();
    build(name, &compiler, &sources)
}

/// `serve.vm` running on it, and its port.
fn serving(mut command: Command, options: &[&str], connections: usize) -> (Child, u16) {
    command.args(options).arg(example("vm/serve.vm")).arg(connections.to_string());
    let mut server = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let port = line.trim().parse();
    (server, port.unwrap_or_else(|error| panic!("{line:?} is no port: {error}")))
}

/// What a machine said of itself at its orderly end.
fn count_of(machine: Child, what: &str) -> i64 {
    let output = machine.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stderr).unwrap();
    let count =
        text.split(", ").find_map(|part| part.trim().strip_prefix(what)).and_then(|rest| rest.trim().parse().ok());
    count.unwrap_or_else(|| panic!("no {what} in {text:?}"))
}

/// A file that takes a few pieces to read.
fn page(name: &str) -> PathBuf {
    let path = fresh(name).join("page");
    let bytes: Vec<u8> = (0..40_000u32).map(|place| (place.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn a_stack_machine_serves_a_thousand_connections_and_reads_files_while_it_computes() {
    let page = page("page-of-a-thousand");
    for (name, flags) in [("vm", &[][..]), ("vm-sanitized", &["-fsanitize=address,undefined"][..])] {
        let program = machine(name, flags);
        for backend in BACKENDS {
            let (server, port) = serving(run(&program, backend), &[], 1000);
            let mut visitor = run(&program, backend);
            visitor.arg(example("vm/visit.vm")).arg(port.to_string()).arg("1000").arg(&page);
            let output = succeeds(&mut visitor);
            assert_eq!(String::from_utf8_lossy(&output.stdout), "1000 of 1000 got the file as it is\n");
            assert!(count_of(server, "collections") > 0, "the collector had something to move");
        }
    }
}

#[test]
fn a_stack_machine_serves_under_valgrind() {
    let (program, page) = (machine("vm-checked", &[]), page("page-checked"));
    for backend in BACKENDS {
        let mut valgrind = with_library(Command::new("valgrind"), backend);
        valgrind
            .args(["-q", "--leak-check=full", "--errors-for-leak-kinds=definite", "--error-exitcode=9"])
            .arg(&program);
        let (server, port) = serving(valgrind, &["--heap", "300000"], 20);
        let mut visitor = run(&program, backend);
        succeeds(visitor.arg(example("vm/visit.vm")).arg(port.to_string()).arg("20").arg(&page));
        assert!(count_of(server, "collections") > 0, "the collector had something to move");
    }
}

/// Failed requests are thrown where they settle: out of the callback, through the library, to the machine's loop.
#[test]
fn exceptions_leave_a_stack_machines_callbacks_by_a_jump() {
    let program = machine("vm-throws", &[]);
    let ask = |port: u16, path: &str| {
        let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        writeln!(client, "{path}").unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        answer
    };
    let page = page("page-thrown");
    for backend in BACKENDS {
        // The third of them finds no room in the heap for the piece of the file that has just been read.
        let (server, port) = serving(run(&program, backend), &["--heap", "12000"], 3);
        let answer = String::from_utf8(ask(port, "/nonexistent")).unwrap();
        assert_eq!(answer, "failed: open for reading of /nonexistent: No such file or directory (os error 2)");
        let answer = String::from_utf8(ask(port, "/")).unwrap();
        assert!(answer.starts_with("failed: "), "{answer}");
        let answer = String::from_utf8(ask(port, page.to_str().unwrap())).unwrap();
        assert!(answer.starts_with("failed: out of memory"), "{answer}");
        assert_eq!(count_of(server, "exceptions"), 3);
    }
}

/// Instructions of a program that does so many rounds of 64 connections, counted by callgrind: the same each time.
fn instructions(command: impl Fn() -> Command, rounds: u32) -> f64 {
    let mut valgrind = command();
    valgrind.args(["64", &rounds.to_string()]);
    let output = succeeds(&mut valgrind);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let count = text.lines().find_map(|line| line.split("Collected :").nth(1)?.trim().parse().ok());
    count.unwrap_or_else(|| panic!("{text}"))
}

/// Instructions a round trip, without those of beginning and end.
fn instructions_per_round_trip(command: impl Fn() -> Command) -> f64 {
    (instructions(&command, 60) - instructions(&command, 20)) / (40.0 * 64.0)
}

/// The echo of `examples/echo_rounds.rs`, compiled as the library is.
fn echo_in_rust() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--profile", "packaged", "-p", "corella-c", "--example", "echo_rounds"]);
    succeeds(command.current_dir(root()));
    // Beside this program's own folder of the target directory, wherever that is.
    let own = std::env::current_exe().unwrap();
    own.ancestors().nth(3).unwrap().join("packaged/examples/echo_rounds")
}

#[test]
fn an_echo_with_callbacks_in_c_costs_at_most_three_tenths_more_instructions_than_in_rust() {
    let in_c = build("rounds", &["gcc", "-std=c11", "-O2", "-D_DEFAULT_SOURCE"], &[test_source("echo_rounds.c")]);
    let in_rust = echo_in_rust();
    for backend in BACKENDS {
        let under_callgrind = |program: &Path| {
            let mut valgrind = with_library(Command::new("valgrind"), backend);
            valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program);
            valgrind
        };
        let c = instructions_per_round_trip(|| under_callgrind(&in_c));
        let rust = instructions_per_round_trip(|| under_callgrind(&in_rust));
        println!("{backend}: {c:.0} instructions a round trip in C, {rust:.0} in Rust: {:.3}", c / rust);
        assert!(c <= 1.3 * rust, "{backend}: {c:.0} instructions a round trip in C, {rust:.0} in Rust");
    }
}

#[test]
fn an_echo_with_callbacks_in_c_allocates_nothing_per_request() {
    let program =
        build("allocations", &["gcc", "-std=c11", "-O2", "-D_DEFAULT_SOURCE"], &[test_source("echo_rounds.c")]);
    let allocations = |backend: &str, rounds: u32| -> String {
        let mut valgrind = with_library(Command::new("valgrind"), backend);
        valgrind.args(["--undef-value-errors=no"]).arg(&program).args(["64", &rounds.to_string()]);
        let output = succeeds(&mut valgrind);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let usage = text.lines().find_map(|line| line.split("total heap usage: ").nth(1));
        usage.and_then(|usage| usage.split(" frees").next()).unwrap_or_else(|| panic!("{text}")).to_string()
    };
    for backend in BACKENDS {
        assert_eq!(allocations(backend, 20), allocations(backend, 60), "{backend}: allocations after 20 and 60 rounds");
    }
}
