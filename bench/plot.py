#!/usr/bin/env python3
"""Draws speeds from results.csv as an SVG: for every model a row of panels with tokens/s of prefill
and decode against depth, and of batches against their number of sequences. Of several measurements
of one thing the last counts; whiskers go from the slowest to the fastest round."""
import argparse
import csv
import math
import sys
from xml.sax.saxutils import escape

# Seen well on white and on black.
SIDES = [("octet", "octet", "#2f81f7"), ("llama", "llama.cpp", "#e0762a")]
DASHES = ["", "6 3", "2 3", "8 3 2 3"]  # by instruction set
STYLE = """text { font: 12px system-ui, sans-serif; fill: #59636e }
.title { font-size: 14px; font-weight: 600 } .axis, .grid { stroke: #8b949e; fill: none }
.grid { opacity: .25 } @media (prefers-color-scheme: dark) { text { fill: #9198a1 } }"""
PANEL_W, PANEL_H, LEFT, TOP, GAP_X, GAP_Y, FOOT = 260, 170, 56, 80, 66, 96, 30


def parse_args():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--csv", default="bench/results.csv")
    p.add_argument("--out", default="docs/speed.svg")
    p.add_argument("--machine", help="only rows of machines whose name has this in it "
                   "(default: the machine of the last row)")
    p.add_argument("--model", action="append", help="model file; may be given several times "
                   "(default: all)")
    p.add_argument("--threads", type=int, help="only rows of this many threads")
    return p.parse_args()


def load(a):
    """{model: {test: {isa: {x: row}}}}; x is the depth, or the sequences of a batch at depth 0."""
    with open(a.csv, newline="", encoding="utf-8") as f:
        rows = list(csv.DictReader(f))
    if not rows:
        sys.exit(f"{a.csv}: has no rows")
    machine = a.machine or rows[-1]["machine"]
    models = {}
    for row in rows:
        if machine not in row["machine"] or (a.model and row["model"] not in a.model):
            continue
        if a.threads and int(row["threads"]) != a.threads:
            continue
        if row["test"] == "batch" and row["depth"] != "0":
            continue
        x = int(row["n"] if row["test"] == "batch" else row["depth"])
        tests = models.setdefault(row["model"], {})
        tests.setdefault(row["test"], {}).setdefault(row["isa"], {})[x] = row
    if not models:
        sys.exit(f"{a.csv}: no row is of machine '{machine}', these models and threads")
    return models, machine


def round_step(top, n):
    """A step of 1, 2 or 5 times a power of ten that gives about N ticks up to TOP."""
    raw = top / n
    power = 10 ** math.floor(math.log10(raw))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= raw)


def text(x, y, content, anchor="middle", cls=""):
    cls = f' class="{cls}"' if cls else ""
    where = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f"<text {where}{cls}>{escape(str(content))}</text>"


def line(x1, y1, x2, y2, attributes):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {attributes}/>'


def measured(points, side):
    """Those that this side ran, too: a row may be of octet alone."""
    return {x: row for x, row in points.items() if row[f"{side}_tps"]}


class Panel:
    def __init__(self, x, y, title, x_label, by_isa):
        self.x, self.y, self.by_isa = x, y, by_isa
        self.xs = sorted({at for points in by_isa.values() for at in points})
        most = max(float(row[f"{side}_max"]) for points in by_isa.values()
                   for side, _, _ in SIDES for row in measured(points, side).values())
        self.step = round_step(most, 4)
        self.top = self.step * math.ceil(most / self.step)
        self.out = [text(x + PANEL_W / 2, y - 10, title),
                    text(x + PANEL_W / 2, y + PANEL_H + 34, x_label)]

    def at(self, value):
        """Tested places stand evenly: they double rather than grow."""
        return self.x + PANEL_W * (self.xs.index(value) + 0.5) / len(self.xs)

    def height(self, speed):
        return self.y + PANEL_H * (1 - speed / self.top)

    def axes(self):
        for i in range(round(self.top / self.step) + 1):
            y = self.height(i * self.step)
            self.out.append(line(self.x, y, self.x + PANEL_W, y, 'class="grid"'))
            self.out.append(text(self.x - 6, y + 4, f"{i * self.step:g}", "end"))
        for x in self.xs:
            self.out.append(text(self.at(x), self.y + PANEL_H + 16, x))
        self.out.append(line(self.x, self.y + PANEL_H, self.x + PANEL_W, self.y + PANEL_H,
                             'class="axis"'))

    def draw(self, isas):
        self.axes()
        for isa, points in self.by_isa.items():
            for side, _, color in SIDES:
                xs = sorted(measured(points, side))
                speeds = [float(points[x][f"{side}_tps"]) for x in xs]
                path = " ".join(f"{self.at(x):.1f},{self.height(s):.1f}"
                                for x, s in zip(xs, speeds))
                self.out.append(f'<polyline points="{path}" fill="none" stroke="{color}" '
                                f'stroke-width="2" stroke-dasharray="{isas[isa]}"/>')
                for x, speed in zip(xs, speeds):
                    low, high = (self.height(float(points[x][f"{side}_{end}"]))
                                 for end in ("min", "max"))
                    self.out.append(line(self.at(x), low, self.at(x), high, f'stroke="{color}"'))
                    self.out.append(f'<circle cx="{self.at(x):.1f}" cy="{self.height(speed):.1f}" '
                                    f'r="3.5" fill="{color}"><title>{speed:.1f} tokens/s</title>'
                                    "</circle>")
        return self.out


def legend(isas, machine):
    out, x = [text(LEFT, 22, f"tokens/s on {machine}", "start", "title")], LEFT
    for _, name, color in SIDES:
        for isa, dash in isas.items():
            out.append(line(x, 39, x + 26, 39, f'stroke="{color}" stroke-width="2" '
                            f'stroke-dasharray="{dash}"'))
            label = f"{name} ({isa})" if isa else name
            out.append(text(x + 32, 43, label, "start"))
            x += 50 + 7 * len(label)
    return out


def main():
    a = parse_args()
    models, machine = load(a)
    names = sorted({isa for tests in models.values() for by_isa in tests.values()
                    for isa in by_isa}, reverse=True)
    isas = {isa: DASHES[i % len(DASHES)] for i, isa in enumerate(names)}
    panels = [("prefill", "depth, tokens"), ("decode", "depth, tokens"),
              ("batch", "sequences decoding together")]
    width = LEFT + 3 * PANEL_W + 2 * GAP_X + 20
    height = TOP + len(models) * (PANEL_H + GAP_Y) + FOOT - 20
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
           f'width="{width}" height="{height}">', f"<style>{STYLE}</style>", *legend(isas, machine)]
    for i, (model, tests) in enumerate(models.items()):
        y = TOP + 24 + i * (PANEL_H + GAP_Y)
        out.append(text(LEFT, y - 30, model, "start", "title"))
        for k, (test, x_label) in enumerate(panels):
            if test in tests:
                panel = Panel(LEFT + k * (PANEL_W + GAP_X), y, test, x_label, tests[test])
                out += panel.draw(isas)
    with open(a.out, "w", encoding="utf-8") as f:
        f.write("\n".join(out) + "\n</svg>\n")


if __name__ == "__main__":
    main()
