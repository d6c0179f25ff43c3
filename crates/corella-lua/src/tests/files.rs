//! FileHandle and the file system.

use super::passes;

#[test]
fn what_is_wrong_with_a_call_is_said() {
    passes(
        r#"
        fails("path: a path is expected, got a table", FileHandle.open, {})
        fails("path: a path is expected, got nothing", FileHandle.open)
        local file = FileHandle.open(path, "w")
        fails("text: a string is expected, got a table", file.print, file, {})
        fails("data: a string is expected, got a table", file.write_at, file, {})
        fails("offset: an integer is expected, got nothing", file.write_at, file, "x")
        file:print("one", "two", { deadline = 5 })
        local problem = fails("No such file", FileHandle.open, path .. ".none")
        assert(problem.nothing == nil and problem[1] == nil and problem.code == 2)
        assert(not pcall(function() problem.code = 3 end))
        "#,
    );
}

#[test]
fn what_is_printed_is_read_back() {
    passes(
        r#"
        local file = FileHandle.open(path, "w")
        assert(file:print("one\n", 2, "\n\0three\xff") == 13)
        assert(file:tell() == 13, "the position is logical, also before a flush")
        assert(fs.stat(path).size == 0)
        file:flush()
        assert(fs.stat(path).size == 13)
        file:close()
        file = FileHandle.open(path)
        assert(file:readall() == "one\n2\n\0three\xff")
        assert(file:eof() and file:readall() == "")
        "#,
    );
}

#[test]
fn a_read_gives_what_remains_and_then_an_empty_string() {
    passes(
        r#"
        FileHandle.open(path, "w"):print("0123456789")
        collectgarbage()
        while fs.stat(path).size < 10 do Scheduler.poll() end
        local file = FileHandle.open(path)
        assert(file:read(10) == "0123456789" and not file:eof())
        assert(file:read(1) == "" and file:eof())
        assert(file:seek(-3, "end") == 7 and not file:eof())
        assert(file:read(100) == "789" and file:eof())
        assert(file:read(0) == "")
        "#,
    );
}

#[test]
fn lines_are_whole_over_the_borders_of_the_buffer() {
    passes(
        r#"
        local long = ("x"):rep(32 * 1024)
        local file = FileHandle.open(path, "w")
        for number = 1, 10000 do file:print(number, "\n") end
        file:print(long, "\nlast")
        file:close()
        file = FileHandle.open(path)
        for number = 1, 10000 do assert(file:readline() == number .. "\n") end
        assert(file:readline() == long .. "\n")
        assert(file:readline() == "last", "an unterminated last line is given")
        assert(file:readline() == "" and file:eof())
        file:seek(0)
        local count, last = 0, nil
        for line in file:lines() do count, last = count + 1, line end
        assert(count == 10002 and last == "last")
        "#,
    );
}

#[test]
fn a_write_after_a_buffered_read_lands_at_the_logical_position() {
    passes(
        r#"
        local file = FileHandle.open(path, "rw")
        file:print("aaaa\nbbbb\n")
        file:seek(0)
        assert(file:readline() == "aaaa\n")
        file:print("CC")
        assert(file:tell() == 7)
        assert(file:read(100) == "bb\n")
        file:seek(-2, "current")
        assert(file:tell() == 8)
        file:seek(0)
        assert(file:readall() == "aaaa\nCCbb\n")
        "#,
    );
}

#[test]
fn positioned_requests_see_what_was_printed_before_them() {
    passes(
        r#"
        local file = FileHandle.open(path, "rw")
        file:print("hello")
        assert(file:read_at(5, 0) == "hello")
        assert(file:write_at("J", 0) == 1)
        file:seek(0)
        assert(file:read(5) == "Jello")
        file:write_at("M", 0)
        file:seek(0)
        assert(file:read(1) == "M", "what was read ahead is not out of date")
        file:truncate(2)
        file:sync()
        assert(fs.stat(path).size == 2 and file:read_at(10, 0) == "Me")
        "#,
    );
}

#[test]
fn appends_go_to_the_end() {
    passes(
        r#"
        local first <close> = FileHandle.open(path, "wa")
        first:print("one")
        first:flush()
        local second <close> = FileHandle.open(path, "wa")
        assert(second:tell() == 3)
        second:print("two")
        second:flush()
        first:print("three")
        first:flush()
        assert(FileHandle.open(path):readall() == "onetwothree")
        "#,
    );
}

#[test]
fn a_thousand_requests_without_waiting_are_carried_out_in_order() {
    passes(
        r#"
        local file = FileHandle.open(path, "rw")
        for number = 1, 1000 do
            file:print(number, "\n", { async = true })
            file:write_at(("%04d"):format(number), 100000, { async = true })
        end
        local lines = {}
        file:seek(0, { async = true })
        for number = 1, 1000 do lines[number] = file:readline({ async = true }) end
        for number = 1, 1000 do assert(lines[number]:wait() == number .. "\n") end
        assert(file:read_at(4, 100000) == "1000")
        "#,
    );
}

