//! One script of calls on a port, with what comes of each written down: the same on Windows' port, as Wine has it, and on
//! the double.
//!
//! What is written down is what the backend builds on: whether a call ends, is pending or refused, and each packet with its
//! code and count. Where the two must differ the script does not look.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use super::blocks::STATUS_PENDING;
use super::port::*;
use crate::backend::{Descriptor, OsDescriptor, RawDescriptor, from_socket, raw_descriptor};

/// What a packet that does not come is waited for.
const SOON: Duration = Duration::from_millis(50);
/// What one that must come is waited for.
const LATE: Duration = Duration::from_secs(10);
/// More than any pipe or socket takes without a reader.
const LARGE: usize = 64 << 20;

/// A request with all its memory.
struct Request {
    name: &'static str,
    overlapped: Overlapped,
    buffer: Vec<u8>,
    flags: u32,
    addresses: [u8; ACCEPT_BYTES],
    sender_length: i32,
}

impl Request {
    fn vector(&mut self) -> Vector {
        Vector { length: self.buffer.len() as u32, pointer: self.buffer.as_mut_ptr() }
    }
}

/// A port at work, and what it has said.
struct Scene<'a, P> {
    port: &'a P,
    log: Vec<String>,
    requests: RefCell<BTreeMap<usize, Box<Request>>>,
}

fn name_of(code: Code) -> String {
    let name = match code {
        0 => "done",
        ERROR_OPERATION_ABORTED => "aborted",
        ERROR_NOT_FOUND => "not found",
        ERROR_BROKEN_PIPE => "broken pipe",
        ERROR_NO_DATA => "pipe closing",
        ERROR_MORE_DATA => "more data",
        ERROR_NETNAME_DELETED => "reset",
        ERROR_CONNECTION_REFUSED => "refused",
        ERROR_INVALID_PARAMETER => "invalid",
        ERROR_HANDLE_EOF => "end of file",
        WSAECONNRESET => "socket reset",
        code => return format!("code {code}"),
    };
    name.into()
}

