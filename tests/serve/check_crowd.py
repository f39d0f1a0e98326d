"""Clients that are too many, too slow, or leave: the others must be served meanwhile. What is timed
is printed, not judged.

    check_crowd.py OCTET MODEL SLOW_MODEL FOLDER
"""
import json
import os
import pathlib
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
import time

from lib import MODEL, OCTET, Server, attempt, check, finish, text
from wire import connect, read_all, request, status_of

SLOW, FOLDER = sys.argv[3:5]
THERE = "/v1/completions"
CANCELLED = "octet_requests_cancelled_total"


def told(what, seconds):
    print(f"# {what}: {1e3 * seconds:.1f} ms", flush=True)


def wait_for(condition, seconds=60, pause=0.005):
    """Seconds until it held, or None."""
    begun = time.monotonic()
    while time.monotonic() - begun < seconds:
        if condition():
            return time.monotonic() - begun
        time.sleep(pause)
    return None


def begin(server, body, receive_bytes=None):
    s = socket.socket()
    if receive_bytes:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    s.settimeout(60)
    s.connect(("127.0.0.1", server.port))
    s.sendall(request(THERE, json.dumps({**body, "stream": True})))
    return s


def health_seconds(server, n=1):
    """The longest of N answers."""
    longest = 0
    for _ in range(n):
        begun = time.monotonic()
        if server.ask("/health")[0] != 200:
            return None
        longest = max(longest, time.monotonic() - begun)
    return longest


class Drips:
    """Connections that send a request byte by byte, until the server lets go of them."""

    def __init__(self, server, n):
        self.data = [b"GET /health HTTP/1.1\r\nX: " + b"a" * 10000,
                     request(THERE, b"x" * 5000)[:-4000]]
        self.sockets = [connect(server) for _ in range(n)]
        self.at, self.over = 0, threading.Event()
        self.thread = threading.Thread(target=self.drip, daemon=True)
        self.thread.start()

    def drip(self):
        while not self.over.is_set() and self.at < 3000:
            for i, s in enumerate(self.sockets):
                data = self.data[i % 2]
                try:
                    s.send(data[self.at:self.at + 1])
                except OSError:
                    pass
            self.at += 1
            time.sleep(0.1)

    def n_closed(self):
        closed = 0
        for s in self.sockets:
            s.setblocking(False)
            try:
                closed += s.recv(1000) == b""
            except BlockingIOError:
                pass
            except OSError:
                closed += 1
        return closed


def test_idle(server):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    wanted = min(10000, hard - 200)
    idle = []
    for _ in range(wanted):
        try:
            idle.append(connect(server, 5))
        except OSError:
            break
    longest = health_seconds(server, 10)
    print(f"# {len(idle)} idle connections", flush=True)
    told("health beside them, longest of 10", longest or 0)
    check("answers_beside_idle_connections", longest is not None)
    status, _, answer = server.ask(THERE, text("x", max_tokens=2))
    check("generates_beside_idle_connections", status == 200, answer)
    for s in idle:
        s.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_few_files():
    """More connections than the process may open."""
    script = f'ulimit -n 64; exec "$0" serve -m tiny="$1" --port 0 -q'
    process = subprocess.Popen(["bash", "-c", script, OCTET, MODEL], stderr=subprocess.PIPE,
                               text=True)
    server = Server.__new__(Server)
    server.process, line = process, ""
    while "http://" not in line:
        line = process.stderr.readline()
    server.port = int(line.rsplit(":", 1)[1])
    kept = connect(server)
    crowd = [connect(server) for _ in range(150)]
    time.sleep(0.2)
    turned_away = 0
    for s in crowd:
        s.settimeout(0.01)
        try:
            turned_away += s.recv(1) == b""
        except ConnectionError:
            turned_away += 1
        except OSError:
            pass
    check("too_many_are_turned_away", turned_away >= 80, turned_away)
    kept.sendall(request("/health", method="GET"))
    check("who_is_connected_is_served", status_of(read_all(kept)) == 200)
    for s in crowd:
        s.close()
    check("serves_when_they_left", wait_for(lambda: health_or_none(server), 20) is not None)
    status, errors = server.stop()
    check("few_files_end_well", status == 0 and errors.count("\n") < 20, errors[-300:])


def health_or_none(server):
    try:
        return server.ask("/health")[0] == 200
    except OSError:
        return False


