//! Bevy's renderer recovery: the render world has a different device from one frame to the next.

use super::*;

impl Scene {
    /// Gives the render world a new device and an asset of that device, filled with texels of this
    /// value.
    pub(super) fn recover(&mut self, value: u8) -> wgpu::Texture {
        let former = raw_device(&self.device);
        (self.device, self.queue) = device();
        assert_ne!(raw_device(&self.device), former, "the former one lives");
        self.world.insert_resource(RenderDevice::from(self.device.clone()));
        self.world.insert_resource(RenderQueue(Arc::new(WgpuWrapper::new(self.queue.clone()))));
        self.insert(SIDE, value)
    }

    /// Adopts the current device of the render world, as the plugin does.
    pub(super) fn adopt(&mut self) {
        let cuda = Self::cuda(&self.device, Way::Host);
        let former = std::mem::replace(&mut *self.world.resource_mut::<Cuda>(), cuda);
        self.world.resource_mut::<Presented>().add_last(former.take_last());
    }

    fn assert_replaced(&mut self) {
        let written = self.write(6);
        let Err(Error::NotPresented { retried: false, source, .. }) = written else { panic!("{written:?}") };
        assert!(matches!(*source, Error::DeviceReplaced { .. }), "{source}");
        assert!(source.to_string().contains("create it again"), "{source}");
    }
}

/// Nothing of the previous device reaches the new one, neither the shown frame nor one being
/// copied.
#[test]
fn frames_of_a_former_device_are_refused() {
    let _alone = alone();
    for shown in [false, true] {
        let mut scene = Scene::new(Way::Host);
        let texture = scene.insert(SIDE, 0);
        if shown {
            assert!(scene.write(5).unwrap());
            scene.until("the frame", |scene| scene.value(&texture) == 5);
        }
        // This frame waits for the next of Bevy's frames.
        assert!(scene.write(6).unwrap());
        let texture = scene.recover(77);
        for _ in 0..3 {
            scene.present();
            assert_eq!(scene.value(&texture), 77, "the picture is Bevy's own");
        }
        scene.assert_replaced();
        assert_eq!(scene.presented(), u64::from(shown));
        scene.until("the end of what it used", |scene| scene.world.resource::<Presented>().all.is_empty());
    }
}

/// An image that the render world has not seen yet also returns the error.
#[test]
fn images_that_no_frame_has_seen_are_refused() {
    let _alone = alone();
    let mut scene = Scene::new(Way::Host);
    scene.recover(0);
    scene.adopt();
    scene.present();
    scene.assert_replaced();
}

/// The numbers of submissions restart with the device, because those of the previous device do not
/// apply to it.
#[test]
fn new_images_work_on_the_new_device() {
    let _alone = alone();
    let mut scene = Scene::new(Way::Host);
    let texture = scene.insert(SIDE, 0);
    assert!(scene.write(5).unwrap());
    scene.until("the frame", |scene| scene.value(&texture) == 5);
    let stale = scene.world.resource::<Cuda>().clone();
    scene.recover(0);
    scene.adopt();
    let refused =
        CudaImage::<[u8; 4]>::new(&stale, &mut Assets::default(), "stale", TextureFormat::Rgba8Unorm, [SIDE; 2]);
    assert!(matches!(refused, Err(Error::DeviceReplaced { .. })), "{:?}", refused.err());
    let mut former = std::mem::replace(&mut scene.image, Scene::image(scene.world.resource()));
    let handle = scene.image.handle().clone();
    scene.handle = handle;
    let texture = scene.insert(SIDE, 77);
    assert!(scene.write(8).unwrap());
    scene.until("the new image's frame", |scene| scene.value(&texture) == 8);
    std::mem::swap(&mut scene.image, &mut former);
    scene.assert_replaced();
}

/// Uploads only need the current device.
#[test]
fn uploads_go_on() {
    let _alone = alone();
    let mut scene = Scene::new(Way::Upload);
    let texture = scene.insert(SIDE, 0);
    assert!(scene.write(5).unwrap());
    scene.until("the frame", |scene| scene.value(&texture) == 5);
    let texture = scene.recover(77);
    scene.until("the last frame", |scene| scene.value(&texture) == 5);
    assert!(scene.write(6).unwrap());
    scene.until("a new frame", |scene| scene.value(&texture) == 6);
}
