//! Point 5: cancel and deadline, told as it truly happened; nothing received is lost.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use corella::{CancelToken, ErrorKind, Mode, Moved, OpenOptions, Scheduler};

use crate::codes;
#[cfg(unix)]
use crate::lanes::make_fifo;
use crate::promises;
use crate::setup::Setup;

promises![
    a_deadline_covers_the_time_in_the_queue,
    a_deadline_at_the_os_cancels_and_settles_when_the_os_has_let_go,
    a_deadline_of_days_disturbs_nothing,
    a_deadline_of_nothing_still_settles_once,
    a_deadline_of_microseconds_settles_once_and_loses_nothing,
    a_cancel_says_how_many_bytes_had_moved,
    full_success_despite_a_cancel_is_success,
    the_os_error_wins_over_a_cancel,
    a_second_cancel_changes_nothing,
    a_token_cancels_from_another_thread,
    a_cancelled_token_stops_what_is_submitted_later,
    dropping_a_token_is_not_cancelling,
    #[cfg(unix)]
    an_open_without_a_lane_is_abandoned_at_once_and_its_late_descriptor_closed,
    bytes_received_for_a_dropped_future_go_to_the_next_receive,
    bytes_of_a_partly_filled_dropped_receive_go_to_the_next,
    a_connection_accepted_for_a_dropped_future_goes_to_the_next_accept,
    a_dropped_write_that_had_not_started_leaves_no_trace,
    a_dropped_cursor_read_does_not_move_the_cursor,
    a_settled_outcome_that_is_dropped_untaken_loses_nothing_received,
    what_comes_back_reaches_a_receive_that_is_waiting_and_in_order,
    a_connection_that_comes_back_reaches_an_accept_that_is_waiting,
    connections_that_come_back_are_accepted_in_order,
    what_a_detached_receive_gets_goes_to_the_next,
    a_cursor_read_dropped_after_it_settled_gives_its_bytes_to_the_next,
    a_cursor_read_dropped_after_it_settled_gives_its_bytes_to_one_that_is_on_its_way,
    a_connection_handed_over_keeps_what_was_received_and_that_it_is_broken,
    an_operation_dropped_before_its_ending_does_nothing_at_all,
    a_detached_request_goes_on_and_its_failure_goes_to_the_hook,
    a_forgotten_future_leaves_its_lane_working,
];

/// Polls a future once, with the scheduler's own waker.
fn poll_once<F: Future + Unpin>(scheduler: &mut Scheduler, future: &mut F) -> Poll<F::Output> {
    scheduler.block_on(std::future::poll_fn(|context| Poll::Ready(Pin::new(&mut *future).poll(context)))).unwrap()
}

fn a_deadline_covers_the_time_in_the_queue(setup: &Setup) {
    let scheduler = setup.scheduler();
    let (socket, _peer) = setup.connection(&scheduler.io());
    let first = socket.recv(vec![0; 1]).submit().unwrap();
    let start = Instant::now();
    let failed = socket.recv(vec![0; 1]).deadline(Duration::from_millis(3)).wait().unwrap_err();
    assert_eq!((failed.error.kind(), failed.moved), (ErrorKind::TimedOut, Moved::NotStarted));
    assert!(start.elapsed() >= Duration::from_millis(3));
    assert!(!first.is_settled());
}

fn a_deadline_at_the_os_cancels_and_settles_when_the_os_has_let_go(setup: &Setup) {
    let scheduler = setup.scheduler();
    let (socket, _peer) = setup.connection(&scheduler.io());
    let failed = socket.recv(vec![3; 4]).deadline(Duration::from_millis(2)).wait().unwrap_err();
    assert_eq!((failed.error.kind(), failed.moved, failed.buffer), (ErrorKind::TimedOut, Moved::Bytes(0), vec![3; 4]));
    assert!(scheduler.outstanding().is_empty());
}

fn a_deadline_of_days_disturbs_nothing(setup: &Setup) {
    let scheduler = setup.scheduler();
    let (socket, mut peer) = setup.connection(&scheduler.io());
    for days in [1, 365, 1_000_000, u64::MAX / 86_400] {
        let receive = socket.recv_exact(vec![0; 1]).deadline(Duration::from_secs(days * 86_400)).submit().unwrap();
        peer.write_all(b"x").unwrap();
        receive.wait().unwrap();
    }
    let sleep = scheduler.io().sleep(Duration::MAX).submit().unwrap();
    assert!(!sleep.is_settled());
}

