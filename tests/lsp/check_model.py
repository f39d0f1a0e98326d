"""`octet lsp` with a model of its own, and with octet serve behind it:

    python3 tests/lsp/check_model.py OCTET TINY.gguf SLOW.gguf FOLDER
"""
import os
import re
import signal
import subprocess
import sys
import time
import traceback

from client import Client

OCTET, TINY, SLOW, FOLDER = sys.argv[1:5]
URI = "file:///w/a.py"
TEXT = "def add(a, b):\n    return "
failed = 0


def check(name, good, why=""):
    global failed
    failed += not good
    print(f"ok {name}" if good else f"FAIL {name}: {str(why)[:400]}", flush=True)


def attempt(test):
    try:
        test()
    except Exception:
        check(test.__name__, False, traceback.format_exc()[-400:])


def start(model, *options, **begin):
    client = Client(OCTET, "lsp", "-m", model, "--debounce", "0", *options)
    client.begin(**begin)
    return client


def insert(client, uri, line, character):
    return client.inline(uri, line, character)["result"]["items"][0]["insertText"]


def numbers(client):
    """What the trace of the last question counts."""
    found = client.wait_for("$/logTrace", "method=")["params"]["message"]
    return {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", found)}


def loading():
    client = Client(OCTET, "lsp", "-m", TINY)
    client.begin({"window": {"workDoneProgress": True}})
    client.open(URI, TEXT)
    check("a_question_waits_for_the_model", insert(client, URI, 1, 11))
    client.wait_for("window/workDoneProgress/create", "octet/load")
    client.wait_for("window/logMessage", "is ready")
    kinds = [m["params"]["value"]["kind"] for m in client.notifications
             if m["method"] == "$/progress"]
    check("progress_ends_if_it_begins", kinds in ([], ["begin", "end"]), kinds)
    check("no_progress_unasked", not [m for m in start(TINY).notifications
                                      if "rogress" in m["method"]])
    check("exit_0", client.end() == 0)


def no_model():
    client = start(os.path.join(FOLDER, "none.gguf"))
    client.open(URI, TEXT)
    check("nothing_without_a_model", client.inline(URI, 1, 11)["result"] == {"items": []})
    client.wait_for("window/showMessage", "none.gguf")
    check("nothing_later", client.inline(URI, 1, 11)["result"] == {"items": []})
    check("exit_0_without_a_model", client.end() == 0)
    client = start(os.path.join(FOLDER, "none.gguf"), options={"model": TINY})
    client.open(URI, TEXT)
    check("the_editor_names_the_model", insert(client, URI, 1, 11))
    client.notify("workspace/didChangeConfiguration", {"settings": {"model": SLOW}})
    client.wait_for("window/logMessage", "starts again")
    client.process.send_signal(signal.SIGTERM)
    check("sigterm_with_a_model", client.process.wait(60) == 0)


def same_text():
    client = start(TINY)
    client.open(URI, TEXT)
    whole = insert(client, URI, 1, 11)
    first = numbers(client)
    client.open("file:///w/b.py", "\n")
    client.notify("textDocument/didClose", {"textDocument": {"uri": URI}})
    for n, letter in enumerate(TEXT):
        line, character = TEXT[:n].count("\n"), len(TEXT[:n].split("\n")[-1])
        client.change("file:///w/b.py", (line, character, line, character, letter), version=n + 2)
    pieces = insert(client, "file:///w/b.py", 1, 11)
    second = numbers(client)
    check("typed_or_opened_is_the_same", whole == pieces, (whole, pieces))
    check("the_prompt_is_the_same", second["prompt"] == first["prompt"], second)
    check("a_prompt_seen_before_is_not_computed", second["cached"] == first["prompt"] - 1, second)
    client.end()


def cancel():
    text = "".join(f"value_{i} = {i * 7919 % 1000}\n" for i in range(400))
    client = start(SLOW, "-c", "2048", options={"otherFiles": 0})
    client.open(URI, text)
    number = client.request("textDocument/inlineCompletion", client.at(URI, 400, 0))
    client.wait_for("window/logMessage", "is ready")
    time.sleep(0.02)
    client.notify("$/cancelRequest", {"id": number})
    check("cancelled_while_the_prompt_is_read", client.answer(number)["error"]["code"] == -32800)
    client.notify("workspace/didChangeConfiguration", {"settings": {"maxTokens": 1}})
    client.inline(URI, 400, 0)
    counted = numbers(client)
    check("which_stopped", counted["prompt"] > 1000 and counted["cached"] < counted["prompt"] - 64,
          counted)
    client.change(URI, (400, 0, 400, 0, "v"))
    client.inline(URI, 400, 1)
    counted = numbers(client)
    check("typing_on_is_cheap", counted["cached"] > counted["prompt"] - 64, counted)
    client.change(URI, (400, 1, 400, 1, "w"))
    client.request("textDocument/inlineCompletion", client.at(URI, 400, 2))
    check("exit_0_while_it_works", client.end() == 0)


def served():
    server = subprocess.Popen([OCTET, "serve", "-m", f"tiny={TINY}", "--port", "0", "-q"],
                              stderr=subprocess.PIPE, text=True)
    while "http://" not in (line := server.stderr.readline()):
        assert line
    options = {"maxTokens": 24, "budgetMs": 0}
    own = start(TINY, options=options)
    client = Client(OCTET, "lsp", "--server", line.split()[-1] + "/", "--debounce", "0")
    client.begin(options=options)
    for c in (own, client):
        c.open(URI, TEXT + "\n\nprint(add(1, 2))\n")
    texts = [insert(c, URI, 1, 11) for c in (own, client)]
    counts = [numbers(c) for c in (own, client)]
    check("served_or_own_is_the_same", texts[0] == texts[1] != "", texts)
    check("counts_too", all(counts[0][key] == counts[1][key] for key in ("prompt", "generated")),
          counts)
    check("exit_0_after_serving", (own.end(), client.end()) == (0, 0))
    server.send_signal(signal.SIGTERM)
    check("octet_serve_ends_well", server.wait(60) == 0)


for test in (loading, no_model, same_text, cancel, served):
    attempt(test)
sys.exit(failed > 0)
