#!/usr/bin/env python3
"""Many clients at once: octet serve beside llama.cpp's server, or alone.

    serve_load.py MODEL.gguf --octet build/octet [--peer LLAMA_SERVER]
                  [--clients 32] [--seconds 60] [--rounds 3] [--tokens 128] [--check 64]

Each client streams one text completion after another, with a prompt of its own and without end
tokens, so every answer has the same number of tokens. Servers run one at a time, alternating, and
are started anew in each round. Prints a JSON object per round: tokens/s, gaps between pieces,
errors, memory at the end of the warm-up and its growth from then on; then medians and the ratio,
and octet's own metrics beside what the clients saw. With --check N, N of octet's answers are
compared with those to the same requests sent alone. Exits with 1 if there was an error, an answer
that differs, or metrics that do not add up.
"""
import argparse
import asyncio
import hashlib
import json
import os
import re
import statistics
import subprocess
import time
import urllib.request

PROMPTS = ["def fibonacci(n):", "int main(void) {", "SELECT name FROM", "function sort(list) {",
           "# How to read a file\n", "class Stack:", "import os\n\ndef walk(", "/* Returns the"]


def fetch(port, path):
    return urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60).read().decode()


def start(command, port, env=None):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               env={**os.environ, **(env or {})})
    for _ in range(600):
        try:
            fetch(port, "/health")
            return process
        except OSError:
            time.sleep(0.1)
    process.kill()
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


