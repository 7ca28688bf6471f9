//! The scene, in an app of Bevy's without a window.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bevy::camera::RenderTarget;
use bevy::core_pipeline::tonemapping::Tonemapping;
use bevy::prelude::*;
use bevy::render::gpu_readback::{Readback, ReadbackComplete};
use bevy::render::render_resource::{TextureFormat, TextureUsages};
use bevy::render::renderer::{RenderDevice, RenderQueue};
use bevy::render::settings::{InstanceFlags, WgpuSettings};
use bevy::render::{RenderApp, RenderPlugin};
use bevy_vk_cuda::bridge::cuda_import::CudaDevice;
use bevy_vk_cuda::{Cuda, CudaPlugin, CudaSystems, Way};

use crate::check;
use crate::cube::{self, Painting};
use crate::pace::Pace;
use crate::swarm::{self, Swarm};

/// The size of the picture.
pub(crate) const SIZE: [u32; 2] = [960, 540];

/// Frames that are drawn before those that are counted.
const WARM_UP: u32 = 3;

/// The most frames of Bevy's that are unfinished.
const IN_FLIGHT: usize = 2;

/// Contents of a scene.
#[derive(Clone, Copy)]
pub(crate) struct Contents {
    /// The side of the cube's texture in texels.
    pub(crate) side: u32,
    /// `None`: as many as the way can.
    pub(crate) particles: Option<u32>,
    pub(crate) validate: bool,
}

/// Results that are read back: the camera's picture, the cube's texture, the particles.
#[derive(Resource, Default)]
pub(crate) struct Seen {
    pub(crate) picture: Vec<u8>,
    pub(crate) texture: Vec<u8>,
    pub(crate) particles: Vec<u8>,
}

pub(crate) struct Scene {
    app: App,
    target: Handle<Image>,
}

/// Frames of the texture, and of the particles.
pub(crate) type Both<T> = [T; 2];

/// Counts and rate of the frames that [`Scene::draw`] has drawn.
pub(crate) struct Drawn {
    /// Of Bevy's, a second.
    pub(crate) rate: f32,
    /// The simulations' frames that were begun meanwhile.
    pub(crate) begun: Both<u64>,
    /// Those that Bevy was given meanwhile.
    pub(crate) shown: Both<u64>,
}

impl Scene {
    /// Makes the scene. Where frames are uploaded, `gpu` computes them, or else the CPU.
    pub(crate) fn new(contents: &Contents, plugin: CudaPlugin, gpu: Option<&CudaDevice>) -> Result<Self> {
        let flags = if contents.validate { InstanceFlags::debugging() } else { InstanceFlags::empty() };
        let settings = WgpuSettings { instance_flags: flags, ..Default::default() };
        let mut app = App::new();
        // Before Bevy's plugins: it adds to what the device is created with.
        app.add_plugins(plugin);
        let render = RenderPlugin {
            render_creation: settings.into(),
            synchronous_pipeline_compilation: true,
            ..Default::default()
        };
        let window = WindowPlugin { primary_window: None, ..Default::default() };
        app.add_plugins(DefaultPlugins.set(window).set(render)).add_plugins(swarm::plugin).init_resource::<Seen>();
        app.add_systems(Update, (cube::paint, swarm::simulate).in_set(CudaSystems).run_if(resource_exists::<Pace>));
        app.finish();
        app.cleanup();

        let way = app.world().resource::<Cuda>().way();
        let particles = contents.particles.unwrap_or(if way == Way::Cuda { 1_000_000 } else { 20_000 });
        cube::spawn(app.world_mut(), contents.side, cube_place(), gpu)?;
        let tilted =
            Transform::from_xyz(1.9, 0.0, 0.0).with_rotation(Quat::from_rotation_x(-0.9)).with_scale(Vec3::splat(2.0));
        swarm::spawn(app.world_mut(), particles, tilted, gpu)?;
        let target = camera(&mut app);
        Ok(Self { app, target })
    }

    pub(crate) fn cuda(&self) -> &Cuda {
        self.app.world().resource::<Cuda>()
    }

    /// The number of particles.
    pub(crate) fn particles(&mut self) -> Result<u32> {
        let world = self.app.world_mut();
        Ok(world.query::<&Swarm>().single(world)?.count)
    }

    /// Draws frames, and takes the time. The simulations go at a pace, or stop after their first
    /// frames.
    pub(crate) fn draw(&mut self, frames: u32, pace: Option<Pace>) -> Result<Drawn> {
        // The first frames compile pipelines, and begin the simulations.
        self.app.insert_resource(pace.unwrap_or(Pace::Free));
        (0..WARM_UP).for_each(|_| self.app.update());
        if pace.is_none() {
            self.app.world_mut().remove_resource::<Pace>();
        }
        self.finish()?;
        let before = self.counts()?;
        let start = Instant::now();
        let mut submitted = VecDeque::with_capacity(IN_FLIGHT + 1);
        for _ in 0..frames {
            self.app.update();
            self.keep_in_flight(&mut submitted)?;
        }
        self.finish()?;
        let rate = frames as f32 / start.elapsed().as_secs_f32();
        let after = self.counts()?;
        self.app.world_mut().remove_resource::<Pace>();
        let since = |which: usize| std::array::from_fn(|of| after[which][of] - before[which][of]);
        Ok(Drawn { rate, begun: since(0), shown: since(1) })
    }

