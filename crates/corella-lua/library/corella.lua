---@meta
-- Corella's objects for the Lua language server (LuaLS): what there is, with its types. Nothing here is run; docs/LUA.md
-- describes it.
--
-- Every operation (those with `options` and `callback`) waits for its result. With a callback, or with `async` among its
-- options, it returns a Status at once.

---What every operation takes beside its own arguments.
---@class corella.Options
---@field deadline? number seconds in which it has to be done
---@field async? boolean return a Status at once, though there is no callback

---@class corella.LineOptions: corella.Options
---@field limit? integer the most bytes of a record to give

---Options with which a Status is returned at once.
---@class corella.Async: corella.Options
---@field async true

---@alias corella.Callback fun(status: corella.Status)

---What an operation that fails raises. Reads as a text.
---@class corella.Error
---@field kind "Os"|"Cancelled"|"TimedOut"|"Closed"|"InvalidInput"|"InvalidEncoding"|"NameNotResolved"|"Killed"|"LaneBroken"|"Rejected"|"SchedulerGone"|string
---@field code? integer the OS's number
---@field operation string
---@field target string
---@field reason string
---@field place? string where the script was, as `script.lua:3`
---@field moved integer bytes that are known to have moved before
---@field offset? integer where the bytes are that are no text
---@field partial? string the characters before them

-- FileHandle

---@alias corella.Mode "r"|"w"|"wa"|"rw"|"p"|"wp"

---A program, its arguments, and what else it is given.
---@class corella.Command
---@field [integer] string
---@field stdin? corella.FileHandle|"null"
---@field stdout? corella.FileHandle|"null"
---@field stderr? corella.FileHandle|"null"
---@field cwd? string
---@field env? table<string, string|false>
---@alias corella.Encoding "binary"|"ascii"|"utf8"|"latin1"|"utf16le"|"utf16be"
---@alias corella.BufferType "full"|"line"|"unbuffered"

---A file, a pipe, a terminal or a device.
---@class corella.FileHandle
FileHandle = {}

---A handle that is not open yet.
---@return corella.FileHandle
function FileHandle.new() end

---Opens, and gives the handle: `FileHandle.open(path, mode)`, or `handle:open(path, mode)` of a new one.
---@param path string|corella.Command
---@param mode? corella.Mode reading unless given
---@param options? corella.Options
---@param callback? corella.Callback
---@return corella.FileHandle
---@overload fun(handle: corella.FileHandle, path: string, mode?: corella.Mode, options?: corella.Options, callback?: corella.Callback): corella.FileHandle
---@overload fun(path: string, mode?: corella.Mode, options: corella.Async): corella.Status
---@overload fun(path: string, mode?: corella.Mode, callback: corella.Callback): corella.Status
function FileHandle.open(path, mode, options, callback) end

---Writes out and closes.
---@param options? corella.Options
---@param callback? corella.Callback
---@overload fun(self: corella.FileHandle, options: corella.Async): corella.Status
---@overload fun(self: corella.FileHandle, callback: corella.Callback): corella.Status
function FileHandle:close(options, callback) end

---Writes strings and numbers one after the other; adds no line end.
---@param ... string|number|corella.Options|corella.Callback
---@return integer bytes
function FileHandle:print(...) end

---Gives `length` bytes, or characters with an encoding; fewer only at the end.
---@param length integer
---@param options? corella.Options
---@param callback? corella.Callback
---@return string
---@overload fun(self: corella.FileHandle, length: integer, options: corella.Async): corella.Status
---@overload fun(self: corella.FileHandle, length: integer, callback: corella.Callback): corella.Status
function FileHandle:read(length, options, callback) end

---Gives what the next read will, and takes nothing.
---@param length? integer 1 unless given
---@param options? corella.Options
---@param callback? corella.Callback
---@return string
---@overload fun(self: corella.FileHandle, length?: integer, options: corella.Async): corella.Status
---@overload fun(self: corella.FileHandle, length?: integer, callback: corella.Callback): corella.Status
function FileHandle:peek(length, options, callback) end

---Gives a line with its end, or a record that ends with the separator; "" at the end.
---@param separator? string|corella.LineOptions
---@param options? corella.LineOptions
---@param callback? corella.Callback
---@return string
---@overload fun(self: corella.FileHandle, separator?: string|corella.LineOptions, options: corella.Async): corella.Status
---@overload fun(self: corella.FileHandle, separator?: string|corella.LineOptions, callback: corella.Callback): corella.Status
function FileHandle:readline(separator, options, callback) end

