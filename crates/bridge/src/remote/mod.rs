//! Exchanges with another process: a worker computes and this process draws, or the other way
//! round.
//!
//! The renderer owns the Vulkan device, the slots and the timelines; its submissions do not depend
//! on the worker unless the worker is trusted. `listener` accepts a worker (`accepted`). `link` is
//! the thread of its connection: it sends the `terms` of the exchange and the `memory` (`offer`),
//! and then listens to the worker (`listening`). The frames are handled by a `part`, which holds
//! one handle of an exchange in one process (`exchange/latest/`) on behalf of the worker. The
//! program holds the other handle, and `workers` can be replaced without changing either.
//!
//! - Workers that write: `latest_writer` holds the exchange's writer, and the program the `reader`.
//!   `latest_writer/host.rs` copies the frames of a worker on the CPU; `latest_writer/cuda.rs`
//!   publishes slots that a worker has written directly, once its timeline (`timelines`) shows that
//!   they are complete.
//! - Workers that read: `latest_reader` holds the exchange's reader, and the program the `writer`.
//!   `latest_reader/host.rs` copies finished frames for a worker on the CPU;
//!   `latest_reader/cuda.rs` gives slots to a worker, and takes them back once its timeline shows
//!   that it is finished with them.
//! - Workers in step, if both sides allow it: `step_writer` announces frames of workers that write,
//!   and the program holds the `exchange`; `step_reader` gives frames to workers that read, and the
//!   program holds the `exchange_writer`. `in_step` is the common part. Submissions wait for the
//!   worker here: `pending_frames` counts the announced values, `falls` notices those that are set
//!   back, `enforce` ensures that all are reached, and both parts signal what dead workers owe. The
//!   next worker gets other timelines (`renewal`).

mod accepted;
mod control;
mod copy;
mod enforce;
mod exchange;
mod exchange_writer;
mod falls;
mod in_step;
mod latest_reader;
mod latest_writer;
mod link;
mod listener;
mod listening;
mod memory;
mod offer;
mod part;
mod pending_frames;
mod reader;
mod renewal;
mod status;
mod step_reader;
mod step_writer;
mod stored_handle;
mod terms;
#[cfg(test)]
mod test_renderer;
mod thread;
mod timelines;
mod wake;
mod worker_loss;
mod workers;
mod writer;

pub use accepted::Remote;
pub use exchange::RemoteExchangeReader;
pub use exchange_writer::RemoteExchangeWriter;
pub use listener::{AcceptInfo, Listener, ListenerInfo};
pub use reader::RemoteLatestReader;
pub use writer::RemoteLatestWriter;
