//! Child processes: started, waited for and signalled without a thread for each.

use std::ffi::OsStr;
use std::process::{Command, ExitStatus};
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use crate::backend::{Descriptor, KILL_SIGNAL, Started, Value, exit_status_of};
use crate::error::{Error, ErrorKind};
use crate::file::File;
use crate::op::{Class, Op};
use crate::operation::{Action, ActionReport, Operation, Plan, Sealed};
use crate::plain::HandleRef;
use crate::queue::handles::{ChildState, Handle, Target};
use crate::scheduler::Io;

/// A process that this one has started.
///
/// Letting go of it leaves the process alone: it goes on, and when it ends it leaves no zombie, whatever has become of the
/// scheduler. Its pipes are files like others; closing [`stdin`](Self::stdin) is what tells a filter that no more comes.
///
/// ```
/// use std::process::{Command, Stdio};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut scheduler = corella::Scheduler::new()?;
/// let io = scheduler.io();
/// let mut command = Command::new("sort");
/// command.stdin(Stdio::piped()).stdout(Stdio::piped());
/// let sorted = scheduler.block_on(async move {
///     let mut child = io.start(command).await?;
///     let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
///     input.write("pear\napple\n").await?;
///     input.close().await?;
///     let (_, sorted) = output.read_to_end(Vec::new()).await?;
///     assert!(child.exit_status().await?.success());
///     Ok::<_, std::io::Error>(sorted)
/// })??;
/// assert_eq!(sorted, b"apple\npear\n");
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Child {
    /// What writes to its standard input, if that was asked to be a pipe.
    pub stdin: Option<File>,
    /// What reads its standard output, if that was asked to be a pipe.
    pub stdout: Option<File>,
    /// What reads its standard error output, if that was asked to be a pipe.
    pub stderr: Option<File>,
    handle: HandleRef,
    id: u32,
}

impl Child {
    /// Waits until the process ends, and tells how. It may be asked again, by several at once, and after a cancel or
    /// deadline: the status is kept.
    ///
    /// Its pipes are not touched: whoever waits for a filter closes its input first and reads its output, or both sides
    /// wait for each other.
    ///
    /// Gives an [`ExitStatus`]; fails with [`Error`]: `ECHILD` if this process ignores SIGCHLD, or something else in it
    /// has waited for all its children.
    pub fn exit_status(&self) -> Operation<Exiting> {
        self.handle.operation(Op::AwaitExit { pid: self.id as i32 }, Exiting)
    }

    /// The OS's number of the process. Once it has ended and was waited for it may be another's.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Ends the process at once (SIGKILL). One that has ended already stays as it is.
    pub fn kill(&self) -> Result<(), Error> {
        self.send("kill", KILL_SIGNAL)
    }

    /// Sends the process a signal by its number. One that has ended already stays as it is.
    #[cfg(unix)]
    pub fn signal(&self, number: i32) -> Result<(), Error> {
        self.send(&format!("signal {number}"), number)
    }

    fn send(&self, operation: &str, number: i32) -> Result<(), Error> {
        let core = self.handle.io.core(operation)?;
        let queue = core.queue.borrow();
        let handle = queue.handles.find(self.handle.key).map(|index| &queue.handles[index]);
        let Some((handle, descriptor)) = handle.and_then(|handle| Some((handle, handle.descriptor.as_ref()?))) else {
            return Err(Error::new(ErrorKind::Closed, operation, self.handle.closed_name()));
        };
        if handle.child.as_ref().is_some_and(|child| child.status.is_some()) {
            return Ok(());
        }
        let sent = queue.backend.signal(descriptor, self.id as i32, number);
        sent.map_err(|error| Error::from_io(&error, operation, handle.name(&queue.backend)))
    }
}

/// Gives a process that was started.
#[derive(Debug)]
pub struct Starting {
    program: Rc<str>,
}

impl Sealed for Starting {}

impl Action for Starting {
    type Output = Child;
    type Error = Error;

    fn finish(self, io: &Io, report: ActionReport) -> Result<Child, Error> {
        let Value::Child(started) = report.0.result? else { unreachable!("a start gives a child") };
        let Started { child, streams } = *started;
        let core = io.core("start")?;
        let pid = child.pid();
        let name: Rc<str> = format!("{} (process {pid})", self.program).into();
        let [stdin, stdout, stderr] = [("input", 0), ("output", 1), ("error output", 2)].map(|(stream, place)| {
            let name = format!("standard {stream} of {name}");
            (name, place)
        });
        let mut streams = streams;
        let mut file = |(name, place): (String, usize)| {
            streams[place].take().map(|descriptor| io.adopt_file(descriptor, &name)).transpose()
        };
        let (stdin, stdout, stderr) = (file(stdin)?, file(stdout)?, file(stderr)?);
        let Some(descriptor) = child.into_descriptor() else { unreachable!("it is handed over once") };
        let mut handle = Handle::new(Descriptor::Os(descriptor), Class::Child, Target::Path(Rc::clone(&name)));
        handle.child = Some(ChildState { pid, status: None });
        let key = core.queue.borrow_mut().adopt(handle);
        let handle = HandleRef::new(io.clone(), key, Some(name));
        Ok(Child { stdin, stdout, stderr, handle, id: pid as u32 })
    }
}

/// Gives the status that a process ended with.
#[derive(Debug)]
pub struct Exiting;

impl Sealed for Exiting {}

impl Action for Exiting {
    type Output = ExitStatus;
    type Error = Error;

    fn finish(self, _io: &Io, report: ActionReport) -> Result<ExitStatus, Error> {
        match report.0.result? {
            Value::Exit(status) => Ok(exit_status_of(status)),
            other => unreachable!("an exit gave {other:?}"),
        }
    }
}

impl Io {
    /// Starts a program: a [`Command`] of the standard library, with the arguments, environment, folder and standard
    /// streams that it has been given. Streams that are [`piped`](std::process::Stdio::piped) are the child's
    /// [`stdin`](Child::stdin), [`stdout`](Child::stdout) and [`stderr`](Child::stderr); others are inherited unless the
    /// command says otherwise.
    ///
    /// It is started by a thread of the pool, to which a parent-death signal (`PR_SET_PDEATHSIG`) would refer. The child
    /// has none of the scheduler's descriptors. A start that is cancelled may still take effect; then the process goes on
    /// by itself.
    ///
    /// Gives a [`Child`]; fails with [`Error`], such as `ENOENT` for a program that there is not. A simulated machine runs
    /// none.
    pub fn start(&self, command: Command) -> Operation<Starting> {
        let program: Rc<str> = OsStr::to_string_lossy(command.get_program()).into();
        let op = Op::Start { program: (&*program).into(), starter: Arc::new(Mutex::new(Some(command))) };
        Operation::new(self.clone(), Plan::Op(op), Starting { program })
    }
}
