//! The system's package manager: which one, what it calls things, and whether this user may use it.

use std::env;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::shell;

/// Forbids installing; then what is missing is only named.
const NO_INSTALL: &str = "BRIDGE_NO_INSTALL";

/// Something a machine may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// `libvulkan.so.1`.
    Loader,
    /// A device that runs on the processor, for a machine whose GPUs offer none.
    SoftwareDevice,
    /// `VK_LAYER_KHRONOS_validation`.
    ValidationLayer,
    /// What a window needs of X11 on the client's side.
    WindowLibraries,
    /// `Xvfb`: an X server without a screen.
    VirtualScreen,
    /// What NVIDIA's Vulkan driver loads, and server images leave out.
    NvidiaLibraries,
    /// Python's package installer.
    Pip,
    /// Compiler and linker for Windows.
    MinGw,
    /// Runs programs for Windows.
    Wine,
    /// A compiler of Debian's with the source of its standard library, where rustup brings no library for Windows.
    DebianRust,
}

impl Need {
    /// What a message calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Loader => "Vulkan loader",
            Self::SoftwareDevice => "Vulkan device",
            Self::ValidationLayer => "validation layer",
            Self::WindowLibraries => "X11 libraries",
            Self::VirtualScreen => "Xvfb",
            Self::NvidiaLibraries => "libXext for NVIDIA's driver",
            Self::Pip => "Python's pip",
            Self::MinGw => "MinGW-w64",
            Self::Wine => "Wine",
            Self::DebianRust => "Debian's Rust",
        }
    }
}

/// A package manager this program can speak to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manager {
    Apt,
    Dnf,
    Pacman,
    Zypper,
}

impl Manager {
    const ALL: [Self; 4] = [Self::Apt, Self::Dnf, Self::Pacman, Self::Zypper];

    fn program(self) -> &'static str {
        match self {
            Self::Apt => "apt-get",
            Self::Dnf => "dnf",
            Self::Pacman => "pacman",
            Self::Zypper => "zypper",
        }
    }

    /// The first manager for which `exists` says yes.
    fn choose(exists: impl Fn(&str) -> bool) -> Option<Self> {
        Self::ALL.into_iter().find(|manager| exists(manager.program()))
    }

    /// The packages that bring `need`.
    fn packages(self, need: Need) -> &'static [&'static str] {
        match (need, self) {
            (Need::Loader, Self::Apt | Self::Zypper) => &["libvulkan1"],
            (Need::Loader, Self::Dnf) => &["vulkan-loader"],
            (Need::Loader, Self::Pacman) => &["vulkan-icd-loader"],
            (Need::SoftwareDevice, Self::Apt | Self::Dnf) => &["mesa-vulkan-drivers"],
            (Need::SoftwareDevice, Self::Pacman) => &["vulkan-swrast"],
            (Need::SoftwareDevice, Self::Zypper) => &["libvulkan_lvp"],
            (Need::ValidationLayer, Self::Dnf | Self::Pacman) => &["vulkan-validation-layers"],
            (Need::ValidationLayer, Self::Apt | Self::Zypper) => &["vulkan-validationlayers"],
            (Need::WindowLibraries, Self::Apt) => {
                &["libx11-6", "libx11-xcb1", "libxcursor1", "libxi6", "libxkbcommon-x11-0", "libxrandr2"]
            }
            (Need::WindowLibraries, Self::Dnf) => {
                &["libX11", "libX11-xcb", "libXcursor", "libXi", "libxkbcommon-x11", "libXrandr"]
            }
            (Need::WindowLibraries, Self::Pacman) => {
                &["libx11", "libxcursor", "libxi", "libxkbcommon-x11", "libxrandr"]
            }
            (Need::WindowLibraries, Self::Zypper) => {
                &["libX11-6", "libX11-xcb1", "libXcursor1", "libXi6", "libxkbcommon-x11-0", "libXrandr2"]
            }
            (Need::VirtualScreen, Self::Apt) => &["xvfb"],
            (Need::VirtualScreen, Self::Pacman) => &["xorg-server-xvfb"],
            (Need::VirtualScreen, Self::Dnf | Self::Zypper) => &["xorg-x11-server-Xvfb"],
            (Need::NvidiaLibraries, Self::Apt) => &["libxext6"],
            (Need::NvidiaLibraries, Self::Dnf) => &["libXext"],
            (Need::NvidiaLibraries, Self::Pacman) => &["libxext"],
            (Need::NvidiaLibraries, Self::Zypper) => &["libXext6"],
            (Need::Pip, Self::Apt | Self::Dnf | Self::Zypper) => &["python3-pip"],
            (Need::Pip, Self::Pacman) => &["python-pip"],
            (Need::MinGw, Self::Apt) => &["gcc-mingw-w64-x86-64-win32"],
            (Need::MinGw, Self::Dnf) => &["mingw64-gcc"],
            (Need::MinGw, Self::Pacman) => &["mingw-w64-gcc"],
            (Need::MinGw, Self::Zypper) => &["mingw64-cross-gcc"],
            (Need::DebianRust, Self::Apt) => &["cargo-web", "rustc-web", "rust-web-clippy", "rust-web-src"],
            (Need::DebianRust, _) => &[],
            (Need::Wine, Self::Apt) => &["wine64"],
            (Need::Wine, Self::Dnf | Self::Pacman | Self::Zypper) => &["wine"],
        }
    }

    /// The arguments that install `needs`, without a question.
    fn install_arguments(self, needs: &[Need]) -> Vec<&'static str> {
        let mut arguments = match self {
            Self::Apt => vec!["install", "--yes", "--no-install-recommends"],
            Self::Dnf => vec!["install", "--assumeyes"],
            Self::Pacman => vec!["--sync", "--needed", "--noconfirm"],
            Self::Zypper => vec!["--non-interactive", "install", "--no-recommends"],
        };
        arguments.extend(needs.iter().flat_map(|&need| self.packages(need)));
        arguments
    }

    /// What a person types to install `needs`, on whatever this machine is.
    pub(crate) fn advice(needs: &[Need]) -> String {
        match Self::choose(|program| shell::on_path(program).is_some()) {
            Some(manager) => manager.typed(needs),
            None => {
                let names: Vec<_> = needs.iter().map(|need| need.name()).collect();
                format!("install by hand, no known package manager was found: {}", names.join(", "))
            }
        }
    }

    fn typed(self, needs: &[Need]) -> String {
        let install = format!("sudo {} {}", self.program(), self.install_arguments(needs).join(" "));
        match self {
            Self::Apt => format!("sudo apt-get update && {install}"),
            _ => install,
        }
    }

    /// Installs `needs`, if there is a manager and this user may; else, or if not `allowed`, the error says what to
    /// type.
    pub(crate) fn install(needs: &[Need], allowed: bool) -> Result<()> {
        let advice = || format!("run this, then try again:\n    {}", Self::advice(needs));
        let Some(manager) = Self::choose(|program| shell::on_path(program).is_some()) else {
            bail!(Self::advice(needs));
        };
        if !(allowed && may_install()) {
            bail!("installing is turned off; {}", advice());
        }
        let Some(privilege) = Privilege::of_this_user() else {
            bail!("installing needs root, or sudo without a password; {}", advice());
        };
        let arguments = manager.install_arguments(needs);
        eprintln!("setup: installing {}", manager.packages_of(needs).join(" "));
        if manager == Self::Apt {
            // A repository that does not answer need not be the one that holds these packages.
            if let Err(error) = privilege.refresh_apt_lists() {
                eprintln!("setup: {error:#}; going on");
            }
        }
        shell::run(privilege.command(manager.program()).args(arguments)).with_context(advice)
    }

    fn packages_of(self, needs: &[Need]) -> Vec<&'static str> {
        needs.iter().flat_map(|&need| self.packages(need)).copied().collect()
    }
}

