//! One verb, four endings: the same read on the same handle, taken in each way.
//!
//! `cargo run -p corella --example endings`

use std::error::Error;
use std::time::Duration;

use corella::{CancelToken, ErrorKind, Mode, Scheduler};

fn main() -> Result<(), Box<dyn Error>> {
    let mut scheduler = Scheduler::new()?;
    let io = scheduler.io();
    let path = std::env::temp_dir().join(format!("corella-endings-{}", std::process::id()));
    let file = io.open(&path, Mode::ReadWrite).wait()?;
    file.write("one verb, four endings").wait()?;

    // 1 wait: blocks, as every handle does by default.
    let (count, buffer) = file.read_at(vec![0; 8], 0).wait()?;
    println!("wait:   {} bytes, {:?}", count, String::from_utf8_lossy(&buffer));

    // 2 submit: a status to ask.
    let status = file.read_at(vec![0; 4], 10).submit()?;
    while !status.is_settled() {
        scheduler.turn(Duration::from_millis(10))?;
    }
    let (count, buffer) = status.wait()?;
    println!("submit: {} bytes, {:?}", count, String::from_utf8_lossy(&buffer));

    // 3 then: a callback, run by the scheduler and never inside `then`.
    file.read_at(vec![0; 7], 15).deadline(Duration::from_secs(1)).then(|outcome| match outcome {
        Ok((count, buffer)) => println!("then:   {} bytes, {:?}", count, String::from_utf8_lossy(&buffer)),
        Err(failed) => println!("then:   {failed}"),
    })?;
    scheduler.run()?;

    // 4 await: the operation is itself a future.
    let (count, buffer) = scheduler.block_on(file.read_at(vec![0; 3], 0))??;
    println!("await:  {} bytes, {:?}", count, String::from_utf8_lossy(&buffer));

    // Whatever the ending: a token cancels, a deadline limits, and the buffer comes back.
    let token = CancelToken::new();
    let sleep = io.sleep(Duration::from_secs(3600)).cancel_with(&token).submit()?;
    token.cancel();
    let error = sleep.wait().expect_err("it was cancelled");
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    println!("cancel: {error}");

    file.close().wait()?;
    std::fs::remove_file(path)?;
    Ok(())
}
