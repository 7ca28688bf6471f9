//! Frames that fail half-way, with the validation layer enabled.
#![allow(unsafe_code, clippy::unwrap_used, reason = "a test that cannot go on ends; a system of the engine")]

use anyhow::{Result, bail};
use engine_core::recorder::Recorder;
use engine_core::{Outcome, Pass, System};
use engine_example::script::World;

mod common;

const SIZE: [u32; 2] = [160, 90];

/// A system that fails at the place `at`.
struct Broken {
    at: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Begin,
    Record,
    Scene,
    Picture,
}

impl Broken {
    fn fail(&self, at: Place) -> Result<()> {
        if self.at == at {
            bail!("broken at {at:?}");
        }
        Ok(())
    }
}

// SAFETY: it records nothing.
unsafe impl System for Broken {
    fn name(&self) -> &'static str {
        "broken"
    }

    fn begin(&mut self, _: u64) -> Result<()> {
        self.fail(Place::Begin)
    }

    fn before(&mut self, _: Pass, recorder: &mut Recorder<'_>) {
        if let Err(error) = self.fail(Place::Record) {
            recorder.fail(error);
        }
    }

    fn submitted(&mut self, pass: Pass, _: bool) -> Result<()> {
        self.fail(if pass == Pass::Scene { Place::Scene } else { Place::Picture })
    }
}

#[test]
fn an_engine_continues_after_a_failed_frame() {
    common::BACKENDS.into_iter().filter_map(common::world).for_each(fail_everywhere);
}

fn fail_everywhere(mut world: World) {
    world.engine.resize(SIZE).unwrap();
    world.add_particles().unwrap();
    world.add_painting().unwrap();
    world.add_filter().unwrap();
    for at in [Place::Begin, Place::Record, Place::Scene, Place::Picture] {
        for _ in 0..3 {
            assert_eq!(draw(&mut world).unwrap(), Outcome::Drawn);
        }
        world.engine.add(Box::new(Broken { at })).unwrap();
        for _ in 0..5 {
            let error = format!("{:#}", draw(&mut world).unwrap_err());
            assert!(error.contains(&format!("broken at {at:?}")), "{error}");
        }
        world.engine.remove("broken").unwrap().unwrap();
    }
    assert_eq!(draw(&mut world).unwrap(), Outcome::Drawn);
    let messages = world.messages.clone();
    drop(world);
    assert!(messages.snapshot().is_empty(), "{:#?}", messages.snapshot());
}

/// Draws a frame as a program does: if there is nothing to draw to, it creates the window's images
/// again.
fn draw(world: &mut World) -> Result<Outcome> {
    match world.engine.frame(false)? {
        Outcome::Nothing => {
            world.engine.resize(SIZE)?;
            world.engine.frame(false)
        }
        outcome => Ok(outcome),
    }
}

/// X11 only, where a test's thread may open a window.
#[cfg(target_os = "linux")]
mod in_a_window {
    use std::ffi::CStr;

    use bridge::Backend;
    use engine_core::window::Swapchain;
    use raw_window_handle::HasDisplayHandle;
    use winit::application::ApplicationHandler;
    use winit::dpi::PhysicalSize;
    use winit::event::WindowEvent;
    use winit::event_loop::{ActiveEventLoop, EventLoop};
    use winit::platform::x11::EventLoopBuilderExtX11;
    use winit::window::{Window, WindowId};

    use super::*;

    /// After a frame that fails, its acquired image is left behind, and the window continues with
    /// new images.
    #[test]
    fn a_window_continues_after_a_failed_frame() {
        if std::env::var_os("DISPLAY").is_none_or(|name| name.is_empty()) {
            return test_support::skip(test_support::Need::Other, "there is no screen");
        }
        let event_loop = EventLoop::builder().with_any_thread(true).build().unwrap();
        event_loop.run_app(&mut InWindow).unwrap();
    }

    /// Runs the failing frames in a window, and exits.
    struct InWindow;

    impl ApplicationHandler for InWindow {
        fn resumed(&mut self, event_loop: &ActiveEventLoop) {
            event_loop.exit();
            let [width, height] = SIZE;
            let attributes = Window::default_attributes().with_inner_size(PhysicalSize::new(width, height));
            let window = event_loop.create_window(attributes).unwrap();
            let wanted = ash_window::enumerate_required_extensions(window.display_handle().unwrap().as_raw()).unwrap();
            // SAFETY: these are string constants of the crate `ash`.
            let names: Vec<_> = wanted.iter().map(|name| unsafe { CStr::from_ptr::<'static>(*name) }).collect();
            let Some(mut world) = common::world_in(&names, Backend::Host) else { return };
            // SAFETY: the window is dropped after the world, which the call below drops.
            let swapchain = unsafe { Swapchain::new(world.engine.gpu(), &window, 2) }.unwrap();
            world.engine.show_in(swapchain);
            fail_everywhere(world);
        }

        fn window_event(&mut self, _: &ActiveEventLoop, _: WindowId, _: WindowEvent) {}
    }
}
