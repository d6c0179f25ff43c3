//! Bytes turned into programs for the model: the corpus is run, and with `CORELLA_SECONDS` changed and grown.
//!
//! What leads the search is not the branches of the machine code, which only a nightly compiler counts, but the engine's
//! own rare moments: an input that meets one of them, or so many of one, that none before it met is kept. That runs with
//! the stable compiler wherever the model does. `CORELLA_KEEP=1` writes what was found to the corpus.

#[allow(dead_code, reason = "shared with the model itself")]
mod codes;
#[allow(dead_code, reason = "shared with the model itself")]
mod diary;
#[allow(dead_code, reason = "shared with the model itself")]
mod draw;
#[allow(dead_code, reason = "shared with the model itself")]
mod held;
#[allow(dead_code, reason = "shared with the model itself")]
mod judge;
#[allow(dead_code, reason = "shared with the model itself")]
mod program;
#[allow(dead_code, reason = "shared with the model itself")]
mod reference;
#[allow(dead_code, reason = "shared with the model itself")]
mod run;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use corella::marks::{self, Mark};
use libtest_mimic::{Arguments, Failed, Trial};

use draw::Source;
use judge::{Machine, verdict};
use program::Program;

/// The longest input.
const BYTES_MAX: usize = 1200;

/// A mark with how often it was met, in powers of two.
type Feature = (usize, u32);

fn corpus_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/model/corpus")
}

fn corpus() -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(corpus_folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// Runs an input; gives what it met.
fn run(input: &[u8]) -> Result<Vec<Feature>, Failed> {
    let program = Program::from_bytes(input);
    let before: Vec<u64> = Mark::ALL.iter().map(|mark| marks::count(*mark)).collect();
    verdict(&program, &Machine::Simulated).map_err(|why| {
        let short = program.shrink(|shorter| verdict(shorter, &Machine::Simulated).is_err());
        format!("{why}\n\n{short}of the bytes {input:?}")
    })?;
    let counts = Mark::ALL.iter().zip(before).map(|(mark, before)| (*mark as usize, marks::count(*mark) - before));
    Ok(counts.filter(|(_, count)| *count > 0).map(|(mark, count)| (mark, count.ilog2())).collect())
}

/// Another input made of these.
fn change(source: &mut Source, inputs: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = inputs[source.below(inputs.len())].clone();
    for _ in 0..1 + source.below(4) {
        let place = source.below(bytes.len() + 1);
        match source.below(5) {
            0 => bytes.insert(place, source.below(256) as u8),
            1 if place < bytes.len() => bytes[place] = source.below(256) as u8,
            2 if place < bytes.len() => drop(bytes.drain(place..(place + 1 + source.below(8)).min(bytes.len()))),
            3 => {
                // A piece of another behind it.
                let other = &inputs[source.below(inputs.len())];
                bytes.truncate(place);
                bytes.extend_from_slice(&other[source.below(other.len() + 1)..]);
            }
            _ => bytes.extend((0..source.below(40)).map(|_| source.below(256) as u8)),
        }
    }
    bytes.truncate(BYTES_MAX);
    bytes
}

fn every_input_of_the_corpus_is_as_if_one_at_a_time() -> Result<(), Failed> {
    let mut inputs = corpus();
    if inputs.is_empty() {
        return Err("the corpus is empty".into());
    }
    let mut met: BTreeSet<Feature> = BTreeSet::new();
    for input in &inputs {
        met.extend(run(input)?);
    }
    let seconds = std::env::var("CORELLA_SECONDS").map_or(0, |text| text.parse().expect("CORELLA_SECONDS is a number"));
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut source = Source::seed(u64::from(std::process::id()));
    let keeps = std::env::var_os("CORELLA_KEEP").is_some();
    while Instant::now() < end {
        let input = change(&mut source, &inputs);
        let features = run(&input)?;
        if features.iter().any(|feature| !met.contains(feature)) {
            met.extend(features);
            if keeps {
                let name =
                    input.iter().fold(0u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
                std::fs::write(corpus_folder().join(format!("{name:016x}")), &input)?;
            }
            inputs.push(input);
        }
    }
    println!("{} inputs met {} features", inputs.len(), met.len());
    Ok(())
}

fn main() {
    // Panics are part of a program's verdict.
    std::panic::set_hook(Box::new(|_| {}));
    let trial = Trial::test(
        "every_input_of_the_corpus_is_as_if_one_at_a_time",
        every_input_of_the_corpus_is_as_if_one_at_a_time,
    );
    libtest_mimic::run(&Arguments::from_args(), vec![trial]).exit();
}
