//! What users hold: every kind of buffer, every call on files, names, sockets and descriptors that come and go.

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::{TcpListener, TcpStream};
#[cfg(unix)]
use std::os::fd::AsFd;
use std::time::Duration;

use corella::{BufferPool, ErrorKind, FileKind, Mode, OpenOptions, Scheduler, SliceOf, SpareCapacity};

use crate::codes;
use crate::promises;
use crate::setup::Setup;

promises![
    a_builder_keeps_all_that_it_was_told,
    every_mode_opens_as_it_says,
    every_kind_of_buffer_goes_in_and_comes_back,
    vectored_transfers_of_more_parts_than_one_call_takes_are_whole,
    reads_to_the_end_and_exact_reads_are_whole,
    allocate_and_truncate_change_the_length,
    names_are_made_moved_linked_and_removed,
    a_directory_is_read_as_a_stream,
    stat_says_what_a_path_is,
    #[cfg(unix)]
    device_files_and_pipes_are_files_too,
    a_file_past_the_page_cache_is_read_and_written,
    socket_options_are_set_and_read,
    a_connect_by_name_tries_every_address,
    adopted_descriptors_are_handed_back_with_what_was_received,
    a_clone_and_a_request_each_keep_a_handle_from_being_handed_back,
    an_accepted_socket_goes_to_another_threads_scheduler,
    #[cfg(unix)]
    a_shared_description_is_never_made_non_blocking,
    a_shared_file_goes_on_where_the_others_left_it,
];

fn a_builder_keeps_all_that_it_was_told(setup: &Setup) {
    let kind = setup.scheduler().backend();
    let first = Scheduler::builder().queue_depth(5).ring_entries(8).pool_threads(2).inbox_jobs(3).tasks(9).sleeps(7);
    let builder = first.tasks_per_turn(11).backend(kind).budget_per_poll(1, 1).mask_opcode(250).refuse_setup_flags(0);
    let limits = builder.limits();
    assert_eq!((limits.queue_depth, limits.ring_entries, limits.pool_threads), (5, 8, 2));
    assert_eq!((limits.inbox_jobs, limits.tasks, limits.sleeps), (3, 9, 7));
}

fn every_mode_opens_as_it_says(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let path = setup.path("data");
    assert_eq!(io.open(&path, Mode::Read).wait().unwrap_err().os_code(), Some(codes::ENOENT));
    io.open(&path, Mode::Write).wait().unwrap().write("first").wait().unwrap();
    io.open(&path, Mode::Append).wait().unwrap().write(" second").wait().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"first second");
    let both = io.open(&path, Mode::ReadWrite).wait().unwrap();
    both.write_at("F", 0).wait().unwrap();
    assert_eq!(both.read_to_end(Vec::new()).wait().unwrap().1, b"First second");
    let new = OpenOptions::new().write(true).create_new(true);
    assert_eq!(io.open(&path, new).wait().unwrap_err().os_code(), Some(codes::EEXIST));
    io.open(&path, Mode::Write).wait().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"");
}

