//! A TCP echo server, one task a connection.
//!
//! `cargo run --release -p corella --example echo -- 127.0.0.1:7000`, then `nc 127.0.0.1 7000`.

use std::error::Error;
use std::net::SocketAddr;

use corella::{Scheduler, SliceOf, Socket};

/// Sends back whatever comes, until the peer ends.
async fn echo(socket: Socket) -> std::io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let (count, filled) = socket.recv(buffer).await?;
        if count == 0 {
            return Ok(());
        }
        let (_, sent) = socket.send(filled.slice(..count)).await?;
        buffer = sent.into_inner();
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let Some(address) = std::env::args().nth(1) else { return Err("usage: echo ADDR, such as 127.0.0.1:7000".into()) };
    let address: SocketAddr = address.parse().map_err(|error| format!("{address}: {error}"))?;
    let mut scheduler = Scheduler::new()?;
    let io = scheduler.io();
    let listener = io.listen(address)?;
    println!("echo on {} with {}", listener.local_address()?, scheduler.backend().name());
    scheduler.block_on(async move {
        let mut connections = listener.incoming();
        while let Some(connection) = connections.next().await {
            match connection {
                Ok(socket) => {
                    io.spawn(async move {
                        if let Err(error) = echo(socket).await {
                            eprintln!("{error}");
                        }
                    })?;
                }
                Err(error) => eprintln!("{error}"),
            }
        }
        Ok::<_, corella::Error>(())
    })??;
    Ok(())
}
