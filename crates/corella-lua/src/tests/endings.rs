//! How programs end: errors, exit codes, and what is still in flight.

use std::time::Duration;

use corella::BackendKind;

use super::{ended, passes, run_prepared};

#[test]
fn an_error_in_the_main_program_is_reported_with_its_place() {
    ended("local function inner()\n  local nothing\n  nothing.field = 1\nend\ninner()", |ended| {
        assert_eq!(ended.code, 1);
        let report = &ended.reports[0];
        assert!(report.starts_with("test.lua:3: attempt to index a nil value (local 'nothing')\n"), "{report}");
        assert!(
            report.contains("stack traceback:\n\ttest.lua:3: in local 'inner'\n\ttest.lua:5: in main chunk"),
            "{report}"
        );
    });
}

#[test]
fn an_operation_that_fails_in_the_main_program_is_reported_with_its_place() {
    ended("\nFileHandle.open('/nonexistent')", |ended| {
        assert_eq!(ended.code, 1);
        let report = &ended.reports[0];
        assert!(
            report
                .starts_with("test.lua:2: open for reading of /nonexistent: No such file or directory (os error 2)\n"),
            "{report}"
        );
        assert!(!report.contains("'error'") && !report.contains("tail calls"), "{report}");
        assert!(report.contains("test.lua:2: in main chunk") && !report.contains("[corella]"), "{report}");
    });
}

#[test]
fn a_syntax_error_is_reported_and_nothing_runs() {
    ended("local = 5", |ended| {
        assert_eq!(ended.code, 1);
        assert_eq!(ended.reports.len(), 1);
        assert!(ended.reports[0].starts_with("test.lua:1: <name> expected near '='"), "{:?}", ended.reports);
    });
}

#[test]
fn an_error_in_a_task_or_callback_is_reported_and_the_others_go_on() {
    ended(
        r#"
        Scheduler.spawn(function() error("in a task") end)
        Scheduler.sleep(0.001, function() error("in a callback") end)
        Scheduler.sleep(0.02)
        FileHandle.open(path, "w"):print("went on")
        assert(#arg == 1 and arg[0] == "test.lua")
        "#,
        |ended| {
            assert_eq!(ended.code, 1);
            assert_eq!(ended.reports.len(), 2, "{:?}", ended.reports);
            assert!(ended.reports.iter().any(|report| report.contains("in a task\nstack traceback:")));
            assert!(ended.reports.iter().any(|report| report.contains("in a callback\nstack traceback:")));
        },
    );
}

#[test]
fn everything_in_flight_settles_before_the_end_but_accepts() {
    ended(
        r#"
        local listener = Socket.listen("127.0.0.1", 0)
        listener:accept(function() end)
        Scheduler.spawn(function() listener:accept() end)
        Scheduler.sleep(0.02, function()
            Scheduler.sleep(0.01)
            FileHandle.open(path, "w"):print("late")
            fs.stat(path .. ".none")
        end)
        "#,
        |ended| {
            assert_eq!(ended.code, 1);
            assert_eq!(ended.reports.len(), 1, "the callback came to its last line: {:?}", ended.reports);
        },
    );
}

#[test]
fn buffered_output_goes_out_at_the_end() {
    passes(
        r#"
        kept = FileHandle.open(path, "w")
        kept:print("still buffered")
        "#,
    );
    ended("kept = FileHandle.open('/dev/full', 'w') kept:print('lost')", |ended| {
        assert_eq!((ended.code, ended.reports.len()), (1, 1));
        assert!(ended.reports[0].contains("output is lost: "), "{:?}", ended.reports);
        assert!(ended.reports[0].contains("No space left on device"), "{:?}", ended.reports);
    });
}

#[test]
fn os_exit_ends_it_with_its_code() {
    for (script, code) in [
        ("os.exit(3)", 3),
        ("os.exit(true)", 0),
        ("os.exit(false)", 1),
        ("Scheduler.spawn(function() os.exit(4) end) Scheduler.sleep(60)", 4),
        ("coroutine.wrap(function() os.exit(5) end)() error('not reached')", 5),
        ("table.sort({ 2, 1 }, function() os.exit(6) end)", 6),
    ] {
        ended(script, |ended| {
            assert_eq!((ended.code, ended.reports.len()), (code, 0), "{script}: {:?}", ended.reports)
        });
    }
}

#[test]
fn a_byte_order_mark_and_a_line_for_the_shell_are_passed_over() {
    for head in ["\u{feff}", "#!/bin/sh", "\u{feff}#!/bin/sh"] {
        let mut host = crate::Host::new().unwrap();
        assert_eq!(host.run("test.lua", format!("{head}\nos.exit(3)").as_bytes(), &[]), 3, "{head:?}");
    }
}

#[test]
fn the_debug_traceback_and_what_else_is_of_stock_lua() {
    passes(
        r#"
        assert(debug.traceback("message"):find("^message\nstack traceback:\n\ttest.lua:2: in main chunk"))
        assert(debug.traceback({}) ~= nil)
        local ok, text = xpcall(function() Scheduler.sleep(0) error("x") end, debug.traceback)
        assert(not ok and text:find("stack traceback"))
        assert(io == nil and os.execute == nil and os.time() > 0)
        assert(load("return 1 + 1")() == 2)
        "#,
    );
}

#[test]
fn what_nobody_takes_is_given_up_at_the_end_and_reported() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = format!(
        "Socket.connect('127.0.0.1', {port}):send(('x'):rep(64 << 20), {{ async = true }}) os.exit(0, 'nobody takes it')"
    );
    for backend in [BackendKind::Uring, BackendKind::Portable] {
        let limit = |host: &crate::Host| host.runtime.writes_limit.set(Duration::from_millis(50));
        let ended = run_prepared(backend, &script, limit);
        let given_up = |report: &String| report.starts_with("given up at the end of the program: send 67108864 bytes");
        assert!(ended.reports.iter().any(given_up), "{:?}", ended.reports);
        assert_eq!(ended.code, 0, "os.exit's own");
    }
}