fn every_kind_of_buffer_goes_in_and_comes_back(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let file = io.open(setup.path("data"), Mode::ReadWrite).wait().unwrap();
    assert_eq!(file.write_at(vec![b'a'; 2], 0).wait().unwrap(), (2, vec![b'a'; 2]));
    assert_eq!(file.write_at("static", 2).wait().unwrap().0, 6);
    assert_eq!(file.write_at(&b"bytes"[..], 8).wait().unwrap().0, 5);
    assert_eq!(file.write_at(String::from("string"), 13).wait().unwrap().1, "string");
    assert_eq!(file.write_at(b"box".to_vec().into_boxed_slice(), 19).wait().unwrap().0, 3);
    assert_eq!(file.write_at([vec![1u8; 2], vec![2; 3]], 22).wait().unwrap().0, 5);
    assert_eq!(file.write_at(Vec::<u8>::new(), 0).wait().unwrap().0, 0);
    assert_eq!(file.write_at(b"0123456789".to_vec().slice(2..5), 27).wait().unwrap().1.into_inner().len(), 10);
    let whole = b"aastaticbytesstringbox\x01\x01\x02\x02\x02234";
    assert_eq!(file.read_at(vec![0; 100], 0).wait().unwrap().1[..30], whole[..]);
    let (count, boxed) = file.read_at(vec![0; 8].into_boxed_slice(), 0).wait().unwrap();
    assert_eq!((count, &boxed[..]), (8, &b"aastatic"[..]));
    let (count, spare) = file.read_at(Vec::with_capacity(100).spare(), 8).wait().unwrap();
    assert_eq!((count, &spare.0[..5], spare.0.len()), (22, &b"bytes"[..], 22));
    let (_, more) = file.read_at(spare, 0).wait().unwrap();
    assert_eq!((more.0.len(), &more.0[22..30]), (52, &b"aastatic"[..]), "appended");
    let (_, parts) = file.read_at([vec![0; 2], vec![0; 6]], 0).wait().unwrap();
    assert_eq!(parts, [b"aa".to_vec(), b"static".to_vec()]);
    let (_, slice) = file.read_at(vec![b'.'; 6].slice(2..4), 0).wait().unwrap();
    assert_eq!(slice.into_inner(), b"..aa..");
    let pool = BufferPool::new(1, 16);
    let (count, pooled) = file.read_at(pool.take().unwrap(), 2).wait().unwrap();
    assert_eq!((count, &pooled[..6]), (16, &b"static"[..]));
    file.write_at(pooled, 0).wait().unwrap();
    assert!(pool.take().is_some());
    assert_eq!(file.read_at(Vec::<u8>::new(), 0).wait().unwrap(), (0, Vec::new()));
}

fn vectored_transfers_of_more_parts_than_one_call_takes_are_whole(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let file = scheduler.io().open(setup.path("data"), Mode::ReadWrite).wait().unwrap();
    let parts: Vec<Vec<u8>> = (0..300u32).map(|number| vec![number as u8; 1 + number as usize % 7]).collect();
    let total = parts.iter().map(Vec::len).sum::<usize>();
    let (count, parts) = scheduler.block_on(file.write_at(parts, 0)).unwrap().unwrap();
    assert_eq!(count, total);
    let empty: Vec<Vec<u8>> = parts.iter().map(|part| vec![255; part.len()]).collect();
    let (count, read) = scheduler.block_on(file.read_at(empty.clone(), 0)).unwrap().unwrap();
    assert_eq!((count, &read), (total, &parts));
    assert_eq!(file.read_at(empty, 0).wait().unwrap().1, parts);
}

fn reads_to_the_end_and_exact_reads_are_whole(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let content: Vec<u8> = (0..3_000_000u32).map(|place| (place % 251) as u8).collect();
    let file = scheduler.io().open(setup.file("data", &content), Mode::Read).wait().unwrap();
    let (count, bytes) = scheduler.block_on(file.read_to_end(b"before".to_vec())).unwrap().unwrap();
    assert!(count == content.len() && bytes[..6] == *b"before" && bytes[6..] == content);
    assert_eq!(file.read_to_end(Vec::new()).wait().unwrap().0, 0);
    assert_eq!(file.read_to_end_at(Vec::new(), 2_999_990).wait().unwrap().1, content[2_999_990..]);
    let (_, exact) = scheduler.block_on(file.read_exact_at(vec![0; 2_000_000], 7)).unwrap().unwrap();
    assert!(exact == content[7..2_000_007]);
    let failed = file.read_exact_at(vec![0; 20], 2_999_990).wait().unwrap_err();
    assert_eq!((failed.error.kind(), failed.moved.bytes()), (ErrorKind::UnexpectedEnd, 10));
    let (socket, mut peer) = setup.connection(&scheduler.io());
    let sent = content.clone();
    let thread = std::thread::spawn(move || peer.write_all(&sent).unwrap());
    let (_, bytes) = socket.recv_to_end(Vec::new()).wait().unwrap();
    thread.join().unwrap();
    assert!(bytes == content);
}

