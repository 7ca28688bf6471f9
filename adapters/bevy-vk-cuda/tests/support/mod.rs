//! A headless Bevy app with a camera that sees one square, and a log that records warnings.
#![allow(dead_code, unreachable_pub, unsafe_code, clippy::unwrap_used)] // Each test uses a part of it.

#[path = "../../../gate.rs"]
pub mod gate;
pub mod simulation;
#[path = "../../../test_log.rs"]
pub mod test_log;

use std::sync::{Arc, Mutex, MutexGuard, Once, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bevy::camera::{RenderTarget, ScalingMode};
use bevy::core_pipeline::tonemapping::Tonemapping;
use bevy::prelude::*;
use bevy::render::gpu_readback::{Readback, ReadbackComplete};
use bevy::render::render_resource::{TextureFormat, TextureUsages};
use bevy::render::renderer::raw_vulkan_init::AdditionalVulkanFeatures;
use bevy::render::renderer::{RenderAdapter, RenderAdapterInfo, RenderInstance, RenderQueue, WgpuWrapper};
use bevy::render::settings::{RenderCreation, WgpuSettings};
use bevy::render::storage::ShaderBuffer;
use bevy::render::{RenderApp, RenderPlugin};
use bevy::tasks::block_on;
use bevy_vk_cuda::bridge::LiveObjects;
use bevy_vk_cuda::{Cuda, CudaPlugin, Way};
pub use test_log::logged;

/// Returns the errors logged so far, including validation messages.
pub fn errors() -> Vec<String> {
    test_log::logged_lines(|line| line.starts_with("ERROR") || line.contains("VUID"))
}

/// Clears the log, so that the next test does not see errors that a test has caused on purpose.
pub fn forget_errors() {
    test_log::forget();
}

/// Why tests that need the validation layer are skipped.
pub const NO_LAYER: &str = "the validation layer is not installed";

/// Returns `true` if the validation layer is installed, and so enabled by [`settings`].
pub fn has_layer() -> bool {
    // SAFETY: loads the system's Vulkan library, as wgpu does.
    let entry = unsafe { ash::Entry::load() }.unwrap();
    // SAFETY: only queries the loader.
    let layers = unsafe { entry.enumerate_instance_layer_properties() }.unwrap();
    layers.iter().any(|layer| layer.layer_name_as_c_str() == Ok(c"VK_LAYER_KHRONOS_validation"))
}

/// Locks out other tests, because live objects and the log belong to the process.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        test_log::install();
        if !has_layer() {
            test_support::skip_case(test_support::Need::Other, "validation", NO_LAYER);
        }
    });
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    // Waits for objects that the last test has left to other threads.
    assert_nothing_alive();
    alone
}

/// Returns the ways that this machine supports: uploads; copies on a queue, which on software
/// drivers is Bevy's because they have only one; and CUDA.
pub fn ways() -> Vec<CudaPlugin> {
    static CUDA: OnceLock<bool> = OnceLock::new();
    let has_cuda = *CUDA.get_or_init(|| {
        let app = app(CudaPlugin::default());
        let (way, reason) = (cuda(&app).way(), cuda(&app).reason().to_owned());
        if way != Way::Cuda {
            test_support::skip_case(test_support::Need::Gpu, "on cuda", &reason);
        }
        way == Way::Cuda
    });
    // SAFETY: all systems of these tests run on one thread, and nothing is pipelined.
    let host = unsafe { CudaPlugin::host().share_queue() };
    [CudaPlugin::upload(), host].into_iter().chain(has_cuda.then(CudaPlugin::default)).collect()
}

/// Width and height of the camera's picture in texels; rows of 256 bytes need no padding for
/// read-backs.
pub const SIDE: usize = 64;

/// The camera's picture, and the contents of the buffers that are read back.
#[derive(Resource, Default)]
pub struct Seen {
    pub picture: Vec<u8>,
    pub buffer: Vec<u8>,
}

pub fn app(plugin: CudaPlugin) -> App {
    app_on(plugin, settings().into())
}

/// Creates an app with this renderer.
pub fn app_on(plugin: CudaPlugin, renderer: RenderCreation) -> App {
    let mut app = App::new();
    app.add_plugins(plugin);
    defaults(&mut app, renderer);
    app.finish();
    app.cleanup();
    app
}

/// Creates an app whose plugins were added in the wrong order, and whose render world is not
/// available in `cleanup`, as with pipelined rendering.
pub fn app_behind(plugin: CudaPlugin) -> App {
    let mut app = App::new();
    defaults(&mut app, settings().into());
    app.add_plugins(plugin);
    app.finish();
    let render = app.remove_sub_app(RenderApp).unwrap();
    app.cleanup();
    app.insert_sub_app(RenderApp, render);
    app
}

/// Returns the settings with which Bevy's device is created.
pub fn settings() -> WgpuSettings {
    WgpuSettings {
        backends: Some(bevy::render::settings::Backends::VULKAN),
        instance_flags: bevy::render::settings::InstanceFlags::debugging(),
        ..Default::default()
    }
}

