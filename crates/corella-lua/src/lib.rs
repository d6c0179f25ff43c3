//! Lua 5.4 on a Corella scheduler: files, sockets and tasks whose calls block their task and nobody else.
//!
//! [`Host::run`] runs a program. Everything in it runs as a task: the main program, what `Scheduler.spawn` starts, and
//! every callback.
//!
//! # What scripts see
//! In full, with an example for each object, it is in `docs/LUA.md` of the sources; in short:
//!
//! Every operation has three forms. Without a callback it suspends the task that calls it and gives its result, or
//! raises an error; with a function as last argument it returns a [Status](#status) at once and calls the function
//! with it; and with `{async = true}` it returns a Status and calls nobody. Before the callback there may be a table
//! of options: `deadline` in seconds, `async`.
//!
//! ```lua
//! local file = FileHandle.open("data.bin")
//! local head = file:read_at(16, 0)                                   -- waits
//! file:read_at(16, 16, function(status) print(#status:result()) end) -- calls back
//! local status = file:read_at(16, 32, { async = true, deadline = 0.05 })
//! while status:get_integer() == 0 do Scheduler.poll() end            -- asks
//! ```
//!
//! | object | operations in all forms | calls that finish at once |
//! |---|---|---|
//! | `FileHandle` | `open(path, mode)`, `close`, `print(text…)`, `read(n)`, `peek(n)`, `readline(separator)`, `readall`, `seek(offset, from)`, `flush`, `read_at(n, offset)`, `write_at(data, offset)`, `sync`, `truncate(length)`, `exit_status` | `new`, `pipe`, `tell`, `eof`, `mode`, `encoding`, `record_separator`, `buffer_type`, `buffer_size`, `get_fd`, `isatty`, `is_closed`, `lines`, `blocks`, `pid`, `kill` |
//! | `Socket` | `connect(host, port)`, `bind(host, port)`, `accept`, `recv(n)`, `read(n)`, `readline(separator)`, `send(data)`, `recvfrom(n)`, `sendto(data, host, port)`, `shutdown(direction)`, `poll`, `close` | `new`, `pair`, `listen(host, port)`, `local_address`, `remote_address`, `is_closed`, `lines`, `blocks` |
//! | `fs` | `stat`, `lstat`, `readlink`, `link`, `symlink`, `unlink`, `rename`, `sync`, `mkdir`, `rmdir`, `readdir`, `opendir` | |
//! | `Directory` | `readdir`, `seekdir(place)`, `closedir` | `telldir`, `rewinddir`, `entries`, `is_closed` |
//! | `Scheduler` | `sleep(seconds)`, `join(task)`, `timeout(seconds, f)`, `race(list)`, `run` | `spawn(f, …)`, `kill(task)`, `channel(capacity)`, `current`, `poll`, `active_tasks`, `outstanding`, `has_work`, `now`, `backend` |
//! | `Task` | `join` | `kill`, `id`, `type`, `status`, `birth_time` |
//! | `Channel` | `send(value)`, `receive` | `close`, `is_closed`, `values` |
//! | `stdin`, `stdout`, `stderr` | as FileHandle | as FileHandle |
//!
//! `FileHandle.open(path)` and `Socket.connect(host, port)` make a new object; as methods they open one made with
//! `new`. Modes are `r` (the default), `w` (empties), `wa` (appends), `rw`, and `p` and `wp` for programs. Reads from the
//! position, and lines, are buffered; prints too, until 16 KiB, a seek, a `flush` or the close. `read(n)` gives fewer bytes
//! only at the end, `recv(n)` what there is; both give an empty string at the end, and so does `readline`, which keeps line
//! ends (`lines` does not). `accept` with a callback calls it for every connection until the socket is closed. `require`
//! finds modules beside the script, and they may do I/O while they are loaded.
//!
//! # Status
//! `get_integer` (1 done, 0 running, −1 failed), `get_bool` (false only on error), `result`, `error`, `throw`,
//! `cancel`, `on(callback)`, `on_error(callback)`, `wait`.
//!
//! # Errors
//! An operation that fails raises an object with the fields `kind`, `code`, `operation`, `target`, `reason` and
//! `moved`, which reads as `open for reading of data.bin: No such file or directory (os error 2)`. A call that is
//! wrong in itself raises a text with the place of the call.
//!
//! A coroutine of the script's own, `coroutine.wrap` generators too, may do I/O: the whole task waits and goes on where
//! it was. Where Lua cannot suspend (a `table.sort` comparator, `__gc`) a call that would wait is an error that says
//! so. A task that yields outside any coroutine of its own gives way to the others.
//!
//! # The end
//! When the main program has returned, tasks and requests go on to their ends; only accepts are not waited for. An
//! error in the main program ends it at once, and so do `os.exit` and an [`Interrupter`]: tasks are killed, what waits (a
//! receive, an accept, a sleep) is cancelled, and writes go out, for ten seconds at most. Errors that nobody took are
//! reported with a traceback, failures that nobody looked at with the place of the call, and the exit code is 1.
//!
//! What blocks a whole program is not there: `io`, `os.execute`, `os.remove`, `os.rename`. Of `debug` there is
//! `traceback`.
#![deny(unsafe_code)]
#![warn(missing_docs)]

mod accept;
mod address;
mod arguments;
mod channel;
mod child;
mod coroutines;
mod datagram;
mod directory;
mod drive;
mod encoding;
mod failure;
mod file_handle;
mod file_system;
mod host;
mod input;
mod install;
mod interruption;
mod lent;
mod os_text;
mod prompt;
mod race;
mod reading;
mod received;
mod registry;
mod request;
mod runtime;
mod scheduler;
mod session;
mod shortest;
mod simulated;
mod socket;
mod status;
mod steps;
mod stream;
mod sync;
mod tasks;
#[cfg(test)]
mod tests;
mod traceback;
mod verb;
mod work;

pub use host::{Host, StartError};
pub use interruption::Interrupter;
pub use prompt::{Answer, Prompt, Service};
