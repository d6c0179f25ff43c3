//! Point 2: the order on one handle, and what may run at once.

use std::cell::RefCell;
use std::ffi::CString;
use std::fs;
use std::future::Future;
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::TcpListener;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use corella::{CancelToken, ErrorKind, Mode, Moved, OpenOptions, Scheduler, Shutdown};

use crate::codes;
use crate::promises;
use crate::setup::{Setup, read_slowly};
use crate::waiting::Door;

promises![
    sends_submitted_at_once_arrive_in_order_at_a_slow_peer,
    receives_submitted_at_once_fill_in_order,
    vectored_receives_submitted_at_once_fill_in_order,
    vectored_writes_of_every_kind_leave_what_they_would_one_at_a_time,
    a_read_beside_an_extending_write_sees_the_file_before_or_after_it_by_submission_order,
    appends_of_clones_never_interleave,
    outcomes_of_a_lane_settle_in_order_whatever_their_endings,
    awaits_of_a_lane_come_in_order_whatever_wakers_they_have,
    clones_share_their_lanes,
    a_pending_receive_holds_back_no_send,
    a_held_handle_holds_back_no_other,
    operations_on_paths_hold_back_nobody,
    a_shutdown_of_writing_goes_out_after_the_sends_before_it,
    accepts_take_connections_in_order,
    a_connect_holds_back_sends_and_receives_until_it_has_settled,
    disjoint_ranges_of_a_file_are_at_the_os_at_once,
    overlapping_ranges_wait_if_one_writes,
    a_write_past_the_known_end_holds_back_whatever_reaches_the_end,
    operations_at_the_cursor_run_one_at_a_time_and_never_beside_positioned_writes,
    appends_and_cursor_writes_wait_for_all_positioned_ones,
    a_positioned_write_in_append_mode_is_an_error,
    the_handle_keeps_the_cursor_and_not_the_os,
    unordered_requests_pass_all_but_barriers,
    a_barrier_that_is_cancelled_lets_nobody_past_those_before_it,
    cancelling_one_of_the_joined_writes_fails_no_other,
    writes_behind_a_barrier_all_go_out_though_their_call_is_short,
    only_what_never_started_settles_ahead_of_its_turn,
];

/// How many of the outstanding requests the OS has, of all.
fn at_os(scheduler: &Scheduler) -> (usize, usize) {
    let list = scheduler.outstanding();
    (list.iter().filter(|request| request.at_os).count(), list.len())
}

fn sends_submitted_at_once_arrive_in_order_at_a_slow_peer(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let (socket, peer) = setup.connection(&scheduler.io());
    socket.set_send_buffer(4096).unwrap();
    let mut expected = Vec::new();
    for number in 0..500u32 {
        let message = number.to_le_bytes().repeat(1 + (number as usize * 7) % 90);
        expected.extend_from_slice(&message);
        socket.send(message).then(|outcome| assert!(outcome.is_ok())).unwrap();
    }
    drop(socket);
    let reader = read_slowly(peer);
    scheduler.run().unwrap();
    assert!(reader.join().unwrap() == expected);
}

fn receives_submitted_at_once_fill_in_order(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let (socket, mut peer) = setup.connection(&scheduler.io());
    let statuses: Vec<_> = (0..100).map(|_| socket.recv_exact(vec![0; 4]).submit().unwrap()).collect();
    for number in 0..100u32 {
        peer.write_all(&number.to_le_bytes()).unwrap();
    }
    for (number, status) in statuses.into_iter().enumerate() {
        let (_, bytes) = scheduler.block_on(status).unwrap().unwrap();
        assert_eq!(bytes, (number as u32).to_le_bytes());
    }
}

