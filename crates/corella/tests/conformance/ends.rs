//! Points 3 and 4: barriers, close, whole writes and broken lanes.

use std::cell::RefCell;
use std::fs;
use std::io::{Read, Write};
use std::rc::Rc;
use std::time::Duration;

use corella::{CancelToken, ErrorKind, Mode, Moved};

use crate::codes;
use crate::promises;
use crate::setup::Setup;

promises![
    a_barrier_waits_for_all_before_it_and_holds_back_all_after,
    a_sync_and_a_truncate_are_barriers,
    a_close_finishes_the_writes_before_it_and_cancels_the_reads,
    a_close_ends_accepts_and_streams,
    a_close_cancels_a_connect_that_is_on_its_way,
    what_comes_after_a_close_is_refused_as_closed,
    a_close_that_may_wait_no_longer_closes_all_the_same,
    a_close_that_may_wait_no_longer_closes_all_the_same_when_a_token_says_so,
    a_close_now_cancels_writes_too,
    a_close_whose_future_is_dropped_goes_on,
    a_close_that_has_begun_is_stopped_by_nothing,
    a_dropped_handle_closes_in_the_background_and_loses_no_write,
    a_failure_after_a_drop_goes_to_the_hook,
    a_second_close_is_an_error_and_nothing_else,
    a_write_is_carried_through_short_transfers,
    a_write_to_a_pipe_is_carried_through_short_transfers,
    a_reset_with_fifty_writes_queued_breaks_the_lane_for_all_of_them,
    a_reset_that_a_receive_meets_is_an_error_and_no_end,
    a_reset_that_came_before_a_receive_is_an_error_and_no_end,
    a_files_lane_is_whole_again_once_the_failure_was_handed_over,
    a_broken_lane_fails_every_write_before_the_failure_is_known_however_many,
    a_write_cancelled_before_it_started_breaks_nothing,
    a_write_stopped_after_its_first_byte_breaks_its_lane,
    positioned_writes_break_nothing_but_themselves,
    a_positioned_write_on_a_pipe_is_refused_and_breaks_nothing,
];

fn a_barrier_waits_for_all_before_it_and_holds_back_all_after(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let (socket, mut peer) = setup.connection(&scheduler.io());
    let receive = socket.recv(vec![0; 1]).submit().unwrap();
    let barrier = socket.barrier().submit().unwrap();
    let send = socket.send("after").submit().unwrap();
    for _ in 0..10 {
        scheduler.poll().unwrap();
    }
    assert!(!receive.is_settled() && !barrier.is_settled() && !send.is_settled());
    peer.write_all(b"x").unwrap();
    scheduler.block_on(send).unwrap().unwrap();
    assert!(receive.is_settled() && barrier.is_settled());
}

fn a_sync_and_a_truncate_are_barriers(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let path = setup.file("data", &[1; 1000]);
    let file = scheduler.io().open(&path, Mode::ReadWrite).wait().unwrap();
    let write = file.write_at(vec![2; 1000], 0).submit().unwrap();
    let sync = file.sync_data().submit().unwrap();
    let full = file.sync().submit().unwrap();
    let truncate = file.truncate(10).submit().unwrap();
    let read = file.read_at(vec![0; 1000], 0).submit().unwrap();
    let list = scheduler.outstanding();
    assert_eq!((list.len(), list.iter().filter(|request| request.at_os).count()), (5, 1), "{list:?}");
    assert_eq!(scheduler.block_on(read).unwrap().unwrap().0, 10);
    assert!(write.is_settled() && sync.is_settled() && full.is_settled() && truncate.is_settled());
    assert_eq!(fs::read(path).unwrap(), [2; 10]);
}

fn a_close_finishes_the_writes_before_it_and_cancels_the_reads(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let (socket, mut peer) = setup.connection(&scheduler.io());
    socket.set_send_buffer(1 << 17).unwrap();
    let sends: Vec<_> = (0..20).map(|_| socket.send(vec![5; 100_000]).submit().unwrap()).collect();
    let at_os = socket.recv(vec![0; 1]).submit().unwrap();
    let held = socket.recv(vec![0; 1]).submit().unwrap();
    let close = socket.close().submit().unwrap();
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        peer.read_to_end(&mut bytes).unwrap();
        bytes.len()
    });
    scheduler.block_on(close).unwrap().unwrap();
    assert_eq!(reader.join().unwrap(), 2_000_000);
    for send in sends {
        send.wait().unwrap();
    }
    for receive in [at_os, held] {
        assert_eq!(receive.wait().unwrap_err().error.kind(), ErrorKind::Cancelled);
    }
    assert!(socket.descriptor_number().is_none());
}

