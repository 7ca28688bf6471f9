"""The exceptions of the package. All derive from :class:`VkViewError`."""


class VkViewError(Exception):
    """Base class of all exceptions that vkview raises on its own."""


class TensorError(VkViewError, ValueError):
    """An argument is not a tensor, or not one that can be shown."""


class DTypeError(TensorError, TypeError):
    """The call does not accept the element type."""


class ShapeError(TensorError):
    """The call does not accept the shape, or the shape has no elements or is too large."""


class LayoutError(TensorError):
    """The memory layout is not supported, or the memory is read-only but has to be written."""


class DeviceMismatchError(TensorError):
    """The tensor is in the memory of another device than the view."""


class UnavailableError(VkViewError, RuntimeError):
    """The machine lacks something that was requested, such as a driver, a device or a display."""


class ClosedError(VkViewError, RuntimeError):
    """The view, the canvas or the frame has been closed."""


class UsageError(VkViewError, RuntimeError):
    """A call out of order, from the wrong thread, or in a forked child."""


class DriverError(VkViewError, RuntimeError):
    """A call of Vulkan or CUDA failed. The message names the call, its result code and the object."""


for _class in [*globals().values()]:
    if isinstance(_class, type):
        # The module from which users import them, because tracebacks show it.
        _class.__module__ = "vkview"