fn a_deadline_of_nothing_still_settles_once(setup: &Setup) {
    let scheduler = setup.scheduler();
    let (socket, _peer) = setup.connection(&scheduler.io());
    for _ in 0..100 {
        let failed = socket.recv(vec![0; 1]).deadline(Duration::ZERO).wait().unwrap_err();
        assert_eq!(failed.error.kind(), ErrorKind::TimedOut);
    }
}

fn a_deadline_of_microseconds_settles_once_and_loses_nothing(setup: &Setup) {
    let scheduler = setup.scheduler();
    let (socket, mut peer) = setup.connection(&scheduler.io());
    let (mut next, mut late) = (0u8, 0);
    for round in 0..2000u64 {
        if round % 2 == 0 {
            peer.write_all(&[(round / 2 % 251) as u8]).unwrap();
        }
        match socket.recv(vec![0; 1]).deadline(Duration::from_micros(round % 40)).wait() {
            Ok((count, byte)) => {
                assert_eq!((count, byte[0]), (1, next));
                next = (next + 1) % 251;
            }
            Err(failed) => {
                assert_eq!((failed.error.kind(), failed.moved.bytes()), (ErrorKind::TimedOut, 0));
                late += 1;
            }
        }
    }
    assert!(late >= 1000, "{late}: a byte was received twice");
    for _ in 0..late - 1000 {
        assert_eq!(socket.recv(vec![0; 1]).wait().unwrap().1, [next]);
        next = (next + 1) % 251;
    }
}

fn a_cancel_says_how_many_bytes_had_moved(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let (socket, mut peer) = setup.connection(&scheduler.io());
    let receive = socket.recv_exact(vec![0; 10]).submit().unwrap();
    peer.write_all(b"abc").unwrap();
    // Until the three have arrived there is nothing to see; then the request waits for the rest.
    let follower = socket.recv(vec![0; 1]).submit().unwrap();
    let start = Instant::now();
    loop {
        scheduler.turn(Duration::from_millis(1)).unwrap();
        // Loopback delivers at once; a few turns are enough to have taken them.
        if start.elapsed() > Duration::from_millis(20) {
            break;
        }
    }
    receive.cancel();
    let failed = receive.wait().unwrap_err();
    assert_eq!(
        (failed.error.kind(), failed.moved, &failed.buffer[..3]),
        (ErrorKind::Cancelled, Moved::Bytes(3), &b"abc"[..])
    );
    peer.write_all(b"d").unwrap();
    assert_eq!(follower.wait().unwrap().1, b"d");
}

fn full_success_despite_a_cancel_is_success(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let file = io.open(setup.file("data", &[8; 64]), Mode::Read).wait().unwrap();
    let (mut succeeded, mut rounds) = (0, 0);
    while succeeded < 10 {
        rounds += 1;
        assert!(rounds < 10_000);
        let status = file.read_at(vec![0; 64], 0).submit().unwrap();
        scheduler.poll().unwrap();
        let settled = status.is_settled();
        status.cancel();
        match status.wait() {
            Ok((count, bytes)) => {
                assert_eq!((count, bytes), (64, vec![8; 64]));
                succeeded += 1;
            }
            Err(failed) => assert!(!settled && failed.error.kind() == ErrorKind::Cancelled),
        }
    }
}

fn the_os_error_wins_over_a_cancel(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let file = scheduler.io().open(setup.file("data", b""), Mode::Read).wait().unwrap();
    let (mut refused, mut rounds) = (0, 0);
    while refused < 5 {
        rounds += 1;
        assert!(rounds < 10_000, "the OS never had its say");
        let status = file.write_at("x", 0).submit().unwrap();
        // Longer and longer, until a thread has begun it before it is taken back.
        for _ in 0..rounds % 100 {
            std::thread::yield_now();
        }
        status.cancel();
        let failed = scheduler.block_on(status).unwrap().unwrap_err();
        match failed.error.kind() {
            ErrorKind::Os => {
                assert_eq!(failed.error.os_code(), Some(codes::EBADF));
                refused += 1;
            }
            // Taken back before anything had begun it.
            kind => assert_eq!(kind, ErrorKind::Cancelled),
        }
    }
}

