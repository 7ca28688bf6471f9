use bridge::{BufferSpec, Compute, Exchange, ExchangeInfo, ExportDevice, Result};

fn a_compute_side_for_another_device(
    device: &ExportDevice,
    compute: &Compute,
) -> Result<Exchange<BufferSpec<u32>>> {
    Exchange::new(device, compute, &ExchangeInfo::default())
}

fn main() {
    let _ = a_compute_side_for_another_device;
}
