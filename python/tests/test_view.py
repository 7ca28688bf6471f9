"""Closing a view, and views with files, threads and processes."""

import gc
import logging
import os
import pickle
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest
import vkview
from pictures import HEIGHT, WIDTH, noise, shown
from vkview import ClosedError, UsageError


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
    """Returns the width, the height and the rows of a PNG file without interlacing."""
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
    nowhere = tmp_path / "no folder" / "picture.png"
    with pytest.raises(FileNotFoundError) as raised:
        view.save(nowhere)
    assert str(raised.value) == f"[Errno 2] No such file or directory: '{nowhere}'"


def test_a_picture_that_nobody_drew_is_black_and_told(view, caplog):
    with caplog.at_level(logging.WARNING, "vkview"):
        assert not view.pixels()[..., :3].any() and not caplog.records
        view.image(noise(4))
        assert not view.pixels()[..., :3].any()
        view.finish()
        assert "call draw() first" in caplog.text
        caplog.clear()
        view.draw()
        view.pixels()
        view.finish()
        assert not caplog.records


def test_exceptions_are_named_as_they_are_imported():
    for name in vkview.__all__:
        found = getattr(vkview, name)
        if isinstance(found, type) and issubclass(found, Exception):
            assert f"{found.__module__}.{found.__qualname__}" == f"vkview.{name}"
            assert pickle.loads(pickle.dumps(found("why"))).args == ("why",)


def test_a_name_of_another_format_is_refused(view, tmp_path):
    shown(view, np.full((HEIGHT, WIDTH, 4), 200, np.uint8))
    for name in ("picture.jpg", "picture.jpeg", "picture.PNG.webp", "picture."):
        with pytest.raises(ValueError, match="ends in .png"):
            view.save(tmp_path / name)
    assert not list(tmp_path.iterdir()), "nothing is written"
    for name in ("picture.PNG", "picture"):
        view.save(tmp_path / name)
        assert (tmp_path / name).read_bytes() == view._repr_png_()


def test_properties(view):
    assert (view.width, view.height, view.backend) == (WIDTH, HEIGHT, "host")
    assert view.device == "cpu" and view.device_name and view.device_name in repr(view) and "View(24, 16" in repr(view)
    with pytest.raises(AttributeError):
        view.device = "cuda:0"


class Device:
    """A device of a library, whose text is that of a ``torch.device``."""

    def __init__(self, text):
        self.text = text

    def __str__(self):
        return self.text


@pytest.mark.parametrize("device", ["cpu", "cpu:0", Device("cpu")])
def test_the_device_of_a_tensor_in_host_memory_makes_a_view_for_it(device):
    with vkview.View(8, 8, headless=True, device=device) as view:
        assert (view.device, view.backend) == ("cpu", "host")
        with vkview.View(8, 8, headless=True, device=view.device, backend="host") as other:
            assert other.device == view.tensor((1,)).device == "cpu"


@pytest.mark.parametrize("options, reason", [
    ({"device": "cpu", "backend": "cuda"}, 'device="cpu": tensors of the backend "cuda"'),
    ({"device": "cuda:x"}, '"x" is not a number'), ({"device": "cuda:"}, '"" is not a number'),
    ({"device": "vulkan:one"}, '"one" is not an index'),
    ({"device": "vulkan:-1"}, '"-1" is not an index, which is a number from 0'),
])
def test_devices_that_cannot_be_are_refused(options, reason):
    with pytest.raises(ValueError) as caught:
        vkview.View(8, 8, headless=True, **options)
    assert reason in str(caught.value) and not isinstance(caught.value, vkview.VkViewError)


@pytest.mark.parametrize("device", [99, "99", "cuda:99", Device("cuda:99"), -1, "cuda:-1"])
def test_a_number_is_that_of_a_device_of_cuda(device):
    with pytest.raises(vkview.UnavailableError, match=f'device="cuda:{str(device).removeprefix("cuda:")}": ') as caught:
        vkview.View(8, 8, headless=True, device=device)
    assert 'device="vulkan:N" selects a device by its index' in str(caught.value)


