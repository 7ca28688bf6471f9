use std::error::Error;
use std::time::Duration;

use bridge::ash::vk;
use bridge::{Compute, Exchange, ExchangeInfo, ImageAccess, ImageSpec, Work};

fn gradient(compute: &Compute) -> Result<Vec<f32>, Box<dyn Error>> {
    // The texel type must match the format.
    let uses = ImageAccess::SAMPLED | ImageAccess::TRANSFER_READ;
    let spec = ImageSpec::<f32>::new(vk::Format::R32_SFLOAT, [64, 48], uses)
        .with_name("gradient");
    let mut exchange = Exchange::new(compute, &ExchangeInfo::default(), spec)?;

    let mut turn = exchange.begin()?;
    match turn.work() {
        // A kernel would write through `cuda.resources.surface(0)`.
        Work::Cuda(mut cuda) => {
            let texels: Vec<f32> =
                (0..64 * 48).map(|i| (i % 64) as f32).collect();
            cuda.resources.write_from_host(cuda.stream, 0, .., &texels)?;
        }
        Work::Host(host) => host.run(|mut image| {
            for row in image.rows_mut() {
                for (x, texel) in row.iter_mut().enumerate() {
                    *texel = x as f32;
                }
            }
        })?,
        _ => return Err("this computes with CUDA or on the CPU".into()),
    }
    // A shader would sample `turn.resources().view()`.
    Ok(turn.finish()?.read_back(Duration::from_secs(10))?)
}
