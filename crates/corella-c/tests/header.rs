//! The committed corella.h is what the exported functions say; `CORELLA_WRITE_HEADER=1` writes it.

use std::fs;
use std::path::PathBuf;

/// The sections of the header: the first function of each, and what it is headed with.
const SECTIONS: &[(&str, &str)] = &[
    ("corella_version", "Versions and codes"),
    ("corella_last_error", "The failure of a call, for the thread that made it"),
    ("corella_settings_new", "Schedulers: settings, beginning, end"),
    ("corella_backend", "What a scheduler knows of itself"),
    ("corella_set_deadline_ns", "Requests: options, before the ending"),
    ("corella_submit", "Requests: the endings that turn nothing; `corella_wait` and `corella_next` are below"),
    ("corella_status", "Requests: asking, cancelling, freeing"),
    ("corella_run", "Turning the scheduler: callbacks, waits, handing out"),
    ("corella_has_work", "Inside a VM's safe points and a foreign event loop"),
    ("corella_code", "Outcomes of settled requests"),
    ("corella_open", "Files, pipes and terminals"),
    ("corella_barrier", "Any handle"),
    ("corella_standard_stream", "Handles from outside, and back"),
    ("corella_stat", "Paths and directories: no order among each other"),
    ("corella_listen", "Connections: TCP and the Unix domain; listeners, names"),
    ("corella_bind", "Sockets: calls that do not block"),
    ("corella_bind_datagrams", "Datagrams: UDP, and messages of the Unix domain"),
    ("corella_start_program", "Child processes: what is started, before the ending; then the child"),
    ("corella_buffer_new", "The library's buffers"),
    ("corella_token_new", "Cancel tokens: from any thread"),
    ("corella_remote_new", "Schedulers seen from other threads"),
    ("corella_detach", "Connections between schedulers"),
];

/// The order of the sources, and with it that of the functions.
const SOURCES: &[&str] = &[
    "ids",
    "codes",
    "faults",
    "scheduler",
    "request",
    "endings",
    "run",
    "results",
    "files",
    "paths",
    "addresses",
    "sockets",
    "datagrams",
    "children",
    "buffers",
    "threads",
];

fn manifest() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn generate() -> String {
    let mut config = cbindgen::Config::from_file(manifest().join("cbindgen.toml")).unwrap();
    let preface = fs::read_to_string(manifest().join("src/preface.txt")).unwrap();
    config.after_includes = Some(format!("\n{}", preface.trim_end()));
    let mut builder = cbindgen::Builder::new().with_config(config);
    for source in SOURCES {
        builder = builder.with_src(manifest().join(format!("src/{source}.rs")));
    }
    let mut written = Vec::new();
    builder.generate().unwrap().write(&mut written);
    let text = String::from_utf8(written).unwrap().replace("ptrdiff_t", "intptr_t");
    with_sections(&tidied(&text))
}

/// Comments as C programmers write them, and negative numbers in parentheses.
fn tidied(header: &str) -> String {
    let mut lines = Vec::new();
    let mut comment: Option<Vec<&str>> = None;
    for line in header.lines() {
        match (&mut comment, line) {
            (None, "/*") => comment = Some(Vec::new()),
            (Some(text), " */") => {
                match &text[..] {
                    [single] => lines.push(format!("/*{single} */")),
                    several if several[0].starts_with(" *") => {
                        lines.push("/*".into());
                        lines.extend(several.iter().map(|line| line.to_string()));
                        lines.push(" */".into());
                    }
                    several => {
                        lines.push("/*".into());
                        lines.extend(several.iter().map(|line| format!(" *{line}")));
                        lines.push(" */".into());
                    }
                }
                comment = None;
            }
            (Some(text), line) => text.push(line),
            (None, line) => match line.rsplit_once(' ') {
                Some((start, number)) if start.starts_with("#define") && number.starts_with('-') => {
                    lines.push(format!("{start} ({number})"));
                }
                _ => lines.push(line.to_string()),
            },
        }
    }
    lines.join("\n") + "\n"
}

/// Puts a heading before the first function of each section.
fn with_sections(header: &str) -> String {
    let mut blocks: Vec<String> = header.split("\n\n").map(str::to_string).collect();
    for (function, title) in SECTIONS {
        let declares = |block: &String| {
            let declaration = block.rsplit("*/").next().unwrap_or_default();
            declaration.contains(&format!("{function}("))
        };
        let place = blocks.iter().position(declares).unwrap_or_else(|| panic!("{function} is not exported"));
        let rule = "-".repeat(100 - title.len());
        blocks[place] = format!("/* ---- {title} {rule} */\n\n{}", blocks[place].trim_start_matches('\n'));
    }
    blocks.join("\n\n")
}

#[test]
fn the_committed_header_is_what_the_functions_say() {
    let path = manifest().join("include/corella.h");
    let generated = generate();
    if std::env::var_os("CORELLA_WRITE_HEADER").is_some() {
        fs::write(&path, &generated).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap();
    assert!(committed == generated, "include/corella.h differs; CORELLA_WRITE_HEADER=1 writes it anew");
}

/// Nearly every function takes only pointers and integers, at most five of them.
#[test]
fn functions_take_pointers_and_integers_and_few_of_them() {
    let header = generate();
    let code: String = header.split("*/").map(|block| block.split("/*").next().unwrap_or_default()).collect();
    let code: String = code.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect();
    let mut counted = 0;
    let mut long = Vec::new();
    for declaration in code.split(';').map(str::trim) {
        if declaration.starts_with("typedef") || declaration.starts_with("struct") || !declaration.contains('(') {
            continue;
        }
        let (name, parameters) = declaration.split_once('(').unwrap();
        let name = name.split_whitespace().last().unwrap().trim_start_matches('*');
        let parameters: Vec<&str> = parameters.trim_end().trim_end_matches(')').split(',').map(str::trim).collect();
        counted += 1;
        if parameters.len() > 5 {
            long.push(name.to_string());
        }
        for parameter in parameters {
            let kind = parameter.trim_start_matches("const ").split_whitespace().next().unwrap();
            let is_id = kind.starts_with("corella_");
            let is_plain =
                parameter.contains('*') || is_id || ["int", "int64_t", "size_t", "intptr_t", "void"].contains(&kind);
            assert!(is_plain, "{name}: {parameter}");
        }
        assert!(!declaration.contains("..."), "{name} is variadic");
    }
    assert!(counted > 100, "{counted} functions");
    assert_eq!(long, ["corella_rename", "corella_hard_link", "corella_symbolic_link"]);
}
