//! The two ways of importing memory.
//!
//! Contains unsafe code because it destroys imported objects.
#![allow(unsafe_code)]

use crate::device::CudaDevice;
use crate::memory::peer_allocation::PeerAllocation;
use crate::reaper;
use crate::reaper::NotFreed;
use crate::sys::MemoryHandle;

/// The way in which memory was imported, which determines ownership, the way to free it, and the
/// order of destruction.
#[derive(Debug)]
pub(crate) enum Origin {
    /// Imported with `cuImportExternalMemory`, on the GPU that exported it: the driver owns the
    /// descriptor and the memory object; each mapping is freed separately, then the object is
    /// destroyed on the reaper; the exporter's allocation outlives both.
    External(MemoryHandle),
    /// Imported with `cuMemImportFromShareableHandle`, for GPUs that may differ from the
    /// exporter's: the descriptor was not transferred, and is closed after the import; the only
    /// mapping, of the whole memory, is unmapped and its addresses are freed, then the handle is
    /// released, all on the reaper; the exporter's allocation outlives both.
    Peer(PeerAllocation),
}

impl Origin {
    /// Returns the memory object from which arrays can be mapped.
    pub(crate) fn external(&self) -> Option<MemoryHandle> {
        match self {
            &Self::External(handle) => Some(handle),
            Self::Peer(_) => None,
        }
    }

    /// Returns the devices other than the first that may access the memory.
    pub(crate) fn others(&self) -> &[CudaDevice] {
        match self {
            Self::External(_) => &[],
            Self::Peer(peer) => peer.others(),
        }
    }

    /// Destroys the imported object, on the reaper of `device`.
    ///
    /// # Safety
    /// Nothing is mapped from it, and it is not used again.
    pub(crate) unsafe fn destroy(&self, device: &CudaDevice) -> Result<(), NotFreed> {
        match self {
            &Self::External(handle) => reaper::call(device, "cuDestroyExternalMemory", move |driver| {
                // SAFETY: this function's contract.
                unsafe { driver.destroy_memory(handle) }
            }),
            Self::Peer(peer) => {
                let (vmm, handle) = (peer.vmm(), peer.handle());
                reaper::call(device, "cuMemRelease", move |_| {
                    // SAFETY: this function's contract.
                    unsafe { vmm.release(handle) }
                })
            }
        }
    }
}
