"""Every figure of the published speed tables, computed anew from the rounds that were measured."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PAGES = [path for path in (ROOT / "README.md", ROOT / "docs" / "PERFORMANCE.md") if path.exists()]
NEWEST = sorted((ROOT / "bench" / "results").glob("cpu-*.json"))[-1]
MEASURED = json.loads(NEWEST.read_text())

NETS = {"tutorial's network": "a", "PyTorch's basic MNIST network": "b"}
OURS = {"compiled kernels": "arraycnn fast", "plain NumPy": "arraycnn numpy"}

FIRST, SECOND = 26 * 26 * 8 * 9, 13 * 13 * 8 * 10
CONV1, CONV2 = 26 * 26 * 32 * 9, 24 * 24 * 64 * 9 * 32
DENSE1, DENSE2 = 12 * 12 * 64 * 128, 128 * 10
FLOP = {  # forward; then both gradients of each layer but the first's for its image
    "a": 2 * (2 * FIRST + 3 * SECOND),
    "b": 2 * (2 * CONV1 + 3 * (CONV2 + DENSE1 + DENSE2)),
}


def tables():
    """(heading words, rows) of each Markdown table, rows as lists of cells."""
    for page in PAGES:
        for block in re.findall(r"((?:^\|.*\|\n)+)", page.read_text("utf-8"), re.MULTILINE):
            lines = [
                [cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()
            ]
            yield lines[0], lines[2:]


def rows_of(*head):
    """The rows of all tables with this heading: each a dict by column."""
    found = [dict(zip(h, row, strict=True)) for h, rows in tables() if h == list(head)
             for row in rows]  # fmt: skip
    assert found
    return found


def middle(numbers):
    ordered = sorted(numbers)
    assert len(ordered) % 2 == 1
    return ordered[len(ordered) // 2]


def shown(rounds, digits=0):
    text = f"{middle(rounds):,.{digits}f}"
    if len(rounds) == 1:
        return text
    return f"{text} ({min(rounds):,.{digits}f}-{max(rounds):,.{digits}f})"


def check_against_best(row, rounds, better, digits=0):
    """Ours with the ratio to the best of the others, and that one."""
    others = {name: middle(found) for name, found in rounds.items() if name not in OURS.values()}
    best = better(others.values())
    (name,) = (name for name, value in others.items() if value == best)
    assert row["best peer"] == f"{name} {shown(rounds[name], digits)}"
    for column, peer in OURS.items():
        ratio = middle(rounds[peer]) / best
        assert row[column] == f"{shown(rounds[peer], digits)}, {ratio:.2f}x"


def test_networks_that_are_trained_today():
    page = (ROOT / "docs" / "PERFORMANCE.md").read_text("utf-8")
    measured = sorted((ROOT / "bench" / "results").glob("networks-*.json"))
    heads = [head for head, _ in tables() if (head[0], head[-1]) == ("network", "the others")]
    if not measured:
        assert "no figure stands here before" in page
        assert not heads
        return
    rates = json.loads(measured[-1].read_text())["images_per_second"]
    assert f"(../bench/results/{measured[-1].name})" in page
    assert len(heads) == 2
    check_rates("network", rates)


def test_larger_networks():
    page = (ROOT / "docs" / "PERFORMANCE.md").read_text("utf-8")
    newest = sorted((ROOT / "bench" / "results").glob("larger-*.json"))[-1]
    measured = json.loads(newest.read_text())
    assert f"(../bench/results/{newest.name})" in page
    assert f"of commit {measured['commit']}," in page
    check_rates("larger network", measured["images_per_second"])


def check_rates(first, rates):
    """The table whose first column is ``first``: a row for each of the cells that were measured."""
    rows = rows_of(first, "batch", "compiled kernels", "plain NumPy", "best peer", "the others")
    assert len(rows) == len(rates)
    for row, (cell, found) in zip(rows, rates.items(), strict=True):
        assert cell.split()[2] == row["batch"]
        found = {name: rounds for name, rounds in found.items() if rounds}
        check_against_best(row, found, max)


def test_on_the_arrays_of_other_libraries():
    newest = sorted((ROOT / "bench" / "results").glob("engines-*.json"))[-1]
    measured = json.loads(newest.read_text())
    page = " ".join((ROOT / "docs" / "PERFORMANCE.md").read_text("utf-8").split())
    assert f"(../bench/results/{newest.name})" in page
    assert f"({measured['commit']})" in page
    rows = rows_of("network", "batch", "on torch", "torch by hand", "on JAX", "JAX by hand")
    cells, ratios = measured["images_per_second"], {"torch": [], "jax": []}
    assert len(rows) == len(cells)
    for row, (cell, rates) in zip(rows, cells.items(), strict=True):
        assert row["batch"] == cell.split()[2]
        for library, shown_as in (("torch", "torch"), ("jax", "JAX")):
            hand = {
                name: middle(found) for name, found in rates.items() if name.startswith(library)
            }
            best = max(hand, key=hand.get)
            ours = rates[f"arraycnn {library}"]
            ratios[library].append(middle(ours) / hand[best])
            assert row[f"on {shown_as}"] == f"{shown(ours)}, {ratios[library][-1]:.2f}x"
            assert row[f"{shown_as} by hand"] == f"{best} {shown(rates[best])}"
    (torch, jax) = ([f"{end(of):.2f}" for end in (min, max)] for of in ratios.values())
    told = f"arrays give {torch[0]} to {torch[1]} and JAX's {jax[0]} to {jax[1]}."
    assert told in page
    trial = measured["torch_compile_of_our_step"].values()
    seconds = " s on LeNet and ".join(f"{found['first_call_seconds']:.0f}" for found in trial)
    ratio = " and ".join(f"{found['compiled'] / found['not_compiled']:.2f}" for found in trial)
    assert (
        f"first call took {seconds} s on the basic network, and then it ran at {ratio} of" in page
    )


FIRST_STEP = {  # the last word of the first two columns names the table
    "jax jit": ("seconds", 2),
    "other libraries": ("mib", 0),
    "plain NumPy": ("trace", 2),
}


def test_first_steps():
    measured = sorted((ROOT / "bench" / "results").glob("networks-*.json"))
    if not measured:
        return
    cells = json.loads(measured[-1].read_text())["first_step"]
    seen = 0
    for head, rows in tables():
        if head[0] not in ("network", "traced network") or head[-1] not in FIRST_STEP:
            continue
        if head[:4] != [head[0], "batch", "compiled kernels", "plain NumPy"]:
            continue
        what, digits = FIRST_STEP[head[-1]]
        of_these = [c for c in cells.values() if c["arraycnn fast"][what] is not None]
        assert len(rows) == len(of_these)
        for row, found in zip(rows, of_these, strict=True):
            shown_row = dict(zip(head, row, strict=True))
            for column, peer in OURS.items():
                assert shown_row[column].split(",")[0] == f"{found[peer][what]:.{digits}f}"
                seen += 1
            if what == "seconds":
                for peer in ("torch eager", "torch channels_last", "jax jit"):
                    assert shown_row[peer] == f"{found[peer][what]:.{digits}f}"
            if what == "mib":
                torch, peer = min(
                    (found[peer][what], peer) for peer in ("torch eager", "torch channels_last")
                )
                assert shown_row["best of torch"] == f"{peer} {torch:.0f}"
                assert shown_row["other libraries"] == f"jax jit {found['jax jit'][what]:.0f}"
                for column, peer in OURS.items():
                    assert shown_row[column].split(", ")[1] == f"{found[peer][what] / torch:.2f}x"
    assert seen == 2 * 3 * 9


def test_training():
    head = "network", "batch", "compiled kernels", "plain NumPy", "best peer", "share of sgemm"
    rows, measured = rows_of(*head), MEASURED["images_per_second"]
    assert len(rows) == sum(cell.startswith("train") for cell in measured)
    sgemm = MEASURED["sgemm_gflops"][str(MEASURED["threads"])] * 1e9
    for row in rows:
        net = NETS[row["network"]]
        rounds = measured[f"train {net} {row['batch']}"]
        check_against_best(row, rounds, max)
        fastest = max(middle(rounds[peer]) for peer in OURS.values())
        share = fastest * FLOP[net] / sgemm
        assert int(row["share of sgemm"].rstrip("%")) == pytest.approx(100 * share, abs=0.6)


def test_inference():
    rows = rows_of("network", "batch", "compiled kernels", "plain NumPy", "best peer")
    assert len(rows) == sum(cell.startswith("infer") for cell in MEASURED["images_per_second"])
    for row in rows:
        cell = f"infer {NETS[row['network']]} {row['batch']}"
        check_against_best(row, MEASURED["images_per_second"][cell], max)


def test_memory():
    for row in rows_of("network", "compiled kernels", "plain NumPy", "best peer"):
        (peaks,) = (
            found for cell, found in MEASURED["peak_mib"].items()
            if cell.split()[0] == NETS[row["network"]]
        )  # fmt: skip
        check_against_best(row, {name: [mib] for name, mib in peaks.items()}, min)


def test_threads():
    rows = [
        dict(zip(head, row, strict=True))
        for head, found in tables()
        if head[:3] == ["network", "batch", "kernels"] and head[3].isdigit()
        for row in found
    ]
    assert rows
    for row in rows:
        cell = MEASURED["threads_images_per_second"][f"{NETS[row['network']]} {row['batch']}"]
        by_count = cell[OURS[row["kernels"]]]
        counts = [column for column in row if column.isdigit()]
        assert counts
        for count in counts:
            ratio = middle(by_count[count]) / middle(by_count["1"])
            assert row[count] == f"{shown(by_count[count])}, {ratio:.2f}x"


def test_batches():
    rows = [row for head, found in tables() if head[:2] == ["network", "kernels"]
            for row in (dict(zip(head, r, strict=True)) for r in found)]  # fmt: skip
    assert rows
    for row in rows:
        by_batch = MEASURED["batches_images_per_second"][NETS[row["network"]]][OURS[row["kernels"]]]
        for size in (column for column in row if column.isdigit()):
            assert float(row[size].replace(",", "")) == pytest.approx(
                1e6 / middle(by_batch[size]), abs=0.051
            )


def test_where_the_time_goes():
    for row in rows_of("network", "batch", "kernels", "a step", "each kernel alone", "of these"):
        cell = MEASURED["profile"][f"{NETS[row['network']]} {row['batch']}"]
        found = cell[OURS[row["kernels"]]]
        total = sum(part["microseconds"] for part in found["rows"])
        assert float(row["a step"].replace(",", "")) == pytest.approx(found["step"], abs=0.051)
        alone = float(row["each kernel alone"].replace(",", ""))
        assert alone == pytest.approx(total, abs=0.051)
        shares = [
            (part["microseconds"] / total, part["kernel"], "x".join(map(str, part["shape"])))
            for part in found["rows"]
        ]
        named = re.findall(r"(\w+) ([\dx]+) (\d+)%", row["of these"])
        wanted = sorted((part for part in shares if part[0] >= 0.03), reverse=True)
        assert [(kernel, shape) for kernel, shape, _ in named] == [part[1:] for part in wanted]
        for (_, _, percent), (share, _, _) in zip(named, wanted, strict=True):
            assert int(percent) == pytest.approx(100 * share, abs=0.51)


def test_cold_starts():
    rows, measured = rows_of("command", "time"), MEASURED["cold_seconds"]
    assert len(rows) == len(measured)
    for row in rows:
        rounds = measured[row["command"].strip("`")]
        ratio = middle(rounds) / middle(measured["import torch"])
        assert row["time"] == f"{shown(rounds, 2)}, {ratio:.2f}x"
