"""Mutated requests to a server over loopback for some seconds, then a good one.

    fuzz_http.py OCTET MODEL SECONDS [SEED]

Begins with the seeds of fuzz/corpus/request, as whole HTTP requests. Everything is drawn from SEED,
so a run that failed can be repeated.
"""

import pathlib
import random
import socket
import sys
import time

from lib import Server, check, finish
from wire import connect, request, send_raw, status_of

SECONDS, SEED = float(sys.argv[3]), int(sys.argv[4]) if len(sys.argv) > 4 else 1
MAX_REQUESTS, AT_ONCE = 200000, 8
SEEDS = pathlib.Path(__file__).parent.parent.parent / "fuzz/corpus/request"
TOKENS = [b"-1", b"0", b"1e999", b"99999999999999999999", b"null", b"true", b"[]", b"{}", b'""',
          b"\\ud800", b"\xff\xfe", b"\0", b"\r\n", b"\r\n\r\n", b"0\r\n\r\n", b"HTTP/1.1",
          b"Transfer-Encoding: chunked\r\n", b"Content-Length: 5\r\n",
          b"Connection: keep-alive\r\n", b"Expect: 100-continue\r\n",
          b"Content-Encoding: gzip\r\n", b"a" * 3000, b"[" * 500]


def seeds():
    found = []
    for path in sorted(SEEDS.iterdir()):
        line, _, body = path.read_bytes().partition(b"\n")
        place = line.split()[0].decode("latin-1") if line.startswith(b"/") else "/v1/completions"
        found.append(request(place, body, "POST" if body else "GET"))
    return found


def mutate(rng, data):
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        at, what = rng.randrange(len(data) + 1), rng.randrange(6)
        if what == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif what == 1:
            data[at:at] = rng.choice(TOKENS)
        elif what == 2:
            del data[at:at + rng.choice((1, 2, 8, 64))]
        elif what == 3:
            data[at:at] = data[at:at + rng.randrange(100)]
        elif what == 4:
            data[at:at + 4] = rng.choice(TOKENS)
        else:
            end = rng.randrange(len(data) + 1)
            data = data[:at] if rng.random() < 0.3 else data[:at] + data[end:]
        if not data:
            break
    return bytes(data[:200000])


def put(rng, s, data):
    """All at once, in two pieces, or with the end of sending told."""
    how = rng.randrange(4)
    cut = rng.randrange(len(data) + 1) if how == 1 else len(data)
    s.sendall(data[:cut])
    if cut < len(data):
        s.sendall(data[cut:])
    if how == 2:
        s.shutdown(socket.SHUT_WR)
    if how == 3:
        s.close()


def fuzz(server, rng, corpus):
    """How many requests were sent; some connections are left open for a while."""
    end, n, left = time.monotonic() + SECONDS, 0, []
    while time.monotonic() < end and n < MAX_REQUESTS and server.process.poll() is None:
        data = b"".join(mutate(rng, rng.choice(corpus)) for _ in range(rng.choice((1, 1, 1, 2))))
        try:
            s = connect(server, 5)
            put(rng, s, data)
            s.settimeout(rng.choice((0.0001, 0.01)))
            s.recv(65536)
        except OSError:
            pass
        left.append(s)
        if len(left) > AT_ONCE:
            left.pop(rng.randrange(len(left))).close()
        n += 1
    for s in left:
        s.close()
    return n


server = Server("--parallel", "4", "--ctx", "128", "-q")
n = fuzz(server, random.Random(SEED), seeds())
print(f"# {n} requests")
check("requests_were_sent", n > 10, n)
check("server_lives", server.process.poll() is None)
answer = send_raw(server, request("/v1/completions", '{"prompt": "x", "max_tokens": 2}'), 30)
check("still_answers", status_of(answer) == 200, answer[:200])
status, errors = server.stop()
check("ends_well", status == 0 and "Sanitizer" not in errors and "runtime error" not in errors,
      (status, errors[:3000]))
finish()