fn vectored_receives_submitted_at_once_fill_in_order(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let (socket, mut peer) = setup.connection(&scheduler.io());
    let parts = |number: usize| -> Vec<Vec<u8>> { (1..2 + number % 5).map(|part| vec![0; part]).collect() };
    let statuses: Vec<_> = (0..60).map(|number| socket.recv_exact(parts(number)).submit().unwrap()).collect();
    let total: usize = (0..60).map(|number| parts(number).concat().len()).sum();
    let bytes: Vec<u8> = (0..total).map(|place| (place % 251) as u8).collect();
    let expected = bytes.clone();
    let writer = std::thread::spawn(move || {
        for piece in bytes.chunks(7) {
            peer.write_all(piece).unwrap();
            std::thread::yield_now();
        }
        peer
    });
    let mut received = Vec::new();
    for status in statuses {
        received.extend(scheduler.block_on(status).unwrap().unwrap().1.concat());
    }
    assert_eq!(received, expected);
    writer.join().unwrap();
}

fn vectored_writes_of_every_kind_leave_what_they_would_one_at_a_time(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let two = |first: u8, second: u8| vec![vec![first; 300], vec![second; 200]];
    // Overlapping and positioned, at the cursor, and positioned again.
    let path = setup.file("data", &[0; 1000]);
    let file = io.open(&path, Mode::ReadWrite).wait().unwrap();
    let writes = [
        file.write_at(two(1, 2), 0).submit().unwrap(),
        file.write_at(two(3, 4), 250).submit().unwrap(),
        file.write(two(5, 6)).submit().unwrap(),
        file.write(two(7, 8)).submit().unwrap(),
        file.write_at(two(9, 10), 400).submit().unwrap(),
    ];
    let read = file.read_at(vec![vec![0; 450], vec![0; 550]], 0).submit().unwrap();
    let expected = [(5, 300), (6, 100), (9, 300), (10, 200), (8, 100)]
        .into_iter()
        .flat_map(|(byte, count)| vec![byte; count])
        .collect::<Vec<u8>>();
    assert_eq!(scheduler.block_on(read).unwrap().unwrap().1.concat(), expected);
    for write in writes {
        assert_eq!(scheduler.block_on(write).unwrap().unwrap().0, 500);
    }
    assert_eq!(fs::read(&path).unwrap(), expected);
    // Appended.
    let log = io.open(setup.path("log"), Mode::Append).wait().unwrap();
    let appends: Vec<_> = (0..50).map(|number| log.write(two(number, 255 - number)).submit().unwrap()).collect();
    for append in appends {
        scheduler.block_on(append).unwrap().unwrap();
    }
    let expected: Vec<u8> = (0..50).flat_map(|number| two(number, 255 - number).concat()).collect();
    assert!(fs::read(setup.path("log")).unwrap() == expected);
}

fn a_read_beside_an_extending_write_sees_the_file_before_or_after_it_by_submission_order(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    for round in 0..100 {
        let path = setup.file("data", &[1; 50]);
        let file = scheduler.io().open(&path, Mode::ReadWrite).wait().unwrap();
        let before = file.read_at(vec![9; 50], 100).submit().unwrap();
        let write = file.write_at(vec![2; 50], 300).submit().unwrap();
        let after = file.read_at(vec![9; 50], 100).submit().unwrap();
        assert_eq!(scheduler.block_on(after).unwrap().unwrap(), (50, vec![0; 50]), "round {round}");
        assert_eq!(scheduler.block_on(before).unwrap().unwrap().0, 0, "round {round}");
        scheduler.block_on(write).unwrap().unwrap();
    }
}

fn appends_of_clones_never_interleave(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let log = io.open(setup.path("log"), Mode::Append).wait().unwrap();
    let mut expected = Vec::new();
    for number in 0..40u8 {
        let clone = log.clone();
        // Longer than one call takes parts, so that it goes out in several.
        let parts = vec![vec![number; 11]; 70];
        expected.extend(parts.concat());
        io.spawn(async move { drop(clone.write(parts).await.unwrap()) }).unwrap();
    }
    scheduler.run().unwrap();
    assert!(fs::read(setup.path("log")).unwrap() == expected);
}

