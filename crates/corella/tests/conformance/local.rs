//! What stays on one machine: connections of the Unix domain, pairs of sockets, pipes.

use std::io::{Read, Write};
#[cfg(unix)]
use std::os::fd::AsRawFd;
#[cfg(unix)]
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use corella::{Address, Detached, ErrorKind, Shutdown, UnixAddress};

use crate::codes;
use crate::promises;
use crate::setup::Setup;

promises![
    #[cfg(unix)]
    a_connection_at_a_path_carries_bytes_both_ways_and_ends,
    #[cfg(unix)]
    a_connection_at_an_abstract_name_needs_no_file,
    #[cfg(unix)]
    many_clients_of_one_path_are_accepted_each_with_its_own_bytes,
    #[cfg(unix)]
    a_connect_to_a_listener_without_room_waits_and_can_be_stopped,
    #[cfg(unix)]
    a_connect_to_nobody_is_an_error_that_names_the_path,
    an_address_that_cannot_be_is_refused_before_anything_begins,
    #[cfg(unix)]
    an_address_of_the_unix_domain_is_none_of_the_internet_and_says_so,
    #[cfg(unix)]
    a_pair_of_sockets_is_a_connection_with_two_directions,
    #[cfg(unix)]
    a_connection_of_the_unix_domain_can_be_handed_over,
    a_pipe_carries_bytes_in_order_and_ends,
    a_pipe_that_nobody_reads_is_an_error_and_no_signal,
    a_full_pipe_holds_a_write_back_until_it_is_read_or_stopped,
    an_end_of_a_pipe_has_one_direction,
];

#[cfg(unix)]
fn a_connection_at_a_path_carries_bytes_both_ways_and_ends(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let path = setup.path("socket");
    let at = Address::from(UnixAddress::path(&path));
    let listener = io.listen_unix(&*path).unwrap();
    assert_eq!(listener.local_endpoint().unwrap(), at);
    let client = io.connect_unix(&*path).submit().unwrap();
    let server = listener.accept().wait().unwrap();
    let client = client.wait().unwrap();
    assert_eq!((client.peer_endpoint().unwrap(), server.local_endpoint().unwrap()), (at.clone(), at));
    assert_eq!(server.peer_endpoint().unwrap(), UnixAddress::unnamed().into());
    client.send(vec!["to ", "the server"]).wait().unwrap();
    assert_eq!(server.recv_exact(vec![0; 13]).wait().unwrap().1, b"to the server");
    server.send("back").wait().unwrap();
    server.shutdown(Shutdown::Write).wait().unwrap();
    assert_eq!(client.recv_to_end(Vec::new()).wait().unwrap().1, b"back");
    client.close().wait().unwrap();
    assert_eq!(server.recv(vec![0; 9]).wait().unwrap().0, 0);
    // The file stays, and is in the way of the next.
    listener.close().wait().unwrap();
    let error = io.listen_unix(&*path).unwrap_err();
    assert_eq!(error.to_string(), format!("listen of {}: Address already in use (os error 98)", path.display()));
}

#[cfg(unix)]
fn a_connection_at_an_abstract_name_needs_no_file(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let address = UnixAddress::abstract_name(format!("corella-{}-{}", std::process::id(), setup.name));
    let listener = io.listen_unix(address.clone()).unwrap();
    let client = io.connect_unix(address.clone()).submit().unwrap();
    let server = listener.accept().wait().unwrap();
    let client = client.wait().unwrap();
    assert_eq!(client.peer_endpoint().unwrap(), address.clone().into());
    client.send("hello").wait().unwrap();
    assert_eq!(server.recv_exact(vec![0; 5]).wait().unwrap().1, b"hello");
    // It goes with its socket, of which a child that is just being started somewhere may have a copy until it is.
    listener.close().wait().unwrap();
    let refused = loop {
        match io.connect_unix(address.clone()).wait() {
            Ok(_) => io.sleep(Duration::from_millis(1)).wait().unwrap(),
            Err(error) => break error,
        }
    };
    assert_eq!(refused.os_code(), Some(libc::ECONNREFUSED));
    io.listen_unix(address).unwrap();
}

