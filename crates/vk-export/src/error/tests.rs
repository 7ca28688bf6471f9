use super::*;

#[test]
fn out_of_memory_error_states_the_sizes() {
    let refused = |size, free| {
        let error = Error::OutOfMemory {
            object: "memory of \"m\"".into(),
            size,
            heap: 1,
            heap_size: 80,
            free,
            max_allocation_size: 40,
            result: vk::Result::ERROR_OUT_OF_DEVICE_MEMORY,
            device: "d".into(),
        };
        assert!(error.is_out_of_memory());
        error.to_string()
    };
    let text = refused(50, Some(7));
    assert!(
        text.contains("50 bytes requested from memory heap 1, which has 80, 7 of them free; this exceeds"),
        "{text}"
    );
    assert!(text.contains("this exceeds maxMemoryAllocationSize (40 bytes)"), "{text}");
    let text = refused(30, None);
    assert!(text.contains("which has 80; ask for less") && text.contains("(-2) [memory of \"m\", d]"), "{text}");
}

#[test]
fn advice_for_missing_requirements_appears_once() {
    let kernels = |name: &str, on_device| Requirement::CudaKernelExtension { name: name.into(), on_device };
    let missing = |missing| Error::Missing { device: "d".into(), purpose: "p", missing }.to_string();
    let text = missing(vec![kernels("A", false), kernels("B", false), Requirement::Feature("f")]);
    assert!(text.starts_with("d lacks what p needs: device extension A; device extension B (NVIDIA's"), "{text}");
    assert!(text.ends_with("); feature f") && text.matches("CUDA stream").count() == 1, "{text}");
    let text = missing(vec![kernels("A", false), kernels("B", true)]);
    assert!(text.contains("A (NVIDIA's") && text.contains("B (it is off"), "{text}");
}

#[test]
fn software_driver_is_advised_without_a_device() {
    let error =
        |found: &str| Error::NoDevice { requested: "the best device".into(), available: found.into() }.to_string();
    assert!(error("none").contains("software driver"));
    assert!(error("0: llvmpipe (no: feature f)").ends_with("(no: feature f)"));
}

#[test]
fn advice_is_for_the_call_that_failed() {
    let failed = |call, result| Error::Vulkan { call, result, object: "o".into(), device: "d".into() }.to_string();
    let start = vk::Result::ERROR_INITIALIZATION_FAILED;
    assert!(failed("vkCreateInstance", start).contains("libXext6"));
    assert!(failed("vkCreateDevice", start).contains("exclusively"));
    let swapchain = failed("vkCreateSwapchainKHR", start);
    assert!(swapchain.ends_with("[o, d]"), "{swapchain}");
    assert!(failed("vkCreateInstance", vk::Result::ERROR_INCOMPATIBLE_DRIVER).contains("no driver that it can load"));
}

#[test]
fn any_call_may_be_out_of_memory() {
    let failed = |result| {
        let (object, device) = ("o".to_owned(), "d".to_owned());
        Error::Vulkan { call: "vkQueueSubmit2", result, object, device }.is_out_of_memory()
    };
    assert!(failed(vk::Result::ERROR_OUT_OF_HOST_MEMORY) && failed(vk::Result::ERROR_OUT_OF_DEVICE_MEMORY));
    assert!(!failed(vk::Result::ERROR_DEVICE_LOST));
}
