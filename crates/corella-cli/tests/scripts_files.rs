//! `copy.lua`, `checksum.lua`, `tail.lua` and `pipeline.lua`, run for real.

#![cfg(unix)]

mod corella;

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use corella::{BACKENDS, Ended, corella, empty_directory, end_of, end_within, example, noise};

const LIMIT: Duration = Duration::from_secs(60);

fn copy(backend: &str, source: &Path, destination: &Path) -> Ended {
    let mut command = corella();
    end_of(command.arg("run").arg(example("copy.lua")).arg(source).arg(destination).env("CORELLA_BACKEND", backend))
}

/// The names in a directory, sorted.
fn names_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_copy_has_the_bytes_of_the_source_whatever_its_size() {
    for backend in BACKENDS {
        let directory = empty_directory("copy");
        let (source, destination) = (directory.join("source"), directory.join("destination"));
        for size in [0, 1, 256 * 1024, 256 * 1024 + 1, 20_000_003] {
            fs::write(&source, noise(size)).unwrap();
            fs::write(&destination, "what was there before").unwrap();
            let ended = copy(backend, &source, &destination);
            assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "no bar where no terminal is: {ended:?}");
            assert!(fs::read(&source).unwrap() == fs::read(&destination).unwrap(), "{backend}: {size}");
        }
        fs::create_dir(directory.join("folder")).unwrap();
        assert_eq!(copy(backend, &source, &directory.join("folder")).code, Some(0));
        assert!(directory.join("folder/source").exists());
        assert_eq!(names_in(&directory), ["destination", "folder", "source"]);
    }
}

#[test]
fn a_copy_that_fails_leaves_what_was_there_and_nothing_else() {
    for backend in BACKENDS {
        let directory = empty_directory("copy-fails");
        let (source, destination) = (directory.join("source"), directory.join("destination"));
        fs::write(&source, noise(3_000_000)).unwrap();
        fs::write(&destination, "old").unwrap();
        // In blocks of 512 bytes: less than the source needs.
        let limited = "ulimit -f 2000; exec \"$0\" run \"$1\" \"$2\" \"$3\"";
        let mut command = Command::new("sh");
        command.args(["-c", limited, env!("CARGO_BIN_EXE_corella")]);
        let ended =
            end_of(command.arg(example("copy.lua")).args([&source, &destination]).env("CORELLA_BACKEND", backend));
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains("File too large"), "{ended:?}");
        let ended = copy(backend, &source, &source);
        assert!(ended.code == Some(1) && ended.stderr.contains("are the same file"), "{ended:?}");
        let ended = copy(backend, &directory.join("none"), &destination);
        assert!(ended.code == Some(1) && ended.stderr.contains("No such file"), "{ended:?}");
        let ended = copy(backend, &directory, &destination);
        assert!(ended.code == Some(1) && ended.stderr.contains("directory"), "{ended:?}");
        assert_eq!(fs::read(&destination).unwrap(), b"old");
        assert_eq!(names_in(&directory), ["destination", "source"]);
    }
    assert_eq!(end_of(corella().arg("run").arg(example("copy.lua"))).code, Some(2));
}

#[test]
fn a_copy_that_is_interrupted_leaves_no_half_file() {
    for backend in BACKENDS {
        let directory = empty_directory("copy-interrupted");
        let (source, destination) = (directory.join("source"), directory.join("destination"));
        // Without blocks of its own; more than a copy gets done until it is interrupted.
        File::create(&source).unwrap().set_len(64 << 30).unwrap();
        let mut command = corella();
        command.arg("run").arg(example("copy.lua")).arg(&source).arg(&destination).env("CORELLA_BACKEND", backend);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let give_up = Instant::now() + LIMIT;
        while names_in(&directory).len() < 2 && Instant::now() < give_up {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(names_in(&directory)[0].starts_with("destination.part-"));
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT).unwrap();
        let ended = end_within(LIMIT, &mut child);
        assert_eq!(ended.code, Some(130), "{ended:?}");
        // Between two blocks there may be nothing outstanding.
        assert!(ended.stderr.starts_with("corella: interrupted; "), "{ended:?}");
        assert_eq!(names_in(&directory), ["source"], "{backend}");
    }
}

#[test]
fn a_copy_at_a_terminal_shows_how_far_it_is() {
    let directory = empty_directory("copy-bar");
    fs::write(directory.join("source"), noise(1_000_000)).unwrap();
    let line = format!("{} run {} source copy", env!("CARGO_BIN_EXE_corella"), example("copy.lua").display());
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", &line, "/dev/null"]).current_dir(&directory).stdin(Stdio::null());
    let ended = end_of(&mut command);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("copying [##############################] 100 % of 976.6 KiB"), "{ended:?}");
}

#[test]
fn sums_are_those_of_sha256sum() {
    for backend in BACKENDS {
        let directory = empty_directory("checksum");
        fs::create_dir_all(directory.join("tree/inner/innermost")).unwrap();
        // Around the borders of the algorithm's blocks.
        for size in [0, 1, 55, 56, 63, 64, 65, 119, 120, 4096, 150_000] {
            fs::write(directory.join(format!("tree/inner/{size}")), noise(size)).unwrap();
        }
        for number in 0..200 {
            fs::write(directory.join(format!("tree/inner/innermost/odd name {number}")), noise(number)).unwrap();
        }
        std::os::unix::fs::symlink("..", directory.join("tree/inner/up")).unwrap();
        let mut command = corella();
        command.arg("run").arg(example("checksum.lua")).arg("tree").current_dir(&directory);
        let ended = end_of(command.env("CORELLA_BACKEND", backend));
        assert_eq!((ended.code, ended.stderr.as_str(), ended.stdout.lines().count()), (Some(0), "", 211));
        fs::write(directory.join("sums"), &ended.stdout).unwrap();
        let check = end_of(Command::new("sha256sum").args(["--check", "--quiet", "sums"]).current_dir(&directory));
        assert_eq!((check.code, check.stdout.as_str()), (Some(0), ""), "{check:?}");
        let mut sorted: Vec<_> = ended.stdout.lines().map(|line| &line[66..]).collect();
        sorted.sort_unstable();
        assert!(ended.stdout.lines().map(|line| &line[66..]).eq(sorted));
    }
    let ended = end_of(corella().arg("run").arg(example("checksum.lua")).arg("/no/such"));
    assert!(ended.code == Some(1) && ended.stderr.contains("No such file"), "{ended:?}");
}

