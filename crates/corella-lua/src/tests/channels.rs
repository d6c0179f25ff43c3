//! Channels, races, and what a task says of itself.

use super::passes;

#[test]
fn values_arrive_in_order_and_a_sender_waits_for_room() {
    passes(
        r#"
        local channel, log = Scheduler.channel(2), {}
        local sender = Scheduler.spawn(function()
            for number = 1, 5 do
                channel:send(number)
                log[#log + 1] = "sent " .. number
            end
            channel:close()
        end)
        Scheduler.sleep(0.005)
        assert(table.concat(log, ", ") == "sent 1, sent 2" and sender:status() == "waiting")
        local received = {}
        for number in channel:values() do received[#received + 1] = number end
        assert(table.concat(received, " ") == "1 2 3 4 5" and channel:is_closed())
        assert(channel:receive() == nil, "as often as it is asked")
        fails("send of a channel: the channel is closed", channel.send, channel, 1)
        "#,
    );
}

#[test]
fn without_a_capacity_a_send_waits_for_its_receiver() {
    passes(
        r#"
        local channel = Scheduler.channel()
        local status = channel:send({ 1, 2 }, { async = true })
        assert(status:get_integer() == 0)
        assert(#channel:receive() == 2 and status:get_integer() == 1)
        local double = channel:receive({ async = true })
        channel:send(function(number) return 2 * number end)
        assert(double:wait()(21) == 42)
        fails("receive: deadline passed", channel.receive, channel, { deadline = 0.005 })
        local given_up = channel:receive({ async = true })
        given_up:cancel()
        channel:send("kept", { async = true })
        assert(channel:receive() == "kept", "one who waits no longer takes nothing")
        fails("nil cannot be sent", channel.send, channel, nil)
        fails("a Channel is expected", channel.send)
        fails("capacity: must not be negative", Scheduler.channel, -1)
        local waiting = channel:receive({ async = true })
        channel:close()
        assert(waiting:wait() == nil and select('#', waiting:wait()) == 0)
        "#,
    );
}

#[test]
fn the_first_wins_a_race_and_the_others_are_stopped() {
    passes(
        r#"
        local listener <close> = Socket.listen("127.0.0.1", 0)
        local socket <close> = Socket.connect(listener:local_address())
        local peer <close> = listener:accept()
        local closed
        local waits, sleeps = socket:recv(10, { async = true }), Scheduler.sleep(60, { async = true })
        local task = Scheduler.spawn(function() Scheduler.sleep(60) end)
        local place, first, second = Scheduler.race({ waits, sleeps, task, function()
            local _ <close> = setmetatable({}, { __close = function() closed = true end })
            Scheduler.sleep(60)
        end, function() Scheduler.sleep(0.005) return "first", "second" end })
        assert(place == 5 and first == "first" and second == "second")
        Scheduler.poll()
        assert(closed and task:status() == "killed")
        assert(sleeps:error().kind == "Cancelled" and not pcall(waits.wait, waits))
        peer:send("bytes")
        place, first = Scheduler.race({ socket:recv(10, { async = true }), Scheduler.sleep(60, { async = true }) })
        assert(place == 1 and first == "bytes")
        "#,
    );
}

#[test]
fn a_race_fails_as_its_winner_does() {
    passes(
        r#"
        fails("No such file", Scheduler.race, { function() fs.stat(path) end, function() Scheduler.sleep(60) end })
        local ended
        local race = Scheduler.race({ function()
            local _ <close> = setmetatable({}, { __close = function() ended = true end })
            Scheduler.sleep(60)
        end }, { deadline = 0.005, async = true })
        assert(fails("race: deadline passed", race.wait, race).kind == "TimedOut")
        Scheduler.poll()
        assert(ended)
        local called
        Scheduler.race({ function() return "won" end }, function(status) called = select(2, status:result()) end)
        Scheduler.run()
        assert(called == "won")
        fails("there are none", Scheduler.race, {})
        fails("contender 2: a function, a Task or a Status is expected", Scheduler.race, { print, 5 })
        fails("contenders: a list", Scheduler.race, print)
        fails("cannot wait for its own end", Scheduler.race, { Scheduler.current() })
        "#,
    );
}

#[test]
fn a_task_says_what_it_is() {
    passes(
        r#"
        local main = Scheduler.current()
        assert(main:type() == "code" and main:status() == "running" and main:birth_time() <= Scheduler.now())
        local task = Scheduler.spawn(function() Scheduler.sleep(0.001) return Scheduler.current() end)
        assert(task:status() == "ready" and task:id() > main:id() and task:type() == "code")
        Scheduler.poll()
        assert(task:status() == "waiting" and task:birth_time() >= main:birth_time())
        assert(task:join() == task and task:status() == "done")
        local kinds = {}
        fs.stat("/", function() kinds.io = Scheduler.current():type() end)
        Scheduler.sleep(0, function() kinds.event = Scheduler.current():type() end)
        Scheduler.run()
        assert(kinds.io == "io" and kinds.event == "event")
        local broken = Scheduler.spawn(error, "wrong")
        pcall(broken.join, broken)
        assert(broken:status() == "failed")
        "#,
    );
}
