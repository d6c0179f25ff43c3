//! Scripts on a simulated machine, from outside.

#![cfg(unix)]

mod corella;

use std::path::Path;

use corella::{Ended, corella, empty_directory, end_of};

/// Runs `corella run` with these words.
fn run(words: &[&str]) -> Ended {
    end_of(corella().arg("run").args(words))
}

/// Tables by all sorts of keys, random numbers, time, tasks, files, a server and its clients, and a collector at work.
const SCRIPT: &str = r#"
local listener = Socket.listen("10.0.0.1", 4000)
listener:accept(function(accepted)
    local peer <close> = accepted:result()
    for line in peer:lines() do peer:send(line:upper() .. "\n") end
end)
local clients = {}
for number = 1, 20 do clients[{}] = number; clients[function() return number end] = -number; clients["name" .. number] = 0 end
local seen = setmetatable({}, { __mode = "k" })
for client, number in pairs(clients) do
    seen[{}] = number
    Scheduler.spawn(function()
        Scheduler.sleep(math.random() / 100)
        local socket <close> = Socket.connect("10.0.0.1", 4000)
        socket:send(number .. " " .. os.time() .. "\n")
        local file <close> = FileHandle.open("/" .. tostring(number), "w")
        file:print(socket:readline(), tostring(client), Scheduler.now(), os.clock(), math.random(1000))
        print(number, tostring(client), os.date("!%H:%M:%S"))
    end)
end
"#;

#[test]
fn a_seed_prints_the_same_and_has_the_same_history_every_time() {
    let path = empty_directory("simulate-same").join("script.lua");
    std::fs::write(&path, SCRIPT).unwrap();
    let path = path.to_str().unwrap();
    for seed in ["1", "2", "18446744073709551615"] {
        let first = run(&["--simulate", seed, path]);
        assert_eq!(first.code, Some(0), "{first:?}");
        let last = first.stderr.lines().last().unwrap();
        assert!(last.starts_with(&format!("seed {seed}: ")) && last.contains("history "), "{first:?}");
        // Another second: stock Lua would seed its tables with it.
        std::thread::sleep(std::time::Duration::from_millis(1100));
        let second = run(&["--simulate", seed, path]);
        assert_eq!((&first.stdout, &first.stderr), (&second.stdout, &second.stderr));
    }
    let history = |seed| run(&["--simulate", seed, path]).stderr.lines().last().unwrap().to_string();
    assert_ne!(
        history("1").rsplit(' ').next().map(str::to_string),
        history("2").rsplit(' ').next().map(str::to_string)
    );
}

#[test]
fn many_seeds_find_the_first_that_fails_and_say_how_to_see_it_again() {
    let script = "local f <close> = FileHandle.open('/log', 'w') for n = 1, 20 do f:print(n) f:flush() end";
    let found = run(&["--seeds", "1..500", "--faults", "disk,short", "-e", script]);
    assert_eq!(found.code, Some(1), "{found:?}");
    assert!(found.stderr.contains("Input/output error"), "{found:?}");
    let last = found.stderr.lines().last().unwrap();
    let (seed, again) = last.strip_prefix("corella: seed ").unwrap().split_once(" fails; again: corella ").unwrap();
    assert!(again.starts_with(&format!("run --simulate {seed} --faults disk,short -e ")), "{again}");
    // As a shell takes it, and with the same history.
    let command = format!("{} {again}", env!("CARGO_BIN_EXE_corella"));
    let replayed = end_of(std::process::Command::new("sh").arg("-c").arg(command));
    assert_eq!(replayed.code, Some(1));
    let history = |ended: &Ended| ended.stderr.lines().find(|line| line.contains("history")).map(str::to_string);
    assert_eq!(history(&found), history(&replayed));
    let before: u64 = seed.parse().unwrap();
    let earlier = run(&["--seeds", &format!("1..{}", before - 1), "--faults", "disk,short", "-e", script]);
    assert!(before > 1 && earlier.code == Some(0), "{earlier:?}");
}

#[test]
fn a_folder_can_be_the_simulated_disk_and_stays_as_it_is() {
    let folder = empty_directory("simulate-disk");
    std::fs::create_dir(folder.join("inner")).unwrap();
    std::fs::write(folder.join("inner/data"), "from outside").unwrap();
    let script = "local f <close> = FileHandle.open('/inner/data', 'rw') print(f:readall()) f:print('more')";
    let ended = run(&["--simulate", "1", "--disk", folder.to_str().unwrap(), "-e", script]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "from outside\n"), "{ended:?}");
    assert_eq!(std::fs::read(folder.join("inner/data")).unwrap(), b"from outside");
    let nowhere = run(&["--simulate", "1", "--disk", "/nowhere", "-e", ""]);
    assert_eq!(nowhere.code, Some(2), "{nowhere:?}");
}

#[test]
fn what_a_simulated_script_does_leaves_the_real_machine_alone() {
    let folder = empty_directory("simulate-alone");
    let path = folder.join("file");
    let script = format!("local f <close> = FileHandle.open('{}', 'w')", path.display());
    let ended = run(&["--simulate", "1", "-e", &script]);
    assert_eq!(ended.code, Some(1), "its folder is not there: {ended:?}");
    assert!(!Path::new(&path).exists());
}

#[test]
fn what_cannot_be_simulated_is_a_wrong_command() {
    let wrong = [
        &["--seeds", "9..1", "-e", ""][..],
        &["--seeds", "1", "-e", ""],
        &["--simulate", "x", "-e", ""],
        &["--simulate", "1", "--seeds", "1..2", "-e", ""],
        &["--simulate", "1", "--faults", "weather", "-e", ""],
        &["--faults", "disk", "-e", ""],
        &["--simulate", "1", "-"],
    ];
    for words in wrong {
        assert_eq!(run(words).code, Some(2), "{words:?}");
    }
}
