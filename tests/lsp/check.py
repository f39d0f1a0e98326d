"""What an editor hears from `octet lsp`, with a server behind it that says what it is told to:

    python3 tests/lsp/check.py OCTET FOLDER
"""
import os
import random
import signal
import sys
import traceback

from client import Client, frame
from fake import Fake

OCTET, FOLDER = sys.argv[1:3]
URI = "file:///w/src/a.py"
MODIFIED, CANCELLED = -32801, -32800
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


def start(fake, *options, **begin):
    client = Client(OCTET, "lsp", "--server", fake.url, "--debounce", "0", *options)
    client.begin(**begin)
    return client


def text_of(asked):
    return asked["input_prefix"] + asked["prompt"], asked["input_suffix"]


def first(answer):
    return answer["result"]["items"][0]


# ---- The conversation ----------------------------------------------------------------------------

def handshake():
    fake = Fake()
    client = Client(OCTET, "lsp", "--server", fake.url)
    check("nothing_before_initialize",
          client.ask("textDocument/completion")["error"]["code"] == -32002)
    client.notify("textDocument/didOpen")
    result = client.begin()
    able = result["capabilities"]
    check("utf16_unless_asked", able["positionEncoding"] == "utf-16", able)
    check("incremental_sync", able["textDocumentSync"]["change"] == 2, able)
    check("offers_ghost_text", able["inlineCompletionProvider"] is True, able)
    check("offers_a_menu", "completionProvider" in able, able)
    check("tells_its_name", result["serverInfo"]["name"] == "octet", result)
    check("initialize_comes_once", client.ask("initialize")["error"]["code"] == -32600)
    check("unknown_method", client.ask("textDocument/hover")["error"]["code"] == -32601)
    client.notify("window/unheardOf")
    client.notify("$/unheardOf")
    check("a_request_is_no_notification", client.ask("exit")["error"]["code"] == -32601)
    check("wrong_params", client.ask("textDocument/completion", {"position": 3})["error"]["code"]
          == -32602)
    check("shutdown", client.ask("shutdown")["result"] is None)
    check("nothing_after_shutdown",
          client.ask("textDocument/completion")["error"]["code"] == -32600)
    client.notify("exit")
    check("exit_after_shutdown", client.process.wait(60) == 0)
    check("stderr_stays_empty", client.process.stderr.read() == b"")


def capabilities():
    fake = Fake()
    client = Client(OCTET, "lsp", "--server", fake.url)
    able = client.begin({"general": {"positionEncodings": ["utf-32", "utf-8", "utf-16"]},
                         "textDocument": {"inlineCompletion": {}}})["capabilities"]
    check("utf8_if_asked", able["positionEncoding"] == "utf-8", able)
    check("no_menu_beside_ghost_text", "completionProvider" not in able, able)
    check("exit_0", client.end() == 0)
    client = Client(OCTET, "lsp", "--server", fake.url, "--menu", "off")
    able = client.begin({"textDocument": {"inlineCompletion": {}}},
                        {"octet": {"menu": "on", "maxTokens": "many"}})["capabilities"]
    check("the_editor_has_the_last_word", "completionProvider" in able, able)
    client.wait_for("window/logMessage", "'maxTokens' must be a whole number")
    client.open(URI, "x = ")
    fake.say("1")
    client.inline(URI, 0, 4)
    check("a_wrong_setting_changes_nothing", fake.next()["n_predict"] == 64)
    client.notify("workspace/didChangeConfiguration",
                  {"settings": {"octet": {"maxTokens": 7, "multiLine": False, "budgetMs": 500}}})
    client.inline(URI, 0, 4)
    asked = fake.next()
    found = (asked["n_predict"], asked["stop"], asked["t_max_predict_ms"])
    check("settings_change_meanwhile", found == (7, ["\n"], 500), found)
    client.end()


