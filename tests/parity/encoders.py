"""Runs tokenizers and text encoders through eav_probe, and compares what comes out."""

import json

from safetensors import safe_open


def tokens_of(run, folder, lines, kind):
    texts = json.dumps(lines, ensure_ascii=False).encode()
    return json.loads(run("eav_probe", "tokens", folder, "--kind", kind, input=texts))


def differing(lines, ours, theirs):
    return [(line, a, b) for line, a, b in zip(lines, ours, theirs, strict=True) if a != b]


def encode(run, command, folder, prompt, *options):
    """The ids, the embeddings and the end of the prompt that did not fit; `folder` holds tokenizer/, text_encoder/."""
    out = folder / "out.safetensors"
    run("eav_probe", command, folder, "--out", out, *options, input=prompt.encode())
    with safe_open(out, "pt") as file:
        return file.get_tensor("ids"), file.get_tensor("embeddings"), (file.metadata() or {}).get("cut", "")


def relative(ours, theirs):
    return ((ours.float() - theirs.float()).abs().max() / theirs.float().abs().max()).item()
