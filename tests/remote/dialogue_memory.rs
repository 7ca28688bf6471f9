//! The memory and timelines of a scripted worker.
#![allow(unsafe_code)] // Imports, waits and signals.

use std::sync::Arc;

use bridge_ipc::{Direction, MappedMemory, Message, Offer, Resource, SharedMemory, Side};
use bridge_worker::cuda_import::cudarc::driver::CudaStream;
use bridge_worker::cuda_import::{
    BufferMappingInfo, CudaDevice, ImportedMemory, ImportedSemaphore, MappedBuffer, MemoryImportInfo, OsHandle,
    SemaphoreKind, signal_one, wait_one,
};

use crate::dialogue::Counted;

/// The slots of a scripted worker. Its process ends before they are dropped.
pub(crate) enum Slots {
    Host(Vec<MappedMemory>),
    Cuda(OnGpu),
}

pub(crate) struct OnGpu {
    slots: Vec<MappedBuffer<u32>>,
    computed: ImportedSemaphore,
    rendered: ImportedSemaphore,
    stream: Arc<CudaStream>,
    /// The last value of `computed`.
    value: u64,
}

impl Slots {
    /// Receives all slots, and with CUDA also the timelines.
    pub(crate) fn receive(counted: &mut Counted, offer: &Offer, device: Option<&CudaDevice>) -> Self {
        let mut heard = (0..offer.slots).map(|_| {
            let received = counted.receive();
            let Message::Resource(resource) = received.message else { panic!("no resource") };
            (resource, received.descriptor.unwrap())
        });
        let Some(device) = device else {
            return Self::Host(heard.map(|(resource, file)| mapped(&resource, file, offer.direction)).collect());
        };
        let stream = device.new_stream().unwrap();
        let slots = heard.by_ref().map(|(resource, handle)| imported(device, &resource, handle, &stream)).collect();
        let [computed, rendered] = [Side::Computed, Side::Rendered].map(|side| {
            let received = counted.receive();
            let Message::Timeline(timeline) = received.message else { panic!("no timeline") };
            assert_eq!(timeline.side, side);
            let handle = received.descriptor.unwrap();
            // SAFETY: a timeline that Vulkan exported on this GPU, as the message says.
            unsafe { ImportedSemaphore::import(device, handle, SemaphoreKind::Timeline, "scripted") }.unwrap()
        });
        Self::Cuda(OnGpu { slots, computed, rendered, stream, value: 0 })
    }

    pub(crate) fn count(&self) -> usize {
        match self {
            Self::Host(memory) => memory.len(),
            Self::Cuda(gpu) => gpu.slots.len(),
        }
    }

    pub(crate) fn are_on_gpu(&self) -> bool {
        matches!(self, Self::Cuda(_))
    }

    pub(crate) fn write(&mut self, slot: u32, start: usize, words: &[u32]) {
        match self {
            Self::Host(memory) => {
                let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
                assert!(memory[slot as usize].write(start * 4, &bytes));
            }
            Self::Cuda(gpu) => {
                let mut view = gpu.slots[slot as usize].view_mut();
                let mut part = view.slice_mut(start..start + words.len()).unwrap();
                gpu.stream.memcpy_htod(words, &mut part).unwrap();
                // The words belong to the caller.
                gpu.stream.synchronize().unwrap();
            }
        }
    }

    /// Makes the following work wait for the renderer's value.
    pub(crate) fn wait(&self, value: u64) {
        if let Self::Cuda(gpu) = self
            && value > 0
        {
            // SAFETY: the timeline lives until the process ends, and the renderer signals it.
            unsafe { wait_one(&gpu.stream, &gpu.rendered, value) }.unwrap();
        }
    }

    /// Signals the next value after all previous work; returns the value, or 0 on the CPU.
    pub(crate) fn signal(&mut self) -> u64 {
        let Self::Cuda(gpu) = self else { return 0 };
        gpu.value += 1;
        // SAFETY: the timeline lives until the process ends; its values increase, and only this
        // process signals it.
        unsafe { signal_one(&gpu.stream, &gpu.computed, gpu.value) }.unwrap();
        gpu.value
    }
}

fn mapped(resource: &Resource, file: OsHandle, direction: Direction) -> MappedMemory {
    let memory = SharedMemory::from_peer("frame", file, resource.allocation_size).unwrap();
    if direction == Direction::WorkerWrites { memory.map().unwrap() } else { memory.map_read_only().unwrap() }
}

fn imported(device: &CudaDevice, resource: &Resource, handle: OsHandle, stream: &Arc<CudaStream>) -> MappedBuffer<u32> {
    let info =
        MemoryImportInfo { name: "scripted", allocation_size: resource.allocation_size, dedicated: resource.dedicated };
    // SAFETY: handle, size and flag are from one message, for the renderer's GPU, which is this
    // one.
    let memory = unsafe { ImportedMemory::import(device, handle, &info) }.unwrap();
    let len = usize::try_from(resource.min_size().unwrap()).unwrap() / 4;
    MappedBuffer::map(&memory, &BufferMappingInfo { offset: resource.offset, len }, stream).unwrap()
}
