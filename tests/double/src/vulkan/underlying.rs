//! The software driver that this one extends.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_void};
use std::sync::OnceLock;

use ash::vk;
use libloading::os::unix::{Library, RTLD_NOW};

/// Environment variable with the name of the underlying driver, if it is not the default name.
const DRIVER_VARIABLE: &str = "DRIVER_DOUBLE_VULKAN";
const LAVAPIPE: &str = "libvulkan_lvp.so";

pub(super) type Find = unsafe extern "system" fn(vk::Instance, *const c_char) -> vk::PFN_vkVoidFunction;

static LIBRARY: OnceLock<Option<Library>> = OnceLock::new();
static UNDERLYING: OnceLock<UnderlyingDriver> = OnceLock::new();

/// The functions of the underlying driver, which are the same for all its instances and devices.
pub(super) struct UnderlyingDriver {
    pub(super) instance: ash::Instance,
    pub(super) device: ash::Device,
}

/// Returns the functions of the underlying driver.
///
/// # Panics
///
/// If no instance has been created yet.
pub(super) fn underlying() -> &'static UnderlyingDriver {
    UNDERLYING.get().unwrap_or_else(|| panic!("there is no Vulkan instance"))
}

/// Returns a symbol of the underlying driver.
pub(super) fn symbol<F: Copy>(name: &CStr) -> Option<F> {
    let library = LIBRARY.get_or_init(|| {
        keep_loaded();
        let name = std::env::var(DRIVER_VARIABLE).unwrap_or_else(|_| LAVAPIPE.to_owned());
        // SAFETY: a Vulkan driver, which the loader could load as well.
        unsafe { Library::open(Some(name), RTLD_NOW | libc::RTLD_NODELETE) }.ok()
    });
    // SAFETY: the callers name the type that the interface specifies for the symbol.
    let symbol = unsafe { library.as_ref()?.get::<F>(name.to_bytes_with_nul()) }.ok()?;
    Some(*symbol)
}

/// Returns `true` if the underlying driver is installed on this machine.
pub(crate) fn is_installed() -> bool {
    symbol::<Find>(c"vk_icdGetInstanceProcAddr").is_some()
}

/// Keeps this library loaded. The loader unloads a driver with its last instance, but the threads
/// and the ledger of this one remain in use.
fn keep_loaded() {
    let mut info = std::mem::MaybeUninit::<libc::Dl_info>::zeroed();
    let here: *const c_void = (keep_loaded as fn() as *const ()).cast();
    // SAFETY: an address, and an output.
    let found = unsafe { libc::dladdr(here, info.as_mut_ptr()) };
    // SAFETY: all zeros are a valid value, which `dladdr` may have filled in.
    let info = unsafe { info.assume_init() };
    if found != 0 && !info.dli_fname.is_null() {
        // SAFETY: the path of this library, with flags that keep it loaded.
        unsafe { libc::dlopen(info.dli_fname, libc::RTLD_NOW | libc::RTLD_NODELETE) };
    }
}

/// Loads the functions, once. In older instances, promoted functions have names with a `KHR`
/// suffix.
pub(super) fn load(instance: vk::Instance, find: Find) {
    UNDERLYING.get_or_init(|| functions(instance, find));
}

fn functions(instance: vk::Instance, find: Find) -> UnderlyingDriver {
    let load = |name: &CStr| {
        // SAFETY: an instance of the underlying driver, and a NUL-terminated string.
        let found = unsafe { find(instance, name.as_ptr()) }.or_else(|| {
            let old = CString::new([name.to_bytes(), b"KHR"].concat()).ok()?;
            // SAFETY: as above.
            unsafe { find(instance, old.as_ptr()) }
        });
        found.map_or(std::ptr::null(), |function| function as *const c_void)
    };
    // SAFETY: the loaded functions have these names and so these types.
    let functions = unsafe { ash::Instance::load_with(load, instance) };
    // SAFETY: as above; device functions take the device as an argument.
    let device = unsafe { ash::Device::load_with(load, vk::Device::null()) };
    UnderlyingDriver { instance: functions, device }
}
