"""The benchmark on the CPU backend: it runs, and its results contain the rows that the tables of the docs use."""

import json
import pathlib
import re
import runpy
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]
BENCH = ROOT / "python/bench"


def test_the_benchmark_has_every_figure_of_the_tables(tmp_path, monkeypatch):
    file = tmp_path / "view.json"
    command = [sys.executable, BENCH, "--backend", "host", "--size", "64x32", "--seconds", "0.02", "--rounds", "2", "--json", file]
    subprocess.run(command, check=True, timeout=120)
    found = json.loads(file.read_text(encoding="utf-8"))
    assert found["machine"]["backend"] == "host" and found["machine"]["device"] and found["machine"]["date"]
    rows = {row["name"]: row for row in found["rows"]}
    assert len(rows) == 2 * 4 and all(row["bridge"]["median"] >= 0 for row in rows.values())
    copied = rows["64x32/float16/copied"]
    assert copied["bridge"]["median"] == 64 * 32 * 4 * 2 / 1e6
    assert [other["summary"]["median"] for other in copied["others"] if other["name"] == "canvas"] == [0]

    # The tables name rows of the three sizes, and ways of each row.
    monkeypatch.syspath_prepend(str(BENCH))
    sizes = runpy.run_path(str(BENCH / "__main__.py"), run_name="bench")["SIZES"]
    figures = [figure for name in ("view", "view-python")
               for figure in re.findall(r"\{(\S+?/\S+?)( ratio| @ [^}]*)?\}", (ROOT / f"benches/tables/{name}.md").read_text())]
    assert len(figures) > 30
    for name, way in figures:
        size, _, rest = name.partition("/")
        assert size in sizes, name
        row = rows[f"64x32/{rest}"]
        if way.startswith(" @ "):
            assert way.removeprefix(" @ ") in [other["name"] for other in row["others"]], (name, way)