#[test]
fn a_host_that_was_never_run_is_dropped_in_peace() {
    drop(crate::Host::new().unwrap());
}

#[test]
fn nothing_runs_after_an_exit_in_a_task_that_has_received() {
    ended(
        r#"
        local one, other = Socket.pair()
        local task = Scheduler.spawn(function()
            one:recv(10)
            Scheduler.spawn(function() os.exit(5) end)
            os.exit(3)
        end)
        Scheduler.sleep(0.001)
        other:send("x")
        task:join()
        "#,
        |ended| assert_eq!((ended.code, ended.reports.len()), (3, 0), "{:?}", ended.reports),
    );
}

#[test]
fn who_waits_for_all_else_goes_on_though_the_main_program_has_ended() {
    ended(
        r#"
        local function says(text) error(text, 0) end
        Scheduler.run(function() says("called") end)
        Scheduler.spawn(function() Scheduler.run() says("went on") end)
        Scheduler.run(function() Scheduler.run(function() says("nested") end) end)
        Scheduler.spawn(function() Scheduler.run() Scheduler.sleep(0.001) Scheduler.run() says("later") end)
        Scheduler.sleep(0.005, function() says("slept") end)
        "#,
        |ended| {
            let has = |text: &str| ended.reports.iter().position(|report| report.contains(text));
            assert!(
                ["called", "went on", "slept", "nested", "later"].iter().all(|text| has(text).is_some()),
                "{:?}",
                ended.reports
            );
            assert!(has("slept") < has("called") && has("slept") < has("went on"), "{:?}", ended.reports);
        },
    );
}

#[test]
fn nobody_who_waits_for_all_else_keeps_a_program_from_its_end() {
    for script in [
        "local status = Scheduler.run({ async = true })",
        "local listener = Socket.listen('127.0.0.1', 0) listener:poll('read', function() end)",
    ] {
        passes(script);
    }
    // A peer that reads nothing and stays: that there is room is not waited for when the end is asked for.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let full = format!(
        r#"
        local one = Socket.connect("127.0.0.1", {})
        Scheduler.spawn(function() pcall(one.send, one, ("x"):rep(32 << 20)) end)
        Scheduler.sleep(0.02)
        one:poll("write", function() end)
        os.exit(0)
        "#,
        listener.local_addr().unwrap().port()
    );
    let begun = std::time::Instant::now();
    passes(&full);
    assert!(begun.elapsed() < std::time::Duration::from_secs(8));
}
