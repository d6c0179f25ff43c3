//! Gives the shared library the name that programs linked to it look for.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is_elf = std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux" || system.ends_with("bsd"));
    if is_elf {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libcorella.so.0");
    }
}
