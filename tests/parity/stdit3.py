"""Open-Sora's STDiT3 in plain PyTorch, whose layers are rounded to one type: what 16-bit runs are held against.

In float32 it gives the numbers of the release's own code (tests/data/open_sora).
"""

import json
import math

import torch
import torch.nn.functional as F
from safetensors.torch import load_file

EPS = 1e-6  # of every norm


def sinusoids(values, channels=256):
    frequencies = torch.exp(-math.log(10000) * torch.arange(channels // 2) / (channels // 2))
    angles = values.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], 1)


def positions(rows, columns, channels, scale):
    side = round(math.sqrt(rows * columns))

    def axis(count):
        places = (torch.arange(count) / scale * (side / count)).double()
        angles = torch.outer(places, 10000.0 ** (-torch.arange(channels // 4, dtype=torch.float64) / (channels // 4)))
        return torch.cat([angles.sin(), angles.cos()], 1)

    both = axis(columns)[None].expand(rows, -1, -1), axis(rows)[:, None].expand(-1, columns, -1)
    return torch.cat(both, 2).flatten(0, 1).float()


class STDiT3:
    def __init__(self, folder, dtype):
        self.config = json.loads((folder / "config.json").read_text())
        self.dtype, self.heads = dtype, self.config["num_heads"]
        self.weights = {name: tensor.to(dtype) for name, tensor in load_file(folder / "model.safetensors").items()}

    def linear(self, name, x):
        return F.linear(x, self.weights[f"{name}.weight"].flatten(1), self.weights[f"{name}.bias"])

    def embed(self, name, values):
        return self.linear(f"{name}.mlp.2", F.silu(self.linear(f"{name}.mlp.0", sinusoids(values).to(self.dtype))))

    def norm(self, x, shift, scale):  # x [B, T, S, C]; shift and scale [B, T or 1, C]
        return F.layer_norm(x, x.shape[-1:], eps=EPS) * (1 + scale.unsqueeze(2)) + shift.unsqueeze(2)

    def qk_norm(self, name, x):
        if f"{name}.weight" not in self.weights:
            return x
        normed = x.float() * torch.rsqrt(x.float().square().mean(-1, keepdim=True) + EPS)
        return self.weights[f"{name}.weight"] * normed.to(self.dtype)

    def turn(self, x):  # [..., T, d], by their frame
        angles = torch.outer(torch.arange(x.shape[-2]).float(), self.weights["rope.freqs"].float()).repeat_interleave(2, 1)
        pairs = x.float().unflatten(-1, (-1, 2))
        other = torch.stack([-pairs[..., 1], pairs[..., 0]], -1).flatten(-2)
        return (x.float() * angles.cos() + other * angles.sin()).to(self.dtype)

    def attention(self, name, x, over_time):
        tokens = x.transpose(1, 2) if over_time else x  # [B, S or T, T or S, C]
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(2, 3) for t in self.linear(f"{name}.qkv", tokens).chunk(3, -1))
        q, k = self.qk_norm(f"{name}.q_norm", q), self.qk_norm(f"{name}.k_norm", k)
        if over_time:
            q, k = self.turn(q), self.turn(k)
        out = self.linear(f"{name}.proj", F.scaled_dot_product_attention(q, k, v).transpose(2, 3).flatten(3))
        return out.transpose(1, 2) if over_time else out

    def cross_attention(self, name, x, captions):
        split = lambda t: t.unflatten(-1, (self.heads, -1)).transpose(0, 1)  # noqa: E731
        rows = []
        for video, caption in zip(x, captions, strict=True):
            k, v = (split(t) for t in self.linear(f"{name}.kv_linear", caption).chunk(2, -1))
            q = split(self.linear(f"{name}.q_linear", video.flatten(0, 1)))
            rows.append(F.scaled_dot_product_attention(q, k, v).transpose(0, 1).flatten(1).view_as(video))
        return self.linear(f"{name}.proj", torch.stack(rows))

    def block(self, name, x, modulation, captions, over_time):
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = (self.weights[f"{name}.scale_shift_table"] + modulation).unbind(2)
        x = x + gate.unsqueeze(2) * self.attention(f"{name}.attn", self.norm(x, shift, scale), over_time)
        x = x + self.cross_attention(f"{name}.cross_attn", x, captions)
        hidden = F.gelu(self.linear(f"{name}.mlp.fc1", self.norm(x, shift_mlp, scale_mlp)), approximate="tanh")
        return x + gate_mlp.unsqueeze(2) * self.linear(f"{name}.mlp.fc2", hidden)

    def __call__(self, case):
        """One forward of a case without given frames -> [B, out, T, H, W] float32."""
        x = case["x"].to(self.dtype)
        height, width = x.shape[3:]
        x = F.pad(x, (0, width % 2, 0, height % 2))
        batch, frames, rows, columns = x.shape[0], x.shape[2], x.shape[3] // 2, x.shape[4] // 2
        patches = x.unflatten(4, (columns, 2)).unflatten(3, (rows, 2)).permute(0, 2, 3, 5, 1, 4, 6).flatten(4).flatten(2, 3)
        scale = math.sqrt(case["height"].item() * case["width"].item()) / self.config["input_sq_size"]
        x = self.linear("x_embedder.proj", patches)  # [B, T, S, C]
        x = x + positions(rows, columns, x.shape[-1], scale).to(self.dtype)

        time = (self.embed("t_embedder", case["t"]) + self.embed("fps_embedder", case["fps"])).unsqueeze(1)  # [B, 1, C]
        modulation = self.linear("t_block.1", F.silu(time)).unflatten(2, (6, -1))
        captions = [y[0][mask != 0].to(self.dtype) for y, mask in zip(case["y"], case["mask"], strict=True)]
        embedded = [F.gelu(self.linear("y_embedder.y_proj.fc1", caption), approximate="tanh") for caption in captions]
        captions = [self.linear("y_embedder.y_proj.fc2", caption) for caption in embedded]
        for layer in range(self.config["depth"]):
            x = self.block(f"spatial_blocks.{layer}", x, modulation, captions, over_time=False)
            x = self.block(f"temporal_blocks.{layer}", x, modulation, captions, over_time=True)

        shift, scale = (self.weights["final_layer.scale_shift_table"] + time.unsqueeze(2)).unbind(2)
        out = self.linear("final_layer.linear", self.norm(x, shift, scale)).view(batch, frames, rows, columns, 2, 2, -1)
        return out.permute(0, 6, 1, 2, 4, 3, 5).flatten(5, 6).flatten(3, 4)[..., :height, :width].float()
