//! Points 4 and 8 when the OS has no more to give: room on a disk, descriptors, threads.

use std::cell::Cell;
use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use corella::{BackendKind, ErrorKind, Mode, Moved, OpenOptions};

use crate::promises;
use crate::setup::{Setup, processor_time};

promises![
    #[cfg(unix)]
    a_disk_that_fills_up_mid_append_took_exactly_what_was_reported,
    #[cfg(windows)]
    a_drive_that_fills_up_took_exactly_what_was_reported,
    #[cfg(unix)]
    a_file_at_its_size_limit_took_exactly_what_was_reported,
    #[cfg(unix)]
    a_full_device_takes_nothing_and_says_so,
    #[cfg(unix)]
    descriptors_that_run_out_are_an_error_and_nothing_is_lost_for_it,
    #[cfg(unix)]
    a_stream_of_connections_without_descriptors_does_not_spin_and_goes_on_once_there_are_some,
    #[cfg(unix)]
    threads_stay_within_their_limit_with_ten_thousand_requests_of_every_kind_in_flight,
];

/// One limit of this process, changed until it is dropped.
#[cfg(unix)]
struct Limit {
    resource: libc::__rlimit_resource_t,
    before: libc::rlimit,
}

#[cfg(unix)]
impl Limit {
    fn set(resource: libc::__rlimit_resource_t, value: u64) -> Limit {
        let mut before = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: both calls get a structure that lives through them.
        unsafe {
            assert_eq!(libc::getrlimit(resource, &mut before), 0);
            let limit = libc::rlimit { rlim_cur: value, ..before };
            assert_eq!(libc::setrlimit(resource, &limit), 0);
        }
        Limit { resource, before }
    }
}

#[cfg(unix)]
impl Drop for Limit {
    fn drop(&mut self) {
        // SAFETY: the structure lives through the call.
        unsafe { libc::setrlimit(self.resource, &self.before) };
    }
}

/// Room for about twenty of the writes below, and a half.
const ROOM: u64 = 1 << 20;
const FIRST: usize = 20_000;
const SECOND: usize = 30_001;

/// Writes one behind the other until `path` takes no more.
fn fill(setup: &Setup, path: &Path, options: OpenOptions, code: i32, make_room: impl FnOnce()) {
    let scheduler = setup.scheduler();
    let file = scheduler.io().open(path, options.read(true).create(true)).wait().unwrap();
    let writes: Vec<_> = (0..40u8)
        .map(|number| match number % 2 {
            0 => vec![vec![number; FIRST], vec![number; SECOND]],
            _ => vec![vec![number; FIRST + SECOND]],
        })
        .map(|parts| file.write(parts).submit().unwrap())
        .collect();
    let mut expected = Vec::new();
    let mut is_full = false;
    for (number, write) in (0..40u8).zip(writes) {
        match write.wait() {
            Ok((count, _)) => {
                assert!(!is_full && count == FIRST + SECOND);
                expected.resize(expected.len() + count, number);
            }
            Err(failed) if !is_full => {
                is_full = true;
                assert_eq!(failed.error.os_code(), Some(code), "{failed}");
                let moved = failed.moved.bytes() as usize;
                assert!(moved < FIRST + SECOND && (moved > 0 || cfg!(windows)), "not in the midst of one: {moved}");
                expected.resize(expected.len() + moved, number);
            }
            Err(failed) => {
                assert_eq!((failed.error.kind(), failed.moved), (ErrorKind::LaneBroken, Moved::NotStarted));
            }
        }
    }
    assert!(is_full);
    assert!(fs::read(path).unwrap() == expected, "what is there is not what was reported");
    // The failure has been handed over, so the lane is whole: the OS is asked again, and takes what it has room for.
    let failed = file.write(vec![255; FIRST]).wait().unwrap_err();
    assert_eq!((failed.error.os_code(), failed.moved.bytes()), (Some(code), 0));
    make_room();
    file.write("again").wait().unwrap();
    expected.extend_from_slice(b"again");
    assert!(fs::read(path).unwrap() == expected);
}

