"""Tiny random text encoders as HunyuanVideo has them, CLIP and LLaMA, and tokenizers for them: files as released."""

import json
from pathlib import Path

import torch
import transformers
from tiny import BACKGROUNDS, COLOURS, DIRECTIONS, SHAPES, randomize
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

# LLaMA 3's words: contractions, letters with one sign before them, up to three digits, signs, line ends, white space.
LLAMA_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA_SPECIAL = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
                 "<pad>"]  # fmt: skip
CAPTIONS = [
    f"a {colour} {shape} moving {direction} on a {background} background"
    for colour in COLOURS
    for shape in SHAPES
    for direction in DIRECTIONS
    for background in BACKGROUNDS
]
LETTERS = sorted(pre_tokenizers.ByteLevel.alphabet(), key=lambda c: (not ("!" <= c <= "~" or "¡" <= c <= "ÿ"), c))


def train_merges(lines, pre_tokenizer, count, **options):
    """The `count` most frequent merges of byte pair encoding over `lines`."""
    tokenizer = Tokenizer(models.BPE(**options))
    tokenizer.pre_tokenizer = pre_tokenizer
    size = len(LETTERS) * 2 + count  # letters at the end of a word may be others
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=LETTERS, show_progress=False, **options)
    tokenizer.train_from_iterator(lines, trainer)
    return [tuple(merge) for merge in json.loads(tokenizer.to_str())["model"]["merges"]][:count]


def vocabulary_of(letters, merges):
    """Ids as released files have them: letters first, then what the merges make, in their order."""
    return {token: i for i, token in enumerate(dict.fromkeys([*letters, *("".join(merge) for merge in merges)]))}


def added_token(content, **flags):
    return {"content": content, "lstrip": False, "rstrip": False, "normalized": False, "single_word": False, **flags}


def tiny_clip_tokenizer(folder, lines=CAPTIONS, merges=200):
    """Writes the files that released CLIP tokenizers have, of which tokenizer.json is none, and opens them."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    lines = [line.lower() for line in lines]
    words = pre_tokenizers.Sequence([
        pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(add_prefix_space=False)])  # fmt: skip
    merges = train_merges(lines, words, merges, end_of_word_suffix="</w>")
    vocabulary = vocabulary_of([*LETTERS, *(letter + "</w>" for letter in LETTERS)], merges)
    start, end = added_token("<|startoftext|>", normalized=True), added_token("<|endoftext|>")
    for token in (start, end):  # the largest ids, which older configurations rely on
        vocabulary[token["content"]] = len(vocabulary)
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *map(" ".join, merges), ""]), encoding="utf-8")
    special = {"bos_token": start, "eos_token": end, "unk_token": end, "pad_token": end["content"]}
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    roles = {"bos_token": start["content"], **dict.fromkeys(["eos_token", "unk_token", "pad_token"], end["content"])}
    added = {vocabulary[token["content"]]: {**token, "special": True} for token in (start, end)}
    config = {"added_tokens_decoder": added, "add_prefix_space": False, "model_max_length": 77,
              "tokenizer_class": "CLIPTokenizer", **roles}  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return transformers.CLIPTokenizer.from_pretrained(folder)


def tiny_llama_tokenizer(folder, lines=CAPTIONS, merges=200, ignore_merges=True, special=LLAMA_SPECIAL):
    """Writes a tokenizer.json as LLaMA 3 has it, beside a configuration that names its padding, and opens them."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    words = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(LLAMA_WORDS), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])  # fmt: skip
    merges = train_merges(lines, words, merges)
    vocabulary = vocabulary_of(LETTERS, merges)
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = words
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    ids = {token: tokenizer.token_to_id(token) for token in special}
    begin = special[0]
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(f"{begin} $A", special_tokens=[(begin, ids[begin])])])  # fmt: skip
    tokenizer.save(str(folder / "tokenizer.json"))
    added = {i: added_token(token, special=True) for token, i in ids.items()}
    config = {"added_tokens_decoder": added, "bos_token": begin, "eos_token": "<|end_of_text|>", "pad_token": "<pad>",
              "padding_side": "right", "tokenizer_class": "PreTrainedTokenizerFast"}  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return transformers.PreTrainedTokenizerFast.from_pretrained(folder)


def tiny_clip(vocabulary, **config):
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
             "max_position_embeddings": 77, "hidden_act": "quick_gelu", "bos_token_id": 0, "eos_token_id": 2}  # fmt: skip
    config = transformers.CLIPTextConfig(vocab_size=vocabulary, **(sizes | config))
    return randomize(transformers.CLIPTextModel(config), seed=4)


def tiny_llama(vocabulary, causal_lm=False, **config):
    """A LlamaModel, or a LlamaForCausalLM where `causal_lm` is set."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 56, "num_hidden_layers": 4, "num_attention_heads": 4,
             "num_key_value_heads": 2, "rms_norm_eps": 1e-5, "max_position_embeddings": 512,
             "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}}  # fmt: skip
    kind = transformers.LlamaForCausalLM if causal_lm else transformers.LlamaModel
    return randomize(kind(transformers.LlamaConfig(vocab_size=vocabulary, **(sizes | config))), seed=5)


def tiny_llava(vocabulary, image_token, padding, vision={}, text={}, **config):
    """A LlavaForConditionalGeneration whose vision tower makes 576 tokens of 48x48 pixels."""
    torch.manual_seed(0)
    vision = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 2,
              "image_size": 48, "patch_size": 2} | vision  # fmt: skip
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(**vision),
        text_config=tiny_llama(vocabulary, **text).config,
        image_token_index=image_token,
        pad_token_id=padding,
        **config,
    )
    return randomize(transformers.LlavaForConditionalGeneration(config), seed=6)


def tiny_clip_image_processor(pixels=48, **config):
    square = {"height": pixels, "width": pixels}
    return transformers.CLIPImageProcessor(size={"shortest_edge": pixels}, crop_size=square, **config)
