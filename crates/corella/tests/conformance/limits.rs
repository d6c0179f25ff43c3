//! Points 8 and 9: bounds, and that nobody starves.

use std::cell::{Cell, RefCell};
use std::fs;
use std::io::{Read, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use corella::{BackendKind, BufferPool, ErrorKind, Mode};

use crate::promises;
use crate::setup::{Setup, Variant};
use crate::waiting::Door;

promises![
    at_its_depth_the_queue_rejects_submits_and_callbacks_and_lets_waits_and_awaits_wait_their_turn,
    cancel_close_and_wake_need_no_free_slot,
    a_request_given_up_makes_room_for_the_next,
    closes_take_no_place_of_other_requests,
    the_inbox_and_the_tasks_have_limits,
    a_receive_stream_without_free_buffers_receives_nothing,
    a_receive_stream_that_nobody_reads_takes_no_more_than_its_pool,
    a_buffer_that_comes_back_reaches_one_who_still_waits_for_it,
    cancels_of_one_request_from_another_thread_take_room_for_one,
    more_completions_than_the_ring_holds_all_arrive,
    ten_thousand_requests_in_flight_all_settle,
    #[cfg(unix)]
    rings_of_one_two_and_four_entries_lose_nothing,
    #[cfg(unix)]
    every_opcode_of_the_ring_has_a_fallback,
    #[cfg(unix)]
    every_set_of_ring_flags_works,
    a_full_pool_delays_no_timer_and_no_socket,
    a_close_needs_no_thread_of_a_full_pool,
    an_idle_scheduler_does_not_spin_whatever_it_did_before,
    a_task_that_always_yields_starves_nobody,
    a_task_that_reads_only_what_is_there_starves_nobody,
    a_connection_that_never_stops_sending_starves_nobody,
    callbacks_that_submit_more_starve_nobody,
    a_status_that_is_awaited_at_once_spends_its_tasks_share,
    an_interval_that_is_late_starves_nobody,
    a_receive_stream_goes_on_when_a_buffer_comes_back_in_the_same_turn,
    a_receive_stream_that_is_given_up_passes_its_turn_on,
    sleeps_beyond_their_limit_wait_their_turn,
    what_is_given_up_leaves_its_place_to_others,
    many_requests_on_one_file_cost_each_the_same,
];

fn at_its_depth_the_queue_rejects_submits_and_callbacks_and_lets_waits_and_awaits_wait_their_turn(setup: &Setup) {
    let mut scheduler = setup.builder().queue_depth(2).build().unwrap();
    let io = scheduler.io();
    let (busy, mut busy_peer) = setup.connection(&io);
    let (socket, mut peer) = setup.connection(&io);
    let full = [0, 1].map(|_| busy.recv_exact(vec![0; 1]).submit().unwrap());
    let rejected = socket.send("no").submit().unwrap_err();
    assert_eq!((rejected.error.kind(), rejected.buffer), (ErrorKind::Rejected, "no"));
    let ran = Rc::new(Cell::new(false));
    let flag = Rc::clone(&ran);
    let rejected = socket.send("no").then(move |_| flag.set(true)).unwrap_err();
    assert_eq!((rejected.error.kind(), rejected.buffer), (ErrorKind::Rejected, "no"));
    // Awaits wait in line, and keep their order.
    let order = Rc::new(RefCell::new(Vec::new()));
    let tasks: Vec<_> = (0..20u8)
        .map(|number| {
            let (socket, list) = (socket.clone(), Rc::clone(&order));
            io.spawn(async move {
                socket.send(vec![number]).await.unwrap();
                list.borrow_mut().push(number);
            })
            .unwrap()
        })
        .collect();
    for _ in 0..50 {
        scheduler.poll().unwrap();
    }
    busy_peer.write_all(b"xy").unwrap();
    for task in tasks {
        scheduler.block_on(task).unwrap().unwrap();
    }
    assert_eq!(*order.borrow(), (0..20).collect::<Vec<u8>>());
    let mut bytes = [0; 20];
    peer.read_exact(&mut bytes).unwrap();
    assert_eq!(bytes.to_vec(), (0..20).collect::<Vec<u8>>());
    assert!(!ran.get());
    full.into_iter().for_each(|status| drop(status.wait().unwrap()));
    socket.send("room again").submit().unwrap().wait().unwrap();
}

fn cancel_close_and_wake_need_no_free_slot(setup: &Setup) {
    let mut scheduler = setup.builder().queue_depth(1).build().unwrap();
    let io = scheduler.io();
    let (socket, _peer) = setup.connection(&io);
    let (other, mut other_peer) = setup.connection(&io);
    let only = socket.recv(vec![0; 1]).submit().unwrap();
    scheduler.poll().unwrap();
    other.close().wait().unwrap();
    assert_eq!(other_peer.read(&mut [0; 1]).unwrap(), 0);
    let start = Instant::now();
    scheduler.remote().wake();
    scheduler.turn(Duration::from_secs(20)).unwrap();
    assert!(start.elapsed() < Duration::from_secs(10), "a wake before the wait ends it too");
    only.cancel();
    assert_eq!(only.wait().unwrap_err().error.kind(), ErrorKind::Cancelled);
}

fn a_request_given_up_makes_room_for_the_next(setup: &Setup) {
    let scheduler = setup.builder().queue_depth(1).build().unwrap();
    let io = scheduler.io();
    let door = Door::new(setup, &io);
    let open = door.wait(&io).submit().unwrap();
    let path = setup.file("data", b"content");
    // In line behind the only place there is; the open that nobody waits for any more leaves it.
    open.cancel();
    let file = io.open(path, Mode::Read).wait().unwrap();
    assert_eq!(file.read_at(vec![0; 7], 0).deadline(Duration::from_secs(30)).wait().unwrap().1, b"content");
}

fn closes_take_no_place_of_other_requests(setup: &Setup) {
    let mut scheduler = setup.builder().queue_depth(2).build().unwrap();
    let io = scheduler.io();
    let path = setup.file("data", b"content");
    for round in 0..20 {
        let files: Vec<_> = (0..2).map(|_| io.open(&path, Mode::Read).wait().unwrap()).collect();
        // Both places are taken again while the closes are on their way.
        let reads: Vec<_> = (0..2).map(|_| files[0].read_at(vec![0; 7], 0).submit().unwrap()).collect();
        for file in files {
            if round % 2 == 0 {
                file.close().submit().unwrap();
            }
        }
        for read in reads {
            let _ = read.wait();
        }
    }
    scheduler.run().unwrap();
    assert_eq!(scheduler.outstanding().len(), 0);
    let file = io.open(&path, Mode::Read).wait().unwrap();
    let [first, second] = [(); 2].map(|()| file.read_at(vec![0; 7], 0).submit().unwrap());
    assert_eq!(file.read_at(vec![0; 7], 0).submit().unwrap_err().error.kind(), ErrorKind::Rejected);
    assert_eq!((first.wait().unwrap().0, second.wait().unwrap().0), (7, 7));
}

fn the_inbox_and_the_tasks_have_limits(setup: &Setup) {
    let mut scheduler = setup.builder().inbox_jobs(3).tasks(2).build().unwrap();
    let io = scheduler.io();
    let remote = scheduler.remote();
    let sent = (0..5).map(|_| remote.send(|_| {})).filter(Result::is_ok).count();
    assert_eq!(sent, 3);
    assert_eq!(remote.send(|_| {}).unwrap_err().kind(), ErrorKind::Rejected);
    scheduler.run().unwrap();
    remote.send(|_| {}).unwrap();
    for _ in 0..2 {
        drop(io.spawn(std::future::pending::<()>()).unwrap());
    }
    assert_eq!(io.spawn(async {}).unwrap_err().kind(), ErrorKind::Rejected);
}

fn a_receive_stream_without_free_buffers_receives_nothing(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let (socket, mut peer) = setup.connection(&scheduler.io());
    let pool = BufferPool::new(1, 4);
    let mut stream = socket.recv_stream(&pool);
    peer.write_all(b"abcdefgh").unwrap();
    let first = stream.next().wait().unwrap().unwrap();
    assert_eq!(&first[..], b"abcd");
    assert_eq!(stream.next().submit().unwrap_err().kind(), ErrorKind::Rejected);
    assert!(scheduler.outstanding().is_empty());
    let io = scheduler.io();
    let task = io.spawn(async move { stream.next().await.unwrap().unwrap().to_vec() }).unwrap();
    for _ in 0..10 {
        scheduler.poll().unwrap();
    }
    assert!(!task.is_finished());
    drop(first);
    assert_eq!(scheduler.block_on(task).unwrap().unwrap(), b"efgh");
}

fn a_receive_stream_that_nobody_reads_takes_no_more_than_its_pool(setup: &Setup) {
    const BUFFERS: usize = 4;
    const BYTES: usize = 1000;
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let (socket, mut peer) = setup.connection(&io);
    let pool = BufferPool::new(BUFFERS, BYTES);
    let held = Rc::new(RefCell::new(Vec::new()));
    let (kept, mut stream) = (Rc::clone(&held), socket.recv_stream(&pool));
    // Takes what comes, and gives nothing back.
    let task = io.spawn(async move {
        while let Some(buffer) = stream.next().await.unwrap() {
            kept.borrow_mut().push(buffer);
        }
    });
    drop(task.unwrap());
    // As much as the kernel takes; the scheduler turns, and takes its pool's worth and no more.
    peer.set_nonblocking(true).unwrap();
    let (mut sent, mut refusals) = (0, 0);
    while refusals < 50 {
        match peer.write(&[7; 1 << 16]) {
            Ok(count) => {
                (sent, refusals) = (sent + count, 0);
                assert!(sent < 64 << 20, "there is no end to it");
            }
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
                refusals += 1;
                scheduler.turn(Duration::from_millis(1)).unwrap();
            }
        }
    }
    let received: usize = held.borrow().iter().map(|buffer| buffer.len()).sum();
    assert_eq!(held.borrow().len(), BUFFERS);
    assert!(received <= BUFFERS * BYTES && pool.take().is_none());
    assert!(scheduler.outstanding().is_empty(), "nothing is asked of the OS meanwhile");
    // Given back, it goes on to the last byte.
    drop(peer);
    let total = Rc::new(Cell::new(received));
    let (counted, emptied) = (Rc::clone(&total), Rc::clone(&held));
    let (inner, clock) = (io.clone(), io.clone());
    io.spawn(async move {
        emptied.borrow_mut().clear();
        loop {
            clock.sleep(Duration::from_micros(50)).await.unwrap();
            counted.set(counted.get() + emptied.borrow_mut().drain(..).map(|buffer| buffer.len()).sum::<usize>());
            if counted.get() >= sent {
                return inner.stop();
            }
        }
    })
    .unwrap();
    scheduler.run().unwrap();
    assert_eq!(total.get(), sent);
}

