//! Closures with the turns of two exchanges, and recorded copies from one to the other. Exchanges
//! and turns that are missing are made, because random ones rarely match.
#![allow(clippy::unwrap_used)] // A failure here fails the case.

use std::sync::Arc;

use bridge::{BufferSpec, ComputeFirst, RenderFirst, Work};

use crate::closing::visit;
use crate::common::Side;
use crate::direction_ext::DirectionExt;
use crate::model::SlotState;
use crate::op::{Open, Pair, RingOp};
use crate::planted::Planted;
use crate::ring::{AnyRing, Ring};
use crate::shape::Content;
use crate::world::{MOST_RINGS, World};

type Words = BufferSpec<u32>;

impl World {
    pub(crate) fn pair(&mut self, pair: &Pair) {
        if pair.vulkan_first {
            self.pair_with::<RenderFirst>(pair);
        } else {
            self.pair_with::<ComputeFirst>(pair);
        }
    }

    fn pair_with<D: DirectionExt>(&mut self, pair: &Pair) {
        let Some(first) = self.with_turn::<ComputeFirst>(pair.first, None) else { return };
        if pair.foreign {
            let side = Side::new(&self.common.device, self.backend);
            let mut other = Ring::<Words, D>::open(&self.common, &side, &open::<D>(false), None).unwrap();
            assert!(other.has_compute_turn());
            together(ring::<ComputeFirst>(&mut self.rings[first]).unwrap(), &mut other);
            self.kept.add(&other.end());
            return;
        }
        let Some(second) = self.with_turn::<D>(pair.second, Some(first)) else { return };
        let [first, second] = self.rings.get_disjoint_mut([first, second]).unwrap();
        let (first, second) = (ring::<ComputeFirst>(first).unwrap(), ring::<D>(second).unwrap());
        together(first, second);
        if pair.submits {
            first.end_frame();
            second.end_frame();
        }
    }

    /// Returns the place of an exchange of that direction with an open compute turn, other than
    /// `other`. Returns `None` if the compute side has failed.
    fn with_turn<D: DirectionExt>(&mut self, place: u8, other: Option<usize>) -> Option<usize> {
        let (place, count) = (usize::from(place), self.rings.len());
        let mut places = (0..count).map(|at| (place + at) % count).filter(|at| Some(*at) != other);
        let oldest = places.clone().next();
        let found = places.find(|at| ring::<D>(&mut self.rings[*at]).is_some_and(Ring::has_compute_turn));
        if found.is_some() || self.side.has_failed() {
            return found;
        }
        let mut opened = self.ring::<Words, D>(&open::<D>(place.is_multiple_of(2)));
        assert!(ring::<D>(&mut opened).unwrap().has_compute_turn());
        self.common.count("exchanges");
        match oldest.filter(|_| count >= MOST_RINGS) {
            // The place of `other` stays the same.
            Some(place) => {
                self.kept.add(&std::mem::replace(&mut self.rings[place], opened).end());
                Some(place)
            }
            None => {
                self.rings.push(opened);
                Some(count)
            }
        }
    }
}

fn open<D: DirectionExt>(pooled: bool) -> Open {
    Open { shape: 0, vulkan_first: D::VULKAN_FIRST, slots: 2, pooled, in_flight: None, short: false }
}

fn ring<D: DirectionExt>(ring: &mut Box<dyn AnyRing>) -> Option<&mut Ring<Words, D>> {
    ring.as_any().downcast_mut()
}

impl<D: DirectionExt> Ring<Words, D> {
    /// Opens a compute turn, unless one is open. Returns `false` if the exchange has none.
    fn has_compute_turn(&mut self) -> bool {
        // A lost turn is reported first, a slot may have to be freed, and `RenderFirst` begins with
        // a render turn.
        for _ in 0..4 {
            let blocked = self.exchange.is_none() || self.lent.is_some() || self.model.has_unknown();
            if self.compute.is_some() || blocked || self.side.has_failed() {
                break;
            }
            let begins =
                if D::VULKAN_FIRST { self.render.is_empty() } else { self.model.slots.contains(&SlotState::Free) };
            if begins {
                self.begin();
            } else {
                self.step(RingOp::Submit { which: 0, fill: true });
            }
        }
        self.compute.is_some()
    }

    /// Finishes the open turn, and submits it if Vulkan is next.
    fn end_frame(&mut self) {
        self.step(RingOp::Finish);
        if !D::VULKAN_FIRST {
            let last = self.render.len().saturating_sub(1);
            self.step(RingOp::Submit { which: last as u8, fill: false });
        }
    }
}

/// Writes to the open turns of both exchanges, or copies from the first one to the other.
fn together<D: DirectionExt>(first: &mut Ring<Words, ComputeFirst>, second: &mut Ring<Words, D>) {
    let common = first.common.clone();
    let after = [(); 2].map(|()| Some(Content::Pattern(common.tag())));
    let same = Arc::ptr_eq(&first.side.failed, &second.side.failed);
    let (Some(turn), Some(other)) = (&mut first.compute, &mut second.compute) else { return };
    let slots = [turn.slot(), other.slot()];
    let before = [first.contents[slots[0]], second.contents[slots[1]]];
    let (mut host, mut others) = match (turn.work(), other.work()) {
        (Work::Host(host), Work::Host(others)) => (host, others),
        (Work::Inline(from), Work::Inline(to)) => {
            // Work of two compute sides is not ordered.
            if same {
                common.checks.copy::<Words>(&from, &to);
                second.contents[slots[1]] = before[0];
                common.count("recorded copies between turns");
            }
            return;
        }
        _ => unreachable!("the exchanges of a case are on one backend"),
    };
    let faults = Arc::clone(&common.faults);
    let swapped = Planted::TurnsSwapped.is_now();
    let ran = host.run_with(&mut others, move |mine, others| {
        let (mine, others) = if swapped { (others, mine) } else { (mine, others) };
        let found =
            [visit::<Words>(mine, before[0], after[0], true), visit::<Words>(others, before[1], after[1], true)];
        faults.lock().unwrap().extend(found.into_iter().flatten());
    });
    match ran {
        Ok(()) => {
            assert!(same && !first.side.has_failed());
            first.contents[slots[0]] = after[0];
            second.contents[slots[1]] = after[1];
            common.count("closures of two turns");
        }
        Err(bridge::Error::InvalidArgument { .. }) => {
            assert!(!same);
            common.count("closures of two compute sides refused");
        }
        Err(error) => assert!(same && first.side.has_failed(), "{error}"),
    }
}
