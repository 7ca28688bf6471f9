//! Closes the [`Gate`] whenever Bevy configures or drops the surfaces of its windows.
//!
//! Bevy configures surfaces in the systems `create_surfaces` and `prepare_windows` of the render
//! world. It drops them
//! - in an extraction, for a window that was closed (`extract_windows`, a private system),
//! - in an extraction, for all windows, when it has replaced its device (`RenderStartup`),
//! - with the render world.

use ash::vk;
use bevy_app::SubApp;
use bevy_ecs::message::Messages;
use bevy_ecs::schedule::{IntoScheduleConfigs, SystemCondition};
use bevy_ecs::system::Res;
use bevy_ecs::world::World;
use bevy_render::camera::extract_cameras;
use bevy_render::renderer::RenderDevice;
use bevy_render::view::{
    ExtractedWindows, WindowSurfaces, cleanup_view_targets_for_resize, clear_view_attachments, create_surfaces,
    prepare_windows,
};
use bevy_render::{ExtractSchedule, Render, RenderSystems};
use bevy_window::{RawHandleWrapper, WindowClosing};

use crate::vulkan::gate::{Gate, OpenOnDrop};
use crate::vulkan::raw_device;

/// Adds the systems that close and open the gate of a render world while surfaces are configured;
/// it is closed if `needed`.
///
/// It is closed as late as Bevy allows: after everything before [`RenderSystems::PrepareViews`],
/// such as the preparation of assets and meshes, and after Bevy's systems before `create_surfaces`
/// in that set.
pub(crate) fn add_systems<M>(render: &mut SubApp, needed: impl SystemCondition<M>) {
    let close = close
        .after(clear_view_attachments)
        .after(cleanup_view_targets_for_resize)
        .before(create_surfaces)
        .before(prepare_windows)
        .run_if(needed);
    let open = open.after(prepare_windows);
    render.add_systems(Render, (close, open).in_set(RenderSystems::PrepareViews));
}

/// Without windows, nothing is configured. With windows, it is not known in advance: if an image
/// cannot be acquired, `prepare_windows` configures its surface.
pub(crate) fn has_windows(windows: Option<Res<'_, ExtractedWindows>>) -> bool {
    windows.is_some_and(|windows| !windows.is_empty())
}

/// Runs before surfaces are configured.
fn close(gate: Res<'_, Gate>) {
    gate.close();
}

/// Runs after surfaces were configured or dropped.
pub(crate) fn open(gate: Res<'_, Gate>) {
    gate.open();
}

/// Closes the gate in extractions that may drop surfaces, from their beginning until [`open`], and
/// opens it when the sub-app is dropped.
///
/// When a sub-app is dropped, its world is dropped first and its extraction last, so the gate is
/// open again after [`CloseOnDrop`](super::gate::CloseOnDrop) has closed it for the world's
/// surfaces.
pub(crate) fn guard_extraction(render: &mut SubApp, gate: Gate) {
    let mut inner = render.take_extract();
    let (gate, mut device) = (OpenOnDrop::new(gate), None);
    // After `extract_windows`, which Bevy orders before `extract_cameras`.
    render.add_systems(ExtractSchedule, open.after(extract_cameras));
    render.set_extract(move |main, render| {
        drop_former_surfaces(render, &mut device, gate.gate());
        let _open = closes_windows(main, render).then(|| gate.gate().closed());
        if let Some(inner) = &mut inner {
            inner(main, render);
        }
    });
}

/// Drops the surfaces of a former device, as Bevy does later in the same extraction. The gate is
/// then open in `RenderStartup`, whose systems may submit.
fn drop_former_surfaces(render: &mut World, device: &mut Option<vk::Device>, gate: &Gate) {
    // Surfaces keep the former device alive, so no other device has its handle.
    let now = render.get_resource::<RenderDevice>().and_then(|device| raw_device(device.wgpu_device()));
    let former = std::mem::replace(device, now);
    if former.is_some() && former != now {
        let _open = gate.closed();
        // The images of the surfaces first, as Bevy does for a closed window.
        render.insert_resource(ExtractedWindows::default());
        render.insert_resource(WindowSurfaces::default());
    }
}

/// Returns `true` if the next extraction may drop the surface of a window: `extract_windows` reads
/// these messages, and only windows in the render world have surfaces. Windows that the program
/// closes during the extraction are not known here.
fn closes_windows(main: &World, render: &World) -> bool {
    let closing = || main.get_resource::<Messages<WindowClosing>>().is_some_and(|messages| !messages.is_empty());
    let removed = || {
        let handle = main.component_id::<RawHandleWrapper>();
        let messages = handle.and_then(|handle| main.removed_components().get(handle));
        messages.is_some_and(|messages| !messages.is_empty())
    };
    render.get_resource::<ExtractedWindows>().is_some_and(|windows| !windows.is_empty()) && (closing() || removed())
}

#[cfg(test)]
mod tests;