---Gives what is left.
---@param options? corella.Options
---@param callback? corella.Callback
---@return string
---@overload fun(self: corella.FileHandle, options: corella.Async): corella.Status
---@overload fun(self: corella.FileHandle, callback: corella.Callback): corella.Status
function FileHandle:readall(options, callback) end

---Lines without their ends.
---@param separator? string
---@return fun(): string?
function FileHandle:lines(separator) end

---What is left in pieces of so many characters.
---@param length integer
---@return fun(): string?
function FileHandle:blocks(length) end

---Moves the position, and gives it from the start.
---@param offset integer
---@param from? "start"|"current"|"end"
---@param options? corella.Options
---@param callback? corella.Callback
---@return integer
---@overload fun(self: corella.FileHandle, offset: integer, from?: "start"|"current"|"end", options: corella.Async): corella.Status
---@overload fun(self: corella.FileHandle, offset: integer, from?: "start"|"current"|"end", callback: corella.Callback): corella.Status
function FileHandle:seek(offset, from, options, callback) end

---Writes out what is buffered.
---@param options? corella.Options
---@param callback? corella.Callback
---@overload fun(self: corella.FileHandle, options: corella.Async): corella.Status
---@overload fun(self: corella.FileHandle, callback: corella.Callback): corella.Status
function FileHandle:flush(options, callback) end

---Reads at a place, whatever the position.
---@param length integer
---@param offset integer
---@param options? corella.Options
---@param callback? corella.Callback
---@return string
---@overload fun(self: corella.FileHandle, length: integer, offset: integer, options: corella.Async): corella.Status
---@overload fun(self: corella.FileHandle, length: integer, offset: integer, callback: corella.Callback): corella.Status
function FileHandle:read_at(length, offset, options, callback) end

---Writes at a place, whatever the position.
---@param data string|number
---@param offset integer
---@param options? corella.Options
---@param callback? corella.Callback
---@return integer bytes
---@overload fun(self: corella.FileHandle, data: string|number, offset: integer, options: corella.Async): corella.Status
---@overload fun(self: corella.FileHandle, data: string|number, offset: integer, callback: corella.Callback): corella.Status
function FileHandle:write_at(data, offset, options, callback) end

---Has all that was written before it outlive a crash.
---@param options? corella.Options
---@param callback? corella.Callback
---@overload fun(self: corella.FileHandle, options: corella.Async): corella.Status
---@overload fun(self: corella.FileHandle, callback: corella.Callback): corella.Status
function FileHandle:sync(options, callback) end

---Makes the file so long.
---@param length integer
---@param options? corella.Options
---@param callback? corella.Callback
---@overload fun(self: corella.FileHandle, length: integer, options: corella.Async): corella.Status
---@overload fun(self: corella.FileHandle, length: integer, callback: corella.Callback): corella.Status
function FileHandle:truncate(length, options, callback) end

---Where the position is, in bytes, also before a flush.
---@return integer
function FileHandle:tell() end

---Whether the last read met the end.
---@return boolean
function FileHandle:eof() end

---Whether it takes no requests.
---@return boolean
function FileHandle:is_closed() end

---How it was opened.
---@return corella.Mode?
function FileHandle:mode() end

---How the bytes are text; sets it if it is given.
---@param name? corella.Encoding
---@return corella.Encoding
function FileHandle:encoding(name) end

---What ends a line; sets it if it is given.
---@param separator? string
---@return string
function FileHandle:record_separator(separator) end

---When output goes out; sets it if it is given.
---@param name? corella.BufferType
---@return corella.BufferType
function FileHandle:buffer_type(name) end

---How much is buffered; sets it if it is given.
---@param bytes? integer
---@return integer
function FileHandle:buffer_size(bytes) end

---The OS's number for it.
---@return integer?
function FileHandle:get_fd() end

---Whether it is a terminal.
---@return boolean
function FileHandle:isatty() end

---Makes a pipe: what reads it, and what writes to it.
---@return corella.FileHandle reader
---@return corella.FileHandle writer
function FileHandle.pipe() end

