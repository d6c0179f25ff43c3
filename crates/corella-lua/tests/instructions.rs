//! Instructions of scripts, counted by callgrind: what the start of one costs, and a round trip of the benchmark's echo.
//!
//! This program starts itself again under valgrind. An echo is served twice, for so many round trips and for three times as
//! many; the difference is theirs. `STORED` says what each may cost. What has become cheaper is to be stored as such.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use libtest_mimic::{Arguments, Failed, Trial};

const ECHO: &str = "a round trip of an echo";
const START: &str = "the start of an empty script";

/// What is counted, on which backend, and the instructions that it was counted to cost.
const STORED: &[(&str, &str, f64)] =
    &[(ECHO, "uring", 5_082.0), (ECHO, "portable", 6_044.0), (START, "uring", 3_965_000.0)];

/// More than this above what is stored is a failure; so much below, and the stored number is out of date.
const TOLERANCE: f64 = 0.05;

const CONNECTIONS: usize = 64;
const MESSAGE: [u8; 64] = [b'x'; 64];
const ROUNDS: usize = 30;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [mark, what] = &words[..]
        && mark == "--counted"
    {
        let source = if what == ECHO { include_str!("../../../bench/lua/echo_corella.lua") } else { "" };
        std::process::exit(corella_lua::Host::new().unwrap().run("counted.lua", source.as_bytes(), &[]));
    }
    let is_of_the_profile = std::env::current_exe().unwrap().iter().any(|folder| folder == "packaged");
    let trials = STORED.iter().map(|(what, backend, stored)| {
        let name = format!("{backend}::{}", what.replace(' ', "_"));
        // What is stored is of the profile that the leg names.
        Trial::test(name, move || costs_what_is_stored(what, backend, *stored)).with_ignored_flag(!is_of_the_profile)
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit();
}

fn costs_what_is_stored(what: &str, backend: &str, stored: f64) -> Result<(), Failed> {
    let counted = match what {
        ECHO => {
            let (few, many) = (instructions(what, backend, ROUNDS)?, instructions(what, backend, 3 * ROUNDS)?);
            (many - few) / (2 * ROUNDS * CONNECTIONS) as f64
        }
        _ => instructions(what, backend, 0)?,
    };
    let change = 100.0 * (counted / stored - 1.0);
    println!("{backend}: {what}: {counted:.1} instructions, {change:+.1} % of what is stored");
    match counted <= stored * (1.0 + TOLERANCE) {
        true => Ok(()),
        false => Err(format!("{counted:.1} instructions, and {stored:.1} are stored").into()),
    }
}

/// Instructions of a whole run. An echo is asked by so many rounds of all connections, and ends with the last of them.
fn instructions(what: &str, backend: &str, rounds: usize) -> Result<f64, Failed> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(std::env::current_exe()?);
    valgrind.args(["--counted", what]).env("CORELLA_BACKEND", backend);
    valgrind.env("CONTENDER_CONNECTIONS", CONNECTIONS.to_string());
    let mut counted = valgrind.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    if what == ECHO {
        let mut line = String::new();
        BufReader::new(counted.stdout.take().unwrap()).read_line(&mut line)?;
        ask(line.trim().strip_prefix("port ").ok_or("no port")?.parse()?, rounds)?;
    }
    let output = counted.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let count = text.lines().find_map(|line| line.split("Collected :").nth(1)?.trim().parse().ok());
    match count {
        Some(count) if output.status.success() => Ok(count),
        _ => Err(format!("{valgrind:?}: {}\n{text}", output.status).into()),
    }
}

/// In step: every connection sends, then every one reads what has come back.
fn ask(port: u16, rounds: usize) -> std::io::Result<()> {
    let connect = |_| {
        let connection = TcpStream::connect(("127.0.0.1", port))?;
        connection.set_nodelay(true)?;
        Ok(connection)
    };
    let mut connections = (0..CONNECTIONS).map(connect).collect::<std::io::Result<Vec<_>>>()?;
    for _ in 0..rounds {
        for connection in &mut connections {
            connection.write_all(&MESSAGE)?;
        }
        for connection in &mut connections {
            connection.read_exact(&mut [0; MESSAGE.len()])?;
        }
    }
    Ok(())
}