/// Both kinds of stream write on a file: in append mode, and at the cursor.
fn kinds_of_write() -> [(&'static str, OpenOptions); 2] {
    [("appended", OpenOptions::new().append(true)), ("at-the-cursor", OpenOptions::new().write(true))]
}

#[cfg(unix)]
fn a_disk_that_fills_up_mid_append_took_exactly_what_was_reported(setup: &Setup) {
    if !setup.is_own_process_with_mounts() {
        return;
    }
    for (name, options) in kinds_of_write() {
        let Some(disk) = setup.mount("tmpfs", &format!("size={ROOM}")) else {
            // Where nothing can be mounted, a limit of the process stands in for the end of the disk.
            return a_file_at_its_size_limit_took_exactly_what_was_reported(setup);
        };
        let ballast = disk.join("ballast");
        fs::write(&ballast, vec![0; 100 << 10]).unwrap();
        fill(setup, &disk.join(name), options, libc::ENOSPC, || fs::remove_file(ballast).unwrap());
    }
}

#[cfg(windows)]
fn a_drive_that_fills_up_took_exactly_what_was_reported(setup: &Setup) {
    const ERROR_DISK_FULL: i32 = 112;
    let drive = Path::new(crate::setup::SMALL_DRIVE);
    for (name, options) in kinds_of_write() {
        let ballast = drive.join("ballast");
        fs::write(&ballast, vec![0; 100 << 10]).unwrap();
        fill(setup, &drive.join(name), options, ERROR_DISK_FULL, || fs::remove_file(ballast).unwrap());
        fs::remove_file(drive.join(name)).unwrap();
    }
    // A file with holes, which is as long as it is but for the room: what is written inside it is the port's to tell of.
    let scheduler = setup.scheduler();
    let path = drive.join("holes");
    let file = scheduler.io().open(&path, Mode::ReadWrite).wait().unwrap();
    file.truncate(3 * ROOM).wait().unwrap();
    let large = file.write_at(vec![7; 2 * ROOM as usize], 0).submit().unwrap();
    let behind = file.write_at(vec![8; 10], 5).submit().unwrap();
    let failed = large.wait().unwrap_err();
    assert_eq!(failed.error.os_code(), Some(ERROR_DISK_FULL), "{failed}");
    // A positioned write breaks nothing but itself.
    behind.wait().unwrap();
    let moved = failed.moved.bytes() as usize;
    let bytes = file.read_exact_at(vec![0; moved.max(15)], 0).wait().unwrap().1;
    assert!(bytes[..5] == [7; 5] && bytes[5..15] == [8; 10] && bytes[15..].iter().all(|byte| *byte == 7));
    file.close().wait().unwrap();
    fs::remove_file(path).unwrap();
}

#[cfg(unix)]
fn a_file_at_its_size_limit_took_exactly_what_was_reported(setup: &Setup) {
    if !setup.is_own_process() {
        return;
    }
    // SAFETY: without it the write that meets the limit would end the process (see setrlimit(2)).
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    for (name, options) in kinds_of_write() {
        let limit = Limit::set(libc::RLIMIT_FSIZE, ROOM);
        fill(setup, &setup.path(name), options, libc::EFBIG, || drop(limit));
        // A positioned write breaks nothing but itself.
        let _limit = Limit::set(libc::RLIMIT_FSIZE, ROOM);
        let path = setup.file("positioned", &[1; ROOM as usize - 2000]);
        let scheduler = setup.scheduler();
        let file = scheduler.io().open(&path, Mode::ReadWrite).wait().unwrap();
        let past = file.write_at(vec![7; 3000], ROOM - 1000).submit().unwrap();
        let within = file.write_at(vec![8; 1000], 0).submit().unwrap();
        let behind = file.write_at(vec![9; 10], ROOM - 1010).submit().unwrap();
        let failed = past.wait().unwrap_err();
        assert_eq!((failed.error.os_code(), failed.moved), (Some(libc::EFBIG), Moved::Bytes(1000)));
        within.wait().unwrap();
        behind.wait().unwrap();
        let bytes = fs::read(path).unwrap();
        assert_eq!((bytes.len() as u64, bytes[0], bytes[bytes.len() - 1001]), (ROOM, 8, 9));
        assert!(bytes.ends_with(&[7; 1000]));
    }
}

#[cfg(unix)]
fn a_full_device_takes_nothing_and_says_so(setup: &Setup) {
    let scheduler = setup.scheduler();
    let device = scheduler.io().open("/dev/full", OpenOptions::new().write(true)).wait().unwrap();
    // Where the first fails at once, the others are refused at once.
    let writes: Vec<_> = (0..5).map(|_| device.write(vec![1; 100]).submit()).collect();
    for (number, write) in writes.into_iter().enumerate() {
        let failed = write.and_then(corella::Status::wait).unwrap_err();
        match number {
            0 => assert_eq!((failed.error.os_code(), failed.moved), (Some(libc::ENOSPC), Moved::Bytes(0))),
            _ => assert_eq!((failed.error.kind(), failed.moved), (ErrorKind::LaneBroken, Moved::NotStarted)),
        }
    }
}

/// This process's descriptors and what they are of, looked at without one more.
#[cfg(unix)]
fn descriptors() -> Vec<String> {
    let of = |number| fs::read_link(format!("/proc/self/fd/{number}")).ok();
    (0..100).filter_map(|number| of(number).map(|path| format!("{number}: {}", path.display()))).collect()
}

/// The lowest number that no descriptor has. Right only while no thread begins: glibc has each read the number of
/// processors from a file, at its first allocation.
#[cfg(unix)]
fn lowest_free() -> u64 {
    use std::os::fd::AsRawFd;
    fs::File::open("/dev/null").unwrap().as_raw_fd() as u64
}

/// Leaves this process no descriptor to open, which has all below this number.
#[cfg(unix)]
fn without_descriptors(free: u64) -> Limit {
    Limit::set(libc::RLIMIT_NOFILE, free)
}

#[cfg(unix)]
fn descriptors_that_run_out_are_an_error_and_nothing_is_lost_for_it(setup: &Setup) {
    if !setup.is_own_process() {
        return;
    }
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let path = setup.file("data", b"content");
    let listener = io.listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_address().unwrap();
    let clients: Vec<_> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
    // Before the pool has any threads.
    let free = lowest_free();
    for round in 0..10 {
        // What was dropped before is closed by then.
        scheduler.run().unwrap();
        let lack = without_descriptors(free);
        let before = descriptors();
        let text = match io.open(&path, Mode::Read).wait() {
            Err(error) => error.to_string(),
            Ok(file) => panic!("round {round}: {file:?} found room: {before:?}, now {:?}", descriptors()),
        };
        assert_eq!(text, format!("open for reading of {}: Too many open files (os error 24)", path.display()));
        assert_eq!(io.connect(address).wait().unwrap_err().os_code(), Some(libc::EMFILE));
        assert_eq!(io.listen(address).unwrap_err().os_code(), Some(libc::EMFILE));
        assert_eq!(listener.accept().wait().unwrap_err().os_code(), Some(libc::EMFILE));
        // Several at once, and what needs none goes on.
        let opens: Vec<_> = (0..20).map(|_| io.open(&path, Mode::Read).submit().unwrap()).collect();
        assert_eq!(io.stat(&path).wait().unwrap().size, 7);
        for open in opens {
            assert_eq!(open.wait().unwrap_err().os_code(), Some(libc::EMFILE));
        }
        drop(lack);
        let file = io.open(&path, Mode::Read).wait().unwrap();
        assert_eq!(file.read_at(vec![0; 7], 0).wait().unwrap().1, b"content");
        if round < clients.len() {
            let accepted = listener.accept().wait().unwrap();
            assert_eq!(accepted.peer_address().unwrap(), clients[round].local_addr().unwrap());
        }
    }
    scheduler.run().unwrap();
    assert!(scheduler.outstanding().is_empty());
}

#[cfg(unix)]
fn a_stream_of_connections_without_descriptors_does_not_spin_and_goes_on_once_there_are_some(setup: &Setup) {
    if !setup.is_own_process() {
        return;
    }
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let listener = io.listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_address().unwrap();
    let mut client = TcpStream::connect(address).unwrap();
    let lack = without_descriptors(lowest_free());
    let errors = Rc::new(Cell::new(0));
    let counted = Rc::clone(&errors);
    let mut incoming = listener.incoming();
    // As servers do it: what fails is told and forgotten.
    let server = io.spawn(async move {
        loop {
            match incoming.next().await.unwrap() {
                Ok(connection) => return connection,
                Err(error) => assert_eq!(error.os_code(), Some(libc::EMFILE)),
            }
            counted.set(counted.get() + 1);
        }
    });
    let used = processor_time();
    io.sleep(Duration::from_millis(300)).wait().unwrap();
    let used = processor_time() - used;
    assert!(errors.get() > 0, "the descriptors had not run out");
    // Its pauses of 5, 10, 20, 40, 80 and 160 ms are more than that.
    assert!(errors.get() <= 7 && used < Duration::from_millis(150), "{} errors in {used:?}", errors.get());
    drop(lack);
    let accepted = scheduler.block_on(server.unwrap()).unwrap().unwrap();
    assert_eq!(accepted.peer_address().unwrap(), client.local_addr().unwrap());
    client.write_all(b"hello").unwrap();
    assert_eq!(accepted.recv_exact(vec![0; 5]).wait().unwrap().1, b"hello");
}

#[cfg(unix)]
fn threads_stay_within_their_limit_with_ten_thousand_requests_of_every_kind_in_flight(setup: &Setup) {
    const REQUESTS: u64 = 10_000;
    const POOL: usize = 4;
    if !setup.is_own_process() {
        return;
    }
    let count_threads = || fs::read_dir("/proc/self/task").unwrap().count();
    let (most, is_over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let observer = {
        let (most, is_over) = (Arc::clone(&most), Arc::clone(&is_over));
        std::thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                most.fetch_max(count_threads(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_micros(500));
            }
        })
    };
    let before = count_threads();
    let mut scheduler = setup.builder().pool_threads(POOL).queue_depth(1 << 20).build().unwrap();
    let io = scheduler.io();
    let (idle, _silent) = setup.connection(&io);
    let (full, _slow) = setup.connection(&io);
    let listener = io.listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let fifo = crate::lanes::make_fifo(setup);
    let path = setup.file("data", &[1; 4096]);
    let files: Vec<_> = (0..100).map(|_| io.open(&path, Mode::ReadWrite).wait().unwrap()).collect();
    let (link, folder, missing) = (setup.path("link"), setup.path("folder"), setup.path("missing"));
    for _ in 0..REQUESTS {
        // These wait for good.
        idle.recv(vec![0; 1]).then(drop).unwrap();
        full.send(vec![0; 4096]).then(drop).unwrap();
        listener.accept().then(drop).unwrap();
        io.sleep(Duration::from_secs(1000)).then(drop).unwrap();
    }
    let (settled, expected) = (Rc::new(Cell::new(0)), Cell::new(0));
    // A macro, as each kind has another outcome.
    macro_rules! counted {
        ($($operation:expr),* $(,)?) => {{
            $(
                let count = Rc::clone(&settled);
                $operation.then(move |_| count.set(count.get() + 1)).unwrap();
                expected.set(expected.get() + 1);
            )*
        }};
    }
    let submit_all = || {
        for number in 0..REQUESTS {
            let file = &files[number as usize % files.len()];
            counted![
                file.read_at(vec![0; 16], number % 4096),
                file.write_at(vec![1; 16], number % 4080),
                file.sync_data(),
                file.stat(),
                io.stat(&path),
                io.open(&path, Mode::Read),
                io.rename(&missing, &link),
                io.unlink(&missing),
                io.make_directory(&folder),
                io.symbolic_link(&path, &link),
                io.hard_link(&missing, &link),
                io.read_link(&link),
                io.resolve("127.0.0.1", 80),
            ];
        }
    };
    submit_all();
    let start = Instant::now();
    while settled.get() < expected.get() {
        scheduler.turn(Duration::from_millis(5)).unwrap();
        assert!(start.elapsed() < Duration::from_secs(40), "{} of {}", settled.get(), expected.get());
    }
    // Each of these takes a thread for good, as nobody reads; and then all the others behind them.
    for _ in 0..REQUESTS {
        io.open(&fifo, OpenOptions::new().write(true)).then(drop).unwrap();
    }
    submit_all();
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(300) {
        scheduler.turn(Duration::from_millis(5)).unwrap();
    }
    is_over.store(true, Ordering::Relaxed);
    observer.join().unwrap();
    let most = most.load(Ordering::Relaxed) - before;
    let limit = match scheduler.backend() {
        // The kernel's own workers, of which it has two sorts and some more for opens, and the pool for what the ring
        // cannot do.
        BackendKind::Uring => 5 * POOL + 64,
        // Three crews; only what is given up while a thread is at it is made up for, up to 64.
        _ => 3 * POOL,
    };
    // The observer may be one of them.
    assert!(most > 1 && most <= limit + 1, "{most} threads");
}
