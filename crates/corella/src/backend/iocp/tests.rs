//! Promises of the backend, on the double of a port, with the whole engine above it.

use std::cell::Cell;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use super::Iocp;
use super::fake::{AtCancel, Control, FakePort, Fate, Plan, Timing, named_pipe};
use super::port::*;
use crate::backend::Completions;
use crate::buffer::{Buffer, BufferMut, Parts};
use crate::error::{ErrorKind, Moved};
use crate::file::Mode;
use crate::net::Socket;
use crate::op::OpenOptions;
use crate::scheduler::{Io, Scheduler};
use crate::status::Status;

/// A scheduler on a double, and what is done to that.
fn scheduler() -> (Scheduler, Io, Control) {
    let port = FakePort::new(Plan::new(None)).unwrap();
    let control = port.control();
    let scheduler = Scheduler::builder().build_on_port(port);
    let io = scheduler.io();
    (scheduler, io, control)
}

/// Has every call of this name meet the same fate.
fn always(control: &Control, name: &'static str, fate: Fate) {
    control.set_script(move |call, _| (call == name).then_some(fate));
}

fn turn_until(scheduler: &mut Scheduler, what: &str, is_done: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_done() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what} does not come");
        scheduler.turn(Duration::from_millis(1)).unwrap();
    }
}

fn connection(io: &Io) -> (Socket, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (theirs, _) = listener.accept().unwrap();
    (io.adopt_socket(ours).unwrap(), theirs)
}

/// A folder of its own for a test, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("corella-iocp-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn file(&self, content: &[u8]) -> PathBuf {
        let path = self.0.join("data");
        fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A buffer that tells when it is freed.
struct Watched(Vec<u8>, Rc<Cell<bool>>);

impl Watched {
    fn new(length: usize) -> (Watched, Rc<Cell<bool>>) {
        let is_freed = Rc::new(Cell::new(false));
        (Watched(vec![0; length], Rc::clone(&is_freed)), is_freed)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.1.set(true);
    }
}

// SAFETY: the bytes are the vector's, on the heap.
unsafe impl Buffer for Watched {
    fn source_parts(&self, parts: &mut Parts) {
        self.0.source_parts(parts);
    }
}

// SAFETY: as above.
unsafe impl BufferMut for Watched {
    fn target_parts(&mut self, parts: &mut Parts) {
        self.0.target_parts(parts);
    }
}

#[test]
fn a_packet_that_comes_before_its_call_returns_is_one_outcome() {
    let (mut scheduler, io, control) = scheduler();
    control.set_script(|_, _| Some(Fate::at(Timing::PacketFirst)));
    let (socket, mut peer) = connection(&io);
    for round in 0..100u8 {
        peer.write_all(&[round; 3]).unwrap();
        let receive = socket.recv_exact(vec![0; 3]).submit().unwrap();
        let send = socket.send(vec![round; 5]).submit().unwrap();
        assert_eq!(scheduler.block_on(receive).unwrap().unwrap().1, [round; 3]);
        assert_eq!(scheduler.block_on(send).unwrap().unwrap().0, 5);
    }
    assert_eq!(control.in_flight(), 0);
}

#[test]
fn a_cancel_before_anything_came_says_that_nothing_moved_and_loses_nothing() {
    for at_cancel in [AtCancel::Ends, AtCancel::EndsAfter(Duration::from_millis(2)), AtCancel::Loses] {
        let (mut scheduler, io, control) = scheduler();
        always(&control, "WSARecv", Fate { at_cancel, ..Fate::ORDINARY });
        let (socket, mut peer) = connection(&io);
        let receive = socket.recv(vec![0; 8]).submit().unwrap();
        receive.cancel();
        turn_until(&mut scheduler, "the cancelled receive", || receive.is_settled());
        let failed = receive.wait().unwrap_err();
        assert_eq!((failed.error.kind(), failed.moved), (ErrorKind::Cancelled, Moved::Bytes(0)), "{at_cancel:?}");
        peer.write_all(b"later").unwrap();
        let next = scheduler.block_on(socket.recv(vec![0; 8])).unwrap().unwrap();
        assert_eq!(&next.1[..next.0], b"later");
    }
}

