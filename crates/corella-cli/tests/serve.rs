//! `examples/serve.lua` as clients see it: curl, and raw TCP for what curl would not send.

#![cfg(unix)]

mod corella;

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use corella::{BACKENDS, Server, corella, curl, curl_bytes, curl_text, empty_directory, end_of, example, noise};

/// A directory to serve.
struct Site {
    directory: PathBuf,
    noise: Vec<u8>,
}

impl Site {
    fn new(name: &str) -> Site {
        let outside = empty_directory(name);
        let directory = outside.join("site");
        let noise = noise(1_000_003);
        std::fs::create_dir_all(directory.join("with index")).unwrap();
        std::fs::create_dir_all(directory.join("plain")).unwrap();
        let write = |path: &str, bytes: &[u8]| std::fs::write(directory.join(path), bytes).unwrap();
        write("hello.txt", b"hello\n");
        write("empty", b"");
        write("noise.bin", &noise);
        write("with index/index.html", b"the index");
        write("plain/<one> & two.txt", b"odd name");
        std::fs::write(outside.join("secret.txt"), "secret").unwrap();
        std::os::unix::fs::symlink("../secret.txt", directory.join("link.txt")).unwrap();
        std::os::unix::fs::symlink("..", directory.join("up")).unwrap();
        Site { directory, noise }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.directory.parent().unwrap());
    }
}

fn on_both_backends(name: &str, check: impl Fn(&Site, &Server)) {
    let site = Site::new(name);
    for backend in BACKENDS {
        check(&site, &Server::start(&site.directory, backend));
    }
}

/// The status code of a request for a path as it stands.
fn code_of(server: &Server, path: &str) -> String {
    let url = format!("{}{path}", server.url);
    curl_text(["--path-as-is", "--globoff", "--output", "/dev/null", "--write-out", "%{http_code}", &url])
}

/// What the server says to these bytes, until it closes the connection.
fn raw(server: &Server, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(request).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn a_get_gives_the_bytes_of_the_file() {
    on_both_backends("get", |site, server| {
        assert_eq!(curl_text([format!("{}/hello.txt", server.url)]), "hello\n");
        assert_eq!(curl_text([format!("{}/empty", server.url)]), "");
        assert!(curl_bytes([format!("{}/noise.bin?query", server.url)]) == site.noise);
        let head = curl_text(["--dump-header", "-", "--output", "/dev/null", &format!("{}/hello.txt", server.url)]);
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains("Content-Length: 6\r\n") && head.contains("Content-Type: text/plain"), "{head}");
    });
}

