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
    if vulkan_uuid.is_nil() || cuda_uuid.is_nil() {
        return write!(
            f,
            "\"{vulkan}\" ({vulkan_uuid}) and \"{cuda}\" ({cuda_uuid}) cannot be matched, so nothing can be shared between \
             them: a UUID is all zeros because a layer, or a container's library between the program and its driver, \
             hides it. Remove that (see LD_PRELOAD and /etc/ld.so.preload)"
        );
    }
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
        "\"{cuda}\" ({cuda_uuid}) cannot access memory of \"{vulkan}\" ({vulkan_uuid}): {reason}; to compute on the GPU \
         that draws, use `Compute::new`, which needs it to be visible to CUDA"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn a_uuid_of_zeros_is_explained() {
        let message = |vulkan_uuid, cuda_uuid| {
            Error::DifferentDevices { vulkan: "a".into(), vulkan_uuid, cuda: "b".into(), cuda_uuid }.to_string()
        };
        let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
        assert!(message(one, two).contains("open the CUDA device by the UUID of the Vulkan device"));
        for (vulkan, cuda) in [(Uuid::nil(), two), (one, Uuid::nil())] {
            let hidden = message(vulkan, cuda);
            assert!(hidden.contains("a container's library") && !hidden.contains("different GPUs"), "{hidden}");
        }
    }
}
