//! Installing: what it will be is shown, the user is asked if there is one, and then the package
//! manager does it.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::consent::Consent;
use super::packages::{Manager, Need};
use crate::shell;

/// Shows what `needs` would bring, and the `downloads` beside it that stay in the target folder;
/// asks if `consent` says so; installs. In the error: what to type.
pub(crate) fn install(needs: &[Need], downloads: &[&str], consent: Consent) -> Result<()> {
    if needs.is_empty() {
        show_downloads(downloads);
        return consent.confirm("nothing: the download is only for the target folder");
    }
    let advice = Manager::advice(needs);
    let Some(manager) = Manager::of_this_machine() else { bail!(advice) };
    if consent != Consent::Forbidden {
        show(manager, needs);
        show_downloads(downloads);
    }
    consent.confirm(&advice)?;

    let Some(privilege) = Privilege::of_this_user(consent) else {
        bail!("installing needs root, or sudo without a password; run this, then try again:\n    {advice}");
    };
    if manager == Manager::Apt {
        // A repository that does not answer need not be the one that holds these packages.
        if let Err(error) = privilege.refresh_apt_lists() {
            eprintln!("setup: {error:#}; continuing");
        }
    }
    let mut command = privilege.command(manager.program());
    shell::run(command.args(manager.install_arguments(needs))).with_context(|| manager.when_it_fails(needs))
}

fn show(manager: Manager, needs: &[Need]) {
    let packages = manager.packages_of(needs).join(" ");
    let size = size(manager, needs).unwrap_or_else(|| format!("{} knows the size when it runs", manager.program()));
    eprintln!("setup: to be installed with {}: {packages} ({size})", manager.program());
    eprintln!("setup: the command: {}", manager.typed(needs, !is_root()));
    if let Some(warning) = manager.warning() {
        eprintln!("setup: {warning}");
    }
}

fn show_downloads(downloads: &[&str]) {
    downloads.iter().for_each(|download| eprintln!("setup: to be downloaded into the target folder: {download}"));
}

/// What the package manager says that it would fetch; `None` if it does not say so without root and
/// without a network.
fn size(manager: Manager, needs: &[Need]) -> Option<String> {
    let mut command = Command::new(manager.program());
    command.args(manager.size_arguments()?).args(manager.packages_of(needs));
    let output = command.env("LC_ALL", "C").stdin(Stdio::null()).output().ok()?;
    manager.read_size(&String::from_utf8_lossy(&output.stdout))
}

/// Fetches apt's package lists, if this user may.
pub(crate) fn refresh_apt_lists(consent: Consent) -> Result<()> {
    let privilege = Privilege::of_this_user(consent);
    privilege.context("`apt-get update` needs root, or sudo without a password")?.refresh_apt_lists()
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// Way in which this user becomes root.
#[derive(Clone, Copy)]
enum Privilege {
    Root,
    /// Without being asked for anything.
    Sudo,
    /// Has said yes on a terminal, and types the password there.
    SudoOnTerminal,
}

impl Privilege {
    /// Called after the user has agreed: asking sudo is a use of it, too.
    fn of_this_user(consent: Consent) -> Option<Self> {
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
        // Through `env`: sudo drops the variables of its caller. The manager's talk must not end up
        // in the output of the program that is set up for.
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
    fn sudo_is_never_left_to_ask_where_no_one_answers() {
        let words = |privilege: Privilege| shell::shown(privilege.command("tool").arg("install"));
        assert_eq!(words(Privilege::Sudo), "sudo --non-interactive env DEBIAN_FRONTEND=noninteractive tool install");
        assert_eq!(words(Privilege::SudoOnTerminal), "sudo env DEBIAN_FRONTEND=noninteractive tool install");
        assert_eq!(words(Privilege::Root), "env DEBIAN_FRONTEND=noninteractive tool install");
    }
}
