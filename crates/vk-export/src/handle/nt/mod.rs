//! Export as NT handles.
//!
//! The NT handle of a memory or a semaphore may be requested only once
//! (VUID-VkMemoryGetWin32HandleInfoKHR-handleType-00663,
//! VUID-VkSemaphoreGetWin32HandleInfoKHR-handleType-01127), so the first is kept and each export
//! returns a duplicate. A KMT handle is a number that may be requested any number of times.

#![allow(unsafe_code)] // Vulkan calls.

mod name;
mod security;

use std::os::windows::io::{FromRawHandle, OwnedHandle};
use std::sync::{Mutex, PoisonError};

use ash::vk;

use crate::device::ExportDevice;
use crate::error::{Error, Result};
use crate::handle::handle_type::HandleType;
use crate::handle::{MemoryHandle, OsHandle};
use security::SecurityAttributes;

/// Access rights and name of an exported handle. The default suits sharing within one process.
#[derive(Debug, Clone, Copy, Default)]
pub struct NtSharing<'a> {
    /// A name in the session's namespace of kernel objects, by which other processes can open the
    /// object; may start with `Local\` or `Global\`. Default: none, the object is shared only
    /// through handles.
    pub name: Option<&'a str>,
    /// A security descriptor with a DACL, in the security descriptor definition language. Default:
    /// full access for the current user only.
    #[doc(alias = "ConvertStringSecurityDescriptorToSecurityDescriptorW")]
    pub sddl: Option<&'a str>,
}

/// A global share handle: a number that identifies memory, holds no reference to it, and is never
/// closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KmtHandle(isize);

impl KmtHandle {
    /// Returns the number, for an importer.
    pub fn as_raw(self) -> isize {
        self.0
    }
}

/// The information that Vulkan needs about an object's NT handles when it creates the object.
struct HandleInfo {
    attributes: SecurityAttributes,
    /// Null-terminated.
    name: Option<Vec<u16>>,
}

impl HandleInfo {
    /// Returns `None` for a KMT handle, which has no security attributes
    /// (VUID-VkMemoryAllocateInfo-pNext-00639,
    /// VUID-VkExportMemoryWin32HandleInfoKHR-handleTypes-00657).
    fn new(handle_type: HandleType, sharing: &NtSharing<'_>, object: &str) -> Result<Option<Self>> {
        if handle_type != HandleType::OpaqueWin32 {
            return match sharing {
                NtSharing { name: None, sddl: None } => Ok(None),
                _ => Err(Error::invalid(
                    object,
                    format!(
                        "the driver exports it as {} only, which has neither a name nor a security descriptor",
                        handle_type.as_str()
                    ),
                )),
            };
        }
        let attributes = match sharing.sddl {
            None => SecurityAttributes::current_user(object)?,
            Some(sddl) => SecurityAttributes::from_sddl(sddl, object)?,
        };
        let name = sharing.name.map(|name| name::reserve(name, object)).transpose()?;
        Ok(Some(Self { attributes, name }))
    }

    fn name(&self) -> *const u16 {
        self.name.as_ref().map_or(std::ptr::null(), |name| name.as_ptr())
    }
}

/// Creates the handles of one object.
pub(crate) struct Exporter {
    handle_type: HandleType,
    info: Option<HandleInfo>,
    /// The only NT handle that the driver returns, once it was requested.
    first: Mutex<Option<OwnedHandle>>,
}

impl Exporter {
    /// Creates the exporter for an object before the object is created, for the current user only.
    pub(crate) fn new(handle_type: HandleType, object: &str) -> Result<Self> {
        Self::shared(handle_type, &NtSharing::default(), object)
    }

    /// Creates the exporter for an object before the object is created, with the access of
    /// `sharing`.
    pub(crate) fn shared(handle_type: HandleType, sharing: &NtSharing<'_>, object: &str) -> Result<Self> {
        let info = HandleInfo::new(handle_type, sharing, object)?;
        Ok(Self { handle_type, info, first: Mutex::new(None) })
    }

    pub(crate) fn handle_type(&self) -> HandleType {
        self.handle_type
    }

