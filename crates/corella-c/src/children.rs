//! Child processes.

use std::ffi::{OsString, c_char, c_int};
use std::mem::MaybeUninit;
use std::process::{Command, ExitStatus, Stdio};

use corella::File;

use crate::begin::path;
use crate::codes::{CORELLA_ERROR_NOTHING_TO_TAKE, CORELLA_ERROR_WRONG_KIND, CORELLA_ERROR_WRONG_STATE, CORELLA_OK};
use crate::faults::{Fault, put};
use crate::files::{prepare_on_handle, prepare_on_scheduler};
use crate::host::Host;
use crate::ids::{Handle, Key, Request, Scheduler};
use crate::memory::bytes;
use crate::outcome::Object;
use crate::registry::on_host;
use crate::request::{Extra, Record, Verb};

/// The child has the same as this process, as at first.
pub const CORELLA_STREAM_INHERIT: c_int = 0;
/// A pipe, whose other end is a file of the child's handle: `corella_child_stream`.
pub const CORELLA_STREAM_PIPE: c_int = 1;
/// Nothing: reads end at once, writes go nowhere.
pub const CORELLA_STREAM_NULL: c_int = 2;

/// What a standard stream of the child is to be.
#[derive(Clone, Copy, Debug, Default)]
enum Stream {
    #[default]
    Inherit,
    Pipe,
    Null,
    /// A file of the scheduler's, begun at so many bytes or at its cursor.
    File(Key, Option<u64>),
}

/// A program to be started, as it was described so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Program {
    name: OsString,
    arguments: Vec<OsString>,
    clears_environment: bool,
    /// Variables, and those that are taken away.
    environment: Vec<(OsString, Option<OsString>)>,
    directory: Option<OsString>,
    streams: [Stream; 3],
}

impl Program {
    /// What the engine starts. `files` finds the handles that streams name.
    pub(crate) fn command<'a>(&self, files: impl Fn(Key) -> Result<&'a File, Fault>) -> Result<Command, Fault> {
        let mut command = Command::new(&self.name);
        command.args(&self.arguments);
        if self.clears_environment {
            command.env_clear();
        }
        for (name, value) in &self.environment {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        for (place, stream) in self.streams.iter().enumerate() {
            let stdio = match stream {
                Stream::Inherit => Stdio::inherit(),
                Stream::Pipe => Stdio::piped(),
                Stream::Null => Stdio::null(),
                Stream::File(key, None) => files(*key)?.to_stdio()?,
                Stream::File(key, Some(offset)) => files(*key)?.to_stdio_at(*offset)?,
            };
            match place {
                0 => command.stdin(stdio),
                1 => command.stdout(stdio),
                _ => command.stderr(stdio),
            };
        }
        Ok(command)
    }
}

/// How a process ended, as one number.
pub(crate) fn exit_number(status: ExitStatus) -> i64 {
    #[cfg(unix)]
    {
        use std::os::unix::process::ExitStatusExt;
        status.signal().map_or_else(|| i64::from(status.code().unwrap_or(0)), |signal| -i64::from(signal))
    }
    #[cfg(not(unix))]
    {
        i64::from(status.code().unwrap_or(0).cast_unsigned())
    }
}

/// # Safety
/// `text` is null or valid for `length` bytes.
unsafe fn os_string(text: *const c_char, length: usize) -> Result<OsString, Fault> {
    // SAFETY: by this function's contract.
    let bytes = unsafe { bytes(text, length) }?;
    if bytes.contains(&0) {
        return Err(Fault::input("a NUL byte inside"));
    }
    Ok(path(bytes)?.as_os_str().to_os_string())
}

/// Starts the program at `program` (`length` bytes, copied; a name without a slash is looked for as the system does) once
/// the request is given its ending. Options below say with what. The outcome has the handle of the child:
/// `corella_take_handle`. A start that is cancelled may still take effect; then the process goes on by itself.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn corella_start_program(
    scheduler: Scheduler,
    program: *const c_char,
    length: usize,
    request: Option<&mut MaybeUninit<Request>>,
) -> c_int {
    prepare_on_scheduler("corella_start_program", scheduler, Verb::StartProgram, request, |record| {
        // SAFETY: the caller's string, for this call.
        let name = unsafe { os_string(program, length) }?;
        let program = Some(Box::new(Program { name, ..Program::default() }));
        record.extra = Some(Box::new(Extra { program, ..Extra::default() }));
        Ok(())
    })
}