fn a_close_ends_accepts_and_streams(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let listener = io.listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let mut incoming = listener.incoming();
    let stream = io.spawn(async move { incoming.next().await.is_none() }).unwrap();
    let accept = listener.accept().submit().unwrap();
    let (socket, _peer) = setup.connection(&io);
    let mut bytes = socket.recv_stream(&corella::BufferPool::new(2, 64));
    let receives = io.spawn(async move { bytes.next().await.unwrap_err().kind() }).unwrap();
    scheduler.poll().unwrap();
    listener.close().wait().unwrap();
    socket.close().wait().unwrap();
    assert_eq!(accept.wait().unwrap_err().kind(), ErrorKind::Cancelled);
    assert!(scheduler.block_on(stream).unwrap().unwrap());
    assert_eq!(scheduler.block_on(receives).unwrap().unwrap(), ErrorKind::Cancelled);
}

fn a_close_cancels_a_connect_that_is_on_its_way(setup: &Setup) {
    // A listener whose backlog is full answers no more connects, so one waits.
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    listener.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let mut fill = Vec::new();
    // The backlog takes one or two more than it says.
    let (socket, connect) = loop {
        let socket = io.socket(address).unwrap();
        let connect = socket.connect(address).deadline(Duration::from_millis(200)).wait();
        match connect {
            Ok(()) => fill.push(socket),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::TimedOut);
                let socket = io.socket(address).unwrap();
                let connect = socket.connect(address).submit().unwrap();
                break (socket, connect);
            }
        }
        assert!(fill.len() < 20);
    };
    socket.close().wait().unwrap();
    assert_eq!(connect.wait().unwrap_err().kind(), ErrorKind::Cancelled);
}

fn what_comes_after_a_close_is_refused_as_closed(setup: &Setup) {
    let scheduler = setup.scheduler();
    let (socket, _peer) = setup.connection(&scheduler.io());
    let clone = socket.clone();
    socket.close().wait().unwrap();
    assert!(!clone.is_open());
    assert_eq!(clone.send("late").wait().unwrap_err().error.kind(), ErrorKind::Closed);
    assert_eq!(clone.recv(vec![0; 1]).submit().unwrap_err().error.kind(), ErrorKind::Closed);
    assert_eq!(clone.barrier().wait().unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(clone.local_address().unwrap_err().kind(), ErrorKind::Closed);
}

fn a_close_that_may_wait_no_longer_closes_all_the_same(setup: &Setup) {
    let scheduler = setup.scheduler();
    let (socket, mut peer) = setup.connection(&scheduler.io());
    let send = socket.send(vec![1; 32 << 20]).submit().unwrap();
    let queued = socket.send(vec![2; 10]).submit().unwrap();
    let error = socket.close().deadline(Duration::from_millis(5)).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(socket.descriptor_number().is_none());
    let failed = send.wait().unwrap_err();
    assert_eq!(failed.error.kind(), ErrorKind::Cancelled);
    let failed_later = queued.wait().unwrap_err();
    assert!(matches!(failed_later.error.kind(), ErrorKind::Cancelled | ErrorKind::LaneBroken));
    let mut bytes = Vec::new();
    // Exactly what was reported went out. Closing with bytes unread by the peer may reset the connection.
    let _ = peer.read_to_end(&mut bytes);
    assert!(bytes.len() as u64 <= failed.moved.bytes());
}

fn a_close_that_may_wait_no_longer_closes_all_the_same_when_a_token_says_so(setup: &Setup) {
    for is_early in [false, true] {
        let mut scheduler = setup.scheduler();
        let (socket, _peer) = setup.connection(&scheduler.io());
        let send = socket.send(vec![0; 64 << 20]).submit().unwrap();
        let token = CancelToken::new();
        if is_early {
            token.cancel();
        }
        let close = socket.close().cancel_with(&token).submit().unwrap();
        scheduler.poll().unwrap();
        token.cancel();
        assert_eq!(scheduler.block_on(close).unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
        assert!(send.take().unwrap().is_err());
    }
}

fn a_close_now_cancels_writes_too(setup: &Setup) {
    let scheduler = setup.scheduler();
    let (socket, _peer) = setup.connection(&scheduler.io());
    let at_os = socket.send(vec![1; 32 << 20]).submit().unwrap();
    let held = socket.send(vec![2; 10]).submit().unwrap();
    socket.close_now().wait().unwrap();
    assert_eq!(at_os.wait().unwrap_err().error.kind(), ErrorKind::Cancelled);
    assert!(matches!(held.wait().unwrap_err().error.kind(), ErrorKind::Cancelled | ErrorKind::LaneBroken));
}

fn a_close_that_has_begun_is_stopped_by_nothing(setup: &Setup) {
    let scheduler = setup.scheduler();
    let file = scheduler.io().open(setup.file("data", b"x"), Mode::Read).wait().unwrap();
    let close = file.close().submit().unwrap();
    close.cancel();
    close.wait().unwrap();
}

fn a_close_whose_future_is_dropped_goes_on(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let (socket, mut peer) = setup.connection(&scheduler.io());
    let send = socket.send(vec![1; 8 << 20]).submit().unwrap();
    let mut close = socket.close();
    scheduler
        .block_on(std::future::poll_fn(|context| {
            let _ = std::pin::Pin::new(&mut close).poll(context);
            std::task::Poll::Ready(())
        }))
        .unwrap();
    drop(close);
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        peer.read_to_end(&mut bytes).unwrap();
        bytes.len()
    });
    scheduler.block_on(send).unwrap().unwrap();
    scheduler.run().unwrap();
    assert_eq!(reader.join().unwrap(), 8 << 20);
}

