//! Extensions that depend on other extensions.
//!
//! Source: the attribute `depends` of the extensions in the Vulkan registry (`vk.xml`), reduced to
//! the dependencies that remain with Vulkan 1.2. Alternatives are left out, and so is
//! `VK_KHR_synchronization2`, which is enabled on every device here.

use std::ffi::CStr;

use ash::{ext, khr, vk};

use crate::error::Requirement;

/// Instance extensions, each with the instance and device extensions that need it.
const INSTANCE: &[(&CStr, &[&CStr])] = &[
    (
        c"VK_KHR_surface",
        &[
            c"VK_KHR_swapchain",
            c"VK_KHR_display",
            c"VK_KHR_xlib_surface",
            c"VK_KHR_xcb_surface",
            c"VK_KHR_wayland_surface",
            c"VK_KHR_android_surface",
            c"VK_KHR_win32_surface",
            c"VK_GGP_stream_descriptor_surface",
            c"VK_NN_vi_surface",
            c"VK_EXT_swapchain_colorspace",
            c"VK_KHR_get_surface_capabilities2",
            c"VK_MVK_ios_surface",
            c"VK_MVK_macos_surface",
            c"VK_FUCHSIA_imagepipe_surface",
            c"VK_EXT_metal_surface",
            c"VK_EXT_full_screen_exclusive",
            c"VK_EXT_headless_surface",
            c"VK_EXT_surface_maintenance1",
            c"VK_NV_present_barrier",
            c"VK_EXT_directfb_surface",
            c"VK_QNX_screen_surface",
            c"VK_GOOGLE_surfaceless_query",
        ],
    ),
    (
        c"VK_KHR_display",
        &[
            c"VK_KHR_display_swapchain",
            c"VK_EXT_direct_mode_display",
            c"VK_EXT_display_surface_counter",
            c"VK_KHR_get_display_properties2",
        ],
    ),
    (c"VK_EXT_debug_report", &[c"VK_EXT_debug_marker"]),
    (c"VK_NV_external_memory_capabilities", &[c"VK_NV_external_memory"]),
    (
        c"VK_EXT_direct_mode_display",
        &[c"VK_EXT_acquire_xlib_display", c"VK_EXT_acquire_drm_display", c"VK_NV_acquire_winrt_display"],
    ),
    (c"VK_EXT_display_surface_counter", &[c"VK_EXT_display_control"]),
    (
        c"VK_KHR_get_surface_capabilities2",
        &[
            c"VK_KHR_shared_presentable_image",
            c"VK_AMD_display_native_hdr",
            c"VK_KHR_surface_protected_capabilities",
            c"VK_EXT_full_screen_exclusive",
            c"VK_EXT_surface_maintenance1",
            c"VK_NV_present_barrier",
        ],
    ),
    (c"VK_GGP_stream_descriptor_surface", &[c"VK_GGP_frame_token"]),
    (c"VK_EXT_surface_maintenance1", &[c"VK_EXT_swapchain_maintenance1"]),
    (c"VK_EXT_debug_utils", &[c"VK_EXT_device_address_binding_report"]),
];