    /// Checks texture and particles bit for bit, and the picture. Returns the picture.
    pub(crate) fn check(&mut self) -> Result<&[u8]> {
        // What was written last comes, with the CPU maybe some frames later.
        self.read_back()?;
        let end = Instant::now() + Duration::from_secs(60);
        while let Err(error) = check::whole(&mut self.app) {
            if Instant::now() > end {
                return Err(error.context("the last frame never came"));
            }
            self.app.update();
        }
        // The picture with the last frame of both is read back a few frames later.
        (0..8).for_each(|_| self.app.update());
        check::cube(&mut self.app)?;
        check::lights(&self.app)?;
        Ok(&self.app.world().resource::<Seen>().picture)
    }

    /// Waits until no more than [`IN_FLIGHT`] of Bevy's frames are unfinished, as a window does.
    /// Without, the CPU is dozens of frames ahead of the GPU, and what is presented with them is as
    /// late.
    fn keep_in_flight(&self, submitted: &mut VecDeque<wgpu::SubmissionIndex>) -> Result<()> {
        let render = self.app.get_sub_app(RenderApp).context("Bevy renders nothing")?;
        submitted.push_back(render.world().resource::<RenderQueue>().submit([]));
        if submitted.len() > IN_FLIGHT {
            self.wait(submitted.pop_front())?;
        }
        Ok(())
    }

    /// Waits until the GPU has drawn everything, for at most a minute.
    fn finish(&self) -> Result<()> {
        self.wait(None)
    }

    fn wait(&self, submission_index: Option<wgpu::SubmissionIndex>) -> Result<()> {
        let render = self.app.get_sub_app(RenderApp).context("Bevy renders nothing")?;
        let limit = wgpu::PollType::Wait { submission_index, timeout: Some(Duration::from_secs(60)) };
        render.world().resource::<RenderDevice>().poll(limit)?;
        Ok(())
    }

    /// The frames begun and those given to Bevy, so far.
    fn counts(&mut self) -> Result<[Both<u64>; 2]> {
        let world = self.app.world_mut();
        let mut painting = world.query::<&mut Painting>().single_mut(world)?;
        let painted = painting.frames.into();
        let texture = painting.image.writer().context("the writer is gone")?.presented();
        let mut swarm = world.query::<&mut Swarm>().single_mut(world)?;
        let moved = swarm.frames.into();
        let particles = swarm.buffer.writer().context("the writer is gone")?.presented();
        Ok([[painted, moved], [texture, particles]])
    }

    fn read_back(&mut self) -> Result<()> {
        let world = self.app.world_mut();
        let painting = world.query::<&Painting>().single(world)?.image.handle().clone();
        let particles = world.query::<&Swarm>().single(world)?.buffer.handle().clone();
        type Event<'w, 't> = On<'w, 't, ReadbackComplete>;
        world
            .spawn(Readback::texture(self.target.clone()))
            .observe(|event: Event<'_, '_>, mut seen: ResMut<'_, Seen>| seen.picture = event.data.clone());
        world
            .spawn(Readback::texture(painting))
            .observe(|event: Event<'_, '_>, mut seen: ResMut<'_, Seen>| seen.texture = event.data.clone());
        world
            .spawn(Readback::buffer(particles))
            .observe(|event: Event<'_, '_>, mut seen: ResMut<'_, Seen>| seen.particles = event.data.clone());
        Ok(())
    }
}

/// Position of the cube.
pub(crate) fn cube_place() -> Transform {
    Transform::from_xyz(-1.9, 0.0, 0.0).with_rotation(Quat::from_rotation_y(0.35) * Quat::from_rotation_x(0.25))
}

/// A camera that draws into an image.
fn camera(app: &mut App) -> Handle<Image> {
    let mut target = Image::new_target_texture(SIZE[0], SIZE[1], TextureFormat::Rgba8UnormSrgb, None);
    target.texture_descriptor.usage |= TextureUsages::COPY_SRC;
    let target = app.world_mut().resource_mut::<Assets<Image>>().add(target);
    app.world_mut().spawn((
        Camera3d::default(),
        Camera { clear_color: ClearColorConfig::Custom(Color::BLACK), ..Default::default() },
        RenderTarget::Image(target.clone().into()),
        Tonemapping::None,
        Msaa::Off,
        Transform::from_xyz(0.0, 0.0, 6.5).looking_at(Vec3::ZERO, Vec3::Y),
    ));
    target
}
