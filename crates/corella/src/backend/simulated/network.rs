//! The network of a simulated machine: TCP (and, in `datagrams`, UDP) between sockets of one scheduler, at any addresses.
//!
//! What is sent travels in segments, in order, each arriving after a delay. A receiver's window bounds what is on the
//! way to it and in its buffer together. Between two addresses that are partitioned nothing arrives until they are
//! healed; nothing is lost, as TCP sends again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::backend::Errno;

use super::datagrams::{Datagrams, Received};
use crate::op::Shutdown;

/// A socket by number; never used again.
pub(super) type SocketId = usize;

type Result<T> = std::result::Result<T, Errno>;

/// Bytes that a receiver takes in before its program does, unless it asks for another size.
const WINDOW: usize = 64 << 10;
const WINDOW_MIN: usize = 2304;
/// The first port that is given out.
const EPHEMERAL_PORT: u16 = 40_000;

#[derive(Debug)]
enum Segment {
    Data(Vec<u8>),
    /// The sender's end.
    End,
    /// The connection is no more.
    Reset,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    New,
    Connecting,
    Connected,
    Listening,
}

#[derive(Debug)]
struct Socket {
    state: State,
    local: Option<SocketAddr>,
    peer_address: Option<SocketAddr>,
    /// The other end, while it exists.
    peer: Option<SocketId>,
    /// On the way to here, with their times of arrival.
    arriving: VecDeque<(u64, Segment)>,
    arriving_bytes: usize,
    received: VecDeque<u8>,
    window: usize,
    /// The peer's end has arrived, or receiving was shut down.
    at_end: bool,
    /// Sending was shut down.
    sent_end: bool,
    /// Pending, for the next call.
    error: Option<Errno>,
    /// It was reset or refused.
    broken: bool,
    /// Connections to be accepted.
    backlog: VecDeque<SocketId>,
    backlog_max: usize,
    resets_at_close: bool,
    no_delay: bool,
}

impl Socket {
    fn new() -> Socket {
        Socket {
            state: State::New,
            local: None,
            peer_address: None,
            peer: None,
            arriving: VecDeque::new(),
            arriving_bytes: 0,
            received: VecDeque::new(),
            window: WINDOW,
            at_end: false,
            sent_end: false,
            error: None,
            broken: false,
            backlog: VecDeque::new(),
            backlog_max: 0,
            resets_at_close: false,
            no_delay: false,
        }
    }

    fn room(&self) -> usize {
        self.window.saturating_sub(self.arriving_bytes + self.received.len())
    }
}

/// What a try came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress<T> {
    Done(T),
    /// Nothing yet; tried again when something changes at the socket.
    Waits,
}

/// What the network asks of the clock.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// Try again what waits at this socket.
    Try(SocketId),
    /// Call `arrive` for this socket, then.
    ArriveAt(u64, SocketId),
}

#[derive(Debug)]
pub(super) struct Network {
    sockets: BTreeMap<SocketId, Socket>,
    datagrams: Datagrams,
    next: SocketId,
    next_port: u16,
    partitions: BTreeSet<(IpAddr, IpAddr)>,
    names: BTreeMap<String, IpAddr>,
    /// What became of the last calls, for the clock.
    pub(super) asks: Vec<Ask>,
}

impl Network {
    pub(super) fn new() -> Network {
        let names = BTreeMap::from([("localhost".to_string(), IpAddr::V4(Ipv4Addr::LOCALHOST))]);
        Network {
            sockets: BTreeMap::new(),
            datagrams: Datagrams::default(),
            next: 0,
            next_port: EPHEMERAL_PORT,
            partitions: BTreeSet::new(),
            names,
            asks: Vec::new(),
        }
    }

    pub(super) fn add_name(&mut self, name: &str, address: IpAddr) {
        self.names.insert(name.to_string(), address);
    }

    pub(super) fn resolve(&self, name: &str) -> Option<IpAddr> {
        name.parse().ok().or_else(|| self.names.get(name).copied())
    }

    // Sockets.

    pub(super) fn add(&mut self) -> SocketId {
        let id = self.next;
        self.next += 1;
        self.sockets.insert(id, Socket::new());
        id
    }

