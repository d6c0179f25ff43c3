//! Point 10, and bad input: errors name operation, target and the OS's code; what is in flight can be listed.

use std::time::Duration;

use corella::{ErrorKind, Mode, OpenOptions, Shutdown};

use crate::codes;
use crate::promises;
use crate::setup::Setup;

promises![
    an_error_reads_operation_numbers_target_reason_and_code,
    an_error_keeps_its_parts_and_converts_to_the_standard_librarys,
    a_refusal_names_its_numbers_and_its_target_too,
    what_a_handle_is_shows_in_its_debug_text,
    bad_input_is_answered_and_never_panics,
    a_name_that_does_not_resolve_is_an_error_that_names_it,
    outstanding_lists_operation_target_and_age,
    a_transfer_that_the_mode_forbids_says_so,
];

fn an_error_reads_operation_numbers_target_reason_and_code(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let path = setup.file("data", b"0123");
    let name = path.display();
    let file = io.open(&path, Mode::Read).wait().unwrap();
    let missing = setup.path("missing");
    let not_open = codes::says("Bad file descriptor (os error 9)", 5);
    let none = codes::says("No such file or directory (os error 2)", 2);
    let exists = codes::says("File exists (os error 17)", 183);
    let no_directory = codes::says("Not a directory (os error 20)", 267);
    let no_link = codes::says("Invalid argument (os error 22)", 4390);
    let directory = codes::says("Is a directory (os error 21)", 336);
    let expected = [
        (
            file.write_at(vec![0; 4096], 8192).wait().unwrap_err().error,
            format!("write_at 4096 bytes at 8192 of {name}: {not_open}: not open for writing"),
        ),
        (
            file.write("abc").wait().unwrap_err().error,
            format!("write 3 bytes of {name}: {not_open}: not open for writing"),
        ),
        (
            file.read_exact_at(vec![0; 9], 1).wait().unwrap_err().error,
            format!("read_exact 9 bytes at 1 of {name}: the end came too early: after 3 bytes"),
        ),
        (
            io.open(&missing, Mode::Read).wait().unwrap_err(),
            format!("open for reading of {}: {none}", missing.display()),
        ),
        (
            io.rename(&missing, "elsewhere").wait().unwrap_err(),
            format!("rename to elsewhere of {}: {none}", missing.display()),
        ),
        (io.make_directory(&path).wait().unwrap_err(), format!("mkdir of {name}: {exists}")),
        (io.remove_directory(&path).wait().unwrap_err(), format!("rmdir of {name}: {no_directory}")),
        (io.read_link(&path).wait().unwrap_err(), format!("readlink of {name}: {no_link}")),
        (io.read_directory(&path).wait().unwrap_err(), format!("opendir of {name}: {no_directory}")),
        (
            io.open(path.parent().unwrap(), Mode::Read).wait().unwrap_err(),
            format!("open for reading of {}: {directory}", path.parent().unwrap().display()),
        ),
        (
            io.open(path.parent().unwrap(), Mode::Write).wait().unwrap_err(),
            format!("open for writing of {}: {directory}", path.parent().unwrap().display()),
        ),
    ];
    for (error, text) in expected {
        assert_eq!(error.to_string(), text);
    }
    let (socket, peer) = setup.connection(&io);
    let address = peer.local_addr().unwrap();
    let error = socket.recv(vec![0; 7]).deadline(Duration::from_millis(1)).wait().unwrap_err().error;
    assert_eq!(error.to_string(), format!("recv 7 bytes of {address}: deadline passed"));
    let bound = io.socket(address).unwrap();
    bound.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let own = bound.local_address().unwrap();
    let error = bound.shutdown(Shutdown::Write).wait().unwrap_err();
    assert!(error.to_string().starts_with(&format!("shutdown write of {own} (local): ")), "{error}");
    // Bound, but nobody listens.
    let error = io.connect(own).wait().unwrap_err();
    assert!(error.to_string().starts_with(&format!("connect to {own}")), "{error}");
    assert_eq!(error.os_code(), Some(codes::ECONNREFUSED));
}

