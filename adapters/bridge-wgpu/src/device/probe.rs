//! Checks on a new device how wgpu submits, because another version of wgpu may do it differently:
//! whether it calls the functions of [`splice`](super::splice), with which command buffers, and in
//! which of them it records the barriers of `transition_resources`.

use std::cell::RefCell;

use ash::vk;

use super::barriers::{self, Barriers};
use super::splice::Splice;
use crate::error::Result;
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
    match look(splice, (device, queue), name, transition).map_err(|error| error.to_string())? {
        Found::Unseen => Ok(None),
        Found::Expected => Ok(Some(splice.leaving_out())),
        Found::Different(difference) => {
            log::warn!(
                "\"{name}\": this version of wgpu is not known to submit empty command buffers, so all are submitted: \
                 {difference}"
            );
            Ok(Some(splice))
        }
    }
}

/// How wgpu submits.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// Not through the functions of [`splice`](super::splice).
    Unseen,
    /// As [`own_commands`](crate::own_commands) expects.
    Expected,
    /// In another way, or in one that cannot be seen.
    Different(String),
}

/// Submits what `record` records with a buffer and a texture, which no command buffer has used, and
/// a command buffer of this crate.
fn look(
    splice: Splice,
    (device, queue): (&wgpu::Device, &wgpu::Queue),
    name: &str,
    record: impl FnOnce(&mut wgpu::CommandEncoder, &wgpu::Buffer, &wgpu::Texture),
) -> Result<Found> {
    let (commands, own) = raw::record_on(device, name, |commands| commands)?;
    if !splice.saw_begin(own) {
        return Ok(Found::Unseen);
    }
    let (buffer, texture) = match resources(device, name) {
        Ok(resources) => resources,
        // The limits of the device may not allow them.
        Err(error) => return Ok(Found::Different(error.to_string())),
    };
    let given = RefCell::default();
    let (submitted, barriers) = barriers::during(|| {
        let transitions = capture(device, "CommandEncoder::finish", name, || {
            let mut commands = device.create_command_encoder(&Default::default());
            record(&mut commands, &buffer, &texture);
            commands.finish()
        })?;
        let submit = || splice.noting(&given, own, || queue.submit([transitions, commands]));
        capture(device, "Queue::submit", name, submit)
    });
    submitted?;
    Ok(difference(&given.into_inner(), own, &barriers).map_or(Found::Expected, Found::Different))
}

/// Returns a buffer and a texture that can be copied from.
fn resources(device: &wgpu::Device, name: &str) -> Result<(wgpu::Buffer, wgpu::Texture)> {
    let buffer = wgpu::BufferDescriptor {
        label: Some("probe"),
        size: 4,
        usage: wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    };
    let texture = wgpu::TextureDescriptor {
        label: Some("probe"),
        size: wgpu::Extent3d { width: 1, height: 1, depth_or_array_layers: 1 },
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format: wgpu::TextureFormat::Rgba8Unorm,
        usage: wgpu::TextureUsages::COPY_SRC | wgpu::TextureUsages::COPY_DST,
        view_formats: &[],
    };
    let buffer = capture(device, "Device::create_buffer", name, || device.create_buffer(&buffer))?;
    Ok((buffer, capture(device, "Device::create_texture", name, || device.create_texture(&texture))?))
}

/// Records what this crate's own command buffers follow: transitions, each resource once.
fn transition(commands: &mut wgpu::CommandEncoder, buffer: &wgpu::Buffer, texture: &wgpu::Texture) {
    let buffer = wgpu::BufferTransition { buffer, state: wgpu::BufferUses::COPY_SRC };
    let texture = wgpu::TextureTransition { texture, selector: None, state: wgpu::TextureUses::COPY_SRC };
    commands.transition_resources(std::iter::once(buffer), std::iter::once(texture));
}