fn a_dropped_handle_closes_in_the_background_and_loses_no_write(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let path = setup.path("log");
    let file = io.open(&path, Mode::Write).wait().unwrap();
    for number in 0..100u8 {
        file.write(vec![number; 10]).then(|outcome| assert!(outcome.is_ok())).unwrap();
    }
    let clone = file.clone();
    drop(file);
    assert!(clone.is_open());
    drop(clone);
    scheduler.run().unwrap();
    let expected: Vec<u8> = (0..100u8).flat_map(|number| [number; 10]).collect();
    assert_eq!(fs::read(path).unwrap(), expected);
}

fn a_failure_after_a_drop_goes_to_the_hook(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let seen = Rc::new(RefCell::new(Vec::new()));
    let list = Rc::clone(&seen);
    scheduler.on_unobserved(move |failure| list.borrow_mut().push(failure.error.to_string()));
    let file = scheduler.io().open(setup.file("data", b""), Mode::Read).wait().unwrap();
    drop(file.write("never").submit().unwrap());
    drop(file);
    scheduler.run().unwrap();
    let seen = seen.borrow();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert!(seen[0].starts_with("write 5 bytes of ") && seen[0].contains(&codes::text(codes::EBADF)), "{seen:?}");
    assert_eq!(scheduler.unobserved_failures(), 1);
}