---Waits until the program of a handle of mode "p" or "wp" has ended.
---@param options? corella.Options
---@param callback? corella.Callback
---@return integer? code
---@return integer? signal
---@overload fun(self: corella.FileHandle, options: corella.Async): corella.Status
---@overload fun(self: corella.FileHandle, callback: corella.Callback): corella.Status
function FileHandle:exit_status(options, callback) end

---Sends the program of the handle a signal.
---@param signal? integer 15 unless given, which asks it to end
function FileHandle:kill(signal) end

---The number of the program's process.
---@return integer
function FileHandle:pid() end

---@type corella.FileHandle
stdin = nil
---@type corella.FileHandle
stdout = nil
---@type corella.FileHandle
stderr = nil

-- Socket

---A TCP connection or listener.
---@class corella.Socket
Socket = {}

---@param kind? "datagram" TCP or a stream of the Unix domain unless given
---@return corella.Socket
function Socket.new(kind) end

---The same, in the forms that every operation has.
---@param kind? "stream"|"datagram"
---@param options? corella.Options
---@param callback? corella.Callback
---@return corella.Socket
---@overload fun(kind?: "stream"|"datagram", options: corella.Async): corella.Status
---@overload fun(kind?: "stream"|"datagram", callback: corella.Callback): corella.Status
function Socket.socket(kind, options, callback) end

---Listens: `Socket.listen(host, port)`, or `socket:listen()` of a bound one.
---@param host string|corella.Address
---@param port? integer|string 0 has the OS choose one
---@return corella.Socket
---@overload fun(socket: corella.Socket): corella.Socket
function Socket.listen(host, port) end

---Connects: `Socket.connect(host, port)`, or `socket:connect(host, port)` of a new one.
---@param host string|corella.Address
---@param port? integer|string
---@param options? corella.Options
---@param callback? corella.Callback
---@return corella.Socket
---@overload fun(socket: corella.Socket, host: string, port: integer|string, options?: corella.Options, callback?: corella.Callback): corella.Socket
---@overload fun(host: string, port: integer|string, options: corella.Async): corella.Status
---@overload fun(host: string, port: integer|string, callback: corella.Callback): corella.Status
function Socket.connect(host, port, options, callback) end

---Gives a new socket its own address.
---@param host string|corella.Address
---@param port? integer|string
---@param options? corella.Options
---@param callback? corella.Callback
---@overload fun(self: corella.Socket, host: string, port: integer|string, options: corella.Async): corella.Status
---@overload fun(self: corella.Socket, host: string, port: integer|string, callback: corella.Callback): corella.Status
function Socket:bind(host, port, options, callback) end

---Takes one connection. With a callback: calls it for every connection until the listener is closed.
---@param options? corella.Options
---@param callback? corella.Callback
---@return corella.Socket
---@overload fun(self: corella.Socket, options: corella.Async): corella.Status
---@overload fun(self: corella.Socket, callback: corella.Callback): corella.Status
function Socket:accept(options, callback) end

---Gives what there is, at most `length` bytes; "" when the peer has ended.
---@param length integer
---@param options? corella.Options
---@param callback? corella.Callback
---@return string
---@overload fun(self: corella.Socket, length: integer, options: corella.Async): corella.Status
---@overload fun(self: corella.Socket, length: integer, callback: corella.Callback): corella.Status
function Socket:recv(length, options, callback) end

---Gives `length` bytes; fewer only at the peer's end.
---@param length integer
---@param options? corella.Options
---@param callback? corella.Callback
---@return string
---@overload fun(self: corella.Socket, length: integer, options: corella.Async): corella.Status
---@overload fun(self: corella.Socket, length: integer, callback: corella.Callback): corella.Status
function Socket:read(length, options, callback) end

---As that of a FileHandle.
---@param separator? string|corella.LineOptions
---@param options? corella.LineOptions
---@param callback? corella.Callback
---@return string
---@overload fun(self: corella.Socket, separator?: string|corella.LineOptions, options: corella.Async): corella.Status
---@overload fun(self: corella.Socket, separator?: string|corella.LineOptions, callback: corella.Callback): corella.Status
function Socket:readline(separator, options, callback) end

---@param separator? string
---@return fun(): string?
function Socket:lines(separator) end

---@param length integer
---@return fun(): string?
function Socket:blocks(length) end