fn a_second_cancel_changes_nothing(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let (socket, _peer) = setup.connection(&io);
    let receive = socket.recv(vec![0; 1]).deadline(Duration::from_secs(100)).submit().unwrap();
    let id = receive.id();
    receive.cancel();
    receive.cancel();
    io.cancel(id);
    assert_eq!(receive.wait().unwrap_err().error.kind(), ErrorKind::Cancelled);
    // Its name is nobody's now, or another's with another generation.
    io.cancel(id);
    let next = socket.recv(vec![0; 1]).submit().unwrap();
    io.cancel(id);
    assert!(!next.is_settled());
}

fn a_token_cancels_from_another_thread(setup: &Setup) {
    let scheduler = setup.scheduler();
    let (socket, _peer) = setup.connection(&scheduler.io());
    let token = CancelToken::new();
    let requests: Vec<_> = (0..10).map(|_| socket.recv(vec![0; 1]).cancel_with(&token).submit().unwrap()).collect();
    let other = token.clone();
    let thread = std::thread::spawn(move || other.cancel());
    for request in requests {
        assert_eq!(request.wait().unwrap_err().error.kind(), ErrorKind::Cancelled);
    }
    thread.join().unwrap();
    assert!(token.is_cancelled());
}

fn a_cancelled_token_stops_what_is_submitted_later(setup: &Setup) {
    let scheduler = setup.scheduler();
    let path = setup.path("never");
    let token = CancelToken::new();
    token.cancel();
    let error = scheduler.io().open(&path, Mode::Write).cancel_with(&token).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert!(!path.exists(), "it was not started");
}

fn dropping_a_token_is_not_cancelling(setup: &Setup) {
    let scheduler = setup.scheduler();
    let (socket, mut peer) = setup.connection(&scheduler.io());
    let token = CancelToken::new();
    let receive = socket.recv(vec![0; 1]).cancel_with(&token).submit().unwrap();
    drop(token);
    peer.write_all(b"x").unwrap();
    assert_eq!(receive.wait().unwrap().1, b"x");
}

fn descriptors_of(path: &std::path::Path) -> usize {
    let entries = std::fs::read_dir("/proc/self/fd").unwrap();
    entries.filter(|entry| std::fs::read_link(entry.as_ref().unwrap().path()).is_ok_and(|to| to == path)).count()
}

#[cfg(unix)]
fn an_open_without_a_lane_is_abandoned_at_once_and_its_late_descriptor_closed(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let fifo = make_fifo(setup);
    let error = io.open(&fifo, Mode::Read).deadline(Duration::from_millis(2)).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    let dropped = io.open(&fifo, Mode::Read).submit().unwrap();
    scheduler.poll().unwrap();
    dropped.cancel();
    assert_eq!(dropped.wait().unwrap_err().kind(), ErrorKind::Cancelled);
    // A writer lets those go on that the OS could not stop. Not blocking: there may be none.
    let options = OpenOptions::new().read(true).write(true);
    let writer = io.open(&fifo, options).wait().unwrap();
    writer.close().wait().unwrap();
    let start = Instant::now();
    while descriptors_of(&fifo) > 0 {
        scheduler.turn(Duration::from_millis(1)).unwrap();
        assert!(start.elapsed() < Duration::from_secs(20), "a descriptor nobody holds stays open");
    }
}

fn bytes_received_for_a_dropped_future_go_to_the_next_receive(setup: &Setup) {
    for round in 0..50 {
        let mut scheduler = setup.scheduler();
        let (socket, mut peer) = setup.connection(&scheduler.io());
        let mut future = socket.recv(vec![0; 100]);
        assert!(poll_once(&mut scheduler, &mut future).is_pending());
        peer.write_all(b"kept").unwrap();
        // Dropped before, while, or after the OS fills it.
        for _ in 0..round % 4 {
            scheduler.poll().unwrap();
        }
        drop(future);
        let (_, bytes) = socket.recv_exact(vec![0; 4]).wait().unwrap();
        assert_eq!(bytes, b"kept", "round {round}");
    }
}

