//! Files, by tokio's pool of threads: reads and writes at a place by its blocking tasks, all else by its own `fs`.

use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use contender::{Arguments, BLOCK_BYTES, Progress, Run, aligned_block, folder, length_of};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::{spawn_blocking, spawn_local};

use crate::Ended;

const O_DIRECT: i32 = 0x4000;

fn open(arguments: &Arguments) -> Result<(Arc<File>, Rc<Progress>), Box<dyn std::error::Error>> {
    let path = arguments.path();
    let flags = if arguments.has("direct") { O_DIRECT } else { 0 };
    let file = File::options().read(true).write(arguments.workload == "write").custom_flags(flags).open(&path)?;
    Ok((Arc::new(file), Rc::new(Progress::new(arguments, length_of(&path)))))
}

/// Runs `one` as many times as there are to be in flight, to the end of all.
async fn run<F: Future<Output = ()> + 'static>(depth: u64, progress: &Progress, one: impl Fn() -> F) -> Ended {
    let run = Run::begin();
    let tasks: Vec<_> = (0..depth).map(|_| spawn_local(one())).collect();
    for task in tasks {
        task.await?;
    }
    run.end(progress.done())
}

/// A ring reads at the cursor alone: a file of its own for each that reads, and a seek, in the pool, before each read.
#[cfg(feature = "io-uring")]
pub async fn read_by_ring(arguments: &Arguments) -> Ended {
    use tokio::io::AsyncSeekExt;
    let path = arguments.path();
    let progress = Rc::new(Progress::new(arguments, length_of(&path)));
    run(arguments.need("depth"), &progress, || {
        let (path, progress) = (path.clone(), Rc::clone(&progress));
        async move {
            let buffer = aligned_block();
            let mut file = tokio::fs::File::open(path).await.expect("the file is there");
            while let Some(offset) = progress.begin_at_offset() {
                file.seek(std::io::SeekFrom::Start(offset)).await.expect("a file can be sought in");
                file.read_exact(buffer).await.expect("a read of what is there");
                progress.end();
            }
        }
    })
    .await
}

#[cfg(not(feature = "io-uring"))]
async fn read_on(file: Arc<File>, progress: Rc<Progress>) {
    let mut buffer: &'static mut [u8] = aligned_block();
    while let Some(offset) = progress.begin_at_offset() {
        let file = Arc::clone(&file);
        let read = spawn_blocking(move || {
            file.read_exact_at(buffer, offset)?;
            Ok::<_, std::io::Error>(buffer)
        });
        buffer = read.await.expect("a read does not panic").expect("a read of what is there");
        progress.end();
    }
}

#[cfg(not(feature = "io-uring"))]
pub async fn read(arguments: &Arguments) -> Ended {
    let (file, progress) = open(arguments)?;
    run(arguments.need("depth"), &progress, || read_on(Arc::clone(&file), Rc::clone(&progress))).await
}

async fn write_on(file: Arc<File>, progress: Rc<Progress>) {
    let buffer: &'static [u8] = aligned_block();
    while let Some(offset) = progress.begin_at_offset() {
        let file = Arc::clone(&file);
        let written = spawn_blocking(move || file.write_all_at(buffer, offset));
        written.await.expect("a write does not panic").expect("there is room");
        progress.end();
    }
}

pub async fn write(arguments: &Arguments) -> Ended {
    let (file, progress) = open(arguments)?;
    run(arguments.need("depth"), &progress, || write_on(Arc::clone(&file), Rc::clone(&progress))).await
}

pub async fn append(arguments: &Arguments) -> Ended {
    let mut file = tokio::fs::File::options().append(true).create(true).open(arguments.path()).await?;
    let (block, progress) = (aligned_block(), Progress::new(arguments, 0));
    let run = Run::begin();
    while progress.begin().is_some() {
        file.write_all(block).await?;
        file.sync_data().await?;
        progress.end();
    }
    run.end(progress.done())
}

async fn open_and_read(path: &PathBuf, buffer: &mut [u8]) -> std::io::Result<()> {
    let mut file = tokio::fs::File::open(path).await?;
    assert_eq!(file.metadata().await?.len(), folder::SMALL_FILE_BYTES as u64);
    assert_eq!(file.read(buffer).await?, folder::SMALL_FILE_BYTES);
    Ok(())
}

async fn small_on(paths: Rc<Vec<PathBuf>>, progress: Rc<Progress>) {
    let mut buffer = vec![0; BLOCK_BYTES];
    while let Some(number) = progress.begin() {
        open_and_read(&paths[number as usize % paths.len()], &mut buffer).await.expect("the file is there");
        progress.end();
    }
}

pub async fn small(arguments: &Arguments) -> Ended {
    let (paths, progress) = (Rc::new(folder::small_files(arguments)), Rc::new(Progress::new(arguments, 0)));
    run(arguments.need("depth"), &progress, || small_on(Rc::clone(&paths), Rc::clone(&progress))).await
}
