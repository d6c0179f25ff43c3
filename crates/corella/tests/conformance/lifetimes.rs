//! Point 6: memory, the end of a scheduler, and forked children.

use std::cell::Cell;
use std::io::{Read, Write};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use corella::{CancelToken, ErrorKind, Mode, Moved, Status};

#[cfg(unix)]
use crate::lanes::make_fifo;
use crate::promises;
use crate::setup::Setup;
use crate::waiting::{Door, kind};

promises![
    a_dropped_scheduler_lets_go_of_everything_and_gives_buffers_back,
    futures_and_handles_answer_after_the_scheduler,
    a_task_that_holds_requests_is_dropped_with_the_scheduler,
    a_callback_never_runs_after_a_drop_and_its_values_are_dropped,
    a_shutdown_runs_the_callbacks_with_what_came,
    a_drop_ends_though_every_thread_is_taken_for_good,
    a_drop_with_a_hundred_thousand_requests_in_flight_ends_in_time,
    a_shutdown_of_what_never_ends_returns_in_time,
    #[cfg(unix)]
    a_file_system_that_never_answers_holds_nobody_up_and_is_given_up_in_time,
    a_shutdown_without_time_reaps_what_the_os_lets_go_of_at_once,
    #[cfg(unix)]
    a_fork_inside_a_callback_ends_the_childs_run_and_leaves_the_parents_alone,
    #[cfg(unix)]
    a_fork_inside_a_direct_callback_leaves_the_parents_deadlines_alone,
    #[cfg(unix)]
    a_fork_inside_a_callback_of_the_end_leaves_the_parents_requests_alone,
    a_callback_given_after_the_end_is_refused_with_the_status,
    jobs_of_other_threads_are_dropped_with_the_scheduler,
    a_shutdown_stops_a_write_that_nobody_reads,
    a_shutdown_says_what_it_leaked,
    a_forgotten_scheduler_keeps_what_is_in_flight,
    handles_dropped_with_requests_in_flight_leave_no_descriptor,
    what_outlives_a_scheduler_keeps_nothing_of_the_os,
    #[cfg(windows)]
    a_socket_that_somebody_else_closes_is_a_clear_error_for_each_of_its_requests,
    #[cfg(windows)]
    a_socket_that_somebody_else_closes_ends_the_send_that_is_on_its_way,
    #[cfg(windows)]
    a_port_that_somebody_else_closes_is_a_clear_error_and_all_settle,
    #[cfg(windows)]
    a_port_that_somebody_else_closes_ends_the_sleep_at_it,
    #[cfg(unix)]
    in_a_forked_child_every_call_answers_wrong_process_and_the_parent_goes_on,
    #[cfg(unix)]
    a_child_forked_while_other_threads_call_waits_for_none_of_them,
    #[cfg(unix)]
    a_childs_own_scheduler_takes_no_token_of_its_parents_requests,
];

fn a_dropped_scheduler_lets_go_of_everything_and_gives_buffers_back(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let (socket, _peer) = setup.connection(&io);
    let listener = io.listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let file = io.open(setup.file("data", &[1; 1 << 20]), Mode::Read).wait().unwrap();
    let receives: Vec<_> = (0..10).map(|_| socket.recv(vec![7; 10]).submit().unwrap()).collect();
    let reads: Vec<_> = (0..10).map(|_| file.read_at(vec![0; 1 << 20], 0).submit().unwrap()).collect();
    let accept = listener.accept().submit().unwrap();
    #[cfg(unix)]
    let open = io.open(make_fifo(setup), Mode::Read).submit().unwrap();
    drop(scheduler);
    for receive in receives {
        let failed = receive.wait().unwrap_err();
        assert_eq!((failed.error.kind(), failed.buffer), (ErrorKind::Cancelled, vec![7; 10]));
    }
    for read in reads {
        match read.wait() {
            Ok((count, _)) => assert_eq!(count, 1 << 20),
            Err(failed) => assert_eq!((failed.error.kind(), failed.buffer.len()), (ErrorKind::Cancelled, 1 << 20)),
        }
    }
    assert_eq!(accept.wait().unwrap_err().kind(), ErrorKind::Cancelled);
    #[cfg(unix)]
    assert_eq!(open.wait().unwrap_err().kind(), ErrorKind::Cancelled);
}