fn outcomes_of_a_lane_settle_in_order_whatever_their_endings(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let (socket, mut peer) = setup.connection(&io);
    let order = Rc::new(RefCell::new(Vec::new()));
    for number in 0..30u8 {
        let list = Rc::clone(&order);
        let receive = socket.recv_exact(vec![0; 1]);
        if number % 2 == 0 {
            receive.then(move |outcome| list.borrow_mut().push(("then", outcome.unwrap().1[0]))).unwrap();
        } else {
            let status = receive.submit().unwrap();
            io.spawn(async move {
                let (_, byte) = status.await.unwrap();
                list.borrow_mut().push(("await", byte[0]));
            })
            .unwrap();
        }
    }
    peer.write_all(&(0..30).collect::<Vec<u8>>()).unwrap();
    scheduler.run().unwrap();
    for kind in ["then", "await"] {
        let numbers: Vec<u8> = order.borrow().iter().filter(|(of, _)| *of == kind).map(|(_, number)| *number).collect();
        assert!(numbers.len() == 15 && numbers.is_sorted(), "{kind}: {numbers:?}");
    }
}

struct PassedOn(Waker);

impl Wake for PassedOn {
    fn wake(self: Arc<Self>) {
        self.0.wake_by_ref();
    }
}

/// Polls with a waker of its own, as what joins several futures does.
struct WithOwnWaker<F>(F);

impl<F: Future + Unpin> Future for WithOwnWaker<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let waker = Waker::from(Arc::new(PassedOn(context.waker().clone())));
        Pin::new(&mut self.0).poll(&mut Context::from_waker(&waker))
    }
}

fn awaits_of_a_lane_come_in_order_whatever_wakers_they_have(setup: &Setup) {
    const FIRST_BYTES: usize = 4 << 20;
    for sends in [false, true] {
        let mut scheduler = setup.scheduler();
        let io = scheduler.io();
        let (socket, mut peer) = setup.connection(&io);
        let order = Rc::new(RefCell::new(Vec::new()));
        for number in 0..4 {
            let (socket, order) = (socket.clone(), Rc::clone(&order));
            let task = async move {
                match (sends, number == 1) {
                    (true, _) => {
                        let bytes = vec![number; if number == 0 { FIRST_BYTES } else { 1 }];
                        let send = socket.send(bytes);
                        if number == 2 { WithOwnWaker(send).await.unwrap().0 } else { send.await.unwrap().0 }
                    }
                    (false, true) => WithOwnWaker(socket.recv(vec![0; 1])).await.unwrap().0,
                    (false, false) => socket.recv(vec![0; 1]).await.unwrap().0,
                };
                order.borrow_mut().push(number);
            };
            io.spawn(task).unwrap();
        }
        while scheduler.poll().unwrap() {}
        let reader = match sends {
            true => Some(std::thread::spawn(move || peer.read_exact(&mut vec![0; FIRST_BYTES + 3]))),
            false => peer.write_all(&[0, 1, 2, 3]).map(|()| None).unwrap(),
        };
        scheduler.run().unwrap();
        reader.into_iter().for_each(|reader| reader.join().unwrap().unwrap());
        assert_eq!(*order.borrow(), [0, 1, 2, 3], "sends: {sends}");
    }
}

fn clones_share_their_lanes(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let (socket, mut peer) = setup.connection(&scheduler.io());
    let clone = socket.clone();
    let first = socket.recv_exact(vec![0; 2]).submit().unwrap();
    let second = clone.recv_exact(vec![0; 2]).submit().unwrap();
    let third = socket.recv_exact(vec![0; 2]).submit().unwrap();
    assert_eq!(at_os(&scheduler), (1, 3));
    peer.write_all(b"aabbcc").unwrap();
    for (status, expected) in [(first, b"aa"), (second, b"bb"), (third, b"cc")] {
        assert_eq!(scheduler.block_on(status).unwrap().unwrap().1, expected);
    }
}

fn a_pending_receive_holds_back_no_send(setup: &Setup) {
    let scheduler = setup.scheduler();
    let (socket, mut peer) = setup.connection(&scheduler.io());
    let receive = socket.recv(vec![0; 1]).submit().unwrap();
    socket.send("through").wait().unwrap();
    assert!(!receive.is_settled());
    let mut bytes = [0; 7];
    peer.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"through");
}

fn a_held_handle_holds_back_no_other(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let (held, _silent) = setup.connection(&io);
    let (free, mut peer) = setup.connection(&io);
    let pending: Vec<_> = (0..10).map(|_| held.recv(vec![0; 1]).submit().unwrap()).collect();
    peer.write_all(b"x").unwrap();
    assert_eq!(free.recv(vec![0; 1]).wait().unwrap().1, b"x");
    assert!(pending.iter().all(|status| !status.is_settled()));
}

