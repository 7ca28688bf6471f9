//! The render world's part: the newest frames into Bevy's textures and buffers.
#![allow(unsafe_code)] // Records a barrier through `wgpu::hal`.

pub(crate) mod connect;
pub(crate) mod frame;
mod shared;
pub(crate) mod target;
mod upload;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bevy_ecs::resource::Resource;
use bevy_ecs::system::{Res, ResMut};
use bevy_render::render_asset::RenderAssets;
use bevy_render::renderer::{RenderDevice, RenderQueue};
use bevy_render::storage::GpuShaderBuffer;
use bevy_render::texture::GpuImage;
use wgpu::hal::api::Vulkan;

use crate::cuda::Cuda;
use crate::present::frame::{Present, PresentFrame};
use crate::vulkan::copier::record_visible;

/// Images and buffers that are presented.
#[derive(Resource, Default)]
pub(crate) struct Presented {
    all: Vec<Box<dyn Present>>,
    serial: u64,
    done: Arc<AtomicU64>,
}

/// Brings all newest frames to Bevy.
pub(crate) fn present(
    mut presented: ResMut<'_, Presented>,
    cuda: Res<'_, Cuda>,
    (device, queue): (Res<'_, RenderDevice>, Res<'_, RenderQueue>),
    images: Res<'_, RenderAssets<GpuImage>>,
    buffers: Res<'_, RenderAssets<GpuShaderBuffer>>,
) {
    let Presented { all, serial, done } = &mut *presented;
    all.extend(cuda.take_added());
    all.retain(|one| !one.is_dropped());
    if all.is_empty() {
        return;
    }
    // Runs the callbacks of submissions that have ended.
    if let Err(error) = device.poll(wgpu::PollType::Poll) {
        log::debug!("wgpu cannot be polled: {error}");
    }
    let mut frame = PresentFrame {
        device: device.wgpu_device(),
        queue: &queue,
        images: &images,
        buffers: &buffers,
        serial: *serial + 1,
        done: done.load(Ordering::Acquire),
        commands: None,
    };
    all.retain_mut(|one| match one.present(&mut frame) {
        Ok(()) => true,
        Err(error) => {
            log::error!("\"{}\" stays as it is from now on: {error}", one.name());
            false
        }
    });
    if let Some(commands) = frame.commands {
        *serial += 1;
        queue.submit(visible(device.wgpu_device()).into_iter().chain([commands.finish()]));
        let (done, serial) = (Arc::clone(done), *serial);
        queue.on_submitted_work_done(move || {
            done.fetch_max(serial, Ordering::AcqRel);
        });
    }
}

/// Commands that make what the other queue has written visible to this one; none on other backends
/// than Vulkan.
fn visible(device: &wgpu::Device) -> Option<wgpu::CommandBuffer> {
    // SAFETY: the guard is only read from.
    let hal = unsafe { device.as_hal::<Vulkan>() }?;
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("hand-over") });
    let record = |commands: Option<&mut wgpu::hal::vulkan::CommandEncoder>| {
        let Some(commands) = commands else { return };
        // SAFETY: recorded into, not destroyed, and not kept.
        let commands = unsafe { commands.raw_handle() };
        // SAFETY: wgpu has begun it, and it holds nothing else.
        unsafe { record_visible(hal.raw_device(), commands) };
    };
    // SAFETY: the encoder is used for nothing else.
    unsafe { encoder.as_hal_mut::<Vulkan, _, _>(record) };
    Some(encoder.finish())
}
