"""Waves computed by numpy, on any machine: without a GPU, a software Vulkan driver draws them. They are shown as an image that is written
in place, and as points.

    python waves.py [FOLDER [STEPS]]
"""

import pathlib
import sys

import numpy as np
import vkview

N = 256
folder, steps = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "."), int(sys.argv[2]) if len(sys.argv) > 2 else 60
x, z = np.meshgrid(*[np.linspace(-1, 1, N, dtype=np.float32)] * 2)


def height(step):
    """Returns the height of the water, from -1 to 1: rings around two stones."""
    return sum(np.cos(20 * np.hypot(x - cx, z - 0.1) - 0.2 * step) for cx in (-0.5, 0.5)).astype(np.float32) / 2


with vkview.View(640, 640, title="waves") as view:
    # With CUDA, numpy cannot write a canvas in place, so `image` copies instead.
    canvas = view.canvas((N, N), "float32", colormap="viridis") if view.backend == "host" else None
    for step in range(steps):
        shade = 0.5 + 0.5 * height(step)
        if canvas is None:
            view.image(shade, colormap="viridis")
        else:
            with canvas.frame() as frame:
                np.asarray(frame)[...] = shade
        view.draw()
    view.save(folder / "image.png")

    for step in range(steps):
        y = height(step)
        places = np.stack([x, 0.15 * y, z], -1).reshape(-1, 3)
        view.points(places, values=(0.5 + 0.5 * y).ravel(), yaw=0.01 * step, pitch=0.6)
        view.draw()
    view.save(folder / "points.png")
