//! Windows whose drop shows that the gate is closed.
#![allow(unsafe_code, clippy::unwrap_used)] // Tests.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use bevy::prelude::*;
use bevy::render::error_handler::{RenderErrorHandler, RenderErrorPolicy};
use bevy::render::pipelined_rendering::PipelinedRenderingPlugin;
use bevy::render::settings::{Backends, WgpuSettings};
use bevy::render::view::ExtractedWindow;
use bevy::render::{RenderApp, RenderPlugin, RenderStartup};
use bevy::window::{CompositeAlphaMode, PresentMode, WindowWrapper};
use bevy_ecs::schedule::SingleThreadedExecutor;
use raw_window_handle as raw;

use super::*;
use crate::plugin::CudaPlugin;

const LIMIT: Duration = Duration::from_secs(60);

/// For each dropped window, `true` if the gate was closed then.
type Seen = Arc<Mutex<Vec<bool>>>;

/// A window that the render world drops with its surface.
struct Spy {
    gate: Gate,
    seen: Seen,
}

impl Drop for Spy {
    fn drop(&mut self) {
        self.seen.lock().unwrap().push(self.gate.is_closed());
    }
}

impl raw::HasWindowHandle for Spy {
    fn window_handle(&self) -> Result<raw::WindowHandle<'_>, raw::HandleError> {
        // SAFETY: nothing uses the handle: the window is dropped before a surface is created.
        Ok(unsafe { raw::WindowHandle::borrow_raw(raw::XlibWindowHandle::new(1).into()) })
    }
}

impl raw::HasDisplayHandle for Spy {
    fn display_handle(&self) -> Result<raw::DisplayHandle<'_>, raw::HandleError> {
        // SAFETY: nothing uses the handle, as above.
        Ok(unsafe { raw::DisplayHandle::borrow_raw(raw::XlibDisplayHandle::new(None, 0).into()) })
    }
}

fn handle(gate: &Gate, seen: &Seen) -> RawHandleWrapper {
    RawHandleWrapper::new(&WindowWrapper::new(Spy { gate: gate.clone(), seen: Arc::clone(seen) })).unwrap()
}

/// The program's window that the next extraction takes.
#[derive(Resource, Clone, Default)]
struct Next {
    entity: Arc<Mutex<Option<Entity>>>,
    gate: Arc<OnceLock<Gate>>,
    seen: Seen,
}

/// The window that the render world receives at the end of its frame.
#[derive(Resource, Default)]
struct Taken(Option<Entity>);

fn take(next: Res<'_, Next>, mut taken: ResMut<'_, Taken>) {
    taken.0 = next.entity.lock().unwrap().take();
}

/// Runs at the end of a frame, because Bevy creates the surfaces of windows before.
fn place(
    next: Res<'_, Next>,
    mut taken: ResMut<'_, Taken>,
    gate: Res<'_, Gate>,
    mut windows: ResMut<'_, ExtractedWindows>,
) {
    let gate = next.gate.get_or_init(|| gate.clone());
    if let Some(entity) = taken.0.take() {
        windows.insert(entity, window(entity, handle(gate, &next.seen)));
    }
}

fn window(entity: Entity, handle: RawHandleWrapper) -> ExtractedWindow {
    ExtractedWindow {
        entity,
        handle,
        physical_width: 1,
        physical_height: 1,
        present_mode: PresentMode::Fifo,
        desired_maximum_frame_latency: None,
        swap_chain_texture_view: None,
        swap_chain_texture: None,
        swap_chain_texture_format: None,
        swap_chain_texture_view_format: None,
        size_changed: false,
        present_mode_changed: false,
        alpha_mode: CompositeAlphaMode::Auto,
        needs_initial_present: false,
    }
}

fn settings() -> WgpuSettings {
    WgpuSettings { backends: Some(Backends::VULKAN), ..Default::default() }
}

struct Scene {
    app: App,
    next: Next,
}

impl Scene {
    fn new(pipelined: bool) -> Self {
        let (mut app, next) = (App::new(), Next::default());
        let window = WindowPlugin { primary_window: None, ..Default::default() };
        let render = RenderPlugin { render_creation: settings().into(), ..Default::default() };
        app.add_plugins(CudaPlugin::upload()).add_plugins(DefaultPlugins.set(window).set(render));
        app.sub_app_mut(RenderApp)
            .insert_resource(next.clone())
            .init_resource::<Taken>()
            .add_systems(ExtractSchedule, take)
            .add_systems(Render, place.in_set(RenderSystems::Cleanup));
        if pipelined {
            app.add_plugins(PipelinedRenderingPlugin);
        }
        app.finish();
        app.cleanup();
        app.update();
        Self { app, next }
    }

    /// Adds a window. With pipelined rendering, the render world may receive it after this call,
    /// but before the next extraction.
    fn add(&mut self) -> Entity {
        // The program's window has a handle of its own.
        let entity = self.app.world_mut().spawn(handle(&Gate::default(), &Seen::default())).id();
        *self.next.entity.lock().unwrap() = Some(entity);
        self.app.update();
        entity
    }

    fn seen(&self) -> Vec<bool> {
        self.next.seen.lock().unwrap().clone()
    }
}

/// Bevy drops the surface of a window in the extraction after it was closed or despawned.
#[test]
fn it_is_closed_while_windows_are_dropped() {
    for pipelined in [false, true] {
        let mut scene = Scene::new(pipelined);
        let window = scene.add();
        scene.app.world_mut().write_message(WindowClosing { window });
        scene.app.update();
        assert_eq!(scene.seen(), [true], "pipelined: {pipelined}");
        // Bevy keeps messages for two updates.
        (0..2).for_each(|_| scene.app.update());
        let window = scene.add();
        scene.app.world_mut().despawn(window);
        scene.app.update();
        assert_eq!(scene.seen(), [true; 2], "pipelined: {pipelined}");
    }
}