impl<P: CompletionPort> Scene<'_, P> {
    fn note(&mut self, line: String) {
        self.log.push(line);
    }

    /// Makes a call with a request of its own, and notes how it went; gives the structure that a packet will name.
    fn start(
        &mut self,
        name: &'static str,
        buffer: Vec<u8>,
        call: impl FnOnce(&P, &mut Request) -> Started,
    ) -> *mut Overlapped {
        let mut request = Box::new(Request {
            name,
            overlapped: Overlapped { internal: STATUS_PENDING, ..Overlapped::default() },
            buffer,
            flags: 0,
            addresses: [0; ACCEPT_BYTES],
            sender_length: 128,
        });
        let overlapped = &raw mut request.overlapped;
        // Published before the call: the box keeps its address.
        let started = call(self.port, &mut request);
        self.requests.borrow_mut().insert(overlapped as usize, request);
        let how = match started {
            Started::Pending => "pending".into(),
            Started::Ended(count) => format!("ended with {count}"),
            Started::Refused(code) => format!("refused: {}", name_of(code)),
        };
        self.note(format!("{name}: {how}"));
        overlapped
    }

    /// Takes the packets that come until there are `count`, and notes them in the order of their names.
    fn packets(&mut self, count: usize) {
        let mut lines = Vec::new();
        while lines.len() < count {
            let mut packets = [Packet::EMPTY; 8];
            let dequeued = self.port.dequeue(&mut packets, Some(LATE)).unwrap();
            assert!(dequeued > 0, "no packet came: {lines:?} after {:?}", self.log);
            lines.extend(packets[..dequeued].iter().map(|packet| self.line(packet)));
        }
        lines.sort();
        self.log.extend(lines);
        self.silence();
    }

    /// Sees that nothing comes.
    fn silence(&mut self) {
        let mut packets = [Packet::EMPTY; 8];
        let dequeued = self.port.dequeue(&mut packets, Some(SOON)).unwrap();
        for packet in &packets[..dequeued] {
            let line = self.line(packet);
            self.note(format!("unexpected {line}"));
        }
    }

    fn line(&self, packet: &Packet) -> String {
        if packet.overlapped.is_null() {
            return format!("packet of key {}", packet.key);
        }
        let request = self.requests.borrow_mut().remove(&(packet.overlapped as usize)).unwrap();
        let code = self.port.code_of(request.overlapped.internal);
        assert_eq!(request.overlapped.internal_high as u32, packet.count, "{}", request.name);
        format!("packet of {}: {}, {}", request.name, name_of(code), packet.count)
    }

    fn cancel(&mut self, descriptor: RawDescriptor, overlapped: *mut Overlapped) {
        let result = match self.port.cancel(descriptor, overlapped) {
            Ok(()) => "asked".into(),
            Err(code) => name_of(code),
        };
        self.note(format!("cancel: {result}"));
    }

    fn receive(&mut self, name: &'static str, socket: RawDescriptor, length: usize) -> *mut Overlapped {
        self.start(name, vec![0; length], |port, request| {
            let vectors = [request.vector()];
            // SAFETY: the request keeps all of it.
            unsafe { port.start_receive(socket, &vectors, &mut request.flags, &mut request.overlapped) }
        })
    }

    fn send(&mut self, name: &'static str, socket: RawDescriptor, length: usize) -> *mut Overlapped {
        self.start(name, vec![7; length], |port, request| {
            let vectors = [request.vector()];
            // SAFETY: the request keeps all of it.
            unsafe { port.start_send(socket, &vectors, &mut request.overlapped) }
        })
    }

    fn read(&mut self, name: &'static str, pipe: RawDescriptor, length: usize) -> *mut Overlapped {
        self.start(name, vec![0; length], |port, request| {
            let vector = request.vector();
            // SAFETY: the request keeps all of it.
            unsafe { port.start_read(pipe, vector, &mut request.overlapped) }
        })
    }

    fn write(&mut self, name: &'static str, pipe: RawDescriptor, length: usize) -> *mut Overlapped {
        self.start(name, vec![7; length], |port, request| {
            let vector = request.vector();
            // SAFETY: the request keeps all of it.
            unsafe { port.start_write(pipe, vector, &mut request.overlapped) }
        })
    }

    fn accept(&mut self, name: &'static str, listener: &OsDescriptor) -> (Descriptor, *mut Overlapped) {
        let listener = raw_descriptor(listener);
        let connection = self.port.new_connection(listener).unwrap();
        let overlapped = self.start(name, Vec::new(), |port, request| {
            let addresses = request.addresses.as_mut_ptr();
            // SAFETY: the request and the caller keep all of it.
            unsafe { port.start_accept(listener, &connection, addresses, &mut request.overlapped) }
        });
        (connection, overlapped)
    }

    fn receive_from(&mut self, name: &'static str, socket: RawDescriptor) -> *mut Overlapped {
        self.start(name, vec![0; 4], |port, request| {
            let vectors = [request.vector()];
            let (flags, sender) = (&raw mut request.flags, request.addresses.as_mut_ptr());
            let length = &raw mut request.sender_length;
            // SAFETY: the request keeps all of it.
            unsafe { port.start_receive_from(socket, &vectors, flags, sender, length, &mut request.overlapped) }
        })
    }

    fn associate(&mut self, descriptor: RawDescriptor) {
        if let Err(code) = self.port.associate(descriptor, super::KEY_REQUEST) {
            self.note(format!("associate: {}", name_of(code)));
        }
    }
}

fn tcp() -> (OsDescriptor, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (theirs, _) = listener.accept().unwrap();
    (from_socket(ours.into()), theirs)
}

fn of_streams(scene: &mut Scene<'_, impl CompletionPort>) {
    let (ours, mut peer) = tcp();
    let socket = raw_descriptor(&ours);
    scene.associate(socket);
    // Waiting, and there already.
    scene.receive("receive", socket, 10);
    scene.silence();
    peer.write_all(b"12345").unwrap();
    scene.packets(1);
    peer.write_all(b"12345").unwrap();
    std::thread::sleep(SOON);
    scene.receive("receive of what is there", socket, 3);
    scene.packets(1);
    scene.send("send", socket, 4);
    scene.packets(1);
    // Both directions at once.
    scene.receive("rest", socket, 10);
    scene.send("send beside it", socket, 4);
    scene.packets(2);
    // A cancel is heard, once.
    let waiting = scene.receive("cancelled receive", socket, 10);
    scene.cancel(socket, waiting);
    scene.packets(1);
    scene.cancel(socket, waiting);
    // More than there is room for waits, and a cancel is heard.
    peer.read_exact(&mut [0; 8]).unwrap();
    let waiting = scene.send("large send", socket, LARGE);
    scene.silence();
    scene.cancel(socket, waiting);
    scene.packets_without_counts(1);
    // The end, as often as asked.
    scene.receive("receive of the end", socket, 10);
    peer.shutdown(std::net::Shutdown::Write).unwrap();
    scene.packets(1);
    scene.receive("receive after the end", socket, 10);
    scene.packets(1);
}