def test_a_vulkan_device_is_selected_by_index_and_name():
    with vkview.View(8, 8, headless=True, backend="host", device="vulkan:0") as view:
        name = view.device_name
    with vkview.View(8, 8, headless=True, backend="host", device=name) as view:
        assert view.device_name == name
    for device in ("vulkan:99", "no such device"):
        with pytest.raises(vkview.UnavailableError, match="no Vulkan device is suitable"):
            vkview.View(8, 8, headless=True, backend="host", device=device)


def test_the_picture_is_a_new_array_of_numpy(view):
    first = shown(view, noise(4))
    assert first.flags.owndata and first.flags.writeable and first.flags.c_contiguous
    second = view.pixels()
    second[:] = 0
    assert (first == noise(4)).all() and (view.pixels() == first).all()


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
                     lambda: canvas.frame().__enter__(), lambda: vkview.View(8, 8, headless=True, backend="host")):
            try:
                call()
            except UsageError:
                refused += 1
        # Drops do nothing either.
        del view, canvas, tensor
        gc.collect()
        os._exit(refused)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7
    assert (shown(view, noise(4, seed=9)) == noise(4, seed=9)).all()


def run(code, **environment):
    return subprocess.run([sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True,
                          timeout=120)


OPEN = "import vkview; v = vkview.View(8, 8, headless=True, backend={!r})"


def test_a_missing_vulkan_driver_is_an_exception(tmp_path):
    ended = run(OPEN.format("host"), VK_DRIVER_FILES=str(tmp_path / "none.json"), VK_ICD_FILENAMES=str(tmp_path / "none.json"))
    assert ended.returncode == 1 and "vkview.UnavailableError" in ended.stderr, ended.stderr


def test_missing_cuda_is_an_exception():
    ended = run("import vkview\ntry:\n    view = vkview.View(8, 8, headless=True, backend='cuda')\n"
                "except vkview.UnavailableError as error:\n    print('refused', error)\nelse:\n    print('made', view.backend)")
    assert ended.returncode == 0, ended.stderr
    refused = ended.stdout.startswith("refused") and all(way in ended.stdout for way in ("device=", 'backend="host"'))
    assert refused or ended.stdout == "made cuda\n", ended.stdout


def test_the_reason_for_the_backend_is_known():
    with vkview.View(8, 8, headless=True) as view:
        assert "CUDA" in view.backend_reason, view.backend_reason
    with vkview.View(8, 8, headless=True, backend="host") as view:
        assert view.backend_reason == "requested"


def test_a_view_that_is_never_closed_ends_with_the_interpreter():
    ended = run(OPEN.format("host") + "\nimport numpy\nv.image(numpy.zeros((8, 8), 'uint8'))\nv.draw()\n"
                "c = v.canvas((8, 8, 4))\nt = v.tensor((4,))\nf = c.frame()\nf.__enter__()")
    assert ended.returncode == 0, ended.stderr


KEPT = ("\nimport numpy, os\nt = v.tensor((4,))\nc = v.canvas((8, 8, 4))\nf = c.frame()\nwith c.frame() as u: kept = numpy.from_dlpack(u)"
        "\nx = f.__enter__()\nopen = numpy.from_dlpack(x)")


def test_memory_that_is_kept_ends_with_the_interpreter():
    ended = run(OPEN.format("host") + KEPT + "\ndel v, c, f, u, x")
    assert ended.returncode == 0 and not ended.stderr, ended.stderr
    # The interpreter's exit waits for the threads that free memory.
    ended = run(OPEN.format("host") + KEPT + "\ndel v, c, f, u, x, kept, open")
    assert ended.returncode == 0 and not ended.stderr, ended.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.parametrize("before", ["", "\nv.close()", "\nv.close()\ndel v, c", "\ndel kept, open, x, u"])
@pytest.mark.usefixtures("software_driver")
def test_a_forked_child_ends_with_its_interpreter(before):
    """The child drops everything that it inherited, and frees none of it."""
    ended = run(OPEN.format("host") + KEPT + before + "\nimport sys, gc, time\npid = os.fork()"
                "\nif pid == 0: sys.exit(7)"
                "\nfor _ in range(1000):"
                "\n    done, status = os.waitpid(pid, os.WNOHANG)"
                "\n    if done: break"
                "\n    time.sleep(0.05)"
                "\nelse: os.kill(pid, 9)"
                "\nprint(os.waitstatus_to_exitcode(status) if done else 'hangs')")
    assert ended.stdout.strip() == "7", ended


CHILD = ("\nimport os, time, vkview\npid = os.fork()"
         "\nif pid == 0:"
         "\n    try: os._exit(5 if vkview.View(8, 8, headless=True, backend='host').draw() is False else 6)"
         "\n    except vkview.UsageError as error: os._exit(7 if 'spawn' in str(error) and 'not even one that fails' in str(error) else 8)"
         "\nprint(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.parametrize("before, code", [
    ("import vkview", 5), (OPEN.format("host") + "\nv.close()\ndel v", 7),
    ("import vkview\ntry: vkview.View(8, 8, headless=True, device='none')\nexcept vkview.UnavailableError: pass", 7),
])
def test_a_forked_child_opens_a_view_only_if_its_parent_has_tried_none(before, code):
    ended = run(before + CHILD)
    assert ended.stdout.strip() == str(code), ended