def test_unread():
    """A client that never reads its stream is dropped before its backlog fills the memory. Each of
    its tokens brings the name of the model, so this long one fills that the sooner."""
    server = Server("--parallel", "2", "-q", name='a "long" name' * 1000)
    s = begin(server, text("int main", max_tokens=8000, ignore_eos=True, n=64), 4096)
    s.recv(10)
    dropped = wait_for(lambda: server.metric(CANCELLED) >= 1, 600, 0.2)
    check("who_does_not_read_is_dropped", dropped is not None)
    _, _, metrics = server.ask("/metrics")
    check("metrics_name_any_model", ('{model="' + 'a \\"long\\" name' * 1000 + '"} 1') in metrics,
          metrics[:300])
    check("others_are_served_then", server.ask(THERE, text("x", max_tokens=2))[0] == 200)
    s.close()
    server.stop()


def test_leaving():
    server = Server("--parallel", "1", "-c", "4096", "-q", model=SLOW)
    long = text([300] * 3900, max_tokens=5)
    s = begin(server, long)
    time.sleep(0.05)
    s.close()
    begun = time.monotonic()
    noticed = wait_for(lambda: server.metric(CANCELLED) == 1, 60, 0.001)
    check("leaving_in_prefill_is_noticed", noticed is not None)
    told("noticed in the middle of a prefill after", noticed or 0)
    with begin(server, text("a", max_tokens=1)) as other:
        check("the_next_is_answered", b"[DONE]" in read_all(other, 60))
    told("answer to the next, from then on", time.monotonic() - begun)
    waiting = [begin(server, long) for _ in range(3)]
    wait_for(lambda: server.metric("octet_requests_waiting") == 2)
    for s in waiting:
        s.close()
    gone = wait_for(lambda: server.metric(CANCELLED) == 4)
    check("leaving_in_the_queue_is_noticed", gone is not None, server.metric(CANCELLED))
    s = begin(server, text("a", max_tokens=3000, ignore_eos=True))
    s.recv(10)
    s.shutdown(socket.SHUT_RDWR)
    check("leaving_in_the_answer_is_noticed",
          wait_for(lambda: server.metric(CANCELLED) == 5) is not None)
    check("nothing_is_left_running", wait_for(
        lambda: server.metric("octet_requests_active") == 0) is not None)
    server.stop()


def test_full_load():
    server = Server("--parallel", "8", "-q", model=SLOW)
    busy = [begin(server, text([300 + i] * 200, max_tokens=3000, ignore_eos=True))
            for i in range(24)]
    busy.append(begin(server, text([299] * 3000, max_tokens=5)))
    longest = health_seconds(server, 50)
    check("health_under_full_load", longest is not None)
    told("health under full load, longest of 50", longest or 0)
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.05)
    status, errors = server.stop()  # the second signal: does not wait
    check("stops_under_full_load", status == 0 and "Sanitizer" not in errors, (status, errors))
    for s in busy:
        s.close()


def ask_raw(server, path, body):
    s = connect(server, 120)
    s.sendall(request(path, json.dumps(body)))
    return s


def is_answered(s):
    return bool(select.select([s], [], [], 0)[0])


def answers_beside(server, s):
    """How many others were answered before S was. Some dozens are while its request arrives."""
    n = 0
    while not is_answered(s) and n < 1000:
        n += server.ask("/health")[0] == 200
    return n


