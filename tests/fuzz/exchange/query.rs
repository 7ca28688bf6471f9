//! Queries and waits on the timeline points of an exchange while turns are open.
#![allow(clippy::unwrap_used)] // A failure here fails the case.

use bridge_tests::Rig;

use crate::direction_ext::DirectionExt;
use crate::ring::{Flight, Ring};
use crate::shape::Shape;

impl<S: Shape, D: DirectionExt> Ring<S, D> {
    pub(crate) fn query_computed(&self, which: u8, wait: bool) {
        let count = self.render.len().max(1);
        let Some(turn) = self.render.values().nth(usize::from(which) % count) else { return };
        let Some(point) = D::computed(turn) else { return };
        let reached = if wait { point.wait(Rig::LONG).map(|()| true) } else { point.is_reached() };
        match reached {
            Ok(reached) => assert!(!reached || point.is_reached().unwrap(), "what was reached is not any more"),
            Err(error) => assert!(self.side.has_failed(), "{error}"),
        }
        self.common.count("questions");
    }

    pub(crate) fn query_rendered(&self) {
        let Some(Flight { own, point: Some(point), .. }) = self.flights.back() else { return };
        if point.is_reached().unwrap() {
            // One submission signals both.
            self.own.0.wait(*own, Rig::LONG).unwrap();
        }
        self.common.count("questions");
    }
}