    /// Returns the structure to chain to `VkMemoryAllocateInfo` in addition to
    /// `VkExportMemoryAllocateInfo`.
    pub(crate) fn memory_info(&self) -> Option<vk::ExportMemoryWin32HandleInfoKHR<'_>> {
        let info = self.info.as_ref()?;
        let chained = vk::ExportMemoryWin32HandleInfoKHR::default();
        Some(chained.attributes(info.attributes.as_raw()).dw_access(security::ACCESS).name(info.name()))
    }

    /// Returns the structure to chain to `VkSemaphoreCreateInfo` in addition to
    /// `VkExportSemaphoreCreateInfo`.
    pub(crate) fn semaphore_info(&self) -> Option<vk::ExportSemaphoreWin32HandleInfoKHR<'_>> {
        let info = self.info.as_ref()?;
        let chained = vk::ExportSemaphoreWin32HandleInfoKHR::default();
        Some(chained.attributes(info.attributes.as_raw()).dw_access(security::ACCESS).name(info.name()))
    }

    /// Returns a handle to the object's memory.
    pub(crate) fn memory(&self, device: &ExportDevice, raw: vk::DeviceMemory, object: &str) -> Result<MemoryHandle> {
        let get = || {
            let info = vk::MemoryGetWin32HandleInfoKHR::default().memory(raw).handle_type(self.handle_type.memory());
            // SAFETY: VUID-VkMemoryGetWin32HandleInfoKHR-handleType-00662 and -00663: the memory
            // was allocated for this handle type, and an NT handle is requested once, because
            // `duplicate` keeps it. The extension is enabled (`check_can_export` passed when the
            // memory was allocated).
            unsafe { device.export_calls().memory.get_memory_win32_handle(&info) }
                .map_err(device.failed("vkGetMemoryWin32HandleKHR", object))
        };
        match self.handle_type {
            HandleType::OpaqueWin32Kmt => Ok(MemoryHandle::Kmt(KmtHandle(get()?))),
            // SAFETY: "the returned handle needs to be closed by the application": a new NT handle
            // that this process owns.
            _ => self.duplicate(object, || get().map(|raw| unsafe { owned(raw) })).map(MemoryHandle::Nt),
        }
    }

    /// Returns a handle to the semaphore, owned by the caller.
    pub(crate) fn semaphore(&self, device: &ExportDevice, raw: vk::Semaphore, object: &str) -> Result<OsHandle> {
        self.duplicate(object, || {
            let info =
                vk::SemaphoreGetWin32HandleInfoKHR::default().semaphore(raw).handle_type(self.handle_type.semaphore());
            // SAFETY: VUID-VkSemaphoreGetWin32HandleInfoKHR-handleType-01126 and -01127: created
            // for this handle type, and requested once, because `duplicate` keeps it. The extension
            // is enabled (see above).
            let raw = unsafe { device.export_calls().semaphore.get_semaphore_win32_handle(&info) }
                .map_err(device.failed("vkGetSemaphoreWin32HandleKHR", object))?;
            // SAFETY: "the returned handle needs to be closed by the application": a new NT handle
            // that this process owns.
            Ok(unsafe { owned(raw) })
        })
    }

    /// Returns a duplicate of the first handle, which the first successful call gets from `get`.
    fn duplicate(&self, object: &str, get: impl FnOnce() -> Result<OwnedHandle>) -> Result<OsHandle> {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        let first = match &mut *first {
            Some(first) => first,
            none => none.insert(get()?),
        };
        first.try_clone().map_err(Error::system("DuplicateHandle", object))
    }
}

impl std::fmt::Debug for Exporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Exporter").field(&self.handle_type).finish()
    }
}

/// # Safety
/// `raw` is an open NT handle that only the returned value will close.
unsafe fn owned(raw: vk::HANDLE) -> OwnedHandle {
    // SAFETY: this function's contract.
    unsafe { OwnedHandle::from_raw_handle(std::ptr::with_exposed_provenance_mut(raw.cast_unsigned())) }
}

#[cfg(test)]
mod tests;
