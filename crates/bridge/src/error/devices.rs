//! Messages of errors about the devices of the two sides.

use std::fmt::{self, Formatter};

use vk_export::Uuid;

use crate::adapter::AdapterId;

pub(super) fn different_devices(
    vulkan: &str,
    vulkan_uuid: &Uuid,
    cuda: &str,
    cuda_uuid: &Uuid,
    f: &mut Formatter<'_>,
) -> fmt::Result {
    write!(
        f,
        "\"{vulkan}\" ({vulkan_uuid}) and \"{cuda}\" ({cuda_uuid}) are different GPUs: nothing can be shared between them; open the CUDA device by the UUID of the Vulkan device"
    )
}

pub(super) fn different_adapters(
    vulkan: &str,
    vulkan_adapter: &AdapterId,
    cuda: &str,
    cuda_adapter: &AdapterId,
    f: &mut Formatter<'_>,
) -> fmt::Result {
    write!(
        f,
        "\"{vulkan}\" ({vulkan_adapter}) and \"{cuda}\" ({cuda_adapter}) have the same UUID, but Windows reports different \
         adapters or adapter nodes: nothing can be shared between them"
    )
}

pub(super) fn no_peer(
    vulkan: &str,
    vulkan_uuid: &Uuid,
    cuda: &str,
    cuda_uuid: &Uuid,
    reason: &str,
    f: &mut Formatter<'_>,
) -> fmt::Result {
    write!(
        f,
        "\"{cuda}\" ({cuda_uuid}) cannot access memory of \"{vulkan}\" ({vulkan_uuid}): {reason}; use `Compute::new` to compute \
         on the GPU that renders"
    )
}