fn a_buffer_that_comes_back_reaches_one_who_still_waits_for_it(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let pool = BufferPool::new(1, 4);
    let only = pool.take().unwrap();
    let (given_up, _silent) = setup.connection(&io);
    let (socket, mut peer) = setup.connection(&io);
    peer.write_all(b"data").unwrap();
    let (clock, gives_up) = (io.clone(), pool.clone());
    // First in line, and then no more, though its task goes on.
    let first = io.spawn(async move {
        let mut stream = given_up.recv_stream(&gives_up);
        let outcome = clock.timeout(Duration::from_millis(5), stream.next()).await;
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::TimedOut);
        std::future::pending::<()>().await;
    });
    drop(first.unwrap());
    let waits = pool.clone();
    let second = io.spawn(async move { socket.recv_stream(&waits).next().await.unwrap().unwrap().to_vec() }).unwrap();
    io.sleep(Duration::from_millis(30)).wait().unwrap();
    assert!(!second.is_finished());
    drop(only);
    let outcome = scheduler.block_on(io.timeout(Duration::from_secs(5), second)).unwrap();
    assert_eq!(outcome.expect("nobody told it of the buffer").unwrap(), b"data");
}

fn cancels_of_one_request_from_another_thread_take_room_for_one(setup: &Setup) {
    if !setup.is_own_process() {
        return;
    }
    let scheduler = setup.scheduler();
    let (socket, _silent) = setup.connection(&scheduler.io());
    let receive = socket.recv(vec![0; 1]).submit().unwrap();
    let (remote, id) = (scheduler.remote(), receive.id());
    // The scheduler does not turn meanwhile, and ends before the last.
    let before = crate::setup::resident_bytes();
    for _ in 0..4_000_000 {
        remote.cancel(id);
    }
    assert_eq!(receive.wait().unwrap_err().error.kind(), ErrorKind::Cancelled);
    drop(scheduler);
    for _ in 0..4_000_000 {
        remote.cancel(id);
    }
    let grown = crate::setup::resident_bytes().saturating_sub(before);
    // A list of all would be of 64 MB.
    assert!(grown < 8 << 20, "{grown} bytes");
}

