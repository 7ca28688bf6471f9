//! Replacements for the functions of `VK_NVX_binary_import` and `VK_NVX_image_view_handle`, which
//! record what they are given.

use std::ffi::{CStr, c_char, c_void};
use std::sync::{Arc, Mutex};

use bridge::ash::vk::Handle;
use bridge::ash::{self, vk};
use bridge::vk_export::{CUDA_KERNEL_EXTENSIONS, ExportDevice, QueueLock};
use bridge_tests::Engine;

/// A launch as it was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Launch {
    pub(crate) commands: u64,
    pub(crate) function: u64,
    pub(crate) grid: [u32; 3],
    pub(crate) block: [u32; 3],
    pub(crate) shared_bytes: u32,
    /// The packed arguments; `None` if the launch has none.
    pub(crate) args: Option<Vec<u8>>,
}

/// The calls that were made, and the results to return.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) modules: Vec<Vec<u8>>,
    /// Modules and names.
    pub(crate) functions: Vec<(u64, String)>,
    pub(crate) launches: Vec<Launch>,
    /// Handles of functions and modules, in the order of their destruction.
    pub(crate) destroyed: Vec<u64>,
    /// Views, descriptor types, and whether there was a sampler.
    pub(crate) handles: Vec<(u64, vk::DescriptorType, bool)>,
    /// Views with their types.
    pub(crate) views: Vec<(u64, vk::ImageViewType)>,
    pub(crate) module_result: vk::Result,
    pub(crate) function_result: vk::Result,
    /// The result that `vkEndCommandBuffer` returns once, in place of the driver's result.
    pub(crate) end_result: Option<vk::Result>,
    /// A function that the driver does not have.
    pub(crate) absent: Option<&'static CStr>,
}

pub(crate) const FIRST_MODULE: u64 = 100;
pub(crate) const FIRST_FUNCTION: u64 = 200;
pub(crate) const HANDLE: u32 = 0x8000_0007;

static SEEN: Mutex<Option<Seen>> = Mutex::new(None);
static END: Mutex<Option<vk::PFN_vkEndCommandBuffer>> = Mutex::new(None);
static VIEW: Mutex<Option<vk::PFN_vkCreateImageView>> = Mutex::new(None);
static REAL: Mutex<Option<vk::PFN_vkGetDeviceProcAddr>> = Mutex::new(None);

/// Returns what was seen since the last call.
pub(crate) fn seen() -> Seen {
    SEEN.lock().unwrap().take().unwrap_or_default()
}

/// Changes the results to return.
pub(crate) fn with<T>(change: impl FnOnce(&mut Seen) -> T) -> T {
    change(SEEN.lock().unwrap().get_or_insert_default())
}

unsafe extern "system" fn create_module(
    _: vk::Device,
    info: *const vk::CuModuleCreateInfoNVX<'_>,
    _: *const vk::AllocationCallbacks<'_>,
    module: *mut vk::CuModuleNVX,
) -> vk::Result {
    // SAFETY: the caller's structure.
    let info = unsafe { &*info };
    assert_eq!(info.s_type, vk::StructureType::CU_MODULE_CREATE_INFO_NVX);
    // SAFETY: as many bytes as the structure says.
    let data = unsafe { std::slice::from_raw_parts(info.p_data.cast::<u8>(), info.data_size) };
    with(|seen| {
        if seen.module_result == vk::Result::SUCCESS {
            // SAFETY: the caller's pointer, which is valid for the result.
            unsafe { *module = vk::CuModuleNVX::from_raw(FIRST_MODULE + seen.modules.len() as u64) };
        }
        seen.modules.push(data.to_vec());
        seen.module_result
    })
}

