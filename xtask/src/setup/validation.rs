//! A validation layer that is recent enough for the tests.
//!
//! Symptom: with the CPU backend, the layer reports UNASSIGNED-VkSemaphore-state-timeout ten
//! seconds into a wait that has long ended. Cause: old layers (Debian 12 has one of 2023) can lose
//! a host signal of a timeline semaphore in a race. Solution: the layer that Debian builds with
//! Chromium, unpacked into the target folder without installing anything. Remove this when every
//! supported system has at least [`MIN_VERSION`].

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::consent::Consent;
use super::install;
use super::vulkan::{self, Version};
use crate::{digest, shell};

const NAME: &str = "VK_LAYER_KHRONOS_validation";

/// The oldest layer whose reports are reliable.
pub(crate) const MIN_VERSION: Version = Version::new(1, 3, 280);

/// The package that contains a current layer, and the paths in it.
const PACKAGE: &str = "chromium-common";
const LIBRARY: &str = "libVkLayer_khronos_validation.so";
const FOLDER_IN_PACKAGE: &str = "./usr/lib/chromium";
const MANIFEST: &str = "VkLayer_khronos_validation.json";
/// The file next to the two others with the library's digest at the time of the download. The
/// source cannot contain the digest: each system's package holds another build, which apt verifies
/// against its signed lists.
const DIGEST: &str = "SHA256";

/// The state of the validation layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layer {
    /// The loader lists a layer that is recent enough.
    Current(Version),
    /// A layer was unpacked into the target folder.
    Fetched,
    /// The loader lists only a layer that is too old and can report false errors.
    Old(Version),
    /// There is no layer.
    Absent,
}

impl Layer {
    /// Determines the state from the layers that the loader lists.
    pub(crate) fn from_layers(layers: &[vulkan::Layer]) -> Self {
        let listed = layers.iter().filter(|layer| layer.name == NAME).map(|layer| layer.version).max();
        match listed {
            Some(version) if version >= MIN_VERSION => Self::Current(version),
            _ if is_complete(&folder()) => Self::Fetched,
            Some(version) => Self::Old(version),
            None => Self::Absent,
        }
    }
}

/// Returns `VK_LAYER_PATH` for a program that should use the fetched layer: the layer's folder,
/// followed by the user's paths. `None` if the system's layer is recent enough, or none was
/// fetched.
pub(crate) fn layer_path() -> Option<OsString> {
    if Layer::from_layers(&vulkan::layers()) != Layer::Fetched {
        return None;
    }
    let own = env::var_os("VK_LAYER_PATH").filter(|paths| !paths.is_empty());
    // Tests run in the folders of their packages, so a relative path has to be made absolute.
    let own = own.iter().flat_map(env::split_paths).map(|path| shell::resolve_user_path(&path));
    env::join_paths(std::iter::once(folder()).chain(own)).ok()
}

/// The description shown to the user before the download.
pub(super) const DOWNLOAD: &str = "a current validation layer, out of the package chromium-common (about 30 MB)";

/// Returns why the layer cannot be fetched on this system; `None` if a download can be tried.
pub(super) fn fetch_obstacle() -> Option<String> {
    let missing = ["apt-get", "dpkg-deb", "tar"].into_iter().find(|tool| shell::on_path(tool).is_none());
    if let Some(tool) = missing {
        return Some(format!("there is no `{tool}` here; the system's own layer is used"));
    }
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    has_chromium_snap(&release).then(|| {
        format!(
            "Ubuntu has Chromium as a snap and no package {PACKAGE}; the system's own layer is used. A newer one comes \
             with the Vulkan SDK of https://vulkan.lunarg.com, whose folder of layers belongs in VK_LAYER_PATH"
        )
    })
}

/// Returns `true` if Chromium is a snap on the system of this `/etc/os-release`: on Ubuntu, but not
/// on all systems derived from it.
fn has_chromium_snap(release: &str) -> bool {
    release.lines().any(|line| line.trim() == "ID=ubuntu" || line.trim() == "ID=\"ubuntu\"")
}

