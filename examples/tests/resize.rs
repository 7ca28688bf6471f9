#![allow(unsafe_code, clippy::unwrap_used, reason = "frames are begun by hand; a test that cannot go on ends")]
//! The size of a window changes while frames are drawn: each frame is correct in its size, and the
//! exchanges stay the same.

use std::collections::BTreeMap;

use bridge::{OpenInfo, SubmitInfo};
use bridge_examples::gpu::output::{Wanted, read_back};
use bridge_examples::postprocess::demo::Postprocess;
use bridge_examples::postprocess::options::Options;
use bridge_examples::run::{Demo, Sample};
use clap::Parser as _;

#[test]
fn a_scene_follows_its_window() {
    let arguments = ["postprocess", "--size", "96x54", "--samples", "1", "--slots", "2"];
    let mut demo = Postprocess::new(&Options::parse_from(arguments), &OpenInfo::default()).unwrap();
    let mut frame = 0;
    for size in [[96, 54], [96, 54], [131, 77], [5, 3], [96, 54]] {
        // SAFETY: every frame is waited for below.
        unsafe { demo.resize(size) }.unwrap();
        // All slots and one more; the order of the slots continues after every change of size.
        for _ in 0..3 {
            let slot = (frame % 2) as usize;
            let (_, bytes) = demo.samples(3);
            let data = read_back(demo.compute().device(), "sample", bytes).unwrap();
            let wanted = Wanted { picture: true, sample: Some(&data), ..Wanted::default() };
            // SAFETY: the slot's last frame is done, and the sample lives until this frame is done.
            let rendered = unsafe { demo.frame(frame, slot, wanted, SubmitInfo::default()) }.unwrap();
            rendered.wait(demo.time_limit()).unwrap();
            // SAFETY: the frame is done.
            let picture = unsafe { demo.picture(slot) }.unwrap().to_vec();
            assert_eq!(picture.len() as u32, size[0] * size[1] * 4);
            let checks = demo.check(&BTreeMap::from([(frame, Sample { data, picture })])).unwrap();
            let errors: Vec<_> = checks.iter().filter_map(|check| check.error.as_deref()).collect();
            assert!(errors.is_empty() && checks.len() == 2, "frame {frame} of {size:?}: {errors:?}");
            frame += 1;
        }
    }
}
