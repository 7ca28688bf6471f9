//! The slots of an exchange: their creation, their first hand-over, and the lender that gives them
//! to the compute side.

pub(in crate::exchange) mod hand_over;
pub(in crate::exchange) mod lender;
pub(in crate::exchange) mod use_ends;

use std::sync::Arc;

use vk_export::ash::vk;
use vk_export::{Queue, QueueKind};

use super::core::Core;
use crate::barriers::Barriers;
use crate::compute::Compute;
use crate::error::{Error, Result};
use crate::resources::{Mappings, Resources, SlotInfo, SlotTypes};

/// Returns the queue of a kind that the device is known to have.
pub(super) fn queue_of(compute: &Compute, kind: QueueKind) -> &Queue {
    let device = compute.device();
    device.queue_of(kind).unwrap_or_else(|| device.queue())
}

/// Checks a description against the queue without creating anything. Returns the stages at which
/// Vulkan uses the resources.
pub(super) fn check_resources<R: Resources>(
    compute: &Compute,
    name: &str,
    queue: QueueKind,
    resources: &R,
) -> Result<vk::PipelineStageFlags2> {
    let invalid = |reason: &str| Error::invalid(format!("exchange \"{name}\""), reason);
    let stages = resources.stages();
    if stages.is_empty() {
        return Err(invalid("it shares nothing that Vulkan uses; give it at least one buffer or image"));
    }
    resources.validate()?;
    let device = compute.device();
    let Some(found) = device.queue_of(queue) else {
        return Err(invalid(&format!("{} has no {queue} queue; use the main one", device.name())));
    };
    compute.side().check_queue(queue, name)?;
    let foreign = found.stages().map(|allowed| stages & !allowed).filter(|stages| !stages.is_empty());
    if let Some(stages) = foreign {
        let reason = match queue {
            QueueKind::Graphics => format!(
                "the main queue, of family {}, does not support {stages:?}; use another queue of the device, such as \
                 `QueueKind::Additional`, or other accesses",
                found.family()
            ),
            _ => format!("a {queue} queue does not support {stages:?}; use the main queue or other accesses"),
        };
        return Err(invalid(&reason));
    }
    Ok(stages)
}

/// Returns the stages of the copies that are part of the hand-over.
pub(super) fn copy_stages(slots: &[Barriers]) -> vk::PipelineStageFlags2 {
    slots.iter().fold(vk::PipelineStageFlags2::NONE, |all, slot| all | slot.copy_stages())
}

/// Slots, and their mappings on the compute side.
pub(super) type NewSlots<R> = (Box<[Arc<<R as SlotTypes>::Slot>]>, Vec<Mappings<R>>);

/// Creates `count` slots. If one fails, the previous ones are freed; nothing has used them.
pub(super) fn create_slots<R: Resources>(core: &Core, count: usize, resources: &R) -> Result<NewSlots<R>> {
    let family = queue_of(&core.compute, core.queue).family();
    let (mut slots, mut mapped) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for index in 0..count {
        let info = SlotInfo { compute: &core.compute, exchange: &core.name, index, family, pool: core.pool.as_ref() };
        let (slot, mapping) = resources.create(&info)?;
        slots.push(Arc::new(slot));
        mapped.push(mapping);
    }
    Ok((slots.into(), mapped))
}

/// Returns the barriers of all resources of a slot.
pub(super) fn barriers<R: Resources>(slot: &R::Slot) -> Barriers {
    let mut barriers = Barriers::default();
    R::add_barriers(slot, &mut barriers);
    barriers
}
