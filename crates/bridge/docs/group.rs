use bridge::cuda_import::CudaDevice;
use bridge::{
    BufferSpec, Compute, ComputeTurn, ExportDevice, Kernel, LaunchConfig,
};

/// Creates a compute side with CUDA on two GPUs.
fn open(
    device: &ExportDevice,
    gpus: [CudaDevice; 2],
) -> bridge::Result<Compute> {
    Compute::group(device, &gpus)
}

/// Each GPU computes its half of the frame. The kernel writes one float4 per
/// thread; its last argument is their number.
fn frame(
    compute: &Compute,
    turn: &mut ComputeTurn<BufferSpec<[f32; 4]>>,
    kernel: &Kernel,
    len: usize,
) -> bridge::Result<()> {
    let Some(cuda) = compute.cuda() else { return Ok(()) };
    let ranges = cuda.even_split::<[f32; 4]>(len);
    for part in turn.work_split(&ranges)? {
        let count = part.range.len() as u32;
        let config = LaunchConfig::for_elements(count.into(), 256);
        let work = part.kernels()?;
        // SAFETY: the kernel takes a pointer to float4s and their number.
        unsafe { work.launch(kernel, &config, (work.resources, count)) }?;
    }
    Ok(())
}
