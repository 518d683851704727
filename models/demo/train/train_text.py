"""Stage 2: the vocabulary and the text encoder.

The encoder learns, before the transformer sees it, to write what the caption says into every one of its outputs, padding included:
a linear layer on any single output tells colour, shape, direction and background, or that the caption doesn't say.
The transformer then has nothing to work out about language."""
import io, math, os, random
import sentencepiece, torch
from transformers import T5Config, T5EncoderModel, T5Tokenizer
from data import BACKS, COLORS, COMBINATIONS, MOVES, SHAPES, caption
from stage import Stage

LENGTH, WIDTH = 20, 64
KINDS = [[None, *names] for names in (COLORS, SHAPES, MOVES, BACKS)]


def vocabulary(folder):
    """Trains the sentencepiece vocabulary on captions, once, and returns the T5 tokenizer on it."""
    path = os.path.join(folder, "spiece.model")
    if not os.path.exists(path):
        os.makedirs(folder, exist_ok=True)
        rng, model = random.Random(3), io.BytesIO()
        texts = [caption(rng.choice(COMBINATIONS), rng, plain=0.2, stray=0)[0] for _ in range(6000)]
        words = sorted({word for text in texts for word in text.replace(".", "").replace(",", "").split()})     # so that each becomes one piece
        letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,;:!?'-()"
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts + 20 * words), model_writer=model, vocab_size=300, model_type="unigram", pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
            normalization_rule_name="identity", hard_vocab_limit=False, required_chars=letters, minloglevel=2)
        open(path + ".new", "wb").write(model.getvalue())
        os.replace(path + ".new", path)
    pieces = sentencepiece.SentencePieceProcessor(model_file=path)
    return T5Tokenizer([(pieces.id_to_piece(i), pieces.get_score(i)) for i in range(len(pieces))], extra_ids=0)


def ids(tokenizer, texts):
    return tokenizer(texts, padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt").input_ids


def build(tokenizer):
    return T5EncoderModel(T5Config(vocab_size=len(tokenizer), d_model=WIDTH, d_kv=16, d_ff=2 * WIDTH, num_layers=2, num_heads=4,
                                   feed_forward_proj="gated-gelu", dropout_rate=0.0, pad_token_id=0, eos_token_id=1))


def train(work, minutes, peak=2e-3, batch=64):
    torch.manual_seed(0)
    tokenizer = vocabulary(os.path.join(work, "tokenizer"))
    text = build(tokenizer)
    heads = torch.nn.Linear(WIDTH, sum(len(k) for k in KINDS))
    opt = torch.optim.AdamW([*text.parameters(), *heads.parameters()], lr=peak, betas=(0.9, 0.99), weight_decay=0.01)
    stage = Stage(work, "text", minutes, text=text, heads=heads, opt=opt)
    rng = random.Random(4 + stage.step)
    for step in stage:
        for g in opt.param_groups:
            g["lr"] = peak * min(1, (step + 1) / 100) * (0.98 * 0.5 * (1 + math.cos(math.pi * stage.done)) + 0.02)
        pairs = [caption(rng.choice(COMBINATIONS), rng, plain=0.3) for _ in range(batch - 2)] + 2 * [("", (None,) * 4)]
        says = torch.tensor([[kind.index(x) for kind, x in zip(KINDS, said)] for _, said in pairs])
        scores = heads(text(ids(tokenizer, [t for t, _ in pairs])).last_hidden_state).split([len(k) for k in KINDS], dim=-1)
        loss = sum(torch.nn.functional.cross_entropy(s.flatten(0, 1), says[:, i].repeat_interleave(LENGTH), label_smoothing=0.02) for i, s in enumerate(scores))
        right = torch.stack([s.argmax(-1) == says[:, i, None] for i, s in enumerate(scores)]).float().mean().item()
        opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(text.parameters(), 1.0)
        opt.step()
        stage.show(loss=loss.item(), right=right)
    return tokenizer, text.eval()