---Sends all of it.
---@param data string|number
---@param options? corella.Options
---@param callback? corella.Callback
---@return integer bytes
---@overload fun(self: corella.Socket, data: string|number, options: corella.Async): corella.Status
---@overload fun(self: corella.Socket, data: string|number, callback: corella.Callback): corella.Status
function Socket:send(data, options, callback) end

---Waits until there is something to receive or to accept ("read", the default), or room to send ("write"); takes nothing.
---@param direction? "read"|"write"
---@param seconds? number how long to wait; 0 only looks
---@param options? corella.Options
---@param callback? corella.Callback
---@return boolean is_ready false after the time
---@overload fun(self: corella.Socket, direction?: "read"|"write", seconds?: number, options: corella.Async): corella.Status
---@overload fun(self: corella.Socket, direction?: "read"|"write", seconds?: number, callback: corella.Callback): corella.Status
function Socket:poll(direction, seconds, options, callback) end

---Ends one direction or both.
---@param direction? "write"|"read"|"both"
---@param options? corella.Options
---@param callback? corella.Callback
---@overload fun(self: corella.Socket, direction?: "write"|"read"|"both", options: corella.Async): corella.Status
---@overload fun(self: corella.Socket, direction?: "write"|"read"|"both", callback: corella.Callback): corella.Status
function Socket:shutdown(direction, options, callback) end

---Closes; sends go out first.
---@param options? corella.Options
---@param callback? corella.Callback
---@overload fun(self: corella.Socket, options: corella.Async): corella.Status
---@overload fun(self: corella.Socket, callback: corella.Callback): corella.Status
function Socket:close(options, callback) end

---@return boolean
function Socket:is_closed() end

---An address: of a host and a port, or of the Unix domain.
---@class corella.Address
---@field family "inet"|"inet6"|"unix"
---@field host? string
---@field port? integer
---@field path? string

---Makes an address object: of a host and a port, or of a path or "@name" of the Unix domain.
---@param host string
---@param port? integer|string
---@param options? corella.Options
---@param callback? corella.Callback
---@return corella.Address
function Socket.sockaddr(host, port, options, callback) end

---Makes two sockets that are connected to each other.
---@param kind? "datagram"
---@return corella.Socket
---@return corella.Socket
function Socket.pair(kind) end

---Sends one datagram.
---@param data string|number
---@param host string|corella.Address
---@param port? integer|string
---@param options? corella.Options
---@param callback? corella.Callback
---@return integer bytes
---@overload fun(self: corella.Socket, data: string|number, address: corella.Address, options: corella.Async): corella.Status
---@overload fun(self: corella.Socket, data: string|number, address: corella.Address, callback: corella.Callback): corella.Status
function Socket:sendto(data, host, port, options, callback) end

---Receives one datagram.
---@param length integer
---@param options? corella.Options
---@param callback? corella.Callback
---@return string data
---@return corella.Address sender
---@return integer? length if it was longer
---@overload fun(self: corella.Socket, length: integer, options: corella.Async): corella.Status
---@overload fun(self: corella.Socket, length: integer, callback: corella.Callback): corella.Status
function Socket:recvfrom(length, options, callback) end

---@return string host
---@return integer port
function Socket:local_address() end

---@return string host
---@return integer port
function Socket:remote_address() end

-- Status

---What the asynchronous forms return.
---@class corella.Status
Status = {}

---1 done, 0 running, -1 failed.
---@return 1|0|-1
function Status:get_integer() end

---False only after a failure.
---@return boolean
function Status:get_bool() end

---Suspends the task until it is done; gives what it gave, or raises its error.
---@return any ...
function Status:wait() end

---As `wait`, but it has to be done already.
---@return any ...
function Status:result() end

---@return corella.Error|any|nil
function Status:error() end

---Raises the failure, if there is one.
function Status:throw() end

---Asks it to stop.
function Status:cancel() end

---Has a callback called with it.
---@param callback corella.Callback
---@return corella.Status
function Status:on(callback) end

---The same, after a failure only.
---@param callback corella.Callback
---@return corella.Status
function Status:on_error(callback) end

-- Scheduler

---@class corella.Outstanding
---@field operation string
---@field target string
---@field age number seconds

---@class corella.Scheduler
Scheduler = {}

---Starts a task that calls `f(...)`. There may be 900,000 at once; a callback in flight counts for two.
---@param f function
---@param ... any
---@return corella.Task
function Scheduler.spawn(f, ...) end