fn a_second_close_is_an_error_and_nothing_else(setup: &Setup) {
    let scheduler = setup.scheduler();
    let file = scheduler.io().open(setup.file("data", b""), Mode::Read).wait().unwrap();
    file.close().wait().unwrap();
    assert_eq!(file.close().wait().unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(file.close_now().wait().unwrap_err().kind(), ErrorKind::Closed);
}

fn a_write_is_carried_through_short_transfers(setup: &Setup) {
    let scheduler = setup.scheduler();
    let (socket, mut peer) = setup.connection(&scheduler.io());
    socket.set_send_buffer(1 << 18).unwrap();
    let bytes: Vec<u8> = (0..6_000_000u32).map(|place| (place % 251) as u8).collect();
    let expected = bytes.clone();
    let reader = std::thread::spawn(move || {
        let mut received = vec![0; expected.len()];
        peer.read_exact(&mut received).unwrap();
        received == expected
    });
    // In odd parts, so that transfers end inside of them.
    let parts: Vec<Vec<u8>> = bytes.chunks(70_001).map(<[u8]>::to_vec).collect();
    assert!(parts.len() > 64, "more parts than one call takes");
    let (count, _) = socket.send(parts).wait().unwrap();
    assert_eq!(count, 6_000_000);
    assert!(reader.join().unwrap());
}

fn a_write_to_a_pipe_is_carried_through_short_transfers(setup: &Setup) {
    let scheduler = setup.scheduler();
    let (mut reader, writer) = crate::setup::pipe();
    let pipe = scheduler.io().adopt_file(writer, "pipe").unwrap();
    let thread = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        bytes
    });
    let bytes: Vec<u8> = (0..1_000_000u32).map(|place| (place % 251) as u8).collect();
    let (count, bytes) = pipe.write(bytes).wait().unwrap();
    assert_eq!(count, 1_000_000);
    pipe.close().wait().unwrap();
    assert!(thread.join().unwrap() == bytes);
}

fn a_reset_with_fifty_writes_queued_breaks_the_lane_for_all_of_them(setup: &Setup) {
    let scheduler = setup.scheduler();
    let (socket, peer) = setup.connection(&scheduler.io());
    let sends: Vec<_> = (0..50).map(|_| socket.send(vec![1; 1 << 20]).submit().unwrap()).collect();
    socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
    drop(peer);
    let mut outcomes = sends.into_iter().map(|send| send.wait());
    let failed = outcomes.find_map(Result::err).expect("the peer took less than fifty");
    assert!(matches!(failed.error.os_code(), Some(codes::ECONNRESET | codes::EPIPE | codes::ECONNABORTED)), "{failed}");
    for outcome in outcomes {
        let failed = outcome.unwrap_err();
        assert_eq!((failed.error.kind(), failed.moved), (ErrorKind::LaneBroken, Moved::NotStarted));
    }
    // A socket's lane stays broken.
    assert_eq!(socket.send("later").wait().unwrap_err().error.kind(), ErrorKind::LaneBroken);
}

fn a_reset_that_a_receive_meets_is_an_error_and_no_end(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let (socket, peer) = setup.connection(&scheduler.io());
    let receive = socket.recv_to_end(Vec::new()).submit().unwrap();
    scheduler.poll().unwrap();
    socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
    drop(peer);
    let failed = receive.wait().unwrap_err();
    assert_eq!(failed.error.os_code(), Some(codes::ECONNRESET), "{failed}");
}

fn a_reset_that_came_before_a_receive_is_an_error_and_no_end(setup: &Setup) {
    let scheduler = setup.scheduler();
    let (socket, peer) = setup.connection(&scheduler.io());
    socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
    drop(peer);
    let failed = socket.recv(vec![7; 4]).wait().unwrap_err();
    assert_eq!((failed.error.os_code(), failed.buffer), (Some(codes::ECONNRESET), vec![7; 4]));
}

fn a_files_lane_is_whole_again_once_the_failure_was_handed_over(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let file = scheduler.io().open(setup.file("data", b"content"), Mode::Read).wait().unwrap();
    let first = file.write("refused by the OS").submit().unwrap();
    let second = file.write("behind it").submit().unwrap();
    while !(first.is_settled() && second.is_settled()) {
        scheduler.turn(Duration::from_secs(1)).unwrap();
    }
    // Not handed over yet.
    assert_eq!(file.write("late").submit().unwrap_err().error.kind(), ErrorKind::LaneBroken);
    assert_eq!(second.wait().unwrap_err().error.kind(), ErrorKind::LaneBroken);
    assert_eq!(first.wait().unwrap_err().error.os_code(), Some(codes::EBADF));
    // Now it is: the next write is tried again, and refused by the OS itself.
    assert_eq!(file.write("again").wait().unwrap_err().error.os_code(), Some(codes::EBADF));
}

