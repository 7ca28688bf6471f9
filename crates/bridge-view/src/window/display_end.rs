//! Handling of the end of a display: its server has ended, or the connection to it is lost.
//!
//! By default Xlib then exits the process. With this module, the windows count as closed by the
//! user instead, and the views continue without them.

// Xlib callbacks.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicBool, Ordering};

use raw_window_handle::RawDisplayHandle;

/// `true` if the process's only display has ended.
static ENDED: AtomicBool = AtomicBool::new(false);

/// Returns `true` if the display has ended. Its windows must not be used after that: winit panics
/// if a request cannot be sent.
pub(crate) fn has_ended() -> bool {
    ENDED.load(Ordering::Acquire)
}

/// Notes that the display has ended.
pub(crate) fn end() {
    ENDED.store(true, Ordering::Release);
}

/// Makes the process survive the end of the display, and hides errors of other displays from winit.
/// Has no effect without `XSetIOErrorExitHandler`, in libX11 before 1.7. Handlers that other parts
/// of the process have set for their displays remain in effect.
#[cfg(target_os = "linux")]
pub(crate) fn survive_display_end(display: RawDisplayHandle) {
    let RawDisplayHandle::Xlib(display) = display else { return };
    let Some(display) = display.display else { return };
    let first = xlib::OURS.swap(display.as_ptr(), Ordering::AcqRel).is_null();
    if first {
        // Xlib has one error handler per process, and winit attributes errors of other displays to
        // itself.
        winit::platform::x11::register_xlib_error_hook(Box::new(|display, _| {
            display != xlib::OURS.load(Ordering::Acquire)
        }));
    }
    // SAFETY: winit has already loaded the library, and loading it again does not run its
    // initializers.
    let Ok(library) = (unsafe { libloading::Library::new("libX11.so.6") }) else { return };
    // SAFETY: the type is the signature in Xlib.h.
    let Ok(set_exit) = (unsafe { library.get::<xlib::SetExitHandler>(c"XSetIOErrorExitHandler") }) else { return };
    // SAFETY: as above.
    let Ok(set_error) = (unsafe { library.get::<xlib::SetErrorHandler>(c"XSetIOErrorHandler") }) else { return };
    // SAFETY: the display is open, since winit never closes it; the function stays loaded, since
    // neither programs nor Python unload this code.
    unsafe { set_exit(display.as_ptr(), xlib::exit, std::ptr::null_mut()) };
    // SAFETY: as above.
    let before = unsafe { set_error(xlib::error) };
    // Set once, since the process's only event loop is created once.
    let _ = xlib::BEFORE.set(before);
}

/// The handlers that Xlib calls when a display has ended.
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

    /// Called after the error handler, only for our display.
    pub(super) unsafe extern "C" fn exit(_display: *mut c_void, _data: *mut c_void) {
        super::end();
    }

    /// The error handler for all displays of the process; Xlib's default handler exits the process.
    pub(super) unsafe extern "C" fn error(display: *mut c_void) -> c_int {
        if display == OURS.load(Ordering::Acquire) {
            super::end();
            return 0;
        }
        match BEFORE.get() {
            // SAFETY: Xlib returned this function, and the display is the one that Xlib passed.
            Some(Some(before)) => unsafe { before(display) },
            _ => 0,
        }
    }
}

/// Does nothing: on other systems a display does not end.
#[cfg(not(target_os = "linux"))]
pub(crate) fn survive_display_end(_display: RawDisplayHandle) {}