fn futures_and_handles_answer_after_the_scheduler(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let remote = scheduler.remote();
    let (socket, _peer) = setup.connection(&io);
    let mut future = socket.recv(vec![0; 3]);
    let mut context = Context::from_waker(Waker::noop());
    assert!(Pin::new(&mut future).poll(&mut context).is_pending());
    drop(scheduler);
    match Pin::new(&mut future).poll(&mut context) {
        Poll::Ready(Err(failed)) => assert_eq!(failed.buffer, [0; 3]),
        other => panic!("{other:?}"),
    }
    assert!(io.is_gone() && remote.is_gone() && !socket.is_open());
    assert_eq!(socket.send("x").wait().unwrap_err().error.kind(), ErrorKind::SchedulerGone);
    assert_eq!(io.sleep(Duration::ZERO).submit().unwrap_err().kind(), ErrorKind::SchedulerGone);
    assert_eq!(io.spawn(async {}).unwrap_err().kind(), ErrorKind::SchedulerGone);
    assert_eq!(remote.send(|_| {}).unwrap_err().kind(), ErrorKind::SchedulerGone);
    assert_eq!(io.listen("127.0.0.1:0".parse().unwrap()).unwrap_err().kind(), ErrorKind::SchedulerGone);
    remote.wake();
    drop(socket.clone());
}

fn a_task_that_holds_requests_is_dropped_with_the_scheduler(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let (socket, _peer) = setup.connection(&io);
    let held = std::rc::Rc::new(());
    let inside = std::rc::Rc::clone(&held);
    let task = io
        .spawn(async move {
            let _inside = inside;
            let _ = socket.recv(vec![0; 1]).await;
        })
        .unwrap();
    scheduler.poll().unwrap();
    assert_eq!(std::rc::Rc::strong_count(&held), 2);
    drop(scheduler);
    assert_eq!(std::rc::Rc::strong_count(&held), 1);
    assert!(task.is_finished());
    assert_eq!(task.wait().unwrap_err().kind(), ErrorKind::Killed);
}

fn a_callback_never_runs_after_a_drop_and_its_values_are_dropped(setup: &Setup) {
    let scheduler = setup.scheduler();
    let held = std::rc::Rc::new(());
    for _ in 0..100 {
        let inside = std::rc::Rc::clone(&held);
        let sleep = scheduler.io().sleep(Duration::from_secs(100));
        sleep.then(move |_| panic!("{inside:?}")).unwrap();
    }
    drop(scheduler);
    assert_eq!(std::rc::Rc::strong_count(&held), 1);
}

fn a_shutdown_runs_the_callbacks_with_what_came(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let (socket, _peer) = setup.connection(&io);
    let (sender, receiver) = std::sync::mpsc::channel();
    for direct in [false, true] {
        let sender = sender.clone();
        let receive = socket.recv(vec![0; 1]);
        let receive = if direct { receive.direct() } else { receive };
        let io = io.clone();
        receive
            .then(move |outcome| {
                // No more requests now.
                assert_eq!(io.sleep(Duration::ZERO).submit().unwrap_err().kind(), ErrorKind::SchedulerGone);
                sender.send(outcome.unwrap_err().error.kind()).unwrap();
            })
            .unwrap();
    }
    scheduler.shutdown(Duration::from_secs(10)).unwrap();
    assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [ErrorKind::Cancelled; 2]);
}

fn a_drop_ends_though_every_thread_is_taken_for_good(setup: &Setup) {
    let scheduler = setup.builder().pool_threads(2).build().unwrap();
    let io = scheduler.io();
    let doors: Vec<_> = (0..6).map(|_| Door::new(setup, &io)).collect();
    let path = setup.file("data", b"content");
    let files: Vec<_> = (0..3).map(|_| io.open(&path, Mode::ReadWrite).wait().unwrap()).collect();
    let waiting: Vec<_> = doors.iter().map(|door| door.wait(&io).submit().unwrap()).collect();
    io.sleep(Duration::from_millis(50)).wait().unwrap();
    // Behind them no thread is left for these, nor for the closes that end it all.
    let reads: Vec<_> = files.iter().map(|file| file.read_at(vec![0; 7], 0).submit().unwrap()).collect();
    drop(scheduler);
    for read in reads {
        assert!(read.wait().map_or_else(|failed| failed.buffer, |(_, buffer)| buffer).len() == 7);
    }
    for waiting in waiting {
        assert_eq!(kind(&waiting.wait().unwrap_err()), ErrorKind::Cancelled);
    }
}

fn a_drop_with_a_hundred_thousand_requests_in_flight_ends_in_time(setup: &Setup) {
    const REQUESTS: usize = 100_000;
    let mut scheduler = setup.builder().queue_depth(1 << 20).pool_threads(2).build().unwrap();
    let io = scheduler.io();
    let doors: Vec<_> = (0..6).map(|_| Door::new(setup, &io)).collect();
    let waiting: Vec<_> = doors.iter().map(|door| door.wait(&io).submit().unwrap()).collect();
    let path = setup.file("data", b"content");
    let (socket, _silent) = setup.connection(&io);
    // Behind those that wait, which take every thread where they wait in one for files; only the first few may pass.
    let stats: Vec<_> = (0..REQUESTS / 2).map(|_| io.stat(&path).submit().unwrap()).collect();
    let receives: Vec<_> = (0..REQUESTS / 2).map(|_| socket.recv(vec![0; 1]).submit().unwrap()).collect();
    scheduler.poll().unwrap();
    let start = Instant::now();
    drop(scheduler);
    assert!(start.elapsed() < Duration::from_secs(5), "it took {:?}", start.elapsed());
    for stat in stats {
        assert!(stat.wait().map_or_else(|error| error.kind() == ErrorKind::Cancelled, |stat| stat.size == 7));
    }
    for receive in receives {
        assert_eq!(receive.wait().unwrap_err().error.kind(), ErrorKind::Cancelled);
    }
    drop(waiting);
}

