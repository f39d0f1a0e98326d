#!/usr/bin/env python3
"""Makes the expected results under tests/data/template with jinja2, set up as transformers does.

    python3 tools/make_template_tests.py      needs: jinja2 (3.1)

Of every template NAME.jinja with every conversation of conversations.json, and of every template in
features.txt (separated by lines "====") with the variables of features-variables.json. Results go
to expected.json and features.json: texts, or null where rendering fails.
"""
import datetime
import json
from pathlib import Path

import jinja2
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment

DATA = Path(__file__).parent.parent / "tests" / "data" / "template"


class Generation(Extension):
    """{% generation %} marks what a model is trained to write; rendering passes it through."""
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        call = self.call_method("pass_through")
        return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(line)

    def pass_through(self, caller):
        return caller()


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                      sort_keys=sort_keys)


def environment():
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                        extensions=[Generation, "jinja2.ext.loopcontrols"])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda format: datetime.datetime.now().strftime(format)
    return env


def render(env, source, variables):
    try:
        return env.from_string(source).render(**variables)
    except Exception:  # whatever a template does wrong
        return None


def read_text(path):
    return path.read_bytes().decode()


def write_json(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False, indent=0) + "\n")


def main():
    env = environment()
    conversations = json.loads(read_text(DATA / "conversations.json"))
    expected = {}
    for path in sorted(DATA.glob("*.jinja")):
        source = read_text(path)
        expected[path.stem] = [render(env, source, c) for c in conversations]
        failed = sum(text is None for text in expected[path.stem])
        print(f"{path.stem}: {len(conversations) - failed} texts, {failed} failures")
    write_json(DATA / "expected.json", expected)

    variables = json.loads(read_text(DATA / "features-variables.json"))
    features = read_text(DATA / "features.txt").split("\n====\n")
    write_json(DATA / "features.json",
               [{"template": f, "text": render(env, f, variables)} for f in features])


if __name__ == "__main__":
    main()