fn allocate_and_truncate_change_the_length(setup: &Setup) {
    let scheduler = setup.scheduler();
    let file = scheduler.io().open(setup.path("data"), Mode::ReadWrite).wait().unwrap();
    file.allocate(0, 100_000).wait().unwrap();
    let metadata = file.stat().wait().unwrap();
    assert!(metadata.size == 100_000 && metadata.allocated >= 100_000);
    file.truncate(10).wait().unwrap();
    assert_eq!(file.stat().wait().unwrap().size, 10);
    file.truncate(20).wait().unwrap();
    assert_eq!(file.read_to_end(Vec::new()).wait().unwrap().1, [0; 20]);
}

fn names_are_made_moved_linked_and_removed(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let (file, moved) = (setup.file("file", b"content"), setup.path("moved"));
    let (hard, soft, folder) = (setup.path("hard"), setup.path("soft"), setup.path("folder"));
    io.rename(&file, &moved).wait().unwrap();
    io.hard_link(&moved, &hard).wait().unwrap();
    io.symbolic_link("moved", &soft).wait().unwrap();
    assert_eq!(io.stat(&moved).wait().unwrap().links, 2);
    assert_eq!(io.read_link(&soft).wait().unwrap(), std::path::Path::new("moved"));
    assert_eq!(fs::read(&soft).unwrap(), b"content");
    io.make_directory(&folder).wait().unwrap();
    assert!(io.stat(&folder).wait().unwrap().is_directory());
    io.remove_directory(&folder).wait().unwrap();
    for path in [&moved, &hard, &soft] {
        io.unlink(path).wait().unwrap();
    }
    assert_eq!(io.unlink(&moved).wait().unwrap_err().os_code(), Some(codes::ENOENT));
}

fn a_directory_is_read_as_a_stream(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let folder = setup.path("many");
    fs::create_dir(&folder).unwrap();
    let mut expected: Vec<_> = (0..700).map(|number| format!("{number:03}")).collect();
    expected.iter().for_each(|name| fs::write(folder.join(name), b"").unwrap());
    fs::create_dir(folder.join("sub")).unwrap();
    expected.push("sub".into());
    let mut directory = io.read_directory(&folder).wait().unwrap();
    for _ in 0..2 {
        let mut names = Vec::new();
        loop {
            let batch = directory.next_entries().wait().unwrap();
            if batch.is_empty() {
                break;
            }
            assert!(batch.len() < 700, "in parts");
            for entry in batch {
                let is_sub = entry.name == "sub";
                assert_eq!(entry.kind, if is_sub { FileKind::Directory } else { FileKind::File });
                names.push(entry.name.into_string().unwrap());
            }
        }
        names.sort();
        assert_eq!(names, expected);
        directory.rewind();
    }
}

fn stat_says_what_a_path_is(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let path = setup.file("data", &[1; 1234]);
    let metadata = io.stat(&path).wait().unwrap();
    let standard = fs::metadata(&path).unwrap();
    assert_eq!((metadata.kind, metadata.size, metadata.is_file()), (FileKind::File, 1234, true));
    assert_eq!(metadata.modified, standard.modified().unwrap());
    let null = if cfg!(unix) { "/dev/null" } else { "NUL" };
    assert_eq!(io.stat(null).wait().unwrap().kind, FileKind::CharacterDevice);
    assert_eq!(io.stat(path.parent().unwrap()).wait().unwrap().kind, FileKind::Directory);
    // The same file by another name and by its handle, and another.
    io.hard_link(&path, setup.path("same")).wait().unwrap();
    let same = io.stat(setup.path("same")).wait().unwrap();
    assert_eq!((same.inode, same.device, same.links), (metadata.inode, metadata.device, 2));
    let file = io.open(&path, Mode::Read).wait().unwrap();
    assert_eq!(file.stat().wait().unwrap().inode, metadata.inode);
    assert_ne!(io.stat(setup.file("other", b"")).wait().unwrap().inode, metadata.inode);
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        assert_eq!((metadata.inode, metadata.device), (standard.ino(), standard.dev()));
        assert_eq!((metadata.user, metadata.permissions), (standard.uid(), standard.mode() & 0o7777));
        std::os::unix::fs::symlink(&path, setup.path("link")).unwrap();
        assert_eq!(io.stat(setup.path("link")).wait().unwrap().inode, standard.ino());
        assert_eq!(io.stat_link(setup.path("link")).wait().unwrap().kind, FileKind::SymbolicLink);
    }
}

