//! Command line options of the post-processing demo.

use clap::Parser;

use crate::options::{EXIT_STATUS, RunOptions};

const EXAMPLES: &str = "\
Examples:
  postprocess                           a glowing knot, 120 frames to out/postprocess
  postprocess --window                  the same, live
  postprocess --size 3840x2160 --every 0
  postprocess --backend host --frames 24  without CUDA, even where there is some";

/// A scene that Vulkan draws, CUDA filters, and Vulkan shows.
///
/// Vulkan renders a knot of metal and light into a half-float image. CUDA kernels (or, without
/// CUDA, the processor) read it through a texture object, let what is bright bleed into its
/// surroundings, press it into what a screen can show, and write a second image, which Vulkan
/// shows. Left of a curtain that moves through the picture everything stays as it was drawn. At the
/// end the run checks its own scene and picture.
#[derive(Clone, Debug, Parser)]
#[command(name = "postprocess", version, after_help = format!("{EXAMPLES}\n\n{EXIT_STATUS}"), max_term_width = 100)]
pub struct Options {
    /// Texels of the scene on each side of a pixel; with 2 the filter smooths edges [default: 2 on
    /// CUDA, 1 on the host]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=2), help_heading = "Output")]
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
    /// Returns the number of texels of the scene on each side of a pixel.
    pub fn samples_on(&self, cuda: bool) -> u32 {
        self.samples.unwrap_or(if cuda { 2 } else { 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn invalid_options_are_refused_by_name() {
        for arguments in [["--samples", "0"], ["--samples", "3"], ["--size", "0x9"], ["--backend", "x"]] {
            let program = ["postprocess"].iter().chain(&arguments);
            let message = Options::try_parse_from(program).unwrap_err().to_string();
            assert!(message.contains(arguments[0]), "{message}");
        }
    }
}
