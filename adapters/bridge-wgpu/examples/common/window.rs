//! The frame loop in a window.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use bridge_wgpu::{Bridge, wgpu};
use winit::application::ApplicationHandler;
use winit::dpi::PhysicalSize;
use winit::event::WindowEvent;
use winit::event_loop::{ActiveEventLoop, ControlFlow, EventLoop};
use winit::window::{Window, WindowId};

use super::{Args, Demo, LIMIT, Picture, target};

/// Shows frames until the window is closed, or as many as requested. Then draws one more frame
/// without the window, and checks it.
pub(super) fn show<D: Demo>(args: Args) -> Result<()> {
    let events = EventLoop::new()?;
    events.set_control_flow(ControlFlow::Poll);
    let most = std::env::args().any(|word| word == "--frames").then_some(args.frames);
    let mut app = App::<D> { args, most, shown: None, error: None };
    events.run_app(&mut app)?;
    if let Some(error) = app.error {
        return Err(error);
    }
    let mut shown = app.shown.context("no window came")?;
    let Shown { gpu, demo, config, frame, .. } = &mut shown;
    let picture = target(gpu, [config.width, config.height], config.format);
    demo.frame(gpu, *frame, &picture.create_view(&Default::default()))?;
    demo.check(gpu, *frame, &Picture::read(gpu, &picture)?).with_context(|| format!("frame {frame} is wrong"))?;
    let (width, height) = (config.width, config.height);
    println!("{frame} frames in a window of {width}x{height}, and the one that was looked at is right");
    Ok(())
}

struct App<D> {
    args: Args,
    most: Option<u32>,
    shown: Option<Shown<D>>,
    error: Option<anyhow::Error>,
}

struct Shown<D> {
    // Field order is drop order: dropping the surface waits for the queue without a limit, and
    // dropping the exchanges first releases the queue if a kernel has faulted.
    demo: D,
    surface: wgpu::Surface<'static>,
    config: wgpu::SurfaceConfiguration,
    window: Arc<Window>,
    gpu: Bridge,
    frame: u32,
    /// The time by which the window must have the size of `--resize`; `None` until it is requested.
    resized_by: Option<Instant>,
}

impl<D: Demo> Shown<D> {
    fn new(events: &ActiveEventLoop, args: &Args) -> Result<Self> {
        let size = PhysicalSize::new(args.size[0], args.size[1]);
        let attributes = Window::default_attributes().with_title(D::NAME).with_inner_size(size);
        let window = Arc::new(events.create_window(attributes)?);
        let display = Box::new(events.owned_display_handle());
        let mut descriptor = wgpu::InstanceDescriptor::new_with_display_handle(display);
        descriptor.backends = wgpu::Backends::VULKAN;
        let instance = wgpu::Instance::new(descriptor);
        let surface = instance.create_surface(Arc::clone(&window))?;
        let options = wgpu::RequestAdapterOptions {
            power_preference: wgpu::PowerPreference::HighPerformance,
            compatible_surface: Some(&surface),
            ..Default::default()
        };
        let adapter = pollster::block_on(instance.request_adapter(&options))?;
        let gpu = Bridge::request_device(&adapter, &wgpu::DeviceDescriptor::default(), args.backend)?;
        println!("wgpu on {}, compute on {} ({})", adapter.get_info().name, gpu.backend(), gpu.reason());
        let mut config = surface
            .get_default_config(&adapter, args.size[0], args.size[1])
            .context("the adapter cannot draw to the window")?;
        // The drawn colors are bytes, so the format must not be sRGB.
        let formats = surface.get_capabilities(&adapter).formats;
        let plain = [wgpu::TextureFormat::Bgra8Unorm, wgpu::TextureFormat::Rgba8Unorm];
        config.format =
            plain.into_iter().find(|format| formats.contains(format)).context("the window has no plain format")?;
        gpu.configure_surface(&surface, &config, LIMIT)?;
        let demo = D::new(&gpu, args, config.format)?;
        Ok(Self { demo, surface, config, window, gpu, frame: 0, resized_by: None })
    }

