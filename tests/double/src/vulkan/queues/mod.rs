//! The queues of a device that reports more than the underlying driver has ([`families`]).
//!
//! Each queue has its own handle. All of them forward to the only queue of the underlying driver,
//! under a lock. That queue runs its batches in order, and a batch that waits holds up those behind
//! it: a wait for a signal that another queue submits later would never end. So each queue has a
//! thread, which forwards a batch only once its waits for timelines have ended, and its binary
//! semaphores are in the state that the batch expects. In the underlying queue, no batch then waits
//! for one that is forwarded later.
//!
//! A batch that does not wait can still be forwarded later than the batch of another queue that was
//! submitted after it, as on a GPU.
//!
//! [`families`]: super::families
//!
//! | file | subject |
//! |---|---|
//! | `calls` | the functions that a program calls with a queue |
//! | `registry` | the queues of each device |
//! | `queue` | a queue and its thread |
//! | `batch` | copies of batches |
//! | `binary` | the order of operations on binary semaphores |

pub(super) mod calls;
pub(super) mod registry;

mod batch;
pub(super) mod binary;
mod queue;

use std::time::Duration;

/// How often a wait checks whether the device is being destroyed.
const PERIOD: Duration = Duration::from_millis(50);