#[cfg(unix)]
pub fn make_fifo(setup: &Setup) -> std::path::PathBuf {
    fifo(&setup.path("fifo"))
}

#[cfg(unix)]
pub fn fifo(path: &std::path::Path) -> std::path::PathBuf {
    let name = CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: the name is a string that lives through the call.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    path.to_owned()
}

fn operations_on_paths_hold_back_nobody(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let door = Door::new(setup, &io);
    let waiting = door.wait(&io).submit().unwrap();
    assert!(io.stat(setup.file("data", b"content")).wait().is_ok());
    assert!(!waiting.is_settled());
    let come = door.come();
    waiting.wait().unwrap();
    drop(come);
}

fn a_shutdown_of_writing_goes_out_after_the_sends_before_it(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let (socket, mut peer) = setup.connection(&scheduler.io());
    socket.set_send_buffer(4096).unwrap();
    let send = socket.send(vec![7; 1 << 20]).submit().unwrap();
    let shutdown = socket.shutdown(Shutdown::Write).submit().unwrap();
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        peer.read_to_end(&mut bytes).unwrap();
        peer.write_all(b"half-closed").unwrap();
        bytes.len()
    });
    scheduler.block_on(shutdown).unwrap().unwrap();
    assert!(send.is_settled());
    assert_eq!(reader.join().unwrap(), 1 << 20);
    // The other half goes on, and the send lane has ended.
    assert_eq!(socket.recv_to_end(Vec::new()).wait().unwrap().1, b"half-closed");
    let failed = socket.send("late").wait().unwrap_err();
    assert_eq!(failed.error.os_code(), Some(codes::EPIPE));
}

fn accepts_take_connections_in_order(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let listener = io.listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let accepts: Vec<_> = (0..5).map(|_| listener.accept().submit().unwrap()).collect();
    let clients: Vec<_> =
        (0..5).map(|_| std::net::TcpStream::connect(listener.local_address().unwrap()).unwrap()).collect();
    for (accept, client) in accepts.into_iter().zip(&clients) {
        let socket = scheduler.block_on(accept).unwrap().unwrap();
        assert_eq!(socket.peer_address().unwrap(), client.local_addr().unwrap());
    }
}

fn a_connect_holds_back_sends_and_receives_until_it_has_settled(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let socket = scheduler.io().socket(address).unwrap();
    let connect = socket.connect(address).submit().unwrap();
    let send = socket.send("early").submit().unwrap();
    let receive = socket.recv_exact(vec![0; 5]).submit().unwrap();
    // Handed over with the turn.
    scheduler.poll().unwrap();
    let (mut peer, _) = listener.accept().unwrap();
    peer.write_all(b"reply").unwrap();
    scheduler.block_on(connect).unwrap().unwrap();
    scheduler.block_on(send).unwrap().unwrap();
    assert_eq!(scheduler.block_on(receive).unwrap().unwrap().1, b"reply");
    let mut bytes = [0; 5];
    peer.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"early");
}

fn disjoint_ranges_of_a_file_are_at_the_os_at_once(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let file = scheduler.io().open(setup.file("data", &[1; 4000]), Mode::ReadWrite).wait().unwrap();
    let writes: Vec<_> = (0..4).map(|part| file.write_at(vec![2; 1000], part * 1000).submit().unwrap()).collect();
    assert_eq!(at_os(&scheduler), (4, 4));
    for write in writes {
        scheduler.block_on(write).unwrap().unwrap();
    }
}

