//! libuv as its users write it in C, through its raw bindings: sockets by readiness, files by its four threads.

mod echo;
mod files;
mod loops;
mod slow;
mod small;

use contender::{Arguments, unknown};

fn main() {
    let arguments = Arguments::parse();
    match arguments.workload.as_str() {
        "echo" => echo::serve(&arguments),
        "read" => files::read(&arguments),
        "stream" => echo::serve(&arguments),
        "write" => small::write(&arguments),
        "append" => small::append(&arguments),
        "files" => small::small(&arguments),
        "timers" => loops::timers(&arguments),
        "fire" => loops::fire(&arguments),
        "wake" => loops::wake(&arguments),
        "has-work" => loops::has_work(&arguments),
        _ => unknown(&arguments),
    }
}

/// Ends the program where libuv refuses what it must not.
fn check(code: i32, what: &str) {
    if code < 0 {
        contender::fail(&format!("{what}: {code}"));
    }
}
