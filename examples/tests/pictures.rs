#![allow(clippy::unwrap_used, reason = "a test helper that cannot go on ends its test")]
//! Every kind of PNG becomes particles and is shown again, and every broken PNG gives an error with
//! its name.

use std::fs;
use std::path::PathBuf;

use bridge_examples::particles::check::expected_picture;
use bridge_examples::particles::particle::Particle;
use bridge_examples::particles::scene::{Scene, SceneInfo};
use bridge_examples::picture::Picture;
use bridge_examples::psnr::{IDENTICAL, psnr};

/// A PNG that is encoded here, uncompressed, so that each of its fields can be right or wrong.
struct Png {
    width: u32,
    height: u32,
    depth: u8,
    kind: u8,
    interlaced: bool,
    chunks: Vec<(&'static [u8; 4], Vec<u8>)>,
    /// The filter byte and packed samples of every row; if interlaced, of every pass.
    rows: Vec<u8>,
}

const GRAY: u8 = 0;
const RGB: u8 = 2;
const PALETTE: u8 = 3;
const GRAY_ALPHA: u8 = 4;
const RGBA: u8 = 6;

impl Png {
    fn new([width, height]: [u32; 2], kind: u8, depth: u8, rows: &[&[u8]]) -> Self {
        let rows = rows.iter().flat_map(|row| [&[0_u8], *row].concat()).collect();
        Self { width, height, depth, kind, interlaced: false, chunks: vec![], rows }
    }

    fn chunk(mut self, name: &'static [u8; 4], data: &[u8]) -> Self {
        self.chunks.push((name, data.to_vec()));
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut header = [self.width.to_be_bytes(), self.height.to_be_bytes()].concat();
        header.extend([self.depth, self.kind, 0, 0, u8::from(self.interlaced)]);
        let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
        put(&mut file, b"IHDR", &header);
        for (name, data) in &self.chunks {
            put(&mut file, name, data);
        }
        let length = self.rows.len() as u16;
        let mut stream = vec![0x78, 0x01, 0x01];
        stream.extend(length.to_le_bytes());
        stream.extend((!length).to_le_bytes());
        stream.extend(&self.rows);
        let (a, b) = self.rows.iter().fold((1_u32, 0_u32), |(a, b), &byte| {
            let a = (a + u32::from(byte)) % 65521;
            (a, (a + b) % 65521)
        });
        stream.extend((b << 16 | a).to_be_bytes());
        put(&mut file, b"IDAT", &stream);
        put(&mut file, b"IEND", &[]);
        file
    }
}

fn put(file: &mut Vec<u8>, name: &[u8; 4], data: &[u8]) {
    file.extend((data.len() as u32).to_be_bytes());
    let body = [name.as_slice(), data].concat();
    let crc = body
        .iter()
        .fold(!0_u32, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1))));
    file.extend(body);
    file.extend((!crc).to_be_bytes());
}

/// Reads `bytes` from a temporary file.
fn open(bytes: &[u8]) -> Result<Picture, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("some picture.png");
    fs::write(&path, bytes).unwrap();
    Picture::open(&path).map_err(|error| format!("{error:#}"))
}

#[track_caller]
fn assert_pixels(png: &Png, expected: &[[u8; 4]]) {
    let picture = open(&png.bytes()).unwrap();
    assert_eq!((picture.width, picture.height), (png.width, png.height));
    assert_eq!(picture.pixels, expected.concat());
}

#[test]
fn gray_of_every_depth() {
    assert_pixels(&Png::new([1, 1], GRAY, 8, &[&[77]]), &[[77, 77, 77, 255]]);
    assert_pixels(&Png::new([2, 1], GRAY, 1, &[&[0b0100_0000]]), &[[0, 0, 0, 255], [255; 4]]);
    assert_pixels(&Png::new([2, 1], GRAY, 2, &[&[0b0110_0000]]), &[[85, 85, 85, 255], [170, 170, 170, 255]]);
    assert_pixels(&Png::new([2, 1], GRAY, 4, &[&[0x0f]]), &[[0, 0, 0, 255], [255; 4]]);
    assert_pixels(&Png::new([1, 1], GRAY, 16, &[&[0x80, 0x80]]), &[[128, 128, 128, 255]]);
}

#[test]
fn color_of_8_and_16_bits_with_and_without_alpha() {
    assert_pixels(&Png::new([1, 2], RGB, 8, &[&[1, 2, 3], &[4, 5, 6]]), &[[1, 2, 3, 255], [4, 5, 6, 255]]);
    assert_pixels(&Png::new([1, 1], RGB, 16, &[&[0xff, 0xff, 0, 0, 0x10, 0x10]]), &[[255, 0, 16, 255]]);
    assert_pixels(&Png::new([1, 1], RGBA, 8, &[&[1, 2, 3, 4]]), &[[1, 2, 3, 4]]);
    assert_pixels(&Png::new([1, 1], RGBA, 16, &[&[1, 1, 2, 2, 3, 3, 4, 4]]), &[[1, 2, 3, 4]]);
    assert_pixels(&Png::new([1, 1], GRAY_ALPHA, 8, &[&[9, 100]]), &[[9, 9, 9, 100]]);
    assert_pixels(&Png::new([1, 1], GRAY_ALPHA, 16, &[&[9, 9, 100, 100]]), &[[9, 9, 9, 100]]);
}

