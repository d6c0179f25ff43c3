//! What comes back from a request that nobody waits for any more, in a race with what arrives meanwhile, forced on the double
//! of a completion port: there a cancel comes too late, and an outcome is told, when the test has it so.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use crate::address::Address;
use crate::backend::iocp::fake::{AtCancel, Control, FakePort, Fate, Plan, Timing};
use crate::error::{ErrorKind, Moved};
use crate::net::Socket;
use crate::operation::Action;
use crate::scheduler::{Io, Scheduler};
use crate::status::Status;

/// It is carried out although it is to be stopped, and nobody is told until the test says so.
const TOO_LATE_TO_STOP: Fate = Fate { timing: Timing::Withheld, at_cancel: AtCancel::Loses, ..Fate::ORDINARY };

struct Scene {
    scheduler: Scheduler,
    io: Io,
    control: Control,
}

impl Scene {
    fn new() -> Scene {
        let port = FakePort::new(Plan::new(None)).unwrap();
        let control = port.control();
        let scheduler = Scheduler::builder().build_on_port(port);
        Scene { io: scheduler.io(), scheduler, control }
    }

    fn connection(&self) -> (Socket, TcpStream) {
        let listener = TcpListener::bind(loopback()).unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (self.io.adopt_socket(ours).unwrap(), listener.accept().unwrap().0)
    }

    /// What is begun from now on.
    fn fate(&self, fate: Fate) {
        self.control.set_script(move |_, _| Some(fate));
    }

    fn turn_until(&mut self, what: &str, is_done: impl Fn(&Control) -> bool) {
        let start = Instant::now();
        while !is_done(&self.control) {
            assert!(start.elapsed() < Duration::from_secs(20), "{what} does not come");
            self.scheduler.turn(Duration::from_millis(1)).unwrap();
        }
    }

    fn settle<A: Action>(&mut self, status: &Status<A>) {
        self.turn_until("its end", |_| status.is_settled());
    }

    /// Until the request that waits has been carried out, of which nobody is told yet.
    fn is_carried_out(&mut self) {
        self.turn_until("what arrives", |control| control.withheld() == 1);
    }