fn more_completions_than_the_ring_holds_all_arrive(setup: &Setup) {
    const REQUESTS: usize = 4000;
    let mut scheduler = setup.builder().ring_entries(1).build().unwrap();
    let io = scheduler.io();
    let file = io.open(setup.file("data", &[9; 4096]), Mode::Read).wait().unwrap();
    let settled = Rc::new(Cell::new(0));
    for number in 0..REQUESTS {
        let count = Rc::clone(&settled);
        let read = file.read_at(vec![0; 1], number as u64 % 4096);
        read.then(move |outcome| count.set(count.get() + outcome.unwrap().0)).unwrap();
    }
    if setup.variant == Variant::Uring {
        // Nobody has reaped yet, and the kernel says itself that it had to keep some aside.
        let overflown = fs::read_dir("/proc/self/fdinfo").unwrap().any(|entry| {
            let text = fs::read_to_string(entry.unwrap().path()).unwrap_or_default();
            let list = text.split_once("CqOverflowList:").map_or("", |(_, list)| list);
            list.contains("user_data")
        });
        assert!(overflown, "the completion queue did not overflow");
    }
    scheduler.run().unwrap();
    assert_eq!(settled.get(), REQUESTS);
}

fn ten_thousand_requests_in_flight_all_settle(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let (socket, mut peer) = setup.connection(&io);
    let file = io.open(setup.file("data", &[9; 4096]), Mode::Read).wait().unwrap();
    let settled = Rc::new(Cell::new(0));
    for number in 0..10_000u64 {
        let (one, other, last) = (Rc::clone(&settled), Rc::clone(&settled), Rc::clone(&settled));
        socket.recv_exact(vec![0; 1]).then(move |outcome| one.set(one.get() + outcome.unwrap().0)).unwrap();
        let read = file.read_at(vec![0; 1], number % 4096);
        read.then(move |outcome| other.set(other.get() + outcome.unwrap().0)).unwrap();
        io.sleep(Duration::from_micros(number)).then(move |_| last.set(last.get() + 1)).unwrap();
    }
    peer.write_all(&[1; 10_000]).unwrap();
    scheduler.run().unwrap();
    assert_eq!(settled.get(), 30_000);
}

