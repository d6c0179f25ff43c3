//! Files, by io_uring.

use std::path::PathBuf;
use std::rc::Rc;

use contender::{Arguments, BLOCK_BYTES, Progress, Run, aligned_block, aligned_bytes, folder, length_of};
use monoio::buf::{IoBufMut, SliceMut};
use monoio::fs::{File, OpenOptions};

use crate::Ended;

const O_DIRECT: i32 = 0x4000;

async fn open(arguments: &Arguments) -> Result<(Rc<File>, Rc<Progress>), Box<dyn std::error::Error>> {
    let path = arguments.path();
    let mut options = OpenOptions::new();
    options.read(true).write(arguments.workload == "write");
    if arguments.has("direct") {
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, O_DIRECT);
    }
    Ok((Rc::new(options.open(&path).await?), Rc::new(Progress::new(arguments, length_of(&path)))))
}

/// Runs `one` as many times as there are to be in flight, to the end of all.
async fn run<F: Future<Output = ()> + 'static>(depth: u64, progress: &Progress, one: impl Fn() -> F) -> Ended {
    let run = Run::begin();
    let tasks: Vec<_> = (0..depth).map(|_| monoio::spawn(one())).collect();
    for task in tasks {
        task.await;
    }
    run.end(progress.done())
}

async fn read_on(file: Rc<File>, progress: Rc<Progress>) {
    let (bytes, start) = aligned_bytes();
    let mut part: SliceMut<Vec<u8>> = bytes.slice_mut(start..start + BLOCK_BYTES);
    while let Some(offset) = progress.begin_at_offset() {
        let (count, back) = file.read_at(part, offset).await;
        assert_eq!(count.expect("a read of what is there"), BLOCK_BYTES);
        part = back;
        progress.end();
    }
}

pub async fn read(arguments: &Arguments) -> Ended {
    let (file, progress) = open(arguments).await?;
    run(arguments.need("depth"), &progress, || read_on(Rc::clone(&file), Rc::clone(&progress))).await
}

async fn write_on(file: Rc<File>, progress: Rc<Progress>) {
    let buffer: &'static [u8] = aligned_block();
    while let Some(offset) = progress.begin_at_offset() {
        let (count, _) = file.write_at(buffer, offset).await;
        assert_eq!(count.expect("there is room"), BLOCK_BYTES);
        progress.end();
    }
}

pub async fn write(arguments: &Arguments) -> Ended {
    let (file, progress) = open(arguments).await?;
    run(arguments.need("depth"), &progress, || write_on(Rc::clone(&file), Rc::clone(&progress))).await
}

pub async fn append(arguments: &Arguments) -> Ended {
    // It has no appending write: the place is the program's to know.
    let file = OpenOptions::new().write(true).create(true).open(arguments.path()).await?;
    let (block, progress): (&'static [u8], _) = (aligned_block(), Progress::new(arguments, 0));
    let run = Run::begin();
    while let Some(number) = progress.begin() {
        file.write_all_at(block, number * BLOCK_BYTES as u64).await.0?;
        file.sync_data().await?;
        progress.end();
    }
    run.end(progress.done())
}

async fn open_and_read(path: &PathBuf, buffer: Vec<u8>) -> std::io::Result<Vec<u8>> {
    let file = File::open(path).await?;
    assert_eq!(file.metadata().await?.len(), folder::SMALL_FILE_BYTES as u64);
    let (count, buffer) = file.read_at(buffer, 0).await;
    assert_eq!(count?, folder::SMALL_FILE_BYTES);
    file.close().await?;
    Ok(buffer)
}

async fn small_on(paths: Rc<Vec<PathBuf>>, progress: Rc<Progress>) {
    let mut buffer = Vec::with_capacity(BLOCK_BYTES);
    while let Some(number) = progress.begin() {
        let path = &paths[number as usize % paths.len()];
        buffer = open_and_read(path, buffer).await.expect("the file is there");
        buffer.clear();
        progress.end();
    }
}

pub async fn small(arguments: &Arguments) -> Ended {
    let (paths, progress) = (Rc::new(folder::small_files(arguments)), Rc::new(Progress::new(arguments, 0)));
    run(arguments.need("depth"), &progress, || small_on(Rc::clone(&paths), Rc::clone(&progress))).await
}
