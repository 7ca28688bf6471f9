use bridge::cuda_import::CudaDevice;
use bridge::{DevicePair, ExportDevice};

fn pair_without_proof(vulkan: ExportDevice, cuda: CudaDevice) -> DevicePair {
    DevicePair { vulkan, cuda }
}

fn main() {
    let _ = pair_without_proof;
}
