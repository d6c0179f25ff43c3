//! `proxy.lua`, `fetch.lua` and `chat.lua`, run for real.

#![cfg(unix)]

mod corella;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use corella::{BACKENDS, Ended, corella, empty_directory, end_of, example, noise};

const LIMIT: Duration = Duration::from_secs(60);

/// A script that serves; ended when the test is.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    /// Starts one whose first line names its port: the last number before the word `until`, or the last of all.
    fn start(script: &str, arguments: &[&str], backend: &str, until: &str) -> Server {
        let mut command = corella();
        command.arg("run").arg(example(script)).args(arguments).env("CORELLA_BACKEND", backend);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let port = line.split(until).next().unwrap().trim().rsplit(':').next().unwrap().parse().unwrap();
        // What it says later is of no interest, but has to go somewhere.
        thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
        Server { child, port }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A listener whose connections each get a thread.
fn serve(each: impl Fn(TcpStream) + Send + Sync + Clone + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for connection in listener.incoming() {
            let each = each.clone();
            thread::spawn(move || each(connection.unwrap()));
        }
    });
    address
}

#[test]
fn a_proxy_passes_everything_on_and_one_side_may_end_before_the_other() {
    for backend in BACKENDS {
        // Answers only when the asker has ended.
        let target = serve(|mut stream| {
            let mut asked = Vec::new();
            stream.read_to_end(&mut asked).unwrap();
            asked.reverse();
            stream.write_all(&asked).unwrap();
        });
        let proxy = Server::start("proxy.lua", &["127.0.0.1:0", &target], backend, " to ");
        let clients: Vec<_> = (0..20)
            .map(|number| {
                let mut stream = proxy.connect();
                thread::spawn(move || {
                    let sent = noise(number * 50_000);
                    let mut writer = stream.try_clone().unwrap();
                    writer.write_all(&sent).unwrap();
                    writer.shutdown(Shutdown::Write).unwrap();
                    let mut answer = Vec::new();
                    stream.read_to_end(&mut answer).unwrap();
                    answer.reverse();
                    assert!(answer == sent, "{number}");
                })
            })
            .collect();
        clients.into_iter().for_each(|client| client.join().unwrap());
    }
}

#[test]
fn a_proxy_closes_what_is_idle_and_what_has_no_target() {
    for backend in BACKENDS {
        let target = serve(|mut stream| {
            // Says something now and then, without being asked.
            for _ in 0..10 {
                thread::sleep(Duration::from_millis(100));
                if stream.write_all(b"x").is_err() {
                    return;
                }
            }
            let _ = stream.read(&mut [0; 1]);
        });
        let proxy = Server::start("proxy.lua", &["127.0.0.1:0", &target, "0.6"], backend, " to ");
        let mut answer = Vec::new();
        proxy.connect().read_to_end(&mut answer).unwrap();
        assert_eq!(answer, b"xxxxxxxxxx", "one direction that moves keeps both alive, and then none did");
        let proxy = Server::start("proxy.lua", &["127.0.0.1:0", "127.0.0.1:1"], backend, " to ");
        answer.clear();
        proxy.connect().read_to_end(&mut answer).unwrap();
        assert_eq!(answer, b"");
    }
    assert_eq!(end_of(corella().arg("run").arg(example("proxy.lua")).arg("8080")).code, Some(2));
}

/// How often `/flaky` was asked for.
static FLAKY: AtomicUsize = AtomicUsize::new(0);

/// A server that answers as its paths say.
fn answer(mut stream: TcpStream) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).unwrap_or(0) == 0 {
            return;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap();
    assert!(head.contains("\r\nHost: 127.0.0.1:"), "{head}");
    let answer: &[u8] = match path {
        "/length" => b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello and more than was announced",
        "/chunked" => {
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nTrailer: 1\r\n\r\n"
        }
        "/close?a=b" => b"HTTP/1.0 200 OK\n\nto the end",
        "/moved" => b"HTTP/1.1 302 Found\r\nLocation: /length\r\n\r\n",
        "/loop" => b"HTTP/1.1 302 Found\r\nLocation: /loop\r\n\r\n",
        "/flaky" if FLAKY.fetch_add(1, Ordering::Relaxed) % 3 < 2 => b"HTTP/1.1 503 Busy\r\n\r\n",
        "/flaky" => b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nat la",
        "/cut" => b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nonly this",
        "/silent" => {
            // Until the asker has had enough.
            let _ = stream.read(&mut byte);
            return;
        }
        "/endless" => {
            while stream.write_all(&[b'x'; 4096]).is_ok() {}
            return;
        }
        _ => b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    };
    let _ = stream.write_all(answer);
}

fn fetch(backend: &str, directory: &Path, arguments: &[String]) -> Ended {
    let mut command = corella();
    command.arg("run").arg(example("fetch.lua")).args(arguments).current_dir(directory);
    end_of(command.env("CORELLA_BACKEND", backend))
}

