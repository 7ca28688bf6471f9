//! The libraries that are loaded into the process.

use std::collections::BTreeSet;

/// Returns the mapped files of the Vulkan loader and of Mesa's and NVIDIA's drivers. Layers are
/// ignored, because they may be loaded and unloaded.
pub fn vulkan_libraries() -> BTreeSet<String> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let files = maps.lines().filter_map(|line| line.split_whitespace().nth(5));
    let is_of_vulkan = |file: &&str| {
        let named = ["vulkan", "nvidia"].iter().any(|part| file.contains(part));
        named && file.contains(".so") && !file.contains("VkLayer")
    };
    files.filter(is_of_vulkan).map(str::to_owned).collect()
}
