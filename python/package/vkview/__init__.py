"""See any CUDA tensor: images and points from device memory, in a window, a file or a notebook."""

from ._errors import (
    ClosedError,
    DeviceMismatchError,
    DriverError,
    DTypeError,
    LayoutError,
    ShapeError,
    TensorError,
    UnavailableError,
    UsageError,
    VkViewError,
)
from ._vkview import Canvas, CanvasFrame, Tensor, View, __version__, describe

__all__ = [
    "Canvas",
    "CanvasFrame",
    "ClosedError",
    "DTypeError",
    "DeviceMismatchError",
    "DriverError",
    "LayoutError",
    "ShapeError",
    "Tensor",
    "TensorError",
    "UnavailableError",
    "UsageError",
    "View",
    "VkViewError",
    "__version__",
    "describe",
]
