//! tokio as its users write it, on one thread: sockets by readiness, files by its pool of threads.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use contender::{Arguments, Limit, Offsets, Run, aligned_block, announce, connection_ended, length_of, unknown};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_blocking};

type Ended = Result<(), Box<dyn Error>>;

fn main() -> Ended {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        match arguments.workload.as_str() {
            "echo" => echo(&arguments).await,
            "read" => read(&arguments).await,
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

async fn echo(arguments: &Arguments) -> Ended {
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

struct Shared {
    file: Arc<File>,
    offsets: RefCell<Offsets>,
    limit: Limit,
    begun: Cell<u64>,
    done: Cell<u64>,
}

async fn read_on(shared: Rc<Shared>) {
    let mut buffer: &'static mut [u8] = aligned_block();
    while shared.limit.allows(shared.begun.get()) {
        shared.begun.set(shared.begun.get() + 1);
        let offset = shared.offsets.borrow_mut().next_offset();
        let file = Arc::clone(&shared.file);
        let read = spawn_blocking(move || {
            file.read_exact_at(buffer, offset)?;
            Ok::<_, std::io::Error>(buffer)
        });
        buffer = read.await.expect("a read does not panic").expect("a read of what is there");
        shared.done.set(shared.done.get() + 1);
    }
}

async fn read(arguments: &Arguments) -> Ended {
    let path = arguments.path();
    let mut options = File::options();
    options.read(true);
    if arguments.has("direct") {
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, 0x4000);
    }
    let shared = Rc::new(Shared {
        file: Arc::new(options.open(&path)?),
        offsets: RefCell::new(Offsets::new(length_of(&path))),
        limit: arguments.limit(),
        begun: Cell::new(0),
        done: Cell::new(0),
    });
    let run = Run::begin();
    let tasks = (0..arguments.need("depth")).map(|_| tokio::task::spawn_local(read_on(Rc::clone(&shared))));
    for task in tasks.collect::<Vec<_>>() {
        task.await?;
    }
    run.end(shared.done.get())
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
