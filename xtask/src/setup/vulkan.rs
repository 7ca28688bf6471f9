//! The devices and layers that the Vulkan loader finds on this machine.
//!
//! The loader is queried instead of the manifest folders: it knows every folder and variable that
//! it uses, and a manifest does not prove that its driver has a device (Mesa installs the manifests
//! of all its drivers, also for absent GPUs).

// The loader is a C library that is opened at run time.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_void};
use std::path::Path;
use std::{fmt, ptr};

use anyhow::{Context, Result};
use libloading::Library;

#[cfg(windows)]
const LIBRARY: &str = "vulkan-1.dll";
#[cfg(target_os = "macos")]
const LIBRARY: &str = "libvulkan.dylib";
#[cfg(all(unix, not(target_os = "macos")))]
const LIBRARY: &str = "libvulkan.so.1";

/// NVIDIA's PCI vendor ID.
const NVIDIA: u32 = 0x10de;
/// The oldest version the project runs on; newer devices accept it too.
const API_VERSION_1_2: u32 = (1 << 22) | (2 << 12);
const STRUCTURE_TYPE_APPLICATION_INFO: u32 = 0;
const STRUCTURE_TYPE_INSTANCE_CREATE_INFO: u32 = 1;

/// A physical device that the loader lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Device {
    pub(crate) name: String,
    pub(crate) nvidia: bool,
}

/// An available layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layer {
    pub(crate) name: String,
    /// The Vulkan version that the layer was written for, which indicates its age.
    pub(crate) version: Version,
}

/// A version in Vulkan's packed format: major, minor, patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(u32);

impl Version {
    pub(crate) const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self((major << 22) | (minor << 12) | patch)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0 >> 22 & 0x7f, self.0 >> 12 & 0x3ff, self.0 & 0xfff)
    }
}

/// The devices and layers that the loader lists.
#[derive(Debug, Default)]
pub(crate) struct Vulkan {
    pub(crate) devices: Vec<Device>,
    pub(crate) layers: Vec<Layer>,
}

/// Queries the loader; `None` if there is none.
pub(crate) fn probe() -> Option<Vulkan> {
    let library = loader()?;
    Some(Vulkan { devices: devices(&library).unwrap_or_default(), layers: layers_of(&library).unwrap_or_default() })
}

/// Returns the layers that the loader lists, or none without a loader.
pub(crate) fn layers() -> Vec<Layer> {
    loader().as_ref().and_then(layers_of).unwrap_or_default()
}

/// Returns the layers that a layer library itself lists.
pub(crate) fn layers_in(library: &Path) -> Result<Vec<Layer>> {
    // SAFETY: libloading requires that the library's initializers are sound to run. The caller has
    // just unpacked it from a package that apt compared with the distribution's signed lists, and
    // it is made to be opened by the Vulkan loader.
    let opened = unsafe { Library::new(library) }.with_context(|| format!("cannot load {}", library.display()))?;
    layers_of(&opened).with_context(|| format!("{} lists no layers", library.display()))
}

fn loader() -> Option<Library> {
    // SAFETY: libloading requires that the library's initializers are sound to run. This is the
    // system's Vulkan loader, which is made to be opened like this.
    unsafe { Library::new(LIBRARY) }.ok()
}

/// Returns `true` if a shared library can be opened.
pub(crate) fn opens(library: &str) -> bool {
    // SAFETY: libloading requires that the library's initializers are sound to run. The callers
    // name system libraries (X11 client libraries, software Vulkan drivers), which are made to be
    // opened like this.
    unsafe { Library::new(library) }.is_ok()
}

/// `VkApplicationInfo`.
#[repr(C)]
struct ApplicationInfo {
    s_type: u32,
    next: *const c_void,
    application: *const c_char,
    application_version: u32,
    engine: *const c_char,
    engine_version: u32,
    api_version: u32,
}

/// `VkInstanceCreateInfo`.
#[repr(C)]
struct InstanceCreateInfo {
    s_type: u32,
    next: *const c_void,
    flags: u32,
    application: *const ApplicationInfo,
    layer_count: u32,
    layers: *const *const c_char,
    extension_count: u32,
    extensions: *const *const c_char,
}

/// The beginning of `VkPhysicalDeviceProperties`, followed by more room than its remaining fields
/// take, which are not read.
#[repr(C, align(8))]
struct DeviceProperties {
    api_version: u32,
    driver_version: u32,
    vendor: u32,
    device: u32,
    kind: u32,
    name: [u8; 256],
    cache_uuid: [u8; 16],
    limits: [u8; 1024],
}

/// `VkLayerProperties`.
#[repr(C)]
#[derive(Clone)]
struct LayerProperties {
    name: [u8; 256],
    spec_version: u32,
    implementation_version: u32,
    description: [u8; 256],
}

type Handle = *mut c_void;
type CreateInstance = unsafe extern "system" fn(*const InstanceCreateInfo, *const c_void, *mut Handle) -> i32;
type DestroyInstance = unsafe extern "system" fn(Handle, *const c_void);
type EnumerateDevices = unsafe extern "system" fn(Handle, *mut u32, *mut Handle) -> i32;
type GetProperties = unsafe extern "system" fn(Handle, *mut DeviceProperties);
type EnumerateLayers = unsafe extern "system" fn(*mut u32, *mut LayerProperties) -> i32;