#[test]
fn a_cancel_that_comes_too_late_changes_nothing() {
    // The bytes came, and the packet is on its way; or the request wins the race.
    let won = Fate { timing: Timing::After(Duration::ZERO), at_cancel: AtCancel::Loses, ..Fate::ORDINARY };
    let late = Fate::at(Timing::Late(Duration::from_millis(3)));
    for (fate, asks) in [(Fate::at(Timing::PacketFirst), 1), (late, 1), (Fate::at(Timing::Withheld), 2), (won, 3)] {
        let (mut scheduler, io, control) = scheduler();
        always(&control, "WSARecv", fate);
        let (socket, mut peer) = connection(&io);
        peer.write_all(b"there").unwrap();
        let receive = socket.recv(vec![0; 5]).submit().unwrap();
        if fate.timing == Timing::Withheld {
            // It is carried out, and only the packet is missing.
            scheduler.turn(Duration::from_millis(1)).unwrap();
            assert_eq!(control.withheld(), 1);
        }
        for _ in 0..asks {
            receive.cancel();
        }
        assert_eq!(control.calls("CancelIoEx"), 1, "asked once, however often the program asks");
        control.release();
        turn_until(&mut scheduler, "the receive", || receive.is_settled());
        let (count, bytes) = receive.wait().unwrap();
        assert_eq!((count, &bytes[..]), (5, &b"there"[..]), "{fate:?}");
    }
}

#[test]
fn a_write_stopped_on_its_way_says_how_much_went_out() {
    let (mut scheduler, io, control) = scheduler();
    let (writer, reader) = named_pipe(false);
    let pipe = io.adopt_file(writer, "pipe").unwrap();
    let write = pipe.write(vec![7; 8 << 20]).submit().unwrap();
    scheduler.turn(Duration::from_millis(1)).unwrap();
    write.cancel();
    turn_until(&mut scheduler, "the write", || write.is_settled());
    let failed = write.wait().unwrap_err();
    assert_eq!(failed.error.kind(), ErrorKind::Cancelled);
    let moved = failed.moved.bytes();
    assert!(moved > 0 && moved < 8 << 20, "{moved}");
    drop(pipe);
    scheduler.run().unwrap();
    let mut bytes = Vec::new();
    fs::File::from(reader).read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len() as u64, moved);
    assert_eq!(control.in_flight(), 0);
}

fn poll_once<F: Future + Unpin>(scheduler: &mut Scheduler, future: &mut F) -> Poll<F::Output> {
    scheduler.block_on(std::future::poll_fn(|context| Poll::Ready(Pin::new(&mut *future).poll(context)))).unwrap()
}

#[test]
fn a_write_stopped_nobody_knows_where_says_so_and_breaks_its_lane() {
    for is_socket in [false, true] {
        let (mut scheduler, io, control) = scheduler();
        control.forget_what_went_out();
        let (socket, mut peer) = connection(&io);
        let (writer, _reader) = named_pipe(false);
        let pipe = io.adopt_file(writer, "pipe").unwrap();
        let write = |bytes| if is_socket { socket.send(bytes) } else { pipe.write(bytes) };
        let stopped = write(vec![7; 64 << 20]).submit().unwrap();
        let behind = write(vec![8; 1]).submit().unwrap();
        scheduler.turn(Duration::from_millis(1)).unwrap();
        if is_socket {
            peer.read_exact(&mut [0; 100]).unwrap();
        }
        stopped.cancel();
        turn_until(&mut scheduler, "both", || stopped.is_settled() && behind.is_settled());
        let failed = stopped.wait().unwrap_err();
        assert_eq!((failed.error.kind(), failed.moved), (ErrorKind::Cancelled, Moved::Unknown));
        assert_eq!(behind.wait().unwrap_err().error.kind(), ErrorKind::LaneBroken);
    }
}

