//! Information about the machine that affects the drivers.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::process::Command;
use std::{env, fmt};

use serde::Serialize;

use super::xid::{self, Xid};

/// Information about the machine that affects the drivers.
#[derive(Debug, Clone, Default, Serialize)]
pub struct System {
    /// The distribution, or the kind of operating system.
    pub os: String,
    /// The kernel's release, on Linux.
    pub kernel: Option<String>,
    /// `true` if the system is Windows. Linux features are not checked there.
    pub windows: bool,
    /// The processor's architecture.
    pub architecture: &'static str,
    /// The kind of container, if this appears to be one.
    pub container: Option<String>,
    /// `true` if this is the Windows Subsystem for Linux.
    pub wsl: bool,
    /// The version of NVIDIA's kernel module, if it is loaded.
    pub nvidia_module: Option<String>,
    /// Number of NVIDIA GPUs on the PCI bus, with or without a driver.
    pub nvidia_gpus_on_bus: usize,
    /// The device files of GPUs.
    pub device_files: Vec<DeviceFile>,
    /// Faults of NVIDIA GPUs in the kernel log, if it is readable.
    pub xids: Vec<Xid>,
    /// Environment variables that affect Vulkan, CUDA or the container.
    pub variables: BTreeMap<String, String>,
}

/// The kinds of [containers](System::container) that include their own driver and use none from the
/// host.
pub(super) const FLATPAK: &str = "Flatpak";
pub(super) const SNAP: &str = "Snap";

/// A device file of a GPU.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DeviceFile {
    /// The path of the file.
    pub path: String,
    /// `true` if this user lacks the permission to open it.
    pub closed: bool,
    /// Whether no user can open it here, because the device cgroup of this job or container
    /// excludes it.
    pub withheld: bool,
}

impl DeviceFile {
    /// Derives the state from the result of opening the file.
    fn of(path: String, opened: &io::Result<()>) -> Self {
        /// A device cgroup returns this code, and the file's mode `EACCES`; their `ErrorKind` is
        /// the same.
        const EPERM: i32 = 1;
        let denied = opened.as_ref().err().filter(|error| error.kind() == ErrorKind::PermissionDenied);
        let withheld = denied.is_some_and(|error| error.raw_os_error() == Some(EPERM));
        Self { path, closed: denied.is_some() && !withheld, withheld }
    }
}

/// Variables that affect CUDA, NVIDIA's containers and Vulkan.
const VARIABLES: &[&str] = &[
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "CUDA_DEVICE_ORDER",
    "CUDA_MPS_PIPE_DIRECTORY",
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_DRIVER_CAPABILITIES",
    "NVIDIA_VISIBLE_DEVICES",
    "NODEVICE_SELECT",
    "DISABLE_LAYER_NV_OPTIMUS_1",
    "MESA_VK_DEVICE_SELECT",
    "VK_DRIVER_FILES",
    "VK_ICD_FILENAMES",
    "VK_INSTANCE_LAYERS",
];

/// Prefixes of other variables that affect Vulkan.
const PREFIXES: &[&str] = &["VK_ADD_", "VK_KHRONOS_", "VK_LAYER_", "VK_LOADER_"];

/// Shown instead of the value of an unknown variable with Vulkan's prefix: it may be a secret.
const NOT_SHOWN: &str = "(value not shown)";

/// Returns a variable as the report shows it, if at all.
fn displayed_variable(name: String, value: String) -> Option<(String, String)> {
    if VARIABLES.contains(&name.as_str()) || PREFIXES.iter().any(|start| name.starts_with(start)) {
        return Some((name, value));
    }
    name.starts_with("VK_").then(|| (name, NOT_SHOWN.to_owned()))
}

impl System {
    /// Collects the information.
    pub fn collect() -> Self {
        let mut system = if cfg!(windows) { Self::collect_windows() } else { Self::collect_linux() };
        system.architecture = env::consts::ARCH;
        system.variables.extend(env::vars_os().filter_map(|(name, value)| {
            displayed_variable(name.to_string_lossy().into(), value.to_string_lossy().into())
        }));
        system
    }

    fn collect_windows() -> Self {
        let version = Command::new("cmd").args(["/c", "ver"]).output();
        let version = version.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        let os = version.ok().filter(|text| !text.is_empty()).unwrap_or_else(|| env::consts::OS.to_owned());
        Self { os, windows: true, ..Self::default() }
    }

