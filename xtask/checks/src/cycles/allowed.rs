//! The imports between the modules of a folder that close a cycle and are kept.

use super::folders::Allowed;

/// The allowed imports. Without them, the modules of each folder of the crates form layers, and each
/// imports lower ones only.
pub(super) const ALLOWED: &[Allowed] = &[Allowed {
    file: "crates/cuda-import/src/error/mod.rs",
    module: "crates/cuda-import/src/image",
    reason: "`Error::Image` contains an `ImageProblem`, which names the kinds and formats of images",
}];
