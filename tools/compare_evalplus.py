#!/usr/bin/env python3
"""Does octet judge as EvalPlus does? Answers are made by small seeded changes of the reference
solutions; both evaluators judge each of them; every difference is printed.

    pip install evalplus numpy psutil
    tools/compare_evalplus.py HumanEvalPlus-Mini.jsonl.gz --grader build/grade_lines

The grader is tools/grade_lines.c, linked with libcompare.a and liboctet.a of a build. EvalPlus runs
the answers without a sandbox: they are changed references, not a model's, but run this in a
container all the same."""
import argparse
import ast
import copy
import gzip
import json
import random
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from importlib.metadata import version

COMPARES = [ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq]
OPERATORS = [ast.Add, ast.Sub, ast.Mult, ast.FloorDiv, ast.Mod, ast.Div]
CONSTANTS = [None, True, [], (), {}, set(), "", 0.0, float("nan"), 10**30]


def other(rng, kinds, current):
    return rng.choice([kind for kind in kinds if not isinstance(current, kind)])()


def change_value(rng, node):
    """A changed copy of the expression NODE, or None."""
    if isinstance(node, ast.Compare):
        node.ops[rng.randrange(len(node.ops))] = other(rng, COMPARES, node.ops[0])
    elif isinstance(node, ast.BinOp):
        if rng.random() < 0.3:
            node.left, node.right = node.right, node.left
        else:
            node.op = other(rng, OPERATORS, node.op)
    elif isinstance(node, ast.BoolOp):
        node.op = other(rng, [ast.And, ast.Or], node.op)
    elif isinstance(node, ast.Constant) and type(node.value) is int:
        node.value += rng.choice([-1, 1, 1000])
    elif isinstance(node, ast.Constant) and type(node.value) is float:
        node.value = rng.choice([node.value + 1e-7, node.value + 1e-3, -node.value])
    elif isinstance(node, ast.Constant) and type(node.value) is str:
        node.value = rng.choice([node.value + " ", node.value.upper(), node.value[1:]])
    elif isinstance(node, (ast.List, ast.Tuple)) and isinstance(node.ctx, ast.Load):
        kind = ast.Tuple if isinstance(node, ast.List) else ast.List
        return kind(elts=node.elts, ctx=ast.Load())
    else:
        return None
    return node


def change_return(rng, node):
    """Another type, a float's neighbour, a constant, an exception, or what is no plain data."""
    value = node.value or ast.Constant(value=None)
    wrap = lambda text: ast.parse(text.replace("VALUE", ast.unparse(value)), mode="eval").body
    node.value = wrap(rng.choice([
        "list(VALUE)", "tuple(VALUE)", "set(VALUE)", "iter(VALUE)", "str(VALUE)", "float(VALUE)",
        "int(VALUE)", "bool(VALUE)", "(VALUE) + 1e-8", "(VALUE) + 1e-5", "(VALUE) * (1 + 1e-9)",
        "[VALUE]", "VALUE, VALUE", "sorted(VALUE)", "dict(VALUE)", "not (VALUE)",
        "complex(VALUE)", "__import__('collections').OrderedDict(VALUE)", "exit(0)", "1 / 0",
        repr(rng.choice(CONSTANTS)).replace("nan", "float('nan')")]))
    return node


def change_branch(rng, node):
    """The branches swapped, the condition turned round, or one of them gone."""
    if node.orelse and rng.random() < 0.5:
        node.body, node.orelse = node.orelse, node.body
    elif rng.random() < 0.5:
        node.test = ast.UnaryOp(op=ast.Not(), operand=node.test)
    else:
        node.body = [ast.Pass()]
    return node


def change_loop(rng, node):
    """An early end, a first round that does nothing, an exception, or, rarely, no end."""
    text = rng.choice(["break", "break", "continue", "raise KeyError(0)", "return None",
                       "while True: pass"])
    added = ast.parse(text, mode="exec").body if "return" not in text else [ast.Return(None)]
    node.body = node.body + added if rng.random() < 0.7 else added + node.body
    return node


