"""What requests take over from each other: one prefill for all that begin alike, and the same texts
with and without.
"""
import pathlib
import signal
import sys
import threading
import time

from lib import Server, attempt, check, finish

LONG = "def add(a, b):\n    return a + b\n\n" * 12


def ask(server, prompt, **more):
    """Text and cached tokens."""
    _, _, body = server.ask("/v1/completions", {"prompt": prompt, "max_tokens": 8,
                                                "temperature": 0, **more})
    usage = body["usage"]
    return body["choices"][0]["text"], usage["prompt_tokens_details"]["cached_tokens"], \
        usage["prompt_tokens"]


def identical_prompts_share_one_prefill():
    server = Server()
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(ask(server, LONG)))
               for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    n_prompt = answers[0][2]
    check("identical_prompts_give_one_text", len({text for text, _, _ in answers}) == 1, answers)
    computed = sorted(n_prompt - cached for _, cached, _ in answers)
    check("identical_prompts_are_computed_once", computed == [1] * 7 + [n_prompt], computed)
    check("metrics_show_the_cache", server.metric("octet_cache_pages") > 0)
    server.stop()


def beginnings_are_kept():
    with_cache, without = Server("--parallel", "1"), Server("--parallel", "1", "--cache-ram", "0")
    for name, prompt, least in [("first", LONG + "x = 1", 0), ("another", LONG + "y = 2", 256),
                                ("first_again", LONG + "x = 1", 256),
                                ("unknown", "z" + LONG, 0), ("old", LONG + "x = 2", 256)]:
        text, cached, n_prompt = ask(with_cache, prompt)
        check(f"{name}_reuses_what_is_known", least <= cached < n_prompt, (cached, n_prompt))
        check(f"{name}_has_the_same_text", text == ask(without, prompt)[0])
    with_cache.stop()
    without.stop()


def a_restart_finds_what_was_known():
    folder = sys.argv[3] + "/prefixes"
    server = Server("--cache-dir", folder)
    said, cached, n_prompt = ask(server, LONG)
    check("nothing_is_known_at_first", cached == 0, cached)
    server.stop()
    server = Server("--cache-dir", folder)
    check("restart_has_pages_before_it_is_asked", server.metric("octet_cache_pages") > 0)
    again, cached, _ = ask(server, LONG)
    check("restart_finds_all_of_the_prompt", again == said and cached == n_prompt - 1,
          (cached, n_prompt))
    server.process.kill()
    server.process.communicate()
    for path in pathlib.Path(folder).glob("*/*.kv"):
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    server = Server("--cache-dir", folder)
    again, cached, _ = ask(server, LONG)
    check("damaged_files_are_not_served", again == said and cached == 0, cached)
    check("damaged_files_are_counted", server.metric("octet_cache_damaged_total") > 0)
    server.stop()


def a_pause_saves_the_end_of_a_text():
    folder = sys.argv[3] + "/ends"
    server = Server("--cache-dir", folder)
    said, _, n_prompt = ask(server, LONG)
    bytes_asked = server.metric("octet_cache_disk_bytes")
    until = time.monotonic() + 30
    while server.metric("octet_cache_disk_bytes") == bytes_asked and time.monotonic() < until:
        time.sleep(0.1)
    check("same_text_after_a_pause", ask(server, LONG)[0] == said)
    # The writer's thread has what it needs; that a file is whole shows when it has its last name.
    n_files = lambda: len(list(pathlib.Path(folder).glob("*/*.kv")))
    while n_files() <= n_prompt // 64 and time.monotonic() < until:
        time.sleep(0.1)
    server.stop(signal.SIGKILL)
    server = Server("--cache-dir", folder)
    again, cached, _ = ask(server, LONG)
    check("what_was_killed_finds_all_of_the_prompt", again == said and cached == n_prompt - 1,
          (cached, n_prompt))
    server.stop()


attempt(identical_prompts_share_one_prefill)
attempt(beginnings_are_kept)
attempt(a_restart_finds_what_was_known)
attempt(a_pause_saves_the_end_of_a_text)
finish()
