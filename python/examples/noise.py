"""Random frames, created by torch on the GPU and shown. Each frame is copied once on the device and never goes through the host.

With a display, the frames appear in a window. In either case the last frame is saved to the file.

    python noise.py [FILE.png [FRAMES]]
"""

import sys
import time

import torch
import vkview

file = sys.argv[1] if len(sys.argv) > 1 else "noise.png"
frames = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
with vkview.View(1920, 1080, title="noise") as view:
    start, drawn = time.perf_counter(), 0
    while view.running and drawn < frames:
        view.image(torch.rand((1080, 1920, 3), device="cuda", dtype=torch.float16))
        drawn += view.draw()
    view.finish()
    print(f"{drawn / (time.perf_counter() - start):.0f} frames/s on {view.device_name}")
    view.save(file)
