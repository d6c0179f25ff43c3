//! Datagrams: whole or not at all, one by one, each with its sender.

use std::net::{SocketAddr, UdpSocket};
#[cfg(unix)]
use std::os::unix::net::UnixDatagram;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use corella::{Address, DatagramSocket, ErrorKind, Io, Moved, Scheduler, SpareCapacity, UnixAddress};

use crate::codes;
use crate::promises;
use crate::setup::Setup;

promises![
    a_datagram_arrives_whole_and_tells_its_sender,
    a_datagram_longer_than_its_buffer_is_cut_off_and_tells_its_size,
    an_empty_datagram_is_one_and_an_empty_buffer_takes_one,
    a_list_of_buffers_is_one_datagram,
    sends_submitted_at_once_stay_datagrams_and_keep_their_order,
    receives_submitted_at_once_get_a_datagram_each_in_order,
    each_ending_gives_a_datagram,
    a_connected_socket_hears_its_peer_only_and_that_nobody_is_there,
    a_receive_is_told_of_a_datagram_that_reached_nobody_before_it,
    a_datagram_to_nobody_fails_no_later_receive_of_a_socket_without_a_peer,
    a_datagram_too_long_for_the_network_is_an_error_and_breaks_nothing,
    a_receive_of_datagrams_ends_by_cancel_deadline_and_close,
    a_close_sends_the_datagrams_before_it,
    a_datagram_for_a_dropped_future_goes_to_the_next_receive_with_its_sender,
    datagrams_that_come_back_reach_a_waiting_receive_in_order,
    receives_cancelled_as_datagrams_arrive_lose_none_and_split_none,
    a_socket_handed_back_brings_the_datagrams_that_nobody_took,
    #[cfg(unix)]
    datagrams_between_unix_sockets_tell_paths_and_names,
    #[cfg(unix)]
    a_send_to_a_full_unix_socket_waits_and_can_be_stopped,
    what_no_datagram_can_be_is_refused_with_its_buffer,
    datagram_errors_name_operation_and_target,
];

/// Polls a future once, with the scheduler's own waker.
fn poll_once<F: Future + Unpin>(scheduler: &mut Scheduler, future: &mut F) -> Poll<F::Output> {
    scheduler.block_on(std::future::poll_fn(|context| Poll::Ready(Pin::new(&mut *future).poll(context)))).unwrap()
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// A socket of Corella's and one of the standard library's, which know each other's addresses.
fn udp(io: &Io) -> (DatagramSocket, UdpSocket) {
    let socket = io.bind_datagrams(loopback()).unwrap();
    let peer = UdpSocket::bind(loopback()).unwrap();
    (socket, peer)
}

fn internet(socket: &DatagramSocket) -> SocketAddr {
    socket.local_address().unwrap().as_internet().unwrap()
}

/// How many short datagrams may be on their way between two such sockets, so that none is lost: a sender of the Unix
/// domain waits, and one of the network's goes on where there is no room.
const ON_THE_WAY_MAX: usize = 100;

/// One of two connected sockets, the standard library's.
#[cfg(unix)]
type Peer = UnixDatagram;
#[cfg(windows)]
type Peer = UdpSocket;

/// Two connected sockets: one of Corella's, one of the standard library's.
#[cfg(unix)]
fn pair(io: &Io) -> (DatagramSocket, Peer) {
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    (io.adopt_datagrams(ours).unwrap(), theirs)
}

/// Two connected sockets: one of Corella's, one of the standard library's.
#[cfg(windows)]
fn pair(io: &Io) -> (DatagramSocket, Peer) {
    let (ours, theirs) = udp(io);
    theirs.connect(internet(&ours)).unwrap();
    ours.connect(theirs.local_addr().unwrap()).wait().unwrap();
    (ours, theirs)
}

fn a_datagram_arrives_whole_and_tells_its_sender(setup: &Setup) {
    let scheduler = setup.scheduler();
    let (socket, peer) = udp(&scheduler.io());
    let (count, _) = socket.send_to("from here", peer.local_addr().unwrap()).wait().unwrap();
    assert_eq!(count, 9);
    let mut buffer = [0; 64];
    let (count, sender) = peer.recv_from(&mut buffer).unwrap();
    assert_eq!((&buffer[..count], sender), (&b"from here"[..], internet(&socket)));
    for text in ["a", "longer than that"] {
        peer.send_to(text.as_bytes(), internet(&socket)).unwrap();
        let datagram = socket.recv_from(vec![0; 64]).wait().unwrap();
        assert_eq!(&datagram.buffer[..datagram.count], text.as_bytes());
        assert_eq!((datagram.size, datagram.is_truncated()), (Some(text.len()), false));
        assert_eq!(datagram.sender, Address::from(peer.local_addr().unwrap()));
    }
    let later = std::thread::spawn({
        let to = internet(&socket);
        move || {
            std::thread::sleep(Duration::from_millis(20));
            peer.send_to(b"late", to).unwrap()
        }
    });
    let datagram = socket.recv_from(Vec::with_capacity(64).spare()).wait().unwrap();
    assert_eq!(datagram.buffer.0, b"late");
    later.join().unwrap();
    let six = scheduler.io().bind_datagrams(SocketAddr::from(([0u16; 8], 0)));
    // A machine may be without it.
    if let Ok(six) = six {
        let to = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, internet(&six).port()));
        if six.send_to("to myself", to).wait().is_ok() {
            assert_eq!(six.recv_from(vec![0; 64]).wait().unwrap().sender, Address::from(to));
        }
    }
}

