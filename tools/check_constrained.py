#!/usr/bin/env python3
"""Holds models with random weights to 50 schemas, and checks each text with jsonschema.

    tools/check_constrained.py [--octet build/octet] [--seeds 3] [--tokens 200]

The models are made by `octet synth`, tiny ones of both families of vocabularies; they know nothing,
so all that is right about a text is the schema's doing. One server per model answers everything.
Needs jsonschema (PyPI). Prints how many of the texts were valid; exit 1 unless all were.
"""
import argparse
import concurrent.futures
import json
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request

import jsonschema

SCHEMAS = "tests/data/grammar/schemas.json"
MODELS = (("llama-tiny", "q8_0"), ("phi-2-tiny", "q4_k_m"))


def post(port, body):
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/completion", json.dumps(body).encode(),
        {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=120) as reply:
            return json.load(reply)
    except urllib.error.HTTPError as error:
        raise RuntimeError(error.read().decode()) from error


def check(port, case, seed, n_tokens):
    """None, or what is wrong."""
    try:
        reply = post(port, {"prompt": "x", "n_predict": n_tokens, "seed": seed, "temperature": 1.5,
                            "top_k": 0, "top_p": 1, "min_p": 0, "json_schema": case["schema"]})
        value = json.loads(reply["content"])
        checker = jsonschema.Draft202012Validator(
            case["schema"], format_checker=jsonschema.FormatChecker())
        errors = [error.message for error in checker.iter_errors(value)]
        return f"{errors[0]}: {reply['content']}" if errors else None
    except Exception as error:  # whatever it is, it counts
        return str(error)


def start(octet, model):
    server = subprocess.Popen([octet, "serve", "-m", model, "--port", "0", "--parallel", "4", "-q"],
                              stderr=subprocess.PIPE, text=True)
    for line in server.stderr:
        if "http://" in line:
            port = int(line.split("http://")[1].split(":")[1].split("/")[0].split()[0])
            return server, port
    raise RuntimeError("octet serve did not start")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--octet", default="build/octet")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=200)
    args = parser.parse_args()
    with open(SCHEMAS, encoding="utf-8") as file:
        cases = json.load(file)
    n, n_valid = 0, 0
    with tempfile.TemporaryDirectory() as folder:
        for arch, kind in MODELS:
            model = os.path.join(folder, arch + ".gguf")
            subprocess.run([args.octet, "synth", "--arch", arch, "--type", kind, model], check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            server, port = start(args.octet, model)
            jobs = [(case, seed) for case in cases for seed in range(args.seeds)]
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                found = pool.map(lambda job: check(port, *job, args.tokens), jobs)
                for (case, seed), wrong in zip(jobs, found):
                    n += 1
                    n_valid += wrong is None
                    if wrong:
                        print(f"{arch}, {case['name']}, seed {seed}: {wrong}")
            server.terminate()
            server.wait()
    print(f"{n_valid} of {n} texts valid")
    return 0 if n == n_valid else 1


if __name__ == "__main__":
    sys.exit(main())
