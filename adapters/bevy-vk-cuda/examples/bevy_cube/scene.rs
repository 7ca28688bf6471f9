//! The scene in a Bevy app, with and without a window.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bevy::app::PluginGroupBuilder;
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

/// The number of frames that are drawn before those that are counted.
const WARM_UP: u32 = 3;

/// The maximum number of Bevy's unfinished frames.
const IN_FLIGHT: usize = 2;

/// The contents of a scene.
#[derive(Clone, Copy)]
pub(crate) struct Contents {
    /// Width and height of the cube's texture in texels.
    pub(crate) side: u32,
    /// The number of particles; `None` for the default, which depends on the way.
    pub(crate) particles: Option<u32>,
    pub(crate) validate: bool,
}

/// The data that is read back: the camera's picture, the cube's texture, and the particles.
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

/// A value for the texture and one for the particles.
pub(crate) type Both<T> = [T; 2];

/// The rate and the counts of the frames that [`Scene::draw`] has drawn.
pub(crate) struct Drawn {
    /// Bevy's frames per second.
    pub(crate) rate: f32,
    /// The number of frames that the simulations began.
    pub(crate) begun: Both<u64>,
    /// The number of frames that Bevy received.
    pub(crate) shown: Both<u64>,
}

impl Scene {
    /// Creates the scene. If frames are uploaded, `gpu` computes them, or the CPU if it is `None`.
    pub(crate) fn new(contents: &Contents, plugin: CudaPlugin, gpu: Option<&CudaDevice>) -> Result<Self> {
        let mut app = app(contents, plugin, None, |plugins| plugins);
        app.finish();
        app.cleanup();
        let world = app.world_mut();
        spawn(world, contents, gpu)?;
        let mut target = Image::new_target_texture(SIZE[0], SIZE[1], TextureFormat::Rgba8UnormSrgb, None);
        target.texture_descriptor.usage |= TextureUsages::COPY_SRC;
        let target = world.resource_mut::<Assets<Image>>().add(target);
        camera(world, Some(&target));
        Ok(Self { app, target })
    }

    pub(crate) fn cuda(&self) -> &Cuda {
        self.app.world().resource::<Cuda>()
    }

    /// Returns the number of particles.
    pub(crate) fn particles(&mut self) -> Result<u32> {
        let world = self.app.world_mut();
        Ok(world.query::<&Swarm>().single(world)?.count)
    }

