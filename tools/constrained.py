"""liboctet's grammars from Python, for the checks beside this file."""
import ctypes
import os

OPEN = 1


class Err(ctypes.Structure):
    _fields_ = [("status", ctypes.c_int), ("message", ctypes.c_char * 504)]


class Refused(Exception):
    pass


class Library:
    def __init__(self, path):
        self.lib = ctypes.CDLL(os.path.abspath(path))
        for name in ("octet_grammar_close", "octet_text_free"):
            getattr(self.lib, name).argtypes = [ctypes.c_void_p]

    def _check(self, status, err):
        if status:
            raise Refused(err.message.decode("utf-8", "replace"))

    def schema(self, text, flags=0):
        """A grammar of a schema's text; Refused with the reason."""
        out, err, data = ctypes.c_void_p(), Err(), text.encode()
        self._check(self.lib.octet_grammar_open_schema(
            None, data, ctypes.c_size_t(len(data)), flags, ctypes.byref(out), ctypes.byref(err)),
            err)
        return out

    def grammar(self, text):
        out, err, data = ctypes.c_void_p(), Err(), text.encode()
        self._check(self.lib.octet_grammar_open(
            None, data, ctypes.c_size_t(len(data)), ctypes.byref(out), ctypes.byref(err)), err)
        return out

    def source(self, schema, flags=0):
        """The GBNF of a schema."""
        out, n, err, data = ctypes.c_void_p(), ctypes.c_size_t(), Err(), schema.encode()
        self._check(self.lib.octet_schema_grammar(
            data, ctypes.c_size_t(len(data)), flags, ctypes.byref(out), ctypes.byref(n),
            ctypes.byref(err)), err)
        text = ctypes.string_at(out, n.value).decode()
        self.lib.octet_text_free(out)
        return text

    def match(self, grammar, text):
        """0: nothing begins like TEXT, 1: something does, 2: it is whole."""
        how, err, data = ctypes.c_int(), Err(), text.encode("utf-8", "surrogatepass")
        self._check(self.lib.octet_grammar_match(
            grammar, data, ctypes.c_size_t(len(data)), ctypes.byref(how), ctypes.byref(err)), err)
        return how.value

    def close(self, grammar):
        self.lib.octet_grammar_close(grammar)
