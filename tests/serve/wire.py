"""Raw bytes to a server and back, for checks that send what no HTTP library would."""
import socket
import time


def connect(server, timeout=10):
    return socket.create_connection(("127.0.0.1", server.port), timeout=timeout)


def request(path, body=b"", method="POST", headers=(), length=None):
    """A request as bytes; the connection is to be closed after it unless HEADERS say otherwise."""
    if isinstance(body, str):
        body = body.encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *headers]
    if not any(h.lower().startswith("connection:") for h in lines):
        lines.append("Connection: close")
    if length is None and (body or method == "POST"):
        length = len(body)
    if length is not False and length is not None:
        lines.append(f"Content-Length: {length}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def read_all(s, seconds=10):
    """What comes until the other side closes, or for so long."""
    received, end = b"", time.monotonic() + seconds
    while True:
        s.settimeout(max(0.01, end - time.monotonic()))
        try:
            part = s.recv(65536)
        except OSError:
            return received
        if not part:
            return received
        received += part


def send_raw(server, data, seconds=10, close=False):
    """The answer to DATA; CLOSE: goes away right after sending."""
    with connect(server) as s:
        try:
            s.sendall(data)
        except OSError:
            pass  # refused before all was sent
        return b"" if close else read_all(s, seconds)


def status_of(answer):
    """None: there was none, the connection was closed."""
    words = answer.split(b" ", 2)
    return int(words[1]) if answer.startswith(b"HTTP/1.") and len(words) > 2 else None
