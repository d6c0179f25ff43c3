//! `cargo xtask install --prefix DIR`: builds the C library and lays it out as C programs look for it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::repository_root;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What the libraries are called on a system: as built, and as installed.
struct Names {
    built_shared: &'static str,
    built_static: &'static str,
    /// What programs are linked with, where that is not the shared library itself.
    built_import: Option<&'static str>,
    /// Relative to the prefix.
    shared: String,
    import: String,
    /// The name that linked programs look for, and the one that the linker looks for: links to the shared library.
    links: Vec<String>,
    /// What the static library needs beside itself, as flags for the linker.
    private: &'static str,
}

fn names(system: &str) -> Names {
    match system {
        "windows" => Names {
            built_shared: "corella_c.dll",
            built_static: "libcorella_c.a",
            built_import: Some("libcorella_c.dll.a"),
            shared: "bin/corella_c.dll".into(),
            import: "lib/libcorella.dll.a".into(),
            links: Vec::new(),
            private: "-lkernel32 -lntdll -luserenv -lws2_32 -ldbghelp",
        },
        _ => Names {
            built_shared: "libcorella_c.so",
            built_static: "libcorella_c.a",
            built_import: None,
            shared: format!("lib/libcorella.so.{VERSION}"),
            import: String::new(),
            links: vec!["lib/libcorella.so.0".into(), "lib/libcorella.so".into()],
            private: "-lgcc_s -lpthread -lm -ldl -lc",
        },
    }
}

/// Builds and installs, and says what it did.
pub fn install(prefix: &Path) -> ExitCode {
    match lay_out(prefix) {
        Ok(()) => {
            println!("installed to {}", prefix.display());
            ExitCode::SUCCESS
        }
        Err(problem) => {
            println!("install: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn lay_out(prefix: &Path) -> Result<(), String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--profile", "packaged", "-p", "corella-c", "--lib"])
        .current_dir(repository_root())
        .status()
        .map_err(|error| format!("cargo: {error}"))?;
    if !status.success() {
        return Err(format!("the build failed: {status}"));
    }
    let names = names(std::env::consts::OS);
    let built = target_directory().join("packaged");
    let package = repository_root().join("crates/corella-c");
    copy(&built.join(names.built_shared), &prefix.join(&names.shared))?;
    copy(&built.join(names.built_static), &prefix.join("lib/libcorella.a"))?;
    if let Some(import) = names.built_import {
        copy(&built.join(import), &prefix.join(&names.import))?;
    }
    for link in &names.links {
        make_link(Path::new(&names.shared), &prefix.join(link))?;
    }
    copy(&package.join("include/corella.h"), &prefix.join("include/corella.h"))?;
    copy(&repository_root().join("docs/EMBEDDING.md"), &prefix.join("share/doc/corella/EMBEDDING.md"))?;
    for (template, place) in [
        ("corella.pc.in", "lib/pkgconfig/corella.pc"),
        ("CorellaConfig.cmake.in", "lib/cmake/Corella/CorellaConfig.cmake"),
        ("CorellaConfigVersion.cmake.in", "lib/cmake/Corella/CorellaConfigVersion.cmake"),
    ] {
        let path = package.join("package").join(template);
        let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        write(&prefix.join(place), &filled(&text, &names))?;
    }
    Ok(())
}

fn filled(template: &str, names: &Names) -> String {
    let mut parts = VERSION.split('.');
    let soname = names.links.first().and_then(|link| link.rsplit('/').next()).unwrap_or_default();
    template
        .replace("@VERSION@", VERSION)
        .replace("@MAJOR@", parts.next().unwrap_or_default())
        .replace("@MINOR@", parts.next().unwrap_or_default())
        .replace("@SHARED@", &names.shared)
        .replace("@IMPORT@", &names.import)
        .replace("@STATIC@", "lib/libcorella.a")
        .replace("@SONAME@", soname)
        .replace("@PRIVATE@", names.private)
}

/// Where cargo puts what it builds: this program lies in `TARGET/PROFILE/`.
fn target_directory() -> PathBuf {
    let here = std::env::current_exe().unwrap_or_default();
    let directory = here.parent().and_then(Path::parent);
    directory.map_or_else(|| repository_root().join("target"), Path::to_owned)
}

fn parent_of(path: &Path) -> Result<(), String> {
    let parent = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(|error| format!("{}: {error}", parent.display()))
}

/// In place of what is there: a library in use must not change under its users.
fn copy(from: &Path, to: &Path) -> Result<(), String> {
    parent_of(to)?;
    remove(to)?;
    fs::copy(from, to).map(drop).map_err(|error| format!("{} to {}: {error}", from.display(), to.display()))
}

fn write(to: &Path, text: &str) -> Result<(), String> {
    parent_of(to)?;
    fs::write(to, text).map_err(|error| format!("{}: {error}", to.display()))
}

fn remove(path: &Path) -> Result<(), String> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(format!("{}: {error}", path.display())),
        _ => Ok(()),
    }
}

#[cfg(unix)]
fn make_link(to: &Path, link: &Path) -> Result<(), String> {
    remove(link)?;
    let name = to.file_name().unwrap_or_default();
    std::os::unix::fs::symlink(name, link).map_err(|error| format!("{}: {error}", link.display()))
}

#[cfg(not(unix))]
fn make_link(to: &Path, link: &Path) -> Result<(), String> {
    let directory = link.parent().unwrap_or(Path::new("."));
    copy(&directory.join(to.file_name().unwrap_or_default()), link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_template_is_left_with_a_place_that_nobody_fills() {
        let package = repository_root().join("crates/corella-c/package");
        for entry in fs::read_dir(package).expect("the templates are there") {
            let path = entry.expect("they can be listed").path();
            let text = fs::read_to_string(&path).expect("a template is text");
            for system in ["linux", "windows"] {
                let text = filled(&text, &names(system));
                let left = text.split('@').nth(1).filter(|word| word.chars().all(|c| c.is_ascii_uppercase()));
                assert_eq!(left, None, "{}", path.display());
            }
        }
    }
}
