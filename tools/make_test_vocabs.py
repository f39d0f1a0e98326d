#!/usr/bin/env python3
"""Makes the vocabulary files under tests/data/tokenizer from what their authors publish.

    make_test_vocabs.py spm  MODEL  OUT.gguf NAME   from a SentencePiece protobuf (mistral-common)
    make_test_vocabs.py gguf MODEL  OUT.gguf NAME   the vocabulary of any GGUF file

The results hold no tensors. Token texts, scores, types and merges are taken over unchanged.
"""

import struct
import sys

U32, I32, F32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
SCALARS = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIif?Qqd"))


def gguf_string(data):
    return struct.pack("<Q", len(data)) + data


def gguf_value(kind, value):
    if kind == STRING:
        return gguf_string(value)
    if kind == ARRAY:
        elem, items = value
        head = struct.pack("<IQ", elem, len(items))
        if elem == STRING:
            return head + b"".join(map(gguf_string, items))
        return head + struct.pack("<%d%s" % (len(items), SCALARS[elem]), *items)
    return struct.pack("<" + SCALARS[kind], value)


def write_gguf(path, pairs):
    with open(path, "wb") as out:
        out.write(b"GGUF" + struct.pack("<IQQ", 3, 0, len(pairs)))
        for key, kind, value in pairs:
            out.write(gguf_string(key.encode()) + struct.pack("<I", kind) + gguf_value(kind, value))


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def scalar(self, code):
        value = struct.unpack_from("<" + code, self.data, self.at)[0]
        self.at += struct.calcsize(code)
        return value

    def take(self, n):
        self.at += n
        return self.data[self.at - n:self.at]

    def value(self, kind):
        if kind == STRING:
            return self.take(self.scalar("Q"))
        if kind == ARRAY:
            elem, n = self.scalar("I"), self.scalar("Q")
            return elem, [self.value(elem) for _ in range(n)]
        return self.scalar(SCALARS[kind])

    def varint(self):
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def fields(self, end):
        """Fields of a protobuf message as (number, wire type, value)."""
        while self.at < end:
            tag = self.varint()
            wire = tag & 7
            if wire == 0:
                yield tag >> 3, wire, self.varint()
            elif wire == 1:
                yield tag >> 3, wire, self.take(8)
            elif wire == 5:
                yield tag >> 3, wire, self.take(4)
            else:
                yield tag >> 3, wire, self.take(self.varint())


def pieces(data):
    for number, wire, body in Reader(data).fields(len(data)):
        if number != 1 or wire != 2:
            continue
        text, score, kind = b"", 0.0, 1
        for field, _, value in Reader(body).fields(len(body)):
            if field == 1:
                text = value
            elif field == 2:
                score = struct.unpack("<f", value)[0]
            elif field == 3:
                kind = value
        yield text, score, kind


def from_sentencepiece(data, name):
    texts, scores, kinds = zip(*pieces(data))
    return [
        ("general.architecture", STRING, b"llama"),
        ("general.name", STRING, name.encode()),
        ("tokenizer.ggml.model", STRING, b"llama"),
        ("tokenizer.ggml.tokens", ARRAY, (STRING, texts)),
        ("tokenizer.ggml.scores", ARRAY, (F32, scores)),
        ("tokenizer.ggml.token_type", ARRAY, (I32, kinds)),
        ("tokenizer.ggml.bos_token_id", U32, 1),
        ("tokenizer.ggml.eos_token_id", U32, 2),
        ("tokenizer.ggml.unknown_token_id", U32, 0),
        ("tokenizer.ggml.add_bos_token", BOOL, True),
        ("tokenizer.ggml.add_eos_token", BOOL, False),
    ]


def from_gguf(data, name):
    reader = Reader(data)
    assert reader.take(4) == b"GGUF"
    reader.scalar("I"), reader.scalar("Q")  # version, number of tensors
    n_pairs = reader.scalar("Q")
    pairs = []
    for _ in range(n_pairs):
        key = reader.take(reader.scalar("Q")).decode()
        kind = reader.scalar("I")
        value = reader.value(kind)
        if key == "general.name":
            value = name.encode()
        if key in ("general.architecture", "general.name") or key.startswith("tokenizer."):
            pairs.append((key, kind, value))
    return pairs


def main():
    if len(sys.argv) != 5 or sys.argv[1] not in ("spm", "gguf"):
        sys.exit(__doc__)
    _, kind, source, out, name = sys.argv
    with open(source, "rb") as file:
        data = file.read()
    write_gguf(out, from_sentencepiece(data, name) if kind == "spm" else from_gguf(data, name))


if __name__ == "__main__":
    main()