#[test]
fn palettes_and_transparent_colors() {
    let palette = [255, 0, 0, 0, 255, 0, 0, 0, 255];
    let png = Png::new([4, 1], PALETTE, 2, &[&[0b0001_1000]]).chunk(b"PLTE", &palette).chunk(b"tRNS", &[10, 20]);
    assert_pixels(&png, &[[255, 0, 0, 10], [0, 255, 0, 20], [0, 0, 255, 255], [255, 0, 0, 10]]);
    let png = Png::new([2, 1], RGB, 8, &[&[1, 2, 3, 4, 5, 6]]).chunk(b"tRNS", &[0, 1, 0, 2, 0, 3]);
    assert_pixels(&png, &[[1, 2, 3, 0], [4, 5, 6, 255]]);
    let png = Png::new([2, 1], GRAY, 8, &[&[7, 8]]).chunk(b"tRNS", &[0, 7]);
    assert_pixels(&png, &[[7, 7, 7, 0], [8, 8, 8, 255]]);
}

#[test]
fn interlaced() {
    // Of 3 x 3 pixels, pass 1 holds (0,0), pass 5 (0,2) and (2,2), pass 4 (2,0), pass 6 (1,0) and
    // (1,2), pass 7 row 1.
    let rows: [&[u8]; 6] = [&[0], &[2], &[20, 22], &[1], &[21], &[10, 11, 12]];
    let png = Png { interlaced: true, ..Png::new([3, 3], GRAY, 8, &rows) };
    assert_pixels(&png, &[0, 1, 2, 10, 11, 12, 20, 21, 22].map(|gray| [gray, gray, gray, 255]));
}

#[test]
fn an_animation_gives_its_still_picture() {
    let mut control = [0, 1, 1, 0, 0].map(u32::to_be_bytes).concat();
    control.extend([0, 1, 0, 10, 0, 0]);
    let png = Png::new([1, 1], RGB, 8, &[&[1, 2, 3]])
        .chunk(b"acTL", &[1, 0].map(u32::to_be_bytes).concat())
        .chunk(b"fcTL", &control);
    assert_pixels(&png, &[[1, 2, 3, 255]]);
}

#[test]
fn files_that_are_not_pictures_are_named() {
    let good = Png::new([2, 2], RGBA, 8, &[&[1; 8], &[2; 8]]).bytes();
    let mut broken = good.clone();
    let data = broken.windows(4).position(|name| name == b"IDAT").unwrap();
    broken[data + 20] ^= 0xff;
    let mut huge = Png::new([60_000, 60_000], RGBA, 8, &[]).bytes();
    let too_many = Png::new([30_000, 30_000], RGB, 8, &[]).bytes();
    let none = Png::new([0, 5], RGB, 8, &[]).bytes();
    huge.truncate(60);
    for (what, bytes) in [
        ("empty", &b""[..]),
        ("text", b"hello, I am a text file and not a picture at all"),
        ("JPEG", b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"),
        ("only a signature", &good[..8]),
        ("cut short", &good[..good.len() - 30]),
        ("a wrong byte", &broken),
        ("too long sides", &huge),
        ("too many pixels", &too_many),
        ("no pixels", &none),
    ] {
        let error = open(bytes).map(|picture| (picture.width, picture.height)).expect_err(what);
        assert!(error.contains("some picture.png"), "{what}: {error}");
    }
}

#[test]
fn a_missing_file_and_a_folder_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = |path: PathBuf| format!("{:#}", Picture::open(&path).unwrap_err());
    assert!(error(folder.path().join("nothing.png")).contains("nothing.png"));
    assert!(error(folder.path().to_owned()).contains("a folder"));
}

#[test]
fn every_picture_is_seen_in_the_first_and_the_last_frame() {
    const SIZE: [u32; 2] = [96, 64];
    let noise = |width: usize, height: usize, samples: usize| {
        let row = |y| (0..width * samples).map(|x| ((x * 73 + y * 151) ^ (x * y)) as u8).collect::<Vec<u8>>();
        (0..height).map(row).collect::<Vec<_>>()
    };
    for ([width, height], particles, alpha) in
        [([1, 1], 1, true), ([3, 2], 6, true), ([96, 64], 6144, false), ([96, 64], 500, true), ([200, 31], 6000, true)]
    {
        let (kind, samples) = if alpha { (RGBA, 4) } else { (RGB, 3) };
        let rows = noise(width, height, samples);
        let rows: Vec<&[u8]> = rows.iter().map(Vec::as_slice).collect();
        let png = Png::new([width as u32, height as u32], kind, 8, &rows).bytes();
        let picture = open(&png).unwrap();
        let info = SceneInfo { picture: Some(picture), seed: 9, frames: 8, size: SIZE, particles, point_limit: 64.0 };
        let scene = Scene::new(info);
        assert!(scene.particles() <= particles);
        let mut bodies = scene.bodies();
        let mut shown = vec![Particle::default(); bodies.len()];
        let mut frame = |number| {
            scene.step(number).advance_all(&mut bodies, &mut shown);
            expected_picture(&scene, &scene.view(number, SIZE, 64.0), SIZE, &shown)
        };
        let frames: Vec<_> = (0..8).map(&mut frame).collect();
        let reference = scene.reference().unwrap();
        let context = format!("{width} x {height} with {particles}");
        assert_eq!(psnr(&frames[0], &reference), IDENTICAL, "first frame of {context}");
        assert_eq!(psnr(&frames[7], &reference), IDENTICAL, "last frame of {context}");
        if particles > 6 {
            assert!(psnr(&frames[4], &reference) < 30.0, "the picture of {context} does not move");
        }
    }
}
