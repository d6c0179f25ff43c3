//! The command itself: its arguments, its help, its exit codes, and its standard streams.

#![cfg(unix)]

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
    for part in ["run", "repl", "probe", "Exit codes:", "CORELLA_BACKEND", "examples/tour.lua"] {
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
fn every_command_has_help_and_a_manual_page() {
    let directory = corella::empty_directory("man");
    let ended = end_of(corella().args(["man", "--directory"]).arg(&directory));
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    for command in ["run", "repl", "probe", "completions", "man"] {
        let ended = end_of(corella().args([command, "--help"]));
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let page = std::fs::read_to_string(directory.join(format!("corella-{command}.1"))).unwrap();
        assert!(page.contains(".SH NAME") && ended.stdout.contains("Usage: corella"), "{command}");
    }
    let page = end_of(corella().arg("man")).stdout;
    assert!(page.contains("Exit codes:") && page.contains(".TH corella 1"), "{page}");
}

#[test]
fn shells_get_completions_that_they_understand() {
    for shell in ["bash", "zsh", "fish"] {
        let ended = end_of(corella().args(["completions", shell]));
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{shell}");
        assert!(ended.stdout.contains("probe") && ended.stdout.contains("execute"), "{shell}");
    }
    let script = end_of(corella().args(["completions", "bash"])).stdout;
    let asked = format!(
        "{script}\nCOMP_WORDS=(corella pr) COMP_CWORD=1\n_corella corella pr corella\necho \"${{COMPREPLY[@]}}\""
    );
    let output = std::process::Command::new("bash").args(["-c", &asked]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "probe");
}

#[test]
fn a_program_may_be_given_on_the_command_line() {
    let ended = end_of(corella().args(["run", "-e", "print(#arg, arg[0], ...) error('seen')", "one", "-e", "--help"]));
    assert_eq!(ended.code, Some(1));
    assert_eq!(ended.stdout, "3\t(command line)\tone\t-e\t--help\n");
    assert!(ended.stderr.starts_with("corella: (command line):1: seen\n"), "{ended:?}");
}

#[test]
fn the_probe_says_what_there_is_and_what_is_taken() {
    let ended = end_of(corella().arg("probe"));
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    for part in ["Backends", "uring     ", "portable  offered", "Chosen: ", "requests at once", "open descriptors"] {
        assert!(ended.stdout.contains(part), "{part}\n{}", ended.stdout);
    }
    let ended = end_of(corella().args(["probe", "--json"]).env("CORELLA_BACKEND", "portable"));
    let report: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(
        (report["chosen"].as_str(), report["reason"].as_str()),
        (Some("portable"), Some("CORELLA_BACKEND asks for it"))
    );
    let uring = &report["backends"][0];
    assert_eq!(uring["name"], "uring");
    // One of the two: what it has, or why it is not to be had.
    assert_eq!(uring["offered"] == true, uring["features"]["opcodes"]["Read"] == true, "{uring}");
    assert_eq!(uring["offered"] == true, uring["refusal"].is_null(), "{uring}");
    assert!(report["limits"]["requests"].as_u64().unwrap() > 0);
    let ended = end_of(corella().arg("probe").env("CORELLA_BACKEND", "telepathy"));
    assert_eq!(ended.code, Some(2));
}

#[test]
fn whoever_reads_the_output_may_go_away_early() {
    for arguments in [&["probe"][..], &["man"], &["completions", "bash"], &["run", "-e", "while true do print(1) end"]]
    {
        // Gone before the command begins: a short output would be in the pipe before a reader is closed.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = corella().args(arguments).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(141), &b""[..]), "{arguments:?}");
    }
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

#[test]
fn modules_beside_the_script_are_found_wherever_else_they_are_looked_for() {
    let directory = corella::empty_directory("modules");
    std::fs::write(directory.join("neighbour.lua"), "return { name = 'neighbour' }").unwrap();
    std::fs::write(directory.join("main.lua"), "print(require('neighbour').name)").unwrap();
    let elsewhere = directory.join("elsewhere");
    std::fs::create_dir_all(&elsewhere).unwrap();
    std::fs::write(elsewhere.join("neighbour.lua"), "return { name = 'another' }").unwrap();
    for (folder, script) in [(".", "main.lua"), (".", "./main.lua"), ("elsewhere", "../main.lua")] {
        let mut command = corella();
        command.current_dir(directory.join(folder)).args(["run", script]);
        let ended = end_of(command.env_remove("LUA_PATH_5_4").env("LUA_PATH", elsewhere.join("?.lua")));
        assert_eq!((ended.stdout.as_str(), ended.code), ("neighbour\n", Some(0)), "{script}: {}", ended.stderr);
    }
    let mut command = corella();
    command.current_dir(&directory).args(["run", "-e", "print(require('named').name)"]);
    std::fs::write(elsewhere.join("named.lua"), "return { name = 'named' }").unwrap();
    // A text is in no folder.
    std::fs::write(directory.join("named.lua"), "return { name = 'of the folder' }").unwrap();
    command.env_remove("LUA_PATH_5_4").env("LUA_PATH", elsewhere.join("?.lua"));
    assert_eq!(end_of(&mut command).stdout, "named\n");
}
