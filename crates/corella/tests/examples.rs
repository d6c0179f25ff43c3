//! The Rust examples, run as a user runs them, on both backends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// The built example, beside this test's own executable.
fn example(name: &str) -> Command {
    let mut folder = std::env::current_exe().unwrap();
    folder.pop();
    folder.pop();
    let program = folder.join("examples").join(name);
    assert!(program.exists(), "{} is not built", program.display());
    Command::new(program)
}

const BACKENDS: [&str; 2] = ["uring", "portable"];

/// Ends a server when the test does, however it does.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(name: &str, backend: &str) -> Server {
        let mut child =
            example(name).arg("127.0.0.1:0").env("CORELLA_BACKEND", backend).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        // "echo on ADDRESS with BACKEND"
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words.last(), Some(&backend), "{line}");
        Server { address: words[2].to_string(), child }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn an_echo_server_echoes(name: &str) {
    for backend in BACKENDS {
        let server = Server::start(name, backend);
        let mut connections: Vec<_> = (0..20).map(|_| TcpStream::connect(&server.address).unwrap()).collect();
        let message: Vec<u8> = (0..100_000u32).map(|number| (number % 251) as u8).collect();
        for connection in &mut connections {
            let mut sender = connection.try_clone().unwrap();
            let sent = message.clone();
            let thread = std::thread::spawn(move || {
                sender.write_all(&sent).unwrap();
                sender.shutdown(std::net::Shutdown::Write).unwrap();
            });
            let mut received = Vec::new();
            connection.read_to_end(&mut received).unwrap();
            thread.join().unwrap();
            assert!(received == message, "{name} on {backend}");
        }
    }
}

#[test]
fn the_echo_server_with_tasks_echoes() {
    an_echo_server_echoes("echo");
}

#[test]
fn the_echo_server_with_callbacks_echoes() {
    an_echo_server_echoes("echo_callbacks");
}

#[test]
fn a_server_without_an_address_says_what_it_wants() {
    for name in ["echo", "echo_callbacks"] {
        let output = example(name).output().unwrap();
        assert!(!output.status.success());
        assert!(String::from_utf8_lossy(&output.stderr).contains("usage"), "{output:?}");
        let output = example(name).arg("nowhere").output().unwrap();
        assert!(String::from_utf8_lossy(&output.stderr).contains("nowhere"), "{output:?}");
    }
}

#[test]
fn random_reads_print_their_rate() {
    let path: PathBuf = std::env::temp_dir().join(format!("corella-randread-{}", std::process::id()));
    std::fs::write(&path, vec![7; 1 << 20]).unwrap();
    for backend in BACKENDS {
        let output =
            example("randread").arg(&path).args(["32", "5000"]).env("CORELLA_BACKEND", backend).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text}");
        let line = text.trim_end();
        assert!(line.ends_with(" IOPS"), "{line}");
        let rate: f64 = line.split_whitespace().rev().nth(1).unwrap().parse().unwrap();
        assert!(rate > 0.0);
    }
    let output = example("randread").args(["/nonexistent", "1", "1"]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("/nonexistent") && error.contains("os error 2"), "{error}");
    std::fs::remove_file(path).unwrap();
}

#[test]
fn all_four_endings_end() {
    for backend in BACKENDS {
        let output = example("endings").env("CORELLA_BACKEND", backend).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let expected = [
            r#"wait:   8 bytes, "one verb""#,
            r#"submit: 4 bytes, "four""#,
            r#"then:   7 bytes, "endings""#,
            r#"await:  3 bytes, "one""#,
            "cancel: sleep: cancelled",
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }
}
