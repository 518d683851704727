"""Prompts as Wan's pipelines clean them: the same text as diffusers gives with ftfy, but for its repair of encodings."""

import html
import json
import random
import re

import ftfy
from diffusers.pipelines.wan import pipeline_wan
from test_caption_cleaning import PHRASES, TAGGED, TAGGED_UNLIKE, WORDS, prompts
from texts import texts


def reference(text):
    fixed = ftfy.fix_text(text, fix_encoding=False)
    return re.sub(r"\s+", " ", html.unescape(html.unescape(fixed)).strip()).strip()


def check(run, lines):
    ours = json.loads(run("eav_probe", "clean-prompts", input=json.dumps(lines, ensure_ascii=False).encode()))
    theirs = [reference(line) for line in lines]
    assert [trio for trio in zip(lines, ours, theirs, strict=True) if trio[1] != trio[2]] == []


def test_every_phrase(run):
    phrases = [*PHRASES, *WORDS, *TAGGED, *TAGGED_UNLIKE, "&EACUTE;", "&NTILDE;o", "&Amp;lt;", "a\x85b", "a\x93b\x94", "ﬀﬃ",
               "１２３　ＡＢＣ", "ｶﾞ", "\x1b[1;31mred", "a\r\nb\rc", "\u2066a\u2069", "\u206aa", "\ufffc", "&amp;amp;amp;lt;"]  # fmt: skip
    check(run, ["", " ", *phrases, *(f"a {phrase} b" for phrase in phrases)])


def test_generated_prompts(run):
    check(run, list(prompts(random.Random(1), 2000)))


def test_texts_of_all_scripts(run):
    check(run, list(texts(seed=5, count=5000, tokens=["&lt;", "&amp;quot;", "“", "’", "\x9d", "&#x91;", "<b>", "\x1b[0m"])))


def test_the_reference_is_what_diffusers_does(monkeypatch):
    fix_text = ftfy.fix_text
    monkeypatch.setattr(pipeline_wan.ftfy, "fix_text", lambda text: fix_text(text, fix_encoding=False))
    for line in ("a  “b”\n &amp;quot;c", " &lt;3 ﬁn ", "ＡＢ", " \u00a0 x"):
        assert pipeline_wan.prompt_clean(line) == re.sub(r"\s+", " ", html.unescape(html.unescape(fix_text(line, fix_encoding=False))).strip()).strip()


def test_long_prompts_are_cleaned_quickly(run):
    check(run, ["a red circle, “moving” &amp; turning. " * 500])


def test_a_prompt_that_is_not_utf8_is_an_error(run):
    error = run("eav_probe", "clean-prompts", input=b'["\xff"]', fails=True)
    assert error.count(b"\n") == 1
