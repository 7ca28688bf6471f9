//! Bevy's renderer stops, as its error handler requests, and continues.

use bridge::LiveObjects;

use super::*;

impl Scene {
    /// Extracts more often than a renderer does that only recovers.
    fn stop(&mut self) {
        for _ in 0..=UNRENDERED {
            self.extract();
        }
    }

    fn extract(&mut self) {
        let cuda = self.world.resource::<Cuda>().clone();
        self.world.resource_mut::<Presented>().extract(&cuda);
    }
}

/// Writers receive an error until Bevy renders again, including those of images that no frame has
/// seen.
#[test]
fn writers_are_refused_while_bevy_does_not_render() {
    let _alone = alone();
    for way in [Way::Upload, Way::Host] {
        for seen in [false, true] {
            let mut scene = Scene::new(way);
            let texture = scene.insert(SIDE, 0);
            if seen {
                scene.present();
            }
            scene.stop();
            let fault = scene.fault(1).expect("nothing is rendered");
            assert!(fault.contains("has stopped rendering"), "{fault}");
            scene.present();
            assert_eq!(scene.fault(2), None, "{way:?}");
            scene.until("the frame", |scene| scene.value(&texture) == 2);
        }
    }
}

/// The number of extractions without a frame that a recovery has does not count as a stop.
#[test]
fn a_recovery_is_no_stop() {
    let _alone = alone();
    let mut scene = Scene::new(Way::Host);
    scene.insert(SIDE, 0);
    for _ in 0..4 {
        for _ in 0..UNRENDERED {
            scene.extract();
            assert_eq!(scene.fault(1), None);
        }
        scene.present();
    }
}

/// Objects that are dropped while Bevy does not render are freed.
#[test]
fn what_is_dropped_is_freed_while_bevy_does_not_render() {
    let _alone = alone();
    let before = LiveObjects::now();
    let mut scene = Scene::new(Way::Host);
    scene.insert(SIDE, 0);
    scene.present();
    assert!(scene.write(1).unwrap());
    scene.stop();
    let other = Scene::image(scene.world.resource());
    drop(std::mem::replace(&mut scene.image, other));
    let start = Instant::now();
    while scene.world.resource::<Presented>().all.len() != 1 || LiveObjects::now().exchanges != before.exchanges + 1 {
        assert!(start.elapsed() < LIMIT, "it is kept for ever: {}", LiveObjects::now());
        scene.extract();
    }
}
