"""Random frames, made by torch on the GPU and drawn. One device copy a frame; nothing goes through the host.

    python noise.py FILE.png [FRAMES]
"""

import sys
import time

import torch
import vkview

frames = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
with vkview.View(1920, 1080, headless=True) as view:
    start = time.perf_counter()
    for _ in range(frames):
        view.image(torch.rand((1080, 1920, 4), device="cuda", dtype=torch.float16))
        view.draw()
    view.finish()
    print(f"{frames / (time.perf_counter() - start):.0f} frames/s on {view.device}")
    view.save(sys.argv[1])
