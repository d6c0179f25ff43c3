//! Status and the three forms.

use super::{ended, passes};

#[test]
fn a_status_is_asked_until_it_is_done() {
    passes(
        r#"
        local status = Scheduler.sleep(0.01, { async = true })
        assert(status:get_integer() == 0 and status:get_bool())
        fails("still running", status.result, status)
        while status:get_integer() == 0 do end
        assert(status:get_integer() == 1 and status:get_bool() and status:error() == nil)
        status:throw()
        assert(tostring(status) == "Status (done)")
        "#,
    );
}

#[test]
fn a_callback_is_called_later_with_the_same_status() {
    passes(
        r#"
        local file = FileHandle.open(path, "rw")
        local given, inside = nil, true
        local status
        status = file:write_at("x", 0, function(finished)
            assert(not inside)
            given = finished
            Scheduler.sleep(0.001)
            assert(file:read_at(1, 0) == "x", "a callback is a task: it may wait")
        end)
        inside = false
        assert(status:wait() == 1)
        Scheduler.run()
        assert(given == status)
        "#,
    );
}

#[test]
fn more_callbacks_are_called_also_after_the_end() {
    passes(
        r#"
        local calls = {}
        local status = Scheduler.sleep(0, function() calls[#calls + 1] = "first" end)
        status:on(function() calls[#calls + 1] = "second" end):on_error(function() calls[#calls + 1] = "never" end)
        Scheduler.run()
        status:on(function() calls[#calls + 1] = "late" end)
        Scheduler.run()
        assert(table.concat(calls, " ") == "first second late")
        local failed
        fs.stat(path, { async = true }):on_error(function(status) failed = status:error() end)
        Scheduler.run()
        assert(failed.code == 2)
        "#,
    );
}

#[test]
fn a_failure_can_be_asked_for_or_thrown() {
    passes(
        r#"
        local status = fs.stat(path, { async = true })
        fails("No such file", status.wait, status)
        assert(status:get_integer() == -1 and not status:get_bool())
        fails("No such file", status.throw, status)
        fails("No such file", status.result, status)
        assert(status:error().kind == "Os")
        "#,
    );
}

#[test]
fn a_cancelled_request_says_so() {
    passes(
        r#"
        local status = Scheduler.sleep(60, { async = true })
        status:cancel()
        assert(fails("cancelled", status.wait, status).kind == "Cancelled")
        status:cancel()
        "#,
    );
}

#[test]
fn a_failure_that_nobody_looked_at_is_reported() {
    ended("fs.stat(path, { async = true })", |ended| {
        assert_eq!(ended.reports.len(), 1);
        let expected = "test.lua:1: nobody looked at a failure: stat of ";
        assert!(ended.reports[0].starts_with(expected), "{:?}", ended.reports);
        assert_eq!(ended.code, 1);
    });
    ended(
        "\nlocal function open(...)\n  return FileHandle.open(...)\nend\nopen(path, 'r', function() end)\n",
        |ended| {
            assert!(
                ended.reports[0].starts_with("test.lua:5: nobody looked at a failure: open "),
                "{:?}",
                ended.reports
            );
            assert_eq!(ended.code, 1);
        },
    );
    passes("fs.stat(path, { async = true }):on_error(function() end) fs.stat(path, { async = true }):error()");
}

#[test]
fn a_failure_is_reported_while_the_program_goes_on() {
    ended(
        r#"
        fs.stat(path, function() end)
        Scheduler.sleep(1.2)
        fs.unlink(path)
        "#,
        |ended| {
            assert_eq!(ended.reports.len(), 2);
            assert!(ended.reports[0].contains("nobody looked at a failure: stat of "), "{:?}", ended.reports);
        },
    );
}

#[test]
fn a_failure_whose_waiter_has_given_up_is_told_at_the_end() {
    let late = r#"
        local task = Scheduler.spawn(function() Scheduler.sleep(0.05) error("lost") end)
        fails("deadline passed", task.join, task, { deadline = 0.01 })
    "#;
    ended(late, |ended| {
        assert_eq!(ended.code, 1);
        assert!(ended.reports.iter().any(|report| report.contains("lost")), "{:?}", ended.reports);
    });
    let killed = r#"
        local one, other = Socket.pair()
        local status = one:recv(1, { async = true, deadline = 0.02 })
        local waits = Scheduler.spawn(function() status:wait() end)
        Scheduler.poll()
        waits:kill()
        status = nil
        Scheduler.sleep(0.03)
        assert(not other:is_closed())
    "#;
    ended(killed, |ended| {
        assert_eq!(ended.code, 1);
        assert!(ended.reports.iter().any(|report| report.contains("deadline passed")), "{:?}", ended.reports);
    });
}
