//! Cameras that look at the middle of a scene.

use glam::{Mat4, Vec3, Vec4};

use crate::maths::{cos_turns, sin_turns};

/// Returns the projection from view to clip space with Vulkan's y axis (down) and depth (0..=1).
/// `half_view` is the tangent of half the vertical field of view. For a picture narrower than 3:2,
/// the field of view is enlarged to keep its width at 3:2, so that nothing is cut off at the sides.
pub fn lens(half_view: f32, [width, height]: [u32; 2], near: f32, far: f32) -> Mat4 {
    let aspect = width as f32 / height as f32;
    let half_view = half_view * (1.5 / aspect).max(1.0);
    let depth = far / (near - far);
    Mat4::from_cols(
        Vec4::new(1.0 / (half_view * aspect), 0.0, 0.0, 0.0),
        Vec4::new(0.0, -1.0 / half_view, 0.0, 0.0),
        Vec4::new(0.0, 0.0, depth, -1.0),
        Vec4::new(0.0, 0.0, depth * near, 0.0),
    )
}

/// Returns the direction that is `rise` turns above the horizon and `side` turns around the y axis.
pub fn toward(rise: f32, side: f32) -> Vec3 {
    Vec3::new(cos_turns(rise) * sin_turns(side), sin_turns(rise), cos_turns(rise) * cos_turns(side))
}

/// Returns 0 below `low`, 1 above `high`, and a smooth value in between, as GLSL's `smoothstep`.
pub fn smoothstep(low: f32, high: f32, x: f32) -> f32 {
    let t = ((x - low) / (high - low)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_and_far_are_the_ends_of_depth_and_up_is_up() {
        let lens = lens(0.5, [300, 200], 1.0, 9.0);
        let project = |x: f32, y: f32, z: f32| {
            let clip = lens * Vec4::new(x, y, z, 1.0);
            clip.truncate() / clip.w
        };
        assert!(project(0.0, 0.0, -1.0).abs_diff_eq(Vec3::ZERO, 1e-6));
        assert!(project(0.0, 0.0, -9.0).abs_diff_eq(Vec3::Z, 1e-6));
        assert!(project(1.5, 1.0, -2.0).abs_diff_eq(Vec3::new(1.0, -1.0, 0.5625), 1e-5));
    }
}