/// Files, names and connections, a little of each.
#[cfg(unix)]
fn mixed_program(setup: &Setup, builder: corella::SchedulerBuilder, name: &str) {
    let mut scheduler = builder.build().unwrap();
    let io = scheduler.io();
    let (path, moved) = (setup.path(name), setup.path(format!("{name}-moved")));
    let folder = setup.path(format!("{name}-folder"));
    let end = io.sleep(Duration::from_secs(50)).submit().unwrap();
    let inner = io.clone();
    let program = async move {
        let io = inner;
        let file = io.open(&path, Mode::ReadWrite).await?;
        let parts = vec![b"hello ".to_vec(), b"world".to_vec()];
        file.write_at(parts, 0).await?;
        file.write("H").await?;
        file.sync().await?;
        file.truncate(8).await?;
        let (_, buffers) = file.read_at(vec![vec![0; 4], vec![0; 4]], 0).await?;
        assert_eq!(buffers.concat(), b"Hello wo");
        assert_eq!(file.read_at(vec![0; 8], 4).await?.0, 4);
        assert_eq!(file.stat().await?.size, 8);
        file.close().await?;
        io.rename(&path, &moved).await?;
        assert_eq!(io.stat(&moved).await?.size, 8);
        io.hard_link(&moved, &path).await?;
        io.unlink(&path).await?;
        io.symbolic_link(&moved, &path).await?;
        assert_eq!(io.read_link(&path).await?, moved);
        io.make_directory(&folder).await?;
        io.remove_directory(&folder).await?;
        let listener = io.listen("127.0.0.1:0".parse().unwrap())?;
        let address = listener.local_address()?;
        let client = io.connect(address);
        let server = io.spawn(async move {
            let socket = listener.accept().await?;
            let (_, bytes) = socket.recv_exact(vec![0; 5]).await?;
            socket.send(vec![bytes, b"!".to_vec()]).await?;
            socket.shutdown(corella::Shutdown::Write).await?;
            Ok::<_, std::io::Error>(())
        })?;
        let socket = client.await?;
        socket.send("hello").await?;
        let (_, bytes) = socket.recv_to_end(Vec::new()).await?;
        assert_eq!(bytes, b"hello!");
        let mut idle = socket.recv(vec![0; 1]).deadline(Duration::from_millis(1)).await;
        if let Ok((count, _)) = &mut idle {
            assert_eq!(*count, 0);
        }
        server.await??;
        Ok::<_, std::io::Error>(())
    };
    scheduler.block_on(program).unwrap().unwrap();
    assert!(!end.is_settled(), "{name} took the time limit");
}

