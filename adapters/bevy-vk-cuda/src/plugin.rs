//! The plugin.
#![allow(unsafe_code)] // A promise of the program's.

use bevy_app::{App, Plugin};
use bevy_ecs::change_detection::DetectChanges;
use bevy_ecs::resource::Resource;
use bevy_ecs::schedule::{IntoScheduleConfigs, SystemSet};
use bevy_ecs::system::{Res, ResMut};
use bevy_render::renderer::RenderDevice;
use bevy_render::renderer::raw_vulkan_init::RawVulkanInitSettings;
use bevy_render::{ExtractSchedule, MainWorld, Render, RenderApp, RenderPlugin, RenderSystems};
use bridge::Backend;

use crate::cuda::{Cuda, Way};
use crate::present::{Presented, present};
use crate::vulkan::gate::Gate;
use crate::vulkan::{self, init, windows};

/// The system set for systems that compute frames, for ordering other systems before or after them.
/// The plugin does not add it to a schedule; the program chooses the schedules of its systems.
#[derive(SystemSet, Debug, Clone, PartialEq, Eq, Hash)]
pub struct CudaSystems;

/// The way that the program requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Wish {
    #[default]
    Auto,
    Host,
    Upload,
}

/// Lets CUDA fill Bevy's textures and storage buffers at its own rate.
///
/// **Add it before `DefaultPlugins`**: it changes how Bevy's device is created, and inserts
/// [`Cuda`]. If CUDA is not available, or the device has no separate queue for it, the CPU computes
/// and frames are uploaded, on any wgpu backend. The log and [`Cuda::reason`] give the reason.
#[derive(Debug, Clone, Default)]
pub struct CudaPlugin {
    wish: Wish,
    share_queue: bool,
}

impl CudaPlugin {
    /// Computes on the CPU in memory that is shared with Bevy's device, and copies frames as with
    /// CUDA. Use it to test the CUDA path without an NVIDIA GPU. Like CUDA, it needs a queue
    /// beside Bevy's, which software drivers lack; see [`share_queue`](Self::share_queue).
    #[must_use]
    pub fn host() -> Self {
        Self { wish: Wish::Host, share_queue: false }
    }

    /// Computes on the CPU and uploads frames, even if CUDA is available.
    #[must_use]
    pub fn upload() -> Self {
        Self { wish: Wish::Upload, share_queue: false }
    }

    /// Submits copies to Bevy's own queue if the device has no other for them, as with software
    /// drivers.
    ///
    /// # Safety
    /// While images and buffers of this crate are created, dropped or presented (which happens in
    /// `RenderSystems::PrepareResources`), neither Bevy nor the program submits to Bevy's queue or
    /// presents. The program must therefore run all systems on one thread, without
    /// `PipelinedRenderingPlugin`.
    #[must_use]
    pub unsafe fn share_queue(self) -> Self {
        Self { share_queue: true, ..self }
    }
}

impl CudaPlugin {
    /// Adopts Bevy's device.
    fn adopt(&self, device: &RenderDevice, gate: &Gate) -> Cuda {
        let backend = if self.wish == Wish::Host { Backend::Host } else { Backend::Cuda };
        let adopted = vulkan::adopt(device.wgpu_device(), backend, self.share_queue, gate);
        Cuda::new(adopted, Some(device.limits()))
    }
}

impl Plugin for CudaPlugin {
    fn build(&self, app: &mut App) {
        if app.is_plugin_added::<RenderPlugin>() {
            log::error!("{BEHIND}");
            // Installed immediately: with pipelined rendering, `cleanup` cannot access the render
            // world.
            return install(app, Cuda::new(Err(BEHIND.to_owned()), None), self.clone(), Gate::default());
        }
        if self.wish != Wish::Upload {
            let mut settings = app.world_mut().get_resource_or_init::<RawVulkanInitSettings>();
            init::register(&mut settings);
        }
    }

