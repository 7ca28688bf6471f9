use std::error::Error;
use std::time::Duration;

use bridge::{
    BufferAccess, BufferSpec, Compute, Exchange, ExchangeInfo, LaunchConfig,
};

/// The PTX contains `extern "C" __global__ void parabola(float4 *vertices,
/// unsigned int len, float height)`.
fn vertices(
    compute: &Compute,
    ptx: &str,
) -> Result<Vec<[f32; 4]>, Box<dyn Error>> {
    let kernel = compute.load("vertices", ptx)?.kernel("parabola")?;
    let info = ExchangeInfo { name: "vertices", ..Default::default() };
    let uses = BufferAccess::VERTEX_INPUT | BufferAccess::TRANSFER_READ;
    let mut exchange =
        Exchange::new(compute, &info, BufferSpec::new(1000, uses))?;
    let mut turn = exchange.begin()?;
    // Works on a stream and in command buffers; on the CPU the kernel needs a
    // twin.
    let work = turn.work().kernels()?;
    let config = LaunchConfig::for_elements(1000, 256);
    // SAFETY: the arguments match the parameters, and it writes 1000 elements.
    unsafe {
        work.launch(&kernel, &config, (work.resources, 1000_u32, 2.0_f32))
    }?;
    Ok(turn.finish()?.read_back(Duration::from_secs(10))?)
}
