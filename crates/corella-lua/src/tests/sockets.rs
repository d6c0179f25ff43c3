//! Socket.

use super::passes;

#[test]
fn bytes_go_both_ways_and_the_end_is_an_empty_string() {
    passes(
        r#"
        local listener = Socket.listen("127.0.0.1", 0)
        local host, port = listener:local_address()
        local server = Scheduler.spawn(function()
            local peer = listener:accept()
            assert(peer:readline() == "hello\n")
            assert(peer:read(5) == "12345")
            peer:send("answer\0\xff")
            peer:shutdown()
            assert(peer:recv(10) == "")
            peer:close()
        end)
        local socket = Socket.connect(host, port)
        assert(select(2, socket:remote_address()) == port and socket:local_address() == "127.0.0.1")
        assert(socket:send("hello\n123") == 9)
        socket:send("45")
        assert(socket:read(100) == "answer\0\xff")
        assert(socket:recv(1) == "" and socket:readline() == "")
        assert(not socket:is_closed())
        socket:close()
        assert(socket:is_closed())
        server:join()
        local address = host .. ":" .. port
        fails("send 1 bytes of " .. address .. ": the handle is closed", socket.send, socket, "x")
        fails("recv 1 bytes of " .. address .. ": the handle is closed", socket.recv, socket, 1)
        fails("close of " .. address .. ": the handle is closed", socket.close, socket)
        fails("shutdown write of " .. address .. ": the handle is closed", socket.shutdown, socket)
        assert(tostring(socket) == "Socket (closed, " .. address .. ")")
        "#,
    );
}

#[test]
fn recv_gives_what_there_is() {
    passes(
        r#"
        local listener = Socket.listen("127.0.0.1", 0)
        local socket = Socket.connect(listener:local_address())
        local peer = listener:accept()
        peer:send("line\nrest")
        assert(socket:readline() == "line\n")
        assert(socket:recv(2) == "re", "first what was read ahead")
        assert(socket:recv(100) == "st")
        assert(socket:recv(0) == "")
        "#,
    );
}

#[test]
fn accept_with_a_callback_is_called_for_every_connection_until_the_close() {
    passes(
        r#"
        local listener = Socket.listen("localhost", 0)
        local host, port = listener:local_address()
        local count, whole = 0, nil
        whole = listener:accept(function(status)
            assert(status ~= whole)
            local peer = status:result()
            count = count + 1
            peer:send("number " .. count)
            peer:close()
        end)
        for number = 1, 20 do
            local socket <close> = Socket.connect(host, port)
            assert(socket:read(100) == "number " .. number)
        end
        assert(whole:get_integer() == 0)
        listener:close()
        whole:wait()
        assert(whole:get_integer() == 1 and count == 20)
        fails("Connection refused", Socket.connect, host, port)
        "#,
    );
}

#[test]
fn accepting_can_be_cancelled() {
    passes(
        r#"
        local listener = Socket.listen("127.0.0.1", 0)
        local whole = listener:accept(function() error("nobody comes") end)
        whole:cancel()
        fails("cancelled", whole.wait, whole)
        assert(not listener:is_closed())
        "#,
    );
}

#[test]
fn a_deadline_takes_nothing_from_the_stream() {
    passes(
        r#"
        local listener = Socket.listen("127.0.0.1", 0)
        local socket = Socket.connect(listener:local_address())
        local peer = listener:accept()
        peer:send("half")
        local problem = fails("deadline passed", socket.readline, socket, { deadline = 0.03 })
        assert(problem.kind == "TimedOut" and problem.operation == "readline")
        peer:send(" a line\n")
        assert(socket:readline() == "half a line\n")
        fails("deadline passed", socket.recv, socket, 1, { deadline = 0 })
        local first = socket:recv(1, { async = true })
        local second = socket:recv(1, { async = true, deadline = 0.02 })
        fails("deadline passed", second.wait, second)
        peer:send("x")
        assert(first:wait() == "x")
        fails("deadline passed", listener.accept, listener, { deadline = 0.02 })
        "#,
    );
}

#[test]
fn sends_arrive_in_order_and_a_close_sends_them_first() {
    passes(
        r#"
        local listener = Socket.listen("127.0.0.1", 0)
        local socket = Socket.connect(listener:local_address())
        local peer = listener:accept()
        for number = 1, 2000 do socket:send(("%06d"):format(number):rep(100), { async = true }) end
        local closing = socket:close({ async = true })
        for number = 1, 2000 do assert(peer:read(600) == ("%06d"):format(number):rep(100)) end
        assert(peer:read(1) == "")
        closing:wait()
        "#,
    );
}

