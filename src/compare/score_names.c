/* Python names that are called although nothing can have bound them: help that was promised and
 * never written. A name counts as bound wherever it appears other than as the callee of a call, so
 * that no finished program is suspected. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "compare/score_impl.h"

/* Callable without an import, Python 3; each between spaces. */
static const char builtins[] =
    " abs aiter all anext any ascii bin bool breakpoint bytearray bytes callable chr classmethod"
    " compile complex delattr dict dir divmod enumerate eval exec exit filter float format"
    " frozenset getattr globals hasattr hash help hex id input int isinstance issubclass iter len"
    " list locals map max memoryview min next object oct open ord pow print property quit range"
    " repr reversed round set setattr slice sorted staticmethod str sum super tuple type vars zip"
    " __import__ copyright credits license ArithmeticError AssertionError AttributeError"
    " BaseException BaseExceptionGroup BlockingIOError BrokenPipeError BufferError BytesWarning"
    " ChildProcessError ConnectionAbortedError ConnectionError ConnectionRefusedError"
    " ConnectionResetError DeprecationWarning EOFError EnvironmentError Exception ExceptionGroup"
    " FileExistsError FileNotFoundError FloatingPointError FutureWarning GeneratorExit IOError"
    " ImportError ImportWarning IndentationError IndexError InterruptedError IsADirectoryError"
    " KeyError KeyboardInterrupt LookupError MemoryError ModuleNotFoundError NameError"
    " NotADirectoryError NotImplementedError OSError OverflowError PendingDeprecationWarning"
    " PermissionError ProcessLookupError RecursionError ReferenceError ResourceWarning"
    " RuntimeError RuntimeWarning StopAsyncIteration StopIteration SyntaxError SyntaxWarning"
    " SystemError SystemExit TabError TimeoutError TypeError UnboundLocalError"
    " UnicodeDecodeError UnicodeEncodeError UnicodeError UnicodeTranslateError UnicodeWarning"
    " UserWarning ValueError Warning ZeroDivisionError ";

struct use {
    const char *name;
    size_t n, begin;
    bool called;
};
struct uses {
    struct use *p;
    size_t n, cap;
    bool failed;
    bool opaque; // names come in ways that can not be seen
};

static bool see_use(void *user, const struct syntax_place *place) {
    struct uses *uses = user;
    if (strcmp(ts_node_type(place->node), "wildcard_import") == 0) {
        uses->opaque = true;
        return false;
    }
    if (place->role != ROLE_IDENTIFIER) return true;
    bool called = false;
    if (place->depth > 0 &&
        syntax_role(place->syntax->grammar, place->path[place->depth - 1]) == ROLE_CALL) {
        const char *field = syntax_place_field(place);
        called = field && strcmp(field, "function") == 0;
    }
    size_t begin = ts_node_start_byte(place->node), end = ts_node_end_byte(place->node);
    const char *name = place->syntax->text + begin;
    if (called && (syntax_text_is(place->syntax, place->node, "exec") ||
                   syntax_text_is(place->syntax, place->node, "globals"))) {
        uses->opaque = true;
        return false;
    }
    void *p = uses->p;
    if (!mem_reserve(&p, &uses->cap, uses->n + 1, sizeof *uses->p)) {
        uses->failed = true;
        return false;
    }
    uses->p = p;
    uses->p[uses->n++] = (struct use){name, end - begin, begin, called};
    return true;
}

static int compare_names(const struct use *a, const struct use *b) {
    int order = memcmp(a->name, b->name, a->n < b->n ? a->n : b->n);
    return order != 0 ? order : (a->n > b->n) - (a->n < b->n);
}

static int by_name(const void *a, const void *b) {
    const struct use *x = a, *y = b;
    int order = compare_names(x, y);
    return order != 0 ? order : (x->begin > y->begin) - (x->begin < y->begin);
}

static bool is_builtin(const struct use *use) {
    const char *at = builtins;
    while ((at = memmem(at, strlen(at), use->name, use->n))) {
        if (at > builtins && at[-1] == ' ' && at[use->n] == ' ') return true;
        at++;
    }
    return false;
}

bool undefined_names(const struct syntax *syntax, name_fn found, void *user) {
    struct uses uses = {.p = NULL};
    bool ok = syntax_walk(syntax, see_use, &uses) && !uses.failed;
    if (ok && uses.n > 0 && !uses.opaque) {
        qsort(uses.p, uses.n, sizeof *uses.p, by_name);
        for (size_t i = 0, next; i < uses.n && ok; i = next) {
            bool bound = false;
            for (next = i; next < uses.n && compare_names(&uses.p[i], &uses.p[next]) == 0; next++)
                bound |= !uses.p[next].called;
            if (!bound && !is_builtin(&uses.p[i]))
                ok = found(user, uses.p[i].begin, uses.p[i].begin + uses.p[i].n);
        }
    }
    mem_free(uses.p);
    return ok;
}
