#!/usr/bin/env python3
"""Makes tests/data/reference: tiny seeded models as GGUF files, and their logits as computed by an
independent implementation (PyTorch transformers, float32, eager attention).

    python3 tools/make_reference.py [OUT_DIR]      needs: torch, transformers, numpy, gguf

Per model one .gguf (mixtral and phi2 also in their December 2023 layouts: one tensor per expert,
fused QKV) and one .bin, little-endian:
    8 bytes "OCTREF01", u32 n_vocab, u32 n_prompts,
    per prompt: u32 n_tokens, i32 ids[n_tokens],
    then float32 logits[n_vocab] of every position of every prompt, in order.
Weights are scaled so that attention is far from uniform and logits spread over several units.
"""
import math
import struct
import sys
from pathlib import Path

import gguf
import numpy as np
import torch
from transformers import (LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM,
                          MixtralConfig, MixtralForCausalLM, PhiConfig, PhiForCausalLM)

N_VOCAB = 264
PROMPT_LENGTHS = (1, 7, 64, 300)
N_CTX = 512
MIN_ROUTER_GAP = 1e-4  # a closer call between experts could fall either way in another engine


# ---- Models -------------------------------------------------------------------------------------

def common(d, ff, layers, heads, theta, **more):
    return dict(vocab_size=N_VOCAB, hidden_size=d, intermediate_size=ff, num_hidden_layers=layers,
                num_attention_heads=heads, max_position_embeddings=N_CTX, bos_token_id=1,
                eos_token_id=2, attn_implementation="eager",
                rope_parameters={"rope_type": "default", "rope_theta": theta, **more})


def configs():
    """name -> (model class, config, seed)"""
    return {
        "llama": (LlamaForCausalLM, LlamaConfig(
            **common(64, 80, 3, 8, 1e5), num_key_value_heads=2, rms_norm_eps=1e-5,
            attention_bias=True, tie_word_embeddings=True), 11),
        "mistral": (MistralForCausalLM, MistralConfig(
            **common(48, 80, 2, 4, 1e4), num_key_value_heads=2, head_dim=24, rms_norm_eps=1e-5,
            sliding_window=48, tie_word_embeddings=False), 12),
        "mixtral": (MixtralForCausalLM, MixtralConfig(
            **common(64, 28, 2, 4, 1e6), num_key_value_heads=2, rms_norm_eps=1e-5,
            sliding_window=None, num_local_experts=8, num_experts_per_tok=2,
            tie_word_embeddings=False), 13),
        "phi2": (PhiForCausalLM, PhiConfig(
            **common(48, 96, 2, 3, 1e4, partial_rotary_factor=0.5), layer_norm_eps=1e-5,
            hidden_act="gelu_new", tie_word_embeddings=False), 14),
    }


def weight_sigma(name, shape):
    """Standard deviation that keeps activations of order 1 and attention scores of order 2."""
    fan_in = shape[-1]
    if "embed_tokens" in name:
        return 0.3
    if "q_proj" in name or "k_proj" in name:
        return math.sqrt(2.0 / fan_in)
    if "gate.weight" in name or "lm_head" in name or "gate_up_proj" in name:
        return 1.5 / math.sqrt(fan_in)
    return 1.0 / math.sqrt(fan_in)


def fill(model, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            noise = torch.randn(p.shape, generator=generator)
            if name.endswith("bias"):
                p.copy_(0.2 * noise)
            elif "norm" in name:
                p.copy_(1.0 + 0.2 * noise)
            else:
                p.copy_(weight_sigma(name, p.shape) * noise)


def build(name):
    cls, config, seed = configs()[name]
    torch.manual_seed(seed)
    model = cls(config).to(torch.float32).eval()
    fill(model, seed)
    return model, config


def watch_routers(model):
    """Collects, for every routed token, the distance between the last expert taken and the first
    one left out."""
    gaps = []

    def hook(_module, _inputs, output):
        top = torch.topk(output[0], 3, dim=-1).values
        gaps.append((top[:, 1] - top[:, 2]).min().item())

    for name, module in model.named_modules():
        if name.endswith("mlp.gate"):
            module.register_forward_hook(hook)
    return gaps


# ---- GGUF ---------------------------------------------------------------------------------------

def spm_vocab():
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)]
    types = [2, 3, 3] + [6] * 256
    scores = [0.0] * len(tokens)
    for i, piece in enumerate(["\u2581t", "he", "\u2581the", "in", "\u2581"]):
        tokens.append(piece)
        types.append(1)
        scores.append(-float(i))
    return tokens, scores, types


