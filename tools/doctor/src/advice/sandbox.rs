//! Advice for Flatpak and Snap, which include their own copies of the driver's libraries, so that
//! container options do not help.

use super::{Advice, advice};
use crate::system::{FLATPAK, SNAP, System};

/// Returns how to get the driver's libraries into the sandbox, if this is one.
pub(super) fn action(system: &System) -> Option<String> {
    let version = system.nvidia_module.as_deref();
    match system.container.as_deref()? {
        FLATPAK => {
            let version = version.map_or_else(|| "VERSION".to_owned(), |version| version.replace('.', "-"));
            Some(format!(
                "install the GL extension of exactly the kernel module's version, `flatpak install \
                 org.freedesktop.Platform.GL.nvidia-{version}`, and give the program access to the GPU with \
                 `--device=all`"
            ))
        }
        SNAP => Some(
            "connect the snap to the GPU, `sudo snap connect NAME:opengl`, and to the driver's libraries (content interface \
             `graphics-core22` or `gpu-2404`); or run outside of the snap"
                .to_owned(),
        ),
        _ => None,
    }
}

/// Returns [`action`] as advice for `problem`.
pub(super) fn advise(system: &System, problem: &str) -> Option<Advice> {
    let kind = system.container.as_deref()?;
    advice(format!("{problem}: {kind} brings its own copy of the driver, or none"), action(system)?)
}
