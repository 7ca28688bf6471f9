//! Command line options of the texture demo.

use clap::Parser;

use crate::options::{EXIT_STATUS, RunOptions, Size};

/// The maximum number of steps per frame.
pub const MAX_STEPS: u32 = 10_000;
/// The minimum number of cells on a side.
pub const MIN_GRID: u32 = 16;
/// The maximum number of texels of light on a side of a pixel.
pub const MAX_SAMPLES: u32 = 4;

const EXAMPLES: &str = "\
Examples:
  texture                               a pattern grows round a ring, 120 frames to out/texture
  texture --window                      the same, live
  texture --grid 2048x896 --steps 96 --size 3840x2160 --every 0
  texture --backend host --frames 24    without CUDA, even where there is some";

/// A pattern that grows in an image which Vulkan samples a moment later.
///
/// CUDA kernels (or, without CUDA, the processor) let a feed and a catalyst react and diffuse, and
/// write heights, slopes and feed to a half-float image that they share with Vulkan, in the layout
/// that suits the GPU. A render pass wraps it round a ring, which it raises and colors. At the end
/// the run checks its own data and picture.
#[derive(Clone, Debug, Parser)]
#[command(name = "texture", version, after_help = format!("{EXAMPLES}\n\n{EXIT_STATUS}"), max_term_width = 100)]
pub struct Options {
    /// Cells of the pattern, along the ring and round its tube [default: 1024x448 on CUDA, 640x280
    /// on the host]
    #[arg(long, value_name = "WxH", value_parser = grid, help_heading = "Scene")]
    pub grid: Option<Size>,

    /// Steps of the pattern in each frame
    #[arg(long, value_name = "N", default_value_t = 48, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_STEPS)), help_heading = "Scene")]
    pub steps: u32,

    /// Texels of light on each side of a pixel: more make smoother edges [default: 2 on CUDA, 1 on
    /// the host]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_SAMPLES)), help_heading = "Output")]
    pub samples: Option<u32>,

    /// Frames, output and machine.
    #[command(flatten)]
    pub run: RunOptions,
}

impl AsRef<RunOptions> for Options {
    fn as_ref(&self) -> &RunOptions {
        &self.run
    }
}

impl Options {
    /// Returns the number of cells along the ring and around its tube.
    pub fn grid_on(&self, cuda: bool) -> [u32; 2] {
        let default = if cuda { [1024, 448] } else { [640, 280] };
        self.grid.map_or(default, |Size { width, height }| [width, height])
    }

    /// Returns the number of texels of light on each side of a pixel.
    pub fn samples_on(&self, cuda: bool) -> u32 {
        self.samples.unwrap_or(if cuda { 2 } else { 1 })
    }
}

/// Parses a grid and checks that it is large enough for a pattern.
fn grid(text: &str) -> Result<Size, String> {
    let size: Size = text.parse()?;
    if size.width.min(size.height) < MIN_GRID {
        return Err(format!("at least {MIN_GRID}x{MIN_GRID} cells are needed"));
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(arguments: &[&str]) -> Result<Options, String> {
        let program = ["texture"].iter().chain(arguments);
        Options::try_parse_from(program).map_err(|error| error.to_string())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn invalid_options_are_refused_by_name() {
        for arguments in [
            ["--grid", "0x64"],
            ["--grid", "1x1"],
            ["--grid", "640x8"],
            ["--grid", "x"],
            ["--steps", "0"],
            ["--samples", "5"],
            ["--slots", "0"],
        ] {
            let message = parse(&arguments).unwrap_err();
            assert!(message.contains(arguments[0]), "{message}");
        }
    }

    #[test]
    fn defaults_follow_the_backend() {
        let options = parse(&[]).unwrap();
        assert_eq!((options.samples_on(true), options.samples_on(false)), (2, 1));
        assert!(options.grid_on(true)[0] > options.grid_on(false)[0]);
        assert_eq!(parse(&["--grid", "32x16"]).unwrap().grid_on(true), [32, 16]);
    }
}
