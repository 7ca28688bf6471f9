//! Loggers that panic, and that use Vulkan.

use std::ffi::{CStr, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, OnceLock};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use bridge::ExportDevice;
use bridge::ash::{
    self,
    vk::{self, Handle},
};
use bridge::vk_export::{
    Buffer, BufferInfo, Image, ImageInfo, OpenInfo, Placement, Semaphore, SemaphoreInfo, SemaphoreKind, Validation,
};
use bridge_tests::{Engine, Rig};

use super::{CHILD, assert_passes, child, in_child, validated};

/// A logger that records lines with their thread, and then panics at those that begin with a
/// certain text.
struct Logger {
    panics_at: &'static str,
    lines: Mutex<Vec<(ThreadId, String)>>,
    /// The device that it uses at every line.
    device: Mutex<Option<ExportDevice>>,
}

impl Logger {
    fn install(panics_at: &'static str) -> &'static Self {
        static LOGGER: OnceLock<Logger> = OnceLock::new();
        let logger = LOGGER.get_or_init(|| Self { panics_at, lines: Mutex::default(), device: Mutex::default() });
        log::set_logger(logger).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
        logger
    }

    fn lines(&self, begin: &str) -> Vec<ThreadId> {
        let lines = self.lines.lock().unwrap();
        lines.iter().filter(|(_, text)| text.starts_with(begin)).map(|(thread, _)| *thread).collect()
    }
}

impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let text = record.args().to_string();
        let is_bad = text.starts_with(self.panics_at);
        if is_bad && let Some(device) = &*self.device.lock().unwrap() {
            device.format_features(vk::Format::R8_UNORM, vk::ImageTiling::OPTIMAL);
        }
        self.lines.lock().unwrap().push((std::thread::current().id(), text.clone()));
        assert!(!is_bad, "the logger panics at {text:?}");
    }

    fn flush(&self) {}
}

