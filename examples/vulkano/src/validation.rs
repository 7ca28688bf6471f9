//! The validation layer, enabled with `--validate`: the program fails if it reports anything.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use vulkano::VulkanLibrary;
use vulkano::instance::debug::{DebugUtilsMessageType, DebugUtilsMessengerCallback, DebugUtilsMessengerCreateInfo};
use vulkano::instance::{InstanceCreateInfo, InstanceExtensions};

const LAYER: &str = "VK_LAYER_KHRONOS_validation";

/// Counts the layer's messages.
#[derive(Default)]
pub struct Validation {
    messages: Arc<AtomicU32>,
}

impl Validation {
    /// Enables the layer.
    pub fn enable(&self, library: &VulkanLibrary, create: &mut InstanceCreateInfo) -> Result<(), Box<dyn Error>> {
        if !library.layer_properties()?.any(|layer| layer.name() == LAYER) {
            return Err(format!("{LAYER} is not installed; run without --validate").into());
        }
        create.enabled_layers.push(LAYER.to_owned());
        create.enabled_extensions |= InstanceExtensions { ext_debug_utils: true, ..InstanceExtensions::empty() };
        let messages = self.messages.clone();
        // SAFETY: the callback calls no Vulkan function.
        let callback = unsafe {
            DebugUtilsMessengerCallback::new(move |_, _, data| {
                messages.fetch_add(1, Ordering::Relaxed);
                eprintln!("{}", data.message);
            })
        };
        create.debug_utils_messengers.push(DebugUtilsMessengerCreateInfo {
            message_type: DebugUtilsMessageType::GENERAL | DebugUtilsMessageType::VALIDATION,
            ..DebugUtilsMessengerCreateInfo::user_callback(callback)
        });
        Ok(())
    }

    /// Returns an error if the layer has reported something.
    pub fn ensure_silent(&self) -> Result<(), Box<dyn Error>> {
        match self.messages.load(Ordering::Relaxed) {
            0 => Ok(()),
            count => Err(format!("the validation layer printed {count} messages").into()),
        }
    }
}
