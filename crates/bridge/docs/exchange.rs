use std::error::Error;
use std::time::Duration;

use bridge::{BufferSpec, Compute, BufferAccess, Exchange, ExchangeInfo, Work};

fn frames(compute: &Compute) -> Result<(), Box<dyn Error>> {
    let info = ExchangeInfo { name: "heights", ..Default::default() };
    let spec = BufferSpec::<f32>::new(256, BufferAccess::TRANSFER_READ);
    let mut exchange = Exchange::new(compute, &info, spec)?;
    for height in [0.0, 1.0, 2.0, 3.0] {
        let mut turn = exchange.begin()?;
        match turn.work() {
            Work::Cuda(mut cuda) => {
                cuda.stream.memcpy_htod(&[height; 256], &mut cuda.resources)?
            }
            Work::Host(host) => {
                host.run(move |heights| heights.fill(height))?
            }
            _ => return Err("this computes with CUDA or on the CPU".into()),
        }
        // A real program submits its own commands here.
        let seen = turn.finish()?.read_back(Duration::from_secs(10))?;
        assert_eq!(seen, [height; 256]);
    }
    // Dropping the exchange also waits, but only logs errors.
    exchange.close()?;
    Ok(())
}
