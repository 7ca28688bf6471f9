"""A fluid in CuPy (stable fluids on a torus, solved by FFT). Its dye is shown as one channel, and saved every 100 steps.

    python fluid.py [FOLDER [STEPS]]
"""

import math
import pathlib
import sys

import cupy as cp
import vkview
from cupyx.scipy.ndimage import map_coordinates

N, DT = 512, 0.6
k = cp.fft.fftfreq(N) * 2 * cp.pi
kx, ky = k[None, :], k[:, None]
k2 = cp.maximum(kx**2 + ky**2, 1e-9)
y, x = cp.mgrid[:N, :N].astype(cp.float32)
u, v, dye = (cp.zeros((N, N), cp.float32) for _ in range(3))


def carried(field):
    """Returns the field advected by the flow: each cell takes the value that was upstream."""
    return map_coordinates(field, cp.stack([y - DT * v, x - DT * u]), order=1, mode="grid-wrap")


folder, steps = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "."), int(sys.argv[2]) if len(sys.argv) > 2 else 600
with vkview.View(N, N, title="fluid") as view:
    for step in range(steps):
        if not view.running:
            break
        angle = step * 0.02
        jet = cp.exp(-((x - N / 2 - 90 * math.cos(angle)) ** 2 + (y - N / 2 - 90 * math.sin(angle)) ** 2) / 90)
        u, v, dye = u - 0.3 * jet * math.sin(angle), v + 0.3 * jet * math.cos(angle), dye * 0.998 + 0.08 * jet
        u, v, dye = carried(u), carried(v), carried(dye)
        # Makes the flow divergence-free by removing the component along the wave vector.
        fu, fv = cp.fft.fft2(u), cp.fft.fft2(v)
        along = (kx * fu + ky * fv) / k2
        decay = cp.exp(-k2 * 0.05)
        u = cp.fft.ifft2((fu - kx * along) * decay).real.astype(cp.float32)
        v = cp.fft.ifft2((fv - ky * along) * decay).real.astype(cp.float32)
        view.image(dye, colormap="viridis")
        view.draw()
        if step % 100 == 99:
            view.save(folder / f"fluid{step:05}.png")
