#!/usr/bin/env python3
"""Holds octet against lm-eval, row by row, on the same weights.

    compare_lm_eval.py OCTET MODEL.gguf SET.jsonl [--from N] [--limit N] [--server]

SET holds query, choices and gold. Prints both accuracies and the rows that differ; exit 1 if any
does.

Without --server, `octet eval` against lm-eval's own scoring with transformers: needs lm-eval,
accelerate, transformers, torch and gguf from PyPI. The weights are expanded to F32 on both sides
and octet's cache is F32 too, so that the protocol is compared and not the rounding of activations
and keys.

With --server, `octet eval` against lm-eval asking `octet serve` (local-completions, with the
server's tokenizer): needs lm-eval[api]. The log-likelihoods are the same then, up to their rounding
to single precision on the way.
"""
import argparse
import json
import pathlib
import subprocess
import tempfile

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
    import gguf
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


def octet_rows(octet, model, rows, folder, kv):
    out = folder / "octet.jsonl"
    subprocess.run([octet, "eval", rows, "-m", model, "--kv", kv, "--rows", out], check=True)
    return [json.loads(line) for line in out.read_text().splitlines()]


def harness_rows(model, rows, folder):
    import lm_eval
    from lm_eval.tasks import TaskManager
    (folder / "octet_rows.yaml").write_text(TASK.format(rows=rows))
    result = lm_eval.simple_evaluate(
        model=model, tasks=["octet_rows"], task_manager=TaskManager(include_path=str(folder)),
        bootstrap_iters=0)
    return sorted(result["samples"]["octet_rows"], key=lambda row: row["doc_id"])


def by_transformers(octet, model, rows, folder):
    import torch
    import transformers
    from lm_eval.models.huggingface import HFLM
    expanded = folder / "f32.gguf"
    expand(model, expanded)
    ours = octet_rows(octet, expanded, rows, folder, "f32")
    weights = transformers.AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=expanded.name, dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=expanded.name)
    harness = HFLM(pretrained=weights, tokenizer=tokenizer, batch_size=8)
    return ours, harness_rows(harness, rows, folder)


def by_server(octet, model, rows, folder):
    from lm_eval.models.openai_completions import LocalCompletionsAPI
    ours = octet_rows(octet, model, rows, folder, "f16")
    server = subprocess.Popen([octet, "serve", "-m", model, "--port", "0", "-q"],
                              stderr=subprocess.PIPE, text=True)
    try:
        url = ""
        while "http://" not in url:
            url = server.stderr.readline()
        harness = LocalCompletionsAPI(
            model="octet", base_url=url[url.index("http://"):].strip() + "/v1/completions",
            num_concurrent=2)
        assert harness.tokenizer_backend == "remote", harness.tokenizer_backend
        return ours, harness_rows(harness, rows, folder)
    finally:
        server.terminate()
        server.wait()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("octet")
    parser.add_argument("model")
    parser.add_argument("set")
    parser.add_argument("--from", type=int, default=0, dest="first")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--server", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        rows = folder / "rows.jsonl"
        lines = pathlib.Path(args.set).read_text().splitlines(keepends=True)[args.first:]
        rows.write_text("".join(lines[:args.limit]))
        ours, theirs = (by_server if args.server else by_transformers)(
            args.octet, args.model, rows, folder)
    differing = []
    for ours_row, row in zip(ours, theirs, strict=True):
        sums = [float(answer[0][0]) for answer in row["resps"]]
        picked = sums.index(max(sums))
        if picked != ours_row["picked"] or any(
                ours_row[score] != bool(row[score]) for score in ("acc", "acc_norm")):
            differing.append((args.first + row["doc_id"], ours_row["picked"], picked, sums))
    for score in ("acc", "acc_norm"):
        print(f"{score}: octet {sum(a[score] for a in ours)}, "
              f"lm-eval {sum(int(b[score]) for b in theirs)} of {len(ours)}")
    print(f"rows that differ: {differing if differing else 'none'}")
    raise SystemExit(bool(differing))


if __name__ == "__main__":
    main()