/// Device extensions, each with the device extensions that need it.
const DEVICE: &[(&CStr, &[&CStr])] = &[
    (
        c"VK_KHR_swapchain",
        &[
            c"VK_KHR_display_swapchain",
            c"VK_KHR_incremental_present",
            c"VK_EXT_display_control",
            c"VK_GOOGLE_display_timing",
            c"VK_EXT_hdr_metadata",
            c"VK_KHR_shared_presentable_image",
            c"VK_GGP_frame_token",
            c"VK_KHR_swapchain_mutable_format",
            c"VK_AMD_display_native_hdr",
            c"VK_KHR_present_wait",
            c"VK_EXT_full_screen_exclusive",
            c"VK_EXT_swapchain_maintenance1",
            c"VK_NV_present_barrier",
            c"VK_KHR_present_id",
        ],
    ),
    (
        c"VK_KHR_video_queue",
        &[c"VK_KHR_video_decode_queue", c"VK_KHR_video_encode_queue", c"VK_KHR_video_maintenance1"],
    ),
    (c"VK_KHR_video_encode_queue", &[c"VK_KHR_video_encode_h264", c"VK_KHR_video_encode_h265"]),
    (
        c"VK_KHR_video_decode_queue",
        &[c"VK_KHR_video_decode_h264", c"VK_KHR_video_decode_h265", c"VK_KHR_video_decode_av1"],
    ),
    (c"VK_NV_external_memory", &[c"VK_NV_external_memory_win32"]),
    (c"VK_NV_external_memory_win32", &[c"VK_NV_win32_keyed_mutex"]),
    (c"VK_KHR_external_memory_win32", &[c"VK_KHR_win32_keyed_mutex"]),
    (c"VK_KHR_external_memory_fd", &[c"VK_EXT_external_memory_dma_buf"]),
    (
        c"VK_EXT_queue_family_foreign",
        &[c"VK_ANDROID_external_memory_android_hardware_buffer", c"VK_QNX_external_memory_screen_buffer"],
    ),
    (c"VK_EXT_extended_dynamic_state", &[c"VK_AMDX_shader_enqueue"]),
    (c"VK_KHR_maintenance5", &[c"VK_AMDX_shader_enqueue"]),
    (
        c"VK_KHR_pipeline_library",
        &[c"VK_AMDX_shader_enqueue", c"VK_EXT_graphics_pipeline_library", c"VK_EXT_pipeline_library_group_handles"],
    ),
    (c"VK_KHR_deferred_host_operations", &[c"VK_KHR_acceleration_structure"]),
    (
        c"VK_KHR_acceleration_structure",
        &[
            c"VK_KHR_ray_tracing_pipeline",
            c"VK_KHR_ray_query",
            c"VK_KHR_ray_tracing_maintenance1",
            c"VK_EXT_opacity_micromap",
            c"VK_KHR_ray_tracing_position_fetch",
        ],
    ),
    (c"VK_AMD_shader_core_properties", &[c"VK_AMD_shader_core_properties2"]),
    (
        c"VK_KHR_dynamic_rendering",
        &[
            c"VK_KHR_dynamic_rendering_local_read",
            c"VK_KHR_maintenance5",
            c"VK_EXT_shader_object",
            c"VK_EXT_dynamic_rendering_unused_attachments",
        ],
    ),
    (c"VK_KHR_shader_maximal_reconvergence", &[c"VK_KHR_shader_quad_control"]),
    (c"VK_KHR_present_id", &[c"VK_KHR_present_wait"]),
    (c"VK_NV_framebuffer_mixed_samples", &[c"VK_NV_coverage_reduction_mode"]),
    (c"VK_KHR_copy_commands2", &[c"VK_EXT_host_image_copy", c"VK_QCOM_rotated_copy_commands"]),
    (c"VK_KHR_format_feature_flags2", &[c"VK_EXT_host_image_copy", c"VK_QCOM_image_processing", c"VK_NV_optical_flow"]),
    (c"VK_KHR_map_memory2", &[c"VK_EXT_map_memory_placed"]),
    (c"VK_EXT_shader_atomic_float", &[c"VK_EXT_shader_atomic_float2"]),
    (c"VK_KHR_fragment_shading_rate", &[c"VK_NV_fragment_shading_rate_enums"]),
    (
        c"VK_KHR_ray_tracing_pipeline",
        &[
            c"VK_NV_ray_tracing_motion_blur",
            c"VK_HUAWEI_invocation_mask",
            c"VK_NV_ray_tracing_invocation_reorder",
            c"VK_EXT_pipeline_library_group_handles",
        ],
    ),
    (c"VK_EXT_fragment_density_map", &[c"VK_EXT_fragment_density_map2", c"VK_QCOM_fragment_density_map_offset"]),
    (c"VK_FUCHSIA_external_memory", &[c"VK_FUCHSIA_buffer_collection"]),
    (c"VK_EXT_transform_feedback", &[c"VK_EXT_primitives_generated_query"]),
    (c"VK_EXT_global_priority", &[c"VK_EXT_global_priority_query"]),
    (c"VK_EXT_opacity_micromap", &[c"VK_NV_displacement_micromap"]),
    (c"VK_EXT_custom_border_color", &[c"VK_EXT_border_color_swizzle"]),
    (c"VK_EXT_memory_priority", &[c"VK_EXT_pageable_device_local_memory"]),
    (c"VK_ARM_shader_core_builtins", &[c"VK_ARM_scheduling_controls"]),
    (c"VK_NV_device_generated_commands", &[c"VK_NV_device_generated_commands_compute"]),
    (c"VK_EXT_image_compression_control", &[c"VK_EXT_image_compression_control_swapchain"]),
    (c"VK_EXT_pipeline_creation_cache_control", &[c"VK_EXT_shader_module_identifier"]),
    (c"VK_ANDROID_external_memory_android_hardware_buffer", &[c"VK_ANDROID_external_format_resolve"]),
    (c"VK_KHR_maintenance6", &[c"VK_NV_per_stage_descriptor_set"]),
    (c"VK_QCOM_image_processing", &[c"VK_QCOM_image_processing2"]),
    (c"VK_EXT_filter_cubic", &[c"VK_QCOM_filter_cubic_weights", c"VK_QCOM_filter_cubic_clamp"]),
    (c"VK_EXT_attachment_feedback_loop_layout", &[c"VK_EXT_attachment_feedback_loop_dynamic_state"]),
];

