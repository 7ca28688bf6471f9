//! `cargo xtask setup`: checks for everything that the demo and the tests need, and installs what
//! is missing or reports how to.

pub(crate) mod consent;
pub(crate) mod install;
pub(crate) mod packages;
mod validation;
mod vulkan;

use std::env;
use std::path::Path;

use anyhow::{Result, bail};

use crate::shell;
use consent::Consent;
use packages::{Manager, Need};
use validation::Layer;

pub(crate) use validation::layer_path;
pub(crate) use vulkan::opens;

/// The libraries that winit opens at run time to show a window on X11.
const WINDOW_LIBRARIES: &[&str] =
    &["libX11.so.6", "libX11-xcb.so.1", "libXcursor.so.1", "libXi.so.6", "libxkbcommon-x11.so.0", "libXrandr.so.2"];

/// The purpose of a command, which determines its needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Run a program that draws into memory.
    Headless,
    /// Run a program that opens a window on the existing screen.
    Window,
    /// Run the tests: they need validation, and windows even if there is no screen.
    Tests,
}

/// The result of examining the machine.
struct Found {
    missing: Vec<Need>,
    /// Names of what is present, for the message.
    present: Vec<String>,
    /// `true` if there is an NVIDIA GPU but its Vulkan driver lists no device.
    nvidia_is_silent: bool,
    layer: Layer,
}

/// Makes sure that everything for `scope` is installed, as far as `consent` allows. The error
/// contains what is missing and the command to run.
pub(crate) fn run(scope: Scope, consent: Consent) -> Result<()> {
    if cfg!(all(target_env = "musl", target_feature = "crt-static")) {
        bail!(
            "this program is linked statically and cannot open Vulkan's loader, nor could the demo. Build for the \
             system's C library: RUSTFLAGS=\"-C target-feature=-crt-static\""
        );
    }
    let mut found = look(scope);
    if scope == Scope::Tests && consent != Consent::Forbidden {
        found = with_current_layer(found, consent)?;
    }
    if !found.missing.is_empty() {
        install_missing(&found.missing, &[], consent)?;
        found = look(scope);
        if !found.missing.is_empty() {
            bail!(
                "the packages were installed, but these are still missing: {}. `cargo xtask doctor` says more; are \
                 VK_DRIVER_FILES, VK_ICD_FILENAMES or VK_LAYER_PATH set?",
                names(&found.missing)
            );
        }
    }
    eprintln!("setup: everything is installed: {}", found.present.join(", "));
    if found.nvidia_is_silent {
        eprintln!("setup: an NVIDIA GPU is here, but Vulkan does not list it; `cargo xtask doctor` says why");
    }
    if let (Scope::Tests, Layer::Old(version)) = (scope, found.layer) {
        eprintln!(
            "setup: the validation layer is {version}, older than {}: it may fail a test with \
             UNASSIGNED-VkSemaphore-state-timeout, which is not so",
            validation::MIN_VERSION
        );
    }
    Ok(())
}

/// Fetches the validation layer if the system's layer is old or missing, after everything else,
/// because that installation updates the package lists. If the layer cannot be fetched, the
/// system's layer remains a need.
fn with_current_layer(found: Found, consent: Consent) -> Result<Found> {
    if !matches!(found.layer, Layer::Old(_) | Layer::Absent) {
        return Ok(found);
    }
    if let Some(reason) = validation::fetch_obstacle() {
        eprintln!("setup: no current validation layer is fetched: {reason}");
        return Ok(found);
    }
    let others: Vec<_> = found.missing.into_iter().filter(|need| *need != Need::ValidationLayer).collect();
    if !others.is_empty() {
        install_missing(&others, &[validation::DOWNLOAD], consent)?;
    } else if let Err(error) = install::install(&[], &[validation::DOWNLOAD], consent) {
        if found.layer == Layer::Absent {
            return Err(error.context(format!(
                "no validation layer, and `{}` not run either",
                Manager::advice(&[Need::ValidationLayer])
            )));
        }
        eprintln!("setup: no current validation layer: {error:#}");
        return Ok(look(Scope::Tests));
    }
    if let Err(error) = validation::fetch(consent) {
        eprintln!("setup: no current validation layer: {error:#}");
    }
    Ok(look(Scope::Tests))
}

fn install_missing(missing: &[Need], downloads: &[&str], consent: Consent) -> Result<()> {
    if !cfg!(target_os = "linux") {
        bail!("missing: {}; install the Vulkan SDK from https://vulkan.lunarg.com", names(missing));
    }
    eprintln!("setup: missing: {}", names(missing));
    install::install(missing, downloads, consent)
}

/// Returns the command to run if there is no Vulkan loader; `None` if there is one.
pub(crate) fn advice_without_loader() -> Option<String> {
    let missing = [Need::Loader, Need::SoftwareDevice];
    vulkan::probe().is_none().then(|| Manager::advice(&missing))
}

/// Returns `true` if windows have a screen to appear on.
pub(crate) fn has_screen() -> bool {
    let set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    !cfg!(target_os = "linux") || set("DISPLAY") || set("WAYLAND_DISPLAY")
}

fn names(needs: &[Need]) -> String {
    needs.iter().map(|need| need.name()).collect::<Vec<_>>().join(", ")
}

fn look(scope: Scope) -> Found {
    let linux = cfg!(target_os = "linux");
    let mut missing = Vec::new();
    let mut present = Vec::new();

    let probed = vulkan::probe();
    if probed.is_none() {
        missing.push(Need::Loader);
    }
    let vulkan = probed.unwrap_or_default();
    let layer = Layer::from_layers(&vulkan.layers);
    let nvidia_kernel_driver = Path::new("/dev/nvidiactl").exists();
    let nvidia_is_silent = nvidia_kernel_driver && !vulkan.devices.iter().any(|device| device.nvidia);
    if nvidia_is_silent && !vulkan::opens("libXext.so.6") {
        missing.push(Need::NvidiaLibraries);
    }
    if vulkan.devices.is_empty() {
        missing.push(Need::SoftwareDevice);
    } else {
        present.extend(vulkan.devices.iter().map(|device| device.name.clone()));
    }
    if scope == Scope::Tests {
        note_need(layer != Layer::Absent, Need::ValidationLayer, &mut missing, &mut present);
    }
    if linux && scope != Scope::Headless {
        let all = WINDOW_LIBRARIES.iter().all(|library| vulkan::opens(library));
        note_need(all, Need::WindowLibraries, &mut missing, &mut present);
    }
    if linux && scope == Scope::Tests && !has_screen() {
        note_need(shell::on_path("Xvfb").is_some(), Need::VirtualScreen, &mut missing, &mut present);
    }
    Found { missing, present, nvidia_is_silent, layer }
}

fn note_need(is_present: bool, need: Need, missing: &mut Vec<Need>, present: &mut Vec<String>) {
    if is_present {
        present.push(need.name().to_owned());
    } else {
        missing.push(need);
    }
}
