//! Flatpak and Snap: they bring the driver's libraries themselves, and no option of a container
//! helps.

use super::{Advice, advice};
use crate::system::{FLATPAK, SNAP, System};

/// What to do so that the driver's libraries are in the sandbox, if this is one.
pub(super) fn action(system: &System) -> Option<String> {
    let version = system.nvidia_module.as_deref();
    match system.container.as_deref()? {
        FLATPAK => {
            let version = version.map_or_else(|| "VERSION".to_owned(), |version| version.replace('.', "-"));
            Some(format!(
                "install the GL extension of the kernel module's very version, `flatpak install \
                 org.freedesktop.Platform.GL.nvidia-{version}`, and let the program at the GPU with `--device=all`"
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

/// The same as advice.
pub(super) fn advise(system: &System, problem: &str) -> Option<Advice> {
    let kind = system.container.as_deref()?;
    advice(format!("{problem}: {kind} brings its own copy of the driver, or none"), action(system)?)
}
