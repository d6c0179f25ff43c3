//! Instructions of scripts, counted by callgrind: what the start of one costs, and a round trip of the benchmark's echo.
//!
//! This program starts itself again under valgrind. An echo is served twice, for so many round trips and for three times as
//! many; the difference is theirs. `STORED` says what each may cost. What has become cheaper is to be stored as such. The same
//! echo on luv, on stock Lua, is counted beside it, and lines of a file beside those of stock Lua.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use libtest_mimic::{Arguments, Failed, Trial};

const ECHO: &str = "a round trip of an echo";
const START: &str = "the start of an empty script";
const LINES: &str = "lines of a file";
const READLINE: &str = r#"
    local file = FileHandle.open((...))
    local bytes = 0
    while true do
        local line = file:readline()
        if line == "" then break end
        bytes = bytes + #line
    end
"#;
const IO_LINES: &str = "local bytes = 0 for line in io.lines((...)) do bytes = bytes + #line end";

/// What is counted, on which backend, and the instructions that it was counted to cost.
const STORED: &[(&str, &str, f64)] =
    &[(ECHO, "uring", 3_130.0), (ECHO, "portable", 4_040.0), (START, "uring", 3_965_000.0)];

/// More than this above what is stored is a failure; so much below, and the stored number is out of date.
const TOLERANCE: f64 = 0.05;

const CONNECTIONS: usize = 64;
const MESSAGE: [u8; 64] = [b'x'; 64];
const ROUNDS: usize = 30;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [mark, what, arguments @ ..] = &words[..]
        && mark == "--counted"
    {
        let source = match what.as_str() {
            ECHO => include_str!("../../../bench/lua/echo_corella.lua"),
            LINES => READLINE,
            _ => "",
        };
        let arguments: Vec<_> = arguments.iter().map(std::ffi::OsString::from).collect();
        std::process::exit(corella_lua::Host::new().unwrap().run("counted.lua", source.as_bytes(), &arguments));
    }
    let is_of_the_profile = std::env::current_exe().unwrap().iter().any(|folder| folder == "packaged");
    let stored = STORED.iter().map(|(what, backend, stored)| {
        let name = format!("{backend}::{}", what.replace(' ', "_"));
        Trial::test(name, move || costs_what_is_stored(what, backend, *stored))
    });
    let beside_luv = Trial::test("uring::an_echo_costs_no_more_than_on_luv", costs_no_more_than_on_luv);
    let beside_lua =
        Trial::test("uring::a_line_costs_at_most_twice_what_it_does_in_stock_lua", a_line_costs_at_most_twice);
    // What is stored is of the profile that the leg names.
    let trials = stored.chain([beside_luv, beside_lua]).map(|trial| trial.with_ignored_flag(!is_of_the_profile));
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit();
}

fn costs_what_is_stored(what: &str, backend: &str, stored: f64) -> Result<(), Failed> {
    let counted = match what {
        ECHO => of_a_round_trip(|| ours(what, backend))?,
        _ => instructions(ours(what, backend)?, None)?,
    };
    let change = 100.0 * (counted / stored - 1.0);
    println!("{backend}: {what}: {counted:.1} instructions, {change:+.1} % of what is stored");
    match counted <= stored * (1.0 + TOLERANCE) {
        true => Ok(()),
        false => Err(format!("{counted:.1} instructions, and {stored:.1} are stored").into()),
    }
}

fn costs_no_more_than_on_luv() -> Result<(), Failed> {
    let ours = of_a_round_trip(|| ours(ECHO, "uring"))?;
    let luv = of_a_round_trip(|| {
        let mut lua = Command::new("lua5.4");
        lua.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../bench/lua/echo_luv.lua"));
        Ok(lua)
    })?;
    println!("{ECHO}: {ours:.1} instructions, {luv:.1} on luv");
    match ours <= luv {
        true => Ok(()),
        false => Err(format!("{ours:.1} instructions, and {luv:.1} on luv").into()),
    }
}

fn a_line_costs_at_most_twice() -> Result<(), Failed> {
    const FEW: usize = 20_000;
    let path = std::env::temp_dir().join(format!("corella-lines-{}", std::process::id()));
    let count = |lines: usize| -> Result<(f64, f64), Failed> {
        std::fs::write(&path, [&[b'x'; 49][..], b"\n"].concat().repeat(lines))?;
        let mut ours = ours(LINES, "uring")?;
        ours.arg(&path);
        let mut lua = Command::new("lua5.4");
        let script = path.with_extension("lua");
        std::fs::write(&script, IO_LINES)?;
        lua.arg(&script).arg(&path);
        let counted = (instructions(ours, None)?, instructions(lua, None)?);
        std::fs::remove_file(&script)?;
        std::fs::remove_file(&path)?;
        Ok(counted)
    };
    let (few, many) = (count(FEW)?, count(3 * FEW)?);
    let of_a_line = |few: f64, many: f64| (many - few) / (2 * FEW) as f64;
    let (ours, lua) = (of_a_line(few.0, many.0), of_a_line(few.1, many.1));
    println!("a line: {ours:.1} instructions, {lua:.1} in stock Lua");
    match ours <= 2.0 * lua {
        true => Ok(()),
        false => Err(format!("{ours:.1} instructions, and {lua:.1} in stock Lua").into()),
    }
}

/// This program, as what is counted.
fn ours(what: &str, backend: &str) -> Result<Command, Failed> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--counted", what]).env("CORELLA_BACKEND", backend);
    Ok(command)
}

/// What one more round trip costs a server.
fn of_a_round_trip(server: impl Fn() -> Result<Command, Failed>) -> Result<f64, Failed> {
    let (few, many) = (instructions(server()?, Some(ROUNDS))?, instructions(server()?, Some(3 * ROUNDS))?);
    Ok((many - few) / (2 * ROUNDS * CONNECTIONS) as f64)
}

/// Instructions of a whole run. A server is asked by so many rounds of all connections, and ends with the last of them.
fn instructions(command: Command, rounds: Option<usize>) -> Result<f64, Failed> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    valgrind.arg(command.get_program()).args(command.get_args());
    valgrind.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    valgrind.env("CONTENDER_CONNECTIONS", CONNECTIONS.to_string());
    let mut counted = valgrind.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    if let Some(rounds) = rounds {
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