---@param task corella.Task
---@param options? corella.Options
---@param callback? corella.Callback
---@return any ...
---@overload fun(task: corella.Task, options: corella.Async): corella.Status
---@overload fun(task: corella.Task, callback: corella.Callback): corella.Status
function Scheduler.join(task, options, callback) end

---@param task corella.Task
function Scheduler.kill(task) end

---@param seconds number
---@param options? corella.Options
---@param callback? corella.Callback
---@overload fun(seconds: number, options: corella.Async): corella.Status
---@overload fun(seconds: number, callback: corella.Callback): corella.Status
function Scheduler.sleep(seconds, options, callback) end

---Calls `f(...)` as a task, and kills it after so long.
---@param seconds number
---@param f function
---@param ... any
---@return any ...
function Scheduler.timeout(seconds, f, ...) end

---Waits for the first; the others are stopped. Gives its place in the list and what it gave.
---@param contenders (function|corella.Task|corella.Status)[]
---@param options? corella.Options
---@param callback? corella.Callback
---@return integer place
---@return any ...
---@overload fun(contenders: (function|corella.Task|corella.Status)[], options: corella.Async): corella.Status
---@overload fun(contenders: (function|corella.Task|corella.Status)[], callback: corella.Callback): corella.Status
function Scheduler.race(contenders, options, callback) end

---@param capacity? integer 0 unless given: a send waits for its receiver
---@return corella.Channel
function Scheduler.channel(capacity) end

---Lets all others have a turn; whether there is more to do.
---@return boolean
function Scheduler.poll() end

---Waits until all other tasks and requests have ended.
---@param options? corella.Options
---@param callback? corella.Callback
---@overload fun(options: corella.Async): corella.Status
---@overload fun(callback: corella.Callback): corella.Status
function Scheduler.run(options, callback) end

---@return boolean
function Scheduler.has_work() end

---@return integer
function Scheduler.active_tasks() end

---@return corella.Task
function Scheduler.current() end

---@return corella.Outstanding[]
function Scheduler.outstanding() end

---A clock that only goes forward, in seconds.
---@return number
function Scheduler.now() end

---@return string name
---@return string reason
function Scheduler.backend() end

---@class corella.Task
local Task = {}

---@param options? corella.Options
---@param callback? corella.Callback
---@return any ...
---@overload fun(self: corella.Task, options: corella.Async): corella.Status
---@overload fun(self: corella.Task, callback: corella.Callback): corella.Status
function Task:join(options, callback) end

function Task:kill() end

---@return integer
function Task:id() end

---@return "code"|"io"|"event"
function Task:type() end

---@return "ready"|"running"|"waiting"|"done"|"failed"|"killed"
function Task:status() end

---As `Scheduler.now` counts.
---@return number
function Task:birth_time() end

---@class corella.Channel
local Channel = {}

---@param value any but nil
---@param options? corella.Options
---@param callback? corella.Callback
---@overload fun(self: corella.Channel, value: any, options: corella.Async): corella.Status
---@overload fun(self: corella.Channel, value: any, callback: corella.Callback): corella.Status
function Channel:send(value, options, callback) end

---The next value; nil once the channel is closed and empty.
---@param options? corella.Options
---@param callback? corella.Callback
---@return any
---@overload fun(self: corella.Channel, options: corella.Async): corella.Status
---@overload fun(self: corella.Channel, callback: corella.Callback): corella.Status
function Channel:receive(options, callback) end

---@return fun(): any
function Channel:values() end

function Channel:close() end

---@return boolean
function Channel:is_closed() end

-- fs

---@alias corella.Kind "file"|"directory"|"link"|"pipe"|"socket"|"character device"|"block device"|"other"

---@class corella.Metadata
---@field kind corella.Kind
---@field size integer bytes
---@field allocated integer bytes
---@field permissions integer bits
---@field modified number seconds since 1970
---@field accessed number
---@field created? number
---@field links integer
---@field inode integer
---@field device integer
---@field user integer
---@field group integer

---@class corella.Entry
---@field name string
---@field kind corella.Kind

---@class corella.fs
fs = {}

---@param path string
---@param options? corella.Options
---@param callback? corella.Callback
---@return corella.Metadata
---@overload fun(path: string, options: corella.Async): corella.Status
---@overload fun(path: string, callback: corella.Callback): corella.Status
function fs.stat(path, options, callback) end

