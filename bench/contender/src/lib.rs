//! What all contenders share, so that they differ in their I/O alone: the command line, the offsets that they read, when
//! to stop, and how they report.
//!
//! A contender is called `contender-NAME WORKLOAD --key value ...`. A server prints `port N` and serves until it is killed.
//! Anything else runs for `--seconds S`, or for `--operations N` where operations are counted and not timed, and prints
//! one line of JSON.

pub mod folder;
pub mod tasks;
pub mod wake;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

/// Bytes of one read or write of the file workloads.
pub const BLOCK_BYTES: usize = 4096;

/// The command line: a workload, and values by their names.
pub struct Arguments {
    pub workload: String,
    words: Vec<String>,
}

impl Arguments {
    pub fn parse() -> Arguments {
        let mut words = std::env::args().skip(1);
        let workload = words.next().unwrap_or_else(|| fail("no workload"));
        Arguments { workload, words: words.collect() }
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        let place = self.words.iter().position(|word| word.strip_prefix("--") == Some(name))?;
        self.words.get(place + 1).map(String::as_str)
    }

    pub fn number(&self, name: &str) -> Option<u64> {
        let text = self.text(name)?;
        Some(text.parse().unwrap_or_else(|_| fail(&format!("--{name} {text} is not a number"))))
    }

    pub fn need(&self, name: &str) -> u64 {
        self.number(name).unwrap_or_else(|| fail(&format!("--{name} is missing")))
    }

    pub fn path(&self) -> PathBuf {
        self.text("file").unwrap_or_else(|| fail("--file is missing")).into()
    }

    pub fn has(&self, name: &str) -> bool {
        self.words.iter().any(|word| word.strip_prefix("--") == Some(name))
    }

    /// When this run is to stop.
    pub fn limit(&self) -> Limit {
        match (self.number("operations"), self.text("seconds")) {
            (Some(operations), _) => Limit { operations, until: None },
            (None, Some(seconds)) => {
                let seconds: f64 = seconds.parse().unwrap_or_else(|_| fail("--seconds is not a number"));
                Limit { operations: u64::MAX, until: Some(Instant::now() + Duration::from_secs_f64(seconds)) }
            }
            (None, None) => fail("--seconds or --operations is missing"),
        }
    }
}

/// Ends a contender that cannot go on.
pub fn fail(why: &str) -> ! {
    eprintln!("{why}");
    std::process::exit(1)
}

/// What this contender does not have.
pub fn unknown(arguments: &Arguments) -> ! {
    fail(&format!("unknown workload {}", arguments.workload))
}

/// When to stop: after so many operations, or at a time, which is looked at every so many operations.
pub struct Limit {
    operations: u64,
    until: Option<Instant>,
}

impl Limit {
    /// Whether another operation is to begin, of which there have been so many.
    #[inline]
    pub fn allows(&self, begun: u64) -> bool {
        match self.until {
            None => begun < self.operations,
            Some(until) => !begun.is_multiple_of(256) || Instant::now() < until,
        }
    }
}

/// Block-aligned offsets in a file, at random and the same for all.
pub struct Offsets {
    state: u64,
    blocks: u64,
}

impl Offsets {
    pub fn new(file_bytes: u64) -> Offsets {
        Offsets { state: 0x9e37_79b9_7f4a_7c15, blocks: file_bytes / BLOCK_BYTES as u64 }
    }

    /// xorshift64*
    #[inline]
    pub fn random(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    #[inline]
    pub fn next_offset(&mut self) -> u64 {
        // The upper bits times the range: no division, which some would pay and others not.
        let block = (u128::from(self.random()) * u128::from(self.blocks)) >> 64;
        block as u64 * BLOCK_BYTES as u64
    }
}

/// A buffer that a device can fill: aligned to its blocks.
pub fn aligned_block() -> &'static mut [u8] {
    #[repr(align(4096))]
    struct Block([u8; BLOCK_BYTES]);
    &mut Box::leak(Box::new(Block([0; BLOCK_BYTES]))).0
}

/// The same on the heap, with where in it the aligned block begins.
pub fn aligned_bytes() -> (Vec<u8>, usize) {
    let bytes = vec![0; 2 * BLOCK_BYTES];
    let start = bytes.as_ptr().align_offset(BLOCK_BYTES);
    (bytes, start)
}

/// A run between its first operation and its last.
pub struct Run {
    begun: Instant,
    cpu: Duration,
}

impl Run {
    pub fn begin() -> Run {
        Run { begun: Instant::now(), cpu: cpu_time() }
    }

    /// Reports, and ends the process: nothing after the last operation counts.
    pub fn end(self, operations: u64) -> ! {
        let (elapsed, cpu) = (self.begun.elapsed(), cpu_time() - self.cpu);
        println!("{{\"operations\":{operations},\"elapsed_ns\":{},\"cpu_ns\":{}}}", elapsed.as_nanos(), cpu.as_nanos());
        std::process::exit(0)
    }
}

/// CPU time of all threads of this process.
fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure is there to be filled.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// To be called at each connection's end. Where operations are counted, a server ends with its last connection; a signal
/// would not reach it behind valgrind.
pub fn connection_ended() {
    static LEFT: OnceLock<AtomicI64> = OnceLock::new();
    let left = LEFT.get_or_init(|| {
        let count = std::env::var("CONTENDER_CONNECTIONS").ok().and_then(|text| text.parse().ok());
        AtomicI64::new(count.unwrap_or(i64::MAX))
    });
    if left.fetch_sub(1, Ordering::Relaxed) == 1 {
        std::process::exit(0);
    }
}

/// Says where a server listens.
pub fn announce(port: u16) {
    use std::io::Write;
    println!("port {port}");
    let _ = std::io::stdout().flush();
}

/// A file's length, after its first block was read as proof that it is there.
pub fn length_of(path: &std::path::Path) -> u64 {
    let opened = File::open(path).and_then(|file| {
        file.read_exact_at(&mut [0; 1], 0)?;
        file.metadata()
    });
    match opened {
        Ok(metadata) => metadata.len(),
        Err(error) => fail(&format!("{}: {error}", path.display())),
    }
}

/// What the requests of a run share: where each goes, how many there were, and when it is enough.
pub struct Progress {
    limit: Limit,
    offsets: std::cell::RefCell<Offsets>,
    begun: std::cell::Cell<u64>,
    done: std::cell::Cell<u64>,
}

impl Progress {
    /// `file_bytes` is what offsets are taken from; 0 where there are none.
    pub fn new(arguments: &Arguments, file_bytes: u64) -> Progress {
        let offsets = std::cell::RefCell::new(Offsets::new(file_bytes));
        Progress { limit: arguments.limit(), offsets, begun: Default::default(), done: Default::default() }
    }

    /// The number of the operation that is to begin, if there is to be another.
    #[inline]
    pub fn begin(&self) -> Option<u64> {
        let begun = self.begun.get();
        if !self.limit.allows(begun) {
            return None;
        }
        self.begun.set(begun + 1);
        Some(begun)
    }

    /// Where it is to read or to write.
    #[inline]
    pub fn begin_at_offset(&self) -> Option<u64> {
        self.begin()?;
        Some(self.offsets.borrow_mut().next_offset())
    }

    #[inline]
    pub fn end(&self) {
        self.done.set(self.done.get() + 1);
    }

    pub fn done(&self) -> u64 {
        self.done.get()
    }
}
