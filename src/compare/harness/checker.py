# Runs inside the checker's box: knows the tests, calls the answer's function over descriptor 0 and
# writes the verdict to descriptor 3. What comes back from the answer is plain data or opaque.
import ast
import builtins
import copy
import math
import select
import time

LIMIT_FACTOR = 4.0
LOAD_LIMIT_S = 10.0
FLOAT_ATOL = 1e-6
FLOAT_RTOL = 1e-7


class Broken(Exception):
    """The task itself is at fault."""


class Ended(BaseException):
    """No further call is possible. Not an Exception, so that no test can swallow it."""

    def __init__(self, grade, detail):
        super().__init__(detail)
        self.grade, self.detail = grade, detail


class Raised(Exception):
    """The answer raised an exception of a type that is not built in."""


class Channel:
    """The other end of candidate.py's descriptor 3."""

    def __init__(self, fd, limit_s, deadline):
        self.fd, self.limit_s, self.deadline = fd, limit_s, deadline
        self.rest, self.n_calls = bytearray(), 0

    def receive(self, limit_s):
        until = min(time.monotonic() + limit_s, self.deadline)
        searched = 0
        while (end := self.rest.find(b"\n", searched)) < 0:
            searched = len(self.rest)
            if searched > MAX_LINE:
                raise Ended("fails", "a result is too large")
            left = until - time.monotonic()
            if left <= 0 or not select.select([self.fd], [], [], left)[0]:
                raise Ended("times out", f"no result within {limit_s:.3g} s")
            try:
                more = os.read(self.fd, 1 << 20)
            except OSError:
                more = b""
            if not more:
                raise Ended("fails", "the program ended before it returned a result")
            self.rest += more
        line = bytes(self.rest[:end])
        del self.rest[:end + 1]
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            raise Ended("fails", "the program spoke out of turn")
        return message

    def wait_ready(self):
        hello = self.receive(LOAD_LIMIT_S)
        if "syntax" in hello:
            raise Ended("not compiled", text(hello["syntax"]))
        if "missing" in hello:
            raise Ended("no entry", f"{text(hello['missing'])} is not defined")
        if "raised" in hello:
            raise Ended("fails", f"loading raised {text(hello.get('message'))}")
        if "ready" not in hello:
            raise Ended("fails", "the program spoke out of turn")

    def call(self, args, reference_s=0):
        """(names of the exception's classes or None, value or message)"""
        limit_s = max(self.limit_s, LIMIT_FACTOR * reference_s)
        self.n_calls += 1
        try:
            write_all(self.fd, dump({"id": self.n_calls, "args": encode(list(args))}))
        except OSError:
            raise Ended("fails", "the program ended before it was called") from None
        answer = self.receive(limit_s)
        if answer.get("id") != self.n_calls:
            raise Ended("fails", "the program spoke out of turn")
        if "raised" in answer:
            names = answer["raised"]
            names = [text(name) for name in names[:8]] if isinstance(names, list) else []
            return names or ["Exception"], text(answer.get("message"))
        try:
            return None, decode(answer.get("value"))
        except Exception:
            raise Ended("fails", "the program sent what is no value") from None


def text(value):
    return str(value)[:200]


def show(value):
    try:
        shown = repr(value)
    except Exception:
        shown = f"<{type(value).__name__}>"
    return shown if len(shown) <= 80 else shown[:77] + "..."


def show_call(entry, args):
    return f"{entry}({', '.join(show(arg) for arg in args)})"


class Score:
    """Counts tests; the first failure is kept."""

    def __init__(self):
        self.n_tests = self.n_passed = 0
        self.detail = ""

    def add(self, passed, detail):
        self.n_tests += 1
        self.n_passed += passed
        if not passed and not self.detail:
            self.detail = detail()
        return passed


# ---- EvalPlus -----------------------------------------------------------------------------------

# MBPP+ keeps tuples, sets and complex numbers as lists and texts; these tasks want them back.
MBPP_TUPLE_ITEMS = {2, 116, 132, 143, 222, 261, 273, 394, 399, 421, 424, 429, 470, 560, 579, 596,
                    616, 630, 726, 740, 744, 809}
