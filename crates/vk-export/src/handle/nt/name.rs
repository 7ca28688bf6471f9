//! Names of kernel objects.
#![allow(unsafe_code)] // Windows calls.

use std::io;
use std::os::windows::io::{FromRawHandle, OwnedHandle};

use windows_sys::Win32::Foundation::{ERROR_ALREADY_EXISTS, GetLastError};
use windows_sys::Win32::System::Threading::CreateEventW;

use crate::error::{Error, Result};

/// Longest name that Windows accepts, with the NUL (`MAX_PATH`).
const LONGEST: usize = 260;

/// The name as Windows wants it, with its NUL, after seeing that nothing has it.
///
/// Another process can still take it before Vulkan does; then the driver refuses it in its own
/// words.
pub(super) fn reserve(name: &str, object: &str) -> Result<Vec<u16>> {
    let invalid = |reason: String| Error::invalid(object, reason);
    let wide = encode(name).map_err(|reason| invalid(format!("its NT name {name:?} {reason}")))?;
    match is_taken(&wide) {
        Ok(false) => Ok(wide),
        Ok(true) => Err(invalid(format!("its NT name {name:?} is taken by another object; choose one of your own"))),
        Err(error) => Err(invalid(format!("its NT name {name:?} cannot be used: {error}"))),
    }
}

/// In UTF-16, with a NUL behind it.
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
    if wide.len() > LONGEST { Err("is longer than 259 UTF-16 units") } else { Ok(wide) }
}

/// Kernel objects of all kinds share the namespace: an event cannot be made under a name that
/// something has.
fn is_taken(name: &[u16]) -> io::Result<bool> {
    // SAFETY: the name ends with a NUL and lives until the call returns; the other arguments are
    // plain values.
    let event = unsafe { CreateEventW(std::ptr::null(), 1, 0, name.as_ptr()) };
    // SAFETY: reads this thread's last error.
    let code = unsafe { GetLastError() };
    if event.is_null() {
        // "The name is that of an object of another kind": ERROR_INVALID_HANDLE. All else is no
        // answer.
        let taken = code == windows_sys::Win32::Foundation::ERROR_INVALID_HANDLE;
        return if taken { Ok(true) } else { Err(io::Error::from_raw_os_error(code.cast_signed())) };
    }
    // SAFETY: the handle was made, or opened, for this call alone.
    drop(unsafe { OwnedHandle::from_raw_handle(event) });
    Ok(code == ERROR_ALREADY_EXISTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_before_windows_sees_them() {
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
    fn a_name_that_is_taken_is_refused_and_free_again_later() {
        use windows_sys::Win32::System::Threading::CreateMutexW;

        let name = format!("vk-export-taken-{}", std::process::id());
        let wide = reserve(&name, "buffer \"b\"").unwrap();
        let event = || {
            // SAFETY: the name ends with a NUL.
            let raw = unsafe { CreateEventW(std::ptr::null(), 1, 0, wide.as_ptr()) };
            // SAFETY: the event was just made, for this test alone.
            unsafe { OwnedHandle::from_raw_handle(raw) }
        };
        let mutex = || {
            // SAFETY: the name ends with a NUL.
            let raw = unsafe { CreateMutexW(std::ptr::null(), 0, wide.as_ptr()) };
            // SAFETY: the mutex was just made, for this test alone.
            unsafe { OwnedHandle::from_raw_handle(raw) }
        };
        // An object of the same kind as the question's, and one of another.
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