#[cfg(unix)]
fn many_clients_of_one_path_are_accepted_each_with_its_own_bytes(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let path = setup.path("socket");
    let listener = io.listen_unix(&*path).unwrap();
    let mut incoming = listener.incoming();
    let clients = {
        let io = io.clone();
        io.clone()
            .spawn(async move {
                for number in 0..100u8 {
                    let client = io.connect_unix(&*path).await.unwrap();
                    client.send(vec![number; 1000]).await.unwrap();
                    assert_eq!(client.recv_to_end(Vec::new()).await.unwrap().1, vec![number; 1000]);
                }
            })
            .unwrap()
    };
    io.spawn(async move {
        while let Some(Ok(connection)) = incoming.next().await {
            let (_, bytes) = connection.recv_exact(vec![0; 1000]).await.unwrap();
            connection.send(bytes).await.unwrap();
        }
    })
    .unwrap();
    scheduler.block_on(clients).unwrap().unwrap();
}

#[cfg(unix)]
fn a_connect_to_a_listener_without_room_waits_and_can_be_stopped(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let path = setup.path("socket");
    let listener = UnixListener::bind(&path).unwrap();
    // SAFETY: makes the queue of a socket of our own shorter.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 1) }, 0);
    let mut waiting: Vec<UnixStream> = Vec::new();
    // As many as there is room for: those that connect at once.
    let stuck = loop {
        assert!(waiting.len() < 100, "there is room without end");
        match io.connect_unix(&*path).deadline(Duration::from_millis(100)).wait() {
            Ok(socket) => waiting.push(UnixStream::from(socket.detach().unwrap().into_parts().0)),
            Err(error) => break error,
        }
    };
    assert_eq!(stuck.kind(), ErrorKind::TimedOut, "{stuck}");
    let patient = io.connect_unix(&*path).submit().unwrap();
    let given_up = io.connect_unix(&*path).submit().unwrap();
    given_up.cancel();
    assert_eq!(given_up.wait().unwrap_err().kind(), ErrorKind::Cancelled);
    // Others are not kept waiting.
    let (one, other) = io.socket_pair().unwrap();
    one.send("x").wait().unwrap();
    other.recv(vec![0; 1]).wait().unwrap();
    assert!(!patient.is_settled());
    let accepted = listener.accept().unwrap().0;
    let socket = patient.wait().unwrap();
    // What a socket was set to before stays.
    let own = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    own.set_write_timeout(Some(Duration::from_secs(7))).unwrap();
    let own = io.adopt_socket(std::os::fd::OwnedFd::from(own)).unwrap();
    let connect = own.connect_unix(&*path).submit().unwrap();
    let also_accepted = listener.accept().unwrap();
    connect.wait().unwrap();
    let own = socket2::Socket::from(own.detach().unwrap().into_parts().0);
    assert_eq!(own.write_timeout().unwrap(), Some(Duration::from_secs(7)));
    drop((also_accepted, own));
    drop((accepted, socket, waiting));
}

#[cfg(unix)]
fn a_connect_to_nobody_is_an_error_that_names_the_path(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let path = setup.path("nobody");
    let error = io.connect_unix(&*path).wait().unwrap_err();
    let expected = format!("connect to {}: No such file or directory (os error 2)", path.display());
    assert_eq!(error.to_string(), expected);
    // Bound, but nobody listens.
    let silent = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    silent.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
    assert_eq!(io.connect_unix(&*path).wait().unwrap_err().os_code(), Some(libc::ECONNREFUSED));
    let file = setup.file("file", b"");
    assert_eq!(io.connect_unix(&*file).wait().unwrap_err().os_code(), Some(libc::ECONNREFUSED));
}