def without_docstrings(tree):
    """Changes of those would be answers that only look changed."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return tree


class Changer(ast.NodeTransformer):
    """Applies one change at the I-th place where one is possible."""

    def __init__(self, rng, at):
        self.rng, self.at, self.places = rng, at, 0

    def generic_visit(self, node):
        node = super().generic_visit(node)
        if isinstance(node, ast.Return):
            return self.place(node, change_return)
        if isinstance(node, ast.If):
            return self.place(node, change_branch)
        if isinstance(node, (ast.For, ast.While)):
            return self.place(node, change_loop)
        if isinstance(node, ast.expr):
            return self.place(node, change_value)
        if isinstance(node, (ast.Assign, ast.AugAssign, ast.Expr)):
            return self.place(node, lambda rng, node: ast.Pass())
        return node

    def place(self, node, change):
        changed = change(random.Random(self.rng.random()), copy.deepcopy(node))
        if changed is None:
            return node
        self.places += 1
        return changed if self.places - 1 == self.at else node


def mutants(row, count, seed):
    tree = without_docstrings(ast.parse(row["prompt"] + row["canonical_solution"]))
    rng = random.Random(seed + row["task_id"])
    probe = Changer(random.Random(0), -1)
    probe.visit(copy.deepcopy(tree))
    found = []
    for _ in range(50 * count):
        changed = Changer(rng, rng.randrange(probe.places)).visit(copy.deepcopy(tree))
        try:
            text = ast.unparse(ast.fix_missing_locations(changed)) + "\n"
            compile(text, "mutant", "exec")
        except (SyntaxError, ValueError):
            continue
        if text not in found:
            found.append(text)
        if len(found) == count:
            break
    return found


def judge_evalplus(job):
    from evalplus.eval import PASS, untrusted_check
    from evalplus.gen.util import trusted_exec
    row, codes = job
    verdicts = [[], []]
    for i, name in enumerate(["base_input", "plus_input"]):
        expected, seconds = trusted_exec(row["prompt"] + row["canonical_solution"], row[name],
                                         row["entry_point"], record_time=True)
        for code in codes:
            stat, _ = untrusted_check("humaneval", code, row[name], row["entry_point"], expected,
                                      row["atol"], seconds, fast_check=True, min_time_limit=1)
            verdicts[i].append(stat == PASS)
    return [(base, base and plus) for base, plus in zip(*verdicts)]


def judge_octet(grader, data, jobs):
    lines = "".join(json.dumps({"task": row["task_id"], "code": code}) + "\n"
                    for row, codes in jobs for code in codes)
    done = subprocess.run([grader, data, "1"], input=lines, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("data")
    parser.add_argument("--grader", required=True)
    parser.add_argument("--mutants", type=int, default=20)
    parser.add_argument("--seed", default="", help="a text; others make other answers")
    parser.add_argument("--every", type=int, default=1, help="only each N-th task")
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    with gzip.open(args.data, "rt") as file:
        rows = [json.loads(line) for line in file][::args.every]
    jobs = [(row, mutants(row, args.mutants, args.seed)) for row in rows]
    with ProcessPoolExecutor(args.jobs) as pool:
        theirs = [v for part in pool.map(judge_evalplus, jobs) for v in part]
    shares = [jobs[i::args.jobs] for i in range(args.jobs)]
    with ThreadPoolExecutor(args.jobs) as threads:
        parts = list(threads.map(lambda share: judge_octet(args.grader, args.data, share), shares))
    ours = {(row["task_id"], code): verdict for share, part in zip(shares, parts)
            for (row, code), verdict in zip([(r, c) for r, cs in share for c in cs], part)}
    answers = [(row["task_id"], code) for row, codes in jobs for code in codes]
    differences = 0
    for (task, code), (base, plus) in zip(answers, theirs):
        mine = ours[task, code]
        if (mine["base"] == "passes", mine["plus"] == "passes") != (base, plus):
            differences += 1
            print(f"--- {task}: evalplus {base} {plus}, octet {mine}\n{code}")
    n_base, n_plus = sum(base for base, _ in theirs), sum(plus for _, plus in theirs)
    n_late = sum("times out" in (mine["base"], mine["plus"]) for mine in ours.values())
    print(f"{len(answers)} answers to {len(rows)} tasks: {n_base} pass base, {n_plus} pass plus, "
          f"{n_late} time out; {differences} judged differently")
    print(f"evalplus {version('evalplus')}, numpy {version('numpy')}, "
          f"Python {sys.version.split()[0]}")


if __name__ == "__main__":
    main()