    fn collect_linux() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let exists = |path: &str| Path::new(path).exists();
        Self {
            os: os_name(&read("/etc/os-release")),
            kernel: Some(read("/proc/sys/kernel/osrelease").trim().to_owned()).filter(|release| !release.is_empty()),
            container: container(exists, |name| env::var(name).ok(), &read("/proc/1/cgroup"), &read("/proc/mounts")),
            wsl: is_wsl(&read("/proc/version"), exists("/dev/dxg")),
            nvidia_module: module_version(&read("/proc/driver/nvidia/version")),
            nvidia_gpus_on_bus: nvidia_gpus_on_bus(),
            device_files: device_files(),
            xids: xid::in_kernel_log(),
            variables: library_path(&env::var_os("LD_LIBRARY_PATH").unwrap_or_default()).into_iter().collect(),
            ..Self::default()
        }
    }

    /// Returns the value of a variable, also if it is set to an empty string.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// Returns `true` if there is a device file with this path.
    pub fn has_device_file(&self, path: &str) -> bool {
        self.device_files.iter().any(|file| file.path == path)
    }

    /// Returns `true` if the machine has an NVIDIA GPU, as far as can be determined without a
    /// driver's library.
    pub fn has_nvidia(&self) -> bool {
        self.nvidia_gpus_on_bus > 0 || self.nvidia_module.is_some() || self.has_device_file("/dev/nvidiactl")
    }
}

impl fmt::Display for DeviceFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match (self.closed, self.withheld) {
            (true, _) => " (closed to this user)",
            (_, true) => " (not given to this job or container)",
            _ => "",
        };
        write!(f, "{}{state}", self.path)
    }
}

fn os_name(os_release: &str) -> String {
    let pretty = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    pretty.map_or_else(|| env::consts::OS.to_owned(), |name| name.trim_matches(['"', '\'']).to_owned())
}

/// Returns the kind of container that this appears to be. With cgroups version 2, often only the
/// type of the root file system indicates a container.
fn container(
    exists: impl Fn(&str) -> bool,
    variable: impl Fn(&str) -> Option<String>,
    cgroup: &str,
    mounts: &str,
) -> Option<String> {
    if exists("/.flatpak-info") {
        return Some(FLATPAK.to_owned());
    }
    if variable("SNAP").is_some() && variable("SNAP_NAME").is_some() {
        return Some(SNAP.to_owned());
    }
    if exists("/.dockerenv") {
        return Some("Docker".to_owned());
    }
    if exists("/run/.containerenv") {
        return Some("Podman".to_owned());
    }
    if variable("KUBERNETES_SERVICE_HOST").is_some() {
        return Some("Kubernetes".to_owned());
    }
    if let Some(kind) = variable("container").filter(|kind| !kind.is_empty()) {
        return Some(kind);
    }
    let by_cgroup = ["docker", "kubepods", "containerd", "libpod", "lxc"].iter().find(|word| cgroup.contains(**word));
    if let Some(word) = by_cgroup {
        return Some((*word).to_owned());
    }
    let root = mounts.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).find(|words| {
        // device, place, type, options
        words.get(1) == Some(&"/")
    });
    root.filter(|words| words.get(2) == Some(&"overlay")).map(|_| "its root is an overlay".to_owned())
}

fn is_wsl(proc_version: &str, has_dxg: bool) -> bool {
    has_dxg || proc_version.to_lowercase().contains("microsoft")
}

/// Returns the version in `NVRM version: NVIDIA UNIX … Kernel Module 580.159.04 …`.
fn module_version(text: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with("NVRM version"))?;
    let is_version = |word: &&str| {
        word.contains('.') && word.split('.').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
    };
    line.split_whitespace().find(is_version).map(str::to_owned)
}

/// Returns the first number of a version.
pub(super) fn major(version: &str) -> Option<u32> {
    version.split('.').next()?.parse().ok()
}

/// Returns the folders in `LD_LIBRARY_PATH` that contain a CUDA driver or Vulkan loader, such as a
/// toolkit's stubs or a compatibility package. Cargo adds many others to it.
fn library_path(value: &OsStr) -> Option<(String, String)> {
    const LIBRARIES: [&str; 3] = ["libcuda.so.1", "libcuda.so", "libvulkan.so.1"];
    let folders =
        env::split_paths(value).filter(|folder| LIBRARIES.iter().any(|library| folder.join(library).exists()));
    let folders: Vec<_> = folders.map(|folder| folder.to_string_lossy().into_owned()).collect();
    (!folders.is_empty()).then(|| ("LD_LIBRARY_PATH".to_owned(), folders.join(":")))
}

fn nvidia_gpus_on_bus() -> usize {
    let Ok(devices) = fs::read_dir("/sys/bus/pci/devices") else { return 0 };
    let is_nvidia_gpu = |folder: &Path| {
        let is = |file: &str, start: &str| fs::read_to_string(folder.join(file)).is_ok_and(|t| t.starts_with(start));
        // Class 3 is a display controller, with or without a connector.
        is("vendor", "0x10de") && is("class", "0x03")
    };
    devices.flatten().filter(|device| is_nvidia_gpu(&device.path())).count()
}

