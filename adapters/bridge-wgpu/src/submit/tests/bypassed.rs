//! Submissions of the bridge's own, which would not take wgpu's lock.

use ash::vk;
use bridge::vk_export::Error;
use bridge::{Compute, Exchange, ExchangeInfo, ImageAccess, ImageSpec};

use super::ways;

/// The adopted device is public, through the kernels of `Bridge::kernel_module`.
#[test]
fn the_bridge_submits_nothing_by_itself() {
    for gpu in ways() {
        let calls = gpu.splice().map(|splice| splice.calls());
        let device = gpu.compute().device().clone();
        let compute = Compute::new(&device, gpu.backend()).unwrap();
        let spec = ImageSpec::<[u8; 4]>::new(vk::Format::R8G8B8A8_UNORM, [16, 16], ImageAccess::TRANSFER_READ);
        let mut exchange = Exchange::new(&compute, &ExchangeInfo::default(), spec).unwrap();
        let refused = exchange.initialize().unwrap_err();
        assert!(matches!(refused, bridge::Error::Vulkan(Error::OnlyEngineSubmits { .. })), "{refused}");
        assert!(refused.to_string().contains("`bridge_wgpu::Exchange`"), "{refused}");
        let locked = device.queue().with(|_| "wgpu's lock is not held");
        assert!(matches!(locked, Err(Error::OnlyEngineSubmits { .. })), "{locked:?}");
        exchange.close().unwrap();
        assert_eq!(gpu.splice().map(|splice| splice.calls()), calls);
    }
}
