"""The view on the CPU backend: what is shown is what is drawn."""

import gc
import os
import subprocess
import sys
import threading
import warnings

import fakes
import numpy as np
import pytest
import vkview
from vkview import (ClosedError, DeviceMismatchError, DTypeError, ShapeError, TensorError, UnavailableError, UsageError)

WIDTH, HEIGHT = 24, 16


@pytest.fixture
def view():
    with vkview.View(WIDTH, HEIGHT, headless=True, backend="host") as made:
        yield made
    # Of VKVIEW_VALIDATION=1, which CI sets where the layer is installed.
    assert made._validation_messages() == []


def shown(view, tensor, **look):
    view.image(tensor, **look)
    assert view.draw() is True
    return view.pixels()


def noise(*shape, seed=3):
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, *shape), np.uint8)


def test_a_picture_of_bytes_is_shown_exactly(view):
    for seed in range(5):
        pixels = noise(4, seed=seed)
        assert (shown(view, pixels) == pixels).all()


@pytest.mark.parametrize("channels", [None, 1, 2, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
def test_all_channels_and_types(view, channels, dtype):
    pixels = noise(*([channels] if channels else []))
    values = pixels if dtype == "uint8" else (pixels / 255).astype(dtype)
    expected = np.full((HEIGHT, WIDTH, 4), 255, np.uint8)
    if channels in (None, 1):
        expected[..., :3] = pixels.reshape(HEIGHT, WIDTH, 1)
    elif channels == 2:
        expected[..., :2], expected[..., 2] = pixels, 0
    else:
        expected[..., :channels] = pixels
    assert np.abs(shown(view, values).astype(int) - expected).max() <= (0 if dtype == "uint8" else 1)


def test_values_are_exposed_encoded_and_coloured(view):
    grey = np.full((HEIGHT, WIDTH), 0.25, np.float32)
    assert shown(view, grey)[0, 0].tolist() == [64, 64, 64, 255]
    assert shown(view, grey, exposure=1)[0, 0].tolist() == [128, 128, 128, 255]
    # 0.25 linear is 0.537 encoded.
    assert shown(view, grey, linear=True)[0, 0].tolist() == [137, 137, 137, 255]
    low = shown(view, grey * 0, colormap="viridis")[0, 0]
    high = shown(view, grey * 4, colormap="viridis")[0, 0]
    assert np.abs(low.astype(int) - [68, 1, 84, 255]).max() <= 4
    assert np.abs(high.astype(int) - [253, 231, 37, 255]).max() <= 4


def test_values_outside_are_clamped_and_nan_stands_out(view):
    values = np.zeros((HEIGHT, WIDTH), np.float32)
    values[0, :4] = [-1, 7, np.inf, np.nan]
    row = shown(view, values)[0]
    assert row[:4].tolist() == [[0, 0, 0, 255], [255] * 4, [255] * 4, [255, 0, 255, 255]]


def test_images_of_other_sizes_are_scaled(view):
    one = np.array([[[10, 20, 30, 255]]], np.uint8)
    assert (shown(view, one) == [10, 20, 30, 255]).all()
    double = noise(4).repeat(2, 0).repeat(2, 1)
    assert np.abs(shown(view, double).astype(int) - noise(4)).max() <= 1
    # Back to the first size: the slots are made anew.
    assert (shown(view, noise(4)) == noise(4)).all()


def test_odd_sizes_of_bytes():
    with vkview.View(5, 3, headless=True, backend="host") as view:
        pixels = np.arange(45, dtype=np.uint8).reshape(3, 5, 3)
        assert (shown(view, pixels)[..., :3] == pixels).all()


def test_memory_may_be_reused_at_once(view):
    buffer = np.empty((HEIGHT, WIDTH, 4), np.uint8)
    for value in range(100):
        buffer[:] = value
        view.image(buffer)
        buffer[:] = 255
        view.draw()
        assert (view.pixels() == value).all()


def test_read_only_and_dlpack_inputs(view):
    pixels = noise(4)
    pixels.flags.writeable = False
    assert (shown(view, pixels) == pixels).all()
    fake = fakes.Dlpack((HEIGHT, WIDTH, 1), device=(fakes.DeviceType.CPU, 0))
    fake.memory[0] = 77
    assert shown(view, fake)[0, 0, 0] == 77
    gc.collect()
    assert fake.deleted == 1


def test_the_last_image_before_a_draw_is_drawn(view):
    view.image(noise(4, seed=1))
    view.image(noise(4, seed=2))
    assert view.draw() and (view.pixels() == noise(4, seed=2)).all()
    assert view.draw() is False
    assert (view.pixels() == noise(4, seed=2)).all()


def test_before_the_first_frame_it_is_black(view):
    assert view.draw() is False
    assert (view.pixels() == [0, 0, 0, 255]).all()


@pytest.mark.parametrize("tensor, error", [
    (np.zeros(5, np.uint8), ShapeError),
    (np.zeros((), np.uint8), ShapeError),
    (np.zeros((2, 2, 2, 2), np.uint8), ShapeError),
    (np.zeros((4, 4, 5), np.uint8), ShapeError),
    (np.zeros((4, 4, 0), np.uint8), ShapeError),
    (np.zeros((3, 64, 64), np.uint8), ShapeError),
    (np.zeros((20000, 1), np.uint8), ShapeError),
    (np.zeros((4, 4), np.float64), DTypeError),
    (np.zeros((4, 4), np.int32), DTypeError),
    (np.zeros((4, 4), bool), DTypeError),
    (np.zeros((4, 8), np.uint8)[:, ::2], vkview.LayoutError),
    (None, TensorError),
])
def test_what_cannot_be_shown_is_refused_and_the_view_goes_on(view, tensor, error):
    with pytest.raises(error):
        view.image(tensor)
    assert (shown(view, noise(4)) == noise(4)).all()


def test_channels_first_gets_advice(view):
    with pytest.raises(ShapeError, match=r"permute\(1, 2, 0\)"):
        view.image(np.zeros((3, 64, 64), np.uint8))


def test_the_largest_images_are_shown_or_refused(view):
    """16k x 16k: as much as the device reads at once, else an error that says how much that is."""
    huge = np.zeros((16384, 16384, 1), np.uint8)
    try:
        view.image(huge)
    except ShapeError as error:
        assert "maxStorageBufferRange" in str(error)
    assert (shown(view, noise(4)) == noise(4)).all()


@pytest.mark.parametrize("fake", [
    fakes.Dlpack((HEIGHT, WIDTH, 4)),
    fakes.Interface("__cuda_array_interface__", shape=(HEIGHT, WIDTH)),
])
def test_cuda_tensors_on_a_host_view_are_refused(view, fake):
    with pytest.raises(DeviceMismatchError, match=r"\.cpu\(\)"):
        view.image(fake)


@pytest.mark.parametrize("arguments", [(0, 4), (4, 0), (-1, 4), (20000, 4), (2**40, 4)])
def test_sizes_of_a_view_that_cannot_be(arguments):
    with pytest.raises(ShapeError):
        vkview.View(*arguments, headless=True, backend="host")


def test_a_view_too_large_for_the_device_is_refused_or_made():
    try:
        vkview.View(16384, 16384, headless=True, backend="host").close()
    except vkview.VkViewError as error:
        assert "16384x16384" in str(error) or "bytes" in str(error)


def test_arguments_of_a_view():
    with pytest.raises(ValueError, match="backend"):
        vkview.View(4, 4, headless=True, backend="metal")
    with pytest.raises(UnavailableError):
        vkview.View(4, 4, headless=True, backend="host", device="no such device")
    with pytest.raises(TypeError):
        vkview.View(4.5, 4, headless=True)


def test_arguments_of_an_image(view):
    for arguments in [{"colormap": "jet"}, {"exposure": float("nan")}]:
        with pytest.raises(ValueError):
            view.image(noise(4), **arguments)


# Points.

def lit(pixels):
    """Where something was drawn: rows and columns."""
    return np.argwhere(pixels[..., :3].any(-1)).tolist()


def seen(view, points, **look):
    view.points(np.asarray(points, np.float32), **look)
    assert view.draw()
    return view.pixels()


def test_a_point_is_drawn_where_it_is(view):
    assert lit(seen(view, [[0, 0, 0]], size=2)) == [[7, 11], [7, 12], [8, 11], [8, 12]]
    # x is to the right, y up.
    row, column = lit(seen(view, [[0.5, 0.7, 0]], size=1))[0]
    assert column > WIDTH // 2 and row < HEIGHT // 2
    # The edge of the picture: tan(0.4) times the distance.
    edge = 3 * np.tan(0.4)
    assert lit(seen(view, [[0, edge * 0.99, 0]], size=1))[0][0] == 0
    assert lit(seen(view, [[0, edge * 1.2, 0]], size=1)) == []
    # Behind the camera, at it, and no number.
    assert lit(seen(view, [[0, 0, 4], [0, 0, 3], [np.nan, 0, 0], [np.inf, 0, 0]])) == []


def test_the_camera_goes_round_its_target(view):
    middle = lit(seen(view, [[5, 6, 7]], target=(5, 6, 7), yaw=1, pitch=0.5, distance=9))
    assert middle == [[7, 11], [7, 12], [8, 11], [8, 12]]
    # A quarter to the right: z is to the left.
    assert lit(seen(view, [[0, 0, 0.9]], size=1, yaw=np.pi / 2))[0][1] < WIDTH // 2 - 3
    # From above: z is down.
    assert lit(seen(view, [[0, 0, 0.9]], size=1, pitch=1.5))[0][0] > HEIGHT // 2 + 3


def test_the_nearest_point_is_seen_with_its_colour(view):
    red, blue = [0, 0, 0.5, 1, 0, 0], [0, 0, -0.5, 0, 0, 1]
    for points in ([red, blue], [blue, red]):
        assert seen(view, points, size=4)[8, 12].tolist() == [255, 0, 0, 255]
        assert seen(view, points, size=4, yaw=np.pi)[8, 12].tolist() == [0, 0, 255, 255]
    assert seen(view, [[0, 0, 0]], color=(0, 1, 0))[8, 12].tolist() == [0, 255, 0, 255]
    values = seen(view, [[0, 0, 0, 0.0]])[8, 12], seen(view, [[0, 0, 0, 1.0]])[8, 12]
    assert np.abs(np.array(values).astype(int) - [[68, 1, 84, 255], [253, 231, 37, 255]]).max() <= 4


def test_many_points_fill_the_picture(view):
    points = np.random.default_rng(0).uniform(-3, 3, (200_000, 3))
    assert len(lit(seen(view, points, size=3))) == WIDTH * HEIGHT
    # What was there before is gone.
    assert len(lit(seen(view, [[0, 0, 0]], size=1))) == 1


def test_points_of_the_view_are_shown_again(view):
    mine = view.tensor((2, 3))
    view.points(mine, size=1)
    view.draw()
    assert len(lit(view.pixels())) == 1
    np.asarray(mine)[1] = [0.5, 0, 0]
    view.show(mine)
    view.draw()
    assert len(lit(view.pixels())) == 2
    # And an image in between.
    assert (shown(view, noise(4)) == noise(4)).all()


@pytest.mark.parametrize("points, error", [
    (np.zeros((4, 2), np.float32), ShapeError), (np.zeros((4, 5), np.float32), ShapeError),
    (np.zeros(3, np.float32), ShapeError), (np.zeros((0, 3), np.float32), ShapeError),
    (np.zeros((4, 3), np.float64), DTypeError), (np.zeros((4, 3), np.uint8), DTypeError),
    (np.zeros((8, 3), np.float32)[::2], vkview.LayoutError),
])
def test_points_that_cannot_be(view, points, error):
    with pytest.raises(error):
        view.points(points)


@pytest.mark.parametrize("camera", [{"distance": 0}, {"distance": -1}, {"yaw": float("nan")}, {"field_of_view": 0},
                                    {"field_of_view": 4}, {"size": 0}, {"size": 65}, {"target": (0, float("inf"), 0)}])
def test_cameras_that_cannot_be(view, camera):
    with pytest.raises(ValueError):
        view.points(np.zeros((4, 3), np.float32), **camera)


# The picture as a tensor.

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


# Tensors of the view.

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


# Canvases.

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


def test_a_frame_that_ended_makes_no_tensors(view):
    canvas = view.canvas((HEIGHT, WIDTH, 4))
    with canvas.frame() as t:
        kept = np.asarray(t)
        kept[:] = 9
    for export in (lambda: np.from_dlpack(t), lambda: np.asarray(t.__array_interface__)):
        with pytest.raises(ClosedError, match="ended"):
            export()
    view.draw()
    # Documented: what was kept is the slot's memory, which stays.
    assert kept.shape == (HEIGHT, WIDTH, 4)


def test_a_second_frame_at_once_is_refused(view):
    canvas = view.canvas((HEIGHT, WIDTH, 4))
    with canvas.frame() as t:
        with pytest.raises(UsageError), canvas.frame():
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


# The end, files, threads, processes.

def test_a_closed_view_says_so():
    view = vkview.View(WIDTH, HEIGHT, headless=True, backend="host")
    assert view.running and not view.closed
    view.image(noise(4))
    view.draw()
    assert view.close() == 0 and view.close() == 0
    assert view.closed and not view.running
    for call in (view.draw, view.pixels, view.finish, lambda: view.image(noise(4)), lambda: view.tensor((3,)),
                 lambda: view.canvas((4, 4)), lambda: view.save("x.png"), view._repr_png_):
        with pytest.raises(ClosedError):
            call()


def test_an_exception_in_the_block_passes():
    with pytest.raises(KeyError), vkview.View(WIDTH, HEIGHT, headless=True, backend="host") as view:
        view.image(noise(4))
        raise KeyError("mine")
    assert view.closed


def read_png(data):
    """Width, height and rows of a PNG file without interlacing, by its own chunks."""
    import struct
    import zlib
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, body = 8, b""
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at:at + 8])
        if kind == b"IHDR":
            width, height = struct.unpack(">II", data[at + 8:at + 16])
        if kind == b"IDAT":
            body += data[at + 8:at + 8 + length]
        at += 12 + length
    rows = np.frombuffer(zlib.decompress(body), np.uint8).reshape(height, 1 + 4 * width)
    return width, height, rows