fn overlapping_ranges_wait_if_one_writes(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let path = setup.file("data", &[1; 4000]);
    let file = scheduler.io().open(&path, Mode::ReadWrite).wait().unwrap();
    let first = file.write_at(vec![2; 1000], 0).submit().unwrap();
    let read = file.read_at(vec![0; 1000], 500).submit().unwrap();
    let reads = [0, 1].map(|_| file.read_at(vec![0; 100], 3000).submit().unwrap());
    let last = file.write_at(vec![3; 1000], 900).submit().unwrap();
    // The reads beside each other and the first write are there; the rest wait.
    assert_eq!(at_os(&scheduler), (3, 5));
    let (_, bytes) = scheduler.block_on(read).unwrap().unwrap();
    assert_eq!((&bytes[..500], &bytes[500..]), (&[2; 500][..], &[1; 500][..]));
    scheduler.block_on(last).unwrap().unwrap();
    scheduler.block_on(first).unwrap().unwrap();
    for read in reads {
        scheduler.block_on(read).unwrap().unwrap();
    }
    assert_eq!(fs::read(path).unwrap()[898..902], [2, 2, 3, 3]);
}

fn a_write_past_the_known_end_holds_back_whatever_reaches_the_end(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let file = scheduler.io().open(setup.file("data", &[1; 50]), Mode::ReadWrite).wait().unwrap();
    let write = file.write_at(vec![2; 50], 300).submit().unwrap();
    let beyond = file.read_at(vec![9; 50], 100).submit().unwrap();
    let stat = file.stat().submit().unwrap();
    let within = file.read_at(vec![9; 50], 0).submit().unwrap();
    assert_eq!(at_os(&scheduler), (2, 4));
    assert_eq!(scheduler.block_on(within).unwrap().unwrap().1, [1; 50]);
    // Ranges that do not overlap, and yet the read sees that the write has moved the end.
    assert_eq!(scheduler.block_on(beyond).unwrap().unwrap(), (50, vec![0; 50]));
    assert_eq!(scheduler.block_on(stat).unwrap().unwrap().size, 350);
    scheduler.block_on(write).unwrap().unwrap();
}

fn operations_at_the_cursor_run_one_at_a_time_and_never_beside_positioned_writes(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let content: Vec<u8> = (0..200).collect();
    let file = scheduler.io().open(setup.file("data", &content), Mode::ReadWrite).wait().unwrap();
    let reads: Vec<_> = (0..3).map(|_| file.read(vec![0; 10]).submit().unwrap()).collect();
    let beside = file.read_at(vec![0; 10], 100).submit().unwrap();
    let write = file.write_at(vec![255; 10], 20).submit().unwrap();
    let seek = file.seek(SeekFrom::Current(-10)).submit().unwrap();
    let again = file.read(vec![0; 10]).submit().unwrap();
    assert_eq!(at_os(&scheduler), (2, 7));
    for (number, read) in reads.into_iter().enumerate() {
        assert_eq!(scheduler.block_on(read).unwrap().unwrap().1, content[number * 10..number * 10 + 10]);
    }
    assert_eq!(scheduler.block_on(beside).unwrap().unwrap().1, content[100..110]);
    scheduler.block_on(write).unwrap().unwrap();
    assert_eq!(scheduler.block_on(seek).unwrap().unwrap(), 20);
    assert_eq!(scheduler.block_on(again).unwrap().unwrap().1, [255; 10]);
    assert_eq!(file.cursor().unwrap(), 30);
}

fn appends_and_cursor_writes_wait_for_all_positioned_ones(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let path = setup.file("data", &[1; 100]);
    let file = scheduler.io().open(&path, Mode::ReadWrite).wait().unwrap();
    let read = file.read_at(vec![0; 10], 50).submit().unwrap();
    let write = file.write(vec![2; 10]).submit().unwrap();
    assert_eq!(at_os(&scheduler), (1, 2));
    scheduler.block_on(write).unwrap().unwrap();
    scheduler.block_on(read).unwrap().unwrap();

    let options = OpenOptions::new().read(true).append(true);
    let log = scheduler.io().open(&path, options).wait().unwrap();
    let read = log.read_at(vec![0; 10], 0).submit().unwrap();
    let appends: Vec<_> = (0..20u8).map(|number| log.write(vec![number; 5]).submit().unwrap()).collect();
    assert_eq!(at_os(&scheduler), (1, 21));
    for append in appends {
        scheduler.block_on(append).unwrap().unwrap();
    }
    drop(read);
    let expected: Vec<u8> = (0..20u8).flat_map(|number| [number; 5]).collect();
    assert_eq!(fs::read(path).unwrap()[100..], expected);
}

