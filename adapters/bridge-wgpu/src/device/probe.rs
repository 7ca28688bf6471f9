//! Checks on a new device how wgpu submits, because another version of wgpu may do it differently:
//! whether it calls the functions of [`splice`](super::splice), and with which command buffers.

use ash::vk;

use super::splice::Splice;
use crate::error::Error;
use crate::own_commands::OwnCommands;
use crate::raw;
use crate::scope::capture;

/// Number of Vulkan command buffers that wgpu submits for a command buffer with transitions only
/// and one that was recorded through `wgpu::hal`: two for each.
const PAIR: usize = 4;

/// Makes test submissions. Returns `None` if wgpu does not call the functions of `splice`;
/// semaphores are then staged. Submissions omit command buffers only if wgpu submits as
/// [`own_commands`](crate::own_commands) expects.
///
/// # Errors
/// The reason as text, for the error of the device's creation.
pub(super) fn probe(
    splice: Splice,
    (device, queue): (&wgpu::Device, &wgpu::Queue),
    name: &str,
) -> Result<Option<Splice>, String> {
    // This submission includes the writes that wgpu makes when it creates a device.
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
        if !splice.saw_begin(own) {
            return Ok(None);
        }
        let pair = || splice.count(OwnCommands::empty(own), || queue.submit([transitions, commands]));
        capture(device, "Queue::submit", name, pair).map(Some)
    };
    let Some((_, count)) = count().map_err(|error: Error| error.to_string())? else { return Ok(None) };
    if count == PAIR {
        return Ok(Some(splice.leaving_out()));
    }
    log::warn!(
        "\"{name}\": wgpu submits {count} command buffers in place of {PAIR}; those that are empty are submitted"
    );
    Ok(Some(splice))
}
