"""See any CUDA tensor: images and points from device memory, in a window, a file or a notebook."""

import os
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

@final
class Tensor:
    """Memory of a view's device that any library writes and reads without a copy. Made by ``View.tensor``."""

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
    """How the package understands an array: address, device, element type, shape, and the stream that wrote it."""

@final
class View:
    """Shows tensors of any library, as images or points, on the GPU that they are on."""

    def __new__(
        cls,
        width: int,
        height: int,
        *,
        title: str = "vkview",
        headless: bool | None = None,
        vsync: bool = True,
        backend: Literal["cuda", "host"] | None = None,
        device: str | int | None = None,
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
        """Shows (H, W) or (H, W, C), C of 1 to 4, ``uint8``, ``float16`` or ``float32``; gaps between rows, or channels first in memory."""
    def points(
        self,
        tensor: _ArrayLike,
        *,
        colors: _ArrayLike | None = None,
        values: _ArrayLike | None = None,
        stream: _StreamLike | None = None,
        size: int = 2,
        color: tuple[float, float, float] = (1.0, 1.0, 1.0),
        yaw: float = 0.0,
        pitch: float = 0.0,
        distance: float = 3.0,
        target: tuple[float, float, float] = (0.0, 0.0, 0.0),
        field_of_view: float = 0.8,
    ) -> None:
        """Shows (N, 3), (N, 4) or (N, 6) ``float32``; or (N, 3) with ``colors`` (N, 3) or ``values`` (N,) or (N, 1) of ``float32``."""
    def show(self, tensor: _ArrayLike, *, stream: _StreamLike | None = None) -> None: ...
    def tensor(self, shape: tuple[int, ...], dtype: Any = None) -> Tensor: ...
    def canvas(
        self,
        shape: tuple[int, ...],
        dtype: Any = None,
        *,
        exposure: float = 0.0,
        linear: bool = False,
        colormap: Literal["viridis"] | None = None,
    ) -> Canvas: ...
    def draw(self) -> bool: ...
    def finish(self) -> None: ...
    def pixels(self) -> npt.NDArray[np.uint8]: ...
    def read(self, tensor: _ArrayLike, *, stream: _StreamLike | None = None) -> None: ...
    def save(self, path: str | os.PathLike[str]) -> None: ...
    def close(self) -> int: ...
    def _repr_png_(self) -> bytes: ...
    @property
    def running(self) -> bool: ...
    @property
    def closed(self) -> bool: ...
    @property
    def headless(self) -> bool: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def backend(self) -> str: ...
    @property
    def device(self) -> str: ...
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
    """Tensors that Vulkan reads where they are: nothing is copied. Made by ``View.canvas``."""

    def frame(self, *, stream: _StreamLike | None = None) -> CanvasFrame: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> str: ...

@final
class CanvasFrame:
    """A frame of a canvas, to be entered with ``with``."""

    def __enter__(self) -> Tensor: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
        /,
    ) -> bool: ...

__version__: str