    /// Adds a socket for datagrams.
    pub(super) fn add_datagrams(&mut self) -> SocketId {
        let id = self.next;
        self.next += 1;
        self.datagrams.add(id);
        id
    }

    /// Adds two sockets that are connected to each other.
    pub(super) fn add_pair(&mut self) -> [SocketId; 2] {
        let pair = [self.add(), self.add()];
        for (id, peer) in [(pair[0], pair[1]), (pair[1], pair[0])] {
            if let Ok(socket) = self.get_mut(id) {
                socket.state = State::Connected;
                socket.peer = Some(peer);
            }
        }
        pair
    }

    /// Whether the other end of a connection still exists.
    pub(super) fn has_peer(&self, id: SocketId) -> bool {
        self.get(id).is_ok_and(|socket| socket.peer.is_some())
    }

    fn get(&self, id: SocketId) -> Result<&Socket> {
        self.sockets.get(&id).ok_or(Errno::BADF)
    }

    fn get_mut(&mut self, id: SocketId) -> Result<&mut Socket> {
        self.sockets.get_mut(&id).ok_or(Errno::BADF)
    }

    pub(super) fn local(&self, id: SocketId) -> Result<Option<SocketAddr>> {
        if self.datagrams.has(id) {
            return Ok(self.datagrams.local(id));
        }
        Ok(self.get(id)?.local)
    }

    pub(super) fn peer(&self, id: SocketId) -> Result<SocketAddr> {
        if self.datagrams.has(id) {
            return self.datagrams.peer(id).ok_or(Errno::NOTCONN);
        }
        self.get(id)?.peer_address.ok_or(Errno::NOTCONN)
    }

    pub(super) fn no_delay(&self, id: SocketId) -> Result<bool> {
        Ok(self.get(id)?.no_delay)
    }

    pub(super) fn set_no_delay(&mut self, id: SocketId, yes: bool) -> Result<()> {
        self.get_mut(id)?.no_delay = yes;
        Ok(())
    }

    pub(super) fn set_window(&mut self, id: SocketId, bytes: usize) -> Result<()> {
        if self.datagrams.has(id) {
            return self.datagrams.set_room(id, bytes.max(WINDOW_MIN));
        }
        self.get_mut(id)?.window = bytes.max(WINDOW_MIN);
        Ok(())
    }

    pub(super) fn set_resets_at_close(&mut self, id: SocketId, yes: bool) -> Result<()> {
        self.get_mut(id)?.resets_at_close = yes;
        Ok(())
    }

    pub(super) fn take_error(&mut self, id: SocketId) -> Result<Option<Errno>> {
        if self.datagrams.has(id) {
            return self.datagrams.take_error(id);
        }
        Ok(self.get_mut(id)?.error.take())
    }

    fn is_taken(&self, address: SocketAddr) -> bool {
        self.sockets.values().any(|socket| socket.state != State::Connected && socket.local == Some(address))
    }

    pub(super) fn bind(&mut self, id: SocketId, mut address: SocketAddr) -> Result<()> {
        if self.datagrams.has(id) {
            return self.bind_datagrams(id, address);
        }
        if self.get(id)?.local.is_some() {
            return Err(Errno::INVAL);
        }
        if address.port() == 0 {
            address.set_port(self.free_port(address.ip()));
        } else if self.is_taken(address) {
            return Err(Errno::ADDRINUSE);
        }
        self.get_mut(id)?.local = Some(address);
        Ok(())
    }

    fn bind_datagrams(&mut self, id: SocketId, mut address: SocketAddr) -> Result<()> {
        if self.datagrams.local(id).is_some() {
            return Err(Errno::INVAL);
        }
        while address.port() == 0 {
            let port = self.free_port(address.ip());
            if !self.datagrams.is_taken(SocketAddr::new(address.ip(), port)) {
                address.set_port(port);
            }
        }
        match self.datagrams.is_taken(address) {
            true => Err(Errno::ADDRINUSE),
            false => self.datagrams.set_local(id, address),
        }
    }

    /// Gives a datagram socket an address that is to reach `to`, if it has none.
    fn reach(&mut self, id: SocketId, to: SocketAddr) -> Result<()> {
        match self.datagrams.local(id) {
            Some(_) => Ok(()),
            None => self.bind_datagrams(id, SocketAddr::new(to.ip(), 0)),
        }
    }