fn devices(library: &Library) -> Option<Vec<Device>> {
    let create: CreateInstance = symbol(library, c"vkCreateInstance")?;
    let destroy: DestroyInstance = symbol(library, c"vkDestroyInstance")?;
    let enumerate: EnumerateDevices = symbol(library, c"vkEnumeratePhysicalDevices")?;
    let properties: GetProperties = symbol(library, c"vkGetPhysicalDeviceProperties")?;

    let application = ApplicationInfo {
        s_type: STRUCTURE_TYPE_APPLICATION_INFO,
        next: ptr::null(),
        application: ptr::null(),
        application_version: 0,
        engine: ptr::null(),
        engine_version: 0,
        api_version: API_VERSION_1_2,
    };
    let info = InstanceCreateInfo {
        s_type: STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
        next: ptr::null(),
        flags: 0,
        application: &application,
        layer_count: 0,
        layers: ptr::null(),
        extension_count: 0,
        extensions: ptr::null(),
    };
    let mut instance: Handle = ptr::null_mut();
    // SAFETY: VUID-vkCreateInstance-pCreateInfo-parameter: `info` is fully initialized and names no
    // layers or extensions.
    if unsafe { create(&info, ptr::null(), &mut instance) } != 0 {
        return None;
    }
    let mut count = 0;
    // SAFETY: VUID-vkEnumeratePhysicalDevices-instance-parameter: the instance is live; a null
    // array queries the count.
    let asked = unsafe { enumerate(instance, &mut count, ptr::null_mut()) };
    let mut handles = vec![ptr::null_mut(); if asked == 0 { count as usize } else { 0 }];
    count = u32::try_from(handles.len()).unwrap_or(0);
    // SAFETY: VUID-vkEnumeratePhysicalDevices-pPhysicalDevices-parameter: the array has room for
    // `count` handles.
    let listed = unsafe { enumerate(instance, &mut count, handles.as_mut_ptr()) };
    // VK_INCOMPLETE (5) means that the array was filled.
    handles.truncate(if listed == 0 || listed == 5 { count as usize } else { 0 });
    let found = handles.into_iter().map(|handle| device(properties, handle)).collect();
    // SAFETY: VUID-vkDestroyInstance-instance-00629: the instance has no child objects.
    unsafe { destroy(instance, ptr::null()) };
    Some(found)
}

fn device(properties: GetProperties, handle: Handle) -> Device {
    let mut found = DeviceProperties {
        api_version: 0,
        driver_version: 0,
        vendor: 0,
        device: 0,
        kind: 0,
        name: [0; 256],
        cache_uuid: [0; 16],
        limits: [0; 1024],
    };
    // SAFETY: VUID-vkGetPhysicalDeviceProperties-physicalDevice-parameter: a live instance has just
    // returned the handle; the struct is at least as large as VkPhysicalDeviceProperties.
    unsafe { properties(handle, &mut found) };
    Device { name: text(&found.name), nvidia: found.vendor == NVIDIA }
}

fn layers_of(library: &Library) -> Option<Vec<Layer>> {
    let enumerate: EnumerateLayers = symbol(library, c"vkEnumerateInstanceLayerProperties")?;
    let mut count = 0;
    // SAFETY: VUID-vkEnumerateInstanceLayerProperties-pPropertyCount-parameter: a null array
    // queries the count.
    if unsafe { enumerate(&mut count, ptr::null_mut()) } != 0 {
        return None;
    }
    let empty = LayerProperties { name: [0; 256], spec_version: 0, implementation_version: 0, description: [0; 256] };
    let mut found = vec![empty; count as usize];
    // SAFETY: VUID-vkEnumerateInstanceLayerProperties-pProperties-parameter: the array has room for
    // `count` structs.
    let listed = unsafe { enumerate(&mut count, found.as_mut_ptr()) };
    found.truncate(if listed == 0 || listed == 5 { count as usize } else { 0 });
    let layer = |found: &LayerProperties| Layer { name: text(&found.name), version: Version(found.spec_version) };
    Some(found.iter().map(layer).collect())
}

/// Returns the text of a fixed-size array with a C string.
fn text(bytes: &[u8]) -> String {
    CStr::from_bytes_until_nul(bytes).map(|text| text.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Looks up a function; `T` is its function pointer type in vulkan_core.h.
fn symbol<T: Copy>(library: &Library, name: &CStr) -> Option<T> {
    // SAFETY: libloading requires that the type matches the symbol. Each caller names the type that
    // follows the declaration of the same name in vulkan_core.h.
    unsafe { library.get::<T>(name) }.ok().map(|found| *found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_ends_at_the_nul_and_a_missing_nul_is_no_text() {
        assert_eq!(text(b"llvmpipe\0rest"), "llvmpipe");
        assert_eq!(text(b"no end"), "");
    }

    #[test]
    fn versions_compare_by_age_and_read_as_numbers() {
        assert!(Version::new(1, 3, 280) < Version::new(1, 4, 0));
        assert_eq!(Version::new(1, 3, 239).to_string(), "1.3.239");
    }

    #[test]
    fn the_properties_leave_room_for_the_real_struct() {
        // VkPhysicalDeviceProperties is 824 bytes on 64-bit targets.
        assert!(size_of::<DeviceProperties>() >= 824);
    }

    #[test]
    fn a_library_that_is_not_there_does_not_open() {
        assert!(!opens("libno-such-library.so.0"));
    }
}