/// Returns a renderer on wgpu's GL backend. Returns `None`, with a skip, if there is none.
///
/// Bevy itself creates none where there is Vulkan: with its feature `raw_vulkan_init`, it tries
/// Vulkan first, whatever backends its settings name.
pub fn gl() -> Option<RenderCreation> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::GL;
    let instance = wgpu::Instance::new(descriptor);
    let skip = |reason: String| test_support::skip(test_support::Need::Other, &reason);
    let adapter = block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default()));
    let adapter = adapter.map_err(|error| skip(error.to_string())).ok()?;
    // With twelve storage textures, Bevy culls on the GPU, with a shader that wgpu cannot translate
    // for GL.
    let limits = wgpu::Limits { max_storage_textures_per_shader_stage: 4, ..adapter.limits() };
    let descriptor =
        wgpu::DeviceDescriptor { required_features: adapter.features(), required_limits: limits, ..Default::default() };
    // Fails with drivers whose version of GL has no compute shaders.
    let created = block_on(adapter.request_device(&descriptor));
    let (device, queue) = created.map_err(|error| skip(format!("{}: {error}", adapter.get_info().name))).ok()?;
    Some(RenderCreation::manual(
        device.into(),
        RenderQueue(Arc::new(WgpuWrapper::new(queue))),
        RenderAdapterInfo(WgpuWrapper::new(adapter.get_info())),
        RenderAdapter(Arc::new(WgpuWrapper::new(adapter))),
        RenderInstance(Arc::new(WgpuWrapper::new(instance))),
        AdditionalVulkanFeatures::default(),
    ))
}

/// Returns a renderer of a device that the program creates by hand, on the adapter of an app, with
/// what that app says about its own device.
pub fn by_hand(app: &App) -> RenderCreation {
    let world = app.sub_app(RenderApp).world();
    let adapter = world.resource::<RenderAdapter>().clone();
    let descriptor = wgpu::DeviceDescriptor {
        required_features: adapter.features() - wgpu::Features::all_experimental_mask(),
        required_limits: adapter.limits(),
        ..Default::default()
    };
    let (device, queue) = block_on(adapter.request_device(&descriptor)).unwrap();
    RenderCreation::manual(
        device.into(),
        RenderQueue(Arc::new(WgpuWrapper::new(queue))),
        world.resource::<RenderAdapterInfo>().clone(),
        adapter,
        world.resource::<RenderInstance>().clone(),
        world.resource::<AdditionalVulkanFeatures>().clone(),
    )
}

fn defaults(app: &mut App, renderer: RenderCreation) {
    let window = WindowPlugin { primary_window: None, ..Default::default() };
    let render =
        RenderPlugin { render_creation: renderer, synchronous_pipeline_compilation: true, ..Default::default() };
    app.add_plugins(DefaultPlugins.set(window).set(render)).init_resource::<Seen>();
}

/// Adds a camera that sees only a square of 2 by 2, and the read-back of its picture.
pub fn camera(app: &mut App) {
    let target = camera_alone(app);
    let read = |event: On<'_, '_, ReadbackComplete>, mut seen: ResMut<'_, Seen>| seen.picture = event.data.clone();
    app.world_mut().spawn(Readback::texture(target)).observe(read);
}

/// Adds the camera, and returns the image that it draws to.
pub fn camera_alone(app: &mut App) -> Handle<Image> {
    let mut target = Image::new_target_texture(SIDE as u32, SIDE as u32, TextureFormat::Rgba8UnormSrgb, None);
    target.texture_descriptor.usage |= TextureUsages::COPY_SRC;
    let target = app.world_mut().resource_mut::<Assets<Image>>().add(target);
    let projection = Projection::Orthographic(OrthographicProjection {
        scaling_mode: ScalingMode::Fixed { width: 2.0, height: 2.0 },
        ..OrthographicProjection::default_3d()
    });
    app.world_mut().spawn((
        Camera3d::default(),
        Camera { clear_color: ClearColorConfig::Custom(Color::BLACK), ..Default::default() },
        RenderTarget::Image(target.clone().into()),
        projection,
        Tonemapping::None,
        Msaa::Off,
        Transform::from_xyz(0.0, 0.0, 5.0).looking_at(Vec3::ZERO, Vec3::Y),
    ));
    target
}

/// Adds the square, with an unlit material that shows a texture.
pub fn square(app: &mut App, texture: Handle<Image>) -> Entity {
    let mesh = app.world_mut().resource_mut::<Assets<Mesh>>().add(Rectangle::new(2.0, 2.0));
    let material = StandardMaterial { base_color_texture: Some(texture), unlit: true, ..Default::default() };
    let material = app.world_mut().resource_mut::<Assets<StandardMaterial>>().add(material);
    app.world_mut().spawn((Mesh3d(mesh), MeshMaterial3d(material))).id()
}

pub fn read_buffer(app: &mut App, buffer: Handle<ShaderBuffer>) -> Entity {
    let read = |event: On<'_, '_, ReadbackComplete>, mut seen: ResMut<'_, Seen>| seen.buffer = event.data.clone();
    app.world_mut().spawn(Readback::buffer(buffer)).observe(read).id()
}

pub fn cuda(app: &App) -> Cuda {
    app.world().resource::<Cuda>().clone()
}

/// Runs Bevy's frames until `fits` returns `true`.
pub fn until(app: &mut App, what: &str, mut fits: impl FnMut(&mut App) -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !fits(app) {
        assert!(Instant::now() < end, "it was never seen: {what}");
        app.update();
    }
}

/// Waits until objects that other threads free are gone.
pub fn assert_nothing_alive() {
    let end = Instant::now() + Duration::from_secs(60);
    while !LiveObjects::now().is_empty() {
        assert!(Instant::now() < end, "alive: {}", LiveObjects::now());
        std::thread::yield_now();
    }
}
