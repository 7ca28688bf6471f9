//! Installation of packages: shows what will be installed, asks the user if there is a terminal,
//! and runs the package manager.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::consent::Consent;
use super::packages::{Manager, Need};
use crate::shell;

/// Shows the packages for `needs` and the `downloads`, which stay in the target folder; asks if
/// `consent` requires it; installs. The error contains the command to run by hand.
pub(crate) fn install(needs: &[Need], downloads: &[&str], consent: Consent) -> Result<()> {
    if needs.is_empty() {
        show_downloads(downloads);
        return consent.confirm("nothing: the download is only for the target folder");
    }
    let advice = Manager::advice(needs);
    let Some(manager) = Manager::detect() else { bail!(advice) };
    if consent != Consent::Forbidden {
        show(manager, needs);
        show_downloads(downloads);
    }
    consent.confirm(&advice)?;

    let Some(privilege) = Privilege::for_current_user(consent) else {
        bail!("installing needs root, or sudo without a password; run this, then try again:\n    {advice}");
    };
    if manager == Manager::Apt {
        // The repository that does not respond may not be the one with these packages.
        if let Err(error) = privilege.refresh_apt_lists() {
            eprintln!("setup: {error:#}; continuing");
        }
    }
    let mut command = privilege.command(manager.program());
    shell::run(command.args(manager.install_arguments(needs))).with_context(|| manager.failure_advice(needs))
}

fn show(manager: Manager, needs: &[Need]) {
    let packages = manager.packages_of(needs).join(" ");
    let size = size(manager, needs).unwrap_or_else(|| format!("{} knows the size when it runs", manager.program()));
    eprintln!("setup: to be installed with {}: {packages} ({size})", manager.program());
    eprintln!("setup: the command: {}", manager.command_line(needs, !is_root()));
    if let Some(warning) = manager.warning() {
        eprintln!("setup: {warning}");
    }
}

fn show_downloads(downloads: &[&str]) {
    downloads.iter().for_each(|download| eprintln!("setup: to be downloaded into the target folder: {download}"));
}

/// Returns the package manager's estimate of the download size; `None` if it does not report one
/// without root and network access.
fn size(manager: Manager, needs: &[Need]) -> Option<String> {
    let mut command = Command::new(manager.program());
    command.args(manager.size_arguments()?).args(manager.packages_of(needs));
    let output = command.env("LC_ALL", "C").stdin(Stdio::null()).output().ok()?;
    manager.read_size(&String::from_utf8_lossy(&output.stdout))
}

/// Updates apt's package lists, if this user may.
pub(crate) fn refresh_apt_lists(consent: Consent) -> Result<()> {
    let privilege = Privilege::for_current_user(consent);
    privilege.context("`apt-get update` needs root, or sudo without a password")?.refresh_apt_lists()
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// How this user becomes root.
#[derive(Clone, Copy)]
enum Privilege {
    Root,
    /// Sudo without a password.
    Sudo,
    /// Sudo with a password that the user, who has agreed on a terminal, types there.
    SudoOnTerminal,
}

impl Privilege {
    /// Returns this user's way to become root. Called only after the user has agreed, because it
    /// already runs sudo.
    fn for_current_user(consent: Consent) -> Option<Self> {
        if is_root() {
            return Some(Self::Root);
        }
        if shell::succeeds(Command::new("sudo").args(["--non-interactive", "true"])) {
            return Some(Self::Sudo);
        }
        (consent == Consent::Ask && shell::on_path("sudo").is_some()).then_some(Self::SudoOnTerminal)
    }

    fn refresh_apt_lists(self) -> Result<()> {
        shell::run(self.command("apt-get").args(["update", "--quiet=2"]))
    }

    fn command(self, program: &str) -> Command {
        const QUIET: &str = "DEBIAN_FRONTEND=noninteractive";
        let mut command = match self {
            Self::Root => Command::new("env"),
            Self::Sudo | Self::SudoOnTerminal => Command::new("sudo"),
        };
        match self {
            Self::Root => {}
            Self::Sudo => drop(command.args(["--non-interactive", "env"])),
            Self::SudoOnTerminal => drop(command.arg("env")),
        }
        // Runs through `env`, because sudo drops its caller's variables. The manager's output goes
        // to standard error, so that it does not mix with the output of the program that follows
        // the setup.
        command.args([QUIET, program]).stdout(std::io::stderr());
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_started_where_installing_is_forbidden() {
        let error = install(&[Need::Loader], &[], Consent::Forbidden).unwrap_err().to_string();
        assert!(error.contains("turned off") || error.contains("by hand"), "{error}");
        assert!(install(&[], &["a layer"], Consent::Forbidden).is_err());
    }

    #[test]
    fn sudo_never_prompts_without_a_terminal() {
        let words = |privilege: Privilege| shell::command_line(privilege.command("tool").arg("install"));
        assert_eq!(words(Privilege::Sudo), "sudo --non-interactive env DEBIAN_FRONTEND=noninteractive tool install");
        assert_eq!(words(Privilege::SudoOnTerminal), "sudo env DEBIAN_FRONTEND=noninteractive tool install");
        assert_eq!(words(Privilege::Root), "env DEBIAN_FRONTEND=noninteractive tool install");
    }
}
