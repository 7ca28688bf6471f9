//! The other side in another process: what a worker computes, this one draws.
//!
//! The renderer owns the Vulkan device, the slots and the timelines; nothing that it submits
//! depends on the worker. `listener` accepts a worker, `offer` tells it what there is, `link` is
//! the thread of its connection, which then listens to it (`listening`), `feed` takes its frames
//! over with the writer of an exchange in one process (`exchange/latest/`), whose reader the
//! program has (`reader`): `feed/host.rs` copies those of a worker on the CPU, `feed/cuda.rs`
//! publishes slots that a worker has written itself, once its timeline (`timelines`) says that they
//! are whole.

mod control;
mod feed;
mod half;
mod link;
mod listener;
mod listening;
mod offer;
mod reader;
mod status;
#[cfg(test)]
mod test_device;
mod timelines;
mod wake;

pub(crate) mod exported;
pub(crate) mod runs;

pub use listener::{Listener, Remote};
pub use reader::RemoteReader;