fn a_datagram_longer_than_its_buffer_is_cut_off_and_tells_its_size(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let (socket, peer) = udp(&io);
    let (connected, theirs) = pair(&io);
    // Waiting already, and there already.
    for waits in [true, false] {
        let receives =
            waits.then(|| [&socket, &connected].map(|socket| socket.recv_from(vec![0; 4]).submit().unwrap()));
        peer.send_to(b"0123456789", internet(&socket)).unwrap();
        theirs.send(b"0123456789").unwrap();
        let datagrams = match receives {
            Some(receives) => receives.map(|receive| receive.wait().unwrap()),
            None => [&socket, &connected].map(|socket| socket.recv_from(vec![0; 4]).wait().unwrap()),
        };
        for datagram in datagrams {
            assert_eq!((datagram.count, datagram.size, datagram.is_truncated()), (4, Some(10), true));
            assert_eq!(datagram.buffer, b"0123");
        }
        // Its rest is gone, and the next is the next.
        peer.send_to(b"next", internet(&socket)).unwrap();
        theirs.send(b"next").unwrap();
        for socket in [&socket, &connected] {
            let datagram = socket.recv_from(vec![0; 64]).wait().unwrap();
            assert_eq!((&datagram.buffer[..4], datagram.size), (&b"next"[..], Some(4)));
        }
    }
}

fn an_empty_datagram_is_one_and_an_empty_buffer_takes_one(setup: &Setup) {
    let scheduler = setup.scheduler();
    let (socket, peer) = udp(&scheduler.io());
    let to = internet(&socket);
    peer.send_to(b"", to).unwrap();
    let empty = socket.recv_from(vec![7; 4]).wait().unwrap();
    assert_eq!((empty.count, empty.size, empty.buffer), (0, Some(0), vec![7; 4]));
    peer.send_to(b"unseen", to).unwrap();
    peer.send_to(b"seen", to).unwrap();
    let unseen = socket.recv_from(Vec::<u8>::new()).wait().unwrap();
    assert_eq!((unseen.count, unseen.size), (0, Some(6)));
    assert_eq!(socket.recv_from(vec![0; 9]).wait().unwrap().size, Some(4));
    socket.send_to("", peer.local_addr().unwrap()).wait().unwrap();
    socket.send_to("after", peer.local_addr().unwrap()).submit().unwrap().wait().unwrap();
    let mut buffer = [0; 9];
    assert_eq!(peer.recv(&mut buffer).unwrap(), 0);
    assert_eq!(peer.recv(&mut buffer).unwrap(), 5);
}