    /// Sends one datagram, to arrive `delay` later unless it `is_lost`.
    pub(super) fn send_datagram(
        &mut self,
        id: SocketId,
        to: Option<SocketAddr>,
        bytes: &[u8],
        arrival: u64,
        is_lost: bool,
    ) -> Result<()> {
        if let Some(to) = to.or_else(|| self.datagrams.peer(id)) {
            self.reach(id, to)?;
        }
        self.datagrams.send(id, to, bytes, arrival, is_lost, &mut self.asks)
    }

    pub(super) fn receive_datagram(&mut self, id: SocketId) -> Result<Progress<Received>> {
        Ok(self.datagrams.receive(id)?.map_or(Progress::Waits, Progress::Done))
    }

    /// Whether a receive or accept, or a send, would find something to do, an error included.
    pub(super) fn is_ready(&self, id: SocketId, writes: bool) -> Result<bool> {
        if self.datagrams.has(id) {
            return Ok(writes || self.datagrams.is_readable(id));
        }
        let socket = self.get(id)?;
        let is_over = socket.error.is_some() || socket.broken;
        Ok(match (&socket.state, writes) {
            _ if is_over => true,
            (State::Connected, true) => {
                let room = socket.peer.map(|peer| self.get(peer).map_or(1, Socket::room));
                socket.sent_end || room.is_none_or(|room| room > 0)
            }
            (_, true) => false,
            (_, false) => !socket.received.is_empty() || socket.at_end || !socket.backlog.is_empty(),
        })
    }

    fn free_port(&mut self, ip: IpAddr) -> u16 {
        loop {
            let port = self.next_port;
            self.next_port = self.next_port.checked_add(1).unwrap_or(EPHEMERAL_PORT);
            if !self.sockets.values().any(|socket| socket.local == Some(SocketAddr::new(ip, port))) {
                return port;
            }
        }
    }

    pub(super) fn listen(&mut self, id: SocketId, backlog: usize) -> Result<()> {
        let socket = self.get_mut(id)?;
        if socket.state != State::New || socket.local.is_none() {
            return Err(Errno::INVAL);
        }
        socket.state = State::Listening;
        socket.backlog_max = backlog.max(1);
        Ok(())
    }

    /// The listener at an address, or at its port on every address.
    fn listener(&self, address: SocketAddr) -> Option<SocketId> {
        let at = |wanted: SocketAddr| {
            let matches = |socket: &Socket| socket.state == State::Listening && socket.local == Some(wanted);
            self.sockets.iter().find(|(_, socket)| matches(socket)).map(|(id, _)| *id)
        };
        let any = match address.ip() {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
        };
        at(address).or_else(|| at(SocketAddr::new(any, address.port())))
    }

    /// Connects. The first try sends the request, which `delay` later arrives.
    pub(super) fn connect(&mut self, id: SocketId, address: SocketAddr, now: u64, delay: u64) -> Result<Progress<()>> {
        if self.datagrams.has(id) {
            self.reach(id, address)?;
            return self.datagrams.set_peer(id, address).map(Progress::Done);
        }
        let socket = self.get(id)?;
        match socket.state {
            State::Connected => Ok(Progress::Done(())),
            State::Listening => Err(Errno::ISCONN),
            _ if socket.broken => {
                let socket = self.get_mut(id)?;
                socket.broken = false;
                socket.state = State::New;
                Err(socket.error.take().unwrap_or(Errno::CONNREFUSED))
            }
            State::Connecting => Ok(Progress::Waits),
            State::New => {
                if socket.local.is_none() {
                    let ip = match address.ip() {
                        // To its own address, if that is a machine's: the two ends are partitioned by other names.
                        ip if ip.is_unspecified() => return Err(Errno::INVAL),
                        ip => ip,
                    };
                    let port = self.free_port(ip);
                    self.get_mut(id)?.local = Some(SocketAddr::new(ip, port));
                }
                let socket = self.get_mut(id)?;
                socket.state = State::Connecting;
                socket.peer_address = Some(address);
                self.asks.push(Ask::ArriveAt(now + delay, id));
                Ok(Progress::Waits)
            }
        }
    }

