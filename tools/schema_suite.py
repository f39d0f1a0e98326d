#!/usr/bin/env python3
"""Runs the JSON Schema Test Suite against octet's grammars of schemas.

    tools/schema_suite.py [--library build/liboctet.so] [--json] [SUITE]

SUITE is a folder with tests/draft2020-12 in it; without it the source package of jsonschema, which
brings the suite along, is fetched with pip. A schema is either refused, or its grammar accepts the
compact text of every valid instance and of no invalid one. Texts list properties in the order of
the schema, since that is the order in which they are written. Prints counts; exit 1 if any is
wrong.
"""
import argparse
import collections
import glob
import json
import os
import subprocess
import sys
import tarfile
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from constrained import OPEN, Library, Refused  # noqa: E402



def fetch(folder):
    subprocess.run([sys.executable, "-m", "pip", "download", "jsonschema", "--no-deps", "--quiet",
                    "--no-binary", "jsonschema", "-d", folder], check=True)
    with tarfile.open(glob.glob(folder + "/*.tar.gz")[0]) as archive:
        archive.extractall(folder, filter="data")
    return glob.glob(folder + "/jsonschema-*/json")[0]


def resolve(root, schema):
    for _ in range(20):
        if not isinstance(schema, dict) or not schema.get("$ref", "").startswith("#"):
            return schema
        at = root
        for step in schema["$ref"][1:].split("/")[1:]:
            step = step.replace("~1", "/").replace("~0", "~")
            at = at[int(step)] if isinstance(at, list) else at.get(step, True)
        rest = {k: v for k, v in schema.items() if k != "$ref"}
        schema = {"allOf": [rest, at]} if rest else at
    return schema


def parts(root, schema, depth=0):
    """The schemas that hold together with SCHEMA, in the order in which they are read."""
    if not isinstance(schema, dict) or depth > 8:
        return []
    found = [schema]
    if "$ref" in schema:
        target = resolve(root, {"$ref": schema["$ref"]})
        found += parts(root, target, depth + 1)
    for key in ("allOf", "anyOf", "oneOf"):
        for inner in schema.get(key, []):
            found += parts(root, inner, depth + 1)
    return found


def same(a, b):
    return json.dumps(plain(a), sort_keys=True) == json.dumps(plain(b), sort_keys=True)


def orders(root, schemas, value):
    """VALUE with the members of objects in the order of the schemas."""
    together = [p for s in schemas for p in parts(root, s)]
    for part in together:
        for listed in part.get("enum", []) + ([part["const"]] if "const" in part else []):
            # Not ==: in Python False is 0.
            if isinstance(value, (dict, list)) and same(listed, value):
                return listed
    if isinstance(value, list):
        out = []
        for i, item in enumerate(value):
            inner = []
            for part in together:
                prefix = part.get("prefixItems", [])
                if i < len(prefix):
                    inner.append(prefix[i])
                elif "items" in part:
                    inner.append(part["items"])
            out.append(orders(root, inner, item))
        return out
    if not isinstance(value, dict):
        return value
    names = []
    for part in together:
        # As form_add reads them: the properties of a schema before what it requires.
        for name in list(part.get("properties", {})) + list(part.get("required", [])):
            if name not in names:
                names.append(name)
    out = {}
    for name in [n for n in names if n in value] + [n for n in value if n not in names]:
        inner = []
        for part in together:
            if name in part.get("properties", {}):
                inner.append(part["properties"][name])
            elif "additionalProperties" in part:
                inner.append(part["additionalProperties"])
        out[name] = orders(root, inner, value[name])
    return out


def plain(value):
    """Whole numbers as JavaScript writes them."""
    if isinstance(value, float) and value == int(value) and abs(value) < 1e21:
        return int(value)
    if isinstance(value, list):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return value


def text_of(root, value):
    return json.dumps(plain(orders(root, [root], value)), separators=(",", ":"),
                      ensure_ascii=False)


def run_file(library, path, counts, wrong, refused):
    with open(path, encoding="utf-8") as file:
        groups = json.load(file)
    for group in groups:
        name = os.path.basename(path)[:-5] + ": " + group["description"]
        n = len(group["tests"])
        try:
            grammar = library.schema(json.dumps(group["schema"]), OPEN)
        except Refused as why:
            text = str(why)
            # A schema under which nothing is valid refuses all, as it should.
            if "no value is valid" in text and not any(t["valid"] for t in group["tests"]):
                counts["supported"] += n
                continue
            counts["refused"] += n
            refused[text.split("'")[1] if "'" in text else text].append(name)
            continue
        for test in group["tests"]:
            text = text_of(group["schema"], test["data"])
            whole = library.match(grammar, text) == 2
            if whole == test["valid"]:
                counts["supported"] += 1
            else:
                counts["wrong"] += 1
                wrong.append((name, test["description"], text, test["valid"]))
        library.close(grammar)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("suite", nargs="?")
    parser.add_argument("--library", default="build/liboctet.so")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    library = Library(args.library)
    counts, wrong, refused = collections.Counter(), [], collections.defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        suite = args.suite or fetch(folder)
        for path in sorted(glob.glob(suite + "/tests/draft2020-12/*.json")):
            run_file(library, path, counts, wrong, refused)
    if args.json:
        print(json.dumps({**counts, "refused_by": {k: len(v) for k, v in refused.items()}}))
    else:
        for name, what, text, valid in wrong:
            print(f"wrong: {name}: {what}: {'rejects' if valid else 'accepts'} {text}")
        for keyword, names in sorted(refused.items(), key=lambda item: -len(item[1])):
            print(f"refused, {len(names)} schemas: {keyword}")
        print(f"{counts['supported']} cases supported, {counts['refused']} refused, "
              f"{counts['wrong']} wrong")
    return 1 if counts["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