@pytest.mark.parametrize("end", ["v.close()", "v.pixels()", "v.points(p); v.draw(); v.close()"])
@pytest.mark.usefixtures("software_driver")
def test_what_the_gpu_may_still_use_is_not_freed(end):
    """A frame exceeds the time limit, so its resources are leaked. If they were freed, the validation layer would report it in CI."""
    ended = run("import numpy, vkview\nv = vkview.View(512, 512, headless=True, backend='host')"
                "\np = numpy.random.default_rng(1).random((200_000, 3), 'float32') - 0.5"
                "\nv.points(p, size=64)\nv.draw()"
                f"\ntry: {end}\nexcept vkview.DriverError as error: print('late')"
                "\nv.close() if not v.closed else None"
                "\nprint(v._validation_messages())", VKVIEW_TIMEOUT="0.05")
    # The leak is reported through Python's logging.
    assert "pixels" in end or "the commands of a view use are leaked" in ended.stderr, ended
    assert ended.stdout.splitlines()[0] == "late", ended
    assert ended.stdout.splitlines()[-1] == "[]" or "DriverError" in ended.stderr, ended
    assert "vkDestroy" not in ended.stdout + ended.stderr, ended


def test_ctrl_c_ends_a_loop():
    code = OPEN.format("host") + ("\nimport os, signal, threading"
        # Background jobs of a shell ignore SIGINT.
        "\nsignal.signal(signal.SIGINT, signal.default_int_handler)"
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


@pytest.mark.parametrize("use", ["v.image(t)", "v.image(numpy.zeros((8, 8), 'uint8')); v.draw(); v.read(t)", "v.close(); v.image(t)",
                                 "v.points(t)"])
def test_a_deleter_may_call_the_view(use):
    """The deleter runs Python code once the view no longer needs the tensor. Run in a process, because a deadlock cannot be interrupted."""
    ended = run(OPEN.format("host") + "\nimport fakes, numpy"
                "\nclass Calls(fakes.Dlpack):"
                "\n    @property"
                "\n    def deleted(self): return self.count"
                "\n    @deleted.setter"
                "\n    def deleted(self, count):"
                "\n        self.count = count"
                "\n        if count: print('called', v.closed, count)"
                "\nt = Calls((8, 8, 4), device=(1, 0))"
                f"\ntry:\n    {use}"
                "\nexcept vkview.VkViewError as error: print(error)"
                "\nprint('ended')")
    assert "called" in ended.stdout and "ended" in ended.stdout, ended


def test_the_picture_is_read_into_a_part_and_nothing_beside_it(view):
    pixels = noise(4)
    shown(view, pixels)
    for part in [np.s_[2 : 2 + HEIGHT, 3 : 3 + WIDTH], np.s_[: 2 * HEIGHT : 2, :WIDTH]]:
        whole = np.full((2 * HEIGHT, 2 * WIDTH, 4), 7, np.uint8)
        view.read(whole[part])
        assert (whole[part] == pixels).all()
        whole[part] = 7
        assert (whole == 7).all()
    for planes in [np.zeros((4, HEIGHT, WIDTH), np.uint8).transpose(1, 2, 0), np.zeros((HEIGHT, WIDTH, 4), np.uint8)[::-1]]:
        with pytest.raises(vkview.LayoutError, match="contiguous"):
            view.read(planes)
        assert not planes.any()
