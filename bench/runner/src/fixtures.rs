//! What contenders work on: a large file in the page cache, a folder of small files, FIFOs that are opened now and then.
//!
//! All are in CORELLA_BENCH_FOLDER, or the system's folder for temporary files, and stay for the next run.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

const FILE_BYTES: u64 = 256 << 20;
/// As `contender` has them.
const SMALL_FILES: usize = 10_000;
const SMALL_FILE_BYTES: usize = 1024;
/// More opens that sleep than any pool has threads by default (tokio's 512 aside).
const FIFOS: usize = 64;
/// How long each sleeps.
const FIFO_PAUSE: Duration = Duration::from_millis(10);

type Made = Result<PathBuf, String>;

fn folder() -> PathBuf {
    std::env::var_os("CORELLA_BENCH_FOLDER").map_or_else(std::env::temp_dir, PathBuf::from)
}

fn at(path: &Path) -> impl Fn(io::Error) -> String + '_ {
    move |error| format!("{}: {error}", path.display())
}

/// A file that is in the page cache, made and read once.
pub fn file() -> Made {
    static FILE: OnceLock<Made> = OnceLock::new();
    FILE.get_or_init(make_file).clone()
}

fn make_file() -> Made {
    let path = folder().join("corella-bench-file");
    if fs::metadata(&path).map_or(0, |metadata| metadata.len()) != FILE_BYTES {
        let block: Vec<u8> = (0..1u32 << 20).map(|place| (place.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        fs::write(&path, block.repeat((FILE_BYTES >> 20) as usize)).map_err(at(&path))?;
    }
    // Into the cache, and out of the kernel's list of what is to be written.
    let opened = fs::File::open(&path).map_err(at(&path))?;
    opened.sync_all().map_err(at(&path))?;
    io::copy(&mut &opened, &mut io::sink()).map_err(at(&path))?;
    Ok(path)
}

/// A path where there is no file: what stood there is removed.
pub fn new_file() -> Made {
    let path = folder().join("corella-bench-new-file");
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(&path)(error)),
        _ => Ok(path),
    }
}

/// A folder of small files, read once.
pub fn small_files() -> Made {
    static FOLDER: OnceLock<Made> = OnceLock::new();
    FOLDER.get_or_init(make_small_files).clone()
}

fn make_small_files() -> Made {
    let path = folder().join("corella-bench-small-files");
    fs::create_dir_all(&path).map_err(at(&path))?;
    for place in 0..SMALL_FILES {
        let file = path.join(format!("{place:05}"));
        if fs::read(&file).map_or(0, |bytes| bytes.len()) != SMALL_FILE_BYTES {
            fs::write(&file, [b's'; SMALL_FILE_BYTES]).map_err(at(&file))?;
        }
    }
    Ok(path)
}

/// FIFOs in a folder, each of which is opened for writing now and then, and closed at once: who opens one for reading
/// sleeps till then. Ends with this.
pub struct Fifos {
    pub folder: PathBuf,
    is_over: std::sync::Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Fifos {
    pub fn new() -> Result<Fifos, String> {
        let folder = folder().join("corella-bench-fifos");
        fs::create_dir_all(&folder).map_err(at(&folder))?;
        let mut paths = Vec::new();
        for place in 0..FIFOS {
            let path = folder.join(format!("{place:02}"));
            let name = CString::new(path.as_os_str().as_bytes()).map_err(|error| error.to_string())?;
            // SAFETY: the path is a string that lives for the call.
            if !path.exists() && unsafe { libc::mkfifo(name.as_ptr(), 0o600) } != 0 {
                return Err(at(&path)(io::Error::last_os_error()));
            }
            paths.push(name);
        }
        let is_over = std::sync::Arc::new(AtomicBool::new(false));
        let thread = {
            let is_over = std::sync::Arc::clone(&is_over);
            std::thread::spawn(move || {
                while !is_over.load(Ordering::Acquire) {
                    open_each(&paths);
                    std::thread::sleep(FIFO_PAUSE);
                }
            })
        };
        Ok(Fifos { folder, is_over, thread: Some(thread) })
    }
}

/// Lets go on who waits for a writer; where nobody does, the open is refused.
fn open_each(paths: &[CString]) {
    for path in paths {
        // SAFETY: the path lives for the call; the descriptor is closed this once.
        unsafe {
            let descriptor = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_NONBLOCK | libc::O_CLOEXEC);
            if descriptor >= 0 {
                libc::close(descriptor);
            }
        }
    }
}

impl Drop for Fifos {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
