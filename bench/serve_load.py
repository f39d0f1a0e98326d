#!/usr/bin/env python3
"""Many clients at once: octet serve beside llama.cpp's server, or alone.

    serve_load.py MODEL.gguf --octet build/octet [--peer LLAMA_SERVER]
                  [--clients 32] [--seconds 60] [--rounds 3] [--tokens 128] [--check]

Each client streams one text completion after another with a prompt of its own (greedy, no end
token). Servers run one at a time, alternating, and are started anew in each round. Prints tokens/s,
gaps between tokens and memory of each round, medians, and the ratio. With --check the texts of
octet are compared with those of the same requests sent alone.
"""
import argparse
import asyncio
import hashlib
import json
import os
import statistics
import subprocess
import time
import urllib.request

PROMPTS = ["def fibonacci(n):", "int main(void) {", "SELECT name FROM", "function sort(list) {",
           "# How to read a file\n", "class Stack:", "import os\n\ndef walk(", "/* Returns the"]


def start(command, port, env=None):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               env={**os.environ, **(env or {})})
    for _ in range(600):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).read()
            return process
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"{command[0]} does not start")


def anonymous_bytes(pid):
    with open(f"/proc/{pid}/status") as file:
        for line in file:
            if line.startswith("RssAnon"):
                return int(line.split()[1]) * 1024
    return 0


def request_of(i, tokens):
    return {"prompt": f"{PROMPTS[i % len(PROMPTS)]} # {i}\n" * (1 + i % 5), "max_tokens": tokens,
            "n_predict": tokens, "temperature": 0, "ignore_eos": True, "stream": True}


async def stream(port, body, gaps):
    """The text, and the number of events that carried some."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    data = json.dumps(body).encode()
    writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                 b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
    text, n, last = "", 0, None
    async for line in reader:
        if not line.startswith(b"data: ") or line.startswith(b"data: [DONE]"):
            continue
        event = json.loads(line[6:])
        if "error" in event:
            raise RuntimeError(event["error"])
        piece = event["choices"][0]["text"] if event["choices"] else ""
        if piece:
            now = time.monotonic()
            if last is not None:
                gaps.append(now - last)
            last = now
            text += piece
            n += 1
    writer.close()
    if n == 0:
        raise RuntimeError("an empty answer")
    return text, n


async def client(port, i, options, end, results):
    k = 0
    while time.monotonic() < end:
        number = i + options.clients * k
        try:
            text, n = await stream(port, request_of(number, options.tokens), results["gaps"])
            results["tokens"] += n
            results["texts"][number] = hashlib.sha256(text.encode()).hexdigest()
        except (OSError, RuntimeError, ValueError) as error:
            results["errors"].append(str(error))
        k += 1


async def load(port, options, seconds):
    results = {"gaps": [], "tokens": 0, "texts": {}, "errors": []}
    begun = time.monotonic()
    await asyncio.gather(*(client(port, i, options, begun + seconds, results)
                           for i in range(options.clients)))
    results["seconds"] = time.monotonic() - begun
    return results


def measure(name, command, port, options, env=None):
    process = start(command, port, env)
    try:
        asyncio.run(load(port, options, 3))
        before = anonymous_bytes(process.pid)
        results = asyncio.run(load(port, options, options.seconds))
        after = anonymous_bytes(process.pid)
        gaps = sorted(results["gaps"])
        row = {"server": name, "tokens_per_s": results["tokens"] / results["seconds"],
               "gap_p50_ms": 1e3 * gaps[len(gaps) // 2],
               "gap_p99_ms": 1e3 * gaps[int(len(gaps) * 0.99)], "errors": len(results["errors"]),
               "answers": len(results["texts"]), "anonymous_mb_before": before / 1e6,
               "anonymous_mb_after": after / 1e6}
        print(json.dumps(row), flush=True)
        if results["errors"]:
            print("  first error:", results["errors"][0])
        if options.check and name == "octet":
            alone = {}
            for number in sorted(results["texts"])[:64]:
                text, _ = asyncio.run(stream(port, request_of(number, options.tokens), []))
                alone[number] = hashlib.sha256(text.encode()).hexdigest()
            same = sum(alone[n] == results["texts"][n] for n in alone)
            print(f"  {same} of {len(alone)} answers are the same alone")
        return row
    finally:
        process.terminate()
        process.wait()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--octet", default="build/octet")
    parser.add_argument("--peer")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--port", type=int, default=18450)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    n = str(options.clients)
    rows = {"octet": [], "llama.cpp": []}
    for _ in range(options.rounds):
        rows["octet"].append(measure("octet", [
            options.octet, "serve", "-m", options.model, "--port", str(options.port), "-q",
            "--parallel", n, "--ctx", "1024"], options.port, options))
        if options.peer:
            rows["llama.cpp"].append(measure("llama.cpp", [
                options.peer, "-m", options.model, "--port", str(options.port + 1), "-np", n, "-c",
                str(1024 * options.clients), "-t", str(os.cpu_count()), "--no-webui"],
                options.port + 1, options,
                {"LD_LIBRARY_PATH": os.path.dirname(options.peer)}))
    medians = {name: statistics.median(row["tokens_per_s"] for row in list_)
               for name, list_ in rows.items() if list_}
    print("median tokens/s:", {name: round(value, 1) for name, value in medians.items()})
    if len(medians) == 2:
        print(f"ratio: {medians['octet'] / medians['llama.cpp']:.2f}")


if __name__ == "__main__":
    main()
