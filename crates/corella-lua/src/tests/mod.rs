//! Small scripts, one promise each, on both backends.

mod channels;
mod coroutines;
mod directories;
mod endings;
mod files;
mod reading;
mod simulated;
mod sockets;
mod status;
mod tasks;

use std::cell::RefCell;
use std::rc::Rc;

use corella::BackendKind;

use crate::Host;

/// What came of a script.
struct Ended {
    code: i32,
    reports: Vec<String>,
}

/// What every script here may use: `path`, a name of its own that is free, and `fails(text, f, …)`, which checks that
/// a call raises an error with `text` in it and gives that error.
const HEAD: &str = r#"
    path = ...
    function fails(text, call, ...)
        local ok, problem = pcall(call, ...)
        assert(not ok, "it should have failed: " .. text)
        assert(tostring(problem):find(text, 1, true), "another error than '" .. text .. "': " .. tostring(problem))
        return problem
    end
"#;

fn run_on(backend: BackendKind, script: &str) -> Ended {
    run_prepared(backend, script, |_| {})
}

/// Runs a script on a host that `prepare` has changed.
fn run_prepared(backend: BackendKind, script: &str, prepare: impl FnOnce(&Host)) -> Ended {
    let path =
        std::env::temp_dir().join(format!("corella-lua-{}-{:?}", std::process::id(), std::thread::current().id()));
    let reports = Rc::new(RefCell::new(Vec::new()));
    let kept = Rc::clone(&reports);
    let builder = Host::settings().backend(backend);
    let mut host = Host::with_settings(builder, move |report| kept.borrow_mut().push(report.to_string())).unwrap();
    prepare(&host);
    // On one line with the head, so that the script's lines are its own.
    let source = format!("{} {script}", HEAD.replace('\n', " "));
    let code = host.run("test.lua", source.as_bytes(), &[path.clone().into_os_string()]);
    drop(host);
    let _ = std::fs::remove_file(path);
    let reports = reports.take();
    Ended { code, reports }
}

/// Runs a script on both backends and hands what came of it to `check`.
fn ended(script: &str, check: impl Fn(&Ended)) {
    for backend in [BackendKind::Uring, BackendKind::Portable] {
        check(&run_on(backend, script));
    }
}

#[test]
fn the_manual_names_everything_that_there_is() {
    let manual = include_str!("../../../../docs/LUA.md");
    passes(&format!(
        r#"
        local manual = [==[{manual}]==]
        local missing = {{}}
        for class, names in pairs({{
            FileHandle = FileHandle, Socket = Socket, Status = Status, Scheduler = Scheduler, fs = fs,
        }}) do
            for name in pairs(names) do
                if not manual:find("[`.:]" .. name .. "%(") then missing[#missing + 1] = class .. "." .. name end
            end
        end
        assert(#missing == 0, table.concat(missing, " "))
        "#
    ));
}

/// Runs a script whose own assertions are the test.
fn passes(script: &str) {
    ended(script, |ended| {
        assert_eq!(ended.reports, Vec::<String>::new());
        assert_eq!(ended.code, 0);
    });
}
