//! Parts of error messages that depend on the values: causes and advice.

use ash::vk;

pub(super) fn describe_free(free: Option<u64>) -> String {
    free.map_or(String::new(), |free| format!(", {free} of them free"))
}

pub(super) fn describe_max_allocation_size(size: u64, max_allocation_size: u64) -> String {
    if size <= max_allocation_size {
        return String::new();
    }
    format!("; this exceeds maxMemoryAllocationSize ({max_allocation_size} bytes), which the driver may still allow")
}

pub(super) fn software(found: &str) -> &'static str {
    match found {
        "none" => {
            "; a machine without a GPU can use a software driver (Debian, Ubuntu: `apt install mesa-vulkan-drivers`)"
        }
        _ => "",
    }
}

pub(super) fn or_none(names: &[String]) -> String {
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

pub(super) fn advice(call: &str, result: vk::Result) -> &'static str {
    match (call, result) {
        (_, vk::Result::ERROR_OUT_OF_DEVICE_MEMORY) => "; the GPU is full: ask for less, or use fewer slots",
        (_, vk::Result::ERROR_TOO_MANY_OBJECTS) => {
            "; the process holds too many allocations or descriptors: share fewer, larger buffers or raise `ulimit -n`"
        }
        (_, vk::Result::ERROR_DEVICE_LOST) => {
            "; the GPU reset: an earlier submission faulted or ran too long, recreate the device"
        }
        (_, vk::Result::ERROR_INCOMPATIBLE_DRIVER) => {
            "; the loader found no driver that it can load: install one (Debian, Ubuntu: `apt install mesa-vulkan-drivers`, or NVIDIA's \
             driver; in a container, start it with the GPU's graphics capability); `VK_LOADER_DEBUG=all` shows why"
        }
        ("vkCreateInstance" | "vkEnumeratePhysicalDevices", vk::Result::ERROR_INITIALIZATION_FAILED) => {
            "; a driver failed to initialize (in a container it may lack libXext6 or the GPU's device files); `VK_LOADER_DEBUG=all` \
             shows which"
        }
        ("vkCreateDevice", vk::Result::ERROR_INITIALIZATION_FAILED) => {
            "; the driver lists the GPU but cannot use it: another process may hold it exclusively, or it needs a reset; see \
             the kernel's log (`dmesg`)"
        }
        ("vkCreateCuModuleNVX", vk::Result::ERROR_INITIALIZATION_FAILED) => {
            "; the driver refuses the PTX, and the extension gives no log of its compiler: its .version may be newer than the driver, \
             its .target newer than the GPU, or the text is broken: `ptxas` or a load on a CUDA stream says what"
        }
        _ => "",
    }
}
