"""What the checks of `octet serve` share: a server of the program named first on the command line,
with the model named second, and results a line each.
"""
import http.client
import json
import signal
import subprocess
import sys
import traceback

OCTET, MODEL = sys.argv[1:3]
failed = 0


def check(name, good, why=""):
    global failed
    failed += not good
    print(f"ok {name}" if good else f"FAIL {name}: {str(why)[:300]}", flush=True)


def attempt(test, *arguments):
    """A test that raises has failed, and the others still run."""
    try:
        test(*arguments)
    except Exception:
        check(test.__name__, False, traceback.format_exc()[-300:])


def finish():
    sys.exit(failed > 0)


class Server:
    def __init__(self, *options, model=MODEL, name="tiny"):
        self.process = subprocess.Popen(
            [OCTET, "serve", "-m", f"{name}={model}", "--port", "0", *options],
            stderr=subprocess.PIPE, text=True)
        self.lines = []
        while not self.lines or "http://" not in self.lines[-1]:
            line = self.process.stderr.readline()
            if not line:
                raise SystemExit(f"FAIL server_starts: {''.join(self.lines)}")
            self.lines.append(line)
        self.port = int(self.lines[-1].rsplit(":", 1)[1])

    def ask(self, path, body=None, headers=(), method=None):
        """Status, headers, parsed body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        data = json.dumps(body) if isinstance(body, (dict, list)) else body
        connection.request(method or ("POST" if data is not None else "GET"), path, data,
                           dict(headers))
        response = connection.getresponse()
        text = response.read()
        connection.close()
        try:
            return response.status, response.headers, json.loads(text)
        except ValueError:
            return response.status, response.headers, text.decode()

    def events(self, path, body):
        """The data of a stream's events."""
        status, headers, text = self.ask(path, {**body, "stream": True})
        if status != 200:
            return status, headers, text
        return status, headers, [line[6:] for line in text.split("\n")
                                 if line.startswith("data: ")]

    def metric(self, name):
        _, _, text = self.ask("/metrics")
        return sum(float(line.split()[-1]) for line in text.splitlines()
                   if line.startswith(name + "{"))

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        _, errors = self.process.communicate(timeout=240)
        return self.process.returncode, errors


def chat(text, **more):
    return {"messages": [{"role": "user", "content": text}], "max_tokens": 12, "temperature": 0,
            **more}


def text(prompt, **more):
    return {"prompt": prompt, "max_tokens": 12, "temperature": 0, **more}