fn a_shutdown_of_what_never_ends_returns_in_time(setup: &Setup) {
    // A pipe that blocks, whose bytes another reader takes: on the portable backend a thread then waits in read(2).
    let scheduler = setup.scheduler();
    let (reader, mut writer) = crate::setup::pipe();
    let pipe = scheduler.io().adopt_file(reader, "pipe").unwrap();
    let read = pipe.read(vec![0; 10]).submit().unwrap();
    let start = Instant::now();
    let result = scheduler.shutdown(Duration::from_millis(300));
    assert!(start.elapsed() < Duration::from_secs(20));
    if let Err(leaked) = result {
        assert_eq!(leaked.requests.len(), 1, "{leaked:?}");
        assert_eq!(
            (leaked.requests[0].operation.as_str(), leaked.requests[0].target.as_str()),
            ("read 10 bytes", "pipe")
        );
        writer.write_all(b"x").unwrap();
        std::mem::forget(read);
    } else {
        assert_eq!(read.wait().unwrap_err().error.kind(), ErrorKind::Cancelled);
    }
}

/// More than there are threads for them, or workers of the kernel's.
const STALLED_READS: u64 = 100;

#[cfg(unix)]
fn a_file_system_that_never_answers_holds_nobody_up_and_is_given_up_in_time(setup: &Setup) {
    if !setup.is_own_process_with_mounts() {
        return;
    }
    let Some((path, mut asked)) = setup.stalled_file() else {
        // Where nothing can be mounted, a pipe stands in for it.
        return a_shutdown_of_what_never_ends_returns_in_time(setup);
    };
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let stalled = io.open(&path, Mode::Read).wait().unwrap();
    let reads: Vec<_> = (0..STALLED_READS)
        .map(|number| (number, stalled.read_at(vec![0; 16], number * 16)))
        .map(|(number, read)| if number % 2 == 0 { read } else { read.deadline(Duration::from_millis(1)) })
        .map(|read| read.submit().unwrap())
        .collect();
    let start = Instant::now();
    scheduler.poll().unwrap();
    asked.read_exact(&mut [0]).unwrap();
    // Nor does what else files need wait behind them, nor a timer, nor a socket.
    let (socket, mut peer) = setup.connection(&io);
    peer.write_all(b"here").unwrap();
    let path = setup.file("answered", b"answered");
    scheduler
        .block_on(async {
            let file = io.open(&path, Mode::ReadWrite).await.unwrap();
            assert_eq!(file.read_at(vec![0; 8], 0).await.unwrap().1, b"answered");
            file.write_at("ANSWERED", 0).await.unwrap();
            file.sync().await.unwrap();
            assert_eq!(socket.recv_exact(vec![0; 4]).await.unwrap().1, b"here");
            io.sleep(Duration::from_millis(20)).await.unwrap();
        })
        .unwrap();
    let running = reads.iter().filter(|read| !read.is_settled()).count();
    assert!(running > 0, "it was to answer nothing");
    let leaked = scheduler.shutdown(Duration::from_millis(100)).unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    let (leaked, closes): (Vec<_>, Vec<_>) =
        leaked.requests.into_iter().partition(|request| request.operation.starts_with("read_at 16 bytes at"));
    assert!(leaked.iter().chain(&closes).all(|request| request.target.ends_with("stalled")), "{leaked:?} {closes:?}");
    assert!(!leaked.is_empty() && leaked.len() <= running && closes.len() <= 1, "{leaked:?} {closes:?}");
    std::mem::forget(reads);
}

fn a_shutdown_without_time_reaps_what_the_os_lets_go_of_at_once(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let (socket, _peer) = setup.connection(&scheduler.io());
    let receive = socket.recv(vec![0; 4]).submit().unwrap();
    scheduler.poll().unwrap();
    scheduler.shutdown(Duration::ZERO).expect("an idle receive is let go of at once");
    assert!(receive.take().unwrap().is_err());
}