    /// A connect's request arrives where it goes to.
    fn answer_connect(&mut self, id: SocketId, now: u64) {
        let Ok(Socket { local: Some(local), peer_address: Some(address), .. }) = self.get(id) else { return };
        let (local, address) = (*local, *address);
        if self.is_partitioned(local.ip(), address.ip()) {
            // Heard again when it is healed.
            return;
        }
        let listener = self.listener(address);
        let is_full = |id: SocketId| self.sockets[&id].backlog.len() >= self.sockets[&id].backlog_max;
        match listener {
            Some(listener) if is_full(listener) => {
                const RETRY_AFTER: u64 = 1_000_000_000;
                self.asks.push(Ask::ArriveAt(now + RETRY_AFTER, id));
            }
            Some(listener) => {
                let accepted = self.add();
                let end = self.sockets.get_mut(&accepted).into_iter();
                end.for_each(|socket| {
                    socket.state = State::Connected;
                    socket.local = Some(address);
                    socket.peer_address = Some(local);
                    socket.peer = Some(id);
                });
                if let Ok(socket) = self.get_mut(id) {
                    socket.state = State::Connected;
                    socket.peer = Some(accepted);
                }
                if let Ok(socket) = self.get_mut(listener) {
                    socket.backlog.push_back(accepted);
                }
                self.asks.extend([Ask::Try(id), Ask::Try(listener)]);
            }
            None => {
                self.fail(id, Errno::CONNREFUSED);
                self.asks.push(Ask::Try(id));
            }
        }
    }

