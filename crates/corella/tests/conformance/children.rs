//! Child processes: started, fed, waited for and left alone.

#[cfg(unix)]
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::task::Poll;
use std::time::{Duration, Instant};

use corella::{Child, ErrorKind, Io, Scheduler};

use crate::setup::{Setup, processor_time};
use crate::{codes, promises};

promises![
    a_child_ends_with_its_status_for_each_ending,
    a_childs_streams_are_pipes_whose_bytes_arrive_whole,
    a_childs_streams_may_be_nothing_or_a_file,
    children_can_be_joined_by_a_pipe,
    waiting_for_a_child_can_be_stopped_and_asked_again,
    several_who_wait_for_one_child_all_get_its_status,
    #[cfg(unix)]
    a_status_that_something_else_has_fetched_is_an_error_that_says_so,
    a_program_that_cannot_be_started_is_an_error_that_names_it,
    a_child_can_be_killed,
    #[cfg(unix)]
    a_child_can_be_sent_a_signal,
    a_child_whose_handle_is_dropped_goes_on_and_leaves_no_zombie,
    a_scheduler_that_ends_leaves_its_children_alone_and_no_zombie,
    a_start_that_is_given_up_leaves_no_zombie,
    #[cfg(unix)]
    a_child_gets_its_standard_streams_and_none_of_the_schedulers_descriptors,
    #[cfg(windows)]
    a_child_gets_none_of_the_schedulers_handles,
    #[cfg(unix)]
    a_child_begins_with_no_signal_held_back,
    a_hundred_children_are_waited_for_without_a_thread_each,
    a_child_that_takes_its_time_keeps_nobody_busy,
];

/// A command of the shell.
#[cfg(unix)]
fn shell(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]).stdin(Stdio::null());
    command
}

/// A program that does this: the shell as the script says, or on Windows, where none is to be relied on, this test program
/// as the words say.
#[cfg(unix)]
fn program(script: &str, _words: &[&str]) -> Command {
    shell(script)
}

#[cfg(windows)]
fn program(_script: &str, words: &[&str]) -> Command {
    let mut command = crate::another::process(words);
    command.stdin(Stdio::null());
    command
}

/// One that writes "done" to a file after a while.
fn late_writer(mark: &Path) -> Command {
    let mark = mark.to_str().unwrap();
    program(&format!("sleep 0.05; echo done > {mark}"), &["sleep", "50", "writes", mark, "done\n"])
}

fn start(io: &Io, command: Command) -> Child {
    io.start(command).wait().unwrap()
}

/// Polls a future once, with the scheduler's own waker.
fn poll_once<F: Future + Unpin>(scheduler: &mut Scheduler, future: &mut F) -> Poll<F::Output> {
    scheduler.block_on(std::future::poll_fn(|context| Poll::Ready(Pin::new(&mut *future).poll(context)))).unwrap()
}