#[test]
fn the_cancel_of_a_queued_write_fails_no_other_where_nobody_knows_how_far_a_stopped_one_came() {
    // More than the system takes while nobody reads, and less than one call for several takes.
    const LARGE: usize = 800 << 10;
    let (mut scheduler, io, control) = scheduler();
    control.forget_what_went_out();
    let (socket, peer) = connection(&io);
    socket.set_send_buffer(4096).unwrap();
    // So that the peer's buffer does not grow.
    let peer = io.adopt_socket(peer).unwrap();
    peer.set_receive_buffer(128 << 10).unwrap();
    let (mut peer, _) = peer.into_std().unwrap();
    // The first goes out alone; the others wait behind it.
    let sends: Vec<_> = [LARGE, LARGE, 1000, 1000, 1000, 1000]
        .into_iter()
        .zip(1u8..)
        .map(|(length, number)| socket.send(vec![number; length]).submit().unwrap())
        .collect();
    scheduler.turn(Duration::from_millis(1)).unwrap();
    let mut received = vec![0; LARGE];
    let reader = std::thread::spawn(move || {
        peer.read_exact(&mut received).unwrap();
        (peer, received)
    });
    turn_until(&mut scheduler, "the first", || sends[0].is_settled() && reader.is_finished());
    let (mut peer, mut received) = reader.join().unwrap();
    scheduler.poll().unwrap();
    // The second is on its way, and the system takes no more for now.
    sends[4].cancel();
    scheduler.poll().unwrap();
    assert!(!sends[1].is_settled());
    let reader = std::thread::spawn(move || {
        peer.read_to_end(&mut received).unwrap();
        received
    });
    let mut expected = Vec::new();
    for (send, number) in sends.into_iter().zip(1u8..) {
        match scheduler.block_on(send).unwrap() {
            Ok((length, _)) => expected.resize(expected.len() + length, number),
            Err(failed) => {
                assert_eq!((failed.error.kind(), number), (ErrorKind::Cancelled, 5), "{}", failed.error);
                assert_eq!(failed.moved, Moved::NotStarted);
            }
        }
    }
    scheduler.block_on(socket.close()).unwrap().unwrap();
    assert!(reader.join().unwrap() == expected);
}

#[test]
fn a_write_that_failed_on_its_way_says_that_nobody_knows_how_much_of_it_went_out() {
    for (name, fate, moved) in [
        ("failed on its way", Fate { fails: Some(ERROR_NETNAME_DELETED), ..Fate::ORDINARY }, Moved::Unknown),
        ("refused", Fate { refused: Some(WSAECONNRESET), ..Fate::ORDINARY }, Moved::Bytes(0)),
    ] {
        let (mut scheduler, io, control) = scheduler();
        control.forget_what_went_out();
        always(&control, "WSASend", fate);
        let (socket, _peer) = connection(&io);
        let send = socket.send(vec![7; 100]).submit().unwrap();
        // Where the first fails at once, this is refused at once.
        let behind = socket.send("behind").submit();
        let failed = scheduler.block_on(send).unwrap().unwrap_err();
        assert_eq!((failed.error.os_code(), failed.moved), (Some(libc::ECONNRESET), moved), "{name}");
        let failed = behind.and_then(Status::wait).unwrap_err();
        assert_eq!((failed.error.kind(), failed.moved), (ErrorKind::LaneBroken, Moved::NotStarted), "{name}");
    }
}

#[test]
fn what_is_dropped_or_forgotten_in_flight_stays_until_its_packet() {
    for is_forgotten in [false, true] {
        let (mut scheduler, io, control) = scheduler();
        always(&control, "WSARecv", Fate { at_cancel: AtCancel::Loses, ..Fate::at(Timing::Withheld) });
        let (socket, mut peer) = connection(&io);
        let (buffer, is_freed) = Watched::new(4);
        let mut future = socket.recv(buffer);
        assert!(poll_once(&mut scheduler, &mut future).is_pending());
        peer.write_all(b"four").unwrap();
        if is_forgotten {
            std::mem::forget(future)
        } else {
            drop(future)
        }
        for _ in 0..10 {
            scheduler.turn(Duration::from_millis(1)).unwrap();
        }
        assert!(!is_freed.get(), "the double has written to it, and its packet has not come");
        control.release();
        turn_until(&mut scheduler, "the packet", || control.in_flight() == 0);
        // A dropped one is nobody's, and goes; one that was forgotten keeps its place, as what is forgotten does.
        assert_eq!(is_freed.get(), !is_forgotten);
        if !is_forgotten {
            // What it received is the next one's.
            let (count, bytes) = scheduler.block_on(socket.recv(vec![0; 9])).unwrap().unwrap();
            assert_eq!(&bytes[..count], b"four");
        }
    }
}

#[test]
fn a_handle_closed_in_flight_is_closed_after_the_packet() {
    let (mut scheduler, io, control) = scheduler();
    always(&control, "WSARecv", Fate { at_cancel: AtCancel::Loses, ..Fate::at(Timing::Withheld) });
    let (socket, mut peer) = connection(&io);
    peer.write_all(b"four").unwrap();
    let receive = socket.recv(vec![0; 4]).submit().unwrap();
    drop(socket);
    for _ in 0..10 {
        scheduler.turn(Duration::from_millis(1)).unwrap();
    }
    assert!(!receive.is_settled());
    peer.set_nonblocking(true).unwrap();
    let ended = peer.read(&mut [0]).unwrap_err();
    assert_eq!(ended.kind(), std::io::ErrorKind::WouldBlock, "it is still open");
    control.release();
    turn_until(&mut scheduler, "the receive", || receive.is_settled());
    assert_eq!(receive.wait().unwrap().1, b"four");
    scheduler.run().unwrap();
    assert_eq!(peer.read(&mut [0]).unwrap(), 0, "it is closed");
}

