//! What is carried out at once: an awaited read of what is in the page cache takes no way through the ring or a thread, and a
//! send that is tried takes none either. Nothing else about them may differ.

use std::cell::Cell;
use std::io::Read;
use std::rc::Rc;
use std::time::{Duration, Instant};

use corella::{BackendKind, ErrorKind, File, Mode, OpenOptions};

use crate::promises;
#[cfg(target_os = "linux")]
use crate::setup::refuse_call;
use crate::setup::{Setup, read_slowly};

promises![
    reads_that_follow_each_other_give_what_the_file_has_up_to_its_end,
    a_read_that_follows_a_write_sees_it,
    an_exact_read_beyond_the_end_is_an_error_however_often_others_succeeded,
    a_task_that_reads_what_is_cached_leaves_others_their_turn,
    a_deadline_and_a_token_change_nothing_for_what_is_there,
    #[cfg(target_os = "linux")]
    what_is_not_in_the_cache_is_read_all_the_same,
    #[cfg(target_os = "linux")]
    a_kernel_without_such_a_call_is_read_from_all_the_same,
    sends_that_are_tried_and_sends_that_are_submitted_arrive_in_the_order_of_the_calls,
    a_send_that_is_tried_passes_none_that_waits,
    a_send_that_is_tried_fails_as_one_that_is_submitted,
    a_send_that_is_tried_on_a_closed_socket_sends_nothing,
    what_was_sent_in_part_is_gone_on_with_or_breaks_its_lane,
];

const BLOCK: usize = 4096;

/// Bytes that tell where they stand.
fn content(length: usize) -> Vec<u8> {
    (0..length).map(|place| (place / 7 + place / BLOCK) as u8).collect()
}

/// Reads every block and what is beyond the end, again and again: each is tried at once sooner or later.
async fn read_all(file: &File, content: &[u8], rounds: usize) {
    let mut buffer = vec![0; BLOCK];
    for _ in 0..rounds {
        for start in (0..content.len() + BLOCK).step_by(BLOCK / 2) {
            let (count, filled) = file.read_at(buffer, start as u64).await.unwrap();
            let expected = content.get(start..(start + BLOCK).min(content.len())).unwrap_or_default();
            assert!(filled[..count] == *expected, "at {start}: {count} bytes, {} expected", expected.len());
            buffer = filled;
        }
    }
}

fn reads_that_follow_each_other_give_what_the_file_has_up_to_its_end(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let content = content(10 * BLOCK + 100);
    let file = scheduler.io().open(setup.file("data", &content), Mode::Read).wait().unwrap();
    scheduler.block_on(read_all(&file, &content, 20)).unwrap();
}

fn a_read_that_follows_a_write_sees_it(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let options = OpenOptions::new().read(true).write(true);
    let file = scheduler.io().open(setup.file("data", &content(2 * BLOCK)), options).wait().unwrap();
    let task = async {
        let mut buffer = vec![0; BLOCK];
        for round in 0..200u32 {
            let value = round as u8;
            let place = u64::from(round % 4) * 100;
            // Not waited for: the read comes behind it all the same.
            let written = file.write_at(vec![value; 100], place).submit().unwrap();
            (_, buffer) = file.read_at(buffer, 0).await.unwrap();
            assert!(buffer[place as usize..][..100].iter().all(|byte| *byte == value), "round {round}");
            (_, buffer) = file.read_at(buffer, 0).await.unwrap();
            assert!(buffer[place as usize..][..100].iter().all(|byte| *byte == value), "round {round}, again");
            written.await.unwrap();
        }
    };
    scheduler.block_on(task).unwrap();
}

fn an_exact_read_beyond_the_end_is_an_error_however_often_others_succeeded(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let file = scheduler.io().open(setup.file("data", &content(BLOCK)), Mode::Read).wait().unwrap();
    let task = async {
        for _ in 0..100 {
            assert_eq!(file.read_exact_at(vec![0; BLOCK / 2], 0).await.unwrap().0, BLOCK / 2);
        }
        let failed = file.read_exact_at(vec![0; BLOCK], 100).await.unwrap_err();
        assert_eq!((failed.error.kind(), failed.buffer.len()), (ErrorKind::UnexpectedEnd, BLOCK));
        assert_eq!(file.read_exact_at(vec![0; BLOCK], 0).await.unwrap().0, BLOCK);
    };
    scheduler.block_on(task).unwrap();
}

