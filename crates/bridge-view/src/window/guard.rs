//! Protection against panics of winit, which panics if a request cannot be sent any more, and on an
//! Xlib error that another part of the process caused.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::{Error, Result};

/// Calls `f`, and turns a panic into an error.
pub(crate) fn guarded<R>(f: impl FnOnce() -> R) -> Result<R> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().copied();
        let reason = panic.downcast_ref::<String>().map(String::as_str).or(text).unwrap_or("no reason is known");
        Error::WindowSystem { reason: reason.to_owned() }
    })
}
