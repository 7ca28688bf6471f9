"""Tensors of a view, canvases, and the picture as a tensor: memory that other libraries use."""

import gc
import os
import subprocess
import sys
import warnings
import weakref

import fakes
import numpy as np
import pytest
import vkview
from pictures import HEIGHT, WIDTH, noise, shown
from vkview import ClosedError, DTypeError, ShapeError, UsageError


def test_the_picture_is_read_into_a_tensor(view):
    out, mine = np.zeros((HEIGHT, WIDTH, 4), np.uint8), view.tensor((HEIGHT, WIDTH, 4), "uint8")
    with pytest.raises(UsageError, match="nothing has been drawn"):
        view.read(out)
    for seed in range(8):
        view.image(noise(4, seed=seed))
        view.draw()
        view.read(out)
        view.read(mine)
        assert (out == noise(4, seed=seed)).all() and (np.asarray(mine) == out).all()


@pytest.mark.parametrize("out, error", [
    (np.zeros((HEIGHT, WIDTH, 3), np.uint8), ShapeError),
    (np.zeros((HEIGHT, WIDTH, 4), np.int8), ShapeError),
    (np.broadcast_to(np.uint8(0), (HEIGHT, WIDTH, 4)), vkview.LayoutError),
    (np.frombuffer(bytes(HEIGHT * WIDTH * 4), np.uint8).reshape(HEIGHT, WIDTH, 4), vkview.LayoutError),
])
def test_the_picture_is_not_read_into_what_does_not_fit(view, out, error):
    shown(view, noise(4))
    with pytest.raises(error):
        view.read(out)
    assert not out.any()


@pytest.mark.parametrize("out", [
    lambda: np.zeros((HEIGHT, WIDTH, 4), np.uint8)[::-1],
    lambda: np.zeros((HEIGHT, 2 * WIDTH, 8), np.uint8)[:, :WIDTH, ::2],
    lambda: np.zeros((4, HEIGHT, WIDTH), np.uint8).transpose(1, 2, 0),
    lambda: fakes.Dlpack((HEIGHT, WIDTH, 4)),
])
def test_the_advice_about_a_tensor_to_read_into_is_not_to_read_into_its_copy(view, out):
    shown(view, noise(4))
    with pytest.raises(vkview.VkViewError) as caught:
        view.read(out())
    text = str(caught.value)
    assert "copy that into this one" in text, text
    assert not any(call in text for call in ["ascontiguousarray", ".contiguous()", ".cpu()", ".to("]), text


def test_a_tensor_is_zeroed_and_shared_without_a_copy(view):
    mine = view.tensor((HEIGHT, WIDTH, 4), "uint8")
    assert mine.shape == (HEIGHT, WIDTH, 4) and mine.dtype == "uint8" and mine.nbytes == HEIGHT * WIDTH * 4
    assert mine.device == "cpu" and "uint8" in repr(mine)
    for theirs in (np.asarray(mine), np.from_dlpack(mine)):
        assert theirs.shape == mine.shape and theirs.dtype == np.uint8
        assert theirs.ctypes.data == mine.__array_interface__["data"][0]
    assert not np.asarray(mine).any()
    np.asarray(mine)[:] = noise(4)
    view.show(mine)
    view.draw()
    assert (view.pixels() == noise(4)).all()
    with pytest.raises(AttributeError):
        mine.__cuda_array_interface__


@pytest.mark.parametrize("dtype, name", [("float32", "float32"), (np.float16, "float16"), (np.dtype("uint8"), "uint8"),
                                         (None, "float32")])
def test_types_have_many_names(view, dtype, name):
    assert view.tensor((3,), dtype).dtype == name


@pytest.mark.parametrize("version, name", [(None, "dltensor"), ((0, 8), "dltensor"), ((1, 0), "dltensor_versioned"),
                                           ((1, 3), "dltensor_versioned")])
def test_capsules_are_versioned_where_asked(view, version, name):
    assert f'"{name}"' in repr(view.tensor((3,)).__dlpack__(max_version=version))


def test_exports_to_other_devices_and_copies_are_refused(view):
    mine = view.tensor((3,))
    with pytest.raises(BufferError):
        mine.__dlpack__(max_version=(1, 0), copy=True)
    with pytest.raises(BufferError):
        mine.__dlpack__(max_version=(1, 0), dl_device=(2, 0))
    assert mine.__dlpack_device__() == (1, 0)