    /// Draws frames, and measures the time. The simulations run at a pace, or stop after their
    /// first frames.
    pub(crate) fn draw(&mut self, frames: u32, pace: Option<Pace>) -> Result<Drawn> {
        // The first frames compile pipelines and start the simulations.
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

    /// Checks the texture and the particles bit for bit, and the picture. Returns the picture.
    pub(crate) fn check(&mut self) -> Result<&[u8]> {
        // The last written frame arrives, with the CPU possibly some frames later.
        read_back(self.app.world_mut(), Some(&self.target))?;
        let end = Instant::now() + Duration::from_secs(60);
        while let Err(error) = check::whole(self.app.world_mut()) {
            if Instant::now() > end {
                return Err(error.context("the last frame never came"));
            }
            self.app.update();
        }
        // The picture with the last frame of both is read back a few frames later.
        (0..8).for_each(|_| self.app.update());
        check::cube(self.app.world_mut())?;
        check::lights(self.app.world())?;
        Ok(&self.app.world().resource::<Seen>().picture)
    }

    /// Waits until at most [`IN_FLIGHT`] of Bevy's frames are unfinished, as with a window. Without
    /// this, the CPU is dozens of frames ahead of the GPU, and presented frames are equally late.
    fn keep_in_flight(&self, submitted: &mut VecDeque<wgpu::SubmissionIndex>) -> Result<()> {
        let render = self.app.get_sub_app(RenderApp).context("Bevy renders nothing")?;
        submitted.push_back(render.world().resource::<RenderQueue>().submit([]));
        if submitted.len() > IN_FLIGHT {
            self.wait(submitted.pop_front())?;
        }
        Ok(())
    }

    /// Waits until the GPU has drawn everything, with a limit of one minute.
    fn finish(&self) -> Result<()> {
        self.wait(None)
    }

    fn wait(&self, submission_index: Option<wgpu::SubmissionIndex>) -> Result<()> {
        let render = self.app.get_sub_app(RenderApp).context("Bevy renders nothing")?;
        let limit = wgpu::PollType::Wait { submission_index, timeout: Some(Duration::from_secs(60)) };
        render.world().resource::<RenderDevice>().poll(limit)?;
        Ok(())
    }

    /// Returns the numbers of frames that were begun, and of those that Bevy received, so far.
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
}

/// Creates an app with Bevy's plugins, for the scene. `add` may add more of them.
pub(crate) fn app(
    contents: &Contents,
    plugin: CudaPlugin,
    window: Option<Window>,
    add: impl FnOnce(PluginGroupBuilder) -> PluginGroupBuilder,
) -> App {
    let flags = if contents.validate { InstanceFlags::debugging() } else { InstanceFlags::empty() };
    let settings = WgpuSettings { instance_flags: flags, ..Default::default() };
    let mut app = App::new();
    // Before Bevy's plugins, because this plugin changes how the device is created.
    app.add_plugins(plugin);
    let render =
        RenderPlugin { render_creation: settings.into(), synchronous_pipeline_compilation: true, ..Default::default() };
    let window = WindowPlugin { primary_window: window, ..Default::default() };
    app.add_plugins(add(DefaultPlugins.set(window).set(render))).add_plugins(swarm::plugin).init_resource::<Seen>();
    app.add_systems(Update, (cube::paint, swarm::simulate).in_set(CudaSystems).run_if(resource_exists::<Pace>));
    app
}

/// Adds the cube and the particles. If frames are uploaded, `gpu` computes them.
pub(crate) fn spawn(world: &mut World, contents: &Contents, gpu: Option<&CudaDevice>) -> Result<()> {
    let way = world.resource::<Cuda>().way();
    let particles = contents.particles.unwrap_or(if way == Way::Cuda { 1_000_000 } else { 20_000 });
    cube::spawn(world, contents.side, cube_place(), gpu)?;
    let tilted =
        Transform::from_xyz(1.9, 0.0, 0.0).with_rotation(Quat::from_rotation_x(-0.9)).with_scale(Vec3::splat(2.0));
    swarm::spawn(world, particles, tilted, gpu)
}

/// Reads the texture and the particles back, and the picture in `target`.
pub(crate) fn read_back(world: &mut World, target: Option<&Handle<Image>>) -> Result<()> {
    type Event<'w, 't> = On<'w, 't, ReadbackComplete>;
    let painting = world.query::<&Painting>().single(world)?.image.handle().clone();
    let particles = world.query::<&Swarm>().single(world)?.buffer.handle().clone();
    world
        .spawn(Readback::texture(painting))
        .observe(|event: Event<'_, '_>, mut seen: ResMut<'_, Seen>| seen.texture = event.data.clone());
    world
        .spawn(Readback::buffer(particles))
        .observe(|event: Event<'_, '_>, mut seen: ResMut<'_, Seen>| seen.particles = event.data.clone());
    if let Some(target) = target {
        world
            .spawn(Readback::texture(target.clone()))
            .observe(|event: Event<'_, '_>, mut seen: ResMut<'_, Seen>| seen.picture = event.data.clone());
    }
    Ok(())
}

/// Returns the position of the cube.
pub(crate) fn cube_place() -> Transform {
    Transform::from_xyz(-1.9, 0.0, 0.0).with_rotation(Quat::from_rotation_y(0.35) * Quat::from_rotation_x(0.25))
}

/// Creates a camera that draws into an image, or into the window.
pub(crate) fn camera(world: &mut World, target: Option<&Handle<Image>>) {
    let mut camera = world.spawn((
        Camera3d::default(),
        Camera { clear_color: ClearColorConfig::Custom(Color::BLACK), ..Default::default() },
        Tonemapping::None,
        Msaa::Off,
        Transform::from_xyz(0.0, 0.0, 6.5).looking_at(Vec3::ZERO, Vec3::Y),
    ));
    if let Some(target) = target {
        camera.insert(RenderTarget::Image(target.clone().into()));
    }
}
