//! Containers that did not get all of the driver, or not the GPU.

use super::*;

#[test]
fn a_container_is_advised_about_its_capabilities() {
    let mut system = in_container(server());
    system.variables.insert("NVIDIA_DRIVER_CAPABILITIES".to_owned(), "compute,utility".to_owned());
    let text = advice_text(&system, &lavapipe(), &cuda("13.0"));
    assert!(text.contains("is \"compute,utility\"") && text.contains("CAPABILITIES=all"), "{text}");
    let text = advice_text(&system, &nvidia(), &no_cuda(CudaProblemKind::NoDriver, None));
    assert!(text.contains("`compute` brings libcuda"), "{text}");
}

#[test]
fn a_container_without_its_gpu_is_reported_once() {
    let system = in_container(System { nvidia_gpus_on_bus: 1, ..System::default() });
    let text = advice_text(&system, &lavapipe(), &no_cuda(CudaProblemKind::NoDriver, None));
    assert!(text.contains("--gpus all"), "{text}");
    assert!(!text.contains("CUDA does not run"), "{text}");
}

/// Its /proc shows the host's kernel module.
#[test]
fn a_container_with_the_hosts_module_but_no_gpu_is_advised_to_request_it() {
    let system = in_container(System { device_files: Vec::new(), ..server() });
    for vulkan in [lavapipe(), with_manifest(None), Vulkan::default()] {
        let text = advice_text(&system, &vulkan, &no_cuda(CudaProblemKind::NoDriver, None));
        assert!(text.contains("--gpus all -e NVIDIA_DRIVER_CAPABILITIES=all"), "{text}");
        assert!(!text.contains("manifest") && !text.contains("CUDA does not run"), "{text}");
    }
    // On the machine itself the driver makes that file when it is first used.
    let text = advice_text(&System { container: None, ..system }, &lavapipe(), &cuda("13.0"));
    assert!(text.contains("manifest") && !text.contains("--gpus"), "{text}");
}

#[test]
fn a_container_that_requests_all_is_not_advised_to_request_all() {
    for value in ["all", "compute,graphics"] {
        let system = with(in_container(server()), "NVIDIA_DRIVER_CAPABILITIES", value);
        let nothing = no_cuda(CudaProblemKind::NoDriver, None);
        for vulkan in [lavapipe(), with_manifest(Some("libGLdispatch.so.0: cannot open"))] {
            let text = advice_text(&system, &vulkan, &nothing);
            assert!(text.contains("nvidia-ctk cdi generate") && !text.contains("CAPABILITIES=all"), "{text}");
        }
    }
}