fn an_error_keeps_its_parts_and_converts_to_the_standard_librarys(setup: &Setup) {
    let scheduler = setup.scheduler();
    let missing = setup.path("missing");
    let error = scheduler.io().stat(&missing).wait().unwrap_err();
    assert_eq!((error.kind(), error.os_code(), error.operation()), (ErrorKind::Os, Some(codes::ENOENT), "stat"));
    assert_eq!(error.target(), missing.to_str().unwrap());
    assert_eq!(error.reason(), codes::text(codes::ENOENT));
    let text = error.to_string();
    let standard: std::io::Error = error.into();
    assert_eq!((standard.kind(), standard.to_string()), (std::io::ErrorKind::NotFound, text));
}

fn a_refusal_names_its_numbers_and_its_target_too(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let path = setup.file("data", b"0123");
    let name = path.display().to_string();
    let file = io.open(&path, Mode::Read).wait().unwrap();
    let (socket, peer) = setup.connection(&io);
    let address = peer.local_addr().unwrap();
    let inside = (file.clone(), socket.clone());
    let (of_file, of_socket) = scheduler
        .block_on(async move {
            let of_file = inside.0.read_at(vec![0; 4], 8).wait().unwrap_err().error.to_string();
            (of_file, inside.1.send("abc").wait().unwrap_err().error.to_string())
        })
        .unwrap();
    let why = "`wait` inside a task or callback; use `await` or `then`";
    assert_eq!(of_file, format!("read_at 4 bytes at 8 of {name}: {why}"));
    assert_eq!(of_socket, format!("send 3 bytes of {address}: {why}"));
    assert_eq!(format!("{:?}", file.read(vec![0; 4])), "Operation(read, not begun)");
    assert_eq!(format!("{:?}", file.read_at(vec![0; 4], 8)), "Operation(read_at at 8, not begun)");
    let other = file.clone();
    file.close().wait().unwrap();
    let closed = |text: String, operation: &str| {
        assert_eq!(text, format!("{operation} of {name}: the handle is closed"));
    };
    closed(file.read_at(vec![0; 4], 8).wait().unwrap_err().to_string(), "read_at 4 bytes at 8");
    closed(file.sync().submit().unwrap_err().to_string(), "sync");
    closed(other.close().wait().unwrap_err().to_string(), "close");
    closed(other.cursor().unwrap_err().to_string(), "cursor");
    socket.close().wait().unwrap();
    let error = socket.send("abc").wait().unwrap_err();
    assert_eq!(error.to_string(), "send 3 bytes of a closed socket: the handle is closed");
    let (socket, peer) = setup.connection(&io);
    let address = peer.local_addr().unwrap();
    let send = socket.send(vec![0; 64 << 20]).submit().unwrap();
    let error = socket.close().deadline(Duration::from_millis(5)).wait().unwrap_err();
    assert_eq!(error.to_string(), format!("close of {address}: deadline passed"));
    assert!(send.wait().is_err());
    let open = io.open(&path, Mode::Read).wait().unwrap();
    drop(scheduler);
    let error = open.read(vec![0; 4]).wait().unwrap_err();
    assert_eq!(error.to_string(), format!("read 4 bytes of {name}: the scheduler has ended"));
}

fn what_a_handle_is_shows_in_its_debug_text(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let path = setup.file("data", b"");
    let file = io.open(&path, Mode::Read).wait().unwrap();
    assert_eq!(format!("{file:?}"), format!("File {{ handle: {} }}", path.display()));
    file.close().wait().unwrap();
    assert_eq!(format!("{file:?}"), format!("File {{ handle: {} (closed) }}", path.display()));
    let (socket, peer) = setup.connection(&io);
    let address = peer.local_addr().unwrap();
    assert_eq!(format!("{socket:?}"), format!("Socket {{ handle: {address} }}"));
    let listener = io.listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_address().unwrap();
    assert_eq!(format!("{listener:?}"), format!("Listener {{ handle: {address} }}"));
    let reason = scheduler.backend_reason().to_string();
    assert!(!reason.is_empty() && !reason.contains("UringRefused"), "{reason}");
}

