"""Images on the CPU backend: the picture has the values of the tensor that was shown."""

import gc

import fakes
import numpy as np
import pytest
import vkview
from pictures import HEIGHT, WIDTH, noise, shown
from vkview import DeviceMismatchError, DTypeError, ShapeError, TensorError, UnavailableError


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


def test_values_are_exposed_encoded_and_colored(view):
    gray = np.full((HEIGHT, WIDTH), 0.25, np.float32)
    assert shown(view, gray)[0, 0].tolist() == [64, 64, 64, 255]
    assert shown(view, gray, exposure=1)[0, 0].tolist() == [128, 128, 128, 255]
    # The linear value 0.25 is encoded as 0.537.
    assert shown(view, gray, linear=True)[0, 0].tolist() == [137, 137, 137, 255]
    low = shown(view, gray * 0, colormap="viridis")[0, 0]
    high = shown(view, gray * 4, colormap="viridis")[0, 0]
    assert np.abs(low.astype(int) - [68, 1, 84, 255]).max() <= 4
    assert np.abs(high.astype(int) - [253, 231, 37, 255]).max() <= 4


def test_values_outside_are_clamped_and_nan_stands_out(view):
    values = np.zeros((HEIGHT, WIDTH), np.float32)
    values[0, :4] = [-1, 7, np.inf, np.nan]
    row = shown(view, values)[0]
    assert row[:4].tolist() == [[0, 0, 0, 255], [255] * 4, [255] * 4, [255, 0, 255, 255]]


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
@pytest.mark.parametrize("make", [
    lambda x: x[5 : 5 + HEIGHT, 7 : 7 + WIDTH],
    lambda x: x[: 2 * HEIGHT : 2, :WIDTH],
    lambda x: x[:HEIGHT, :WIDTH, 0],
    lambda x: np.ascontiguousarray(x[:HEIGHT, :WIDTH])[..., :3],
    lambda x: np.ascontiguousarray(x[:HEIGHT, :WIDTH])[..., 1:],
    lambda x: np.ascontiguousarray(x[:HEIGHT, :WIDTH].transpose(2, 0, 1)).transpose(1, 2, 0),
    lambda x: np.ascontiguousarray(x[:, :WIDTH].transpose(2, 0, 1))[1:4, 3 : 3 + HEIGHT].transpose(1, 2, 0),
], ids=["crop", "rows", "channel", "first", "last", "permuted", "permuted part"])
def test_parts_and_planes_are_shown_as_their_copies_are(view, make, dtype):
    x = np.random.default_rng(5).integers(0, 256, (2 * HEIGHT, 2 * WIDTH, 4), np.uint8)
    part = make(x if dtype == "uint8" else (x / 255).astype(dtype))
    if part.ndim == 2:
        # One channel of a new array, so that its rows are equally far apart.
        part = np.stack([part] * 3, -1)[..., 1]
    assert not part.flags.c_contiguous
    expected = shown(view, np.ascontiguousarray(part))
    assert expected[..., 0].std() > 10
    assert (shown(view, noise(4)) == noise(4)).all()
    assert (shown(view, part) == expected).all()


def test_images_of_other_sizes_are_scaled(view):
    one = np.array([[[10, 20, 30, 255]]], np.uint8)
    assert (shown(view, one) == [10, 20, 30, 255]).all()
    double = noise(4).repeat(2, 0).repeat(2, 1)
    assert np.abs(shown(view, double).astype(int) - noise(4)).max() <= 1
    # Back to the first size: the slots are created again.
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
    (np.zeros((4, 8), np.uint8)[:, ::-1], vkview.LayoutError),
    (None, TensorError),
])
def test_what_cannot_be_shown_is_refused_and_the_view_goes_on(view, tensor, error):
    with pytest.raises(error):
        view.image(tensor)
    assert (shown(view, noise(4)) == noise(4)).all()


def test_channels_first_gets_advice(view):
    with pytest.raises(ShapeError, match=r"permute\(1, 2, 0\), with numpy \.transpose\(1, 2, 0\)$"):
        view.image(np.zeros((3, 64, 64), np.uint8))


def test_a_batch_of_one_gets_advice(view):
    with pytest.raises(ShapeError, match=r"t\[0\]"):
        view.image(np.zeros((1, 64, 64, 3), np.uint8))


def test_the_largest_images_are_shown_or_refused(view):
    """An image of 16k x 16k is shown if the device can bind that much, and otherwise the error names the limit."""
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
    with pytest.raises(DeviceMismatchError, match=r'\(requested\): use \.cpu\(\), .*backend="cuda" and device='):
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
    # Without CUDA the reason is that, with it that there are fewer devices.
    with pytest.raises(UnavailableError, match=r'^device="cuda:4711": .*CUDA'):
        vkview.View(4, 4, headless=True, backend="host", device="cuda:4711")
    with pytest.raises(TypeError):
        vkview.View(4.5, 4, headless=True)


def test_arguments_of_an_image(view):
    for arguments in [{"colormap": "jet"}, {"exposure": float("nan")}]:
        with pytest.raises(ValueError):
            view.image(noise(4), **arguments)
