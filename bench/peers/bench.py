#!/usr/bin/env python3
"""Measures octet and llama.cpp on the same model files in alternating rounds, so that a machine
that speeds up or slows down meanwhile does so for both. Prints medians, ratios and octet's shares
of what the machine can do, which is measured in every round before and after octet's tests; appends
one line per test to a CSV file."""
import argparse
import csv
import datetime
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile

COLUMNS = ["date", "machine", "cores", "threads", "commit", "isa", "model", "test", "n", "depth",
           "rounds", "octet_tps", "octet_min", "octet_max", "llama_tps", "llama_min", "llama_max",
           "ratio", "octet_gb_per_s", "ceiling_gb_per_s", "memory_share", "octet_gops",
           "ceiling_gops", "compute_share", "octet_rss_bytes", "llama_rss_bytes", "llama_build"]


def numbers(text):
    return [int(part) for part in text.split(",") if part]


def parse_args():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--llama", required=True, help="llama-bench of a native llama.cpp build; "
                   "llama-batched-bench is looked for beside it")
    p.add_argument("--octet", default="build/octet")
    p.add_argument("-m", "--model", required=True, action="append",
                   help="may be given several times")
    p.add_argument("-t", "--threads", type=int, default=os.cpu_count())
    p.add_argument("-r", "--rounds", type=int, default=5)
    p.add_argument("--inner", type=int, default=1, help="runs of each test within a round, of "
                   "which the median counts (default 1)")
    p.add_argument("--prompt", type=int, default=512, help="prefill tokens (default 512); 0: none")
    p.add_argument("--gen", type=int, default=128, help="decoded tokens (default 128); 0: none")
    p.add_argument("--depth", type=numbers, default=[0],
                   help="tokens already in the context; a list: 0,4096")
    p.add_argument("--batch", type=numbers, default=[],
                   help="sequences that decode together; a list: 1,4,8")
    p.add_argument("--isa", help="instruction set that octet is held to (OCTET_ISA); build "
                   "llama.cpp for the same: build_llama.sh SOURCE avx2")
    p.add_argument("--prefix", type=shlex.split, default=[],
                   help="command put before each measured program, as in 'taskset -c 0,1'")
    p.add_argument("--csv", default="bench/results.csv")
    return p.parse_args()


def run(a, command, env=None):
    """Standard output, and the most bytes that the program had resident."""
    with tempfile.TemporaryFile("w+") as err:
        with subprocess.Popen(a.prefix + command, stdout=subprocess.PIPE, stderr=err, text=True,
                              env=env) as child:
            out = child.stdout.read()
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0:
            err.seek(0)
            last = (err.read().strip().splitlines() or ["no message"])[-1]
            sys.exit(f"{command[0]} failed ({child.returncode}): {last}")
    return out, usage.ru_maxrss * 1024


def octet_round(a, model):
    command = [a.octet, "bench", "-m", model, "--prompt", str(a.prompt), "--gen", str(a.gen),
               "--depth", ",".join(map(str, a.depth)), "--batch",
               ",".join(map(str, a.batch or [0])), "-r", str(a.inner), "-t", str(a.threads),
               "--json"]
    env = dict(os.environ, OCTET_ISA=a.isa) if a.isa else None
    out, _ = run(a, command, env)
    rows = json.loads(out)
    return {(row["test"], row["n"], row["depth"]): row for row in rows}


def llama_round(a, model):
    found = {}
    if a.prompt or a.gen:
        out, rss = run(a, [a.llama, "-m", model, "-p", str(a.prompt), "-n", str(a.gen), "-d",
                           ",".join(map(str, a.depth)), "-r", str(a.inner), "-t", str(a.threads),
                           "-o", "json"])
        for row in json.loads(out):
            test = ("prefill", row["n_prompt"]) if row["n_prompt"] else ("decode", row["n_gen"])
            found[(*test, row["n_depth"])] = dict(
                tokens_per_s=statistics.median(row["samples_ts"]), peak_rss_bytes=rss,
                build=f"{row['build_commit']} ({row['build_number']})")
    for depth in a.depth:
        for n in a.batch if a.gen else []:
            found["batch", n, depth] = llama_batch(a, model, n, max(depth, 1))
    return found


