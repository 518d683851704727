"""Prompts cleaned as captions: the same text as PixArtAlphaPipeline._text_preprocessing(clean_caption=True) gives."""

import json
import random
import warnings

from diffusers import PixArtAlphaPipeline

COUNT = 2000
WORDS = """a A the cat Cat, sunset over the sea. it's "slow motion" don't CAPITALS, Straße ΟΔΟΣ İstanbul café naïve
    Ünïcode déjà vu... Москва Кошка, широкий Ελλάδα שלום مرحبا नमस्ते สวัสดี 안녕하세요 ひらがな カタカナ 4k 8K HDR 24fps f/1.8
    3:2 16:9 50% 1,000 $5.99 3.14 one,two three/four end.Next left;right (parenthesis) [brackets] {braces}
    back\\slash line\\nbreak well-lit _under_ #art @someone user.name me@mail.example x:y a : b C++ = 2+2 A&B R&D
    rock&roll 7:45 page page 12 click on this click for more download free download free shipping worldwide free
    shipping image png images jpg""".split()
PHRASES = [
    "free shipping", "worldwide  free shipping", "free download free", "click on link", "page 12", "jpg images",
    "<person>", "this-is-my-cute-cat", "this_is_my_cute_cat", "***SALE***", "\"\"\"SALE\"\"\"", "''quoted''", "“curly”",
    "‘single’", "«guillemets»", "`back`", "x . y", "wait...", "- – — ― 〜", "em—dash", "1080x1920", "3.5x7", "10×20",
    "10х20", "j2d1a2a", "jc6640", "jc6640vc", "6640vc231", "123456789", "12345", "#123", "#1234", "#123456", "#ff00aa",
    "8:45 ", "192.168.0.1", "127.0.0.1:8080", "photo.png", "dir/IMG_2001.JPG", "film.mp4", "name@example.com",
    "https://example.com/a?b=c&d=e", "http://a.b/c", "www.example.com", "example.org/path-to/it", "site.ru", "https:x",
    "www:y", "see example.com.", "@nick_name", "@ник", "https://youtu.be/%20x", "日本語", "中文字幕", "㍿", "㈱", "漢字 and more",
    "🎬", "👩‍🚀", "❤️", "🇫🇷", "½ cup", "©2020", "Acme™", "a • b", "10°", "€20", "№5", "&quot;", "&quot", "&amp;", "&amp",
    "&lt;b&gt;", "&#39;", "&#x41;", "&nbsp;", "&eacute;t&eacute;", "&hellip;", "&unknown;", "&copy;", "&notit;",
    "&amp;quot;", "&amp;amp;", "&", " & ", "a < b", "3 > 2", "<3", "i <3 u", "%20", "100%", "a%2Cb", "%C3%A9", "caf%c3%a9",
    "%zz", "a+b", "1+1", "\t", "\n", "\r\n", "\u00a0", "\u2003", "\u200b", "\u2028", "\ufeff", "\x07",
    "\x1b[31mred\x1b[0m", "ﬁne ﬂow", "ＦＵＬＬ　ｗｉｄｔｈ", "ｶﾞｷﾞ", "e\u0301", "n\u0303o", "Å", "ǆ", "ŉ", "'", "\"", "_", "-",
    ":", ";", ",", ".", ".hidden",
]  # fmt: skip


# What is made of "a PHRASE b" with tags in it: as diffusers has it, by Beautiful Soup.
TAGGED = {
    "<b>bold</b>": "a bold b",
    "<i>": "a b",
    "</p>": "a b",
    "<br>": "a b",
    "<br/>": "a b",
    "<p class=\"x y\">text</p>": "a text b",
    "<a href='http://x.com/y'>link</a>": "a link b",
    "<img src=a.png alt=b>": "a b",
    "<!-- comment -->": "a b",
    "<!doctype html>": "a b",
    "<div\n id=1>deep</div>": "a deep b",
    "<ul><li>one<li>two</ul>": "a onetwo b",
    "x<y>z": "a xz b",
    "<pre>  \n </pre>": "a b",
    "<svg:rect/>": "a b",
    "<lora:film grain:0.8>": "a b",
    "&lt;b&gt;bold": "a bold b",
}
TAGGED_UNLIKE = {  # here it knows more than a pattern: text that is not shown, quoted values
    "<script>var a = '<b>';</script>": "a var a = \"; b",
    "<style>p { color: red }</style>": "a p color: red b",
    "<template>hidden</template>": "a hidden b",
    "<input type=text value=\"a>b\">": "a b\"> b",
}  # fmt: skip


def prompts(generator, count):
    """Words with phrases that some rule is about, joined in the ways that occur."""
    for _ in range(count):
        share, length = generator.choice([0.1, 0.3, 0.6]), generator.randint(1, 14)
        pieces = [generator.choice(PHRASES if generator.random() < share else WORDS) for _ in range(length)]
        glue = generator.choice([[" "], [" "] * 9 + ["", ", ", "\n", "  "]])
        yield "".join(piece + generator.choice(glue) for piece in pieces)


def reference(text):
    """What diffusers makes of `text`, by methods that need no models."""
    pipeline = PixArtAlphaPipeline.__new__(PixArtAlphaPipeline)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Beautiful Soup takes some prompts for addresses or file names
        return pipeline._text_preprocessing(text, clean_caption=True)[0]


def cleaned(run, texts):
    return json.loads(run("eav_probe", "clean-captions", input=json.dumps(texts, ensure_ascii=False).encode()))


def test_generated_prompts(run):
    texts = list(prompts(random.Random(0), COUNT))
    ours = [text for text, *_ in cleaned(run, texts)]
    theirs = [reference(text) for text in texts]
    assert [trio for trio in zip(texts, ours, theirs, strict=True) if trio[1] != trio[2]] == []
    assert len(set(theirs)) > 0.8 * COUNT


def test_every_phrase_alone(run):
    texts = ["", " ", *PHRASES, *WORDS, *(f"a {phrase} b" for phrase in PHRASES)]
    ours = [text for text, *_ in cleaned(run, texts)]
    assert dict(zip(texts, ours, strict=True)) == {text: reference(text) for text in texts}


def test_tags_are_taken_out(run):
    expected = {f"a {phrase} b": text for phrase, text in (TAGGED | TAGGED_UNLIKE).items()}
    ours = cleaned(run, list(expected))
    assert dict(zip(expected, (text for text, *_ in ours), strict=True)) == expected
    assert all(removed for *_, removed in ours)
    for phrase in TAGGED:
        assert reference(f"a {phrase} b") == TAGGED[phrase]
    texts = ["a < b", "3 > 2", "i <3 u", "<person>", "&lt;3", "a <\n b>", "a cat"]
    assert [removed for *_, removed in cleaned(run, texts)] == [False] * len(texts)


def test_removed_characters_are_reported(run):
    texts = ["a cat", "a 猫", "ひらがな", "カタカナ", "", "㍿", "&#29483;", "%E7%8C%AB", "https://例.com", "한국어"]
    expected = [False, True, False, False, False, True, True, True, True, False]
    assert [removed for _, removed, _ in cleaned(run, texts)] == expected
