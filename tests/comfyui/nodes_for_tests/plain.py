"""The method as its formula, in the layers of ComfyUI's models: what the nodes are compared with.

Full maps in float64, and each layer's own computation repeated around them, with a grid that the test tells.
"""

from dataclasses import dataclass

import comfy.ldm.lightricks.model as ltxv
import torch
from comfy.ldm.flux.math import apply_rope1
from comfy.ldm.modules.attention import attention_pytorch


def cfi(query, key, frames):
    """query and key [B, heads, T*S, d] -> [B]."""
    query, key = (x.unflatten(2, (frames, -1)).transpose(2, 3).double() for x in (query, key))  # [B, heads, S, T, d]
    maps = (query @ key.mT / query.shape[-1] ** 0.5).softmax(-1)
    return maps[..., ~torch.eye(frames, dtype=torch.bool)].mean((1, 2, 3))


@dataclass
class Formula:
    weight: float
    frames: int
    positions: int
    before: int

    def scale(self, output, query, key):
        """output [B, L, C], query and key [B, heads, L, d]."""
        video = slice(self.before, self.before + self.frames * self.positions)
        measured = cfi(query[:, :, video], key[:, :, video], self.frames)
        gain = (measured * (self.frames + self.weight)).clamp(min=1).view(-1, 1, 1)
        output = output.clone()
        output[:, video] = (output[:, video] * gain).to(output.dtype)
        return output


def enhance(model, formula):
    diffusion_model = model.model.diffusion_model
    patches = {
        "LTXVModel": lambda: {
            f"transformer_blocks.{i}.attn1": _ltxv for i in range(len(diffusion_model.transformer_blocks))
        },
        "WanModel": lambda: {f"blocks.{i}.self_attn": _wan for i in range(len(diffusion_model.blocks))},
        "HunyuanVideo": lambda: {
            **{f"double_blocks.{i}": _double for i in range(len(diffusion_model.double_blocks))},
            **{f"single_blocks.{i}": _single for i in range(len(diffusion_model.single_blocks))},
        },
        "CogVideoXTransformer3DModel": lambda: {f"blocks.{i}": _cogvideox for i in range(len(diffusion_model.blocks))},
    }[type(diffusion_model).__name__]()
    for name, forward in patches.items():
        module = diffusion_model.get_submodule(name)
        patch = lambda *a, _forward=forward, _module=module, **k: _forward(formula, _module, *a, **k)  # noqa: E731
        model.add_object_patch(f"diffusion_model.{name}.forward", patch)
    return model


def _heads(tokens, heads):
    return tokens.unflatten(2, (heads, -1)).transpose(1, 2)


def _ltxv(formula, attn, x, context=None, mask=None, pe=None, transformer_options={}):
    q, k = (ltxv.apply_rotary_emb(norm(to(x)), pe) for norm, to in ((attn.q_norm, attn.to_q), (attn.k_norm, attn.to_k)))
    if mask is None:
        out = attention_pytorch(q, k, attn.to_v(x), attn.heads)
    else:  # newer ComfyUIs: guides have a strength in attention, too
        out = ltxv._attention_with_guide_mask(q, k, attn.to_v(x), attn.heads, mask, None, {})
    return formula.scale(attn.to_out(out), _heads(q, attn.heads), _heads(k, attn.heads))


def _wan(formula, attn, x, freqs, transformer_options={}):
    q, k = (
        apply_rope1(norm(to(x)).unflatten(2, (attn.num_heads, -1)), freqs)
        for norm, to in ((attn.norm_q, attn.q), (attn.norm_k, attn.k))
    )
    out = attn.o(attention_pytorch(q.flatten(2), k.flatten(2), attn.v(x), attn.num_heads))
    return formula.scale(out, q.transpose(1, 2), k.transpose(1, 2))


def _qkv(qkv, heads, norm):
    q, k, v = qkv.unflatten(2, (3, heads, -1)).permute(2, 0, 3, 1, 4)
    return *norm(q, k, v), v


def _rotate(x, pe):
    return apply_rope1(x, pe)