fn bytes_of_a_partly_filled_dropped_receive_go_to_the_next(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let (socket, mut peer) = setup.connection(&scheduler.io());
    let mut future = socket.recv_exact(vec![0; 100]);
    assert!(poll_once(&mut scheduler, &mut future).is_pending());
    let behind = socket.recv_exact(vec![0; 6]).submit().unwrap();
    peer.write_all(b"partly").unwrap();
    for _ in 0..10 {
        scheduler.turn(Duration::from_millis(1)).unwrap();
    }
    assert!(!behind.is_settled());
    drop(future);
    assert_eq!(behind.wait().unwrap().1, b"partly");
}

fn a_connection_accepted_for_a_dropped_future_goes_to_the_next_accept(setup: &Setup) {
    for round in 0..30 {
        let mut scheduler = setup.scheduler();
        let listener = scheduler.io().listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let mut future = listener.accept();
        assert!(poll_once(&mut scheduler, &mut future).is_pending());
        scheduler.poll().unwrap();
        let mut client = TcpStream::connect(listener.local_address().unwrap()).unwrap();
        client.write_all(b"hello").unwrap();
        for _ in 0..round % 3 {
            scheduler.poll().unwrap();
        }
        drop(future);
        let socket = listener.accept().wait().unwrap();
        assert_eq!(socket.recv_exact(vec![0; 5]).wait().unwrap().1, b"hello");
    }
}

fn a_dropped_write_that_had_not_started_leaves_no_trace(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let (socket, mut peer) = setup.connection(&scheduler.io());
    let receive = socket.recv(vec![0; 1]).submit().unwrap();
    let barrier = socket.barrier().submit().unwrap();
    let mut dropped = socket.send("dropped");
    assert!(poll_once(&mut scheduler, &mut dropped).is_pending());
    let kept = socket.send("kept").submit().unwrap();
    drop(dropped);
    peer.write_all(b"x").unwrap();
    kept.wait().unwrap();
    assert!(receive.is_settled() && barrier.is_settled());
    let mut bytes = [0; 4];
    peer.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"kept");
}

fn a_dropped_cursor_read_does_not_move_the_cursor(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let file = scheduler.io().open(setup.file("data", b"0123456789"), Mode::Read).wait().unwrap();
    for _ in 0..3 {
        let mut future = file.read(vec![0; 4]);
        assert!(poll_once(&mut scheduler, &mut future).is_pending());
        drop(future);
        assert_eq!(file.seek(std::io::SeekFrom::Current(0)).wait().unwrap(), 0);
    }
    assert_eq!(file.read(vec![0; 4]).wait().unwrap().1, b"0123");
}

fn a_settled_outcome_that_is_dropped_untaken_loses_nothing_received(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let (socket, mut peer) = setup.connection(&scheduler.io());
    let mut first = socket.recv_exact(vec![0; 2]);
    let mut second = socket.recv_exact(vec![0; 2]);
    assert!(poll_once(&mut scheduler, &mut first).is_pending());
    assert!(poll_once(&mut scheduler, &mut second).is_pending());
    let third = socket.recv_exact(vec![0; 1]).submit().unwrap();
    peer.write_all(b"abcdefg").unwrap();
    // Once the third has settled the others have, and nobody has looked at them.
    while !third.is_settled() {
        scheduler.turn(Duration::from_secs(5)).unwrap();
    }
    assert_eq!(third.wait().unwrap().1, b"e");
    // Dropped in the wrong order, they come back in the right one.
    drop(second);
    drop(first);
    assert_eq!(socket.recv_exact(vec![0; 6]).wait().unwrap().1, b"abcdfg");
}

