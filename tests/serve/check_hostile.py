"""Requests that are damaged, oversized, contradictory or nonsense: each must end in a refusal with
a message or in a closed connection, and the server must go on answering.

    check_hostile.py OCTET MODEL
"""
import gzip
import json
import zlib

from lib import Server, attempt, chat, check, finish, text
from wire import connect, read_all, request, send_raw, status_of

THERE = "/v1/completions"
BODY = json.dumps(text("int main", max_tokens=2))
REFUSED = (400, 411, 413, 414, 417, 431, 501, None)


def refuses(server, name, data, allowed=REFUSED):
    answer = send_raw(server, data, 2) if len(data) < 1000 else send_raw(server, data)
    check(name, status_of(answer) in allowed, answer[:200])


def chunks(*sizes_and_bytes):
    return b"".join(size + b"\r\n" + data + b"\r\n" for size, data in sizes_and_bytes)


def test_sizes(server):
    refuses(server, "huge_header", request(THERE, BODY, headers=["X-Much: " + "a" * 200000]))
    refuses(server, "many_headers",
            request(THERE, BODY, headers=[f"X-{i}: a" for i in range(20000)]))
    refuses(server, "long_path", request("/" + "a" * 200000, BODY))
    refuses(server, "path_beyond_ours", request("/" + "a" * 3000, BODY), (404, 414))
    refuses(server, "header_without_end", b"GET /health HTTP/1.1\r\nX: " + b"a" * 200000)
    for length in ("9999999999", "99999999999999999999999", "-1", "abc", "", "0x10", "1e3"):
        refuses(server, f"length_{length or 'empty'}", request(THERE, BODY, length=length))
    refuses(server, "body_over_the_limit", request(THERE, b"x" * (33 << 20)))


def test_bodies(server):
    whole = BODY.encode()
    chunked = ["Transfer-Encoding: chunked"]

    def send_chunks(data, seconds=2):
        return send_raw(server, request(THERE, headers=chunked, length=False) + data, seconds)

    good = chunks((b"5", whole[:5]), (b"%X" % (len(whole) - 5), whole[5:]), (b"0", b""))
    check("chunked_body", status_of(send_chunks(good, 60)) == 200)
    one = chunks(*((b"1", whole[i:i + 1]) for i in range(len(whole))), (b"0", b""))
    check("chunks_of_one_byte", status_of(send_chunks(one, 60)) == 200)
    for name, data in (("no_number", b"zz\r\nhello\r\n0\r\n\r\n"), ("negative", b"-5\r\nhello\r\n"),
                       ("overflow", b"ffffffffffffffffff\r\nhello\r\n"),
                       ("too_large", b"7fffffffffffffff\r\nhello\r\n"),
                       ("without_size", b"\r\n\r\n")):
        answer = send_chunks(data)
        check(f"chunk_{name}", status_of(answer) in REFUSED, answer[:200])
    half = request(THERE, BODY)[:-10]
    check("truncated_body", send_raw(server, half, close=True) == b"")
    refuses(server, "length_short_of_the_body", request(THERE, BODY, length=len(BODY) - 9))
    two = request(THERE, BODY, headers=["Content-Length: 5"])
    refuses(server, "two_lengths", two)
    refuses(server, "length_and_chunks", request(THERE, BODY, headers=chunked))
    refuses(server, "unknown_transfer_encoding",
            request(THERE, BODY, headers=["Transfer-Encoding: rot13"]))
    answer = send_raw(server, request(THERE, BODY, headers=["Content-Length: %d" % len(BODY)]))
    check("same_length_twice", status_of(answer) in (200, *REFUSED), answer[:200])
    with connect(server) as s:
        s.sendall(request(THERE, b"", headers=["Expect: 100-continue"], length=len(BODY)))
        first = s.recv(100)
        s.sendall(whole)
        check("expect_continue", b" 100 " in first and b" 200 " in first + read_all(s), first)