async def stream(port, body, results):
    """The text."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    data = json.dumps(body).encode()
    sent = last = time.monotonic()
    writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                 b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
    text, done = [], False
    async for line in reader:
        if line.startswith(b"data: [DONE]"):
            done = True
        elif line.startswith(b"data: "):
            event = json.loads(line[6:])
            if "error" in event:
                raise RuntimeError(event["error"])
            piece = event["choices"][0]["text"] if event["choices"] else ""
            if piece:
                now = time.monotonic()
                results["gaps" if text else "first"].append(now - last)
                last = now
                text.append(piece)
    writer.close()
    if not text or not done:
        raise RuntimeError("an answer that is empty or cut off")
    results["took"].append(time.monotonic() - sent)
    return "".join(text)


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


def empty_results():
    return {"gaps": [], "first": [], "took": [], "texts": {}, "errors": [], "memory": []}


async def client(port, i, options, end, results):
    k = 0
    while time.monotonic() < end:
        number = i + options.clients * k
        try:
            text = await stream(port, request_of(number, options.tokens), results)
            results["texts"][number] = digest(text)
        except (OSError, RuntimeError, ValueError) as error:
            results["errors"].append(str(error) or type(error).__name__)
            await asyncio.sleep(0.1)
        k += 1


async def sample_memory(pid, results, over):
    while not over.is_set():
        results["memory"].append(anonymous_bytes(pid))
        try:
            await asyncio.wait_for(over.wait(), 1)
        except asyncio.TimeoutError:
            pass


async def load(port, options, seconds, pid):
    results, over = empty_results(), asyncio.Event()
    begun = time.monotonic()
    sampling = asyncio.create_task(sample_memory(pid, results, over))
    await asyncio.gather(*(client(port, i, options, begun + seconds, results)
                           for i in range(options.clients)))
    results["seconds"] = time.monotonic() - begun
    over.set()
    await sampling
    return results


def percentile(values, share):
    values = sorted(values)
    return 1e3 * values[min(len(values) - 1, int(len(values) * share))] if values else 0


def row_of(name, results, options):
    memory = results["memory"]
    tail = memory[-max(1, len(memory) // 10):]
    return {"server": name, "answers": len(results["texts"]), "errors": len(results["errors"]),
            "tokens_per_s": round(len(results["texts"]) * options.tokens / results["seconds"], 1),
            "first_p50_ms": round(percentile(results["first"], 0.5), 1),
            "first_p99_ms": round(percentile(results["first"], 0.99), 1),
            "gap_p50_ms": round(percentile(results["gaps"], 0.5), 1),
            "gap_p99_ms": round(percentile(results["gaps"], 0.99), 1),
            "memory_mb_after_warm_up": round(memory[0] / 1e6, 1),
            "memory_growth_mb": round((statistics.mean(tail) - memory[0]) / 1e6, 1)}


def differing(port, results, options):
    """Numbers of requests whose answers are others when they are sent alone."""
    numbers = sorted(results["texts"])
    numbers = numbers[::max(1, len(numbers) // options.check)][:options.check]
    wrong = []
    for number in numbers:
        text = asyncio.run(stream(port, request_of(number, options.tokens), empty_results()))
        if digest(text) != results["texts"][number]:
            wrong.append(number)
    print(f"  {len(numbers) - len(wrong)} of {len(numbers)} answers are the same alone", flush=True)
    return wrong


def metrics(port):
    values = {}
    for line in fetch(port, "/metrics").splitlines():
        match = re.match(r"(\w+)(?:\{[^}]*\})? (\S+)$", line)
        if match and not match[1].endswith("_bucket"):
            values[match[1]] = values.get(match[1], 0) + float(match[2])
    return values


def check_metrics(before, after, results, options):
    """What octet counted beside what the clients saw; false where they do not agree."""
    def grown(name):
        return after[name] - before[name]

    n, tokens = len(results["texts"]), options.tokens
    print("  metrics:", json.dumps({name.removeprefix("octet_"): round(grown(name), 3)
                                    for name in after if name.endswith(("_total", "_count",
                                                                        "_sum"))}))
    seen_first = sum(results["first"]) / len(results["first"])
    told_first = grown("octet_time_to_first_token_seconds_sum") / n
    print(f"  mean time to the first token: {1e3 * told_first:.1f} ms told, {1e3 * seen_first:.1f} "
          f"ms seen; prompt tokens from the cache: "
          f"{grown('octet_prompt_tokens_cached_total') / grown('octet_prompt_tokens_total'):.1%}")
    return (grown("octet_requests_total") == n and grown("octet_requests_failed_total") == 0 and
            grown("octet_generated_tokens_total") == n * tokens and
            all(grown(f"octet_{what}_seconds_count") == n
                for what in ("queue", "prefill", "time_to_first_token")) and
            grown("octet_time_per_token_seconds_count") == n * (tokens - 1) and
            after["octet_requests_active"] == after["octet_requests_waiting"] == 0)


def measure(name, command, port, options, env=None):
    """A row, and whether all was well."""
    process = start(command, port, env)
    own, good = name == "octet", True
    try:
        asyncio.run(load(port, options, options.warm_up, process.pid))
        before = metrics(port) if own else None
        results = asyncio.run(load(port, options, options.seconds, process.pid))
        row = row_of(name, results, options)
        print(json.dumps(row), flush=True)
        if results["errors"]:
            print("  first error:", results["errors"][0])
        if own:
            good = check_metrics(before, metrics(port), results, options)
            print("  metrics add up" if good else "  metrics do not add up", flush=True)
            good = good and not results["errors"]
            if options.check:
                good = not differing(port, results, options) and good
        return row, good
    finally:
        process.terminate()
        process.wait()


def commands(options):
    n, n_ctx = options.clients, str(options.ctx)
    octet = [options.octet, "serve", "-m", options.model, "--port", str(options.port), "-q",
             "--parallel", str(n), "--ctx", n_ctx, "--cache-ram", str(options.cache_ram)]
    peer = [options.peer, "-m", options.model, "--port", str(options.port + 1), "-np", str(n), "-c",
            str(options.ctx * n), "-t", str(os.cpu_count()), "--no-webui",
            *options.peer_options.split()]
    return octet, peer


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--octet", default="build/octet")
    parser.add_argument("--peer")
    parser.add_argument("--peer-options", default="", help="more of llama.cpp's server's")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--warm-up", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--ctx", type=int, default=1024)
    parser.add_argument("--cache-ram", type=int, default=200, help="octet's, MB")
    parser.add_argument("--port", type=int, default=18450)
    parser.add_argument("--check", type=int, default=0, metavar="N")
    options = parser.parse_args()
    octet, peer = commands(options)
    rows, good = {"octet": [], "llama.cpp": []}, True
    for _ in range(options.rounds):
        row, fine = measure("octet", octet, options.port, options)
        rows["octet"].append(row)
        good = good and fine
        if options.peer:
            row, _ = measure("llama.cpp", peer, options.port + 1, options,
                             {"LD_LIBRARY_PATH": os.path.dirname(options.peer)})
            rows["llama.cpp"].append(row)
    medians = {name: statistics.median(row["tokens_per_s"] for row in list_)
               for name, list_ in rows.items() if list_}
    print("median tokens/s:", {name: round(value, 1) for name, value in medians.items()})
    if len(medians) == 2:
        print(f"ratio: {medians['octet'] / medians['llama.cpp']:.2f}")
    raise SystemExit(not good)


if __name__ == "__main__":
    main()
