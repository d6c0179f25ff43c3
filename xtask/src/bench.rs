//! `cargo xtask bench`: builds the contenders of the benchmark, which is a workspace of its own, and runs them.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::repository_root;

/// Builds all contenders and hands `arguments` on to the program that runs them.
pub fn bench(arguments: &[String]) -> ExitCode {
    match build().and_then(|programs| run(&programs, arguments)) {
        Ok(code) => code,
        Err(problem) => {
            println!("bench: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn succeeds(command: &mut Command) -> Result<(), String> {
    let status = command.status().map_err(|error| format!("{command:?}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}")) }
}

/// Gives the folder of the contenders' programs. One that does not build (libuv needs libclang) is told of and left out.
fn build() -> Result<PathBuf, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let workspace = repository_root().join("bench");
    let programs = workspace.join("target/release");
    let mut contenders = Command::new(&cargo);
    contenders.args(["build", "--quiet", "--release", "--keep-going"]).current_dir(&workspace);
    if let Err(problem) = succeeds(&mut contenders) {
        println!("not every contender was built: {problem}");
    }
    if let Err(problem) = build_tokio_with_ring(&cargo, &workspace) {
        println!("tokio with io_uring was not built: {problem}");
    }
    if let Err(problem) = build_in_c(&cargo, &programs) {
        println!("the contender in C was not built: {problem}");
    }
    if let Err(problem) = build_command(&cargo, &programs) {
        println!("the contender in Lua was not built: {problem}");
    }
    match programs.join("bench").exists() {
        true => Ok(programs),
        false => Err("the program that runs the benchmark was not built".into()),
    }
}

/// tokio with files by io_uring, which it has behind a flag for the compiler: by itself, so that the other stays as it is.
fn build_tokio_with_ring(cargo: &std::ffi::OsStr, workspace: &Path) -> Result<(), String> {
    let target = workspace.join("target/tokio-io-uring");
    let flags = std::env::var("RUSTFLAGS").unwrap_or_default() + " --cfg tokio_unstable";
    let mut contender = Command::new(cargo);
    contender.args(["build", "--quiet", "--release", "-p", "contender-tokio", "--features", "io-uring"]);
    contender.arg("--target-dir").arg(&target).env("RUSTFLAGS", flags.trim()).current_dir(workspace);
    succeeds(&mut contender)?;
    let place = workspace.join("target/release/contender-tokio-io-uring");
    copy(&target.join("release/contender-tokio"), &place)
}

fn copy(built: &Path, place: &Path) -> Result<(), String> {
    std::fs::copy(built, place).map(|_| ()).map_err(|error| format!("{}: {error}", built.display()))
}

/// The echo server of examples/c, with the library in it.
fn build_in_c(cargo: &std::ffi::OsStr, programs: &Path) -> Result<(), String> {
    let root = repository_root();
    let mut library = Command::new(cargo);
    library.args(["build", "--quiet", "--profile", "packaged", "-p", "corella-c", "--lib"]).current_dir(root);
    library.arg("--target-dir").arg(root.join("target"));
    succeeds(&mut library)?;
    let mut compiler = Command::new("cc");
    compiler.arg("-O2").arg(root.join("examples/c/echo_callbacks.c")).arg("-I");
    compiler.arg(root.join("crates/corella-c/include")).arg(root.join("target/packaged/libcorella_c.a"));
    compiler.args(["-lgcc_s", "-lpthread", "-lm", "-ldl", "-lc", "-o"]).arg(programs.join("contender-corella-c"));
    succeeds(&mut compiler)
}

/// The `corella` command, for scripts in Lua.
fn build_command(cargo: &std::ffi::OsStr, programs: &Path) -> Result<(), String> {
    let root = repository_root();
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--profile", "packaged", "-p", "corella-cli", "--bins"]).current_dir(root);
    command.arg("--target-dir").arg(root.join("target"));
    succeeds(&mut command)?;
    copy(&root.join("target/packaged/corella"), &programs.join("corella"))
}

fn run(programs: &Path, arguments: &[String]) -> Result<ExitCode, String> {
    let mut bench = Command::new(programs.join("bench"));
    bench.arg("--programs").arg(programs).args(arguments);
    match succeeds(&mut bench) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(_) => Ok(ExitCode::FAILURE),
    }
}