fn of_skipping(scene: &mut Scene<'_, impl CompletionPort>) {
    let (ours, mut peer) = tcp();
    let socket = raw_descriptor(&ours);
    scene.associate(socket);
    let skips = scene.port.skip_on_success(socket, true);
    scene.note(format!("skips packets: {skips}"));
    scene.send("send that skips", socket, 4);
    scene.silence();
    scene.receive("receive that waits", socket, 10);
    peer.write_all(b"12345").unwrap();
    scene.packets(1);
    peer.write_all(b"12345").unwrap();
    std::thread::sleep(SOON);
    scene.receive("receive that skips", socket, 10);
    scene.silence();
}

fn of_resets(scene: &mut Scene<'_, impl CompletionPort>) {
    let (ours, peer) = tcp();
    let socket = raw_descriptor(&ours);
    scene.associate(socket);
    scene.receive("receive that is reset", socket, 10);
    SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
    drop(peer);
    scene.packets(1);
}

fn of_connections(scene: &mut Scene<'_, impl CompletionPort>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let listener = from_socket(listener.into());
    scene.associate(raw_descriptor(&listener));
    let (connection, _) = scene.accept("accept", &listener);
    let socket = from_socket(Socket::new(Domain::IPV4, Type::STREAM, None).unwrap().into());
    scene.associate(raw_descriptor(&socket));
    connect(scene, "connect", &socket, address);
    scene.packets(2);
    let Ok(Descriptor::Os(connection)) = scene.port.finish_accept(raw_descriptor(&listener), connection) else {
        panic!("no connection")
    };
    scene.port.finish_connect(raw_descriptor(&socket)).unwrap();
    let peers = [&socket, &connection].map(|socket| SockRef::from(socket).peer_addr().is_ok());
    scene.note(format!("each has a peer: {peers:?}"));
    let (_connection, waiting) = scene.accept("cancelled accept", &listener);
    scene.cancel(raw_descriptor(&listener), waiting);
    scene.packets(1);
    // Nobody listens any more.
    drop(listener);
    let socket = from_socket(Socket::new(Domain::IPV4, Type::STREAM, None).unwrap().into());
    scene.associate(raw_descriptor(&socket));
    connect(scene, "refused connect", &socket, address);
    scene.packets(1);
}

fn connect(
    scene: &mut Scene<'_, impl CompletionPort>,
    name: &'static str,
    socket: &OsDescriptor,
    address: SocketAddr,
) -> *mut Overlapped {
    scene.start(name, Vec::new(), |port, request| {
        // SAFETY: the request keeps all of it.
        unsafe { port.start_connect(raw_descriptor(socket), &address.into(), &mut request.overlapped) }
    })
}

fn of_datagrams(scene: &mut Scene<'_, impl CompletionPort>) {
    let ours = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = ours.local_addr().unwrap();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let theirs = peer.local_addr().unwrap();
    let ours = from_socket(ours.into());
    let socket = raw_descriptor(&ours);
    scene.associate(socket);
    scene.receive_from("datagram", socket);
    peer.send_to(b"1234", address).unwrap();
    scene.packets(1);
    // Longer than its buffer: waiting, and there already.
    scene.receive_from("long datagram", socket);
    peer.send_to(b"1234567890", address).unwrap();
    scene.packets(1);
    peer.send_to(b"1234567890", address).unwrap();
    std::thread::sleep(SOON);
    scene.receive_from("long datagram that is there", socket);
    scene.packets(1);
    scene.start("datagram out", vec![1; 9], |port, request| {
        let vectors = [request.vector()];
        // SAFETY: the request keeps all of it.
        unsafe { port.start_send_to(socket, &vectors, Some(&theirs.into()), &mut request.overlapped) }
    });
    scene.packets(1);
    let count = peer.recv(&mut [0; 64]).unwrap();
    scene.note(format!("arrived: {count}"));
    let waiting = scene.receive_from("cancelled datagram", socket);
    scene.cancel(socket, waiting);
    scene.packets(1);
}

