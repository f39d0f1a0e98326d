"""An LSP client for the checks of `octet lsp`: it says what it is told to, at the time it is told
to, and keeps what it hears in order.
"""
import json
import queue
import subprocess
import threading


def frame(message):
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    return b"Content-Length: %d\r\n\r\n" % len(body) + body


class Client:
    def __init__(self, *command, **popen):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, **popen)
        self.heard = queue.Queue()
        self.notifications = []
        self.answers = {}
        self.settings = None  # at "octet", for who asks
        self.n_asked = 0
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        out = self.process.stdout
        while line := out.readline():
            length = int(line.split(b":")[1])
            assert out.readline() == b"\r\n"
            self.heard.put(json.loads(out.read(length)))
        self.heard.put(None)

    def send(self, message):
        self.raw(frame(message))

    def raw(self, data):
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def notify(self, method, params=None):
        self.send({"jsonrpc": "2.0", "method": method, "params": params or {}})

    def request(self, method, params=None):
        """Its id, for answer()."""
        self.n_asked += 1
        self.send({"jsonrpc": "2.0", "id": self.n_asked, "method": method, "params": params or {}})
        return self.n_asked

    def hear(self, seconds=60):
        message = self.heard.get(timeout=seconds)
        if message is None:
            raise EOFError("the server has closed")
        if "method" in message:
            self.notifications.append(message)
            if "id" in message:
                asked = message["method"] == "workspace/configuration"
                self.send({"jsonrpc": "2.0", "id": message["id"],
                           "result": [self.settings] if asked else None})
        else:
            self.answers[message.get("id")] = message
        return message

    def answer(self, number, seconds=60):
        while number not in self.answers:
            self.hear(seconds)
        return self.answers.pop(number)

    def ask(self, method, params=None):
        return self.answer(self.request(method, params))

    def wait_for(self, method, text=""):
        """The next notification of METHOD whose params hold TEXT, taken off the list."""
        while True:
            for i, message in enumerate(self.notifications):
                if message["method"] == method and text in json.dumps(message["params"]):
                    return self.notifications.pop(i)
            self.hear()

    def traces(self):
        return [m["params"]["message"] for m in self.notifications if m["method"] == "$/logTrace"]

    # ---- What editors say ------------------------------------------------------------------------

    def begin(self, capabilities=None, options=None, **more):
        answer = self.ask("initialize", {"processId": None, "rootUri": "file:///w", "trace":
                                         "messages", "capabilities": capabilities or {},
                                         "initializationOptions": options, **more})
        self.notify("initialized")
        return answer["result"]

    def open(self, uri, text, language="python"):
        self.notify("textDocument/didOpen", {"textDocument": {
            "uri": uri, "languageId": language, "version": 1, "text": text}})

    def change(self, uri, *changes, version=2):
        """Each a whole text, or (line, character, line, character, text)."""
        self.notify("textDocument/didChange", {
            "textDocument": {"uri": uri, "version": version},
            "contentChanges": [{"text": c} if isinstance(c, str) else {
                "range": {"start": {"line": c[0], "character": c[1]},
                          "end": {"line": c[2], "character": c[3]}}, "text": c[4]}
                for c in changes]})

    def at(self, uri, line, character, **context):
        return {"textDocument": {"uri": uri}, "position": {"line": line, "character": character},
                "context": {"triggerKind": 1, **context}}

    def inline(self, uri, line, character, **context):
        return self.ask("textDocument/inlineCompletion", self.at(uri, line, character, **context))

    def end(self):
        """Exit status after a proper good-bye."""
        answer = self.ask("shutdown")
        assert answer["result"] is None, answer
        self.notify("exit")
        return self.process.wait(60)