def test_encodings(server):
    def packed(data, encoding):
        return send_raw(server, request(THERE, data, headers=[f"Content-Encoding: {encoding}"]), 60)

    whole = BODY.encode()
    check("gzip_body", status_of(packed(gzip.compress(whole), "gzip")) == 200)
    check("deflate_body", status_of(packed(zlib.compress(whole), "deflate")) == 200)
    check("identity_body", status_of(packed(whole, "identity")) == 200)
    check("zstd_body", status_of(packed(whole, "zstd")) == 415)
    check("unknown_encoding", status_of(packed(whole, "rot13")) == 415)
    check("gzip_bomb", status_of(packed(gzip.compress(b" " * (200 << 20), 9), "gzip")) == 413)
    for name, data in (("truncated", gzip.compress(whole)[:-9]), ("noise", b"\x1f\x8b" + whole),
                       ("empty", b""), ("twice", gzip.compress(gzip.compress(whole)))):
        check(f"gzip_{name}", status_of(packed(data, "gzip")) == 400)


def test_methods(server):
    for method in ("PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "BREW"):
        refuses(server, f"method_{method}", request(THERE, BODY, method), (400, 405, 501, None))
    head = send_raw(server, request("/health", method="HEAD"))
    check("head_has_no_body", status_of(head) == 200 and head.endswith(b"\r\n\r\n"), head)
    check("options", status_of(send_raw(server, request("*", method="OPTIONS"))) == 204)
    for name, data in (("http_0_9", b"GET /health\r\n\r\n"),
                       ("http_2", b"PRI * HTTP/2.0\r\n\r\n"),
                       ("no_request_line", b"\r\n\r\n\r\n"),
                       ("nul_bytes", b"GET /\0 HTTP/1.1\r\n\r\n"),
                       ("no_colon", b"GET /health HTTP/1.1\r\nHost\r\n\r\n"),
                       ("version_x", b"GET /health HTTP/x.y\r\n\r\n"),
                       ("tls", b"\x16\x03\x01\x02\x00" + bytes(range(256)) + b"\r\n\r\n")):
        answer = send_raw(server, data, 2)
        check(f"request_{name}", status_of(answer) in (400, 404, 505, None), answer[:200])
    old = send_raw(server, b"GET /health HTTP/1.0\r\n\r\n")
    check("http_1_0", status_of(old) == 200, old)


def test_pipelining(server):
    keep = ["Connection: keep-alive"]
    many = b"".join(request(path, method="GET", headers=keep)
                    for path in ("/health", "/v1/models", "/nothing") * 20)
    answer = send_raw(server, many + request("/health", method="GET"), 20)
    check("pipelined_requests_are_answered_in_order",
          [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]] ==
          [200, 200, 404] * 20 + [200], answer[:300])
    both = send_raw(server, request(THERE, BODY, headers=keep) + request(THERE, BODY), 20)
    check("pipelined_answers", both.count(b"HTTP/1.1 200") == 2, both[:300])


def test_paths(server):
    for path in ("//v1/models", "/v1//models/", "/models", "///models//"):
        check(f"path_{path}", server.ask(path)[0] == 200)
    for path, body in (("/chat/completions", chat("x")), ("//v1//chat//completions", chat("x")),
                       ("/completions", text("x")), ("/fim/completions", {"prompt": "x"}),
                       ("/messages", chat("x")),
                       ("/responses", {"input": "x", "max_output_tokens": 2})):
        status, _, answer = server.ask(path, {**body, "max_tokens": 2})
        check(f"path_{path}", status == 200, answer)
    for path in ("/..", "/v1/../../etc/passwd", "/%2e%2e/", "/v1/models%00", "/v1/models#x",
                 "/v1/models?x=" + "y" * 999, "/web/..%2f..%2fMakefile"):
        status, _, answer = server.ask(path)
        check(f"path_{path[:24]}", status in (200, 404) and "CC ?=" not in str(answer), answer)


