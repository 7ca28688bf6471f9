//! The resource with which a program creates images and buffers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bevy_ecs::resource::Resource;
use bridge::{Backend, Compute, KernelModule, ash::vk};

use crate::error::{Error, Result};
use crate::present::frame::Present;
use crate::vulkan::CopyQueue;

/// The way in which frames reach Bevy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Way {
    /// CUDA computes them in memory that is shared with Bevy's device. A separate queue of this
    /// crate copies them.
    Cuda,
    /// Like [`Cuda`](Self::Cuda), but the CPU computes.
    Host,
    /// The CPU computes, and `RenderQueue::write_texture` or `write_buffer` uploads.
    Upload,
}

/// Creates images and buffers that a simulation fills. [`CudaPlugin`](crate::CudaPlugin) inserts
/// this resource before `Startup` runs.
///
/// If Bevy replaces its device, as its `RenderErrorHandler` may request, the plugin replaces this
/// resource with one for the new device. Use `resource_changed::<Cuda>` to detect this. Images and
/// buffers of the former device get no more frames, and a clone of the former resource cannot
/// create new ones. Both report [`Error::DeviceReplaced`](crate::Error::DeviceReplaced):
/// `CudaWriter::write` as the source of [`Error::NotPresented`](crate::Error::NotPresented).
#[derive(Resource, Clone)]
pub struct Cuda(Arc<Inner>);

struct Inner {
    added: Mutex<Added>,
    /// `None` if frames are uploaded.
    compute: Option<Compute>,
    /// The limits of Bevy's device; `None` if Bevy renders nothing.
    limits: Mutex<Option<wgpu::Limits>>,
    reason: String,
}

/// Images and buffers to present, until the render world takes them.
#[derive(Default)]
struct Added {
    all: Vec<Box<dyn Present>>,
    /// `true` after Bevy has replaced its device: no more objects are added.
    replaced: bool,
}

impl Added {
    fn check_current(&self, object: &str) -> Result<()> {
        if self.replaced { Err(Error::DeviceReplaced { object: object.to_owned() }) } else { Ok(()) }
    }
}

impl Cuda {
    pub(crate) fn new(adopted: Result<(Compute, CopyQueue), String>, limits: Option<wgpu::Limits>) -> Self {
        let (compute, reason) = match adopted {
            Ok((compute, CopyQueue::Transfer)) => {
                let reason = compute.reason().to_owned();
                (Some(compute), reason)
            }
            Ok((compute, CopyQueue::Second)) => {
                let reason = format!("{}; copies share the engine that draws", compute.reason());
                (Some(compute), reason)
            }
            Ok((compute, CopyQueue::Bevys)) => {
                let reason = format!("{}; copies are submitted to Bevy's queue, as was promised", compute.reason());
                (Some(compute), reason)
            }
            Err(reason) => (None, reason),
        };
        Self(Arc::new(Inner { added: Mutex::default(), compute, limits: Mutex::new(limits), reason }))
    }

    /// Returns the way in which frames reach Bevy.
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

    /// Loads CUDA kernels, as [`Compute::load`] does. Returns `None` if the CPU computes.
    ///
    /// CUDA's driver blocks this call, and the first launch of each kernel, while any stream of the
    /// context is waiting, for example for a frame that another image or buffer computes. If that
    /// happens in a system, Bevy's frame is late. Load every kernel before the first frame, and
    /// launch it once before other simulations start.
    ///
    /// # Errors
    /// Those of [`Compute::load`].
    pub fn load(&self, name: &str, ptx: &str) -> Result<Option<KernelModule>> {
        let compute = self.0.compute.as_ref().filter(|compute| compute.backend() == Backend::Cuda);
        Ok(compute.map(|compute| compute.load(name, ptx)).transpose()?)
    }

    /// Returns the compute side of the device, or `None` if frames are uploaded.
    ///
    /// The main queue of its device is that of this crate's copies, and often supports nothing but
    /// copies. Exchanges of the program that draw or dispatch use `QueueKind::Additional(0)`: a
    /// second queue of the family that Bevy draws with, unless another plugin has requested more
    /// queues of it. `SharedBuffer` and `SharedImage` always belong to the main queue.
    pub fn compute(&self) -> Option<&Compute> {
        self.0.compute.as_ref()
    }

