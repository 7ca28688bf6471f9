//! The other side in another process: what a worker computes, this one draws.
//!
//! The renderer owns the Vulkan device, the slots and the timelines; nothing that it submits depends on the worker. `listener` accepts a
//! worker, `offer` tells it what there is, `link` is the thread that listens to it, `feed` takes its frames over with the writer of an
//! exchange in one process (`exchange/latest/`), whose reader the program has (`reader`).

mod copy;
mod feed;
mod link;
mod listener;
mod offer;
mod reader;
mod status;
mod wake;

pub(crate) mod runs;

pub use listener::{Listener, Remote};
pub use reader::RemoteReader;
