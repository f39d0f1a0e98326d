"""Vectors and tokens, as `octet serve` gives them; for tests/cli/serve_dialects.sh.

    check_embed.py OCTET MODEL
"""
import base64
import concurrent.futures
import http.client
import json
import math
import struct
import time

from lib import Server, attempt, check, finish, text

TEXTS = ["one two", "def f(x):\n    return x", "\u00e9t\u00e9 \U0001f600", "one two"]


def length(vector):
    return math.sqrt(sum(x * x for x in vector))


def close(a, b):
    return len(a) == len(b) and all(abs(x - y) < 1e-6 for x, y in zip(a, b))


# ---- Vectors -------------------------------------------------------------------------------------

def test_openai(server):
    _, _, body = server.ask("/v1/embeddings", {"model": "tiny", "input": TEXTS})
    vectors = [item["embedding"] for item in body["data"]]
    check("embeddings_shape", body["object"] == "list" and body["model"] == "tiny" and
          [(i["object"], i["index"]) for i in body["data"]] ==
          [("embedding", k) for k in range(4)], body)
    check("embeddings_have_length_1", all(abs(length(v) - 1) < 1e-6 for v in vectors))
    check("embeddings_of_one_text_are_equal", vectors[0] == vectors[3] != vectors[1])
    ids = [server.ask("/tokenize", {"content": t, "add_special": True})[2]["tokens"]
           for t in TEXTS]
    n = sum(map(len, ids))
    check("embeddings_usage", body["usage"] == {"prompt_tokens": n, "total_tokens": n}, body)
    for name, given in (("ids", ids), ("mixed", [TEXTS[0], *ids[1:]])):
        _, _, other = server.ask("/v1/embeddings", {"input": given})
        check(f"embeddings_of_{name}", [i["embedding"] for i in other["data"]] == vectors, other)
    for name, given in (("text", TEXTS[1]), ("ids", ids[1]), ("list", [TEXTS[1]])):
        _, _, other = server.ask("/v1/embeddings", {"input": given, "encoding_format": "float"})
        check(f"embedding_of_one_{name}", len(other["data"]) == 1 and
              other["data"][0]["embedding"] == vectors[1], other)
    _, _, coded = server.ask("/v1/embeddings", {"input": TEXTS, "encoding_format": "base64",
                                                "dimensions": len(vectors[0])})
    for vector, item in zip(vectors, coded["data"]):
        data = base64.b64decode(item["embedding"], validate=True)
        check("embeddings_in_base64", list(struct.unpack(f"<{len(vector)}f", data)) == vector)


def test_wrong_embeddings(server):
    for name, more, why in (
            ("nothing", {}, "no text"), ("null", {"input": None}, "no text"),
            ("number", {"input": 5}, "no text"), ("empty_list", {"input": []}, "empty"),
            ("mixture", {"input": ["a", 5]}, "neither"),
            ("nested", {"input": [[["a"]]]}, "no token"),
            ("foreign_id", {"input": [1, 1 << 40]}, "no token"),
            ("half_id", {"input": [[1.5]]}, "no token"),
            ("many", {"input": ["a"] * 2049}, "2048"),
            ("format", {"input": "a", "encoding_format": "int8"}, "encoding_format"),
            ("dimensions", {"input": "a", "dimensions": 3}, "dimensions"),
            ("long", {"input": ["a", "word " * 9000]}, "context_length_exceeded")):
        status, _, body = server.ask("/v1/embeddings", more)
        check(f"embeddings_refuse_{name}", status == 400 and why in body["error"]["message"], body)
    status, _, body = server.ask("/embedding", {"content": "a", "embd_normalize": -2})
    check("embedding_refuses_norm", status == 400 and "embd_normalize" in body["error"]["message"])
    status, _, body = server.ask("/api/embed", {"input": "word " * 9000, "truncate": False})
    check("embed_refuses_long", status == 400 and "context_length_exceeded" in body["error"], body)
    status, _, body = server.ask("/api/embeddings", {"prompt": ["a"]})
    check("api_embeddings_refuse_list", status == 400 and "prompt" in body["error"], body)


