"""Tensors of torch, cupy, numba and jax, as inputs and as outputs."""

import subprocess
import sys
import threading
import time

import fakes
import numpy as np
import pytest
import vkview

SHAPE = (128, 256, 4)


def picture():
    """Returns random opaque pixels."""
    pixels = np.random.default_rng(7).integers(0, 256, SHAPE, np.uint8)
    pixels[..., 3] = 255
    return pixels


def shown(view, tensor, **arguments):
    view.image(tensor, **arguments)
    view.draw()
    return view.pixels()


@pytest.fixture
def expected():
    """The same picture on the CPU backend."""
    with vkview.View(SHAPE[1], SHAPE[0], headless=True, backend="host") as view:
        return shown(view, picture())


def close(a, b):
    return np.abs(a.astype(int) - b.astype(int)).max() <= 1


def test_torch(view, torch, expected):
    assert close(shown(view, torch.from_numpy(picture()).cuda()), expected)


def test_torch_on_a_stream(view, torch, expected):
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        t = torch.from_numpy(picture()).cuda(non_blocking=True)
        assert vkview.describe(t)["stream"] == stream.cuda_stream
        assert close(shown(view, t), expected)
    assert close(shown(view, t, stream=stream), expected)


def test_torch_half(view, torch, expected):
    t = torch.from_numpy(picture()).cuda().half() / 255
    assert shown(view, t).shape == expected.shape


def test_autograd_is_refused(view, torch):
    t = torch.rand(SHAPE, device="cuda", requires_grad=True)
    with pytest.raises(vkview.TensorError, match="detach"):
        view.image(t)
    view.image(t.detach())


def test_torch_writes_a_tensor_of_the_view(view, torch):
    mine = view.tensor(SHAPE, "uint8")
    theirs = torch.from_dlpack(mine)
    assert theirs.is_cuda and not theirs.any()
    theirs.fill_(255)
    view.show(mine)
    view.draw()
    assert (view.pixels() == 255).all()


def test_torch_reads_the_picture(view, torch):
    out = torch.empty(SHAPE, dtype=torch.uint8, device="cuda")
    with torch.cuda.stream(torch.cuda.Stream()):
        for value in range(200):
            torch.cuda._sleep(50_000)
            view.image(torch.full(SHAPE, value, dtype=torch.uint8, device="cuda"))
            view.draw()
            view.read(out)
            assert bool((out == value).all())


def test_memory_outlives_the_view(view, torch):
    theirs = torch.from_dlpack(view.tensor((1024,), "float32"))
    with pytest.warns(ResourceWarning, match="1"):
        view.close()
    theirs += 1
    assert theirs.sum().item() == 1024


def test_cupy(view, cupy, expected):
    with cupy.cuda.Stream(non_blocking=True) as stream:
        t = cupy.asarray(picture())
        assert vkview.describe(t)["stream"] == stream.ptr
        assert close(shown(view, t), expected)
    mine = view.tensor((5, 4), "float32")
    cupy.from_dlpack(mine)[:] = 3
    assert float(cupy.asarray(mine).sum()) == 60


def test_numba(view, expected):
    cuda = pytest.importorskip("numba.cuda")
    if not cuda.is_available():
        pytest.skip("numba has no CUDA device")
    stream = cuda.stream()
    assert close(shown(view, cuda.to_device(picture(), stream=stream)), expected)
    assert close(shown(view, cuda.to_device(picture())), expected)
    array = cuda.as_cuda_array(view.tensor((5, 4), "float32"))
    assert array.copy_to_host().shape == (5, 4)


def test_jax_is_an_input(view, expected):
    jax = pytest.importorskip("jax")
    try:
        device = jax.devices("gpu")[0]
    except RuntimeError as error:
        pytest.skip(f"jax has no CUDA device: {error}")
    t = jax.device_put(picture(), device)
    assert close(shown(view, t), expected)


