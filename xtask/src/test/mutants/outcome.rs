//! The outcomes of running mutants.

use std::fmt;
use std::path::Path;
use std::process::ExitStatus;

/// The outcome of running a mutant.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The compiler rejects the mutant with this error.
    Unviable(String),
    Survives,
    /// A test of this program fails.
    Caught(&'static str),
    /// This program breaks a rule of the driver.
    BreaksRules(&'static str),
    /// This program did not end within its time limit.
    Hangs(&'static str),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unviable(error) => write!(f, "does not build ({error})"),
            Self::Survives => f.write_str("survives"),
            Self::Caught(by) => write!(f, "caught by {by}"),
            Self::BreaksRules(by) => write!(f, "caught by a rule that {by} breaks"),
            Self::Hangs(by) => write!(f, "hangs in {by}"),
        }
    }
}

impl Outcome {
    /// Returns the outcome of a program that ran with a time limit; `None` if it passed.
    pub(super) fn of(program: &'static str, status: ExitStatus, breaks_rules: bool) -> Option<Self> {
        // `timeout` exits with 124, or with 137 if it had to kill the program.
        match status.code() {
            Some(0) => breaks_rules.then_some(Self::BreaksRules(program)),
            Some(124 | 137) => Some(Self::Hangs(program)),
            _ => Some(Self::Caught(program)),
        }
    }

    /// Returns `true` if this outcome is more informative: a failing test is more so than a hang.
    pub(super) fn is_more_informative_than(&self, other: &Self) -> bool {
        matches!(other, Self::Hangs(_)) && !matches!(self, Self::Hangs(_))
    }
}

/// Returns the compiler's first error in a file, such as `error[E0308]: mismatched types`. `None`
/// if there is none in that file, so that the build failure is not due to a mutant of it.
pub(super) fn error_in(file: &Path, said: &str) -> Option<String> {
    let place = format!("--> {}:", file.display());
    let mut error = None;
    for line in said.lines() {
        if line.starts_with("error") || line.starts_with("warning") {
            error = line.strip_prefix("error").map(|_| line);
        } else if line.trim_start().starts_with(&place) && error.is_some() {
            return error.map(str::to_owned);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_program_that_is_killed_does_not_count_as_failed() {
        use std::os::unix::process::ExitStatusExt as _;
        let of = |code: i32, rules| Outcome::of("turns", ExitStatus::from_raw(code << 8), rules);
        assert_eq!(of(0, false), None);
        assert_eq!(of(0, true), Some(Outcome::BreaksRules("turns")));
        assert_eq!(of(101, true), Some(Outcome::Caught("turns")));
        assert_eq!([of(124, false), of(137, true)], [Some(Outcome::Hangs("turns")), Some(Outcome::Hangs("turns"))]);
        // The program crashed, and `timeout` ends in the same way.
        assert_eq!(Outcome::of("turns", ExitStatus::from_raw(11), false), Some(Outcome::Caught("turns")));
        assert!(Outcome::Caught("turns").is_more_informative_than(&Outcome::Hangs("turns")));
        assert!(!Outcome::Hangs("turns").is_more_informative_than(&Outcome::Hangs("turns")));
        assert!(!Outcome::Hangs("turns").is_more_informative_than(&Outcome::Caught("turns")));
    }

    #[test]
    fn errors_in_the_mutants_file_are_the_mutants() {
        let said = "   Compiling a v0.1.0\nwarning: unused variable: `x`\n --> a/b.rs:1:1\n\nerror[E0308]: mismatched types\n  \
                    --> a/b.rs:2:5\n   |\nerror: aborting due to 1 previous error\n";
        assert_eq!(error_in(Path::new("a/b.rs"), said).as_deref(), Some("error[E0308]: mismatched types"));
        assert_eq!(error_in(Path::new("a/c.rs"), said), None);
        assert_eq!(error_in(Path::new("a/b.rs"), "warning: unused\n --> a/b.rs:1:1\nerror: no space left\n"), None);
    }
}