@pytest.mark.parametrize("shape, dtype, error", [
    ((0,), "float32", ShapeError), ((-1,), "float32", ShapeError), ((2**62, 2**62), "float32", ShapeError),
    ((3,), "complex64", DTypeError), ((3,), "no type", DTypeError), ((1,) * 64, "float32", ShapeError),
])
def test_tensors_that_cannot_be(view, shape, dtype, error):
    with pytest.raises(error):
        view.tensor(shape, dtype)


def test_a_tensor_outlives_its_view_and_is_reported():
    view = vkview.View(WIDTH, HEIGHT, headless=True, backend="host")
    theirs, other = np.asarray(view.tensor((1000,))), np.from_dlpack(view.tensor((10,)))
    gone = view.tensor((5,))
    del gone
    with pytest.warns(ResourceWarning, match="2 of its tensors"):
        assert view.close() == 2
    theirs += 1
    other += 1
    assert theirs.sum() == 1000 and other.sum() == 10


def test_a_canvas_is_written_in_place(view):
    canvas = view.canvas((HEIGHT, WIDTH, 4))
    addresses = set()
    for seed in range(12):
        with canvas.frame() as t:
            addresses.add(t.__array_interface__["data"][0])
            np.asarray(t)[:] = noise(4, seed=seed)
        assert view.draw() and (view.pixels() == noise(4, seed=seed)).all()
    assert len(addresses) == 3


