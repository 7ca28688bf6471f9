# use bridge::{Backend, BufferAccess, BufferSpec, Compute, Exchange};
# use bridge::{ExchangeInfo, LaunchConfig, OpenInfo, TwinSlice};
# use std::time::Duration;
# fn frame() -> Result<(), Box<dyn std::error::Error>> {
# let ptx = ".version 7.0 .target sm_52 .address_size 64
#     .visible .entry scale(
#         .param .u64 values, .param .u32 len, .param .f32 by
#     ) { ret; }";
let compute = Compute::open(&OpenInfo::default(), Backend::Host)?;
let kernel = compute
    .load("scale", ptx)?
    // extern "C" __global__
    // void scale(float *values, unsigned int len, float by)
    .with_twin::<(TwinSlice<f32>, u32, f32)>("scale", |_, (values, len, by)| {
        values[..len as usize].iter_mut().for_each(|value| *value *= by);
    })?
    .kernel("scale")?;
# let spec = BufferSpec::<f32>::new(100, BufferAccess::TRANSFER_READ);
# let mut exchange = Exchange::new(&compute, &ExchangeInfo::default(), spec)?;
# let mut turn = exchange.begin()?;
let work = turn.work().kernels()?;
let threads = LaunchConfig::for_elements(100, 256);
// SAFETY: the arguments match the parameters, and there are 100 values.
unsafe { work.launch(&kernel, &threads, (work.resources, 100_u32, 2.0_f32)) }?;
# turn.finish()?.read_back(Duration::from_secs(10))?;
# Ok(())
# }
# if let Err(error) = frame() {
#     assert!(error.to_string().contains("no Vulkan"), "{error}");
# }