def settings_on_request():
    fake = Fake()
    able = {"workspace": {"configuration": True}}
    client = Client(OCTET, "lsp", "--server", fake.url, "--debounce", "0")
    client.settings = {"maxTokens": 9, "menu": 3, "model": "other"}
    client.begin(able)
    asked = client.wait_for("workspace/configuration")
    check("asks_for_its_settings", asked["params"] == {"items": [{"section": "octet"}]}, asked)
    client.wait_for("window/logMessage", "'menu' must be")
    client.open(URI, "a = \nb = \nc = \nd = \n")
    fake.say("1")
    client.inline(URI, 0, 4)
    asked = fake.next()
    check("takes_what_it_asked_for", (asked["n_predict"], asked["model"]) == (9, "other"), asked)
    for wrong in (None, [], "x", 5):
        client.settings = wrong
        client.notify("workspace/didChangeConfiguration", {"settings": None})
        client.wait_for("workspace/configuration")
    client.inline(URI, 1, 4)
    check("settings_of_no_use_change_nothing", fake.next()["n_predict"] == 9)
    client.settings = {"maxTokens": 11}
    client.notify("workspace/didChangeConfiguration", {"settings": None})
    client.wait_for("workspace/configuration")
    client.inline(URI, 2, 4)
    check("asks_again_when_they_changed", fake.next()["n_predict"] == 11)
    client.notify("workspace/didChangeConfiguration", {"settings": {"octet": {"maxTokens": 12}}})
    client.inline(URI, 3, 4)
    check("takes_what_comes_unasked", fake.next()["n_predict"] == 12)
    check("nothing_was_asked_for_then", not any(
        "configuration" in m["method"] for m in client.notifications), client.notifications)
    client.end()
    client = Client(OCTET, "lsp", "--server", fake.url)
    client.begin()
    client.notify("workspace/didChangeConfiguration", {"settings": None})
    client.ask("no/such")
    check("asks_only_who_can_answer", not any(
        "configuration" in m["method"] for m in client.notifications), client.notifications)
    client.end()


