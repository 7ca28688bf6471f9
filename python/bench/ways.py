"""The compared ways from a tensor to a picture. The one through slangpy is in by_slangpy.py."""

import numpy as np
import vkview

try:
    import torch
except ImportError:
    # The CPU backend does not need torch.
    torch = None

#: The number of different frames, which are drawn in rotation, and of channels.
FRAMES, CHANNELS = 3, 4


class Case:
    """The frames of one size and element type, with what all ways need to draw them."""

    def __init__(self, size, dtype, backend):
        self.width, self.height = map(int, size.split("x"))
        self.size, self.dtype, self.backend = size, dtype, backend
        self.shape = (self.height, self.width, CHANNELS)
        random = np.random.default_rng(1)
        bytes_ = [random.integers(0, 256, self.shape, np.uint8) for _ in range(FRAMES)]
        #: Every 16th row of the expected pictures.
        self.expected = [frame[::16].copy() for frame in bytes_]
        arrays = [frame if dtype == "uint8" else (frame / np.float32(255)).astype(np.float16) for frame in bytes_]
        self.nbytes = arrays[0].nbytes
        if backend == "host":
            self.frames = arrays
        else:
            self.frames = [torch.from_numpy(array).cuda() for array in arrays]

    def view(self):
        return vkview.View(self.width, self.height, headless=True, backend=self.backend)

    def stream(self):
        return None if self.backend == "host" else torch.cuda.current_stream()

    def wait(self):
        if self.backend == "cuda":
            torch.cuda.synchronize()


def writable(target, backend):
    """Returns a tensor of the package as an array of the library that writes it: numpy or torch."""
    return np.asarray(target) if backend == "host" else torch.from_dlpack(target)


def fill(array, value):
    array.fill(value) if isinstance(array, np.ndarray) else array.fill_(value)


class ByImage:
    """`View.image`: one copy on the GPU."""

    def __init__(self, case, stack):
        self.case, self.view, self.copied = case, stack.enter_context(case.view()), case.nbytes

    def frame(self, index):
        self.view.image(self.given(self.case.frames[index % FRAMES]))
        self.view.draw()

    def given(self, frame):
        return frame

    def finish(self):
        self.view.finish()

    def picture(self):
        return self.view.pixels()


class ByHost(ByImage):
    """`tensor.cpu()` and an upload, as in programs without interop."""

    def __init__(self, case, stack):
        super().__init__(case, stack)
        self.copied = 2 * case.nbytes

    def given(self, frame):
        return frame.cpu()


class ByPinned(ByHost):
    """The same through page-locked memory that is allocated once."""

    def __init__(self, case, stack):
        super().__init__(case, stack)
        self.pinned = torch.empty(case.shape, dtype=case.frames[0].dtype, pin_memory=True)

    def given(self, frame):
        self.pinned.copy_(frame)
        return self.pinned.numpy()


class ByCanvas(ByImage):
    """A canvas. torch's copy takes the place of a kernel that writes the frame. The view itself copies nothing."""

    def __init__(self, case, stack):
        super().__init__(case, stack)
        self.canvas, self.copied = self.view.canvas(case.shape, case.dtype), 0

    def frame(self, index):
        with self.canvas.frame(stream=self.case.stream()) as target:
            self.write(target, index)
        self.view.draw()

    def write(self, target, index):
        writable(target, self.case.backend)[...] = self.case.frames[index % FRAMES]


class ByKernel(ByCanvas):
    """A canvas that a kernel fills."""

    def write(self, target, index):
        fill(writable(target, self.case.backend), index % 2)


class ByNobody(ByCanvas):
    """A canvas whose frames are handed over and drawn, but not written."""

    def write(self, target, index):
        pass


class Kernel:
    """The kernel alone."""

    def __init__(self, case, stack):
        first = case.frames[0]
        self.case, self.array = case, first.copy() if case.backend == "host" else first.clone()

    def frame(self, index):
        fill(self.array, index % 2)

    def finish(self):
        self.case.wait()