    fn finish(&self, app: &mut App) {
        // `Cuda` exists here only if this plugin was added after `RenderPlugin`, whose `finish` has
        // created the device.
        if let (Some(cuda), Some(limits)) = (app.world().get_resource::<Cuda>(), limits_of(app)) {
            cuda.set_limits(limits);
        }
    }

    // Not in `finish`, which for this plugin runs before that of `RenderPlugin`.
    fn cleanup(&self, app: &mut App) {
        if app.world().contains_resource::<Cuda>() {
            return;
        }
        let gate = Gate::default();
        let cuda = match app.get_sub_app(RenderApp) {
            _ if self.wish == Wish::Upload => Cuda::new(Err("requested".to_owned()), limits_of(app)),
            None => Cuda::new(Err("Bevy renders nothing".to_owned()), None),
            Some(render) => {
                let device = render.world().get_resource::<RenderDevice>();
                match device {
                    Some(device) => self.adopt(device, &gate),
                    None => Cuda::new(Err("Bevy has no device".to_owned()), None),
                }
            }
        };
        install(app, cuda, self.clone(), gate);
    }
}

/// Returns the limits of Bevy's device, if it has one already.
fn limits_of(app: &App) -> Option<wgpu::Limits> {
    let device = app.get_sub_app(RenderApp)?.world().get_resource::<RenderDevice>()?;
    Some(device.limits())
}

/// The error message for a wrong order of plugins.
const BEHIND: &str = "`CudaPlugin` was added after Bevy's `RenderPlugin`, which creates the device without what sharing needs; add it \
                      before `DefaultPlugins`";

/// The plugin's configuration, with which the render world adopts a new device.
#[derive(Resource)]
struct Configuration(CudaPlugin);

/// Inserts the resources and the systems that present frames.
fn install(app: &mut App, cuda: Cuda, plugin: CudaPlugin, gate: Gate) {
    log_way(&cuda, plugin.wish);
    app.insert_resource(cuda.clone());
    if let Some(render) = app.get_sub_app_mut(RenderApp) {
        render
            .insert_resource(Presented::new(gate.clone()))
            .insert_resource(cuda)
            .insert_resource(gate.clone())
            .insert_resource(Configuration(plugin));
        windows::guard_extraction(render, gate);
        windows::add_systems(render, windows::has_windows);
        // These drop exchanges, which may submit.
        render.add_systems(ExtractSchedule, (follow, extract).chain().after(windows::open));
        render.add_systems(Render, present.in_set(RenderSystems::PrepareResources));
    }
}

fn log_way(cuda: &Cuda, wish: Wish) {
    match cuda.way() {
        Way::Upload if wish != Wish::Upload => {
            log::warn!("frames are computed on the CPU and uploaded: {}", cuda.reason());
        }
        way => log::info!("frames come to Bevy by {way:?}: {}", cuda.reason()),
    }
}

/// Adopts the device with which the renderer's recovery (`RenderErrorPolicy::Recover`) has replaced
/// the former one. Bevy replaces it at the beginning of an extraction, so neither the program nor
/// the render world sees the new device with the former [`Cuda`].
///
/// Uploaded frames always use the current device, so nothing is adopted for them.
fn follow(
    device: Res<'_, RenderDevice>,
    (configuration, gate): (Res<'_, Configuration>, Res<'_, Gate>),
    (mut cuda, mut presented): (ResMut<'_, Cuda>, ResMut<'_, Presented>),
    mut main: ResMut<'_, MainWorld>,
) {
    if !device.is_changed() {
        return;
    }
    cuda.set_limits(device.limits());
    let Some(former) = cuda.device() else { return };
    if vulkan::raw_device(device.wgpu_device()) == Some(former) {
        return;
    }
    log::warn!("Bevy has replaced its device: images and buffers of the former one get no more frames");
    presented.add_last(cuda.take_last());
    *cuda = configuration.0.adopt(&device, &gate);
    log_way(&cuda, configuration.0.wish);
    main.insert_resource(cuda.clone());
}

/// Records an extraction, which Bevy makes whether or not it renders.
fn extract(mut presented: ResMut<'_, Presented>, cuda: Res<'_, Cuda>) {
    presented.extract(&cuda);
}
