"""Writes the first files of every corpus from a tiny checkpoint that the tests make: seeds.py TINY [CORPUS]."""

import base64
import json
import pathlib
import struct
import sys

tiny = pathlib.Path(sys.argv[1])
corpus = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else pathlib.Path(__file__).parent / "corpus"
data = pathlib.Path(__file__).resolve().parents[1] / "data"


def write(target, name, content):
    folder = corpus / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def varint(number):
    return bytes([number & 0x7F | 0x80]) + varint(number >> 7) if number >= 0x80 else bytes([number])


def field(number, content):
    return varint(number << 3 | 2) + varint(len(content)) + content


def piece(text, score, kind):
    return field(1, field(1, text.encode()) + b"\x15" + struct.pack("<f", score) + b"\x18" + varint(kind))


def charsmap():
    """Replaces A by éx."""
    trie = [0] * 256
    trie[0], trie[1 ^ 65], trie[1 ^ 65 ^ 3] = 1 << 10, 3 << 10 | 1 << 8 | 65, 1 << 31
    return struct.pack("<257I", 1024, *trie) + "éx\0".encode()


pieces = [("<pad>", 0, 3), ("</s>", 0, 3), ("<unk>", 0, 2), ("▁", -2, 1), ("a", -3, 1), ("▁a", -2.5, 1), ("<one>", 0, 4)]
model = b"".join(piece(*p) for p in pieces)
write("spiece", "plain", model + field(2, b"\x18\x01") + field(3, field(2, charsmap())))
fallback = b"".join(piece(f"<0x{i:02X}>", -5, 6) for i in range(256))
write("spiece", "bytes", model + fallback + field(2, b"\x98\x02\x01"))
write("charsmap", "one", charsmap())

stages = {
    "added_tokens": [{"id": 1, "content": "</s>", "special": True, "lstrip": True, "single_word": True}],
    "normalizer": {"type": "Sequence", "normalizers": [
        {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(charsmap()).decode()}, {"type": "NFKC"},
        {"type": "Lowercase"}, {"type": "Replace", "pattern": {"Regex": "b+"}, "content": "b"}]},
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
        {"type": "WhitespaceSplit"}, {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first"}]},
    "post_processor": {"type": "TemplateProcessing", "special_tokens": {"</s>": {"id": "</s>", "ids": [1]}},
                       "single": [{"Sequence": {"id": "A"}}, {"SpecialToken": {"id": "</s>"}}]},
    "decoder": {"type": "Metaspace", "replacement": "▁", "add_prefix_space": True},
    "model": {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0], ["▁a", -1], ["▁", -2]]},
}  # fmt: skip
write("tokenizer_json", "unigram", json.dumps(stages, ensure_ascii=False))
stages = {
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "use_regex": True},
    "post_processor": {"type": "RobertaProcessing", "sep": ["<e>", 9], "cls": ["<s>", 8]},
    "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "vocab": {"a": 0, "Ġ": 1, "b": 2, "Ġb": 3}, "merges": ["Ġ b"], "byte_fallback": True},
}
write("tokenizer_json", "bpe", json.dumps(stages, ensure_ascii=False))

for path in sorted(tiny.glob("*/*config.json")):
    write("configuration", path.parent.name + "-" + path.name, path.read_bytes())

header = {"__metadata__": {"format": "pt"}, "a": {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8]},
          "b": {"dtype": "BF16", "shape": [3], "data_offsets": [8, 14]}}  # fmt: skip
text = json.dumps(header).encode()
write("safetensors", "two", struct.pack("<Q", len(text)) + text + bytes(14))

for path in sorted((data / "records").rglob("*.json")):
    if path.stat().st_size < 8000:
        write("record", path.name, path.read_bytes())
trace = {"token_frames": 2, "weight": 1.0, "steps": 1, "layers": 1, "entries": [[0, 0, 0.25, 1.0]]}
write("trace", "plain", json.dumps(trace))
maps = {"heads": [[0.25]], "maps": [base64.b64encode(bytes(8)).decode()]}
write("trace", "maps", json.dumps(trace | maps))

prompts = ["A red circle, moving left: don't 1234!", "é\u0301ﬁ ﷺ 円 👩‍👩‍👧\r\n", "<p>a &amp; b</p> https://a.b/c?d=1 #tag @me 2*x name.jpg"]
for i, prompt in enumerate(prompts):
    write("prompt", f"{i}", prompt)
    write("caption", f"{i}", prompt)
