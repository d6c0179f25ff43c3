//! `examples/tour.lua` does what it says.

#![cfg(unix)]

mod corella;

use corella::{BACKENDS, corella, end_of, example};

#[test]
fn the_tour_shows_what_it_promises_on_both_backends() {
    for backend in BACKENDS {
        let ended = end_of(corella().arg("run").arg(example("tour.lua")).env("CORELLA_BACKEND", backend));
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
        for line in [
            &format!("Corella on the {backend} backend"),
            "synchronous: read_at(5, 0) gave 'Hello'",
            "callback: read_at(5, 7, f) returned at once",
            "polled status: read_at(1, 12) was asked until it was done",
            "500 overlapping writes submitted at once: the last one won",
            "1000 sends submitted at once on one socket: all came back in order",
            "a recv with a deadline of 0.02 s ended after",
            "a recv that was cancelled ended",
            "1000 tasks echoed over 1000 connections",
            "All of it was checked.",
        ] {
            assert!(ended.stdout.contains(line), "{line}\n{}", ended.stdout);
        }
        let path = ended.stdout.split_whitespace().find(|word| word.starts_with("/tmp/")).unwrap();
        assert!(!std::path::Path::new(path).exists(), "{path} is still there");
    }
}

#[test]
fn without_an_order_it_takes_the_best_backend_and_says_why() {
    let ended = end_of(corella().arg("run").arg(example("tour.lua")));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let first = ended.stdout.lines().next().unwrap();
    assert!(first.contains("the best for this machine") || first.contains("io_uring is not to be had"), "{first}");
}

#[test]
fn the_front_pages_program_does_what_it_says() {
    let page = include_str!("../../../README.md");
    let program = page.split("```lua\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let script = std::env::temp_dir().join(format!("corella-front-page-{}.lua", std::process::id()));
    std::fs::write(&script, program).unwrap();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for backend in BACKENDS {
        let ended = end_of(corella().arg("run").arg(&script).current_dir(&root).env("CORELLA_BACKEND", backend));
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
        for line in ["[workspace]", "callback: 16 bytes", "true\t16", "hello world"] {
            assert!(ended.stdout.contains(line), "{line}\n{}", ended.stdout);
        }
    }
    std::fs::remove_file(script).unwrap();
}