def llama_batch(a, model, n, depth):
    speeds, rss = [], 0
    for _ in range(a.inner):
        program = os.path.join(os.path.dirname(a.llama), "llama-batched-bench")
        n_ctx = max(n * (depth + a.gen), 512)  # its warm-up fails in very small ones
        out, rss = run(a, [program, "-m", model, "-c", str(n_ctx), "-npp", str(depth), "-ntg",
                           str(a.gen), "-npl", str(n), "-t", str(a.threads), "--output-format",
                           "jsonl"])
        lines = [line for line in out.splitlines() if line.startswith("{")]
        if len(lines) != 1:
            sys.exit(f"llama-batched-bench printed no result: {out[-300:]}")
        speeds.append(json.loads(lines[0])["speed_tg"])
    return dict(tokens_per_s=statistics.median(speeds), peak_rss_bytes=rss)


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
        writer = csv.DictWriter(f, COLUMNS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(rows)


def spread(name, values):
    return {f"{name}_tps": round(statistics.median(values), 2),
            f"{name}_min": round(min(values), 2), f"{name}_max": round(max(values), 2)}


def fastest_reads(octet):
    """Each round's reads in the fastest way, which half of the turns choose for the other half: the
    highest of as many medians of noisy values would be the luckiest one."""
    turns = [[speed / row["gb_per_s"] for speed in turn]
             for row in octet for turn in row["read_turns_gb_per_s"]]
    ways = [[statistics.median(way) for way in zip(*turns[half::2])] for half in (0, 1)]
    fastest = [medians.index(max(medians)) for medians in reversed(ways)]
    picked = [turn[fastest[i % 2]] for i, turn in enumerate(turns)]
    n = len(turns) // len(octet)
    return [row["gb_per_s"] * statistics.median(picked[i * n:(i + 1) * n])
            for i, row in enumerate(octet)]


def share(values, ceilings):
    """Medians over the rounds: of VALUES, of CEILINGS, and of their ratios."""
    return (round(statistics.median(values), 3), round(statistics.median(ceilings), 2),
            round(statistics.median(v / c for v, c in zip(values, ceilings)), 4))


def summarise(a, model, test, octet, llama):
    """The CSV line of one test from its rounds."""
    ours = [row["tokens_per_s"] for row in octet]
    theirs = [row["tokens_per_s"] for row in llama]
    memory = share([row["gb_per_s"] for row in octet], fastest_reads(octet))
    compute = share([row["gops"] for row in octet], [row["ceiling_gops"] for row in octet])
    return dict(
        date=datetime.date.today().isoformat(), machine=machine_name(), cores=os.cpu_count(),
        threads=a.threads, commit=commit_name(), isa=octet[0]["isa"],
        model=os.path.basename(model), test=test[0], n=test[1], depth=test[2], rounds=a.rounds,
        **spread("octet", ours), **spread("llama", theirs),
        ratio=round(statistics.median(ours) / statistics.median(theirs), 3),
        octet_gb_per_s=memory[0], ceiling_gb_per_s=memory[1], memory_share=memory[2],
        octet_gops=compute[0], ceiling_gops=compute[1], compute_share=compute[2],
        octet_rss_bytes=max(row["peak_rss_bytes"] for row in octet),
        llama_rss_bytes=max(row["peak_rss_bytes"] for row in llama),
        llama_build=llama[0].get("build", ""))


def measure_model(a, model):
    octet, llama = {}, {}
    for i in range(a.rounds):
        sides = [("octet", octet, lambda: octet_round(a, model)),
                 ("llama", llama, lambda: llama_round(a, model))]
        for name, results, measure in sides if i % 2 == 0 else reversed(sides):
            for test, row in measure().items():
                results.setdefault(test, []).append(row)
                print(f"round {i + 1} of {a.rounds}: {name} {' '.join(map(str, test))}: "
                      f"{row['tokens_per_s']:.2f}", file=sys.stderr)
    if set(octet) != set(llama):
        sys.exit(f"the programs ran different tests: {sorted(octet)} and {sorted(llama)}")
    return [summarise(a, model, test, octet[test], llama[test]) for test in octet]


def main():
    a = parse_args()
    for model in a.model:
        rows = measure_model(a, model)
        append_rows(a.csv, rows)
        print(f"{os.path.basename(model)}, {rows[0]['isa']}, {a.threads} threads")
        for row in rows:
            limit = "compute" if row["test"] == "prefill" else "memory"
            reached = f"{100 * row[limit + '_share']:.0f} % of {limit}"
            print(f"{row['test']:8}{row['n']:>5} depth {row['depth']:<6} octet "
                  f"{row['octet_tps']:>9.2f} t/s ({reached})   llama.cpp "
                  f"{row['llama_tps']:>9.2f} t/s   ratio {row['ratio']:.3f}")


if __name__ == "__main__":
    main()
