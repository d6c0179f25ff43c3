//! The programs of `docs/LUA.md`: the examples of each section, one after the other.

#![cfg(unix)]

mod corella;

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
