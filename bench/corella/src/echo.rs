//! TCP echo, also beside slow work in the pool, and a server that throws away what it gets.

use std::error::Error;
use std::path::PathBuf;

use contender::{Arguments, announce, connection_ended};
use corella::{Io, Listener, Mode, Scheduler, SliceOf, Socket};

type Ended = Result<(), Box<dyn Error>>;

fn listen(io: &Io) -> Result<Listener, Box<dyn Error>> {
    let listener = io.listen("127.0.0.1:0".parse()?)?;
    announce(listener.local_address()?.port());
    Ok(listener)
}

/// Opens a FIFO, which sleeps in the pool, again and again.
async fn sleep_in_pool(io: Io, path: PathBuf) -> Result<(), corella::Error> {
    loop {
        io.open(&path, Mode::Read).await?.close().await?;
    }
}

async fn serve(socket: Socket, bytes: usize) -> Result<(), corella::Error> {
    let mut buffer = vec![0; bytes];
    loop {
        let (count, received) = socket.recv(buffer).await?;
        if count == 0 {
            return Ok(());
        }
        let (_, sent) = socket.send(received.slice(..count)).await?;
        buffer = sent.into_inner();
    }
}

pub fn awaited(mut scheduler: Scheduler, arguments: &Arguments) -> Ended {
    let io = scheduler.io();
    let listener = listen(&io)?;
    let bytes = arguments.need("bytes") as usize;
    for path in contender::folder::fifos(arguments) {
        drop(io.spawn(sleep_in_pool(io.clone(), path))?);
    }
    scheduler.block_on(async {
        loop {
            let socket = listener.accept().await?;
            socket.set_no_delay(true)?;
            // A connection that is reset is over, and that is all.
            io.spawn(async move {
                let _ = serve(socket, bytes).await;
                connection_ended();
            })?;
        }
    })?
}

fn receive(socket: Socket, buffer: Vec<u8>) {
    let next = socket.clone();
    let submitted = socket.recv(buffer).then(move |outcome| match outcome {
        Ok((0, _)) | Err(_) => connection_ended(),
        Ok((count, buffer)) => send_back(next, buffer, count),
    });
    drop(submitted);
}

fn send_back(socket: Socket, buffer: Vec<u8>, count: usize) {
    let next = socket.clone();
    let submitted = socket.send(buffer.slice(..count)).then(move |outcome| {
        if let Ok((_, sent)) = outcome {
            receive(next, sent.into_inner());
        }
    });
    drop(submitted);
}

fn accept(listener: Listener, bytes: usize) {
    let next = listener.clone();
    let submitted = listener.accept().then(move |outcome| {
        if let Ok(socket) = outcome {
            let _ = socket.set_no_delay(true);
            receive(socket, vec![0; bytes]);
        }
        accept(next, bytes);
    });
    drop(submitted);
}

fn open_again(io: Io, path: PathBuf) {
    let opening = io.open(&path, Mode::Read);
    let submitted = opening.then(move |outcome| {
        // It is closed with its last handle.
        drop(outcome);
        open_again(io, path);
    });
    drop(submitted);
}

pub fn with_callbacks(mut scheduler: Scheduler, arguments: &Arguments) -> Ended {
    for path in contender::folder::fifos(arguments) {
        open_again(scheduler.io(), path);
    }
    accept(listen(&scheduler.io())?, arguments.need("bytes") as usize);
    Ok(scheduler.run()?)
}

pub fn stream_awaited(mut scheduler: Scheduler, arguments: &Arguments) -> Ended {
    let listener = listen(&scheduler.io())?;
    scheduler.block_on(async {
        let mut buffer = vec![0; arguments.need("bytes") as usize];
        loop {
            let socket = listener.accept().await?;
            loop {
                let (count, received) = socket.recv(buffer).await?;
                buffer = received;
                if count == 0 {
                    break;
                }
            }
            connection_ended();
        }
    })?
}

fn take(socket: Socket, buffer: Vec<u8>) {
    let next = socket.clone();
    let submitted = socket.recv(buffer).then(move |outcome| match outcome {
        Ok((0, _)) | Err(_) => connection_ended(),
        Ok((_, buffer)) => take(next, buffer),
    });
    drop(submitted);
}

pub fn stream_with_callbacks(mut scheduler: Scheduler, arguments: &Arguments) -> Ended {
    let bytes = arguments.need("bytes") as usize;
    let listener = listen(&scheduler.io())?;
    let submitted = listener.accept().then(move |outcome| match outcome {
        Ok(socket) => take(socket, vec![0; bytes]),
        Err(failed) => contender::fail(&failed.to_string()),
    });
    drop(submitted);
    Ok(scheduler.run()?)
}
