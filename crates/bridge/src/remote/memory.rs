//! The memory that a worker is given.

use std::os::fd::OwnedFd;

use bridge_ipc::{Backend, Timeline};

use super::accepted::unknown_backend;
use super::copy::SlotFiles;
use super::terms::{EXCHANGE, Terms};
use super::timelines::Timelines;
use crate::error::Result;
use crate::exchange::RemoteHandle;
use crate::resources::exported::Exported;

/// The memory that is offered to a worker.
pub(super) enum OfferedMemory<'a, S> {
    /// Memory files, which are created for the worker.
    New,
    /// The slots of the exchange, and timelines that no other worker had. Each slot is exported
    /// when it is sent, because a process has a limit of descriptors.
    Exported {
        slots: usize,
        export: Box<dyn Fn(usize) -> Result<Vec<Exported>> + 'a>,
        handles: [(Timeline, OwnedFd); 2],
        given: S,
    },
}

/// The memory that a worker has accepted.
pub(super) enum AcceptedMemory<S> {
    Files(SlotFiles),
    /// The slots of the exchange.
    Slots(S),
}

/// Returns the memory for workers whose signals no submission waits for: files, or the slots with
/// timelines of the connection.
pub(super) fn untrusted_memory<'a>(end: &'a impl RemoteHandle, terms: &Terms) -> Result<OfferedMemory<'a, Timelines>> {
    memory(end, terms, || {
        let given = Timelines::new(end.side().device(), end.exchange())?;
        Ok((given.export(EXCHANGE)?, given))
    })
}

/// Returns the memory for a worker: files, or the slots with the timelines that `export` returns.
pub(super) fn memory<'a, S>(
    end: &'a impl RemoteHandle,
    terms: &Terms,
    export: impl FnOnce() -> Result<([(Timeline, OwnedFd); 2], S)>,
) -> Result<OfferedMemory<'a, S>> {
    match terms.backend {
        Backend::Host => Ok(OfferedMemory::New),
        Backend::Cuda => {
            let (handles, given) = export()?;
            Ok(OfferedMemory::Exported {
                slots: end.count(),
                export: Box::new(|slot| end.export(slot)),
                handles,
                given,
            })
        }
        other => Err(unknown_backend(&terms.name, other)),
    }
}