def test_ollama_and_llamacpp(server):
    _, _, body = server.ask("/v1/embeddings", {"input": TEXTS})
    vectors = [item["embedding"] for item in body["data"]]
    _, _, embed = server.ask("/api/embed", {"model": "tiny", "input": TEXTS, "options": {},
                                            "keep_alive": "5m"})
    check("embed", embed["embeddings"] == vectors and embed["total_duration"] > 0 and
          embed["prompt_eval_count"] == body["usage"]["prompt_tokens"], embed)
    _, _, one = server.ask("/api/embed", {"input": TEXTS[1]})
    check("embed_one", one["embeddings"] == [vectors[1]], one)
    _, _, plain = server.ask("/api/embeddings", {"model": "tiny", "prompt": TEXTS[1]})
    size = length(plain["embedding"])
    check("api_embeddings_are_not_scaled", abs(size - 1) > 1e-3 and
          close([x / size for x in plain["embedding"]], vectors[1]), size)
    for path, ask, answer in (("/api/embed", {"input": ""}, []), ("/api/embed", {}, []),
                              ("/api/embeddings", {"prompt": ""}, [])):
        _, _, loaded = server.ask(path, ask)
        check(f"{path}_loads", (loaded["embeddings"] if "embeddings" in loaded else
                                loaded["embedding"]) == answer, loaded)
    _, _, cut = server.ask("/api/embed", {"input": "word " * 9000})
    check("embed_cuts_as_ollama_does", len(cut["embeddings"]) == 1 and
          cut["prompt_eval_count"] == server.ask("/props")[2][
              "default_generation_settings"]["n_ctx"], cut)
    for path, key in (("/embedding", "content"), ("/embeddings", "input")):
        _, _, several = server.ask(path, {key: TEXTS})
        check(f"{path}_shape", [i["index"] for i in several] == [0, 1, 2, 3] and
              [i["embedding"] for i in several] == [[v] for v in vectors], several)
    _, _, raw = server.ask("/embedding", {"content": TEXTS[1], "embd_normalize": -1})
    check("embedding_not_scaled", raw[0]["embedding"][0] == plain["embedding"])
    _, _, top = server.ask("/embedding", {"content": TEXTS[1], "embd_normalize": 0})
    check("embedding_scaled_to_16_bits",
          abs(max(map(abs, top[0]["embedding"][0])) - 32760) < 0.1)


def test_embeddings_beside_answers(server):
    """What is computed between the steps of others is the same, and theirs too."""
    long = {"input": ["word " * 300, "x"]}
    ask = text("Once", max_tokens=100, ignore_eos=True)
    alone = server.ask("/v1/embeddings", long)[2]["data"], server.ask("/v1/completions", ask)[2]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        texts = [pool.submit(server.ask, "/v1/completions", ask) for _ in range(4)]
        many = [pool.submit(server.ask, "/v1/embeddings", long) for _ in range(4)]
        check("embeddings_beside_answers",
              all(f.result()[2]["data"] == alone[0] for f in many))
        check("answers_beside_embeddings",
              all(f.result()[2]["choices"] == alone[1]["choices"] for f in texts))


def test_gone(server):
    """A client that goes away ends the work on its texts."""
    def comes(condition):
        for _ in range(1000):
            if condition():
                return True
            time.sleep(0.01)
        return False

    before = server.metric("octet_requests_cancelled_total")
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    connection.request("POST", "/v1/embeddings", json.dumps({"input": ["word " * 300] * 1000}))
    check("embeddings_begin", comes(lambda: server.metric("octet_requests_active") > 0))
    connection.sock.close()
    connection.close()
    check("embeddings_of_the_gone_end", comes(
        lambda: server.metric("octet_requests_cancelled_total") > before and
        server.metric("octet_requests_active") == 0))


# ---- Tokens --------------------------------------------------------------------------------------

