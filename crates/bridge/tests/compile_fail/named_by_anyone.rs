//! A name is given to any handle, while other threads may use the object: not without a promise.

use bridge::ExportDevice;
use bridge::ash::vk;

fn rename(device: &ExportDevice, buffer: vk::Buffer) {
    device.set_name(buffer, "mine");
}

fn main() {}