    /// Tells of what was withheld; what is begun after it is as usual.
    fn tell(&self) {
        self.fate(Fate::ORDINARY);
        self.control.release();
    }
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

#[test]
fn a_connection_that_comes_back_is_accepted_before_one_that_came_meanwhile() {
    let mut scene = Scene::new();
    let listener = scene.io.listen(loopback()).unwrap();
    let address = listener.local_address().unwrap();
    let first = listener.accept().submit().unwrap();
    let one = TcpStream::connect(address).unwrap();
    scene.settle(&first);
    scene.fate(TOO_LATE_TO_STOP);
    let second = listener.accept().submit().unwrap();
    let other = TcpStream::connect(address).unwrap();
    scene.is_carried_out();
    drop(first);
    scene.tell();
    scene.settle(&second);
    assert_eq!(second.wait().unwrap().peer_address().unwrap(), one.local_addr().unwrap());
    let next = listener.accept().submit().unwrap();
    scene.settle(&next);
    assert_eq!(next.wait().unwrap().peer_address().unwrap(), other.local_addr().unwrap());
    // Nothing is left that came back: an accept that was done when its cancel came is a success, as ever.
    scene.fate(TOO_LATE_TO_STOP);
    let cancelled = listener.accept().submit().unwrap();
    let last = TcpStream::connect(address).unwrap();
    scene.is_carried_out();
    cancelled.cancel();
    scene.tell();
    scene.settle(&cancelled);
    assert_eq!(cancelled.wait().unwrap().peer_address().unwrap(), last.local_addr().unwrap());
}

#[test]
fn a_datagram_that_comes_back_is_received_before_one_that_came_meanwhile() {
    let mut scene = Scene::new();
    let socket = scene.io.bind_datagrams(loopback()).unwrap();
    let Address::Internet(address) = socket.local_address().unwrap() else { panic!("an address of its own") };
    let peer = UdpSocket::bind(loopback()).unwrap();
    let receive = || socket.recv_from(vec![0; 1]).submit().unwrap();
    let first = receive();
    peer.send_to(b"1", address).unwrap();
    scene.settle(&first);
    scene.fate(TOO_LATE_TO_STOP);
    let second = receive();
    peer.send_to(b"2", address).unwrap();
    scene.is_carried_out();
    drop(first);
    scene.tell();
    scene.settle(&second);
    assert_eq!(second.wait().unwrap().buffer, b"1");
    let next = receive();
    scene.settle(&next);
    assert_eq!(next.wait().unwrap().buffer, b"2");
    // Nothing is left that came back.
    scene.fate(TOO_LATE_TO_STOP);
    let cancelled = receive();
    peer.send_to(b"3", address).unwrap();
    scene.is_carried_out();
    cancelled.cancel();
    scene.tell();
    scene.settle(&cancelled);
    assert_eq!(cancelled.wait().unwrap().buffer, b"3");
}

#[test]
fn bytes_that_come_back_go_before_what_came_after_them_whatever_came_back_before() {
    let mut scene = Scene::new();
    let (socket, mut peer) = scene.connection();
    let mut receive = |scene: &mut Scene, byte, count| {
        let receive = socket.recv_exact(vec![0; count]).submit().unwrap();
        peer.write_all(&vec![byte; count]).unwrap();
        scene.settle(&receive);
        receive
    };
    let one = receive(&mut scene, 1, 50);
    assert_eq!(receive(&mut scene, 2, 50).wait().unwrap().1, [2; 50]);
    let three = receive(&mut scene, 3, 10);
    // The first come back, and are taken.
    drop(one);
    assert_eq!(socket.recv_exact(vec![0; 50]).wait().unwrap().1, [1; 50]);
    scene.fate(TOO_LATE_TO_STOP);
    let four = socket.recv_exact(vec![0; 10]).submit().unwrap();
    peer.write_all(&[4; 10]).unwrap();
    scene.is_carried_out();
    drop(three);
    scene.tell();
    scene.settle(&four);
    assert_eq!(four.wait().unwrap().1, [3; 10]);
    assert_eq!(socket.recv_exact(vec![0; 10]).wait().unwrap().1, [4; 10]);
}

#[test]
fn what_comes_back_asks_no_request_to_end_that_was_asked_before() {
    let mut scene = Scene::new();
    let (socket, mut peer) = scene.connection();
    let first = socket.recv_exact(vec![0; 4]).submit().unwrap();
    peer.write_all(b"back").unwrap();
    scene.settle(&first);
    scene.fate(TOO_LATE_TO_STOP);
    let second = socket.recv_exact(vec![0; 4]).submit().unwrap();
    peer.write_all(b"more").unwrap();
    scene.is_carried_out();
    second.cancel();
    drop(first);
    let asked = scene.control.calls("CancelIoEx");
    scene.tell();
    assert_eq!(asked, 1);
    scene.settle(&second);
    assert_eq!(second.wait().unwrap_err().error.kind(), ErrorKind::Cancelled);
    assert_eq!(socket.recv_exact(vec![0; 8]).wait().unwrap().1, b"backmore");
}

#[test]
fn a_write_that_somebody_else_has_stopped_says_that_the_os_has_cancelled_it() {
    let mut scene = Scene::new();
    scene.control.forget_what_went_out();
    let (socket, _peer) = scene.connection();
    scene.fate(Fate::stopped_by_another());
    let write = socket.send("bytes").submit().unwrap();
    scene.settle(&write);
    let failed = write.wait().unwrap_err();
    assert_eq!((failed.error.os_code(), failed.moved), (Some(libc::ECANCELED), Moved::Unknown), "{}", failed.error);
}
