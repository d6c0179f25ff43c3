//! Processes killed between their writes: what they had been told of stays.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use corella::{File, Mode};

use crate::setup::Setup;
use crate::{Random, promises, rounds};

promises![a_killed_process_leaves_what_it_had_synced_and_no_gap];

/// Names the folder of a process that writes until it is killed.
const WRITER: &str = "CORELLA_TORTURE_WRITER";

/// The record of a number: its length follows from the number, and no two are alike.
fn record(number: u64) -> Vec<u8> {
    number.to_le_bytes().repeat(1 + (number.wrapping_mul(2_654_435_761) % 700) as usize)
}

/// Appends records, many in flight at once, and notes how far a sync has come.
fn write_for_ever(setup: &Setup, folder: &Path) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let work = async {
        let log: File = io.open(folder.join("log"), Mode::Append).await.unwrap();
        let note: File = io.open(folder.join("synced"), Mode::ReadWrite).await.unwrap();
        let mut number = 0;
        loop {
            let burst = 1 + number % 40;
            for _ in 0..burst {
                drop(log.write(record(number)).submit().unwrap());
                number += 1;
            }
            log.sync().await.unwrap();
            note.write_at(number.to_le_bytes().to_vec(), 0).await.unwrap();
        }
    };
    scheduler.block_on(work).unwrap()
}

fn a_killed_process_leaves_what_it_had_synced_and_no_gap(setup: &Setup) {
    if let Some(folder) = std::env::var_os(WRITER) {
        return write_for_ever(setup, Path::new(&folder));
    }
    rounds(|random| kill_one(setup, random));
}

fn kill_one(setup: &Setup, random: &mut Random) {
    let folder = setup.path("killed");
    std::fs::create_dir_all(&folder).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &setup.name]).env(WRITER, &folder).env("CORELLA_BACKEND", setup.variant.name());
    command.stdin(Stdio::null()).stdout(Stdio::null());
    // SAFETY: one system call; it ends with the test that started it.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
    let mut child = command.spawn().unwrap();
    // Once it has begun.
    while std::fs::metadata(folder.join("synced")).map_or(0, |metadata| metadata.len()) < 8 {
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(Duration::from_micros(random.below(20_000) as u64));
    child.kill().unwrap();
    child.wait().unwrap();
    let synced = u64::from_le_bytes(std::fs::read(folder.join("synced")).unwrap()[..8].try_into().unwrap());
    let log = std::fs::read(folder.join("log")).unwrap();
    let mut expected = Vec::new();
    let mut number = 0;
    while expected.len() < log.len() || number < synced {
        expected.extend(record(number));
        number += 1;
        if number == synced {
            assert!(log.len() >= expected.len(), "{} bytes, and {} were synced", log.len(), expected.len());
        }
    }
    assert!(log == expected[..log.len()], "a gap before byte {}", log.len());
    std::fs::remove_dir_all(&folder).unwrap();
}