#[cfg(unix)]
fn a_fork_inside_a_callback_ends_the_childs_run_and_leaves_the_parents_alone(setup: &Setup) {
    if !setup.is_own_process() {
        return;
    }
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let (socket, mut peer) = setup.connection(&io);
    let received = Rc::new(Cell::new(0));
    let count = Rc::clone(&received);
    socket.recv(vec![0; 64]).then(move |outcome| count.set(outcome.unwrap().0)).unwrap();
    let is_child = Rc::new(Cell::new(false));
    let place = Rc::clone(&is_child);
    spawn_call(&io, move || {
        // SAFETY: the child leaves by _exit below, and takes no lock that another thread may hold.
        let child = unsafe { libc::fork() };
        if child == 0 {
            return place.set(true);
        }
        // What the child could steal comes while it runs.
        peer.write_all(b"for the parent").unwrap();
        let mut status = 0;
        // SAFETY: waits for the child just made.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "the child ended with {status:#x}");
    });
    let other = Rc::clone(&is_child);
    spawn_call(&io, move || assert!(!other.get(), "a task of the parent's runs in the child"));
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| scheduler.run()));
    if is_child.get() {
        let is_right = matches!(&result, Ok(Err(error)) if error.kind() == ErrorKind::WrongProcess);
        // SAFETY: ends the child without running the parent's clean-up.
        unsafe { libc::_exit(if is_right && received.get() == 0 { 0 } else { 1 }) };
    }
    result.unwrap().unwrap();
    assert!(received.get() > 0);
}

/// A task that makes one call.
fn spawn_call(io: &corella::Io, call: impl FnOnce() + 'static) {
    drop(io.spawn(async move { call() }).unwrap());
}

#[cfg(unix)]
fn a_fork_inside_a_direct_callback_leaves_the_parents_deadlines_alone(setup: &Setup) {
    if !setup.is_own_process() {
        return;
    }
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let (idle, _silent) = setup.connection(&io);
    let (socket, mut peer) = setup.connection(&io);
    let late = idle.recv(vec![0; 4]).deadline(Duration::from_millis(20)).submit().unwrap();
    let child = Rc::new(Cell::new(-1));
    let place = Rc::clone(&child);
    let forks = move |_| {
        // The deadline comes due meanwhile, so that this turn is to cancel what it is of.
        std::thread::sleep(Duration::from_millis(30));
        // SAFETY: the child leaves by _exit below, and takes no lock that another thread may hold.
        place.set(unsafe { libc::fork() });
    };
    socket.recv(vec![0; 4]).direct().then(forks).unwrap();
    peer.write_all(b"x").unwrap();
    while child.get() == -1 {
        let result = scheduler.turn(Duration::from_secs(1));
        if child.get() == 0 {
            let is_right = result.is_err_and(|error| error.kind() == ErrorKind::WrongProcess);
            // SAFETY: ends the child without running the parent's clean-up.
            unsafe { libc::_exit(if is_right { 7 } else { 8 }) };
        }
    }
    let mut status = 0;
    // SAFETY: waits for the child just made.
    assert_eq!(unsafe { libc::waitpid(child.get(), &mut status, 0) }, child.get());
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 7, "the child ended with {status:#x}");
    assert_eq!(late.wait().unwrap_err().error.kind(), ErrorKind::TimedOut);
}

#[cfg(unix)]
fn a_fork_inside_a_callback_of_the_end_leaves_the_parents_requests_alone(setup: &Setup) {
    if !setup.is_own_process() {
        return;
    }
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let (socket, _peer) = setup.connection(&io);
    let child = Rc::new(Cell::new(-1));
    let place = Rc::clone(&child);
    // SAFETY: the child leaves by _exit below, and takes no lock that another thread may hold.
    io.sleep(Duration::from_secs(99)).direct().then(move |_| place.set(unsafe { libc::fork() })).unwrap();
    let receive = socket.recv(vec![0; 4]).submit().unwrap();
    let result = scheduler.shutdown(Duration::from_secs(20));
    if child.get() == 0 {
        // SAFETY: ends the child without running the parent's clean-up.
        unsafe { libc::_exit(7) };
    }
    result.unwrap();
    assert!(receive.take().unwrap().is_err());
    let mut status = 0;
    // SAFETY: waits for the child just made.
    assert_eq!(unsafe { libc::waitpid(child.get(), &mut status, 0) }, child.get());
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 7, "the child ended with {status:#x}");
}

fn jobs_of_other_threads_are_dropped_with_the_scheduler(setup: &Setup) {
    let mut scheduler = setup.builder().tasks_per_turn(1).build().unwrap();
    let status = scheduler.io().sleep(Duration::from_secs(99)).submit().unwrap();
    let remote = scheduler.remote();
    let token = std::sync::Arc::new(());
    for _ in 0..10 {
        let token = std::sync::Arc::clone(&token);
        remote.send(move |_| drop(token)).unwrap();
    }
    scheduler.poll().unwrap();
    drop(scheduler);
    assert_eq!(std::sync::Arc::strong_count(&token), 1);
    drop(status);
}