fn a_task_that_reads_what_is_cached_leaves_others_their_turn(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let file = io.open(setup.file("data", &content(BLOCK)), Mode::Read).wait().unwrap();
    let is_over = Rc::new(Cell::new(false));
    let (flag, start) = (Rc::clone(&is_over), Instant::now());
    io.sleep(Duration::from_millis(10)).then(move |_| flag.set(true)).unwrap();
    let task = io.spawn(async move {
        let mut buffer = vec![0; 512];
        while !is_over.get() && start.elapsed() < Duration::from_secs(10) {
            (_, buffer) = file.read_at(buffer, 0).await.unwrap();
        }
    });
    task.unwrap().wait().unwrap();
    assert!(start.elapsed() < Duration::from_secs(5), "a timer of 10 ms came after {:?}", start.elapsed());
}

fn a_deadline_and_a_token_change_nothing_for_what_is_there(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let content = content(2 * BLOCK);
    let file = scheduler.io().open(setup.file("data", &content), Mode::Read).wait().unwrap();
    let task = async {
        let token = corella::CancelToken::new();
        for round in 0..50 {
            let read = file.read_at(vec![0; BLOCK], 10).deadline(Duration::from_secs(60));
            let read = if round % 2 == 0 { read.cancel_with(&token) } else { read };
            assert!(read.await.unwrap().1 == content[10..][..BLOCK]);
        }
        token.cancel();
        let failed = file.read_at(vec![0; BLOCK], 0).cancel_with(&token).await.unwrap_err();
        assert_eq!(failed.error.kind(), ErrorKind::Cancelled);
    };
    scheduler.block_on(task).unwrap();
    assert_eq!(scheduler.outstanding().len(), 0);
}

#[cfg(target_os = "linux")]
fn what_is_not_in_the_cache_is_read_all_the_same(setup: &Setup) {
    use std::os::fd::AsRawFd;
    let mut scheduler = setup.scheduler();
    let content = content(64 * BLOCK);
    let path = setup.file("data", &content);
    let behind = std::fs::File::open(&path).unwrap();
    behind.sync_all().unwrap();
    let file = scheduler.io().open(path, Mode::Read).wait().unwrap();
    for _ in 0..10 {
        // SAFETY: a call about an open descriptor.
        assert_eq!(unsafe { libc::posix_fadvise(behind.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) }, 0);
        scheduler.block_on(read_all(&file, &content, 2)).unwrap();
    }
}

#[cfg(target_os = "linux")]
fn a_kernel_without_such_a_call_is_read_from_all_the_same(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let content = content(4 * BLOCK);
    let file = scheduler.io().open(setup.file("data", &content), Mode::Read).wait().unwrap();
    refuse_call(libc::SYS_preadv2, libc::ENOSYS);
    scheduler.block_on(read_all(&file, &content, 20)).unwrap();
}

fn sends_that_are_tried_and_sends_that_are_submitted_arrive_in_the_order_of_the_calls(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let (socket, peer) = setup.connection(&scheduler.io());
    socket.set_send_buffer(4096).unwrap();
    let reader = read_slowly(peer);
    let (mut expected, mut tried) = (Vec::new(), 0);
    for number in 0..500u32 {
        let message = number.to_le_bytes().repeat(1 + (number as usize * 7) % 90);
        expected.extend_from_slice(&message);
        let sent = if number % 3 == 0 { 0 } else { socket.try_send(&message).unwrap() };
        tried += sent;
        if sent < message.len() {
            socket.send(message[sent..].to_vec()).then(|outcome| assert!(outcome.is_ok())).unwrap();
        }
        scheduler.poll().unwrap();
    }
    drop(socket);
    scheduler.run().unwrap();
    assert!(reader.join().unwrap() == expected);
    // A completion port has no such call.
    assert_eq!(tried > 0, scheduler.backend() != BackendKind::Iocp);
}