#[test]
fn a_drop_waits_for_packets_that_come_late() {
    let (scheduler, io, control) = scheduler();
    always(&control, "WSARecv", Fate::at(Timing::Late(Duration::from_millis(60))));
    let (socket, mut peer) = connection(&io);
    peer.write_all(b"four").unwrap();
    let (buffer, is_freed) = Watched::new(4);
    socket.recv(buffer).then(|_| unreachable!("a drop runs no callbacks")).unwrap();
    let start = Instant::now();
    drop(scheduler);
    assert!(start.elapsed() >= Duration::from_millis(50), "{:?}", start.elapsed());
    assert!(is_freed.get());
    assert_eq!(control.in_flight(), 0);
}

#[test]
fn a_shutdown_gives_up_on_packets_that_do_not_come_leaks_what_is_lent_and_says_so() {
    let (scheduler, io, control) = scheduler();
    always(&control, "WSARecv", Fate { at_cancel: AtCancel::Loses, ..Fate::at(Timing::Withheld) });
    let (socket, mut peer) = connection(&io);
    peer.write_all(b"four").unwrap();
    let (buffer, is_freed) = Watched::new(4);
    socket.recv(buffer).then(|_| ()).unwrap();
    let start = Instant::now();
    let leaked = scheduler.shutdown(Duration::from_millis(30)).unwrap_err();
    assert!(start.elapsed() >= Duration::from_millis(30), "{:?}", start.elapsed());
    let names: Vec<_> = leaked.requests.iter().map(|request| request.operation.clone()).collect();
    assert_eq!(names, ["recv 4 bytes", "close"]);
    drop(socket);
    assert!(!is_freed.get(), "the system may still write to it");
    assert_eq!(control.withheld(), 1);
}

#[test]
fn requests_that_overlap_on_a_file_are_at_the_port_one_at_a_time_and_others_at_once() {
    let folder = Folder::new("overlap");
    let (mut scheduler, io, control) = scheduler();
    let path = folder.file(&[0; 100]);
    let file = io.open(&path, OpenOptions::new().read(true).write(true)).wait().unwrap();
    // The first of all takes longest.
    control.set_script(|call, number| match call {
        "WriteFile" if number == 1 => Some(Fate::at(Timing::After(Duration::from_millis(20)))),
        "WriteFile" | "ReadFile" => Some(Fate::at(Timing::After(Duration::ZERO))),
        _ => None,
    });
    let writes = [1, 2, 3].map(|byte| file.write_at(vec![byte; 50], 0).submit().unwrap());
    let beside = file.write_at(vec![9; 50], 50).submit().unwrap();
    assert_eq!((control.calls("WriteFile"), control.in_flight()), (2, 2));
    turn_until(&mut scheduler, "the one beside", || beside.is_settled());
    assert!(!writes[0].is_settled());
    let read = file.read_at(vec![0; 100], 0).submit().unwrap();
    assert_eq!(control.calls("ReadFile"), 0, "held back");
    let (_, bytes) = scheduler.block_on(read).unwrap().unwrap();
    assert_eq!(bytes, [[3; 50], [9; 50]].concat());
    assert!(writes.iter().all(|write| write.is_settled()));
}

#[test]
fn a_request_that_takes_long_holds_the_schedulers_thread_for_no_moment() {
    let folder = Folder::new("long");
    let (mut scheduler, io, control) = scheduler();
    let file = io.open(folder.file(&[1; 100]), Mode::Read).wait().unwrap();
    always(&control, "ReadFile", Fate::at(Timing::After(Duration::from_millis(200))));
    let read = file.read_at(vec![0; 100], 0).submit().unwrap();
    let mut ticks = 0;
    while !read.is_settled() {
        let start = Instant::now();
        scheduler.block_on(io.sleep(Duration::from_millis(1))).unwrap().unwrap();
        ticks += u32::from(start.elapsed() < Duration::from_millis(100));
    }
    assert!(ticks > 20, "{ticks} ticks");
    assert_eq!(scheduler.block_on(read).unwrap().unwrap().0, 100);
}

