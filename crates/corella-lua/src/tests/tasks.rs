//! Scheduler and its tasks.

use corella::BackendKind;

use super::{ended, passes, run_prepared};

#[test]
fn a_join_gives_what_the_task_returned_or_raised() {
    passes(
        r#"
        local task = Scheduler.spawn(function(...) Scheduler.sleep(0.001) return table.pack(...).n, ... end, 1, nil, 3)
        local results = table.pack(Scheduler.join(task))
        assert(results.n == 4 and results[1] == 3 and results[4] == 3)
        assert(task:join() == 3, "again")
        local broken = Scheduler.spawn(function() error({ code = 5 }) end)
        Scheduler.sleep(0.001)
        local ok, problem = pcall(broken.join, broken)
        assert(not ok and problem.code == 5)
        local called
        Scheduler.join(task, function(status) called = status:result() end)
        Scheduler.run()
        assert(called == 3)
        fails("a Task is expected", Scheduler.join, 5)
        fails("function: a function is expected", Scheduler.spawn, 5)
        "#,
    );
}

#[test]
fn a_killed_task_ends_where_it_stands() {
    passes(
        r#"
        local closed, after
        local task = Scheduler.spawn(function()
            local _ <close> = setmetatable({}, { __close = function() closed = true end })
            Scheduler.sleep(60)
            after = true
        end)
        Scheduler.sleep(0.001)
        assert(Scheduler.active_tasks() == 2)
        Scheduler.kill(task)
        assert(fails("the task was killed", task.join, task).kind == "Killed")
        Scheduler.run()
        assert(closed and not after and Scheduler.active_tasks() == 1 and #Scheduler.outstanding() == 0)
        task:kill()
        "#,
    );
}

#[test]
fn a_timeout_kills_what_takes_too_long() {
    passes(
        r#"
        local began, went_on = Scheduler.now(), false
        local function slow() Scheduler.sleep(30) went_on = true end
        assert(fails("timeout: deadline passed", Scheduler.timeout, 0.02, slow).kind == "TimedOut")
        assert(Scheduler.now() - began < 5 and not went_on)
        assert(Scheduler.timeout(30, function() Scheduler.sleep(0.001) return "in time" end) == "in time")
        fails("own error", Scheduler.timeout, 30, function() error("own error") end)
        local status = Scheduler.timeout(0.01, slow, function(status) assert(not status:get_bool()) end)
        fails("deadline passed", status.wait, status)
        "#,
    );
}

#[test]
fn a_join_has_a_deadline_and_the_task_goes_on() {
    passes(
        r#"
        local task = Scheduler.spawn(function() Scheduler.sleep(0.05) return "done" end)
        fails("join: deadline passed", task.join, task, { deadline = 0.005 })
        assert(task:join() == "done")
        "#,
    );
}

#[test]
fn what_is_outstanding_can_be_seen() {
    passes(
        r#"
        local listener <close> = Socket.listen("127.0.0.1", 0)
        local accepting = listener:accept({ async = true })
        local list = Scheduler.outstanding()
        assert(#list == 1 and list[1].operation == "accept" and list[1].age >= 0)
        accepting:cancel()
        fails("cancelled", accepting.wait, accepting)
        assert(type(Scheduler.has_work()) == "boolean" and type(Scheduler.poll()) == "boolean")
        local backend, reason = Scheduler.backend()
        assert((backend == "uring" or backend == "portable") and #reason > 0)
        "#,
    );
}

#[test]
fn a_hundred_thousand_requests_leave_nothing_behind() {
    passes(
        r#"
        local file = FileHandle.open(path, "rw")
        file:write_at("0123456789", 0)
        local function round()
            for number = 1, 300 do
                local status
                status = file:read_at(1, 0, function() return status end)
                file:read_at(1, 1)
                pcall(file.read_at, file, 1, -1)
                pcall(fs.stat, path .. ".none")
                Scheduler.spawn(function() return {} end):join()
                Scheduler.spawn(Scheduler.sleep, 60):kill()
                coroutine.wrap(function() file:read_at(1, 0) end)()
            end
            Scheduler.run()
            collectgarbage() collectgarbage()
            return collectgarbage("count")
        end
        round()
        local before = round()
        for _ = 1, 5 do round() end
        local after = round()
        assert(after < before + 20, before .. " KiB became " .. after)
        "#,
    );
}

#[test]
fn waiting_for_each_other_is_a_deadlock_and_not_a_hang() {
    ended(
        r#"
        local one, other
        one = Scheduler.spawn(function() other:join() end)
        other = Scheduler.spawn(function() one:join() end)
        one:join()
        "#,
        |ended| {
            assert_eq!(ended.code, 1);
            assert!(ended.reports[0].starts_with("deadlock"), "{:?}", ended.reports);
        },
    );
}

#[test]
fn a_crowd_that_there_is_no_room_for_is_refused_by_name_and_the_others_go_on() {
    let script = r#"
        local count, refused = 0
        repeat
            local ok, problem = pcall(Scheduler.spawn, function() count = count + 1 end)
            refused = not ok and problem
        until refused
        assert(refused == "spawn: there are 1000 tasks and 0 callbacks in flight, as many as there is room for", refused)
        Scheduler.run()
        assert(count == 999, count)
        local called, waits = 0
        for _ = 1, 499 do waits = Scheduler.sleep(0.01, function() called = called + 1 end) end
        Scheduler.sleep(0.02, function() called = called + 1 end)
        local wanted = "there are 1 tasks and 500 callbacks in flight, as many as there is room for"
        fails("sleep: " .. wanted, Scheduler.sleep, 0.01, print)
        fails("on: " .. wanted, waits.on, waits, print)
        fails("on_error: " .. wanted, waits.on_error, waits, print)
        fails("spawn: " .. wanted, Scheduler.spawn, print)
        Scheduler.sleep(0.01)
        Scheduler.run()
        assert(called == 500, called)
        assert(Scheduler.join(Scheduler.spawn(function() return 7 end)) == 7)
    "#;
    for backend in [BackendKind::Uring, BackendKind::Portable] {
        let ended = run_prepared(backend, script, |host| host.runtime.references_max.set(1000));
        assert_eq!((ended.code, ended.reports), (0, Vec::new()));
    }
}

#[test]
fn who_receives_has_its_turn_among_a_crowd_that_is_always_ready() {
    passes(
        r#"
        local is_over, made, served = false, 0, 0
        for number = 1, 600 do
            Scheduler.spawn(function()
                while not is_over do
                    if number % 50 == 0 then
                        local one, other = Socket.pair()
                        made = made + 1
                        Scheduler.spawn(function() one:recv(10) served = served + 1 end)
                        other:send("x")
                    end
                    Scheduler.poll()
                end
            end)
        end
        for turn = 1, 50 do Scheduler.poll() end
        is_over = true
        assert(2 * served >= made, served .. " of " .. made)
        "#,
    );
}

#[test]
fn a_loop_that_asks_a_status_gets_to_its_end_behind_a_task_that_receives() {
    passes(
        r#"
        local one, other = Socket.pair()
        local task = Scheduler.spawn(function() return one:recv(4) end)
        Scheduler.sleep(0.001)
        local status = one:readline({ async = true })
        other:send("one\ntwo\n")
        local end_at = Scheduler.now() + 5
        while status:get_integer() == 0 do assert(Scheduler.now() < end_at) end
        assert(task:status() == "ready" and status:result() == "two\n")
        assert(task:join() == "one\n")
        "#,
    );
}
