//! The other side of an echo server: clients with one message in flight each, in one thread on its own processor.

use std::collections::VecDeque;
use std::ffi::c_int;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// What an idle connection sends before it is idle, and what its server has room for.
pub const IDLE_BYTES: usize = 64;

struct Client {
    stream: TcpStream,
    /// Bytes of the answer that have come.
    received: usize,
    /// When its message was to be sent; `None` while it has none in flight.
    sent: Option<Instant>,
}

pub struct Load {
    clients: Vec<Client>,
    port: u16,
    epoll: c_int,
    message: Vec<u8>,
    answer: Vec<u8>,
    events: Vec<libc::epoll_event>,
}

/// When the load stops to send.
pub enum Until {
    Time(Duration),
    /// So many answers.
    Answers(u64),
}

/// A server that does not answer for so long never will.
const PATIENCE: Duration = Duration::from_secs(60);

impl Load {
    pub fn connect(port: u16, connections: usize, bytes: usize) -> Result<Load, String> {
        // SAFETY: a call with a flag.
        let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        let events = vec![libc::epoll_event { events: 0, u64: 0 }; 1024];
        let (message, answer) = (vec![b'x'; bytes], vec![0; bytes]);
        let mut load = Load { clients: Vec::new(), port, epoll, message, answer, events };
        load.connect_more(connections)?;
        Ok(load)
    }

    /// More clients beside those that there are.
    pub fn connect_more(&mut self, connections: usize) -> Result<(), String> {
        for _ in 0..connections {
            let stream = self.connect_to(self.clients.len())?;
            stream.set_nodelay(true).map_err(|error| error.to_string())?;
            self.clients.push(Client { stream, received: 0, sent: None });
        }
        Ok(())
    }

