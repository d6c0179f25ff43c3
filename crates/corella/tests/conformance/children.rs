//! Child processes: started, fed, waited for and left alone.

#[cfg(unix)]
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::task::Poll;
use std::time::{Duration, Instant};

use corella::{Child, ErrorKind, Io, Scheduler};

use crate::promises;
use crate::setup::{Setup, processor_time};

promises![
    #[cfg(unix)]
    a_child_ends_with_its_status_for_each_ending,
    #[cfg(unix)]
    a_childs_streams_are_pipes_whose_bytes_arrive_whole,
    #[cfg(unix)]
    a_childs_streams_may_be_nothing_or_a_file,
    #[cfg(unix)]
    children_can_be_joined_by_a_pipe,
    #[cfg(unix)]
    waiting_for_a_child_can_be_stopped_and_asked_again,
    #[cfg(unix)]
    several_who_wait_for_one_child_all_get_its_status,
    #[cfg(unix)]
    a_status_that_something_else_has_fetched_is_an_error_that_says_so,
    #[cfg(unix)]
    a_program_that_cannot_be_started_is_an_error_that_names_it,
    #[cfg(unix)]
    a_child_can_be_killed_and_sent_a_signal,
    #[cfg(unix)]
    a_child_whose_handle_is_dropped_goes_on_and_leaves_no_zombie,
    #[cfg(unix)]
    a_scheduler_that_ends_leaves_its_children_alone_and_no_zombie,
    #[cfg(unix)]
    a_start_that_is_given_up_leaves_no_zombie,
    #[cfg(unix)]
    a_child_gets_its_standard_streams_and_none_of_the_schedulers_descriptors,
    #[cfg(unix)]
    a_child_begins_with_no_signal_held_back,
    #[cfg(unix)]
    a_hundred_children_are_waited_for_without_a_thread_each,
    #[cfg(unix)]
    a_child_that_takes_its_time_keeps_nobody_busy,
    #[cfg(windows)]
    a_program_ends_with_its_code_which_is_kept,
    #[cfg(windows)]
    what_a_program_is_sent_comes_back_through_its_pipes,
    #[cfg(windows)]
    waiting_for_a_program_can_be_stopped_and_asked_again,
    #[cfg(windows)]
    a_program_can_be_ended_and_one_that_there_is_not_is_an_error,
];

/// A command of the shell.
#[cfg(unix)]
fn shell(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]).stdin(Stdio::null());
    command
}

fn start(io: &Io, command: Command) -> Child {
    io.start(command).wait().unwrap()
}

/// Polls a future once, with the scheduler's own waker.
fn poll_once<F: Future + Unpin>(scheduler: &mut Scheduler, future: &mut F) -> Poll<F::Output> {
    scheduler.block_on(std::future::poll_fn(|context| Poll::Ready(Pin::new(&mut *future).poll(context)))).unwrap()
}

