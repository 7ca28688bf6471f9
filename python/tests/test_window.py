"""Views in windows, on an X server without a monitor."""

import contextlib
import gc
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import pytest
import vkview
import x11
from pictures import noise
from vkview import ClosedError, UnavailableError, UsageError

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="windows are tested on X11"),
    pytest.mark.skipif(shutil.which("Xvfb") is None, reason="there is no Xvfb"),
    pytest.mark.skipif(x11.XLIB is None, reason="there is no libX11"),
]
W, H = 160, 120
#: The longest time in seconds that a view waits. A view that is blocked stays blocked for that
#: long.
LIMIT = float(os.environ.get("VKVIEW_TIMEOUT", 10))


@pytest.fixture(scope="module")
def display():
    """The display of all tests in this file: a process has one event loop, which has one display."""
    # Keeps the windows off any real screen of the machine.
    with x11.xvfb() as name, pytest.MonkeyPatch.context() as environment:
        environment.setenv("DISPLAY", name)
        environment.delenv("WAYLAND_DISPLAY", raising=False)
        environment.delenv("WAYLAND_SOCKET", raising=False)
        yield name


@pytest.fixture
def screen(display):
    screen = x11.Screen(display)
    yield screen
    screen.close()


@contextlib.contextmanager
def window(title="test", width=W, height=H, **options):
    with vkview.View(width, height, title=title, headless=False, backend="host", **options) as view:
        yield view
    assert view._validation_messages() == []


