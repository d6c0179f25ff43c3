//! What the promises share: a scheduler on the backend under test, a folder, a connection to oneself.

use std::fs;
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

use corella::{BackendKind, Io, Scheduler, SchedulerBuilder, Socket};

/// What a promise is run against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    Uring,
    Portable,
    /// The kernel refuses io_uring, and the scheduler chooses by itself.
    Refused,
    /// A double of a completion port, which does as Windows mostly does.
    Iocp,
    /// The same, with packets delayed, reordered and racing by chance.
    IocpShuffled,
    /// The kernel lacks one opcode of io_uring, and the scheduler chooses by itself.
    Without(u8),
    /// The kernel refuses some set-up flags of io_uring, and the scheduler chooses by itself.
    WithoutFlags(u32),
}

impl Variant {
    const ALL: &[Variant] = &[
        #[cfg(unix)]
        Variant::Uring,
        #[cfg(unix)]
        Variant::Portable,
        #[cfg(unix)]
        Variant::Refused,
        #[cfg(windows)]
        Variant::Iocp,
        #[cfg(feature = "fake-port")]
        Variant::Iocp,
        #[cfg(feature = "fake-port")]
        Variant::IocpShuffled,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Variant::Uring => "uring",
            Variant::Portable => "portable",
            Variant::Refused => "refused",
            Variant::Iocp => "iocp",
            Variant::IocpShuffled => "shuffled",
            Variant::Without(_) => "without-opcode",
            Variant::WithoutFlags(_) => "without-flags",
        }
    }

    /// All, or those that `CORELLA_BACKEND` names, with commas between them.
    pub fn wanted() -> Vec<Variant> {
        let wanted = std::env::var("CORELLA_BACKEND").unwrap_or_default();
        // SAFETY: the process has one thread yet. The variable is the suite's; the schedulers under test choose by
        // the builder, or by themselves.
        unsafe { std::env::remove_var("CORELLA_BACKEND") };
        let list: Vec<_> = Variant::ALL
            .iter()
            .copied()
            .filter(|variant| wanted.is_empty() || wanted.split(',').any(|name| name == variant.name()))
            .collect();
        assert!(!list.is_empty(), "CORELLA_BACKEND is {wanted:?}; it may be uring, portable or refused");
        list
    }

    /// Whether it is a completion port, or a double of one.
    pub fn is_of_port(self) -> bool {
        matches!(self, Variant::Iocp | Variant::IocpShuffled)
    }

    /// Whether this machine cannot show it.
    pub fn is_missing(self) -> bool {
        self == Variant::Uring && Scheduler::builder().backend(BackendKind::Uring).build().is_err()
    }
}

/// Counts the folders of this process's tests.
static FOLDERS: AtomicU32 = AtomicU32::new(0);

/// The surroundings of one test.
pub struct Setup {
    pub variant: Variant,
    /// The test's full name.
    pub name: String,
    folder: PathBuf,
}

impl Setup {
    pub fn new(variant: Variant, name: &str) -> Setup {
        #[cfg(target_os = "linux")]
        if variant == Variant::Refused {
            // As container run-times do.
            refuse_call(libc::SYS_io_uring_setup, libc::EPERM);
        }
        // Short, so that the path of a socket fits (see unix(7)).
        let folder = format!("corella-{}-{}", std::process::id(), FOLDERS.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(folder);
        fs::create_dir_all(&folder).unwrap();
        Setup { variant, name: name.to_owned(), folder }
    }

    /// Settings with the backend under test.
    pub fn builder(&self) -> SchedulerBuilder {
        match self.variant {
            Variant::Uring => Scheduler::builder().backend(BackendKind::Uring),
            Variant::Portable => Scheduler::builder().backend(BackendKind::Portable),
            Variant::Iocp => Scheduler::builder().backend(BackendKind::Iocp),
            #[cfg(feature = "fake-port")]
            Variant::IocpShuffled => Scheduler::builder().backend(BackendKind::Iocp).packet_seed(self.seed()),
            #[cfg(not(feature = "fake-port"))]
            Variant::IocpShuffled => Scheduler::builder().backend(BackendKind::Iocp),
            Variant::Refused => Scheduler::builder(),
            Variant::Without(opcode) => Scheduler::builder().mask_opcode(opcode),
            Variant::WithoutFlags(flags) => Scheduler::builder().refuse_setup_flags(flags),
        }
    }

    pub fn scheduler(&self) -> Scheduler {
        self.builder().build().unwrap()
    }

    /// What chance starts from: each promise's own, the same at each run.
    #[cfg(feature = "fake-port")]
    fn seed(&self) -> u64 {
        self.name.bytes().fold(1, |seed, byte| seed.wrapping_mul(0x100_0000_01b3) ^ u64::from(byte))
    }

    /// A path in the test's own folder.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.join(name)
    }

