//! The programs of `docs/LUA.md`, run as they stand.

mod corella;

use corella::{BACKENDS, corella, empty_directory, end_of};

const MANUAL: &str = include_str!("../../../docs/LUA.md");

#[test]
fn the_programs_of_the_manual_run() {
    let programs: Vec<&str> = MANUAL.split("```lua\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(programs.len() >= 6, "one for each object");
    for backend in BACKENDS {
        for program in &programs {
            let directory = empty_directory("manual");
            std::fs::write(directory.join("script.lua"), program).unwrap();
            let mut command = corella();
            command.current_dir(&directory).args(["run", "script.lua"]).env("CORELLA_BACKEND", backend);
            let ended = end_of(&mut command);
            assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{backend}:\n{program}");
        }
    }
}