fn what_comes_back_reaches_a_receive_that_is_waiting_and_in_order(setup: &Setup) {
    for bytes_come_too in [false, true] {
        let mut scheduler = setup.scheduler();
        let (socket, mut peer) = setup.connection(&scheduler.io());
        let (mut first, mut second) = (socket.recv(vec![0; 5]), socket.recv_exact(vec![0; 10]));
        assert!(poll_once(&mut scheduler, &mut first).is_pending());
        assert!(poll_once(&mut scheduler, &mut second).is_pending());
        peer.write_all(b"first").unwrap();
        // Settled, and not taken; then the second is at the OS.
        while scheduler.outstanding().len() == 2 {
            scheduler.turn(Duration::from_secs(1)).unwrap();
        }
        scheduler.poll().unwrap();
        if bytes_come_too {
            peer.write_all(b"SEC").unwrap();
            scheduler.turn(Duration::from_millis(20)).unwrap();
        }
        drop(first);
        peer.write_all(if bytes_come_too { b"ND" } else { b"SECND" }).unwrap();
        assert_eq!(scheduler.block_on(second).unwrap().unwrap().1, b"firstSECND");
    }
}

fn a_connection_that_comes_back_reaches_an_accept_that_is_waiting(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let listener = scheduler.io().listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let (mut first, mut second) = (listener.accept(), listener.accept());
    assert!(poll_once(&mut scheduler, &mut first).is_pending());
    assert!(poll_once(&mut scheduler, &mut second).is_pending());
    let _client = TcpStream::connect(listener.local_address().unwrap()).unwrap();
    while scheduler.outstanding().len() == 2 {
        scheduler.turn(Duration::from_secs(1)).unwrap();
    }
    scheduler.poll().unwrap();
    drop(first);
    scheduler.block_on(second).unwrap().unwrap();
}

fn connections_that_come_back_are_accepted_in_order(setup: &Setup) {
    for newest_first in [false, true] {
        let mut scheduler = setup.scheduler();
        let listener = scheduler.io().listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let accepts = [listener.accept().submit().unwrap(), listener.accept().submit().unwrap()];
        let clients = [(); 2].map(|()| TcpStream::connect(listener.local_address().unwrap()).unwrap());
        while !accepts.iter().all(corella::Status::is_settled) {
            scheduler.turn(Duration::from_secs(1)).unwrap();
        }
        let [first, second] = accepts;
        if newest_first {
            drop(second);
            drop(first);
        } else {
            drop(first);
            drop(second);
        }
        for client in clients {
            let connection = scheduler.block_on(listener.accept().deadline(Duration::from_secs(20))).unwrap().unwrap();
            assert_eq!(connection.peer_address().unwrap(), client.local_addr().unwrap());
        }
    }
}

fn what_a_detached_receive_gets_goes_to_the_next(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let (socket, mut peer) = setup.connection(&scheduler.io());
    // Detached before it settles, and after.
    drop(socket.recv(vec![0; 2]).submit().unwrap());
    let settled = socket.recv_exact(vec![0; 2]).submit().unwrap();
    peer.write_all(b"abcdef").unwrap();
    while !settled.is_settled() {
        scheduler.turn(Duration::from_secs(1)).unwrap();
    }
    drop(settled);
    assert_eq!(scheduler.block_on(socket.recv_exact(vec![0; 6])).unwrap().unwrap().1, b"abcdef");
}

fn a_cursor_read_dropped_after_it_settled_gives_its_bytes_to_one_that_is_on_its_way(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let file = scheduler.io().open(setup.file("data", b"0123456789"), Mode::Read).wait().unwrap();
    let settled = |scheduler: &mut Scheduler| {
        let first = file.read(vec![0; 3]).submit().unwrap();
        while !first.is_settled() {
            scheduler.turn(Duration::from_secs(1)).unwrap();
        }
        first
    };
    let first = settled(&mut scheduler);
    let second = file.read(vec![0; 4]).submit().unwrap();
    drop(first);
    assert_eq!(second.wait().unwrap().1, b"0123");
    assert_eq!(file.cursor().unwrap(), 4);
    // To the end, whose buffer grows.
    let first = settled(&mut scheduler);
    let second = file.read_to_end(b"rest: ".to_vec()).submit().unwrap();
    drop(first);
    assert_eq!(second.wait().unwrap(), (6, b"rest: 456789".to_vec()));
    assert_eq!(file.cursor().unwrap(), 10);
}

