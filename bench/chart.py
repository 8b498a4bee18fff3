"""The chart of README.md, of what bench/cpu.py wrote: python bench/chart.py FILE.json >docs/speed.svg

How many times the best peer's images a second, for each cell of the tables in docs/PERFORMANCE.md. The
same result gives the same bytes, and the text is text, so that a page can be searched for a figure.
"""

import sys
from collections.abc import Iterator
from html import escape
from pathlib import Path
from statistics import median

import result_file
from table import NETS, OURS

KINDS = {"train": "Training", "infer": "Inference"}
COLORS = {"arraycnn fast": "#1f6fb2", "arraycnn numpy": "#8bb8dc"}
WIDTH, LEFT, RIGHT = 820, 236, 150
BAR, GAP, HEAD = 13, 9, 34
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #1c2733 }
.title { font-weight: 600; font-size: 15px } .head { font-weight: 600 } .value { font-size: 11px }
line { stroke: #1c2733 } .grid { stroke: #d8dee5 } .page { fill: #fff }
@media (prefers-color-scheme: dark) {
 text { fill: #e6edf3 } line { stroke: #e6edf3 } .grid { stroke: #39424e } .page { fill: #0d1117 }
}
"""


def groups(result: dict) -> list[dict]:
    """Each cell: its kind, network, batch, best peer, and (images a second, ratio) of ours."""
    found = []
    for cell, rates in result["images_per_second"].items():
        kind, net, batch = cell.split()
        if net not in NETS:
            continue
        medians = {name: median(rounds) for name, rounds in rates.items() if rounds}
        peers = {name: rate for name, rate in medians.items() if name not in OURS}
        best = max(peers, key=peers.get)
        bars = {
            name: (medians[name], medians[name] / peers[best]) for name in OURS if name in medians
        }
        place = {"kind": kind, "net": net, "batch": batch}
        found.append({**place, "best": best, "rate": peers[best], "bars": bars})
    return found


def chart(result: dict, name: str) -> str:
    """SVG of ``result``, which stands in the file ``name``."""
    rows = groups(result)
    most = max(ratio for row in rows for _, ratio in row["bars"].values())
    across = (WIDTH - LEFT - RIGHT) / most
    body, y = [], 64
    for kind, title in KINDS.items():
        body.append(_text(16, y + 14, title, "head"))
        y += HEAD - GAP
        for row in (row for row in rows if row["kind"] == kind):
            body += _group(row, y, across)
            y += len(row["bars"]) * BAR + GAP
        y += GAP
    bottom = y - GAP
    ticks = range(0, int(most) + 1, 2)
    grid = [_line(LEFT + n * across, 56, bottom, "grid") for n in ticks]
    scale = [_text(LEFT + n * across, bottom + 16, f"{n}x", "value", "middle") for n in ticks]
    one = _line(LEFT + across, 56, bottom, "one")
    height = bottom + 44
    about = f"{name}, commit {result['commit']}: {result['device']}, {result['threads']} threads"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        "<title>Images a second on the CPU, against the best of PyTorch and JAX</title>",
        f"<desc>{escape(about)}</desc>",
        f"<style>{STYLE}</style>",
        f'<rect class="page" width="{WIDTH}" height="{height}"/>',
        _text(16, 24, "Images a second on the CPU: times the best of PyTorch and JAX", "title"),
        *_legend(16, 44),
        *grid,
        *body,
        one,
        *scale,
        _text(16, height - 8, f"{about}. The line at 1x is the best peer.", "value"),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _group(row: dict, y: float, across: float) -> Iterator[str]:
    middle = y + len(row["bars"]) * BAR / 2 + 4
    label = f"{NETS[row['net']].removesuffix(' network')}, {row['batch']}"
    yield _text(LEFT - 10, middle, label, "", "end")
    for number, (name, (rate, ratio)) in enumerate(row["bars"].items()):
        top = y + number * BAR
        yield (
            f'<rect x="{LEFT}" y="{top}" width="{ratio * across:.1f}" height="{BAR - 1}" '
            f'fill="{COLORS[name]}"><title>{OURS[name]}: {rate:,.0f} images/s; '
            f"{row['best']}: {row['rate']:,.0f}</title></rect>"
        )
        end = max(LEFT + ratio * across, LEFT + across) + 6
        yield _text(end, top + 10, f"{ratio:.2f}x  {rate:,.0f} images/s", "value")


def _legend(x: float, y: float) -> Iterator[str]:
    for name, color in COLORS.items():
        yield f'<rect x="{x}" y="{y - 10}" width="12" height="12" fill="{color}"/>'
        yield _text(x + 18, y, OURS[name])
        x += 110
    yield _text(x + 10, y, "network, images in a batch; longer is faster", "value")


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    where = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {where} class="{kind}">{escape(text)}</text>'


def _line(x: float, top: float, bottom: float, kind: str) -> str:
    return f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top:.1f}" y2="{bottom:.1f}" class="{kind}"/>'


if __name__ == "__main__":
    file = Path(sys.argv[1])
    try:
        print(chart(result_file.read(file), file.name), end="")
    except result_file.NoResult as error:
        raise SystemExit(str(error)) from error
