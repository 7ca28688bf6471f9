//! A screen's window, where it has one.

// Vulkan calls.
#![allow(unsafe_code)]

use std::sync::Arc;

use bridge::BufferAccess;
use bridge::ash::{Device, vk};
use vk_local::{LocalBuffer, MemoryLocation};

use crate::error::{Fault, Kind};
use crate::screen::slots::Format;
use crate::screen::{PointLook, Scene, Screen, limit, params};
use crate::window::input::{Orbit, State};
use crate::window::record::{Redraw, Shown};

/// What a call of [`Screen::draw_and_present`] did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Did {
    pub(crate) drawn: bool,
    pub(crate) presented: bool,
}

/// The points that a window shows. Their slot is the producer's again once they are drawn; from
/// this copy they are drawn again when the user moves the camera.
pub(crate) struct Kept {
    buffer: LocalBuffer,
    format: Format,
    /// What the picture shows; `None` if it is not these points.
    shown: Option<(PointLook, Orbit)>,
}

impl Screen {
    /// What the window's events say, where there is a window.
    pub(crate) fn window(&self) -> Option<Arc<State>> {
        self.presenter.as_ref().map(|presenter| presenter.state().clone())
    }

    /// Draws what is new, and presents the picture if the window can take it now.
    pub(crate) fn draw_and_present(&mut self) -> Result<Did, Fault> {
        let drawn = self.draw()?;
        let Some(presenter) = &mut self.presenter else { return Ok(Did { drawn, presented: false }) };
        if drawn {
            presenter.drew();
        }
        let (picture, orbit) = (self.picture.as_raw(), presenter.orbit());
        let turned = self.kept.as_mut().and_then(|kept| {
            let (look, before) = kept.shown?;
            (before != orbit).then_some((kept, look))
        });
        let redraw = turned.as_ref().map(|(kept, look)| Redraw {
            pipelines: &self.pipelines,
            buffers: [kept.buffer.as_raw(), picture, self.depths.as_ref().unwrap_or(&self.picture).as_raw()],
            params: params(moved(*look, orbit), kept.format, [self.width, self.height]),
        });
        let shown = Shown { picture: self.drawn.then_some(picture), redraw };
        // SAFETY: the picture is made in `open`, with four bytes a pixel, to be copied from, and
        // drawn on the device's queue. It, the pipelines and the points are dropped after the
        // presenter, see the order of the fields, or once it has been waited for.
        let presented = unsafe { presenter.present(shown) }?;
        if let Some((kept, look)) = turned.filter(|_| presented) {
            kept.shown = Some((look, orbit));
        }
        Ok(Did { drawn, presented })
    }

    /// What Vulkan does to the slots of the scene.
    pub(super) fn access(&self, scene: Scene) -> BufferAccess {
        match (scene, &self.presenter) {
            (Scene::Points(_), Some(_)) => BufferAccess::COMPUTE_READ | BufferAccess::TRANSFER_READ,
            _ => BufferAccess::COMPUTE_READ,
        }
    }

    /// The scene, with the camera where the user has moved it.
    pub(super) fn moved(&self, scene: Scene) -> Scene {
        match (scene, &self.presenter) {
            (Scene::Points(look), Some(presenter)) => moved(look, presenter.orbit()),
            (scene, _) => scene,
        }
    }

    /// The buffer that the frame is copied to, if it is one that is drawn again.
    pub(super) fn make_room_for(&mut self, format: Format, scene: Scene) -> Result<Option<vk::Buffer>, Fault> {
        let (Scene::Points(_), Some(presenter)) = (scene, &mut self.presenter) else { return Ok(None) };
        let kept = match self.kept.take() {
            Some(kept) if kept.format == format => kept,
            other => {
                if other.is_some() {
                    // It may be in use, by frames and by what is presented.
                    *self.kept = other;
                    self.ring.wait(limit())?;
                    presenter.wait()?;
                }
                let usage = vk::BufferUsageFlags::STORAGE_BUFFER | vk::BufferUsageFlags::TRANSFER_DST;
                let device = self.compute.device();
                let size = format.size().next_multiple_of(4);
                let buffer = LocalBuffer::new(device, "points", size, usage, MemoryLocation::GpuOnly)
                    .map_err(|error| Fault::new(Kind::Driver, error))?;
                Kept { buffer, format, shown: None }
            }
        };
        Ok(Some(self.kept.insert(kept).buffer.as_raw()))
    }

    /// Notes what the picture shows from now on, if it is something that was kept.
    pub(super) fn note_kept(&mut self, scene: Option<Scene>) {
        let Some(presenter) = &self.presenter else { return };
        let orbit = presenter.orbit();
        presenter.state().set_turning(scene.is_some());
        if let Some(kept) = &mut *self.kept {
            kept.shown = match scene {
                Some(Scene::Points(look)) => Some((look, orbit)),
                _ => None,
            };
        }
    }
}

fn moved(look: PointLook, orbit: Orbit) -> Scene {
    Scene::Points(PointLook { camera: orbit.of(look.camera), ..look })
}

/// Records the copy of a slot to where its points are kept, and drawn from.
///
/// # Safety
/// `commands` is recording, outside of a render pass. `slot` is acquired, one to copy from; both
/// have at least `size` bytes.
pub(super) unsafe fn record_keeping(
    raw: &Device,
    commands: vk::CommandBuffer,
    slot: vk::Buffer,
    kept: vk::Buffer,
    size: u64,
) {
    let (draws, copies) = (vk::PipelineStageFlags::COMPUTE_SHADER, vk::PipelineStageFlags::TRANSFER);
    let writes = vk::AccessFlags::TRANSFER_WRITE;
    let barrier = |from, to, memory: vk::MemoryBarrier<'_>| {
        // SAFETY: VUID-vkCmdPipelineBarrier-srcStageMask-06461: stages of every graphics queue.
        unsafe { raw.cmd_pipeline_barrier(commands, from, to, vk::DependencyFlags::empty(), &[memory], &[], &[]) };
    };
    // Frames before are drawn from it.
    barrier(draws | copies, copies, vk::MemoryBarrier::default().src_access_mask(writes).dst_access_mask(writes));
    // SAFETY: VUID-vkCmdCopyBuffer-size-00115, -00116: as this function.
    unsafe { raw.cmd_copy_buffer(commands, slot, kept, &[vk::BufferCopy::default().size(size)]) };
    let reads = vk::AccessFlags::SHADER_READ;
    barrier(copies, draws, vk::MemoryBarrier::default().src_access_mask(writes).dst_access_mask(reads));
}
