//! Compute sides that cannot be created.

use bridge::cudarc::driver::{CudaContext, result};
use bridge::{Backend, Compute, Error};

use crate::with_double;

/// The stream may be the last owner of its context object. cudarc's drop makes its context current.
#[test]
fn a_refused_stream_leaves_the_current_context() {
    with_double("computes::a_refused_stream_leaves_the_current_context", |double, rig, compute| {
        let before = compute.cuda().unwrap().device().context().cu_ctx() as u64;
        for is_per_thread in [false, true] {
            let context = CudaContext::new(1).unwrap();
            let stream = if is_per_thread { context.per_thread_stream() } else { context.new_stream().unwrap() };
            drop(context);
            double.set_current(before);
            let error = Compute::on_stream(rig.device(), stream).unwrap_err();
            assert!(matches!(error, Error::DifferentDevices { .. }) != is_per_thread, "{error}");
            assert_eq!(result::ctx::get_current().unwrap().map(|current| current as u64), Some(before), "{error}");
        }
    });
}

/// Other programs may have filled the GPU. Creating the context is then the first call to fail.
#[test]
fn a_full_gpu_is_reported_as_out_of_memory() {
    with_double("computes::a_full_gpu_is_reported_as_out_of_memory", |double, rig, _| {
        for (call, code) in [("cuDevicePrimaryCtxRetain", 2), ("cuStreamCreate", 2), ("cuStreamCreate", 999)] {
            double.fail_named(call, 1, code);
            let error = Compute::new(rig.device(), Backend::Cuda).unwrap_err();
            double.disarm().unwrap();
            assert!(matches!(error, Error::NoCuda { .. }), "{error}");
            assert_eq!(error.is_out_of_memory(), code == 2, "{error}");
        }
    });
}
