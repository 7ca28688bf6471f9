use std::error::Error;
use std::thread;
use std::time::Duration;

use bridge::{
    BufferAccess, BufferSpec, Compute, Exchange, LatestInfo, LatestWriter, Work,
};

type Failure = Box<dyn Error + Send + Sync>;

/// Computes frames at the compute side's own rate.
fn simulate(mut writer: LatestWriter<BufferSpec<f32>>) -> Result<(), Failure> {
    for step in 0..100u8 {
        let height = f32::from(step);
        let mut turn = writer.begin()?;
        match turn.work() {
            Work::Cuda(mut cuda) => {
                cuda.stream.memcpy_htod(&[height; 256], &mut cuda.resources)?
            }
            Work::Host(host) => host.run(move |heights| heights.fill(height))?,
            _ => return Err("this computes with CUDA or on the CPU".into()),
        }
        turn.publish()?;
    }
    Ok(())
}

fn two_rates(compute: &Compute) -> Result<(), Failure> {
    let info = LatestInfo { name: "heights", ..Default::default() };
    let spec = BufferSpec::<f32>::new(256, BufferAccess::TRANSFER_READ);
    let (writer, mut reader) = Exchange::latest(compute, &info, spec)?;
    let simulation = thread::spawn(move || simulate(writer));
    // Draws frames at the renderer's own rate.
    let mut last = 0.0;
    while last < 99.0 {
        let Some(turn) = reader.newest()? else { continue };
        // A real program submits its own commands here.
        let seen = turn.read_back(Duration::from_secs(10))?;
        assert!(seen[0] >= last && seen == [seen[0]; 256]);
        last = seen[0];
    }
    simulation.join().map_err(|_| "the simulation panicked")?
}