unsafe extern "system" fn create_function(
    _: vk::Device,
    info: *const vk::CuFunctionCreateInfoNVX<'_>,
    _: *const vk::AllocationCallbacks<'_>,
    function: *mut vk::CuFunctionNVX,
) -> vk::Result {
    // SAFETY: the caller's structure.
    let info = unsafe { &*info };
    // SAFETY: a null-terminated name.
    let name = unsafe { CStr::from_ptr(info.p_name) }.to_str().unwrap().to_owned();
    with(|seen| {
        if seen.function_result == vk::Result::SUCCESS {
            // SAFETY: the caller's pointer, which is valid for the result.
            unsafe { *function = vk::CuFunctionNVX::from_raw(FIRST_FUNCTION + seen.functions.len() as u64) };
        }
        seen.functions.push((info.module.as_raw(), name));
        seen.function_result
    })
}

unsafe extern "system" fn destroy_module(
    _: vk::Device,
    module: vk::CuModuleNVX,
    _: *const vk::AllocationCallbacks<'_>,
) {
    with(|seen| seen.destroyed.push(module.as_raw()));
}

unsafe extern "system" fn destroy_function(
    _: vk::Device,
    function: vk::CuFunctionNVX,
    _: *const vk::AllocationCallbacks<'_>,
) {
    with(|seen| seen.destroyed.push(function.as_raw()));
}

unsafe extern "system" fn launch(commands: vk::CommandBuffer, info: *const vk::CuLaunchInfoNVX<'_>) {
    // SAFETY: the caller's structure.
    let info = unsafe { &*info };
    assert_eq!((info.s_type, info.param_count), (vk::StructureType::CU_LAUNCH_INFO_NVX, 0));
    let args = (info.extra_count > 0).then(|| {
        // SAFETY: as many pointers as the structure says.
        let extras = unsafe { std::slice::from_raw_parts(info.p_extras, info.extra_count) };
        let &[pointer, bytes, size, length, end] = extras else { panic!("{extras:?}") };
        assert_eq!([pointer.addr(), size.addr(), end.addr()], [1, 2, 0], "as cuda.h numbers them");
        // SAFETY: the 2 is followed by a pointer to the size.
        let length = unsafe { *length.cast::<usize>() };
        // SAFETY: as many bytes as this size.
        unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), length) }.to_vec()
    });
    let launch = Launch {
        commands: commands.as_raw(),
        function: info.function.as_raw(),
        grid: [info.grid_dim_x, info.grid_dim_y, info.grid_dim_z],
        block: [info.block_dim_x, info.block_dim_y, info.block_dim_z],
        shared_bytes: info.shared_mem_bytes,
        args,
    };
    with(|seen| seen.launches.push(launch));
}

unsafe extern "system" fn view_handle(_: vk::Device, info: *const vk::ImageViewHandleInfoNVX<'_>) -> u32 {
    // SAFETY: the caller's structure.
    let info = unsafe { &*info };
    let sampler = info.sampler != vk::Sampler::null();
    with(|seen| seen.handles.push((info.image_view.as_raw(), info.descriptor_type, sampler)));
    HANDLE
}

unsafe extern "system" fn end_commands(commands: vk::CommandBuffer) -> vk::Result {
    if let Some(result) = with(|seen| seen.end_result.take()) {
        return result;
    }
    let real = END.lock().unwrap().unwrap();
    // SAFETY: forwarded to the real function.
    unsafe { real(commands) }
}

unsafe extern "system" fn create_view(
    device: vk::Device,
    info: *const vk::ImageViewCreateInfo<'_>,
    allocator: *const vk::AllocationCallbacks<'_>,
    view: *mut vk::ImageView,
) -> vk::Result {
    let real = VIEW.lock().unwrap().unwrap();
    // SAFETY: handed on.
    let result = unsafe { real(device, info, allocator, view) };
    if result == vk::Result::SUCCESS {
        // SAFETY: the caller's place for the result, which was just made.
        let made = unsafe { *view }.as_raw();
        // SAFETY: the caller's structure.
        let view_type = unsafe { (*info).view_type };
        with(|seen| seen.views.push((made, view_type)));
    }
    result
}

impl Seen {
    /// The types of the views that handles were asked of.
    pub(crate) fn view_types(&self) -> Vec<vk::ImageViewType> {
        let type_of = |view| self.views.iter().rfind(|(made, _)| *made == view).unwrap().1;
        self.handles.iter().map(|(view, ..)| type_of(*view)).collect()
    }
}

