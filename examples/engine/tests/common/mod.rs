//! Engines for tests.

use std::ffi::CStr;

use bridge::Backend;
use bridge::cuda_import::report;
use engine_example::script::{Script, World};
use test_support::{Need, skip, skip_case};

/// The backends to test. A test skips CUDA if it is not available.
pub(crate) const BACKENDS: [Backend; 2] = [Backend::Host, Backend::Cuda];

/// Creates an engine without systems that computes with this backend, with the validation layer if
/// it is installed. Returns `None` and reports the reason if there is no Vulkan or no CUDA.
pub(crate) fn world(backend: Backend) -> Option<World> {
    world_in(&[], backend)
}

/// As [`world`], with the instance extensions of a window.
pub(crate) fn world_in(window: &[&'static CStr], backend: Backend) -> Option<World> {
    if backend == Backend::Cuda
        && let Some(why) = cuda_unavailable_reason()
    {
        skip_case(Need::Gpu, "on cuda", &why);
        return None;
    }
    let script = |validate| Script { frames: 0, size: [160, 90], backend, gpu: None, validate };
    let world = World::new(&script(true), window).or_else(|error| {
        if error.to_string().contains("the validation layer is not installed") {
            skip_case(Need::Other, "under the validation layer", &error.to_string());
            return World::new(&script(false), window);
        }
        Err(error)
    });
    match world {
        Ok(world) => Some(world),
        Err(error) => {
            let error = format!("{error:#}");
            let nothing_here = ["no Vulkan device", "no Vulkan loader", "vkCreateInstance"];
            assert!(nothing_here.iter().any(|known| error.contains(known)), "{error}");
            skip(Need::Other, &error);
            None
        }
    }
}

/// Returns why CUDA is not available. A CUDA device that fails does not count as unavailable.
fn cuda_unavailable_reason() -> Option<String> {
    match report() {
        Ok(found) if found.devices.is_empty() => Some("CUDA has no device".to_owned()),
        Ok(_) => None,
        Err(why) => Some(why.to_string()),
    }
}
