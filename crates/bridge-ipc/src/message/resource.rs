//! Resources in a slot.

use uuid::Uuid;
use zerocopy::IntoBytes;

use crate::message::channel::Channel;
use crate::message::{DecodeError, code, range, reserved};
use crate::wire;

/// Kind of object that a descriptor names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Handle {
    /// GPU memory or a timeline, exported as `OPAQUE_FD`. Never mapped by the CPU.
    OpaqueFd,
    /// A sealed memory file, which the CPU maps.
    Memfd,
}

impl Handle {
    pub(crate) fn number(self) -> u32 {
        match self {
            Self::OpaqueFd => 1,
            Self::Memfd => 2,
        }
    }

    pub(crate) fn from_number(number: u32) -> Result<Self, DecodeError> {
        match number {
            1 => Ok(Self::OpaqueFd),
            2 => Ok(Self::Memfd),
            other => Err(code("handle", other)),
        }
    }
}

/// Number of dimensions of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ImageShape {
    /// A row, or an array of rows.
    D1,
    /// A rectangle, or an array of them.
    D2,
    /// A block of voxels.
    D3,
    /// Six square faces, or an array of such cubes.
    Cube,
}

/// Description of a buffer: an array of elements of one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BufferDescriptor {
    /// Size in bytes; a multiple of `element_size`.
    pub size: u64,
    /// Size of an element in bytes; the worker compares it with the size of its own type.
    pub element_size: u32,
}

/// Description of an image, as the exporting API created it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageDescriptor {
    /// Dimensions of the image.
    pub shape: ImageShape,
    /// Extent of the first level, in texels; unused dimensions are 1.
    pub extent: [u32; 3],
    /// Number of mip levels.
    pub levels: u32,
    /// Number of layers; 6 per cube.
    pub layers: u32,
    /// The type of a channel.
    pub channel: Channel,
    /// Number of channels: 1, 2 or 4.
    pub channels: u32,
    /// The number of the `VkFormat` that the renderer uses for the image; one of
    /// [`FORMATS`](crate::FORMATS).
    pub format: u32,
    /// `true` if the image can be a color attachment.
    pub color_attachment: bool,
    /// `true` if kernels see the image as layered even if it has one layer.
    pub layered: bool,
}

/// Location of a mip level in a memory file. Its layers (or slices) follow each other, and its rows
/// have no padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LevelLayout {
    /// Offset in bytes from the start of the image; a multiple of 16.
    pub offset: u64,
    /// Width, height and depth in texels.
    pub extent: [u32; 3],
    /// Size of a row in bytes.
    pub row: u64,
    /// Size of the level with all its layers, in bytes.
    pub size: u64,
}

impl ImageDescriptor {
    /// Returns the size of a texel in bytes.
    pub fn texel_size(&self) -> u32 {
        self.channel.size() * self.channels
    }

    /// Returns the locations of the levels in a memory file, and the total size in bytes. Returns
    /// `None` if a value does not fit into 64 bits.
    pub fn layout(&self) -> Option<(Vec<LevelLayout>, u64)> {
        let mut end = 0u64;
        let mut levels = Vec::new();
        for level in 0..self.levels {
            let extent = self.extent.map(|size| size.checked_shr(level).unwrap_or(0).max(1));
            let offset = end.checked_next_multiple_of(16)?;
            let row = u64::from(extent[0]).checked_mul(u64::from(self.texel_size()))?;
            let size = row
                .checked_mul(u64::from(extent[1]))?
                .checked_mul(u64::from(extent[2]))?
                .checked_mul(u64::from(self.layers))?;
            end = offset.checked_add(size)?;
            levels.push(LevelLayout { offset, extent, row, size });
        }
        Some((levels, end))
    }

    fn validate(&self) -> Result<(), DecodeError> {
        let [width, height, depth] = self.extent;
        let bad = |reason| Err(DecodeError::Image { reason });
        if self.extent.contains(&0) {
            return bad("an extent is zero");
        }
        match self.shape {
            ImageShape::D1 if height != 1 || depth != 1 => return bad("a row has a height or a depth"),
            ImageShape::D2 | ImageShape::Cube if depth != 1 => return bad("a rectangle has a depth"),
            ImageShape::D3 if self.layers != 1 || self.layered => return bad("a block has layers"),
            ImageShape::Cube if width != height => return bad("a cube's faces are not square"),
            ImageShape::Cube if !self.layers.is_multiple_of(6) => return bad("a cube does not have 6 layers"),
            _ => {}
        }
        let longest = self.extent.into_iter().fold(0, u32::max);
        if self.levels > u32::BITS - longest.leading_zeros() {
            return bad("it has more mip levels than its extent allows");
        }
        if !wire::FORMATS.contains(&(self.format, self.channel.number(), self.channels)) {
            return bad("its format is unknown, or not of this channel type and number");
        }
        Ok(())
    }
}

/// A buffer or an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResourceKind {
    /// A typed array.
    Buffer(BufferDescriptor),
    /// An image.
    Image(ImageDescriptor),
}

/// Description of a resource of a slot. The message carries one descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resource {
    /// Index of the exchange.
    pub exchange: u32,
    /// Index of the slot.
    pub slot: u32,
    /// Index of the resource in the slot.
    pub index: u32,
    /// The description of the buffer or image.
    pub kind: ResourceKind,
    /// Kind of object that the message's descriptor names.
    pub handle: Handle,
    /// `true` if the allocation is a dedicated one.
    pub dedicated: bool,
    /// The GPU that exported the resource; nil for a memory file.
    pub device_uuid: Uuid,
    /// Size of the allocation, or of the memory file, in bytes.
    pub allocation_size: u64,
    /// Offset of the resource in the allocation, in bytes.
    pub offset: u64,
}

