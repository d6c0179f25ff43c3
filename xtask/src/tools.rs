//! The programs that legs need: whether they are here, and how to get them.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::process::{Clock, Ending, Runner};
use crate::windows;

/// How long one command of an installation may take.
const INSTALL_BUDGET: Duration = Duration::from_secs(120);

pub struct Tool {
    /// The name under which its absence stands in the list of skips.
    pub name: &'static str,
    /// A command that succeeds if the tool is here.
    probe: &'static [&'static str],
    source: Source,
}

enum Source {
    RustComponent(&'static str),
    DebianPackages(&'static [&'static str]),
}

pub const RUSTFMT: Tool =
    Tool { name: "rustfmt", probe: &["cargo", "fmt", "--version"], source: Source::RustComponent("rustfmt") };

pub const CLIPPY: Tool =
    Tool { name: "clippy", probe: &["cargo", "clippy", "--version"], source: Source::RustComponent("clippy") };

pub const CURL: Tool = Tool { name: "curl", probe: &["curl", "--version"], source: Source::DebianPackages(&["curl"]) };

pub const STRACE: Tool =
    Tool { name: "strace", probe: &["strace", "--version"], source: Source::DebianPackages(&["strace"]) };

pub const GCC: Tool = Tool { name: "gcc", probe: &["gcc", "--version"], source: Source::DebianPackages(&["gcc"]) };

pub const GXX: Tool = Tool { name: "g++", probe: &["g++", "--version"], source: Source::DebianPackages(&["g++"]) };

pub const PKG_CONFIG: Tool =
    Tool { name: "pkg-config", probe: &["pkg-config", "--version"], source: Source::DebianPackages(&["pkg-config"]) };

pub const CMAKE: Tool =
    Tool { name: "cmake", probe: &["cmake", "--version"], source: Source::DebianPackages(&["cmake"]) };

pub const VALGRIND: Tool =
    Tool { name: "valgrind", probe: &["valgrind", "--version"], source: Source::DebianPackages(&["valgrind"]) };

pub const PYTHON: Tool =
    Tool { name: "python3", probe: &["python3", "--version"], source: Source::DebianPackages(&["python3"]) };

pub const GLIB: Tool = Tool {
    name: "glib",
    probe: &["pkg-config", "--exists", "glib-2.0"],
    source: Source::DebianPackages(&["libglib2.0-dev"]),
};

/// Debian's own Rust with the sources of its standard library, to build that for targets that rustup has not here.
pub const RUST_WITH_SOURCES: Tool = Tool {
    name: "rust-web-src",
    probe: &["test", "-x", windows::CARGO, "-a", "-f", windows::SOURCES],
    source: Source::DebianPackages(&["rustc-web", "cargo-web", "rust-web-src"]),
};

pub const MINGW: Tool = Tool {
    name: "mingw",
    probe: &["x86_64-w64-mingw32-gcc", "--version"],
    source: Source::DebianPackages(&["gcc-mingw-w64-x86-64"]),
};

pub const WINE: Tool =
    Tool { name: "wine", probe: &["wineserver", "--version"], source: Source::DebianPackages(&["wine64", "wine"]) };

/// What an echo in Lua is compared with.
pub const LUV: Tool = Tool {
    name: "luv",
    probe: &["lua5.4", "-e", "require('luv')"],
    source: Source::DebianPackages(&["lua5.4", "lua-luv"]),
};

/// For the bindings of the benchmark's contender libuv.
pub const LIBCLANG: Tool = Tool {
    name: "libclang",
    // Not libclang-cpp, which is another library.
    probe: &["sh", "-c", "ls /usr/lib/llvm-*/lib /usr/lib/*/libclang* | grep -Eq 'libclang(-[0-9.]+)?[.]so'"],
    source: Source::DebianPackages(&["libclang-dev"]),
};

impl Tool {
    /// Whether the tool is here, after trying to install it if it was not.
    pub fn obtain(&self, runner: &mut Runner) -> bool {
        if self.is_here(runner) {
            return true;
        }
        for command in self.source.commands() {
            println!("{} is missing: {}", self.name, command.join(" "));
            let mut clock = Clock::start(self.name, INSTALL_BUDGET);
            let ending = runner.run(runner.command(command), &mut clock, |_| ());
            if !matches!(ending, Ending::Exited(status) if status.success()) {
                println!("{} could not be installed: {ending}", self.name);
                return false;
            }
        }
        self.is_here(runner)
    }

    fn is_here(&self, runner: &Runner) -> bool {
        runner
            .command(self.probe)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }
}

impl Source {
    /// The commands that install the tool on this machine. None if there is no way.
    fn commands(&self) -> Vec<Vec<&'static str>> {
        match self {
            Source::RustComponent(name) if on_path("rustup") => {
                vec![vec!["rustup", "component", "add", name]]
            }
            Source::DebianPackages(names) if is_debian() && is_root() => {
                let install = ["apt-get", "install", "-y", "--no-install-recommends"];
                vec![vec!["apt-get", "update"], install.iter().chain(*names).copied().collect()]
            }
            Source::RustComponent(_) | Source::DebianPackages(_) => Vec::new(),
        }
    }
}

fn on_path(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok()
}

fn is_debian() -> bool {
    Path::new("/etc/debian_version").exists()
}

#[cfg(unix)]
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[cfg(not(unix))]
fn is_root() -> bool {
    false
}
