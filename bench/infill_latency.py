#!/usr/bin/env python3
"""How long an editor waits for a completion after one line of a long file has changed.

    infill_latency.py MODEL.gguf [--octet build/octet] [--tokens 4000] [--ctx N] [--edits 10]
                      [--restarts 5]

Asks /infill of `octet serve` in the middle of a file of so many tokens: cold, then after each of
some edits of the line that the cursor is in, then each time after the server was stopped and
started again with the same --cache-dir. Prints milliseconds until the first piece of text, and how
many tokens of the prompt were computed for it. A context smaller than the file sees the part around
the cursor; `octet synth --arch phi-2 --ctx 8192` makes a model that sees all of 4000 tokens.
"""
import argparse
import http.client
import json
import signal
import statistics
import subprocess
import tempfile
import time

LINES = ["def step_{0}(state, {1}):", "    total = state.count * {0} + {1}",
         "    if total > {0}:", "        state.items.append('{1}')", "        return None",
         "    for item in state.items[:{0}]:", "        print(item, total, '{1}')",
         "    return total", ""]
NAMES = ["width", "height", "offset", "depth", "limit", "margin", "scale"]


def line_of(i):
    return LINES[i % len(LINES)].format(i // len(LINES), NAMES[i % len(NAMES)])


class Server:
    def __init__(self, options, folder):
        command = [options.octet, "serve", "-m", options.model, "--port", "0", "-q", "--cache-dir",
                   folder]
        if options.ctx:
            command += ["--ctx", str(options.ctx)]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        line = ""
        while "http://" not in line:
            line = self.process.stderr.readline()
            if not line:
                raise SystemExit("the server does not start")
        self.port = int(line.rsplit(":", 1)[1])

    def post(self, path, body):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        connection.request("POST", path, json.dumps(body))
        return connection.getresponse()

    def n_tokens(self, text):
        return len(json.loads(self.post("/tokenize", {"content": text}).read())["tokens"])

    def infill(self, before, line, after):
        """Milliseconds to the first text, and the timings of the answer."""
        begun, first, last = time.monotonic(), None, None
        response = self.post("/infill", {
            "input_prefix": before, "prompt": line, "input_suffix": after, "n_predict": 8,
            "temperature": 0, "stream": True, "id_slot": 0, "cache_prompt": True})
        if response.status != 200:
            raise SystemExit(f"{response.status}: {response.read()}")
        for data in response:
            if data.startswith(b"data: "):
                first = first or time.monotonic()
                last = json.loads(data[6:])
        return 1e3 * (first - begun), last

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


def show(name, waits, answers):
    if len(waits) > 1:
        print(f"{'':<16} each: {' '.join(f'{wait:.0f}' for wait in waits)} ms")
    computed = [answer["timings"]["prompt_n"] for answer in answers]
    prompt = [answer["timings"]["prompt_ms"] for answer in answers]
    print(f"{name:<16} first text after {statistics.median(waits):7.1f} ms (longest "
          f"{max(waits):7.1f}), first token {statistics.median(prompt):7.1f} ms after the request "
          f"was seated (longest {max(prompt):7.1f}), {statistics.median(computed):4.0f} tokens "
          f"computed (most {max(computed)}) of {answers[-1]['tokens_evaluated']}, "
          f"{answers[-1]['fim_method']}", flush=True)


def edits_of(options):
    """The cursor's line as it is typed, a few characters at a time, then once more."""
    words = "    total = max(total, state.count) + len(state.items) * offset"
    return [words[:10 + 4 * (i % 12)] for i in range(options.edits)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--octet", default="build/octet")
    parser.add_argument("--tokens", type=int, default=4000)
    parser.add_argument("--ctx", type=int, default=0)
    parser.add_argument("--edits", type=int, default=10)
    parser.add_argument("--restarts", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = Server(options, folder)
        try:
            n = 64
            while server.n_tokens("\n".join(map(line_of, range(n)))) < options.tokens:
                n += 8
            lines = [line_of(i) + "\n" for i in range(n)]
            at = 2 * n // 3
            before, after = "".join(lines[:at]), "".join(lines[at + 1:])
            ask = lambda line: server.infill(before, line, after)
            show("cold", *zip(ask("    ")))
            show("same again", *zip(ask("    ")))
            show("edits", *zip(*map(ask, edits_of(options))))
            answers = []
            for i in range(options.restarts):
                server.stop()
                server = Server(options, folder)
                answers.append(ask(f"    total = {i}"))
            show("after restarts", *zip(*answers))
            show("edits", *zip(*map(ask, edits_of(options))))
        finally:
            server.stop()


if __name__ == "__main__":
    main()