def test_pages(server):
    def status(*headers):
        return status_of(send_raw(server, request("/v1/models", method="GET", headers=headers)))

    plain = b"GET /v1/models HTTP/1.1\r\nConnection: close\r\nHost: "
    for host, wanted in (("localhost", 200), ("127.0.0.1:8080", 200), ("[::1]:80", 200),
                         ("LOCALHOST", 200), ("evil.example", 403),
                         ("127.0.0.1.evil.example", 403),
                         ("localhost.evil.example", 403), ("", 403),
                         ("evil.example@localhost", 403),
                         ("[::1", 403), ("a" * 5000, 403)):
        got = status_of(send_raw(server, plain + host.encode() + b"\r\n\r\n"))
        check(f"host_{host[:24] or 'empty'}", got == wanted, got)
    for origin, wanted in (("http://localhost:3000", 200), ("https://127.0.0.1", 200),
                           ("vscode-webview://abc", 200), ("https://evil.example", 403),
                           ("https://localhost.evil.example", 403), ("file://", 403),
                           ("http://localhost@evil.example", 403), ("null", 200)):
        got = status(f"Origin: {origin}")
        check(f"origin_{origin}", got == wanted, got)


def json_cases():
    """Name, body, whether it may be answered with 200 (else it must be refused)."""
    yield "nothing", b"", False
    yield "depth_100k", b'{"a":' * 100000, False
    yield "lists_100k", b'{"prompt":' + b"[" * 100000 + b"]" * 100000 + b"}", False
    yield "duplicate_keys", b'{"prompt":"a","prompt":"b","max_tokens":1,"max_tokens":2}', True
    yield "lone_surrogate", b'{"prompt":"\\ud800","max_tokens":1}', False
    yield "swapped_surrogates", b'{"prompt":"\\udc00\\ud800","max_tokens":1}', False
    yield "invalid_utf8", b'{"prompt":"\xc3\x28\xff","max_tokens":1}', False
    yield "escape_cut_in_a_character", b'{"prompt":"\\\xe2\x96\x81","max_tokens":1}', False
    yield "escape_of_a_newline", b'{"prompt":"\\\n\x1b[2J","max_tokens":1}', False
    yield "overlong_utf8", b'{"prompt":"\xc0\xaf","max_tokens":1}', False
    yield "nul_in_text", b'{"prompt":"a\\u0000b","max_tokens":1}', True
    yield "nul_byte", b'{"prompt":"a\0b","max_tokens":1}', False
    yield "1e999", b'{"prompt":"a","max_tokens":1,"temperature":1e999}', False
    yield "minus_zero", b'{"prompt":"a","max_tokens":1,"temperature":-0.0,"seed":-0}', True
    yield "two_to_the_64", b'{"prompt":"a","max_tokens":18446744073709551616}', False
    yield "seed_of_two_to_the_63", b'{"prompt":"a","seed":9223372036854775807}', False
    yield "nan", b'{"prompt":"a","temperature":NaN}', False
    yield "trailing_bytes", b'{"prompt":"a","max_tokens":1} x', False
    yield "utf_16", '{"prompt":"a"}'.encode("utf-16"), False
    yield "million_keys", json.dumps({"prompt": "a", "max_tokens": 1, **{
        str(i): 0 for i in range(200000)}}).encode(), True


