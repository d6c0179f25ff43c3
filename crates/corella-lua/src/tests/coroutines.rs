//! Coroutines of the script's own, and places where Lua cannot be suspended.

use super::passes;
use crate::Host;

#[test]
fn a_generator_may_do_io() {
    passes(
        r#"
        local file = FileHandle.open(path, "rw")
        file:write_at("abc", 0)
        local function letters()
            return coroutine.wrap(function()
                for place = 0, 2 do
                    Scheduler.sleep(0.001)
                    coroutine.yield(place, (file:read_at(1, place)))
                end
            end)
        end
        local seen = ""
        for place, letter in letters() do seen = seen .. place .. letter end
        assert(seen == "0a1b2c")
        "#,
    );
}

#[test]
fn coroutines_in_coroutines_may_do_io_and_others_run_meanwhile() {
    passes(
        r#"
        local ticks = 0
        local ticker = Scheduler.spawn(function() while true do Scheduler.sleep(0.001) ticks = ticks + 1 end end)
        local inner = coroutine.create(function(first)
            assert(first == "first")
            local second = coroutine.yield("yielded")
            Scheduler.sleep(0.02)
            assert(second == "second")
            return "inner", nil, "result"
        end)
        local outer = coroutine.wrap(function()
            assert(select(2, coroutine.resume(inner, "first")) == "yielded")
            Scheduler.sleep(0.01)
            coroutine.yield("out")
            return coroutine.resume(inner, "second")
        end)
        assert(outer() == "out")
        local results = table.pack(outer())
        assert(results.n == 4 and results[1] and results[2] == "inner" and results[4] == "result")
        assert(ticks > 3, "nobody else was stopped")
        ticker:kill()
        "#,
    );
}

#[test]
fn errors_pass_through_coroutines_as_ever() {
    passes(
        r#"
        local broken = coroutine.create(function() fs.stat(path) end)
        local ok, problem = coroutine.resume(broken)
        assert(not ok and problem.code == 2 and coroutine.status(broken) == "dead")
        local generator = coroutine.wrap(function() Scheduler.sleep(0.001) error("here") end)
        assert(fails("test.lua:", generator):find("here"))
        fails("cannot resume dead coroutine", generator)
        local ok, problem = pcall(function()
            Scheduler.sleep(0.001)
            local _ <close> = setmetatable({}, { __close = function() Scheduler.sleep(0.001) end })
            error({ code = 7 })
        end)
        assert(not ok and problem.code == 7)
        "#,
    );
}

#[test]
fn a_coroutine_that_waits_cannot_be_resumed_by_others() {
    passes(
        r#"
        local thread = coroutine.create(function() Scheduler.sleep(0.02) return "done" end)
        local task = Scheduler.spawn(function() return select(2, coroutine.resume(thread)) end)
        Scheduler.sleep(0.001)
        assert(coroutine.status(thread) == "normal")
        local ok, problem = coroutine.resume(thread)
        assert(not ok and problem == "cannot resume non-suspended coroutine")
        fails("cannot close a normal coroutine", coroutine.close, thread)
        assert(task:join() == "done" and coroutine.status(thread) == "dead")
        "#,
    );
}

#[test]
fn where_lua_cannot_be_suspended_a_call_that_waits_is_an_error() {
    passes(
        r#"
        local file = FileHandle.open(path, "rw")
        file:write_at("x", 0)
        local function reads() return file:read_at(1, 0) == "x" end
        fails("cannot wait here: 'read_at'", table.sort, { 3, 2, 1 }, reads)
        fails("cannot wait here: 'read_at'", string.gsub, "a", "a", reads)
        fails("cannot wait here", table.sort, { 3, 2, 1 }, function()
            return coroutine.wrap(reads)()
        end)
        fails("cannot wait here: 'sleep'", table.concat, setmetatable({}, {
            __len = function() return 1 end,
            __index = function() Scheduler.sleep(0) end,
        }))
        table.sort({ 3, 2, 1 }, function(left, right)
            local numbers = coroutine.wrap(function() coroutine.yield(left < right) end)
            file:read_at(1, 0, function(status) assert(status:result() == "x") end)
            return numbers()
        end)
        local refused
        setmetatable({}, { __gc = function() refused = select(2, pcall(reads)) end })
        collectgarbage()
        assert(refused:find("cannot wait here"))
        assert(reads(), "and afterwards it can")
        "#,
    );
}