fn a_cursor_read_dropped_after_it_settled_gives_its_bytes_to_the_next(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let file = scheduler.io().open(setup.file("data", b"0123456789"), Mode::Read).wait().unwrap();
    // The first is given up while it waits for the blocker's outcome to be taken, settled or not.
    let mut dropped = file.read(vec![0; 5]);
    if poll_once(&mut scheduler, &mut dropped).is_pending() {
        while !scheduler.outstanding().is_empty() {
            scheduler.turn(Duration::from_secs(1)).unwrap();
        }
        drop(dropped);
        assert_eq!(file.read(vec![0; 5]).wait().unwrap().1, b"01234");
    }
    assert_eq!(file.cursor().unwrap(), 5);
    // Two, of which the second is still on its way when both are given up.
    let first = file.read(vec![0; 2]).submit().unwrap();
    while !first.is_settled() {
        scheduler.turn(Duration::from_secs(1)).unwrap();
    }
    let second = file.read(vec![0; 2]).submit().unwrap();
    drop((second, first));
    scheduler.run().unwrap();
    assert_eq!(file.cursor().unwrap(), 5);
    // Another has moved the cursor since: it stays where that put it.
    let mut dropped = file.read(vec![0; 1]);
    let is_pending = poll_once(&mut scheduler, &mut dropped).is_pending();
    assert_eq!(file.read(vec![0; 1]).wait().unwrap().1, b"6");
    drop(dropped);
    assert_eq!(file.cursor().unwrap(), 7, "{is_pending}");
}

fn a_connection_handed_over_keeps_what_was_received_and_that_it_is_broken(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let (socket, mut peer) = setup.connection(&scheduler.io());
    peer.write_all(b"first").unwrap();
    let receive = socket.recv_exact(vec![0; 5]).submit().unwrap();
    while !receive.is_settled() {
        scheduler.turn(Duration::from_secs(1)).unwrap();
    }
    let (socket, error) = socket.detach().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "an outcome is still to be taken");
    drop(receive);
    let send = socket.send(vec![0; 64 << 20]).submit().unwrap();
    scheduler.poll().unwrap();
    send.cancel();
    let failed = scheduler.block_on(send).unwrap().unwrap_err();
    assert!(failed.moved.bytes() > 0, "it broke the lane");
    let detached = socket.detach().unwrap();
    assert_eq!(detached.received(), b"first");
    let mut other = setup.scheduler();
    let socket = other.io().adopt_socket(detached).unwrap();
    assert_eq!(other.block_on(socket.recv(vec![0; 9])).unwrap().unwrap().0, 5);
    assert_eq!(socket.send("x").submit().unwrap_err().error.kind(), ErrorKind::LaneBroken);
}

fn an_operation_dropped_before_its_ending_does_nothing_at_all(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let count = || {
        std::fs::read_dir("/proc/self/task/self/fd").or_else(|_| std::fs::read_dir("/proc/self/fd")).unwrap().count()
    };
    // Other tests of this process open descriptors as well; of a thousand leaked ones some would show.
    let before = count();
    let connects: Vec<_> = (0..1000).map(|_| io.connect("127.0.0.1:9".parse().unwrap())).collect();
    let during = count();
    drop(connects);
    assert!(during < before + 500, "{before} descriptors, then {during}");
    drop(io.open(setup.path("never"), Mode::Write));
    assert!(!setup.path("never").exists());
}

fn a_detached_request_goes_on_and_its_failure_goes_to_the_hook(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let path = setup.path("data");
    let file = scheduler.io().open(&path, Mode::Write).wait().unwrap();
    drop(file.write("goes on").submit().unwrap());
    scheduler.run().unwrap();
    assert_eq!(std::fs::read(path).unwrap(), b"goes on");
    assert_eq!(scheduler.unobserved_failures(), 0);
    drop(scheduler.io().open(setup.path("missing"), Mode::Read).submit().unwrap());
    scheduler.run().unwrap();
    assert_eq!(scheduler.unobserved_failures(), 1);
}

fn a_forgotten_future_leaves_its_lane_working(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let (socket, mut peer) = setup.connection(&scheduler.io());
    let mut forgotten = socket.recv_exact(vec![0; 2]);
    assert!(poll_once(&mut scheduler, &mut forgotten).is_pending());
    std::mem::forget(forgotten);
    let next = socket.recv_exact(vec![0; 2]).submit().unwrap();
    peer.write_all(b"aabb").unwrap();
    assert_eq!(next.wait().unwrap().1, b"bb");
}
