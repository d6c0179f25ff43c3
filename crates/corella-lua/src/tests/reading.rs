//! Records, encodings, peeks, buffering: how a handle's bytes become a script's text and back.

use super::passes;

#[test]
fn a_record_separator_may_be_of_several_characters() {
    passes(
        r#"
        local file <close> = FileHandle.open(path, "rw")
        file:print("one\r\ntwo\r\nth\rree\r\n\r\nlast")
        file:seek(0)
        assert(file:record_separator() == "\n" and file:record_separator("\r\n") == "\r\n")
        assert(file:readline() == "one\r\n" and file:tell() == 5)
        assert(file:readline() == "two\r\n" and file:readline("r") == "th\rr")
        assert(file:readline() == "ee\r\n" and file:readline() == "\r\n" and file:readline() == "last")
        file:seek(0)
        local seen = {}
        for line in file:lines() do seen[#seen + 1] = line end
        assert(table.concat(seen, "|") == "one|two|th\rree||last")
        fails("separator: must not be empty", file.record_separator, file, "")
        "#,
    );
}

#[test]
fn records_on_loan_never_show() {
    passes(
        r#"
        local file <close> = FileHandle.open(path, "rw")
        for number = 1, 3000 do file:print(("%07d\n"):format(number)) end
        file:seek(0)
        -- Every other call stands between two readlines, at every depth of the loan.
        local number, calls = 0, 0
        while number < 2900 do
            calls = calls + 1
            for _ = 1, calls % 40 do
                number = number + 1
                assert(file:readline() == ("%07d\n"):format(number))
            end
            assert(file:tell() == number * 8)
            local next_line = ("%07d\n"):format(number + 1)
            local turn = calls % 5
            if turn == 0 then
                assert(file:read(8) == next_line)
                number = number + 1
            elseif turn == 1 then
                assert(file:peek(8) == next_line)
            elseif turn == 2 then
                assert(file:readline({ async = true }):wait() == next_line)
                number = number + 1
            elseif turn == 3 then
                assert(file:lines()() == next_line:sub(1, -2))
                number = number + 1
            else
                file:seek(8, "current")
                number = number + 1
            end
        end
        file:print("written")
        assert(file:tell() == number * 8 + 7 and not file:eof())
        assert(file:read_at(7, number * 8) == "written")
        "#,
    );
}

#[test]
fn with_an_encoding_reads_count_characters_and_tell_counts_bytes() {
    passes(
        r#"
        for _, encoding in ipairs({ "utf8", "utf16le", "utf16be" }) do
            local file <close> = FileHandle.open(path, "w")
            assert(file:encoding(encoding) == encoding)
            -- A character at each border of the buffer, whatever its width.
            local text = ("aß€𝄞"):rep(20000)
            local bytes = file:print(text)
            file:close()
            assert(fs.stat(path).size == bytes)
            file:open(path)
            file:encoding(encoding)
            assert(file:read(5) == "aß€𝄞a")
            assert(file:tell() == (encoding == "utf8" and 11 or 12))
            assert(file:peek(3) == "ß€𝄞" and file:read(3) == "ß€𝄞")
            assert(file:readall() == text:sub(21) and file:eof() and file:tell() == bytes)
            file:seek(0)
            local count = 0
            for block in file:blocks(777) do count = count + utf8.len(block) end
            assert(count == 80000)
        end
        "#,
    );
}

#[test]
fn lines_have_an_encoding_too() {
    passes(
        r#"
        local file <close> = FileHandle.open(path, "rw")
        file:encoding("utf16be")
        -- U+0A00 and U+000A have the same bytes in another order.
        file:print("\u{0a00}\u{0a0a}x\nzwei\n")
        file:seek(0)
        assert(file:readline() == "\u{0a00}\u{0a0a}x\n" and file:readline() == "zwei\n")
        file:seek(0)
        file:record_separator("€")
        file:encoding("latin1")
        assert(fails("latin1 has no character U+20AC", file.readline, file).kind == "InvalidEncoding")
        assert(fails("latin1 has no character U+20AC", file.print, file, "12€").offset == 2)
        file:encoding("ascii")
        fails("ascii has no character U+00DF", file.print, file, "ß")
        fails("not UTF-8", file.print, file, "\xff")
        fails("name: one of", file.encoding, file, "klingon")
        "#,
    );
}

#[test]
fn bytes_that_are_no_text_are_an_error_at_their_place_and_reading_goes_on_after_them() {
    passes(
        r#"
        local file <close> = FileHandle.open(path, "rw")
        file:print("ab\xffcd\n\xe2\x82ef\nwhole\ngh\xe2\x82")
        file:seek(0)
        file:encoding("utf8")
        local problem = fails("at byte 2 stands what is no utf8: ff", file.read, file, 100)
        assert(problem.kind == "InvalidEncoding" and problem.offset == 2 and problem.partial == "ab")
        assert(file:tell() == 3 and file:readline() == "cd\n")
        problem = fails("at byte 6 stands what is no utf8: e2 82", file.readline, file)
        assert(problem.offset == 6 and problem.partial == "" and file:tell() == 8)
        assert(file:readline() == "ef\n" and file:readline() == "whole\n")
        problem = fails("at byte 19", file.readline, file)
        assert(problem.partial == "gh" and file:readline() == "" and file:eof())
        file:seek(0)
        problem = fails("at byte 2", file.peek, file, 3)
        assert(file:tell() == 0 and file:peek(2) == "ab")
        "#,
    );
}

#[test]
fn a_peek_takes_nothing() {
    passes(
        r#"
        local file <close> = FileHandle.open(path, "rw")
        file:print("0123456789")
        file:seek(0)
        assert(file:peek() == "0" and file:peek(4) == "0123" and file:tell() == 0)
        assert(file:peek(100) == "0123456789" and not file:eof())
        assert(file:read(4) == "0123" and file:peek(2) == "45")
        file:readall()
        assert(file:peek() == "" and file:eof())
        fails("open for writing only", FileHandle.open(path, "w").peek, FileHandle.open(path, "w"))
        "#,
    );
}

#[test]
fn output_goes_out_when_the_buffering_says() {
    passes(
        r#"
        local file <close> = FileHandle.open(path, "w")
        local function size() return fs.stat(path).size end
        assert(file:buffer_type() == "full" and file:buffer_size() == 16384)
        file:print("full\n")
        assert(size() == 0)
        file:buffer_type("line")
        file:print("no end")
        assert(size() == 0)
        file:print(", an end\n")
        assert(size() == 20)
        assert(file:buffer_type("unbuffered") == "unbuffered")
        file:print("x")
        assert(size() == 21)
        file:buffer_type("full")
        file:buffer_size(10)
        file:print("123456789")
        assert(size() == 21)
        file:print("0")
        assert(size() == 31)
        file:print("last")
        file:close()
        assert(size() == 35)
        fails("name: \"unbuffered\", \"line\" or \"full\" is expected", file.buffer_type, file, "half")
        fails("bytes: 1 to", file.buffer_size, file, 0)
        fails("bytes: must not be negative", file.buffer_size, file, -1)
        "#,
    );
}

#[test]
fn a_handle_says_what_it_is() {
    passes(
        r#"
        local file = FileHandle.new()
        assert(file:mode() == nil and file:get_fd() == nil and not file:isatty() and file:is_closed())
        for _, mode in ipairs({ "w", "wa", "rw", "r" }) do
            file:open(path, mode)
            assert(file:mode() == mode and math.type(file:get_fd()) == "integer" and not file:isatty())
            file:close()
            assert(file:get_fd() == nil)
        end
        "#,
    );
}

#[test]
fn a_record_that_is_too_long_comes_in_pieces() {
    passes(
        r#"
        local file <close> = FileHandle.open(path, "rw")
        file:print("0123456789\nab\n" .. ("\u{20ac}"):rep(3))
        file:seek(0)
        assert(file:readline(nil, { limit = 4 }) == "0123" and file:readline({ limit = 6 }) == "456789")
        assert(file:readline({ limit = 4 }) == "\n" and file:readline({ limit = 3 }) == "ab\n")
        file:encoding("utf8")
        assert(file:readline({ limit = 4 }) == "\u{20ac}" and file:readline({ limit = 1 }) == "\u{20ac}")
        assert(file:readline({ limit = 4 }) == "\u{20ac}" and file:readline({ limit = 4 }) == "" and file:eof())
        fails("option limit: a positive integer", file.readline, file, { limit = 0 })
        fails("there is no option 'limit'", file.read, file, 1, { limit = 1 })
        "#,
    );
}

#[test]
fn a_program_that_is_given_a_handle_goes_on_where_the_script_is() {
    passes(
        r#"
        local file <close> = FileHandle.open(path, "rw")
        for number = 1, 100 do file:print(number, "\n") end
        file:seek(0)
        for _ = 1, 40 do file:readline() end
        local cat <close> = FileHandle.open({ "cat", stdin = file }, "p")
        assert(cat:readline() == "41\n")
        "#,
    );
}

#[test]
fn a_text_that_ends_within_a_character_comes_to_its_end_with_a_limit_too() {
    passes(
        r#"
        local text = { utf8 = "x\xe2\x82", utf16le = "x\0y" }
        for encoding, bytes in pairs(text) do
            for limit = 1, 2 do
                local file <close> = FileHandle.open(path, "rw")
                file:truncate(0)
                file:write_at(bytes, 0)
                file:encoding(encoding)
                local options = { limit = limit, deadline = 2 }
                assert(file:readline("\n", options) == "x")
                fails("stands what is no " .. encoding, file.readline, file, "\n", options)
                assert(file:readline("\n", options) == "")
            end
        end
        "#,
    );
}

#[test]
fn a_record_that_was_looked_for_in_vain_hides_no_other() {
    passes(
        r#"
        local file = FileHandle.open(path, "rw")
        file:print("a;b;c")
        file:seek(0)
        file:peek()
        table.sort({ 2, 1 }, function(one, other) pcall(file.readline, file) return one < other end)
        assert(file:readline(";") == "a;")
        "#,
    );
}

#[test]
fn a_read_of_nothing_does_not_change_what_is_known_of_the_end() {
    passes(
        r#"
        local file = FileHandle.open(path, "rw")
        file:print("text")
        file:seek(0)
        assert(file:read(4) == "text" and not file:eof())
        assert(file:read(0) == "" and not file:eof())
        assert(file:read(1) == "" and file:eof())
        assert(file:read(0) == "" and file:eof())
        "#,
    );
}
