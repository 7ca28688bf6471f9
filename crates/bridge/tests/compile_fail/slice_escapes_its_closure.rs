use std::sync::{Arc, Mutex};

use bridge::{BufferSpec, Exchange, Result, Work};

fn frame(exchange: &mut Exchange<BufferSpec<u32>>) -> Result<()> {
    let kept: Arc<Mutex<Option<&'static mut [u32]>>> = Arc::default();
    let mut turn = exchange.begin()?;
    if let Work::Host(host) = turn.work() {
        let keep = Arc::clone(&kept);
        host.run(move |words| *keep.lock().unwrap() = Some(words))?;
    }
    turn.finish()?.skip();
    Ok(())
}

fn main() {
    let _ = frame;
}