#[cfg(unix)]
fn device_files_and_pipes_are_files_too(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let null = io.open("/dev/null", Mode::ReadWrite).wait().unwrap();
    assert_eq!(null.write("gone").wait().unwrap().0, 4);
    assert_eq!(null.read(vec![1; 4]).wait().unwrap().0, 0);
    let zero = io.open("/dev/zero", Mode::Read).wait().unwrap();
    assert_eq!(scheduler.block_on(zero.read_exact(vec![1; 100])).unwrap().unwrap().1, [0; 100]);
    let full = io.open("/dev/full", OpenOptions::new().write(true)).wait().unwrap();
    assert_eq!(full.write("no room").wait().unwrap_err().error.os_code(), Some(libc::ENOSPC));
    let (reader, writer) = crate::setup::pipe();
    let (reader, writer) = (io.adopt_file(reader, "pipe").unwrap(), io.adopt_file(writer, "pipe").unwrap());
    let pending = reader.read(vec![0; 10]).submit().unwrap();
    scheduler.poll().unwrap();
    assert!(!pending.is_settled());
    writer.write("through").wait().unwrap();
    let (count, bytes) = pending.wait().unwrap();
    assert_eq!(&bytes[..count], b"through");
    writer.close().wait().unwrap();
    assert_eq!(reader.read(vec![0; 1]).wait().unwrap().0, 0);
    let failed = reader.read_at(vec![0; 1], 0).wait().unwrap_err();
    assert_eq!(failed.error.os_code(), Some(codes::ESPIPE), "a pipe has no places");
}

fn a_file_past_the_page_cache_is_read_and_written(setup: &Setup) {
    let scheduler = setup.scheduler();
    let options = OpenOptions::new().read(true).write(true).create(true).direct(true);
    let file = match scheduler.io().open(setup.path("direct"), options).wait() {
        // A file system in memory has no device to go to.
        Err(error) if error.os_code() == Some(codes::EINVAL) => return,
        file => file.unwrap(),
    };
    // Aligned by taking what is aligned of more.
    let bytes = vec![5u8; 3 * 4096];
    let start = bytes.as_ptr().align_offset(4096);
    let aligned = bytes.slice(start..start + 8192);
    assert_eq!(file.write_at(aligned, 0).wait().unwrap().0, 8192);
    let bytes = vec![0u8; 3 * 4096];
    let start = bytes.as_ptr().align_offset(4096);
    let (count, read) = file.read_at(bytes.slice(start..start + 8192), 0).wait().unwrap();
    assert_eq!((count, &read.into_inner()[start..start + 8192]), (8192, &[5u8; 8192][..]));
}

fn socket_options_are_set_and_read(setup: &Setup) {
    let scheduler = setup.scheduler();
    let (socket, peer) = setup.connection(&scheduler.io());
    socket.set_no_delay(true).unwrap();
    assert!(socket.no_delay().unwrap());
    socket.set_keep_alive(true, Some(Duration::from_secs(60))).unwrap();
    socket.set_linger(Some(Duration::from_secs(1))).unwrap();
    socket.set_send_buffer(8192).unwrap();
    socket.set_receive_buffer(8192).unwrap();
    socket.set_time_to_live(30).unwrap();
    socket.set_reuse_address(true).unwrap();
    assert!(socket.take_error().unwrap().is_none());
    assert_eq!(socket.peer_address().unwrap(), peer.local_addr().unwrap());
    assert_eq!(socket.local_address().unwrap(), peer.peer_addr().unwrap());
    let bound = scheduler.io().socket("127.0.0.1:0".parse().unwrap()).unwrap();
    bound.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = bound.local_address().unwrap();
    let listener = bound.listen().unwrap();
    let client = TcpStream::connect(address).unwrap();
    assert_eq!(listener.accept().wait().unwrap().peer_address().unwrap(), client.local_addr().unwrap());
}

