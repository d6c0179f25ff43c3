//! Waiting until a socket is ready, without taking anything.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use corella::{ErrorKind, Scheduler};

use crate::promises;
use crate::setup::Setup;

promises![
    a_socket_is_readable_once_something_has_arrived_and_nothing_is_taken,
    a_listener_is_readable_once_somebody_has_come,
    an_end_is_something_to_read,
    a_socket_is_writable_once_there_is_room,
    waiting_to_be_ready_ends_by_cancel_deadline_and_close,
    what_came_back_to_the_front_is_there_to_be_read,
    a_receive_behind_one_who_waits_comes_after_it,
    a_socket_that_another_has_made_non_blocking_is_waited_for_all_the_same,
];

/// Polls a future once, with the scheduler's own waker.
fn poll_once<F: Future + Unpin>(scheduler: &mut Scheduler, future: &mut F) -> Poll<F::Output> {
    scheduler.block_on(std::future::poll_fn(|context| Poll::Ready(Pin::new(&mut *future).poll(context)))).unwrap()
}

fn a_socket_is_readable_once_something_has_arrived_and_nothing_is_taken(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let (socket, mut peer) = setup.connection(&io);
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let (one, other) = (io.bind_datagrams(loopback).unwrap(), io.bind_datagrams(loopback).unwrap());
    other.connect(one.local_address().unwrap()).wait().unwrap();
    for round in 0..3 {
        let (stream, datagrams) = (socket.readable().submit().unwrap(), one.readable().submit().unwrap());
        for _ in 0..3 {
            io.sleep(Duration::from_millis(1)).wait().unwrap();
        }
        assert!(!stream.is_settled() && !datagrams.is_settled(), "round {round}");
        peer.write_all(b"here").unwrap();
        other.send("here").wait().unwrap();
        stream.wait().unwrap();
        datagrams.wait().unwrap();
        // It still is.
        socket.readable().wait().unwrap();
        one.readable().wait().unwrap();
        assert_eq!(socket.recv_exact(vec![0; 4]).wait().unwrap().1, b"here");
        assert_eq!(one.recv_from(vec![0; 9]).wait().unwrap().count, 4);
    }
}

fn a_listener_is_readable_once_somebody_has_come(setup: &Setup) {
    let scheduler = setup.scheduler();
    let listener = scheduler.io().listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let waiting = listener.readable().submit().unwrap();
    scheduler.io().sleep(Duration::from_millis(2)).wait().unwrap();
    assert!(!waiting.is_settled());
    let _client = TcpStream::connect(listener.local_address().unwrap()).unwrap();
    waiting.wait().unwrap();
    listener.accept().wait().unwrap();
    assert_eq!(listener.readable().deadline(Duration::from_millis(2)).wait().unwrap_err().kind(), ErrorKind::TimedOut);
}

fn an_end_is_something_to_read(setup: &Setup) {
    let scheduler = setup.scheduler();
    let (socket, peer) = setup.connection(&scheduler.io());
    let waiting = socket.readable().submit().unwrap();
    drop(peer);
    waiting.wait().unwrap();
    assert_eq!(socket.recv(vec![0; 1]).wait().unwrap().0, 0);
}

fn a_socket_is_writable_once_there_is_room(setup: &Setup) {
    let scheduler = setup.scheduler();
    let (socket, mut peer) = setup.connection(&scheduler.io());
    socket.writable().wait().unwrap();
    // Until nothing more goes out at once.
    let failed = socket.send(vec![1; 64 << 20]).deadline(Duration::from_millis(50)).wait().unwrap_err();
    let moved = failed.moved.bytes() as usize;
    let waiting = socket.writable().submit().unwrap();
    scheduler.io().sleep(Duration::from_millis(2)).wait().unwrap();
    assert!(!waiting.is_settled());
    peer.read_exact(&mut vec![0; moved]).unwrap();
    waiting.wait().unwrap();
}

fn waiting_to_be_ready_ends_by_cancel_deadline_and_close(setup: &Setup) {
    let scheduler = setup.scheduler();
    let (socket, _peer) = setup.connection(&scheduler.io());
    let error = socket.readable().deadline(Duration::from_millis(2)).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(error.to_string().starts_with("readable of 127.0.0.1:"), "{error}");
    let cancelled = socket.readable().submit().unwrap();
    cancelled.cancel();
    assert_eq!(cancelled.wait().unwrap_err().kind(), ErrorKind::Cancelled);
    let closed = socket.readable().submit().unwrap();
    socket.close().wait().unwrap();
    assert_eq!(closed.wait().unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(socket.writable().wait().unwrap_err().kind(), ErrorKind::Closed);
}

fn what_came_back_to_the_front_is_there_to_be_read(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let (socket, mut peer) = setup.connection(&scheduler.io());
    let mut future = socket.recv(vec![0; 4]);
    assert!(poll_once(&mut scheduler, &mut future).is_pending());
    peer.write_all(b"back").unwrap();
    while scheduler.outstanding().iter().any(|request| request.at_os) {
        scheduler.poll().unwrap();
    }
    // One waits already, and hears of it.
    let waiting = socket.readable().submit().unwrap();
    scheduler.poll().unwrap();
    drop(future);
    waiting.wait().unwrap();
    socket.readable().wait().unwrap();
    assert_eq!(socket.recv(vec![0; 9]).wait().unwrap().0, 4);
    // All of it is taken, and nothing has come since.
    assert_eq!(socket.readable().deadline(Duration::from_millis(2)).wait().unwrap_err().kind(), ErrorKind::TimedOut);
}

fn a_receive_behind_one_who_waits_comes_after_it(setup: &Setup) {
    let scheduler = setup.scheduler();
    let (socket, mut peer) = setup.connection(&scheduler.io());
    let waiting = socket.readable().submit().unwrap();
    let receive = socket.recv(vec![0; 4]).submit().unwrap();
    let last = socket.readable().submit().unwrap();
    peer.write_all(b"once").unwrap();
    waiting.wait().unwrap();
    assert_eq!(receive.wait().unwrap().0, 4);
    scheduler.io().sleep(Duration::from_millis(2)).wait().unwrap();
    assert!(!last.is_settled());
    peer.write_all(b"more").unwrap();
    last.wait().unwrap();
}

fn a_socket_that_another_has_made_non_blocking_is_waited_for_all_the_same(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut peer, _) = listener.accept().unwrap();
    let another = ours.try_clone().unwrap();
    let socket = io.adopt_socket(ours).unwrap();
    another.set_nonblocking(true).unwrap();
    for _ in 0..2 {
        let receive = socket.recv_exact(vec![0; 4]).submit().unwrap();
        for _ in 0..3 {
            io.sleep(Duration::from_millis(1)).wait().unwrap();
        }
        assert!(!receive.is_settled(), "nothing has come: {:?}", receive.take());
        peer.write_all(b"late").unwrap();
        assert_eq!(receive.wait().unwrap().1, b"late");
    }
}
