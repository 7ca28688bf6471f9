"""Fixtures of the tests that need an NVIDIA GPU and libraries that use it. A test is skipped by name if something is missing."""

import pytest
import vkview


@pytest.fixture
def view():
    """Yields a headless view on CUDA."""
    try:
        made = vkview.View(256, 128, headless=True, backend="cuda")
    except vkview.UnavailableError as error:
        pytest.skip(f"no CUDA: {error}")
    with made:
        yield made


@pytest.fixture
def torch():
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("torch has no CUDA device")
    return torch


@pytest.fixture
def cupy():
    cupy = pytest.importorskip("cupy")
    try:
        cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        pytest.skip(f"cupy has no CUDA device: {error}")
    return cupy
