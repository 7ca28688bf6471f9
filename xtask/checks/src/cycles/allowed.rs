//! The imports between top-level modules that close a cycle and are kept.

use super::folders::Allowed;

/// The allowed imports. Without them, the top-level modules of each crate form layers, and each
/// imports lower ones only.
pub(super) const ALLOWED: &[Allowed] = &[Allowed {
    file: "crates/cuda-import/src/error/mod.rs",
    module: "crates/cuda-import/src/image",
    reason: "`Error::Image` contains an `ImageProblem`, which names the kinds and formats of images",
}];
