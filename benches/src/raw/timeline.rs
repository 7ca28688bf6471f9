//! A timeline semaphore that Vulkan and CUDA share, created by hand.
#![allow(unsafe_code)] // Vulkan and driver calls.

use std::ptr;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use bridge::ExportDevice;
use bridge::ash::vk;
use bridge::cuda_import::cudarc::driver::sys;

use super::cuda::{bound, check};
use super::handle;
use super::shared::Exports;
use crate::gpu::Gpu;
use crate::harness::{LIMIT, spin_until};

/// A timeline that begins at 0. The owner must wait for both sides before dropping it.
pub(crate) struct Timeline {
    semaphore: vk::Semaphore,
    /// Null without CUDA.
    imported: sys::CUexternalSemaphore,
    device: ExportDevice,
}

impl Timeline {
    /// Creates a timeline, shared with CUDA if the compute side is CUDA.
    pub(crate) fn new(gpu: &Gpu, exports: &Exports) -> Result<Self> {
        let mut kind = vk::SemaphoreTypeCreateInfo::default().semaphore_type(vk::SemaphoreType::TIMELINE);
        let mut export =
            vk::ExportSemaphoreCreateInfo::default().handle_types(vk::ExternalSemaphoreHandleTypeFlags::OPAQUE_FD);
        let mut info = vk::SemaphoreCreateInfo::default().push_next(&mut kind);
        let cuda = gpu.compute.cuda();
        if cuda.is_some() {
            info = info.push_next(&mut export);
        }
        // SAFETY: VUID-VkSemaphoreTypeCreateInfo-timelineSemaphore-03252: the feature is enabled;
        // if CUDA computes, the bridge has checked that timelines can be exported.
        let semaphore = unsafe { gpu.device.as_raw().create_semaphore(&info, None) }?;
        // From here on, a failure drops the semaphore.
        let mut timeline = Self { semaphore, imported: ptr::null_mut(), device: gpu.device.clone() };
        if let Some(cuda) = cuda {
            bound(cuda)?;
            timeline.imported = handle::timeline(exports.semaphore(), semaphore)?;
        }
        Ok(timeline)
    }

    /// Returns the info for a submission that waits for `value` or signals it.
    pub(crate) fn info(&self, value: u64, stages: vk::PipelineStageFlags2) -> vk::SemaphoreSubmitInfo<'static> {
        vk::SemaphoreSubmitInfo::default().semaphore(self.semaphore).value(value).stage_mask(stages)
    }

    /// Makes a stream wait until `value` is reached; its signal must be submitted at some point.
    pub(crate) fn wait_on(&self, stream: sys::CUstream, value: u64) -> Result<()> {
        let params = sys::CUDA_EXTERNAL_SEMAPHORE_WAIT_PARAMS {
            params: sys::CUDA_EXTERNAL_SEMAPHORE_WAIT_PARAMS_st__bindgen_ty_1 {
                fence: sys::CUDA_EXTERNAL_SEMAPHORE_WAIT_PARAMS_st__bindgen_ty_1__bindgen_ty_1 { value },
                nvSciSync: sys::CUDA_EXTERNAL_SEMAPHORE_WAIT_PARAMS_st__bindgen_ty_1__bindgen_ty_2 { reserved: 0 },
                keyedMutex: sys::CUDA_EXTERNAL_SEMAPHORE_WAIT_PARAMS_st__bindgen_ty_1__bindgen_ty_3 {
                    key: 0,
                    timeoutMs: 0,
                },
                reserved: [0; 10],
            },
            flags: 0,
            reserved: [0; 16],
        };
        // SAFETY: one live semaphore and its parameters; the owner drops it after the wait has
        // completed.
        let code = unsafe { sys::cuWaitExternalSemaphoresAsync(&self.imported, &params, 1, stream) };
        check("cuWaitExternalSemaphoresAsync", code)
    }

    /// Makes a stream signal `value`, which must be greater than all earlier values, when its
    /// earlier work is done.
    pub(crate) fn signal_on(&self, stream: sys::CUstream, value: u64) -> Result<()> {
        let params = sys::CUDA_EXTERNAL_SEMAPHORE_SIGNAL_PARAMS {
            params: sys::CUDA_EXTERNAL_SEMAPHORE_SIGNAL_PARAMS_st__bindgen_ty_1 {
                fence: sys::CUDA_EXTERNAL_SEMAPHORE_SIGNAL_PARAMS_st__bindgen_ty_1__bindgen_ty_1 { value },
                nvSciSync: sys::CUDA_EXTERNAL_SEMAPHORE_SIGNAL_PARAMS_st__bindgen_ty_1__bindgen_ty_2 { reserved: 0 },
                keyedMutex: sys::CUDA_EXTERNAL_SEMAPHORE_SIGNAL_PARAMS_st__bindgen_ty_1__bindgen_ty_3 { key: 0 },
                reserved: [0; 12],
            },
            flags: 0,
            reserved: [0; 16],
        };
        // SAFETY: one live semaphore and its parameters; the owner drops it after the signal has
        // completed.
        let code = unsafe { sys::cuSignalExternalSemaphoresAsync(&self.imported, &params, 1, stream) };
        check("cuSignalExternalSemaphoresAsync", code)
    }

    /// Signals from the host; `value` must be greater than all earlier values, and no other signal
    /// may be pending.
    pub(crate) fn signal_from_host(&self, value: u64) -> Result<()> {
        let info = vk::SemaphoreSignalInfo::default().semaphore(self.semaphore).value(value);
        // SAFETY: VUID-VkSemaphoreSignalInfo-value-03258, -03259: the caller upholds the contract.
        unsafe { self.device.as_raw().signal_semaphore(&info) }?;
        Ok(())
    }

    /// Returns the Vulkan side of the timeline, for any thread.
    pub(crate) fn counter(&self) -> Counter<'_> {
        Counter { semaphore: self.semaphore, device: &self.device }
    }

    /// Polls continuously until `value` is reached.
    pub(crate) fn spin(&self, value: u64) -> Result<()> {
        self.counter().spin(value)
    }

    /// Polls briefly, then blocks: low latency, without keeping a processor busy for long.
    pub(crate) fn wait(&self, value: u64) -> Result<()> {
        self.counter().wait(value)
    }
}