fn bad_input_is_answered_and_never_panics(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let invalid = |error: corella::Error| assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    invalid(io.open("a\0b", Mode::Read).wait().unwrap_err());
    invalid(io.stat("a\0b").wait().unwrap_err());
    invalid(io.rename("a", "b\0").wait().unwrap_err());
    invalid(io.resolve("", 1).wait().unwrap_err());
    invalid(io.resolve("a\0b", 1).wait().unwrap_err());
    assert!(io.open("a\0b", Mode::Read).wait().unwrap_err().to_string().contains("a\\0b"));
    let file = io.open(setup.file("data", b"x"), Mode::ReadWrite).wait().unwrap();
    invalid(file.read_at(vec![0; 1], u64::MAX).wait().unwrap_err().error);
    invalid(file.read_at(vec![0; 1], i64::MAX as u64 + 1).wait().unwrap_err().error);
    // The last place that a file can have is the OS's to judge.
    let last = file.read_at(vec![0; 1], i64::MAX as u64).wait();
    assert_ne!(last.map_err(|failed| failed.error.kind()).map(|_| ()), Err(ErrorKind::InvalidInput));
    invalid(file.write_at(vec![0; 1], 1 << 63).wait().unwrap_err().error);
    assert!(file.truncate(u64::MAX).wait().is_err());
    assert!(file.allocate(u64::MAX, u64::MAX).wait().is_err());
    assert!(file.seek(std::io::SeekFrom::Current(-1)).wait().is_err());
    assert!(file.seek(std::io::SeekFrom::End(i64::MIN)).wait().is_err());
    assert!(io.open(setup.path("never"), OpenOptions::new()).wait().is_err());
    assert!(io.open("", Mode::Read).wait().is_err());
    let long = "x".repeat(5000);
    let code = io.open(&long, Mode::Read).wait().unwrap_err().os_code();
    assert!(codes::ENAMETOOLONG.contains(&code.unwrap()), "{code:?}");
    assert!(io.listen("203.0.113.1:1".parse().unwrap()).is_err());
    let socket = io.socket("127.0.0.1:1".parse().unwrap()).unwrap();
    assert!(socket.send("nowhere").wait().is_err());
    assert!(socket.recv(vec![0; 1]).wait().is_err());
    assert!(socket.shutdown(Shutdown::Both).wait().is_err());
    // A file is no socket, and says so when it is adopted.
    #[cfg(unix)]
    assert!(io.adopt_socket(std::os::fd::OwnedFd::from(std::fs::File::open("/").unwrap())).is_err());
}

fn a_name_that_does_not_resolve_is_an_error_that_names_it(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    for error in [
        io.resolve("no-such-host.invalid", 80).wait().unwrap_err(),
        io.connect_name("no-such-host.invalid", 80).wait().unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::NameNotResolved);
        assert!(error.to_string().starts_with("resolve of no-such-host.invalid:80: "), "{error}");
    }
}

fn outstanding_lists_operation_target_and_age(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let (socket, peer) = setup.connection(&io);
    let first = socket.recv(vec![0; 10]).submit().unwrap();
    io.sleep(Duration::from_millis(5)).wait().unwrap();
    let second = socket.recv(vec![0; 20]).submit().unwrap();
    let list = scheduler.outstanding();
    assert_eq!(list.len(), 2);
    assert_eq!((list[0].operation.as_str(), list[0].at_os, list[0].id), ("recv 10 bytes", true, first.id()));
    assert_eq!((list[1].operation.as_str(), list[1].at_os, list[1].id), ("recv 20 bytes", false, second.id()));
    assert!(list.iter().all(|request| request.target == peer.local_addr().unwrap().to_string()));
    assert!(list[0].age >= Duration::from_millis(5) && list[0].age > list[1].age);
    // Of this moment, though nothing has turned since.
    std::thread::sleep(Duration::from_millis(2));
    let later = scheduler.outstanding();
    assert!(later[0].age >= list[0].age + Duration::from_millis(2) && later[1].age >= Duration::from_millis(2));
    let third = io.sleep(Duration::from_secs(9)).submit().unwrap();
    assert!(scheduler.outstanding().iter().any(|request| request.id == third.id() && !request.at_os));
}

fn a_transfer_that_the_mode_forbids_says_so(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let path = setup.file("data", b"content");
    let read_only = io.open(&path, Mode::Read).wait().unwrap();
    let write_only = io.open(&path, OpenOptions::new().write(true)).wait().unwrap();
    for failed in [read_only.write("x").wait().unwrap_err().error, read_only.write_at("x", 0).wait().unwrap_err().error]
    {
        assert_eq!(failed.os_code(), Some(codes::EBADF));
        assert!(failed.to_string().contains("not open for writing"), "{failed}");
    }
    let failed = write_only.read(vec![0; 4]).wait().unwrap_err().error;
    assert_eq!(failed.os_code(), Some(codes::EBADF));
    assert!(failed.to_string().contains("not open for reading"), "{failed}");
}
