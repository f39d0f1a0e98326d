#!/usr/bin/env python3
"""Measures octet and llama.cpp on one model file in alternating rounds, so that a machine that
speeds up or slows down meanwhile does so for both. Prints medians and ratios; appends one line per
test to a CSV file."""
import argparse
import csv
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys

COLUMNS = ["date", "machine", "cores", "threads", "commit", "model", "test", "n", "depth", "rounds",
           "octet_tps", "octet_min", "octet_max", "llama_tps", "llama_min", "llama_max", "ratio",
           "llama_build"]


def parse_args():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--llama", required=True, help="llama-bench of a native llama.cpp build")
    p.add_argument("--octet", default="build/octet")
    p.add_argument("-m", "--model", required=True)
    p.add_argument("-t", "--threads", type=int, default=os.cpu_count())
    p.add_argument("-r", "--rounds", type=int, default=5)
    p.add_argument("--prompt", type=int, default=512, help="prefill tokens (default 512)")
    p.add_argument("--gen", type=int, default=128, help="decoded tokens (default 128)")
    p.add_argument("--depth", type=int, default=0, help="tokens already in the context")
    p.add_argument("--csv", default="bench/results.csv")
    return p.parse_args()


def run_json(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        sys.exit(f"{command[0]} failed ({done.returncode}): {last}")
    return json.loads(done.stdout)


def octet_round(a):
    rows = run_json([a.octet, "bench", "-m", a.model, "--prompt", str(a.prompt), "--gen",
                     str(a.gen), "--depth", str(a.depth), "-r", "1", "-t", str(a.threads),
                     "--json"])
    return {row["test"]: row["tokens_per_s"] for row in rows}, "-"


def llama_round(a):
    rows = run_json([a.llama, "-m", a.model, "-p", str(a.prompt), "-n", str(a.gen), "-d",
                     str(a.depth), "-r", "1", "-t", str(a.threads), "-o", "json"])
    found = {"prefill" if row["n_prompt"] else "decode": row["avg_ts"] for row in rows}
    return found, f"{rows[0]['build_commit']} ({rows[0]['build_number']})"


def machine_name():
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        for line in f:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def commit_name():
    done = subprocess.run(["git", "describe", "--always", "--dirty"], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True)
    return done.stdout.strip() or "none"


def append_rows(path, rows):
    new = not os.path.exists(path)
    with open(path, "a", newline="", encoding="utf-8") as f:
        writer = csv.DictWriter(f, COLUMNS)
        if new:
            writer.writeheader()
        writer.writerows(rows)


def main():
    a = parse_args()
    speeds = {("octet", t): [] for t in ("prefill", "decode")}
    speeds |= {("llama", t): [] for t in ("prefill", "decode")}
    build = ""
    for i in range(a.rounds):
        order = [("octet", octet_round), ("llama", llama_round)]
        for name, measure in order if i % 2 == 0 else reversed(order):
            found, version = measure(a)
            build = version if name == "llama" else build
            for test in ("prefill", "decode"):
                speeds[name, test].append(found[test])
        print(f"round {i + 1} of {a.rounds}: " + ", ".join(
            f"{name} {test} {values[-1]:.1f}" for (name, test), values in speeds.items()),
            file=sys.stderr)
    rows = []
    for test, n in (("prefill", a.prompt), ("decode", a.gen)):
        ours, theirs = speeds["octet", test], speeds["llama", test]
        row = dict(date=datetime.date.today().isoformat(), machine=machine_name(),
                   cores=os.cpu_count(), threads=a.threads, commit=commit_name(),
                   model=os.path.basename(a.model), test=test, n=n, depth=a.depth, rounds=a.rounds,
                   octet_tps=round(statistics.median(ours), 2), octet_min=round(min(ours), 2),
                   octet_max=round(max(ours), 2), llama_tps=round(statistics.median(theirs), 2),
                   llama_min=round(min(theirs), 2), llama_max=round(max(theirs), 2),
                   ratio=round(statistics.median(ours) / statistics.median(theirs), 3),
                   llama_build=build)
        rows.append(row)
        print(f"{test:8} n={n:<5} octet {row['octet_tps']:>9.2f} t/s   "
              f"llama.cpp {row['llama_tps']:>9.2f} t/s   ratio {row['ratio']:.3f}")
    append_rows(a.csv, rows)


if __name__ == "__main__":
    main()
