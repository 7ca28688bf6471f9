"""Random frames of torch to the finished picture, without a window: `View.image`, a canvas, and the other ways.

    python bench --json ../benches/results/view.json     # then `cargo xtask tables`

For each size and element type, this measures frames per second, processor time per frame, and the bytes that are copied per frame
besides drawing. The frames are created before the clock starts. The clock stops when the last picture is finished. The ways alternate,
round by round, and each is checked to draw the frame that it was given. slangpy is measured if it can be imported. `--backend host` runs
the script with numpy, without a GPU. For sources without git, BRIDGE_BENCH_COMMIT names the commit.
"""

import argparse
import contextlib
import datetime
import json
import os
import platform
import statistics
import subprocess
import time

import numpy as np
import vkview
from ways import CHANNELS, ByCanvas, ByHost, ByImage, ByKernel, ByNobody, ByPinned, Case, Kernel

SIZES = ("3840x1080", "7680x2160", "15360x4320")
DTYPES = ("uint8", "float16")
#: The ways other than `View.image`. The canvas belongs to this package too, so it is not a rival.
CANVAS, SLANGPY, PINNED, HOST = "canvas", "slangpy", "through pinned memory", "through the host"
#: The sum that a canvas filled by a kernel is compared with.
APART = "hand-over and drawing, and the kernel alone"
WITHIN = 1.05


def by_slangpy(case, stack):
    """Imports slangpy only if it is measured."""
    from by_slangpy import BySlangpy
    return BySlangpy(case, stack)


IMAGE_WAYS = {"image": ByImage, CANVAS: ByCanvas, SLANGPY: by_slangpy, PINNED: ByPinned, HOST: ByHost}
KERNEL_WAYS = {"kernel": ByKernel, "nobody": ByNobody, "alone": Kernel}
#: The ways that may be missing on a machine.
RIVALS = (SLANGPY, PINNED, HOST)


def check(way, case):
    """Checks that the picture shows the second of two frames."""
    for index in range(2):
        way.frame(index)
    way.finish()
    off = np.abs(way.picture()[::16].astype(np.int16) - case.expected[1]).max()
    if off > 1:
        raise RuntimeError(f"the picture is not the frame: off by {off}")


def timed(way, seconds):
    """Returns wall time and processor time per frame, in microseconds."""
    way.finish()
    count, start, processor = 0, time.perf_counter(), time.process_time()
    while count == 0 or time.perf_counter() - start < seconds:
        way.frame(count)
        count += 1
    way.finish()
    return 1e6 * (time.perf_counter() - start) / count, 1e6 * (time.process_time() - processor) / count


def opened(ways, case, stack, absent, without=()):
    """Returns the ways that work on this machine, after each has drawn some frames."""
    made = {}
    for name, kind in ways.items():
        if name in without or case.backend == "host" and name in RIVALS:
            absent[name] = "left out" if name in without else "it needs CUDA"
            continue
        try:
            way = kind(case, stack)
            if name in IMAGE_WAYS:
                check(way, case)
            timed(way, 0.01)
        except Exception as error:
            # The package's own ways are required: without them there is nothing to compare.
            if name not in RIVALS:
                raise
            absent[name] = f"{type(error).__name__}: {error}".splitlines()[0]
            print(f"{case.size} {case.dtype:8} {name}: not measured: {absent[name]}")
            continue
        made[name] = way
    return made


def rounds(ways, options):
    """Returns the wall times and the processor times of each way."""
    found = {name: ([], []) for name in ways}
    for _ in range(options.rounds):
        for name, way in ways.items():
            for samples, sample in zip(found[name], timed(way, options.seconds / options.rounds)):
                samples.append(sample)
    return found


def summary(samples):
    ordered = sorted(samples)
    at = lambda part: ordered[round(part * (len(ordered) - 1))]
    return {"median": statistics.median(ordered), "min": ordered[0], "p10": at(0.1), "p90": at(0.9), "samples": len(ordered)}


