"""An X server without a monitor (Xvfb), and user input on it, through ctypes bindings of libX11."""

import contextlib
import ctypes
import ctypes.util
import functools
import os
import subprocess
import time
from ctypes import POINTER, byref, c_char, c_char_p, c_int, c_long, c_uint, c_ulong, c_void_p

import numpy as np

XLIB = ctypes.util.find_library("X11")


class XImage(ctypes.Structure):
    _fields_ = [("width", c_int), ("height", c_int), ("xoffset", c_int), ("format", c_int), ("data", POINTER(c_char)),
                ("byte_order", c_int), ("bitmap_unit", c_int), ("bitmap_bit_order", c_int), ("bitmap_pad", c_int),
                ("depth", c_int), ("bytes_per_line", c_int), ("bits_per_pixel", c_int)]


class Attributes(ctypes.Structure):
    """``XWindowAttributes``, with names for the first fields only."""

    _fields_ = [("place", c_int * 6), ("visual", c_void_p), ("root", c_ulong), ("kinds", c_int * 4), ("planes", c_ulong),
                ("pixel", c_ulong), ("save_under", c_int), ("colormap", c_ulong), ("installed", c_int), ("state", c_int),
                ("padding", c_long * 8)]


class ClientMessage(ctypes.Structure):
    """``XClientMessageEvent``, padded to the size of an ``XEvent``."""

    _fields_ = [("type", c_int), ("serial", c_ulong), ("send_event", c_int), ("display", c_void_p), ("window", c_ulong),
                ("message_type", c_ulong), ("format", c_int), ("data", c_long * 5), ("padding", c_long * 12)]


@contextlib.contextmanager
def xvfb():
    """Starts Xvfb on a free display, and yields the value for DISPLAY."""
    read, write = os.pipe()
    server = subprocess.Popen(["Xvfb", "-displayfd", str(write), "-screen", "0", "1280x800x24", "-nolisten", "tcp", "-noreset"],
                              pass_fds=[write], stderr=subprocess.DEVNULL)
    os.close(write)
    try:
        with os.fdopen(read) as pipe:
            # The server chooses the number, and writes it to the pipe once it accepts clients.
            number = pipe.readline().strip()
        assert number, "Xvfb ended before it was ready; is /tmp/.X11-unix writable?"
        yield f":{number}"
    finally:
        server.kill()
        server.wait()


_handler = ctypes.CFUNCTYPE(c_int, c_void_p, c_void_p)(lambda display, error: 0)
IGNORE = ctypes.cast(_handler, c_void_p)


def quietly(method):
    """Wraps a method of ``Screen`` so that X errors are ignored, because its window may be closed during the call."""

    @functools.wraps(method)
    def call(self, *arguments):
        # A process has one handler for X errors. The one of winit would treat this error as its
        # own.
        before = self.x.XSetErrorHandler(IGNORE)
        try:
            result = method(self, *arguments)
            self.sync()
            return result
        finally:
            self.x.XSetErrorHandler(before)

    return call