    fn fail(&mut self, id: SocketId, error: Errno) {
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.error = Some(error);
            socket.broken = true;
        }
    }

    pub(super) fn accept(&mut self, id: SocketId) -> Result<Progress<SocketId>> {
        let socket = self.get_mut(id)?;
        match (&socket.state, socket.backlog.pop_front()) {
            (_, Some(accepted)) => Ok(Progress::Done(accepted)),
            (State::Listening, None) => Ok(Progress::Waits),
            _ => Err(Errno::INVAL),
        }
    }

    /// Receives up to `length` bytes; none is the end.
    pub(super) fn receive(&mut self, id: SocketId, length: usize) -> Result<Progress<Vec<u8>>> {
        let socket = self.get_mut(id)?;
        if !socket.received.is_empty() {
            let count = length.min(socket.received.len());
            let bytes = socket.received.drain(..count).collect();
            // Its window has opened.
            let peer = socket.peer;
            self.asks.extend(peer.map(Ask::Try));
            return Ok(Progress::Done(bytes));
        }
        match socket.error.take() {
            Some(error) => Err(error),
            None if socket.at_end || socket.broken => Ok(Progress::Done(Vec::new())),
            None if socket.state != State::Connected => Err(Errno::NOTCONN),
            None => Ok(Progress::Waits),
        }
    }

    /// Sends as many bytes as the peer has room for, to arrive `delay` later.
    pub(super) fn send(&mut self, id: SocketId, bytes: &[u8], now: u64, delay: u64) -> Result<Progress<usize>> {
        let socket = self.get_mut(id)?;
        if let Some(error) = socket.error.take() {
            return Err(error);
        }
        if socket.sent_end || socket.broken {
            return Err(Errno::PIPE);
        }
        if socket.state != State::Connected {
            return Err(Errno::NOTCONN);
        }
        let Some(peer) = socket.peer else {
            // The peer has closed: what is sent to it is answered with a reset.
            self.reset(id, now + delay);
            return Ok(Progress::Done(bytes.len()));
        };
        let room = self.get(peer)?.room();
        if room == 0 {
            return Ok(Progress::Waits);
        }
        let count = room.min(bytes.len());
        self.put(peer, Segment::Data(bytes[..count].to_vec()), now + delay);
        Ok(Progress::Done(count))
    }

    pub(super) fn shut_down(&mut self, id: SocketId, how: Shutdown, now: u64, delay: u64) -> Result<()> {
        let socket = self.get_mut(id)?;
        if socket.state != State::Connected {
            return Err(Errno::NOTCONN);
        }
        if how != Shutdown::Write {
            socket.at_end = true;
            self.asks.push(Ask::Try(id));
        }
        if how != Shutdown::Read && !std::mem::replace(&mut self.get_mut(id)?.sent_end, true) {
            self.asks.push(Ask::Try(id));
            if let Some(peer) = self.get(id)?.peer {
                self.put(peer, Segment::End, now + delay);
            }
        }
        Ok(())
    }

    /// Closes a socket; its peer hears of it `delay` later.
    pub(super) fn close(&mut self, id: SocketId, now: u64, delay: u64) {
        self.datagrams.close(id);
        let Some(mut socket) = self.sockets.remove(&id) else { return };
        for waiting in std::mem::take(&mut socket.backlog) {
            self.close_with_reset(waiting, now, delay);
        }
        let Some(peer) = socket.peer else { return };
        let is_unread = !socket.received.is_empty() || socket.arriving_bytes > 0;
        if socket.resets_at_close || is_unread {
            self.put(peer, Segment::Reset, now + delay);
        } else if !socket.sent_end {
            self.put(peer, Segment::End, now + delay);
        }
        if let Some(peer) = self.sockets.get_mut(&peer) {
            peer.peer = None;
        }
        self.asks.push(Ask::Try(peer));
    }

    fn close_with_reset(&mut self, id: SocketId, now: u64, delay: u64) {
        if let Ok(socket) = self.get_mut(id) {
            socket.resets_at_close = true;
        }
        self.close(id, now, delay);
    }

    /// Has the connection fail at both ends, then.
    pub(super) fn reset(&mut self, id: SocketId, then: u64) {
        let peer = self.sockets.get(&id).and_then(|socket| socket.peer);
        for id in [Some(id), peer].into_iter().flatten() {
            self.put(id, Segment::Reset, then);
        }
    }

    // On the way.

    /// Puts a segment on its way, behind those that are.
    fn put(&mut self, to: SocketId, segment: Segment, arrival: u64) {
        let Some(socket) = self.sockets.get_mut(&to) else { return };
        let arrival = socket.arriving.back().map_or(arrival, |(last, _)| arrival.max(*last));
        if let Segment::Data(bytes) = &segment {
            socket.arriving_bytes += bytes.len();
        }
        socket.arriving.push_back((arrival, segment));
        self.asks.push(Ask::ArriveAt(arrival, to));
    }

    /// Takes in what has arrived at a socket by now.
    pub(super) fn arrive(&mut self, id: SocketId, now: u64) {
        let partitions = &self.partitions;
        let is_partitioned = |one: IpAddr, other: IpAddr| partitions.contains(&(one.min(other), one.max(other)));
        self.datagrams.arrive(id, now, is_partitioned, &mut self.asks);
        let Ok(socket) = self.get(id) else { return };
        if socket.state == State::Connecting {
            return self.answer_connect(id, now);
        }
        if let (Some(local), Some(peer)) = (socket.local, socket.peer_address)
            && self.is_partitioned(local.ip(), peer.ip())
        {
            return;
        }
        let Ok(socket) = self.get_mut(id) else { return };
        while let Some((time, _)) = socket.arriving.front()
            && *time <= now
            && let Some((_, segment)) = socket.arriving.pop_front()
        {
            match segment {
                Segment::Data(bytes) => {
                    socket.arriving_bytes -= bytes.len();
                    // Behind a reset nothing is taken in.
                    if !socket.broken {
                        socket.received.extend(bytes);
                    }
                }
                Segment::End => socket.at_end = true,
                Segment::Reset if socket.broken => {}
                Segment::Reset => {
                    socket.broken = true;
                    socket.error = Some(Errno::CONNRESET);
                }
            }
        }
        self.asks.push(Ask::Try(id));
    }

    fn is_partitioned(&self, one: IpAddr, other: IpAddr) -> bool {
        self.partitions.contains(&(one.min(other), one.max(other)))
    }

    pub(super) fn partition(&mut self, one: IpAddr, other: IpAddr) {
        self.partitions.insert((one.min(other), one.max(other)));
    }

    /// Lets everything through again.
    pub(super) fn heal(&mut self, now: u64) {
        self.partitions.clear();
        let ids: Vec<SocketId> = self.sockets.keys().copied().collect();
        self.asks.extend(ids.into_iter().map(|id| Ask::ArriveAt(now, id)));
    }

    /// The machine has stopped: no connection is left.
    pub(super) fn crash(&mut self) {
        self.sockets.clear();
        self.datagrams.crash();
        self.asks.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// A network with a connection from 10.0.0.1 to 10.0.0.2: its two ends.
    fn connected() -> (Network, SocketId, SocketId) {
        let mut network = Network::new();
        let listener = network.add();
        network.bind(listener, address("10.0.0.2:80")).unwrap();
        network.listen(listener, 10).unwrap();
        let client = network.add();
        network.bind(client, address("10.0.0.1:0")).unwrap();
        assert_eq!(network.connect(client, address("10.0.0.2:80"), 0, 5), Ok(Progress::Waits));
        assert_eq!(network.accept(listener), Ok(Progress::Waits));
        network.arrive(client, 5);
        assert_eq!(network.connect(client, address("10.0.0.2:80"), 5, 5), Ok(Progress::Done(())));
        let Ok(Progress::Done(server)) = network.accept(listener) else { panic!("nobody came") };
        (network, client, server)
    }

    #[test]
    fn what_is_sent_arrives_later_and_in_order() {
        let (mut network, client, server) = connected();
        assert_eq!(network.send(client, b"hel", 10, 7), Ok(Progress::Done(3)));
        assert_eq!(network.send(client, b"lo", 11, 1), Ok(Progress::Done(2)));
        network.arrive(server, 16);
        assert_eq!(network.receive(server, 10), Ok(Progress::Waits));
        network.arrive(server, 17);
        assert_eq!(network.receive(server, 10), Ok(Progress::Done(b"hello".to_vec())));
        network.close(client, 20, 1);
        network.arrive(server, 21);
        assert_eq!(network.receive(server, 10), Ok(Progress::Done(Vec::new())));
    }

    #[test]
    fn a_full_window_takes_nothing_until_it_is_read() {
        let (mut network, client, server) = connected();
        assert_eq!(network.send(client, &vec![1; 2 * WINDOW], 0, 1), Ok(Progress::Done(WINDOW)));
        assert_eq!(network.send(client, b"more", 0, 1), Ok(Progress::Waits));
        network.arrive(server, 1);
        assert_eq!(network.send(client, b"more", 1, 1), Ok(Progress::Waits));
        assert!(matches!(network.receive(server, 100), Ok(Progress::Done(_))));
        assert_eq!(network.send(client, b"more", 2, 1), Ok(Progress::Done(4)));
    }

    #[test]
    fn a_partition_holds_everything_back_and_loses_nothing() {
        let (mut network, client, server) = connected();
        network.partition("10.0.0.2".parse().unwrap(), "10.0.0.1".parse().unwrap());
        assert_eq!(network.send(client, b"kept", 0, 1), Ok(Progress::Done(4)));
        network.arrive(server, 100);
        assert_eq!(network.receive(server, 10), Ok(Progress::Waits));
        network.heal(200);
        network.arrive(server, 200);
        assert_eq!(network.receive(server, 10), Ok(Progress::Done(b"kept".to_vec())));
    }

    #[test]
    fn a_close_with_bytes_unread_resets_the_peer() {
        let (mut network, client, server) = connected();
        network.send(client, b"unread", 0, 1).unwrap();
        network.arrive(server, 1);
        network.close(server, 2, 1);
        network.arrive(client, 3);
        assert_eq!(network.receive(client, 1), Err(Errno::CONNRESET));
        assert_eq!(network.send(client, b"x", 4, 1), Err(Errno::PIPE));
    }

    #[test]
    fn behind_a_reset_nothing_is_taken_in() {
        let (mut network, client, server) = connected();
        network.reset(client, 1);
        assert_eq!(network.send(client, b"late", 1, 1), Ok(Progress::Done(4)));
        network.arrive(server, 5);
        assert_eq!(network.receive(server, 10), Err(Errno::CONNRESET));
        assert_eq!(network.receive(server, 10), Ok(Progress::Done(Vec::new())));
    }

    #[test]
    fn nobody_there_refuses() {
        let mut network = Network::new();
        let socket = network.add();
        assert_eq!(network.connect(socket, address("10.0.0.9:1"), 0, 1), Ok(Progress::Waits));
        network.arrive(socket, 1);
        assert_eq!(network.connect(socket, address("10.0.0.9:1"), 1, 1), Err(Errno::CONNREFUSED));
    }
}
