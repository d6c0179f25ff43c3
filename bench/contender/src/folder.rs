//! Many small files, and FIFOs: the paths in a folder, all made before the first operation.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::{Arguments, fail};

/// Bytes of each small file; a read of one asks for a block and gets all of it.
pub const SMALL_FILE_BYTES: usize = 1024;

fn paths_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| fail(&format!("{}: {error}", folder.display())));
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// Those of the folder that `--folder` names.
pub fn small_files(arguments: &Arguments) -> Vec<PathBuf> {
    paths_in(Path::new(arguments.text("folder").unwrap_or_else(|| fail("--folder is missing"))))
}

/// Those of the folder that `--fifos` names. Without it there is no slow work.
pub fn fifos(arguments: &Arguments) -> Vec<PathBuf> {
    arguments.text("fifos").map(|folder| paths_in(Path::new(folder))).unwrap_or_default()
}

/// As the system takes them.
pub fn as_c_strings(paths: &[PathBuf]) -> Vec<CString> {
    let string = |path: &PathBuf| CString::new(path.as_os_str().as_bytes());
    paths.iter().map(|path| string(path).unwrap_or_else(|error| fail(&error.to_string()))).collect()
}