/// The Vulkan side of a timeline, which any thread may query.
#[derive(Clone, Copy)]
pub(crate) struct Counter<'t> {
    semaphore: vk::Semaphore,
    device: &'t ExportDevice,
}

impl Counter<'_> {
    /// Returns the current value.
    fn value(&self) -> Result<u64> {
        // SAFETY: VUID-vkGetSemaphoreCounterValue-semaphore-03255: a live timeline.
        Ok(unsafe { self.device.as_raw().get_semaphore_counter_value(self.semaphore) }?)
    }

    /// Polls continuously until `value` is reached.
    pub(crate) fn spin(&self, value: u64) -> Result<()> {
        spin_until("a timeline", || Ok(self.value()? >= value))
    }

    /// Polls briefly, then blocks: low latency, without keeping a processor busy for long.
    pub(crate) fn wait(&self, value: u64) -> Result<()> {
        const MOMENT: Duration = Duration::from_micros(100);
        let start = Instant::now();
        while self.value()? < value {
            if start.elapsed() > MOMENT {
                return self.block(value);
            }
            std::hint::spin_loop();
        }
        Ok(())
    }

    /// Blocks in `vkWaitSemaphores`.
    pub(crate) fn block(&self, value: u64) -> Result<()> {
        let (semaphores, values) = ([self.semaphore], [value]);
        let info = vk::SemaphoreWaitInfo::default().semaphores(&semaphores).values(&values);
        let limit = u64::try_from(LIMIT.as_nanos())?;
        // SAFETY: VUID-VkSemaphoreWaitInfo-pSemaphores-03256: a live timeline.
        match unsafe { self.device.as_raw().wait_semaphores(&info, limit) } {
            Err(vk::Result::TIMEOUT) => bail!("vkWaitSemaphores: nothing after {LIMIT:?}"),
            result => Ok(result?),
        }
    }
}

impl Drop for Timeline {
    fn drop(&mut self) {
        if !self.imported.is_null() {
            // SAFETY: "any outstanding signals or waits must have completed": the owner waited.
            let code = unsafe { sys::cuDestroyExternalSemaphore(self.imported) };
            super::cuda::warn(check("cuDestroyExternalSemaphore", code));
        }
        // SAFETY: VUID-vkDestroySemaphore-semaphore-05149: the owner waited.
        unsafe { self.device.as_raw().destroy_semaphore(self.semaphore, None) };
    }
}