def test_files_and_notebooks(view, tmp_path):
    flat = np.full((HEIGHT, WIDTH, 4), 200, np.uint8)
    shown(view, flat)
    view.save(tmp_path / "picture.png")
    data = (tmp_path / "picture.png").read_bytes()
    assert data == view._repr_png_()
    width, height, rows = read_png(data)
    assert (width, height) == (WIDTH, HEIGHT)
    assert rows.shape == (HEIGHT, 1 + 4 * WIDTH)
    with pytest.raises(OSError):
        view.save(tmp_path / "no folder" / "picture.png")


def test_properties(view):
    assert (view.width, view.height, view.backend) == (WIDTH, HEIGHT, "host")
    assert view.device and "View(24, 16" in repr(view)


def test_threads_take_turns(view):
    failures = []
    def work(seed):
        try:
            for _ in range(20):
                view.image(noise(4, seed=seed))
                view.draw()
                view.pixels()
        except Exception as error:
            failures.append(error)
    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    [thread.start() for thread in threads]
    [thread.join(60) for thread in threads]
    assert not failures and not any(thread.is_alive() for thread in threads)
    assert any((view.pixels() == noise(4, seed=seed)).all() for seed in range(4))


def test_the_interpreter_runs_while_a_view_waits(view):
    """Frames in one thread, counting in another: both get on."""
    counted = 0
    stop = threading.Event()
    def count():
        nonlocal counted
        while not stop.is_set():
            counted += 1
    thread = threading.Thread(target=count)
    thread.start()
    for _ in range(20):
        shown(view, noise(4))
    stop.set()
    thread.join()
    assert counted > 100


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_can_do_nothing_and_harms_nothing(view):
    canvas, tensor = view.canvas((HEIGHT, WIDTH, 4)), view.tensor((100,))
    shown(view, noise(4))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        refused = 0
        for call in (view.draw, view.pixels, view.close, lambda: view.image(noise(4)), lambda: view.tensor((3,)),
                     lambda: canvas.frame().__enter__()):
            try:
                call()
            except UsageError:
                refused += 1
        # Drops do nothing either.
        del view, canvas, tensor
        gc.collect()
        os._exit(refused)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 6
    assert (shown(view, noise(4, seed=9)) == noise(4, seed=9)).all()


