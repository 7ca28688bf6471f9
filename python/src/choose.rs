//! The decision whether a view gets a window.

use bridge_view::{Window, WindowInfo};
use pyo3::prelude::*;

use crate::error::{Fault, Kind};
use crate::native::call;
use crate::screen::Screen;

/// Name of the Python logger for warnings.
const LOGGER: &str = "vkview";

/// Creates a screen with `make`: with a window if `headless` is false, without one if it is true.
/// If it is `None`, the screen has a window if one can be opened and presented to; otherwise it has
/// none, and a warning is logged.
pub(crate) fn screen(
    py: Python<'_>,
    headless: Option<bool>,
    wanted: &WindowInfo,
    make: impl Fn(Option<Window>) -> Result<Screen, Fault> + Sync,
) -> PyResult<Screen> {
    let windowed = || -> PyResult<Result<Screen, Fault>> {
        if let Some(reason) = no_display() {
            return Ok(Err(Fault::new(Kind::Unavailable, reason)));
        }
        check_main_thread(py)?;
        // Display and GPU drivers are called detached from the interpreter.
        call(py, || make(Some(Window::open(wanted)?)))
    };
    match headless {
        Some(true) => Ok(call(py, || make(None))??),
        Some(false) => windowed()?.map_err(PyErr::from),
        None => match windowed()? {
            Err(fault) if fault.kind() == Kind::Unavailable => {
                let screen = call(py, || make(None))??;
                let note =
                    format!("a view without a window (headless=True says that this is meant): {}", fault.message());
                warn(py, &note)?;
                Ok(screen)
            }
            made => Ok(made?),
        },
    }
}

/// Logs a warning with Python's logger.
pub(crate) fn warn(py: Python<'_>, note: &str) -> PyResult<()> {
    let logger = py.import("logging")?.call_method1("getLogger", (LOGGER,))?;
    logger.call_method1("warning", ("%s", note)).map(drop)
}

/// Returns the reason why there is no display, or `None` if there may be one.
fn no_display() -> Option<&'static str> {
    let named = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if cfg!(windows) || ["DISPLAY", "WAYLAND_DISPLAY", "WAYLAND_SOCKET"].into_iter().any(named) {
        return None;
    }
    Some(
        "no window can be opened: there is no display (neither DISPLAY nor WAYLAND_DISPLAY nor WAYLAND_SOCKET is set). Run it on a desktop, under \
         `xvfb-run`, or through `ssh -X`, or make the view with headless=True and use pixels() or save()",
    )
}

/// Checks that this is the main thread of Python and of the process, since events arrive only
/// there.
fn check_main_thread(py: Python<'_>) -> PyResult<()> {
    let threading = py.import("threading")?;
    let main = threading.call_method0("main_thread")?;
    let mut here = threading.call_method0("current_thread")?.is(&main);
    if cfg!(target_os = "linux") {
        // An embedded interpreter may have a different main thread than the process.
        here &= threading.call_method0("get_native_id")?.extract::<u32>()? == std::process::id();
    }
    if here {
        return Ok(());
    }
    let reason = "a view with a window must be made on the main thread, where the process's events arrive; make it \
        there, or pass headless=True";
    Err(Fault::new(Kind::Usage, reason).into())
}