#[test]
fn a_module_may_wait_while_it_is_loaded() {
    passes(
        r#"
        package.preload.waits = function() Scheduler.sleep(0.001) return { loaded = true } end
        assert(require("waits").loaded and require("waits") == package.loaded.waits)
        fails("cannot wait here: 'require'", table.sort, { 2, 1 }, function() return require("other") end)
        "#,
    );
}

#[test]
fn a_task_that_yields_gives_way() {
    passes(
        r#"
        local order = {}
        local task = Scheduler.spawn(function()
            for number = 1, 3 do order[#order + 1] = "a" .. number coroutine.yield() end
        end)
        local other = Scheduler.spawn(function()
            for number = 1, 3 do order[#order + 1] = "b" .. number coroutine.yield() end
        end)
        task:join() other:join()
        assert(table.concat(order, " ") == "a1 b1 a2 b2 a3 b3")
        "#,
    );
}

#[test]
fn finalizers_run_where_lua_runs_also_when_what_was_received_makes_the_collector_go_on() {
    passes(
        r#"
        local one, other = Socket.pair()
        local count, resumed, waited = 0, 0, 0
        local finalizer = { __gc = function()
            count = count + 1
            pcall(error, "caught")
            if coroutine.resume(coroutine.running()) then resumed = resumed + 1 end
            if pcall(Scheduler.sleep, 0) then waited = waited + 1 end
        end }
        Scheduler.spawn(function()
            for _ = 1, 2000 do other:send(("x"):rep(2000)) Scheduler.poll() end
            other:close()
        end)
        local got = 0
        for bytes in function() return one:recv(4000) end do
            if bytes == "" then break end
            got = got + #bytes
            for _ = 1, 3 do setmetatable({}, finalizer) end
        end
        assert(got == 4000000 and count > 1000 and resumed == 0 and waited == 0, count)
        "#,
    );
}

#[test]
fn a_script_that_resumes_the_coroutine_of_a_task_breaks_that_task_alone() {
    passes(
        r#"
        local one, other = Socket.pair()
        local thread
        local task = Scheduler.spawn(function() thread = coroutine.running() return one:recv(4000) end)
        Scheduler.sleep(0.001)
        coroutine.resume(thread)
        other:send("bytes")
        pcall(task.join, task)
        Scheduler.sleep(0.001)
        "#,
    );
}

#[test]
fn a_close_that_is_refused_ends_no_waiting() {
    passes(
        r#"
        fails("cannot close a running coroutine", coroutine.close, coroutine.running())
        Scheduler.sleep(0.001)
        local outer
        outer = coroutine.create(function()
            fails("cannot close a normal coroutine", coroutine.wrap(function() coroutine.close(outer) end))
            Scheduler.sleep(0.001)
        end)
        assert(coroutine.resume(outer))
        local refused
        local guarded = coroutine.create(function()
            local _ <close> = setmetatable({}, { __close = function() Scheduler.sleep(0) end })
            coroutine.yield()
        end)
        coroutine.resume(guarded)
        local ok, problem = coroutine.close(guarded)
        assert(not ok and problem:find("cannot wait here: 'sleep'"), problem)
        Scheduler.spawn(Scheduler.sleep, 0.001):join()
        "#,
    );
}

#[test]
fn a_poll_in_a_generator_is_for_the_whole_task() {
    passes(
        r#"
        local turns = 0
        local other = Scheduler.spawn(function() while true do turns = turns + 1 coroutine.yield() end end)
        local numbers = coroutine.wrap(function()
            for number = 1, 3 do
                local status = Scheduler.sleep(0.001, { async = true })
                while status:get_integer() == 0 do assert(Scheduler.poll() == true) end
                coroutine.yield(number)
            end
        end)
        local seen = ""
        for number in numbers do seen = seen .. number end
        assert(seen == "123", seen)
        assert(turns >= 3, turns)
        other:kill()
        "#,
    );
}

#[test]
fn finalizers_may_ask_the_scheduler_when_a_datagram_has_come() {
    passes(
        r#"
        local one, other = Socket.pair("datagram")
        local count, problem = 0
        local finalizer = { __gc = function()
            count = count + 1
            local ok, why = pcall(Scheduler.has_work)
            if not ok then problem = why end
        end }
        local reader = Scheduler.spawn(function()
            for _ = 1, 300 do
                one:recvfrom(30000)
                setmetatable({}, finalizer)
            end
        end)
        for _ = 1, 300 do other:send(("x"):rep(30000)) end
        reader:join()
        assert(count > 100 and problem == nil, tostring(problem))
        "#,
    );
}

#[test]
fn finalizers_may_ask_a_status_while_its_values_are_made() {
    passes(
        r#"
        local file = FileHandle.open(path, "rw")
        file:write_at(("x"):rep(30000), 0)
        local count, problem, status = 0
        local finalizer = { __gc = function()
            if status then
                count = count + 1
                local ok, why = pcall(status.get_integer, status)
                if not ok then problem = why end
            end
        end }
        for _ = 1, 500 do
            local asked = file:read_at(30000, 0, { async = true })
            while asked:get_integer() == 0 do end
            setmetatable({}, finalizer)
            status = asked
            assert(#asked:result() == 30000)
            status = nil
        end
        assert(count > 100 and problem == nil, tostring(problem))
        "#,
    );
}

#[test]
fn a_generator_that_waited_in_a_killed_task_can_be_closed_and_resumed() {
    passes(
        r#"
        local one, other = Socket.pair()
        local closed = 0
        local function generator(wait)
            return coroutine.create(function()
                local _ <close> = setmetatable({}, { __close = function() closed = closed + 1 end })
                while true do coroutine.yield(wait()) end
            end)
        end
        local function receive() return one:recv(10) end
        local function killed_in(thread)
            local task = Scheduler.spawn(function() coroutine.resume(thread) end)
            Scheduler.sleep(0.001)
            assert(coroutine.status(thread) == "normal")
            task:kill()
            Scheduler.sleep(0.001)
            assert(coroutine.status(thread) == "suspended")
            return thread
        end
        assert(coroutine.close(killed_in(generator(receive))) and closed == 1)
        -- What waited is told so.
        local thread = killed_in(generator(receive))
        local ok, problem = coroutine.resume(thread)
        assert(not ok and tostring(problem):find("the task was killed"), problem)
        assert(coroutine.status(thread) == "dead" and coroutine.close(thread) == false and closed == 2)
        -- Also when it was resumed by another one.
        local inner = generator(receive)
        local outer = killed_in(generator(function() return coroutine.resume(inner) end))
        assert(coroutine.status(inner) == "normal")
        assert(coroutine.close(outer) and coroutine.status(inner) == "suspended")
        assert(coroutine.close(inner) and closed == 4)
        local caught = killed_in(generator(function() return pcall(receive) end))
        other:send("bytes")
        assert(select(2, coroutine.resume(caught)) == false and select(3, coroutine.resume(caught)) == "bytes")
        "#,
    );
}

/// A finalizer runs wherever memory is taken, and may look at a Status, which settles what has come.
#[test]
fn what_comes_while_a_coroutine_of_the_scripts_own_passes_its_wait_on_is_not_lost() {
    let looks = r#"
        local running = coroutine.running
        coroutine.running = function() if look then look() end return running() end
    "#;
    let script = r#"
        local one, other = Socket.pair()
        local waits = Socket.pair():recv(1, { async = true })
        other:send("hello")
        function look() waits:get_bool() end
        local ways = {
            function() return one:recv(100) == "hello" end,
            function() Scheduler.sleep(0) return true end,
        }
        for number, way in ipairs(ways) do
            assert(Scheduler.spawn(function() return coroutine.wrap(way)() end):join(), number)
        end
        waits:cancel()
    "#;
    for backend in [corella::BackendKind::Uring, corella::BackendKind::Portable] {
        let scheduler = Host::settings().backend(backend).build().unwrap();
        let mut host = Host::on(scheduler, |report| panic!("{report}"), |lua, _| lua.load(looks).exec()).unwrap();
        assert_eq!(host.run("test.lua", script.as_bytes(), &[]), 0);
    }
}
