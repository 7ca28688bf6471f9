//! The other side in another process: what a worker computes, this one draws, or the other way
//! round.
//!
//! The renderer owns the Vulkan device, the slots and the timelines; nothing that it submits
//! depends on the worker, unless it is trusted. `listener` accepts a worker (`accepted`), `offer`
//! tells it the `terms` of the exchange and gives it `memory`, `link` is the thread of its
//! connection, which then listens to it (`listening`). What is done with frames is a `part`, which
//! has a handle of an exchange in one process (`exchange/latest/`) on behalf of the worker; the
//! program has the other handle, and `workers` are replaced behind both.
//!
//! - Workers that write: `feed` has the exchange's writer, and the program the `reader`.
//!   `feed/host.rs` copies the frames of a worker on the CPU, `feed/cuda.rs` publishes slots that a
//!   worker has written itself, once its timeline (`timelines`) says that they are whole.
//! - Workers that read: `serve` has the exchange's reader, and the program the `writer`.
//!   `serve/host.rs` copies finished frames for a worker on the CPU, `serve/cuda.rs` gives slots to
//!   a worker, and takes those back that its timeline says it has finished with.
//! - Workers in step, where both sides allow it: `step` announces frames of workers that write, and
//!   the program has the `exchange`; `draw` gives frames to workers that read, and the program has
//!   the `exchange_writer`. Both signal for workers that are gone (`enforce` sees to it that what
//!   is announced, which `owed` counts, comes). Here commands do wait for the worker.

mod accepted;
mod control;
mod copy;
mod draw;
mod enforce;
mod exchange;
mod exchange_writer;
mod feed;
mod half;
mod link;
mod listener;
mod listening;
mod memory;
mod offer;
mod outlive;
mod owed;
mod part;
mod reader;
mod serve;
mod status;
mod step;
mod terms;
#[cfg(test)]
mod test_device;
mod timelines;
mod wake;
mod workers;
mod writer;

pub(crate) mod exported;
pub(crate) mod runs;

pub use accepted::Remote;
pub use exchange::RemoteExchangeReader;
pub use exchange_writer::RemoteExchangeWriter;
pub use listener::{AcceptInfo, Listener, ListenerInfo};
pub use reader::RemoteLatestReader;
pub use writer::RemoteLatestWriter;