#[cfg(unix)]
fn rings_of_one_two_and_four_entries_lose_nothing(setup: &Setup) {
    for entries in [1, 2, 4] {
        mixed_program(setup, setup.builder().ring_entries(entries), &format!("ring-{entries}"));
        let mut scheduler = setup.builder().ring_entries(entries).build().unwrap();
        let io = scheduler.io();
        let file = io.open(setup.file("data", &[9; 4096]), Mode::Read).wait().unwrap();
        let settled = Rc::new(Cell::new(0));
        // Many more than the completion queue holds, before any is fetched.
        for number in 0..5000 {
            let count = Rc::clone(&settled);
            file.read_at(vec![0; 1], number % 4096).then(move |_| count.set(count.get() + 1)).unwrap();
        }
        scheduler.run().unwrap();
        assert_eq!(settled.get(), 5000);
    }
}

#[cfg(unix)]
fn every_opcode_of_the_ring_has_a_fallback(setup: &Setup) {
    if setup.variant != Variant::Uring {
        // Nothing to mask; the portable backend is what all of them fall back to.
        return mixed_program(setup, setup.builder(), "plain");
    }
    for opcode in 0..64u8 {
        let builder = corella::Scheduler::builder().mask_opcode(opcode);
        let kind = builder.clone().build().unwrap().backend();
        // Readiness and cancel are what the ring cannot be without; all the others fall back one by one.
        let is_essential = [io_uring::opcode::PollAdd::CODE, io_uring::opcode::AsyncCancel::CODE].contains(&opcode);
        assert_eq!(kind, if is_essential { BackendKind::Portable } else { BackendKind::Uring }, "opcode {opcode}");
        mixed_program(setup, builder, &format!("opcode-{opcode}"));
    }
    let all =
        (0..64u8).filter(|code| ![io_uring::opcode::PollAdd::CODE, io_uring::opcode::AsyncCancel::CODE].contains(code));
    let builder = all.fold(corella::Scheduler::builder(), corella::SchedulerBuilder::mask_opcode);
    assert_eq!(builder.clone().build().unwrap().backend(), BackendKind::Uring);
    mixed_program(setup, builder, "all-opcodes");
}

#[cfg(unix)]
fn every_set_of_ring_flags_works(setup: &Setup) {
    const SINGLE_ISSUER: u32 = 1 << 12;
    const COOP_TASKRUN: u32 = 1 << 8;
    const CQSIZE: u32 = 1 << 3;
    for refused in [0, SINGLE_ISSUER, SINGLE_ISSUER | COOP_TASKRUN, CQSIZE] {
        let builder = match setup.variant {
            // With all refused the ring is, and the scheduler says why.
            Variant::Uring => corella::Scheduler::builder().refuse_setup_flags(refused),
            _ => setup.builder().refuse_setup_flags(refused),
        };
        let kind = builder.clone().build().unwrap().backend();
        let is_ring = setup.variant == Variant::Uring && refused != CQSIZE;
        assert_eq!(kind == BackendKind::Uring, is_ring);
        mixed_program(setup, builder, &format!("flags-{refused}"));
    }
}

/// What nobody may be made to wait while others are busy, in the time of a core that has nothing else to do.
const LATE_MAX: Duration = Duration::from_millis(10);

/// How late a timer of a millisecond, bytes that are there and an echo are beside what goes on; that ends with the flag.
fn is_served_beside(setup: &Setup, scheduler: &mut corella::Scheduler, is_over: Rc<Cell<bool>>) {
    let io = scheduler.io();
    let (socket, mut peer) = setup.connection(&io);
    let echo = std::thread::spawn(move || {
        let mut buffer = [0; 8];
        while peer.read_exact(&mut buffer).is_ok() {
            peer.write_all(&buffer).unwrap();
        }
    });
    let worst = Rc::new(Cell::new(Duration::ZERO));
    let seen = Rc::clone(&worst);
    let late = Rc::new(Cell::new(Duration::ZERO));
    let latest = Rc::clone(&late);
    let (other, mut source) = setup.connection(&io);
    let observer = io.clone();
    let task = io
        .spawn(async move {
            for _ in 0..20 {
                // Processor time, as the machine may have more to do than this.
                let used = crate::setup::processor_time();
                observer.sleep(Duration::from_millis(1)).await.unwrap();
                latest.set(latest.get().max(crate::setup::processor_time() - used));
                source.write_all(&[1; 8]).unwrap();
                let used = crate::setup::processor_time();
                other.recv_exact(vec![0; 8]).await.unwrap();
                latest.set(latest.get().max(crate::setup::processor_time() - used));
                let start = Instant::now();
                socket.send(vec![1; 8]).await.unwrap();
                socket.recv_exact(vec![0; 8]).await.unwrap();
                seen.set(seen.get().max(start.elapsed()));
            }
            is_over.set(true);
        })
        .unwrap();
    scheduler.block_on(task).unwrap().unwrap();
    echo.join().unwrap();
    // The millisecond is the timer's own. Under a sanitizer all takes several times as long.
    let slowness = std::env::var("CORELLA_SLOWNESS").map_or(1, |slowness| slowness.parse().unwrap());
    assert!(late.get() < LATE_MAX * slowness + Duration::from_millis(1), "{:?}", late.get());
    // Starved it would wait for ever; a busy machine, and the other side of the echo, may take their time.
    assert!(worst.get() < Duration::from_millis(500), "{:?}", worst.get());
}

