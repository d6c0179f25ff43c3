//! The command itself: its arguments, its help, its exit codes, and its standard streams.

mod corella;

use std::io::{Read, Write};
use std::process::Stdio;

use corella::{corella, end_of, run_script};

#[test]
fn a_script_gets_its_arguments_as_in_stock_lua() {
    let script = "print(arg[0], #arg, table.concat(arg, '|'), select('#', ...), (...))";
    let ended = run_script("arguments", script, &["-x", "--help", "two words", "--", "-5"]);
    assert_eq!(ended.stdout, "script.lua\t5\t-x|--help|two words|--|-5\t5\t-x\n");
    assert_eq!(ended.code, Some(0));
}

#[test]
fn the_help_says_what_there_is() {
    let ended = end_of(corella().arg("--help"));
    assert_eq!(ended.code, Some(0));
    for part in ["run", "Exit codes:", "CORELLA_BACKEND", "examples/tour.lua"] {
        assert!(ended.stdout.contains(part), "{part}\n{}", ended.stdout);
    }
    let ended = end_of(corella().args(["run", "--help"]));
    for part in ["SCRIPT", "[ARGS]...", "FileHandle", "callback", "arg[1]"] {
        assert!(ended.stdout.contains(part), "{part}\n{}", ended.stdout);
    }
    let ended = end_of(corella().arg("--version"));
    assert_eq!(ended.stdout, format!("corella {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_wrong_command_exits_with_2() {
    for arguments in [&[][..], &["walk"], &["run"], &["--nonsense"]] {
        let ended = end_of(corella().args(arguments));
        assert_eq!(ended.code, Some(2), "{arguments:?}");
        assert!(ended.stderr.contains("Usage: corella"), "{ended:?}");
    }
}

#[test]
fn a_script_that_cannot_be_read_is_named() {
    let ended = end_of(corella().args(["run", "/no/such/script.lua"]));
    assert_eq!(ended.code, Some(2));
    assert_eq!(
        ended.stderr,
        "corella: cannot read the script /no/such/script.lua: No such file or directory (os error 2)\n"
    );
    let ended = end_of(corella().args(["run", "/"]));
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("Is a directory"), "{ended:?}");
}

#[test]
fn an_unknown_backend_is_refused() {
    let ended = end_of(corella().args(["run", "/dev/null"]).env("CORELLA_BACKEND", "telepathy"));
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("telepathy") && ended.stderr.contains("\"uring\" or \"portable\""), "{ended:?}");
}

#[test]
fn a_script_ends_with_its_own_code() {
    assert_eq!(run_script("exit", "print('before') os.exit(42)", &[]).code, Some(42));
    assert_eq!(run_script("shebang", "#!/usr/bin/env corella\nprint(1)", &[]).stdout, "1\n");
}

#[test]
fn output_comes_in_order_and_reports_after_what_was_printed_before() {
    let script = "
        for number = 1, 20000 do print(number) end
        stdout:print('no line end')
        error('last')";
    let ended = run_script("output", script, &[]);
    let expected: String = (1..=20000).map(|number| format!("{number}\n")).collect();
    assert!(ended.stdout == expected + "no line end");
    assert!(ended.stderr.starts_with("corella: script.lua:4: last\nstack traceback:\n"), "{}", ended.stderr);
}

#[test]
fn what_was_printed_is_seen_while_the_program_waits() {
    let mut child = start("waits", "print('ready') stdin:readline() print('go on')");
    let mut output = child.stdout.take().unwrap();
    let mut first = [0; 6];
    output.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"ready\n");
    child.stdin.take().unwrap().write_all(b"x\n").unwrap();
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "go on\n");
    assert!(child.wait().unwrap().success());
}

#[test]
fn standard_input_is_read_while_others_run() {
    let script = "
        local ticks = 0
        Scheduler.spawn(function() while ticks < 3 do Scheduler.sleep(0.001) ticks = ticks + 1 end print('ticked') end)
        for line in stdin:lines() do print('line ' .. line) end
        print('end', stdin:eof())";
    let mut child = start("input", script);
    let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut first = [0; 7];
    output.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"ticked\n");
    input.write_all(b"one\ntwo\nlast").unwrap();
    drop(input);
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "line one\nline two\nline last\nend\ttrue\n");
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_closed_standard_output_ends_the_script_quietly() {
    for (name, script) in [
        ("closed-loop", "while true do print('endless') end"),
        ("closed-end", "print('endless') stdout:flush() stdin:readall() print('late')"),
        ("closed-callback", "print('endless') stdin:readall(function() print('late') Scheduler.sleep(600) end)"),
    ] {
        let mut child = start(name, script);
        let mut output = child.stdout.take().unwrap();
        let mut first = [0; 8];
        output.read_exact(&mut first).unwrap();
        drop(output);
        drop(child.stdin.take());
        let mut errors = String::new();
        child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        // As a shell tells of a process that SIGPIPE ended.
        assert_eq!((child.wait().unwrap().code(), errors.as_str()), (Some(141), ""), "{script}");
    }
}

#[test]
fn a_script_may_come_from_standard_input() {
    let mut child = corella()
        .args(["run", "-", "one"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"print(arg[0], ...)\nerror('seen')").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "stdin\tone\n");
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("corella: stdin:2: seen\n"), "{output:?}");
}

#[test]
fn output_that_is_lost_is_reported_and_fails() {
    let path = corella::empty_directory("full").join("script.lua");
    std::fs::write(&path, "print('lost')").unwrap();
    let full = std::fs::File::create("/dev/full").unwrap();
    let child = corella().arg("run").arg(path).stdout(full).stderr(Stdio::piped()).spawn().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("output is lost") && errors.contains("No space left on device"), "{errors}");
}

fn start(name: &str, script: &str) -> std::process::Child {
    let path = corella::empty_directory(name).join("script.lua");
    std::fs::write(&path, script).unwrap();
    let mut command = corella();
    command.arg("run").arg(path).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}