# Fields and values that no type or range allows; each alone in an otherwise good request.
WRONG = {
    "max_tokens": [-2, 1 << 40, 0.5, "1", [], {}], "n": [-1, 0, 1 << 31, 129, "2"],
    "temperature": [-1, 1e9, "x", []], "top_p": [-1, 1.5, {}], "top_k": [-2, 1 << 40, "x", 0.5],
    "seed": [[], "x", 1 << 60], "min_p": [2], "typical_p": [-1], "repeat_penalty": [0, 1e9],
    "frequency_penalty": [1e9], "presence_penalty": ["x"], "mirostat": [3, -1],
    "logit_bias": [{"-1": 1}, {"1000000000": 1}, {"x": 1}, {"": 1}, [[1 << 40, 1]], 5, "x", [5],
                   {"1": "x"}, {"1": 1e300}],
    "stop": [5, [5], ["x"] * 10000, {"a": 1}], "stream": ["x", 1], "logprobs": [-1, 1 << 20, "x"],
    "echo": ["x"], "ignore_eos": [5], "suffix": [5, []], "model": [5, []], "repeat_last_n": [-2],
    "prompt": [5, {}, [[]], [-1], [1 << 40], ["x", 5], [None], [True]],
}
WRONG_HOLES = {
    "n_predict": [-2, 1 << 40, "x"], "n_cmpl": [0, -1, 1 << 40], "n_indent": [-1, 1 << 40, "x"],
    "input_prefix": [5], "input_suffix": [[]], "prompt": [{}], "fim_method": ["x", 5],
    "input_extra": [[5], [{}], [{"text": 5}], 5], "t_max_predict_ms": [-1, "x"],
    "language": [5],
}
HARMLESS = {"n_discard": [-1, 1 << 40], "n_keep": [-1, 1 << 62], "id_slot": [-5, 1 << 40],
            "unknown": [{"a": [[[]]]}], "user": [None], "stop": [None, [], [""]], "seed": [-1]}


def is_one_line(answer):
    message = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["message"]
    return message and message.isprintable()


def test_json(server):
    for name, body, allowed in json_cases():
        answer = send_raw(server, request(THERE, body), 30)
        wanted = (200, 400) if allowed else (400,)
        status = status_of(answer)
        fine = status in wanted and (status == 200 or is_one_line(answer))
        check(f"json_{name}", fine, answer[:200])
    for path, good, fields in ((THERE, text("x", max_tokens=1), WRONG),
                               ("/infill", {"prompt": "x", "n_predict": 1}, WRONG_HOLES)):
        for field, values in fields.items():
            for value in values:
                status, _, answer = server.ask(path, {**good, field: value})
                check(f"wrong{path.replace('/', '_')}_{field}_{str(value)[:16]}",
                      status in (400, 404) and "error" in answer, (status, answer))
    for field, values in HARMLESS.items():
        for value in values:
            status, _, answer = server.ask("/completion",
                                           {"prompt": "x", "n_predict": 1, field: value})
            check(f"harmless_{field}_{str(value)[:16]}", status == 200, answer)


def test_contents(server):
    for name, body in (("message_list", {"messages": {}}), ("message", {"messages": [5]}),
                       ("no_role", {"messages": [{"content": "x"}]}),
                       ("role_list", {"messages": [{"role": [], "content": "x"}]}),
                       ("content_number", {"messages": [{"role": "user", "content": 5}]}),
                       ("content_parts", {"messages": [{"role": "user", "content": [[]]}]})):
        for path in ("/v1/chat/completions", "/v1/messages", "/api/chat"):
            status, _, answer = server.ask(path, {**body, "max_tokens": 1})
            check(f"wrong_{name}_{path.strip('/').replace('/', '_')}", status == 400, answer)
    many = {"messages": [{"role": "user", "content": "x"}] * 500000, "max_tokens": 1}
    check("messages_without_end", server.ask("/v1/chat/completions", many)[0] == 400)
    status, _, answer = server.ask(THERE, text("word " * 20000))
    said = answer["error"]
    check("overflow_tells_both_counts", status == 400 and
          said["n_prompt_tokens"] >= said["n_ctx"] > 0 and
          "context_length_exceeded" in said["message"], answer)
    status, _, answer = server.ask(THERE, text("x" * (16 << 20)))
    check("a_novel_is_refused", status == 400, answer)
    status, _, answer = server.ask(THERE, text([]))
    check("prompt_of_no_tokens", status == 400, answer)


server = Server("--parallel", "2", "-q")
for test in (test_sizes, test_bodies, test_encodings, test_methods, test_pipelining, test_paths,
             test_pages, test_json, test_contents):
    attempt(test, server)
    check(f"well_after_{test.__name__}", server.ask("/health")[0] == 200)
status, errors = server.stop()
check("no_sanitizer_report", status == 0 and "Sanitizer" not in errors, (status, errors[-2000:]))
finish()
