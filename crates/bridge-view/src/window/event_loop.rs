//! The only event loop of the process. It belongs to the thread that opened the first window, and
//! runs only while it is pumped.

use std::cell::RefCell;
use std::collections::HashMap;
use std::mem::ManuallyDrop;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bridge_trace::log_warn;
use raw_window_handle::{HasDisplayHandle, RawDisplayHandle};
use winit::application::ApplicationHandler;
use winit::dpi::PhysicalSize;
use winit::error::EventLoopError;
use winit::event::WindowEvent;
use winit::event_loop::{ActiveEventLoop, ControlFlow, EventLoop};
use winit::platform::pump_events::{EventLoopExtPumpEvents, PumpStatus};
use winit::window::{Window as WinitWindow, WindowAttributes, WindowId};

use crate::error::{Error, Result};
use crate::window::WindowInfo;
use crate::window::display_end;
use crate::window::guard::guarded;
use crate::window::input::State;

/// Maximum fraction of a monitor's size that a new window occupies, if the requested size does not
/// fit.
const MAX_FRACTION: f64 = 0.9;

thread_local! {
    /// The loop, on the thread that opened the first window. Never dropped: it cannot be created
    /// twice in a process, and at the end of the main thread the libraries that dropping would call
    /// may already be unloaded.
    static LOOP: RefCell<Option<ManuallyDrop<Loop>>> = const { RefCell::new(None) };
}

struct Loop {
    /// The ID of the process that created it, since a forked child must not use it.
    process: u32,
    /// The event loop, or the reason why it could not be created; it cannot be retried.
    events: Result<EventLoop<()>, String>,
    app: App,
}

/// The handler of the events.
#[derive(Default)]
struct App {
    windows: HashMap<WindowId, Weak<State>>,
    /// The window to create as soon as the loop runs.
    requested: Option<WindowInfo>,
    created: Option<Result<WinitWindow, String>>,
}

impl Loop {
    fn new() -> Self {
        let made = guarded(EventLoop::new).map_err(|error| error.to_string());
        let events = made.and_then(|made| {
            made.map_err(|error| match error {
                EventLoopError::RecreationAttempt => {
                    "an event loop of winit was made before in this process, by another part of it or before a fork"
                        .to_owned()
                }
                other => format!("the display cannot be reached: {other}"),
            })
        });
        if let Some(display) = events.as_ref().ok().and_then(display_of) {
            display_end::survive_display_end(display);
        }
        Self { process: std::process::id(), events, app: App::default() }
    }

    fn is_forked(&self) -> bool {
        self.process != std::process::id()
    }

    fn pump(&mut self, timeout: Duration) -> Result<()> {
        if self.is_forked() && self.events.is_ok() {
            return Err(Error::Forked);
        }
        if display_end::has_ended() {
            self.end();
            return Ok(());
        }
        let events = self.events.as_mut().map_err(|reason| no_window(reason))?;
        // Whether to block until an event arrives.
        let flow = if timeout.is_zero() { ControlFlow::Poll } else { ControlFlow::Wait };
        events.set_control_flow(flow);
        let app = &mut self.app;
        match guarded(|| events.pump_app_events(Some(timeout), app)) {
            Ok(PumpStatus::Exit(_)) => display_end::end(),
            Err(error) if !display_end::has_ended() => return Err(error),
            _ => {}
        }
        if display_end::has_ended() {
            self.end();
        }
        Ok(())
    }

    /// Marks the windows of a display that has ended as closed.
    fn end(&mut self) {
        // Dropped on Wayland, since winit has a thread there that would poll the dead connection in
        // a busy loop.
        let wayland = |events: &mut EventLoop<()>| matches!(display_of(events), Some(RawDisplayHandle::Wayland(_)));
        if self.events.as_mut().is_ok_and(wayland) {
            self.events = Err("the display has ended".to_owned());
        }
        self.app.windows.drain().filter_map(|(_, state)| state.upgrade()).for_each(|state| state.close());
    }
}