fn a_list_of_buffers_is_one_datagram(setup: &Setup) {
    let scheduler = setup.scheduler();
    let (socket, peer) = udp(&scheduler.io());
    let list = vec!["one ", "", "and ", "two"];
    assert_eq!(socket.send_to(list, peer.local_addr().unwrap()).submit().unwrap().wait().unwrap().0, 11);
    let mut buffer = [0; 64];
    assert_eq!(peer.recv(&mut buffer).unwrap(), 11);
    assert_eq!(&buffer[..11], b"one and two");
    for text in ["0123456", "012345678901"] {
        let receive = socket.recv_from([vec![0; 4], vec![0; 6]]).submit().unwrap();
        peer.send_to(text.as_bytes(), internet(&socket)).unwrap();
        let datagram = receive.wait().unwrap();
        assert_eq!((datagram.count, datagram.size), (text.len().min(10), Some(text.len())));
        assert_eq!(datagram.buffer.concat()[..datagram.count], text.as_bytes()[..datagram.count]);
    }
    // As many as there may be.
    socket.send_to(vec!["x"; 64], peer.local_addr().unwrap()).wait().unwrap();
    assert_eq!(peer.recv(&mut buffer).unwrap(), 64);
}

fn sends_submitted_at_once_stay_datagrams_and_keep_their_order(setup: &Setup) {
    let scheduler = setup.scheduler();
    let (socket, peer) = pair(&scheduler.io());
    let sends: Vec<_> = (0..ON_THE_WAY_MAX)
        .map(|number| socket.send(format!("{number}").repeat(1 + number % 5)).submit().unwrap())
        .collect();
    let reader = std::thread::spawn(move || {
        for number in 0..ON_THE_WAY_MAX {
            let mut buffer = [0; 64];
            let count = peer.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..count], format!("{number}").repeat(1 + number % 5).as_bytes());
        }
    });
    for send in sends {
        send.wait().unwrap();
    }
    reader.join().unwrap();
}

fn receives_submitted_at_once_get_a_datagram_each_in_order(setup: &Setup) {
    let scheduler = setup.scheduler();
    let (socket, peer) = pair(&scheduler.io());
    let receives: Vec<_> = (0..100).map(|_| socket.recv_from(vec![0; 8]).submit().unwrap()).collect();
    let sender = std::thread::spawn(move || (0..100u8).for_each(|number| assert_eq!(peer.send(&[number]).unwrap(), 1)));
    for (number, receive) in (0..100u8).zip(receives) {
        let datagram = receive.wait().unwrap();
        assert_eq!((datagram.count, datagram.buffer[0]), (1, number));
    }
    sender.join().unwrap();
}

fn each_ending_gives_a_datagram(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let io = scheduler.io();
    let (one, other) = (io.bind_datagrams(loopback()).unwrap(), io.bind_datagrams(loopback()).unwrap());
    let (from, to) = (one.local_address().unwrap(), other.local_address().unwrap());
    let (sender, receiver) = std::sync::mpsc::channel();
    other.recv_from(vec![0; 9]).then(move |outcome| sender.send(outcome.unwrap()).unwrap()).unwrap();
    let awaited = {
        let (one, other, to) = (one.clone(), other.clone(), to.clone());
        scheduler
            .block_on(async move {
                one.send_to("then", to.clone()).await.unwrap();
                one.send_to("await", to).await.unwrap();
                other.recv_from(vec![0; 9]).await.unwrap()
            })
            .unwrap()
    };
    let called = receiver.try_recv().unwrap();
    one.send_to("wait", to.clone()).wait().unwrap();
    let waited = other.recv_from(vec![0; 9]).wait().unwrap();
    let status = other.recv_from(vec![0; 9]).submit().unwrap();
    one.send_to("submit", to).wait().unwrap();
    let submitted = status.wait().unwrap();
    for (datagram, text) in [(called, "then"), (awaited, "await"), (waited, "wait"), (submitted, "submit")] {
        assert_eq!(&datagram.buffer[..datagram.count], text.as_bytes());
        assert_eq!(datagram.sender, from);
    }
}

