//! Promises about what a process has only one of (limits, mounts, threads) run in a process of their own: this test
//! program again, with that one promise.

#[cfg(unix)]
use std::fs;
use std::io;
#[cfg(unix)]
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::setup::Setup;

const MARK: &str = "CORELLA_OWN_PROCESS";

impl Setup {
    /// Whether this is the promise's own process. Elsewhere the promise is run there, and is done when this returns.
    pub fn is_own_process(&self) -> bool {
        self.is_in(|_| ())
    }

    /// As [`is_own_process`](Self::is_own_process), in a process that may mount without anybody else's seeing it.
    /// Where none may, it is a process like any other, and [`mount`](Self::mount) gives nothing.
    #[cfg(unix)]
    pub fn is_own_process_with_mounts(&self) -> bool {
        self.is_in(|command| {
            // SAFETY: between fork and exec it makes system calls only, and allocates nothing but in the child of a
            // process whose allocator is fork-safe (glibc's is).
            unsafe { command.pre_exec(leave_mounts) };
        })
    }

    fn is_in(&self, prepare: impl FnOnce(&mut Command)) -> bool {
        if std::env::var_os(MARK).is_some() {
            return true;
        }
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", &self.name]).env(MARK, "1").env("CORELLA_BACKEND", self.variant.name());
        #[cfg(unix)]
        // SAFETY: one system call.
        unsafe {
            command.pre_exec(|| {
                // It ends with the test that started it.
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        prepare(&mut command);
        let output = match command.output() {
            Ok(output) => output,
            // No mounts of its own, then.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return self.is_own_process(),
            Err(error) => panic!("{error}"),
        };
        let text = String::from_utf8_lossy(&output.stdout);
        let told = String::from_utf8_lossy(&output.stderr);
        // Set apart, so that nobody takes its report for ours.
        let all: String = text.lines().chain(told.lines()).map(|line| format!("  | {line}\n")).collect();
        assert!(output.status.success(), "in a process of its own: {}\n{all}", output.status);
        assert!(text.contains("1 passed"), "in a process of its own:\n{all}");
        false
    }

    /// Mounts a file system at a folder of the test's own; gone with the process.
    #[cfg(unix)]
    pub fn mount(&self, kind: &str, options: &str) -> Option<std::path::PathBuf> {
        let target = self.path(kind);
        fs::create_dir_all(&target).unwrap();
        let [source, place, kind, options] =
            ["corella", target.to_str().unwrap(), kind, options].map(|text| std::ffi::CString::new(text).unwrap());
        let flags = libc::MS_NOSUID | libc::MS_NODEV;
        // SAFETY: four strings that live through the call.
        let result =
            unsafe { libc::mount(source.as_ptr(), place.as_ptr(), kind.as_ptr(), flags, options.as_ptr().cast()) };
        (result == 0).then_some(target)
    }
}

/// Gives this process mounts of its own: as root directly, otherwise as the root of a user namespace.
#[cfg(unix)]
fn leave_mounts() -> io::Result<()> {
    // SAFETY: asks for this process's own numbers.
    let (user, group) = unsafe { (libc::geteuid(), libc::getegid()) };
    // SAFETY: system calls on this process alone, with strings that live through them.
    let is_done = unsafe {
        if libc::unshare(libc::CLONE_NEWNS) != 0 {
            if libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS) != 0 {
                return Err(io::Error::from_raw_os_error(libc::EPERM));
            }
            let _ = fs::write("/proc/self/setgroups", "deny");
            fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
            fs::write("/proc/self/gid_map", format!("0 {group} 1"))?;
        }
        let flags = libc::MS_REC | libc::MS_PRIVATE;
        libc::mount(std::ptr::null(), c"/".as_ptr(), std::ptr::null(), flags, std::ptr::null()) == 0
    };
    if is_done { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EPERM)) }
}
