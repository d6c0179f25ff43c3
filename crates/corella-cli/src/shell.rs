//! What shells and `man` want: completions, manual pages.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::arguments::Command;
use crate::run::wrong;

/// Writes a shell's completions to standard output.
pub fn completions(shell: Shell) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Command::command(), "corella", &mut script);
    write_out(&script)
}

/// Writes the manual page to standard output, or all pages into a directory.
pub fn manual(directory: Option<&Path>) -> ExitCode {
    let command = Command::command();
    let Some(directory) = directory else {
        let mut page = Vec::new();
        return match Man::new(command).render(&mut page) {
            Ok(()) => write_out(&page),
            Err(error) => wrong(&format!("cannot write the manual page: {error}")),
        };
    };
    let written = std::fs::create_dir_all(directory).and_then(|()| clap_mangen::generate_to(command, directory));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => wrong(&format!("cannot write manual pages to {}: {error}", directory.display())),
    }
}

/// Writes to standard output; whoever reads it may go away early.
pub fn write_out(bytes: &[u8]) -> ExitCode {
    let mut output = io::stdout().lock();
    match output.write_all(bytes).and_then(|()| output.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(141),
        Err(error) => wrong(&format!("cannot write to standard output: {error}")),
    }
}
