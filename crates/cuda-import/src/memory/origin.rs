//! The kinds of imported memory.
//!
//! Unsafe because it destroys what was imported.
#![allow(unsafe_code)]

use crate::device::CudaDevice;
use crate::memory::peer_allocation::PeerAllocation;
use crate::reaper;
use crate::reaper::NotFreed;
use crate::sys::MemoryHandle;

/// Origin of memory in CUDA, which decides who owns it, who frees it, and what outlives what.
#[derive(Debug)]
pub(crate) enum Origin {
    /// By `cuImportExternalMemory`, on the GPU that exported it: the driver owns the descriptor and
    /// the memory object; each mapping is freed by a call of its own, then the object is destroyed
    /// on the reaper; the exporter's allocation outlives both.
    External(MemoryHandle),
    /// By `cuMemImportFromShareableHandle`, for GPUs that need not be the exporter's: the
    /// descriptor stays ours and was closed; the one mapping of the whole is unmapped and its
    /// addresses freed, then the handle is released, all on the reaper; the exporter's allocation
    /// outlives both.
    Peer(PeerAllocation),
}

impl Origin {
    /// The memory object that arrays can be mapped from.
    pub(crate) fn external(&self) -> Option<MemoryHandle> {
        match self {
            &Self::External(handle) => Some(handle),
            Self::Peer(_) => None,
        }
    }

    /// The devices besides the first that may access it.
    pub(crate) fn others(&self) -> &[CudaDevice] {
        match self {
            Self::External(_) => &[],
            Self::Peer(peer) => peer.others(),
        }
    }

    /// Undoes the import, on the reaper of `device`.
    ///
    /// # Safety
    /// Nothing is mapped of it, and it is not used again.
    pub(crate) unsafe fn destroy(&self, device: &CudaDevice) -> Result<(), NotFreed> {
        match self {
            &Self::External(handle) => reaper::call(device, "cuDestroyExternalMemory", move |driver| {
                // SAFETY: handed on to the caller.
                unsafe { driver.destroy_memory(handle) }
            }),
            Self::Peer(peer) => {
                let (vmm, handle) = (peer.vmm(), peer.handle());
                reaper::call(device, "cuMemRelease", move |_| {
                    // SAFETY: handed on to the caller.
                    unsafe { vmm.release(handle) }
                })
            }
        }
    }
}
