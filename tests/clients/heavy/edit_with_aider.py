"""Aider makes one edit in a repository: edit_with_aider.py BASE_URL AIDER

Small models can not write an edit, so a relay hands aider's requests on to octet serve, sees that
the answers are streams as they should be, and puts other words into them: an edit in aider's own
format.
"""
import http.server
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import urllib.request

BASE, AIDER = sys.argv[1], os.path.abspath(sys.argv[2])
BEFORE = "def greet():\n    return 'hello'\n"
AFTER = "def greet():\n    return 'good day'\n"
WORDS = f"Here it is:\n\ngreet.py\n```python\n{AFTER}```\n"
seen = []


def events(text):
    return [line[6:] for line in text.split("\n") if line.startswith("data: ")]


def scripted(text):
    """The stream TEXT with WORDS in the place of what it says."""
    lines, left = [], WORDS
    for line in text.split("\n"):
        if line.startswith("data: {"):
            event = json.loads(line[6:])
            for choice in event["choices"]:
                if choice["delta"].get("content"):
                    choice["delta"]["content"], left = left, ""
            line = "data: " + json.dumps(event)
        lines.append(line)
    return "\n".join(lines)


class Relay(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        request = urllib.request.Request(BASE + self.path, body, {
            "Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=300) as answer:
            kind, text = answer.headers["Content-Type"], answer.read().decode()
        seen.append((json.loads(body), kind, text))
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(scripted(text).encode())

    def log_message(self, *_):
        pass


def check(name, good, why=""):
    print(f"ok {name}" if good else f"FAIL {name}: {str(why)[-300:]}", flush=True)
    return good


def main():
    relay = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Relay)
    threading.Thread(target=relay.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "greet.py").write_text(BEFORE)
        environment = {
            **os.environ, "HOME": name, "OPENAI_API_KEY": "none", "GIT_CONFIG_GLOBAL": "/dev/null",
            "OPENAI_API_BASE": f"http://127.0.0.1:{relay.server_port}/v1",
            "AIDER_ANALYTICS": "false", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        ran = subprocess.run(
            [AIDER, "--model", "openai/octet", "--edit-format", "whole", "--yes-always",
             "--no-git", "--no-check-update", "--no-show-release-notes", "--no-show-model-warnings",
             "--no-pretty", "--map-tokens", "0", "--no-analytics", "--message",
             "Let greet return 'good day'.", "greet.py"],
            cwd=folder, env=environment, capture_output=True, text=True, timeout=200)
        edited = (folder / "greet.py").read_text()
    good = check("aider_asks", len(seen) > 0 and seen[0][0]["stream"] and
                 seen[0][0]["messages"][-1]["role"] == "user", ran.stdout + ran.stderr)
    stream = seen[0] if seen else ({}, "", "")
    good &= check("aider_is_streamed_to", stream[1] == "text/event-stream" and
                  events(stream[2])[-1:] == ["[DONE]"] and
                  all("choices" in json.loads(e) for e in events(stream[2])[:-1]), stream)
    good &= check("aider_edits", edited == AFTER, ran.stdout + ran.stderr)
    sys.exit(not good)


main()