#[test]
fn wrong_calls_are_errors_that_say_why() {
    passes(
        r#"
        local file = FileHandle.open(path, "w")
        fails("length: must not be negative, got -1", file.read_at, file, -1, 0)
        fails("offset: an integer is expected, got a string", file.read_at, file, 1, "x")
        fails("offset: must not be negative, got -5", file.write_at, file, "x", -5)
        fails("a FileHandle is expected: call it as a method", file.read)
        fails("a FileHandle is expected", file.read, Status, 1)
        fails("a string is expected, got a boolean", file.print, file, true)
        fails("there is no option 'dead'", file.flush, file, { dead = 1 })
        fails("a number of seconds from 0 is expected, got -1", file.flush, file, { deadline = -1 })
        fails("mode: ", FileHandle.open, path, "x")
        fails("path: a path is expected, got nothing", FileHandle.open)
        fails("the path has a NUL byte inside", FileHandle.open, "a\0b")
        fails("open for writing only", file.read, file, 1)
        fails("no memory for 4611686018427387904 bytes", FileHandle.open(path).read_at, FileHandle.open(path), 1 << 62, 0)
        fails("before the start", file.seek, file, -1, "current")
        fails("open for reading only", FileHandle.open(path).print, FileHandle.open(path), "x")
        fails("Not a directory (os error 20)", FileHandle.open, path .. "/no")
        "#,
    );
}

#[test]
fn errors_have_fields() {
    passes(
        r#"
        local problem = fails("No such file or directory", FileHandle.open, path)
        assert(problem.kind == "Os" and problem.code == 2 and problem.target == path)
        assert(problem.operation == "open for reading" and problem.reason:find("os error 2"))
        assert(problem .. "!" == tostring(problem) .. "!")
        "#,
    );
}

#[test]
fn a_closed_handle_takes_nothing() {
    passes(
        r#"
        local file = FileHandle.open(path, "rw")
        fails("the handle is already open", file.open, file, path)
        assert(not file:is_closed())
        file:close()
        assert(file:is_closed())
        fails("the handle is closed", file.close, file)
        fails("the handle is closed", file.read, file, 1)
        fails("the handle is closed", file.tell, file)
        fails("the handle is closed", file.read_at, file, 1, 0)
        file:open(path)
        assert(file:readall() == "")
        fails("the handle is not open", FileHandle.read, FileHandle.new(), 1)
        fails("Is a directory", FileHandle.open, "/")
        "#,
    );
}

#[test]
fn a_close_finishes_writes_and_cancels_reads() {
    passes(
        r#"
        local file = FileHandle.open(path, "rw")
        local write = file:print(("x"):rep(100000), { async = true })
        local read = file:read(10, { async = true })
        file:close()
        assert(write:get_integer() == 1 and fs.stat(path).size == 100000)
        assert(read:get_integer() == -1 and read:error().kind == "Cancelled")
        "#,
    );
}

#[test]
fn a_scope_closes_and_so_does_the_collector() {
    passes(
        r#"
        local kept
        do
            local file <close> = FileHandle.open(path, "w")
            file:print("by the scope")
            kept = file
        end
        assert(kept:is_closed() and fs.stat(path).size == 12)
        FileHandle.open(path, "w"):print("by the collector")
        collectgarbage()
        local limit = Scheduler.now() + 5
        while fs.stat(path).size ~= 16 do assert(Scheduler.now() < limit) Scheduler.poll() end
        "#,
    );
}

#[test]
fn a_request_in_flight_keeps_its_handle_and_callback_alive() {
    passes(
        r#"
        local called = 0
        FileHandle.open(path, "w"):write_at("kept", 0, function(status) called = called + status:result() end)
        FileHandle.open(path):readline(function(status) called = called + #status:result() end)
        collectgarbage() collectgarbage()
        Scheduler.run()
        assert(called == 8 or called == 4, "the two handles have no order between them")
        "#,
    );
}

#[test]
fn the_file_system_is_there() {
    passes(
        r#"
        fs.mkdir(path)
        FileHandle.open(path .. "/one", "w"):close()
        fs.rename(path .. "/one", path .. "/two")
        local entries = fs.readdir(path)
        assert(#entries == 1 and entries[1].name == "two" and entries[1].kind == "file")
        assert(fs.stat(path).kind == "directory" and fs.lstat("/proc/self/exe").kind == "link")
        assert(#fs.readlink("/proc/self/exe") > 1)
        fails("Directory not empty", fs.rmdir, path)
        fs.unlink(path .. "/two")
        local status = fs.rmdir(path, function() end)
        status:wait()
        fails("stat of " .. path .. ": No such file or directory (os error 2)", fs.stat, path)
        fails("opendir", fs.readdir, path .. "\0")
        "#,
    );
}

#[test]
fn a_print_with_a_nil_among_its_texts_is_an_error_and_loses_nothing_in_silence() {
    passes(
        r#"
        local file = FileHandle.open(path, "rw")
        for _, mode in ipairs { "full", "line", "unbuffered" } do
            file:buffer_type(mode)
            local ok = pcall(file.print, file, "a", nil, "b")
            assert(not ok, mode)
        end
        file:buffer_type("full")
        assert(file:print("a", "b") == 2 and file:print("c", nil) == 1)
        "#,
    );
}