fn a_connect_by_name_tries_every_address(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let addresses = io.resolve("localhost", port).wait().unwrap();
    assert!(addresses.iter().any(|address| address.ip().is_loopback() && address.port() == port));
    // localhost may have an address of each family; only one of them is listened to.
    let socket = scheduler.block_on(io.connect_name("localhost", port)).unwrap().unwrap();
    assert_eq!(socket.peer_address().unwrap().port(), port);
    let status = io.connect_name("127.0.0.1", port).submit().unwrap();
    assert!(status.wait().is_ok());
    // A name that nobody listens at, and that nobody else gets meanwhile.
    let silent = io.socket(([127, 0, 0, 1], 0).into()).unwrap();
    silent.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let port = silent.local_address().unwrap().port();
    let error = io.connect_name("localhost", port).wait().unwrap_err();
    assert_eq!(error.os_code(), Some(codes::ECONNREFUSED), "{error}");
    let late = io.connect_name("localhost", port).deadline(Duration::ZERO).wait().unwrap_err();
    assert!(matches!(late.kind(), ErrorKind::TimedOut | ErrorKind::Os), "{late}");
}

fn a_clone_and_a_request_each_keep_a_handle_from_being_handed_back(setup: &Setup) {
    let scheduler = setup.scheduler();
    let (socket, _peer) = setup.connection(&scheduler.io());
    let clone = socket.clone();
    let (socket, error) = socket.detach().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    drop(clone);
    let receive = socket.recv(vec![0; 1]).submit().unwrap();
    let (socket, error) = socket.detach().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    receive.cancel();
    assert!(receive.wait().is_err());
    assert!(socket.detach().is_ok());
}

fn adopted_descriptors_are_handed_back_with_what_was_received(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let (socket, mut peer) = setup.connection(&scheduler.io());
    let mut dropped = socket.recv_exact(vec![0; 100]);
    let polled = std::future::poll_fn(|context| {
        std::task::Poll::Ready(std::pin::Pin::new(&mut dropped).poll(context).is_pending())
    });
    assert!(scheduler.block_on(polled).unwrap());
    peer.write_all(b"received").unwrap();
    for _ in 0..20 {
        scheduler.turn(Duration::from_millis(1)).unwrap();
    }
    let clone = socket.clone();
    let (socket, error) = socket.detach().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    drop(clone);
    drop(dropped);
    scheduler.run().unwrap();
    let detached = socket.detach().unwrap();
    assert_eq!(detached.received(), b"received");
    let again = scheduler.io().adopt_socket(detached).unwrap();
    assert_eq!(again.recv_exact(vec![0; 8]).wait().unwrap().1, b"received");
    let (mut standard, received) = again.into_std().unwrap();
    assert!(received.is_empty());
    // Blocking, as the standard library's are.
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(5));
        peer.write_all(b"!").unwrap();
    });
    let mut byte = [0; 1];
    standard.read_exact(&mut byte).unwrap();
    thread.join().unwrap();

    // A listener, with a connection that nobody waited for.
    let listener = scheduler.io().listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let mut accept = listener.accept();
    let polled = std::future::poll_fn(|context| {
        std::task::Poll::Ready(std::pin::Pin::new(&mut accept).poll(context).is_pending())
    });
    assert!(scheduler.block_on(polled).unwrap());
    scheduler.poll().unwrap();
    let client = TcpStream::connect(listener.local_address().unwrap()).unwrap();
    for _ in 0..20 {
        scheduler.turn(Duration::from_millis(1)).unwrap();
    }
    drop(accept);
    scheduler.run().unwrap();
    let detached = listener.detach().unwrap();
    let listener = scheduler.io().adopt_listener(detached).unwrap();
    let accepted = listener.accept().wait().unwrap();
    assert_eq!(accepted.peer_address().unwrap(), client.local_addr().unwrap());
}

