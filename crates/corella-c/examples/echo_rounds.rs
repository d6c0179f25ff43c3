//! What `tests/c/echo_rounds.c` does, in Rust on the engine itself: the measure for what the C interface may cost.
//!
//! `echo_rounds CONNECTIONS ROUNDS`

use std::cell::Cell;
use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::rc::Rc;
use std::time::Duration;

use corella::{Scheduler, SliceOf, Socket};

const BUFFER_BYTES: usize = 4096;
const MESSAGE_BYTES: usize = 64;

type Count = Rc<Cell<u64>>;

fn receive(socket: Socket, buffer: Vec<u8>, answered: Count) {
    let next = socket.clone();
    let submitted = socket.recv(buffer).then(move |outcome| match outcome {
        Ok((0, _)) => {}
        Ok((count, buffer)) => send_back(next, buffer, count, answered),
        Err(failed) => panic!("{failed}"),
    });
    submitted.unwrap_or_else(|failed| panic!("{failed}"));
}

fn send_back(socket: Socket, buffer: Vec<u8>, count: usize, answered: Count) {
    let next = socket.clone();
    let submitted = socket.send(buffer.slice(..count)).then(move |outcome| match outcome {
        Ok((_, sent)) => {
            answered.set(answered.get() + 1);
            receive(next, sent.into_inner(), answered);
        }
        Err(failed) => panic!("{failed}"),
    });
    submitted.unwrap_or_else(|failed| panic!("{failed}"));
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<u64> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let [connections, rounds] = arguments[..] else { return Err("usage: echo_rounds CONNECTIONS ROUNDS".into()) };
    let mut scheduler = Scheduler::new()?;
    let listener = scheduler.io().listen("127.0.0.1:0".parse()?)?;
    let answered = Count::default();
    let mut clients = Vec::new();
    for _ in 0..connections {
        clients.push(TcpStream::connect(listener.local_address()?)?);
        receive(listener.accept().wait()?, vec![0; BUFFER_BYTES], Rc::clone(&answered));
    }
    let message = [b'x'; MESSAGE_BYTES];
    let mut answer = [0; MESSAGE_BYTES];
    for round in 1..=rounds {
        for client in &mut clients {
            client.write_all(&message)?;
        }
        while answered.get() < round * connections {
            scheduler.turn(Duration::ZERO)?;
        }
        for client in &mut clients {
            client.read_exact(&mut answer)?;
            assert_eq!(answer, message);
        }
    }
    drop(clients);
    drop(listener);
    scheduler.run()?;
    println!("{} round trips", answered.get());
    Ok(())
}
