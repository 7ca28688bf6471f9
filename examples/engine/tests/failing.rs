//! Frames that fail half-way, and what is left of them. One test, in which the validation layer
//! listens.
#![allow(unsafe_code, clippy::unwrap_used, reason = "a test that cannot go on ends; a system of the engine")]

use anyhow::{Result, bail};
use bridge::Backend;
use engine_core::recorder::Recorder;
use engine_core::{Outcome, Pass, System};

mod common;

/// Fails where it is told to.
struct Broken {
    at: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Begin,
    Record,
    Scene,
    Picture,
}

impl Broken {
    fn fail(&self, at: Place) -> Result<()> {
        if self.at == at {
            bail!("broken at {at:?}");
        }
        Ok(())
    }
}

// SAFETY: it records nothing.
unsafe impl System for Broken {
    fn name(&self) -> &'static str {
        "broken"
    }

    fn begin(&mut self, _: u64) -> Result<()> {
        self.fail(Place::Begin)
    }

    fn before(&mut self, _: Pass, recorder: &mut Recorder<'_>) {
        if let Err(error) = self.fail(Place::Record) {
            recorder.fail(error);
        }
    }

    fn submitted(&mut self, pass: Pass, _: bool) -> Result<()> {
        self.fail(if pass == Pass::Scene { Place::Scene } else { Place::Picture })
    }
}

#[test]
fn a_frame_that_fails_leaves_an_engine_that_goes_on() {
    common::BACKENDS.into_iter().for_each(fail_everywhere);
}

fn fail_everywhere(backend: Backend) {
    let Some(mut world) = common::world(backend) else { return };
    world.engine.resize([160, 90]).unwrap();
    world.add_particles().unwrap();
    world.add_painting().unwrap();
    world.add_filter().unwrap();
    for at in [Place::Begin, Place::Record, Place::Scene, Place::Picture] {
        for _ in 0..3 {
            assert_eq!(world.engine.frame(false).unwrap(), Outcome::Drawn);
        }
        world.engine.add(Box::new(Broken { at })).unwrap();
        for _ in 0..5 {
            let error = format!("{:#}", world.engine.frame(false).unwrap_err());
            assert!(error.contains(&format!("broken at {at:?}")), "{error}");
        }
        world.engine.remove("broken").unwrap().unwrap();
    }
    assert_eq!(world.engine.frame(false).unwrap(), Outcome::Drawn);
    let messages = world.messages.clone();
    drop(world);
    assert!(messages.snapshot().is_empty(), "{:#?}", messages.snapshot());
}
