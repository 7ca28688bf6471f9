//! Images in imported memory.

use cuda_import::{ImageKind, ImageMappingInfo, MappedImage, TextureInfo};
use driver_double::ImageShape;

use crate::memories::SIZE;
use crate::op::ImageOp;
use crate::outcome::Outcome;
use crate::world::World;

/// The same type as array elements, so that images and arrays can be copied to each other.
type Texel = u32;

const LEVELS: u32 = 4;
const LAYERS: u32 = 3;

/// The shape of all images that the exporting side creates.
pub(crate) const SHAPE: ImageShape = ImageShape {
    offset: 64,
    dimensions: 2,
    extent: [8, 4, 1],
    layers: LAYERS,
    cube: false,
    layered: false,
    levels: LEVELS,
    // CU_AD_FORMAT_UNSIGNED_INT32
    format: 0x03,
    channels: 1,
    color_attachment: true,
};

const INFO: ImageMappingInfo = ImageMappingInfo {
    offset: 64,
    kind: ImageKind::D2,
    extent: [8, 4, 1],
    layers: LAYERS,
    layered: false,
    levels: LEVELS,
    surface: true,
    color_attachment: true,
};

/// Returns the number of texels in one layer.
fn texels(level: usize) -> usize {
    (8usize >> level).max(1) * (4usize >> level).max(1)
}

/// Returns the contents of a new image.
pub(crate) fn zeros() -> Vec<Option<Vec<Texel>>> {
    (0..LEVELS as usize).map(|level| Some(vec![0; texels(level) * LAYERS as usize])).collect()
}

pub(crate) struct Image {
    /// `None` once it was dropped.
    pub(crate) image: Option<MappedImage<Texel>>,
    pub(crate) memory: usize,
    pub(crate) suspect: bool,
}

/// A range of layers in a level.
struct Part {
    memory: usize,
    level: usize,
    layers: std::ops::Range<u32>,
}

impl Part {
    fn texels(&self) -> std::ops::Range<usize> {
        let each = texels(self.level);
        self.layers.start as usize * each..self.layers.end as usize * each
    }
}

impl World<'_> {
    pub(crate) fn map_image(&mut self, memory: u8, home: u8) -> Option<Outcome> {
        let (which, imported) = self.memory(memory, true)?;
        let (home, stream) = self.home(home);
        let claimed = self.memories[which].is_claimed(&(0..SIZE)).then_some("Overlap");
        let refused = if home.is_none() { Some("ContextMismatch") } else { claimed };
        // SAFETY: the double exported this image, and does not use it.
        let made = unsafe { MappedImage::map(&imported, &INFO, &stream) };
        let result = made.map(|image| {
            self.memories[which].claims.push(0..SIZE);
            self.images.push(Image { image: Some(image), memory: which, suspect: false });
        });
        Some(Outcome::new("images", result).must(refused))
    }

    pub(crate) fn on_image(&mut self, image: u8, stream: u8, level: u8, layer: u8, with: ImageOp) -> Option<Outcome> {
        let alive: Vec<_> = (0..self.images.len()).filter(|&image| self.images[image].image.is_some()).collect();
        let which = *alive.get(usize::from(image).checked_rem(alive.len())?)?;
        let (level, first) = (usize::from(level) % LEVELS as usize, u32::from(layer) % LAYERS);
        let layers = first..LAYERS.min(first + 1 + u32::from(layer / 64));
        let part = Part { memory: self.images[which].memory, level, layers };
        let image = self.images[which].image.take()?;
        let (image, outcome) = self.with_image(image, stream, &part, with);
        self.images[which].image = Some(image);
        let outcome = outcome?;
        let arrays = outcome.arrays.clone();
        Some(outcome.using(arrays, [which]))
    }

    fn with_image(
        &mut self,
        mut image: MappedImage<Texel>,
        stream: u8,
        part: &Part,
        with: ImageOp,
    ) -> (MappedImage<Texel>, Option<Outcome>) {
        let (_, stream) = self.stream(stream);
        let (level, layers, len) = (part.level as u32, part.layers.clone(), part.texels().len());
        let outcome = match with {
            ImageOp::Write => {
                let texels = self.words(len);
                let result = image.view_mut().write_from_host(&stream, level, layers, &texels);
                // "On an error the layers hold anything."
                self.draw(part, result.is_ok().then_some(texels));
                Some(Outcome::new("images written", result))
            }
            ImageOp::Read => {
                let mut texels = vec![0; len];
                let result = image.view().read_to_host(&stream, level, layers, &mut texels);
                if let (Ok(()), false, Some(drawn)) = (&result, self.lost, self.drawn(part)) {
                    assert_eq!(texels, drawn, "level {level} does not hold what was drawn last");
                }
                Some(Outcome::new("images read", result))
            }
            ImageOp::Objects => {
                let view = image.view_mut();
                let texture = view.texture(&TextureInfo::default()).map(drop);
                Some(Outcome::new("textures and surfaces", texture.and_then(|()| view.surface(level).map(drop))))
            }
            ImageOp::ToArray { array } => self.take(array).map(|mut array| {
                let fits = array.1.len() >= len;
                let end = len.min(array.1.len());
                let mut view = array.1.view_mut();
                let mut sink = view.slice_mut(..end).unwrap();
                let result = image.view().copy_to_buffer(&stream, level, layers, &mut sink);
                let which = array.0;
                if result.is_ok() {
                    match self.drawn(part) {
                        Some(drawn) => self.expect_words(which, 0, &drawn),
                        None => self.expect_unknown(which),
                    }
                }
                self.put_back(array);
                Outcome::new("images copied to arrays", result).must((!fits).then_some("Image")).using([which], [])
            }),
            ImageOp::FromArray { array } => self.take(array).map(|array| {
                let fits = array.1.len() >= len;
                let source = array.1.view().slice(..len.min(array.1.len())).unwrap();
                let result = image.view_mut().copy_from_buffer(&stream, level, layers, &source);
                let which = array.0;
                if result.is_ok() {
                    self.draw(part, self.expected_words(which).map(|words| words[..len].to_vec()));
                }
                self.put_back(array);
                Outcome::new("arrays copied to images", result).must((!fits).then_some("Image")).using([which], [])
            }),
        };
        (image, outcome)
    }

    /// Notes the texels that the part will hold once all enqueued work is done, or `None` if they
    /// are unknown.
    fn draw(&mut self, part: &Part, texels: Option<Vec<Texel>>) {
        let level = &mut self.memories[part.memory].levels[part.level];
        match (level.as_mut(), texels) {
            (Some(level), Some(texels)) => level[part.texels()].copy_from_slice(&texels),
            (None, Some(_)) => {}
            (_, None) => *level = None,
        }
    }

    fn drawn(&self, part: &Part) -> Option<Vec<Texel>> {
        let level = self.memories[part.memory].levels[part.level].as_ref()?;
        Some(level[part.texels()].to_vec())
    }
}