fn a_full_pool_delays_no_timer_and_no_socket(setup: &Setup) {
    let mut scheduler = setup.builder().pool_threads(2).build().unwrap();
    let io = scheduler.io();
    let doors: Vec<_> = (0..6).map(|_| Door::new(setup, &io)).collect();
    // Each takes a thread of the pool, or of the kernel's, for good.
    let waiting: Vec<_> = doors.iter().map(|door| door.wait(&io).submit().unwrap()).collect();
    is_served_beside(setup, &mut scheduler, Rc::default());
    assert!(waiting.iter().all(|waiting| !waiting.is_settled()));
    let come: Vec<_> = doors.iter().map(Door::come).collect();
    for waiting in waiting {
        scheduler.block_on(waiting).unwrap().unwrap();
    }
    drop(come);
}

fn a_close_needs_no_thread_of_a_full_pool(setup: &Setup) {
    let scheduler = setup.builder().pool_threads(2).build().unwrap();
    let io = scheduler.io();
    let path = setup.file("data", b"content");
    let files: Vec<_> = (0..20).map(|_| io.open(&path, Mode::Read).wait().unwrap()).collect();
    let doors: Vec<_> = (0..6).map(|_| Door::new(setup, &io)).collect();
    let waiting: Vec<_> = doors.iter().map(|door| door.wait(&io).submit().unwrap()).collect();
    for file in files {
        file.close().wait().unwrap();
        assert!(!file.is_open());
    }
    assert!(waiting.iter().all(|waiting| !waiting.is_settled()));
}

fn an_idle_scheduler_does_not_spin_whatever_it_did_before(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let path = setup.file("data", b"content");
    let (socket, _silent) = setup.connection(&io);
    let _pending = socket.recv(vec![0; 1]).submit().unwrap();
    for round in 0..20 {
        // Of the ring, of the pool beside it, from another thread; in any order with the sleep.
        let remote = scheduler.remote();
        let thread = std::thread::spawn(move || remote.send(|_| {}));
        io.stat(&path).then(|stat| assert!(stat.is_ok())).unwrap();
        io.resolve("127.0.0.1", 80).then(|found| drop(found.unwrap())).unwrap();
        for _ in 0..round {
            scheduler.poll().unwrap();
        }
        io.sleep(Duration::from_millis(10)).wait().unwrap();
        thread.join().unwrap().unwrap();
        let (start, used) = (Instant::now(), crate::setup::processor_time());
        io.sleep(Duration::from_millis(20)).wait().unwrap();
        let used = crate::setup::processor_time() - used;
        assert!(used < start.elapsed() / 4, "round {round}: {used:?}");
    }
}

fn a_task_that_always_yields_starves_nobody(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let is_over = Rc::new(Cell::new(false));
    for _ in 0..10 {
        let (yielding, flag) = (io.clone(), Rc::clone(&is_over));
        let task = io.spawn(async move {
            while !flag.get() {
                yielding.yield_now().await;
            }
        });
        drop(task.unwrap());
    }
    is_served_beside(setup, &mut scheduler, is_over);
}

fn a_task_that_reads_only_what_is_there_starves_nobody(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let is_over = Rc::new(Cell::new(false));
    let file = io.open(setup.file("data", &[1; 4096]), Mode::Read).wait().unwrap();
    let (socket, _peer) = setup.connection(&io);
    let flag = Rc::clone(&is_over);
    let task = io.spawn(async move {
        let mut buffer = vec![0; 512];
        while !flag.get() {
            (_, buffer) = file.read_at(buffer, 0).await.unwrap();
            // Done as it is submitted: it would never yield of itself.
            for _ in 0..100 {
                socket.barrier().await.unwrap();
            }
        }
    });
    drop(task.unwrap());
    is_served_beside(setup, &mut scheduler, is_over);
}