/// Files are carried out inside the call, and their packets tell; what does not wait cannot be cancelled.
fn of_files(scene: &mut Scene<'_, impl CompletionPort>) {
    let path = std::env::temp_dir().join(format!("corella-script-{}", std::process::id()));
    std::fs::write(&path, b"0123456789").unwrap();
    let file = open(&path);
    let raw = raw_descriptor(&file);
    scene.associate(raw);
    scene.read("read of a file", raw, 4);
    scene.packets(1);
    scene.read("read beyond its end", raw, 40);
    scene.packets(1);
    scene.write("write inside a file", raw, 4);
    scene.packets(1);
    let skips = scene.port.skip_on_success(raw, false);
    scene.note(format!("a file skips packets: {skips}"));
    scene.read("read that could skip", raw, 4);
    scene.packets(1);
    drop(file);
    std::fs::remove_file(path).unwrap();
}

/// Opened overlapped, where that says anything.
fn open(path: &std::path::Path) -> OsDescriptor {
    let mut options = std::fs::File::options();
    options.read(true).write(true);
    #[cfg(windows)]
    std::os::windows::fs::OpenOptionsExt::custom_flags(
        &mut options,
        windows_sys::Win32::Storage::FileSystem::FILE_FLAG_OVERLAPPED,
    );
    crate::backend::from_file(options.open(path).unwrap().into())
}

fn of_pipes(scene: &mut Scene<'_, impl CompletionPort>, pipe: fn(bool) -> (OsDescriptor, OsDescriptor)) {
    let (server, client) = pipe(false);
    let (one, other) = (raw_descriptor(&server), raw_descriptor(&client));
    scene.associate(one);
    scene.associate(other);
    scene.associate(one);
    scene.read("read", one, 10);
    scene.silence();
    scene.write("write", other, 6);
    scene.packets(2);
    scene.write("write ahead", other, 6);
    scene.packets(1);
    scene.read("read of what is there", one, 4);
    scene.packets(1);
    scene.read("read of the rest", one, 4);
    scene.packets(1);
    let waiting = scene.read("cancelled read", one, 10);
    scene.cancel(one, waiting);
    scene.packets(1);
    scene.cancel(one, waiting);
    // More than there is room for waits, and a cancel is heard.
    let waiting = scene.write("large write", other, LARGE);
    scene.silence();
    scene.cancel(other, waiting);
    scene.packets_without_counts(1);
    drop(server);
    drop(client);
    // The other side closes while a read waits, and before one.
    let (server, client) = pipe(false);
    let one = raw_descriptor(&server);
    scene.associate(one);
    scene.read("read of the end", one, 10);
    drop(client);
    scene.packets(1);
    scene.read("read after the end", one, 10);
    scene.silence();
    scene.write("write after the end", one, 10);
    scene.silence();
    of_messages(scene, pipe);
}

fn of_messages(scene: &mut Scene<'_, impl CompletionPort>, pipe: fn(bool) -> (OsDescriptor, OsDescriptor)) {
    let (server, client) = pipe(true);
    let (one, other) = (raw_descriptor(&server), raw_descriptor(&client));
    scene.associate(one);
    scene.associate(other);
    scene.read("read of a part", one, 4);
    scene.write("message", other, 10);
    scene.packets(2);
    scene.read("read of the next part", one, 4);
    scene.packets(1);
    scene.read("read of the last part", one, 4);
    scene.packets(1);
}

impl<P: CompletionPort> Scene<'_, P> {
    /// As [`packets`](Self::packets), of what was stopped on its way: how far it had come is the system's affair.
    fn packets_without_counts(&mut self, count: usize) {
        let before = self.log.len();
        self.packets(count);
        for line in &mut self.log[before..] {
            if let Some((rest, _)) = line.rsplit_once(", ") {
                *line = rest.to_owned();
            }
        }
    }
}

