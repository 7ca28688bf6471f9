//! Tests of frames that fail after they acquired the image of a window, on a separate X server.
#![allow(unsafe_code, clippy::unwrap_used)] // Refuses submissions.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ash::{khr, vk};
use test_support::{Need, skip_case};
use x11_dl::xlib::{self, Xlib};

use crate::engine::{Engine, Outcome, check_messages};
use crate::gpu::{Gpu, GpuInfo};
use crate::pass::Pass;
use crate::recorder::Recorder;
use crate::system::System;
use crate::window::Swapchain;

/// The number of submissions that are accepted before the following ones are refused; negative: all
/// are accepted.
static THROUGH: AtomicI32 = AtomicI32::new(-1);
/// The driver's function, set again for each engine: the loader unloads the driver with its last
/// instance.
static SUBMIT: Mutex<Option<vk::PFN_vkQueueSubmit2>> = Mutex::new(None);

unsafe extern "system" fn submit(
    queue: vk::Queue,
    count: u32,
    infos: *const vk::SubmitInfo2<'_>,
    fence: vk::Fence,
) -> vk::Result {
    match THROUGH.load(Ordering::SeqCst) {
        0 => return vk::Result::ERROR_OUT_OF_HOST_MEMORY,
        left => THROUGH.store(left.saturating_sub(1).max(-1), Ordering::SeqCst),
    }
    let real = SUBMIT.lock().unwrap().unwrap();
    // SAFETY: the arguments are passed on unchanged.
    unsafe { real(queue, count, infos, fence) }
}

/// Serializes the tests, because the replaced function is global to the process.
fn serialize() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    THROUGH.store(-1, Ordering::SeqCst);
    alone
}

fn words(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect()
}

/// An X server with a window.
struct Screen {
    x11: Xlib,
    display: *mut xlib::Display,
    window: xlib::Window,
    server: Child,
}

impl Screen {
    /// Returns `None` if there is no Xvfb.
    fn new() -> Option<Self> {
        let server =
            Command::new("Xvfb").args(["-displayfd", "1"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let Ok(mut server) = server else {
            skip_case(Need::Other, "", "there is no Xvfb");
            return None;
        };
        let mut number = String::new();
        BufReader::new(server.stdout.as_mut().unwrap()).read_line(&mut number).unwrap();
        let (x11, name) = (Xlib::open().unwrap(), format!(":{}\0", number.trim()));
        // SAFETY: the name is null-terminated.
        let display = unsafe { (x11.XOpenDisplay)(name.as_ptr().cast()) };
        assert!(!display.is_null(), "the screen {name} cannot be opened");
        // SAFETY: just opened.
        let root = unsafe { (x11.XDefaultRootWindow)(display) };
        // SAFETY: the root window belongs to this display.
        let window = unsafe { (x11.XCreateSimpleWindow)(display, root, 0, 0, 64, 64, 0, 0, 0) };
        // SAFETY: just created.
        unsafe { (x11.XMapWindow)(display, window) };
        // SAFETY: as above.
        unsafe { (x11.XSync)(display, 0) };
        Some(Self { x11, display, window, server })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // SAFETY: opened by `new`; engines that use the display are dropped before.
        unsafe { (self.x11.XCloseDisplay)(self.display) };
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Creates an engine that draws to the screen's window.
fn engine(screen: &Screen) -> (Engine, Arc<Gpu>) {
    let window = [khr::surface::NAME, khr::xlib_surface::NAME];
    let info = GpuInfo { name: None, validation: true, window: &window, extension_request: &|_, _, _| Ok(vec![]) };
    let mut gpu = Gpu::new(&info).unwrap();
    *SUBMIT.lock().unwrap() = Some(Arc::get_mut(&mut gpu).unwrap().replace_submit(submit));
    // The build script has compiled them.
    let vertex = words(include_bytes!(concat!(env!("OUT_DIR"), "/vertex.spv")));
    let copy = words(include_bytes!(concat!(env!("OUT_DIR"), "/copy.spv")));
    let mut engine = Engine::new(&gpu, 2, [&vertex, &copy]).unwrap();
    let surfaces = khr::xlib_surface::Instance::new(gpu.entry(), gpu.instance());
    let info = vk::XlibSurfaceCreateInfoKHR::default().dpy(screen.display.cast()).window(screen.window);
    // SAFETY: the screen outlives the engine.
    let surface = unsafe { surfaces.create_xlib_surface(&info, None) }.unwrap();
    engine.show_in(Swapchain::on_surface(&gpu, surface, 2).unwrap());
    engine.resize([64; 2]).unwrap();
    (engine, gpu)
}

/// Records its notifications, and panics in the job if `panics` is set.
#[derive(Default)]
struct Notes {
    notified: Arc<Mutex<Vec<(Pass, bool)>>>,
    panics: bool,
}

// SAFETY: it records nothing.
unsafe impl System for Notes {
    fn name(&self) -> &'static str {
        "notes"
    }

    fn draw(&mut self, _: Pass, _: &mut Recorder<'_>) {
        assert!(!self.panics, "on purpose");
    }

    fn submitted(&mut self, pass: Pass, accepted: bool) -> anyhow::Result<()> {
        self.notified.lock().unwrap().push((pass, accepted));
        Ok(())
    }
}

/// If the driver accepts only the first submissions of a frame and refuses the others, including
/// their replacements, the systems are notified of each pass, and the window works again after its
/// images were created again.
#[test]
fn refused_submissions_leave_the_window_usable() {
    let _alone = serialize();
    let Some(screen) = Screen::new() else { return };
    for (through, expected) in [(0, vec![(Pass::Scene, false)]), (1, vec![(Pass::Scene, true), (Pass::Picture, false)])]
    {
        let (mut engine, gpu) = engine(&screen);
        let notes = Notes::default();
        let notified = Arc::clone(&notes.notified);
        engine.add(Box::new(notes)).unwrap();
        for _ in 0..3 {
            assert_eq!(engine.frame(false).unwrap(), Outcome::Drawn);
        }
        notified.lock().unwrap().clear();
        THROUGH.store(through, Ordering::SeqCst);
        engine.frame(false).unwrap_err();
        THROUGH.store(-1, Ordering::SeqCst);
        assert_eq!(*notified.lock().unwrap(), expected, "{through} went through");
        assert_eq!(engine.frame(false).unwrap(), Outcome::Nothing, "its image was left behind");
        engine.resize([64; 2]).unwrap();
        for _ in 0..4 {
            assert_eq!(engine.frame(false).unwrap(), Outcome::Drawn, "{through} went through");
        }
        let messages = Arc::clone(gpu.messages());
        drop((engine, gpu));
        check_messages(&messages.snapshot()).unwrap();
    }
}

/// After a job panicked, the acquired image of its frame is left behind, and no other image is
/// acquired.
#[test]
fn a_job_that_panics_leaves_its_image_behind() {
    let _alone = serialize();
    let Some(screen) = Screen::new() else { return };
    let (mut engine, _gpu) = engine(&screen);
    engine.add(Box::new(Notes { panics: true, ..Notes::default() })).unwrap();
    engine.frame(false).unwrap_err();
    assert_eq!(engine.frame(false).unwrap(), Outcome::Nothing);
}