def test_tokens(server):
    def tokens(**ask):
        return server.ask("/tokenize", ask)[2]["tokens"]

    _, _, info = server.ask("/tokenizer_info")
    check("tokenizer_info", info["bos_token"] == "<s>" and info["eos_token"] == "</s>" and
          info["model_max_length"] > 0 and "chat_template" in info, info)
    bos = tokens(content=info["bos_token"])
    check("special_names_are_tokens", len(bos) == 1 and
          tokens(prompt=info["bos_token"], add_special_tokens=False) == bos, bos)
    plain = tokens(content="Hello")
    _, _, body = server.ask("/tokenize", {"model": "tiny", "prompt": "Hello",
                                          "return_token_strs": True})
    check("tokenize_as_vllm", body["tokens"] == bos + plain and
          body["count"] == len(body["tokens"]) == len(body["token_strs"]) and
          body["token_strs"][0] == "<s>" and body["max_model_len"] == info["model_max_length"],
          body)
    check("tokenize_as_vllm_alone", tokens(prompt="Hello", add_special_tokens=False) == plain ==
          tokens(content="Hello", add_special=False))
    turn = [{"role": "user", "content": "Hello"}]
    _, _, rendered = server.ask("/apply-template", {"messages": turn})
    check("tokenize_messages", server.ask("/detokenize", {"tokens": tokens(messages=turn)})[2][
        "prompt"] == rendered["prompt"], rendered)
    _, _, back = server.ask("/detokenize", {"tokens": plain})
    check("detokenize_both_ways", back["content"] == back["prompt"] == " Hello" or
          back["content"] == back["prompt"] == "Hello", back)
    for ask, why in (({}, "no text"), ({"prompt": 5}, "prompt"), ({"content": ["a"]}, "content"),
                     ({"messages": turn, "add_generation_prompt": False}, "beginning")):
        status, _, body = server.ask("/tokenize", ask)
        check(f"tokenize_refuses_{'_'.join(ask)}", status == 400 and
              why in body["error"]["message"], body)


def test_scores(server):
    """As evaluation harnesses ask for the chances of a prompt's tokens."""
    _, _, info = server.ask("/tokenizer_info")
    ids = [server.ask("/tokenize", {"prompt": t})[2]["tokens"] for t in TEXTS]
    ask = {"echo": True, "logprobs": 1, "max_tokens": 1, "temperature": 0}
    _, _, body = server.ask("/v1/completions", {**ask, "prompt": ids})
    scores = [c["logprobs"]["token_logprobs"] for c in body["choices"]]
    check("echo_of_several_prompts", [len(s) for s in scores] == [len(i) + 1 for i in ids] and
          body["usage"]["prompt_tokens"] == sum(map(len, ids)), body)
    check("echo_has_each_its_own_text", all(
        t in c["text"] for t, c in zip(TEXTS, body["choices"])), body)
    single = [server.ask("/v1/completions", {**ask, "prompt": i})[2]["choices"][0] for i in ids]
    check("echo_alone_is_the_same", [c["logprobs"] for c in single] ==
          [c["logprobs"] for c in body["choices"]], single)
    end = server.ask("/tokenize", {"content": info["eos_token"]})[2]["tokens"][0]
    _, _, ended = server.ask("/v1/completions", {**ask, "prompt": ids[0],
                                                 "logit_bias": {str(end): 1000}})
    check("echo_counts_the_end_token", ended["choices"][0]["finish_reason"] == "stop" and
          ended["choices"][0]["logprobs"]["tokens"][-1] == info["eos_token"] and
          ended["choices"][0]["logprobs"]["token_logprobs"][:-1] == scores[0][:-1], ended)
    half = server.ask("/tokenize", {"content": "\u00e9"})[2]["tokens"][:-1]
    status, _, body = server.ask("/v1/completions", {**ask, "prompt": half + ids[0]})
    check("echo_of_half_a_character", status == 200 and "\ufffd" in body["choices"][0]["text"],
          body)


server = Server("-q")
for test in (test_openai, test_wrong_embeddings, test_ollama_and_llamacpp,
             test_embeddings_beside_answers, test_gone, test_tokens, test_scores):
    attempt(test, server)
check("stops", server.stop()[0] == 0)
finish()
