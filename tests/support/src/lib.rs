//! Test support that every package shares and that needs no device.

mod descriptors;
#[cfg(target_os = "linux")]
mod forked;
mod orders;
mod sink;
mod skip;

pub use descriptors::open_descriptors;
#[cfg(target_os = "linux")]
pub use forked::in_a_child;
pub use orders::orders;
pub use sink::Sink;
pub use skip::{Need, SKIP_LOG, require_gpu, skip, skip_case};