MBPP_TUPLES_IN_ITEMS = {63, 64, 70, 94, 120, 237, 272, 299, 400, 409, 417, 438, 473, 614, 780}
MBPP_TUPLES_IN_FIRST = {75, 413, 444, 753}
MBPP_SECOND_IS_TUPLE = {106, 750}
MBPP_FIRST_IS_TUPLE = {250, 405, 446, 617, 720, 763, 808, 307}
MBPP_TUPLES_OF_TUPLES = {259, 401, 445}
MBPP_ALL_TUPLES = {580, 615, 791}

MBPP_SET_EQUAL = {"similar_elements", "find_char_long", "common_in_nested_lists", "extract_singly",
                  "larg_nnum", "intersection_array", "find_dissimilar", "Diff"}
MBPP_NOT_NONE = {"check_str", "text_match_three", "text_starta_endb"}


def tuples(items):
    return [tuple(item) for item in items]


def deep_tuple(value):
    return tuple(deep_tuple(item) for item in value) if isinstance(value, list) else value


def mbpp_input(number, args):
    if number in MBPP_TUPLE_ITEMS:
        return tuples(args)
    if number in MBPP_TUPLES_IN_ITEMS:
        return [tuples(arg) for arg in args]
    if number in MBPP_TUPLES_IN_FIRST:
        return [tuples(args[0]), args[1]]
    if number in MBPP_SECOND_IS_TUPLE:
        return [args[0], tuple(args[1])]
    if number in MBPP_FIRST_IS_TUPLE:
        return [tuple(args[0]), *args[1:]]
    if number in MBPP_TUPLES_OF_TUPLES:
        return [tuple(tuples(arg)) for arg in args]
    if number in MBPP_ALL_TUPLES:
        return deep_tuple(args)
    if number == 115:
        return [[set(item) if isinstance(item, list) and item else {} for item in args[0]]]
    if number == 124:
        return [float(args[0]), complex(args[1])]
    if number == 252:
        return [complex(args[0])]
    if number == 278:
        return [tuple(tuple(item) if isinstance(item, list) else item for item in args[0])]
    if number == 722:
        return [{key: tuple(item) for key, item in args[0].items()}, *args[1:]]
    return args


def surface_of_pyramid(base, height):
    """MBPP 581 read with the height taken to the apex."""
    return round(base ** 2 + 2 * base * math.hypot(base / 2, height))


def digit_distance(a, b):
    """MBPP 558 for numbers of different length."""
    width = max(len(str(a)), len(str(b)))
    return sum(abs(int(x) - int(y)) for x, y in zip(str(a).zfill(width), str(b).zfill(width)))


def polynomial(coefficients, x):
    return sum(c * math.pow(x, i) for i, c in enumerate(coefficients))


def is_floats(value):
    if type(value) in (list, tuple) and value:
        return all(type(item) is float for item in value)
    return type(value) is float


def is_close_number(out, expected, atol):
    numbers = (bool, int, float, complex)
    if type(out) not in numbers or type(expected) not in numbers:
        return False
    if any(type(x) is int and not -INT_RANGE <= x < 2 * INT_RANGE for x in (out, expected)):
        return False
    if out == expected:
        return True
    difference = abs(out - expected)
    return difference <= atol + FLOAT_RTOL * abs(expected) and math.isfinite(abs(expected))


def shape_of(value):
    """The lengths of an evenly nested list from outside in; an uneven one is an error."""
    if not isinstance(value, (list, tuple)):
        return ()
    shapes = {shape_of(item) for item in value} or {()}
    (shape,) = shapes
    return len(value), *shape


def is_close(out, expected, atol):
    """What numpy.allclose says of two numbers or nests of them: where one of them is flatter or
    holds one item, that stands for as many as the other has."""
    def compare(a, depth_a, b, depth_b):
        depth = max(depth_a, depth_b)
        if depth == 0:
            return is_close_number(a, b, atol)
        a = a if depth_a == depth else [a]
        b = b if depth_b == depth else [b]
        n = len(b) if len(a) == 1 else len(a)
        a = a * n if len(a) == 1 else a
        b = b * n if len(b) == 1 else b
        return len(a) == len(b) and all(
            compare(x, min(depth_a, depth - 1), y, min(depth_b, depth - 1)) for x, y in zip(a, b))
    if isinstance(expected, (list, tuple)) and len(out) != len(expected):
        return False
    return compare(out, len(shape_of(out)), expected, len(shape_of(expected)))


