"""Character references: the same text as Python's html.unescape gives."""

import html
import json
import random
from html.entities import html5


def check(run, texts):
    ours = json.loads(run("eav_probe", "html-unescape", input=json.dumps(texts).encode()))
    theirs = [html.unescape(text) for text in texts]
    assert [trio for trio in zip(texts, ours, theirs, strict=True) if trio[1] != trio[2]] == []


def test_every_name(run):
    names = [*html5, *(name.rstrip(";") for name in html5), *(name.upper() for name in html5)]
    check(run, [f"a&{name}{behind}" for name in names for behind in ("", " ", "x", ";", f"&{name}")])


def test_every_number_that_is_treated_apart(run):
    ranges = (0, 0x200), (0xD7F0, 0xE010), (0xFDC0, 0x10010), (0x1FFF0, 0x20010), (0x10FFF0, 0x110010)
    numbers = [*(n for begin, end in ranges for n in range(begin, end)), 2**32, 2**64 + 65]
    forms = "&#{0}", "&#x{0:x}", "&#X{0:04X}"
    check(run, [form.format(number) + end for number in numbers for form in forms for end in (";", "", "g")])


def test_what_is_none(run):
    check(run, ["", "&", "&&", "&;", "& amp;", "&#", "&#;", "&#x", "&#x;", "&#xg;", "&#-1;", "&é;", "&ééaacute;", "a & b",
                "R&D", "&amp&amp;&", "&amp;lt;", "&notit;", "&notin;", "&unknown;", "&" + "a" * 40 + ";",
                "&#" + "0" * 40 + "65;", "&lt<&gt>", "&\tamp;"])  # fmt: skip


def test_random_texts(run):
    generator = random.Random(0)
    pieces = [*"&#;xX &lt3Ae\n", "amp", "not", "in", "copy", "#x41", "#169", "eacute", "猫", "é"]
    check(run, ["".join(generator.choices(pieces, k=generator.randint(1, 12))) for _ in range(5000)])