fn an_address_that_cannot_be_is_refused_before_anything_begins(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    for path in ["", "a\0b", &"x".repeat(200)] {
        let error = io.connect_unix(path).wait().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert_eq!(io.listen_unix(path).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    assert!(scheduler.outstanding().is_empty());
}

#[cfg(unix)]
fn an_address_of_the_unix_domain_is_none_of_the_internet_and_says_so(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let path = setup.path("socket");
    let listener = io.listen_unix(&*path).unwrap();
    let error = listener.local_address().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("it is not of the internet"), "{error}");
    let tcp = io.listen("127.0.0.1:0".parse().unwrap()).unwrap();
    assert_eq!(tcp.local_endpoint().unwrap(), tcp.local_address().unwrap().into());
}

#[cfg(unix)]
fn a_pair_of_sockets_is_a_connection_with_two_directions(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let (one, other) = io.socket_pair().unwrap();
    assert_eq!(one.local_endpoint().unwrap(), UnixAddress::unnamed().into());
    let receive = one.recv_exact(vec![0; 4]).submit().unwrap();
    // More than it takes at once.
    let long = one.send(vec![7; 4 << 20]).submit().unwrap();
    other.send("back").wait().unwrap();
    assert_eq!(receive.wait().unwrap().1, b"back");
    assert_eq!(other.recv_exact(vec![0; 4 << 20]).wait().unwrap().1, vec![7; 4 << 20]);
    assert_eq!(long.wait().unwrap().0, 4 << 20);
    drop(other);
    assert_eq!(one.recv(vec![0; 4]).wait().unwrap().0, 0);
    assert_eq!(one.send("x").wait().unwrap_err().error.os_code(), Some(libc::EPIPE));
}

#[cfg(unix)]
fn a_connection_of_the_unix_domain_can_be_handed_over(setup: &Setup) {
    let scheduler = setup.scheduler();
    let (one, other) = scheduler.io().socket_pair().unwrap();
    let detached = one.detach().unwrap();
    let mut stream = UnixStream::from(detached.into_parts().0);
    stream.set_nonblocking(false).unwrap();
    stream.write_all(b"from the standard library").unwrap();
    assert_eq!(other.recv(vec![0; 64]).wait().unwrap().0, 25);
    let second = setup.scheduler();
    let other = second.io().adopt_socket(other.detach().unwrap()).unwrap();
    other.send("from another scheduler").wait().unwrap();
    assert_eq!(stream.read(&mut [0; 64]).unwrap(), 22);
    let adopted = second.io().adopt_socket(Detached::from(std::os::fd::OwnedFd::from(stream))).unwrap();
    adopted.send("both").wait().unwrap();
    assert_eq!(other.recv(vec![0; 64]).wait().unwrap().0, 4);
}

fn a_pipe_carries_bytes_in_order_and_ends(setup: &Setup) {
    const LENGTH: usize = 2 << 20;
    let mut scheduler = setup.scheduler();
    let (reader, writer) = scheduler.io().pipe().unwrap();
    let bytes: Vec<u8> = (0..LENGTH).map(|place| (place / 3 % 253) as u8).collect();
    let writes: Vec<_> = bytes.chunks(50_000).map(|chunk| writer.write(chunk.to_vec()).submit().unwrap()).collect();
    drop(writer);
    let (count, received) = scheduler.block_on(reader.read_to_end(Vec::new())).unwrap().unwrap();
    assert_eq!(count, LENGTH);
    assert!(received == bytes);
    writes.into_iter().for_each(|write| assert!(write.wait().unwrap().0 > 0));
}

fn a_pipe_that_nobody_reads_is_an_error_and_no_signal(setup: &Setup) {
    let scheduler = setup.scheduler();
    let (reader, writer) = scheduler.io().pipe().unwrap();
    reader.close().wait().unwrap();
    // A child that is just being started somewhere may have a copy of the reader until it is.
    let failed = loop {
        match writer.write("nobody").wait() {
            Ok(_) => scheduler.io().sleep(Duration::from_millis(1)).wait().unwrap(),
            Err(failed) => break failed,
        }
    };
    assert_eq!(
        failed.error.to_string(),
        format!("write 6 bytes of a pipe: {}", codes::says("Broken pipe (os error 32)", 232))
    );
}

fn a_full_pipe_holds_a_write_back_until_it_is_read_or_stopped(setup: &Setup) {
    let scheduler = setup.scheduler();
    let (reader, writer) = scheduler.io().pipe().unwrap();
    let failed = writer.write(vec![1; 4 << 20]).deadline(Duration::from_millis(20)).wait().unwrap_err();
    assert_eq!(failed.error.kind(), ErrorKind::TimedOut);
    let moved = failed.moved.bytes() as usize;
    // Windows takes the bytes of one write together, and gives them back together.
    assert!((moved > 0 || cfg!(windows)) && moved < 4 << 20, "{moved}");
    drop(writer);
    assert_eq!(reader.read_to_end(Vec::new()).wait().unwrap().0, moved);
}

fn an_end_of_a_pipe_has_one_direction(setup: &Setup) {
    let scheduler = setup.scheduler();
    let (reader, writer) = scheduler.io().pipe().unwrap();
    assert_eq!(reader.write("x").wait().unwrap_err().error.os_code(), Some(codes::EBADF));
    assert_eq!(writer.read(vec![0; 1]).wait().unwrap_err().error.os_code(), Some(codes::EBADF));
    assert!(!reader.can_seek() && !writer.can_seek());
}
