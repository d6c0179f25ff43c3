//! Corella as its own users would write it. `--style` chooses `await` or `callbacks`; the backend is the machine's best,
//! or the one that CORELLA_BACKEND names.

mod echo;
mod files;
mod small;
mod tasks;

use contender::{Arguments, unknown};
use corella::Scheduler;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    // The inline try is for lone reads; at a depth its absence shows what the queue costs.
    let is_lone = arguments.workload != "read" || arguments.need("depth") == 1;
    let scheduler = Scheduler::builder().inline_reads(is_lone).build()?;
    let with_callbacks = arguments.text("style") == Some("callbacks");
    match (arguments.workload.as_str(), with_callbacks) {
        ("echo", true) => echo::with_callbacks(scheduler, &arguments),
        ("echo", false) => echo::awaited(scheduler, &arguments),
        ("read", true) => files::with_callbacks(scheduler, &arguments),
        ("read", false) => files::awaited(scheduler, &arguments),
        ("write", false) => files::written(scheduler, &arguments),
        ("stream", true) => echo::stream_with_callbacks(scheduler, &arguments),
        ("stream", false) => echo::stream_awaited(scheduler, &arguments),
        ("append", true) => small::append_with_callbacks(scheduler, &arguments),
        ("append", false) => small::append(scheduler, &arguments),
        ("files", true) => small::small_with_callbacks(scheduler, &arguments),
        ("files", false) => small::small(scheduler, &arguments),
        ("fire", false) => tasks::fired(scheduler, &arguments),
        ("timers", false) => tasks::timers(scheduler, &arguments),
        ("spawn", false) => tasks::spawned(scheduler, &arguments),
        ("yield", false) => tasks::yielding(scheduler, &arguments),
        ("wake", false) => tasks::woken(scheduler, &arguments),
        ("has-work", false) => tasks::has_work(scheduler, &arguments),
        _ => unknown(&arguments),
    }
}
