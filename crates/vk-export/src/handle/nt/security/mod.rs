//! Access rights of an exported handle.
#![allow(unsafe_code)] // Windows calls.

use std::ffi::c_void;
use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr::{NonNull, null_mut};

use ash::vk;
use windows_sys::Win32::Foundation::{GENERIC_ALL, LocalFree};
use windows_sys::Win32::Security::Authorization::{
    ConvertSidToStringSidW, ConvertStringSecurityDescriptorToSecurityDescriptorW, SDDL_REVISION_1,
};
use windows_sys::Win32::Security::{
    GetSecurityDescriptorDacl, GetTokenInformation, SECURITY_ATTRIBUTES, TOKEN_QUERY, TOKEN_USER, TokenUser,
};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, OpenProcessToken};

use crate::error::{Error, Result};

/// Access rights of the handle. The specification of `VK_KHR_external_memory_win32` leaves the bits
/// to the driver; `GENERIC_ALL` is mapped to all rights of the object's kind.
pub(super) const ACCESS: u32 = GENERIC_ALL;

/// A `SECURITY_ATTRIBUTES` and the descriptor that it points to. Handles created with it are not
/// inherited.
pub(super) struct SecurityAttributes {
    raw: SECURITY_ATTRIBUTES,
    _descriptor: Local,
}

// SAFETY: it points to memory that `_descriptor` owns and that is never written.
unsafe impl Send for SecurityAttributes {}
// SAFETY: as above; no method changes it.
unsafe impl Sync for SecurityAttributes {}

impl SecurityAttributes {
    /// Creates attributes with full access for the current user, and none for other users.
    pub(super) fn current_user(object: &str) -> Result<Self> {
        let sid = current_user_sid().map_err(|(call, error)| Error::system(call, object)(error))?;
        Self::from_sddl(&owner_only(&sid), object)
    }

    pub(super) fn from_sddl(sddl: &str, object: &str) -> Result<Self> {
        let invalid = |reason: String| Error::invalid(object, format!("its security descriptor {sddl:?} {reason}"));
        let descriptor = parse(sddl).map_err(|error| invalid(format!("is refused by Windows: {error}")))?;
        // Windows treats a descriptor without a DACL as full access for everyone.
        if !has_dacl(&descriptor) {
            return Err(invalid("has no DACL (`D:`), which would give everyone access".to_owned()));
        }
        let raw = SECURITY_ATTRIBUTES {
            nLength: size_of::<SECURITY_ATTRIBUTES>() as u32,
            lpSecurityDescriptor: descriptor.0.as_ptr(),
            bInheritHandle: 0,
        };
        Ok(Self { raw, _descriptor: descriptor })
    }

    /// Returns the attributes in the type of the Vulkan bindings, valid as long as `self`.
    pub(super) fn as_raw(&self) -> &vk::SECURITY_ATTRIBUTES {
        // SAFETY: the binding's type is an opaque byte, and the reference is only converted to a
        // pointer for a driver, which reads the structure that is actually there.
        unsafe { &*(&raw const self.raw).cast() }
    }
}

/// Returns an SDDL string in which `P` means that nothing is inherited from the namespace's
/// directory, and `GA` generic all.
fn owner_only(sid: &str) -> String {
    format!("D:P(A;;GA;;;{sid})")
}

/// An allocation of the local heap.
struct Local(NonNull<c_void>);

impl Drop for Local {
    fn drop(&mut self) {
        // SAFETY: "to free the returned buffer, call the LocalFree function": this is such a
        // buffer, and it is freed only here.
        unsafe { LocalFree(self.0.as_ptr()) };
    }
}

fn parse(sddl: &str) -> io::Result<Local> {
    let wide: Vec<_> = sddl.encode_utf16().chain([0]).collect();
    let mut descriptor = null_mut();
    // SAFETY: the text ends with a NUL, and `descriptor` receives the result.
    let done = unsafe {
        ConvertStringSecurityDescriptorToSecurityDescriptorW(
            wide.as_ptr(),
            SDDL_REVISION_1,
            &mut descriptor,
            null_mut(),
        )
    };
    let descriptor = NonNull::new(descriptor).filter(|_| done != 0);
    descriptor.map(Local).ok_or_else(io::Error::last_os_error)
}

fn has_dacl(descriptor: &Local) -> bool {
    let (mut present, mut dacl, mut defaulted) = (0, null_mut(), 0);
    // SAFETY: a complete descriptor, and three variables for the results.
    let done = unsafe { GetSecurityDescriptorDacl(descriptor.0.as_ptr(), &mut present, &mut dacl, &mut defaulted) };
    done != 0 && present != 0 && !dacl.is_null()
}

/// Returns the SID of the process's user, as text. The error names the call.
fn current_user_sid() -> Result<String, (&'static str, io::Error)> {
    let failed = |call| (call, io::Error::last_os_error());
    let mut token = null_mut();
    // SAFETY: a pseudo handle that needs no closing.
    let process = unsafe { GetCurrentProcess() };
    // SAFETY: `token` receives the result.
    if unsafe { OpenProcessToken(process, TOKEN_QUERY, &mut token) } == 0 {
        return Err(failed("OpenProcessToken"));
    }
    // SAFETY: the handle was just opened and is not used elsewhere.
    let token = unsafe { OwnedHandle::from_raw_handle(token) };

    // A TOKEN_USER, followed by the SID that it points to: at most 68 bytes
    // (SECURITY_MAX_SID_SIZE). `u64` ensures the alignment.
    let mut buffer = [0u64; 16];
    let size = size_of_val(&buffer) as u32;
    let mut used = 0;
    let done =
        // SAFETY: the buffer has `size` bytes, and `used` receives the result.
        unsafe { GetTokenInformation(token.as_raw_handle(), TokenUser, buffer.as_mut_ptr().cast(), size, &mut used) };
    if done == 0 {
        return Err(failed("GetTokenInformation"));
    }
    // SAFETY: the call filled the aligned buffer with a TOKEN_USER.
    let user = unsafe { buffer.as_ptr().cast::<TOKEN_USER>().read() };
    let mut text = null_mut();
    // SAFETY: the SID lies in the buffer, which is still alive; `text` receives the result.
    if unsafe { ConvertSidToStringSidW(user.User.Sid, &mut text) } == 0 {
        return Err(failed("ConvertSidToStringSidW"));
    }
    let Some(_local) = NonNull::new(text.cast()).map(Local) else { return Err(failed("ConvertSidToStringSidW")) };
    // SAFETY: a text that ends with a NUL, which `_local` keeps alive.
    Ok(unsafe { text_at(text) })
}

/// # Safety
/// The text at `start` ends with a NUL.
unsafe fn text_at(start: *const u16) -> String {
    let mut units = Vec::new();
    for i in 0.. {
        // SAFETY: none of the units before this one was the NUL, so the text continues here.
        let place = unsafe { start.add(i) };
        // SAFETY: as above.
        match unsafe { place.read() } {
            0 => break,
            unit => units.push(unit),
        }
    }
    String::from_utf16_lossy(&units)
}

#[cfg(test)]
mod tests;