fn a_callback_given_after_the_end_is_refused_with_the_status(setup: &Setup) {
    let scheduler = setup.scheduler();
    let status = scheduler.io().sleep(Duration::from_secs(99)).submit().unwrap();
    drop(scheduler);
    let status = status.then(|_| unreachable!("it can never run")).unwrap_err();
    assert_eq!(status.take().unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
    // The same of an operation that was polled, which gives its buffer back.
    let scheduler = setup.scheduler();
    let (socket, _peer) = setup.connection(&scheduler.io());
    let mut receive = socket.recv(vec![3; 4]);
    assert!(Pin::new(&mut receive).poll(&mut Context::from_waker(Waker::noop())).is_pending());
    drop(scheduler);
    let refused = receive.then(|_| unreachable!("it can never run")).unwrap_err();
    assert_eq!((refused.error.kind(), refused.buffer), (ErrorKind::SchedulerGone, vec![3; 4]));
}

fn a_shutdown_stops_a_write_that_nobody_reads(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let (_reader, writer) = crate::setup::pipe();
    let pipe = io.adopt_file(writer, "pipe").unwrap();
    let write = pipe.write(vec![7; 1 << 20]).submit().unwrap();
    let behind = pipe.write(vec![8; 10]).submit().unwrap();
    #[cfg(unix)]
    let open = io.open(make_fifo(setup), Mode::Read).submit().unwrap();
    let (socket, _silent) = setup.connection(&io);
    let receive = socket.recv(vec![0; 1]).submit().unwrap();
    io.sleep(Duration::from_millis(50)).wait().unwrap();
    let start = Instant::now();
    let result = scheduler.shutdown(Duration::from_millis(200));
    let took = start.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
    // What the OS can let go of it has.
    assert_eq!(receive.wait().unwrap_err().error.kind(), ErrorKind::Cancelled);
    #[cfg(unix)]
    assert_eq!(open.wait().unwrap_err().kind(), ErrorKind::Cancelled);
    result.unwrap();
    let (failed, moved_nothing) = (write.wait().unwrap_err(), behind.wait().unwrap_err());
    // Of a write that was stopped on its way Windows does not tell how far it got.
    let moved = if cfg!(unix) { Moved::Bytes(1 << 16) } else { Moved::Unknown };
    assert_eq!((failed.error.kind(), failed.moved), (ErrorKind::Cancelled, moved));
    assert_eq!(moved_nothing.moved.bytes(), 0);
}

fn a_shutdown_says_what_it_leaked(setup: &Setup) {
    // A forked child of another promise's would have a copy of the socket, and then this close is not the last.
    if !setup.is_own_process() {
        return;
    }
    let scheduler = setup.scheduler();
    let (socket, peer) = setup.connection(&scheduler.io());
    let unread = socket.send(vec![7; 32 << 20]).deadline(Duration::from_millis(50)).wait();
    assert_eq!(unread.unwrap_err().error.kind(), ErrorKind::TimedOut);
    socket.set_linger(Some(Duration::from_secs(5))).unwrap();
    // Nothing stops a close that lingers.
    let close = socket.close().submit().unwrap();
    let start = Instant::now();
    let leaked = scheduler.shutdown(Duration::from_millis(200)).unwrap_err();
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(200) && took < Duration::from_secs(4), "{took:?}");
    assert_eq!(leaked.requests.len(), 1, "{leaked:?}");
    assert_eq!((leaked.requests[0].operation.as_str(), leaked.requests[0].at_os), ("close", true));
    assert!(!close.is_settled());
    drop(peer);
}

fn a_forgotten_scheduler_keeps_what_is_in_flight(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let (socket, mut peer) = setup.connection(&scheduler.io());
    let status: Status<_> = socket.recv(vec![0; 4]).submit().unwrap();
    scheduler.poll().unwrap();
    std::mem::forget(scheduler);
    peer.write_all(b"late").unwrap();
    assert!(!status.is_settled());
    // Still alive, only driven by nobody; a wait drives it.
    assert_eq!(status.wait().unwrap().1, b"late");
}

fn handles_dropped_with_requests_in_flight_leave_no_descriptor(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let path = setup.file("data", &[1; 100]);
    for _ in 0..100 {
        let file = io.open(&path, Mode::Read).wait().unwrap();
        let read = file.read_at(vec![0; 100], 0).submit().unwrap();
        drop(file);
        drop(read);
    }
    scheduler.run().unwrap();
    let entries = std::fs::read_dir("/proc/self/fd").unwrap();
    let open = entries.filter(|entry| std::fs::read_link(entry.as_ref().unwrap().path()).is_ok_and(|to| to == path));
    assert_eq!(open.count(), 0);
}

