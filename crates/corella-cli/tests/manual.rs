//! The programs of `docs/LUA.md`, the examples of each section one after the other, and those of `corella run --help`.

#![cfg(unix)]

mod corella;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use corella::{BACKENDS, corella, empty_directory, end_of};

const MANUAL: &str = include_str!("../../../docs/LUA.md");

/// Each section's title and its examples as one program.
fn programs() -> Vec<(&'static str, String)> {
    let mut programs = Vec::new();
    let (mut title, mut program, mut is_inside) = ("", String::new(), false);
    for line in MANUAL.lines().chain(["## "]) {
        match line {
            _ if !is_inside && line.starts_with("## ") => {
                if !program.trim().is_empty() {
                    programs.push((title, std::mem::take(&mut program)));
                }
                (title, program) = (&line[3..], String::new());
            }
            "```lua" => is_inside = true,
            "```" => is_inside = false,
            line if is_inside => program.push_str(line),
            _ => {}
        }
        if is_inside && line != "```lua" {
            program.push('\n');
        }
    }
    programs
}

#[test]
fn the_programs_of_the_manual_run() {
    let programs = programs();
    assert!(programs.len() >= 16, "one for each section");
    for backend in BACKENDS {
        for (title, program) in &programs {
            let directory = empty_directory("manual");
            std::fs::write(directory.join("script.lua"), program).unwrap();
            let mut command = corella();
            command.current_dir(&directory).args(["run", "script.lua"]).env("CORELLA_BACKEND", backend);
            let ended = end_of(&mut command);
            assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{backend}: {title}:\n{program}");
        }
    }
}

/// The programs that `corella run --help` shows: what is indented after it has said what a script has.
fn programs_of_the_help() -> Vec<String> {
    let help = end_of(corella().args(["run", "--help"])).stdout;
    let (_, shown) = help.split_once("The script has Lua 5.4").unwrap();
    let paragraphs = shown.split("\n\n").filter(|paragraph| paragraph.lines().all(|line| line.starts_with("  ")));
    paragraphs.map(str::to_string).collect()
}

#[test]
fn the_programs_of_the_help_run() {
    let programs = programs_of_the_help();
    let [reads, serves] = &programs[..] else { panic!("two programs: {programs:?}") };
    for backend in BACKENDS {
        let directory = empty_directory("help");
        std::fs::write(directory.join("data.bin"), [b'x'; 6000]).unwrap();
        let mut command = corella();
        command.current_dir(&directory).args(["run", "-e", reads]).env("CORELLA_BACKEND", backend);
        let ended = end_of(&mut command);
        assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("4096\n1904\nlater\n", ""), "{backend}");

        // At a port that the OS chooses, which it says first.
        assert!(serves.contains("4000)\n"), "{serves}");
        let serves = serves.replacen("4000)\n", "0) print(select(2, listener:local_address())) stdout:flush()\n", 1);
        let mut command = corella();
        command.args(["run", "-e", &serves]).env("CORELLA_BACKEND", backend).stdout(Stdio::piped());
        let mut server = command.spawn().unwrap();
        let mut port = String::new();
        BufReader::new(server.stdout.as_mut().unwrap()).read_line(&mut port).unwrap();
        let answered = TcpStream::connect(("127.0.0.1", port.trim().parse().unwrap())).and_then(|mut client| {
            let mut answer = [0; 6];
            client.set_read_timeout(Some(Duration::from_secs(10)))?;
            client.write_all(b"hello\n")?;
            client.read_exact(&mut answer).map(|()| answer)
        });
        server.kill().unwrap();
        server.wait().unwrap();
        assert_eq!(&answered.unwrap(), b"HELLO\n", "{backend}");
    }
}
