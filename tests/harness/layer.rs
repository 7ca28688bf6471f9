//! The validation layer of an engine's own instance.
#![allow(unsafe_code)] // The messenger.

use std::ffi::{CStr, c_void};
use std::sync::Mutex;

use bridge::ash::{self, ext, vk};
use bridge::vk_export::IGNORED_MESSAGES;

/// A messenger and the messages that it received.
pub(crate) struct Layer {
    functions: ext::debug_utils::Instance,
    messenger: vk::DebugUtilsMessengerEXT,
    messages: Box<Mutex<Vec<String>>>,
}

impl Layer {
    pub(crate) const NAME: &CStr = c"VK_LAYER_KHRONOS_validation";

    /// Returns `true` if the layer is installed.
    pub(crate) fn is_installed(entry: &ash::Entry) -> bool {
        // SAFETY: the entry is loaded.
        let layers = unsafe { entry.enumerate_instance_layer_properties() }.unwrap();
        layers.iter().any(|layer| layer.layer_name_as_c_str() == Ok(Self::NAME))
    }

    /// Creates a messenger for an instance that was created with the layer and
    /// `VK_EXT_debug_utils`.
    pub(crate) fn listen(entry: &ash::Entry, instance: &ash::Instance) -> Self {
        let functions = ext::debug_utils::Instance::new(entry, instance);
        let messages = Box::<Mutex<Vec<String>>>::default();
        let severities = vk::DebugUtilsMessageSeverityFlagsEXT::ERROR | vk::DebugUtilsMessageSeverityFlagsEXT::WARNING;
        let info = vk::DebugUtilsMessengerCreateInfoEXT::default()
            .message_severity(severities)
            .message_type(vk::DebugUtilsMessageTypeFlagsEXT::VALIDATION)
            .pfn_user_callback(Some(debug_callback))
            .user_data((&raw const *messages).cast_mut().cast());
        // SAFETY: VUID-VkDebugUtilsMessengerCreateInfoEXT-pUserData: the box stays in place until
        // `end`, or forever.
        let messenger = unsafe { functions.create_debug_utils_messenger(&info, None) }.unwrap();
        Self { functions, messenger, messages }
    }

    /// Returns the messages since the last call.
    pub(crate) fn take_messages(&self) -> Vec<String> {
        std::mem::take(&mut self.messages.lock().unwrap())
    }

    /// Destroys the messenger, before the instance is destroyed, and returns the remaining
    /// messages.
    pub(crate) fn end(self) -> Vec<String> {
        // SAFETY: created with this instance, and not used any more.
        unsafe { self.functions.destroy_debug_utils_messenger(self.messenger, None) };
        self.messages.into_inner().unwrap()
    }
}

extern "system" fn debug_callback(
    _: vk::DebugUtilsMessageSeverityFlagsEXT,
    _: vk::DebugUtilsMessageTypeFlagsEXT,
    data: *const vk::DebugUtilsMessengerCallbackDataEXT<'_>,
    messages: *mut c_void,
) -> vk::Bool32 {
    // SAFETY: VUID-PFN_vkDebugUtilsMessengerCallbackEXT: the layer passes a valid structure for the
    // call's duration.
    let data = unsafe { &*data };
    let string = |pointer: *const std::ffi::c_char| match pointer.is_null() {
        true => String::new(),
        // SAFETY: not null, so null-terminated and valid during the call.
        false => unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned(),
    };
    let (id, text) = (string(data.p_message_id_name), string(data.p_message));
    if !IGNORED_MESSAGES.iter().any(|silenced| silenced.id == id) {
        // SAFETY: the box that `listen` passed, which outlives the messenger.
        let messages = unsafe { &*messages.cast::<Mutex<Vec<String>>>() };
        messages.lock().unwrap().push(format!("{id}: {text}"));
    }
    vk::FALSE
}
