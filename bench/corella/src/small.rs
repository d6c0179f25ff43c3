//! Appends that are synced, and many small files.

use std::error::Error;
use std::path::PathBuf;
use std::rc::Rc;

use contender::folder::{self, SMALL_FILE_BYTES};
use contender::{Arguments, BLOCK_BYTES, Progress, Run, aligned_block};
use corella::{File, Io, Mode, Scheduler};

type Ended = Result<(), Box<dyn Error>>;

/// What cannot fail here.
fn good<T, E: std::fmt::Display>(outcome: Result<T, E>) -> T {
    outcome.unwrap_or_else(|error| panic!("{error}"))
}

pub fn append(mut scheduler: Scheduler, arguments: &Arguments) -> Ended {
    let file = scheduler.io().open(arguments.path(), Mode::Append).wait()?;
    let (mut block, progress): (&'static [u8], _) = (aligned_block(), Progress::new(arguments, 0));
    let run = Run::begin();
    scheduler.block_on(async {
        while progress.begin().is_some() {
            block = file.write(block).await?.1;
            file.sync_data().await?;
            progress.end();
        }
        Ok::<(), corella::Error>(())
    })??;
    run.end(progress.done())
}

fn append_next(file: File, block: &'static [u8], progress: Rc<Progress>) {
    if progress.begin().is_none() {
        return;
    }
    let (next, writing) = (file.clone(), file);
    let submitted = writing.write(block).then(move |outcome| {
        let block = good(outcome).1;
        let (syncing, next) = (next.clone(), next);
        let submitted = syncing.sync_data().then(move |outcome| {
            good(outcome);
            progress.end();
            append_next(next, block, progress);
        });
        good(submitted);
    });
    good(submitted);
}

pub fn append_with_callbacks(mut scheduler: Scheduler, arguments: &Arguments) -> Ended {
    let file = scheduler.io().open(arguments.path(), Mode::Append).wait()?;
    let progress = Rc::new(Progress::new(arguments, 0));
    let run = Run::begin();
    append_next(file, aligned_block(), Rc::clone(&progress));
    scheduler.run()?;
    run.end(progress.done())
}

/// The small files and how far the run is with them.
struct Shared {
    io: Io,
    paths: Vec<PathBuf>,
    progress: Progress,
}

impl Shared {
    fn new(scheduler: &Scheduler, arguments: &Arguments) -> Rc<Shared> {
        let (paths, progress) = (folder::small_files(arguments), Progress::new(arguments, 0));
        Rc::new(Shared { io: scheduler.io(), paths, progress })
    }

    fn next_path(&self) -> Option<&PathBuf> {
        self.progress.begin().map(|number| &self.paths[number as usize % self.paths.len()])
    }
}

async fn read_on(shared: &Shared) -> Result<(), corella::Error> {
    let mut buffer = vec![0; BLOCK_BYTES];
    while let Some(path) = shared.next_path() {
        let file = shared.io.open(path, Mode::Read).await?;
        assert_eq!(file.stat().await?.size, SMALL_FILE_BYTES as u64);
        let (count, back) = file.read_at(buffer, 0).await?;
        assert_eq!(count, SMALL_FILE_BYTES);
        file.close().await?;
        buffer = back;
        shared.progress.end();
    }
    Ok(())
}

pub fn small(mut scheduler: Scheduler, arguments: &Arguments) -> Ended {
    let shared = Shared::new(&scheduler, arguments);
    let run = Run::begin();
    for _ in 0..arguments.need("depth") {
        let shared = Rc::clone(&shared);
        drop(scheduler.spawn(async move { good(read_on(&shared).await) })?);
    }
    scheduler.run()?;
    run.end(shared.progress.done())
}

fn open_next(shared: Rc<Shared>, buffer: Vec<u8>) {
    let Some(path) = shared.next_path() else { return };
    let opening = shared.io.open(path, Mode::Read);
    let submitted = opening.then(move |outcome| stat_it(shared, good(outcome), buffer));
    good(submitted);
}

fn stat_it(shared: Rc<Shared>, file: File, buffer: Vec<u8>) {
    let next = file.clone();
    let submitted = file.stat().then(move |outcome| {
        assert_eq!(good(outcome).size, SMALL_FILE_BYTES as u64);
        read_it(shared, next, buffer);
    });
    good(submitted);
}

fn read_it(shared: Rc<Shared>, file: File, buffer: Vec<u8>) {
    let next = file.clone();
    let submitted = file.read_at(buffer, 0).then(move |outcome| {
        let (count, buffer) = good(outcome);
        assert_eq!(count, SMALL_FILE_BYTES);
        let submitted = next.close().then(move |outcome| {
            good(outcome);
            shared.progress.end();
            open_next(shared, buffer);
        });
        good(submitted);
    });
    good(submitted);
}

pub fn small_with_callbacks(mut scheduler: Scheduler, arguments: &Arguments) -> Ended {
    let shared = Shared::new(&scheduler, arguments);
    let run = Run::begin();
    for _ in 0..arguments.need("depth") {
        open_next(Rc::clone(&shared), vec![0; BLOCK_BYTES]);
    }
    scheduler.run()?;
    run.end(shared.progress.done())
}