#[test]
fn what_cannot_be_is_an_error_that_names_it() {
    passes(
        r#"
        fails("resolve of nosuch.invalid:80: the name does not resolve", Socket.connect, "nosuch.invalid", 80)
        fails("connect to 127.0.0.1:1: Connection refused", Socket.connect, "127.0.0.1", 1)
        fails("connect to [::1]:1: ", Socket.connect, "[::1]", 1)
        fails("connect to [::1]:1: ", Socket.connect, "::1", "1")
        fails("port: an integer is expected, got a string", Socket.connect, "::1", "http")
        fails("listen' (host: a string is expected, got a number)", Socket.listen, 8080)
        fails("listen' (host: a string is expected, got nothing)", Socket.listen)
        fails("port: 0 to 65535 is expected, got 70000", Socket.connect, "127.0.0.1", 70000)
        fails("host: a string is expected", Socket.connect, Socket.new(), nil, 1)
        fails("NUL byte", Socket.connect, "a\0b", 1)
        fails("it is not connected", Socket.recv, Socket.new(), 1)
        fails("it is not connected", Socket.listen, Socket.new())
        fails("send 3 bytes of a socket: it is not connected", Socket.send, Socket.new(), "abc")
        fails("it is not connected", Socket.remote_address, Socket.new())
        local listener = Socket.listen("127.0.0.1", 0)
        fails("Address already in use", Socket.listen, listener:local_address())
        fails("it is listening on", listener.recv, listener, 1)
        fails("it is listening on", listener.connect, listener, "127.0.0.1", 1)
        fails("Cannot assign requested address", Socket.listen, "192.0.2.1", 0)
        fails("direction:", listener.shutdown, listener, "sideways")
        "#,
    );
}

#[test]
fn a_shutdown_and_a_close_that_fail_name_the_peer() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    passes(&format!(
        r#"
        local socket = Socket.connect("127.0.0.1", {port})
        socket:send(("x"):rep(64 << 20), {{ async = true }}):on_error(function() end)
        local problem = fails("close of 127.0.0.1:{port}: deadline passed", socket.close, socket, {{ deadline = 0.01 }})
        assert(problem.operation == "close" and problem.target == "127.0.0.1:{port}")
        "#
    ));
}

#[test]
fn a_socket_may_be_bound_before_it_connects() {
    passes(
        r#"
        local listener = Socket.listen("127.0.0.1", 0)
        local socket = Socket.new()
        socket:bind("127.0.0.1", 0)
        local _, bound = socket:local_address()
        socket:connect(listener:local_address())
        local _, port = listener:accept():remote_address()
        assert(port == bound)
        "#,
    );
}

#[test]
fn a_close_cancels_receives() {
    passes(
        r#"
        local listener <close> = Socket.listen("127.0.0.1", 0)
        local socket = Socket.connect(listener:local_address())
        local read, line = socket:recv(1, { async = true }), socket:readline({ async = true })
        socket:close()
        fails("cancelled", read.wait, read)
        fails("cancelled", line.wait, line)
        "#,
    );
}

#[test]
fn a_wrong_port_to_listen_on_is_told_of_where_the_script_is() {
    passes(
        r#"fails("test.lua:1: bad argument #2 to 'listen' (port: ", function() Socket.listen("127.0.0.1", print) end)
        fails("test.lua:2: bad argument #2 to 'listen' (port: ", function() return (Socket.listen("127.0.0.1", -1)) end)
        "#,
    );
}

#[test]
fn a_finalizer_may_use_the_socket_whose_bytes_are_just_being_given() {
    passes(
        r#"
        collectgarbage("incremental", 100, 400, 6)
        local one, other = Socket.pair()
        other:send("head\n" .. ("x"):rep(60000))
        assert(one:readline() == "head\n")
        local refused = 0
        local finalizer = {
            __gc = function()
                coroutine.wrap(function() refused = refused + (pcall(one.recv, one, 1) and 0 or 1) end)()
            end,
        }
        for number = 1, 400 do
            setmetatable({}, finalizer)
            assert(#one:recv(100 + number % 7) > 0)
        end
        assert(refused > 0)
        "#,
    );
}

#[test]
fn a_socket_that_is_polled_stays_open_though_the_script_lets_go_of_it() {
    passes(
        r#"
        local one, other = Socket.pair()
        local found
        one:poll(function(status) found = status:get_bool() and status:result() or status:error().kind end)
        one = nil
        collectgarbage() collectgarbage()
        Scheduler.sleep(0.01)
        other:send("x")
        Scheduler.run()
        assert(found == true, found)
        "#,
    );
}

#[test]
fn an_accept_with_a_callback_takes_no_deadline() {
    passes(
        r#"
        local listener = Socket.listen("127.0.0.1", 0)
        local status = listener:accept({ deadline = 0.01 }, print)
        fails("a deadline is for one connection", status.wait, status)
        local told
        listener:accept({ deadline = 0.01 }, function(refused) told = refused:error() end)
        Scheduler.sleep(0.001)
        assert(tostring(told):find("a deadline is for one connection"))
        fails("deadline passed", listener.accept, listener, { deadline = 0.01 })
        "#,
    );
}

#[test]
fn a_datagram_takes_no_more_memory_than_it_has_however_much_is_asked_for() {
    passes(
        r#"
        local one = Socket.new("datagram")
        one:bind("127.0.0.1", 0)
        local other = Socket.new("datagram")
        other:sendto("small", one:local_address())
        assert(one:recvfrom(1 << 50) == "small")
        "#,
    );
}

#[test]
fn a_socket_is_made_in_all_forms() {
    passes(
        r#"
        local plain, status, called = Socket.socket("datagram"), Socket.socket({ async = true }), nil
        Socket.socket("stream", function(made) called = made:result() end)
        plain:bind("127.0.0.1", 0)
        status:wait():bind("127.0.0.1", 0)
        Scheduler.run()
        called:bind("127.0.0.1", 0)
        fails("'socket'", Socket.socket, "pigeon")
        "#,
    );
}
