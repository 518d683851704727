"""Generated texts that tokenizers are compared on: all scripts, emoji, controls, white space, long words, tokens."""

import random
import sys
import unicodedata

# Python's own tables decide what is assigned: characters of later Unicode versions than its are left out.
ASSIGNED = [chr(c) for c in range(sys.maxunicode + 1) if unicodedata.category(chr(c)) not in ("Cn", "Cs", "Co")]
SCRIPTS = {  # first and last character
    "latin": "aɏ", "greek": "ͰϿ", "cyrillic": "Ѐӿ", "armenian": "Ա֏", "hebrew": "֑״", "arabic": "؀ۿ", "syriac": "܀ݏ",
    "devanagari": "ऀॿ", "bengali": "ঀ৾", "gurmukhi": "ਁ੶", "tamil": "ஂ௺", "telugu": "ఀ౿", "malayalam": "ഀൿ",
    "thai": "ก๛", "lao": "ກໟ", "tibetan": "ༀ࿚", "myanmar": "က႟", "georgian": "Ⴀჿ", "jamo": "ᄀᇿ", "ethiopic": "ሀ᎙",
    "khmer": "ក៹", "mongolian": "᠀ᢪ", "vietnamese": "Ḁỿ", "hiragana": "ぁゟ", "katakana": "゠ヿ", "han": "一鿼",
    "hangul": "가힣", "forms": "ﬀﻼ", "fullwidth": "！￮", "mathematical": "𝐀𝟿", "punctuation": "‐⁞", "letterlike": "℀⅏",
    "numbers": "⅐↋", "enclosed": "①⓿", "emoji": "🌀🫶", "controls": "\x00\x1f",
}  # fmt: skip
SPACES = [" ", "  ", "\t", "\n", "\r\n", "\u00a0", "\u1680", "\u2002", "\u2003", "\u2028", "\u202f", "\u205f", "\u3000"]
INVISIBLE = ["\u200b", "\u200c", "\u200d", "\u200e", "\ufeff", "\ufffd", "\u00ad", "\u2581", "▁", "\x00", "\x7f", "\x85"]
MARKS = [c for c in ASSIGNED if unicodedata.category(c) in ("Mn", "Mc")]
EMOJI = ["👩‍👩‍👧", "🏳️‍🌈", "🇩🇪🇫🇷", "👍🏽", "1️⃣", "🤷🏿‍♀️", "❤️", "😀"]


def assigned_in(script):
    first, last = SCRIPTS[script]
    return [c for c in map(chr, range(ord(first), ord(last) + 1)) if unicodedata.category(c) != "Cn"]


ALPHABETS = {script: assigned_in(script) for script in SCRIPTS}


def corpus(rng, lines):
    """Lines of words of every script, some words often, as text has them; for training a vocabulary."""
    words = {
        script: ["".join(rng.choices(letters[:60], k=rng.randint(1, 7))) for _ in range(40)]
        for script, letters in ALPHABETS.items()
        if script != "controls"
    }
    words["latin"] += "a the red blue circle square moving left right on gray background of video quick fox".split() * 3
    for _ in range(lines):
        yield " ".join(rng.choices(words[rng.choice(["latin", *words])], k=rng.randint(3, 12)))


def texts(seed, count, tokens):
    """`count` texts; `tokens` are special tokens and words of the vocabulary, which are strewn in."""
    rng = random.Random(seed)

    def word():
        letters = ALPHABETS[rng.choice(list(ALPHABETS))]
        return "".join(rng.choices(letters, k=rng.randint(1, 9)))

    def marked():  # letters under one or several marks, as grapheme clusters and as torn ones
        return "".join(rng.choice(ASSIGNED) + "".join(rng.choices(MARKS, k=rng.randint(0, 3))) for _ in range(3))

    def piece():
        return rng.choice(
            [word, word, word, marked]
            + [lambda: rng.choice(tokens)] * 3
            + [lambda: rng.choice(SPACES)] * 3
            + [lambda: rng.choice(INVISIBLE), lambda: rng.choice(EMOJI), lambda: rng.choice(ASSIGNED)]
        )()

    yield from ["", " ", "   ", "\n", "\x00", "▁", *tokens, "".join(tokens), " ".join(tokens)]
    yield "x" * 20000  # very long words
    yield "".join(rng.choices(ASSIGNED, k=5000))
    for _ in range(count):
        between = rng.choice(["", " ", rng.choice(SPACES)])
        yield between.join(piece() for _ in range(rng.randint(1, 14)))


# Assigned after Unicode 14: letters with and without case, digits, marks, signs, emoji.
LATER = [chr(c) for c in (
    0x897, 0xCF3, 0xECE, 0x1C89, 0x1C8A, 0x2FFC, 0x31E4, 0x31EF, 0xA7CB, 0xA7CC, 0xA7CD, 0xA7DA, 0xA7DB, 0xA7DC,
    0x105C0, 0x10D40, 0x10D50, 0x10D70, 0x10EC2, 0x10EFD, 0x11240, 0x11B00, 0x11F04, 0x11F50, 0x16100, 0x1611E, 0x16130, 0x16D43,
    0x16D70, 0x1CC00, 0x1CCF0, 0x1E030, 0x1E08F, 0x1E4D0, 0x1E4EC, 0x1E4F0, 0x1E5D0, 0x1E5EE, 0x1E5F1, 0x1F6DC, 0x1FA75,
    0x1FA87, 0x1FAE8, 0x1FAE9, 0x2EBF0, 0x31350)]  # fmt: skip


def later_texts():
    """Every one of LATER in the middle of words, of digits, of signs and under a mark."""
    patterns = ("a{}b", "1{}2", "!{}?", "{0}{0} x", "a\u0315{}\u0316", " {}\u0301")
    return [pattern.format(c) for c in LATER for pattern in patterns]