fn a_connection_that_never_stops_sending_starves_nobody(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let is_over = Rc::new(Cell::new(false));
    let (flood, mut source) = setup.connection(&io);
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let thread = std::thread::spawn(move || {
        let bytes = vec![1; 1 << 16];
        while !stopped.load(Ordering::Relaxed) && source.write_all(&bytes).is_ok() {}
    });
    let flag = Rc::clone(&is_over);
    let task = io.spawn(async move {
        let mut buffer = vec![0; 4096];
        while !flag.get() {
            (_, buffer) = flood.recv(buffer).await.unwrap();
        }
    });
    drop(task.unwrap());
    is_served_beside(setup, &mut scheduler, is_over);
    stop.store(true, Ordering::Relaxed);
    drop(scheduler);
    thread.join().unwrap();
}

fn callbacks_that_submit_more_starve_nobody(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let is_over = Rc::new(Cell::new(false));
    let (socket, _peer) = setup.connection(&io);
    fn again(socket: corella::Socket, direct: bool, is_over: Rc<Cell<bool>>) {
        if !is_over.get() {
            let next = socket.clone();
            let barrier = socket.barrier();
            let barrier = if direct { barrier.direct() } else { barrier };
            barrier.then(move |_| again(next, direct, is_over)).unwrap();
        }
    }
    again(socket.clone(), false, Rc::clone(&is_over));
    again(socket, true, Rc::clone(&is_over));
    is_served_beside(setup, &mut scheduler, is_over);
}

fn a_status_that_is_awaited_at_once_spends_its_tasks_share(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let file = io.open(setup.file("data", b"x"), Mode::Read).wait().unwrap();
    let is_over = Rc::new(Cell::new(false));
    let flag = Rc::clone(&is_over);
    io.sleep(Duration::from_millis(10)).then(move |_| flag.set(true)).unwrap();
    let start = Instant::now();
    let flag = Rc::clone(&is_over);
    let task = io
        .spawn(async move {
            while !flag.get() && start.elapsed() < Duration::from_secs(10) {
                file.barrier().submit().unwrap().await.unwrap();
            }
        })
        .unwrap();
    task.wait().unwrap();
    assert!(start.elapsed() < Duration::from_secs(5), "a timer of 10 ms came after {:?}", start.elapsed());
}

fn an_interval_that_is_late_starves_nobody(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let is_over = Rc::new(Cell::new(false));
    let flag = Rc::clone(&is_over);
    io.sleep(Duration::from_millis(10)).then(move |_| flag.set(true)).unwrap();
    let start = Instant::now();
    scheduler
        .block_on(async {
            let mut interval = io.interval(Duration::from_nanos(100));
            while !is_over.get() && start.elapsed() < Duration::from_secs(10) {
                interval.tick().await.unwrap();
            }
        })
        .unwrap();
    assert!(start.elapsed() < Duration::from_secs(5), "a timer of 10 ms came after {:?}", start.elapsed());
    // The longest there is.
    drop(io.interval(Duration::MAX));
}

fn a_receive_stream_goes_on_when_a_buffer_comes_back_in_the_same_turn(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let (socket, mut peer) = setup.connection(&io);
    peer.write_all(b"hello").unwrap();
    let pool = BufferPool::new(1, 16);
    let held = pool.take().unwrap();
    io.sleep(Duration::from_millis(20)).then(move |_| drop(held)).unwrap();
    let long = io.sleep(Duration::from_secs(30)).submit().unwrap();
    let start = Instant::now();
    let received = socket.recv_stream(&pool).next().wait().unwrap().unwrap();
    assert_eq!(&received[..], b"hello");
    assert!(start.elapsed() < Duration::from_secs(15) && !long.is_settled());
    scheduler.poll().unwrap();
}

