"""Character references: the same text as Python's html.unescape gives."""

import html
import json
import random
from html.entities import html5


def check(run, texts):
    ours = json.loads(run("eav_probe", "html-unescape", input=json.dumps(texts).encode()))
    differing = [trio for text, our in zip(texts, ours, strict=True) if (trio := (text, our, html.unescape(text)))[1] != trio[2]]
    assert differing == []


def test_every_name(run):
    names = [*html5, *(name.rstrip(";") for name in html5), *(name.upper() for name in html5)]
    check(run, [f"&{name}{behind}" for name in names for behind in ("", " ", "x", ";")] + [f"a&{name}&{name}b" for name in names])


def test_every_number_that_is_treated_apart(run):
    numbers = [*range(0x200), *range(0xD7F0, 0xE010), *range(0xFDC0, 0x10010), *range(0x10FFF0, 0x110010), 2**32, 2**64 + 65]
    check(run, [f"{form}{end}" for n in numbers for form in (f"&#{n}", f"&#x{n:x}", f"&#X{n:04X}") for end in (";", "", "g")
                if not 0xD800 <= n < 0xE000 or end])  # fmt: skip


def test_what_is_none(run):
    check(run, ["", "&", "&&", "&;", "& amp;", "&#", "&#;", "&#x", "&#x;", "&#xg;", "&#-1;", "&é;", "&ééaacute;", "a & b", "R&D", "&amp&amp;&",
                "&amp;lt;", "&notit;", "&notin;", "&unknown;", "&" + "a" * 40 + ";", "&#" + "0" * 40 + "65;", "&lt<&gt>", "&\tamp;"])  # fmt: skip


def test_random_texts(run):
    generator = random.Random(0)
    pieces = [*"&#;xX &lt3Ae\n", "amp", "not", "in", "copy", "#x41", "#169", "eacute", "猫", "é"]
    check(run, ["".join(generator.choices(pieces, k=generator.randint(1, 12))) for _ in range(5000)])
