//! [`Slots`], in which tensors of one shape and type are handed over.

use bridge::{BufferAccess, BufferSpec, Compute, ComputeTurn, Exchange, ExchangeInfo, ExportDevice};
use bridge_view::{Element, ImageFormat, MAX_POINTS, MAX_SIDE, PointFormat, PointKind};

use crate::error::{Fault, Kind};
use crate::fault::to_fault;
use crate::screen::limit;
use crate::tensor::dtype::DType;
use crate::tensor::{TensorView, conversion, tuple};

/// The height, width, channels and element type of a slot's contents, in C order. Points are a
/// single row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// Number of channels: 1 to 4, or 6 for points.
    pub(crate) channels: u32,
    pub(crate) dtype: DType,
    /// Whether the image consists of planes, or the values or colors of points follow all
    /// positions.
    pub(crate) apart: bool,
}

impl Format {
    pub(crate) fn of(tensor: &TensorView) -> Result<Self, Fault> {
        let advice = || format!("; {}", conversion::of_image(tensor.dtype));
        Ok(Self { apart: tensor.planar, ..Self::checked(&tensor.shape, tensor.dtype, advice)? })
    }

    pub(crate) fn new(shape: &[usize], dtype: DType) -> Result<Self, Fault> {
        Self::checked(shape, dtype, String::new)
    }

    /// Returns the format of an image. `advice`, for the error, says how to convert its elements.
    fn checked(shape: &[usize], dtype: DType, advice: impl FnOnce() -> String) -> Result<Self, Fault> {
        let wrong = |reason: String| Fault::new(Kind::Shape, format!("an image of shape {} {reason}", tuple(shape)));
        let (height, width, channels) = match *shape {
            [height, width] => (height, width, 1),
            [height, width, channels] => (height, width, channels),
            _ => {
                let one = if let [1, _, _, _] = *shape { "; t[0] is the one image of a batch" } else { "" };
                let reason = "cannot be shown: it must be (height, width) or (height, width, channels)";
                return Err(wrong(format!("{reason}{one}")));
            }
        };
        if !(1..=4).contains(&channels) {
            let advice = if (1..=4).contains(&height) {
                "; channels come last: .permute(1, 2, 0), with numpy .transpose(1, 2, 0)"
            } else {
                ""
            };
            return Err(wrong(format!("has {channels} channels; there can be 1 to 4{advice}")));
        }
        let side = |side: usize| u32::try_from(side).ok().filter(|&side| side <= MAX_SIDE);
        let (Some(width), Some(height)) = (side(width), side(height)) else {
            return Err(wrong(format!("is too large: a side has at most {MAX_SIDE} pixels")));
        };
        if !matches!(dtype, DType::U8 | DType::F16 | DType::F32) {
            let reason = format!("an image of {dtype} cannot be shown: it must be uint8, float16 or float32");
            return Err(Fault::new(Kind::DType, reason + &advice()));
        }
        // Lossless: at most 4.
        Ok(Self { width, height, channels: channels as u32, dtype, apart: false })
    }

    /// Returns the format of points: (count, 3), (count, 4) or (count, 6) floats.
    pub(crate) fn of_points(tensor: &TensorView) -> Result<Self, Fault> {
        let (count, channels) = match *tensor.shape {
            [count, channels @ (3 | 4 | 6)] => (count, channels),
            _ => {
                let reason = format!("points of shape {} cannot be shown: it must be (count, 3)", tuple(&tensor.shape));
                return Err(Fault::new(
                    Kind::Shape,
                    format!("{reason}, (count, 4) with values, or (count, 6) with colors"),
                ));
            }
        };
        // Lossless: at most 6.
        let channels = channels as u32;
        check_floats("points", tensor.dtype, |dtype| conversion::of_points(dtype, channels))?;
        let width = u32::try_from(count).ok().filter(|&count| count <= MAX_POINTS);
        let width =
            width.ok_or_else(|| Fault::new(Kind::Shape, format!("{count} points are more than {MAX_POINTS}")))?;
        Ok(Self { width, height: 1, channels, dtype: DType::F32, apart: false })
    }

    /// Returns the format of points whose values, (count,), or colors, (count, 3), are a separate
    /// tensor.
    pub(crate) fn of_points_with(positions: &TensorView, own: &TensorView, what: Attribute) -> Result<Self, Fault> {
        let format = Self::of_points(positions)?;
        let name = what.name();
        let wrong = |reason: String| Err(Fault::new(Kind::Shape, reason));
        if format.channels != 3 {
            let shape = tuple(&positions.shape);
            return wrong(format!(
                "points of shape {shape} with {name} of their own: they must be (count, 3); use t[:, :3]"
            ));
        }
        let count = format.width as usize;
        let (channels, fits) = match what {
            Attribute::Values => (4, matches!(*own.shape, [n] | [n, 1] if n == count)),
            Attribute::Colors => (6, *own.shape == [count, 3]),
        };
        if !fits {
            let wanted = if channels == 6 { tuple(&[count, 3]) } else { tuple(&[count]) };
            let shape = tuple(&own.shape);
            return wrong(format!("{name} of shape {shape} for {count} points: it must be {wanted}"));
        }
        check_floats(name, own.dtype, what.advice())?;
        Ok(Self { channels, apart: true, ..format })
    }

