"""The example that needs no GPU. The examples with torch and cupy need one, and are not run here."""

import pathlib
import subprocess
import sys

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"


def test_waves_are_drawn_without_a_gpu(tmp_path):
    subprocess.run([sys.executable, EXAMPLES / "waves.py", tmp_path, "3"], check=True, timeout=120)
    image, points = ((tmp_path / name).read_bytes() for name in ("image.png", "points.png"))
    assert image.startswith(b"\x89PNG") and points.startswith(b"\x89PNG") and image != points
    # The file of a black picture has only a few kilobytes.
    assert min(len(image), len(points)) > 20_000