/// Waits until a process that may be gone already is.
#[cfg(windows)]
fn until_gone(id: u32) {
    use windows_sys::Win32::Foundation::{CloseHandle, WAIT_OBJECT_0};
    use windows_sys::Win32::System::Threading::{OpenProcess, PROCESS_SYNCHRONIZE, WaitForSingleObject};
    // SAFETY: the handle is looked at before it is used, and closed once.
    unsafe {
        let process = OpenProcess(PROCESS_SYNCHRONIZE, 0, id);
        if !process.is_null() {
            assert_eq!(WaitForSingleObject(process, 20_000), WAIT_OBJECT_0, "it is still there");
            CloseHandle(process);
        }
    }
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

fn a_child_ends_with_its_status_for_each_ending(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let exits = |code: &str| program(&format!("exit {code}"), &["exit", code]);
    assert!(start(&io, exits("0")).exit_status().wait().unwrap().success());
    let child = start(&io, exits("3"));
    assert_eq!(child.exit_status().submit().unwrap().wait().unwrap().code(), Some(3));
    let child = start(&io, exits("4"));
    assert_eq!(scheduler.block_on(child.exit_status()).unwrap().unwrap().code(), Some(4));
    #[cfg(unix)]
    {
        let child = start(&io, shell("kill -9 $$"));
        let status = scheduler.block_on(child.exit_status()).unwrap().unwrap();
        assert_eq!((status.code(), status.signal()), (None, Some(9)));
    }
    let child = start(&io, program("sleep 0.02; exit 255", &["sleep", "20", "exit", "255"]));
    let (sender, receiver) = std::sync::mpsc::channel();
    child.exit_status().then(move |outcome| sender.send(outcome.unwrap()).unwrap()).unwrap();
    scheduler.run().unwrap();
    assert_eq!(receiver.try_recv().unwrap().code(), Some(255));
    // It is kept.
    assert_eq!(child.exit_status().wait().unwrap().code(), Some(255));
    until_gone(child.id());
}

fn a_childs_streams_are_pipes_whose_bytes_arrive_whole(setup: &Setup) {
    const LENGTH: usize = 3 << 20;
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let mut command = program("cat; echo to the errors >&2", &["copy", "tell", "to the errors"]);
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

fn a_childs_streams_may_be_nothing_or_a_file(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let (input, output) = (setup.file("input", b"from a file"), setup.path("output"));
    let mut command = program("cat; echo lost >&2", &["copy", "tell", "lost"]);
    command.stdin(std::fs::File::open(input).unwrap()).stdout(std::fs::File::create(&output).unwrap());
    command.stderr(Stdio::null());
    let child = start(&io, command);
    assert!(child.stdin.is_none() && child.stdout.is_none() && child.stderr.is_none());
    assert!(child.exit_status().wait().unwrap().success());
    assert_eq!(std::fs::read(output).unwrap(), b"from a file");
}

fn children_can_be_joined_by_a_pipe(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let words = ["print", "one", "print", "two", "print", "three"];
    let mut command = program("echo one; echo two; echo three", &words);
    command.stdout(Stdio::piped());
    let mut first = start(&io, command);
    let (pipe, received) = first.stdout.take().unwrap().into_std().unwrap();
    assert!(received.is_empty());
    let mut command = program("wc -l", &["count"]);
    command.stdin(pipe).stdout(Stdio::piped());
    let mut second = start(&io, command);
    let (_, count) = second.stdout.take().unwrap().read_to_end(Vec::new()).wait().unwrap();
    assert_eq!(String::from_utf8(count).unwrap().trim(), "3");
    assert!(first.exit_status().wait().unwrap().success() && second.exit_status().wait().unwrap().success());
}

fn waiting_for_a_child_can_be_stopped_and_asked_again(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let mut command = program("read line; exit 7", &["line", "exit", "7"]);
    command.stdin(Stdio::piped());
    let name = command.get_program().to_str().unwrap().to_owned();
    let mut child = start(&scheduler.io(), command);
    let error = child.exit_status().deadline(Duration::from_millis(2)).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    let expected = format!("exit_status of {name} (process {}): deadline passed", child.id());
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

fn several_who_wait_for_one_child_all_get_its_status(setup: &Setup) {
    let scheduler = setup.scheduler();
    let child = start(&scheduler.io(), program("sleep 0.02; exit 9", &["sleep", "20", "exit", "9"]));
    let all: Vec<_> = (0..50).map(|_| child.exit_status().submit().unwrap()).collect();
    for status in all {
        assert_eq!(status.wait().unwrap().code(), Some(9));
    }
}

fn a_program_that_cannot_be_started_is_an_error_that_names_it(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let error = io.start(Command::new("no-such-program")).wait().unwrap_err();
    assert_eq!(error.os_code(), Some(codes::ENOENT));
    let none = codes::says("No such file or directory (os error 2)", 2);
    assert_eq!(error.to_string(), format!("start of no-such-program: {none}"));
    let plain = setup.file("plain", b"no program");
    let error = io.start(Command::new(&plain)).wait().unwrap_err();
    assert!(codes::ENOEXEC.contains(&error.os_code().unwrap()), "{error}");
    let mut command = program("true", &[]);
    command.current_dir(setup.path("nowhere"));
    let error = io.start(command).wait().unwrap_err();
    assert!(codes::ENOFOLDER.contains(&error.os_code().unwrap()), "{error}");
    let mut command = program("true", &[]);
    command.arg("a\0b");
    let error = io.start(command).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
}

fn a_child_can_be_killed(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let child = start(&io, program("exec sleep 1000", &["sleep", "1000000"]));
    child.kill().unwrap();
    let status = child.exit_status().wait().unwrap();
    #[cfg(unix)]
    assert_eq!(status.signal(), Some(libc::SIGKILL));
    #[cfg(windows)]
    assert_eq!(status.code(), Some(1));
    // Its number may be another's by now.
    child.kill().unwrap();
    // One that ends by itself, and then is killed.
    let child = start(&io, program("exit 5", &["exit", "5"]));
    assert_eq!(child.exit_status().wait().unwrap().code(), Some(5));
    child.kill().unwrap();
    assert_eq!(child.exit_status().wait().unwrap().code(), Some(5));
}

#[cfg(unix)]
fn a_child_can_be_sent_a_signal(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
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

fn a_child_whose_handle_is_dropped_goes_on_and_leaves_no_zombie(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let mark = setup.path("mark");
    let child = start(&io, late_writer(&mark));
    let id = child.id();
    let waiting = child.exit_status().submit().unwrap();
    drop(child);
    assert_eq!(waiting.wait().unwrap_err().kind(), ErrorKind::Cancelled);
    until_gone(id);
    assert_eq!(std::fs::read(mark).unwrap(), b"done\n");
    // One that has ended already.
    #[cfg(unix)]
    {
        let child = start(&io, shell("exit 0"));
        let id = child.id();
        while !std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap().contains(") Z ") {
            std::thread::yield_now();
        }
        drop(child);
        until_gone(id);
    }
    // Many, which end in another order than they were dropped in.
    let sleeper = |number: u32| program(&format!("sleep 0.0{number:02}"), &["sleep", &number.to_string()]);
    let children: Vec<_> = (0..20).rev().map(|number| start(&io, sleeper(number))).collect();
    let ids: Vec<_> = children.iter().map(Child::id).collect();
    drop(children);
    ids.into_iter().for_each(until_gone);
}

fn a_scheduler_that_ends_leaves_its_children_alone_and_no_zombie(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let mark = setup.path("mark");
    let child = start(&io, late_writer(&mark));
    let id = child.id();
    drop(scheduler);
    assert_eq!(child.exit_status().wait().unwrap_err().kind(), ErrorKind::SchedulerGone);
    assert_eq!(child.kill().unwrap_err().kind(), ErrorKind::SchedulerGone);
    until_gone(id);
    assert_eq!(std::fs::read(mark).unwrap(), b"done\n");
}

fn a_start_that_is_given_up_leaves_no_zombie(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let mark = setup.path("mark");
    for round in 0..20u64 {
        let command = program(&format!("echo $$ >> {}", mark.display()), &["number", mark.to_str().unwrap()]);
        let mut future = io.start(command);
        assert!(poll_once(&mut scheduler, &mut future).is_pending());
        if round % 2 == 1 {
            std::thread::sleep(Duration::from_millis(round / 2));
        }
        drop(future);
    }
    // The last of them settles before this, as the pool takes them in order, or never begins.
    start(&io, program("exit 0", &["exit", "0"])).exit_status().wait().unwrap();
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

/// The threads of the pool in this process.
#[cfg(unix)]
fn pool_threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let names = tasks.map(|task| std::fs::read_to_string(task.path().join("comm")).unwrap_or_default());
    names.filter(|name| name.starts_with("corella-pool")).count()
}

/// The threads of this process.
#[cfg(windows)]
fn pool_threads() -> usize {
    use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};

    use windows_sys::Win32::Foundation::INVALID_HANDLE_VALUE;
    use windows_sys::Win32::System::Diagnostics::ToolHelp::{
        CreateToolhelp32Snapshot, TH32CS_SNAPTHREAD, THREADENTRY32, Thread32First, Thread32Next,
    };
    let mut entry = THREADENTRY32 { dwSize: size_of::<THREADENTRY32>() as u32, ..THREADENTRY32::default() };
    let mut count = 0;
    // SAFETY: the snapshot is checked before it is owned, and the entry lives through the calls, which fill it.
    unsafe {
        let snapshot = CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0);
        assert_ne!(snapshot, INVALID_HANDLE_VALUE);
        let snapshot = OwnedHandle::from_raw_handle(snapshot);
        let mut has_entry = Thread32First(snapshot.as_raw_handle(), &mut entry) != 0;
        while has_entry {
            count += usize::from(entry.th32OwnerProcessID == std::process::id());
            has_entry = Thread32Next(snapshot.as_raw_handle(), &mut entry) != 0;
        }
    }
    count
}

fn a_hundred_children_are_waited_for_without_a_thread_each(setup: &Setup) {
    let scheduler = setup.builder().pool_threads(2).build().unwrap();
    let io = scheduler.io();
    let command = || {
        let mut command = program("read line; exit 4", &["line", "exit", "4"]);
        command.stdin(Stdio::piped());
        command
    };
    // Of promises before this one some are left in opens that nobody ends.
    let before = pool_threads();
    let starts: Vec<_> = (0..100).map(|_| io.start(command()).submit().unwrap()).collect();
    let mut children: Vec<_> = starts.into_iter().map(|start| start.wait().unwrap()).collect();
    let waits: Vec<_> = children.iter().map(|child| child.exit_status().submit().unwrap()).collect();
    let more = pool_threads().saturating_sub(before);
    assert!(more < 10, "{more} threads for a hundred children");
    children.iter_mut().for_each(|child| drop(child.stdin.take()));
    for wait in waits {
        assert_eq!(wait.wait().unwrap().code(), Some(4));
    }
}

fn a_child_that_takes_its_time_keeps_nobody_busy(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let child = start(&io, program("sleep 0.3", &["sleep", "300"]));
    let before = processor_time();
    child.exit_status().wait().unwrap();
    let spent = processor_time() - before;
    assert!(spent < Duration::from_millis(50), "{spent:?} of processor time");
}

/// The handles of this process that its children get.
#[cfg(windows)]
fn inheritable_handles() -> Vec<usize> {
    use windows_sys::Win32::Foundation::{GetHandleInformation, HANDLE_FLAG_INHERIT};
    let is_inheritable = |number: &usize| {
        let mut flags = 0;
        // SAFETY: it looks at a number, which may be no handle's.
        unsafe { GetHandleInformation(*number as _, &mut flags) != 0 && flags & HANDLE_FLAG_INHERIT != 0 }
    };
    (4..0x4000).step_by(4).filter(is_inheritable).collect()
}

#[cfg(windows)]
fn a_child_gets_none_of_the_schedulers_handles(setup: &Setup) {
    let before = inheritable_handles();
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let anywhere: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    let _file = io.open(setup.file("file", b""), corella::Mode::Read).wait().unwrap();
    let _sockets = (io.listen(anywhere).unwrap(), io.socket(anywhere).unwrap(), io.bind_datagrams(anywhere).unwrap());
    let _pipe = io.pipe().unwrap();
    let mut command = program("read line", &["line"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let _child = start(&io, command);
    assert_eq!(inheritable_handles(), before);
}
