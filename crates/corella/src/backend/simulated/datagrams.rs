//! UDP on a simulated machine: each datagram has a delay of its own, so that they overtake each other, and nobody sends
//! them again. What meets a partition, a full socket or nobody at all is lost.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use super::network::{Ask, SocketId};
use crate::backend::Errno;

type Result<T> = std::result::Result<T, Errno>;

/// Bytes of a datagram at most, as over IPv4.
const DATAGRAM_BYTES_MAX: usize = 65_507;
/// Bytes that a socket keeps for its program, unless it asks for another size.
const ROOM: usize = 208 << 10;
/// What a datagram takes besides its bytes.
const OVERHEAD: usize = 256;

/// A datagram in a socket, with its sender.
pub(super) type Received = (SocketAddr, Vec<u8>);

#[derive(Debug)]
struct Mailbox {
    local: Option<SocketAddr>,
    peer: Option<SocketAddr>,
    received: VecDeque<Received>,
    bytes: usize,
    room: usize,
    /// Pending, for the next call.
    error: Option<Errno>,
}

/// On its way.
#[derive(Debug)]
struct Flight {
    arrival: u64,
    sender: SocketId,
    from: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
}

/// All datagram sockets, and what is between them.
#[derive(Debug, Default)]
pub(super) struct Datagrams {
    mailboxes: BTreeMap<SocketId, Mailbox>,
    flights: Vec<Flight>,
}

impl Datagrams {
    pub(super) fn add(&mut self, id: SocketId) {
        let (local, peer, error) = (None, None, None);
        let mailbox = Mailbox { local, peer, received: VecDeque::new(), bytes: 0, room: ROOM, error };
        self.mailboxes.insert(id, mailbox);
    }

    pub(super) fn has(&self, id: SocketId) -> bool {
        self.mailboxes.contains_key(&id)
    }

    fn get(&mut self, id: SocketId) -> Result<&mut Mailbox> {
        self.mailboxes.get_mut(&id).ok_or(Errno::BADF)
    }

    pub(super) fn local(&self, id: SocketId) -> Option<SocketAddr> {
        self.mailboxes.get(&id)?.local
    }

    pub(super) fn peer(&self, id: SocketId) -> Option<SocketAddr> {
        self.mailboxes.get(&id)?.peer
    }

    pub(super) fn is_taken(&self, address: SocketAddr) -> bool {
        self.mailboxes.values().any(|mailbox| mailbox.local == Some(address))
    }

    pub(super) fn set_local(&mut self, id: SocketId, address: SocketAddr) -> Result<()> {
        self.get(id)?.local = Some(address);
        Ok(())
    }

    pub(super) fn set_peer(&mut self, id: SocketId, address: SocketAddr) -> Result<()> {
        let mailbox = self.get(id)?;
        mailbox.peer = Some(address);
        Ok(())
    }

    pub(super) fn set_room(&mut self, id: SocketId, bytes: usize) -> Result<()> {
        self.get(id)?.room = bytes;
        Ok(())
    }

    pub(super) fn take_error(&mut self, id: SocketId) -> Result<Option<Errno>> {
        Ok(self.get(id)?.error.take())
    }

    /// Whether a receive would find something.
    pub(super) fn is_readable(&self, id: SocketId) -> bool {
        self.mailboxes.get(&id).is_some_and(|mailbox| !mailbox.received.is_empty() || mailbox.error.is_some())
    }

    /// The next datagram, or why there will be none; nothing while there is none.
    pub(super) fn receive(&mut self, id: SocketId) -> Result<Option<Received>> {
        let mailbox = self.get(id)?;
        if let Some(error) = mailbox.error.take() {
            return Err(error);
        }
        let received = mailbox.received.pop_front();
        mailbox.bytes -= received.as_ref().map_or(0, |(_, bytes)| bytes.len() + OVERHEAD);
        Ok(received)
    }

    /// Puts a datagram on its way, unless it `is_lost`.
    pub(super) fn send(
        &mut self,
        id: SocketId,
        to: Option<SocketAddr>,
        bytes: &[u8],
        arrival: u64,
        is_lost: bool,
        asks: &mut Vec<Ask>,
    ) -> Result<()> {
        let mailbox = self.get(id)?;
        if let Some(error) = mailbox.error.take() {
            return Err(error);
        }
        let to = to.or(mailbox.peer).ok_or(Errno::DESTADDRREQ)?;
        if bytes.len() > DATAGRAM_BYTES_MAX {
            return Err(Errno::MSGSIZE);
        }
        let mut from = mailbox.local.ok_or(Errno::INVAL)?;
        if from.ip().is_unspecified() {
            from.set_ip(to.ip());
        }
        if !is_lost {
            self.flights.push(Flight { arrival, sender: id, from, to, bytes: bytes.to_vec() });
            asks.push(Ask::ArriveAt(arrival, id));
        }
        Ok(())
    }

