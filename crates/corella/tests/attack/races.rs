//! A cancel that races the completion: settled once, and nothing received is lost.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use corella::{CancelToken, ErrorKind, Mode, Shutdown, Socket};

use crate::promises;
use crate::setup::Setup;

promises![
    a_hundred_thousand_receives_cancelled_as_bytes_arrive_lose_none,
    a_hundred_thousand_accepts_cancelled_as_connections_arrive_lose_none,
    a_hundred_thousand_reads_cancelled_as_they_finish_settle_once,
    a_hundred_thousand_connects_cancelled_as_they_finish_settle_once,
    a_hundred_thousand_timers_cancelled_as_they_fire_settle_once,
    ninety_six_to_ten_thousand_sends_submitted_at_once_arrive_in_order_at_a_slow_reader,
    a_storm_of_opens_and_closes_never_mixes_up_descriptors,
    a_storm_of_connections_closed_while_they_receive_never_takes_anothers_bytes,
];

fn a_hundred_thousand_receives_cancelled_as_bytes_arrive_lose_none(setup: &Setup) {
    const ROUNDS: u64 = 100_000;
    const CHUNK: usize = 7;
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let (socket, mut peer) = setup.connection(&io);
    // Chunks that the peer may have sent. One more is asked for when all have come, so that bytes and cancel race.
    let asked = Arc::new(AtomicUsize::new(0));
    let is_over = Arc::new(AtomicBool::new(false));
    let writer = {
        let (asked, is_over) = (Arc::clone(&asked), Arc::clone(&is_over));
        std::thread::spawn(move || {
            let mut sent = 0;
            while !is_over.load(Ordering::Relaxed) {
                if sent < asked.load(Ordering::Acquire) * CHUNK {
                    let bytes: Vec<u8> = (sent..sent + CHUNK).map(|place| (place % 251) as u8).collect();
                    peer.write_all(&bytes).unwrap();
                    sent += CHUNK;
                } else {
                    std::thread::yield_now();
                }
            }
        })
    };
    let (mut received, mut cancelled) = (0usize, 0);
    scheduler
        .block_on(async {
            for round in 0..ROUNDS {
                let status = socket.recv(vec![0; 64]).submit().unwrap();
                if received == asked.load(Ordering::Relaxed) * CHUNK {
                    asked.fetch_add(1, Ordering::Release);
                }
                for _ in 0..round % 64 * 16 {
                    std::hint::spin_loop();
                }
                match round % 4 {
                    0 => status.cancel(),
                    1 => {
                        io.yield_now().await;
                        status.cancel();
                    }
                    2 => {
                        // Dropped where it stands: what it had got goes to the next.
                        let mut future = socket.recv(vec![0; 64]);
                        let polled = std::future::poll_fn(|context| {
                            std::task::Poll::Ready(std::pin::Pin::new(&mut future).poll(context))
                        })
                        .await;
                        status.cancel();
                        count(status.await, &mut received, &mut cancelled);
                        if let std::task::Poll::Ready(outcome) = polled {
                            count(outcome, &mut received, &mut cancelled);
                        }
                        continue;
                    }
                    _ => {}
                }
                count(status.await, &mut received, &mut cancelled);
            }
            while received < asked.load(Ordering::Relaxed) * CHUNK {
                count(socket.recv(vec![0; 64]).await, &mut received, &mut cancelled);
            }
        })
        .unwrap();
    is_over.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    assert!(cancelled > 1000 && received > 1000, "{cancelled} cancelled, {received} bytes: too few to say anything");
}

/// Checks the bytes against their places in the stream.
fn count(outcome: Result<(usize, Vec<u8>), corella::Failed<Vec<u8>>>, received: &mut usize, cancelled: &mut u64) {
    match outcome {
        Ok((count, buffer)) => {
            for byte in &buffer[..count] {
                assert_eq!(*byte, (*received % 251) as u8, "at {received}");
                *received += 1;
            }
        }
        Err(failed) => {
            assert_eq!((failed.error.kind(), failed.moved.bytes()), (ErrorKind::Cancelled, 0));
            *cancelled += 1;
        }
    }
}