---As `stat`, of a symbolic link itself.
---@param path string
---@param options? corella.Options
---@param callback? corella.Callback
---@return corella.Metadata
---@overload fun(path: string, options: corella.Async): corella.Status
---@overload fun(path: string, callback: corella.Callback): corella.Status
function fs.lstat(path, options, callback) end

---@param path string
---@param options? corella.Options
---@param callback? corella.Callback
---@return string
---@overload fun(path: string, options: corella.Async): corella.Status
---@overload fun(path: string, callback: corella.Callback): corella.Status
function fs.readlink(path, options, callback) end

---@param path string
---@param options? corella.Options
---@param callback? corella.Callback
---@overload fun(path: string, options: corella.Async): corella.Status
---@overload fun(path: string, callback: corella.Callback): corella.Status
function fs.unlink(path, options, callback) end

---@param from string
---@param to string
---@param options? corella.Options
---@param callback? corella.Callback
---@overload fun(from: string, to: string, options: corella.Async): corella.Status
---@overload fun(from: string, to: string, callback: corella.Callback): corella.Status
function fs.rename(from, to, options, callback) end

---@param from string
---@param to string
---@param options? corella.Options
---@param callback? corella.Callback
---@overload fun(from: string, to: string, options: corella.Async): corella.Status
---@overload fun(from: string, to: string, callback: corella.Callback): corella.Status
function fs.link(from, to, options, callback) end

---@param content string
---@param path string
---@param options? corella.Options
---@param callback? corella.Callback
---@overload fun(content: string, path: string, options: corella.Async): corella.Status
---@overload fun(content: string, path: string, callback: corella.Callback): corella.Status
function fs.symlink(content, path, options, callback) end

---Has the names in a directory outlive a crash.
---@param path string
---@param options? corella.Options
---@param callback? corella.Callback
---@overload fun(path: string, options: corella.Async): corella.Status
---@overload fun(path: string, callback: corella.Callback): corella.Status
function fs.sync(path, options, callback) end

---@param path string
---@param options? corella.Options
---@param callback? corella.Callback
---@overload fun(path: string, options: corella.Async): corella.Status
---@overload fun(path: string, callback: corella.Callback): corella.Status
function fs.mkdir(path, options, callback) end

---@param path string
---@param options? corella.Options
---@param callback? corella.Callback
---@overload fun(path: string, options: corella.Async): corella.Status
---@overload fun(path: string, callback: corella.Callback): corella.Status
function fs.rmdir(path, options, callback) end

---@param path string
---@param options? corella.Options
---@param callback? corella.Callback
---@return corella.Entry[]
---@overload fun(path: string, options: corella.Async): corella.Status
---@overload fun(path: string, callback: corella.Callback): corella.Status
function fs.readdir(path, options, callback) end

---@param path string
---@param options? corella.Options
---@param callback? corella.Callback
---@return corella.Directory
---@overload fun(path: string, options: corella.Async): corella.Status
---@overload fun(path: string, callback: corella.Callback): corella.Status
function fs.opendir(path, options, callback) end

---@class corella.Directory
local Directory = {}

---The next name; nil at the end.
---@param options? corella.Options
---@param callback? corella.Callback
---@return corella.Entry?
---@overload fun(self: corella.Directory, options: corella.Async): corella.Status
---@overload fun(self: corella.Directory, callback: corella.Callback): corella.Status
function Directory:readdir(options, callback) end

---@return fun(): corella.Entry?
function Directory:entries() end

---@return integer
function Directory:telldir() end

---@param place integer
---@param options? corella.Options
---@param callback? corella.Callback
---@overload fun(self: corella.Directory, place: integer, options: corella.Async): corella.Status
---@overload fun(self: corella.Directory, place: integer, callback: corella.Callback): corella.Status
function Directory:seekdir(place, options, callback) end

function Directory:rewinddir() end

---@param options? corella.Options
---@param callback? corella.Callback
---@overload fun(self: corella.Directory, options: corella.Async): corella.Status
---@overload fun(self: corella.Directory, callback: corella.Callback): corella.Status
function Directory:closedir(options, callback) end

---@param options? corella.Options
---@param callback? corella.Callback
---@overload fun(self: corella.Directory, options: corella.Async): corella.Status
---@overload fun(self: corella.Directory, callback: corella.Callback): corella.Status
function Directory:close(options, callback) end

---@return boolean
function Directory:is_closed() end
