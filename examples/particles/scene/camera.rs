//! The camera that slowly turns around the two galaxies.

use glam::Vec3;

use crate::camera::lens;
use crate::maths::{cos_turns, sin_turns, smootherstep};
use crate::particles::view::View;

/// Brightness: the mean light of a pixel if the light of all sparks were distributed evenly.
const EXPOSURE: f32 = 2.7;
/// Distance of the camera from the center. The middle half of the picture shows about this length.
const DISTANCE: f32 = 4.6;
/// Tangent of half the vertical field of view.
const HALF_VIEW: f32 = 0.40;
/// A spark's size in pixels in a picture 720 pixels high with a million sparks; fewer sparks are
/// larger.
const SPARK: f32 = 2.4;
/// The minimum size of a spark, in pixels. The light of a smaller spark would depend on its
/// position within a pixel.
const SMALLEST: f32 = 2.0;

/// Returns the view at `progress` (0..=1 through the story) for a target of `size` pixels. The
/// total light of `particles` sparks is the same for every number of sparks and every size.
pub fn view(progress: f32, particles: u32, size: [u32; 2], point_limit: f32) -> View {
    let [width, height] = size.map(|n| n as f32);
    let turn = -0.30 + 0.10 * progress;
    let rise = 0.125 - 0.03 * smootherstep(progress);
    let eye = Vec3::new(cos_turns(rise) * cos_turns(turn), cos_turns(rise) * sin_turns(turn), sin_turns(rise))
        * (DISTANCE + 0.3 * progress);
    let roll = Vec3::new(0.06, 0.02, 1.0).normalize();
    let look = glam::camera::rh::view::look_at_mat4(eye, Vec3::new(0.0, 0.0, -0.12 * progress), roll);
    let lens = lens(HALF_VIEW, size, 0.1, 100.0);
    let unit = height / 720.0;
    let spark = SPARK * unit * (1e6 / particles as f32).powf(1.0 / 6.0);
    View {
        transform: (lens * look).to_cols_array(),
        point_scale: spark * DISTANCE,
        point_min: (0.8 * spark).max(SMALLEST).min(point_limit),
        point_max: (5.0 * spark).max(SMALLEST).min(point_limit),
        gain: EXPOSURE * DISTANCE * DISTANCE * width * height / particles as f32,
    }
}
