//! A world to test in.

use bridge::Backend;
use engine_example::script::{Script, World};
use test_support::{Need, skip, skip_case};

/// An engine without systems, on the CPU backend, with the validation layer where it is installed;
/// `None`, with a word about it, where there is no Vulkan.
pub(crate) fn world() -> Option<World> {
    let script = |validate| Script { frames: 0, size: [160, 90], backend: Backend::Host, gpu: None, validate };
    let world = World::new(&script(true), &[]).or_else(|error| {
        if error.to_string().contains("the validation layer is not installed") {
            skip_case(Need::Other, "under the validation layer", &error.to_string());
            return World::new(&script(false), &[]);
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
