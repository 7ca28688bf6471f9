//! The system's package manager: which one it is, its package names, and the command to type.

use std::path::Path;

use crate::shell;

/// The folder of pacman's package lists.
const PACMAN_LISTS: &str = "/var/lib/pacman/sync";

/// Something a machine may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// `libvulkan.so.1`.
    Loader,
    /// A software device, for a machine whose GPUs have no Vulkan driver.
    SoftwareDevice,
    /// `VK_LAYER_KHRONOS_validation`.
    ValidationLayer,
    /// The X11 client libraries that a window needs.
    WindowLibraries,
    /// `Xvfb`, an X server without a screen, and the library with which tests move its mouse.
    VirtualScreen,
    /// Libraries that NVIDIA's Vulkan driver loads and that server images lack.
    NvidiaLibraries,
    /// Python's package installer.
    Pip,
    /// Python with support for virtual environments.
    Venv,
    /// A compiler and linker for Windows.
    MinGw,
    /// A runtime for Windows programs.
    Wine,
    /// A Debian compiler with the source of its standard library, for systems where rustup provides
    /// no standard library for Windows.
    DebianRust,
}

impl Need {
    /// Returns its name in messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Loader => "Vulkan loader",
            Self::SoftwareDevice => "Vulkan device",
            Self::ValidationLayer => "validation layer",
            Self::WindowLibraries => "X11 libraries",
            Self::VirtualScreen => "Xvfb",
            Self::NvidiaLibraries => "libXext for NVIDIA's driver",
            Self::Pip => "Python's pip",
            Self::Venv => "Python's venv",
            Self::MinGw => "MinGW-w64",
            Self::Wine => "Wine",
            Self::DebianRust => "Debian's Rust",
        }
    }
}

/// A supported package manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manager {
    Apt,
    Dnf,
    Pacman,
    Zypper,
    Apk,
}

impl Manager {
    const ALL: [Self; 5] = [Self::Apt, Self::Dnf, Self::Pacman, Self::Zypper, Self::Apk];

    /// Returns the installed package manager.
    pub(super) fn detect() -> Option<Self> {
        Self::choose(|program| shell::on_path(program).is_some())
    }