/// Fetches the layer. This needs no root, unless the system has no package lists yet.
pub(super) fn fetch(consent: Consent) -> Result<()> {
    if !is_known(PACKAGE) {
        // Every Debian-based system lists `base-files`: if it is unknown, there are no package
        // lists yet.
        if is_known("base-files") {
            bail!("this system has no package {PACKAGE}");
        }
        install::refresh_apt_lists(consent)?;
    }
    fs::create_dir_all(shell::target_dir())?;
    // A folder in the target folder, so that the last step is a rename and the final folder is
    // always complete.
    let temporary = tempfile::tempdir_in(shell::target_dir())?;
    eprintln!("setup: fetching a current validation layer, from the package {PACKAGE} (about 30 MB)");
    match download(temporary.path()) {
        // The lists name a release that has been replaced in the meantime.
        Err(error) if error.to_string().contains("404") => {
            install::refresh_apt_lists(consent).context(error)?;
            download(temporary.path())?;
        }
        result => result?,
    }
    let package = first_deb(temporary.path())?;
    unpack(&package, temporary.path())?;

    let fresh = temporary.path().join("layer");
    fs::create_dir(&fresh)?;
    let library = fresh.join(LIBRARY);
    fs::rename(temporary.path().join(FOLDER_IN_PACKAGE).join(LIBRARY), &library)
        .with_context(|| format!("{PACKAGE} does not contain {LIBRARY}"))?;
    // The layer reports its version, which also proves that it loads on this machine.
    let layers = vulkan::layers_in(&library)?;
    let version = layers.iter().find(|layer| layer.name == NAME).map(|layer| layer.version);
    let version = version.with_context(|| format!("{LIBRARY} does not name itself {NAME}"))?;
    fs::write(fresh.join(MANIFEST), manifest(version))?;
    fs::write(fresh.join(DIGEST), digest::of(&library)?)?;
    move_into_place(&fresh, &folder())?;
    eprintln!("setup: validation layer {version} in {}", folder().display());
    Ok(())
}

fn folder() -> PathBuf {
    shell::target_dir().join("validation-layer")
}

/// Returns `true` if the layer is present and unchanged since it was fetched: programs under test
/// will load it.
fn is_complete(folder: &Path) -> bool {
    let manifest = fs::metadata(folder.join(MANIFEST)).is_ok_and(|data| data.len() > 0);
    let sha256 = fs::read_to_string(folder.join(DIGEST));
    manifest && sha256.is_ok_and(|sha256| digest::matches(&folder.join(LIBRARY), sha256.trim()))
}

/// Returns `true` if the package lists contain a source for `package`.
fn is_known(package: &str) -> bool {
    shell::succeeds(Command::new("apt-get").args(["download", "--print-uris", package]))
}