/// Changes what a request by `corella_start_program` will start.
fn option(
    name: &'static str,
    request: Request,
    change: impl FnOnce(&'static Host, Key, &mut Program) -> Result<(), Fault>,
) -> c_int {
    on_host(name, request, |host, key| {
        let mut requests = host.requests.borrow_mut();
        let Record { extra: Some(extra), .. } = requests.ready(key)? else {
            return Err(CORELLA_ERROR_WRONG_STATE.into());
        };
        let Some(program) = &mut extra.program else { return Err(CORELLA_ERROR_WRONG_STATE.into()) };
        change(host, key, program)?;
        Ok(CORELLA_OK)
    })
}

/// Adds an argument behind those that a program to be started has; the program's own name is not one of them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn corella_add_argument(request: Request, text: *const c_char, length: usize) -> c_int {
    option("corella_add_argument", request, |_, _, program| {
        // SAFETY: the caller's string, for this call.
        program.arguments.push(unsafe { os_string(text, length) }?);
        Ok(())
    })
}

/// Sets a variable in the environment of a program to be started, which is otherwise this process's; with a null `value`
/// takes it away.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn corella_set_environment(
    request: Request,
    name: *const c_char,
    name_length: usize,
    value: *const c_char,
    value_length: usize,
) -> c_int {
    option("corella_set_environment", request, |_, _, program| {
        // SAFETY: the caller's strings, for this call.
        let name = unsafe { os_string(name, name_length) }?;
        if name.is_empty() || name.as_encoded_bytes().contains(&b'=') {
            return Err(Fault::input("not the name of a variable"));
        }
        let value = match value.is_null() {
            true => None,
            // SAFETY: as above.
            false => Some(unsafe { os_string(value, value_length) }?),
        };
        program.environment.push((name, value));
        Ok(())
    })
}

/// Has a program to be started begin with no environment but what `corella_set_environment` gives it.
#[unsafe(no_mangle)]
pub extern "C" fn corella_clear_environment(request: Request) -> c_int {
    option("corella_clear_environment", request, |_, _, program| {
        program.clears_environment = true;
        Ok(())
    })
}

/// Sets the directory that a program to be started begins in; this process's at first.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn corella_set_directory(request: Request, path: *const c_char, length: usize) -> c_int {
    option("corella_set_directory", request, |_, _, program| {
        // SAFETY: the caller's string, for this call.
        program.directory = Some(unsafe { os_string(path, length) }?);
        Ok(())
    })
}

fn stream_of(program: &mut Program, stream: c_int) -> Result<&mut Stream, Fault> {
    let place = usize::try_from(stream).ok();
    place.and_then(|place| program.streams.get_mut(place)).ok_or(Fault::input("not a standard stream"))
}

/// Sets what a standard stream (0 input, 1 output, 2 error output) of a program to be started is: CORELLA_STREAM_INHERIT,
/// _PIPE or _NULL.
#[unsafe(no_mangle)]
pub extern "C" fn corella_set_stream(request: Request, stream: c_int, how: c_int) -> c_int {
    option("corella_set_stream", request, |_, _, program| {
        *stream_of(program, stream)? = match how {
            CORELLA_STREAM_INHERIT => Stream::Inherit,
            CORELLA_STREAM_PIPE => Stream::Pipe,
            CORELLA_STREAM_NULL => Stream::Null,
            _ => return Err(Fault::input("nothing that a stream can be")),
        };
        Ok(())
    })
}

/// Gives a program to be started a file, pipe or terminal as standard stream `stream`. It begins `offset` bytes from the
/// start of a file, or with a negative `offset` at the handle's cursor, and moves a cursor of its own. The handle stays
/// yours and must be valid until the request has been given its ending; close a pipe's end afterwards, or its reader never
/// sees the end.
#[unsafe(no_mangle)]
pub extern "C" fn corella_set_stream_file(request: Request, stream: c_int, file: Handle, offset: i64) -> c_int {
    option("corella_set_stream_file", request, |host, key, program| {
        let file = Key::of(file).filter(|file| file.scheduler == key.scheduler);
        let file = file.ok_or(crate::codes::CORELLA_ERROR_INVALID_ID)?;
        match host.handles.borrow().get(file)? {
            Object::File(_) => {}
            _ => return Err(CORELLA_ERROR_WRONG_KIND.into()),
        }
        *stream_of(program, stream)? = Stream::File(file, u64::try_from(offset).ok());
        Ok(())
    })
}