    pub(super) fn program(self) -> &'static str {
        match self {
            Self::Apt => "apt-get",
            Self::Dnf => "dnf",
            Self::Pacman => "pacman",
            Self::Zypper => "zypper",
            Self::Apk => "apk",
        }
    }

    /// Returns the first manager for which `exists` returns `true`.
    fn choose(exists: impl Fn(&str) -> bool) -> Option<Self> {
        Self::ALL.into_iter().find(|manager| exists(manager.program()))
    }

    /// Returns the packages that provide `need`.
    fn packages(self, need: Need) -> &'static [&'static str] {
        match (need, self) {
            (Need::Loader, Self::Apt | Self::Zypper) => &["libvulkan1"],
            (Need::Loader, Self::Dnf | Self::Apk) => &["vulkan-loader"],
            (Need::Loader, Self::Pacman) => &["vulkan-icd-loader"],
            (Need::SoftwareDevice, Self::Apt | Self::Dnf) => &["mesa-vulkan-drivers"],
            (Need::SoftwareDevice, Self::Pacman) => &["vulkan-swrast"],
            (Need::SoftwareDevice, Self::Zypper) => &["libvulkan_lvp"],
            (Need::SoftwareDevice, Self::Apk) => &["mesa-vulkan-swrast"],
            (Need::ValidationLayer, Self::Dnf | Self::Pacman | Self::Apk) => &["vulkan-validation-layers"],
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
            (Need::WindowLibraries, Self::Apk) => &["libx11", "libxcursor", "libxi", "libxkbcommon-x11", "libxrandr"],
            (Need::VirtualScreen, Self::Apt) => &["xvfb", "libxtst6"],
            (Need::VirtualScreen, Self::Apk) => &["xvfb", "libxtst"],
            (Need::VirtualScreen, Self::Pacman) => &["xorg-server-xvfb", "libxtst"],
            (Need::VirtualScreen, Self::Dnf) => &["xorg-x11-server-Xvfb", "libXtst"],
            (Need::VirtualScreen, Self::Zypper) => &["xorg-x11-server-Xvfb", "libXtst6"],
            (Need::NvidiaLibraries, Self::Apt) => &["libxext6"],
            (Need::NvidiaLibraries, Self::Dnf) => &["libXext"],
            (Need::NvidiaLibraries, Self::Pacman | Self::Apk) => &["libxext"],
            (Need::NvidiaLibraries, Self::Zypper) => &["libXext6"],
            (Need::Pip, Self::Apt | Self::Dnf | Self::Zypper) => &["python3-pip"],
            (Need::Pip, Self::Pacman) => &["python-pip"],
            (Need::Pip, Self::Apk) => &["py3-pip"],
            (Need::Venv, Self::Apt) => &["python3", "python3-venv"],
            (Need::Venv, Self::Dnf | Self::Zypper | Self::Apk) => &["python3"],
            (Need::Venv, Self::Pacman) => &["python"],
            (Need::MinGw, Self::Apt) => &["gcc-mingw-w64-x86-64-win32"],
            (Need::MinGw, Self::Dnf) => &["mingw64-gcc"],
            (Need::MinGw, Self::Pacman | Self::Apk) => &["mingw-w64-gcc"],
            (Need::MinGw, Self::Zypper) => &["mingw64-cross-gcc"],
            (Need::DebianRust, Self::Apt) => &["cargo-web", "rustc-web", "rust-web-clippy", "rust-web-src"],
            (Need::DebianRust, _) => &[],
            (Need::Wine, Self::Apt) => &["wine64"],
            (Need::Wine, Self::Dnf | Self::Pacman | Self::Zypper | Self::Apk) => &["wine"],
        }
    }

    /// Returns the arguments that install `needs` without a prompt of the package manager.
    pub(super) fn install_arguments(self, needs: &[Need]) -> Vec<&'static str> {
        self.arguments(needs, pacman_has_lists(Path::new(PACMAN_LISTS)))
    }

    fn arguments(self, needs: &[Need], pacman_has_lists: bool) -> Vec<&'static str> {
        let mut arguments = match self {
            Self::Apt => vec!["install", "--yes", "--no-install-recommends"],
            Self::Dnf => vec!["install", "--assumeyes"],
            Self::Pacman if pacman_has_lists => vec!["--sync", "--needed", "--noconfirm"],
            // Updating the lists without upgrading the rest would be a partial upgrade, which can
            // break an Arch system.
            Self::Pacman => vec!["--sync", "--refresh", "--sysupgrade", "--needed", "--noconfirm"],
            Self::Zypper => vec!["--non-interactive", "install", "--no-recommends"],
            Self::Apk => vec!["add", "--update-cache"],
        };
        arguments.extend(self.packages_of(needs));
        arguments
    }

    /// Returns what the user must know before the command runs.
    pub(super) fn warning(self) -> Option<&'static str> {
        (self == Self::Pacman && !pacman_has_lists(Path::new(PACMAN_LISTS)))
            .then_some("pacman has no package lists yet: they are fetched, and the whole system is upgraded with them")
    }

    /// Returns advice for a failed command.
    pub(super) fn failure_advice(self, needs: &[Need]) -> String {
        match self {
            Self::Pacman => format!(
                "if packages were not found, the package lists are old. Fetching lists alone (`pacman -Sy`) would be a \
                 partial upgrade, which can break the system, so it is left to you to upgrade all of it; run this, \
                 then try again:\n    sudo pacman {}",
                self.arguments(needs, false).join(" ").replace(" --noconfirm", "")
            ),
            _ => format!("run this, then try again:\n    {}", self.command_line(needs, true)),
        }
    }

    /// Returns the command to type to install `needs` on this machine.
    pub(crate) fn advice(needs: &[Need]) -> String {
        match Self::detect() {
            Some(manager) => manager.command_line(needs, true),
            None => {
                let names: Vec<_> = needs.iter().map(|need| need.name()).collect();
                format!("install by hand, no known package manager was found: {}", names.join(", "))
            }
        }
    }

    pub(super) fn command_line(self, needs: &[Need], sudo: bool) -> String {
        let sudo = if sudo { "sudo " } else { "" };
        let install = format!("{sudo}{} {}", self.program(), self.install_arguments(needs).join(" "));
        match self {
            Self::Apt => format!("{sudo}apt-get update && {install}"),
            _ => install,
        }
    }

    pub(super) fn packages_of(self, needs: &[Need]) -> Vec<&'static str> {
        needs.iter().flat_map(|&need| self.packages(need)).copied().collect()
    }

    /// Returns arguments that, followed by packages, make the manager report the download and
    /// install nothing.
    pub(super) fn size_arguments(self) -> Option<&'static [&'static str]> {
        match self {
            // `--print-uris` installs nothing. `--assume-no` is unsuitable: if the named packages
            // need no others, apt asks nothing and installs. Without the lock, no root is needed.
            Self::Apt => {
                Some(&["--option", "Debug::NoLocking=1", "--print-uris", "install", "--no-install-recommends"])
            }
            Self::Pacman => Some(&["--sync", "--print", "--print-format", "%s"]),
            Self::Dnf | Self::Zypper | Self::Apk => None,
        }
    }

    /// Extracts the size from the output of such a run.
    pub(super) fn read_size(self, said: &str) -> Option<String> {
        match self {
            Self::Apt => {
                let line = |start: &str| said.lines().find_map(|line| line.strip_prefix(start));
                let fetched = line("Need to get ")?.split(" of archives").next()?;
                let used = line("After this operation, ").and_then(|rest| rest.split(" of additional").next());
                let used = used.map_or(String::new(), |used| format!(", {used} on disk"));
                let packages =
                    said.lines().find_map(|line| line.split_once(" newly installed")?.0.split(' ').next_back());
                let packages =
                    packages.map_or(String::new(), |count| format!("{count} packages with what they need, "));
                Some(format!("{packages}{fetched} to fetch{used}"))
            }
            Self::Pacman => {
                let sizes: Vec<u64> = said.lines().filter_map(|line| line.trim().parse().ok()).collect();
                let megabytes = sizes.iter().sum::<u64>() as f64 / 1e6;
                (!sizes.is_empty())
                    .then(|| format!("{} packages with what they need, {megabytes:.1} MB to fetch", sizes.len()))
            }
            Self::Dnf | Self::Zypper | Self::Apk => None,
        }
    }
}

