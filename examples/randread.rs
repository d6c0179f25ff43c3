//! Random 4 KiB reads of a file, awaited, with a number of them in flight.
//!
//! `cargo run --release -p corella --example randread -- FILE DEPTH COUNT`

use std::cell::Cell;
use std::error::Error;
use std::rc::Rc;
use std::time::Instant;

use corella::{File, Mode, Scheduler};

const BLOCK_BYTES: u64 = 4096;

/// A small generator of numbers that look random (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Reads one block after the other, as long as any are left to do.
async fn read_blocks(file: File, blocks: u64, mut random: Random, left: Rc<Cell<u64>>) -> std::io::Result<()> {
    let mut buffer = vec![0; BLOCK_BYTES as usize];
    while left.get() > 0 {
        left.set(left.get() - 1);
        let offset = random.below(blocks) * BLOCK_BYTES;
        (_, buffer) = file.read_exact_at(buffer, offset).await?;
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, depth, count] = arguments.as_slice() else { return Err("usage: randread FILE DEPTH COUNT".into()) };
    let depth: u64 = depth.parse().map_err(|error| format!("DEPTH {depth}: {error}"))?;
    let count: u64 = count.parse().map_err(|error| format!("COUNT {count}: {error}"))?;

    let mut scheduler = Scheduler::new()?;
    let io = scheduler.io();
    let file = io.open(path, Mode::Read).wait()?;
    let blocks = file.stat().wait()?.size / BLOCK_BYTES;
    if blocks == 0 {
        return Err(format!("{path}: shorter than one block of {BLOCK_BYTES} bytes").into());
    }
    let left = Rc::new(Cell::new(count));
    let start = Instant::now();
    let readers: Vec<_> = (0..depth.max(1))
        .map(|reader| io.spawn(read_blocks(file.clone(), blocks, Random(0x9e37_79b9 + reader), Rc::clone(&left))))
        .collect::<Result<_, _>>()?;
    for reader in readers {
        scheduler.block_on(reader)???;
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("{}, depth {depth}: {:.0} IOPS", scheduler.backend().name(), count as f64 / seconds);
    Ok(())
}