class EvalPlusJudge:
    """Results are compared with the reference's, as the evaluator of EvalPlus compares them."""

    def __init__(self, job, channel):
        self.row = json.loads(job["row"])
        self.entry, self.channel, self.score = job["entry"], channel, Score()
        self.mbpp = job["dataset"] == "mbpp"
        space = {}
        exec(compile(job["reference"], "reference.py", "exec"), space)
        self.reference = space[self.entry]

    def expect(self, args):
        args = copy.deepcopy(args)
        start = time.perf_counter()
        value = self.reference(*args)
        seconds = time.perf_counter() - start
        if self.mbpp and self.entry in MBPP_NOT_NONE:
            value = value is not None
        return value, seconds

    def special(self, args, out, expected, atol):
        """Whether OUT is right where equality is not the question; None: it is."""
        if self.entry == "find_zero" and not self.mbpp:
            return abs(polynomial(*args, out)) <= atol
        if not self.mbpp:
            return None
        if self.entry in MBPP_SET_EQUAL:
            return set(out) == set(expected)
        if self.entry in MBPP_NOT_NONE:
            return out == expected if isinstance(out, bool) else expected == (out is not None)
        lenient = {
            "are_equivalent": lambda: True,
            "sum_div": lambda: out == 0,
            "surface_Area": lambda: abs(out - surface_of_pyramid(*args)) <= atol,
            "digit_distance_nums": lambda: out == digit_distance(*args),
        }.get(self.entry)
        return True if lenient and lenient() else None

    def is_right(self, args, out, expected, atol):
        try:
            special = None if out == expected and self.entry != "find_zero" else (
                self.special(args, out, expected, atol))
            if special is not None:
                return special
            if out == expected:
                return True
            return atol != 0 and type(out) is type(expected) and is_close(out, expected, atol)
        except Exception:
            return False

    def run_inputs(self, inputs):
        number = int(self.row["task_id"].split("/")[-1]) if self.mbpp else 0
        atol = self.row["atol"]
        all_right = True
        for args in inputs:
            args = mbpp_input(number, args) if self.mbpp else args
            try:
                expected, seconds = self.expect(args)
            except Exception as error:
                raise Broken(f"the reference raised {type(error).__name__}: {error}") from None
            if atol == 0 and is_floats(expected):
                atol = FLOAT_ATOL
            raised, out = self.channel.call(args, seconds)
            right = not raised and self.is_right(args, out, expected, atol)
            all_right &= self.score.add(right, lambda: (
                f"{show_call(self.entry, args)}: expected {show(expected)}, "
                + (f"raised {out}" if raised else f"got {show(out)}")))
        return all_right

    def run(self):
        """Generates the grades of base and plus."""
        yield "passes" if self.run_inputs(self.row["base_input"]) else "fails"
        yield "passes" if self.run_inputs(self.row["plus_input"]) else "fails"


# ---- Calls with expected values -----------------------------------------------------------------

def plain(value):
    """As a task file can write it: tuples are lists, keys are texts."""
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    return value


def is_expected(out, expected, atol):
    if isinstance(expected, list):
        return (isinstance(out, list) and len(out) == len(expected)
                and all(is_expected(a, b, atol) for a, b in zip(out, expected)))
    if isinstance(expected, dict):
        return (isinstance(out, dict) and out.keys() == expected.keys()
                and all(is_expected(out[key], expected[key], atol) for key in expected))
    if isinstance(expected, bool) or isinstance(out, bool):
        return out is expected
    if isinstance(expected, float) or (atol and isinstance(expected, int)):
        return is_close_number(out, expected, FLOAT_ATOL if atol is None else atol)
    return out == expected