fn a_connected_socket_hears_its_peer_only_and_that_nobody_is_there(setup: &Setup) {
    let scheduler = setup.scheduler();
    let (socket, peer) = udp(&scheduler.io());
    let stranger = UdpSocket::bind(loopback()).unwrap();
    let code = socket.send("x").wait().unwrap_err().error.os_code();
    assert!(codes::EDESTADDRREQ.contains(&code.unwrap()), "{code:?}");
    socket.connect(peer.local_addr().unwrap()).wait().unwrap();
    assert_eq!(socket.peer_address().unwrap(), Address::from(peer.local_addr().unwrap()));
    stranger.send_to(b"stranger", internet(&socket)).unwrap();
    peer.send_to(b"peer", internet(&socket)).unwrap();
    assert_eq!(socket.recv_from(vec![0; 9]).wait().unwrap().size, Some(4));
    assert_eq!(socket.send("answer").wait().unwrap().0, 6);
    let mut buffer = [0; 9];
    assert_eq!(peer.recv(&mut buffer).unwrap(), 6);
    // Where no port is given out, and nobody ever was.
    socket.connect(SocketAddr::from(([127, 7, 7, 7], 1))).wait().unwrap();
    let receive = socket.recv_from(vec![0; 9]).submit().unwrap();
    socket.send("anybody?").wait().unwrap();
    let failed = receive.wait().unwrap_err();
    assert_eq!((failed.error.os_code(), failed.buffer.len()), (Some(codes::ECONNREFUSED), 9));
    // It goes on with another peer.
    socket.connect(stranger.local_addr().unwrap()).wait().unwrap();
    socket.send("found").wait().unwrap();
    assert_eq!(stranger.recv(&mut buffer).unwrap(), 5);
}

fn a_receive_is_told_of_a_datagram_that_reached_nobody_before_it(setup: &Setup) {
    let scheduler = setup.scheduler();
    let (socket, peer) = udp(&scheduler.io());
    // Where no port is given out, and nobody ever was.
    socket.connect(SocketAddr::from(([127, 7, 7, 7], 1))).wait().unwrap();
    socket.send("anybody?").wait().unwrap();
    let failed = socket.recv_from(vec![7; 9]).wait().unwrap_err();
    assert_eq!((failed.error.os_code(), failed.buffer), (Some(codes::ECONNREFUSED), vec![7; 9]));
    // Once.
    socket.connect(peer.local_addr().unwrap()).wait().unwrap();
    peer.send_to(b"here", internet(&socket)).unwrap();
    assert_eq!(socket.recv_from(vec![0; 9]).wait().unwrap().count, 4);
}

fn a_datagram_to_nobody_fails_no_later_receive_of_a_socket_without_a_peer(setup: &Setup) {
    let scheduler = setup.scheduler();
    let (socket, peer) = udp(&scheduler.io());
    let waiting = socket.recv_from(vec![0; 9]).submit().unwrap();
    for _ in 0..3 {
        // Where no port is given out, and nobody ever was: word comes back that it is so.
        socket.send_to("anybody?", SocketAddr::from(([127, 7, 7, 7], 1))).wait().unwrap();
    }
    peer.send_to(b"first", internet(&socket)).unwrap();
    peer.send_to(b"second", internet(&socket)).unwrap();
    assert_eq!(waiting.wait().unwrap().size, Some(5));
    assert_eq!(socket.recv_from(vec![0; 9]).wait().unwrap().size, Some(6));
}

fn a_datagram_too_long_for_the_network_is_an_error_and_breaks_nothing(setup: &Setup) {
    let scheduler = setup.scheduler();
    let (socket, peer) = udp(&scheduler.io());
    let to = peer.local_addr().unwrap();
    let long = socket.send_to(vec![0; 70_000], to).submit().unwrap();
    let next = socket.send_to("next", to).submit().unwrap();
    let failed = long.wait().unwrap_err();
    assert_eq!(failed.error.os_code(), Some(codes::EMSGSIZE));
    assert_eq!((failed.moved.bytes(), failed.buffer.len()), (0, 70_000));
    next.wait().unwrap();
    let mut buffer = [0; 9];
    assert_eq!(peer.recv(&mut buffer).unwrap(), 4);
}