    /// A connection whose events bear this number.
    fn connect_to(&self, place: usize) -> Result<TcpStream, String> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).map_err(|error| error.to_string())?;
        stream.set_nonblocking(true).map_err(|error| error.to_string())?;
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: place as u64 };
        // SAFETY: the event lives for the call.
        unsafe { libc::epoll_ctl(self.epoll, libc::EPOLL_CTL_ADD, stream.as_raw_fd(), &mut event) };
        Ok(stream)
    }

    fn send(&mut self, place: usize, intended: Instant) -> Result<(), String> {
        let client = &mut self.clients[place];
        client.sent = Some(intended);
        client.received = 0;
        let mut rest = &self.message[..];
        while !rest.is_empty() {
            match client.stream.write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::yield_now(),
                Err(error) => return Err(format!("the server went: {error}")),
            }
        }
        Ok(())
    }

    /// Waits for answers; calls `answered` with each client that has its whole one and when it was to be sent.
    fn receive(&mut self, timeout_ms: c_int, answered: &mut Vec<(usize, Instant)>) -> Result<(), String> {
        answered.clear();
        let room = self.events.len() as c_int;
        // SAFETY: there is room for so many events.
        let count = unsafe { libc::epoll_wait(self.epoll, self.events.as_mut_ptr(), room, timeout_ms) };
        for event in &self.events[..count.max(0) as usize] {
            let place = event.u64 as usize;
            let client = &mut self.clients[place];
            match client.stream.read(&mut self.answer) {
                Ok(0) => return Err("the server ended a connection".into()),
                Ok(count) => client.received += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(format!("the server went: {error}")),
            }
            if client.received == self.message.len()
                && let Some(sent) = client.sent.take()
            {
                answered.push((place, sent));
            }
        }
        Ok(())
    }

    /// Every client sends again as soon as it was answered. Gives how many answers came, and in which time.
    pub fn run(&mut self, until: Until) -> Result<(u64, Duration), String> {
        self.run_with(until, |_, _| Ok(()))
    }

    /// Every client closes its connection as soon as it was answered, and sends on a new one.
    pub fn run_with_churn(&mut self, until: Until) -> Result<(u64, Duration), String> {
        self.run_with(until, Load::reconnect)
    }

    /// `between` makes a client ready to send again.
    fn run_with(
        &mut self,
        until: Until,
        between: impl Fn(&mut Load, usize) -> Result<(), String>,
    ) -> Result<(u64, Duration), String> {
        let begun = Instant::now();
        let (mut sent, mut done) = (0, 0);
        let goes_on = |sent: u64| match until {
            Until::Time(limit) => begun.elapsed() < limit,
            Until::Answers(count) => sent < count,
        };
        for place in 0..self.clients.len() {
            if goes_on(sent) {
                self.send(place, begun)?;
                sent += 1;
            }
        }
        let mut answered = Vec::new();
        let mut last = Instant::now();
        let mut elapsed = begun.elapsed();
        while done < sent {
            self.receive(100, &mut answered)?;
            let sends_more = goes_on(sent);
            for &(place, _) in &answered {
                done += 1;
                if sends_more && goes_on_counted(&until, sent) {
                    between(self, place)?;
                    self.send(place, begun)?;
                    sent += 1;
                }
            }
            if sends_more {
                elapsed = begun.elapsed();
            }
            if !answered.is_empty() {
                last = Instant::now();
            } else if last.elapsed() > PATIENCE {
                return Err("the server answers no more".into());
            }
        }
        Ok((done, elapsed))
    }

    fn reconnect(&mut self, place: usize) -> Result<(), String> {
        self.clients[place].stream = self.connect_to(place)?;
        Ok(())
    }

    /// Messages are to be sent at a rate, whether the server keeps up or not; one that finds no free client waits for
    /// one, and its time counts from when it was to be sent.
    pub fn run_at_rate(&mut self, rate: f64, duration: Duration) -> Result<Vec<u64>, String> {
        let begun = Instant::now();
        let mut free: VecDeque<usize> = (0..self.clients.len()).collect();
        let mut latencies = Vec::with_capacity((rate * duration.as_secs_f64()) as usize + 1);
        let mut answered = Vec::new();
        let (mut begun_count, mut last) = (0u64, Instant::now());
        let intended = |count: u64| begun + Duration::from_secs_f64(count as f64 / rate);
        loop {
            let now = Instant::now();
            let is_over = intended(begun_count) >= begun + duration;
            while !is_over && intended(begun_count) <= now && intended(begun_count) < begun + duration {
                let Some(place) = free.pop_front() else { break };
                self.send(place, intended(begun_count))?;
                begun_count += 1;
            }
            if is_over && free.len() == self.clients.len() {
                return Ok(latencies);
            }
            self.receive(0, &mut answered)?;
            for &(place, intended) in &answered {
                latencies.push(intended.elapsed().as_nanos() as u64);
                free.push_back(place);
            }
            if !answered.is_empty() {
                last = now;
            } else if last.elapsed() > PATIENCE {
                return Err("the server answers no more".into());
            }
        }
    }
}

/// One connection sends parts of a stream, one after the other. Gives how many, and in which time.
pub struct Sender {
    stream: TcpStream,
    part: Vec<u8>,
}

impl Sender {
    pub fn connect(port: u16, bytes: usize) -> Result<Sender, String> {
        let stream = TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.to_string())?;
        Ok(Sender { stream, part: vec![b'x'; bytes] })
    }

    pub fn run(&mut self, until: Until) -> Result<(u64, Duration), String> {
        let begun = Instant::now();
        let mut sent = 0;
        while match until {
            Until::Time(limit) => begun.elapsed() < limit,
            Until::Answers(count) => sent < count,
        } {
            self.stream.write_all(&self.part).map_err(|error| format!("the server went: {error}"))?;
            sent += 1;
        }
        Ok((sent, begun.elapsed()))
    }
}

fn goes_on_counted(until: &Until, sent: u64) -> bool {
    !matches!(until, Until::Answers(count) if sent >= *count)
}

impl Drop for Load {
    fn drop(&mut self) {
        // SAFETY: made in `connect` and closed this once.
        unsafe { libc::close(self.epoll) };
    }
}

/// The value below which such a part of them lies.
pub fn percentile(values: &[u64], part: f64) -> u64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let place = (sorted.len() as f64 * part) as usize;
    sorted.get(place.min(sorted.len().saturating_sub(1))).copied().unwrap_or(0)
}

/// Thousands of connections are more descriptors than a process usually may have.
pub fn raise_descriptor_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure lives for both calls.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        }
    }
}
