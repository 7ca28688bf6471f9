//! A renderer for the tests of this folder.

use std::time::Duration;

use bridge_ipc::{Hello, Listener, Role};
use vk_export::ExportDevice;

use super::accepted::Remote;
use crate::test_device::own_device;

/// A limit far above the duration of a connection.
const LIMIT: Duration = Duration::from_secs(20);

/// A renderer with its own device, to which workers in separate processes connect. Exchanges in
/// step are allowed.
pub(super) struct Renderer {
    pub(super) device: ExportDevice,
    pub(super) listener: Listener,
}

impl Renderer {
    /// Listens at a path with this name. Returns `None`, and skips the test, without a Vulkan
    /// device.
    pub(super) fn new(name: &str) -> Option<Self> {
        let device = own_device()?;
        let path = std::env::temp_dir().join(format!("bridge-{}-{name}", std::process::id()));
        Some(Self { device, listener: Listener::bind(path).unwrap() })
    }

    pub(super) fn accept(&self) -> Remote {
        let mut connection = self.listener.accept(LIMIT).unwrap().unwrap();
        let device_uuid = self.device.uuid();
        let hello = Hello { cuda: true, trust: true, device_uuid, ..Hello::new(Role::Renderer, "test") };
        connection.greet(&hello, LIMIT).unwrap();
        Remote { connection, device: self.device.clone() }
    }
}