    /// Takes in what a socket has sent and what has arrived by now.
    pub(super) fn arrive(
        &mut self,
        sender: SocketId,
        now: u64,
        is_partitioned: impl Fn(IpAddr, IpAddr) -> bool,
        asks: &mut Vec<Ask>,
    ) {
        let is_due = |flight: &mut Flight| flight.sender == sender && flight.arrival <= now;
        let mut due: Vec<Flight> = self.flights.extract_if(.., is_due).collect();
        due.sort_by_key(|flight| flight.arrival);
        for flight in due {
            if is_partitioned(flight.from.ip(), flight.to.ip()) {
                continue;
            }
            let matches = |mailbox: &Mailbox| {
                let is_local = mailbox.local.is_some_and(|local| {
                    local == flight.to || (local.ip().is_unspecified() && local.port() == flight.to.port())
                });
                is_local && mailbox.peer.is_none_or(|peer| peer == flight.from)
            };
            match self.mailboxes.iter_mut().find(|(_, mailbox)| matches(mailbox)) {
                Some((id, mailbox)) if mailbox.bytes + flight.bytes.len() + OVERHEAD <= mailbox.room => {
                    mailbox.bytes += flight.bytes.len() + OVERHEAD;
                    mailbox.received.push_back((flight.from, flight.bytes));
                    asks.push(Ask::Try(*id));
                }
                Some(_) => {}
                // Who is connected is told that nobody is there.
                None => {
                    if let Some(mailbox) = self.mailboxes.get_mut(&sender).filter(|mailbox| mailbox.peer.is_some()) {
                        mailbox.error = Some(Errno::CONNREFUSED);
                        asks.push(Ask::Try(sender));
                    }
                }
            }
        }
    }

    pub(super) fn close(&mut self, id: SocketId) {
        self.mailboxes.remove(&id);
    }

    pub(super) fn crash(&mut self) {
        *self = Datagrams::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// Two sockets, at 10.0.0.1:1 and 10.0.0.2:2.
    fn two() -> (Datagrams, Vec<Ask>) {
        let mut datagrams = Datagrams::default();
        for (id, local) in [(0, "10.0.0.1:1"), (1, "10.0.0.2:2")] {
            datagrams.add(id);
            datagrams.set_local(id, address(local)).unwrap();
        }
        (datagrams, Vec::new())
    }

    #[test]
    fn datagrams_are_whole_and_may_overtake_each_other() {
        let (mut datagrams, mut asks) = two();
        let to = Some(address("10.0.0.2:2"));
        datagrams.send(0, to, b"first", 20, false, &mut asks).unwrap();
        datagrams.send(0, to, b"", 10, false, &mut asks).unwrap();
        datagrams.send(0, to, b"lost", 10, true, &mut asks).unwrap();
        datagrams.arrive(0, 20, |_, _| false, &mut asks);
        let from = address("10.0.0.1:1");
        assert_eq!(datagrams.receive(1), Ok(Some((from, Vec::new()))));
        assert_eq!(datagrams.receive(1), Ok(Some((from, b"first".to_vec()))));
        assert_eq!(datagrams.receive(1), Ok(None));
    }

    #[test]
    fn a_partition_and_a_full_socket_lose_them() {
        let (mut datagrams, mut asks) = two();
        let to = Some(address("10.0.0.2:2"));
        datagrams.send(0, to, b"x", 1, false, &mut asks).unwrap();
        datagrams.arrive(0, 1, |_, _| true, &mut asks);
        assert_eq!(datagrams.receive(1), Ok(None));
        datagrams.set_room(1, OVERHEAD + 1).unwrap();
        for byte in [b"a", b"b"] {
            datagrams.send(0, to, byte, 2, false, &mut asks).unwrap();
        }
        datagrams.arrive(0, 2, |_, _| false, &mut asks);
        assert_eq!(datagrams.receive(1).unwrap().unwrap().1, b"a");
        assert_eq!(datagrams.receive(1), Ok(None));
        assert_eq!(datagrams.send(0, to, &vec![0; 70_000], 3, false, &mut asks), Err(Errno::MSGSIZE));
    }

    #[test]
    fn who_is_connected_hears_from_the_peer_only_and_that_it_is_not_there() {
        let (mut datagrams, mut asks) = two();
        datagrams.set_peer(1, address("10.0.0.9:9")).unwrap();
        datagrams.send(0, Some(address("10.0.0.2:2")), b"stranger", 1, false, &mut asks).unwrap();
        datagrams.arrive(0, 1, |_, _| false, &mut asks);
        assert_eq!(datagrams.receive(1), Ok(None));
        datagrams.send(1, None, b"anybody?", 2, false, &mut asks).unwrap();
        datagrams.arrive(1, 2, |_, _| false, &mut asks);
        assert_eq!(datagrams.receive(1), Err(Errno::CONNREFUSED));
        assert_eq!(datagrams.send(0, None, b"to whom?", 2, false, &mut asks), Err(Errno::DESTADDRREQ));
    }
}