def _double(formula, block, img, txt, vec, pe, attn_mask=None, transformer_options={}, **_):
    (img1, img2), (txt1, txt2) = block.img_mod(vec), block.txt_mod(vec)
    modulate = lambda x, mod: x * (1 + mod.scale) + mod.shift  # noqa: E731
    streams = [(block.img_attn, block.img_norm1, img, img1), (block.txt_attn, block.txt_norm1, txt, txt1)]
    image_first = getattr(block, "flipped_img_txt", False)
    qkv = [_qkv(attn.qkv(modulate(norm(x), mod)), block.num_heads, attn.norm) for attn, norm, x, mod in streams]
    q, k, v = (torch.cat(parts if image_first else parts[::-1], 2) for parts in zip(*qkv, strict=True))
    q, k = _rotate(q, pe), _rotate(k, pe)
    out = attention_pytorch(q, k, v, block.num_heads, mask=attn_mask, skip_reshape=True)
    first = 0 if image_first else txt.shape[1]
    video = slice(first, first + img.shape[1])
    captions = slice(img.shape[1], None) if image_first else slice(0, first)
    img = img + formula.scale(block.img_attn.proj(out[:, video]), q[:, :, video], k[:, :, video]) * img1.gate
    txt = txt + block.txt_attn.proj(out[:, captions]) * txt1.gate
    img = img + block.img_mlp(modulate(block.img_norm2(img), img2)) * img2.gate
    txt = txt + block.txt_mlp(modulate(block.txt_norm2(txt), txt2)) * txt2.gate
    return img, txt


def _single(formula, block, x, vec, pe, attn_mask=None, transformer_options={}, **_):
    mod, _ = block.modulation(vec)
    qkv, mlp = block.linear1(block.pre_norm(x) * (1 + mod.scale) + mod.shift).tensor_split([3 * block.hidden_size], -1)
    q, k, v = _qkv(qkv, block.num_heads, block.norm)
    q, k = _rotate(q, pe), _rotate(k, pe)
    out = attention_pytorch(q, k, v, block.num_heads, mask=attn_mask, skip_reshape=True)
    first = transformer_options.get("img_slice", [0])[0]  # newer ComfyUIs, which have the text first
    image = formula.scale(out[:, first:], q[:, :, first:], k[:, :, first:])
    out = torch.cat([out[:, :first], image], 1)
    return x + block.linear2(torch.cat([out, block.mlp_act(mlp)], 2)) * mod.gate


def _cogvideox(
    formula, block, hidden_states, encoder_hidden_states, temb, image_rotary_emb=None, transformer_options={}
):
    import comfy.ldm.cogvideo.model as cogvideox

    text = encoder_hidden_states.shape[1]
    video, caption, gate, caption_gate = block.norm1(hidden_states, encoder_hidden_states, temb)
    tokens = torch.cat([caption, video], 1)
    q, k = (
        norm(_heads(to(tokens), block.num_heads)) for norm, to in ((block.norm_q, block.q), (block.norm_k, block.k))
    )
    if image_rotary_emb is not None:
        rotated = [cogvideox.apply_rotary_emb(x[:, :, text:], image_rotary_emb) for x in (q, k)]
        q, k = (torch.cat([x[:, :, :text], r], 2) for x, r in zip((q, k), rotated, strict=True))
    v = _heads(block.v(tokens), block.num_heads)
    out = block.attn_out(attention_pytorch(q, k, v, block.num_heads, skip_reshape=True))
    scaled = formula.scale(out[:, text:], q[:, :, text:], k[:, :, text:])
    hidden_states = hidden_states + gate * scaled
    encoder_hidden_states = encoder_hidden_states + caption_gate * out[:, :text]
    video, caption, gate, caption_gate = block.norm2(hidden_states, encoder_hidden_states, temb)
    out = block.ff_out(torch.nn.functional.gelu(block.ff_proj(torch.cat([caption, video], 1)), approximate="tanh"))
    return hidden_states + gate * out[:, text:], encoder_hidden_states + caption_gate * out[:, :text]