fn a_positioned_write_in_append_mode_is_an_error(setup: &Setup) {
    let scheduler = setup.scheduler();
    let file = scheduler.io().open(setup.path("log"), Mode::Append).wait().unwrap();
    file.write("first").wait().unwrap();
    let failed = file.write_at(vec![1; 3], 0).wait().unwrap_err();
    assert_eq!((failed.error.kind(), failed.moved), (ErrorKind::InvalidInput, Moved::NotStarted));
    assert_eq!(fs::read(setup.path("log")).unwrap(), b"first");
}

fn the_handle_keeps_the_cursor_and_not_the_os(setup: &Setup) {
    let scheduler = setup.scheduler();
    let mut shared = fs::File::open(setup.file("data", b"0123456789")).unwrap();
    let file = scheduler.io().adopt_file(shared.try_clone().unwrap(), "data").unwrap();
    assert_eq!(file.read(vec![0; 4]).wait().unwrap().1, b"0123");
    // Windows moves its own along, and nothing follows from that.
    #[cfg(unix)]
    assert_eq!(shared.stream_position().unwrap(), 0);
    shared.seek(SeekFrom::Start(9)).unwrap();
    assert_eq!(file.read(vec![0; 4]).wait().unwrap().1, b"4567");
    // Handed back, it stands where the handle stood.
    let (mut back, received) = file.into_std().unwrap();
    assert_eq!((back.stream_position().unwrap(), received.len()), (8, 0));
}

fn unordered_requests_pass_all_but_barriers(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let file = scheduler.io().open(setup.file("data", &[1; 100]), Mode::ReadWrite).wait().unwrap();
    let first = file.write_at(vec![2; 100], 0).submit().unwrap();
    let beside = file.read_at(vec![0; 100], 0).unordered().submit().unwrap();
    let held = file.read_at(vec![0; 100], 0).submit().unwrap();
    assert_eq!(at_os(&scheduler), (2, 3));
    let barrier = file.barrier().submit().unwrap();
    let after = file.read_at(vec![0; 100], 0).unordered().submit().unwrap();
    assert_eq!(at_os(&scheduler), (2, 5));
    scheduler.block_on(after).unwrap().unwrap();
    assert!(first.is_settled() && beside.is_settled() && held.is_settled() && barrier.is_settled());
    // Beside a write at the cursor nothing else runs.
    let write = file.write(vec![3; 10]).submit().unwrap();
    let beside = file.read_at(vec![0; 100], 0).unordered().submit().unwrap();
    assert_eq!(at_os(&scheduler), (2, 2));
    assert!(write.wait().is_ok() && beside.wait().is_ok());
}

fn a_barrier_that_is_cancelled_lets_nobody_past_those_before_it(setup: &Setup) {
    for _ in 0..50 {
        let mut scheduler = setup.scheduler();
        let file = scheduler.io().open(setup.file("data", &[1; 100]), Mode::ReadWrite).wait().unwrap();
        let read = file.read_at(vec![0; 50], 0).submit().unwrap();
        let truncate = file.truncate(0).submit().unwrap();
        let barrier = file.barrier().submit().unwrap();
        barrier.cancel();
        let ordered = file.write_at("ordered", 10).submit().unwrap();
        let unordered = file.write_at("unordered", 20).unordered().submit().unwrap();
        scheduler.block_on(unordered).unwrap().unwrap();
        scheduler.block_on(ordered).unwrap().unwrap();
        assert_eq!(scheduler.block_on(file.stat()).unwrap().unwrap().size, 29);
        assert!(read.wait().is_ok() && truncate.wait().is_ok());
        assert!(matches!(barrier.take().unwrap(), Ok(()) | Err(_)));
    }
}

