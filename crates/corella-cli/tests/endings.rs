//! How a program ends that is cut short: by an error, by `os.exit`, by a signal.

#![cfg(unix)]

mod corella;

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::sync::mpsc;
use std::time::Duration;

use corella::{BACKENDS, directory_of, end_within, start};

/// Far more than any of these needs.
const LIMIT: Duration = Duration::from_secs(30);

const CONNECTED: &str = "
    local listener = Socket.listen('127.0.0.1', 0)
    local socket = Socket.connect(listener:local_address()) ";

/// Runs a script that never ends unless what is in flight is cancelled.
fn is_cut_short(name: &str, script: &str, code: i32, message: &str) {
    for backend in BACKENDS {
        let ended = end_within(LIMIT, &mut start(name, backend, script));
        assert_eq!(ended.code, Some(code), "{backend}: {script}: {ended:?}");
        assert!(ended.stderr.contains(message), "{backend}: {script}: {ended:?}");
        assert!(!message.is_empty() || ended.stderr.is_empty(), "{backend}: {script}: {ended:?}");
    }
}

#[test]
fn an_error_in_the_main_program_ends_it_whatever_is_in_flight() {
    let receiving = format!("{CONNECTED} local status = socket:recv(1, {{ async = true }}) error('visible')");
    is_cut_short("error-receiving", &receiving, 1, "script.lua:3: visible");
    let callback =
        format!("{CONNECTED} socket:readline(function() end) socket:read(9, function() end) error('visible')");
    is_cut_short("error-callbacks", &callback, 1, "script.lua:3: visible");
    let accepting = format!("{CONNECTED} listener:accept(function() Scheduler.sleep(600) end) error('visible')");
    is_cut_short("error-accepting", &accepting, 1, "script.lua:3: visible");
    is_cut_short("error-sleeping", "Scheduler.sleep(600, function() end) error('visible')", 1, "script.lua:1: visible");
    let task = "Scheduler.spawn(function() stdin:readall() end) Scheduler.poll() error('visible')";
    is_cut_short("error-task", task, 1, "script.lua:1: visible");
}

#[test]
fn os_exit_ends_it_whatever_is_in_flight() {
    is_cut_short("exit-sleeping", "Scheduler.sleep(600, { async = true }) os.exit(5)", 5, "");
    is_cut_short("exit-reading", "stdin:read(1, { async = true }) stdin:readline({ async = true }) os.exit(6)", 6, "");
    let receiving = format!("{CONNECTED} kept = socket:recv(1, {{ async = true }}) os.exit(7)");
    is_cut_short("exit-receiving", &receiving, 7, "");
    let callback = "Scheduler.sleep(0, function() os.exit(8) end) stdin:readline()";
    is_cut_short("exit-callback", callback, 8, "");
}

#[test]
fn what_was_written_before_goes_out() {
    let script = "
        local file = FileHandle.open('out', 'w')
        for number = 0, 199 do file:write_at(('x'):rep(100000), number * 100000, { async = true }) end
        buffered = FileHandle.open('buffered', 'w')
        buffered:print('text')
        late = FileHandle.new()
        late:open('late', 'w', { async = true })
        late:print('queued', { async = true })
        stdin:read(1, { async = true })
        print('printed')
        os.exit(3)";
    for backend in BACKENDS {
        let ended = end_within(LIMIT, &mut start("exit-writing", backend, script));
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(3), "printed\n"), "{ended:?}");
        let directory = directory_of("exit-writing");
        assert_eq!(std::fs::metadata(directory.join("out")).unwrap().len(), 200 * 100_000);
        assert_eq!(std::fs::read(directory.join("buffered")).unwrap(), b"text");
        assert_eq!(std::fs::read(directory.join("late")).unwrap(), b"queued");
    }
}

/// Sends a signal to a command.
fn signal(child: &std::process::Child, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_child(child), signal).unwrap();
}