    /// A file with this content in the test's own folder.
    pub fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// A connection whose one end is Corella's and whose other is the standard library's, blocking.
    pub fn connection(&self, io: &Io) -> (Socket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let ours = TcpStream::connect(address).unwrap();
        let (theirs, _) = listener.accept().unwrap();
        (io.adopt_socket(ours).unwrap(), theirs)
    }
}

/// All that comes to a peer that reads a little at a time.
pub fn read_slowly(mut peer: TcpStream) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let (mut bytes, mut buffer) = (Vec::new(), [0; 777]);
        loop {
            match peer.read(&mut buffer).unwrap() {
                0 => return bytes,
                count => bytes.extend_from_slice(&buffer[..count]),
            }
            std::thread::yield_now();
        }
    })
}

impl Drop for Setup {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The processor time of this thread.
#[cfg(unix)]
pub fn processor_time() -> std::time::Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure lives through the call.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) }, 0);
    std::time::Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The processor time of this thread.
#[cfg(windows)]
pub fn processor_time() -> std::time::Duration {
    use windows_sys::Win32::Foundation::FILETIME;
    use windows_sys::Win32::System::Threading::{GetCurrentThread, GetThreadTimes};
    let mut times = [FILETIME::default(); 4];
    let [made, ended, kernel, user] = &mut times;
    // SAFETY: the four structures live through the call, which fills them.
    assert_ne!(unsafe { GetThreadTimes(GetCurrentThread(), made, ended, kernel, user) }, 0);
    let units = |time: &FILETIME| u64::from(time.dwHighDateTime) << 32 | u64::from(time.dwLowDateTime);
    std::time::Duration::from_nanos((units(&times[2]) + units(&times[3])) * 100)
}

/// Waits on a scheduler's handle, as a foreign event loop does: whether it told of work within that time.
#[cfg(unix)]
pub fn is_told_within(handle: corella::ForeignHandle<'_>, limit: std::time::Duration) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let limit = Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: limit.subsec_nanos().into() };
    poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&limit)).unwrap() > 0
}

/// Waits on a scheduler's handle, as a foreign event loop does: whether it told of work within that time.
#[cfg(windows)]
pub fn is_told_within(handle: corella::ForeignHandle<'_>, limit: std::time::Duration) -> bool {
    use std::os::windows::io::{AsHandle, AsRawHandle};

    use windows_sys::Win32::Foundation::{WAIT_OBJECT_0, WAIT_TIMEOUT};
    use windows_sys::Win32::System::Threading::WaitForSingleObject;
    let milliseconds = limit.as_nanos().div_ceil(1_000_000) as u32;
    // SAFETY: the scheduler that lent the handle keeps it open through the call.
    match unsafe { WaitForSingleObject(handle.as_handle().as_raw_handle(), milliseconds) } {
        WAIT_OBJECT_0 => true,
        WAIT_TIMEOUT => false,
        other => panic!("{other}: {}", std::io::Error::last_os_error()),
    }
}

/// A pipe whose ends a scheduler can wait for: on Windows, as those of the standard library are not, one with a name.
#[cfg(unix)]
pub fn pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
    std::io::pipe().unwrap()
}

