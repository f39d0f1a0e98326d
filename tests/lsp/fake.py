"""A server that fills holes as it is told to, and keeps what it was asked."""
import http.server
import json
import queue
import threading


class Fake:
    def __init__(self):
        self.asked = queue.Queue()  # (body, headers)
        self.replies = queue.Queue()  # what to say, in order; a default when there is none
        self.waits = False  # a request is answered when let_go() is called, or never
        self.gone = queue.Queue()  # one item per client that left while it waited
        self.go = threading.Event()
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                fake.asked.put((body, dict(self.headers)))
                if fake.waits and not self.wait():
                    self.close_connection = True
                    return fake.gone.put(True)
                status, reply = fake.next_reply()
                data = json.dumps(reply).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def wait(self):
                """False: the client has closed its connection."""
                self.connection.settimeout(0.02)
                while not fake.go.is_set():
                    try:
                        if self.connection.recv(1) == b"":
                            return False
                    except TimeoutError:
                        pass
                self.connection.settimeout(60)
                return True

            def handle(self):
                try:
                    super().handle()
                except ConnectionError:  # what leaves early is part of the checks
                    pass

            def log_message(self, *_):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def next_reply(self):
        try:
            reply = self.replies.get_nowait()
        except queue.Empty:
            reply = "pass"
        if isinstance(reply, tuple):
            return reply
        if isinstance(reply, str):
            reply = {"content": reply}
        return 200, {"fim_method": "prefix", "stopped_limit": False, **reply}

    def say(self, *replies):
        """Texts, whole answers, or (status, answer)."""
        for reply in replies:
            self.replies.put(reply)

    def next(self):
        return self.asked.get(timeout=60)[0]

    def n_asked(self):
        return self.asked.qsize()