def picture(seed, width=W, height=H):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def quarters():
    """Returns a picture with a red, a green, a blue and a white quarter, from the top left."""
    quarters = np.zeros((H, W, 3), np.uint8)
    quarters[: H // 2, : W // 2] = 255, 0, 0
    quarters[: H // 2, W // 2 :] = 0, 255, 0
    quarters[H // 2 :, : W // 2] = 0, 0, 255
    quarters[H // 2 :, W // 2 :] = 255, 255, 255
    return quarters


def shows(screen, view, number, expected):
    """Draws until the window shows the picture, which may take another frame or two."""
    x11.until(lambda: np.array_equal(screen.picture(number), expected), view.draw)


def test_a_window_shows_the_tensor_pixel_by_pixel(screen):
    with window() as view:
        assert view.running and not view.headless
        for seed in range(100):
            view.image(picture(seed))
            assert view.draw() is True
        number = screen.window("test")
        assert screen.size(number) == (W, H)
        shows(screen, view, number, picture(99))
        # There is nothing new to draw.
        assert view.draw() is False
        assert (view.pixels()[..., :3] == picture(99)).all()


def test_a_window_is_black_before_the_first_picture(screen):
    with window() as view:
        shows(screen, view, screen.window("test"), np.zeros((H, W, 3), np.uint8))


def test_an_image_and_points_of_one_shape(screen):
    """Slots of one format are used in different ways. The validation layer reports errors."""
    with window() as view:
        for _ in range(2):
            view.image(np.full((1, 100, 4), 0.5, np.float32))
            assert view.draw() is True
            view.points(np.full((100, 4), 0.5, np.float32))
            assert view.draw() is True


def test_frames_of_a_canvas_are_shown(screen):
    """Frames are presented once they are computed. The validation layer reports errors."""
    with window() as view:
        canvas = view.canvas((H, W, 3))
        for seed in range(100):
            with canvas.frame() as tensor:
                np.asarray(tensor)[:] = picture(seed)
            assert view.draw() is True
        shows(screen, view, screen.window("test"), picture(99))


def test_frames_without_vsync(screen):
    with window(vsync=False) as view:
        for seed in range(20):
            view.image(picture(seed))
            view.draw()
        shows(screen, view, screen.window("test"), picture(19))


def test_a_resized_window_scales_the_picture(screen):
    with window() as view:
        number = screen.window("test")
        view.image(quarters())
        for width, height in [(400, 120), (160, 400), (480, 360), (81, 63), (1, 1), (W, H)]:
            screen.resize(number, width, height)
            x11.until(lambda: screen.size(number) == (width, height), view.draw)
            scale = min(width / W, height / H)
            # The centers of the quarters, as offsets from the center of the picture.
            places = {(x, y): color for x, y, color in [
                (-W / 4, -H / 4, (255, 0, 0)), (W / 4, -H / 4, (0, 255, 0)),
                (-W / 4, H / 4, (0, 0, 255)), (W / 4, H / 4, (255, 255, 255))]}
            if (width, height) == (1, 1):
                places = {}
            bar_x, bar_y = (width - W * scale) / 2, (height - H * scale) / 2
            def fits():
                shown = screen.picture(number)
                if shown.shape != (height, width, 3):
                    return False
                right = all(tuple(shown[int(height / 2 + y * scale), int(width / 2 + x * scale)]) == color
                            for (x, y), color in places.items())
                bars = [shown[:, : int(bar_x)], shown[:, width - int(bar_x):],
                        shown[: int(bar_y)], shown[height - int(bar_y):]]
                return right and not any(bar.any() for bar in bars)
            x11.until(fits, view.draw)
        shows(screen, view, number, quarters())


def test_sizes_that_change_while_frames_are_shown(screen):
    random = np.random.default_rng(5)
    with window() as view:
        number = screen.window("test")
        for seed in range(60):
            screen.resize(number, *map(int, random.integers(1, 300, 2)))
            view.image(picture(seed))
            view.draw()
        screen.resize(number, W, H)
        shows(screen, view, number, picture(59))


def test_a_closed_window_ends_running(screen):
    with window() as view:
        number = screen.window("test")
        view.image(picture(1))
        view.draw()
        screen.press_close(number)
        x11.until(lambda: not view.running, view.draw)
        assert not view.closed
        # Calls after the loop work, and show nothing on the screen.
        view.image(picture(2))
        assert view.draw() is True
        assert (view.pixels()[..., :3] == picture(2)).all()
        with pytest.raises(AssertionError, match="not on the screen"):
            screen.picture(number)
    assert not view.running and "test" not in screen.windows().values()
    with pytest.raises(ClosedError):
        view.draw()


def test_a_covered_window_is_shown_again(screen):
    with window() as view:
        number = screen.window("test")
        view.image(picture(1))
        shows(screen, view, number, picture(1))
        # The window is hidden and shown again while nothing new is drawn.
        screen.iconify(number)
        screen.restore(number)
        shows(screen, view, number, picture(1))


def test_a_hidden_window_holds_nothing_up(screen):
    with window() as view:
        number = screen.window("test")
        view.image(picture(0))
        shows(screen, view, number, picture(0))
        screen.iconify(number)
        longest = 0.0
        for seed in range(100):
            view.image(picture(seed))
            begun = time.perf_counter()
            assert view.draw() is True
            longest = max(longest, time.perf_counter() - begun)
            # Each frame is drawn, whether the window shows it or not.
            if seed % 10 == 0:
                assert (view.pixels()[..., :3] == picture(seed)).all()
        assert longest < LIMIT
        screen.restore(number)
        shows(screen, view, number, picture(99))


def test_two_windows_share_the_loop(screen):
    with window("one") as one, window("two", 90, 70) as two:
        numbers = [screen.window(title) for title in ("one", "two")]
        # Without a window manager, all windows are in the same corner.
        screen.move(numbers[1], 400, 300)
        for seed in range(10):
            one.image(picture(seed))
            two.image(picture(100 + seed, 90, 70))
            one.draw()
            two.draw()
        shows(screen, one, numbers[0], picture(9))
        shows(screen, two, numbers[1], picture(109, 90, 70))
        screen.press_close(numbers[0])
        # Events of the first window arrive while the second one draws.
        x11.until(lambda: not one.running, two.draw)
        one.close()
        two.image(picture(5, 90, 70))
        shows(screen, two, numbers[1], picture(5, 90, 70))
        assert two.running


def test_windows_come_and_go(screen):
    def cycle():
        with window() as view:
            view.image(picture(3))
            shows(screen, view, screen.window("test"), picture(3))
        assert "test" not in screen.windows().values()
    def held():
        gc.collect()
        return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))
    cycle()
    before = held()
    for _ in range(4):
        cycle()
    assert held() == before


def test_a_dropped_view_closes_its_window(screen):
    view = vkview.View(W, H, title="dropped", headless=False, backend="host")
    view.image(picture(1))
    view.draw()
    assert "dropped" in screen.windows().values()
    del view
    gc.collect()
    assert "dropped" not in screen.windows().values()


def test_an_x_error_of_others_is_theirs(screen):
    """Xlib has one error handler per process. Without a filter, winit's handler would treat every error as its own."""
    with window() as view:
        view.image(picture(1))
        view.draw()
        for _ in range(5):
            screen.x.XDestroyWindow(screen.display, x11.c_ulong(0xDEAD))
            screen.sync()
            other = vkview.View(32, 32, title="other", headless=False, backend="host")
            screen.x.XDestroyWindow(screen.display, x11.c_ulong(0xDEAD))
            screen.sync()
            other.draw()
            other.close()
        view.image(picture(2))
        shows(screen, view, screen.window("test"), picture(2))


def test_a_large_view_fits_the_screen(screen):
    with window("large", 3840, 1080) as view:
        width, height = screen.size(screen.window("large"))
        assert width <= 1280 and height <= 800
        assert abs(width / height - 3840 / 1080) < 0.02
        assert view.pixels().shape == (1080, 3840, 4)


@pytest.mark.skipif(x11.ctypes.util.find_library("Xtst") is None, reason="there is no libXtst")
class TestUser:
    """Input by mouse and keyboard."""

    def test_escape_ends_running(self, screen):
        pointer = x11.Pointer(screen)
        with window() as view:
            number = screen.window("test")
            view.draw()
            screen.focus(number)
            pointer.key("a")
            for _ in range(10):
                view.draw()
            assert view.running
            def press():
                pointer.key("Escape")
                view.draw()
            x11.until(lambda: not view.running, press)

    def test_the_mouse_moves_the_camera(self, screen):
        cloud = np.random.default_rng(2).normal(size=(500, 3)).astype(np.float32)
        look = {"size": 3, "distance": 6.0}
        def seen(view, **camera):
            view.points(cloud, **look | camera)
            view.draw()
            return view.pixels()
        def alike(a, b):
            # The distance may be rounded differently.
            return (a == b).mean() > 0.99
        pointer = x11.Pointer(screen)
        with window() as view:
            number = screen.window("test")
            left, top = screen.place(number)
            still, turned = seen(view), seen(view, yaw=-0.1, pitch=0.15)
            nearer = [seen(view, distance=6.0 * 0.9**notches) for notches in (2, 4)]
            assert not (still == turned).all() and not any(alike(still, near) for near in nearer)
            pointer.move(left + 50, top + 50)
            x11.until(lambda: (seen(view) == still).all(), view.draw)
            # Moving the mouse without a button does not rotate the camera.
            pointer.move(left + 60, top + 60)
            for _ in range(10):
                assert (seen(view) == still).all()
            pointer.button(1, True)
            pointer.move(left + 80, top + 90)
            x11.until(lambda: (seen(view) == turned).all(), view.draw)
            pointer.button(1, False)
            pointer.move(left + 20, top + 20)
            for _ in range(10):
                assert (seen(view) == turned).all()
            screen.focus(number)
            def home():
                pointer.key("Home")
                view.draw()
            x11.until(lambda: (seen(view) == still).all(), home)
            for _ in range(2):
                pointer.button(4, True)
                pointer.button(4, False)
            # Xvfb sends two notches for each button event of XTEST.
            x11.until(lambda: any(alike(seen(view), near) for near in nearer), view.draw)


    def test_points_that_are_shown_once_turn_too(self, screen):
        cloud, other = np.random.default_rng(3).normal(size=(2, 400, 4)).astype(np.float32)
        look = {"size": 2, "distance": 5.0}
        with vkview.View(W, H, headless=True, backend="host") as view:
            def seen(points, **camera):
                view.points(points, **look | camera)
                view.draw()
                return view.pixels()[..., :3]
            still, turned, again = seen(cloud), seen(cloud, yaw=-0.05, pitch=0.1), seen(other, yaw=-0.05, pitch=0.1)
            fewer = seen(other[:100], yaw=-0.1, pitch=0.1)
        pointer = x11.Pointer(screen)
        with window() as view:
            number = screen.window("test")
            left, top = screen.place(number)
            pointer.move(left + 50, top + 50)
            view.points(cloud, **look)
            shows(screen, view, number, still)
            pointer.button(1, True)
            pointer.move(left + 60, top + 70)
            # Only `draw` is called: the view keeps the points.
            shows(screen, view, number, turned)
            assert (view.pixels()[..., :3] == turned).all()
            assert view.draw() is False
            view.points(other, **look)
            shows(screen, view, number, again)
            view.points(other[:100], **look)
            view.draw()
            pointer.move(left + 70, top + 70)
            shows(screen, view, number, fewer)
            # An image does not rotate, and the points that it replaced do not return.
            view.image(picture(1))
            view.draw()
            pointer.move(left + 90, top + 60)
            for _ in range(10):
                view.draw()
            shows(screen, view, number, picture(1))
            pointer.button(1, False)
            for _ in range(10):
                view.draw()
            view.points(other[:100], **look)
            shows(screen, view, number, fewer)


def test_no_display_is_an_exception_that_says_what_to_do(monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "WAYLAND_SOCKET"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UnavailableError, match="DISPLAY.*headless=True"):
        vkview.View(W, H, headless=False, backend="host")


def test_without_a_display_a_view_is_headless_and_says_so(monkeypatch, caplog):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "WAYLAND_SOCKET"):
        monkeypatch.delenv(name, raising=False)
    with caplog.at_level(logging.WARNING, "vkview"), vkview.View(W, H, backend="host") as view:
        assert view.headless
        view.image(picture(1))
        assert view.draw() is True
    assert "DISPLAY" in caplog.text and "headless=True" in caplog.text
    caplog.clear()
    with vkview.View(W, H, headless=True, backend="host") as view:
        assert view.headless
    assert not caplog.records


def test_with_a_display_a_view_has_a_window(display, caplog):
    with caplog.at_level(logging.WARNING, "vkview"), vkview.View(W, H, backend="host") as view:
        assert not view.headless
    assert not caplog.records


def test_a_title_is_text(display):
    with pytest.raises(ValueError, match="null"):
        vkview.View(W, H, title="a\0b", backend="host")
    with window("Ελλάδα ☀"):
        pass


def in_thread(call):
    caught = []
    def run():
        try:
            call()
        except Exception as error:
            caught.append(error)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    return caught


def test_events_are_the_main_threads(display):
    for headless in (None, False):
        caught = in_thread(lambda: vkview.View(W, H, headless=headless, backend="host"))
        assert len(caught) == 1 and isinstance(caught[0], UsageError) and "main thread" in str(caught[0])
    with window() as view:
        caught = in_thread(view.draw)
        assert len(caught) == 1 and isinstance(caught[0], UsageError) and "main thread" in str(caught[0])
        # All other methods work on any thread.
        assert in_thread(lambda: view.image(picture(1))) == []
        assert view.draw() is True
        assert in_thread(view.pixels) == []
        assert in_thread(view.close) == []
        assert not view.running


def test_a_forked_child_touches_no_window(screen):
    with window() as view:
        view.image(picture(1))
        view.draw()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            refused = 0
            for call in (view.draw, lambda: vkview.View(W, H, headless=False), lambda: vkview.View(W, H)):
                try:
                    call()
                except UsageError:
                    refused += 1
            del view
            gc.collect()
            os._exit(refused)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 3
        view.image(picture(2))
        shows(screen, view, screen.window("test"), picture(2))


def run(code, **environment):
    return subprocess.run([sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True,
                          timeout=60)


def test_a_display_that_is_not_there(display):
    code = "import vkview\nfor _ in range(2):\n    with vkview.View(8, 8, backend='host') as v: assert v.headless\n" \
           "vkview.View(8, 8, backend='host', headless=False)"
    ended = run(code, DISPLAY=":987")
    assert ended.returncode == 1 and "UnavailableError" in ended.stderr, ended.stderr
    assert ended.stderr.count("a view without a window") == 2


OPEN = "import vkview, numpy; v = vkview.View(64, 48, headless=False, backend='host'); v.image(numpy.zeros((8, 8), 'uint8'))\n"


def test_ctrl_c_ends_a_loop(display):
    ended = run(OPEN + "import os, signal, threading"
                # Background jobs of a shell ignore SIGINT.
                "\nsignal.signal(signal.SIGINT, signal.default_int_handler)"
                "\nthreading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()"
                "\nwhile v.running: v.draw()")
    assert "KeyboardInterrupt" in ended.stderr


def test_a_window_that_is_never_closed_ends_with_the_interpreter(display):
    ended = run(OPEN + "v.draw()")
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_display_that_ends_takes_the_window_not_the_program():
    code = """
import os, sys, numpy, vkview
sys.path.insert(0, os.environ["TESTS"])
import x11
with x11.xvfb() as name:
    os.environ["DISPLAY"] = name
    views = [vkview.View(64, 48, headless=False, backend="host") for _ in range(2)]
    for seed in range(100):
        for view in views:
            view.image(numpy.full((48, 64), seed, "uint8"))
            view.draw()
    assert all(view.running for view in views)
drawn = 0
while any(view.running for view in views):
    drawn += views[0].draw()
    views[0].image(numpy.full((48, 64), 9, "uint8"))
for view in views:
    view.image(numpy.full((48, 64), 7, "uint8"))
    assert view.draw() and not view.running and (view.pixels()[..., 0] == 7).all()
    view.close()
with vkview.View(64, 48, backend="host") as view:
    assert view.headless
print("went on")
"""
    ended = run(code, TESTS=os.path.dirname(__file__))
    assert (ended.returncode, ended.stdout) == (0, "went on\n"), ended.stderr
    assert ended.stderr.count("continue without their windows") == 1


def test_a_loop_without_news_leaves_the_processor(display):
    with window() as view:
        view.draw()
        for _ in range(50):
            view.draw()
        draws, begun = 0, time.perf_counter()
        while time.perf_counter() - begun < 1.0:
            view.draw()
            draws += 1
        # Each call waits 2 ms for events, and there are few events.
        assert draws <= 600 * (time.perf_counter() - begun)


def test_the_title_tells_the_rate(screen):
    with window() as view:
        number = screen.window("test")
        def draw():
            view.image(noise(3))
            view.draw()
        x11.until(lambda: "frames/s" in screen.windows()[number], draw)