#[test]
fn a_reset_is_an_error_and_an_end_is_an_end() {
    let (mut scheduler, io, control) = scheduler();
    let (socket, peer) = connection(&io);
    always(&control, "WSARecv", Fate { fails: Some(ERROR_NETNAME_DELETED), ..Fate::ORDINARY });
    let failed = scheduler.block_on(socket.recv(vec![0; 4])).unwrap().unwrap_err();
    assert_eq!(failed.error.os_code(), Some(libc::ECONNRESET), "{}", failed.error);
    always(&control, "WSARecv", Fate { refused: Some(WSAECONNRESET), ..Fate::ORDINARY });
    let failed = scheduler.block_on(socket.recv(vec![0; 4])).unwrap().unwrap_err();
    assert_eq!(failed.error.os_code(), Some(libc::ECONNRESET), "{}", failed.error);
    always(&control, "WSARecv", Fate::ORDINARY);
    drop(peer);
    assert_eq!(scheduler.block_on(socket.recv(vec![0; 4])).unwrap().unwrap().0, 0);
}

#[test]
fn a_pipes_message_that_does_not_fit_comes_in_parts_and_each_tells_its_size() {
    for waits in [false, true] {
        let (mut scheduler, io, _control) = scheduler();
        let (server, client) = named_pipe(true);
        let pipe = io.adopt_file(server, "pipe").unwrap();
        let read = waits.then(|| pipe.read(vec![0; 10]).submit().unwrap());
        rustix::io::write(&client, &(0..30).collect::<Vec<u8>>()).unwrap();
        let first = match read {
            Some(read) => scheduler.block_on(read).unwrap().unwrap(),
            None => scheduler.block_on(pipe.read(vec![0; 10])).unwrap().unwrap(),
        };
        assert_eq!(first, (10, (0..10).collect()));
        let (count, rest) = scheduler.block_on(pipe.read(vec![0; 100])).unwrap().unwrap();
        assert_eq!(&rest[..count], (10..30).collect::<Vec<u8>>());
        drop(client);
        assert_eq!(scheduler.block_on(pipe.read(vec![0; 10])).unwrap().unwrap().0, 0, "the end");
    }
}

#[test]
fn a_request_is_one_call_to_start_and_a_dequeue_shared_with_others() {
    const REQUESTS: u64 = 100;
    let folder = Folder::new("calls");
    let (mut scheduler, io, control) = scheduler();
    let file = io.open(folder.file(&[1; 4096]), Mode::Read).wait().unwrap();
    let reads: Vec<_> = (0..REQUESTS).map(|place| file.read_at(vec![0; 8], place * 8).submit().unwrap()).collect();
    let before = control.calls("GetQueuedCompletionStatusEx");
    for read in reads {
        assert_eq!(scheduler.block_on(read).unwrap().unwrap().0, 8);
    }
    assert_eq!(control.calls("ReadFile"), REQUESTS);
    assert_eq!(control.calls("GetQueuedCompletionStatusEx") - before, 1);
    assert_eq!(control.calls("CreateIoCompletionPort"), 1, "once a handle");
    assert_eq!(control.calls("CancelIoEx"), 0);
}

#[test]
fn what_ends_inside_its_call_costs_no_dequeue_where_the_provider_skips_packets() {
    for provider_skips in [true, false] {
        let (mut scheduler, io, control) = scheduler();
        control.set_provider_skips(provider_skips);
        let (socket, mut peer) = connection(&io);
        peer.write_all(&[1; 100]).unwrap();
        for _ in 0..50 {
            let send = socket.send("x").submit().unwrap();
            let receive = socket.recv(vec![0; 2]).submit().unwrap();
            assert_eq!((send.is_settled(), receive.is_settled()), (provider_skips, provider_skips));
            while !(send.is_settled() && receive.is_settled()) {
                scheduler.turn(Duration::from_secs(1)).unwrap();
            }
            assert_eq!((send.wait().unwrap().0, receive.wait().unwrap().0), (1, 2));
        }
        let dequeues = control.calls("GetQueuedCompletionStatusEx");
        assert_eq!((control.calls("WSASend"), control.calls("WSARecv")), (50, 50));
        assert!(if provider_skips { dequeues == 0 } else { dequeues >= 50 }, "{dequeues}");
    }
}

