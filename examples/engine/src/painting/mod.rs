//! A texture that the compute side repaints in every frame, on a panel in the corner of the scene.
#![allow(unsafe_code)] // A system of the engine.

mod shared;

use std::sync::Arc;

use anyhow::{Context, Result};
use ash::vk;
use bridge::Compute;
use bridge_examples::shader::spirv;
use engine_core::pipeline::{Pipeline, PipelineInfo};
use engine_core::recorder::Recorder;
use engine_core::system::Semaphores;
use engine_core::{Gpu, Pass, System};
use shared::{Lent, Painter};

/// The width and height of the texture, and of the panel in pixels.
pub const SIDE: u32 = 64;
/// The distance from the corner of the picture to the panel, in pixels.
pub const MARGIN: u32 = 8;

/// Computes a texel on the CPU: twin of `paint` in `engine.cu`.
pub fn texel(x: u32, y: u32, frame: u32) -> [u8; 4] {
    let r = (x ^ y).wrapping_add(frame);
    let g = (2 * x).wrapping_add(3u32.wrapping_mul(frame));
    let b = (2 * y).wrapping_sub(frame);
    [r as u8, g as u8, b as u8, 255]
}

/// The painting system.
pub struct Painting {
    painter: Painter,
    lent: Option<Lent>,
    pipeline: Pipeline,
    constants: [f32; 8],
}

impl Painting {
    /// The name of the system.
    pub const NAME: &'static str = "painting";

    /// Creates the texture.
    ///
    /// # Errors
    /// A required resource is not available.
    pub fn new(gpu: &Arc<Gpu>, compute: &Compute) -> Result<Self> {
        let info = PipelineInfo {
            name: Self::NAME,
            vertex: &spirv("panel.vert")?,
            fragment: &spirv("panel.frag")?,
            topology: vk::PrimitiveTopology::TRIANGLE_LIST,
            stride: 0,
            textured: true,
            constants: 32,
        };
        let pipeline = Pipeline::new(gpu, &info)?;
        Ok(Self { painter: Painter::new(compute)?, lent: None, pipeline, constants: [0.0; 8] })
    }
}

// SAFETY: the texture is used between the turn's acquire and release, and submitted with its
// semaphores; the engine waits for the frames in flight before it drops a system and its pipeline.
unsafe impl System for Painting {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn resize(&mut self, extent: vk::Extent2D) -> Result<()> {
        let [width, height] = [extent.width, extent.height].map(|side| side as f32);
        let [near, far] = [MARGIN, MARGIN + SIDE].map(|at| at as f32 * 2.0);
        let side = SIDE as f32;
        self.constants =
            [near / width - 1.0, near / height - 1.0, far / width - 1.0, far / height - 1.0, side, side, 0.0, 0.0];
        Ok(())
    }

    fn begin(&mut self, frame: u64) -> Result<()> {
        self.lent = Some(self.painter.paint(frame as u32)?);
        Ok(())
    }

    fn before(&mut self, pass: Pass, recorder: &mut Recorder<'_>) {
        if let Some(lent) = self.lent.as_ref().filter(|_| pass == Pass::Scene) {
            lent.acquire(recorder);
        }
    }

    fn draw(&mut self, pass: Pass, recorder: &mut Recorder<'_>) {
        if let Some(lent) = self.lent.as_ref().filter(|_| pass == Pass::Scene) {
            let image = lent.resources();
            let texture = image.view().map(|view| (view, image.layout()));
            recorder.draw(&self.pipeline, texture, bytemuck::bytes_of(&self.constants), None, 6);
        }
    }

    fn after(&mut self, pass: Pass, recorder: &mut Recorder<'_>) {
        if let Some(lent) = self.lent.as_ref().filter(|_| pass == Pass::Scene) {
            let image = lent.resources();
            let [width, height, _] = image.extent();
            let extent = vk::Extent2D { width, height };
            recorder.sample_image(Self::NAME, image.as_raw(), image.layout(), extent);
            lent.release(recorder);
        }
    }

    fn semaphores(&self, pass: Pass, semaphores: &mut Semaphores) {
        if let Some(lent) = self.lent.as_ref().filter(|_| pass == Pass::Scene) {
            lent.semaphores(semaphores);
        }
    }

    fn prepare_present(&mut self, pass: Pass) -> Result<()> {
        match self.lent.as_ref().filter(|_| pass == Pass::Scene) {
            Some(lent) => lent.prepare_present().context("the texture of a presented frame"),
            None => Ok(()),
        }
    }

    fn submitted(&mut self, pass: Pass, accepted: bool) -> Result<()> {
        if let Some(lent) = self.lent.take_if(|_| pass == Pass::Scene) {
            lent.submitted(accepted);
        }
        Ok(())
    }
}