class Screen:
    """A connection to an X server."""

    def __init__(self, name):
        x = self.x = ctypes.CDLL(XLIB)
        for call in ("XOpenDisplay", "XGetImage"):
            getattr(x, call).restype = POINTER(XImage) if call == "XGetImage" else c_void_p
        x.XDefaultRootWindow.restype = x.XInternAtom.restype = c_ulong
        x.XSetErrorHandler.restype, x.XSetErrorHandler.argtypes = c_void_p, [c_void_p]
        self.display = c_void_p(x.XOpenDisplay(name.encode()))
        assert self.display, f"no X server at {name}"
        self.root = c_ulong(x.XDefaultRootWindow(self.display))

    def close(self):
        self.x.XCloseDisplay(self.display)

    @quietly
    def windows(self):
        """Returns the names of all client windows, by window ID."""
        root, parent, children, count = c_ulong(), c_ulong(), POINTER(c_ulong)(), c_uint()
        self.x.XQueryTree(self.display, self.root, byref(root), byref(parent), byref(children), byref(count))
        found = {}
        for window in [children[i] for i in range(count.value)]:
            name = c_char_p()
            if self.x.XFetchName(self.display, c_ulong(window), byref(name)):
                found[window] = name.value.decode()
                self.x.XFree(name)
        if children:
            self.x.XFree(children)
        return found

    def window(self, title):
        """Returns the ID of the window with this title."""
        found = [window for window, name in self.windows().items() if name.split(" (")[0] == title]
        assert len(found) == 1, (title, self.windows())
        return found[0]

    @quietly
    def size(self, window):
        root, x, y, width, height, border, depth = c_ulong(), c_int(), c_int(), c_uint(), c_uint(), c_uint(), c_uint()
        self.x.XGetGeometry(self.display, c_ulong(window), byref(root), byref(x), byref(y), byref(width), byref(height),
                            byref(border), byref(depth))
        return width.value, height.value

    @quietly
    def place(self, window):
        """Returns the position of the window's top left corner on the screen."""
        x, y, child = c_int(), c_int(), c_ulong()
        self.x.XTranslateCoordinates(self.display, c_ulong(window), self.root, 0, 0, byref(x), byref(y), byref(child))
        return x.value, y.value

    @quietly
    def focus(self, window):
        """Gives the keyboard focus to the window, as a window manager would."""
        parent, current_time = 2, c_ulong(0)
        self.x.XSetInputFocus(self.display, c_ulong(window), parent, current_time)
        self.sync()

    @quietly
    def picture(self, window):
        """Returns the contents of the window: (height, width, 3) bytes, in the order red, green, blue."""
        viewable, attributes = 2, Attributes()
        self.x.XGetWindowAttributes(self.display, c_ulong(window), byref(attributes))
        assert attributes.state == viewable, "the window is not on the screen"
        width, height = self.size(window)
        every, pixmap = c_ulong(2**64 - 1), 2
        image = self.x.XGetImage(self.display, c_ulong(window), 0, 0, width, height, every, pixmap)
        assert image, "the window has changed meanwhile"
        row, bits = image.contents.bytes_per_line, image.contents.bits_per_pixel
        assert bits == 32 and image.contents.byte_order == 0
        data = np.frombuffer(ctypes.string_at(image.contents.data, row * height), np.uint8)
        picture = data.reshape(height, row // 4, 4)[:, :width, 2::-1].copy()
        self.x.XFree(image.contents.data)
        self.x.XFree(image)
        return picture

    @quietly
    def resize(self, window, width, height):
        self.x.XResizeWindow(self.display, c_ulong(window), width, height)
        self.sync()

    @quietly
    def move(self, window, x, y):
        self.x.XMoveWindow(self.display, c_ulong(window), x, y)
        self.sync()

    @quietly
    def iconify(self, window):
        """Unmaps the window, as a window manager does to minimize it."""
        self.x.XUnmapWindow(self.display, c_ulong(window))
        self.sync()

    @quietly
    def restore(self, window):
        self.x.XMapWindow(self.display, c_ulong(window))
        self.sync()

    @quietly
    def press_close(self, window):
        """Sends the event that a window manager sends for the close button."""
        protocols, delete = [self.x.XInternAtom(self.display, name, 0) for name in (b"WM_PROTOCOLS", b"WM_DELETE_WINDOW")]
        event = ClientMessage(type=33, window=window, message_type=protocols, format=32)
        event.data[0] = delete
        self.x.XSendEvent(self.display, c_ulong(window), 0, c_long(0), byref(event))
        self.sync()

    def sync(self):
        self.x.XSync(self.display, 0)


class Pointer:
    """Mouse and keyboard of the test server, through the extension XTEST."""

    def __init__(self, screen):
        self.screen, self.test = screen, ctypes.CDLL(ctypes.util.find_library("Xtst"))

    def move(self, x, y):
        self.test.XTestFakeMotionEvent(self.screen.display, -1, x, y, c_ulong(0))
        self.screen.sync()

    def button(self, number, down):
        self.test.XTestFakeButtonEvent(self.screen.display, number, int(down), c_ulong(0))
        self.screen.sync()

    def key(self, name):
        x = self.screen.x
        x.XStringToKeysym.restype = c_ulong
        code = x.XKeysymToKeycode(self.screen.display, c_ulong(x.XStringToKeysym(name.encode())))
        for down in (1, 0):
            self.test.XTestFakeKeyEvent(self.screen.display, code, down, c_ulong(0))
        self.screen.sync()


def until(done, draw, limit=60):
    """Calls ``draw`` until ``done`` returns true, and fails after ``limit`` seconds."""
    end = time.monotonic() + limit
    while not done():
        assert time.monotonic() < end, "it did not come to that"
        draw()