    /// Returns the Vulkan device that was adopted; `None` if frames are uploaded.
    pub(crate) fn device(&self) -> Option<vk::Device> {
        Some(self.compute()?.device().as_raw().handle())
    }

    /// Returns the limits of Bevy's device, or `None` if Bevy renders nothing.
    pub(crate) fn limits(&self) -> Option<wgpu::Limits> {
        self.0.limits.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the limits, after Bevy has created its device.
    pub(crate) fn set_limits(&self, limits: wgpu::Limits) {
        *self.0.limits.lock().unwrap_or_else(PoisonError::into_inner) = Some(limits);
    }

    /// # Errors
    /// [`Error::DeviceReplaced`] if the object can no longer be created, because Bevy has replaced
    /// its device.
    pub(crate) fn check_current(&self, object: &str) -> Result<()> {
        self.added().check_current(object)
    }

    /// Adds an object to present.
    ///
    /// # Errors
    /// Those of [`check_current`](Self::check_current).
    pub(crate) fn add(&self, object: &str, present: Box<dyn Present>) -> Result<()> {
        let mut added = self.added();
        added.check_current(object)?;
        // If Bevy does not render, the render world never takes them.
        let ended: Vec<_> = added.all.extract_if(.., |one| one.is_dropped() && one.has_ended()).collect();
        added.all.push(present);
        // Dropped without the lock: Bevy's render thread takes the lock in each frame, and ending
        // an exchange frees memory.
        drop(added);
        drop(ended);
        Ok(())
    }

    pub(crate) fn take_added(&self) -> Vec<Box<dyn Present>> {
        std::mem::take(&mut self.added().all)
    }

    /// Takes the remaining objects after Bevy has replaced its device; no more objects can be
    /// added.
    pub(crate) fn take_last(&self) -> Vec<Box<dyn Present>> {
        let mut added = self.added();
        added.replaced = true;
        std::mem::take(&mut added.all)
    }

    fn added(&self) -> MutexGuard<'_, Added> {
        self.0.added.lock().unwrap_or_else(PoisonError::into_inner)
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
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bevy_asset::Assets;

    use super::*;
    use crate::buffer::CudaBuffer;
    use crate::fault::Fault;
    use crate::present::frame::PresentFrame;

    /// If Bevy does not render, objects are removed once they are dropped.
    #[test]
    fn what_nobody_takes_is_forgotten_once_it_is_dropped() {
        let cuda = Cuda::new(Err("Bevy renders nothing".to_owned()), None);
        let mut buffers = Assets::default();
        for _ in 0..100 {
            CudaBuffer::<u32>::new(&cuda, &mut buffers, "numbers", 16).unwrap();
        }
        assert_eq!(cuda.take_added().len(), 1, "the last one");
    }

    /// A dropped and ended object, which checks on drop whether the lock is free.
    struct Ended {
        cuda: Cuda,
        free: Arc<AtomicUsize>,
        fault: Arc<Fault>,
    }

    impl Present for Ended {
        fn present(&mut self, _: &mut PresentFrame<'_>) {}

        fn submitted(&mut self, _: &mut PresentFrame<'_>, _: bool) {}

        fn is_dropped(&self) -> bool {
            true
        }

        fn has_ended(&self) -> bool {
            true
        }

        fn device(&self) -> Option<vk::Device> {
            None
        }

        fn fault(&self) -> &Fault {
            &self.fault
        }
    }

    impl Drop for Ended {
        fn drop(&mut self) {
            let free = self.cuda.0.added.try_lock().is_ok();
            self.free.fetch_add(free.into(), Ordering::Relaxed);
        }
    }

    /// Removed objects are dropped without the lock, because the end of an exchange may take long,
    /// and Bevy's render thread takes the lock in each frame.
    #[test]
    fn what_is_forgotten_is_dropped_without_the_lock() {
        let cuda = Cuda::new(Err("Bevy renders nothing".to_owned()), None);
        let free = Arc::new(AtomicUsize::new(0));
        for forgotten in 0..3 {
            assert_eq!(free.load(Ordering::Relaxed), forgotten.max(1) - 1, "dropped with the lock held");
            let (cuda, free) = (cuda.clone(), Arc::clone(&free));
            cuda.clone().add("picture", Box::new(Ended { cuda, free, fault: Fault::new("picture") })).unwrap();
        }
        drop(cuda.take_added());
        assert_eq!(free.load(Ordering::Relaxed), 3);
    }
}