/// The instance must not be destroyed while a device of it exists
/// (VUID-vkDestroyInstance-instance-00629). No messenger lives that long, so the layer writes to a
/// file.
#[test]
fn a_logger_that_panics_leaves_no_device_without_its_instance() {
    const TEST: &str = "loggers::a_logger_that_panics_leaves_no_device_without_its_instance";
    if std::env::var_os(CHILD).is_some() {
        let logger = Logger::install("Vulkan device:");
        let info = OpenInfo { validation: Validation::Required, ..OpenInfo::default() };
        let opened = catch_unwind(AssertUnwindSafe(|| ExportDevice::open(&info).is_ok()));
        assert!(matches!(opened, Ok(true)), "the logger's panic is not the program's: {opened:?}");
        assert_eq!(logger.lines("Vulkan device:").len(), 1, "no such line any more: this test is void");
        return;
    }
    let Some(_device) = validated(TEST) else { return };
    let folder = std::env::temp_dir().join(format!("misuse-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (settings, heard) = (folder.join("vk_layer_settings.txt"), folder.join("heard.txt"));
    let text = format!(
        "khronos_validation.debug_action = VK_DBG_LAYER_ACTION_LOG_MSG\nkhronos_validation.report_flags = error\n\
         khronos_validation.log_filename = {}\n",
        heard.display()
    );
    std::fs::write(&settings, text).unwrap();
    let mut command = child(TEST);
    command.env("VK_LAYER_SETTINGS_PATH", &settings);
    assert_passes(command);
    // The layer creates the file when it starts, so its existence shows that the layer was enabled.
    let heard = std::fs::read_to_string(&heard).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(heard.trim(), "");
}

/// "The callback must not make calls to any Vulkan commands", and a panic must not leave it: a
/// logger may do both.
#[test]
fn the_logger_is_not_called_inside_of_vulkan() {
    if !in_child("loggers::the_logger_is_not_called_inside_of_vulkan") {
        return;
    }
    let logger = Logger::install("validation:");
    let Some(device) = validated("loggers::the_logger_is_not_called_inside_of_vulkan") else { return };
    *logger.device.lock().unwrap() = Some(device.clone());
    let make_nothing = || {
        let info = vk::BufferCreateInfo::default().size(0).usage(vk::BufferUsageFlags::VERTEX_BUFFER);
        // SAFETY: wrong on purpose: drivers merely create or refuse it.
        let buffer = unsafe { device.as_raw().create_buffer(&info, None) }.unwrap_or(vk::Buffer::null());
        if !buffer.is_null() {
            // SAFETY: it was just created.
            unsafe { device.as_raw().destroy_buffer(buffer, None) };
        }
    };
    (0..3).for_each(|_| make_nothing());
    // Messages are available immediately, whatever the logger does.
    let messages = device.validation_messages();
    assert!(messages.iter().any(|message| message.id.contains("VkBufferCreateInfo-size-00912")), "{messages:#?}");
    let start = Instant::now();
    while logger.lines("validation:").len() < messages.len() && start.elapsed() < Rig::LONG {
        std::thread::sleep(Duration::from_millis(1));
    }
    let threads = logger.lines("validation:");
    assert_eq!(threads.len(), messages.len(), "every message has its line, panic or not");
    assert!(!threads.contains(&std::thread::current().id()), "this thread was in a call of Vulkan");
    // The logger may hold the last reference.
    drop(device);
    drop(logger.device.lock().unwrap().take());
}

type DeviceFunction = unsafe extern "system" fn(vk::Device, *const c_char) -> vk::PFN_vkVoidFunction;

/// The real `vkGetDeviceProcAddr`, and the type of the objects that cannot be named.
static REAL: OnceLock<DeviceFunction> = OnceLock::new();
static UNNAMED: Mutex<vk::ObjectType> = Mutex::new(vk::ObjectType::UNKNOWN);

unsafe extern "system" fn device_function(device: vk::Device, name: *const c_char) -> vk::PFN_vkVoidFunction {
    // SAFETY: the caller's name, which is null-terminated.
    if unsafe { CStr::from_ptr(name) } == c"vkSetDebugUtilsObjectNameEXT" {
        // SAFETY: a function pointer, which its user casts back to the signature of that name.
        let stand_in = unsafe {
            std::mem::transmute::<vk::PFN_vkSetDebugUtilsObjectNameEXT, unsafe extern "system" fn()>(refuse_a_name)
        };
        return Some(stand_in);
    }
    // SAFETY: the caller's arguments, forwarded to the real function.
    unsafe { REAL.get().unwrap()(device, name) }
}

unsafe extern "system" fn refuse_a_name(_: vk::Device, info: *const vk::DebugUtilsObjectNameInfoEXT<'_>) -> vk::Result {
    // SAFETY: the caller's structure, which lives for the call.
    let is_unnamed = unsafe { (*info).object_type } == *UNNAMED.lock().unwrap();
    if is_unnamed { vk::Result::ERROR_OUT_OF_HOST_MEMORY } else { vk::Result::SUCCESS }
}

/// Every object has an owner before it is named, and naming is when the crate logs.
#[test]
fn a_logger_that_panics_leaves_no_object_behind() {
    const TEST: &str = "loggers::a_logger_that_panics_leaves_no_object_behind";
    if !in_child(TEST) {
        return;
    }
    const LINE: &str = "vkSetDebugUtilsObjectNameEXT:";
    let logger = Logger::install(LINE);
    let Some(_device) = validated(TEST) else { return };
    // Dropping it fails the test for every object that is left on its device.
    let engine = Engine::new(None);
    let mut info = engine.info();
    let handle = info.instance.handle();
    let hook = |name: &CStr| {
        // SAFETY: the instance is alive; the name is null-terminated.
        let real = unsafe { info.entry.get_instance_proc_addr(handle, name.as_ptr()) };
        let Some(real) = real else { return std::ptr::null() };
        if name == c"vkGetDeviceProcAddr" {
            // SAFETY: the signature of the function of that name.
            REAL.get_or_init(|| unsafe { std::mem::transmute::<unsafe extern "system" fn(), DeviceFunction>(real) });
            return device_function as *const c_void;
        }
        real as *const c_void
    };
    // SAFETY: every function is the instance's own, or a replacement with its signature.
    info.instance = unsafe { ash::Instance::load_with(hook, handle) };
    // SAFETY: the engine's own handles.
    let device = unsafe { ExportDevice::adopt(info) }.unwrap();
    let (name, placement) = ("named", Placement::HostVisible);
    let semaphore = SemaphoreInfo { name, kind: SemaphoreKind::Timeline, exportable: false };
    let usage = vk::BufferUsageFlags::TRANSFER_SRC;
    let buffer = BufferInfo { name, size: 64, usage, placement };
    let image = ImageInfo {
        name,
        format: vk::Format::R8G8B8A8_UNORM,
        extent: [4, 4, 1],
        tiling: vk::ImageTiling::LINEAR,
        usage: vk::ImageUsageFlags::SAMPLED,
        placement,
        ..ImageInfo::default()
    };
    let cases: [(vk::ObjectType, &dyn Fn() -> bool); 5] = [
        (vk::ObjectType::SEMAPHORE, &|| Semaphore::new(&device, &semaphore).is_ok()),
        (vk::ObjectType::BUFFER, &|| Buffer::new(&device, &buffer).is_ok()),
        (vk::ObjectType::DEVICE_MEMORY, &|| Buffer::new(&device, &buffer).is_ok()),
        (vk::ObjectType::IMAGE, &|| Image::new(&device, &image).is_ok()),
        (vk::ObjectType::IMAGE_VIEW, &|| Image::new(&device, &image).is_ok()),
    ];
    for (kind, make) in cases {
        *UNNAMED.lock().unwrap() = kind;
        let before = logger.lines(LINE).len();
        let made = catch_unwind(AssertUnwindSafe(make));
        assert!(matches!(made, Ok(true)), "{kind:?}: the logger's panic is not the program's: {made:?}");
        assert!(logger.lines(LINE).len() > before, "{kind:?}: no such line any more, this test is void");
    }
    drop(device);
}
