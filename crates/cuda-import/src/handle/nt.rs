//! Imports of NT handles, names and KMT handles.
//!
//! Contains unsafe code because it queries handles.
#![allow(unsafe_code)]

use std::mem::ManuallyDrop;
use std::os::windows::io::AsRawHandle;
use std::ptr::null_mut;

use windows_sys::Wdk::Foundation::{NtQueryObject, ObjectTypeInformation};
use windows_sys::Win32::Foundation::{GetHandleInformation, HANDLE, UNICODE_STRING};

use super::ImportHandle;
use crate::error::{Error, Object, Result};
use crate::sys::{CallResult, RawHandle};

/// The name of a kernel object, as the exporter chose it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NtName(Box<[u16]>);

impl NtName {
    /// Creates the name, which may start with `Local\` or `Global\`.
    ///
    /// # Errors
    /// [`Error::InvalidHandle`] for an empty name or one that contains a NUL.
    pub fn new(name: &str) -> Result<Self> {
        if name.is_empty() || name.contains('\0') {
            let reason = format!("{name:?} is not a valid name: it is empty or contains a NUL");
            return Err(Error::InvalidHandle { object: "a named object".to_owned(), reason });
        }
        Ok(Self(name.encode_utf16().chain([0]).collect()))
    }
}

/// A global share handle: a number that identifies memory or a semaphore, holds no reference to it,
/// and is never closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KmtHandle(isize);

impl KmtHandle {
    /// Creates the handle from the number that the exporter got.
    pub fn from_raw(raw: isize) -> Self {
        Self(raw)
    }
}

/// Lends the raw handle to `import`, and then closes it if it is an NT handle.
///
/// # Errors
/// [`Error::InvalidHandle`] for an NT handle that is not open in this process; otherwise those of
/// `import`, with the kind of the handle.
pub(crate) fn import_with<T>(
    handle: ImportHandle,
    object: &Object<'_>,
    device: &str,
    import: impl FnOnce(RawHandle) -> CallResult<T>,
) -> Result<T> {
    match handle {
        ImportHandle::Nt(handle) => {
            // Closing a number that is not open raises an exception under a debugger.
            let handle = ManuallyDrop::new(handle);
            let raw = handle.as_raw_handle();
            check_open(raw).map_err(|source| Error::InvalidHandle {
                object: object.to_string(),
                reason: format!(
                    "{raw:?} is not open in this process ({source}). A handle of another process must be duplicated into \
                     this one (DuplicateHandle)"
                ),
            })?;
            let handle = ManuallyDrop::into_inner(handle);
            import(RawHandle::Nt(raw)).map_err(|error| {
                let kind = kind(handle.as_raw_handle()).unwrap_or_else(|| "unknown".to_owned());
                error.at(format_args!("{object} from an NT handle of kind {kind}"), device)
            })
        }
        ImportHandle::Name(name) => {
            let text = || String::from_utf16_lossy(name.0.split_last().map_or(&[], |(_nul, text)| text));
            import(RawHandle::Name(name.0.as_ptr()))
                .map_err(|error| error.at(format_args!("{object} by the name {:?}", text()), device))
        }
        ImportHandle::Kmt(KmtHandle(raw)) => {
            import(RawHandle::Kmt(std::ptr::without_provenance_mut(raw.cast_unsigned())))
                .map_err(|error| error.at(format_args!("{object} from a KMT handle"), device))
        }
    }
}

