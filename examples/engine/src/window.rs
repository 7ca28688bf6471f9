//! A run in a window.
#![allow(unsafe_code)] // The window outlives everything that draws to it.

use std::ffi::CStr;

use anyhow::{Context, Error, Result, anyhow};
use bridge_examples::interrupt::Interrupt;
use engine_core::Outcome;
use engine_core::window::Swapchain;
use raw_window_handle::HasDisplayHandle;
use winit::application::ApplicationHandler;
use winit::dpi::{LogicalSize, PhysicalSize};
use winit::event::{ElementState, KeyEvent, WindowEvent};
use winit::event_loop::{ActiveEventLoop, ControlFlow, EventLoop};
use winit::keyboard::{Key, NamedKey};
use winit::window::{Window, WindowId};

use crate::filter::Filter;
use crate::painting::Painting;
use crate::particles::Particles;
use crate::script::{Script, World};

/// Draws until the window is closed, Escape or Ctrl-C is pressed, or `frames` frames are drawn.
/// Space pauses, the keys 1 to 3 remove a system or add it again.
///
/// # Errors
/// No window can be opened, or the error of a frame.
pub fn run(script: &Script, frames: Option<u64>) -> Result<()> {
    let interrupt = Interrupt::install()?;
    let event_loop = EventLoop::new().context("no window can be opened here: no display (DISPLAY, WAYLAND_DISPLAY)")?;
    event_loop.set_control_flow(ControlFlow::Poll);
    let mut app = App { script, frames, interrupt, shown: None, result: None };
    event_loop.run_app(&mut app).context("the window broke off")?;
    app.result.unwrap_or_else(|| Err(anyhow!("the window was never shown")))
}

struct App<'a> {
    script: &'a Script,
    frames: Option<u64>,
    interrupt: Interrupt,
    shown: Option<Shown>,
    result: Option<Result<()>>,
}

struct Shown {
    // Field order is drop order: the engine is dropped before the window.
    world: World,
    window: Window,
    fits: bool,
    pauses: bool,
}

impl Shown {
    fn new(script: &Script, event_loop: &ActiveEventLoop) -> Result<Self> {
        let [width, height] = script.size;
        let attributes =
            Window::default_attributes().with_title("engine").with_inner_size(LogicalSize::new(width, height));
        let window = event_loop.create_window(attributes).context("no window can be opened here")?;
        let display = window.display_handle()?.as_raw();
        let wanted = ash_window::enumerate_required_extensions(display).context("no surface for this display")?;
        // SAFETY: these are string constants of the crate `ash`.
        let names: Vec<_> = wanted.iter().map(|name| unsafe { CStr::from_ptr::<'static>(*name) }).collect();
        let mut world = World::new(script, &names)?;
        // SAFETY: the window is dropped after the world, see the field order.
        let swapchain = unsafe { Swapchain::new(world.engine.gpu(), &window, 2) }?;
        world.engine.show_in(swapchain);
        world.add_particles()?;
        world.add_painting()?;
        world.add_filter()?;
        Ok(Self { world, window, fits: false, pauses: false })
    }

    fn frame(&mut self) -> Result<()> {
        if self.pauses {
            std::thread::sleep(std::time::Duration::from_millis(10));
            return Ok(());
        }
        if !self.fits {
            let PhysicalSize { width, height } = self.window.inner_size();
            self.world.engine.resize([width, height])?;
            self.fits = true;
        }
        match self.world.engine.frame(false)? {
            Outcome::Drawn => {}
            // A minimized window shows nothing until it is resized.
            Outcome::Nothing => {
                self.fits = false;
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            Outcome::Resize => self.fits = false,
        }
        Ok(())
    }

    fn press(&mut self, key: &Key) -> Result<()> {
        let systems = self.world.systems;
        match key.as_ref() {
            Key::Named(NamedKey::Space) => self.pauses = !self.pauses,
            Key::Character("1") if systems.particles => self.world.remove(Particles::NAME)?,
            Key::Character("1") => self.world.add_particles()?,
            Key::Character("2") if systems.painting => self.world.remove(Painting::NAME)?,
            Key::Character("2") => self.world.add_painting()?,
            Key::Character("3") if systems.filter => self.world.remove(Filter::NAME)?,
            Key::Character("3") => self.world.add_filter()?,
            _ => {}
        }
        Ok(())
    }
}

impl App<'_> {
    fn end(&mut self, event_loop: &ActiveEventLoop, result: Result<(), Error>) {
        event_loop.exit();
        let messages = self.shown.take().map(|shown| shown.world.messages.clone());
        let said = messages.map(|messages| engine_core::engine::check_messages(&messages.snapshot()));
        self.result.get_or_insert_with(|| result.and_then(|()| said.unwrap_or(Ok(()))));
    }
}

impl ApplicationHandler for App<'_> {
    fn resumed(&mut self, event_loop: &ActiveEventLoop) {
        if self.shown.is_some() || self.result.is_some() {
            return;
        }
        match Shown::new(self.script, event_loop) {
            Ok(shown) => self.shown = Some(shown),
            Err(error) => self.end(event_loop, Err(error)),
        }
    }

    fn window_event(&mut self, event_loop: &ActiveEventLoop, _: WindowId, event: WindowEvent) {
        match event {
            WindowEvent::CloseRequested => self.end(event_loop, Ok(())),
            WindowEvent::KeyboardInput {
                event: KeyEvent { logical_key: Key::Named(NamedKey::Escape), state: ElementState::Pressed, .. },
                ..
            } => self.end(event_loop, Ok(())),
            WindowEvent::KeyboardInput {
                event: KeyEvent { logical_key, state: ElementState::Pressed, repeat: false, .. },
                ..
            } => {
                if let Some(Err(error)) = self.shown.as_mut().map(|shown| shown.press(&logical_key)) {
                    self.end(event_loop, Err(error));
                }
            }
            WindowEvent::Resized(_) => {
                if let Some(shown) = &mut self.shown {
                    shown.fits = false;
                }
            }
            _ => {}
        }
    }

    fn about_to_wait(&mut self, event_loop: &ActiveEventLoop) {
        let frames = self.shown.as_ref().map_or(0, |shown| shown.world.engine.frames());
        if self.interrupt.is_set() || self.frames.is_some_and(|all| frames >= all) {
            return self.end(event_loop, Ok(()));
        }
        if let Some(Err(error)) = self.shown.as_mut().map(Shown::frame) {
            self.end(event_loop, Err(error));
        }
    }
}