/// The hook for the engine's own functions.
pub(crate) fn hook(name: &CStr, real: *const c_void) -> *const c_void {
    if name == c"vkCreateImageView" {
        // SAFETY: the function of that name has this type.
        *VIEW.lock().unwrap() = Some(unsafe { std::mem::transmute::<*const c_void, vk::PFN_vkCreateImageView>(real) });
        return create_view as *const c_void;
    }
    if name != c"vkEndCommandBuffer" {
        return real;
    }
    // SAFETY: the function of that name has this type.
    *END.lock().unwrap() = Some(unsafe { std::mem::transmute::<*const c_void, vk::PFN_vkEndCommandBuffer>(real) });
    end_commands as *const c_void
}

unsafe extern "system" fn device_function(device: vk::Device, name: *const c_char) -> vk::PFN_vkVoidFunction {
    // SAFETY: a null-terminated name.
    let asked = unsafe { CStr::from_ptr(name) };
    if with(|seen| seen.absent == Some(asked)) {
        return None;
    }
    let stand_in = match asked.to_bytes() {
        b"vkCreateCuModuleNVX" => create_module as *const c_void,
        b"vkDestroyCuModuleNVX" => destroy_module as *const c_void,
        b"vkCreateCuFunctionNVX" => create_function as *const c_void,
        b"vkDestroyCuFunctionNVX" => destroy_function as *const c_void,
        b"vkCmdCuLaunchKernelNVX" => launch as *const c_void,
        b"vkGetImageViewHandleNVX" => view_handle as *const c_void,
        _ => {
            let real = REAL.lock().unwrap().unwrap();
            // SAFETY: forwarded to the real function.
            return unsafe { real(device, name) };
        }
    };
    // SAFETY: a function as an untyped one, like those that the real call returns.
    Some(unsafe { std::mem::transmute::<*const c_void, unsafe extern "system" fn()>(stand_in) })
}

/// Needs no lock: the test is the engine's only thread.
struct Lock;

impl QueueLock for Lock {
    fn with(&self, _: vk::Queue, f: &mut dyn FnMut()) {
        f();
    }
}

/// Adopts the engine's device as one that has the extensions; their functions are those above.
pub(crate) fn adopt(engine: &Engine) -> ExportDevice {
    adopt_with(engine, engine.info().features.image_cube_array)
}

/// As [`adopt`], with the feature on, as far as the bridge knows, or off.
pub(crate) fn adopt_with(engine: &Engine, image_cube_array: bool) -> ExportDevice {
    let mut info = engine.info();
    info.features.image_cube_array = image_cube_array;
    let names: Vec<&CStr> =
        info.device_extensions.iter().copied().chain(CUDA_KERNEL_EXTENSIONS.iter().copied()).collect();
    info.device_extensions = &names;
    info.features.buffer_device_address = true;
    info.queue_lock = Some(Arc::new(Lock));
    let (entry, handle) = (info.entry.clone(), info.instance.handle());
    let hook = |name: &CStr| {
        // SAFETY: the instance is alive; the name is null-terminated.
        let Some(real) = (unsafe { entry.get_instance_proc_addr(handle, name.as_ptr()) }) else {
            return std::ptr::null();
        };
        if name == c"vkGetDeviceProcAddr" {
            // SAFETY: the function of that name has this type.
            let real = unsafe { std::mem::transmute::<unsafe extern "system" fn(), vk::PFN_vkGetDeviceProcAddr>(real) };
            *REAL.lock().unwrap() = Some(real);
            return device_function as *const c_void;
        }
        real as *const c_void
    };
    // SAFETY: every function is the instance's own, or a replacement with its signature.
    info.instance = unsafe { ash::Instance::load_with(hook, handle) };
    // SAFETY: the engine's own handles. The extensions are not enabled, but none of their functions
    // reaches the driver.
    unsafe { ExportDevice::adopt(info) }.unwrap()
}
