//! Shows images and points from memory that CUDA and Vulkan share, in a window or headless.
//!
//! Slots that the compute side has written are drawn in place, on the GPU and without a copy, into
//! a picture of four bytes per pixel.
//!
//! ```no_run
//! use bridge::{Backend, Compute, Exchange, ExchangeInfo, OpenInfo, Work};
//! use bridge_view::{Element, ImageFormat, Look, View, ViewInfo};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let compute = Compute::open(&OpenInfo::default(), Backend::Host)?;
//! let mut view = View::headless(
//!     &compute,
//!     &ViewInfo { size: [640, 480], ..Default::default() },
//! )?;
//!
//! // One float per pixel, in buffers that the view reads.
//! let format = ImageFormat::new([640, 480], 1, Element::F32)?;
//! let info = ExchangeInfo { name: "values", ..Default::default() };
//! let mut values = Exchange::new(&compute, &info, format.spec::<f32>()?)?;
//!
//! let mut turn = values.begin()?;
//! if let Work::Host(host) = turn.work() {
//!     host.run(|values| values.fill(0.5))?;
//! }
//! // Selects the frame to draw next, twice as bright.
//! view.show_image(
//!     turn.finish()?,
//!     format,
//!     &Look { exposure: 1.0, ..Default::default() },
//! )?;
//! view.draw()?;
//! view.save_png("values.png")?;
//! # Ok(())
//! # }
//! ```
//!
//! - Show an image, with an exposure, sRGB or a color map: [`View::show_image`], [`ImageFormat`],
//!   [`Look`]
//! - Show a shared image (an [`ImageSpec`](bridge::ImageSpec)) in place: [`View::show_texture`]
//! - Show points with a camera that the user moves: [`View::show_points`], [`PointFormat`],
//!   [`PointLook`]
//! - Show the results of a simulation that runs at its own rate: [`Frame`], with turns of a
//!   [`LatestReader`](bridge::LatestReader)
//! - Open a window, and detect when the user closes it: `Window`, `View::in_window`, [`View::draw`]
//! - Show the picture in the program's own window, with its event loop: `Window::adopt`,
//!   `WindowState`
//! - Present in the program's own window, with its own submissions: `WindowImages`
//! - Get the picture on the host, or in a file: [`View::pixels`], [`View::pixels_into`],
//!   [`View::save_png`]
//! - Get the picture in memory that the compute side reads: [`View::read`]
//!
//! # Windows
//! The feature `window`, on by default, adds windows, using winit; `wayland` adds native Wayland
//! windows.
//!
#![cfg_attr(feature = "window", doc = "```no_run")]
#![cfg_attr(not(feature = "window"), doc = "```ignore")]
//! use bridge::{Backend, OpenInfo};
//! use bridge_view::{View, ViewInfo, Window, WindowInfo};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let info = WindowInfo { title: "values".into(), ..Default::default() };
//! let window = Window::open(&info)?;
//! // Opens a device that can present to the window.
//! let compute = window.open_compute(&OpenInfo::default(), Backend::Auto)?;
//! let mut view = View::in_window(&compute, &ViewInfo::default(), window)?;
//! while view.is_running() {
//!     // … compute a frame, and show it …
//!     view.draw()?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A program that already has a window and an event loop gives its window to the view, and passes
//! on the window's events:
//!
#![cfg_attr(feature = "window", doc = "```no_run")]
#![cfg_attr(not(feature = "window"), doc = "```ignore")]
//! use std::sync::Arc;
//!
//! use bridge::{Backend, OpenInfo};
//! use bridge_view::{View, ViewInfo, Window, WindowInfo};
//!
//! # fn set_up(
//! #     own: Arc<winit::window::Window>,
//! # ) -> Result<(), Box<dyn std::error::Error>> {
//! let size = own.inner_size().into();
//! // Any type with the traits of `raw_window_handle`, here an `Arc` of a
//! // winit window.
//! let window = Window::adopt(own, &WindowInfo { size, ..Default::default() })?;
//! let events = window.state();
//! let compute = window.open_compute(&OpenInfo::default(), Backend::Auto)?;
//! let info = ViewInfo { size, ..Default::default() };
//! let mut view = View::in_window(&compute, &info, window)?;
//! // In the loop: pass on the events, then draw a frame.
//! events.resized([800, 600]);
//! events.drag([3.0, 0.0]);
//! view.draw()?;
//! # Ok(())
//! # }
//! ```
//!
//! Presenting is a separate submission, made only if the window has an image available at that
//! moment: a hidden, minimized or slow window does not delay drawing.
//!
//! # Device loss
//! After a device was lost, every call that needs it returns an error for which
//! [`Error::is_device_lost`] is `true`; no wait takes longer than [`ViewInfo::timeout`]. Objects on
//! the lost device are freed with the view. On a device that is not lost, objects that may still be
//! in use are leaked. A new view needs a new device.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod camera;
mod draw;
mod error;
mod format;
mod frame;
mod look;
mod png;
mod rate;
mod view;
#[cfg(feature = "window")]
mod window;

pub use bridge;

pub use camera::Camera;
pub use error::{Error, Result};
pub use format::{Element, ImageFormat, MAX_POINTS, MAX_SIDE, PointFormat, PointKind};
pub use frame::{Frame, TextureFrame};
pub use look::{ColorMap, Look, PointLook};
pub use view::{Drawn, PictureSlot, View, ViewInfo};
#[cfg(feature = "window")]
pub use window::{AcquiredImage, Window, WindowImages, WindowInfo, WindowState, display_has_ended, poll_events};

// Users may rely on these auto traits; the compiler checks them. Functions that only one thread may
// call at a time take `&mut self`.
const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<View>();
    shared::<ViewInfo>();
    shared::<Drawn>();
    shared::<Camera>();
    shared::<Look>();
    shared::<PointLook>();
    shared::<ColorMap>();
    shared::<Element>();
    shared::<ImageFormat>();
    shared::<PointFormat>();
    shared::<PointKind>();
    shared::<Error>();
    #[cfg(feature = "window")]
    {
        shared::<Window>();
        shared::<WindowInfo>();
        shared::<WindowState>();
        shared::<WindowImages>();
        shared::<AcquiredImage>();
    }
};

/// The example of the crate's README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
