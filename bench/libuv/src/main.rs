//! libuv as its users write it in C, through its raw bindings: sockets by readiness, files by its four threads.

mod echo;
mod files;

use contender::{Arguments, unknown};

fn main() {
    let arguments = Arguments::parse();
    match arguments.workload.as_str() {
        "echo" => echo::serve(&arguments),
        "read" => files::read(&arguments),
        "timers" => files::timers(&arguments),
        _ => unknown(&arguments),
    }
}

/// Ends the program where libuv refuses what it must not.
fn check(code: i32, what: &str) {
    if code < 0 {
        contender::fail(&format!("{what}: {code}"));
    }
}