fn display_of(events: &EventLoop<()>) -> Option<RawDisplayHandle> {
    Some(events.display_handle().ok()?.as_raw())
}

/// Calls `f` with this thread's loop, which is created first if there is none and `make` is set.
fn with<R>(make: bool, f: impl FnOnce(&mut Loop) -> Result<R>) -> Result<R> {
    LOOP.with(|cell| {
        let mut place = cell.try_borrow_mut().map_err(|_| Error::EventLoopBusy)?;
        if place.is_none() && make {
            *place = Some(ManuallyDrop::new(Loop::new()));
        }
        match place.as_mut() {
            Some(events) => f(events),
            None => Err(Error::OtherThread),
        }
    })
}

fn no_window(reason: &str) -> Error {
    Error::NoWindow { reason: reason.to_owned() }
}

/// Opens a window. The returned state receives its events.
pub(crate) fn open(info: &WindowInfo) -> Result<(WinitWindow, Arc<State>)> {
    with(true, |events| {
        events.app.requested = Some(info.clone());
        let pumped = events.pump(Duration::ZERO);
        events.app.requested = None;
        let made = events.app.created.take();
        pumped?;
        let window = match made {
            Some(made) => made.map_err(|reason| no_window(&reason))?,
            None if display_end::has_ended() => return Err(no_window("the display has ended")),
            None => return Err(no_window("the event loop did not process it")),
        };
        let state = Arc::new(State::default());
        events.app.windows.retain(|_, state| state.strong_count() > 0);
        events.app.windows.insert(window.id(), Arc::downgrade(&state));
        Ok((window, state))
    })
}

/// Handles the events that have arrived, for all windows. Waits up to `timeout` for an event.
pub(crate) fn pump(timeout: Duration) -> Result<()> {
    with(false, |events| events.pump(timeout))
}

/// Runs the loop once, if it belongs to this thread and is not running already.
pub(crate) fn flush_display() {
    LOOP.with(|cell| {
        let Ok(mut place) = cell.try_borrow_mut() else { return };
        let Some(events) = place.as_mut().filter(|events| !events.is_forked()) else { return };
        if let Err(error) = events.pump(Duration::ZERO) {
            log_warn!("a window was closed, but its display could not be notified: {error}");
        }
    });
}

impl App {
    fn attributes(&self, events: &ActiveEventLoop, requested: &WindowInfo) -> WindowAttributes {
        // The requested size in physical pixels, scaled down if the monitor has less room.
        let [width, height] = requested.size.map(f64::from);
        let monitor = events.primary_monitor().or_else(|| events.available_monitors().next());
        let room = monitor.map(|monitor| monitor.size()).filter(|size| size.width > 0 && size.height > 0);
        let factor = room.map_or(1.0, |PhysicalSize { width: w, height: h }| {
            let (w, h) = (f64::from(w), f64::from(h));
            if width <= w && height <= h { 1.0 } else { (MAX_FRACTION * w / width).min(MAX_FRACTION * h / height) }
        });
        let side = |side: f64| (side * factor).round().max(1.0) as u32;
        WinitWindow::default_attributes()
            .with_title(&requested.title)
            .with_inner_size(PhysicalSize::new(side(width), side(height)))
    }
}

impl ApplicationHandler for App {
    fn resumed(&mut self, _: &ActiveEventLoop) {}

    fn window_event(&mut self, _: &ActiveEventLoop, id: WindowId, event: WindowEvent) {
        if let Some(state) = self.windows.get(&id).and_then(Weak::upgrade) {
            state.handle_event(&event);
        }
    }

    fn about_to_wait(&mut self, events: &ActiveEventLoop) {
        if let Some(requested) = self.requested.take() {
            let attributes = self.attributes(events, &requested);
            self.created = Some(events.create_window(attributes).map_err(|error| error.to_string()));
        }
    }
}