/// What this process has of the kernel's own things: mapped rings; descriptors of rings, pollers and events.
#[cfg(unix)]
fn kernels_things() -> [usize; 2] {
    let entries = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let links: Vec<_> = entries.filter_map(|entry| std::fs::read_link(entry.path()).ok()).collect();
    let descriptors = links.iter().filter(|link| link.to_string_lossy().starts_with("anon_inode:"));
    [std::fs::read_to_string("/proc/self/maps").unwrap().matches("io_uring").count(), descriptors.count()]
}

/// What this process has of the kernel's own things: timers; ports.
#[cfg(windows)]
fn kernels_things() -> [usize; 2] {
    ["Timer", "IoCompletion"].map(|kind| crate::setup::handles_of(kind).len())
}

fn what_outlives_a_scheduler_keeps_nothing_of_the_os(setup: &Setup) {
    if !setup.is_own_process() {
        return;
    }
    let before = kernels_things();
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let remote = scheduler.remote();
    let sleep = io.sleep(Duration::from_secs(60)).submit().unwrap();
    let look_up = io.resolve("127.0.0.1", 80).submit().unwrap();
    // A handle with a request, and one without, are held beyond the end too.
    let (socket, mut peer) = setup.connection(&io);
    let (idle, mut other_peer) = setup.connection(&io);
    let receive = socket.recv(vec![0; 4]).submit().unwrap();
    assert!(kernels_things()[1] > before[1]);
    drop(scheduler);
    assert_eq!(kernels_things(), before);
    for peer in [&mut peer, &mut other_peer] {
        peer.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        assert_eq!(peer.read(&mut [0]).unwrap(), 0, "it is closed");
    }
    assert_eq!(receive.wait().unwrap_err().buffer, [0; 4]);
    drop((socket, idle));
    remote.wake();
    assert_eq!(sleep.wait().unwrap_err().kind(), ErrorKind::Cancelled);
    drop((look_up, remote));
}

/// Closes a socket beneath the handle that has it.
#[cfg(windows)]
fn close_beneath(number: std::os::windows::io::RawSocket) {
    use windows_sys::Win32::Networking::WinSock::{SOCKET, closesocket};
    // SAFETY: it is open, and what comes of closing it is what is looked at.
    assert_eq!(unsafe { closesocket(number as SOCKET) }, 0);
}

#[cfg(windows)]
fn a_socket_that_somebody_else_closes_is_a_clear_error_for_each_of_its_requests(setup: &Setup) {
    use std::os::windows::io::AsRawSocket;

    use windows_sys::Win32::Networking::WinSock::WSAENOTSOCK;
    // The number may be somebody else's once it is closed.
    if !setup.is_own_process() {
        return;
    }
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (_peer, _) = listener.accept().unwrap();
    let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let numbers = [ours.as_raw_socket(), listener.as_raw_socket(), datagrams.as_raw_socket()];
    let (socket, listener) = (io.adopt_socket(ours).unwrap(), io.adopt_listener(listener).unwrap());
    let datagrams = io.adopt_datagrams(datagrams).unwrap();
    let receives = [4, 5].map(|length| socket.recv(vec![7; length]).submit().unwrap());
    let accept = listener.accept().submit().unwrap();
    let datagram = datagrams.recv_from(vec![9; 6]).submit().unwrap();
    scheduler.poll().unwrap();
    numbers.into_iter().for_each(close_beneath);
    for (receive, length) in receives.into_iter().zip([4, 5]) {
        let failed = scheduler.block_on(receive).unwrap().unwrap_err();
        assert_eq!((failed.error.os_code(), failed.buffer), (Some(WSAENOTSOCK), vec![7; length]));
    }
    assert_eq!(scheduler.block_on(accept).unwrap().unwrap_err().os_code(), Some(WSAENOTSOCK));
    let failed = scheduler.block_on(datagram).unwrap().unwrap_err();
    assert_eq!((failed.error.os_code(), failed.buffer), (Some(WSAENOTSOCK), vec![9; 6]));
    assert_eq!(socket.send("late").wait().unwrap_err().error.os_code(), Some(WSAENOTSOCK));
    assert_eq!(socket.close().wait().unwrap_err().os_code(), Some(WSAENOTSOCK));
    drop((listener, datagrams));
    scheduler.shutdown(Duration::from_secs(20)).unwrap();
}

#[cfg(windows)]
fn a_socket_that_somebody_else_closes_ends_the_send_that_is_on_its_way(setup: &Setup) {
    use std::os::windows::io::AsRawSocket;
    if !setup.is_own_process() {
        return;
    }
    let mut scheduler = setup.scheduler();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let number = ours.as_raw_socket();
    let socket = scheduler.io().adopt_socket(ours).unwrap();
    let sends = [64 << 20, 1].map(|length| socket.send(vec![8; length]).submit().unwrap());
    scheduler.poll().unwrap();
    close_beneath(number);
    let [stopped, behind] = sends.map(|send| scheduler.block_on(send).unwrap().unwrap_err());
    assert_eq!((stopped.moved, stopped.buffer.len()), (Moved::Unknown, 64 << 20), "{stopped}");
    assert_eq!((behind.error.kind(), behind.moved), (ErrorKind::LaneBroken, Moved::NotStarted));
}

