//! Sockets: crowds of connections, and peers that reset, stall, or send a byte at a time.

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::time::Duration;

use corella::{ErrorKind, Io, Listener, Shutdown, Socket};

use crate::setup::Setup;
use crate::{Random, promises, rounds};

promises![
    ten_thousand_connections_are_used_and_torn_down_in_any_order,
    peers_that_reset_stall_or_trickle_harm_nobody_else,
];

/// Connections of one round: both ends are this process's, so its limit of descriptors bounds them.
fn crowd() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: system calls on this process alone; the structure lives through them.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
    }
    (limit.rlim_cur.saturating_sub(200) as usize / 2).min(10_000)
}

/// Sends back what it gets, until the end.
async fn echo(socket: Socket) {
    let mut buffer = vec![0; 1024];
    while let Ok((count, mut bytes)) = socket.recv(buffer).await {
        if count == 0 {
            return;
        }
        bytes.truncate(count);
        match socket.send(bytes).await {
            Ok((_, bytes)) => buffer = bytes,
            Err(_) => return,
        }
        buffer.resize(1024, 0);
    }
}

async fn serve(io: Io, listener: Listener) {
    let mut connections = listener.incoming();
    while let Some(connection) = connections.next().await {
        if let Ok(connection) = connection {
            io.spawn(echo(connection)).unwrap();
        }
    }
}

fn ten_thousand_connections_are_used_and_torn_down_in_any_order(setup: &Setup) {
    let count = crowd();
    rounds(|random| {
        let mut scheduler = setup.builder().tasks(3 * count + 10).queue_depth(4 * count).build().unwrap();
        let io = scheduler.io();
        let listener = io.listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_address().unwrap();
        io.spawn(serve(io.clone(), listener.clone())).unwrap();
        let mut clients = connect_all(&mut scheduler, address, count);
        assert_eq!(clients.len(), count);
        let answered = Rc::new(Cell::new(0));
        for (number, client) in clients.iter().enumerate() {
            let (client, answered) = (client.clone(), Rc::clone(&answered));
            let message = number.to_le_bytes().repeat(1 + random.below(20));
            let is_hasty = random.chance(20);
            io.spawn(async move {
                client.send(message.clone()).await.unwrap();
                if !is_hasty {
                    let (_, echoed) = client.recv_exact(vec![0; message.len()]).await.unwrap();
                    assert_eq!(echoed, message);
                }
                answered.set(answered.get() + 1);
            })
            .unwrap();
        }
        while answered.get() < count {
            scheduler.turn(Duration::from_secs(1)).unwrap();
        }
        // In any order, by a drop, a close, a reset or a shutdown.
        while !clients.is_empty() {
            let client = clients.swap_remove(random.below(clients.len()));
            match random.below(4) {
                0 => drop(client),
                1 => drop(client.close().submit().unwrap()),
                2 => client.set_linger(Some(Duration::ZERO)).unwrap(),
                _ => drop(client.shutdown(Shutdown::Write).submit()),
            }
            if random.chance(1) {
                scheduler.poll().unwrap();
            }
        }
        scheduler.block_on(listener.close()).unwrap().unwrap();
        drop(listener);
        scheduler.run().unwrap();
        assert_eq!((scheduler.active_tasks(), scheduler.outstanding().len()), (0, 0));
    });
}

fn connect_all(scheduler: &mut corella::Scheduler, address: SocketAddr, count: usize) -> Vec<Socket> {
    let io = scheduler.io();
    let mut clients = Vec::with_capacity(count);
    let all = async {
        while clients.len() < count {
            // No more at once than a listener's backlog takes.
            let batch: Vec<_> =
                (0..500.min(count - clients.len())).map(|_| io.connect(address).submit().unwrap()).collect();
            for connect in batch {
                clients.push(connect.await.unwrap());
            }
        }
    };
    scheduler.block_on(all).unwrap();
    clients
}

/// A peer that does everything wrong, on a thread of its own.
fn misbehave(address: SocketAddr, seed: u64) {
    let mut random = Random::new(seed);
    for _ in 0..20 {
        let Ok(mut stream) = TcpStream::connect(address) else { return };
        stream.set_nodelay(true).unwrap();
        match random.below(4) {
            // A reset, with something unread.
            0 => {
                let _ = stream.write_all(&[1; 3000]);
                let linger = libc::linger { l_onoff: 1, l_linger: 0 };
                set_linger(&stream, &linger);
            }
            // It sends and never reads, until it goes away.
            1 => {
                stream.set_nonblocking(true).unwrap();
                for _ in 0..100 {
                    let _ = stream.write(&[2; 8192]);
                }
            }
            // A byte at a time.
            2 => {
                for byte in 0..50 {
                    if stream.write_all(&[byte]).is_err() || stream.read_exact(&mut [0]).is_err() {
                        break;
                    }
                }
            }
            // It opens and says nothing.
            _ => std::thread::sleep(Duration::from_millis(random.below(5) as u64)),
        }
    }
}

fn set_linger(stream: &TcpStream, linger: &libc::linger) {
    use std::os::fd::AsRawFd;
    let (descriptor, size) = (stream.as_raw_fd(), size_of::<libc::linger>() as libc::socklen_t);
    // SAFETY: the structure lives through the call, and the size is its.
    let result = unsafe {
        libc::setsockopt(descriptor, libc::SOL_SOCKET, libc::SO_LINGER, std::ptr::from_ref(linger).cast(), size)
    };
    assert_eq!(result, 0);
}

fn peers_that_reset_stall_or_trickle_harm_nobody_else(setup: &Setup) {
    rounds(|random| {
        let mut scheduler = setup.scheduler();
        let io = scheduler.io();
        let listener = io.listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_address().unwrap();
        io.spawn(serve(io.clone(), listener.clone())).unwrap();
        let peers: Vec<_> = (0..4)
            .map(|_| {
                let seed = random.number();
                std::thread::spawn(move || misbehave(address, seed))
            })
            .collect();
        // Somebody who behaves is served all the while.
        let good = async {
            let socket = io.connect(address).await.unwrap();
            for number in 0..500u32 {
                let message = number.to_le_bytes().repeat(100);
                socket.send(message.clone()).await.unwrap();
                assert_eq!(socket.recv_exact(vec![0; 400]).await.unwrap().1, message);
            }
        };
        scheduler.block_on(good).unwrap();
        while !peers.iter().all(std::thread::JoinHandle::is_finished) {
            scheduler.turn(Duration::from_millis(5)).unwrap();
        }
        peers.into_iter().for_each(|peer| peer.join().unwrap());
        scheduler.block_on(listener.close()).unwrap().unwrap();
        let late = scheduler.block_on(listener.accept()).unwrap().unwrap_err();
        assert_eq!(late.kind(), ErrorKind::Closed);
        drop(listener);
        scheduler.run().unwrap();
        assert_eq!((scheduler.active_tasks(), scheduler.outstanding().len()), (0, 0));
        // Nobody is left who holds the port.
        TcpListener::bind(address).unwrap();
    });
}