/// Waits until the process is gone, zombie and all.
#[cfg(unix)]
fn until_gone(id: u32) {
    let folder = PathBuf::from(format!("/proc/{id}"));
    let start = Instant::now();
    while folder.exists() {
        let state = std::fs::read_to_string(folder.join("stat")).unwrap_or_default();
        assert!(start.elapsed() < Duration::from_secs(20), "it is still there: {state}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[cfg(unix)]
fn a_child_ends_with_its_status_for_each_ending(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    assert!(start(&io, shell("exit 0")).exit_status().wait().unwrap().success());
    let child = start(&io, shell("exit 3"));
    let status = child.exit_status().submit().unwrap().wait().unwrap();
    assert_eq!((status.code(), status.signal()), (Some(3), None));
    let child = start(&io, shell("kill -9 $$"));
    let status = scheduler.block_on(child.exit_status()).unwrap().unwrap();
    assert_eq!((status.code(), status.signal()), (None, Some(9)));
    let child = start(&io, shell("sleep 0.02; exit 255"));
    let (sender, receiver) = std::sync::mpsc::channel();
    child.exit_status().then(move |outcome| sender.send(outcome.unwrap()).unwrap()).unwrap();
    scheduler.run().unwrap();
    assert_eq!(receiver.try_recv().unwrap().code(), Some(255));
    // It is kept.
    assert_eq!(child.exit_status().wait().unwrap().code(), Some(255));
    until_gone(child.id());
}

#[cfg(unix)]
fn a_childs_streams_are_pipes_whose_bytes_arrive_whole(setup: &Setup) {
    const LENGTH: usize = 3 << 20;
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let mut command = shell("cat; echo to the errors >&2");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = start(&io, command);
    let streams = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(input), Some(output), Some(errors)) = streams else { panic!("three pipes were asked for") };
    let bytes: Vec<u8> = (0..LENGTH).map(|place| (place / 7 % 251) as u8).collect();
    let sent = bytes.clone();
    let writer = io
        .spawn(async move {
            input.write(sent).await.unwrap();
            input.close().await.unwrap();
        })
        .unwrap();
    let (received, told, status) = scheduler
        .block_on(async move {
            let received = output.read_to_end(Vec::new()).await.unwrap().1;
            let told = errors.read_to_end(Vec::new()).await.unwrap().1;
            (received, told, child.exit_status().await.unwrap())
        })
        .unwrap();
    assert!(received == bytes, "{} bytes came back of {LENGTH}", received.len());
    assert_eq!(told, b"to the errors\n");
    assert!(status.success());
    drop(writer);
}

#[cfg(unix)]
fn a_childs_streams_may_be_nothing_or_a_file(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let (input, output) = (setup.file("input", b"from a file"), setup.path("output"));
    let mut command = shell("cat; echo lost >&2");
    command.stdin(std::fs::File::open(input).unwrap()).stdout(std::fs::File::create(&output).unwrap());
    command.stderr(Stdio::null());
    let child = start(&io, command);
    assert!(child.stdin.is_none() && child.stdout.is_none() && child.stderr.is_none());
    assert!(child.exit_status().wait().unwrap().success());
    assert_eq!(std::fs::read(output).unwrap(), b"from a file");
}

#[cfg(unix)]
fn children_can_be_joined_by_a_pipe(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let mut command = shell("echo one; echo two; echo three");
    command.stdout(Stdio::piped());
    let mut first = start(&io, command);
    let (pipe, received) = first.stdout.take().unwrap().into_std().unwrap();
    assert!(received.is_empty());
    let mut command = Command::new("wc");
    command.arg("-l").stdin(pipe).stdout(Stdio::piped());
    let mut second = start(&io, command);
    let (_, count) = second.stdout.take().unwrap().read_to_end(Vec::new()).wait().unwrap();
    assert_eq!(String::from_utf8(count).unwrap().trim(), "3");
    assert!(first.exit_status().wait().unwrap().success() && second.exit_status().wait().unwrap().success());
}

#[cfg(unix)]
fn waiting_for_a_child_can_be_stopped_and_asked_again(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let mut command = shell("read line; exit 7");
    command.stdin(Stdio::piped());
    let mut child = start(&scheduler.io(), command);
    let error = child.exit_status().deadline(Duration::from_millis(2)).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    let expected = format!("exit_status of /bin/sh (process {}): deadline passed", child.id());
    assert_eq!(error.to_string(), expected);
    let status = child.exit_status().submit().unwrap();
    status.cancel();
    assert_eq!(status.wait().unwrap_err().kind(), ErrorKind::Cancelled);
    let mut future = child.exit_status();
    assert!(poll_once(&mut scheduler, &mut future).is_pending());
    child.stdin.take().unwrap().write("\n").wait().unwrap();
    // It settles, and nobody takes it.
    while scheduler.outstanding().iter().any(|request| request.operation == "exit_status") {
        scheduler.poll().unwrap();
    }
    drop(future);
    for _ in 0..3 {
        assert_eq!(child.exit_status().wait().unwrap().code(), Some(7));
    }
}

#[cfg(unix)]
fn a_status_that_something_else_has_fetched_is_an_error_that_says_so(setup: &Setup) {
    let scheduler = setup.scheduler();
    let child = start(&scheduler.io(), shell("exit 3"));
    let pid = rustix::process::Pid::from_raw(child.id() as i32);
    rustix::process::waitpid(pid, rustix::process::WaitOptions::empty()).unwrap().expect("it has ended");
    let error = child.exit_status().wait().unwrap_err();
    assert_eq!(error.os_code(), Some(libc::ECHILD), "{error}");
    assert!(error.to_string().ends_with("or something in it has waited for all its children"), "{error}");
}

#[cfg(unix)]
fn several_who_wait_for_one_child_all_get_its_status(setup: &Setup) {
    let scheduler = setup.scheduler();
    let child = start(&scheduler.io(), shell("sleep 0.02; exit 9"));
    let all: Vec<_> = (0..50).map(|_| child.exit_status().submit().unwrap()).collect();
    for status in all {
        assert_eq!(status.wait().unwrap().code(), Some(9));
    }
}

#[cfg(unix)]
fn a_program_that_cannot_be_started_is_an_error_that_names_it(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let error = io.start(Command::new("/no/such/program")).wait().unwrap_err();
    assert_eq!(error.os_code(), Some(libc::ENOENT));
    assert_eq!(error.to_string(), "start of /no/such/program: No such file or directory (os error 2)");
    let plain = setup.file("plain", b"no program");
    let error = io.start(Command::new(&plain)).wait().unwrap_err();
    assert_eq!(error.os_code(), Some(libc::EACCES));
    let mut command = shell("true");
    command.current_dir(setup.path("nowhere"));
    assert_eq!(io.start(command).wait().unwrap_err().os_code(), Some(libc::ENOENT));
    let mut command = shell("true");
    command.arg("a\0b");
    let error = io.start(command).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
}

#[cfg(unix)]
fn a_child_can_be_killed_and_sent_a_signal(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let child = start(&io, shell("exec sleep 1000"));
    child.kill().unwrap();
    assert_eq!(child.exit_status().wait().unwrap().signal(), Some(libc::SIGKILL));
    // Its number may be another's by now.
    child.kill().unwrap();
    let child = start(&io, shell("exec sleep 1000"));
    child.signal(libc::SIGTERM).unwrap();
    assert_eq!(child.exit_status().wait().unwrap().signal(), Some(libc::SIGTERM));
    let child = start(&io, shell("exit 5"));
    while !std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap().contains(") Z ") {
        std::thread::yield_now();
    }
    child.kill().unwrap();
    assert_eq!(child.exit_status().wait().unwrap().code(), Some(5), "it had ended by itself");
    let child = start(&io, shell("exec sleep 0.02"));
    assert_eq!(child.signal(12_345).unwrap_err().os_code(), Some(libc::EINVAL));
}

#[cfg(unix)]
fn a_child_whose_handle_is_dropped_goes_on_and_leaves_no_zombie(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let mark = setup.path("mark");
    let child = start(&io, shell(&format!("sleep 0.05; echo done > {}", mark.display())));
    let id = child.id();
    let waiting = child.exit_status().submit().unwrap();
    drop(child);
    assert_eq!(waiting.wait().unwrap_err().kind(), ErrorKind::Cancelled);
    until_gone(id);
    assert_eq!(std::fs::read(mark).unwrap(), b"done\n");
    // One that has ended already.
    let child = start(&io, shell("exit 0"));
    let id = child.id();
    while !std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap().contains(") Z ") {
        std::thread::yield_now();
    }
    drop(child);
    until_gone(id);
    // Many, which end in another order than they were dropped in.
    let children: Vec<_> = (0..20).rev().map(|number| start(&io, shell(&format!("sleep 0.0{number:02}")))).collect();
    let ids: Vec<_> = children.iter().map(Child::id).collect();
    drop(children);
    ids.into_iter().for_each(until_gone);
}

#[cfg(unix)]
fn a_scheduler_that_ends_leaves_its_children_alone_and_no_zombie(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let mark = setup.path("mark");
    let child = start(&io, shell(&format!("sleep 0.05; echo done > {}", mark.display())));
    let id = child.id();
    drop(scheduler);
    assert_eq!(child.exit_status().wait().unwrap_err().kind(), ErrorKind::SchedulerGone);
    assert_eq!(child.kill().unwrap_err().kind(), ErrorKind::SchedulerGone);
    until_gone(id);
    assert_eq!(std::fs::read(mark).unwrap(), b"done\n");
}

#[cfg(unix)]
fn a_start_that_is_given_up_leaves_no_zombie(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let mark = setup.path("mark");
    for round in 0..20u64 {
        let command = shell(&format!("echo $$ >> {}", mark.display()));
        let mut future = io.start(command);
        assert!(poll_once(&mut scheduler, &mut future).is_pending());
        if round % 2 == 1 {
            std::thread::sleep(Duration::from_millis(round / 2));
        }
        drop(future);
    }
    // The last of them settles before this, as the pool takes them in order, or never begins.
    start(&io, shell("exit 0")).exit_status().wait().unwrap();
    drop(scheduler);
    let ids = std::fs::read_to_string(mark).unwrap_or_default();
    for id in ids.lines() {
        until_gone(id.parse().unwrap());
    }
}

#[cfg(unix)]
fn a_child_gets_its_standard_streams_and_none_of_the_schedulers_descriptors(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let _file = io.open(setup.file("file", b""), corella::Mode::Read).wait().unwrap();
    let _listener = io.listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let (_socket, _peer) = setup.connection(&io);
    let _running = start(&io, shell("exec sleep 1000"));
    let mut command = shell("ls /proc/$$/fd");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = start(&io, command);
    let (_, list) = child.stdout.take().unwrap().read_to_end(Vec::new()).wait().unwrap();
    let list = String::from_utf8(list).unwrap();
    // The harness may have handed down some of its own.
    let ours: Vec<_> = list.split_whitespace().map(|number| number.parse::<i32>().unwrap()).collect();
    for number in ours.iter().filter(|number| **number > 2) {
        // SAFETY: asks for the flags of a number.
        let flags = unsafe { libc::fcntl(*number, libc::F_GETFD) };
        assert!(flags == -1 || flags & libc::FD_CLOEXEC == 0, "the child has our descriptor {number}: {ours:?}");
    }
    assert!([0, 1, 2].iter().all(|number| ours.contains(number)), "{ours:?}");
    _running.kill().unwrap();
}

#[cfg(unix)]
fn a_child_begins_with_no_signal_held_back(setup: &Setup) {
    let scheduler = setup.scheduler();
    // Without a shell, which may see to its signals itself.
    let mut command = Command::new("grep");
    command.args(["-E", "^Sig(Blk|Ign)", "/proc/self/status"]);
    command.stdout(Stdio::piped());
    let mut child = start(&scheduler.io(), command);
    let (_, lines) = child.stdout.take().unwrap().read_to_end(Vec::new()).wait().unwrap();
    let lines = String::from_utf8(lines).unwrap();
    let of = |name: &str| {
        let line = lines.lines().find(|line| line.starts_with(name)).unwrap();
        u64::from_str_radix(line.rsplit('\t').next().unwrap(), 16).unwrap()
    };
    assert_eq!(of("SigBlk"), 0, "{lines}");
    assert_eq!(of("SigIgn") & 1 << (libc::SIGPIPE - 1), 0, "{lines}");
}

#[cfg(unix)]
fn a_hundred_children_are_waited_for_without_a_thread_each(setup: &Setup) {
    let scheduler = setup.builder().pool_threads(2).build().unwrap();
    let io = scheduler.io();
    let command = || {
        let mut command = shell("read line; exit 4");
        command.stdin(Stdio::piped());
        start(&io, command)
    };
    let pool_threads = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
        let names = tasks.map(|task| std::fs::read_to_string(task.path().join("comm")).unwrap_or_default());
        names.filter(|name| name.starts_with("corella-pool")).count()
    };
    // Of promises before this one some are left in opens that nobody ends.
    let before = pool_threads();
    let mut children: Vec<_> = (0..100).map(|_| command()).collect();
    let waits: Vec<_> = children.iter().map(|child| child.exit_status().submit().unwrap()).collect();
    let more = pool_threads().saturating_sub(before);
    assert!(more < 10, "{more} threads for a hundred children");
    children.iter_mut().for_each(|child| drop(child.stdin.take()));
    for wait in waits {
        assert_eq!(wait.wait().unwrap().code(), Some(4));
    }
}

#[cfg(unix)]
fn a_child_that_takes_its_time_keeps_nobody_busy(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let child = start(&io, shell("sleep 0.3"));
    let before = processor_time();
    child.exit_status().wait().unwrap();
    let spent = processor_time() - before;
    assert!(spent < Duration::from_millis(50), "{spent:?} of processor time");
}

#[cfg(windows)]
fn command_line(script: &str) -> Command {
    let mut command = Command::new("cmd.exe");
    command.args(["/c", script]).stdin(Stdio::null());
    command
}

/// This program again, which copies its standard input to its standard output.
#[cfg(windows)]
fn copier(setup: &Setup) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env("CORELLA_CHILD", setup.variant.name()).stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

#[cfg(windows)]
fn a_program_ends_with_its_code_which_is_kept(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    assert!(start(&io, command_line("exit 0")).exit_status().wait().unwrap().success());
    let child = start(&io, command_line("exit 3"));
    let (first, second) = (child.exit_status().submit().unwrap(), child.exit_status().submit().unwrap());
    assert_eq!(scheduler.block_on(first).unwrap().unwrap().code(), Some(3));
    assert_eq!(second.wait().unwrap().code(), Some(3));
    assert_eq!(child.exit_status().wait().unwrap().code(), Some(3));
}

#[cfg(windows)]
fn what_a_program_is_sent_comes_back_through_its_pipes(setup: &Setup) {
    const LENGTH: usize = 1 << 20;
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let mut child = start(&io, copier(setup));
    let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let bytes: Vec<u8> = (0..LENGTH).map(|place| (place / 7 % 251) as u8).collect();
    let sent = bytes.clone();
    let writer = io
        .spawn(async move {
            input.write(sent).await.unwrap();
            input.close().await.unwrap();
        })
        .unwrap();
    let (received, status) = scheduler
        .block_on(async move {
            let received = output.read_to_end(Vec::new()).await.unwrap().1;
            (received, child.exit_status().await.unwrap())
        })
        .unwrap();
    assert!(received == bytes, "{} bytes came back of {LENGTH}", received.len());
    assert!(status.success() && writer.is_finished());
}

#[cfg(windows)]
fn waiting_for_a_program_can_be_stopped_and_asked_again(setup: &Setup) {
    let scheduler = setup.scheduler();
    let mut child = start(&scheduler.io(), copier(setup));
    let late = child.exit_status().deadline(std::time::Duration::from_millis(10)).wait().unwrap_err();
    assert_eq!(late.kind(), ErrorKind::TimedOut);
    drop(child.exit_status().submit().unwrap());
    drop(child.stdin.take());
    assert!(child.exit_status().wait().unwrap().success());
}

#[cfg(windows)]
fn a_program_can_be_ended_and_one_that_there_is_not_is_an_error(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let child = start(&io, copier(setup));
    child.kill().unwrap();
    assert_eq!(child.exit_status().wait().unwrap().code(), Some(1));
    child.kill().unwrap();
    let error = io.start(Command::new("no such program")).wait().unwrap_err();
    assert_eq!(error.os_code(), Some(crate::codes::ENOENT));
    assert!(error.to_string().starts_with("start of no such program: "), "{error}");
}