#[test]
fn a_head_gives_the_head_alone() {
    on_both_backends("head", |site, server| {
        let head = curl_text(["--head", &format!("{}/noise.bin", server.url)]);
        assert!(head.contains(&format!("Content-Length: {}\r\n", site.noise.len())), "{head}");
        assert!(head.contains("Accept-Ranges: bytes\r\n"), "{head}");
        let answer = raw(server, b"HEAD /hello.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    });
}

#[test]
fn ranges_are_given_exactly_or_refused() {
    on_both_backends("ranges", |site, server| {
        let (url, noise) = (format!("{}/noise.bin", server.url), &site.noise);
        let range = |range: &str| curl_bytes(["--range", range, &url]);
        assert!(range("0-0") == noise[..1]);
        assert!(range("1000-299999") == noise[1000..300_000]);
        assert!(range("999990-") == noise[999_990..]);
        assert!(range("-17") == noise[noise.len() - 17..]);
        assert!(range("999990-99999999") == noise[999_990..]);
        let code = |range: &str| {
            let header = format!("Range: {range}");
            curl_text(["--header", &header, "--output", "/dev/null", "--write-out", "%{http_code}", &url])
        };
        assert_eq!(code("bytes=5-9"), "206");
        assert_eq!(code("bytes=1000003-"), "416");
        assert_eq!(code("bytes=-0"), "416");
        assert_eq!(code("bytes=9-5"), "200");
        assert_eq!(code("bytes=0-1,5-6"), "200");
        assert_eq!(code("lines=1-2"), "200");
        let head = curl_text(["--dump-header", "-", "--output", "/dev/null", "--range", "5-9", &url]);
        assert!(head.contains("Content-Range: bytes 5-9/1000003\r\n"), "{head}");
    });
}

#[test]
fn directories_have_an_index_or_a_listing() {
    on_both_backends("listing", |_, server| {
        assert_eq!(curl_text([format!("{}/with%20index/", server.url)]), "the index");
        let listing = curl_text([format!("{}/plain/", server.url)]);
        assert!(listing.contains("%3Cone%3E%20%26%20two.txt\">&lt;one&gt; &amp; two.txt<"), "{listing}");
        assert_eq!(curl_text([format!("{}/plain/%3Cone%3E%20%26%20two.txt", server.url)]), "odd name");
        let root = curl_text([format!("{}/", server.url)]);
        assert!(root.contains("hello.txt") && root.contains("plain/") && !root.contains("link"), "{root}");
        let answer = raw(server, b"GET /plain HTTP/1.0\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 301 ") && answer.contains("Location: /plain/\r\n"), "{answer}");
    });
}

#[test]
fn what_is_not_there_is_404_and_what_is_not_http_is_400() {
    on_both_backends("errors", |_, server| {
        assert_eq!(code_of(server, "/none"), "404");
        assert_eq!(code_of(server, "/hello.txt/"), "404");
        assert_eq!(code_of(server, "/%zz"), "400");
        assert_eq!(code_of(server, "/a%00b"), "400");
        for (request, code) in [
            (&b"GARBAGE\r\n\r\n"[..], "400"),
            (b"GET /hello.txt\r\n\r\n", "400"),
            (b"GET /hello.txt HTTP/1.1\r\n\r\n", "400"),
            (b"GET /hello.txt HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", "400"),
            (b"GET hello.txt HTTP/1.0\r\n\r\n", "400"),
            (b"GET /hello.txt HTTP/1.1\r\nHost", "400"),
            (b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", "505"),
            (b"DELETE /hello.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "405"),
        ] {
            let answer = raw(server, request);
            assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{}: {answer}", request.escape_ascii());
        }
        let long = format!("GET / HTTP/1.1\r\nHost: x\r\nLong: {}\r\n\r\n", "x".repeat(100_000));
        let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
        let _ = stream.write_all(long.as_bytes());
        let mut first = [0; 12];
        stream.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"HTTP/1.1 431");
    });
}

/// The status codes of all answers to these bytes.
fn codes(server: &Server, request: &[u8]) -> Vec<String> {
    let answer = raw(server, request);
    let lines = answer.split("HTTP/1.1 ").skip(1);
    lines.map(|line| line[..3].to_string()).collect()
}

#[test]
fn heads_that_could_be_read_in_two_ways_are_refused() {
    on_both_backends("ambiguous", |_, server| {
        for head in [
            &b"GET /hello.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 0\r\n\r\n"[..],
            b"GET /hello.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
            b"GET /hello.txt HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n",
            b"GET /hello.txt HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
            b"GET /hello.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"GET /hello.txt HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
            b"GET /hello.txt HTTP/1.1\r\nHost: x\rAccept: y\r\n\r\n",
            b"GET /hello.txt HTTP/1.1\r\nHost: x\r\nAccept: a\0b\r\n\r\n",
            b"GET /hello.txt HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n",
            b"GET /hello.txt HTTP/1.1\r\nHost : x\r\n\r\n",
            b"GET /hello.txt#x HTTP/1.1\r\nHost: x\r\n\r\n",
        ] {
            // What follows is not to be taken for a request.
            let request = [head, b"GET /hello.txt HTTP/1.1\r\nHost: x\r\n\r\n"].concat();
            assert_eq!(codes(server, &request), ["400"], "{}", request.escape_ascii());
        }
    });
}

#[test]
fn a_connection_stays_open_as_its_header_says() {
    on_both_backends("connection", |_, server| {
        let answers = |version: &str, fields: &str| {
            let request = format!("GET /hello.txt HTTP/{version}\r\nHost: x\r\n{fields}\r\n");
            codes(server, request.repeat(2).as_bytes()).len()
        };
        assert_eq!(answers("1.1", ""), 2);
        assert_eq!(answers("1.1", "Connection: keep-alive, close\r\n"), 1);
        assert_eq!(answers("1.1", "Connection: close\r\nConnection: keep-alive\r\n"), 1);
        assert_eq!(answers("1.1", "Connection: x-closed\r\n"), 2);
        assert_eq!(answers("1.1", "Connection: Close\r\n"), 1);
        assert_eq!(answers("1.0", ""), 1);
        assert_eq!(answers("1.0", "Connection: x, Keep-Alive\r\n"), 2);
        // A body is not read.
        assert_eq!(answers("1.1", "Content-Length: 3\r\n"), 1);
    });
}

#[test]
fn targets_and_methods_are_taken_as_the_standard_says() {
    on_both_backends("targets", |_, server| {
        let answer =
            |line: &str| raw(server, format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes());
        assert!(answer("M-SEARCH *").starts_with("HTTP/1.1 501 "));
        assert!(answer("get /hello.txt").starts_with("HTTP/1.1 501 "));
        assert!(answer("POST /hello.txt").starts_with("HTTP/1.1 405 "));
        assert!(answer("GET HTTP://x/hello.txt").starts_with("HTTP/1.1 200 "));
        assert!(answer("GET http://x").starts_with("HTTP/1.1 200 "));
        assert!(answer("GET http://x?y").starts_with("HTTP/1.1 200 "));
        assert!(answer("GET /plain?a=b&c").contains("\r\nLocation: /plain/?a=b&c\r\n"));
        assert!(answer("GET /plain//?a").starts_with("HTTP/1.1 200 "));
    });
}

#[test]
fn names_that_begin_with_a_dot_are_not_served() {
    let site = Site::new("dots");
    std::fs::create_dir(site.directory.join(".git")).unwrap();
    std::fs::write(site.directory.join(".git/config"), "secret\n").unwrap();
    std::fs::write(site.directory.join(".password"), "secret\n").unwrap();
    for backend in BACKENDS {
        let server = Server::start(&site.directory, backend);
        for path in ["/.password", "/.git/", "/.git/config", "/%2egit/config"] {
            assert_eq!(code_of(&server, path), "404", "{path}");
        }
        let listing = curl_text([format!("{}/", server.url)]);
        assert!(
            listing.contains("hello.txt") && !listing.contains(".git") && !listing.contains(".password"),
            "{listing}"
        );
    }
}

#[test]
fn a_file_that_cannot_be_read_is_an_answer_too() {
    let site = Site::new("broken");
    for backend in BACKENDS {
        let directory = site.directory.join("gone");
        std::fs::create_dir(&directory).unwrap();
        let server = Server::start(&directory, backend);
        // The directory is gone while it is served, whoever runs the test.
        std::fs::remove_dir(&directory).unwrap();
        let answer = raw(&server, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
    }
}

#[test]
fn the_limit_of_a_head_is_exact() {
    on_both_backends("limit", |_, server| {
        let head = |bytes: usize| {
            let start = "GET /hello.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\nLong: ";
            format!("{start}{}\r\n\r\n", "x".repeat(bytes - start.len() - 4))
        };
        assert_eq!(codes(server, head(16 * 1024).as_bytes()), ["200"]);
        assert_eq!(codes(server, head(16 * 1024 + 1).as_bytes()), ["431"]);
        let blank = [&b"\r\n".repeat(100_000)[..], b"GET /hello.txt HTTP/1.0\r\n\r\n"].concat();
        let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
        let _ = stream.write_all(&blank);
        let mut first = [0; 12];
        stream.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"HTTP/1.1 400");
    });
}

#[test]
fn a_head_that_does_not_come_is_answered_with_408() {
    let site = Site::new("slow");
    let script = std::fs::read_to_string(example("serve.lua")).unwrap();
    let quick = script.replace("IDLE_SECONDS = 30", "IDLE_SECONDS = 0.2");
    assert_ne!(script, quick);
    let path = site.directory.join("quick.lua");
    std::fs::write(&path, quick).unwrap();
    for backend in BACKENDS {
        let server = Server::start_script(&path, &site.directory, backend);
        let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
        stream.write_all(b"GET /hello.txt HTTP/1.1\r\nHo").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        // A connection that has said nothing is just closed.
        let mut idle = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
        answer.clear();
        idle.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "");
    }
}

#[test]
fn nothing_outside_of_the_directory_is_served() {
    on_both_backends("escape", |_, server| {
        for path in [
            "/../secret.txt",
            "/plain/../../secret.txt",
            "/%2e%2e/secret.txt",
            "/..%2fsecret.txt",
            "/%2e%2e%2fsecret.txt",
            "/.%2e/secret.txt",
            "//etc/passwd",
            "/%2fetc/passwd",
            "/link.txt",
            "/up/secret.txt",
            "/up/",
        ] {
            let code = code_of(server, path);
            assert!(code == "404" || code == "400", "{path}: {code}");
        }
        for request in
            ["GET ../secret.txt HTTP/1.0", "GET http://x/../secret.txt HTTP/1.0", "GET /../secret.txt HTTP/1.0"]
        {
            let answer = raw(server, format!("{request}\r\n\r\n").as_bytes());
            assert!(answer.starts_with("HTTP/1.1 40") && !answer.contains("secret\n"), "{answer}");
        }
    });
}

#[test]
fn one_connection_serves_many_requests() {
    on_both_backends("keep-alive", |_, server| {
        let urls = ["hello.txt", "noise.bin", "none", "hello.txt"].map(|name| format!("{}/{name}", server.url));
        let mut arguments: Vec<String> = vec!["--write-out".into(), "%{num_connects} ".into()];
        for url in &urls {
            arguments.extend(["--output".into(), "/dev/null".into(), url.clone()]);
        }
        assert_eq!(curl_text(&arguments), "1 0 0 0 ");
        // All in one packet, without waiting for the answers.
        let two = b"GET /hello.txt HTTP/1.1\r\nHost: x\r\n\r\nGET /hello.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        assert_eq!(raw(server, two).matches("\r\n\r\nhello\n").count(), 2);
        // A connection that has nothing to say holds nobody up.
        let idle = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
        assert_eq!(curl_text([format!("{}/hello.txt", server.url)]), "hello\n");
        drop(idle);
    });
}

#[test]
fn a_client_that_goes_away_holds_nobody_up() {
    on_both_backends("reset", |site, server| {
        for _ in 0..20 {
            let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
            stream.write_all(b"GET /noise.bin HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            let mut first = [0; 100];
            stream.read_exact(&mut first).unwrap();
        }
        assert!(curl_bytes([format!("{}/noise.bin", server.url)]) == site.noise);
    });
}

const GIANT_BLOCKS: usize = 1024;
const BLOCK: usize = 1 << 20;

/// A file of 1 GiB whose blocks all differ.
fn write_giant(path: &Path) {
    let mut block = noise(BLOCK);
    let mut file = File::create(path).unwrap();
    for number in 0..GIANT_BLOCKS as u64 {
        block[..8].copy_from_slice(&number.to_le_bytes());
        block[BLOCK / 2..BLOCK / 2 + 8].copy_from_slice(&number.to_be_bytes());
        file.write_all(&block).unwrap();
    }
}

/// Whether two readers give the same bytes.
fn same(mut one: impl Read, mut other: impl Read) -> bool {
    let (mut first, mut second) = (vec![0; 1 << 18], vec![0; 1 << 18]);
    loop {
        let count = one.read(&mut first).unwrap();
        if count == 0 {
            return other.read(&mut second).unwrap() == 0;
        }
        if other.read_exact(&mut second[..count]).is_err() || first[..count] != second[..count] {
            return false;
        }
    }
}

#[test]
fn four_clients_at_once_get_a_gibibyte_each_from_little_memory() {
    let directory = empty_directory("giant");
    let path = directory.join("giant.bin");
    write_giant(&path);
    for backend in BACKENDS {
        let server = Server::start(&directory, backend);
        let url = format!("{}/giant.bin", server.url);
        let clients: Vec<_> = (0..4)
            .map(|_| {
                let (url, path) = (url.clone(), path.clone());
                std::thread::spawn(move || {
                    let mut child = curl().arg(url).stdout(Stdio::piped()).spawn().unwrap();
                    let is_same = same(child.stdout.take().unwrap(), File::open(path).unwrap());
                    is_same && child.wait().unwrap().success()
                })
            })
            .collect();
        assert!(clients.into_iter().all(|client| client.join().unwrap()), "{backend}");
        let peak = server.memory_peak_kib();
        assert!(peak < 64 * 1024, "{backend}: {peak} KiB");
    }
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_wrong_call_of_the_server_is_explained() {
    let ended = end_of(corella().arg("run").arg(example("serve.lua")));
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("usage: corella run serve.lua DIR PORT"), "{ended:?}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for (arguments, message) in [
        (
            ["/nonexistent", "0"],
            "serve.lua: stat of /nonexistent: No such file or directory (os error 2)\n".to_string(),
        ),
        (["/dev/null", "0"], "serve.lua: /dev/null is not a directory\n".into()),
        ([".", "70000"], "serve.lua: the port is a number from 0 to 65535, and not 70000\n".into()),
        ([".", "http"], "serve.lua: the port is a number from 0 to 65535, and not http\n".into()),
        ([".", &port], format!("serve.lua: bind to 127.0.0.1:{port}: Address already in use (os error 98)\n")),
    ] {
        let ended = end_of(corella().arg("run").arg(example("serve.lua")).args(arguments));
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(1), message.as_str()), "{arguments:?}");
    }
}
