//! A TCP echo server with callbacks alone: no tasks, no futures.
//!
//! `cargo run --release -p corella --example echo_callbacks -- 127.0.0.1:7000`, then `nc 127.0.0.1 7000`.

use std::error::Error;
use std::net::SocketAddr;

use corella::{Listener, Scheduler, SliceOf, Socket};

const BUFFER_BYTES: usize = 16 * 1024;

/// Receives, and goes on with [`send_back`].
fn receive(socket: Socket, buffer: Vec<u8>) {
    let next = socket.clone();
    let refused = socket.recv(buffer).then(move |outcome| match outcome {
        Ok((0, _)) => {}
        Ok((count, buffer)) => send_back(next, buffer, count),
        Err(failed) => eprintln!("{failed}"),
    });
    if let Err(failed) = refused {
        eprintln!("{failed}");
    }
}

/// Sends, and goes on with [`receive`].
fn send_back(socket: Socket, buffer: Vec<u8>, count: usize) {
    let next = socket.clone();
    let refused = socket.send(buffer.slice(..count)).then(move |outcome| match outcome {
        Ok((_, sent)) => receive(next, sent.into_inner()),
        Err(failed) => eprintln!("{failed}"),
    });
    if let Err(failed) = refused {
        eprintln!("{failed}");
    }
}

/// Accepts one connection, and then the next.
fn accept(listener: Listener) {
    let next = listener.clone();
    let refused = listener.accept().then(move |outcome| {
        match outcome {
            Ok(socket) => receive(socket, vec![0; BUFFER_BYTES]),
            Err(error) => eprintln!("{error}"),
        }
        accept(next);
    });
    if let Err(error) = refused {
        eprintln!("{error}");
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let Some(address) = std::env::args().nth(1) else {
        return Err("usage: echo_callbacks ADDR, such as 127.0.0.1:7000".into());
    };
    let address: SocketAddr = address.parse().map_err(|error| format!("{address}: {error}"))?;
    let mut scheduler = Scheduler::new()?;
    let listener = scheduler.io().listen(address)?;
    println!("echo on {} with {}", listener.local_address()?, scheduler.backend().name());
    accept(listener);
    scheduler.run()?;
    Ok(())
}