def run(code, **environment):
    return subprocess.run([sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True,
                          timeout=60)


OPEN = "import vkview; v = vkview.View(8, 8, headless=True, backend={!r})"


def test_a_missing_vulkan_driver_is_an_exception(tmp_path):
    ended = run(OPEN.format("host"), VK_DRIVER_FILES=str(tmp_path / "none.json"), VK_ICD_FILENAMES=str(tmp_path / "none.json"))
    assert ended.returncode == 1 and "vkview._errors.UnavailableError" in ended.stderr, ended.stderr


def test_missing_cuda_is_an_exception():
    ended = run("import vkview\ntry:\n    vkview.View(8, 8, headless=True, backend='cuda')\n"
                "except vkview.UnavailableError as error:\n    print('refused', error)\nelse:\n    print('made')")
    assert ended.returncode == 0 and ended.stdout.startswith(("refused", "made")), ended.stderr


def test_a_view_that_is_never_closed_ends_with_the_interpreter():
    ended = run(OPEN.format("host") + "\nimport numpy\nv.image(numpy.zeros((8, 8), 'uint8'))\nv.draw()\n"
                "c = v.canvas((8, 8, 4))\nt = v.tensor((4,))\nf = c.frame()\nf.__enter__()")
    assert ended.returncode == 0, ended.stderr


def test_ctrl_c_ends_a_loop():
    code = OPEN.format("host") + ("\nimport os, signal, threading"
        "\nthreading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()"
        "\nwhile v.running: v.draw()")
    ended = run(code)
    assert "KeyboardInterrupt" in ended.stderr


def test_the_stubs_name_what_there_is():
    import ast
    from importlib import resources
    stub = (resources.files(vkview) / "__init__.pyi").read_text()
    classes = {node.name: node for node in ast.parse(stub).body if isinstance(node, ast.ClassDef)}
    for name in ("View", "Canvas", "CanvasFrame", "Tensor"):
        declared = {item.name for item in classes[name].body if isinstance(item, ast.FunctionDef)}
        real = {item for item in vars(getattr(vkview, name)) if not item.startswith("__")}
        assert real - declared == {"_leave_out_wait", "_validation_messages"} & real, name
        for item in declared - {"__init__"}:
            assert item.startswith("__") or getattr(vkview, name).__dict__[item].__doc__, f"{name}.{item} has no docs"
    assert (resources.files(vkview) / "py.typed").is_file()


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="no /proc")
def test_nothing_is_left_of_a_view():
    def cycle():
        with vkview.View(WIDTH, HEIGHT, headless=True, backend="host") as view:
            canvas = view.canvas((HEIGHT, WIDTH, 4))
            with canvas.frame() as t:
                np.asarray(t)[:] = 1
            view.draw()
            view.image(noise(4))
            view.draw()
            view.read(view.tensor((HEIGHT, WIDTH, 4), "uint8"))
            view.pixels()
    def held():
        gc.collect()
        return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))
    cycle()
    before = held()
    for _ in range(5):
        cycle()
    assert held() == before
