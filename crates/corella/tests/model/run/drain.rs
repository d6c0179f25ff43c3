//! Receives and accepts what is left when a program's own operations are over.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use corella::{DatagramSocket, ErrorKind, Listener};

use super::Run;
use super::ends::{End, is_writer};
use crate::diary::{Outcome, port_of_accepted};
use crate::program::{Link, Place, Verb};

/// The last datagrams of a socket, by which the other end's last receive knows that there are no more: longer than any
/// other.
pub const LAST: [u8; 600] = [0xff; 600];

impl Run<'_> {
    /// Ends both directions of each stream and receives what is left; behind what has been submitted, tasks
    /// included.
    pub(super) fn drain_streams(&mut self) -> Result<Vec<Vec<u8>>, String> {
        let rests = Rc::new(RefCell::new(vec![None; self.ends.len()]));
        let ends: Vec<Option<End>> = self.ends.iter().map(|clones| clones.first().cloned()).collect();
        let is_shallow = self.program.is_shallow();
        let io = self.io.clone();
        let inside = Rc::clone(&rests);
        let drain = async move |number: usize, end: Option<End>| {
            let left = match end {
                Some(end) if !is_writer(&end, number) => end.receive_rest().await,
                _ => Vec::new(),
            };
            inside.borrow_mut()[number] = Some(left);
        };
        let spawned = self.io.spawn(async move {
            io.yield_now().await;
            if is_shallow {
                // One receive would take the place of all others.
                for (number, end) in ends.iter().enumerate() {
                    if let Some(end) = end {
                        end.end_sending(number.is_multiple_of(2)).await;
                    }
                }
                for (number, end) in ends.into_iter().enumerate() {
                    drain(number, end).await;
                }
            } else {
                for (number, end) in ends.into_iter().enumerate() {
                    let drain = drain.clone();
                    let receives = end.clone();
                    io.spawn(async move { drain(number, receives).await }).unwrap();
                    if let Some(end) = end {
                        io.spawn(async move { end.end_sending(number.is_multiple_of(2)).await }).unwrap();
                    }
                }
            }
        });
        drop(spawned.unwrap());
        let seen = Rc::clone(&rests);
        self.turn_until(move || seen.borrow().iter().all(Option::is_some))?;
        let rests = rests.take();
        Ok(rests.into_iter().map(Option::unwrap_or_default).collect())
    }

    /// Receives what is left at each datagram socket, and closes it then: whoever still waits for one is told so.
    pub(super) fn drain_datagrams(&mut self) -> Result<Vec<Vec<Vec<u8>>>, String> {
        let mut rests = vec![Vec::new(); self.ends.len()];
        let is_datagrams = |number: &usize| self.program.link(*number) == Link::Datagrams;
        let numbers: Vec<usize> = (0..self.ends.len()).filter(is_datagrams).collect();
        let socket = |number: usize| match self.ends[number].first() {
            Some(End::Datagrams(socket)) => Some(socket.clone()),
            _ => None,
        };
        let is_simulated = self.simulation.is_some();
        let sockets: Vec<_> = numbers.iter().map(|number| (socket(*number), socket(number ^ 1))).collect();
        for (number, (receiver, sender)) in numbers.iter().zip(sockets) {
            let Some(receiver) = receiver else { continue };
            let rest = self.scheduler.block_on(async move {
                match (is_simulated, sender) {
                    // They overtake each other, and none is under way for so long.
                    (true, _) => receive_until_quiet(&receiver, Duration::from_secs(10)).await,
                    (false, Some(sender)) => receive_until_last(&receiver, &sender).await,
                    (false, None) => receive_until_quiet(&receiver, Duration::from_millis(50)).await,
                }
            });
            rests[*number] = rest.map_err(|error| error.to_string())?;
        }
        for number in numbers {
            let Some(end) = self.ends[number].first().cloned() else { continue };
            self.diary.dropped(Place::End(number));
            // It may be closed already.
            drop(self.scheduler.block_on(end.close(false)).map_err(|error| error.to_string())?);
        }
        Ok(rests)
    }

    /// Accepts what is left at each listener, until every client that is known to be connected has been.
    pub(super) fn drain_listeners(&mut self) -> Result<Vec<Vec<u64>>, String> {
        let rests = Rc::new(RefCell::new(vec![Vec::new(); self.listeners.len()]));
        for number in 0..self.listeners.len() {
            let Some(listener) = self.listeners[number].first().cloned().filter(Listener::is_open) else { continue };
            let accepting = listener.clone();
            let accepted = Rc::clone(&rests);
            let drain = self.io.spawn(async move {
                while let Ok(socket) = accepting.accept().await {
                    accepted.borrow_mut()[number].push(port_of_accepted(socket));
                }
            });
            let (diary, seen) = (Rc::clone(&self.diary), Rc::clone(&rests));
            let is_drained = move || {
                let records = diary.records.borrow();
                let mut accepted: BTreeSet<u64> = seen.borrow()[number].iter().copied().collect();
                let numbers = |is_it: &dyn Fn(Verb) -> bool| -> Vec<u64> {
                    let ours = records.iter().filter(|record| is_it(record.op));
                    ours.filter_map(|record| match record.outcome {
                        Some(Outcome::Number(port)) => Some(port),
                        _ => None,
                    })
                    .collect()
                };
                accepted.extend(numbers(&|verb| verb == Verb::Accept { listener: number }));
                let connected = numbers(&|verb| matches!(verb, Verb::Connect { listener, .. } if listener == number));
                connected.iter().all(|port| accepted.contains(port))
            };
            self.turn_until(is_drained)?;
            self.diary.dropped(Place::Listener(number));
            let closed = self.scheduler.block_on(listener.close()).map_err(|error| error.to_string())?;
            closed.map_err(|error| format!("a listener does not close: {error}"))?;
            self.scheduler.block_on(drain.unwrap()).map_err(|error| error.to_string())?.unwrap();
        }
        Ok(rests.take())
    }
}

/// Receives datagrams until none comes for so long.
async fn receive_until_quiet(receiver: &DatagramSocket, quiet: Duration) -> Vec<Vec<u8>> {
    let mut rest = Vec::new();
    while let Ok(datagram) = receiver.recv_from(vec![0; LAST.len()]).deadline(quiet).await {
        rest.push(datagram.buffer[..datagram.count].to_vec());
    }
    rest
}

/// Receives datagrams until one of the last has come; those that the program's own receives take are sent again.
async fn receive_until_last(receiver: &DatagramSocket, sender: &DatagramSocket) -> Vec<Vec<u8>> {
    const MOMENT: Duration = Duration::from_millis(20);
    let mut rest: Vec<Vec<u8>> = Vec::new();
    loop {
        let sent = sender.send(LAST.to_vec()).deadline(MOMENT).await;
        match receiver.recv_from(vec![0; LAST.len()]).deadline(MOMENT).await {
            Ok(datagram) if datagram.buffer[..datagram.count] == LAST => return rest,
            Ok(datagram) => rest.push(datagram.buffer[..datagram.count].to_vec()),
            // One of the two is closed.
            Err(failed) if failed.error.kind() != ErrorKind::TimedOut => return rest,
            Err(_) if sent.is_err_and(|failed| failed.error.kind() != ErrorKind::TimedOut) => return rest,
            Err(_) => {}
        }
    }
}
