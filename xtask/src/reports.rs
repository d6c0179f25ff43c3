//! Reads what test binaries print: the lines of libtest (unit, integration and documentation tests) and those of
//! libtest-mimic, which differ only in how an ignored test is aligned and gives its reason.

/// Longer lines are nobody's report, and are not kept.
const LINE_SIZE_MAX: usize = 64 * 1024;

/// Of what a failed test said, so many lines are told again at the end.
const WORDS_LINES_MAX: usize = 12;

/// The sum over all test binaries of a command.
#[derive(Default, Debug)]
pub struct Reports {
    pub passed: u64,
    pub failed: u64,
    /// Those that failed.
    pub failures: Vec<Failure>,
    /// As the closing lines count them.
    pub ignored_count: u64,
    /// As their own lines name them.
    pub ignored: Vec<Ignored>,
    /// Binaries that said how many tests they run, and have not yet closed.
    pub unclosed_count: u64,
    /// The test whose words are being told.
    speaker: Option<String>,
    line: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// As its own line gives it.
    pub name: String,
    /// The first lines of what it said.
    pub words: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ignored {
    pub name: String,
    pub reason: Option<String>,
}

#[derive(PartialEq, Eq, Debug)]
struct Closing {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Reports {
    /// Takes the next piece of output, which may end anywhere.
    pub fn take(&mut self, chunk: &[u8]) {
        for piece in chunk.split_inclusive(|byte| *byte == b'\n') {
            if self.line.len() + piece.len() <= LINE_SIZE_MAX {
                self.line.extend_from_slice(piece);
            }
            if piece.ends_with(b"\n") {
                self.end_line();
            }
        }
    }

    /// Takes a last line without its end into account.
    pub fn finish(&mut self) {
        self.end_line();
    }

    fn end_line(&mut self) {
        let bytes = std::mem::take(&mut self.line);
        let line = without_colors(&String::from_utf8_lossy(&bytes));
        let line = line.trim_end();
        if is_opening(line) {
            self.unclosed_count += 1;
        } else if let Some(closing) = parse_closing(line) {
            self.passed += closing.passed;
            self.failed += closing.failed;
            self.ignored_count += closing.ignored;
            self.unclosed_count = self.unclosed_count.saturating_sub(1);
        } else if let Some(ignored) = parse_ignored(line) {
            self.ignored.push(ignored);
        } else if let Some(name) = parse_failure(line) {
            self.failures.push(Failure { name, words: Vec::new() });
        } else if let Some(name) = parse_speaker(line) {
            self.speaker = Some(name);
        } else if line == "failures:" {
            self.speaker = None;
        } else if !line.is_empty() {
            self.hear(line);
        }
    }

