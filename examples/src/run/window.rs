//! A run in a window.
#![allow(unsafe_code)] // Frames are drawn to the window's images.

use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, anyhow};
use bridge::ash::vk;
use bridge::{OpenInfo, SubmitInfo};
use bridge_view::WindowImages;
use winit::application::ApplicationHandler;
use winit::dpi::{LogicalSize, PhysicalSize};
use winit::event::{ElementState, KeyEvent, WindowEvent};
use winit::event_loop::{ActiveEventLoop, ControlFlow, EventLoop};
use winit::keyboard::{Key, NamedKey};
use winit::window::{Window, WindowId};

use super::Demo;
use super::frames::Frames;
use crate::gpu::output::Wanted;
use crate::interrupt::Interrupt;
use crate::options::RunOptions;
use crate::summary::{State, Summary};

/// The timeout for acquiring the window's next image.
const TIME_LIMIT: Duration = Duration::from_secs(1);

/// Shows frames until the number in `--frames` is reached, the window is closed, or Ctrl-C is
/// pressed.
pub(super) fn run<D: Demo>(options: &D::Options) -> Result<Summary<D::Figures>> {
    let interrupt = Interrupt::install()?;
    let event_loop = EventLoop::new().map_err(|error| {
        log::debug!("{error}");
        anyhow!("no window can be opened here: no display (DISPLAY, WAYLAND_DISPLAY); without --window, pictures are written")
    })?;
    event_loop.set_control_flow(ControlFlow::Poll);
    let mut app = App::<D> { options, interrupt, shown: None, result: None };
    event_loop.run_app(&mut app).context("the window broke off")?;
    app.result.unwrap_or_else(|| Err(anyhow!("the window was never shown")))
}

struct App<'a, D: Demo> {
    options: &'a D::Options,
    interrupt: Interrupt,
    shown: Option<Shown<D>>,
    result: Option<Result<Summary<D::Figures>>>,
}

/// The window and the objects that draw to it.
struct Shown<D> {
    // Field order is drop order: frames in flight end before the images that they are drawn to are
    // destroyed, and the images are destroyed before the window.
    run: Frames<D>,
    images: WindowImages,
    window: Window,
    begun: Instant,
    fits: bool,
}

impl<D: Demo> Shown<D> {
    fn new(all: &D::Options, event_loop: &ActiveEventLoop) -> Result<Self> {
        let options: &RunOptions = all.as_ref();
        let size = LogicalSize::new(options.size.width, options.size.height);
        let attributes = Window::default_attributes().with_title(D::PROGRAM).with_inner_size(size);
        let window = event_loop.create_window(attributes).context("no window can be opened here")?;
        let extensions = WindowImages::instance_extensions(&window)?;
        let open = OpenInfo {
            instance_extensions: &extensions,
            device_extensions: WindowImages::DEVICE_EXTENSIONS,
            ..OpenInfo::default()
        };
        let demo = D::new(all, &open)?;
        let PhysicalSize { width, height } = window.inner_size();
        let device = demo.compute().device();
        // SAFETY: the window is dropped after the images, see the field order.
        let images = unsafe { WindowImages::new(device, &window, [width, height], options.slots as usize) }?;
        super::announce(&demo);
        Ok(Self { run: Frames::new(demo, options.slots), images, window, begun: Instant::now(), fits: true })
    }

    fn frame(&mut self) -> Result<()> {
        if !self.fits {
            let PhysicalSize { width, height } = self.window.inner_size();
            self.images.resize([width, height])?;
            self.fits = true;
            if let Some(vk::Extent2D { width, height }) = self.images.extent() {
                // SAFETY: `WindowImages` waited for the queue before it freed the images that
                // frames are drawn to.
                unsafe { self.run.demo.resize([width, height]) }?;
            }
        }
        self.run.make_room()?;
        // SAFETY: `make_room` returned: the last frame of the slot has ended.
        let Some(image) = (unsafe { self.images.acquire(self.run.next_slot(), TIME_LIMIT) })? else {
            self.fits = false;
            return Ok(());
        };
        let wanted = Wanted { window: Some((image.image, image.extent)), ..Wanted::default() };
        let submit = SubmitInfo { waits: &[image.wait], signals: &[image.signal], ..SubmitInfo::default() };
        // SAFETY: the image and the semaphores were just acquired for this frame, and they are
        // freed only after the queue has finished with them.
        unsafe { self.run.begin(wanted, submit) }?;
        // SAFETY: submitted above, with both semaphores; the frame leaves the image ready to be
        // presented.
        self.fits = unsafe { self.images.present(image) }?;
        Ok(())
    }
}

impl<D: Demo> App<'_, D> {
    fn end(&mut self, event_loop: &ActiveEventLoop, result: Result<(), Error>) {
        event_loop.exit();
        let Some(mut shown) = self.shown.take() else {
            self.result.get_or_insert_with(|| Err(result.err().unwrap_or_else(|| anyhow!("nothing was shown"))));
            return;
        };
        let summary = result.and_then(|()| {
            while shown.run.finish_oldest()?.is_some() {}
            let mut summary = super::summary(self.options.as_ref(), &shown.run, shown.begun.elapsed().as_secs_f64());
            summary.state = match (summary.error(), self.interrupt.is_set()) {
                (Some(_), _) => State::Failed,
                (None, true) => State::Interrupted,
                (None, false) => State::Complete,
            };
            Ok(summary)
        });
        self.result = Some(summary);
    }

    fn over(&self) -> bool {
        let frames = self.shown.as_ref().map_or(0, |shown| shown.run.count());
        self.interrupt.is_set() || self.options.as_ref().frames.is_some_and(|all| frames >= u64::from(all))
    }
}

impl<D: Demo> ApplicationHandler for App<'_, D> {
    fn resumed(&mut self, event_loop: &ActiveEventLoop) {
        if self.shown.is_some() || self.result.is_some() {
            return;
        }
        match Shown::new(self.options, event_loop) {
            Ok(shown) => self.shown = Some(shown),
            Err(error) => self.end(event_loop, Err(error)),
        }
    }

    fn window_event(&mut self, event_loop: &ActiveEventLoop, _: WindowId, event: WindowEvent) {
        match event {
            WindowEvent::CloseRequested
            | WindowEvent::KeyboardInput {
                event: KeyEvent { logical_key: Key::Named(NamedKey::Escape), state: ElementState::Pressed, .. },
                ..
            } => self.end(event_loop, Ok(())),
            WindowEvent::Resized(_) => {
                if let Some(shown) = &mut self.shown {
                    shown.fits = false;
                }
            }
            _ => {}
        }
    }

    fn about_to_wait(&mut self, event_loop: &ActiveEventLoop) {
        if self.over() {
            return self.end(event_loop, Ok(()));
        }
        if let Some(Err(error)) = self.shown.as_mut().map(Shown::frame) {
            self.end(event_loop, Err(error));
        }
    }
}
