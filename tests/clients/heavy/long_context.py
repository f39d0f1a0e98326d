"""Prints a model whose context is at least N tokens long: long_context.py MODEL.gguf OUT.gguf N

MODEL itself, or OUT, a copy that claims such a context. What the copy says beyond the context it
was trained for means nothing; it is there for clients whose prompts are longer than small models
take.
"""
import shutil
import struct
import sys

model, out, wanted = sys.argv[1], sys.argv[2], int(sys.argv[3])
U32 = 4  # GGUF's number for the type
with open(model, "rb") as file:
    head = file.read(1 << 20)
at = head.index(b".context_length") + len(b".context_length")
kind, n = struct.unpack_from("<II", head, at)
if kind == U32 and n < wanted:
    shutil.copyfile(model, out)
    with open(out, "r+b") as file:
        file.seek(at + 4)
        file.write(struct.pack("<I", wanted))
    model = out
print(model)