def test_large_requests():
    """Texts of megabytes are read, and answers of megabytes written, while others are served."""
    server = Server("--parallel", "2", "-q")
    words = "the quick brown fox jumps over 1234 lazy dogs\n" * (100 << 10)
    ids = [300] * (1 << 20)
    for path, body in (("/tokenize", {"content": words}), ("/detokenize", {"tokens": ids}),
                       ("/infill", {"input_prefix": words, "n_predict": 1}),
                       (THERE, text(ids))):
        s = ask_raw(server, path, body)
        n = answers_beside(server, s)
        check(f"others_are_answered_before_a_large_{path.strip('/')}", n >= 80, n)
        answer = read_all(s, 120)
        check(f"large_{path.strip('/')}_is_answered",
              status_of(answer) == (400 if path == THERE else 200), answer[:200])
    s = ask_raw(server, "/v1/embeddings", {"input": [[300]] * 2048})
    vectors = json.loads(read_all(s, 120).split(b"\r\n\r\n")[1])["data"]
    check("many_vectors_are_answered", [v["index"] for v in vectors] == list(range(2048)) and
          vectors[0]["embedding"] == vectors[-1]["embedding"])
    for path, body in (("/tokenize", {"content": words}), (THERE, text(words[:100000], n=2))):
        for s in [ask_raw(server, path, body) for _ in range(3)]:
            s.close()
    check("leaving_while_a_request_is_read",
          status_of(read_all(ask_raw(server, "/tokenize", {"content": words}), 120)) == 200)
    left = ask_raw(server, "/tokenize", {"content": words})
    kept = [ask_raw(server, "/detokenize", {"tokens": ids}) for _ in range(2)]
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.05)
    left.close()
    status, errors = server.stop()  # the second signal: does not wait
    check("stops_while_requests_are_read", status == 0 and "Sanitizer" not in errors,
          (status, errors[-2000:]))
    for s in kept:
        s.close()


def n_tokens_in(server, seconds, most):
    """A prompt that takes about so long, or MOST: much less where the processor is emulated."""
    n = 100
    begun = time.monotonic()
    server.ask(THERE, text([301] * n, max_tokens=1))
    return max(1, min(most, int(n * seconds / (time.monotonic() - begun))))


def test_draining():
    server = Server("--parallel", "2", "-q", model=SLOW)
    n = n_tokens_in(server, 2, 2000)
    s = begin(server, text([300] * n, max_tokens=4, ignore_eos=True))
    time.sleep(0.05)
    server.process.send_signal(signal.SIGTERM)
    late = connect(server)
    received = read_all(s, 60)
    check("sigterm_in_prefill_lets_it_end", b"[DONE]" in received, received[-200:])
    late.close()
    status, _ = server.stop()
    check("drained_server_ends_well", status == 0, status)


def test_damaged_folder():
    """Killed while it writes, and started again beside what is damaged in every way."""
    folder = pathlib.Path(FOLDER) / f"kept-{os.getpid()}"
    prompt = text("def add(a, b):\n    return a + b\n\n" * 12, max_tokens=8)
    server = Server("--cache-dir", str(folder), "-q")
    wanted = server.ask(THERE, prompt)[2]["choices"][0]["text"]
    server.process.kill()
    server.process.communicate()

    def served(name):
        server = Server("--cache-dir", str(folder), "-q")
        answers = [server.ask(THERE, prompt)[2] for _ in range(2)]
        got = [answer["choices"][0]["text"] for answer in answers]
        check(f"cache_{name}_serves_nothing_wrong", got == [wanted] * 2, got)
        server.stop()

    def damage(change):
        for path in list(folder.glob("*/*.kv")):
            change(path)

    served("after_kill")
    damage(lambda path: path.write_bytes(path.read_bytes()[:len(path.read_bytes()) // 2]))
    served("truncated")
    damage(lambda path: path.write_bytes(b""))
    served("empty")
    damage(lambda path: path.write_bytes(os.urandom(path.stat().st_size)))
    served("noise")
    files = list(folder.glob("*/*.kv"))
    contents = [path.read_bytes() for path in files]
    for path, content in zip(files, contents[1:] + contents[:1]):
        path.write_bytes(content)
    served("swapped")

    def flip(path):
        data = bytearray(path.read_bytes())
        data[len(data) // 3] ^= 1
        path.write_bytes(data)

    damage(flip)
    served("flipped")

    def unlink_and_mkdir(path):
        path.unlink()
        path.mkdir()

    damage(unlink_and_mkdir)
    served("folders")
    (folder / "stray").write_text("x")
    served("stray")


server = Server("--parallel", "2", "-q")
drips = Drips(server, 200)
attempt(test_idle, server)
for test in (test_few_files, test_unread, test_leaving, test_full_load, test_large_requests,
             test_draining, test_damaged_folder):
    attempt(test)
check("serves_beside_slow_senders", server.ask(THERE, text("x", max_tokens=2))[0] == 200)
took = wait_for(lambda: drips.n_closed() == 200, 60, 0.2)
check("slow_senders_are_let_go", took is not None, drips.n_closed())
drips.over.set()
drips.thread.join()
status, errors = server.stop()
check("no_sanitizer_report", status == 0 and "Sanitizer" not in errors, (status, errors[-2000:]))
finish()