fn device_files() -> Vec<DeviceFile> {
    let mut found = Vec::new();
    for (folder, starts) in [("/dev", &["nvidia", "dxg"][..]), ("/dev/dri", &["renderD"][..])] {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if starts.iter().any(|start| name.starts_with(start)) && !entry.path().is_dir() {
                let opened = OpenOptions::new().read(true).write(true).open(entry.path());
                let path = entry.path().to_string_lossy().into_owned();
                found.push(DeviceFile::of(path, &opened.map(drop)));
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_variables(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn containers_are_recognized_by_their_traces() {
        let no = |_: &str| false;
        assert_eq!(container(|path| path == "/.dockerenv", no_variables, "", "").unwrap(), "Docker");
        assert_eq!(container(|path| path == "/.flatpak-info", |_| Some("flatpak".into()), "", "").unwrap(), FLATPAK);
        assert_eq!(container(no, |name| name.starts_with("SNAP").then(|| "x".into()), "", "").unwrap(), SNAP);
        assert_eq!(container(no, |name| (name == "container").then(|| "lxc".into()), "", "").unwrap(), "lxc");
        assert_eq!(container(no, no_variables, "1:name=/kubepods/burstable/pod1", "").unwrap(), "kubepods");
        let overlay = "proc /proc proc rw 0 0\noverlay / overlay rw,lowerdir=/a 0 0\n";
        assert!(container(no, no_variables, "0::/", overlay).is_some());
        let disk = "/dev/sda1 / ext4 rw 0 0\noverlay /var/lib/docker/overlay2/x overlay rw 0 0\n";
        assert_eq!(container(no, no_variables, "0::/init.scope", disk), None);
    }

    #[cfg(unix)]
    #[test]
    fn a_withheld_file_is_distinguished_from_a_closed_one() {
        let of = |code| {
            let file = DeviceFile::of("/dev/nvidia0".to_owned(), &Err(io::Error::from_raw_os_error(code)));
            (file.closed, file.withheld, file.to_string())
        };
        let (eperm, enxio, eacces) = (1, 6, 13);
        assert_eq!(of(eacces), (true, false, "/dev/nvidia0 (closed to this user)".to_owned()));
        assert_eq!(of(eperm), (false, true, "/dev/nvidia0 (not given to this job or container)".to_owned()));
        assert_eq!(of(enxio), (false, false, "/dev/nvidia0".to_owned()));
    }

    #[test]
    fn wsl_is_recognized_by_its_kernel() {
        assert!(is_wsl("Linux version 5.15.153.1-microsoft-standard-WSL2 (root@1)", false));
        assert!(is_wsl("", true));
        assert!(!is_wsl("Linux version 6.1.0-18-amd64 (debian-kernel@lists.debian.org)", false));
    }

    #[test]
    fn the_modules_version_is_read_from_either_flavour() {
        let closed = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.159.04  Tue Jan  1 00:00:00 UTC 2026\nGCC version: 12.2.0\n";
        let open = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  575.57.08  Release Build  (root@host)\n";
        assert_eq!(module_version(closed).unwrap(), "580.159.04");
        assert_eq!(module_version(open).unwrap(), "575.57.08");
        assert_eq!(major("575.57.08"), Some(575));
        assert_eq!(module_version("GCC version: 12.2.0"), None);
    }

    #[test]
    fn only_library_paths_with_a_driver_are_reported() {
        let folder = tempfile::tempdir().unwrap();
        let (stubs, other) = (folder.path().join("stubs"), folder.path().join("other"));
        fs::create_dir(&stubs).unwrap();
        fs::write(stubs.join("libcuda.so"), "").unwrap();
        let path = env::join_paths([&other, &stubs]).unwrap();
        assert_eq!(library_path(&path).unwrap().1, stubs.to_str().unwrap());
        assert_eq!(library_path(other.as_os_str()), None);
    }

    #[test]
    fn values_of_irrelevant_variables_are_not_shown() {
        let of = |name: &str| displayed_variable(name.to_owned(), "x".to_owned()).map(|(_, value)| value);
        for name in
            ["VK_DRIVER_FILES", "VK_LOADER_DEBUG", "VK_LAYER_PATH", "VK_KHRONOS_VALIDATION_DEBUG_ACTION", "DISPLAY"]
        {
            assert_eq!(of(name).as_deref(), Some("x"), "{name}");
        }
        // VK is a social network as well.
        for name in ["VK_TOKEN", "VK_ACCESS_TOKEN", "VK_DRIVER_FILES_TOKEN"] {
            assert_eq!(of(name).as_deref(), Some(NOT_SHOWN), "{name}");
        }
        assert_eq!(of("HOME"), None);
    }

    #[test]
    fn the_name_of_the_distribution_is_read() {
        assert_eq!(
            os_name("NAME=\"Debian\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n"),
            "Debian GNU/Linux 12 (bookworm)"
        );
        assert_eq!(os_name(""), env::consts::OS);
    }
}
