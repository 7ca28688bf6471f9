//! The part in the render world: copies the newest frames to Bevy's textures and buffers.
#![allow(unsafe_code)] // Records a barrier through `wgpu::hal`.

mod checked;
pub(crate) mod connect;
pub(crate) mod frame;
mod shared;
pub(crate) mod target;
#[cfg(test)]
mod tests;
mod upload;

use std::collections::VecDeque;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ash::vk;
use bevy_ecs::resource::Resource;
use bevy_ecs::system::{Res, ResMut};
use bevy_render::render_asset::{ExtractedAssets, RenderAssets};
use bevy_render::renderer::{RenderDevice, RenderQueue};
use bevy_render::storage::GpuShaderBuffer;
use bevy_render::texture::GpuImage;
use wgpu::hal::api::Vulkan;

use crate::cuda::Cuda;
use crate::error::Error;
use crate::fault::Step;
use crate::present::checked::{checked, refused};
use crate::present::frame::{Present, PresentFrame};
use crate::vulkan::copier::record_visible;
use crate::vulkan::gate::{CloseOnDrop, Gate};
use crate::vulkan::{is_lost, is_valid, raw_device};

/// The number of extractions without a rendered frame that do not count as a stop. A renderer that
/// recovers has two, and the last is that of the frame which is rendered next.
const UNRENDERED: u32 = 3;

/// The timeout of the wait for work on a device that the program has destroyed.
const LIMIT: Duration = Duration::from_secs(5);

/// Images and buffers that are presented.
#[derive(Resource, Default)]
pub(crate) struct Presented {
    all: Vec<Box<dyn Present>>,
    /// The number of extractions since Bevy last rendered.
    extracted: u32,
    /// The device of the submissions below, and its Vulkan device, whose handle no other device
    /// gets while this one lives.
    device: Option<(wgpu::Device, vk::Device)>,
    serial: u64,
    done: Arc<AtomicU64>,
    /// Numbered submissions with commands that the host does not know to have ended.
    submitted: VecDeque<(u64, wgpu::SubmissionIndex)>,
    /// `true` if the device was destroyed and wgpu has not reported it yet.
    unreported: bool,
    /// Closes the gate for the drop of the render world, after the objects above, which may submit.
    /// Bevy drops resources in the order in which they were first inserted, so the surfaces of
    /// windows, which are inserted in the first extraction, are dropped later.
    _close: CloseOnDrop,
}

impl Presented {
    pub(crate) fn new(gate: Gate) -> Self {
        Self { _close: CloseOnDrop::new(gate), ..Self::default() }
    }

    /// Adds objects that were created for Bevy's previous device: the next frame reports what
    /// happened to them.
    pub(crate) fn add_last(&mut self, all: Vec<Box<dyn Present>>) {
        self.all.extend(all);
    }

    /// Counts an extraction. Bevy also extracts when its `RenderErrorHandler` has stopped
    /// rendering; then nothing else frees dropped objects or reports to writers that their frames
    /// are not shown.
    pub(crate) fn extract(&mut self, cuda: &Cuda) {
        self.extracted = self.extracted.saturating_add(1);
        if !self.has_stopped() {
            return;
        }
        self.take_added(cuda);
        for one in self.all.iter().filter(|one| !is_over(&***one)) {
            let fault = one.fault();
            fault.note::<()>(Step::Rendering, Err(Error::RenderingStopped { object: fault.name().to_owned() }));
        }
    }

    /// Returns `true` if Bevy has extracted several frames without rendering any.
    fn has_stopped(&self) -> bool {
        self.extracted > UNRENDERED
    }

    /// Records that Bevy renders the extracted frame.
    fn render(&mut self) {
        if self.has_stopped() {
            self.all.iter().filter(|one| !is_over(&***one)).for_each(|one| {
                one.fault().note(Step::Rendering, Ok(()));
            });
        }
        self.extracted = 0;
    }

    /// Takes added objects, and drops those that are over.
    fn take_added(&mut self, cuda: &Cuda) {
        self.all.extend(cuda.take_added());
        // An object that was dropped or lost while it computes a frame is kept until the
        // computation has ended: this is Bevy's thread, and dropping an exchange waits.
        self.all.retain(|one| !(is_over(&**one) && one.has_ended()));
    }