impl Resource {
    /// Returns the minimum size in bytes: of a buffer, of the texels of an image, or of an image's
    /// rows in a memory file. Returns `None` if it does not fit into 64 bits.
    pub fn min_size(&self) -> Option<u64> {
        match &self.kind {
            ResourceKind::Buffer(buffer) => Some(buffer.size),
            ResourceKind::Image(image) => image.layout().map(|(_, size)| size),
        }
    }

    pub(crate) fn to_wire(self) -> wire::Resource {
        let image = match self.kind {
            ResourceKind::Image(image) => Some(image),
            ResourceKind::Buffer(_) => None,
        };
        let of_image = |number: fn(ImageDescriptor) -> u32| image.map_or(0, number).into();
        let kind: u32 = match image.map(|image| image.shape) {
            None => 1,
            Some(ImageShape::D1) => 2,
            Some(ImageShape::D2) => 3,
            Some(ImageShape::D3) => 4,
            Some(ImageShape::Cube) => 5,
        };
        let bit = |set: bool, bit: u32| if set { bit } else { 0 };
        let flags = bit(self.dedicated, 1)
            | bit(image.is_some_and(|image| image.color_attachment), 2)
            | bit(image.is_some_and(|image| image.layered), 4);
        let element_size = match self.kind {
            ResourceKind::Buffer(buffer) => buffer.element_size,
            ResourceKind::Image(image) => image.texel_size(),
        };
        wire::Resource {
            header: wire::Resource::HEADER,
            exchange: self.exchange.into(),
            slot: self.slot.into(),
            index: self.index.into(),
            kind: kind.into(),
            handle: self.handle.number().into(),
            flags: flags.into(),
            device_uuid: self.device_uuid.into_bytes(),
            allocation_size: self.allocation_size.into(),
            offset: self.offset.into(),
            size: self.min_size().unwrap_or(0).into(),
            element_size: element_size.into(),
            channel: of_image(|image| image.channel.number()),
            channels: of_image(|image| image.channels),
            format: of_image(|image| image.format),
            width: of_image(|image| image.extent[0]),
            height: of_image(|image| image.extent[1]),
            depth: of_image(|image| image.extent[2]),
            levels: of_image(|image| image.levels),
            layers: of_image(|image| image.layers),
            reserved: 0.into(),
        }
    }

    pub(crate) fn from_wire(wire: &wire::Resource) -> Result<Self, DecodeError> {
        reserved("Resource", wire.reserved)?;
        let flags = wire.flags.get();
        let shape = match wire.kind.get() {
            1 => None,
            2 => Some(ImageShape::D1),
            3 => Some(ImageShape::D2),
            4 => Some(ImageShape::D3),
            5 => Some(ImageShape::Cube),
            other => return Err(code("kind", other)),
        };
        if flags > 7 || (shape.is_none() && flags > 1) {
            return Err(code("flags", flags));
        }
        let kind = match shape {
            None => ResourceKind::Buffer(BufferDescriptor {
                size: wire.size.get(),
                element_size: range("element_size", wire.element_size, 1, u32::MAX)?,
            }),
            Some(shape) => ResourceKind::Image(image(wire, shape, flags)?),
        };
        let resource = Self {
            exchange: wire.exchange.get(),
            slot: wire.slot.get(),
            index: wire.index.get(),
            kind,
            handle: Handle::from_number(wire.handle.get())?,
            dedicated: flags & 1 != 0,
            device_uuid: Uuid::from_bytes(wire.device_uuid),
            allocation_size: wire.allocation_size.get(),
            offset: wire.offset.get(),
        };
        resource.validate()?;
        if resource.to_wire().as_bytes() != wire.as_bytes() {
            return Err(DecodeError::Size { reason: "its size or an unused field does not match its kind" });
        }
        Ok(resource)
    }

    /// Checks that the fields are consistent.
    pub(crate) fn validate(&self) -> Result<(), DecodeError> {
        let bad = |reason| Err(DecodeError::Size { reason });
        match &self.kind {
            ResourceKind::Buffer(buffer) => {
                if buffer.element_size == 0
                    || buffer.size == 0
                    || !buffer.size.is_multiple_of(buffer.element_size.into())
                {
                    return bad("a buffer's size is not a multiple of its element's");
                }
            }
            ResourceKind::Image(image) => image.validate()?,
        }
        let Some(size) = self.min_size() else { return bad("an image's texels do not fit into 64 bits") };
        let end = self.offset.checked_add(size);
        if end.is_none_or(|end| end > self.allocation_size) {
            return bad("it does not lie inside its allocation");
        }
        if self.handle == Handle::Memfd && (self.dedicated || !self.offset.is_multiple_of(16)) {
            return bad("in a memory file it must not be dedicated and must begin at a multiple of 16 bytes");
        }
        if self.handle == Handle::Memfd && !self.device_uuid.is_nil() {
            return bad("a memory file must not name a GPU");
        }
        Ok(())
    }
}

fn image(wire: &wire::Resource, shape: ImageShape, flags: u32) -> Result<ImageDescriptor, DecodeError> {
    Ok(ImageDescriptor {
        shape,
        extent: [wire.width.get(), wire.height.get(), wire.depth.get()],
        levels: range("levels", wire.levels, 1, 32)?,
        layers: range("layers", wire.layers, 1, 1 << 16)?,
        channel: Channel::from_number(wire.channel.get())?,
        channels: range("channels", wire.channels, 1, 4)?,
        format: wire.format.get(),
        color_attachment: flags & 2 != 0,
        layered: flags & 4 != 0,
    })
}