fn a_hundred_thousand_accepts_cancelled_as_connections_arrive_lose_none(setup: &Setup) {
    const ROUNDS: u64 = 100_000;
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let listener = io.listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_address().unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&is_over);
    // It tells how many connections it made.
    let client = std::thread::spawn(move || {
        let mut number = 0u32;
        while !stop.load(Ordering::SeqCst) {
            let mut connection = connect_without_trace(address);
            connection.write_all(&number.to_le_bytes()).unwrap();
            number += 1;
            // Gone only when the other side has seen it, so that at most a few are waiting.
            let mut end = [0; 1];
            let _ = connection.read(&mut end).unwrap();
        }
        number
    });
    let mut expected = 0u32;
    let (mut rounds, mut cancelled) = (0u64, 0u64);
    let mut greet = async |connection: Socket| {
        let (_, number) = connection.recv_exact(vec![0; 4]).await.unwrap();
        assert_eq!(number, expected.to_le_bytes());
        expected += 1;
        connection.send(vec![1]).await.unwrap();
    };
    scheduler
        .block_on(async {
            while rounds < ROUNDS {
                rounds += 1;
                let status = listener.accept().submit().unwrap();
                if rounds % 8 != 0 {
                    for _ in 0..rounds % 3 {
                        io.yield_now().await;
                    }
                    status.cancel();
                }
                match status.await {
                    Ok(connection) => greet(connection).await,
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Cancelled);
                        cancelled += 1;
                    }
                }
            }
            is_over.store(true, Ordering::SeqCst);
            // At most one is on its way; without it the client waits for ever.
            while let Ok(connection) = listener.accept().deadline(Duration::from_millis(500)).await {
                greet(connection).await;
            }
        })
        .unwrap();
    assert_eq!(client.join().unwrap(), expected);
    assert!(cancelled > 1000 && expected > 1000, "{cancelled} of {rounds}, {expected} connections");
}

/// A connection whose close leaves no port waiting (SO_LINGER of nothing), as there are fewer than connections here.
fn connect_without_trace(address: SocketAddr) -> TcpStream {
    let connection = TcpStream::connect(address).unwrap();
    socket2::SockRef::from(&connection).set_linger(Some(Duration::ZERO)).unwrap();
    connection
}

fn a_hundred_thousand_reads_cancelled_as_they_finish_settle_once(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let content: Vec<u8> = (0..1 << 16).map(|place: u32| (place % 251) as u8).collect();
    let file = io.open(setup.file("data", &content), Mode::Read).wait().unwrap();
    scheduler
        .block_on(async {
            for round in 0..100_000usize {
                let offset = (round * 37) % 60_000;
                let token = CancelToken::new();
                let status = file.read_at(vec![0; 512], offset as u64).cancel_with(&token).submit().unwrap();
                if round % 2 == 0 {
                    io.yield_now().await;
                }
                token.cancel();
                match status.await {
                    Ok((count, buffer)) => assert_eq!(buffer[..count], content[offset..offset + count]),
                    Err(failed) => assert_eq!(failed.error.kind(), ErrorKind::Cancelled),
                }
            }
        })
        .unwrap();
}

fn a_hundred_thousand_connects_cancelled_as_they_finish_settle_once(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let accepting = std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            socket2::SockRef::from(&connection).set_linger(Some(Duration::ZERO)).unwrap();
            let mut mark = [0; 1];
            if connection.read(&mut mark).is_ok_and(|count| count == 1) {
                return;
            }
        }
    });
    let before = std::fs::read_dir("/proc/self/fd").unwrap().count();
    scheduler
        .block_on(async {
            for round in 0..100_000 {
                let status = io.connect(address).submit().unwrap();
                if round % 2 == 0 {
                    io.yield_now().await;
                }
                status.cancel();
                match status.await {
                    Ok(socket) => {
                        // As it leaves no port waiting either.
                        socket.set_linger(Some(Duration::ZERO)).unwrap();
                        socket.close().await.unwrap();
                    }
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Cancelled),
                }
            }
            let last = io.connect(address).await.unwrap();
            last.send("x").await.unwrap();
        })
        .unwrap();
    accepting.join().unwrap();
    scheduler.run().unwrap();
    let after = std::fs::read_dir("/proc/self/fd").unwrap().count();
    // Other tests of this process open and close theirs beside this one.
    assert!(after < before + 200, "{before} descriptors before, {after} after");
}

fn a_hundred_thousand_timers_cancelled_as_they_fire_settle_once(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let settled = std::rc::Rc::new(std::cell::Cell::new(0u64));
    for round in 0..100_000u64 {
        let count = std::rc::Rc::clone(&settled);
        let timer = io.sleep(Duration::from_nanos(round % 2000));
        let id = timer.then(move |_| count.set(count.get() + 1)).unwrap();
        if round % 3 == 0 {
            scheduler.poll().unwrap();
        }
        io.cancel(id);
        io.cancel(id);
    }
    scheduler.run().unwrap();
    assert_eq!(settled.get(), 100_000);
}

