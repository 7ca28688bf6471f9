//! Keeps the loader and the drivers loaded in the process.
//!
//! - Symptom: a process that repeatedly opens and closes a device can open no more after about 30
//!   rounds (`vkCreateInstance: ERROR_INCOMPATIBLE_DRIVER`); if several threads do so at once, it
//!   crashes with a segmentation fault. Observed with NVIDIA's driver on Linux.
//! - Cause: when the last instance is destroyed, the loader unloads the driver, and when the last
//!   `ash::Entry` is dropped, the process unloads the loader. NVIDIA's libraries allocate static
//!   thread-local storage when they are loaded, which glibc never frees, so they can be loaded only
//!   a limited number of times. One thread can also unload a library that another is about to call.
//! - Solution: one loader and one instance without a device are never dropped, so nothing is ever
//!   unloaded.
//! - Remove when: drivers can be loaded any number of times (check with `tests/devices.rs` and many
//!   rounds on NVIDIA's).
#![allow(unsafe_code)] // Instance creation.

use std::sync::{Mutex, PoisonError};

use ash::vk;

use crate::device::requirements::MINIMUM_API_VERSION;
use crate::error::{Error, Result};
use crate::logging::log_debug;

/// Objects that stay until the process ends. Statics are not dropped.
struct Resident {
    entry: Option<ash::Entry>,
    instance: Option<ash::Instance>,
}

static RESIDENT: Mutex<Resident> = Mutex::new(Resident { entry: None, instance: None });

/// Returns the loader, which is loaded once per process, with an instance that keeps its drivers
/// loaded.
///
/// A failure is retried at the next call. Without the instance everything else still works, but the
/// problem above can occur.
pub(crate) fn load() -> Result<ash::Entry> {
    let (entry, failure) = resident()?;
    // Outside of the lock: a logger may open a device itself, or panic.
    if let Some(result) = failure {
        // The caller creates an instance next, and reports the error of that call.
        log_debug!("no instance to keep the Vulkan drivers loaded: vkCreateInstance: {result}");
    }
    Ok(entry)
}

/// Keeps the drivers loaded from now on, for a device with an engine's own instance.
///
/// The instance may come from another loader. The drivers are the same files, and a file is loaded
/// once per process.
pub(crate) fn keep_loaded() {
    if let Err(error) = load() {
        log_debug!("the Vulkan drivers may be unloaded with the program's own instance: {error}");
    }
}

/// Returns the loader, and the error if there is no instance with it.
fn resident() -> Result<(ash::Entry, Option<vk::Result>)> {
    let mut resident = RESIDENT.lock().unwrap_or_else(PoisonError::into_inner);
    let entry = match &resident.entry {
        Some(entry) => entry.clone(),
        None => {
            // SAFETY: loading the system's Vulkan loader runs its initializers; every Vulkan
            // program loads this library in the same way.
            let entry = unsafe { ash::Entry::load() }.map_err(|error| Error::NoLoader { detail: error.to_string() })?;
            resident.entry.insert(entry).clone()
        }
    };
    let mut failure = None;
    if resident.instance.is_none() {
        let application = vk::ApplicationInfo::default().engine_name(c"vk-export").api_version(MINIMUM_API_VERSION);
        let create = vk::InstanceCreateInfo::default().application_info(&application);
        // SAFETY: VUID-vkCreateInstance-ppEnabledExtensionNames-01388: nothing is enabled;
        // everything that the structures point to lives until after the call.
        match unsafe { entry.create_instance(&create, None) } {
            Ok(instance) => resident.instance = Some(instance),
            Err(result) => failure = Some(result),
        }
    }
    Ok((entry, failure))
}