class CallsJudge:
    """Results are compared with those the task file gives."""

    def __init__(self, job, channel):
        self.calls, self.entry = job["calls"], job["entry"]
        self.channel, self.score = channel, Score()

    def run(self):
        for call in self.calls:
            raised, out = self.channel.call(call["args"])
            if "raises" in call:
                wanted = f"an exception {call['raises']}"
                right = bool(raised) and call["raises"] in raised
            else:
                wanted = show(call["expect"])
                right = not raised and is_expected(plain(out), call["expect"], call.get("atol"))
            self.score.add(right, lambda: (
                f"{show_call(self.entry, call['args'])}: expected {wanted}, "
                + (f"raised {out}" if raised else f"got {show(out)}")))
        yield "passes" if self.score.n_passed == self.score.n_tests else "fails"


# ---- A test file --------------------------------------------------------------------------------

class CheckJudge:
    """The test file runs here, with a stand-in for the answer's function. Helpers that the tests
    take from the task come from the reference."""

    def __init__(self, job, channel):
        self.job, self.channel, self.score = job, channel, Score()
        self.space = {"__name__": "tests"}
        exec(compile(job["reference"], "reference.py", "exec"), self.space)

    def stand_in(self, *args):
        raised, out = self.channel.call(args)
        if not raised:
            return out
        for name in raised:
            cls = getattr(builtins, name, None)
            if isinstance(cls, type) and issubclass(cls, Exception):
                raise cls(out)
        raise Raised(out)

    def failed_line(self, error):
        """The statement of the test file at which ERROR came up."""
        line, trace = 0, error.__traceback__
        while trace:
            if trace.tb_frame.f_code.co_filename == "test.py":
                line = trace.tb_lineno
            trace = trace.tb_next
        for node in ast.walk(ast.parse(self.job["test"])):
            if isinstance(node, ast.stmt) and node.lineno == line:
                return ast.get_source_segment(self.job["test"], node) or ""
        return f"line {line} of the tests"

    def run(self):
        passed, detail = True, ""
        test = compile(self.job["test"], "test.py", "exec")
        try:
            if self.job["calls_itself"]:
                self.space[self.job["entry"]] = self.stand_in
                exec(test, self.space)
            else:
                exec(test, self.space)
                self.space["check"](self.stand_in)
        except Exception as error:
            passed = False
            kind = "" if isinstance(error, Raised) else f"{type(error).__name__}: "
            why = "" if isinstance(error, AssertionError) else f": {kind}{error}"
            detail = text(" ".join(self.failed_line(error).split())) + text(why)
        if self.channel.n_calls == 0 and passed:
            raise Broken("the tests did not call the function")
        self.score.add(passed, lambda: detail)
        yield "passes" if passed else "fails"


# ---- The verdict --------------------------------------------------------------------------------

JUDGES = {"evalplus": EvalPlusJudge, "calls": CallsJudge, "check": CheckJudge}


def judge(job):
    channel = Channel(0, job["call_seconds"], time.monotonic() + job["seconds"])
    grades, detail, score = [], "", Score()
    try:
        try:
            judge_of = JUDGES[job["kind"]](job, channel)
        except Exception as error:
            raise Broken(f"{type(error).__name__}: {error}") from None
        score = judge_of.score
        channel.wait_ready()
        for grade in judge_of.run():
            grades.append(grade)
        detail = score.detail
    except Ended as end:
        score.add(False, lambda: end.detail)
        grades.append(end.grade)
        detail = score.detail
    except Broken as error:
        grades, detail = ["fails"], f"the task is broken: {error}"
    plus = grades[-1] if all(grade == "passes" for grade in grades[:-1]) else grades[0]
    return {"nonce": job["nonce"], "base": grades[0], "plus": plus, "tests": score.n_tests,
            "passed": score.n_passed, "detail": detail[:600]}


def main():
    sys.setrecursionlimit(5000)
    if hasattr(sys, "set_int_max_str_digits"):
        sys.set_int_max_str_digits(0)
    os.set_inheritable(0, False)
    sys.stdin = None
    with open("job.json", encoding="utf-8") as file:
        job = json.load(file)
    os.unlink("job.json")
    write_all(3, json.dumps(judge(job)).encode())
    sys.stdout.flush()
    os._exit(0)


main()
