//! Requirements that a device does not meet, with advice.

use std::ffi::CStr;

use ash::vk;

/// A requirement that a device, or an engine's setup of it, does not meet.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Requirement {
    /// A newer Vulkan version.
    #[error("Vulkan {} (it has {})", version(*needed), version(*found))]
    #[non_exhaustive]
    ApiVersion {
        /// The oldest supported version, packed as Vulkan does.
        needed: u32,
        /// The available version.
        found: u32,
    },
    /// An instance extension.
    #[error("instance extension {0}")]
    InstanceExtension(String),
    /// A device extension.
    #[error("device extension {0}")]
    DeviceExtension(String),
    /// A device extension of [`CUDA_KERNEL_EXTENSIONS`](crate::CUDA_KERNEL_EXTENSIONS).
    #[error("device extension {name} ({})", kernel_advice(*.on_device))]
    #[non_exhaustive]
    CudaKernelExtension {
        /// The extension's name.
        name: String,
        /// `true` if the physical device has it, so that it only needs to be enabled.
        on_device: bool,
    },
    /// An extension that another extension needs.
    #[error("{kind} extension {needed} for {by} (add it to `OpenInfo::{kind}_extensions`)")]
    #[non_exhaustive]
    Dependency {
        /// "instance" or "device".
        kind: &'static str,
        /// The name of the extension that is not enabled.
        needed: String,
        /// The name of the extension that needs it.
        by: String,
    },
    /// A feature, by its name in the specification.
    #[error("feature {0}")]
    Feature(&'static str),
    /// A feature of Vulkan 1.0 that the program requested, by its name in the bindings.
    #[error("feature {0}")]
    CoreFeature(String),
    /// A function of an extension that is listed as enabled.
    #[error("function {0} (is its extension really enabled?)")]
    Function(&'static str),
    /// An instance layer.
    #[error("layer {0} (Debian, Ubuntu: `apt install vulkan-validationlayers`)")]
    Layer(String),
    /// A queue family of a kind.
    #[error("a queue family for {0}")]
    QueueFamily(&'static str),
}

impl Requirement {
    pub(crate) fn device_extension(name: &CStr) -> Self {
        Self::DeviceExtension(name.to_string_lossy().into_owned())
    }
}

/// Returns each requirement as text. Advice that applies to several of them appears only at the
/// last one.
pub(crate) fn to_texts(missing: &[Requirement]) -> Vec<String> {
    let said_later = |index: usize, on_device: bool| {
        let mut later = missing.iter().skip(index + 1);
        later.any(|one| matches!(one, Requirement::CudaKernelExtension { on_device: same, .. } if *same == on_device))
    };
    let words = |(index, one): (usize, &Requirement)| match one {
        Requirement::CudaKernelExtension { name, on_device } if said_later(index, *on_device) => {
            format!("device extension {name}")
        }
        one => one.to_string(),
    };
    missing.iter().enumerate().map(words).collect()
}

fn kernel_advice(on_device: bool) -> &'static str {
    if on_device {
        "it is off: set `OpenInfo::cuda_kernels`, or enable it on the engine's device and name it in \
         `AdoptInfo::device_extensions`, as all of `CUDA_KERNEL_EXTENSIONS`"
    } else {
        "NVIDIA's drivers alone have it; elsewhere kernels are launched on a CUDA stream"
    }
}

/// Returns a packed version as text, without the patch.
pub(crate) fn version(packed: u32) -> String {
    format!("{}.{}", vk::api_version_major(packed), vk::api_version_minor(packed))
}
