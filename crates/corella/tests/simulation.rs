//! The simulated machine as its users have it: what happens on it, that it happens again, and what goes wrong on it.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use corella::{BufferPool, ErrorKind, Faults, InjectedFault, Io, Mode, Scheduler, Simulation, SliceOf};

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn host(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Echoes on `address`, connection by connection, until its scheduler ends.
async fn echo(io: Io, address: SocketAddr) {
    let listener = io.listen(address).unwrap();
    while let Ok(connection) = listener.accept().await {
        io.spawn(async move {
            loop {
                match connection.recv(vec![0; 1024]).await {
                    Ok((0, _)) | Err(_) => break,
                    Ok((count, mut buffer)) => {
                        buffer.truncate(count);
                        if connection.send(buffer).await.is_err() {
                            break;
                        }
                    }
                }
            }
        })
        .unwrap();
    }
}

/// Some of everything: files, connections, timers. Gives what it saw.
fn program(seed: u64, faults: Faults) -> (u64, Vec<String>) {
    let machine = Simulation::new(seed);
    machine.set_faults(faults);
    let mut scheduler = Scheduler::simulated(&machine).unwrap();
    let io = scheduler.io();
    let seen = Rc::new(RefCell::new(Vec::new()));
    io.spawn(echo(io.clone(), address("10.0.0.1:7"))).unwrap();
    let tasks: Vec<_> = (0..5u8)
        .map(|number| {
            let (io, seen) = (io.clone(), Rc::clone(&seen));
            scheduler
                .io()
                .spawn(async move {
                    let outcome: Result<(), std::io::Error> = async {
                        io.sleep(Duration::from_micros(u64::from(number))).await?;
                        let file = io.open(format!("/file{number}"), Mode::ReadWrite).await?;
                        let writes: Vec<_> = (0..4)
                            .map(|place| file.write_at(vec![number; 700], place * 500).submit().unwrap())
                            .collect();
                        for write in writes {
                            write.await?;
                        }
                        let (count, bytes) = file.read_at(vec![0; 4096], 0).await?;
                        seen.borrow_mut().push(format!("{number} read {count} {:?}", bytes[..count].iter().max()));
                        let socket = io.connect(address("10.0.0.1:7")).await?;
                        socket.send(vec![number; 3000]).await?;
                        let (_, echoed) = socket.recv_exact(vec![0; 3000]).await?;
                        seen.borrow_mut()
                            .push(format!("{number} echoed {}", echoed.iter().all(|byte| *byte == number)));
                        Ok(())
                    }
                    .await;
                    seen.borrow_mut().push(format!(
                        "{number} {:?} at {:?}",
                        outcome.map_err(|e| e.to_string()),
                        io.now()
                    ));
                })
                .unwrap()
        })
        .collect();
    scheduler
        .block_on(async {
            for task in tasks {
                task.await.unwrap();
            }
        })
        .unwrap();
    drop(scheduler);
    let seen = seen.borrow().clone();
    (machine.history(), seen)
}

fn all_faults() -> Faults {
    let mut faults = Faults::default();
    faults.short_transfers = 0.3;
    faults.delays = 0.1;
    faults.disk_errors = 0.02;
    faults.resets = 0.02;
    faults
}

#[test]
fn the_same_seed_gives_the_same_history() {
    for seed in 0..50 {
        assert_eq!(program(seed, all_faults()), program(seed, all_faults()));
    }
}

#[test]
fn another_seed_gives_another_history() {
    let histories: std::collections::BTreeSet<u64> = (0..50).map(|seed| program(seed, Faults::default()).0).collect();
    assert_eq!(histories.len(), 50);
}

#[test]
fn without_faults_everything_succeeds_and_with_them_some_of_it() {
    let failures = |faults: fn() -> Faults| {
        let lines = (0..50).flat_map(|seed| program(seed, faults()).1);
        lines.filter(|line| line.contains("Err(") || line.contains("false")).collect::<Vec<_>>()
    };
    assert_eq!(failures(Faults::default), Vec::<String>::new());
    let failed = failures(all_faults);
    assert!(failed.iter().any(|line| line.contains("Input/output error")), "{failed:?}");
    assert!(failed.iter().any(|line| line.contains("Connection reset")), "{failed:?}");
    assert!(failed.iter().all(|line| !line.contains("false")), "short transfers lose nothing: {failed:?}");
}

#[test]
fn time_passes_by_itself() {
    let machine = Simulation::new(1);
    let mut scheduler = Scheduler::simulated(&machine).unwrap();
    let start = Instant::now();
    let io = scheduler.io();
    let day = Duration::from_secs(86_400);
    scheduler.block_on(io.sleep(day)).unwrap().unwrap();
    assert!(machine.now() >= day && machine.now() < day + Duration::from_secs(1));
    scheduler.run_for(day).unwrap();
    assert!(machine.now() >= 2 * day);
    assert!(start.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_program_that_only_looks_gets_on() {
    let machine = Simulation::new(1);
    let mut scheduler = Scheduler::simulated(&machine).unwrap();
    let done = Rc::new(Cell::new(0));
    let counted = Rc::clone(&done);
    scheduler.io().sleep(Duration::from_millis(1)).then(move |_| counted.set(1)).unwrap();
    while done.get() == 0 {
        scheduler.poll().unwrap();
    }
    let status = scheduler.io().open("/file", Mode::Write).submit().unwrap();
    while !status.is_settled() {
        if scheduler.has_work() {
            scheduler.poll().unwrap();
        }
    }
}

#[test]
fn a_program_that_waits_for_ever_is_told_so() {
    let machine = Simulation::new(1);
    let mut scheduler = Scheduler::simulated(&machine).unwrap();
    let listener = scheduler.io().listen(address("10.0.0.1:1")).unwrap();
    let error = scheduler.block_on(listener.accept()).unwrap_err();
    assert!(error.to_string().contains("waits for ever"), "{error}");
}

#[test]
fn blocking_endings_work_as_elsewhere() {
    let machine = Simulation::new(1);
    let scheduler = Scheduler::simulated(&machine).unwrap();
    let io = scheduler.io();
    io.make_directory("/folder").wait().unwrap();
    let file = io.open("/folder/file", Mode::ReadWrite).wait().unwrap();
    file.write("some text").wait().unwrap();
    assert_eq!(file.read_at(vec![0; 4], 5).wait().unwrap(), (4, b"text".to_vec()));
    assert_eq!(io.stat("/folder/file").wait().unwrap().size, 9);
    file.close().wait().unwrap();
    let failed = io.open("/nothing", Mode::Read).wait().unwrap_err();
    assert_eq!(failed.os_code(), Some(2));
    assert_eq!(machine.file("/folder/file").unwrap(), b"some text");
}

#[test]
fn a_crash_takes_what_was_not_synced_and_keeps_what_was() {
    let mut lost = 0;
    for seed in 0..40 {
        let machine = Simulation::new(seed);
        machine.add_file("/data", vec![1; 2000]).unwrap();
        let scheduler = Scheduler::simulated(&machine).unwrap();
        let file = scheduler.io().open("/data", Mode::ReadWrite).wait().unwrap();
        file.write_at(vec![2; 1000], 0).wait().unwrap();
        file.sync().wait().unwrap();
        file.write_at(vec![3; 1000], 1000).wait().unwrap();
        machine.crash();
        assert!(file.read_at(vec![0; 1], 0).wait().is_err(), "the machine is off");
        drop((file, scheduler));
        let scheduler = Scheduler::simulated(&machine).unwrap();
        let file = scheduler.io().open("/data", Mode::Read).wait().unwrap();
        let (_, bytes) = file.read_at(vec![0; 2000], 0).wait().unwrap();
        assert!(bytes[..1000].iter().all(|byte| *byte == 2));
        assert!(bytes[1000..].iter().all(|byte| [1, 3].contains(byte)));
        lost += usize::from(bytes[1000..].contains(&1));
    }
    assert!((5..=38).contains(&lost), "{lost} of 40");
}

#[test]
fn a_misdirected_write_is_told_as_a_success_and_lands_elsewhere() {
    let astray = |machine: &Simulation| {
        let scheduler = Scheduler::simulated(machine).unwrap();
        let file = scheduler.io().open("/data", Mode::ReadWrite).wait().unwrap();
        assert_eq!(file.write_at(vec![2; 100], 0).wait().unwrap().0, 100);
        let (_, bytes) = file.read_at(vec![0; 2000], 0).wait().unwrap();
        let at = bytes.iter().position(|byte| *byte == 2).unwrap();
        assert!(bytes.iter().enumerate().all(|(place, byte)| (*byte == 2) == (at..at + 100).contains(&place)));
        at
    };
    let mut seen = [0; 2];
    for seed in 0..40 {
        let machine = Simulation::new(seed);
        machine.add_file("/data", vec![1; 2000]).unwrap();
        let mut faults = Faults::default();
        faults.misdirected_writes = 0.5;
        machine.set_faults(faults);
        match astray(&machine) {
            0 => seen[0] += 1,
            512 => seen[1] += 1,
            at => panic!("at {at}"),
        }
    }
    assert!(seen[0] > 5 && seen[1] > 5, "{seen:?}");
    // Also where a script says so.
    let machine = Simulation::new(1);
    machine.add_file("/data", vec![1; 2000]).unwrap();
    machine.script(|operation, _| operation.starts_with("write").then_some(InjectedFault::Misdirected));
    assert_eq!(astray(&machine), 512);
}

#[test]
fn a_crash_at_a_time_ends_the_run() {
    let machine = Simulation::new(3);
    let mut scheduler = Scheduler::simulated(&machine).unwrap();
    let io = scheduler.io();
    machine.crash_at(Duration::from_millis(2));
    let writes = Rc::new(Cell::new(0));
    let counted = Rc::clone(&writes);
    let result = scheduler.block_on(async move {
        let file = io.open("/log", Mode::Append).await?;
        loop {
            file.write("line\n").await?;
            counted.set(counted.get() + 1);
        }
        #[expect(unreachable_code, reason = "it says what the future gives")]
        Ok::<(), std::io::Error>(())
    });
    assert!(result.is_err() || result.unwrap().is_err());
    assert!((5..400).contains(&writes.get()), "{} writes in two milliseconds", writes.get());
    drop(scheduler);
    Scheduler::simulated(&machine).unwrap();
}

#[test]
fn a_partition_holds_back_until_it_is_healed() {
    let machine = Simulation::new(5);
    let mut scheduler = Scheduler::simulated(&machine).unwrap();
    let io = scheduler.io();
    io.spawn(echo(io.clone(), address("10.0.0.1:7"))).unwrap();
    let socket = io.socket(address("10.0.0.2:0")).unwrap();
    socket.bind(address("10.0.0.2:0")).unwrap();
    scheduler.block_on(socket.connect(address("10.0.0.1:7"))).unwrap().unwrap();
    machine.partition(host("10.0.0.1"), host("10.0.0.2"));
    scheduler.block_on(socket.send("hello")).unwrap().unwrap();
    let receive = socket.recv_exact(vec![0; 5]).submit().unwrap();
    scheduler.run_for(Duration::from_secs(10)).unwrap();
    assert!(!receive.is_settled());
    machine.heal();
    assert_eq!(scheduler.block_on(receive).unwrap().unwrap().1, b"hello");
}

#[test]
fn a_script_says_which_operation_fails() {
    let machine = Simulation::new(7);
    machine.script(|operation, _| (operation == "write 3 bytes").then_some(InjectedFault::Error(28)));
    let scheduler = Scheduler::simulated(&machine).unwrap();
    let file = scheduler.io().open("/file", Mode::Write).wait().unwrap();
    file.write("four").wait().unwrap();
    assert_eq!(file.write("two").wait().unwrap_err().error.os_code(), Some(28));
    file.write("again").wait().unwrap();
    assert_eq!(machine.file("/file").unwrap(), b"fouragain");
}

#[test]
fn descriptors_and_the_disk_have_an_end() {
    let machine = Simulation::new(7);
    let mut faults = Faults::default();
    faults.descriptors = 2;
    faults.disk_bytes = 10;
    machine.set_faults(faults);
    let scheduler = Scheduler::simulated(&machine).unwrap();
    let io = scheduler.io();
    let first = io.open("/first", Mode::Write).wait().unwrap();
    let second = io.open("/second", Mode::Write).wait().unwrap();
    assert_eq!(io.open("/third", Mode::Write).wait().unwrap_err().os_code(), Some(24));
    first.write("12345678").wait().unwrap();
    let failed = second.write("12345678").wait().unwrap_err();
    assert_eq!((failed.error.os_code(), failed.moved.bytes()), (Some(28), 2));
    first.close().wait().unwrap();
    io.open("/third", Mode::Write).wait().unwrap();
}

#[test]
fn what_is_the_real_machines_is_refused() {
    let machine = Simulation::new(7);
    let scheduler = Scheduler::simulated(&machine).unwrap();
    let io = scheduler.io();
    assert!(io.adopt_file(std::fs::File::open("/dev/null").unwrap(), "null").is_err());
    let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    assert!(io.adopt_socket(std::os::fd::OwnedFd::from(ours)).is_err());
    let listener = io.listen(address("10.0.0.1:1")).unwrap();
    assert_eq!(listener.detach().unwrap_err().1.kind(), ErrorKind::InvalidInput);
    assert!(Scheduler::simulated(&machine).is_err(), "a machine runs one scheduler at a time");
    io.stdout().unwrap().write("printed by a simulated program\n").wait().unwrap();
}

#[test]
fn cancels_and_deadlines_come_before_between_and_after() {
    let machine = Simulation::new(9);
    let mut scheduler = Scheduler::simulated(&machine).unwrap();
    let io = scheduler.io();
    let file = io.open("/file", Mode::ReadWrite).wait().unwrap();
    file.write_at(vec![1; 100], 0).wait().unwrap();
    let (mut done, mut timed_out) = (0, 0);
    for _ in 0..200 {
        let read = file.read_at(vec![0; 100], 0).deadline(Duration::from_micros(100));
        match scheduler.block_on(read).unwrap() {
            Ok((count, bytes)) => {
                assert_eq!((count, bytes), (100, vec![1; 100]));
                done += 1;
            }
            Err(failed) => {
                assert_eq!(failed.error.kind(), ErrorKind::TimedOut);
                timed_out += 1;
            }
        }
    }
    assert!(done > 20 && timed_out > 20, "{done} done, {timed_out} timed out");
}

/// Under Miri (`cargo +nightly miri test -p corella --test simulation boxed_buffers`) this also shows that a box, whose
/// every move asserts that nobody else has its bytes, makes no such move while the machine has its address.
#[test]
fn boxed_buffers_stay_the_machines_until_their_requests_have_settled() {
    let boxed = |byte: u8, length: usize| vec![byte; length].into_boxed_slice();
    let machine = Simulation::new(7);
    let mut scheduler = Scheduler::simulated(&machine).unwrap();
    let io = scheduler.io();
    let file = io.open("/boxes", Mode::ReadWrite).wait().unwrap();
    let first = file.write_at(boxed(1, 4), 0).submit().unwrap();
    let second = file.write_at([boxed(2, 4), boxed(3, 4)], 4).submit().unwrap();
    assert_eq!(file.write_at(vec![boxed(4, 4); 10].slice(2..40), 12).wait().unwrap().0, 38);
    assert_eq!((first.wait().unwrap().1, second.wait().unwrap().0), (boxed(1, 4), 8));
    let read = file.read_at(boxed(0, 8), 0).submit().unwrap();
    let (count, parts) = file.read_at([boxed(0, 3), boxed(0, 3)], 6).wait().unwrap();
    assert_eq!((count, &*parts[0], &*parts[1]), (6, &[2, 2, 3][..], &[3, 3, 3][..]));
    assert_eq!(*read.wait().unwrap().1, [1, 1, 1, 1, 2, 2, 2, 2]);
    let seen = Rc::new(RefCell::new(None));
    let outcome = Rc::clone(&seen);
    file.read_at(boxed(0, 6).slice(2..), 0).then(move |read| *outcome.borrow_mut() = Some(read)).unwrap();
    scheduler.run().unwrap();
    let (count, slice) = seen.take().unwrap().unwrap();
    assert_eq!((count, &*slice.into_inner()), (4, &[0, 0, 1, 1, 1, 1][..]));
    // A future moves with its task.
    let read = Box::pin(file.read_at(boxed(0, 2), 5));
    assert_eq!(*scheduler.block_on(read).unwrap().unwrap().1, [2, 2]);

    let pool = BufferPool::new(2, 8);
    let (count, mut pooled) = file.read_at(pool.take().unwrap(), 0).wait().unwrap();
    assert_eq!((count, &*pooled), (8, &[1, 1, 1, 1, 2, 2, 2, 2][..]));
    pooled.set_length(3);
    let (count, pooled) = file.write_at(pooled, 40).wait().unwrap();
    assert_eq!((count, &*pooled), (3, &[1, 1, 1][..]));
    drop(pooled);
    let listener = io.listen(address("10.0.0.1:7")).unwrap();
    let accepted = listener.accept().submit().unwrap();
    let socket = io.connect(address("10.0.0.1:7")).wait().unwrap();
    let mut stream = accepted.wait().unwrap().recv_stream(&pool);
    let next = stream.next().submit().unwrap();
    socket.send(boxed(9, 5)).wait().unwrap();
    let mut received = next.wait().unwrap().unwrap().to_vec();
    while received.len() < 5 {
        received.extend_from_slice(&stream.next().wait().unwrap().unwrap());
    }
    assert_eq!(received, [9; 5]);
}

/// Sends a hundred datagrams with long delays and losses, and gives what came of them, in the order in which it came.
fn datagrams(seed: u64, faults: Faults) -> Vec<u8> {
    let machine = Simulation::new(seed);
    machine.set_faults(faults);
    let mut scheduler = Scheduler::simulated(&machine).unwrap();
    let io = scheduler.io();
    let (from, to) = (address("10.0.0.1:1000"), address("10.0.0.2:2000"));
    let sender = io.bind_datagrams(from).unwrap();
    let receiver = io.bind_datagrams(to).unwrap();
    scheduler
        .block_on(async move {
            for number in 0..100u8 {
                assert_eq!(sender.send_to(vec![number; 3], to).await.unwrap().0, 3);
            }
            let mut arrived = Vec::new();
            while let Ok(datagram) = receiver.recv_from(vec![0; 2]).deadline(Duration::from_secs(1)).await {
                assert_eq!((datagram.count, datagram.size, datagram.sender), (2, Some(3), from.into()));
                assert_eq!(datagram.buffer[0], datagram.buffer[1]);
                arrived.push(datagram.buffer[0]);
            }
            arrived
        })
        .unwrap()
}

#[test]
fn datagrams_are_lost_and_overtake_each_other_as_the_seed_has_it() {
    let sorted = |mut list: Vec<u8>| {
        list.sort_unstable();
        list
    };
    let calm = datagrams(1, Faults::default());
    assert_eq!(sorted(calm.clone()), (0..100).collect::<Vec<u8>>());
    let mut faults = Faults::default();
    faults.datagram_losses = 0.3;
    faults.short_transfers = 0.5;
    let some = datagrams(1, faults.clone());
    assert!((40..95).contains(&some.len()), "{some:?}");
    assert_eq!(some, datagrams(1, faults.clone()));
    assert!((2..20).any(|seed| datagrams(seed, faults.clone()) != sorted(datagrams(seed, faults.clone()))));
}

#[test]
fn a_partition_loses_datagrams_and_who_is_connected_hears_that_nobody_is_there() {
    let machine = Simulation::new(7);
    let scheduler = Scheduler::simulated(&machine).unwrap();
    let io = scheduler.io();
    let (sender, receiver) =
        (io.bind_datagrams(address("10.0.0.1:1")).unwrap(), io.bind_datagrams(address("10.0.0.2:2")).unwrap());
    machine.partition(host("10.0.0.1"), host("10.0.0.2"));
    sender.send_to("lost", address("10.0.0.2:2")).wait().unwrap();
    let receive = |limit| receiver.recv_from(vec![0; 9]).deadline(Duration::from_millis(limit)).wait();
    assert_eq!(receive(100).unwrap_err().error.kind(), ErrorKind::TimedOut);
    machine.heal();
    assert_eq!(receive(100).unwrap_err().error.kind(), ErrorKind::TimedOut);
    sender.send_to("found", address("10.0.0.2:2")).wait().unwrap();
    assert_eq!(receive(100).unwrap().count, 5);
    sender.connect(address("10.0.0.3:3")).wait().unwrap();
    sender.send("anybody?").wait().unwrap();
    let failed = sender.recv_from(vec![0; 9]).wait().unwrap_err();
    assert_eq!(failed.error.os_code(), Some(libc::ECONNREFUSED));
    // It has no Unix-domain sockets, and says so.
    let unix = io.bind_datagrams(corella::UnixAddress::path("/socket")).unwrap_err();
    assert_eq!(unix.os_code(), Some(libc::EAFNOSUPPORT));
}

#[test]
fn a_simulated_machine_runs_no_programs_and_says_so() {
    let machine = Simulation::new(1);
    let scheduler = Scheduler::simulated(&machine).unwrap();
    let error = scheduler.io().start(std::process::Command::new("true")).wait().unwrap_err();
    assert_eq!(error.os_code(), Some(libc::ENOSYS));
    assert!(error.to_string().ends_with("a simulated machine runs no programs"), "{error}");
}

#[test]
fn pipes_and_pairs_of_sockets_are_the_machines_own() {
    let machine = Simulation::new(3);
    let mut faults = Faults::default();
    faults.short_transfers = 0.5;
    machine.set_faults(faults);
    let mut scheduler = Scheduler::simulated(&machine).unwrap();
    let io = scheduler.io();
    let (reader, writer) = io.pipe().unwrap();
    let (one, other) = io.socket_pair().unwrap();
    let bytes: Vec<u8> = (0..200_000u32).map(|place| (place % 251) as u8).collect();
    let sent = bytes.clone();
    io.spawn(async move {
        writer.write(sent).await.unwrap();
        writer.close().await.unwrap();
    })
    .unwrap();
    io.spawn(async move {
        let (_, passed_on) = reader.read_to_end(Vec::new()).await.unwrap();
        one.send(passed_on).await.unwrap();
    })
    .unwrap();
    let received = scheduler.block_on(other.recv_to_end(Vec::new())).unwrap().unwrap().1;
    assert!(received == bytes, "{} bytes arrived", received.len());
    let (reader, writer) = io.pipe().unwrap();
    assert_eq!(reader.write("x").wait().unwrap_err().error.os_code(), Some(libc::EBADF));
    reader.close().wait().unwrap();
    assert_eq!(writer.write("x").wait().unwrap_err().error.os_code(), Some(libc::EPIPE));
    drop((writer, other));
    scheduler.run().unwrap();
    assert_eq!(machine.open_descriptors(), 0);
}

#[test]
fn a_simulated_socket_is_ready_when_it_is() {
    let machine = Simulation::new(5);
    let mut scheduler = Scheduler::simulated(&machine).unwrap();
    let io = scheduler.io();
    let listener = io.listen(address("10.0.0.1:7")).unwrap();
    scheduler
        .block_on(async move {
            let coming = listener.readable().submit().unwrap();
            let client = io.connect(address("10.0.0.1:7")).await.unwrap();
            coming.await.unwrap();
            let server = listener.accept().await.unwrap();
            let late = server.readable().deadline(Duration::from_millis(5)).await.unwrap_err();
            assert_eq!(late.kind(), ErrorKind::TimedOut);
            client.writable().await.unwrap();
            client.send("here").await.unwrap();
            server.readable().await.unwrap();
            assert_eq!(server.recv(vec![0; 9]).await.unwrap().0, 4);
        })
        .unwrap();
}

#[test]
fn a_run_for_a_while_ends_when_that_is_over_to_the_nanosecond() {
    let machine = Simulation::new(1);
    let mut scheduler = Scheduler::simulated(&machine).unwrap();
    for duration in [1, 999, 1000, 123_456_789].map(Duration::from_nanos) {
        let begun = machine.now();
        scheduler.run_for(duration).unwrap();
        // A look at the machine takes a microsecond.
        assert_eq!(machine.now() - begun, duration.max(Duration::from_micros(1)));
    }
}

/// How many operations a piece of program asks the machine for.
fn operations<R>(machine: &Simulation, program: impl FnOnce() -> R) -> (u64, R) {
    let before = machine.operations();
    let result = program();
    (machine.operations() - before, result)
}

#[test]
fn a_read_to_the_end_is_two_calls_where_the_end_is_known_and_takes_no_more_memory_than_that() {
    const LENGTH: usize = 1 << 20;
    let machine = Simulation::new(1);
    machine.add_file("/data", vec![3; LENGTH]).unwrap();
    let scheduler = Scheduler::simulated(&machine).unwrap();
    let file = scheduler.io().open("/data", Mode::Read).wait().unwrap();
    for offset in [0, 1, LENGTH / 2, LENGTH - 1] {
        let (calls, (count, bytes)) =
            operations(&machine, || file.read_to_end_at(Vec::new(), offset as u64).wait().unwrap());
        let left = LENGTH - offset;
        assert_eq!((calls, count, bytes.len()), (2, left, left), "all that is left, and that this is the end");
        assert!(bytes.capacity() <= left + (64 << 10), "{} bytes for {left}", bytes.capacity());
    }
    let (calls, _) = operations(&machine, || file.read_to_end(Vec::new()).wait().unwrap());
    assert_eq!(calls, 2);
}

#[test]
fn a_read_of_many_parts_is_as_many_calls_as_it_takes_and_ends_at_the_end() {
    let machine = Simulation::new(1);
    machine.add_file("/data", vec![3; 100]).unwrap();
    let scheduler = Scheduler::simulated(&machine).unwrap();
    let file = scheduler.io().open("/data", Mode::Read).wait().unwrap();
    let read =
        |parts: usize, offset| operations(&machine, || file.read_at(vec![vec![0; 2]; parts], offset).wait().unwrap().0);
    // Reads without end find one here.
    machine.crash_at(machine.now() + Duration::from_secs(1));
    // One call takes 64 parts, and that it was short says that the end is there.
    assert_eq!(read(64, 0), (1, 100));
    assert_eq!(read(64, 100), (1, 0));
    // What one call cannot take may be short for that.
    assert_eq!(read(65, 0), (2, 100));
    assert_eq!(read(65, 100), (1, 0));
}

#[test]
fn the_last_place_that_a_file_can_have_can_be_asked_for_and_the_one_behind_it_cannot() {
    let machine = Simulation::new(1);
    let scheduler = Scheduler::simulated(&machine).unwrap();
    machine.add_file("/data", vec![3; 100]).unwrap();
    let file = scheduler.io().open("/data", Mode::Read).wait().unwrap();
    assert_eq!(file.read_at(vec![0; 1], i64::MAX as u64).wait().unwrap().0, 0);
    let refused = file.read_at(vec![0; 1], i64::MAX as u64 + 1).wait().unwrap_err();
    assert_eq!(refused.error.kind(), ErrorKind::InvalidInput);
}

#[test]
fn that_a_simulated_machine_runs_no_programs_is_said_where_that_is_the_reason() {
    let machine = Simulation::new(1);
    let scheduler = Scheduler::simulated(&machine).unwrap();
    let start = || scheduler.io().start(std::process::Command::new("program")).wait().unwrap_err().to_string();
    const REASON: &str = "a simulated machine runs no programs";
    assert!(start().ends_with(REASON));
    const EIO: i32 = 5;
    machine.script(|_, _| Some(InjectedFault::Error(EIO)));
    assert!(!start().contains(REASON));
}

#[test]
fn a_close_that_has_begun_goes_on_whatever_comes_back_meanwhile() {
    for seed in 0..50 {
        let machine = Simulation::new(seed);
        let mut scheduler = Scheduler::simulated(&machine).unwrap();
        let (reader, writer) = scheduler.io().pipe().unwrap();
        writer.write("bytes").wait().unwrap();
        let read = reader.read(vec![0; 5]).submit().unwrap();
        while !read.is_settled() {
            scheduler.poll().unwrap();
        }
        let close = reader.close().submit().unwrap();
        drop(read);
        close.wait().unwrap();
        assert_eq!(machine.open_descriptors(), 1, "seed {seed}");
    }
}