/// The windows that are left are dropped with the render world. Then the gate opens.
#[test]
fn it_is_closed_while_the_render_world_is_dropped() {
    for pipelined in [false, true] {
        let mut scene = Scene::new(pipelined);
        let window = scene.add();
        scene.app.world_mut().write_message(WindowClosing { window });
        scene.app.update();
        scene.add();
        let Scene { app, next } = scene;
        drop(app);
        assert_eq!(*next.seen.lock().unwrap(), [true; 2], "pipelined: {pipelined}");
        assert!(!next.gate.get().unwrap().is_closed());
    }
}

/// A recovery drops all surfaces of the former device. The gate is open in `RenderStartup`.
#[test]
fn it_is_closed_while_a_recovery_drops_windows() {
    static RECOVERED: AtomicBool = AtomicBool::new(false);
    let mut scene = Scene::new(false);
    scene.app.insert_resource(RenderErrorHandler(|_, _, _| {
        RECOVERED.store(true, Ordering::SeqCst);
        RenderErrorPolicy::Recover(settings().into())
    }));
    let (started, gate) = (Seen::default(), scene.next.gate.get().unwrap().clone());
    let render = scene.app.sub_app_mut(RenderApp);
    let at_start = Arc::clone(&started);
    render.add_systems(RenderStartup, move |gate: Res<'_, Gate>| at_start.lock().unwrap().push(gate.is_closed()));
    // No usage, which is an error on every device.
    drop(render.world().resource::<RenderDevice>().wgpu_device().create_buffer(&wgpu::BufferDescriptor {
        label: Some("on purpose"),
        size: 4,
        usage: wgpu::BufferUsages::empty(),
        mapped_at_creation: false,
    }));
    let start = Instant::now();
    while !RECOVERED.load(Ordering::SeqCst) {
        assert!(start.elapsed() < LIMIT, "the error was never seen");
        scene.app.update();
    }
    // Nothing is rendered before the recovery has ended.
    let spy = window(Entity::PLACEHOLDER, handle(&gate, &scene.next.seen));
    scene.app.sub_app_mut(RenderApp).world_mut().resource_mut::<ExtractedWindows>().insert(spy.entity, spy);
    while started.lock().unwrap().is_empty() {
        assert!(start.elapsed() < LIMIT, "it never recovered");
        scene.app.update();
    }
    assert_eq!(scene.seen(), [true]);
    assert_eq!(*started.lock().unwrap(), [false]);
}

/// The gate is closed only in extractions that may drop a surface, until their windows were
/// extracted.
#[test]
fn it_is_open_in_other_extractions() {
    fn look(gate: Res<'_, Gate>, looks: Res<'_, Looks>) {
        looks.0.lock().unwrap().push(gate.is_closed());
    }
    #[derive(Resource, Clone, Default)]
    struct Looks(Seen);
    for (windows, closing) in [(false, false), (false, true), (true, false), (true, true)] {
        let (mut main, mut render, looks) = (World::new(), SubApp::new(), Looks::default());
        let mut all = ExtractedWindows::default();
        if windows {
            let spy = window(Entity::PLACEHOLDER, handle(&Gate::default(), &Seen::default()));
            all.insert(spy.entity, spy);
        }
        main.init_resource::<Messages<WindowClosing>>();
        if closing {
            main.write_message(WindowClosing { window: Entity::PLACEHOLDER });
        }
        let gate = Gate::default();
        render.insert_resource(gate.clone()).insert_resource(looks.clone()).insert_resource(all);
        render.set_extract(|_, render| render.run_schedule(ExtractSchedule));
        guard_extraction(&mut render, gate.clone());
        render.add_systems(ExtractSchedule, (look.before(open), look.after(open)));
        render.extract(&mut main);
        assert_eq!(*looks.0.lock().unwrap(), [windows && closing, false]);
        // A panic opens it too.
        render.add_systems(ExtractSchedule, (|| panic!("on purpose")).before(open));
        let panicked = catch_unwind(AssertUnwindSafe(|| render.extract(&mut main)));
        assert!(panicked.is_err() && !gate.is_closed());
    }
}

/// The gate is open while Bevy prepares assets, and closed from then until windows are
/// prepared.
#[test]
fn it_is_closed_for_the_windows_alone() {
    #[derive(Resource, Default)]
    struct Closed(Vec<bool>);
    fn look(gate: Res<'_, Gate>, mut closed: ResMut<'_, Closed>) {
        closed.0.push(gate.is_closed());
    }
    fn look_at_views(gate: Res<'_, Gate>, closed: ResMut<'_, Closed>) {
        look(gate, closed);
    }
    for windows in [true, false] {
        let mut render = SubApp::new();
        render.add_schedule(Render::base_schedule());
        render.edit_schedule(Render, |render| {
            render.set_executor(SingleThreadedExecutor::new());
        });
        render.init_resource::<Gate>().init_resource::<Closed>();
        add_systems(&mut render, move || windows);
        render.add_systems(
            Render,
            (
                look.in_set(RenderSystems::Specialize),
                look_at_views.in_set(RenderSystems::PrepareViews).after(close).before(open),
                look.in_set(RenderSystems::Queue),
            ),
        );
        render.world_mut().run_schedule(Render);
        assert_eq!(render.world().resource::<Closed>().0, [false, windows, false]);
    }
}