def test_a_captured_stream_is_refused(view, torch):
    t = torch.zeros(SHAPE, dtype=torch.uint8, device="cuda")
    view.image(t)
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()
    with torch.cuda.stream(stream), pytest.raises(vkview.VkViewError, match="captur"):
        graph.capture_begin()
        try:
            view.image(t)
        finally:
            graph.capture_end()
    view.image(t)


def test_another_gpu_is_refused(view, torch):
    if torch.cuda.device_count() < 2:
        pytest.skip("one GPU")
    other = torch.zeros(SHAPE, dtype=torch.uint8, device="cuda:1")
    with pytest.raises(vkview.DeviceMismatchError, match="CUDA device 1"):
        view.image(other)


def test_torchs_current_device_need_not_be_that_of_the_view(torch, expected):
    """torch exports only tensors of its current device."""
    if torch.cuda.device_count() < 2:
        pytest.skip("one GPU")
    with vkview.View(SHAPE[1], SHAPE[0], headless=True, backend="cuda") as view:
        ours = view.device
        others = [device for device in range(torch.cuda.device_count()) if f"cuda:{device}" != ours]
        with torch.cuda.device(others[0]):
            t = torch.from_numpy(picture()).to(ours)
            assert vkview.describe(t)["device"] == ours
            assert close(shown(view, t), expected)
            out = torch.zeros_like(t)
            view.read(out)
            torch.cuda.synchronize(ours)
            assert close(out.cpu().numpy(), expected)
            positions, values = torch.zeros((9, 3), device=ours), torch.ones(9, device=ours)
            view.points(positions, values=values)
            view.points(positions, colors=torch.ones((9, 3), device=ours))
            assert view.draw() and torch.cuda.current_device() == others[0]


def test_host_tensors_on_a_cuda_view(view, torch):
    """A tensor in host memory is copied to the GPU, or the error names the CPU."""
    try:
        view.image(torch.from_numpy(picture()))
    except vkview.DeviceMismatchError as error:
        assert "CPU" in str(error)


def test_a_capture_on_another_thread_goes_on(view, torch):
    """In torch's capture mode `global`, allocating or freeing on another thread would end the capture if vkview did not prevent it."""
    x = torch.zeros(16, device="cuda")
    graph = torch.cuda.CUDAGraph()
    failures = []

    def work():
        try:
            tensor = view.tensor((64, 64), "uint8")
            del tensor
            for side in (64, 96, 128):
                # Another size: the slots are created again.
                view.image(np.zeros((side, side, 4), np.uint8))
                view.draw()
            with view.canvas((64, 64, 4)).frame():
                pass
        except Exception as error:
            failures.append(error)

    with torch.cuda.stream(torch.cuda.Stream()):
        graph.capture_begin()
        y = x + 1
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        # The memory is freed by another thread.
        time.sleep(0.2)
        graph.capture_end()
    assert not failures
    graph.replay()
    assert y.sum().item() == 16


def test_a_tensor_longer_than_its_memory_is_refused(view, torch):
    t = torch.zeros(SHAPE, dtype=torch.uint8, device="cuda")
    long = fakes.Interface("__cuda_array_interface__", shape=(16384, 16384, 4), typestr="<f2", data=(t.data_ptr(), False))
    with pytest.raises(vkview.TensorError, match="not all of that"):
        view.image(long)
    view.image(t)


def test_a_forked_child_frees_no_memory_of_the_gpu(torch):
    """The child frees neither the parent's tensors nor anything that the parent's closed view has left."""
    code = """
import os, time, torch, vkview
v = vkview.View(64, 64, headless=True, backend="cuda")
kept, theirs = v.tensor((1024,)), torch.from_dlpack(v.tensor((1024,)))
v.close()
del v
pid = os.fork()
if pid == 0:
    del kept, theirs
    os._exit(7)
for _ in range(200):
    done, status = os.waitpid(pid, os.WNOHANG)
    if done:
        break
    time.sleep(0.05)
else:
    os.kill(pid, 9)
print(os.waitstatus_to_exitcode(status) if done else "hangs", theirs.sum().item())
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert ended.stdout.strip() == "7 0.0", ended