#[test]
fn a_socket_that_somebody_else_closes_is_a_clear_error_for_each_of_its_requests() {
    // What Windows tells of those differs.
    for (code, forgets) in [(ERROR_OPERATION_ABORTED, false), (ERROR_OPERATION_ABORTED, true), (0, false)] {
        let (mut scheduler, io, control) = scheduler();
        if forgets {
            control.forget_what_went_out();
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (number, (peer, _)) = (ours.as_raw_fd(), listener.accept().unwrap());
        let socket = io.adopt_socket(ours).unwrap();
        let accepting = listener.as_raw_fd();
        let listener = io.adopt_listener(listener).unwrap();
        let (buffer, is_freed) = Watched::new(4);
        let settled = Rc::new(Cell::new(0));
        let count = Rc::clone(&settled);
        let told = move |_| count.set(count.get() + 1);
        socket.recv(buffer).then(told).unwrap();
        let receives = [4, 5].map(|length| socket.recv(vec![7; length]).submit().unwrap());
        let sends = [64 << 20, 1].map(|length| socket.send(vec![8; length]).submit().unwrap());
        let accept = listener.accept().submit().unwrap();
        scheduler.turn(Duration::from_millis(1)).unwrap();
        control.close_socket(number, code);
        control.close_socket(accepting, code);
        turn_until(&mut scheduler, "all", || {
            settled.get() == 1 && accept.is_settled() && receives.iter().all(|receive| receive.is_settled())
        });
        for (receive, length) in receives.into_iter().zip([4, 5]) {
            let failed = receive.wait().unwrap_err();
            assert_eq!((failed.error.os_code(), failed.buffer), (Some(libc::ENOTSOCK), vec![7; length]));
        }
        assert!(is_freed.get());
        assert_eq!(accept.wait().unwrap_err().os_code(), Some(libc::ENOTSOCK));
        let [stopped, behind] = sends.map(|send| scheduler.block_on(send).unwrap().unwrap_err());
        assert_eq!(stopped.buffer.len(), 64 << 20);
        match forgets {
            // How much of it went out, nobody says.
            true => assert_eq!((stopped.error.os_code(), stopped.moved), (Some(libc::ECANCELED), Moved::Unknown)),
            false => assert_eq!(stopped.error.os_code(), Some(libc::ENOTSOCK)),
        }
        assert_eq!((behind.error.kind(), behind.moved), (ErrorKind::LaneBroken, Moved::NotStarted));
        let next = scheduler.block_on(socket.recv(vec![0; 4])).unwrap().unwrap_err();
        assert_eq!(next.error.os_code(), Some(libc::ENOTSOCK), "{next}");
        drop((socket, listener, peer));
        scheduler.shutdown(Duration::from_secs(5)).unwrap();
        assert_eq!((control.in_flight(), settled.get()), (0, 1));
    }
}

#[test]
fn a_port_closed_under_the_scheduler_is_a_clear_error_and_every_request_settles_once() {
    let (mut scheduler, io, control) = scheduler();
    let (socket, _peer) = connection(&io);
    let (other, _late) = connection(&io);
    let receive = socket.recv(vec![0; 4]).submit().unwrap();
    let (buffer, is_freed) = Watched::new(4);
    let outcomes = Rc::new(Cell::new(0));
    let count = Rc::clone(&outcomes);
    other.recv(buffer).then(move |_| count.set(count.get() + 1)).unwrap();
    control.close();
    let error = scheduler.turn(Duration::from_secs(1)).unwrap_err();
    assert!(error.to_string().contains("the scheduler's backend"), "{error}");
    // What the system had is let go of without packets; each turn says what is wrong.
    for _ in 0..3 {
        let _ = scheduler.turn(Duration::from_millis(5));
    }
    let failed = receive.wait().unwrap_err();
    assert_eq!((failed.error.os_code(), failed.buffer), (Some(libc::EBADFD), vec![0; 4]));
    assert_eq!(outcomes.get(), 1);
    assert!(is_freed.get());
    let failed = socket.send("x").submit().unwrap();
    let _ = scheduler.turn(Duration::from_millis(5));
    assert_eq!(failed.wait().unwrap_err().error.os_code(), Some(libc::EBADFD));
    // One who waits for what cannot come is told why.
    let waits = std::panic::AssertUnwindSafe(|| io.sleep(Duration::from_secs(3600)).wait());
    let panic = std::panic::catch_unwind(waits).unwrap_err();
    let told = panic.downcast_ref::<String>().unwrap();
    assert!(told.contains("the scheduler's backend"), "{told}");
    drop((socket, other));
    scheduler.shutdown(Duration::from_secs(5)).unwrap();
    assert_eq!(outcomes.get(), 1);
}

#[test]
fn a_handle_that_no_port_takes_goes_to_the_pool_or_is_a_clear_error() {
    let folder = Folder::new("foreign");
    let (mut scheduler, io, control) = scheduler();
    control.refuse_association(Some(ERROR_INVALID_PARAMETER));
    let file = io.open(folder.file(b"content"), Mode::Read).wait().unwrap();
    let read = file.read_at(vec![0; 7], 0).submit().unwrap();
    assert_eq!(scheduler.block_on(read).unwrap().unwrap().1, b"content");
    assert_eq!(control.calls("ReadFile"), 0);
    let (socket, _peer) = connection(&io);
    let failed = scheduler.block_on(socket.recv(vec![7; 4])).unwrap().unwrap_err();
    assert_eq!((failed.error.kind(), &failed.buffer[..]), (ErrorKind::InvalidInput, &[7; 4][..]));
    assert_eq!(failed.error.os_code(), Some(libc::EINVAL));
    assert!(failed.to_string().ends_with("belongs to another completion port already"), "{failed}");
    // Another reason is no reason to go elsewhere, and the next request tries again.
    control.refuse_association(Some(ERROR_INVALID_HANDLE));
    let failed = scheduler.block_on(socket.recv(vec![7; 4])).unwrap().unwrap_err();
    assert_eq!(failed.error.os_code(), Some(libc::EBADF));
    control.refuse_association(None);
    let (socket, mut peer) = connection(&io);
    peer.write_all(b"x").unwrap();
    assert_eq!(scheduler.block_on(socket.recv(vec![0; 1])).unwrap().unwrap().1, b"x");
}

#[test]
fn a_call_that_is_refused_gives_the_buffer_back_with_the_systems_code() {
    let folder = Folder::new("refused");
    let (mut scheduler, io, control) = scheduler();
    let file = io.open(folder.file(b"content"), Mode::Read).wait().unwrap();
    for fate in [
        Fate { refused: Some(ERROR_DISK_FULL), ..Fate::ORDINARY },
        Fate { fails: Some(ERROR_DISK_FULL), ..Fate::ORDINARY },
    ] {
        always(&control, "ReadFile", fate);
        let failed = scheduler.block_on(file.read_at(vec![7; 4], 0)).unwrap().unwrap_err();
        assert_eq!((failed.error.os_code(), failed.buffer), (Some(libc::ENOSPC), vec![7; 4]));
    }
    always(&control, "ReadFile", Fate::ORDINARY);
    assert_eq!(scheduler.block_on(file.read_at(vec![7; 4], 0)).unwrap().unwrap().1, b"cont");
}

#[test]
fn what_the_system_would_do_inside_the_call_goes_to_the_pool_in_order() {
    let folder = Folder::new("pool");
    let (mut scheduler, io, control) = scheduler();
    let path = folder.file(&[0; 10]);
    let file = io.open(&path, OpenOptions::new().read(true).write(true)).wait().unwrap();
    let inside = file.write_at(vec![1; 10], 0).submit().unwrap();
    assert_eq!(control.calls("WriteFile"), 1);
    // It moves the file's end; and the next is inside then.
    let extending = file.write_at(vec![2; 10], 5).submit().unwrap();
    let after = file.write_at(vec![3; 5], 10).submit().unwrap();
    assert_eq!(control.calls("WriteFile"), 1);
    for write in [inside, extending, after] {
        scheduler.block_on(write).unwrap().unwrap();
    }
    assert_eq!(control.calls("WriteFile"), 2);
    assert_eq!(fs::read(&path).unwrap(), [[1; 5], [2; 5], [3; 5]].concat());
    // What is compressed the system does inside the call whatever it is.
    control.compress_files();
    let file = io.open(&path, Mode::Read).wait().unwrap();
    assert_eq!(scheduler.block_on(file.read_at(vec![0; 5], 0)).unwrap().unwrap().1, [1; 5]);
    assert_eq!(control.calls("ReadFile"), 0);
}

#[test]
fn calls_of_other_threads_put_one_packet_into_the_port() {
    let port = FakePort::new(Plan::new(None)).unwrap();
    let control = port.control();
    let mut backend = Iocp::new(port, 1);
    for _ in 0..2 {
        let wakeup = backend.wakeup();
        let caller = std::thread::spawn(move || (0..1000).for_each(|_| wakeup.wake()));
        caller.join().unwrap();
        assert_eq!(control.posted(), 1);
        backend.wait(None, &mut Completions::new()).unwrap();
        assert_eq!(control.posted(), 0);
    }
    // It wakes one who sleeps.
    let (mut scheduler, _io, _control) = scheduler();
    let remote = scheduler.remote();
    let waker = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        remote.wake();
    });
    let start = Instant::now();
    scheduler.turn(Duration::from_secs(20)).unwrap();
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    waker.join().unwrap();
}

