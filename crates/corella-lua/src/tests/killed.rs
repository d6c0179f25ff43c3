//! What was received for a task that is killed is for the next to ask: nothing is lost, and what came first is first.

use super::passes;

/// Turns the scheduler without giving the others a turn: what comes settles, and no task is resumed.
const TURN: &str = r#"
    local function turn()
        local status = Scheduler.sleep(0.005, { async = true })
        while status:get_integer() == 0 do end
    end
    local function reads(call) local task = Scheduler.spawn(call) Scheduler.sleep(0.001) return task end
"#;

fn passes_with_turns(script: &str) {
    passes(&format!("{} {script}", TURN.replace('\n', " ")));
}

#[test]
fn what_a_killed_task_had_received_of_a_connection_is_for_the_next_to_ask() {
    passes_with_turns(
        r#"
        local ways = {
            function(socket) return socket:readline() end,
            function(socket) return socket:read(4) end,
            function(socket) return socket:recv(4) end,
            function(socket) return socket:recv(4, { deadline = 5 }) end,
        }
        for number, way in ipairs(ways) do
            local one, other = Socket.pair()
            local task = reads(function() return way(one) end)
            other:send("one\ntwo\n")
            turn()
            task:kill()
            other:send("end\n")
            turn()
            assert(way(one) == "one\n", number)
            assert(one:read(8) == "two\nend\n", number)
        end
        "#,
    );
}

#[test]
fn who_waits_already_gets_what_a_killed_task_had_received() {
    passes_with_turns(
        r#"
        for number, way in ipairs { "readline", "recv" } do
            local one, other = Socket.pair()
            local length = way == "recv" and 100 or nil
            local killed = reads(function() return one[way](one, length) end)
            local waits = reads(function() return one[way](one, length) end)
            other:send("one\n")
            turn()
            killed:kill()
            assert(waits:join() == "one\n", way)
            -- One that comes to wait when the bytes are there, and before the task is killed.
            local killed = reads(function() return one:recv(100) end)
            Scheduler.spawn(function() killed:kill() end)
            other:send("two")
            turn()
            assert(one:recv(100) == "two")
        end
        "#,
    );
}

#[test]
fn a_timeout_around_a_read_loses_nothing() {
    passes(
        r#"
        local one, other = Socket.pair()
        Scheduler.spawn(function()
            for number = 1, 500 do
                other:send(number .. "\n")
                Scheduler.sleep(0.001)
            end
            other:close()
        end)
        local expected = 1
        while true do
            local ok, line = pcall(Scheduler.timeout, 0.001, one.readline, one)
            if ok and line == "" then break end
            if ok then
                assert(line == expected .. "\n", line)
                expected = expected + 1
            end
        end
        assert(expected == 501, expected)
        "#,
    );
}

#[test]
fn a_file_is_where_it_was_before_the_read_of_a_killed_task() {
    passes_with_turns(
        r#"
        for encoding, text in pairs { binary = "one\ntwo\nthree\n", utf16le = ("one\ntwo\nthree\n"):gsub(".", "%0\0") } do
            local file <close> = FileHandle.open(path, "rw")
            file:truncate(0)
            file:write_at(text, 0)
            file:encoding(encoding)
            local unit = encoding == "binary" and 1 or 2
            local function killed()
                local task = Scheduler.spawn(file.readline, file)
                Scheduler.poll()
                turn()
                return task
            end
            killed():kill()
            assert(file:tell() == 0 and file:readline() == "one\n" and file:tell() == 4 * unit)
            -- Whoever has moved on is somewhere else.
            file:seek(0)
            local task = killed()
            file:seek(4 * unit, { async = true })
            turn()
            task:kill()
            assert(file:tell() == 4 * unit and file:readline() == "two\n")
            file:seek(0)
            local task = killed()
            assert(file:readline() == "two\n")
            task:kill()
            assert(file:readline() == "three\n" and file:readline() == "")
            file:seek(0)
            assert(file:readline() == "one\n" and file:readline() == "two\n" and file:readline() == "three\n")
        end
        "#,
    );
}

#[test]
fn records_on_loan_stay_what_they_are_when_a_killed_task_gives_back() {
    passes_with_turns(
        r#"
        local into, out = FileHandle.pipe()
        local task = reads(function() return into:readline() end)
        out:print("one\ntwo\nthree\nfour\n")
        out:flush()
        turn()
        assert(into:readline() == "two\n")
        task:kill()
        local seen = {}
        for number = 1, 3 do seen[number] = into:readline() end
        table.sort(seen)
        assert(table.concat(seen) == "four\none\nthree\n", table.concat(seen))
        "#,
    );
}

#[test]
fn a_value_that_a_killed_task_had_received_of_a_channel_is_for_the_next_to_ask() {
    passes_with_turns(
        r#"
        local channel = Scheduler.channel(0)
        local function receive() return channel:receive() end
        local killed = reads(receive)
        channel:send("first")
        killed:kill()
        Scheduler.spawn(function() channel:send("second") end)
        Scheduler.poll()
        assert(channel:receive() == "first" and channel:receive() == "second")
        -- Who waits already gets it, and what is given back outlives a close.
        local killed, waits = reads(receive), reads(receive)
        channel:send("third")
        killed:kill()
        assert(waits:join() == "third")
        local killed = reads(receive)
        channel:send("last")
        channel:close()
        killed:kill()
        assert(channel:receive() == "last" and channel:receive() == nil)
        "#,
    );
}

