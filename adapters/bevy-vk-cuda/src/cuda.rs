//! The resource through which a program makes images and buffers.

use std::sync::{Arc, Mutex, PoisonError};

use bevy_ecs::resource::Resource;
use bridge::{Backend, Compute, KernelModule};

use crate::error::Result;
use crate::present::frame::Present;
use crate::vulkan::CopyQueue;

/// The way in which frames reach Bevy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Way {
    /// CUDA computes them in memory that is shared with Bevy's device; they are copied on a queue
    /// of this crate's own.
    Cuda,
    /// As [`Cuda`](Self::Cuda), but the CPU computes.
    Host,
    /// The CPU computes, and `RenderQueue::write_texture` or `write_buffer` uploads.
    Upload,
}

/// Makes images and buffers that a simulation fills. [`CudaPlugin`](crate::CudaPlugin) inserts it,
/// before `Startup` runs.
#[derive(Resource, Clone)]
pub struct Cuda(Arc<Inner>);

struct Inner {
    /// Images and buffers to present, until the render world takes it.
    added: Mutex<Vec<Box<dyn Present>>>,
    /// `None` where frames are uploaded.
    compute: Option<Compute>,
    reason: String,
}

impl Cuda {
    pub(crate) fn new(adopted: Result<(Compute, CopyQueue), String>) -> Self {
        let (compute, reason) = match adopted {
            Ok((compute, CopyQueue::Own)) => {
                let reason = compute.reason().to_owned();
                (Some(compute), reason)
            }
            Ok((compute, CopyQueue::Bevys)) => {
                let reason = format!("{}; copies are submitted to Bevy's queue, as was promised", compute.reason());
                (Some(compute), reason)
            }
            Err(reason) => (None, reason),
        };
        Self(Arc::new(Inner { added: Mutex::default(), compute, reason }))
    }

    /// The way in which frames reach Bevy.
    pub fn way(&self) -> Way {
        match self.0.compute.as_ref().map(Compute::backend) {
            Some(Backend::Cuda) => Way::Cuda,
            Some(_) => Way::Host,
            None => Way::Upload,
        }
    }

    /// Returns the reason for the way, as a message for users.
    pub fn reason(&self) -> &str {
        &self.0.reason
    }

    /// Loads CUDA kernels, as [`Compute::load`]; `None` where the CPU computes.
    ///
    /// # Errors
    /// As [`Compute::load`].
    pub fn load(&self, name: &str, ptx: &str) -> Result<Option<KernelModule>> {
        let compute = self.0.compute.as_ref().filter(|compute| compute.backend() == Backend::Cuda);
        Ok(compute.map(|compute| compute.load(name, ptx)).transpose()?)
    }

    /// The compute side of the device; `None` where frames are uploaded.
    pub fn compute(&self) -> Option<&Compute> {
        self.0.compute.as_ref()
    }

    pub(crate) fn add(&self, present: Box<dyn Present>) {
        let mut added = self.0.added.lock().unwrap_or_else(PoisonError::into_inner);
        // Where Bevy renders nothing, nobody takes them.
        added.retain(|one| !(one.is_dropped() && one.has_ended()));
        added.push(present);
    }

    pub(crate) fn take_added(&self) -> Vec<Box<dyn Present>> {
        std::mem::take(&mut *self.0.added.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl std::fmt::Debug for Cuda {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cuda({:?}: {})", self.way(), self.reason())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // Tests.
mod tests {
    use bevy_asset::Assets;

    use super::*;
    use crate::CudaBuffer;

    /// Where Bevy renders nothing, nobody takes what was added.
    #[test]
    fn what_nobody_takes_is_forgotten_once_it_is_dropped() {
        let cuda = Cuda::new(Err("Bevy renders nothing".to_owned()));
        let mut buffers = Assets::default();
        for _ in 0..100 {
            CudaBuffer::<u32>::new(&cuda, &mut buffers, "numbers", 16).unwrap();
        }
        assert_eq!(cuda.take_added().len(), 1, "the last one");
    }
}
