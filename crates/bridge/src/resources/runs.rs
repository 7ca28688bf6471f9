//! The layout of the bytes of resources in memory that another process has filled.

use bytemuck::Pod;

use crate::host_image::HostImageMut;

/// Position of a run of bytes in memory that another process has filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Run {
    /// At the start of the next resource's memory.
    Resource,
    /// After the previous run, at a multiple of 16 bytes: the next mip level.
    Level,
    /// Directly after the previous run.
    Next,
}

/// Calls `each` with all texels, level by level and layer by layer, in runs of as many rows as
/// follow each other without a gap.
pub(crate) fn for_each_image_run<T: Pod>(image: &mut HostImageMut<'_, T>, each: &mut dyn FnMut(Run, &mut [u8])) {
    let mut run = Run::Resource;
    for level in 0..image.levels() {
        for layer in 0..image.layers() {
            let Some(mut plane) = image.plane_mut(level, layer) else { continue };
            for texels in plane.runs_mut() {
                each(run, bytemuck::cast_slice_mut(texels));
                run = Run::Next;
            }
        }
        run = Run::Level;
    }
}

#[cfg(test)]
mod tests {
    use std::ptr::NonNull;

    use super::*;
    use crate::host_image::PlaneLayout;

    /// A volume without gaps is one run, so that a frame is read with one call instead of one call
    /// per row.
    #[test]
    #[allow(unsafe_code)]
    fn a_volume_without_gaps_is_one_run() {
        const SIDE: usize = 64;
        let plane = |gap: usize| PlaneLayout {
            offset: 0,
            row_pitch: SIDE + gap,
            depth_pitch: (SIDE + gap) * SIDE,
            width: SIDE,
            height: SIDE,
            depth: SIDE,
        };
        let mut memory = vec![0u8; 2 * SIDE * SIDE * SIDE];
        let start = NonNull::new(memory.as_mut_ptr()).unwrap();
        for (gap, expected) in [(0, 1), (1, SIDE * SIDE)] {
            let planes = [plane(gap)];
            assert!(planes[0].fits::<u8>(memory.len()));
            // SAFETY: the plane was checked to fit, and nothing else uses the memory.
            let mut image = unsafe { HostImageMut::<u8>::new(start, &planes, 1) };
            let (mut runs, mut bytes) = (Vec::new(), 0);
            for_each_image_run(&mut image, &mut |place, run| {
                runs.push(place);
                bytes += run.len();
            });
            assert_eq!((runs.len(), bytes), (expected, SIDE * SIDE * SIDE));
            assert!(runs[0] == Run::Resource && runs[1..].iter().all(|place| *place == Run::Next));
        }
    }
}
