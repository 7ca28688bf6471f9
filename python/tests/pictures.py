"""Helpers that create pictures, and that return what a view shows of a tensor."""

import numpy as np

WIDTH, HEIGHT = 24, 16


def shown(view, tensor, **look):
    view.image(tensor, **look)
    assert view.draw() is True
    return view.pixels()


def noise(*shape, seed=3):
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, *shape), np.uint8)