/// A pipe whose ends a scheduler can wait for: on Windows, as those of the standard library are not, one with a name.
#[cfg(windows)]
pub fn pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
    use std::os::windows::fs::OpenOptionsExt;
    use std::os::windows::io::{FromRawHandle, OwnedHandle};
    use std::sync::atomic::{AtomicU32, Ordering};

    use windows_sys::Win32::Foundation::INVALID_HANDLE_VALUE;
    use windows_sys::Win32::Storage::FileSystem::{
        FILE_FLAG_FIRST_PIPE_INSTANCE, FILE_FLAG_OVERLAPPED, PIPE_ACCESS_INBOUND,
    };
    use windows_sys::Win32::System::Pipes::CreateNamedPipeW;

    static COUNT: AtomicU32 = AtomicU32::new(0);
    const ROOM: u32 = 64 << 10;
    let name = format!(r"\\.\pipe\corella-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let wide: Vec<u16> = name.encode_utf16().chain([0]).collect();
    let mode = PIPE_ACCESS_INBOUND | FILE_FLAG_OVERLAPPED | FILE_FLAG_FIRST_PIPE_INSTANCE;
    // SAFETY: the name ends with a zero and lives through the call; the result is checked before it is owned.
    let reader = unsafe {
        let handle = CreateNamedPipeW(wide.as_ptr(), mode, 0, 1, ROOM, ROOM, 0, std::ptr::null());
        assert_ne!(handle, INVALID_HANDLE_VALUE, "{}", std::io::Error::last_os_error());
        OwnedHandle::from_raw_handle(handle)
    };
    let writer = fs::OpenOptions::new().write(true).custom_flags(FILE_FLAG_OVERLAPPED).open(name).unwrap();
    (reader.into(), OwnedHandle::from(writer).into())
}

/// The memory of this process that is in use.
#[cfg(unix)]
pub fn resident_bytes() -> usize {
    let text = fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// The memory of this process that is in use.
#[cfg(windows)]
pub fn resident_bytes() -> usize {
    use windows_sys::Win32::System::ProcessStatus::{GetProcessMemoryInfo, PROCESS_MEMORY_COUNTERS};
    use windows_sys::Win32::System::Threading::GetCurrentProcess;
    let mut counters = PROCESS_MEMORY_COUNTERS::default();
    let size = size_of::<PROCESS_MEMORY_COUNTERS>() as u32;
    // SAFETY: the structure lives through the call, which fills it.
    assert_ne!(unsafe { GetProcessMemoryInfo(GetCurrentProcess(), &mut counters, size) }, 0);
    counters.WorkingSetSize
}

/// Makes the kernel refuse a system call to this thread with this code, for as long as the thread lives.
#[cfg(target_os = "linux")]
pub fn refuse_call(call: libc::c_long, code: i32) {
    let mut filter = [
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, call as u32),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | code as u32),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    add_filter(&mut filter);
}

/// As [`refuse_call`], only if the call's last argument has this flag.
#[cfg(target_os = "linux")]
pub fn refuse_call_with_flag(call: libc::c_long, flag: u32, code: i32) {
    let last = std::mem::offset_of!(libc::seccomp_data, args) + 5 * size_of::<u64>();
    // The lower half.
    let place = if cfg!(target_endian = "little") { last } else { last + 4 };
    let mut filter = [
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 3, call as u32),
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, place as u32),
        instruction(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, 0, 1, flag),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | code as u32),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    add_filter(&mut filter);
}

#[cfg(target_os = "linux")]
const fn instruction(code: u32, jump_if: u8, jump_if_not: u8, value: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: jump_if, jf: jump_if_not, k: value }
}

#[cfg(target_os = "linux")]
fn add_filter(filter: &mut [libc::sock_filter]) {
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the filter and its header live through both calls, and the kernel copies them.
    let refused = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
    };
    assert!(refused, "no seccomp filter: {}", std::io::Error::last_os_error());
}

/// The drive that is soon full, which `cargo xtask windows` makes where it may.
#[cfg(windows)]
pub const SMALL_DRIVE: &str = "S:\\";

/// The numbers of this process's handles of a kind, as the system names it.
#[cfg(windows)]
pub fn handles_of(kind: &str) -> Vec<usize> {
    use windows_sys::Wdk::Foundation::{NtQueryObject, ObjectTypeInformation};
    use windows_sys::Win32::Foundation::UNICODE_STRING;
    let is_of_kind = |number: &usize| {
        let (mut memory, mut length) = ([0u64; 64], 0);
        let size = size_of_val(&memory) as u32;
        // SAFETY: it looks at a number, which may be no handle's; memory and length live through the call.
        let result = unsafe {
            NtQueryObject(*number as _, ObjectTypeInformation, memory.as_mut_ptr().cast(), size, &mut length)
        };
        // SAFETY: on success the memory begins with the name, whose characters are in the memory too.
        result >= 0
            && unsafe {
                let name = memory.as_ptr().cast::<UNICODE_STRING>().read();
                let characters = std::slice::from_raw_parts(name.Buffer, usize::from(name.Length) / 2);
                String::from_utf16_lossy(characters) == kind
            }
    };
    (4..0x4000).step_by(4).filter(is_of_kind).collect()
}