    /// Records that this device is lost, for all objects that are copied on it.
    fn lose(&self, device: Option<vk::Device>) {
        let copied = self.all.iter().filter(|one| !is_over(&***one) && one.device() == device);
        copied.for_each(|one| {
            let fault = one.fault();
            let lost = Error::vulkan(fault.name(), "Device::poll", vk::Result::ERROR_DEVICE_LOST);
            fault.note::<()>(Step::Device, Err(lost));
        });
    }

    /// Polls a destroyed device until wgpu has reported that. Nothing else of the adapter polls it,
    /// because the objects that share memory with it are lost.
    fn report(&mut self, device: &wgpu::Device) {
        if self.unreported {
            self.unreported = poll(device, wgpu::PollType::Poll) == Some(false);
        }
    }

    /// Forgets the submissions to any other device.
    fn follow(&mut self, device: &wgpu::Device, raw: Option<vk::Device>) {
        if self.device.as_ref().map(|(_, raw)| *raw) == raw {
            return;
        }
        // Callbacks of the previous device write to their own number.
        (self.serial, self.done) = (0, Arc::default());
        self.submitted.clear();
        self.unreported = false;
        self.device = raw.map(|raw| (device.clone(), raw));
    }
}

/// Returns the number of Bevy's last submission that has ended. Submissions that the host makes to
/// another queue after this call are ordered after it, including its memory accesses. `None` if the
/// device is lost or the program has destroyed it; wgpu reports this to Bevy.
fn ended(device: &wgpu::Device, queue: &wgpu::Queue, presented: &mut Presented) -> Option<u64> {
    if is_lost(device) {
        // wgpu's own poll would panic.
        queue.submit([]);
        return None;
    }
    // Runs the callbacks of submissions that have ended.
    poll(device, wgpu::PollType::Poll)?;
    if !is_valid(device) {
        // wgpu reports that a device was destroyed when nothing runs on it any more.
        let wait = wgpu::PollType::Wait { submission_index: None, timeout: Some(LIMIT) };
        presented.unreported = poll(device, wait) == Some(false);
        return None;
    }
    let done = presented.done.load(Ordering::Acquire);
    let ended = presented.submitted.iter().take_while(|(serial, _)| *serial <= done).count();
    // wgpu has read a counter. This shows that the commands have run, but is no memory dependency
    // between them and the next copy. With a timeout, wgpu calls `vkWaitSemaphores`, which is one
    // if it succeeds; here it succeeds at once, since the counter has reached the value.
    if let Some((_, index)) = presented.submitted.drain(..ended).next_back() {
        poll(device, wgpu::PollType::Wait { submission_index: Some(index), timeout: Some(Duration::ZERO) })?;
    }
    Some(done)
}

/// Polls the device and returns `true` if nothing runs on it any more; `None` if it is lost, in
/// which case wgpu 29 panics here.
fn poll(device: &wgpu::Device, how: wgpu::PollType) -> Option<bool> {
    match catch_unwind(AssertUnwindSafe(|| device.poll(how))) {
        Ok(Ok(status)) => Some(status.is_queue_empty()),
        Ok(Err(error)) => {
            log::debug!("wgpu cannot be polled: {error}");
            Some(false)
        }
        // The panic comes from a callback of the program that this poll ran.
        Err(panic) if is_valid(device) => resume_unwind(panic),
        // wgpu has already called the device-lost callback.
        Err(_) => None,
    }
}

/// Returns `true` for an object that was dropped or lost; it is no longer presented.
fn is_over(one: &dyn Present) -> bool {
    one.is_dropped() || one.fault().is_lost()
}