def test_an_exception_gives_the_frame_back(view):
    canvas = view.canvas((HEIGHT, WIDTH, 4))
    for _ in range(10):
        with pytest.raises(ZeroDivisionError), canvas.frame():
            1 / 0
    assert view.draw() is False
    with canvas.frame() as t:
        np.asarray(t)[:] = noise(4)
    assert view.draw() and (view.pixels() == noise(4)).all()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_the_exception_of_the_block_is_the_one_to_see(view, monkeypatch):
    """If ending the frame fails as well, as in a forked child, that second error goes to ``sys.unraisablehook``."""
    reported = []
    monkeypatch.setattr(sys, "unraisablehook", lambda one: reported.append(one.exc_type))
    canvas, child, seen = view.canvas((HEIGHT, WIDTH, 4)), None, None
    try:
        with warnings.catch_warnings(), canvas.frame():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
            1 / 0
    except Exception as error:
        seen = type(error)
    if child == 0:
        os._exit(7 if (seen, reported) == (ZeroDivisionError, [UsageError]) else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7
    assert (seen, reported) == (ZeroDivisionError, [])


def test_a_frame_that_ended_makes_no_tensors(view):
    canvas = view.canvas((HEIGHT, WIDTH, 4))
    with canvas.frame() as t:
        kept = np.asarray(t)
        kept[:] = 9
    for export in (lambda: np.from_dlpack(t), lambda: np.asarray(t.__array_interface__)):
        with pytest.raises(ClosedError, match="ended"):
            export()
    view.draw()
    # As documented, an array that is kept is still the slot's memory, which stays valid.
    assert kept.shape == (HEIGHT, WIDTH, 4)


def test_a_second_frame_at_once_is_refused(view):
    canvas = view.canvas((HEIGHT, WIDTH, 4))
    with canvas.frame() as t:
        with pytest.raises(UsageError, match="leave its `with` block before"), canvas.frame():
            pass
        with pytest.raises(UsageError, match="with"):
            view.image(t)
        np.asarray(t)[:] = 5
    assert view.draw() and (view.pixels() == 5).all()


def test_undrawn_frames_do_not_block(view):
    canvas = view.canvas((HEIGHT, WIDTH, 4))
    for value in range(20):
        with canvas.frame() as t:
            np.asarray(t)[:] = value
    assert view.draw() and (view.pixels() == 19).all()


def test_a_tensor_of_a_canvas_outlives_the_view():
    view = vkview.View(WIDTH, HEIGHT, headless=True, backend="host")
    canvas = view.canvas((HEIGHT, WIDTH, 4))
    with canvas.frame() as t:
        kept = np.from_dlpack(t)
    view.draw()
    view.close()
    del canvas, t, view
    gc.collect()
    kept[:] = 3
    assert kept.sum() == 3 * kept.size


def test_a_frame_of_a_closed_view(view):
    canvas = view.canvas((HEIGHT, WIDTH, 4))
    with pytest.raises(ClosedError), canvas.frame():
        view.close()


@pytest.mark.parametrize("make, live", [("canvas", 0), ("tensor", 1)])
@pytest.mark.usefixtures("software_driver")
def test_what_is_made_while_the_view_is_closed_belongs_to_it(make, live):
    """A log handler closes the view during the call that creates the object. The log record is left by another view, whose frame
    exceeds the time limit."""
    code = f"""
import logging, warnings, numpy, vkview
warnings.simplefilter("ignore", ResourceWarning)
closed = []
class Closes(logging.Handler):
    def emit(self, record): closed.append(view.close())
view, slow = (vkview.View(side, side, headless=True, backend="host") for side in (8, 512))
slow.points(numpy.random.default_rng(1).random((200_000, 3), "float32") - 0.5, size=64)
slow.draw()
del slow
logging.getLogger("vkview").addHandler(Closes())
made = view.{make}((8, 8, 4))
assert view.closed
print(closed[0])
if {make!r} == "canvas":
    try: made.frame().__enter__()
    except vkview.ClosedError: pass
    else: print("a frame of a closed view")
"""
    ended = subprocess.run([sys.executable, "-c", code], env=os.environ | {"VKVIEW_TIMEOUT": "1"}, capture_output=True, text=True,
                           timeout=60)
    assert (ended.returncode, ended.stdout) == (0, f"{live}\n"), ended


class Stream:
    """A stream like cupy's, which is destroyed with its object."""
    cuda_stream = 0x1230


def test_a_frame_keeps_its_stream(view):
    canvas = view.canvas((HEIGHT, WIDTH, 4))
    stream = Stream()
    gone = weakref.ref(stream)
    with canvas.frame(stream=stream) as t:
        del stream
        gc.collect()
        assert gone() is not None
        np.asarray(t)[:] = 1
    del t
    gc.collect()
    assert gone() is None


def test_the_per_thread_default_stream_is_refused(view):
    with pytest.raises(UsageError, match="per-thread"):
        view.canvas((HEIGHT, WIDTH, 4)).frame(stream=2)


def mapped():
    """Returns the number of bytes that the process has mapped, which include the slots of canvases."""
    with open("/proc/self/maps") as maps:
        spans = [line.split()[0].split("-") for line in maps]
    return sum(int(end, 16) - int(start, 16) for start, end in spans)


@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="no /proc")
def test_closing_a_view_frees_its_canvases():
    view = vkview.View(WIDTH, HEIGHT, headless=True, backend="host")
    canvas = view.canvas((4096, 4096, 4))
    with canvas.frame() as t:
        np.asarray(t)[:] = 1
    del t
    before = mapped()
    assert view.close() == 0
    assert before - mapped() >= 3 * 4096 * 4096 * 4
    with pytest.raises(ClosedError, match="closed"), canvas.frame():
        pass


@pytest.mark.parametrize("export", [np.from_dlpack, np.asarray, lambda t: t.__dlpack__()])
def test_frames_that_are_in_use_are_reported(export):
    view = vkview.View(WIDTH, HEIGHT, headless=True, backend="host")
    canvas, idle = view.canvas((HEIGHT, WIDTH, 4)), view.canvas((HEIGHT, WIDTH, 4))
    for one in (idle, canvas):
        with one.frame() as t:
            kept = export(t)
    del t
    with pytest.warns(ResourceWarning, match="1 of its tensors"):
        assert view.close() == 1
    if isinstance(kept, np.ndarray):
        kept[:] = 3
        assert kept.sum() == 3 * kept.size


def test_a_frame_that_is_open_is_in_use(view):
    canvas = view.canvas((HEIGHT, WIDTH, 4))
    with pytest.raises(ClosedError), canvas.frame() as t:
        with pytest.warns(ResourceWarning, match="1 of its tensors"):
            assert view.close() == 1
        with pytest.raises(vkview.VkViewError):
            view.draw()
        np.asarray(t)[:] = 1
