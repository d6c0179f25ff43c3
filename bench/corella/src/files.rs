//! Random reads and writes of one file.

use std::cell::Cell;
use std::error::Error;
use std::rc::Rc;

use contender::{Arguments, BLOCK_BYTES, Progress, Run, aligned_block, aligned_bytes, length_of};
use corella::{File, OpenOptions, Scheduler, Slice, SliceOf};

type Ended = Result<(), Box<dyn Error>>;

/// What the requests of a run share.
struct Shared {
    file: File,
    progress: Progress,
}

impl Shared {
    fn open(scheduler: &Scheduler, arguments: &Arguments) -> Result<Rc<Shared>, Box<dyn Error>> {
        let path = arguments.path();
        let options = OpenOptions::new().read(true).write(arguments.workload == "write");
        let file = scheduler.io().open(&path, options.direct(arguments.has("direct"))).wait()?;
        Ok(Rc::new(Shared { file, progress: Progress::new(arguments, length_of(&path)) }))
    }
}

/// Aligned, as O_DIRECT needs it.
fn block() -> Slice<Vec<u8>> {
    let (bytes, start) = aligned_bytes();
    bytes.slice(start..start + BLOCK_BYTES)
}

async fn read_on(shared: Rc<Shared>) -> Result<(), corella::Error> {
    let mut buffer = block();
    while let Some(offset) = shared.progress.begin_at_offset() {
        let (count, read) = shared.file.read_at(buffer, offset).await?;
        assert_eq!(count, BLOCK_BYTES);
        buffer = read;
        shared.progress.end();
    }
    Ok(())
}

pub fn awaited(mut scheduler: Scheduler, arguments: &Arguments) -> Ended {
    let shared = Shared::open(&scheduler, arguments)?;
    let run = Run::begin();
    if arguments.need("depth") == 1 {
        scheduler.block_on(read_on(Rc::clone(&shared)))??;
    } else {
        for _ in 0..arguments.need("depth") {
            let shared = Rc::clone(&shared);
            drop(scheduler.spawn(async move { read_on(shared).await.unwrap_or_else(|error| panic!("{error}")) })?);
        }
        scheduler.run()?;
    }
    run.end(shared.progress.done())
}

fn read_next(shared: Rc<Shared>, buffer: Slice<Vec<u8>>) {
    let Some(offset) = shared.progress.begin_at_offset() else { return };
    let file = shared.file.clone();
    let submitted = file.read_at(buffer, offset).then(move |outcome| {
        let (count, buffer) = outcome.unwrap_or_else(|failed| panic!("{failed}"));
        assert_eq!(count, BLOCK_BYTES);
        shared.progress.end();
        read_next(shared, buffer);
    });
    submitted.unwrap_or_else(|failed| panic!("{failed}"));
}

pub fn with_callbacks(mut scheduler: Scheduler, arguments: &Arguments) -> Ended {
    let shared = Shared::open(&scheduler, arguments)?;
    let run = Run::begin();
    for _ in 0..arguments.need("depth") {
        read_next(Rc::clone(&shared), block());
    }
    scheduler.run()?;
    run.end(shared.progress.done())
}

/// Random writes; `--order kept`, `waived` (`.unordered()`) or `overlapping` (a tenth go where one is in flight).
async fn write_on(shared: Rc<Shared>, last: Rc<Cell<u64>>, order: Order) -> Result<(), corella::Error> {
    let mut buffer: &'static [u8] = aligned_block();
    let mut count = 0u64;
    while let Some(mut offset) = shared.progress.begin_at_offset() {
        count += 1;
        if order == Order::Overlapping && count.is_multiple_of(10) {
            offset = last.get();
        }
        last.set(offset);
        let operation = shared.file.write_at(buffer, offset);
        let operation = if order == Order::Waived { operation.unordered() } else { operation };
        buffer = operation.await?.1;
        shared.progress.end();
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq)]
enum Order {
    Kept,
    Waived,
    Overlapping,
}

pub fn written(mut scheduler: Scheduler, arguments: &Arguments) -> Ended {
    let order = match arguments.text("order") {
        Some("waived") => Order::Waived,
        Some("overlapping") => Order::Overlapping,
        _ => Order::Kept,
    };
    let shared = Shared::open(&scheduler, arguments)?;
    let last = Rc::new(Cell::new(0));
    let run = Run::begin();
    for _ in 0..arguments.need("depth") {
        let task = write_on(Rc::clone(&shared), Rc::clone(&last), order);
        drop(scheduler.spawn(async move { task.await.unwrap_or_else(|error| panic!("{error}")) })?);
    }
    scheduler.run()?;
    run.end(shared.progress.done())
}