fn a_receive_of_datagrams_ends_by_cancel_deadline_and_close(setup: &Setup) {
    let scheduler = setup.scheduler();
    let (socket, peer) = udp(&scheduler.io());
    let failed = socket.recv_from(vec![3; 4]).deadline(Duration::from_millis(2)).wait().unwrap_err();
    assert_eq!((failed.error.kind(), failed.moved, failed.buffer), (ErrorKind::TimedOut, Moved::Bytes(0), vec![3; 4]));
    let cancelled = socket.recv_from(vec![0; 4]).submit().unwrap();
    cancelled.cancel();
    assert_eq!(cancelled.wait().unwrap_err().error.kind(), ErrorKind::Cancelled);
    peer.send_to(b"whole", internet(&socket)).unwrap();
    assert_eq!(socket.recv_from(vec![0; 9]).wait().unwrap().count, 5);
    let closed = socket.recv_from(vec![0; 4]).submit().unwrap();
    socket.close().wait().unwrap();
    assert_eq!(closed.wait().unwrap_err().error.kind(), ErrorKind::Cancelled);
    assert_eq!(socket.recv_from(vec![0; 4]).wait().unwrap_err().error.kind(), ErrorKind::Closed);
    assert_eq!(socket.send("x").wait().unwrap_err().error.kind(), ErrorKind::Closed);
}

fn a_close_sends_the_datagrams_before_it(setup: &Setup) {
    let scheduler = setup.scheduler();
    let (socket, peer) = pair(&scheduler.io());
    let sends: Vec<_> = (0..100).map(|_| socket.send("x").submit().unwrap()).collect();
    let close = socket.close().submit().unwrap();
    let reader = std::thread::spawn(move || (0..100).for_each(|_| assert_eq!(peer.recv(&mut [0; 9]).unwrap(), 1)));
    close.wait().unwrap();
    reader.join().unwrap();
    sends.into_iter().for_each(|send| assert_eq!(send.wait().unwrap().0, 1));
}

fn a_datagram_for_a_dropped_future_goes_to_the_next_receive_with_its_sender(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let (socket, peer) = udp(&scheduler.io());
    let mut future = socket.recv_from(vec![0; 64]);
    assert!(poll_once(&mut scheduler, &mut future).is_pending());
    peer.send_to(b"0123456789", internet(&socket)).unwrap();
    // It settles, and nobody takes it.
    let probe = UdpSocket::bind(loopback()).unwrap();
    while scheduler.outstanding().iter().any(|request| request.at_os) {
        scheduler.poll().unwrap();
    }
    drop(future);
    probe.send_to(b"second", internet(&socket)).unwrap();
    // A buffer that is too short for it is told so.
    let first = socket.recv_from(vec![0; 4]).wait().unwrap();
    assert_eq!((&first.buffer[..], first.count, first.size), (&b"0123"[..], 4, Some(10)));
    assert_eq!(first.sender, Address::from(peer.local_addr().unwrap()));
    let second = socket.recv_from(vec![0; 64]).wait().unwrap();
    assert_eq!((second.size, second.sender), (Some(6), Address::from(probe.local_addr().unwrap())));
}

fn datagrams_that_come_back_reach_a_waiting_receive_in_order(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let (socket, peer) = pair(&scheduler.io());
    for waits in [false, true] {
        let mut statuses: Vec<_> = (0..3).map(|_| socket.recv_from(vec![0; 9]).submit().unwrap()).collect();
        for text in ["first", "second", "third"] {
            peer.send(text.as_bytes()).unwrap();
        }
        while !statuses.iter().all(|status| status.is_settled()) {
            scheduler.poll().unwrap();
        }
        let waiting = waits.then(|| socket.recv_from(vec![0; 9]).submit().unwrap());
        if !waits {
            // Given back in another order than they came in.
            statuses.reverse();
        }
        drop(statuses);
        let first = waiting.map(|waiting| waiting.wait().unwrap());
        let receive = || socket.recv_from(vec![0; 9]).wait().unwrap();
        for (datagram, text) in
            [first.unwrap_or_else(receive), receive(), receive()].iter().zip(["first", "second", "third"])
        {
            assert_eq!(&datagram.buffer[..datagram.count], text.as_bytes());
        }
    }
}