fn writes_behind_a_barrier_all_go_out_though_their_call_is_short(setup: &Setup) {
    const WRITES: u8 = 5;
    const BYTES: usize = 100_000;
    const FIRST: usize = 8 << 20;
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let (socket, mut peer) = setup.connection(&io);
    socket.set_send_buffer(64 << 10).unwrap();
    // It fills the way out, so that the barrier has to wait for the reader.
    let first = socket.send(vec![99; FIRST]).submit().unwrap();
    let barrier = socket.barrier().submit().unwrap();
    let writes: Vec<_> = (0..WRITES).map(|number| socket.send(vec![number; BYTES]).submit().unwrap()).collect();
    scheduler.poll().unwrap();
    assert!(!first.is_settled() && !barrier.is_settled());
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        peer.read_to_end(&mut bytes).unwrap();
        bytes
    });
    assert_eq!(first.wait().unwrap().0, FIRST);
    barrier.wait().unwrap();
    for write in writes {
        assert_eq!(write.wait().unwrap().0, BYTES);
    }
    socket.shutdown(Shutdown::Write).wait().unwrap();
    let bytes = reader.join().unwrap();
    let expected = (0..WRITES).flat_map(|number| std::iter::repeat_n(number, BYTES));
    assert!(bytes[FIRST..].iter().copied().eq(expected), "{} bytes", bytes.len());
}

fn cancelling_one_of_the_joined_writes_fails_no_other(setup: &Setup) {
    // More than the kernel takes while nobody reads, and less than one joined call.
    const LARGE: usize = 800 << 10;
    let mut scheduler = setup.scheduler();
    let (socket, peer) = setup.connection(&scheduler.io());
    socket.set_send_buffer(4096).unwrap();
    let io = scheduler.io();
    // Only so that the peer's buffer does not grow.
    let adopted = io.adopt_socket(peer).unwrap();
    adopted.set_receive_buffer(128 << 10).unwrap();
    let (mut peer, _) = adopted.into_std().unwrap();
    let first = socket.send(vec![0; LARGE]).submit().unwrap();
    let token = CancelToken::new();
    let head = socket.send(vec![0; LARGE]).submit().unwrap();
    let sends: Vec<_> = (1..=20u8)
        .map(|number| {
            let send = socket.send(vec![number; 1000]);
            let send = if number % 5 == 0 { send.cancel_with(&token) } else { send };
            send.submit().unwrap()
        })
        .collect();
    // The first goes out alone, as it came to an idle lane; the next takes all behind it along.
    let mut received = vec![0; LARGE];
    let reader = std::thread::spawn(move || {
        peer.read_exact(&mut received).unwrap();
        (peer, received)
    });
    scheduler.block_on(first).unwrap().unwrap();
    let (mut peer, mut received) = reader.join().unwrap();
    scheduler.poll().unwrap();
    token.cancel();
    scheduler.poll().unwrap();
    assert!(!head.is_settled());
    let reader = std::thread::spawn(move || {
        peer.read_to_end(&mut received).unwrap();
        received
    });
    scheduler.block_on(head).unwrap().unwrap();
    let mut expected = vec![0; 2 * LARGE];
    for (number, send) in (1..=20u8).zip(sends) {
        match scheduler.block_on(send).unwrap() {
            Ok(_) => {
                assert_ne!(number % 5, 0);
                expected.extend([number; 1000]);
            }
            Err(failed) => {
                assert_eq!((failed.error.kind(), number % 5), (ErrorKind::Cancelled, 0), "{failed}");
                assert_eq!(failed.moved.bytes(), 0);
            }
        }
    }
    socket.close().wait().unwrap();
    assert!(reader.join().unwrap() == expected);
}

fn only_what_never_started_settles_ahead_of_its_turn(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let (socket, mut peer) = setup.connection(&scheduler.io());
    let first = socket.recv_exact(vec![0; 2]).submit().unwrap();
    let second = socket.recv_exact(vec![0; 2]).deadline(Duration::from_millis(1)).submit().unwrap();
    let third = socket.recv_exact(vec![0; 2]).submit().unwrap();
    let failed = scheduler.block_on(second).unwrap().unwrap_err();
    assert_eq!((failed.error.kind(), failed.moved), (ErrorKind::TimedOut, Moved::NotStarted));
    assert!(!first.is_settled() && !third.is_settled());
    peer.write_all(b"abcd").unwrap();
    assert_eq!(scheduler.block_on(first).unwrap().unwrap().1, b"ab");
    assert_eq!(scheduler.block_on(third).unwrap().unwrap().1, b"cd");
}
