//! Point 1: every request settles exactly once, and its buffer comes back with it.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use corella::{BackendKind, BackendReason, CancelToken, ErrorKind, Mode};

use crate::codes;
use crate::promises;
use crate::setup::{Setup, Variant};

promises![
    the_backend_is_the_one_asked_for_and_says_why,
    a_request_settles_once_with_each_ending,
    a_refused_request_gives_its_buffer_back,
    a_failed_request_gives_its_buffer_back,
    a_cancelled_request_gives_its_buffer_back,
];

fn the_backend_is_the_one_asked_for_and_says_why(setup: &Setup) {
    let scheduler = setup.scheduler();
    match setup.variant {
        Variant::Uring => assert_eq!(scheduler.backend(), BackendKind::Uring),
        Variant::Portable => assert_eq!(scheduler.backend(), BackendKind::Portable),
        Variant::Iocp | Variant::IocpShuffled => assert_eq!(scheduler.backend(), BackendKind::Iocp),
        Variant::Refused => {
            assert_eq!(scheduler.backend(), BackendKind::Portable);
            let reason = scheduler.backend_reason();
            assert!(matches!(reason, BackendReason::UringRefused { os_code: Some(libc::EPERM), .. }), "{reason:?}");
        }
        Variant::Without(_) | Variant::WithoutFlags(_) => match scheduler.backend() {
            BackendKind::Uring => assert_eq!(*scheduler.backend_reason(), BackendReason::Best),
            _ => assert!(matches!(scheduler.backend_reason(), BackendReason::UringRefused { .. })),
        },
    }
}

fn a_request_settles_once_with_each_ending(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let file = io.open(setup.file("data", b"0123456789"), Mode::Read).wait().unwrap();

    assert_eq!(file.read_at(vec![0; 4], 2).wait().unwrap(), (4, b"2345".to_vec()));

    let status = file.read_at(vec![0; 4], 3).submit().unwrap();
    while !status.is_settled() {
        scheduler.turn(Duration::from_secs(1)).unwrap();
    }
    assert_eq!(status.take().unwrap().unwrap(), (4, b"3456".to_vec()));

    let calls = Rc::new(Cell::new(0));
    let counted = Rc::clone(&calls);
    file.read_at(vec![0; 4], 4)
        .then(move |outcome| {
            assert_eq!(outcome.unwrap(), (4, b"4567".to_vec()));
            counted.set(counted.get() + 1);
        })
        .unwrap();
    scheduler.run().unwrap();
    scheduler.run().unwrap();
    assert_eq!(calls.get(), 1);

    let awaited = scheduler.block_on(file.read_at(vec![0; 4], 5)).unwrap().unwrap();
    assert_eq!(awaited, (4, b"5678".to_vec()));
    assert!(scheduler.outstanding().is_empty());
}

fn a_refused_request_gives_its_buffer_back(setup: &Setup) {
    let scheduler = setup.builder().queue_depth(1).build().unwrap();
    let io = scheduler.io();
    let (socket, _peer) = setup.connection(&io);
    let first = socket.recv(vec![1; 10]).submit().unwrap();
    let refused = socket.recv(vec![7; 10]).submit().unwrap_err();
    assert_eq!(refused.error.kind(), ErrorKind::Rejected);
    assert_eq!(refused.buffer, [7; 10]);
    first.cancel();
    assert_eq!(first.wait().unwrap_err().buffer, [1; 10]);
    socket.close().wait().unwrap();
    let refused = socket.send("after the close").submit().unwrap_err();
    assert_eq!((refused.error.kind(), refused.buffer), (ErrorKind::Closed, "after the close"));
}

fn a_failed_request_gives_its_buffer_back(setup: &Setup) {
    let scheduler = setup.scheduler();
    let file = scheduler.io().open(setup.file("data", b""), Mode::Read).wait().unwrap();
    let failed = file.write_at(vec![9; 3], 0).wait().unwrap_err();
    assert_eq!((failed.error.os_code(), failed.buffer), (Some(codes::EBADF), vec![9; 3]));
}

fn a_cancelled_request_gives_its_buffer_back(setup: &Setup) {
    let scheduler = setup.scheduler();
    let (socket, _peer) = setup.connection(&scheduler.io());
    let token = CancelToken::new();
    let status = socket.recv(vec![5; 8]).cancel_with(&token).submit().unwrap();
    token.cancel();
    let failed = status.wait().unwrap_err();
    assert_eq!((failed.error.kind(), failed.buffer), (ErrorKind::Cancelled, vec![5; 8]));
}
