//! An instance that this crate creates.
#![allow(unsafe_code)] // Instance creation.

use std::ffi::{CStr, CString};

use ash::{ext, vk};

use crate::device::dependencies::missing_of_instance;
use crate::device::requirements::MINIMUM_API_VERSION;
use crate::device::validation::Messenger;
use crate::device::{OpenInfo, Validation};
use crate::error::{Error, Requirement, Result};
use crate::logging::log_warn;

const LAYER: &CStr = c"VK_LAYER_KHRONOS_validation";

/// An instance and its messenger, destroyed together.
pub(crate) struct OwnedInstance {
    pub(crate) raw: ash::Instance,
    pub(crate) messenger: Option<Messenger>,
    /// The version that the instance was created with, packed.
    pub(crate) api_version: u32,
    /// `true` if `VK_EXT_debug_utils` is enabled.
    pub(crate) names: bool,
}

impl Drop for OwnedInstance {
    fn drop(&mut self) {
        if let Some(messenger) = &mut self.messenger {
            messenger.destroy();
        }
        // SAFETY: VUID-vkDestroyInstance-instance-00629: the messenger is destroyed, and the owner
        // of a device of this instance destroys the device before this is dropped.
        unsafe { self.raw.destroy_instance(None) };
    }
}

/// The version, layer and extensions that an instance will be created with.
struct Plan<'a> {
    api_version: u32,
    layer: bool,
    extensions: Vec<&'a CStr>,
    names: bool,
    by_settings: bool,
    by_features: bool,
}

impl OwnedInstance {
    pub(crate) fn new(entry: &ash::Entry, info: &OpenInfo<'_>) -> Result<Self> {
        let plan = Plan::new(entry, info)?;
        let on = vk::TRUE.to_ne_bytes();
        let mut setting = vk::LayerSettingEXT::default()
            .layer_name(LAYER)
            .setting_name(c"validate_sync")
            .ty(vk::LayerSettingTypeEXT::BOOL32)
            .values(&on);
        // The count is of values, not of bytes.
        setting.value_count = 1;
        let settings = [setting];
        let mut settings_info = vk::LayerSettingsCreateInfoEXT::default().settings(&settings);
        let enabled = [vk::ValidationFeatureEnableEXT::SYNCHRONIZATION_VALIDATION];
        let mut features_info = vk::ValidationFeaturesEXT::default().enabled_validation_features(&enabled);

        let application_name = CString::new(info.application_name).unwrap_or_default();
        let application = vk::ApplicationInfo::default()
            .application_name(&application_name)
            .engine_name(c"vk-export")
            .api_version(plan.api_version);
        let extensions: Vec<_> = plan.extensions.iter().map(|e| e.as_ptr()).collect();
        let layers: &[_] = if plan.layer { &[LAYER.as_ptr()] } else { &[] };
        let mut create = vk::InstanceCreateInfo::default()
            .application_info(&application)
            .enabled_extension_names(&extensions)
            .enabled_layer_names(layers);
        if plan.by_settings {
            create = create.push_next(&mut settings_info);
        }
        if plan.by_features {
            create = create.push_next(&mut features_info);
        }
        // SAFETY: VUID-vkCreateInstance-ppEnabledExtensionNames-01388: every extension and the
        // layer were enumerated for the plan, and everything that the structures point to lives
        // until after the call.
        let raw = unsafe { entry.create_instance(&create, None) }.map_err(failed("vkCreateInstance"))?;
        let mut made = Self { raw, messenger: None, api_version: plan.api_version, names: plan.names };
        if plan.names && plan.layer {
            made.messenger = Some(Messenger::new(entry, &made.raw).map_err(failed("vkCreateDebugUtilsMessengerEXT"))?);
        }
        Ok(made)
    }
}

impl<'a> Plan<'a> {
    fn new(entry: &ash::Entry, info: &OpenInfo<'a>) -> Result<Self> {
        // SAFETY: a global query without preconditions.
        let loader = unsafe { entry.try_enumerate_instance_version() }
            .map_err(failed("vkEnumerateInstanceVersion"))?
            .unwrap_or(vk::API_VERSION_1_0);
        let mut missing = Vec::new();
        if loader < MINIMUM_API_VERSION {
            missing.push(Requirement::ApiVersion { needed: MINIMUM_API_VERSION, found: loader });
        }
        let layer = info.validation != Validation::Off && has_layer(entry)?;
        if !layer {
            match info.validation {
                Validation::Off => {}
                Validation::IfPresent => log_warn!("no {}: running without validation", LAYER.to_string_lossy()),
                Validation::Required => missing.push(Requirement::Layer(LAYER.to_string_lossy().into_owned())),
            }
        }
        let of_driver = extensions_of(entry, None)?;
        let of_layer = if layer { extensions_of(entry, Some(LAYER))? } else { Vec::new() };
        let has = |list: &[CString], name: &CStr| list.iter().any(|e| e.as_c_str() == name);
        let in_either = |name: &CStr| has(&of_driver, name) || has(&of_layer, name);

        let mut extensions = info.instance_extensions.to_vec();
        missing.extend(
            extensions
                .iter()
                .filter(|name| !in_either(name))
                .map(|name| Requirement::InstanceExtension(name.to_string_lossy().into_owned())),
        );
        missing.extend(missing_of_instance(&extensions, &extensions));
        if !missing.is_empty() {
            return Err(Error::Missing { device: "the Vulkan loader".into(), purpose: "this program", missing });
        }
        let names = in_either(ext::debug_utils::NAME);
        // Prefer the older way to configure the layer: a loader that is older than a layer rejects
        // extensions that it does not know, even if the layer offers them.
        let by_features = has(&of_layer, ext::validation_features::NAME);
        let by_settings = !by_features && has(&of_layer, ext::layer_settings::NAME);
        for (wanted, name) in [
            (names, ext::debug_utils::NAME),
            (by_settings, ext::layer_settings::NAME),
            (by_features, ext::validation_features::NAME),
        ] {
            if wanted && !extensions.contains(&name) {
                extensions.push(name);
            }
        }
        Ok(Self { api_version: loader.min(vk::API_VERSION_1_3), layer, extensions, names, by_settings, by_features })
    }
}

fn has_layer(entry: &ash::Entry) -> Result<bool> {
    Ok(layers(entry)?.iter().any(|layer| layer.layer_name_as_c_str() == Ok(LAYER)))
}

/// Returns the layers that the loader knows.
pub(crate) fn layers(entry: &ash::Entry) -> Result<Vec<vk::LayerProperties>> {
    // SAFETY: a global query without preconditions.
    let layers = unsafe { entry.enumerate_instance_layer_properties() };
    layers.map_err(failed("vkEnumerateInstanceLayerProperties"))
}

fn extensions_of(entry: &ash::Entry, layer: Option<&CStr>) -> Result<Vec<CString>> {
    // SAFETY: a global query; the layer, if any, was enumerated before.
    let properties = unsafe { entry.enumerate_instance_extension_properties(layer) }
        .map_err(failed("vkEnumerateInstanceExtensionProperties"))?;
    Ok(properties.iter().filter_map(|e| e.extension_name_as_c_str().ok().map(CStr::to_owned)).collect())
}

pub(crate) fn failed(call: &'static str) -> impl FnOnce(vk::Result) -> Error {
    move |result| Error::Vulkan { call, result, object: "instance".into(), device: "any device".into() }
}
