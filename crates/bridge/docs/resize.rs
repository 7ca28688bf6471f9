use std::error::Error;
use std::time::Duration;

use bridge::ash::vk;
use bridge::{Compute, Exchange, ExchangeInfo, ImageAccess, ImageSpec, Work};

fn follow_a_window(compute: &Compute) -> Result<(), Box<dyn Error>> {
    let format = vk::Format::R32_SFLOAT;
    let accesses = ImageAccess::TRANSFER_READ;
    let spec = ImageSpec::<f32>::new(format, [64, 48], accesses);
    let mut exchange = Exchange::new(compute, &ExchangeInfo::default(), spec)?;
    for size in [[64, 48], [80, 60], [32, 24]] {
        exchange.resize(size)?;
        if exchange.needs_initial() {
            // On an adopted device. An engine that submits itself calls
            // `record_initial` instead.
            exchange.initialize()?;
        }
        let texels = (size[0] * size[1]) as usize;
        let mut turn = exchange.begin()?;
        match turn.work() {
            Work::Cuda(mut cuda) => {
                let white = vec![1.0; texels];
                cuda.resources.write_from_host(cuda.stream, 0, .., &white)?
            }
            Work::Host(host) => host.run(|mut image| {
                image.rows_mut().for_each(|row| row.fill(1.0));
            })?,
            _ => return Err("this computes with CUDA or on the CPU".into()),
        }
        // A real program submits its own commands here, with views of the image
        // that this turn lends.
        let seen = turn.finish()?.read_back(Duration::from_secs(10))?;
        assert_eq!(seen, vec![1.0; texels]);
    }
    exchange.close()?;
    Ok(())
}