/// Copies all newest frames to Bevy's objects.
pub(crate) fn present(
    mut presented: ResMut<'_, Presented>,
    cuda: Res<'_, Cuda>,
    (device, queue): (Res<'_, RenderDevice>, Res<'_, RenderQueue>),
    images: Res<'_, RenderAssets<GpuImage>>,
    buffers: Res<'_, RenderAssets<GpuShaderBuffer>>,
    changed: (Res<'_, ExtractedAssets<GpuImage>>, Res<'_, ExtractedAssets<GpuShaderBuffer>>),
) {
    presented.take_added(&cuda);
    presented.render();
    let raw = raw_device(device.wgpu_device());
    presented.follow(device.wgpu_device(), raw);
    presented.report(device.wgpu_device());
    if presented.all.iter().all(|one| is_over(&**one)) {
        return;
    }
    // Uploads wait for nothing, and objects of another device fail with an error below.
    let shared = raw.is_some() && presented.all.iter().any(|one| !is_over(&**one) && one.device() == raw);
    let seen = if shared { ended(device.wgpu_device(), &queue, &mut presented) } else { Some(0) };
    let Some(seen) = seen else { return presented.lose(raw) };
    let Presented { all, serial, done, submitted, .. } = &mut *presented;
    let mut frame = PresentFrame {
        device: device.wgpu_device(),
        raw,
        queue: &queue,
        images: &images,
        buffers: &buffers,
        changed: (&changed.0, &changed.1),
        serial: *serial,
        done: seen,
        commands: None,
        kept: Vec::new(),
    };
    // wgpu refuses all commands of a submission if it refuses one. So objects whose commands it has
    // refused before are submitted alone, and after a refusal all are.
    let current = all.iter_mut().filter(|one| !is_over(&***one));
    let (mut alone, mut together): (Vec<_>, Vec<_>) = current.partition(|one| one.fault().has_failed(Step::Submit));
    if let Err(error) = copy(&mut frame, &mut together, done, submitted)
        && !copy_alone(&mut frame, &mut together, done, submitted)
    {
        log::error!("wgpu reported an error while frames were copied, and refused none of the copies: {error}");
    }
    copy_alone(&mut frame, &mut alone, done, submitted);
    *serial = frame.serial;
}

/// Calls [`copy`] for each object. Returns `true` if wgpu has refused the copy of any.
fn copy_alone(
    frame: &mut PresentFrame<'_>,
    objects: &mut [&mut Box<dyn Present>],
    done: &Arc<AtomicU64>,
    submitted: &mut VecDeque<(u64, wgpu::SubmissionIndex)>,
) -> bool {
    let mut is_any_refused = false;
    for one in objects {
        if let Err(error) = copy(frame, std::slice::from_mut(one), done, submitted) {
            let fault = one.fault();
            fault.note::<()>(Step::Submit, Err(refused(fault.name(), &error)));
            is_any_refused = true;
        }
    }
    is_any_refused
}

/// Lets the objects record their copies, and submits these together.
///
/// Failed steps are retried in the next frame: if a copy did not begin, its frame can be acquired
/// again, and a copy that has begun continues.
///
/// # Errors
/// The error of wgpu, after which the commands may not run.
fn copy(
    frame: &mut PresentFrame<'_>,
    objects: &mut [&mut Box<dyn Present>],
    done: &Arc<AtomicU64>,
    submitted: &mut VecDeque<(u64, wgpu::SubmissionIndex)>,
) -> Result<(), wgpu::Error> {
    let device = frame.device;
    frame.serial += 1;
    let mut index = None;
    let copied = checked(device, || {
        objects.iter_mut().for_each(|one| one.present(frame));
        let commands = frame.commands.take();
        index = commands.map(|commands| frame.queue.submit(visible(device).into_iter().chain([commands.finish()])));
    });
    let Some(index) = index else {
        frame.serial -= 1;
        return copied;
    };
    objects.iter_mut().for_each(|one| one.submitted(frame, copied.is_ok()));
    // The index of refused commands is never reached. An empty submission ends after everything
    // that may run.
    let index = if copied.is_ok() { index } else { frame.queue.submit([]) };
    submitted.push_back((frame.serial, index));
    let (done, serial) = (Arc::clone(done), frame.serial);
    // If wgpu drops the callback without calling it, the commands may never end.
    let (kept, device) = (ManuallyDrop::new(std::mem::take(&mut frame.kept)), device.clone());
    frame.queue.on_submitted_work_done(move || {
        done.fetch_max(serial, Ordering::AcqRel);
        drop(ManuallyDrop::into_inner(kept));
        // Freeing the kept objects requires the device.
        drop(device);
    });
    copied
}

/// Commands that make the other queue's writes visible to this one; `None` on backends other than
/// Vulkan.
fn visible(device: &wgpu::Device) -> Option<wgpu::CommandBuffer> {
    // SAFETY: the guard is only read.
    let hal = unsafe { device.as_hal::<Vulkan>() }?;
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("hand-over") });
    let record = |commands: Option<&mut wgpu::hal::vulkan::CommandEncoder>| {
        let Some(commands) = commands else { return };
        // SAFETY: the handle is recorded into, and neither destroyed nor kept.
        let commands = unsafe { commands.raw_handle() };
        // SAFETY: wgpu has begun the command buffer, and it contains nothing else.
        unsafe { record_visible(hal.raw_device(), commands) };
    };
    // SAFETY: the encoder is used for nothing else.
    unsafe { encoder.as_hal_mut::<Vulkan, _, _>(record) };
    Some(encoder.finish())
}