fn receives_cancelled_as_datagrams_arrive_lose_none_and_split_none(setup: &Setup) {
    const COUNT: u32 = 1000;
    let scheduler = setup.scheduler();
    let (socket, peer) = pair(&scheduler.io());
    let (window, taken) = std::sync::mpsc::sync_channel(ON_THE_WAY_MAX);
    let sender = std::thread::spawn(move || {
        for number in 0..COUNT {
            window.send(()).unwrap();
            peer.send(format!("{number}:{}", "x".repeat(number as usize % 50)).as_bytes()).unwrap();
        }
    });
    let mut next = 0;
    let mut given_up = 0;
    while next < COUNT {
        let receive = socket.recv_from(vec![0; 64]).submit().unwrap();
        match given_up % 3 {
            0 => receive.cancel(),
            // Detached: what it gets is the next one's.
            1 => {
                given_up += 1;
                drop(receive);
                continue;
            }
            _ => {}
        }
        given_up += 1;
        match receive.wait() {
            Ok(datagram) => {
                let text = String::from_utf8(datagram.buffer[..datagram.count].to_vec()).unwrap();
                assert_eq!(text, format!("{next}:{}", "x".repeat(next as usize % 50)));
                next += 1;
                taken.recv().unwrap();
            }
            Err(failed) => assert_eq!(failed.error.kind(), ErrorKind::Cancelled),
        }
    }
    sender.join().unwrap();
}

fn a_socket_handed_back_brings_the_datagrams_that_nobody_took(setup: &Setup) {
    let mut scheduler = setup.scheduler();
    let (socket, peer) = pair(&scheduler.io());
    let mut future = socket.recv_from(vec![0; 9]);
    assert!(poll_once(&mut scheduler, &mut future).is_pending());
    peer.send(b"kept").unwrap();
    while scheduler.outstanding().iter().any(|request| request.at_os) {
        scheduler.poll().unwrap();
    }
    let (socket, error) = socket.into_std().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    drop(future);
    scheduler.poll().unwrap();
    let (descriptor, datagrams) = socket.into_std().unwrap();
    assert_eq!((datagrams.len(), &datagrams[0].buffer[..]), (1, &b"kept"[..]));
    let socket = Peer::from(descriptor);
    peer.send(b"goes on").unwrap();
    assert_eq!(socket.recv(&mut [0; 9]).unwrap(), 7);
    #[cfg(unix)]
    {
        let flags = rustix::fs::fcntl_getfl(&socket).unwrap();
        assert!(!flags.contains(rustix::fs::OFlags::NONBLOCK), "it is to block again: {flags:?}");
    }
}

#[cfg(unix)]
fn datagrams_between_unix_sockets_tell_paths_and_names(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let at = |name: &str| Address::from(UnixAddress::path(setup.path(name)));
    let name = format!("corella-{}-{}", std::process::id(), setup.name);
    let (first, second) = (io.bind_datagrams(at("first")).unwrap(), io.bind_datagrams(at("second")).unwrap());
    let named = io.bind_datagrams(UnixAddress::abstract_name(&name)).unwrap();
    let nameless = io.datagram_socket(UnixAddress::unnamed()).unwrap();
    assert_eq!((first.local_address().unwrap(), second.local_address().unwrap()), (at("first"), at("second")));
    assert_eq!(named.local_address().unwrap(), UnixAddress::abstract_name(&name).into());
    assert_eq!(nameless.local_address().unwrap(), UnixAddress::unnamed().into());
    for socket in [&second, &named, &nameless] {
        socket.send_to("hello", at("first")).wait().unwrap();
        let datagram = first.recv_from(vec![0; 9]).wait().unwrap();
        assert_eq!((datagram.sender, datagram.count), (socket.local_address().unwrap(), 5));
    }
    first.send_to("to a name", UnixAddress::abstract_name(&name)).wait().unwrap();
    assert_eq!(named.recv_from(vec![0; 9]).wait().unwrap().sender, at("first"));
    let refused = nameless.send_to("x", at("nobody")).wait().unwrap_err();
    assert_eq!(refused.error.os_code(), Some(codes::ENOENT));
    assert_eq!(io.bind_datagrams(at("first")).unwrap_err().os_code(), Some(codes::EADDRINUSE));
}

