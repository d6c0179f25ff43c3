//! Another process: this test program again, which does what its words say. So promises need no shell, and no program
//! that opens files in ways of its own.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const MARK: &str = "CORELLA_ANOTHER";

/// A command for this program as another process, with these words: each is one of [`carry_out`]'s, with what it takes.
pub fn process<W: AsRef<std::ffi::OsStr>>(words: &[W]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(MARK, "1").args(words);
    command
}

/// Runs it to its end, and sees that all went well.
pub fn runs<W: AsRef<std::ffi::OsStr>>(words: &[W]) {
    let output = process(words).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "another process: {}\n{told}", output.status);
}

/// Does what the words say, if this is another process. Whatever fails ends it with a report.
pub fn did_its_words() -> bool {
    if std::env::var_os(MARK).is_none() {
        return false;
    }
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        carry_out(&word, &mut words);
    }
    true
}

fn carry_out(word: &str, rest: &mut impl Iterator<Item = String>) {
    let mut next = || rest.next().unwrap_or_else(|| panic!("{word} takes more words"));
    match word {
        "exit" => std::process::exit(next().parse().unwrap()),
        "sleep" => std::thread::sleep(Duration::from_millis(next().parse().unwrap())),
        "line" => assert!(io::stdin().read_line(&mut String::new()).is_ok()),
        "copy" => assert!(io::copy(&mut io::stdin(), &mut io::stdout()).is_ok()),
        "count" => println!("{}", io::stdin().lines().count()),
        "print" => println!("{}", next()),
        "tell" => eprintln!("{}", next()),
        "number" => append(Path::new(&next()), &format!("{}\n", std::process::id())),
        // What is in a file, by a handle of the ordinary kind.
        "reads" => {
            let mut content = String::new();
            fs::File::open(next()).unwrap().read_to_string(&mut content).unwrap();
            assert_eq!(content, next());
        }
        "writes" => fs::write(next(), next()).unwrap(),
        "appends" => append(Path::new(&next()), &next()),
        "renames" => fs::rename(next(), next()).unwrap(),
        "deletes" => fs::remove_file(next()).unwrap(),
        other => panic!("{other} is no word"),
    }
}

fn append(path: &Path, text: &str) {
    fs::OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}