    /// Keeps a line of a failed test's.
    fn hear(&mut self, line: &str) {
        let Some(speaker) = &self.speaker else { return };
        let failure = self.failures.iter_mut().rev().find(|failure| failure.name == *speaker);
        if let Some(failure) = failure.filter(|failure| failure.words.len() < WORDS_LINES_MAX) {
            failure.words.push(line.to_owned());
        }
    }
}

/// `running 12 tests`
fn is_opening(line: &str) -> bool {
    let count =
        line.strip_prefix("running ").and_then(|rest| rest.strip_suffix(" tests").or(rest.strip_suffix(" test")));
    count.is_some_and(|count| count.parse::<u64>().is_ok())
}

/// `test result: ok. 12 passed; 0 failed; 3 ignored; 0 measured; 0 filtered out; finished in 0.10s`
fn parse_closing(line: &str) -> Option<Closing> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let count_of = |word: &str| {
        counts.split("; ").find_map(|count| {
            let (number, name) = count.split_once(' ')?;
            (name == word).then(|| number.parse().ok())?
        })
    };
    Some(Closing { passed: count_of("passed")?, failed: count_of("failed")?, ignored: count_of("ignored")? })
}

/// `test NAME ... ignored`, with `, REASON` (libtest) or ` (REASON)` (libtest-mimic) after it.
fn parse_ignored(line: &str) -> Option<Ignored> {
    let (name, rest) = line.strip_prefix("test ")?.split_once(" ... ignored")?;
    let reason = if rest.is_empty() {
        None
    } else if let Some(reason) = rest.strip_prefix(", ") {
        Some(reason.to_owned())
    } else {
        Some(rest.strip_prefix(" (")?.strip_suffix(')')?.to_owned())
    };
    Some(Ignored { name: single_spaced(name), reason })
}

/// `test NAME ... FAILED`
fn parse_failure(line: &str) -> Option<String> {
    line.strip_prefix("test ")?.strip_suffix(" ... FAILED").map(single_spaced)
}

/// `---- NAME stdout ----` (libtest) or `---- NAME ----` (libtest-mimic): what it said follows.
fn parse_speaker(line: &str) -> Option<String> {
    let name = line.strip_prefix("---- ")?.strip_suffix(" ----")?;
    Some(single_spaced(name.strip_suffix(" stdout").unwrap_or(name)))
}

/// A name without the spaces that align what follows it.
fn single_spaced(name: &str) -> String {
    name.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The text without its escape sequences `ESC [ … letter`.
fn without_colors(text: &str) -> String {
    let mut pieces = text.split("\x1b[");
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let end = piece.find(|c: char| c.is_ascii_alphabetic());
        plain.push_str(end.map_or("", |end| &piece[end + 1..]));
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reports(output: &str) -> Reports {
        let mut reports = Reports::default();
        reports.take(output.as_bytes());
        reports.finish();
        reports
    }

    fn ignored(name: &str, reason: Option<&str>) -> Ignored {
        Ignored { name: name.to_owned(), reason: reason.map(str::to_owned) }
    }

    const TWO_BINARIES: &str = "
running 3 tests
test lane::a_close_waits ... ok
test lane::a_write_is_whole ... FAILED
test lane::on_another_system ... ignored

test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.10s

running 1 test
test buffer::it_comes_back ... ok

test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

    #[test]
    fn closing_lines_sum_over_binaries() {
        let reports = reports(TWO_BINARIES);
        assert_eq!((reports.passed, reports.failed), (2, 1));
        assert_eq!(reports.failures[0].name, "lane::a_write_is_whole");
        assert_eq!(reports.ignored_count, 1);
        assert_eq!(reports.ignored, [ignored("lane::on_another_system", None)]);
        assert_eq!(reports.unclosed_count, 0);
    }

    #[test]
    fn what_a_failed_test_said_is_kept_with_it() {
        let said = |heading: &str| {
            let output = format!(
                "test a::b    ... FAILED\ntest c ... FAILED\n\nfailures:\n\n{heading}\nfirst\n\n second\n\n---- c ----\n{}\n\n\
                 failures:\n    a::b\n    c\n\ntest result: FAILED. 0 passed; 2 failed; 0 ignored\nunrelated\n",
                "more\n".repeat(99)
            );
            reports(&output).failures
        };
        for heading in ["---- a::b ----", "---- a::b stdout ----"] {
            let failures = said(heading);
            assert_eq!((&*failures[0].name, &*failures[0].words), ("a::b", &["first".into(), " second".into()][..]));
            assert_eq!(failures[1].words, vec!["more"; WORDS_LINES_MAX]);
        }
    }

    #[test]
    fn output_may_be_cut_anywhere() {
        let mut reports = Reports::default();
        for byte in TWO_BINARIES.as_bytes() {
            reports.take(std::slice::from_ref(byte));
        }
        assert_eq!((reports.passed, reports.failed), (2, 1));
    }

    #[test]
    fn a_last_line_without_its_end_counts() {
        assert_eq!(reports(TWO_BINARIES.trim_end()).passed, 2);
    }

    #[test]
    fn colors_do_not_hide_a_closing_line() {
        let output = "test result: \x1b[32mok\x1b[0m. 4 passed; 0 failed; 0 ignored; 0 measured\n";
        assert_eq!(reports(output).passed, 4);
    }

    #[test]
    fn a_binary_that_stops_before_its_closing_line_is_noticed() {
        let output = "running 2 tests\ntest a ... ok\n";
        assert_eq!(reports(output).unclosed_count, 1);
    }

    #[test]
    fn an_ignored_test_is_named_with_its_reason() {
        for (line, expected) in [
            ("test a::b ... ignored", ignored("a::b", None)),
            ("test a::b ... ignored, needs curl", ignored("a::b", Some("needs curl"))),
            ("test a::b     ... ignored (needs curl)", ignored("a::b", Some("needs curl"))),
            ("test [uring]    a   ... ignored", ignored("[uring] a", None)),
            (
                "test crates/corella/src/lib.rs - Io (line 12) ... ignored",
                ignored("crates/corella/src/lib.rs - Io (line 12)", None),
            ),
        ] {
            assert_eq!(reports(line).ignored, [expected], "{line}");
        }
    }

    #[test]
    fn lines_that_only_resemble_a_report_do_not_count() {
        for line in [
            "test result: ok. 12 passed",
            "test result: ok. many passed; 0 failed; 0 ignored",
            "the test result: ok. 1 passed; 0 failed; 0 ignored",
            "test ignored::by_name ... ok",
            "running wild tests",
        ] {
            let reports = reports(line);
            assert_eq!((reports.passed, reports.unclosed_count), (0, 0), "{line}");
            assert_eq!(reports.ignored, [], "{line}");
        }
    }

    #[test]
    fn a_line_without_end_is_not_kept() {
        let mut reports = Reports::default();
        for _ in 0..100 {
            reports.take(&[b'x'; 8 * 1024]);
        }
        assert!(reports.line.len() <= LINE_SIZE_MAX);
    }
}
