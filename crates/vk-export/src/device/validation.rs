//! Collects the messages of the validation layer, so that a test or a program can require that
//! there are none.
#![allow(unsafe_code)] // The messenger's callback reads pointers that the layer passes.

use std::ffi::{CStr, c_void};
use std::sync::{Mutex, PoisonError};

use ash::{ext, vk};

use crate::device::validation_lines::{Line, Lines};
use crate::logging::log_warn;

/// A message that is known to be wrong, with the reason.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct IgnoredMessage {
    /// The message's ID, a VUID.
    pub id: &'static str,
    /// Reason why it is wrong here.
    pub reason: &'static str,
    /// Address of the discussion.
    pub link: &'static str,
}

/// Every message that is not counted: those about actions of neither this crate nor its user, and
/// those that are wrong because the layer cannot see another API's signals.
pub const IGNORED_MESSAGES: &[IgnoredMessage] = &[IgnoredMessage {
    id: "WARNING-vkGetDeviceProcAddr-device",
    reason: "seen inside vkCreateDevice on NVIDIA's driver, from a query that the driver makes itself; a null result \
        is harmless",
    link: "https://github.com/KhronosGroup/Vulkan-ValidationLayers/issues/8048",
}];

/// One message of the validation layer.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ValidationMessage {
    /// The message's ID, mostly a VUID.
    pub id: String,
    /// `true` if it is an error; otherwise it is a warning.
    pub is_error: bool,
    /// The text of the message.
    pub text: String,
}

/// The maximum number of messages that are kept; further messages are only logged.
const MAX_KEPT: usize = 1000;

#[derive(Debug)]
pub(crate) struct MessageLog {
    kept: Mutex<Vec<ValidationMessage>>,
    /// `None` if the thread could not be started.
    lines: Option<Lines>,
}

impl MessageLog {
    fn new() -> Self {
        let lines = Lines::new().inspect_err(|error| {
            log_warn!(
                "could not start a thread for the validation layer's log lines ({error}): they are not logged; the \
                 messages are in `ExportDevice::validation_messages`"
            );
        });
        Self { kept: Mutex::default(), lines: lines.ok() }
    }

    fn log(&self, level: log::Level, text: String) {
        if let Some(lines) = &self.lines {
            lines.push(Line { level, text });
        }
    }

    fn push(&self, message: ValidationMessage) {
        let mut messages = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if messages.len() < MAX_KEPT {
            messages.push(message);
        }
    }

    pub(crate) fn snapshot(&self) -> Vec<ValidationMessage> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A debug messenger with the log that it writes to.
pub(crate) struct Messenger {
    functions: ext::debug_utils::Instance,
    raw: vk::DebugUtilsMessengerEXT,
    log: Box<MessageLog>,
}

impl Messenger {
    pub(crate) fn new(entry: &ash::Entry, instance: &ash::Instance) -> Result<Self, vk::Result> {
        let functions = ext::debug_utils::Instance::new(entry, instance);
        let log = Box::new(MessageLog::new());
        let user_data: *const MessageLog = &raw const *log;
        let info = vk::DebugUtilsMessengerCreateInfoEXT::default()
            .message_severity(
                vk::DebugUtilsMessageSeverityFlagsEXT::ERROR | vk::DebugUtilsMessageSeverityFlagsEXT::WARNING,
            )
            .message_type(vk::DebugUtilsMessageTypeFlagsEXT::VALIDATION)
            .pfn_user_callback(Some(on_message))
            .user_data(user_data.cast_mut().cast());
        // SAFETY: VUID-VkDebugUtilsMessengerCreateInfoEXT-pUserData: the boxed log keeps its
        // address until `destroy`.
        let raw = unsafe { functions.create_debug_utils_messenger(&info, None) }?;
        Ok(Self { functions, raw, log })
    }

    pub(crate) fn log(&self) -> &MessageLog {
        &self.log
    }

    /// Destroys the messenger. Must be called once, before the instance is destroyed.
    pub(crate) fn destroy(&mut self) {
        let raw = std::mem::take(&mut self.raw);
        // SAFETY: created by this instance in `new`; `take` leaves a null handle, which Vulkan
        // ignores.
        unsafe { self.functions.destroy_debug_utils_messenger(raw, None) };
    }
}

/// Only collects the message, because it runs inside a Vulkan call, see `validation_lines`.
extern "system" fn on_message(
    severity: vk::DebugUtilsMessageSeverityFlagsEXT,
    _kind: vk::DebugUtilsMessageTypeFlagsEXT,
    data: *const vk::DebugUtilsMessengerCallbackDataEXT<'_>,
    user_data: *mut c_void,
) -> vk::Bool32 {
    if data.is_null() || user_data.is_null() {
        return vk::FALSE;
    }
    // SAFETY: VUID-PFN_vkDebugUtilsMessengerCallbackEXT: the layer passes a valid structure for the
    // call's duration.
    let data = unsafe { &*data };
    // SAFETY: `user_data` is the log that `Messenger::new` passed and that `Messenger` keeps until
    // the messenger is destroyed.
    let log = unsafe { &*user_data.cast::<MessageLog>() };
    let string = |pointer: *const std::ffi::c_char| {
        if pointer.is_null() {
            return String::new();
        }
        // SAFETY: the specification guarantees that both strings are null-terminated and valid for
        // the call.
        unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
    };
    let (id, text) = (string(data.p_message_id_name), string(data.p_message));
    if let Some(silenced) = IGNORED_MESSAGES.iter().find(|s| s.id == id) {
        log.log(log::Level::Debug, format!("validation, silenced ({}): {text}", silenced.reason));
        return vk::FALSE;
    }
    let is_error = severity.contains(vk::DebugUtilsMessageSeverityFlagsEXT::ERROR);
    log.log(if is_error { log::Level::Error } else { log::Level::Warn }, format!("validation: {text}"));
    log.push(ValidationMessage { id, is_error, text });
    vk::FALSE
}
