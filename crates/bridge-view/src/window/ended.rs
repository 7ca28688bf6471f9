//! The end of a display: its server has ended, or the connection to it.
//!
//! Xlib ends the process then, in the middle of whatever it computes. Here the windows count as
//! closed by their user instead, and the views go on without them.

// A callback of Xlib's.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicBool, Ordering};

use raw_window_handle::RawDisplayHandle;

/// Of the one display of the process.
static ENDED: AtomicBool = AtomicBool::new(false);

/// Returns `true` if the display has ended. Its windows are not touched any more: winit panics
/// where a request cannot be sent.
pub(crate) fn has_ended() -> bool {
    ENDED.load(Ordering::Acquire)
}

/// Notes that it has.
pub(crate) fn end() {
    ENDED.store(true, Ordering::Release);
}

/// Makes the process outlive the display, and keeps the errors of other displays from winit.
/// Without `XSetIOErrorExitHandler`, in libX11 before 1.7, all stays as it was. What other parts of
/// the process have set for their displays stays as well.
#[cfg(target_os = "linux")]
pub(crate) fn outlive(display: RawDisplayHandle) {
    let RawDisplayHandle::Xlib(display) = display else { return };
    let Some(display) = display.display else { return };
    let first = xlib::OURS.swap(display.as_ptr(), Ordering::AcqRel).is_null();
    if first {
        // Xlib has one handler of errors a process, and winit takes those of others for its own.
        winit::platform::x11::register_xlib_error_hook(Box::new(|display, _| {
            display != xlib::OURS.load(Ordering::Acquire)
        }));
    }
    // SAFETY: winit has opened it, and opening it again runs no code of its.
    let Ok(library) = (unsafe { libloading::Library::new("libX11.so.6") }) else { return };
    // SAFETY: the signature is that of Xlib.h.
    let Ok(set_exit) = (unsafe { library.get::<xlib::SetExitHandler>(c"XSetIOErrorExitHandler") }) else { return };
    // SAFETY: as above.
    let Ok(set_error) = (unsafe { library.get::<xlib::SetErrorHandler>(c"XSetIOErrorHandler") }) else { return };
    // SAFETY: the display is open, for winit never closes it; the function stays, for Python never
    // unloads this module.
    unsafe { set_exit(display.as_ptr(), xlib::exit, std::ptr::null_mut()) };
    // SAFETY: as above.
    let before = unsafe { set_error(xlib::error) };
    // The one event loop of the process is made once.
    let _ = xlib::BEFORE.set(before);
}

/// What Xlib calls where a display has ended.
#[cfg(target_os = "linux")]
mod xlib {
    use std::ffi::{c_int, c_void};
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicPtr, Ordering};

    type ExitHandler = unsafe extern "C" fn(*mut c_void, *mut c_void);
    type ErrorHandler = unsafe extern "C" fn(*mut c_void) -> c_int;
    pub(super) type SetExitHandler = unsafe extern "C" fn(*mut c_void, ExitHandler, *mut c_void);
    pub(super) type SetErrorHandler = unsafe extern "C" fn(ErrorHandler) -> Option<ErrorHandler>;

    pub(super) static OURS: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());
    pub(super) static BEFORE: OnceLock<Option<ErrorHandler>> = OnceLock::new();

    /// Called once the error has been told; only for our display.
    pub(super) unsafe extern "C" fn exit(_display: *mut c_void, _data: *mut c_void) {
        super::end();
    }

    /// The one of all displays of the process; the handler of Xlib's own ends it.
    pub(super) unsafe extern "C" fn error(display: *mut c_void) -> c_int {
        if display == OURS.load(Ordering::Acquire) {
            super::end();
            return 0;
        }
        match BEFORE.get() {
            // SAFETY: Xlib gave the function, and the display is the one that it calls this with.
            Some(Some(before)) => unsafe { before(display) },
            _ => 0,
        }
    }
}

/// Elsewhere a display does not end.
#[cfg(not(target_os = "linux"))]
pub(crate) fn outlive(_display: RawDisplayHandle) {}
