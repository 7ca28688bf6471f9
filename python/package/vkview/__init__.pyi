"""See any CUDA tensor: images and points from device memory, in a window, a file or a notebook."""

import os
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Literal, Protocol, final

import numpy as np
import numpy.typing as npt

from ._errors import ClosedError as ClosedError
from ._errors import DeviceMismatchError as DeviceMismatchError
from ._errors import DriverError as DriverError
from ._errors import DTypeError as DTypeError
from ._errors import LayoutError as LayoutError
from ._errors import ShapeError as ShapeError
from ._errors import TensorError as TensorError
from ._errors import UnavailableError as UnavailableError
from ._errors import UsageError as UsageError
from ._errors import VkViewError as VkViewError

class _Dlpack(Protocol):
    def __dlpack__(self, *, stream: Any = ...) -> Any: ...
    def __dlpack_device__(self) -> tuple[int, int]: ...

class _CudaArray(Protocol):
    @property
    def __cuda_array_interface__(self) -> dict[str, Any]: ...

class _Array(Protocol):
    @property
    def __array_interface__(self) -> dict[str, Any]: ...

#: An array of any library: torch, cupy, numba, jax, numpy.
_ArrayLike = _Dlpack | _CudaArray | _Array
#: The address of a ``CUstream`` (0 is the legacy default stream), or a stream of torch, cupy, numba or cuda.core.
_StreamLike = int | Any
#: The text or the CUDA ordinal of a device, or a ``torch.device``.
_DeviceLike = str | int | Any

@final
class Tensor:
    """Memory of a view's device that any library can read and write without a copy. Created by ``View.tensor``."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> str: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def device(self) -> str: ...
    @property
    def __array_interface__(self) -> dict[str, Any]: ...
    @property
    def __cuda_array_interface__(self) -> dict[str, Any]: ...
    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any: ...
    def __dlpack_device__(self) -> tuple[int, int]: ...

def describe(
    tensor: _ArrayLike,
    *,
    consumer: int | None = None,
    stream: _StreamLike | None = None,
    device: int | None = None,
) -> dict[str, Any]:
    """Returns how the package interprets an array: address, device, element type, shape, and the stream that wrote it."""

@final
class View:
    """Shows tensors of any library, as images or points, on the GPU that they are on.

    ``device`` is the device of the tensors, as in torch: ``"cuda:1"``, its number ``1``, ``"cpu"`` or a ``torch.device``.
    A UUID, a part of the name or ``"vulkan:1"``, the device's index in Vulkan, selects a GPU too. By default it is the
    first GPU that CUDA can share with Vulkan, normally ``"cuda:0"``.
    """

    def __new__(
        cls,
        width: int,
        height: int,
        *,
        title: str = "vkview",
        headless: bool | None = None,
        vsync: bool = True,
        backend: Literal["cuda", "host"] | None = None,
        device: _DeviceLike | None = None,
    ) -> View: ...
    def image(
        self,
        tensor: _ArrayLike,
        *,
        stream: _StreamLike | None = None,
        exposure: float = 0.0,
        linear: bool = False,
        colormap: Literal["viridis"] | None = None,
    ) -> None:
        """Shows a tensor of shape (H, W) or (H, W, C), with C from 1 to 4, of ``uint8``, ``float16`` or ``float32``.

        Rows may have equal gaps between them, and channels may come first in memory.
        """
    def points(
        self,
        tensor: _ArrayLike,
        *,
        colors: _ArrayLike | None = None,
        values: _ArrayLike | None = None,
        stream: _StreamLike | None = None,
        size: int = 2,
        color: Sequence[float] = (1.0, 1.0, 1.0),
        yaw: float = 0.0,
        pitch: float = 0.0,
        distance: float = 3.0,
        target: Sequence[float] = (0.0, 0.0, 0.0),
        field_of_view: float = 0.8,
    ) -> None:
        """Shows a tensor of shape (N, 3), (N, 4) or (N, 6), of ``float32``.

        A tensor of shape (N, 3) may come with ``colors`` of shape (N, 3) or ``values`` of shape (N,) or (N, 1), of ``float32``.
        """
    def show(self, tensor: _ArrayLike, *, stream: _StreamLike | None = None) -> None:
        """Shows a tensor in the same way as the last call of ``image`` or ``points``, without ``colors`` and ``values``."""
    def tensor(self, shape: Sequence[int], dtype: Any = None) -> Tensor:
        """Returns a zeroed tensor of ``float32``, or of ``dtype``, in memory of the view's device that any library can write."""
    def canvas(
        self,
        shape: Sequence[int],
        dtype: Any = None,
        *,
        exposure: float = 0.0,
        linear: bool = False,
        colormap: Literal["viridis"] | None = None,
    ) -> Canvas:
        """Returns a canvas: frames of ``uint8``, or of ``dtype``, that are written in place and shown as by ``image``."""
    def draw(self) -> bool:
        """Starts drawing what was shown last, and handles the window's events. Returns whether there was anything new to draw."""
    def finish(self) -> None:
        """Waits until the frames that were drawn are finished."""
    def pixels(self) -> npt.NDArray[np.uint8]:
        """Waits for the picture that was drawn last and returns it, as (height, width, 4). It is black before the first ``draw``."""
    def read(self, tensor: _ArrayLike, *, stream: _StreamLike | None = None) -> None:
        """Copies the picture into a tensor (height, width, 4) of ``uint8``, on the GPU if the tensor is there."""
    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the picture to a PNG file. The file name must end in ``.png`` or have no extension."""
    def close(self) -> int:
        """Waits for the view's frames, and frees its memory. Returns the number of tensors and frames that are still in use."""
    def _repr_png_(self) -> bytes: ...
    @property
    def running(self) -> bool:
        """True while the view is open and the user has not closed its window."""
    @property
    def closed(self) -> bool:
        """True once ``close`` was called."""
    @property
    def headless(self) -> bool:
        """Whether there is no window."""
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def backend(self) -> str:
        """``"cuda"`` or ``"host"``."""
    @property
    def backend_reason(self) -> str:
        """Why this backend was chosen, as text."""
    @property
    def device(self) -> str:
        """The device of the view's tensors, as in torch: ``"cuda:N"``, or ``"cpu"`` with the backend ``"host"``."""
    @property
    def device_name(self) -> str:
        """The name of the Vulkan device that draws."""
    def __enter__(self) -> View: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
        /,
    ) -> bool: ...

@final
class Canvas:
    """Tensors that Vulkan reads in place, without a copy. Created by ``View.canvas``."""

    def frame(self, *, stream: _StreamLike | None = None) -> CanvasFrame:
        """Returns the next frame, for a ``with`` block that writes the complete frame on ``stream``."""
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> str: ...

@final
class CanvasFrame:
    """A frame of a canvas, for use in a ``with`` statement."""

    def __enter__(self) -> Tensor: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
        /,
    ) -> bool: ...

__version__: str

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
