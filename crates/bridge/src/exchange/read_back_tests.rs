//! Tests of the copies of frames to the host: which resources are copied.
#![allow(clippy::unwrap_used)]

use std::fmt::Debug;

use vk::PipelineStageFlags2 as Stages;

use super::*;
use crate::compute::{Backend, Compute};
use crate::exchange::{Exchange, ExchangeInfo, LatestInfo};

const LIMIT: Duration = Duration::from_secs(20);

/// Returns a device that is never destroyed. Returns `None` and skips the test if there is none.
fn device() -> Option<ExportDevice> {
    match ExportDevice::open(&vk_export::OpenInfo::default()) {
        Ok(device) => {
            std::mem::forget(device.clone());
            Some(device)
        }
        Err(error) => {
            test_support::skip(test_support::Need::Other, &error.to_string());
            None
        }
    }
}

fn check<T: Debug>(result: Result<T>, (stages, is_copied): (Stages, bool)) {
    match result {
        Err(Error::InvalidArgument { .. }) if !is_copied => {}
        Ok(_) if is_copied => {}
        result => panic!("{stages:?}: {result:?}"),
    }
}

/// Barriers order a copy only at stages that include copies. An access for blits alone has the same
/// usage and access flags.
#[test]
fn stages_without_copies_are_refused() {
    let Some(device) = device() else { return };
    let compute = Compute::new(&device, Backend::Host).unwrap();
    let cases = [
        (Stages::BLIT, false),
        (Stages::RESOLVE | Stages::BLIT | Stages::FRAGMENT_SHADER, false),
        (Stages::COPY | Stages::BLIT, true),
        (Stages::ALL_TRANSFER, true),
        (Stages::ALL_COMMANDS, true),
    ];
    let (info, latest) = (ExchangeInfo::default(), LatestInfo::default());
    for case in cases {
        let buffer = BufferSpec::<u32>::new(64, BufferAccess { stages: case.0, ..BufferAccess::TRANSFER_READ });
        let access = ImageAccess { stages: case.0, ..ImageAccess::TRANSFER_READ };
        let image = ImageSpec::<[u8; 4]>::new(vk::Format::R8G8B8A8_UNORM, [8, 8], access);

        let mut exchange = Exchange::new(&compute, &info, buffer.clone()).unwrap();
        check(exchange.begin().unwrap().finish().unwrap().read_back(LIMIT), case);
        let mut exchange = Exchange::new(&compute, &info, image.clone()).unwrap();
        check(exchange.begin().unwrap().finish().unwrap().read_back(LIMIT), case);

        let (mut writer, mut reader) = Exchange::latest(&compute, &latest, buffer).unwrap();
        writer.begin().unwrap().publish().unwrap().wait(LIMIT).unwrap();
        check(reader.newest().unwrap().unwrap().read_back(LIMIT), case);
        let (mut writer, mut reader) = Exchange::latest(&compute, &latest, image).unwrap();
        writer.begin().unwrap().publish().unwrap().wait(LIMIT).unwrap();
        check(reader.newest().unwrap().unwrap().read_back(LIMIT), case);
    }
}