/// The extensions in [`DEVICE`] whose functionality is core in Vulkan 1.3.
const CORE_IN_1_3: &[&CStr] = &[
    khr::dynamic_rendering::NAME,
    khr::copy_commands2::NAME,
    khr::format_feature_flags2::NAME,
    ext::extended_dynamic_state::NAME,
    ext::pipeline_creation_cache_control::NAME,
];

/// Returns the instance extensions that one of `enabled` (instance or device extensions) needs and
/// that are not in `instance`.
pub(crate) fn missing_of_instance(enabled: &[&CStr], instance: &[&CStr]) -> Vec<Requirement> {
    missing(INSTANCE, "instance", enabled, |name| instance.contains(&name))
}

/// Returns the missing device extensions that one of `enabled` needs, on a device of `api_version`.
pub(crate) fn missing_of_device(enabled: &[&CStr], api_version: u32) -> Vec<Requirement> {
    let is_core = |name| api_version >= vk::API_VERSION_1_3 && CORE_IN_1_3.contains(&name);
    missing(DEVICE, "device", enabled, |name| is_core(name) || enabled.contains(&name))
}

fn missing(
    table: &[(&'static CStr, &[&CStr])],
    kind: &'static str,
    enabled: &[&CStr],
    is_there: impl Fn(&'static CStr) -> bool,
) -> Vec<Requirement> {
    let lacking = table.iter().filter(|(needed, _)| !is_there(needed));
    let first_user = |(needed, users): &(&'static CStr, &[&CStr])| {
        let by = enabled.iter().find(|name| users.contains(name))?;
        let text = |name: &CStr| name.to_string_lossy().into_owned();
        Some(Requirement::Dependency { kind, needed: text(needed), by: text(by) })
    };
    lacking.filter_map(first_user).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_dependency_is_reported_with_its_dependent() {
        let text = |missing: Vec<Requirement>| missing.iter().map(ToString::to_string).collect::<Vec<_>>();
        let (swapchain, surface) = (khr::swapchain::NAME, khr::surface::NAME);
        assert_eq!(
            text(missing_of_instance(&[swapchain], &[])),
            ["instance extension VK_KHR_surface for VK_KHR_swapchain (add it to `OpenInfo::instance_extensions`)"]
        );
        assert!(missing_of_instance(&[swapchain], &[surface]).is_empty());
        assert!(missing_of_device(&[swapchain], vk::API_VERSION_1_2).is_empty());
        let rays = [khr::ray_query::NAME, khr::acceleration_structure::NAME];
        assert_eq!(
            text(missing_of_device(&rays, vk::API_VERSION_1_3)),
            ["device extension VK_KHR_deferred_host_operations for VK_KHR_acceleration_structure (add it to \
                 `OpenInfo::device_extensions`)"]
        );
        assert_eq!(missing_of_device(&rays[..1], vk::API_VERSION_1_3).len(), 1);
    }

    #[test]
    fn core_functionality_needs_no_extension() {
        let objects = [ext::shader_object::NAME];
        assert_eq!(missing_of_device(&objects, vk::API_VERSION_1_2).len(), 1);
        assert!(missing_of_device(&objects, vk::API_VERSION_1_3).is_empty());
        for name in CORE_IN_1_3 {
            assert!(DEVICE.iter().any(|(needed, _)| needed == name), "{name:?}");
        }
    }

    #[test]
    fn each_extension_is_reported_once() {
        for table in [INSTANCE, DEVICE] {
            for (index, (needed, users)) in table.iter().enumerate() {
                assert!(table[..index].iter().all(|(other, _)| other != needed), "{needed:?}");
                assert!(!users.contains(needed), "{needed:?}");
            }
        }
    }
}
