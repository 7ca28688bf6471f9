//! One slot is not lent twice to one closure.

use bridge::{BufferSpec, HostWork};

fn both(first: &mut [u32], second: &mut [u32]) {
    first[0] = second[0];
}

fn frame(mut work: HostWork<'_, BufferSpec<u32>>) {
    let _ = work.run_with(&mut work, both);
}

fn main() {}