def byte_symbols():
    """The printable stand-ins of GPT-2's byte alphabet, by byte value."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in plain]
    symbols = {b: chr(b) for b in plain}
    symbols.update({b: chr(0x100 + i) for i, b in enumerate(others)})
    return [symbols[b] for b in range(256)]


def bpe_vocab():
    merges = ["t h", "th e", "i n", "\u0120 the", "e r", "o n", "r e"]
    tokens = byte_symbols() + [m.replace(" ", "") for m in merges] + ["<|endoftext|>"]
    return tokens, merges, [1] * (len(tokens) - 1) + [3]


def put_vocab(w, arch):
    if arch == "phi2":
        tokens, merges, types = bpe_vocab()
        w.add_tokenizer_model("gpt2")
        w.add_tokenizer_pre("phi-2")
        w.add_token_list(tokens)
        w.add_token_types(types)
        w.add_token_merges(merges)
        w.add_bos_token_id(N_VOCAB - 1)
        w.add_eos_token_id(N_VOCAB - 1)
        w.add_add_bos_token(False)
    else:
        tokens, scores, types = spm_vocab()
        w.add_tokenizer_model("llama")
        w.add_tokenizer_pre("default")
        w.add_token_list(tokens)
        w.add_token_scores(scores)
        w.add_token_types(types)
        w.add_bos_token_id(1)
        w.add_eos_token_id(2)
        w.add_unk_token_id(0)
    assert len(tokens) == N_VOCAB


def put_shape(w, name, arch, c):
    w.add_name(f"reference {name}")
    w.add_context_length(N_CTX)
    w.add_embedding_length(c.hidden_size)
    w.add_block_count(c.num_hidden_layers)
    w.add_feed_forward_length(c.intermediate_size)
    w.add_head_count(c.num_attention_heads)
    w.add_head_count_kv(c.num_key_value_heads)
    w.add_vocab_size(N_VOCAB)
    w.add_rope_freq_base(c.rope_parameters["rope_theta"])
    head_dim = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    if arch == "phi2":
        w.add_layer_norm_eps(c.layer_norm_eps)
        w.add_rope_dimension_count(int(head_dim * c.rope_parameters["partial_rotary_factor"]))
        return
    w.add_layer_norm_rms_eps(c.rms_norm_eps)
    w.add_rope_dimension_count(head_dim)
    if head_dim * c.num_attention_heads != c.hidden_size:
        w.add_key_length(head_dim)
        w.add_value_length(head_dim)
    if getattr(c, "sliding_window", None):
        w.add_sliding_window(c.sliding_window)
    if name.startswith("mixtral"):
        w.add_expert_count(c.num_local_experts)
        w.add_expert_used_count(c.num_experts_per_tok)


def interleave(weight, n_heads):
    """Rows of Q or K (or their biases) from half-split order to pairs (2i, 2i+1)."""
    halves = weight.reshape(n_heads, 2, weight.shape[0] // n_heads // 2, -1)
    return halves.swapaxes(1, 2).reshape(weight.shape)


BLOCK_NAMES = {
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "self_attn.dense": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    "mlp.fc1": "ffn_up", "mlp.fc2": "ffn_down", "mlp.gate": "ffn_gate_inp",
}
GLOBAL_NAMES = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm",
    "model.final_layernorm": "output_norm", "lm_head": "output",
}


def expert_tensors(prefix, name, weight, ff, split):
    merged = ({"ffn_gate": weight[:, :ff], "ffn_up": weight[:, ff:]} if "gate_up" in name
              else {"ffn_down": weight})
    for key, stack in merged.items():
        if split:
            for e, matrix in enumerate(stack):
                yield f"{prefix}{key}.{e}.weight", matrix
        else:
            yield f"{prefix}{key}_exps.weight", stack


def renamed_tensors(model, config, arch, split_experts):
    for full, p in model.named_parameters():
        weight = p.detach().numpy()
        stem, _, suffix = full.rpartition(".")
        if not full.startswith("model.layers."):
            yield f"{GLOBAL_NAMES[stem]}.{suffix}", weight
            continue
        layer, inner = full.removeprefix("model.layers.").split(".", 1)
        prefix = f"blk.{layer}."
        if "experts" in inner:
            ff = config.intermediate_size
            yield from expert_tensors(prefix, inner, weight, ff, split_experts)
            continue
        stem, _, suffix = inner.rpartition(".")
        if arch == "llama" and stem.endswith("q_proj"):
            weight = interleave(weight, config.num_attention_heads)
        if arch == "llama" and stem.endswith("k_proj"):
            weight = interleave(weight, config.num_key_value_heads)
        yield f"{prefix}{BLOCK_NAMES[stem]}.{suffix}", weight


def fuse_qkv(tensors):
    tensors = dict(tensors)
    for name in [n for n in tensors if ".attn_q." in n]:
        parts = [tensors.pop(name.replace("attn_q", f"attn_{x}")) for x in "qkv"]
        tensors[name.replace("attn_q", "attn_qkv")] = np.concatenate(parts)
    return tensors.items()


def write_gguf(path, name, model, config, old_layout=False):
    arch = "phi2" if name == "phi2" else "llama"
    w = gguf.GGUFWriter(str(path), arch)
    put_shape(w, name, arch, config)
    put_vocab(w, arch)
    tensors = renamed_tensors(model, config, arch, split_experts=old_layout)
    if old_layout and arch == "phi2":
        tensors = fuse_qkv(tensors)
    for key, value in sorted(tensors):
        w.add_tensor(key, np.ascontiguousarray(value, dtype=np.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


# ---- Logits -------------------------------------------------------------------------------------

def prompts(seed):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, N_VOCAB, n).astype("<i4") for n in PROMPT_LENGTHS]


def write_logits(path, model, seed):
    ids = prompts(seed)
    with torch.no_grad():
        logits = [model(torch.from_numpy(p.astype(np.int64))[None]).logits[0].numpy() for p in ids]
    with open(path, "wb") as f:
        f.write(b"OCTREF01" + struct.pack("<II", N_VOCAB, len(ids)))
        for p in ids:
            f.write(struct.pack("<I", len(p)) + p.tobytes())
        for rows in logits:
            f.write(rows.astype("<f4").tobytes())
    return np.concatenate(logits)


def main():
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "tests/data/reference")
    out.mkdir(parents=True, exist_ok=True)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    for name, (_, _, seed) in configs().items():
        model, config = build(name)
        gaps = watch_routers(model)
        logits = write_logits(out / f"{name}.bin", model, seed)
        write_gguf(out / f"{name}.gguf", name, model, config)
        if name in ("mixtral", "phi2"):
            write_gguf(out / f"{name}-2023.gguf", name, model, config, old_layout=True)
        if gaps and min(gaps) < MIN_ROUTER_GAP:
            sys.exit(f"{name}: experts only {min(gaps):.1e} apart; choose another seed")
        print(f"{name}: logits std {logits.std():.2f}, range {logits.min():.1f}..{logits.max():.1f}"
              + (f", closest experts {min(gaps):.1e}" if gaps else ""))


if __name__ == "__main__":
    main()
