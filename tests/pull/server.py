"""A model hub that misbehaves on request, for tests/cli/pull.sh.

    server.py PORT_FILE LOG_FILE

Listens on a free port of 127.0.0.1 and writes its number, the SHA-256 and the size of the one
file it has to PORT_FILE; every request is a line in LOG_FILE. The first folder of a path names
the behaviour; "normal" is a hub as it should be: a redirect that states SHA-256 and size, then the
bytes from another host name, ranges honoured.
"""
import hashlib
import http.server
import os
import re
import socket
import sys
import threading
import time

DATA = hashlib.sha512(b"octet").digest() * 16384  # 1 MiB
SHA256 = hashlib.sha256(DATA).hexdigest()
CHUNK = 1 << 16
counts = {}
lock = threading.Lock()


def times(key):
    """How often this was asked for a key before."""
    with lock:
        counts[key] = counts.get(key, 0) + 1
        return counts[key] - 1


class Hub(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        with lock, open(sys.argv[2], "a") as log:
            log.write(f"{self.command} {self.path} {self.headers.get('Range', '-')}\n")

    def empty(self, status, headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def linked(self):
        """The headers in which the hub states what a file is."""
        sha256 = "0" * 64 if self.mode == "wronghash" else SHA256
        size = len(DATA) + (1000 if self.mode == "short" else -1000 if self.mode == "long" else 0)
        if self.mode == "unstated":
            return []
        return [("X-Linked-Etag", f'"{sha256}"'), ("X-Linked-Size", str(size))]

    def redirect(self):
        port = self.server.server_address[1]
        target = f"http://localhost:{port}/cdn{self.path}"
        if self.mode == "outside":
            target = "http://example.invalid/file.gguf"
        if self.mode == "file":
            target = "file:///etc/passwd"
        if self.mode == "loop":
            self.empty(302, [("Location", self.path)])
            return
        if self.mode == "moved" and "/new" not in self.path:  # a renamed repository
            self.empty(307, [("Location", self.path.replace("/moved/", "/moved/new/"))])
            return
        self.empty(302, [("Location", target)] + self.linked())

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def answer(self):
        parts = self.path.split("/")
        on_cdn = parts[1] == "cdn"
        self.mode = parts[2] if on_cdn else parts[1]
        if self.mode == "missing":
            self.empty(404)
        elif self.mode == "private":
            self.empty(401)
        elif self.mode == "busy" and times(self.path + self.command) < 1:
            self.empty(503)
        elif self.mode == "direct":  # no hub: the file itself
            self.send_file()
        elif not on_cdn:
            self.redirect()
        else:
            self.send_file()

    def send_file(self):
        first = 0
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if asked and self.mode != "norange":
            first = int(asked[1])
            if self.mode == "otherpart":
                first += 1
            if first >= len(DATA):
                self.empty(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{len(DATA) - 1}/{len(DATA)}")
        else:
            self.send_response(200)
        data = DATA[first:]
        if self.mode == "corrupt":
            data = b"\xff" + data[1:]
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.send_body(data)

    def send_body(self, data):
        breaks = {"breaks": 3, "norange": 1, "otherpart": 1, "dead": 1000000}.get(self.mode, 0)
        if breaks and times(self.path) < breaks:
            data = data[: len(data) // 3 if self.mode != "dead" or times("dead") == 0 else 0]
            self.cut = True
        for i in range(0, len(data), CHUNK):
            self.wfile.write(data[i:i + CHUNK])
            if self.mode == "slow":
                time.sleep(0.2)
            if self.mode == "stall" and times(self.path) == 2:
                self.wfile.flush()
                time.sleep(8)
                self.close_connection = True
                return
        self.wfile.flush()
        if getattr(self, "cut", False):
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, address):
        pass  # clients that hang up are part of the tests


def main():
    server = Server(("127.0.0.1", 0), Hub)
    with open(sys.argv[1] + ".new", "w") as file:
        file.write(f"{server.server_address[1]} {SHA256} {len(DATA)}\n")
    os.rename(sys.argv[1] + ".new", sys.argv[1])
    server.serve_forever()


if __name__ == "__main__":
    main()
