//! Exchanges that are closed instead of dropped.
#![allow(clippy::unwrap_used)] // A test.

use std::time::Duration;

use bridge_wgpu::bridge::LiveObjects;
use bridge_wgpu::{
    Backend, Bridge, ComputeTurn, Error, Exchange, ExchangeInfo, LatestInfo, LatestReader, LatestWriter, SharedBuffer,
    bridge, wgpu,
};

use crate::support::gate::Gate;
use crate::support::latest::{latest, write};
use crate::support::{LIMIT, alone, bridge_on, info, validation_messages, ways};

type Numbers = SharedBuffer<u32>;

fn numbers() -> Numbers {
    Numbers::new(crate::support::latest::LEN, wgpu::BufferUsages::COPY_SRC)
}

/// Returns both handles of a latest exchange, after a frame.
fn after_a_frame(bridge: &Bridge, info: &LatestInfo<'_>) -> (LatestWriter<Numbers>, LatestReader<Numbers>) {
    let (mut writer, mut reader) = Exchange::latest(bridge, info, numbers()).unwrap();
    let mut turn = writer.begin().unwrap();
    write(&mut turn, 1, Duration::ZERO);
    turn.publish().unwrap().wait(LIMIT).unwrap();
    bridge.submit([], reader.newest().unwrap()).unwrap();
    (writer, reader)
}

/// A closed exchange has freed its slots when `close` returns.
#[test]
fn a_closed_exchange_is_gone() {
    let _alone = alone();
    for bridge in ways() {
        let before = LiveObjects::now();
        let mut exchange = Exchange::new(&bridge, &info("numbers"), numbers()).unwrap();
        let turn = exchange.begin().unwrap();
        bridge.submit([], turn.finish().unwrap()).unwrap();
        exchange.close().unwrap();
        assert_eq!(LiveObjects::now(), before);
        let (writer, reader) = after_a_frame(&bridge, &latest("latest"));
        writer.close(reader).unwrap();
        assert_eq!(LiveObjects::now(), before);
        let (writer, reader) = Exchange::latest_render_first(&bridge, &latest("drawn"), numbers()).unwrap();
        writer.close(reader).unwrap();
        assert_eq!(LiveObjects::now(), before);
    }
    assert_eq!(validation_messages(), [""; 0]);
}

/// An exchange that is closed while a turn or a frame is open ends with that turn or frame.
#[test]
fn an_exchange_with_an_open_turn_ends_with_it() {
    let _alone = alone();
    let says_open = |closed: Result<(), Error>| match closed {
        Err(error @ Error::InvalidArgument { .. }) => error.to_string().contains("a turn or frame is open"),
        closed => panic!("{closed:?}"),
    };
    for bridge in ways() {
        let before = LiveObjects::now();
        let mut exchange = Exchange::new(&bridge, &info("numbers"), numbers()).unwrap();
        let turn = exchange.begin().unwrap();
        assert!(says_open(exchange.close()));
        assert_ne!(LiveObjects::now(), before);
        bridge.submit([], turn.finish().unwrap()).unwrap();
        assert_eq!(LiveObjects::now(), before);
        let (writer, mut reader) = after_a_frame(&bridge, &latest("latest"));
        let frame = reader.newest().unwrap();
        assert!(says_open(writer.close(reader)));
        assert_ne!(LiveObjects::now(), before);
        bridge.submit([], frame).unwrap();
        assert_eq!(LiveObjects::now(), before);
        let ((one, reader), (other, other_reader)) =
            (after_a_frame(&bridge, &latest("one")), after_a_frame(&bridge, &latest("other")));
        let error = one.close(other_reader).unwrap_err();
        assert!(error.to_string().contains("the reader of exchange \"other\""), "{error}");
        drop((reader, other));
        assert_eq!(LiveObjects::now(), before);
    }
    assert_eq!(validation_messages(), [""; 0]);
}

/// Work that does not end within the exchange's timeout is an error of `close`.
#[test]
fn the_error_of_the_end_is_returned() {
    let _alone = alone();
    let bridge = bridge_on(Backend::Host).unwrap();
    // The waits before the gate must end within it, too.
    let timeout = Duration::from_secs(5);
    let mut exchange = Exchange::render_first(&bridge, &ExchangeInfo { timeout, ..info("late") }, numbers()).unwrap();
    let frame = exchange.begin().unwrap();
    let mut turn: ComputeTurn<_, _> = bridge.submit([], frame).unwrap();
    let gate = Gate::hold(turn.work());
    turn.finish().unwrap();
    let error = exchange.close().unwrap_err();
    assert!(
        matches!(error, Error::Bridge(bridge::Error::Timeout { .. } | bridge::Error::ComputeBusy { .. })),
        "{error}"
    );
    gate.open();
    let (mut writer, mut reader) =
        Exchange::latest_render_first(&bridge, &LatestInfo { timeout, ..latest("late") }, numbers()).unwrap();
    let frame = writer.begin().unwrap();
    bridge.submit([], frame).unwrap().wait(LIMIT).unwrap();
    let mut turn = reader.newest().unwrap().unwrap();
    let gate = Gate::hold(turn.work());
    turn.finish().unwrap();
    let error = writer.close(reader).unwrap_err();
    assert!(
        matches!(error, Error::Bridge(bridge::Error::Timeout { .. } | bridge::Error::ComputeBusy { .. })),
        "{error}"
    );
    gate.open();
    assert_eq!(validation_messages(), [""; 0]);
}