fn a_broken_lane_fails_every_write_before_the_failure_is_known_however_many(setup: &Setup) {
    const WRITES: usize = 5000;
    let mut scheduler = setup.scheduler();
    let file = scheduler.io().open(setup.file("data", b"content"), Mode::Read).wait().unwrap();
    let kinds = Rc::new(RefCell::new(Vec::new()));
    for _ in 0..WRITES {
        let list = Rc::clone(&kinds);
        let write = file.write("line").direct();
        // Where the system refuses at once, the lane is known to be broken from then on.
        if let Err(refused) = write.then(move |outcome| list.borrow_mut().push(outcome.unwrap_err().error.kind())) {
            kinds.borrow_mut().push(refused.error.kind());
        }
    }
    scheduler.run().unwrap();
    assert_eq!(kinds.borrow().iter().filter(|kind| **kind == ErrorKind::Os).count(), 1, "tried once");
    assert_eq!(kinds.borrow().iter().filter(|kind| **kind == ErrorKind::LaneBroken).count(), WRITES - 1);
}

fn a_write_cancelled_before_it_started_breaks_nothing(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let (socket, mut peer) = setup.connection(&scheduler.io());
    // Behind a barrier that waits for a receive, none of them can have started.
    let receive = socket.recv(vec![0; 1]).submit().unwrap();
    let barrier = socket.barrier().submit().unwrap();
    let first = socket.send("a").submit().unwrap();
    let cancelled = socket.send("b").submit().unwrap();
    let last = socket.send("c").submit().unwrap();
    cancelled.cancel();
    let failed = cancelled.wait().unwrap_err();
    assert_eq!((failed.error.kind(), failed.moved), (ErrorKind::Cancelled, Moved::NotStarted));
    peer.write_all(b"x").unwrap();
    scheduler.block_on(last).unwrap().unwrap();
    assert!(first.is_settled() && receive.is_settled() && barrier.is_settled());
    let mut bytes = [0; 2];
    peer.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"ac");
}

fn a_write_stopped_after_its_first_byte_breaks_its_lane(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let (socket, mut peer) = setup.connection(&scheduler.io());
    let send = socket.send(vec![1; 32 << 20]).submit().unwrap();
    let behind = socket.send("behind").submit().unwrap();
    let mut first = [0; 1];
    scheduler.poll().unwrap();
    peer.read_exact(&mut first).unwrap();
    send.cancel();
    let failed = send.wait().unwrap_err();
    assert_eq!(failed.error.kind(), ErrorKind::Cancelled);
    let moved = failed.moved.bytes();
    assert!(moved > 0 && moved < 32 << 20, "{moved}");
    assert_eq!(behind.wait().unwrap_err().error.kind(), ErrorKind::LaneBroken);
    drop(socket);
    scheduler.run().unwrap();
    let mut rest = Vec::new();
    peer.read_to_end(&mut rest).unwrap();
    assert_eq!(rest.len() as u64 + 1, moved, "what went out is what was reported");
}

fn positioned_writes_break_nothing_but_themselves(setup: &Setup) {
    let scheduler = setup.scheduler();
    let file = scheduler.io().open(setup.file("data", b"content"), Mode::Read).wait().unwrap();
    let writes: Vec<_> = (0..3).map(|_| file.write_at("no", 0).submit().unwrap()).collect();
    let read = file.read_at(vec![0; 7], 0).submit().unwrap();
    for write in writes {
        assert_eq!(write.wait().unwrap_err().error.os_code(), Some(codes::EBADF));
    }
    assert_eq!(read.wait().unwrap().1, b"content");
}

fn a_positioned_write_on_a_pipe_is_refused_and_breaks_nothing(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let (mut reader, writer) = crate::setup::pipe();
    let pipe = scheduler.io().adopt_file(writer, "pipe").unwrap();
    pipe.write("a").wait().unwrap();
    let large = pipe.write(vec![b'-'; 70_000]).submit().unwrap();
    let refused = pipe.write_at("b", 5).submit().unwrap_err();
    assert_eq!((refused.error.os_code(), refused.buffer), (Some(codes::ESPIPE), "b"));
    let last = pipe.write("c").submit().unwrap();
    let thread = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        bytes
    });
    scheduler.block_on(large).unwrap().unwrap();
    scheduler.block_on(last).unwrap().unwrap();
    pipe.close().wait().unwrap();
    let bytes = thread.join().unwrap();
    assert!(bytes.len() == 70_002 && bytes.ends_with(b"-c"));
}