fn download(folder: &Path) -> Result<()> {
    // apt's sandbox user cannot write to this folder; the option has no effect for users other than
    // root.
    let options = ["--quiet=2", "--option", "APT::Sandbox::User=root", "--option", "Acquire::http::Timeout=30"];
    let mut command = Command::new("apt-get");
    command.args(options).args(["download", PACKAGE]).current_dir(folder);
    let output = command.stdin(Stdio::null()).output().context("cannot start apt-get")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` failed: {}", shell::command_line(&command), said.trim());
    }
    Ok(())
}

fn first_deb(folder: &Path) -> Result<PathBuf> {
    let files = fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path()));
    let mut packages = files.filter(|path| path.extension().is_some_and(|extension| extension == "deb"));
    packages.next().with_context(|| format!("apt-get left no package in {}", folder.display()))
}

/// Extracts only the library from the package.
fn unpack(package: &Path, into: &Path) -> Result<()> {
    let mut reader = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(package)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start dpkg-deb")?;
    let archive = reader.stdout.take().context("dpkg-deb has no output")?;
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--directory"]).arg(into).arg(format!("{FOLDER_IN_PACKAGE}/{LIBRARY}")).stdin(archive);
    let taken = tar.status().context("cannot start tar");
    let read = reader.wait()?;
    let taken = taken?;
    if !(taken.success() && read.success()) {
        bail!("{} cannot be unpacked: dpkg-deb {read}, tar {taken}", package.display());
    }
    Ok(())
}

fn manifest(version: Version) -> String {
    // The loader reads the extensions from the manifest: those for messages and for the layer's
    // settings.
    format!(
        r#"{{
    "file_format_version": "1.2.0",
    "layer": {{
        "name": "{NAME}",
        "type": "GLOBAL",
        "library_path": "./{LIBRARY}",
        "api_version": "{version}",
        "implementation_version": "1",
        "description": "Khronos Validation Layer",
        "instance_extensions": [
            {{ "name": "VK_EXT_debug_report", "spec_version": "9" }},
            {{ "name": "VK_EXT_debug_utils", "spec_version": "1" }},
            {{ "name": "VK_EXT_validation_features", "spec_version": "2" }},
            {{ "name": "VK_EXT_layer_settings", "spec_version": "2" }}
        ]
    }}
}}
"#
    )
}

/// Moves a finished folder to its place, unless another run has already put one there.
fn move_into_place(fresh: &Path, place: &Path) -> Result<()> {
    if is_complete(place) {
        return Ok(());
    }
    if place.exists() {
        fs::remove_dir_all(place).with_context(|| format!("cannot replace {}", place.display()))?;
    }
    match fs::rename(fresh, place) {
        Err(_) if is_complete(place) => Ok(()),
        result => result.with_context(|| format!("cannot make {}", place.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(name: &str, version: Version) -> vulkan::Layer {
        vulkan::Layer { name: name.to_owned(), version }
    }

    #[test]
    fn a_recent_system_layer_has_precedence() {
        let recent = Version::new(1, 4, 309);
        let layers = [layer("VK_LAYER_MESA_overlay", recent), layer(NAME, MIN_VERSION), layer(NAME, recent)];
        assert_eq!(Layer::from_layers(&layers), Layer::Current(recent));
        assert_ne!(Layer::from_layers(&layers[..1]), Layer::Current(recent), "another layer's version was taken");
        let old = [layer(NAME, Version::new(1, 3, 239))];
        assert!(matches!(Layer::from_layers(&old), Layer::Old(_) | Layer::Fetched));
    }

    #[test]
    fn a_folder_replaces_an_incomplete_one_but_not_a_complete_one() {
        let temporary = tempfile::tempdir().unwrap();
        let place = temporary.path().join("place");
        let fresh = |text: &str| {
            let folder = temporary.path().join("fresh");
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(LIBRARY), text).unwrap();
            fs::write(folder.join(MANIFEST), text).unwrap();
            fs::write(folder.join(DIGEST), digest::of(&folder.join(LIBRARY)).unwrap()).unwrap();
            folder
        };
        fs::create_dir(&place).unwrap();
        fs::write(place.join(LIBRARY), "").unwrap();
        assert!(!is_complete(&place));
        move_into_place(&fresh("first"), &place).unwrap();
        assert!(is_complete(&place));
        move_into_place(&fresh("second"), &place).unwrap();
        assert_eq!(fs::read_to_string(place.join(LIBRARY)).unwrap(), "first");
        // A changed folder is replaced.
        fs::write(place.join(LIBRARY), "firs!").unwrap();
        assert!(!is_complete(&place));
        move_into_place(&fresh("third"), &place).unwrap();
        assert_eq!(fs::read_to_string(place.join(LIBRARY)).unwrap(), "third");
    }

    #[test]
    fn only_ubuntu_itself_has_chromium_as_a_snap() {
        assert!(has_chromium_snap("NAME=\"Ubuntu\"\nID=ubuntu\nID_LIKE=debian\n"));
        assert!(!has_chromium_snap("NAME=\"Linux Mint\"\nID=linuxmint\nID_LIKE=\"ubuntu debian\"\n"));
        assert!(!has_chromium_snap("ID=debian\n"));
    }

    #[test]
    fn the_manifest_names_the_version_and_the_library_beside_it() {
        let text = manifest(Version::new(1, 4, 328));
        assert!(text.contains(r#""api_version": "1.4.328""#), "{text}");
        assert!(text.contains(r#""library_path": "./libVkLayer"#), "{text}");
        assert_eq!(text.matches('{').count(), text.matches('}').count());
    }
}
