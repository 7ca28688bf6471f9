//! How wgpu submits to the queue of a device that was just created, which is seen by what comes to
//! [`splice`](super::splice). Another version of wgpu's may do it differently.

use ash::vk;

use super::splice::Splice;
use crate::own::Own;
use crate::raw;
use crate::scope::capture;

/// Command buffers of Vulkan's that wgpu submits for one with transitions alone, and one that was
/// recorded through `wgpu::hal`: two for each.
const PAIR: usize = 4;

/// Gives the queue as far as wgpu submits to it in the way that is known: `None` where it does not
/// call the function that it was given, so that semaphores are staged. The error is what is to be
/// told.
pub(super) fn probe(
    splice: Splice,
    (device, queue): (&wgpu::Device, &wgpu::Queue),
    name: &str,
) -> Result<Option<Splice>, String> {
    // With it goes what wgpu writes when a device is created.
    let first = || splice.during(&[], &[], &[], || queue.submit([]));
    let (_, answer) = capture(device, "Queue::submit", name, first).map_err(|error| error.to_string())?;
    match answer {
        None => return Ok(None),
        Some(vk::Result::SUCCESS) => {}
        Some(error) => return Err(format!("its first submission failed: {error:?}")),
    }
    let transitions = || {
        let mut commands = device.create_command_encoder(&Default::default());
        commands.transition_resources(std::iter::empty(), std::iter::empty());
        commands.finish()
    };
    let count = || {
        let transitions = capture(device, "CommandEncoder::finish", name, transitions)?;
        let (commands, own) = raw::record_on(device, name, |commands| commands)?;
        let pair = || splice.count(Own::empty(own), || queue.submit([transitions, commands]));
        capture(device, "Queue::submit", name, pair)
    };
    let (_, count) = count().map_err(|error| error.to_string())?;
    if count == PAIR {
        return Ok(Some(splice.leaving_out()));
    }
    log::warn!(
        "\"{name}\": wgpu submits {count} command buffers in place of {PAIR}; those that are empty are submitted"
    );
    Ok(Some(splice))
}
