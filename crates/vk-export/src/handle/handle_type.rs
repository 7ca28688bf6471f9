//! Types of exported handles.

use ash::vk;

/// The handle types that this crate exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HandleType {
    /// `VK_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD_BIT` and its semaphore counterpart.
    OpaqueFd,
    /// `VK_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_WIN32_BIT` and its semaphore counterpart.
    OpaqueWin32,
    /// `VK_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_WIN32_KMT_BIT`: a number that identifies memory and
    /// holds no reference to it. Used for memory on drivers that offer nothing newer; timeline
    /// semaphores cannot be exported as this type.
    OpaqueWin32Kmt,
}

impl HandleType {
    /// The default type on this operating system.
    pub const NATIVE: Self = if cfg!(windows) { Self::OpaqueWin32 } else { Self::OpaqueFd };

    /// The handle types for memory on this operating system, in order of preference; the first that
    /// the driver supports is used.
    pub const MEMORY_TYPES: &[Self] =
        if cfg!(windows) { &[Self::OpaqueWin32, Self::OpaqueWin32Kmt] } else { &[Self::OpaqueFd] };

    /// Returns the type as text, for messages.
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