/// A scheduler whose port somebody else closes, in the way that `close` has it.
#[cfg(windows)]
fn closes_port(setup: &Setup, close: impl FnOnce(Box<dyn FnOnce() + Send>)) {
    use windows_sys::Win32::Foundation::{CloseHandle, HANDLE};
    let ports = || crate::setup::handles_of("IoCompletion");
    let before = ports();
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let number = ports().into_iter().find(|port| !before.contains(port)).unwrap();
    let (socket, _peer) = setup.connection(&io);
    let (reader, writer) = io.pipe().unwrap();
    let receive = socket.recv(vec![7; 4]).submit().unwrap();
    let read = reader.read(vec![8; 4]).submit().unwrap();
    let (resolved, sleep) =
        (io.resolve("127.0.0.1", 80).submit().unwrap(), io.sleep(Duration::from_millis(1)).submit().unwrap());
    while !(resolved.is_settled() && sleep.is_settled()) {
        scheduler.turn(Duration::from_millis(1)).unwrap();
    }
    let again = io.resolve("127.0.0.1", 80).submit().unwrap();
    // SAFETY: it is open, and what comes of closing it is what is looked at.
    close(Box::new(move || assert_ne!(unsafe { CloseHandle(number as HANDLE) }, 0)));
    let start = Instant::now();
    let error = loop {
        assert!(start.elapsed() < Duration::from_secs(20), "no turn says so");
        match scheduler.turn(Duration::from_secs(30)) {
            Ok(_) => continue,
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("the scheduler's backend"), "{error}");
    while !(receive.is_settled() && read.is_settled() && again.is_settled()) {
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", scheduler.outstanding());
        let _ = scheduler.turn(Duration::from_millis(5));
    }
    let code = error.os_code();
    for (outcome, buffer) in [(receive.wait(), vec![7; 4]), (read.wait(), vec![8; 4])] {
        let failed = outcome.unwrap_err();
        assert_eq!((failed.error.os_code(), failed.buffer), (code, buffer));
    }
    again.wait().unwrap();
    let refused = socket.send("x").submit().unwrap();
    let _ = scheduler.turn(Duration::from_millis(5));
    assert_eq!(refused.wait().unwrap_err().error.os_code(), code);
    drop((socket, reader, writer));
    // The number may be another's by now, and is left alone.
    let mut other = setup.scheduler();
    scheduler.shutdown(Duration::from_secs(20)).unwrap();
    let io = other.io();
    other.block_on(io.sleep(Duration::from_millis(1))).unwrap().unwrap();
}

#[cfg(windows)]
fn a_port_that_somebody_else_closes_is_a_clear_error_and_all_settle(setup: &Setup) {
    // The number may be somebody else's once it is closed.
    if setup.is_own_process() {
        closes_port(setup, |close| close());
    }
}

#[cfg(windows)]
fn a_port_that_somebody_else_closes_ends_the_sleep_at_it(setup: &Setup) {
    if setup.is_own_process() {
        closes_port(setup, |close| {
            std::thread::spawn(|| {
                std::thread::sleep(Duration::from_millis(100));
                close();
            });
        });
    }
}

/// What a forked child ends with when all was right: not what one ends with that panics.
#[cfg(unix)]
const RIGHT: i32 = 77;

#[cfg(unix)]
fn in_a_forked_child_every_call_answers_wrong_process_and_the_parent_goes_on(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let remote = scheduler.remote();
    let (socket, mut peer) = setup.connection(&io);
    let file = io.open(setup.file("data", b"content"), Mode::Read).wait().unwrap();
    let receive = socket.recv_exact(vec![0; 4]).submit().unwrap();
    let [mut asleep, mut awaits] = [Duration::ZERO, Duration::from_secs(99)].map(|duration| io.sleep(duration));
    for sleep in [&mut asleep, &mut awaits] {
        assert!(Pin::new(sleep).poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    scheduler.poll().unwrap();
    // SAFETY: the child only looks at its copy and leaves by _exit; it takes no lock that another thread may hold.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let wrong = |kind: ErrorKind| kind == ErrorKind::WrongProcess;
        let polled = Pin::new(&mut awaits).poll(&mut Context::from_waker(Waker::noop()));
        let all = [
            wrong(file.read_at(vec![0; 1], 0).wait().unwrap_err().error.kind()),
            wrong(socket.send("x").submit().unwrap_err().error.kind()),
            wrong(io.sleep(Duration::ZERO).wait().unwrap_err().kind()),
            wrong(scheduler.run().unwrap_err().kind()),
            wrong(scheduler.poll().unwrap_err().kind()),
            wrong(scheduler.block_on(async {}).unwrap_err().kind()),
            wrong(scheduler.prepare_wait().unwrap_err().kind()),
            wrong(remote.send(|_| {}).unwrap_err().kind()),
            wrong(io.spawn(async {}).unwrap_err().kind()),
            wrong(socket.close().wait().unwrap_err().kind()),
            wrong(receive.wait().unwrap_err().error.kind()),
            wrong(asleep.wait().unwrap_err().kind()),
            matches!(polled, Poll::Ready(Err(error)) if wrong(error.kind())),
            !scheduler.has_work(),
        ];
        remote.wake();
        drop((file, socket, scheduler));
        let code = all.iter().position(|is_right| !is_right).map_or(RIGHT, |place| place as i32 + 1);
        // SAFETY: ends the child without running the parent's clean-up.
        unsafe { libc::_exit(code) };
    }
    let mut status = 0;
    // SAFETY: waits for the child just made.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == RIGHT, "the child ended with {status:#x}");
    peer.write_all(b"unha").unwrap();
    asleep.wait().unwrap();
    drop(awaits);
    assert_eq!(receive.wait().unwrap().1, b"unha");
    assert_eq!(file.read_at(vec![0; 7], 0).wait().unwrap().1, b"content");
    scheduler.run().unwrap();
}

#[cfg(unix)]
fn a_child_forked_while_other_threads_call_waits_for_none_of_them(setup: &Setup) {
    const CHILDREN: usize = 60;
    if !setup.is_own_process() {
        // Its children have copies of every descriptor, and no close elsewhere would be the last.
        return;
    }
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let (remote, token) = (scheduler.remote(), CancelToken::new());
    let request = io.sleep(Duration::from_secs(60)).then(|_| {}).unwrap();
    let mut status = Some(io.sleep(Duration::from_secs(60)).cancel_with(&token).submit().unwrap());
    let stop = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let (remote, token, stop) = (remote.clone(), token.clone(), Arc::clone(&stop));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    remote.cancel(request);
                    token.cancel();
                }
            })
        })
        .collect();
    for _ in 0..CHILDREN {
        // SAFETY: the child calls what is to take no lock, and leaves by _exit or by its own alarm.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: as above.
            unsafe { libc::alarm(10) };
            remote.cancel(request);
            token.cancel();
            drop(status.take());
            let refused = io.sleep(Duration::ZERO).cancel_with(&token).submit();
            let is_right = refused.is_err_and(|error| error.kind() == ErrorKind::WrongProcess)
                && token.is_cancelled()
                && remote.is_gone();
            // SAFETY: ends the child without running the parent's clean-up.
            unsafe { libc::_exit(if is_right { RIGHT } else { 1 }) };
        }
        let mut status = 0;
        // SAFETY: waits for the child just made.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == RIGHT, "the child ended with {status:#x}");
    }
    stop.store(true, Ordering::Relaxed);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(!remote.is_gone());
    assert_eq!(status.unwrap().wait().unwrap_err().kind(), ErrorKind::Cancelled);
}