#[test]
fn a_tail_follows_what_grows_is_emptied_and_is_replaced() {
    for backend in BACKENDS {
        let directory = empty_directory("tail");
        let path = directory.join("log");
        fs::write(&path, "1\n2\n3\n4\n").unwrap();
        let mut command = corella();
        command.arg("run").arg(example("tail.lua")).args(["-n", "2", "-s", "0.005", "log"]).current_dir(&directory);
        command.env("CORELLA_BACKEND", backend).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut shown = BufReader::new(child.stdout.take().unwrap());
        let mut expect = |wanted: &str| {
            let mut line = String::new();
            shown.read_line(&mut line).unwrap();
            assert_eq!(line, wanted, "{backend}");
        };
        expect("3\n");
        expect("4\n");
        let mut log = OpenOptions::new().append(true).open(&path).unwrap();
        log.write_all(b"grown\n").unwrap();
        expect("grown\n");
        // A piece of a line is shown as it is.
        log.write_all(b"half ").unwrap();
        log.write_all(b"a line\n").unwrap();
        expect("half a line\n");
        log.set_len(0).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        log.write_all(b"anew\n").unwrap();
        expect("anew\n");
        fs::rename(&path, directory.join("log.1")).unwrap();
        log.write_all(b"last of the old\n").unwrap();
        fs::write(directory.join("new"), "first of the new\n").unwrap();
        fs::rename(directory.join("new"), &path).unwrap();
        expect("last of the old\n");
        expect("first of the new\n");
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM).unwrap();
        let ended = end_within(LIMIT, &mut child);
        assert_eq!(ended.code, Some(143));
        assert!(ended.stderr.contains("log has become shorter"), "{ended:?}");
    }
}

#[test]
fn a_tail_of_several_says_which_and_ends_when_none_is_left() {
    let directory = empty_directory("tail-several");
    fs::write(directory.join("one"), "first\n".repeat(20_000) + "end of one").unwrap();
    let mut command = corella();
    command.arg("run").arg(example("tail.lua")).args(["-n", "1", "-s", "0.01", "one", "none"]);
    let mut child = command.current_dir(&directory).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut shown = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    shown.read_line(&mut line).unwrap();
    assert_eq!(line, "==> one <==\n");
    child.kill().unwrap();
    child.wait().unwrap();
    let mut command = corella();
    let ended = end_of(command.arg("run").arg(example("tail.lua")).args(["none", "neither"]).current_dir(&directory));
    assert_eq!(ended.code, Some(1));
    assert_eq!(ended.stderr.matches("No such file or directory").count(), 2, "{ended:?}");
}

#[test]
fn a_pipeline_gives_what_a_shell_gives() {
    for backend in BACKENDS {
        let directory = empty_directory("pipeline");
        fs::create_dir(directory.join("inner")).unwrap();
        // More than pipes hold, and more words than are shown.
        let words: String = (0..60_000u32)
            .map(|n| format!("{} ", ["the", "quick", "brown", "fox"][(n * n % 7 % 4) as usize]))
            .collect();
        fs::write(directory.join("one.txt"), words.replace("fox ", "fox\n")).unwrap();
        fs::write(directory.join("inner/odd name.md"), "The END; the-end\n".repeat(500)).unwrap();
        fs::write(directory.join("inner/none.rs"), "other ".repeat(100_000)).unwrap();
        for number in 0..2000 {
            let letters = [b'a' + (number % 26) as u8, b'a' + (number / 26 % 26) as u8, b'x'];
            fs::write(directory.join(format!("inner/{number}.txt")), letters).unwrap();
        }
        let mut command = corella();
        command.arg("run").arg(example("pipeline.lua")).args([".", "5"]).current_dir(&directory);
        let ended = end_of(command.env("CORELLA_BACKEND", backend));
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
        let line = "find . -name '*.txt' -o -name '*.md' | tr '\\n' '\\0' | xargs -0 -n 1 sed -e '$a\\' | tr -cs 'A-Za-z' '\\n' \
            | tr 'A-Z' 'a-z' | grep . | sort | uniq -c | sort -k1,1rn -k2,2 | head -n 5 | awk '{ printf \"%7d  %s\\n\", $1, $2 }'";
        let shell = end_of(Command::new("sh").args(["-c", line]).env("LC_ALL", "C").current_dir(&directory));
        assert_eq!(ended.stdout, shell.stdout);
    }
}

#[test]
fn a_pipeline_fails_as_its_programs_do() {
    let ended = end_of(corella().arg("run").arg(example("pipeline.lua")).arg("/no/such/folder"));
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{ended:?}");
    assert!(ended.stderr.contains("pipeline.lua: find: exit code 1"), "{ended:?}");
    assert_eq!(end_of(corella().arg("run").arg(example("pipeline.lua")).args([".", "many"])).code, Some(2));
    let mut command = corella();
    let ended = end_of(command.arg("run").arg(example("pipeline.lua")).env("PATH", "/no/such"));
    assert!(ended.code == Some(1) && ended.stderr.contains("find"), "a program that cannot be started: {ended:?}");
}
