//! A view in a window that the program owns: the program runs winit's event loop and forwards the
//! events that the view needs. Other window libraries work in the same way.
//!
//! Run it with `cargo run -p vk-cuda-bridge-view --example own_window`; append `--` and a number of
//! frames to end after that number. Dragging rotates the points, the wheel zooms, Space resets the
//! camera. It checks that the point in the middle is visible in each picture, and exits with an
//! error if it is not.

use std::error::Error;
use std::sync::Arc;

use bridge::{Backend, BufferSpec, Compute, Exchange, ExchangeInfo, OpenInfo, Work};
use bridge_view::{PointFormat, PointKind, PointLook, View, ViewInfo, Window, WindowInfo, WindowState};
use winit::application::ApplicationHandler;
use winit::dpi::{PhysicalPosition, PhysicalSize};
use winit::event::{ElementState, KeyEvent, MouseButton, MouseScrollDelta, WindowEvent};
use winit::event_loop::{ActiveEventLoop, ControlFlow, EventLoop};
use winit::keyboard::{Key, NamedKey};
use winit::window::{Window as OwnWindow, WindowId};

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

/// Width and height of the picture, independent of the window's size.
const SIZE: [u32; 2] = [640, 400];

const POINTS: u32 = 20_000;

fn main() {
    if let Err(error) = run() {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

fn run() -> Result {
    let last = std::env::args().nth(1).map(|number| number.parse()).transpose()?;
    let mut app = App { last, scene: None, result: Ok(()) };
    let events = EventLoop::new()?;
    // Draws frames as fast as possible; a program that waits for input calls `request_redraw`.
    events.set_control_flow(ControlFlow::Poll);
    events.run_app(&mut app)?;
    app.result
}

struct App {
    /// The number of frames after which the program ends.
    last: Option<u32>,
    scene: Option<Scene>,
    result: Result,
}

struct Scene {
    // Dropped before `window`; the view also holds a reference to the window.
    view: View,
    points: Exchange<BufferSpec<[f32; 3]>>,
    events: WindowState,
    window: Arc<OwnWindow>,
    pointer: PhysicalPosition<f64>,
    dragging: bool,
    frames: u32,
}

impl Scene {
    fn new(events: &ActiveEventLoop) -> Result<Self> {
        let attributes = OwnWindow::default_attributes().with_title("own_window");
        let size = PhysicalSize::new(SIZE[0], SIZE[1]);
        let own = Arc::new(events.create_window(attributes.with_inner_size(size))?);
        let window = WindowInfo { size: own.inner_size().into(), ..Default::default() };
        let window = Window::adopt(own.clone(), &window)?;
        // A device that can present to the window. A device that the program created works as well.
        let compute: Compute = window.open_compute(&OpenInfo::default(), Backend::Auto)?;
        println!("Vulkan on {}, compute on {} ({})", compute.device().name(), compute.backend(), compute.reason());
        let state = window.state();
        let view = View::in_window(&compute, &ViewInfo { size: SIZE, ..Default::default() }, window)?;
        let points = ExchangeInfo { name: "points", ..Default::default() };
        let points = Exchange::new(&compute, &points, PointFormat::new(POINTS, PointKind::Position)?.spec()?)?;
        let pointer = PhysicalPosition::default();
        Ok(Self { view, points, events: state, window: own, pointer, dragging: false, frames: 0 })
    }

    /// Forwards an event of the window to the view.
    fn forward_event(&mut self, event: &WindowEvent) {
        match event {
            WindowEvent::CloseRequested => self.events.close(),
            WindowEvent::Resized(size) => self.events.resized((*size).into()),
            WindowEvent::Occluded(hidden) => self.events.set_hidden(*hidden),
            WindowEvent::RedrawRequested => self.events.uncovered(),
            WindowEvent::MouseInput { button: MouseButton::Left, state, .. } => {
                self.dragging = *state == ElementState::Pressed;
            }
            WindowEvent::CursorMoved { position, .. } => {
                let before = std::mem::replace(&mut self.pointer, *position);
                if self.dragging {
                    self.events.drag([(position.x - before.x) as f32, (position.y - before.y) as f32]);
                }
            }
            WindowEvent::MouseWheel { delta: MouseScrollDelta::LineDelta(_, notches), .. } => {
                self.events.zoom(*notches)
            }
            WindowEvent::KeyboardInput { event: KeyEvent { logical_key: Key::Named(NamedKey::Space), .. }, .. } => {
                self.events.reset_camera();
            }
            _ => {}
        }
    }

    /// Computes, draws and shows a frame.
    fn frame(&mut self) -> Result {
        let turn = self.frames as f32 * 0.01;
        // A spiral that starts in the middle.
        let points: Vec<[f32; 3]> = (0..POINTS)
            .map(|i| {
                let (r, angle) = (i as f32 / POINTS as f32, i as f32 * 0.02 + turn);
                [r * angle.cos(), r * (8.0 * r + turn).sin() * 0.3, r * angle.sin()]
            })
            .collect();
        let mut frame = self.points.begin()?;
        match frame.work() {
            Work::Cuda(mut cuda) => cuda.stream.memcpy_htod(&points, &mut cuda.resources)?,
            Work::Host(host) => host.run(move |slot| slot.copy_from_slice(&points))?,
            _ => return Err("this program knows no such backend".into()),
        }
        let format = PointFormat::new(POINTS, PointKind::Position)?;
        self.view.show_points(frame.finish()?, format, &PointLook::default())?;
        self.view.draw()?;
        self.frames += 1;
        // Waits for the picture. A program that only shows it does not need this call.
        let middle = (SIZE[1] / 2 * SIZE[0] + SIZE[0] / 2) as usize;
        match self.view.pixels()?.chunks_exact(4).nth(middle) {
            Some([255, 255, 255, 255]) => Ok(()),
            other => Err(format!("frame {}: the point in the middle is not seen but {other:?}", self.frames).into()),
        }
    }
}

impl ApplicationHandler for App {
    fn resumed(&mut self, events: &ActiveEventLoop) {
        match Scene::new(events) {
            Ok(scene) => self.scene = Some(scene),
            Err(error) => self.end(events, Err(error)),
        }
    }

    fn window_event(&mut self, _: &ActiveEventLoop, _: WindowId, event: WindowEvent) {
        if let Some(scene) = &mut self.scene {
            scene.forward_event(&event);
        }
    }

    fn about_to_wait(&mut self, events: &ActiveEventLoop) {
        let Some(scene) = &mut self.scene else { return };
        let result = scene.frame();
        let over = !scene.view.is_running() || self.last.is_some_and(|last| scene.frames >= last);
        if over || result.is_err() {
            self.end(events, result);
        }
    }

    /// Drops the window and everything that draws to it before the event loop is dropped.
    fn exiting(&mut self, _: &ActiveEventLoop) {
        let Some(mut scene) = self.scene.take() else { return };
        // Detaches the window, so that nothing draws to it any more; the view could continue
        // without it.
        let detached = scene.view.detach_window();
        scene.window.set_visible(false);
        if self.result.is_ok() {
            self.result = detached.map_err(Into::into);
            println!("{} frames of {POINTS} points are drawn and right", scene.frames);
        }
    }
}

impl App {
    fn end(&mut self, events: &ActiveEventLoop, result: Result) {
        self.result = result;
        events.exit();
    }
}
