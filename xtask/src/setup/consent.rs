//! Consent to installations: from the user on a terminal, or from options and the environment.

use std::env;
use std::io::{self, BufRead, IsTerminal, Write};

use anyhow::{Result, bail};

/// Environment variable that forbids installing; missing items are then only reported.
const NO_INSTALL: &str = "BRIDGE_NO_INSTALL";

/// Whether this program may install, and whether it has to ask first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Consent {
    /// Nothing is installed, because of `--no-install` or `BRIDGE_NO_INSTALL=1`.
    Forbidden,
    /// There is a terminal: the user is shown the planned installation and asked.
    Ask,
    /// The planned installation is shown and run: `--yes`, CI, or no terminal to ask on.
    Given,
}

impl Consent {
    /// Determines the consent from the command's options and the environment.
    pub(crate) fn from_options(no_install: bool, yes: bool) -> Self {
        let terminal = io::stdin().is_terminal() && io::stderr().is_terminal();
        decide(no_install || is_set(NO_INSTALL), yes || is_set("CI"), terminal)
    }

    /// Determines the consent for a command without these options.
    pub(crate) fn from_environment() -> Self {
        Self::from_options(false, false)
    }

    /// Asks if necessary, after the caller has shown the planned installation. The error contains
    /// `by_hand`, the command to run instead.
    pub(crate) fn confirm(self, by_hand: &str) -> Result<()> {
        match self {
            Self::Given => Ok(()),
            Self::Forbidden => bail!("installing is turned off; run this, then try again:\n    {by_hand}"),
            Self::Ask => {
                eprint!("setup: continue? [Y/n] ");
                io::stderr().flush()?;
                let mut answer = String::new();
                let read = io::stdin().lock().read_line(&mut answer)?;
                if read > 0 && is_yes(&answer) {
                    return Ok(());
                }
                bail!("nothing was installed; by hand, then try again:\n    {by_hand}")
            }
        }
    }
}

fn decide(forbidden: bool, yes: bool, terminal: bool) -> Consent {
    match (forbidden, yes, terminal) {
        (true, ..) => Consent::Forbidden,
        (false, false, true) => Consent::Ask,
        _ => Consent::Given,
    }
}

/// Returns `true` if the environment variable is set and not empty, `0` or `false`.
fn is_set(name: &str) -> bool {
    env::var_os(name).is_some_and(|value| !(value.is_empty() || value == "0" || value == "false"))
}

/// An empty answer means yes, as for apt-get.
fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "" | "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_terminal_is_asked() {
        assert_eq!(decide(false, false, true), Consent::Ask);
        assert_eq!(decide(false, false, false), Consent::Given);
        assert_eq!(decide(false, true, true), Consent::Given);
        for (yes, terminal) in [(false, false), (false, true), (true, false), (true, true)] {
            assert_eq!(decide(true, yes, terminal), Consent::Forbidden);
        }
    }

    #[test]
    fn only_a_yes_is_a_yes() {
        assert!(["\n", "y\n", "Y\r\n", "yes\n"].into_iter().all(is_yes));
        assert!(!["n\n", "no\n", "q\n", "what?\n"].into_iter().any(is_yes));
    }

    #[test]
    fn a_forbidden_install_prints_the_command() {
        let error = Consent::Forbidden.confirm("sudo tool").unwrap_err().to_string();
        assert!(error.contains("turned off") && error.ends_with("sudo tool"), "{error}");
        Consent::Given.confirm("sudo tool").unwrap();
    }
}