/// The whole script, as written down.
fn run(port: &impl CompletionPort, pipe: fn(bool) -> (OsDescriptor, OsDescriptor)) -> Vec<String> {
    let mut scene = Scene { port, log: Vec::new(), requests: RefCell::default() };
    of_streams(&mut scene);
    of_skipping(&mut scene);
    of_resets(&mut scene);
    of_connections(&mut scene);
    of_datagrams(&mut scene);
    of_files(&mut scene);
    of_pipes(&mut scene, pipe);
    port.poster().post(9).unwrap();
    scene.packets(1);
    scene.log
}

/// What it comes to, on every port.
const EXPECTED: &[&str] = &[
    "receive: pending",
    "packet of receive: done, 5",
    "receive of what is there: ended with 3",
    "packet of receive of what is there: done, 3",
    "send: ended with 4",
    "packet of send: done, 4",
    "rest: ended with 2",
    "send beside it: ended with 4",
    "packet of rest: done, 2",
    "packet of send beside it: done, 4",
    "cancelled receive: pending",
    "cancel: asked",
    "packet of cancelled receive: aborted, 0",
    "cancel: not found",
    "large send: pending",
    "cancel: asked",
    "packet of large send: aborted",
    "receive of the end: pending",
    "packet of receive of the end: done, 0",
    "receive after the end: ended with 0",
    "packet of receive after the end: done, 0",
    "skips packets: true",
    "send that skips: ended with 4",
    "receive that waits: pending",
    "packet of receive that waits: done, 5",
    "receive that skips: ended with 5",
    "receive that is reset: pending",
    "packet of receive that is reset: reset, 0",
    "accept: pending",
    "connect: pending",
    "packet of accept: done, 0",
    "packet of connect: done, 0",
    "each has a peer: [true, true]",
    "cancelled accept: pending",
    "cancel: asked",
    "packet of cancelled accept: aborted, 0",
    "refused connect: pending",
    "packet of refused connect: refused, 0",
    "datagram: pending",
    "packet of datagram: done, 4",
    "long datagram: pending",
    "packet of long datagram: more data, 4",
    "long datagram that is there: pending",
    "packet of long datagram that is there: more data, 4",
    "datagram out: ended with 9",
    "packet of datagram out: done, 9",
    "arrived: 9",
    "cancelled datagram: pending",
    "cancel: asked",
    "packet of cancelled datagram: aborted, 0",
    "read of a file: pending",
    "packet of read of a file: done, 4",
    "read beyond its end: pending",
    "packet of read beyond its end: done, 10",
    "write inside a file: pending",
    "packet of write inside a file: done, 4",
    "a file skips packets: true",
    "read that could skip: pending",
    "packet of read that could skip: done, 4",
    "associate: invalid",
    "read: pending",
    "write: ended with 6",
    "packet of read: done, 6",
    "packet of write: done, 6",
    "write ahead: ended with 6",
    "packet of write ahead: done, 6",
    "read of what is there: ended with 4",
    "packet of read of what is there: done, 4",
    "read of the rest: ended with 2",
    "packet of read of the rest: done, 2",
    "cancelled read: pending",
    "cancel: asked",
    "packet of cancelled read: aborted, 0",
    "cancel: not found",
    "large write: pending",
    "cancel: asked",
    "packet of large write: aborted",
    "read of the end: pending",
    "packet of read of the end: broken pipe, 0",
    "read after the end: refused: broken pipe",
    "write after the end: refused: pipe closing",
    "read of a part: pending",
    "message: ended with 10",
    "packet of message: done, 10",
    "packet of read of a part: more data, 4",
    "read of the next part: pending",
    "packet of read of the next part: more data, 4",
    "read of the last part: ended with 2",
    "packet of read of the last part: done, 2",
    "packet of key 9",
];

fn check(port: &impl CompletionPort, pipe: fn(bool) -> (OsDescriptor, OsDescriptor)) {
    let log = run(port, pipe);
    assert!(log == EXPECTED, "{log:#?}");
}

#[cfg(unix)]
#[test]
fn the_double_does_as_the_script_expects_of_a_port() {
    use super::fake::{FakePort, Plan, named_pipe};
    let pipe = |of_messages| {
        let (server, client) = named_pipe(of_messages);
        (server, client)
    };
    check(&FakePort::new(Plan::new(None)).unwrap(), pipe);
}

#[cfg(windows)]
#[test]
fn windows_does_as_the_script_expects_of_a_port() {
    check(&super::windows::WindowsPort::new().unwrap(), super::pipes::named_pipe);
}