#[test]
fn what_is_fetched_is_what_was_served_however_its_length_is_told() {
    let server = serve(answer);
    for backend in BACKENDS {
        FLAKY.store(0, Ordering::Relaxed);
        let directory = empty_directory("fetch");
        let mut arguments = vec!["-o".to_string(), ".".into()];
        arguments.extend(
            ["/length", "/chunked", "/close?a=b", "/moved", "/flaky"].map(|path| format!("http://{server}{path}")),
        );
        let ended = fetch(backend, &directory, &arguments);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
        let body = |path: &str| {
            let name = format!("{server}{path}").replace([':', '/', '?', '='], "_");
            std::fs::read_to_string(directory.join(name)).unwrap()
        };
        assert_eq!((body("/length").as_str(), body("/chunked").as_str()), ("hello", "hello world"));
        assert_eq!((body("/close?a=b").as_str(), body("/moved").as_str()), ("to the end", "hello"));
        assert_eq!(body("/flaky"), "at la");
        assert!(ended.stdout.contains("/flaky: 5 bytes in ") && ended.stdout.contains(", attempt 3"), "{ended:?}");
    }
}

#[test]
fn what_cannot_be_fetched_is_told_and_holds_up_nobody() {
    let server = serve(answer);
    for backend in BACKENDS {
        let directory = empty_directory("fetch-fails");
        let mut arguments = vec!["-t".to_string(), "0.3".into()];
        for path in ["/none", "/loop", "/cut", "/silent", "/endless"] {
            arguments.push(format!("http://{server}{path}"));
        }
        arguments.extend(["http://127.0.0.1:1/", "https://example.org/", "http:///", "nonsense"].map(String::from));
        let ended = fetch(backend, &directory, &arguments);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(1), ""), "{ended:?}");
        for line in [
            "404 http://",
            "/loop: redirected too often",
            "/cut: fetch.lua",
            "/silent: timeout: deadline passed (4 attempts)",
            "/endless: ",
            "127.0.0.1:1/: connect to 127.0.0.1:1: Connection refused (os error 111) (4 attempts)",
            "https://example.org/: only http:// is spoken here",
            "http:///: there is no host",
        ] {
            let line = line.replace("/cut: fetch.lua", "/cut: the body is cut off");
            assert!(ended.stdout.contains(&line), "{line}: {ended:?}");
        }
    }
}

#[test]
fn ten_thousand_bytes_from_a_hundred_urls_at_once() {
    let served = serve(|mut stream| {
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n");
        let _ = stream.write_all(&[b'x'; 100]);
    });
    for backend in BACKENDS {
        let urls: Vec<_> = (0..100).map(|number| format!("http://{served}/{number}")).collect();
        let ended = fetch(backend, &empty_directory("fetch-many"), &urls);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_eq!(ended.stdout.matches(": 100 bytes in ").count(), 100);
    }
}

/// A client of the chat.
struct Guest(BufReader<TcpStream>);

impl Guest {
    fn enter(server: &Server, name: &str) -> Guest {
        let mut guest = Guest(BufReader::new(server.connect()));
        guest.say(name);
        guest
    }

    fn say(&mut self, text: &str) {
        self.0.get_mut().write_all(format!("{text}\r\n").as_bytes()).unwrap();
    }

    fn hears(&mut self, text: &str) {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        assert_eq!(line.trim_start_matches("Your name? ").trim_end(), text);
    }
}

#[test]
fn what_one_says_in_the_chat_all_others_hear() {
    for backend in BACKENDS {
        let server = Server::start("chat.lua", &["0"], backend, "\n");
        let mut anna = Guest::enter(&server, "anna");
        anna.hears("* welcome, anna; here: anna");
        let mut bert = Guest::enter(&server, "anna");
        bert.hears("There is a anna already.");
        bert.say("not a name");
        bert.hears("Letters and digits, 20 at most.");
        bert.say("bert");
        bert.hears("* welcome, bert; here: anna, bert");
        anna.hears("* bert has come");
        anna.say("hello");
        bert.hears("anna: hello");
        bert.say("/who");
        bert.hears("* here: anna, bert");
        for number in 0..500 {
            bert.say(&format!("line {number}"));
            anna.hears(&format!("bert: line {number}"));
        }
        bert.say("/quit");
        bert.hears("");
        anna.hears("* bert has left");
        // One who vanishes, and one whose line never ends.
        drop(Guest::enter(&server, "carl"));
        anna.hears("* carl has come");
        anna.hears("* carl has left");
        let mut dora = Guest::enter(&server, "dora");
        dora.say(&"x".repeat(1 << 20));
        anna.hears("* dora has come");
        anna.hears("* dora has left");
    }
}

#[test]
fn a_guest_that_does_not_read_is_let_go_and_holds_up_nobody() {
    for backend in BACKENDS {
        let server = Server::start("chat.lua", &["0"], backend, "\n");
        let mut deaf = Guest::enter(&server, "deaf");
        deaf.hears("* welcome, deaf; here: deaf");
        let mut loud = Guest::enter(&server, "loud");
        loud.hears("* welcome, loud; here: deaf, loud");
        let line = "x".repeat(4000);
        let mut sent = 0;
        // More than the buffers of a connection hold, and the lines that may wait.
        while sent < 8000 {
            loud.say(&line);
            sent += 1;
        }
        loud.hears("* deaf has left");
    }
}