#[test]
fn a_packet_that_could_not_be_posted_wakes_one_who_sleeps_once_there_is_room_for_it() {
    const REFUSALS: u32 = 5;
    let (mut scheduler, _io, control) = scheduler();
    control.refuse_posts(REFUSALS);
    let heard = Arc::new(AtomicU32::new(0));
    let wakers: Vec<_> = (0..2)
        .map(|_| {
            let (remote, heard) = (scheduler.remote(), Arc::clone(&heard));
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(20));
                let done = remote.send(move |_| _ = heard.fetch_add(1, Ordering::SeqCst));
                assert!(done.is_ok());
            })
        })
        .collect();
    let start = Instant::now();
    while heard.load(Ordering::SeqCst) < 2 {
        scheduler.turn(Duration::from_secs(30)).unwrap();
        assert!(start.elapsed() < Duration::from_secs(20), "it slept on");
    }
    assert_eq!((control.refusals_left(), control.posted()), (0, 0));
    wakers.into_iter().for_each(|waker| waker.join().unwrap());
    // Nobody tries any more for a scheduler that has ended.
    control.refuse_posts(u32::MAX);
    scheduler.remote().wake();
    scheduler.shutdown(Duration::from_secs(5)).unwrap();
    assert_eq!(control.posted(), 0);
}