#[cfg(unix)]
fn a_childs_own_scheduler_takes_no_token_of_its_parents_requests(setup: &Setup) {
    if !setup.is_own_process() {
        // Its child has copies of every descriptor, and no close elsewhere would be the last.
        return;
    }
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let (used, unused) = (CancelToken::new(), CancelToken::new());
    let parents = io.sleep(Duration::from_secs(60)).cancel_with(&used).submit().unwrap();
    // SAFETY: the child has copies of its own, and leaves by _exit; nobody else of this process has these tokens.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: as above.
        unsafe { libc::alarm(10) };
        let scheduler = setup.scheduler();
        let io = scheduler.io();
        let refused = io.sleep(Duration::ZERO).cancel_with(&used).wait();
        let own = io.sleep(Duration::from_secs(60)).cancel_with(&unused).submit();
        used.cancel();
        unused.cancel();
        let is_right = refused.is_err_and(|error| error.kind() == ErrorKind::WrongProcess)
            && own.is_ok_and(|own| own.wait().is_err_and(|error| error.kind() == ErrorKind::Cancelled));
        // SAFETY: ends the child without running the parent's clean-up.
        unsafe { libc::_exit(if is_right { RIGHT } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: waits for the child just made.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == RIGHT, "the child ended with {status:#x}");
    assert!(!used.is_cancelled() && !unused.is_cancelled() && !parents.is_settled());
    used.cancel();
    assert_eq!(parents.wait().unwrap_err().kind(), ErrorKind::Cancelled);
}