fn a_send_that_is_tried_passes_none_that_waits(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let (socket, mut peer) = setup.connection(&scheduler.io());
    let large = vec![b'l'; 32 << 20];
    socket.send(large.clone()).then(|outcome| assert!(outcome.is_ok())).unwrap();
    assert_eq!(socket.try_send(b"late").unwrap(), 0);
    scheduler.poll().unwrap();
    assert_eq!(socket.try_send(b"late").unwrap(), 0);
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        peer.read_to_end(&mut bytes).unwrap();
        bytes
    });
    drop(socket);
    scheduler.run().unwrap();
    assert!(reader.join().unwrap() == large);
}

fn a_send_that_is_tried_fails_as_one_that_is_submitted(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let failure = |is_tried: bool, scheduler: &mut corella::Scheduler| {
        let (socket, peer) = setup.connection(&scheduler.io());
        drop(peer);
        let first = loop {
            let tried = if is_tried { socket.try_send(b"x") } else { Ok(0) };
            match tried {
                Ok(0) => match scheduler.block_on(socket.send("x")).unwrap() {
                    Ok(_) => {}
                    Err(failed) => break failed.error,
                },
                Ok(_) => {}
                Err(error) => break error,
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        let next = scheduler.block_on(socket.send("x")).unwrap().unwrap_err().error;
        let place = |error: &corella::Error| (error.kind(), error.os_code(), error.operation().to_string());
        (place(&first), place(&next))
    };
    let (tried, submitted) = (failure(true, &mut scheduler), failure(false, &mut scheduler));
    // Whether the reset or the end of it is met first is the system's.
    assert_eq!((&tried.0.2, tried.1.0), (&submitted.0.2, submitted.1.0));
    assert_eq!(tried.1.0, ErrorKind::LaneBroken);
}

fn a_send_that_is_tried_on_a_closed_socket_sends_nothing(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let (socket, mut peer) = setup.connection(&scheduler.io());
    let other = socket.clone();
    let closed = socket.close().submit().unwrap();
    assert_eq!(other.try_send(b"late").unwrap(), 0);
    scheduler.block_on(closed).unwrap().unwrap();
    assert_eq!(other.try_send(b"late").unwrap(), 0);
    let mut bytes = Vec::new();
    peer.read_to_end(&mut bytes).unwrap();
    assert!(bytes.is_empty());
}

fn what_was_sent_in_part_is_gone_on_with_or_breaks_its_lane(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let message = vec![b'm'; 32 << 20];
    for is_cancelled in [false, true] {
        let (socket, mut peer) = setup.connection(&scheduler.io());
        let sent = socket.try_send(&message).unwrap();
        assert!(sent < message.len());
        let outcome = Rc::new(Cell::new(None));
        let told = Rc::clone(&outcome);
        let rest = socket.send(message[sent..].to_vec());
        let rest =
            rest.then(move |outcome| told.set(Some(outcome.map(|(count, _)| count).map_err(|failed| failed.error))));
        if is_cancelled {
            scheduler.io().cancel(rest.unwrap());
        }
        // It may be known by now that the lane is broken.
        let next = socket.send("next").submit();
        drop(socket);
        let reader = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            peer.read_to_end(&mut bytes).unwrap();
            bytes
        });
        let next = next.and_then(|next| scheduler.block_on(next).unwrap());
        scheduler.run().unwrap();
        let (bytes, rest) = (reader.join().unwrap(), outcome.take().unwrap());
        let (of_message, of_next) = bytes.split_at(bytes.iter().take_while(|byte| **byte == b'm').count());
        match rest {
            Ok(count) => {
                assert_eq!((of_message.len(), count), (message.len(), message.len() - sent));
                assert_eq!((next.unwrap().0, of_next), (4, &b"next"[..]));
            }
            // Where nothing could be tried, nothing had begun, and a cancel leaves no gap.
            Err(error) if of_message.is_empty() => {
                assert_eq!((is_cancelled, error.kind(), sent), (true, ErrorKind::Cancelled, 0));
                assert_eq!((next.unwrap().0, of_next), (4, &b"next"[..]));
            }
            Err(error) => {
                assert_eq!((is_cancelled, error.kind()), (true, ErrorKind::Cancelled));
                assert_eq!((next.unwrap_err().error.kind(), of_next), (ErrorKind::LaneBroken, &b""[..]));
            }
        }
    }
}
