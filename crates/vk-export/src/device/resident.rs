//! The loader and the drivers, kept in the process.
//!
//! - Symptom: a process that opens and closes devices one after the other can open no more after
//!   about 30 rounds (`vkCreateInstance: ERROR_INCOMPATIBLE_DRIVER`); on several threads at once it
//!   dies of a segmentation fault. Seen with NVIDIA's driver on Linux.
//! - Cause: with the last instance the loader unloads the driver, and with the last `ash::Entry`
//!   the process unloads the loader. NVIDIA's libraries take static thread-local storage when they
//!   are loaded, which glibc does not give back, so they can be loaded only so often; and one
//!   thread unloads what another is about to call.
//! - Solution: one loader and one instance without a device are never given up, so nothing is ever
//!   unloaded.
//! - Remove when: drivers can be loaded any number of times (try `tests/devices.rs` with many
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

/// The loader, loaded once in the process, with an instance that keeps its drivers loaded.
///
/// A failure is tried again the next time. Without the instance everything works as well, but for
/// the fault above.
pub(crate) fn load() -> Result<ash::Entry> {
    let (entry, failure) = resident()?;
    // Outside of the lock: a logger may open a device itself, or panic.
    if let Some(result) = failure {
        // Whoever asked for the loader makes an instance next, and reports what fails there.
        log_debug!("no instance to keep the Vulkan drivers loaded: vkCreateInstance: {result}");
    }
    Ok(entry)
}

/// Keeps the drivers loaded from now on, for a device whose instance is another's.
///
/// That instance may come from a loader of its own. The drivers are the same files, and a file is
/// loaded once in a process.
pub(crate) fn keep_loaded() {
    if let Err(error) = load() {
        log_debug!("the Vulkan drivers may be unloaded with the program's own instance: {error}");
    }
}

/// The loader, and why there is no instance beside it.
fn resident() -> Result<(ash::Entry, Option<vk::Result>)> {
    let mut resident = RESIDENT.lock().unwrap_or_else(PoisonError::into_inner);
    let entry = match &resident.entry {
        Some(entry) => entry.clone(),
        None => {
            // SAFETY: loading the system's Vulkan loader runs its initializers; it is the library
            // that every Vulkan program loads the same way.
            let entry = unsafe { ash::Entry::load() }.map_err(|error| Error::NoLoader { detail: error.to_string() })?;
            resident.entry.insert(entry).clone()
        }
    };
    let mut failure = None;
    if resident.instance.is_none() {
        let application = vk::ApplicationInfo::default().engine_name(c"vk-export").api_version(MINIMUM_API_VERSION);
        let create = vk::InstanceCreateInfo::default().application_info(&application);
        // SAFETY: VUID-vkCreateInstance-ppEnabledExtensionNames-01388: nothing is enabled; what the
        // structures point to lives until after the call.
        match unsafe { entry.create_instance(&create, None) } {
            Ok(instance) => resident.instance = Some(instance),
            Err(result) => failure = Some(result),
        }
    }
    Ok((entry, failure))
}