/// Whether the user lets this program install anything.
pub(crate) fn may_install() -> bool {
    env::var_os(NO_INSTALL).is_none_or(|value| value.is_empty() || value == "0")
}

/// Fetches apt's package lists, if this user may.
pub(crate) fn refresh_apt_lists() -> Result<()> {
    let privilege = Privilege::of_this_user();
    privilege.context("`apt-get update` needs root, or sudo without a password")?.refresh_apt_lists()
}

/// How this user becomes root without being asked for anything.
#[derive(Clone, Copy)]
enum Privilege {
    Root,
    Sudo,
}

impl Privilege {
    fn of_this_user() -> Option<Self> {
        let id = Command::new("id").arg("-u").output().ok()?;
        if id.stdout.trim_ascii() == b"0" {
            return Some(Self::Root);
        }
        shell::succeeds(Command::new("sudo").args(["--non-interactive", "true"])).then_some(Self::Sudo)
    }

    fn refresh_apt_lists(self) -> Result<()> {
        shell::run(self.command("apt-get").args(["update", "--quiet=2"]))
    }

    fn command(self, program: &str) -> Command {
        const QUIET: &str = "DEBIAN_FRONTEND=noninteractive";
        let mut command = match self {
            Self::Root => Command::new("env"),
            Self::Sudo => {
                let mut sudo = Command::new("sudo");
                sudo.args(["--non-interactive", "env"]);
                sudo
            }
        };
        // Through `env`: sudo drops the variables of its caller. The manager's talk must not end up in the output of
        // the program that is set up for.
        command.args([QUIET, program]).stdout(std::io::stderr());
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDS: [Need; 9] = [
        Need::Loader,
        Need::SoftwareDevice,
        Need::ValidationLayer,
        Need::WindowLibraries,
        Need::VirtualScreen,
        Need::NvidiaLibraries,
        Need::Pip,
        Need::MinGw,
        Need::Wine,
    ];

    #[test]
    fn the_manager_is_the_one_that_exists() {
        assert_eq!(Manager::choose(|program| program == "pacman"), Some(Manager::Pacman));
        assert_eq!(Manager::choose(|program| program == "dnf"), Some(Manager::Dnf));
        assert_eq!(Manager::choose(|_| true), Some(Manager::Apt));
        assert_eq!(Manager::choose(|_| false), None);
    }

    #[test]
    fn every_manager_names_a_package_for_every_need() {
        for manager in Manager::ALL {
            for need in NEEDS {
                assert!(!manager.packages(need).is_empty(), "{manager:?} {need:?}");
            }
        }
    }

    #[test]
    fn the_command_to_type_is_whole() {
        assert_eq!(
            Manager::Apt.typed(&[Need::Loader, Need::SoftwareDevice]),
            "sudo apt-get update && sudo apt-get install --yes --no-install-recommends libvulkan1 mesa-vulkan-drivers"
        );
        assert_eq!(
            Manager::Pacman.typed(&[Need::ValidationLayer]),
            "sudo pacman --sync --needed --noconfirm vulkan-validation-layers"
        );
    }
}
