//! The totals of a test run, from libtest's output and the log of skips.

use std::collections::BTreeMap;
use std::fmt;

/// A skipped test, or a skipped case of a test that passed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Skip {
    /// The package and the test program, or [`Skip::IGNORED`].
    pub(super) program: String,
    pub(super) test: String,
    /// The case; empty for a whole test.
    pub(super) case: String,
}

impl Skip {
    /// Used in place of the program: libtest does not print the program of an ignored test.
    const IGNORED: &str = "ignored";
}

/// Formats the skip as in the committed list.
impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.program, self.test)?;
        if self.case.is_empty() { Ok(()) } else { write!(f, ": {}", self.case) }
    }
}

/// The totals of a test run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// The tests that passed. [`take_log`](Self::take_log) subtracts those that were skipped.
    pub(super) passed: usize,
    pub(super) failed: usize,
    /// Each skip, with its reason.
    skipped: BTreeMap<Skip, String>,
    /// The number of ignored tests with a name that was already recorded, because they are in
    /// several programs.
    more_ignored: usize,
}

impl Tally {
    /// Reads a line of libtest's output: `test NAME ... ignored, REASON` or `test result: ok. 3
    /// passed; 0 failed; …`.
    pub(super) fn take_line(&mut self, line: &str) {
        let line = line.trim();
        if let Some(counts) = line.strip_prefix("test result: ") {
            for part in counts.split([';', '.']) {
                let mut words = part.split_whitespace();
                let (Some(number), Some(what)) = (words.next(), words.next()) else {
                    continue;
                };
                let Ok(number) = number.parse::<usize>() else {
                    continue;
                };
                match what {
                    "passed" => self.passed += number,
                    "failed" => self.failed += number,
                    _ => {}
                }
            }
        } else if let Some((name, reason)) = line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... ignored"))
        {
            let reason = reason.strip_prefix(", ").unwrap_or("marked `ignore`");
            let skip = Skip { program: Skip::IGNORED.to_owned(), test: name.to_owned(), case: String::new() };
            if self.skipped.insert(skip, reason.to_owned()).is_some() {
                self.more_ignored += 1;
            }
        }
    }

    /// Reads the log of skips. libtest counts a test that skipped as passed, so it is subtracted
    /// from the passed tests.
    pub(super) fn take_log(&mut self, log: &str) {
        for line in log.lines().filter(|line| !line.trim().is_empty()) {
            let mut parts = line.splitn(4, '\t').map(str::to_owned);
            let mut next = || parts.next().unwrap_or_default();
            let skip = Skip { program: next(), test: next(), case: next() };
            let (whole, reason) = (skip.case.is_empty(), next());
            if self.skipped.insert(skip, reason).is_none() && whole {
                self.passed = self.passed.saturating_sub(1);
            }
        }
    }

    /// Returns all skips.
    pub(super) fn skips(&self) -> impl Iterator<Item = &Skip> {
        self.skipped.keys()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut by_reason = BTreeMap::<&str, Vec<&Skip>>::new();
        for (skip, reason) in &self.skipped {
            by_reason.entry(reason).or_default().push(skip);
        }
        for (reason, skips) in by_reason {
            writeln!(f, "skipped {}: {reason}", skips.len())?;
            for skip in skips {
                writeln!(f, "    {skip}")?;
            }
        }
        let cases = self.skips().filter(|skip| !skip.case.is_empty()).count();
        let tests = self.skipped.len() - cases + self.more_ignored;
        write!(f, "{} passed, {} failed, {tests} skipped", self.passed, self.failed)?;
        if cases > 0 { write!(f, "; {cases} cases of tests that passed were skipped") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_all_binaries_are_summed() {
        let mut tally = Tally::default();
        for line in [
            "running 3 tests",
            "test timeline::rises ... ok",
            "test gpu::soak ... ignored, takes an hour",
            "test src/lib.rs - (line 3) ... ignored",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "test gpu::soak ... ignored, takes an hour",
            "test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 1.20s\n",
        ] {
            tally.take_line(line);
        }
        assert_eq!((tally.passed, tally.failed), (5, 1));
        assert_eq!(
            tally.to_string(),
            "skipped 1: marked `ignore`\n    ignored src/lib.rs - (line 3)\nskipped 1: takes an hour\n    ignored gpu::soak\n\
             5 passed, 1 failed, 3 skipped"
        );
    }

    #[test]
    fn a_skip_is_counted_once_and_not_as_passed() {
        let mut tally = Tally { passed: 4, ..Tally::default() };
        tally.take_log(
            "p/a\tone\t\tno CUDA driver\np/a\tone\t\tno CUDA driver\np/b\tone\t\tno CUDA driver\n\np/b\tthree\n",
        );
        assert_eq!(tally.passed, 1);
        assert_eq!(
            tally.to_string(),
            "skipped 1: \n    p/b three\nskipped 2: no CUDA driver\n    p/a one\n    p/b one\n\
             1 passed, 0 failed, 3 skipped"
        );
    }

    #[test]
    fn a_skipped_case_is_not_subtracted_from_passed_tests() {
        let mut tally = Tally { passed: 4, ..Tally::default() };
        tally.take_log("p/a\tone\ton a transfer queue\tthere is none\np/a\ttwo\t\tthere is none\n");
        assert_eq!(tally.passed, 3);
        assert_eq!(
            tally.to_string(),
            "skipped 2: there is none\n    p/a one: on a transfer queue\n    p/a two\n\
             3 passed, 0 failed, 1 skipped; 1 cases of tests that passed were skipped"
        );
    }
}
