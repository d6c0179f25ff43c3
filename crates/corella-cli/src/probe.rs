//! `corella probe`: what this machine offers, and what a scheduler takes of it.

use std::fmt::Write;
use std::process::ExitCode;

use corella::{BackendKind, KernelFeatures, Limits, Scheduler};
use serde_json::{Value, json};

use crate::run::{raise_descriptor_limit, wrong};
use crate::shell::write_out;

/// The backends for programs that run on a machine.
#[cfg(unix)]
const BACKENDS: [BackendKind; 2] = [BackendKind::Uring, BackendKind::Portable];
#[cfg(windows)]
const BACKENDS: [BackendKind; 1] = [BackendKind::Iocp];

/// One backend as it was tried.
struct Tried {
    kind: BackendKind,
    /// Why it is not to be had.
    refusal: Option<String>,
    features: Option<KernelFeatures>,
}

/// All that is known.
struct Report {
    system: String,
    tried: Vec<Tried>,
    chosen: BackendKind,
    reason: String,
    limits: Limits,
    /// Descriptors that a script may have open.
    descriptors: Option<u64>,
}

/// Prints the report, for people or as JSON.
pub fn probe(json: bool) -> ExitCode {
    raise_descriptor_limit();
    let report = match report() {
        Ok(report) => report,
        Err(error) => return wrong(&error.to_string()),
    };
    let text = match json {
        true => format!("{:#}\n", report.as_json()),
        false => report.as_text(),
    };
    write_out(text.as_bytes())
}

fn report() -> Result<Report, corella::Error> {
    let settings = corella_lua::Host::settings();
    let tried = BACKENDS.map(|kind| match settings.clone().backend(kind).build() {
        Ok(scheduler) => Tried { kind, refusal: None, features: scheduler.kernel_features() },
        Err(error) => Tried { kind, refusal: Some(error.to_string()), features: None },
    });
    let limits = settings.limits();
    let scheduler: Scheduler = settings.build()?;
    Ok(Report {
        system: system(),
        tried: tried.into(),
        chosen: scheduler.backend(),
        reason: scheduler.backend_reason().to_string(),
        limits,
        descriptors: descriptor_limit(),
    })
}

/// The system's name, release and kind of machine.
#[cfg(unix)]
fn system() -> String {
    let name = rustix::system::uname();
    let part = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    format!("{} {} {}", part(name.sysname()), part(name.release()), part(name.machine()))
}

#[cfg(windows)]
fn system() -> String {
    format!("Windows {}", std::env::consts::ARCH)
}

#[cfg(unix)]
fn descriptor_limit() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

/// There is none.
#[cfg(windows)]
fn descriptor_limit() -> Option<u64> {
    None
}

impl Report {
    /// The limits with their names in words.
    fn limits(&self) -> [(&'static str, Option<u64>); 6] {
        let limits = &self.limits;
        [
            ("requests at once", Some(limits.queue_depth as u64)),
            ("tasks of the engine at once", Some(limits.tasks as u64)),
            ("sleeps at once", Some(limits.sleeps as u64)),
            ("pool threads of each sort", Some(limits.pool_threads as u64)),
            ("jobs waiting from other threads", Some(limits.inbox_jobs as u64)),
            ("open descriptors", self.descriptors),
        ]
    }

    fn as_text(&self) -> String {
        let mut text = format!("corella {} on {}\n\nBackends\n", env!("CARGO_PKG_VERSION"), self.system);
        for tried in &self.tried {
            let state = tried.refusal.as_ref().map_or("offered".into(), |why| format!("not offered: {why}"));
            let _ = writeln!(text, "  {:<10}{state}", tried.kind.name());
        }
        let _ = writeln!(text, "  {:<10}a machine in memory, for tests of programs in Rust", "simulated");
        let _ = writeln!(text, "\nChosen: {}, {}", self.chosen.name(), self.reason);
        for features in self.tried.iter().filter_map(|tried| tried.features.as_ref()) {
            let names = |has: bool| {
                let names: Vec<_> = features.opcodes.iter().filter(|(_, is_there)| *is_there == has).collect();
                match names.is_empty() {
                    true => "none".into(),
                    false => names.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" "),
                }
            };
            let (submissions, completions) = (features.submission_entries, features.completion_entries);
            let _ = writeln!(text, "\nio_uring");
            let _ = writeln!(text, "  set up with     {}", features.setup);
            let _ = writeln!(text, "  entries         {submissions} for submissions, {completions} for completions");
            let _ = writeln!(text, "  opcodes used    {}", names(true));
            let _ = writeln!(text, "  opcodes lacked  {}", names(false));
        }
        let _ = writeln!(text, "\nLimits of a script");
        for (name, limit) in self.limits() {
            let limit = limit.map_or("none".into(), |limit| limit.to_string());
            let _ = writeln!(text, "  {name:<33}{limit}");
        }
        text
    }

    fn as_json(&self) -> Value {
        let backends: Vec<Value> = self
            .tried
            .iter()
            .map(|tried| {
                let features = tried.features.as_ref().map(|features| {
                    let opcodes: serde_json::Map<String, Value> =
                        features.opcodes.iter().map(|(name, has)| ((*name).into(), json!(has))).collect();
                    json!({
                        "setup": features.setup,
                        "submission_entries": features.submission_entries,
                        "completion_entries": features.completion_entries,
                        "opcodes": opcodes,
                    })
                });
                json!({
                    "name": tried.kind.name(),
                    "offered": tried.refusal.is_none(),
                    "refusal": tried.refusal,
                    "features": features,
                })
            })
            .collect();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "system": self.system,
            "backends": backends,
            "chosen": self.chosen.name(),
            "reason": self.reason,
            "limits": {
                "requests": self.limits.queue_depth,
                "tasks": self.limits.tasks,
                "sleeps": self.limits.sleeps,
                "pool_threads": self.limits.pool_threads,
                "inbox_jobs": self.limits.inbox_jobs,
                "ring_entries": self.limits.ring_entries,
                "descriptors": self.descriptors,
            },
        })
    }
}