/// Returns the difference between a submission and what [`own_commands`](crate::own_commands)
/// expects: two command buffers for the transitions, with all barriers in the first, and then
/// two for this crate's. One barrier per resource shows that wgpu does nothing else with the
/// resources, such as clearing them: that would be between two barriers.
fn difference(given: &[vk::CommandBuffer], own: vk::CommandBuffer, barriers: &[Barriers]) -> Option<String> {
    if given.len() != PAIR {
        return Some(format!("it submits {} command buffers in place of {PAIR}", given.len()));
    }
    if given.last() != Some(&own) {
        return Some("it submits another one behind those that were recorded through `wgpu::hal`".to_owned());
    }
    if barriers.iter().any(|barriers| Some(&barriers.commands) != given.first()) {
        return Some("it records barriers of transitions in another command buffer than the first".to_owned());
    }
    let sum = |kind: usize| barriers.iter().map(|barriers| barriers.counts[kind]).sum::<u32>();
    let sums = [0, 1, 2].map(sum);
    (sums != [0, 1, 1])
        .then(|| format!("for a buffer and a texture, it records {sums:?} barriers (global, of buffers, of textures)"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // Tests.
mod tests {
    use super::*;
    use bridge::Backend;

    use crate::device::Bridge;
    use crate::submit::tests::support::{adapter, bridges, logged, validation_messages};

    /// Returns what is found if this is recorded in place of the transitions.
    fn found(record: impl Fn(&mut wgpu::CommandEncoder, &wgpu::Buffer, &wgpu::Texture)) -> Vec<Found> {
        let look = |gpu: Bridge| look(gpu.splice().unwrap(), (gpu.device(), gpu.queue()), "probe", &record).unwrap();
        bridges().map(look).collect()
    }

    #[test]
    fn transitions_are_made_in_a_command_buffer_before() {
        assert!(bridges().all(|gpu| gpu.splice().unwrap().leaves_out()));
        assert!(found(transition).iter().all(|found| *found == Found::Expected));
        assert_eq!(validation_messages(), [""; 0]);
    }

    /// The negative controls: command buffers whose barriers wgpu records elsewhere.
    #[test]
    fn barriers_in_the_commands_are_found() {
        type Transitions = fn(&mut wgpu::CommandEncoder, &wgpu::Buffer, &wgpu::Texture);
        let of_the_buffer: Transitions = |commands, buffer, texture| {
            commands.clear_buffer(buffer, 0, None);
            transition(commands, buffer, texture);
        };
        let of_the_texture: Transitions = |commands, buffer, texture| {
            transition(commands, buffer, texture);
            let state = wgpu::TextureUses::COPY_DST;
            let texture = wgpu::TextureTransition { texture, selector: None, state };
            commands.transition_resources(std::iter::empty(), std::iter::once(texture));
        };
        for record in [of_the_buffer, of_the_texture] {
            let is_elsewhere = |found: &Found| match found {
                Found::Different(difference) => difference.contains("in another command buffer than the first"),
                _ => false,
            };
            let found = found(record);
            assert!(found.iter().all(is_elsewhere), "{found:?}");
        }
        assert_eq!(validation_messages(), [""; 0]);
    }

    #[test]
    fn missing_barriers_and_other_command_buffers_are_found() {
        let nothing = found(|commands, _, _| {
            commands.transition_resources(std::iter::empty(), std::iter::empty());
        });
        let missing = "for a buffer and a texture, it records [0, 0, 0] barriers (global, of buffers, of textures)";
        assert!(nothing.iter().all(|found| *found == Found::Different(missing.to_owned())), "{nothing:?}");

        let raw = |handle: u64| -> vk::CommandBuffer { vk::Handle::from_raw(handle) };
        let barriers = |at, counts| Barriers { commands: raw(at), counts };
        let given = [1, 2, 3, 4].map(raw);
        let seen = |given: &[vk::CommandBuffer], own, at: [u64; 2]| {
            let [buffer, texture] = at;
            difference(given, raw(own), &[barriers(buffer, [0, 1, 0]), barriers(texture, [0, 0, 1])]).is_some()
        };
        assert!(!seen(&given, 4, [1, 1]));
        assert!(seen(&given[1..], 4, [2, 2]) && seen(&given, 3, [1, 1]));
        assert!(seen(&given, 4, [2, 1]) && seen(&given, 4, [1, 2]) && seen(&given, 4, [3, 3]));
        let cleared = [barriers(1, [0, 2, 0]), barriers(1, [0, 0, 1])];
        assert!(difference(&given, raw(4), &cleared).is_some(), "as of a buffer that wgpu clears before");
    }

    /// A device whose limits do not allow the resources is created all the same.
    #[test]
    fn a_device_without_textures_submits_all_command_buffers() {
        let mut descriptor = wgpu::DeviceDescriptor::default();
        descriptor.required_limits.max_texture_dimension_2d = 0;
        let gpu = Bridge::request_device(&adapter(), &descriptor, Backend::Host).unwrap();
        assert!(!gpu.splice().unwrap().leaves_out());
        assert!(logged("this version of wgpu is not known"));
    }

    /// The notes end with the call, also if it panics.
    #[test]
    fn barriers_are_noted_only_during_the_call() {
        let one = Barriers { commands: vk::CommandBuffer::null(), counts: [1, 0, 0] };
        barriers::note(one);
        let ((_, inner), outer) = barriers::during(|| {
            barriers::note(one);
            let _ = std::panic::catch_unwind(|| barriers::during(|| std::panic::resume_unwind(Box::new(()))));
            barriers::during(|| [(); 2].map(|()| barriers::note(one)))
        });
        barriers::note(one);
        assert_eq!((inner, outer), (vec![one; 2], vec![one]));
    }
}
