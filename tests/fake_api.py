"""Remote APIs that behave, and misbehave, as told; for tests/test_provider.c.

    fake_api.py PORT_FILE LOG_FILE

Listens on a free port of 127.0.0.1 and writes its number to PORT_FILE; every request is a JSON line
in LOG_FILE: method, path, headers and body. It ends when its standard input does. The first folder
of a path names the behaviour, the rest is the API's own path. All answers are made up on the spot:
none is a real model's.
"""
import email.utils
import http.server
import json
import os
import sys
import threading
import time

counts = {}
lock = threading.Lock()


def times(key):
    """How often this was asked for a key before."""
    with lock:
        counts[key] = counts.get(key, 0) + 1
        return counts[key] - 1


def sse(*events, end="\n"):
    return "".join(f"data: {e if isinstance(e, str) else json.dumps(e)}{end}{end}"
                   for e in events).encode()


def piece(text=None, finish=None, **more):
    delta = {} if text is None else {"content": text}
    return {"model": "fixture-1", "choices": [{"delta": delta, "finish_reason": finish}], **more}


USAGE = {"prompt_tokens": 11, "completion_tokens": 7,
         "prompt_tokens_details": {"cached_tokens": 4},
         "completion_tokens_details": {"reasoning_tokens": 2}}


class Api(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def send(self, status, body, kind="text/event-stream", headers=()):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def send_json(self, status, value, headers=()):
        self.send(status, json.dumps(value).encode(), "application/json", headers)

    def chunks(self, parts, pause=0.0, finish=True, kind="text/event-stream"):
        """Parts as they are, in chunks of their own; unfinished: the connection breaks."""
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for part in parts:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            self.wfile.flush()
            time.sleep(pause)
        if finish:
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.close_connection = True

    # ---- APIs as they should be ------------------------------------------------------------------

    def openai(self, pause=0.0, end="\n"):
        words = ["Hello", ", ", "wörld", "."]
        events = [sse(piece(w), end=end) for w in words]
        events += [sse(piece(finish="stop"), {"model": "fixture-1", "choices": [], "usage": USAGE},
                       "[DONE]", end=end)]
        self.chunks(events, pause)

    def ok(self):
        self.openai(pause=0.02)

    def crlf(self):
        body = b": a comment\r\n\r\nretry: 10\r\n" + sse(piece("a"), end="\r\n") + \
            b"event: x\r\n" + sse(piece("b", "stop"), "[DONE]", end="\r\n")
        self.chunks([body[i:i + 1] for i in range(len(body))])

    def document(self):
        self.send_json(200, {"model": "fixture-1", "usage": USAGE, "choices": [
            {"message": {"role": "assistant", "content": "whole"}, "finish_reason": "length"}]})

    def completions(self):
        self.chunks([sse({"choices": [{"text": "(" + self.asked["prompt"] + ")"}]},
                         {"choices": [{"text": self.asked.get("suffix", "-"),
                                       "finish_reason": "stop"}]}, "[DONE]")])

    def parts(self):
        content = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                   {"type": "text", "text": "said"}]
        self.chunks([sse(piece(content), piece(finish="model_length"), "[DONE]")])

    def anthropic(self):
        started = {"type": "message_start", "message": {
            "model": "fixture-2", "content": [], "stop_reason": None,
            "usage": {"input_tokens": 5, "cache_read_input_tokens": 3,
                      "cache_creation_input_tokens": 2, "output_tokens": 1}}}
        deltas = [{"type": "content_block_delta", "delta": {"type": "thinking_delta",
                                                            "thinking": "hm"}},
                  {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "Sal"}},
                  {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "ut"}}]
        ended = [{"type": "message_delta", "delta": {"stop_reason": "end_turn"},
                  "usage": {"output_tokens": 9}}, {"type": "message_stop"}]
        events = [started, {"type": "ping"}] + deltas + ended
        self.chunks([f"event: {e['type']}\n".encode() + sse(e) for e in events])

    def echo(self):
        """The number at the end of the prompt, after a moment."""
        time.sleep(0.1)
        word = self.asked["messages"][-1]["content"].split()[-1]
        self.chunks([sse(piece("answer " + word, "stop"), "[DONE]")])

    def nousage(self):
        self.chunks([sse(piece("x" * 40, "stop"), "[DONE]")])

    def nodone(self):
        """Without [DONE] and without the last blank line."""
        self.chunks([sse(piece("fine", "stop"))[:-2]])

    # ---- Not as they should be -------------------------------------------------------------------

    def limited(self):
        if times(self.path) == 0:
            body = {"error": {"message": "slow down", "type": "rate_limit_error"}}
            return self.send_json(429, body, [("Retry-After", "1")])
        self.openai()

    def dated(self):
        if times(self.path) == 0:
            when = email.utils.formatdate(time.time() + 1.99, usegmt=True)
            return self.send(503, b"<html>busy", "text/html", [("Retry-After", when)])
        self.openai()

    def patience(self):
        self.send_json(429, {"message": "tomorrow"}, [("Retry-After", "86400")])

    def shaky(self):
        if times(self.path) < 2:
            return self.send(500, b"oops", "text/plain")
        self.openai()

    def down(self):
        self.send_json(500, {"error": {"message": "down\x1b[31m\nfor good"}})

    def broken(self):
        if times(self.path) == 0:
            return self.chunks([sse(piece("half of an ans"))], finish=False)
        self.openai()

    def cut(self):
        """Ends well as HTTP, but says neither finish_reason nor [DONE]."""
        self.chunks([sse(piece("never done"))])

    def reset(self):
        if times(self.path) == 0:
            self.close_connection = True
            return self.connection.close()
        self.openai()

    def instream(self):
        if times(self.path) == 0:
            error = {"error": {"message": "try later", "code": "server_error"}}
            return self.chunks([sse(piece("a")), sse(error)])
        self.openai()

    def overloaded(self):
        if times(self.path) == 0:
            error = {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}
            return self.chunks([b"event: error\n" + sse(error)])
        self.anthropic()

    def html(self):
        self.send(200, b"<html><body>Please log in</body></html>", "text/html")

    def empty(self):
        self.send(200, b"", "application/json")

    def badjson(self):
        self.chunks([sse(piece("a"), '{"choices":[{"delta":{"con', "[DONE]")])

    def unicode(self):
        lone = '{"choices":[{"delta":{"content":"\\ud83d|\\ud83d\\ude00|\\\\ud83d"}}]}'
        raw = b'data: {"choices":[{"delta":{"content":"\xff\xc3|"}}]}\n\n'
        self.chunks([raw, sse(lone, piece("ok", "stop"), "[DONE]")])

    def huge(self):
        """8 MB of text, in the face of any max_tokens."""
        self.chunks([sse(piece("ä" * 32768))] * 128 + [sse(piece(finish="stop"), "[DONE]")])

    def hugeevent(self):
        try:
            self.chunks([b"data: "] + [b"x" * (1 << 20)] * 40)
        except OSError:
            pass

    def hang(self):
        time.sleep(0 if times(self.path) else 3)
        self.openai()

    def drip(self):
        """Comments for ever: alive, but no answer."""
        try:
            self.chunks([b": ping\n\n"] * 200, 0.05)
        except OSError:
            pass

    def slow(self):
        self.openai(pause=0.15)

    def after(self):
        """A server that does not hang up after its last word."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.wfile.write(sse(piece("done", "stop"), "[DONE]"))
        self.wfile.flush()
        time.sleep(5)
        self.close_connection = True

    def moved(self):
        self.send(307, b"", "text/plain", [("Location", "http://127.0.0.1:9/steal")])

    def key(self):
        """Repeats the key, as no server should."""
        sent = self.headers.get("Authorization", "")
        self.chunks([sse(piece("you are " + sent, "stop"), "[DONE]")])

    def longkey(self):
        """An error text that is cut in the middle of the key."""
        sent = self.headers.get("Authorization", "")
        self.send_json(400, {"error": {"message": "x" * 180 + sent}})

    def badkey(self):
        sent = self.headers.get("Authorization", "")
        self.send_json(401, {"error": {"message": "Incorrect API key: " + sent}})

    def quota(self):
        self.send_json(429, {"error": {"message": "You exceeded your quota",
                                       "type": "insufficient_quota"}})

    def nomodel(self):
        self.send_json(404, {"error": {"message": "The model does not exist",
                                       "code": "model_not_found"}})

    def refused(self):
        self.send_json(422, {"detail": [{"loc": ["body"], "msg": "Extra inputs are not allowed"}]})

    def do_POST(self):
        length = int(self.headers.get("Content-Length", 0))
        self.asked = json.loads(self.rfile.read(length))
        with lock, open(sys.argv[2], "a") as log:
            line = {"time": time.time(), "path": self.path, "headers": dict(self.headers),
                    "body": self.asked}
            log.write(json.dumps(line) + "\n")
        behaviour = getattr(self, self.path.split("/")[1])
        try:
            behaviour()
        except OSError:
            self.close_connection = True


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """Clients that hang up are what some of the tests are about."""


def main():
    server = Server(("127.0.0.1", 0), Api)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with open(sys.argv[1] + ".new", "w") as f:
        f.write(str(server.server_address[1]))
    os.rename(sys.argv[1] + ".new", sys.argv[1])
    sys.stdin.read()


main()