fn check_open(handle: HANDLE) -> std::io::Result<()> {
    let mut flags = 0;
    // SAFETY: a number that is not an open handle is an error, and `flags` receives the result.
    let open = unsafe { GetHandleInformation(handle, &mut flags) } != 0;
    if open { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// Returns the kernel's name for the kind of object that the handle refers to: `Event`, `Section`,
/// `File`, …
fn kind(handle: HANDLE) -> Option<String> {
    // A UNICODE_STRING, other fields, and the text that the string points to. `u64` ensures the
    // alignment.
    let mut buffer = [0u64; 64];
    let size = u32::try_from(size_of_val(&buffer)).ok()?;
    let place = buffer.as_mut_ptr().cast();
    // SAFETY: the buffer has `size` bytes; a number that is not an open handle is an error.
    let status = unsafe { NtQueryObject(handle, ObjectTypeInformation, place, size, null_mut()) };
    if status < 0 {
        return None;
    }
    // SAFETY: PUBLIC_OBJECT_TYPE_INFORMATION begins with the type's name, and the call filled the
    // aligned buffer with one.
    let name = unsafe { buffer.as_ptr().cast::<UNICODE_STRING>().read() };
    // SAFETY: the call initialized the string, whose text is in the rest of the buffer.
    unsafe { text(&name) }
}

/// Returns the text of the string; `None` if it has none.
///
/// # Safety
/// If the pointer is not null, it points to `name.Length` bytes of text.
unsafe fn text(name: &UNICODE_STRING) -> Option<String> {
    // The pointer of an empty string may be null, which is not valid for a slice.
    if name.Buffer.is_null() {
        return None;
    }
    // SAFETY: the pointer is not null; the text is valid by this function's contract.
    let text = unsafe { std::slice::from_raw_parts(name.Buffer, usize::from(name.Length) / 2) };
    Some(String::from_utf16_lossy(text))
}

#[cfg(test)]
mod tests {
    use std::os::windows::io::{FromRawHandle, OwnedHandle};
    use std::ptr::null;

    use super::*;
    use crate::sys::CallError;

    const REFUSED: CallError = CallError { call: "cuImportExternalMemory", code: 999 };
    const OBJECT: Object<'_> = Object("memory", "m");

    /// Returns one end of a pipe to give away, and the other end to test whether the first is open:
    /// writing fails once the first end and all its duplicates are closed, even if its number is
    /// reused.
    fn pipe() -> (OwnedHandle, std::io::PipeWriter) {
        let (reader, writer) = std::io::pipe().unwrap();
        (OwnedHandle::from(reader), writer)
    }

    fn is_open(mut writer: &std::io::PipeWriter) -> bool {
        use std::io::Write;
        writer.write(b"x").is_ok()
    }

    #[test]
    fn a_name_without_text_is_none() {
        let nothing = UNICODE_STRING { Length: 0, MaximumLength: 0, Buffer: null_mut() };
        // SAFETY: the pointer is null.
        assert_eq!(unsafe { text(&nothing) }, None);
        let mut letters = [u16::from(b'F'), u16::from(b'i')];
        let short = UNICODE_STRING { Length: 4, MaximumLength: 4, Buffer: letters.as_mut_ptr() };
        // SAFETY: the array has the four bytes.
        assert_eq!(unsafe { text(&short) }.as_deref(), Some("Fi"));
    }

    #[test]
    fn an_nt_handle_is_closed_after_success_and_after_failure() {
        for result in [Ok(7), Err(REFUSED)] {
            let (handle, other_end) = pipe();
            let raw = handle.as_raw_handle();
            let given = import_with(handle.into(), &OBJECT, "GPU", |lent| {
                assert_eq!(lent.parts(), (raw, null()));
                assert!(is_open(&other_end), "closed before the driver saw it");
                result
            });
            assert_eq!(given.ok(), result.ok());
            assert!(!is_open(&other_end));
        }
    }

    #[test]
    fn duplicated_handle_stays_open() {
        let (handle, other_end) = pipe();
        let reference = handle.try_clone().unwrap();
        import_with(handle.into(), &OBJECT, "GPU", |_| Ok(())).unwrap();
        assert!(is_open(&other_end));
        drop(reference);
        assert!(!is_open(&other_end));
    }

    #[test]
    fn refused_handle_error_names_its_kind() {
        let file = OwnedHandle::from(std::fs::File::open(std::env::current_exe().unwrap()).unwrap());
        let text = import_with(file.into(), &OBJECT, "GPU", |_| Err::<(), _>(REFUSED)).unwrap_err().to_string();
        assert!(text.starts_with("cuImportExternalMemory failed"), "{text}");
        assert!(text.contains("memory \"m\" from an NT handle of kind File, GPU"), "{text}");
    }

    #[test]
    fn a_handle_that_is_not_open_here_is_neither_shown_nor_closed() {
        // A handle that another process might send. (A number that was open in this process would
        // soon be reused by another test.)
        let raw = std::ptr::without_provenance_mut(0x7fff_fff0);
        // SAFETY: not sound, because the number is not an open handle, which `import_with` must
        // detect.
        let handle = unsafe { OwnedHandle::from_raw_handle(raw) };
        let error = import_with(handle.into(), &OBJECT, "GPU", |_| -> CallResult<()> { panic!("shown") }).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, Error::InvalidHandle { .. }) && text.contains("DuplicateHandle"), "{text}");
    }

    #[test]
    fn names_and_kmt_handles_are_passed_through() {
        for bad in ["", "a\0b"] {
            assert!(matches!(NtName::new(bad), Err(Error::InvalidHandle { .. })));
        }
        let name = NtName::new(r"Local\ü").unwrap();
        let error = import_with(name.into(), &OBJECT, "GPU", |lent| {
            let (handle, name) = lent.parts();
            assert!(handle.is_null());
            // SAFETY: a name of seven units and its NUL.
            let text = unsafe { std::slice::from_raw_parts(name.cast::<u16>(), 8) };
            assert_eq!(String::from_utf16(text).unwrap(), "Local\\ü\0");
            Err::<(), _>(REFUSED)
        });
        let text = error.unwrap_err().to_string();
        assert!(text.contains("memory \"m\" by the name \"Local\\\\ü\""), "{text}");

        // A number that is also an open handle, which must not be closed.
        let (handle, other_end) = pipe();
        let kmt = KmtHandle::from_raw(handle.as_raw_handle().addr().cast_signed());
        let given = import_with(kmt.into(), &OBJECT, "GPU", |lent| Ok(lent.parts()));
        assert_eq!(given.unwrap(), (handle.as_raw_handle(), null()));
        assert!(is_open(&other_end));
    }

    #[test]
    fn ten_thousand_imports_leak_no_handle() {
        let lowest_free = || {
            let (handle, _) = pipe();
            handle.as_raw_handle().addr()
        };
        let before = lowest_free();
        for round in 0..10_000 {
            let (handle, _) = pipe();
            let result = if round % 2 == 0 { Ok(()) } else { Err(REFUSED) };
            assert_eq!(import_with(handle.into(), &OBJECT, "GPU", |_| result).is_ok(), result.is_ok());
        }
        // The smallest free number is allocated first, and each round would have kept one if it
        // leaked. The limit leaves room for other tests.
        let after = lowest_free();
        assert!(after < before + 4 * 1000, "the lowest free handle was {before:#x} and is {after:#x}");
    }
}
