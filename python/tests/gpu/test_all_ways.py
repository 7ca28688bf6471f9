"""The benchmark on a GPU: every way that works on the machine draws the frame that it is given."""

import json
import pathlib
import subprocess
import sys

BENCH = pathlib.Path(__file__).parents[2] / "bench"


def test_every_way_but_slangpys_is_measured(view, torch, tmp_path):
    file = tmp_path / "view.json"
    command = [sys.executable, BENCH, "--size", "256x128", "--seconds", "0.2", "--rounds", "2", "--json", file]
    subprocess.run(command, check=True, timeout=300)
    found = json.loads(file.read_text(encoding="utf-8"))
    assert set(found["absent"]) <= {"slangpy"}, found["absent"]
    assert found["machine"]["backend"] == "cuda" and found["machine"]["torch"] == torch.__version__
    assert len(found["rows"]) == 2 * 4