def row(case, name, what, unit, ours, others, *, better=None, absent=(), bound=None):
    """Returns a row in the format of `cargo xtask bench`."""
    rivals = {other: samples for other, samples in others.items() if other != CANVAS}
    made = {
        "name": f"{case.size}/{case.dtype}/{name}", "what": f"frame of {case.size}, {case.dtype}: {what}", "unit": unit, "state": "measured",
        "parameters": {"width": case.width, "height": case.height, "dtype": case.dtype, "channels": CHANNELS},
        "bridge": summary(ours),
        "others": [{"name": other, "summary": summary(samples), "rival": other in rivals} for other, samples in others.items()]
        + [{"name": other, "absent": reason} for other, reason in dict(absent).items()],
    }
    if rivals and better:
        best = (max if better == "higher" else min)(rivals.values(), key=statistics.median)
        made["ratio"] = {"median": statistics.median(ours) / statistics.median(best)}
        if bound:
            made["goal"] = {"of": "ratio", "bound": bound, "better": better}
            made["met"] = made["ratio"]["median"] <= bound
    return made


def of_images(case, options, absent):
    with contextlib.ExitStack() as stack:
        ways = opened(IMAGE_WAYS, case, stack, absent, options.without)
        found = rounds(ways, options)
        copied = {name: [way.copied / 1e6] for name, way in ways.items()}
    rates = {name: [1e6 / sample for sample in times] for name, (times, _) in found.items()}
    processor = {name: times for name, (_, times) in found.items()}
    missing = {name: reason for name, reason in absent.items() if name not in ways}
    def made(name, what, unit, samples, better=None):
        return row(case, name, what, unit, samples.pop("image"), samples, better=better, absent=missing)
    yield made("rate", "frames per second", "frames/s", rates, "higher")
    yield made("cpu", "processor time", "µs", processor, "lower")
    yield made("copied", "bytes copied beside drawing", "MB", copied)


def of_kernels(case, options):
    with contextlib.ExitStack() as stack:
        found = rounds(opened(KERNEL_WAYS, case, stack, {}), options)
    (ours, _), (nobody, _), (alone, _) = (found[name] for name in KERNEL_WAYS)
    apart = {APART: [first + second for first, second in zip(nobody, alone)]}
    yield row(case, "kernel", "a canvas that a kernel fills", "µs", ours, apart, better="lower", bound=WITHIN)


def said(*command):
    """Returns the output of a program, or an empty string if it fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def machine(backend, commit):
    made = {"backend": backend, "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")}
    made |= {"system": platform.platform(), "python": platform.python_version(), "numpy": np.__version__, "vkview": vkview.__version__}
    with vkview.View(16, 16, headless=True, backend=backend) as view:
        made["device"] = view.device_name
    if backend == "cuda":
        import torch
        driver = said("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader").splitlines()
        made |= {"driver": f"NVIDIA {driver[0] if driver else '?'}", "cuda": f"CUDA {torch.version.cuda}", "torch": torch.__version__}
        with contextlib.suppress(ImportError):
            import slangpy
            made["slangpy"] = slangpy.__version__
    here = said("git", "rev-parse", "HEAD")
    clean = not said("git", "status", "--porcelain") if here else None
    return made | {"sources": {"commit": here or commit, "clean": clean}}


def write(options, results):
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=1, ensure_ascii=False)
            file.write("\n")


def measure(options):
    """Measures all cases. The results so far are written after each size and type, because another library may end the process."""
    absent, rows = {}, []
    results = {"version": 1, "machine": machine(options.backend, os.environ.get("BRIDGE_BENCH_COMMIT")), "absent": absent, "rows": rows}
    for size in options.size or SIZES:
        for dtype in DTYPES:
            case = Case(size, dtype, options.backend)
            for made in [*of_images(case, options, absent), *of_kernels(case, options)]:
                rows.append(made)
                others = ", ".join(f"{other['name']} {other['summary']['median']:.1f}" for other in made["others"] if "summary" in other)
                print(f"{made['what']}: {made['bridge']['median']:.1f} {made['unit']} ({others})", flush=True)
            write(options, results)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="for each way of a size and a type; 3 by default")
    parser.add_argument("--rounds", type=int, default=5, help="in which the ways take turns; 5 by default")
    parser.add_argument("--size", action="append", help="WIDTHxHEIGHT in place of the three")
    parser.add_argument("--without", action="append", default=[], choices=RIVALS, help="a way to leave out")
    parser.add_argument("--backend", choices=("cuda", "host"), default="cuda")
    parser.add_argument("--json", help="write the results here too")
    measure(parser.parse_args(arguments))


if __name__ == "__main__":
    main()
