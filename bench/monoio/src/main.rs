//! monoio as its users write it, on its io_uring driver.

mod files;

use std::cell::Cell;
use std::error::Error;
use std::rc::Rc;
use std::time::Duration;

use contender::tasks::yield_once;
use contender::{Arguments, Run, announce, connection_ended, unknown};
use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::{TcpListener, TcpStream};

type Ended = Result<(), Box<dyn Error>>;

fn main() -> Ended {
    let arguments = Arguments::parse();
    let mut runtime =
        monoio::RuntimeBuilder::<monoio::IoUringDriver>::new().with_entries(1024).enable_timer().build()?;
    runtime.block_on(async {
        match arguments.workload.as_str() {
            "echo" => echo(&arguments).await,
            "stream" => stream(&arguments).await,
            "read" => files::read(&arguments).await,
            "write" => files::write(&arguments).await,
            "append" => files::append(&arguments).await,
            "files" => files::small(&arguments).await,
            "fire" => fire(&arguments).await,
            "yield" => yielding(&arguments).await,
            "timers" => timers(&arguments).await,
            "spawn" => spawned(&arguments).await,
            "wake" => contender::wake::from_another_thread(arguments.limit()).await,
            _ => unknown(&arguments),
        }
    })
}

async fn serve(mut stream: TcpStream, bytes: usize) -> std::io::Result<()> {
    let mut buffer: Vec<u8> = Vec::with_capacity(bytes);
    loop {
        let (count, received) = stream.read(buffer).await;
        if count? == 0 {
            return Ok(());
        }
        // It is as long as what came.
        let (sent, back) = stream.write_all(received).await;
        sent?;
        buffer = back;
        buffer.clear();
    }
}

/// Opens a FIFO, which sleeps, again and again.
async fn sleep_in_pool(path: std::path::PathBuf) -> std::io::Result<()> {
    loop {
        monoio::fs::File::open(&path).await?.close().await?;
    }
}

async fn echo(arguments: &Arguments) -> Ended {
    for path in contender::folder::fifos(arguments) {
        monoio::spawn(sleep_in_pool(path));
    }
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let bytes = arguments.need("bytes") as usize;
    announce(listener.local_addr()?.port());
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        monoio::spawn(async move {
            let _ = serve(stream, bytes).await;
            connection_ended();
        });
    }
}

async fn stream(arguments: &Arguments) -> Ended {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    announce(listener.local_addr()?.port());
    let mut buffer = Vec::with_capacity(arguments.need("bytes") as usize);
    loop {
        let (mut stream, _) = listener.accept().await?;
        loop {
            let (count, mut received) = stream.read(buffer).await;
            received.clear();
            buffer = received;
            if count? == 0 {
                break;
            }
        }
        connection_ended();
    }
}

/// Sixteen tasks yield to each other.
async fn yielding(arguments: &Arguments) -> Ended {
    let limit = Rc::new(arguments.limit());
    let done = Rc::new(Cell::new(0u64));
    let run = Run::begin();
    let tasks = (0..16).map(|_| {
        let (limit, done) = (Rc::clone(&limit), Rc::clone(&done));
        monoio::spawn(async move {
            while limit.allows(done.get()) {
                done.set(done.get() + 1);
                yield_once().await;
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await;
    }
    run.end(done.get())
}

/// Arms timers of a millisecond, a thousand at a time, and waits until all have fired.
async fn fire(arguments: &Arguments) -> Ended {
    let limit = arguments.limit();
    let run = Run::begin();
    let mut fired = 0;
    while limit.allows(fired) {
        let mut sleeps: Vec<_> = (0..1000).map(|_| Box::pin(monoio::time::sleep(Duration::from_millis(1)))).collect();
        // Armed when they are first polled; all before one is waited for. What has fired is not polled again.
        let mut are_over = vec![false; sleeps.len()];
        std::future::poll_fn(|context| {
            for (sleep, is_over) in sleeps.iter_mut().zip(&mut are_over) {
                *is_over = *is_over || sleep.as_mut().poll(context).is_ready();
            }
            std::task::Poll::Ready(())
        })
        .await;
        for (sleep, is_over) in sleeps.into_iter().zip(are_over) {
            if !is_over {
                sleep.await;
            }
        }
        fired += 1000;
    }
    run.end(fired)
}

async fn timers(arguments: &Arguments) -> Ended {
    let limit = arguments.limit();
    let run = Run::begin();
    let mut armed = 0;
    while limit.allows(armed) {
        let mut sleeps: Vec<_> = (0..1000).map(|_| Box::pin(monoio::time::sleep(Duration::from_secs(3600)))).collect();
        std::future::poll_fn(|context| {
            for sleep in &mut sleeps {
                assert!(sleep.as_mut().poll(context).is_pending());
            }
            std::task::Poll::Ready(())
        })
        .await;
        armed += 1000;
    }
    run.end(armed)
}

async fn spawned(arguments: &Arguments) -> Ended {
    let limit = arguments.limit();
    let run = Run::begin();
    let mut done = 0u64;
    while limit.allows(done) {
        assert_eq!(monoio::spawn(async move { done }).await, done);
        done += 1;
    }
    run.end(done)
}
