#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""safetensors_by_hand.py [FOLD_GRAPH] -- a small GPT-2 in numpy, folded by fold_graph, run before and after.

Writes a layer graph and random weights as a safetensors file, byte by byte; lets fold_graph fold them; runs both with
numpy's own LayerNorm and RMSNorm, and compares. For weights of 64, 32 and 16 bits. Exit status 0 if they agree.
"""
import json
import pathlib
import struct
import subprocess
import sys
import tempfile

import numpy as np

VOCAB, TOKENS, FEATURES, HIDDEN = 50, 12, 32, 128
EPS = 1e-5

# Weights named c_... are Conv1D's, [in, out]. Positions are a table of their own, looked up at 0, 1, 2, ...
GRAPH = f"""
ids tokens vocab={VOCAB}
ids positions vocab={TOKENS}
embedding wte tokens features={FEATURES} table=wte.weight
embedding wpe positions features={FEATURES} table=wpe.weight
add h0 wte wpe
layer_norm ln_1 h0 gamma=ln_1.weight beta=ln_1.bias eps={EPS}
linear query ln_1 out={FEATURES} weight=c_query.weight bias=c_query.bias
linear key ln_1 out={FEATURES} weight=c_key.weight bias=c_key.bias
linear value ln_1 out={FEATURES} weight=c_value.weight bias=c_value.bias
attention attention query key value heads=4
linear attention_out attention out={FEATURES} weight=c_attention.weight bias=c_attention.bias
add h1 h0 attention_out
layer_norm ln_2 h1 gamma=ln_2.weight beta=ln_2.bias eps={EPS}
linear fc ln_2 out={HIDDEN} weight=c_fc.weight bias=c_fc.bias
silu act fc
linear proj act out={FEATURES} weight=c_proj.weight bias=c_proj.bias
add h2 h1 proj
layer_norm ln_f h2 gamma=ln_f.weight beta=ln_f.bias eps={EPS}
linear head ln_f out={VOCAB} weight=head.weight
output logits head
"""

DTYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16}


def random_weights(dtype, random):
    weights = {"wte.weight": (VOCAB, FEATURES), "wpe.weight": (TOKENS, FEATURES), "head.weight": (VOCAB, FEATURES)}
    for name in ("query", "key", "value", "attention"):
        weights[f"c_{name}.weight"] = (FEATURES, FEATURES)
        weights[f"c_{name}.bias"] = (FEATURES,)
    weights |= {"c_fc.weight": (FEATURES, HIDDEN), "c_fc.bias": (HIDDEN,)}
    weights |= {"c_proj.weight": (HIDDEN, FEATURES), "c_proj.bias": (FEATURES,)}
    weights = {name: random.normal(0.3, 1, shape) / np.sqrt(shape[0]) for name, shape in weights.items()}
    for name in ("ln_1", "ln_2", "ln_f"):
        weights[f"{name}.weight"] = random.normal(1, 0.3, FEATURES)
        weights[f"{name}.bias"] = random.normal(0, 0.3, FEATURES)
    return {name: value.astype(dtype) for name, value in weights.items()}


def write_safetensors(path, weights):
    header, data = {"__metadata__": {"format": "np"}}, b""
    for name, value in weights.items():
        dtype = next(word for word, kind in DTYPES.items() if kind == value.dtype)
        bytes_ = np.ascontiguousarray(value).tobytes()
        header[name] = {"dtype": dtype, "shape": value.shape, "data_offsets": [len(data), len(data) + len(bytes_)]}
        data += bytes_
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def read_safetensors(path):
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    weights = {}
    for name, entry in json.loads(content[8 : 8 + length]).items():
        if name == "__metadata__":
            continue
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        weights[name] = np.frombuffer(content[begin:end], DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return weights


def layer_norm(x):
    centered = x - x.mean(axis=-1, keepdims=True)
    return centered / np.sqrt((centered**2).mean(axis=-1, keepdims=True) + EPS)


def rms_norm(x):
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + EPS)


def softmax(x):
    exponentials = np.exp(x - x.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def run(weights, norms, tokens):
    """The logits, tokens x vocabulary; `norms` says which function each norm is."""
    w = {name: value.astype(np.float64) for name, value in weights.items()}

    def norm(name, x):
        return norms[name](x) * w[f"{name}.weight"] + w[f"{name}.bias"]

    def conv1d(name, x):
        return x @ w[f"c_{name}.weight"] + w[f"c_{name}.bias"]

    h = w["wte.weight"][tokens] + w["wpe.weight"][: len(tokens)]
    n = norm("ln_1", h)
    heads = [np.split(conv1d(name, n), 4, axis=1) for name in ("query", "key", "value")]
    mixed = [softmax(q @ k.T / np.sqrt(q.shape[1])) @ v for q, k, v in zip(*heads)]
    h = h + conv1d("attention", np.concatenate(mixed, axis=1))
    hidden = conv1d("fc", norm("ln_2", h))
    h = h + conv1d("proj", hidden / (1 + np.exp(-hidden)))
    return norm("ln_f", h) @ w["head.weight"].T


def fold(fold_graph, folder):
    """Folds model.graph and model.safetensors; returns the report and what was written."""
    command = [fold_graph, folder / "model.graph", "--parameters", folder / "model.safetensors", "--json"]
    command += ["--write", folder / "folded.safetensors", "--write-graph", folder / "folded.graph"]
    command += ["--in-by-out", "c_*.weight"]
    report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return report, read_safetensors(folder / "folded.safetensors")


def compare(fold_graph, dtype, folder):
    random = np.random.default_rng(1)
    weights = random_weights(DTYPES[dtype], random)
    (folder / "model.graph").write_text(GRAPH)
    write_safetensors(folder / "model.safetensors", weights)
    report, folded = fold(fold_graph, folder)

    norms = {norm["name"]: rms_norm if norm["verdict"] == "fold" else layer_norm for norm in report["norms"]}
    tokens = random.integers(0, VOCAB, TOKENS)
    before = run(weights, dict.fromkeys(norms, layer_norm), tokens)
    after = run(folded, norms, tokens)
    wrong = run(weights, norms, tokens)  # RMSNorm on the weights as they were

    difference, mistake = (np.abs(x - before).max() / np.abs(before).max() for x in (after, wrong))
    # Each weight is rounded once, by u; some hundred of them add up along a path.
    tolerance = 200 * np.finfo(DTYPES[dtype]).eps / 2
    folds = sum(norm is rms_norm for norm in norms.values())
    print(f"{dtype}: {folds} of {len(norms)} LayerNorms are RMSNorms; relative difference {difference:.1e}", end="")
    print(f" (allowed {tolerance:.1e}; without centered weights {mistake:.1e})")
    kept = [name for name in weights if name not in {c["parameter"] for c in report["centerings"]}]
    same = all(folded[name].tobytes() == weights[name].tobytes() for name in kept)
    return folds == 3 and difference <= tolerance < mistake and same and list(folded) == list(weights)


def main():
    fold_graph = sys.argv[1] if len(sys.argv) > 1 else "build/release/examples/fold_graph"
    with tempfile.TemporaryDirectory() as folder:
        agree = [compare(fold_graph, dtype, pathlib.Path(folder)) for dtype in DTYPES]
    print("the folded models compute the same" if all(agree) else "FAILED: a folded model differs")
    return 0 if all(agree) else 1


if __name__ == "__main__":
    sys.exit(main())