#[cfg(unix)]
fn a_send_to_a_full_unix_socket_waits_and_can_be_stopped(setup: &Setup) {
    let scheduler = setup.scheduler();
    let (socket, peer) = pair(&scheduler.io());
    let mut sent = 0;
    let failed = loop {
        match socket.send(vec![sent as u8; 1000]).deadline(Duration::from_millis(20)).wait() {
            Ok(_) => sent += 1,
            Err(failed) => break failed,
        }
        assert!(sent < 10_000, "it is never full");
    };
    assert_eq!((failed.error.kind(), failed.moved.bytes()), (ErrorKind::TimedOut, 0));
    let waiting = socket.send("at last").submit().unwrap();
    for number in 0..sent {
        let mut buffer = [0; 2000];
        assert_eq!((peer.recv(&mut buffer).unwrap(), buffer[0]), (1000, number as u8));
    }
    waiting.wait().unwrap();
    assert_eq!(peer.recv(&mut [0; 9]).unwrap(), 7);
}

fn what_no_datagram_can_be_is_refused_with_its_buffer(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let socket = io.bind_datagrams(loopback()).unwrap();
    let failed = socket.send_to(vec!["x"; 65], loopback()).wait().unwrap_err();
    assert_eq!((failed.error.kind(), failed.buffer.len()), (ErrorKind::InvalidInput, 65));
    let failed = socket.recv_from(vec![vec![0; 1]; 65]).wait().unwrap_err();
    assert_eq!((failed.error.kind(), failed.buffer.len()), (ErrorKind::InvalidInput, 65));
    for path in ["", "a\0b", &"x".repeat(200)] {
        let failed = socket.send_to("kept", UnixAddress::path(path)).wait().unwrap_err();
        assert_eq!(
            (failed.error.kind(), failed.buffer, failed.moved),
            (ErrorKind::InvalidInput, "kept", Moved::NotStarted)
        );
        assert_eq!(socket.connect(UnixAddress::path(path)).wait().unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(io.bind_datagrams(UnixAddress::path(path)).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    // A path is no host.
    #[cfg(unix)]
    let failed = socket.send_to("x", UnixAddress::path(setup.path("nobody"))).wait().unwrap_err();
    #[cfg(unix)]
    assert!(failed.error.os_code().is_some(), "{failed}");
}

fn datagram_errors_name_operation_and_target(setup: &Setup) {
    let scheduler = setup.scheduler();
    let io = scheduler.io();
    let socket = io.bind_datagrams(loopback()).unwrap();
    let own = socket.local_address().unwrap();
    let failed = socket.recv_from(vec![0; 9]).deadline(Duration::ZERO).wait().unwrap_err();
    assert_eq!(failed.error.to_string(), format!("recv_from 9 bytes of {own} (local): deadline passed"));
    let failed = socket.send("x").wait().unwrap_err();
    assert!(failed.error.to_string().starts_with(&format!("send 1 bytes of {own} (local): ")), "{failed}");
    let failed = socket.send_to(vec![0; 70_000], own.clone()).wait().unwrap_err();
    let expected = format!("send_to 70000 bytes to {own} of {own} (local): {}", codes::text(codes::EMSGSIZE));
    assert_eq!(failed.error.to_string(), expected);
    let taken = io.bind_datagrams(own.clone()).unwrap_err();
    assert_eq!(taken.to_string(), format!("bind of {own}: {}", codes::text(codes::EADDRINUSE)));
}
