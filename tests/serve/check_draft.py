"""Guessing ahead in `octet serve`: what is asked for is answered with the same bytes, whatever is
guessed, alone and in company.

    check_draft.py OCTET MODEL SMALL_MODEL
"""
import json
import sys
import threading
import time

from lib import Server, attempt, check, finish
from wire import request, connect

SMALL = sys.argv[3]
GUESSED = "octet_draft_tokens_total"
WORDS = {str(id): 1000 for id in (70, 71, 72)}  # likelier than all others: they repeat themselves
TEXT = {"prompt": "one two three four " * 8, "n_predict": 40, "ignore_eos": True,
        "temperature": 0}
REPEATS = {**TEXT, "logit_bias": WORDS}
GRAMMAR = 'root ::= item{3,12} "."\nitem ::= "ab " | "ac " | "abc, "'
SCHEMA = {"type": "array", "items": {"type": "object", "properties": {
    "name": {"enum": ["left", "right"]}, "n": {"enum": [1, 2]}}, "required": ["name", "n"],
    "additionalProperties": False}, "minItems": 3, "maxItems": 6}

REQUESTS = {
    "greedy": REPEATS,
    "sampled": {**REPEATS, "temperature": 1, "seed": 5},
    "penalised": {**REPEATS, "temperature": 1, "seed": 6, "frequency_penalty": 0.1},
    "mirostat": {**REPEATS, "temperature": 1, "seed": 7, "mirostat": 2},
    "grammar": {**TEXT, "temperature": 1.5, "seed": 9, "grammar": GRAMMAR, "n_predict": 80},
    "schema": {**TEXT, "temperature": 1.5, "seed": 10, "json_schema": SCHEMA, "n_predict": 300},
    "one_token": {**REPEATS, "n_predict": 1},
    "no_token": {**REPEATS, "n_predict": 0},
    "full_context": {**REPEATS, "n_predict": -1},
    "free": {**TEXT, "ignore_eos": False, "temperature": 1, "seed": 11},
}
KEPT = ("content", "stop_type", "stopping_word", "tokens_predicted", "tokens_evaluated",
        "truncated")


def ask(server, body):
    """What may not depend on guesses, and the timings."""
    status, _, answer = server.ask("/completion", body)
    assert status == 200, answer
    return {key: answer.get(key) for key in KEPT}, answer["timings"]


def ask_chances(server):
    _, _, answer = server.ask("/v1/completions", {
        "prompt": TEXT["prompt"], "max_tokens": 30, "temperature": 1, "seed": 8, "logprobs": 3,
        "logit_bias": WORDS, "echo": True})
    return answer["choices"]


def at_once(server, bodies):
    answers = [None] * len(bodies)

    def one(i):
        answers[i] = ask(server, bodies[i])[0]
    threads = [threading.Thread(target=one, args=(i,)) for i in range(len(bodies))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def plain_answers():
    """By name, from a server that guesses nothing; and requests with stop strings that occur."""
    server = Server("-q", "-c", "512", "--draft", "off")
    text = ask(server, REQUESTS["sampled"])[0]["content"]
    for name, stop in [("stop", text[30:33]), ("late_stop", text[-9:-6])]:
        REQUESTS[name] = {**REQUESTS["sampled"], "stop": [stop, "never to be seen"]}
    expected = {name: ask(server, body)[0] for name, body in REQUESTS.items()}
    check("stops_occur", expected["stop"]["stop_type"] == "word", expected["stop"])
    check("forms_repeat_themselves", len(json.loads(expected["schema"]["content"])) >= 3)
    expected["chances"] = ask_chances(server)
    check("chances_are_told", len(expected["chances"][0]["logprobs"]["top_logprobs"]) > 60)
    check("off_guesses_nothing", server.metric(GUESSED) == 0)
    check("off_tells_of_no_guesses", "draft_n" not in ask(server, REPEATS)[1])
    server.stop()
    return expected


def test_same_answers(kind, expected):
    server = Server("-q", "-c", "512", "--draft", kind)
    label = kind.rsplit("/")[-1].split(".")[0]
    for name, body in REQUESTS.items():
        found, _ = ask(server, body)
        check(f"{label}_{name}_is_the_same", found == expected[name], (found, expected[name]))
    check(f"{label}_chances_are_the_same", ask_chances(server) == expected["chances"])
    names = list(REQUESTS)
    for n, seats in [(3, names[:3]), (len(names), names)]:
        found = at_once(server, [REQUESTS[name] for name in seats])
        wrong = [name for name, one in zip(seats, found) if one != expected[name]]
        check(f"{label}_{n}_at_once_are_the_same", not wrong, wrong)
    server.stop()


def test_counts():
    server = Server("-q", "-c", "512", "--draft", "ngram", "--draft-max", "4")
    _, timings = ask(server, REPEATS)
    drafted, accepted = timings["draft_n"], timings["draft_n_accepted"]
    check("timings_count_guesses", drafted >= accepted > 0, timings)
    check("metrics_count_guesses", server.metric(GUESSED) == drafted and
          server.metric("octet_draft_tokens_accepted_total") == accepted)
    status, _, body = server.ask("/v1/chat/completions", {
        "messages": [{"role": "user", "content": "ab " * 30}], "max_tokens": 30, "temperature": 0,
        "ignore_eos": True, "logit_bias": WORDS})
    check("chat_timings_count_guesses", body["timings"].get("draft_n", 0) >= 1, body)
    _, events = server.events("/completion", REPEATS)[1:]
    check("streams_count_guesses", json.loads(events[-1])["timings"]["draft_n"] == drafted, events)
    server.stop()


def test_leaving(kind):
    """Whoever goes in the middle of guesses takes nobody along."""
    server = Server("-q", "-c", "512", "--draft", kind)
    expected = ask(server, REPEATS)[0]
    sockets = [connect(server) for _ in range(4)]
    for i, s in enumerate(sockets):
        s.sendall(request("/completion", json.dumps({**REPEATS, "stream": True, "seed": i,
                                                     "temperature": 1, "n_predict": -1})))
        s.recv(100 * (i + 1))
    for s in sockets:
        s.close()
    label = kind.rsplit("/")[-1].split(".")[0]
    check(f"{label}_others_stay", at_once(server, [REPEATS] * 2) == [expected] * 2)
    for _ in range(500):
        if server.metric("octet_requests_active") == 0:
            break
        time.sleep(0.01)
    check(f"{label}_all_are_gone", server.metric("octet_requests_active") == 0)
    status, _ = server.stop()
    check(f"{label}_ends_well", status == 0, status)


EXPECTED = plain_answers()
for draft in ("auto", "ngram", SMALL):
    attempt(test_same_answers, draft, EXPECTED)
attempt(test_counts)
for draft in ("ngram", SMALL):
    attempt(test_leaving, draft)
finish()
