//! tokio as its users write it, on one thread: sockets by readiness, files by its pool of threads, or, with the feature
//! `io-uring`, by the ring as far as it has come: opens, and reads at the cursor.

mod files;

use std::cell::Cell;
use std::error::Error;
use std::rc::Rc;
use std::time::Duration;

use contender::{Arguments, Run, announce, connection_ended, unknown};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

type Ended = Result<(), Box<dyn Error>>;

fn main() -> Ended {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        match arguments.workload.as_str() {
            "echo" => echo(&arguments).await,
            "stream" => stream(&arguments).await,
            #[cfg(feature = "io-uring")]
            "read" => files::read_by_ring(&arguments).await,
            #[cfg(not(feature = "io-uring"))]
            "read" => files::read(&arguments).await,
            "write" => files::write(&arguments).await,
            "append" => files::append(&arguments).await,
            "files" => files::small(&arguments).await,
            "fire" => fire(&arguments).await,
            "timers" => timers(&arguments).await,
            "spawn" => spawned(&arguments).await,
            "yield" => yielding(&arguments).await,
            "wake" => woken(&arguments).await,
            _ => unknown(&arguments),
        }
    })
}

async fn serve(mut stream: TcpStream, bytes: usize) -> std::io::Result<()> {
    let mut buffer = vec![0; bytes];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..count]).await?;
    }
}

/// Opens a FIFO, which sleeps in the pool, again and again.
async fn sleep_in_pool(path: std::path::PathBuf) -> std::io::Result<()> {
    loop {
        drop(tokio::fs::File::open(&path).await?);
    }
}

async fn echo(arguments: &Arguments) -> Ended {
    for path in contender::folder::fifos(arguments) {
        tokio::task::spawn_local(sleep_in_pool(path));
    }
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let bytes = arguments.need("bytes") as usize;
    announce(listener.local_addr()?.port());
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::task::spawn_local(async move {
            let _ = serve(stream, bytes).await;
            connection_ended();
        });
    }
}

async fn stream(arguments: &Arguments) -> Ended {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    announce(listener.local_addr()?.port());
    let mut buffer = vec![0; arguments.need("bytes") as usize];
    loop {
        let (mut stream, _) = listener.accept().await?;
        while stream.read(&mut buffer).await? > 0 {}
        connection_ended();
    }
}

/// Arms timers of a millisecond, a thousand at a time, and waits until all have fired.
async fn fire(arguments: &Arguments) -> Ended {
    let limit = arguments.limit();
    let run = Run::begin();
    let mut fired = 0;
    while limit.allows(fired) {
        let mut sleeps: Vec<_> = (0..1000).map(|_| Box::pin(tokio::time::sleep(Duration::from_millis(1)))).collect();
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
        let mut sleeps: Vec<_> = (0..1000).map(|_| Box::pin(tokio::time::sleep(Duration::from_secs(3600)))).collect();
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
        assert_eq!(tokio::task::spawn_local(async move { done }).await?, done);
        done += 1;
    }
    run.end(done)
}

async fn yielding(arguments: &Arguments) -> Ended {
    let limit = Rc::new(arguments.limit());
    let done = Rc::new(Cell::new(0u64));
    let run = Run::begin();
    let tasks = (0..16).map(|_| {
        let (limit, done) = (Rc::clone(&limit), Rc::clone(&done));
        tokio::task::spawn_local(async move {
            while limit.allows(done.get()) {
                done.set(done.get() + 1);
                tokio::task::yield_now().await;
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await?;
    }
    run.end(done.get())
}

async fn woken(arguments: &Arguments) -> Ended {
    let limit = arguments.limit();
    contender::wake::from_another_thread(limit).await
}