fn ninety_six_to_ten_thousand_sends_submitted_at_once_arrive_in_order_at_a_slow_reader(setup: &Setup) {
    for sends in [96, 500, 2000, 10_000] {
        send_at_once(setup, sends);
    }
}

fn send_at_once(setup: &Setup, sends: u32) {
    let mut scheduler = setup.scheduler();
    let (socket, mut peer) = setup.connection(&scheduler.io());
    socket.set_send_buffer(4096).unwrap();
    for number in 0..sends {
        let message = number.to_le_bytes().repeat(1 + number as usize % 50);
        // In one part, or in many.
        match number % 3 {
            0 => {
                socket.send(message.chunks(9).map(<[u8]>::to_vec).collect::<Vec<_>>()).then(|sent| drop(sent.unwrap()))
            }
            _ => socket.send(message).then(|sent| drop(sent.unwrap())).map_err(|_| panic!("the queue is deep")),
        }
        .unwrap();
    }
    socket.shutdown(Shutdown::Write).then(|outcome| assert!(outcome.is_ok())).unwrap();
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let mut buffer = [0; 1000];
        while let Ok(count) = peer.read(&mut buffer) {
            if count == 0 {
                break;
            }
            bytes.extend_from_slice(&buffer[..count]);
            std::thread::yield_now();
        }
        bytes
    });
    scheduler.run().unwrap();
    let bytes = reader.join().unwrap();
    let mut place = 0;
    for number in 0..sends {
        for _ in 0..1 + number as usize % 50 {
            assert_eq!(bytes[place..place + 4], number.to_le_bytes(), "at {place}");
            place += 4;
        }
    }
    assert_eq!(place, bytes.len());
}

fn a_storm_of_opens_and_closes_never_mixes_up_descriptors(setup: &Setup) {
    const FILES: usize = 16;
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let paths: Vec<_> = (0..FILES).map(|number| setup.file(&format!("{number}"), &[number as u8; 64])).collect();
    let wrong = Arc::new(AtomicUsize::new(0));
    let is_over = AtomicBool::new(false);
    scheduler
        .block_on(async {
            let mut workers = Vec::new();
            for worker in 0..32 {
                let (io, paths, wrong) = (io.clone(), paths.clone(), Arc::clone(&wrong));
                workers.push(io.clone().spawn(async move {
                    for round in 0..300usize {
                        let number = (worker * 7 + round) % FILES;
                        let file = io.open(&paths[number], Mode::Read).await.unwrap();
                        // In flight while it closes, by a call or by a drop: its number is free at once.
                        let read = file.read_at(vec![255; 64], 0).submit().unwrap();
                        match round % 3 {
                            0 => drop(file),
                            1 => file.close().await.unwrap(),
                            _ => file.close_now().await.unwrap(),
                        }
                        if let Ok((count, bytes)) = read.await {
                            let is_right = count == 64 && bytes.iter().all(|byte| *byte == number as u8);
                            wrong.fetch_add(usize::from(!is_right), Ordering::Relaxed);
                        }
                    }
                }));
            }
            for worker in workers {
                worker.unwrap().await.unwrap();
            }
            is_over.store(true, Ordering::Relaxed);
        })
        .unwrap();
    assert!(is_over.load(Ordering::Relaxed));
    assert_eq!(wrong.load(Ordering::Relaxed), 0);
}

fn a_storm_of_connections_closed_while_they_receive_never_takes_anothers_bytes(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let mut numbers = std::collections::BTreeSet::new();
    scheduler
        .block_on(async {
            for round in 0..2000u32 {
                let (old, old_peer) = setup.connection(&io);
                let number = old.descriptor_number().unwrap();
                let receive = old.recv(vec![0; 8]).submit().unwrap();
                io.yield_now().await;
                match round % 3 {
                    0 => drop(old),
                    1 => old.close().await.unwrap(),
                    _ => old.close_now().await.unwrap(),
                }
                // On the same number, if it is free already, and with bytes at once.
                let (new, mut peer) = setup.connection(&io);
                numbers.insert(new.descriptor_number().unwrap() == number);
                peer.write_all(&round.to_le_bytes()).unwrap();
                assert_eq!(new.recv_exact(vec![0; 4]).await.unwrap().1, round.to_le_bytes());
                let failed = receive.await.unwrap_err();
                assert_eq!((failed.error.kind(), failed.moved.bytes()), (ErrorKind::Cancelled, 0));
                drop(old_peer);
            }
        })
        .unwrap();
    assert!(numbers.contains(&true), "no number was used again");
}