def frames():
    fake = Fake()
    client = start(fake)
    client.raw(frame(b"{nonsense") + frame(b'[{"id":1}]') + frame(b"3") + frame(b"{}"))
    codes = [client.hear()["error"]["code"] for _ in range(4)]
    check("malformed_messages", codes == [-32700, -32600, -32700, -32600], codes)
    client.send({"jsonrpc": "2.0", "id": {"a": 1}, "method": "shutdown"})
    check("id_of_no_use", client.hear()["error"]["code"] == -32600)
    client.raw(frame(b"[" * 100000))
    check("deep_nesting", client.hear()["error"]["code"] == -32700)
    body = b'{"jsonrpc":"2.0","id":"x","method":"no/such"}'
    for byte in b"content-length:  %d \nContent-Type: text/x; charset=utf-8\n\n" % len(body) + body:
        client.raw(bytes([byte]))
    check("byte_by_byte", client.hear()["id"] == "x")
    client.raw(b"Content-Length: %d\r\n\r\n" % (65 << 20))
    check("too_long", client.hear()["error"]["code"] == -32600)
    for _ in range(65):
        client.raw(b" " * (1 << 20))
    check("goes_on_after_too_long", client.ask("no/such")["error"]["code"] == -32601)
    client.raw(frame(body)[:-5])
    client.process.stdin.close()
    check("input_ends_within_a_message", client.process.wait(60) == 1)
    check("which_is_told", client.process.stderr.read() ==
          b"octet: the input ended within a message\n")
    for name, data in (("no_header", b"hello\r\n\r\n"), ("no_length", b"A: b\r\n\r\n"),
                       ("negative_length", b"Content-Length: -1\r\n\r\n"),
                       ("two_lengths", b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n"),
                       ("endless_header", b"A: " + b"b" * 5000),
                       ("huge_number", b"Content-Length: " + b"9" * 30 + b"\r\n\r\n")):
        client = Client(OCTET, "lsp", "--server", fake.url)
        client.raw(data)
        code = client.hear()["error"]["code"]
        check(name, (client.process.wait(60), code) == (1, -32700), code)


def endings():
    fake = Fake()
    client = start(fake)
    client.notify("exit")
    check("exit_without_shutdown", client.process.wait(60) == 1)
    client = start(fake)
    client.process.stdin.close()
    check("editor_gone", client.process.wait(60) == 1)
    check("editor_gone_is_told", b"went away" in client.process.stderr.read())
    client = start(fake)
    client.ask("shutdown")
    client.process.stdin.close()
    check("editor_gone_after_shutdown", client.process.wait(60) == 0)
    client = start(fake)
    client.process.send_signal(signal.SIGTERM)
    check("sigterm", client.process.wait(60) == 0)
    client = start(fake)
    client.open(URI, "x")
    fake.waits = True
    client.request("textDocument/inlineCompletion", client.at(URI, 0, 1))
    fake.next()
    check("exit_while_it_works", client.end() == 0)
    many = Client(OCTET, "lsp", "--server", fake.url)
    data = b"".join(frame(b'{"jsonrpc":"2.0","id":%d,"method":"no/such"}' % i)
                    for i in range(20000))
    many.raw(data)  # answers pile up until they are read
    many.process.stdin.close()
    n = 0
    while (message := many.heard.get(timeout=60)) is not None:
        n += message["id"] == n
    check("slow_readers_miss_nothing", n == 20000, n)


# ---- Documents -----------------------------------------------------------------------------------

def units(text, encoding):
    return len(text.encode("utf-16-le")) // 2 if encoding == "utf-16" else len(text.encode())


def position(text, at, encoding):
    lines = text[:at].replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return len(lines) - 1, units(lines[-1], encoding)


def edits(encoding):
    """Random edits, each checked by what the model would see at a random place."""
    fake = Fake()
    client = Client(OCTET, "lsp", "--server", fake.url)
    client.begin({"general": {"positionEncodings": [encoding]}})
    seeded = random.Random(encoding)
    alphabet = ["a", "b ", "é", "€", "\U0001f600", "\n", "\r\n", "x = 1\n", "\u2028"]
    text = "# \U0001f600é\r\nx = '€'\n"
    client.open(URI, text)
    bad = []
    for version in range(2, 150):
        changes = []
        for _ in range(seeded.randrange(1, 4)):
            places = [i for i in range(len(text) + 1) if text[i - 1:i + 1] != "\r\n" or i == 0]
            a, b = sorted(seeded.choices(places, k=2))
            b = min(b, a + 6)
            b += text[b - 1:b + 1] == "\r\n" and b > a
            new = "".join(seeded.choices(alphabet, k=seeded.randrange(4)))
            if text[:a].endswith("\r") or new.endswith("\r"):
                continue
            changes.append((*position(text, a, encoding), *position(text, b, encoding), new))
            text = text[:a] + new + text[b:]
        if version % 50 == 0:
            text = text[:40]
            changes.append(text)
        client.change(URI, *changes, version=version)
        at = seeded.choice([i for i in range(len(text) + 1) if text[i - 1:i + 1] != "\r\n"
                            or i == 0])
        fake.say("")
        client.inline(URI, *position(text, at, encoding))
        if fake.n_asked() == 0:
            continue  # this place was asked for before
        plain = (text[:at].replace("\r\n", "\n"), text[at:].replace("\r\n", "\n"))
        found = text_of(fake.next())
        if found != plain:
            bad.append((version, found, plain))
    check(f"edits_in_{encoding}", not bad, bad[:1])
    client.end()


def odd_places():
    fake = Fake()
    client = start(fake)
    client.open(URI, "a\U0001f600b\nc")
    seen = []
    for place in ((0, 2), (0, 99), (9, 9), (1, 0)):
        client.inline(URI, *place)
        seen.append(text_of(fake.next())[0])
    whole = "a\U0001f600b\nc"
    check("places_that_are_none", seen == ["a", whole[:3], whole, whole[:4]], seen)
    client.change(URI, (0, 1, 0, 3, "\ud83d"))
    client.inline(URI, 0, 3)
    check("half_a_surrogate_pair", text_of(fake.next()) == ("a\ufffdb", "\nc"))
    client.change(URI, (0, 0, 0, 1, "z\0y"))
    client.inline(URI, 0, 3)
    check("text_ends_at_a_nul", text_of(fake.next()) == ("y", "\ufffdb\nc"))
    client.notify("textDocument/didChange", {"textDocument": {"uri": URI},
                                             "contentChanges": [{"range": 3, "text": "x"}]})
    client.wait_for("window/logMessage", "can not be read")
    check("a_lost_text_is_not_guessed", client.inline(URI, 0, 1)["result"] == {"items": []})
    client.change(URI, "found = ")
    client.inline(URI, 0, 8)
    check("a_whole_text_heals", text_of(fake.next())[0] == "found = ")
    client.notify("textDocument/didClose", {"textDocument": {"uri": URI}})
    check("closed", client.inline(URI, 0, 1)["result"] == {"items": []})
    client.open(URI, "y" * (17 << 20))
    check("too_long_a_text", client.inline(URI, 0, 1)["result"] == {"items": []})
    check("no_question_for_those", fake.n_asked() == 0)
    client.end()


def other_documents():
    fake = Fake()
    client = start(fake)
    client.open("file:///w/old.py", "old = 1\n")
    client.open("file:///w/notes.txt", "text\n", language="plaintext")
    long = "".join(f"line_{i} = {i}\n" for i in range(1000))
    client.open("file:///w/long%20name.py", long)
    client.change("file:///w/long%20name.py", (500, 0, 500, 0, "here = 1\n"))
    client.open("file:///else/third.py", "third = 3\n")
    client.open(URI, "x = ")
    client.inline(URI, 0, 4)
    asked = fake.next()
    extra = asked["input_extra"]
    names = [chunk["filename"] for chunk in extra]
    check("two_other_documents_of_the_language", names == ["long name.py", "third.py"], names)
    chunk = extra[0]["text"]
    check("a_part_around_the_last_edit",
          "here = 1\n" in chunk and len(chunk) < 1100 and chunk.startswith("line_"), chunk)
    check("the_language_is_told", asked["language"] == "python")
    client.change(URI, (0, 4, 0, 4, "1 + "))
    client.inline(URI, 0, 8)
    check("typing_leaves_them_alone", fake.next()["input_extra"] == extra)
    client.notify("workspace/didChangeConfiguration", {"settings": {"otherFiles": 0}})
    client.inline(URI, 0, 8)
    check("none_if_so_set", fake.next()["input_extra"] == [])
    client.end()


# ---- Suggestions ---------------------------------------------------------------------------------

def suggestions():
    fake = Fake()
    client = start(fake)
    client.open(URI, "def f(a):\n    ret\n")
    fake.say("urn a + 1\n    # done")
    item = first(client.inline(URI, 1, 7))
    here = {"line": 1, "character": 7}
    check("ghost_text", item == {"insertText": "urn a + 1\n    # done",
                                 "range": {"start": here, "end": here}}, item)
    item = first(client.ask("textDocument/completion", client.at(URI, 1, 7)))
    check("menu_entry", (item["label"], item["detail"], item["filterText"]) ==
          ("return a + 1...", "octet", "return a + 1"), item)
    check("menu_edit", item["textEdit"] == {
        "range": {"start": {"line": 1, "character": 4}, "end": here},
        "newText": "return a + 1\n    # done"}, item)
    check("asked_once_for_both", fake.n_asked() == 1)
    fake.say("_value)")
    selected = {"text": "real", "range": {"start": {"line": 1, "character": 4}, "end": here}}
    item = first(client.inline(URI, 1, 7, selectedCompletionInfo=selected))
    check("goes_on_from_what_is_selected",
          (item["insertText"], item["range"]) == ("real_value)", selected["range"]), item)
    fake.next()
    check("the_model_sees_it_selected", text_of(fake.next())[0].endswith("\n    real"))
    fake.say({"content": "one\ntwo\nthr", "stopped_limit": True})
    client.change(URI, "x = [\n")
    check("no_half_line_at_the_end", first(client.inline(URI, 1, 0))["insertText"] == "one\ntwo")
    fake.next()
    fake.say("b\nc")
    client.change(URI, "f(a, )\n")
    item = first(client.inline(URI, 0, 5))
    check("one_line_within_a_line",
          (item["insertText"], fake.next()["stop"]) == ("b", ["\n"]), item)
    fake.say("\n  \n")
    client.change(URI, "y\n")
    check("blank_is_nothing", client.inline(URI, 0, 1)["result"] == {"items": []})
    check("nothing_in_the_menu", client.ask("textDocument/completion", client.at(URI, 0, 1))
          ["result"] == {"isIncomplete": True, "items": []})
    client.end()


def typed_as_predicted():
    fake = Fake()
    client = start(fake)
    client.open(URI, "for i in ")
    fake.say("range(10):\n    pass")
    client.inline(URI, 0, 9)
    found = []
    for n, letter in enumerate("range"):
        client.change(URI, (0, 9 + n, 0, 9 + n, letter), version=n + 2)
        found.append(first(client.inline(URI, 0, 10 + n))["insertText"])
    check("the_rest_of_what_is_known",
          found == ["range(10):\n    pass"[n + 1:] for n in range(5)], found)
    check("without_the_model", fake.n_asked() == 1)
    client.change(URI, (0, 9, 0, 9, "o"))
    fake.say("ther")
    check("another_text_is_asked_for",
          first(client.inline(URI, 0, 10))["insertText"] == "ther")
    client.change(URI, "for i in range(10):\n    pass")
    fake.say("\nend")
    check("after_all_of_it_comes_more",
          first(client.inline(URI, 1, 8))["insertText"] == "\nend")
    client.change(URI, "# above\nfor i in ran")
    check("only_what_stood_there_before", client.inline(URI, 1, 12)["result"]["items"]
          and fake.n_asked() == 4, fake.n_asked())
    client.end()


def typing():
    fake = Fake()
    client = start(fake, "--debounce", "1000")
    client.open(URI, "x")
    automatic, data, numbers = {"triggerKind": 2}, b"", []
    for n in range(10):
        data += frame({"jsonrpc": "2.0", "method": "textDocument/didChange", "params": {
            "textDocument": {"uri": URI, "version": n + 2},
            "contentChanges": [{"text": "x" * (n + 2)}]}})
        data += frame({"jsonrpc": "2.0", "id": 100 + n, "method": "textDocument/inlineCompletion",
                       "params": {**client.at(URI, 0, n + 2), "context": automatic}})
        numbers.append(100 + n)
    client.raw(data)
    answers = [client.answer(n) for n in numbers]
    check("older_ones_are_outdated",
          [a.get("error", {}).get("code") for a in answers] == [MODIFIED] * 9 + [None], answers)
    check("a_burst_asks_once", fake.n_asked() == 1 and text_of(fake.next())[0] == "x" * 11)
    check("the_last_gets_its_answer", first(answers[9])["insertText"] == "pass")
    client.end()


def under_way():
    fake = Fake()
    client = start(fake)
    client.open(URI, "x")
    client.open("file:///w/b.py", "y")
    fake.waits = True

    def begin(line=0, character=1, uri=URI):
        number = client.request("textDocument/inlineCompletion", client.at(uri, line, character))
        return number, fake.next()

    number, _ = begin()
    client.notify("$/cancelRequest", {"id": number})
    check("cancelled", client.answer(number)["error"]["code"] == CANCELLED)
    check("the_server_sees_it", fake.gone.get(timeout=60))
    number, _ = begin()
    client.change(URI, "xy")
    check("outdated", client.answer(number)["error"]["code"] == MODIFIED)
    check("outdated_work_stops", fake.gone.get(timeout=60))
    older, _ = begin(0, 2)
    newer, _ = begin(0, 1)
    check("a_newer_request_replaces", client.answer(older)["error"]["code"] == MODIFIED)
    fake.gone.get(timeout=60)
    other, _ = begin(uri="file:///w/b.py")
    menu = client.request("textDocument/completion", client.at(URI, 0, 1))
    client.notify("$/cancelRequest", {"id": newer})
    check("one_of_two_cancelled", client.answer(newer)["error"]["code"] == CANCELLED)
    client.notify("$/cancelRequest", {"id": 12345})
    fake.go.set()
    check("the_other_goes_on", first(client.answer(menu))["textEdit"]["newText"] == "xpass")
    check("other_documents_go_on", first(client.answer(other))["insertText"] == "pass")
    fake.go.clear()
    number, _ = begin(0, 0)
    client.notify("textDocument/didClose", {"textDocument": {"uri": URI}})
    check("closing_ends_it", client.answer(number)["error"]["code"] == MODIFIED)
    check("no_more_were_asked", fake.n_asked() == 0)
    check("exit_0_after_all_this", client.end() == 0)


def failures():
    fake = Fake()
    key = os.path.join(FOLDER, "key")
    with open(key, "w") as file:
        file.write("# mine\nsecret\n")
    os.chmod(key, 0o600)
    client = start(fake, "--api-key-file", key, "-m", "small")
    client.open(URI, "x")
    fake.say((503, {"error": {"message": "too many requests wait"}}), (200, {"no": "content"}),
             (200, {"content": "z" * (2 << 20)}))
    check("no_items_on_failure", client.inline(URI, 0, 1)["result"] == {"items": []})
    client.wait_for("window/showMessage", "503: too many requests wait")
    body, headers = fake.asked.get(timeout=60)
    check("model_and_key", (body["model"], headers["Authorization"]) == ("small", "Bearer secret"))
    client.inline(URI, 0, 1)
    client.wait_for("window/showMessage", "the server answered 200")
    client.inline(URI, 0, 1)
    client.wait_for("window/showMessage", fake.url)
    check("works_again", first(client.inline(URI, 0, 1))["insertText"] == "pass")
    client.end()
    fake.http.server_close()
    client = start(fake)
    client.open(URI, "x")
    client.inline(URI, 0, 1)
    told = client.wait_for("window/showMessage", fake.url)
    client.inline(URI, 0, 1)
    client.ask("no/such")
    check("the_same_is_told_once", told not in client.notifications)
    client.end()


def trace():
    fake = Fake()
    client = start(fake)
    client.open(URI, "x")
    client.inline(URI, 0, 1)
    client.wait_for("$/logTrace", "method=prefix")
    client.notify("$/setTrace", {"value": "off"})
    client.inline(URI, 0, 0)
    client.ask("no/such")
    check("silence_if_so_set", client.traces() == [])
    client.end()


for test in (handshake, capabilities, settings_on_request, frames, endings, odd_places,
             other_documents, suggestions, typed_as_predicted, typing, under_way, failures, trace):
    attempt(test)
for name in ("utf-16", "utf-8"):
    attempt(lambda: edits(name))
sys.exit(failed > 0)