/// Returns `true` if pacman has package lists. A new container has none.
fn pacman_has_lists(folder: &Path) -> bool {
    let Ok(files) = folder.read_dir() else { return false };
    files.filter_map(Result::ok).any(|file| file.path().extension().is_some_and(|extension| extension == "db"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDS: [Need; 10] = [
        Need::Loader,
        Need::SoftwareDevice,
        Need::ValidationLayer,
        Need::WindowLibraries,
        Need::VirtualScreen,
        Need::NvidiaLibraries,
        Need::Pip,
        Need::Venv,
        Need::MinGw,
        Need::Wine,
    ];

    #[test]
    fn the_installed_manager_is_chosen() {
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
    fn the_printed_command_is_complete() {
        assert_eq!(
            Manager::Apt.command_line(&[Need::Loader, Need::SoftwareDevice], true),
            "sudo apt-get update && sudo apt-get install --yes --no-install-recommends libvulkan1 mesa-vulkan-drivers"
        );
        assert_eq!(
            Manager::Apk.command_line(&[Need::ValidationLayer], false),
            "apk add --update-cache vulkan-validation-layers"
        );
    }

    #[test]
    fn pacman_fetches_lists_only_together_with_an_upgrade() {
        let words = |lists| Manager::Pacman.arguments(&[Need::ValidationLayer], lists).join(" ");
        assert_eq!(words(true), "--sync --needed --noconfirm vulkan-validation-layers");
        assert_eq!(words(false), "--sync --refresh --sysupgrade --needed --noconfirm vulkan-validation-layers");
        let advice = Manager::Pacman.failure_advice(&[Need::ValidationLayer]);
        assert!(advice.contains("sudo pacman --sync --refresh --sysupgrade --needed vulkan-"), "{advice}");
    }

    #[test]
    fn size_queries_are_dry_runs() {
        for manager in Manager::ALL {
            let Some(arguments) = manager.size_arguments() else { continue };
            let dry = ["--print-uris", "--print"];
            assert!(arguments.iter().any(|argument| dry.contains(argument)), "{manager:?}: {arguments:?}");
            assert!(!arguments.iter().any(|argument| argument.starts_with("--assume") || *argument == "--yes"));
        }
    }

    #[test]
    fn sizes_are_read_from_the_managers_output() {
        let apt = "Reading package lists...\n0 upgraded, 23 newly installed, 0 to remove and 4 not upgraded.\n\
                   Need to get 57.1 MB of archives.\nAfter this operation, 222 MB of additional disk space will be used.\n\
                   'http://deb.debian.org/x.deb' x.deb 136540 MD5Sum:c895\n";
        let expected = "23 packages with what they need, 57.1 MB to fetch, 222 MB on disk";
        assert_eq!(Manager::Apt.read_size(apt).as_deref(), Some(expected));
        assert_eq!(Manager::Apt.read_size("E: Unable to locate package libvulkan1\n"), None);
        let pacman = Manager::Pacman.read_size("1500000\n2000000\n");
        assert_eq!(pacman.as_deref(), Some("2 packages with what they need, 3.5 MB to fetch"));
        assert_eq!(Manager::Pacman.read_size("error: database file does not exist\n"), None);
    }

    #[test]
    fn lists_of_pacman_are_files_that_end_in_db() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!pacman_has_lists(&folder.path().join("none")));
        std::fs::write(folder.path().join("core.files"), "").unwrap();
        assert!(!pacman_has_lists(folder.path()));
        std::fs::write(folder.path().join("core.db"), "").unwrap();
        assert!(pacman_has_lists(folder.path()));
    }
}
