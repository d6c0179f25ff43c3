//! The rule for skips: none happens that `skips.txt` does not name, and in CI exactly those that it names.

use crate::legs::LEGS;
use crate::reports::Ignored;

const COMMITTED: &str = include_str!("../skips.txt");
/// The lack of an ignored test that gives no reason.
const IGNORED: &str = "ignored";

/// A leg or a test that did not run.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Skip {
    /// `leg`, or `leg/test name`.
    pub name: String,
    /// What was missing.
    pub lack: String,
}

impl Skip {
    pub fn of_leg(leg: &str, lack: &str) -> Self {
        Self { name: leg.to_owned(), lack: lack.to_owned() }
    }

    pub fn of_test(leg: &str, test: &Ignored) -> Self {
        let reason = test.reason.as_deref().unwrap_or(IGNORED);
        Self { name: format!("{leg}/{}", test.name), lack: reason.strip_prefix("needs ").unwrap_or(reason).to_owned() }
    }

    /// A test that a closing line counts as ignored and no line names.
    pub fn of_unnamed_test(leg: &str) -> Self {
        Self { name: format!("{leg}/(a test without a name)"), lack: IGNORED.to_owned() }
    }

    fn leg(&self) -> &str {
        self.name.split_once('/').map_or(&self.name, |(leg, _)| leg)
    }
}

/// The committed list.
#[derive(Debug)]
pub struct CommittedSkips {
    /// Lacks that excuse a skip on a developer's machine.
    allowed: Vec<String>,
    /// What CI skips.
    ci: Vec<Skip>,
}

enum Section {
    None,
    Allowed,
    Ci,
}

impl CommittedSkips {
    pub fn load() -> Result<Self, String> {
        Self::parse(COMMITTED)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut list = Self { allowed: Vec::new(), ci: Vec::new() };
        let mut section = Section::None;
        for (index, line) in text.lines().map(str::trim).enumerate() {
            let at = |problem: &str| format!("skips.txt:{}: {problem}: {line}", index + 1);
            match line {
                "[allowed]" => section = Section::Allowed,
                "[ci]" => section = Section::Ci,
                _ if line.is_empty() || line.starts_with('#') => {}
                _ => list.add(&section, line).map_err(at)?,
            }
        }
        Ok(list)
    }

