//! Test support that every package shares and that needs no device.

mod descriptors;
#[cfg(target_os = "linux")]
mod forked;
mod orders;
#[cfg(target_os = "linux")]
mod output;
mod sink;
mod skip;
#[cfg(target_os = "linux")]
mod task;

pub use descriptors::open_descriptors;
#[cfg(target_os = "linux")]
pub use forked::in_a_child;
pub use orders::orders;
#[cfg(target_os = "linux")]
pub use output::check_closed_and_full_output;
pub use sink::Sink;
pub use skip::{Need, SKIP_LOG, require_gpu, skip, skip_case};
#[cfg(target_os = "linux")]
pub use task::Task;
