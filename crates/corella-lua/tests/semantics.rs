//! What a VM's users see, as tests in Lua that are examples too: `semantics/*.lua`, on each backend.
//!
//! Each `test("…", …)` of a file is a test here, in a host of its own.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use corella::BackendKind;
use corella_lua::Host;
use libtest_mimic::{Arguments, Failed, Trial};

#[cfg(unix)]
const BACKENDS: &[BackendKind] = &[BackendKind::Uring, BackendKind::Portable];
#[cfg(windows)]
const BACKENDS: &[BackendKind] = &[BackendKind::Iocp];
/// How the tests for this system begin; a name ends at the next quote.
const BEGINNINGS: [&str; 2] = ["test(\"", if cfg!(windows) { "on_windows(\"" } else { "on_unix(\"" }];
/// What a test that is about the end of the program leaves behind.
const SETTLED: &str = "settled";

fn main() {
    let arguments = Arguments::from_args();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/semantics");
    let mut scripts: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    scripts.sort();
    let mut trials = Vec::new();
    for backend in BACKENDS.iter().copied() {
        for script in &scripts {
            let text = std::fs::read_to_string(script).unwrap();
            let file = script.file_stem().unwrap().to_string_lossy();
            let tests =
                text.lines().filter_map(|line| BEGINNINGS.iter().find_map(|beginning| line.strip_prefix(beginning)));
            for name in tests.map(|rest| rest.split('"').next().unwrap().to_string()) {
                let script = script.clone();
                let title = format!("{}::{file}::{name}", backend.name());
                trials.push(Trial::test(title, move || run(backend, &script, &name)));
            }
        }
    }
    libtest_mimic::run(&arguments, trials).exit()
}

/// Runs one test of a script.
fn run(backend: BackendKind, script: &Path, name: &str) -> Result<(), Failed> {
    let thread = std::thread::current().id();
    // Numbers of processes come again soon, and what a test that failed has left is not this one's.
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().map_err(|error| error.to_string())?.as_nanos();
    let left = std::env::temp_dir().join(format!("corella-semantics-{now}-{thread:?}"));
    let reports = Rc::new(RefCell::new(String::new()));
    let kept = Rc::clone(&reports);
    let reporter = move |report: &str| kept.borrow_mut().push_str(report);
    let mut host =
        Host::with_settings(Host::settings().backend(backend), reporter).map_err(|error| error.to_string())?;
    let source = std::fs::read(script).map_err(|error| error.to_string())?;
    let code = host.run(&script.to_string_lossy(), &source, &[name.into(), left.clone().into_os_string()]);
    drop(host);
    if let Ok(content) = std::fs::read_to_string(&left) {
        let _ = std::fs::remove_file(left);
        if content != SETTLED {
            return Err(format!("what it left is {content:?}").into());
        }
    } else if script.ends_with("endings.lua") {
        return Err("it left nothing".into());
    }
    let reports = reports.take();
    match (code, reports.is_empty()) {
        (0, true) => Ok(()),
        _ => Err(format!("exit code {code}: {reports}").into()),
    }
}