    /// A minimized window has no size; the previous size is kept.
    fn resize(&mut self, size: PhysicalSize<u32>) -> Result<()> {
        if size.width == 0 || size.height == 0 || (size.width, size.height) == (self.config.width, self.config.height) {
            return Ok(());
        }
        (self.config.width, self.config.height) = (size.width, size.height);
        self.configure()?;
        self.demo.resize(&self.gpu, size.into())
    }

    /// Requests a size, once. Returns `true` when the window has it.
    fn request(&mut self, size: [u32; 2]) -> Result<bool> {
        if self.resized_by.is_none() {
            self.resized_by = Some(Instant::now() + LIMIT);
            // Without a value, the size comes as an event.
            if let Some(size) = self.window.request_inner_size(PhysicalSize::<u32>::from(size)) {
                self.resize(size)?;
            }
        }
        let has_size = [self.config.width, self.config.height] == size;
        if !has_size && self.resized_by.is_some_and(|end| Instant::now() > end) {
            bail!("the window has {}x{} pixels after {size:?} were requested", self.config.width, self.config.height);
        }
        Ok(has_size)
    }

    fn configure(&self) -> Result<()> {
        Ok(self.gpu.configure_surface(&self.surface, &self.config, LIMIT)?)
    }

    fn draw(&mut self) -> Result<()> {
        use wgpu::CurrentSurfaceTexture as Current;
        let texture = match self.surface.get_current_texture() {
            Current::Success(texture) | Current::Suboptimal(texture) => texture,
            // No frame has begun, so none is lost.
            Current::Timeout | Current::Occluded => return Ok(()),
            Current::Outdated => return self.configure(),
            Current::Lost => bail!("the surface is lost; create it again with `Instance::create_surface`"),
            Current::Validation => bail!("the window's texture"),
        };
        let view = texture.texture.create_view(&Default::default());
        self.demo.frame(&self.gpu, self.frame, &view).with_context(|| format!("frame {}", self.frame))?;
        self.window.pre_present_notify();
        self.gpu.queue().present(texture);
        self.frame += 1;
        Ok(())
    }
}

impl<D: Demo> App<D> {
    /// Requests the size of `--resize` from the middle of the frames on. Returns `true` after the
    /// last frame, once the window has that size.
    fn has_ended(&mut self) -> Result<bool> {
        let (Some(shown), Some(most)) = (&mut self.shown, self.most) else { return Ok(false) };
        let due = self.args.resize.filter(|_| shown.frame >= most / 2);
        let has_size = due.map_or(Ok(true), |size| shown.request(size))?;
        Ok(has_size && shown.frame >= most)
    }

    fn end(&mut self, events: &ActiveEventLoop, error: anyhow::Error) {
        self.error.get_or_insert(error);
        events.exit();
    }
}

impl<D: Demo> ApplicationHandler for App<D> {
    fn resumed(&mut self, events: &ActiveEventLoop) {
        if self.shown.is_some() {
            return;
        }
        match Shown::new(events, &self.args) {
            Ok(shown) => self.shown = Some(shown),
            Err(error) => self.end(events, error),
        }
    }

    fn window_event(&mut self, events: &ActiveEventLoop, _: WindowId, event: WindowEvent) {
        match event {
            WindowEvent::CloseRequested => events.exit(),
            WindowEvent::Resized(size) => {
                let resized = self.shown.as_mut().map_or(Ok(()), |shown| shown.resize(size));
                if let Err(error) = resized {
                    self.end(events, error);
                }
            }
            WindowEvent::RedrawRequested => {
                let Some(shown) = &mut self.shown else { return };
                if let Err(error) = shown.draw() {
                    return self.end(events, error);
                }
                match self.has_ended() {
                    Ok(true) => events.exit(),
                    Ok(false) => {}
                    Err(error) => self.end(events, error),
                }
            }
            _ => {}
        }
    }

    fn about_to_wait(&mut self, _: &ActiveEventLoop) {
        if let Some(shown) = &self.shown {
            shown.window.request_redraw();
        }
    }
}
