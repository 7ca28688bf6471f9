//! Stream capture and graphs.
//!
//! Unsafe because these are C functions; cuda.h documents their contracts.
#![allow(unsafe_code)]

use std::ffi::{c_uint, c_ulonglong};
use std::thread;

use super::external_semaphore::points;
use super::put;
use crate::abi::{
    CAPTURE_INVALIDATED, CAPTURE_RELAXED, CAPTURE_UNMATCHED, CAPTURE_UNSUPPORTED, CAPTURE_WRONG_THREAD, Code,
    INVALID_VALUE, STREAM_LEGACY, SemaphoreNodeParams,
};
use crate::gate::{Entry, Needs, entry};
use crate::ledger::graph::{Capture, Exec, Graph};
use crate::ledger::queue::Work;

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamBeginCapture_v2(stream: u64, mode: c_uint) -> Code {
    entry("cuStreamBeginCapture_v2", Needs::Context).about(stream).run(|ledger, context| {
        if mode > CAPTURE_RELAXED {
            return Err(INVALID_VALUE.into());
        }
        // "Capture must not be initiated on the legacy default stream."
        if stream <= STREAM_LEGACY {
            return Err(CAPTURE_UNSUPPORTED.into());
        }
        let stream = ledger.stream(context, stream)?;
        if ledger.captures.contains_key(&stream) {
            return Err(INVALID_VALUE.into());
        }
        let capture = Capture { context, mode, thread: thread::current().id(), work: Vec::new(), invalid: false };
        ledger.captures.insert(stream, capture);
        Ok(())
    })
}

/// An invalid capture also ends, without a graph; so does a capture whose end fails.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamEndCapture(stream: u64, graph: *mut u64) -> Code {
    let end = entry("cuStreamEndCapture", Needs::Context).about(stream);
    end.on_fault(|ledger, stream, _| drop(ledger.captures.remove(&stream))).run(|ledger, context| {
        // SAFETY: cuda.h: an output pointer.
        unsafe { put(graph, 0) }?;
        let stream = ledger.resolve(context, stream)?;
        let Some(capture) = ledger.captures.get(&stream) else { return Err(CAPTURE_UNMATCHED.into()) };
        if capture.thread != thread::current().id() {
            return Err(CAPTURE_WRONG_THREAD.into());
        }
        let Some(Capture { context, work, invalid, .. }) = ledger.captures.remove(&stream) else { return Ok(()) };
        if invalid {
            return Err(CAPTURE_INVALIDATED.into());
        }
        let nodes = work.into_iter().map(|work| (ledger.new_handle(), work)).collect();
        let handle = ledger.new_handle();
        ledger.graphs.insert(handle, Graph { context, nodes });
        // SAFETY: cuda.h: an output pointer; a handle is a pointer.
        unsafe { put(graph, handle) }
    })
}