/// Takes the other end of a child's standard stream (0 input, 1 output, 2 error output) that was set to be a pipe, as a
/// file. Yours, to be freed with `corella_handle_free`; what tells a filter that no more comes is closing its input.
/// CORELLA_ERROR_NOTHING_TO_TAKE if it was not to be a pipe, or the second time.
#[unsafe(no_mangle)]
pub extern "C" fn corella_child_stream(child: Handle, stream: c_int, file: Option<&mut MaybeUninit<Handle>>) -> c_int {
    on_host("corella_child_stream", child, |host, key| {
        let Some(place) = file else { return Err(Fault::input("no place for the handle")) };
        place.write(std::ptr::null_mut());
        let mut handles = host.handles.borrow_mut();
        let Object::Child(child) = handles.get_mut(key)? else { return Err(CORELLA_ERROR_WRONG_KIND.into()) };
        let taken = match stream {
            0 => child.stdin.take(),
            1 => child.stdout.take(),
            2 => child.stderr.take(),
            _ => return Err(Fault::input("not a standard stream")),
        };
        let file = Object::File(taken.ok_or(CORELLA_ERROR_NOTHING_TO_TAKE)?);
        place.write(handles.insert(file)?.id());
        Ok(CORELLA_OK)
    })
}

/// Waits until a child ends; the outcome's count is its exit code, or on Unix the negative number of the signal that ended
/// it. May be asked again, by several at once, and after a cancel or deadline: the status is kept. Its pipes are not touched:
/// close the child's input and read its output first, or both sides wait for each other.
#[unsafe(no_mangle)]
pub extern "C" fn corella_exit_status(child: Handle, request: Option<&mut MaybeUninit<Request>>) -> c_int {
    prepare_on_handle("corella_exit_status", child, Verb::AwaitExit, request, |_| Ok(()))
}

/// Writes the OS's number of a child. Once it has ended and was waited for the number may be another's.
#[unsafe(no_mangle)]
pub extern "C" fn corella_child_id(child: Handle, id: Option<&mut MaybeUninit<i64>>) -> c_int {
    on_host("corella_child_id", child, |host, key| match host.handles.borrow().get(key)? {
        Object::Child(child) => {
            put(id, i64::from(child.id()));
            Ok(CORELLA_OK)
        }
        _ => Err(CORELLA_ERROR_WRONG_KIND.into()),
    })
}

/// Ends a child at once (SIGKILL). One that has ended already stays as it is. Freeing a child's handle does not end it: it
/// goes on, and leaves no zombie when it ends.
#[unsafe(no_mangle)]
pub extern "C" fn corella_kill(child: Handle) -> c_int {
    on_host("corella_kill", child, |host, key| match host.handles.borrow().get(key)? {
        Object::Child(child) => {
            child.kill()?;
            Ok(CORELLA_OK)
        }
        _ => Err(CORELLA_ERROR_WRONG_KIND.into()),
    })
}

/// Sends a child a signal by its number. One that has ended already stays as it is. CORELLA_ERROR_INVALID_INPUT on Windows,
/// which has no signals.
#[unsafe(no_mangle)]
pub extern "C" fn corella_signal(child: Handle, number: c_int) -> c_int {
    on_host("corella_signal", child, |host, key| match host.handles.borrow().get(key)? {
        Object::Child(child) => signal(child, number),
        _ => Err(CORELLA_ERROR_WRONG_KIND.into()),
    })
}

#[cfg(unix)]
fn signal(child: &corella::Child, number: c_int) -> Result<c_int, Fault> {
    child.signal(number)?;
    Ok(CORELLA_OK)
}

#[cfg(not(unix))]
fn signal(_child: &corella::Child, _number: c_int) -> Result<c_int, Fault> {
    Err(Fault::input("this system has no signals"))
}
