//! The types of handles.

use ash::vk;

/// The handle types that this crate exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HandleType {
    /// `VK_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD_BIT` and its semaphore sibling.
    OpaqueFd,
    /// `VK_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_WIN32_BIT` and its semaphore sibling.
    OpaqueWin32,
    /// `VK_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_WIN32_KMT_BIT`: a number that names memory and holds
    /// no reference to it. For memory on drivers that offer nothing newer; no timeline semaphore
    /// has one.
    OpaqueWin32Kmt,
}

impl HandleType {
    /// The type of this operating system.
    pub const NATIVE: Self = if cfg!(windows) { Self::OpaqueWin32 } else { Self::OpaqueFd };

    /// Types of handle that memory is exported as on this operating system; the first that the
    /// driver offers is taken.
    pub const OF_MEMORY: &[Self] =
        if cfg!(windows) { &[Self::OpaqueWin32, Self::OpaqueWin32Kmt] } else { &[Self::OpaqueFd] };

    /// Returns the type in words, for messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OpaqueFd => "an opaque file descriptor",
            Self::OpaqueWin32 => "an opaque NT handle",
            Self::OpaqueWin32Kmt => "an opaque KMT handle",
        }
    }

    pub(crate) const fn memory(self) -> vk::ExternalMemoryHandleTypeFlags {
        match self {
            Self::OpaqueFd => vk::ExternalMemoryHandleTypeFlags::OPAQUE_FD,
            Self::OpaqueWin32 => vk::ExternalMemoryHandleTypeFlags::OPAQUE_WIN32,
            Self::OpaqueWin32Kmt => vk::ExternalMemoryHandleTypeFlags::OPAQUE_WIN32_KMT,
        }
    }

    pub(crate) const fn semaphore(self) -> vk::ExternalSemaphoreHandleTypeFlags {
        match self {
            Self::OpaqueFd => vk::ExternalSemaphoreHandleTypeFlags::OPAQUE_FD,
            Self::OpaqueWin32 => vk::ExternalSemaphoreHandleTypeFlags::OPAQUE_WIN32,
            Self::OpaqueWin32Kmt => vk::ExternalSemaphoreHandleTypeFlags::OPAQUE_WIN32_KMT,
        }
    }
}
