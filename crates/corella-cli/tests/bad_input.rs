//! What goes wrong in a script is named: operation, target, reason, place; and the exit code is 1.

#![cfg(unix)]

mod corella;

use corella::{BACKENDS, corella, empty_directory, end_of, run_script};

/// Runs a script that must fail with `message` and its place at its start and a traceback to its line 1.
fn fails(name: &str, script: &str, message: &str) {
    let directory = empty_directory(name);
    std::fs::write(directory.join("script.lua"), script).unwrap();
    for backend in BACKENDS {
        let mut command = corella();
        command.current_dir(&directory).args(["run", "script.lua"]).env("CORELLA_BACKEND", backend);
        let ended = end_of(&mut command);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.starts_with(&format!("corella: script.lua:1: {message}")), "{script}: {}", ended.stderr);
        assert!(ended.stderr.contains("\nstack traceback:\n"), "{}", ended.stderr);
        assert!(ended.stderr.contains("script.lua:1: in main chunk"), "{}", ended.stderr);
    }
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_syntax_error_names_its_line() {
    let ended = run_script("syntax", "print('never')\nlocal x = = 5\n", &[]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    assert_eq!(ended.stderr, "corella: script.lua:2: unexpected symbol near '='\n");
}

#[test]
fn a_runtime_error_has_a_traceback() {
    let script =
        "local function inner(t)\n  return t.x.y\nend\nlocal function outer()\n  inner({})\n  return 1\nend\nouter()";
    let ended = run_script("runtime", script, &[]);
    assert_eq!(ended.code, Some(1));
    let lines: Vec<&str> = ended.stderr.lines().map(str::trim).collect();
    assert_eq!(lines[0], "corella: script.lua:2: attempt to index a nil value (field 'x')");
    assert_eq!(lines[1], "stack traceback:");
    assert!(lines[2].starts_with("script.lua:2: in"), "{lines:?}");
    assert!(lines[3].starts_with("script.lua:5: in"), "{lines:?}");
    assert_eq!(lines[4], "script.lua:8: in main chunk", "{lines:?}");
}

#[test]
fn a_missing_file_is_named() {
    let message = "open for reading of none.txt: No such file or directory (os error 2)\n";
    fails("missing", "FileHandle.open('none.txt')", message);
}

#[test]
fn a_directory_is_no_file() {
    fails("directory", "FileHandle.open('.')", "open for reading of .: Is a directory (os error 21)\n");
    fails("directory-write", "FileHandle.open('.', 'w')", "open for writing of .: Is a directory (os error 21)\n");
}

#[test]
fn a_closed_handle_is_named() {
    let script = "local f = FileHandle.open('script.lua') f:close() f:read(1)";
    fails("closed-read", script, "read 1 bytes of script.lua: the handle is closed\n");
}

#[test]
fn a_negative_length_is_refused_with_its_place() {
    let script = "FileHandle.open('script.lua'):read(-1)";
    let message = "bad argument #1 to 'read' (length: must not be negative, got -1)\n";
    fails("negative", script, message);
}

#[test]
fn a_nul_byte_in_a_path_is_refused() {
    let message = "open for reading of a\\0b: invalid input: the path has a NUL byte inside\n";
    fails("nul", "FileHandle.open('a\\0b')", message);
}

#[test]
fn a_bad_address_is_named() {
    fails("port", "Socket.connect('127.0.0.1', 99999)", "bad argument #2 to 'connect' (port: ");
    fails("refused", "Socket.connect('127.0.0.1', 1)", "connect to 127.0.0.1:1: Connection refused (os error 111)\n");
    fails(
        "foreign",
        "Socket.listen('192.0.2.1', 0)",
        "bind to 192.0.2.1:0: Cannot assign requested address (os error 99)\n",
    );
}

#[test]
fn a_name_that_does_not_resolve_is_named() {
    let message = "resolve of no-such-host.invalid:80: the name does not resolve";
    fails("name", "Socket.connect('no-such-host.invalid', 80)", message);
}

#[test]
fn a_deadline_that_passes_is_named() {
    let script = "Socket.connect(Socket.listen('127.0.0.1', 0):local_address()):recv(1, {deadline = 0.01})";
    fails("deadline", script, "recv 1 bytes of 127.0.0.1:");
}
