use std::error::Error;
use std::time::Duration;

use bridge::cudarc::driver::{LaunchConfig, PushKernelArg};
use bridge::cudarc::nvrtc::Ptx;
use bridge::{BufferAccess, BufferSpec, Compute, Exchange, ExchangeInfo, Work};

/// The PTX contains `extern "C" __global__ void parabola(float4 *vertices,
/// unsigned int len, float height)`.
fn vertices(
    compute: &Compute,
    ptx: &str,
) -> Result<Vec<[f32; 4]>, Box<dyn Error>> {
    // Loaded before the first frame.
    let cuda = compute.cuda().ok_or(compute.reason())?;
    let module = cuda.stream().context().load_module(Ptx::from_src(ptx))?;
    let kernel = module.load_function("parabola")?;
    let info = ExchangeInfo { name: "vertices", ..Default::default() };
    let uses = BufferAccess::VERTEX_INPUT | BufferAccess::TRANSFER_READ;
    let mut exchange =
        Exchange::new(compute, &info, BufferSpec::new(1000, uses))?;
    let mut turn = exchange.begin()?;
    match turn.work() {
        Work::Cuda(mut cuda) => {
            let mut launch = cuda.stream.launch_builder(&kernel);
            // The kernel writes the buffer, so cudarc takes `&mut`.
            launch.arg(&mut cuda.resources).arg(&1000_u32).arg(&2.0_f32);
            // SAFETY: the arguments match the parameters, and it writes 1000
            // elements.
            unsafe { launch.launch(LaunchConfig::for_num_elems(1000)) }?;
        }
        _ => return Err("the compute side is not CUDA".into()),
    }
    Ok(turn.finish()?.read_back(Duration::from_secs(10))?)
}
