//! Test support that every package shares and that needs no device.

mod descriptors;
mod orders;
mod skip;

pub use descriptors::open_descriptors;
pub use orders::orders;
pub use skip::{Need, SKIP_LOG, require_gpu, skip, skip_case};
