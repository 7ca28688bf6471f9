//! The functions of `VK_NVX_binary_import` and `VK_NVX_image_view_handle`.
#![allow(unsafe_code)] // Function pointers.

use ash::vk;

/// The functions, loaded for one device.
#[derive(Clone, Copy)]
pub(crate) struct KernelCalls {
    pub(crate) create_module: vk::PFN_vkCreateCuModuleNVX,
    pub(crate) destroy_module: vk::PFN_vkDestroyCuModuleNVX,
    pub(crate) create_function: vk::PFN_vkCreateCuFunctionNVX,
    pub(crate) destroy_function: vk::PFN_vkDestroyCuFunctionNVX,
    pub(crate) launch: vk::PFN_vkCmdCuLaunchKernelNVX,
    pub(crate) view_handle: vk::PFN_vkGetImageViewHandleNVX,
}

/// Expands to the function `$name` of type `$function`, or returns `$name` as an error from the
/// enclosing function.
macro_rules! load {
    ($get:ident, $name:literal, $function:ty) => {{
        let found: vk::PFN_vkVoidFunction = $get(concat!($name, "\0"));
        let found = found.ok_or($name)?;
        // SAFETY: `vkGetDeviceProcAddr` returns the function of that name, which has this type
        // (Vulkan specification, "Command Function Pointers").
        unsafe { std::mem::transmute::<unsafe extern "system" fn(), $function>(found) }
    }};
}

impl KernelCalls {
    /// Loads the functions of a device on which both extensions are enabled. The error is the name
    /// of the first missing function.
    pub(crate) fn load(instance: &ash::Instance, device: &ash::Device) -> Result<Self, &'static str> {
        let get = |name: &'static str| {
            // SAFETY: VUID-vkGetDeviceProcAddr-device-parameter: the device is alive; the name ends
            // with a NUL.
            unsafe { (instance.fp_v1_0().get_device_proc_addr)(device.handle(), name.as_ptr().cast()) }
        };
        Ok(Self {
            create_module: load!(get, "vkCreateCuModuleNVX", vk::PFN_vkCreateCuModuleNVX),
            destroy_module: load!(get, "vkDestroyCuModuleNVX", vk::PFN_vkDestroyCuModuleNVX),
            create_function: load!(get, "vkCreateCuFunctionNVX", vk::PFN_vkCreateCuFunctionNVX),
            destroy_function: load!(get, "vkDestroyCuFunctionNVX", vk::PFN_vkDestroyCuFunctionNVX),
            launch: load!(get, "vkCmdCuLaunchKernelNVX", vk::PFN_vkCmdCuLaunchKernelNVX),
            view_handle: load!(get, "vkGetImageViewHandleNVX", vk::PFN_vkGetImageViewHandleNVX),
        })
    }
}
