//! monoio as its users write it, on its io_uring driver.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::rc::Rc;
use std::time::Duration;

use contender::{
    Arguments, BLOCK_BYTES, Limit, Offsets, Run, aligned_bytes, announce, connection_ended, length_of, unknown,
};
use monoio::buf::{IoBufMut, SliceMut};
use monoio::fs::{File, OpenOptions};
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
            "read" => read(&arguments).await,
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

async fn echo(arguments: &Arguments) -> Ended {
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

struct Shared {
    file: File,
    offsets: RefCell<Offsets>,
    limit: Limit,
    begun: Cell<u64>,
    done: Cell<u64>,
}

async fn read_on(shared: Rc<Shared>) {
    let (bytes, start) = aligned_bytes();
    let mut part: SliceMut<Vec<u8>> = bytes.slice_mut(start..start + BLOCK_BYTES);
    while shared.limit.allows(shared.begun.get()) {
        shared.begun.set(shared.begun.get() + 1);
        let offset = shared.offsets.borrow_mut().next_offset();
        let (count, back) = shared.file.read_at(part, offset).await;
        assert_eq!(count.expect("a read of what is there"), BLOCK_BYTES);
        part = back;
        shared.done.set(shared.done.get() + 1);
    }
}

async fn read(arguments: &Arguments) -> Ended {
    let path = arguments.path();
    let mut options = OpenOptions::new();
    options.read(true);
    if arguments.has("direct") {
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, 0x4000);
    }
    let shared = Rc::new(Shared {
        file: options.open(&path).await?,
        offsets: RefCell::new(Offsets::new(length_of(&path))),
        limit: arguments.limit(),
        begun: Cell::new(0),
        done: Cell::new(0),
    });
    let run = Run::begin();
    let tasks = (0..arguments.need("depth")).map(|_| monoio::spawn(read_on(Rc::clone(&shared))));
    for task in tasks.collect::<Vec<_>>() {
        task.await;
    }
    run.end(shared.done.get())
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