/// A null `nodes` queries the number of nodes.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuGraphGetNodes(graph: u64, nodes: *mut u64, count: *mut usize) -> Code {
    entry("cuGraphGetNodes", Needs::Init).about(graph).run(|ledger, _| {
        let there = &ledger.graphs.get(graph)?.nodes;
        if nodes.is_null() {
            // SAFETY: cuda.h: an output pointer.
            return unsafe { put(count, there.len()) };
        }
        // SAFETY: cuda.h: an input here, the number of nodes that `nodes` has room for.
        let room = unsafe { count.as_ref() }.copied().ok_or(INVALID_VALUE)?;
        for (i, (handle, _)) in there.iter().enumerate().take(room) {
            // SAFETY: cuda.h: `nodes` has room for `room` nodes, and `i` is less.
            let place = unsafe { nodes.add(i) };
            // SAFETY: cuda.h: an output pointer.
            unsafe { put(place, *handle) }?;
        }
        // SAFETY: cuda.h: an output pointer.
        unsafe { put(count, there.len().min(room)) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGraphNodeGetType(node: u64, kind: *mut c_uint) -> Code {
    entry("cuGraphNodeGetType", Needs::Init).about(node).run(|ledger, _| {
        let mut nodes = ledger.graphs.iter().flat_map(|(_, graph)| &graph.nodes);
        let (_, work) = nodes.find(|(handle, _)| *handle == node).ok_or(INVALID_VALUE)?;
        // SAFETY: cuda.h: an output pointer.
        unsafe { put(kind, work.node_type()) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGraphInstantiateWithFlags(exec: *mut u64, graph: u64, flags: c_ulonglong) -> Code {
    entry("cuGraphInstantiateWithFlags", Needs::Context).about(graph).run(|ledger, context| {
        if flags != 0 {
            return Err(INVALID_VALUE.into());
        }
        let nodes = ledger.graphs.get(graph)?.nodes.clone();
        let handle = ledger.new_handle();
        ledger.execs.insert(handle, Exec { context, graph, nodes });
        // SAFETY: cuda.h: an output pointer; a handle is a pointer.
        unsafe { put(exec, handle) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGraphUpload(exec: u64, stream: u64) -> Code {
    entry("cuGraphUpload", Needs::Context).about(exec).run(|ledger, context| {
        let stream = ledger.stream(context, stream)?;
        ledger.forbid_in_capture(stream)?;
        ledger.check_context(context, "exec", ledger.execs.get(exec)?.context)
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGraphExecExternalSemaphoresWaitNodeSetParams(
    exec: u64,
    node: u64,
    params: *const SemaphoreNodeParams,
) -> Code {
    let set = entry("cuGraphExecExternalSemaphoresWaitNodeSetParams", Needs::Context).about(exec);
    let is_same = |work: &Work| matches!(work, Work::Wait { .. });
    // SAFETY: the same contract.
    unsafe {
        set_point(set, exec, node, params, is_same, |semaphore, export, value| Work::Wait { semaphore, export, value })
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGraphExecExternalSemaphoresSignalNodeSetParams(
    exec: u64,
    node: u64,
    params: *const SemaphoreNodeParams,
) -> Code {
    let set = entry("cuGraphExecExternalSemaphoresSignalNodeSetParams", Needs::Context).about(exec);
    let is_same = |work: &Work| matches!(work, Work::Signal { .. });
    // SAFETY: the same contract.
    unsafe {
        set_point(set, exec, node, params, is_same, |semaphore, export, value| Work::Signal {
            semaphore,
            export,
            value,
        })
    }
}

/// # Safety
///
/// `params` is null or valid, as cuda.h requires.
unsafe fn set_point(
    call: Entry,
    exec: u64,
    node: u64,
    params: *const SemaphoreNodeParams,
    is_same: impl Fn(&Work) -> bool,
    work: impl Fn(u64, u64, u64) -> Work,
) -> Code {
    // SAFETY: guaranteed by the caller.
    let Some(params) = (unsafe { params.as_ref() }) else { return INVALID_VALUE };
    call.run(|ledger, context| {
        ledger.check_context(context, "exec", ledger.execs.get(exec)?.context)?;
        // SAFETY: guaranteed by the caller: two arrays of `count`.
        let mut points = unsafe { points(params.semaphores, params.params, params.count) };
        // Nodes that come from a stream capture have one semaphore each here.
        let (Some((semaphore, value)), None) = (points.next(), points.next()) else {
            return Err(INVALID_VALUE.into());
        };
        let known = ledger.semaphores.get(semaphore)?;
        let export = known.descriptor.export;
        ledger.check_context(context, "semaphore", known.context)?;
        let node = ledger.node(exec, node)?;
        if !is_same(node) {
            return Err(INVALID_VALUE.into());
        }
        *node = work(semaphore, export, value);
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGraphLaunch(exec: u64, stream: u64) -> Code {
    entry("cuGraphLaunch", Needs::Context).about(exec).run(|ledger, context| {
        let stream = ledger.stream(context, stream)?;
        // The real driver captures the launch as a node.
        ledger.forbid_in_capture(stream)?;
        ledger.check_context(context, "exec", ledger.execs.get(exec)?.context)?;
        ledger.launch(exec, stream)
    })
}

/// Launches that are in flight continue.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuGraphExecDestroy(exec: u64) -> Code {
    let destroy = entry("cuGraphExecDestroy", Needs::Context).about(exec);
    destroy.on_fault(|ledger, exec, _| ledger.execs.refuse(exec)).run(|ledger, _| {
        ledger.execs.remove(exec)?;
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGraphDestroy(graph: u64) -> Code {
    let destroy = entry("cuGraphDestroy", Needs::Init).about(graph);
    destroy.on_fault(|ledger, graph, _| ledger.graphs.refuse(graph)).run(|ledger, _| {
        ledger.graphs.remove(graph)?;
        Ok(())
    })
}