fn an_accepted_socket_goes_to_another_threads_scheduler(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let listener = io.listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let mut client = TcpStream::connect(listener.local_address().unwrap()).unwrap();
    let detached = listener.accept().wait().unwrap().detach().unwrap();
    let builder = setup.builder();
    let thread = std::thread::spawn(move || {
        let mut other = builder.build().unwrap();
        let socket = other.io().adopt_socket(detached).unwrap();
        other
            .block_on(async {
                let (_, bytes) = socket.recv_exact(vec![0; 4]).await.unwrap();
                socket.send(bytes).await.unwrap();
            })
            .unwrap();
    });
    client.write_all(b"ping").unwrap();
    let mut bytes = [0; 4];
    client.read_exact(&mut bytes).unwrap();
    thread.join().unwrap();
    assert_eq!(&bytes, b"ping");
}

#[cfg(unix)]
fn a_shared_description_is_never_made_non_blocking(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let (reader, mut writer) = crate::setup::pipe();
    let ours = io.adopt_file(reader.try_clone().unwrap(), "pipe").unwrap();
    let pending = ours.read(vec![0; 4]).submit().unwrap();
    for _ in 0..5 {
        scheduler.poll().unwrap();
    }
    let flags = rustix::fs::fcntl_getfl(reader.as_fd()).unwrap();
    assert!(!flags.contains(rustix::fs::OFlags::NONBLOCK));
    writer.write_all(b"data").unwrap();
    assert_eq!(pending.wait().unwrap().1, b"data");
    // One that others made non-blocking is waited for all the same, and stays as it is.
    rustix::fs::fcntl_setfl(reader.as_fd(), flags | rustix::fs::OFlags::NONBLOCK).unwrap();
    let nonblocking = io.adopt_file(reader.try_clone().unwrap(), "pipe").unwrap();
    let pending = nonblocking.read(vec![0; 4]).submit().unwrap();
    for _ in 0..5 {
        scheduler.poll().unwrap();
    }
    assert!(!pending.is_settled());
    writer.write_all(b"more").unwrap();
    assert_eq!(pending.wait().unwrap().1, b"more");
    assert!(rustix::fs::fcntl_getfl(reader.as_fd()).unwrap().contains(rustix::fs::OFlags::NONBLOCK));
}

/// Runs this test program again as another process, with its standard streams redirected.
fn a_shared_file_goes_on_where_the_others_left_it(setup: &Setup) {
    let path = setup.path("output");
    let mut file = fs::File::create(&path).unwrap();
    file.write_all(b"before\n").unwrap();
    let input = setup.file("input", b"first\nsecond\n");
    let mut input = fs::File::open(input).unwrap();
    input.seek(SeekFrom::Start(6)).unwrap();
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .env("CORELLA_CHILD", setup.variant.name())
        .stdin(input.try_clone().unwrap())
        .stdout(file.try_clone().unwrap())
        .status()
        .unwrap();
    assert!(status.success());
    // The child's output came after ours, and moved the cursor that we share.
    file.write_all(b"after\n").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"before\nsecond\nafter\n");
    assert_eq!(input.stream_position().unwrap(), 13);
}

/// What the other process does: copies its standard input to its standard output.
pub fn run_child(variant: &str) {
    let builder = corella::Scheduler::builder();
    let builder = match variant {
        "uring" => builder.backend(corella::BackendKind::Uring),
        _ if cfg!(windows) => builder,
        _ => builder.backend(corella::BackendKind::Portable),
    };
    let scheduler = builder.build().unwrap();
    let io = scheduler.io();
    let (_, bytes) = io.stdin().unwrap().read_to_end(Vec::new()).wait().unwrap();
    io.stdout().unwrap().write(bytes).wait().unwrap();
    io.stderr().unwrap().write("").wait().unwrap();
}
