//! Host functions.
//!
//! Unsafe because these are C functions; cuda.h documents their contracts.
#![allow(unsafe_code)]

use std::ffi::c_void;

use crate::abi::{Code, INVALID_VALUE};
use crate::gate::{Needs, entry};
use crate::host_function::HostFunction;
use crate::ledger::queue::Work;

#[unsafe(no_mangle)]
unsafe extern "C" fn cuLaunchHostFunc(
    stream: u64,
    function: Option<unsafe extern "C" fn(*mut c_void)>,
    data: *mut c_void,
) -> Code {
    entry("cuLaunchHostFunc", Needs::Context).about(stream).run(|ledger, context| {
        let function = function.ok_or(INVALID_VALUE)?;
        let stream = ledger.stream(context, stream)?;
        ledger.enqueue(stream, Work::Call(HostFunction::new(function, data)));
        Ok(())
    })
}
