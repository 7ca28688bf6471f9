#!/usr/bin/env python3
"""Random torch frames to the finished picture, headless: View.image, a canvas, and the way through the host.

    python bench.py [--seconds 3] [--json FILE]

For each size and element type: frames a second, processor time a frame, and bytes copied a frame besides drawing. The frames are
made before the clock starts; the clock stops when the last picture is finished.
"""

import argparse
import json
import time

import torch
import vkview

SIZES = [(3840, 1080), (7680, 2160), (15360, 4320)]
DTYPES = {"uint8": torch.uint8, "float16": torch.float16}


def frames(width, height, dtype):
    """Three random frames."""
    shape = (height, width, 4)
    if dtype == torch.uint8:
        return [torch.randint(0, 256, shape, dtype=dtype, device="cuda") for _ in range(3)]
    return [torch.rand(shape, device="cuda").to(dtype) for _ in range(3)]


def by_image(view, width, height, dtype):
    tensors = frames(width, height, DTYPES[dtype])
    def frame(i):
        view.image(tensors[i % 3])
        view.draw()
    return frame, tensors[0].nbytes


def by_canvas(view, width, height, dtype):
    canvas = view.canvas((height, width, 4), dtype)
    tensors = frames(width, height, DTYPES[dtype])
    def frame(i):
        # This copy stands for the kernel that writes the frame in place; it is not one of the view's.
        with canvas.frame(stream=torch.cuda.current_stream()) as target:
            torch.from_dlpack(target).copy_(tensors[i % 3])
        view.draw()
    return frame, 0


def by_host(view, width, height, dtype):
    """What one does without interop: down by `tensor.cpu()`, up again by the view."""
    tensors = frames(width, height, DTYPES[dtype])
    def frame(i):
        view.image(tensors[i % 3].cpu())
        view.draw()
    return frame, 2 * tensors[0].nbytes


WAYS = {"image": by_image, "canvas": by_canvas, "host": by_host}


def measure(way, width, height, dtype, seconds):
    with vkview.View(width, height, headless=True, backend="cuda") as view:
        frame, copied = WAYS[way](view, width, height, dtype)
        for i in range(5):
            frame(i)
        view.finish()
        count, start, processor = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() - start < seconds:
            frame(count)
            count += 1
        view.finish()
        wall, processor = time.perf_counter() - start, time.process_time() - processor
    return {
        "way": way, "width": width, "height": height, "dtype": dtype, "frames_per_second": count / wall,
        "processor_us_per_frame": 1e6 * processor / count, "bytes_copied_per_frame": copied,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--json", help="write the results here too")
    options = parser.parse_args()
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, vkview {vkview.__version__}")
    results = []
    for width, height in SIZES:
        for dtype in DTYPES:
            for way in WAYS:
                try:
                    result = measure(way, width, height, dtype, options.seconds)
                except vkview.VkViewError as error:
                    print(f"{width}x{height} {dtype:8} {way:7} not measured: {error}")
                    continue
                results.append(result)
                print(f"{width}x{height} {dtype:8} {way:7} {result['frames_per_second']:9.1f} frames/s "
                      f"{result['processor_us_per_frame']:9.1f} us processor a frame "
                      f"{result['bytes_copied_per_frame'] / 1e6:8.1f} MB copied a frame")
    if options.json:
        with open(options.json, "w") as file:
            json.dump(results, file, indent=2)


if __name__ == "__main__":
    main()