#[test]
fn a_signal_ends_it_and_what_was_printed_goes_out() {
    use rustix::process::Signal;
    // Once the mark is there, all has been printed.
    let script = "
        file = FileHandle.open('out', 'w')
        file:print('buffered')
        stdout:print('last')
        Scheduler.spawn(function() stdin:read(1) end)
        Scheduler.sleep(0.01, function() FileHandle.open('mark', 'w'):close() end)
        Scheduler.sleep(600)";
    for backend in BACKENDS {
        for (kind, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
            let mut child = start("signal", backend, script);
            let mark = directory_of("signal").join("mark");
            let give_up = std::time::Instant::now() + LIMIT;
            while !mark.exists() && std::time::Instant::now() < give_up {
                std::thread::sleep(Duration::from_millis(1));
            }
            signal(&child, kind);
            let ended = end_within(LIMIT, &mut child);
            assert_eq!(ended.code, Some(code), "{backend}: {ended:?}");
            assert_eq!(ended.stdout, "last");
            match kind {
                Signal::INT => tells_what_is_outstanding(&ended.stderr),
                _ => assert_eq!(ended.stderr, "", "{backend}"),
            }
            assert_eq!(std::fs::read(directory_of("signal").join("out")).unwrap(), b"buffered");
            std::fs::remove_file(mark).unwrap();
        }
    }
}

/// What Ctrl-C shows of the script above: operation, target and age of each.
fn tells_what_is_outstanding(errors: &str) {
    let lines: Vec<&str> = errors.lines().collect();
    // The mark may not have been closed yet.
    assert!(["2", "3"].map(|count| format!("corella: interrupted; outstanding ({count}):")).contains(&lines[0].into()));
    for beginning in ["  sleep", "  read "] {
        let line = lines.iter().find(|line| line.starts_with(beginning)).unwrap_or_else(|| panic!("{errors}"));
        let age = line.rsplit_once(", for ").and_then(|(_, age)| age.strip_suffix(" s")).unwrap();
        assert!(age.parse::<f64>().unwrap() < 30.0, "{line}");
    }
    assert!(errors.contains(" of standard input, for "), "{errors}");
}

#[test]
fn a_second_signal_ends_a_script_that_never_waits() {
    use rustix::process::Signal;
    let ways = [(Signal::TERM, 143), (Signal::INT, 130)];
    for (backend, (kind, own_code)) in BACKENDS.into_iter().flat_map(|backend| ways.map(|way| (backend, way))) {
        let mut child = start("signals", backend, "stdout:print('ready\\n') stdout:flush() while true do end");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        let is_over = |child: &mut std::process::Child| child.try_wait().unwrap().is_some();
        let give_up = std::time::Instant::now() + LIMIT;
        // Two that come at once may be taken for one.
        while !is_over(&mut child) && std::time::Instant::now() < give_up {
            signal(&child, kind);
            std::thread::sleep(Duration::from_millis(20));
        }
        let code = end_within(LIMIT, &mut child).code;
        // By the signal itself, or in order if the first came before the loop had begun.
        assert!(code.is_none_or(|code| code == own_code), "{backend}: {code:?}");
    }
}

#[test]
fn the_error_is_seen_though_a_peer_takes_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = format!(
        "local socket = Socket.connect('127.0.0.1', {port})
        socket:send(('x'):rep(64 << 20), {{ async = true }})
        error('visible')"
    );
    for backend in BACKENDS {
        let mut child = start("error-sending", backend, &script);
        let (peer, _) = listener.accept().unwrap();
        let errors = child.stderr.take().unwrap();
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            BufReader::new(errors).read_line(&mut line).unwrap();
            sender.send(line)
        });
        let line = receiver.recv_timeout(LIMIT).unwrap_or_default();
        assert_eq!(line, "corella: script.lua:3: visible\n");
        assert_eq!(child.try_wait().unwrap(), None, "the send may still go out");
        drop(peer);
        assert_eq!(end_within(LIMIT, &mut child).code, Some(1));
    }
}
