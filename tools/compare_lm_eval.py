#!/usr/bin/env python3
"""Holds `octet eval` against lm-eval, row by row, on the same weights.

    compare_lm_eval.py OCTET MODEL.gguf SET.jsonl [LIMIT]

Needs lm-eval, accelerate, transformers, torch and gguf from PyPI. The model's weights are expanded
to F32 on both sides and octet's cache is F32 too, so that the protocol is compared and not the
rounding of activations and keys; SET holds query, choices and gold. Prints both accuracies and the
rows that differ; exit 1 if any does.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

import gguf
import lm_eval
import torch
import transformers
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

TASK = """
task: octet_rows
dataset_path: json
dataset_kwargs: {{data_files: {{test: {rows}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{query.strip()}}}}\\nAnswer:"
doc_to_choice: choices
doc_to_target: gold
metric_list: [{{metric: acc}}, {{metric: acc_norm}}]
"""


def expand(source, target):
    """Writes SOURCE again with every tensor as F32."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, reader.fields["general.architecture"].contents())
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        inner = field.types[1] if len(field.types) > 1 else None
        writer.add_key_value(field.name, field.contents(), field.types[0], inner)
    for tensor in reader.tensors:
        data = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        writer.add_tensor(tensor.name, data.astype("float32"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def octet_rows(octet, model, rows, limit, folder):
    out = folder / "octet.jsonl"
    command = [octet, "eval", rows, "-m", model, "--kv", "f32", "--rows", out]
    subprocess.run(command + (["--limit", str(limit)] if limit else []), check=True)
    return [json.loads(line) for line in out.read_text().splitlines()]


def harness_rows(model, rows, limit, folder):
    task = folder / "octet_rows.yaml"
    task.write_text(TASK.format(rows=pathlib.Path(rows).resolve()))
    weights = transformers.AutoModelForCausalLM.from_pretrained(
        model.parent, gguf_file=model.name, dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(model.parent, gguf_file=model.name)
    result = lm_eval.simple_evaluate(
        model=HFLM(pretrained=weights, tokenizer=tokenizer, batch_size=8), tasks=["octet_rows"],
        task_manager=TaskManager(include_path=str(folder)), limit=limit or None,
        bootstrap_iters=0)
    return sorted(result["samples"]["octet_rows"], key=lambda row: row["doc_id"])


def main():
    octet, model, rows = sys.argv[1:4]
    limit = int(sys.argv[4]) if len(sys.argv) > 4 else 0
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        expanded = folder / "f32.gguf"
        expand(model, expanded)
        ours = octet_rows(octet, expanded, rows, limit, folder)
        theirs = harness_rows(expanded, rows, limit, folder)
    differing = [(a["row"], score) for a, b in zip(ours, theirs, strict=True)
                 for score in ("acc", "acc_norm") if a[score] != b[score]]
    for score in ("acc", "acc_norm"):
        print(f"{score}: octet {sum(a[score] for a in ours)}, "
              f"lm-eval {sum(int(b[score]) for b in theirs)} of {len(ours)}")
    print(f"rows that differ: {differing if differing else 'none'}")
    sys.exit(bool(differing))


if __name__ == "__main__":
    main()
