use bridge::ash::vk;
use bridge::{RenderTurn, BufferSpec, Result, vk_export::Queue};

fn frame(turn: RenderTurn<BufferSpec<u32>>, queue: &Queue, commands: vk::CommandBuffer) -> Result<()> {
    unsafe { turn.submit(queue, &[commands]) }?;
    unsafe { turn.submit(queue, &[commands]) }?;
    Ok(())
}

fn main() {
    let _ = frame;
}