    /// Converts to a view's image format.
    pub(crate) fn image(self) -> Result<ImageFormat, Fault> {
        let element = match self.dtype {
            DType::F16 => Element::F16,
            DType::F32 => Element::F32,
            _ => Element::U8,
        };
        let format = ImageFormat::new([self.width, self.height], self.channels, element)?;
        Ok(if self.apart { format.planar() } else { format })
    }

    /// Converts to a view's point format.
    pub(crate) fn points(self) -> Result<PointFormat, Fault> {
        let kind = match self.channels {
            4 => PointKind::Value,
            6 => PointKind::Color,
            _ => PointKind::Position,
        };
        let format = PointFormat::new(self.width, kind)?;
        Ok(if self.apart { format.separate() } else { format })
    }

    /// Returns the size in bytes.
    pub(crate) fn size(self) -> u64 {
        u64::from(self.width) * u64::from(self.height) * u64::from(self.channels) * self.dtype.bytes() as u64
    }
}

/// The attribute of points that is a separate tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attribute {
    Values,
    Colors,
}

impl Attribute {
    fn name(self) -> &'static str {
        match self {
            Self::Values => "values",
            Self::Colors => "colors",
        }
    }

    /// Returns the function that advises how to convert elements to `float32`.
    fn advice(self) -> fn(DType) -> String {
        match self {
            Self::Values => conversion::of_values,
            Self::Colors => conversion::of_colors,
        }
    }
}

fn check_floats(what: &str, dtype: DType, advice: impl FnOnce(DType) -> String) -> Result<(), Fault> {
    if dtype == DType::F32 {
        return Ok(());
    }
    let reason = format!("{what} of {dtype} cannot be shown: they must be float32; {}", advice(dtype));
    Err(Fault::new(Kind::DType, reason))
}

/// The slots. Dropping them waits for their frames, with a limit.
pub(crate) struct Slots {
    exchange: Exchange<BufferSpec<u8>>,
    format: Format,
    access: BufferAccess,
}

impl Slots {
    pub(crate) fn new(compute: &Compute, name: &str, format: Format) -> Result<Self, Fault> {
        Self::with_access(compute, name, format, BufferAccess::COMPUTE_READ)
    }

    /// Like [`new`](Self::new), with Vulkan's accesses to the slots.
    pub(crate) fn with_access(
        compute: &Compute,
        name: &str,
        format: Format,
        access: BufferAccess,
    ) -> Result<Self, Fault> {
        let size = Self::check(compute.device(), format)?;
        let len = usize::try_from(size).map_err(|error| Fault::new(Kind::Shape, error))?;
        let info = ExchangeInfo { name, timeout: limit(), ..ExchangeInfo::default() };
        let spec = BufferSpec::new(len, access);
        let exchange = Exchange::new(compute, &info, spec).map_err(to_fault)?;
        Ok(Self { exchange, format, access })
    }

    /// Checks that the device can bind a slot. Returns its size in bytes.
    pub(crate) fn check(device: &ExportDevice, format: Format) -> Result<u64, Fault> {
        // The shader reads whole words.
        let size = format.size().next_multiple_of(4);
        check_range(device, size, || {
            format!("a tensor of {}x{}x{} {}", format.height, format.width, format.channels, format.dtype)
        })?;
        Ok(size)
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// Returns Vulkan's accesses to the slots.
    pub(crate) fn access(&self) -> BufferAccess {
        self.access
    }

    /// Begins a frame. A previously lost frame is only logged, since the view has already reported
    /// it.
    pub(crate) fn begin(&mut self) -> Result<ComputeTurn<BufferSpec<u8>>, Fault> {
        match self.exchange.begin() {
            Err(error @ bridge::Error::TurnLost { .. }) => {
                log::warn!("{error}");
                self.exchange.begin().map_err(to_fault)
            }
            begun => begun.map_err(to_fault),
        }
    }
}

/// Checks that a buffer of `size` bytes can be bound as a whole.
fn check_range(device: &ExportDevice, size: u64, what: impl FnOnce() -> String) -> Result<(), Fault> {
    let most = u64::from(device.physical().limits.max_storage_buffer_range);
    if size <= most {
        return Ok(());
    }
    let reason = format!("{} takes {size} bytes, but {} reads at most {most} at once", what(), device.name());
    Err(Fault::new(Kind::Shape, format!("{reason} (maxStorageBufferRange)")))
}