fn a_receive_stream_that_is_given_up_passes_its_turn_on(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let pool = BufferPool::new(1, 16);
    let mut held = pool.take();
    let mut peers = Vec::new();
    let mut tasks: Vec<_> = (0..3)
        .map(|_| {
            let (socket, mut peer) = setup.connection(&io);
            peer.write_all(b"hello").unwrap();
            peers.push(peer);
            let mut stream = socket.recv_stream(&pool);
            io.spawn(async move { stream.next().await.unwrap().unwrap().len() }).unwrap()
        })
        .collect();
    scheduler.poll().unwrap();
    // Given up before the buffer comes back, and after, when it was called but has not come.
    tasks.remove(0).kill();
    held.take();
    tasks.remove(0).kill();
    assert_eq!(tasks.remove(0).wait().unwrap(), 5);
}

fn sleeps_beyond_their_limit_wait_their_turn(setup: &Setup) {
    let mut scheduler = setup.builder().sleeps(1).build().unwrap();
    let io = scheduler.io();
    let first = io.sleep(Duration::from_millis(1)).submit().unwrap();
    assert_eq!(io.sleep(Duration::ZERO).submit().unwrap_err().kind(), ErrorKind::Rejected);
    scheduler.block_on(io.sleep(Duration::from_millis(1))).unwrap().unwrap();
    let future = async {
        io.yield_now().await;
        5
    };
    assert_eq!(scheduler.block_on(io.timeout(Duration::from_secs(60), future)).unwrap().unwrap(), 5);
    first.wait().unwrap();
}

fn what_is_given_up_leaves_its_place_to_others(setup: &Setup) {
    let mut scheduler = setup.builder().sleeps(4).queue_depth(2).build().unwrap();
    let io = scheduler.io();
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    for _ in 0..100 {
        let mut sleep = io.sleep(Duration::from_secs(1000));
        assert!(std::pin::Pin::new(&mut sleep).poll(&mut context).is_pending());
        drop(sleep);
        scheduler.block_on(io.timeout(Duration::from_secs(1000), io.yield_now())).unwrap().unwrap();
    }
    let sleeps: Vec<_> = (0..4).map(|_| io.sleep(Duration::from_secs(1000)).submit().unwrap()).collect();
    // Connects, and receives that others came back to, while no more than two are at the OS.
    let (socket, mut peer) = setup.connection(&io);
    let listener = io.listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_address().unwrap();
    for round in 0..100 {
        let waiting = [listener.accept().submit().unwrap(), listener.accept().submit().unwrap()];
        let mut connect = io.connect(address);
        assert!(std::pin::Pin::new(&mut connect).poll(&mut context).is_pending());
        drop(connect);
        waiting.iter().for_each(corella::Status::cancel);
        drop(waiting);
        scheduler.poll().unwrap();
        while !scheduler.outstanding().iter().all(|request| request.operation == "sleep") {
            scheduler.turn(Duration::from_millis(5)).unwrap();
        }
        // What has settled by then is yet to be thrown away.
        scheduler.poll().unwrap();
        peer.write_all(b"x").unwrap();
        let first = socket.recv(vec![0; 1]).submit().unwrap();
        while !first.is_settled() {
            scheduler.turn(Duration::from_secs(1)).unwrap();
        }
        let mut second = socket.recv(vec![0; 1]);
        assert!(std::pin::Pin::new(&mut second).poll(&mut context).is_pending(), "round {round}");
        scheduler.poll().unwrap();
        drop(first);
        drop(second);
        assert_eq!(scheduler.block_on(socket.recv(vec![0; 1])).unwrap().unwrap().0, 1);
        scheduler.poll().unwrap();
    }
    drop(sleeps);
}

fn many_requests_on_one_file_cost_each_the_same(setup: &Setup) {
    // In this thread's own time, and the best of some runs, as the machine has other things to do.
    let best = |count: u64, behind_a_sync: bool| {
        (0..2)
            .map(|_| {
                let mut scheduler = setup.builder().queue_depth(1 << 16).build().unwrap();
                let file = scheduler.io().open(setup.file("data", b"x"), Mode::ReadWrite).wait().unwrap();
                file.truncate(8 * count).wait().unwrap();
                let start = crate::setup::processor_time();
                if behind_a_sync {
                    drop(file.sync().submit().unwrap());
                }
                for place in 0..count {
                    drop(file.write_at("12345678", place * 8).submit().unwrap());
                }
                let spent = crate::setup::processor_time() - start;
                scheduler.run().unwrap();
                spent
            })
            .min()
            .unwrap()
    };
    for behind_a_sync in [false, true] {
        let (few, many) = (best(2_500, behind_a_sync), best(20_000, behind_a_sync));
        // Eight times as many; if each looked at all before it, sixty-four times as much.
        assert!(many < few * 32, "2,500 took {few:?}, 20,000 {many:?}");
    }
}