#[test]
fn a_connection_that_was_accepted_for_a_killed_task_is_for_the_next_accept() {
    passes_with_turns(
        r#"
        local listener = Socket.listen("127.0.0.1", 0)
        local function accept() return listener:accept() end
        local clients = {}
        -- The connection comes, and whoever is to be killed is, before any task has its turn.
        local function connect(text, killed)
            local host, port = listener:local_address()
            local status = Socket.connect(host, port, { async = true })
            while status:get_integer() == 0 do end
            turn()
            if killed then killed:kill() end
            clients[#clients + 1] = status:result()
            status:result():send(text)
        end
        connect("first", reads(accept))
        assert(listener:poll("read", 5))
        connect("second")
        assert(listener:accept({ deadline = 5 }):recv(100) == "first")
        assert(listener:accept({ deadline = 5 }):recv(100) == "second")
        -- Who waits already gets it.
        local killed, waits = reads(accept), reads(accept)
        connect("third", killed)
        assert(waits:join({ deadline = 5 }):recv(100) == "third")
        -- And so does a callback, that there is from then on or has been there.
        connect("fourth", reads(accept))
        local got = {}
        local function take(status)
            local text = status:result():recv(100)
            got[#got + 1] = text
        end
        listener:accept(take)
        Scheduler.sleep(0.01)
        assert(got[1] == "fourth", got[1])
        local killed = reads(accept)
        connect("fifth", killed)
        connect("sixth", killed)
        Scheduler.sleep(0.01)
        table.sort(got)
        assert(table.concat(got, " ") == "fifth fourth sixth", table.concat(got, " "))
        listener:close()
        "#,
    );
}

#[test]
fn a_datagram_that_a_killed_task_had_received_is_for_the_next_to_ask() {
    passes_with_turns(
        r#"
        local one, other = Socket.pair("datagram")
        local function receive() return one:recv(100) end
        local killed = reads(receive)
        other:send("first one")
        turn()
        killed:kill()
        other:send("second")
        local bytes, sender, length = one:recvfrom(5, { deadline = 5 })
        assert(bytes == "first" and length == 9, bytes)
        assert(one:recv(100, { deadline = 5 }) == "second")
        local killed, waits = reads(receive), reads(receive)
        other:send("third")
        turn()
        killed:kill()
        assert(waits:join({ deadline = 5 }) == "third")
        "#,
    );
}

#[test]
fn what_several_killed_tasks_had_received_keeps_its_order_whoever_is_killed_first() {
    passes_with_turns(
        r#"
        local function both(read, send, is_backwards)
            local tasks = { reads(read), reads(read), reads(read) }
            send("1\n") send("2\n") send("3\n")
            turn()
            if is_backwards then tasks = { tasks[3], tasks[1], tasks[2] } end
            for _, task in ipairs(tasks) do task:kill() end
            local got = ""
            for _ = 1, 3 do got = got .. read() end
            return got
        end
        local one, other = Socket.pair()
        local from, to = Socket.pair("datagram")
        local channel = Scheduler.channel()
        for _, is_backwards in pairs { false, true } do
            local function send(text) other:send(text, { async = true }) end
            local got = both(function() return one:readline() end, send, is_backwards)
            assert(got == "1\n2\n3\n", got)
            local function send(text) to:send(text, { async = true }) end
            local got = both(function() return from:recv(10) end, send, is_backwards)
            assert(got == "1\n2\n3\n", got)
            local function send(text) channel:send(text, { async = true }) end
            local got = both(function() return channel:receive() end, send, is_backwards)
            assert(got == "1\n2\n3\n", got)
        end
        "#,
    );
}

#[test]
fn a_send_that_was_killed_halfway_breaks_its_lane() {
    passes(
        r#"
        local one, other = Socket.pair()
        local task = Scheduler.spawn(function() one:send(("a"):rep(4000000)) end)
        Scheduler.sleep(0.01)
        task:kill()
        Scheduler.sleep(0.01)
        local received = {}
        local reader = Scheduler.spawn(function()
            for block in other:blocks(65536) do received[#received + 1] = block end
        end)
        local is_sent, problem = pcall(one.send, one, "next")
        assert(not is_sent and problem.kind == "LaneBroken", tostring(problem))
        one:close()
        reader:join()
        assert(not table.concat(received):find("next"))
        "#,
    );
}

#[test]
fn what_killed_tasks_give_back_keeps_its_order_though_some_of_it_was_received_between() {
    passes_with_turns(
        r#"
        for _, way in ipairs { "read", "recv" } do
            local one, other = Socket.pair()
            local function get() return one[way](one, 4) end
            local first, second = reads(get), reads(get)
            other:send("aaaabbbbcccc")
            turn()
            first:kill()
            local text = one:recv(2)
            second:kill()
            while #text < 12 do text = text .. one:recv(100) end
            assert(text == "aaaabbbbcccc", way .. " " .. text)
        end
        "#,
    );
}
