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
from ._vkview import Tensor, describe

__all__ = [
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
    "VkViewError",
    "describe",
]