    fn add(&mut self, section: &Section, line: &str) -> Result<(), &'static str> {
        let (entry, reason) = line.split_once(" #").ok_or("an entry without a reason")?;
        if reason.trim().is_empty() {
            return Err("an entry without a reason");
        }
        let entry = entry.trim();
        match section {
            Section::None => Err("an entry outside [allowed] and [ci]"),
            Section::Allowed if entry == IGNORED => Err("would excuse every ignored test"),
            Section::Allowed if entry.contains(": ") => Err("a lack alone belongs here"),
            Section::Allowed => {
                self.allowed.push(entry.to_owned());
                Ok(())
            }
            Section::Ci => {
                let (name, lack) = entry.rsplit_once(": ").ok_or("not `name: lack`")?;
                let skip = Skip { name: name.trim().to_owned(), lack: lack.trim().to_owned() };
                if !LEGS.iter().any(|leg| leg.name == skip.leg()) {
                    return Err("no such leg");
                }
                self.ci.push(skip);
                Ok(())
            }
        }
    }

    /// What is wrong with these skips of these legs, one line each. Nothing if they are permitted.
    pub fn objections(&self, strict: bool, legs: &[&str], skips: &[Skip]) -> Vec<String> {
        // Each committed entry stands for one skip.
        let mut expected: Vec<_> = self.ci.iter().collect();
        expected.retain(|skip| legs.contains(&skip.leg()));
        let mut objections = Vec::new();
        for skip in skips {
            if let Some(index) = expected.iter().position(|entry| *entry == skip) {
                expected.swap_remove(index);
            } else if strict || !self.allowed.contains(&skip.lack) {
                objections.push(format!("not a committed skip: {}: {}", skip.name, skip.lack));
            }
        }
        if strict {
            expected.sort();
            for skip in expected {
                objections.push(format!("committed as skipped, but it ran: {}: {}", skip.name, skip.lack));
            }
        }
        objections
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "
# A comment.
[allowed]
curl  # not everybody has it
[ci]
unit/lane::on_windows: Windows  # CI is Linux
";

    fn skip(name: &str, lack: &str) -> Skip {
        Skip { name: name.to_owned(), lack: lack.to_owned() }
    }

    fn objections(strict: bool, legs: &[&str], skips: &[Skip]) -> Vec<String> {
        let list = CommittedSkips::parse(LIST).expect("the list is well-formed");
        list.objections(strict, legs, skips)
    }

    #[test]
    fn the_committed_list_is_well_formed() {
        CommittedSkips::load().expect("skips.txt is well-formed");
    }

    #[test]
    fn a_skip_that_nobody_committed_fails() {
        let skips = [skip("unit/lane::other", "ignored")];
        let expected = ["not a committed skip: unit/lane::other: ignored"];
        assert_eq!(objections(false, &["unit"], &skips), expected);
    }

    #[test]
    fn an_allowed_lack_excuses_a_skip_on_a_developers_machine_only() {
        let skips = [skip("examples", "curl")];
        assert_eq!(objections(false, &["examples"], &skips), [""; 0]);
        let expected = ["not a committed skip: examples: curl"];
        assert_eq!(objections(true, &["examples"], &skips), expected);
    }

    #[test]
    fn a_skip_that_ci_has_committed_is_permitted_everywhere() {
        let skips = [skip("unit/lane::on_windows", "Windows")];
        assert_eq!(objections(false, &["unit"], &skips), [""; 0]);
        assert_eq!(objections(true, &["unit"], &skips), [""; 0]);
    }

    #[test]
    fn a_committed_skip_with_another_lack_fails() {
        let skips = [skip("unit/lane::on_windows", "ignored")];
        assert_eq!(objections(false, &["unit"], &skips).len(), 1);
    }

    #[test]
    fn one_entry_permits_one_skip() {
        let skips = ["unit/lane::on_windows"; 2].map(|name| skip(name, "Windows"));
        assert_eq!(objections(true, &["unit"], &skips).len(), 1);
    }

    #[test]
    fn ci_fails_over_a_committed_skip_that_did_not_happen() {
        let expected = ["committed as skipped, but it ran: unit/lane::on_windows: Windows"];
        assert_eq!(objections(true, &["unit"], &[]), expected);
        assert_eq!(objections(false, &["unit"], &[]), [""; 0]);
    }

    #[test]
    fn a_committed_skip_of_a_leg_that_was_not_run_is_not_expected() {
        assert_eq!(objections(true, &["format"], &[]), [""; 0]);
    }

    #[test]
    fn an_ignored_test_lacks_what_its_reason_needs() {
        let ignored = |reason: Option<&str>| Ignored { name: "lane::a".to_owned(), reason: reason.map(str::to_owned) };
        let lack = |reason| Skip::of_test("unit", &ignored(reason));
        assert_eq!(lack(Some("needs curl")), skip("unit/lane::a", "curl"));
        assert_eq!(lack(Some("slow")), skip("unit/lane::a", "slow"));
        assert_eq!(lack(None), skip("unit/lane::a", "ignored"));
    }

    #[test]
    fn a_name_may_hold_colons_and_slashes() {
        let text = "[ci]\ndocs/src/lib.rs - a::b (line 3): io_uring  # reason";
        let list = CommittedSkips::parse(text).expect("well-formed");
        assert_eq!(list.ci, [skip("docs/src/lib.rs - a::b (line 3)", "io_uring")]);
    }

    #[test]
    fn a_malformed_entry_is_refused_with_its_line() {
        for (text, problem) in [
            ("curl # reason", "outside"),
            ("[allowed]\ncurl", "without a reason"),
            ("[allowed]\ncurl #", "without a reason"),
            ("[allowed]\nignored # reason", "every ignored test"),
            ("[allowed]\nunit: curl # reason", "a lack alone"),
            ("[ci]\ncurl # reason", "name: lack"),
            ("[ci]\nunits: curl # reason", "no such leg"),
        ] {
            let error = CommittedSkips::parse(text).expect_err(text);
            assert!(error.starts_with("skips.txt:") && error.contains(problem), "{error}");
        }
    }
}