#[test]
fn a_packet_of_another_programs_request_is_nobodys_here() {
    let (mut scheduler, io, control) = scheduler();
    let (socket, mut peer) = connection(&io);
    let mut receive = socket.recv(vec![0; 4]);
    assert!(poll_once(&mut scheduler, &mut receive).is_pending());
    let waiting = control.overlapped();
    assert_eq!(waiting.len(), 1);
    // At an address that is none here, and at one that is this program's too.
    control.end_of_another_program(std::ptr::without_provenance_mut(0x1000));
    control.end_of_another_program(waiting[0]);
    scheduler.turn(Duration::from_millis(10)).unwrap();
    scheduler.turn(Duration::from_millis(10)).unwrap();
    assert!(poll_once(&mut scheduler, &mut receive).is_pending(), "it has received nothing");
    peer.write_all(b"here").unwrap();
    let (count, bytes) = scheduler.block_on(receive).unwrap().unwrap();
    assert_eq!(&bytes[..count], b"here");
}

#[test]
fn a_deadline_below_a_millisecond_does_not_spin() {
    let (mut scheduler, io, control) = scheduler();
    let (socket, _peer) = connection(&io);
    let before = control.calls("GetQueuedCompletionStatusEx");
    let start = Instant::now();
    let failed = scheduler.block_on(socket.recv(vec![0; 4]).deadline(Duration::from_micros(300))).unwrap().unwrap_err();
    assert_eq!(failed.error.kind(), ErrorKind::TimedOut);
    assert!(start.elapsed() >= Duration::from_micros(300));
    let dequeues = control.calls("GetQueuedCompletionStatusEx") - before;
    assert!(dequeues <= 4, "{dequeues} dequeues");
}

#[test]
fn an_accept_given_up_leaves_no_socket_and_loses_no_connection() {
    for fate in [Fate::ORDINARY, Fate { at_cancel: AtCancel::Loses, ..Fate::at(Timing::After(Duration::ZERO)) }] {
        let (mut scheduler, io, control) = scheduler();
        always(&control, "AcceptEx", fate);
        let listener = io.listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_address().unwrap();
        let mut given_up = listener.accept();
        assert!(poll_once(&mut scheduler, &mut given_up).is_pending());
        let mut peer = TcpStream::connect(address).unwrap();
        drop(given_up);
        peer.write_all(b"still here").unwrap();
        let connection = scheduler.block_on(listener.accept()).unwrap().unwrap();
        assert_eq!(scheduler.block_on(connection.recv_exact(vec![0; 10])).unwrap().unwrap().1, b"still here");
        assert_eq!(connection.peer_address().unwrap(), peer.local_addr().unwrap());
        assert_eq!(control.calls("SO_UPDATE_ACCEPT_CONTEXT"), 1);
    }
}
