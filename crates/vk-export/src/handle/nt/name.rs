//! Names of kernel objects.
#![allow(unsafe_code)] // Windows calls.

use std::io;
use std::os::windows::io::{FromRawHandle, OwnedHandle};

use windows_sys::Win32::Foundation::{ERROR_ALREADY_EXISTS, GetLastError};
use windows_sys::Win32::System::Threading::CreateEventW;

use crate::error::{Error, Result};

/// The longest name that Windows accepts, including the NUL (`MAX_PATH`).
const MAX_LENGTH: usize = 260;

/// Returns the null-terminated UTF-16 name after checking that no object has it.
///
/// Another process can still take the name before Vulkan uses it; the driver then returns its own
/// error.
pub(super) fn reserve(name: &str, object: &str) -> Result<Vec<u16>> {
    let invalid = |reason: String| Error::invalid(object, reason);
    let wide = encode(name).map_err(|reason| invalid(format!("its NT name {name:?} {reason}")))?;
    match is_taken(&wide) {
        Ok(false) => Ok(wide),
        Ok(true) => Err(invalid(format!("its NT name {name:?} is taken by another object; choose one of your own"))),
        Err(error) => Err(invalid(format!("its NT name {name:?} cannot be used: {error}"))),
    }
}

/// Encodes the name in UTF-16 and appends a NUL.
fn encode(name: &str) -> Result<Vec<u16>, &'static str> {
    let bare = name.strip_prefix(r"Local\").or_else(|| name.strip_prefix(r"Global\")).unwrap_or(name);
    if bare.is_empty() {
        return Err("is empty");
    }
    if bare.contains('\\') {
        return Err(r"has a backslash; one may only end `Local\` or `Global\` at its beginning");
    }
    if bare.contains('\0') {
        return Err("has a NUL in it");
    }
    let wide: Vec<_> = name.encode_utf16().chain([0]).collect();
    if wide.len() > MAX_LENGTH { Err("is longer than 259 UTF-16 units") } else { Ok(wide) }
}

/// Returns `true` if a kernel object has the name. All kinds of kernel objects share the namespace,
/// so creating an event with the name fails or opens an existing object.
fn is_taken(name: &[u16]) -> io::Result<bool> {
    // SAFETY: the name ends with a NUL and lives until the call returns; the other arguments are
    // values.
    let event = unsafe { CreateEventW(std::ptr::null(), 1, 0, name.as_ptr()) };
    // SAFETY: reads this thread's last error.
    let code = unsafe { GetLastError() };
    if event.is_null() {
        // ERROR_INVALID_HANDLE: an object of another kind has the name. Any other error leaves the
        // question open.
        let taken = code == windows_sys::Win32::Foundation::ERROR_INVALID_HANDLE;
        return if taken { Ok(true) } else { Err(io::Error::from_raw_os_error(code.cast_signed())) };
    }
    // SAFETY: the handle was created or opened by the call above and is not used elsewhere.
    drop(unsafe { OwnedHandle::from_raw_handle(event) });
    Ok(code == ERROR_ALREADY_EXISTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_validated_before_the_system_call() {
        for name in ["a", r"Local\a b", r"Global\ü", "Global"] {
            let wide = encode(name).unwrap();
            assert_eq!(String::from_utf16(&wide).unwrap(), format!("{name}\0"));
        }
        let long = "x".repeat(260);
        for (name, reason) in [
            ("", "empty"),
            (r"Local\", "empty"),
            (r"a\b", "backslash"),
            (r"local\a", "backslash"),
            ("a\0b", "NUL"),
            (&long, "longer"),
        ] {
            assert!(encode(name).unwrap_err().contains(reason), "{name:?}");
        }
        assert!(encode(&long[1..]).is_ok());
    }

    #[test]
    fn used_name_is_refused_until_it_is_free() {
        use windows_sys::Win32::System::Threading::CreateMutexW;

        let name = format!("vk-export-taken-{}", std::process::id());
        let wide = reserve(&name, "buffer \"b\"").unwrap();
        let event = || {
            // SAFETY: the name ends with a NUL.
            let raw = unsafe { CreateEventW(std::ptr::null(), 1, 0, wide.as_ptr()) };
            // SAFETY: the event was just created and is not used elsewhere.
            unsafe { OwnedHandle::from_raw_handle(raw) }
        };
        let mutex = || {
            // SAFETY: the name ends with a NUL.
            let raw = unsafe { CreateMutexW(std::ptr::null(), 0, wide.as_ptr()) };
            // SAFETY: the mutex was just created and is not used elsewhere.
            unsafe { OwnedHandle::from_raw_handle(raw) }
        };
        // An object of the same kind as the one that `is_taken` creates, and one of another kind.
        let makers: [&dyn Fn() -> OwnedHandle; 2] = [&event, &mutex];
        for make in makers {
            let holder = make();
            let error = reserve(&name, "buffer \"b\"").unwrap_err().to_string();
            assert!(error.contains("buffer \"b\"") && error.contains(&name) && error.contains("taken"), "{error}");
            drop(holder);
            reserve(&name, "buffer \"b\"").unwrap();
        }
    }
}
