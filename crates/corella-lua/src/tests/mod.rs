//! Small scripts, one promise each, on both backends.

mod annotations;
mod channels;
mod coroutines;
mod directories;
mod endings;
mod files;
mod killed;
mod reading;
mod sessions;
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

/// Every class with its methods, as `is_missing` finds them missing.
fn missing(is_missing: impl Fn(&str, &str) -> bool) -> Vec<String> {
    let host = Host::with_settings(Host::settings(), |_: &str| {}).unwrap();
    let lua = host.lua.as_ref().unwrap();
    let mut missing = Vec::new();
    for class in crate::install::CLASSES {
        let methods: mlua::Table = lua.named_registry_value(&format!("corella.{class}")).unwrap();
        for pair in methods.pairs::<String, mlua::Value>() {
            let name = pair.unwrap().0;
            if is_missing(class, &name) {
                missing.push(format!("{class}.{name}"));
            }
        }
    }
    missing
}

#[test]
fn the_manual_describes_everything_that_there_is_with_an_example() {
    let manual = include_str!("../../../../docs/LUA.md");
    let reference = &manual[manual.find("\n# Reference").unwrap()..];
    let mut examples = String::new();
    let mut is_inside = false;
    for line in reference.lines() {
        is_inside = line == "```lua" || is_inside && line != "```";
        if is_inside {
            examples.push_str(line);
            examples.push('\n');
        }
    }
    let described = |name: &str| {
        let calls = [".", ":"].map(|sign| format!("{sign}{name}("));
        calls.iter().any(|call| {
            let is_heading = |(place, _): (usize, &str)| {
                let before = reference[..place].trim_end_matches(char::is_alphanumeric);
                before.ends_with("**`")
            };
            reference.match_indices(call.as_str()).any(is_heading)
        })
    };
    let shown = |name: &str| {
        [".", ":"].iter().any(|sign| ["(", ",", ")"].iter().any(|end| examples.contains(&format!("{sign}{name}{end}"))))
    };
    assert_eq!(missing(|_, name| !described(name)), Vec::<String>::new(), "not described");
    assert_eq!(missing(|_, name| !shown(name)), Vec::<String>::new(), "without an example");
}

/// Runs a script whose own assertions are the test.
fn passes(script: &str) {
    ended(script, |ended| {
        assert_eq!(ended.reports, Vec::<String>::new());
        assert_eq!(ended.code, 0);
    });
}
