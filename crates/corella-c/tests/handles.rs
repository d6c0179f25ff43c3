//! Everything the Rust handles can do has its function in C: a table of each public method, checked against the sources.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What has the handles' public methods, from the engine's `src` on.
const SOURCES: &[&str] = &[
    "file",
    "fs",
    "net",
    "datagram",
    "unix_socket",
    "child",
    "address",
    "time",
    "status",
    "buffer_pool",
    "operation",
    "scheduler/mod",
    "scheduler/builder",
    "scheduler/remote",
    "scheduler/token",
    "scheduler/shutdown",
];

/// Each method and the function that does the same, or behind a dash why C has none.
const TABLE: &str = include_str!("handles.txt");

fn engine() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("corella/src")
}

/// The type that an `impl` line is of, unless it is of a trait.
fn inherent(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("impl")?;
    let rest = match rest.strip_prefix('<') {
        Some(generic) => generic.split_once('>')?.1,
        None => rest,
    };
    let name = rest.trim_start().split(['<', '{', ' ']).next()?;
    (!line.contains(" for ")).then_some(name)
}

fn methods_of(source: &str) -> Vec<String> {
    let mut methods = Vec::new();
    let mut owner = None;
    for line in source.lines() {
        if line.starts_with("impl") {
            owner = inherent(line);
        }
        let declared = line.strip_prefix("    pub fn ").or_else(|| line.strip_prefix("    pub async fn "));
        if let (Some(declared), Some(owner)) = (declared, owner) {
            methods.push(format!("{owner}::{}", declared.split(['<', '(']).next().unwrap()));
        }
    }
    methods
}

#[test]
fn everything_the_rust_handles_can_do_has_its_function_in_c() {
    let mut methods = BTreeSet::new();
    for source in SOURCES {
        let text = fs::read_to_string(engine().join(format!("{source}.rs"))).unwrap();
        let found = methods_of(&text);
        assert!(!found.is_empty(), "{source} has no public methods");
        methods.extend(found);
    }
    let table: BTreeMap<&str, &str> = TABLE.lines().filter_map(|line| line.split_once(": ")).collect();
    let missing: Vec<_> = methods.iter().filter(|method| !table.contains_key(method.as_str())).collect();
    assert!(missing.is_empty(), "not in handles.txt: {missing:?}");
    let gone: Vec<_> = table.keys().filter(|method| !methods.contains(**method)).collect();
    assert!(gone.is_empty(), "in handles.txt, and no longer in the engine: {gone:?}");

    let header = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("include/corella.h")).unwrap();
    for (method, answer) in table {
        if let Some(reason) = answer.strip_prefix("- ") {
            assert!(reason.len() > 10, "{method}: no reason");
            continue;
        }
        for function in answer.split(", ") {
            let is_there = match function.starts_with("CORELLA_") {
                true => header.contains(&format!("#define {function} ")),
                false => header.contains(&format!("{function}(")),
            };
            assert!(is_there, "{method}: corella.h has no {function}");
        }
    }
}
