"""Times a forward pass of Open-Sora's transformer at real width against the same computation in eager PyTorch,
alternating in one run, on random weights: two spatial and two temporal blocks of 16 heads of 72, 51 frames of 240p, a
caption of 120 tokens without padding. PyTorch has fused projections and scaled_dot_product_attention everywhere.

Example: python benchmarks/open_sora.py --rounds 6
"""

import json
import pathlib
import sys
import tempfile

import torch
from safetensors.torch import load_file, save_file
from side_by_side import alternate, forward_parser, least_and_peak, reference_loop
from torch import nn
from torch.nn import functional as F

HEIGHT, WIDTH = 240, 426
FRAMES, ROWS, COLUMNS = 15, HEIGHT // 8, WIDTH // 8  # latent ones
CHANNELS, HEADS, CAPTION, DEPTH = 1152, 16, 4096, 2


def sinusoids(t):
    angles = t[:, None] * torch.exp(-torch.arange(128) * (torch.log(torch.tensor(1e4)) / 128))
    return torch.cat([angles.cos(), angles.sin()], 1)


def mlp(first, hidden, last, activation):
    return nn.Sequential(nn.Linear(first, hidden), activation, nn.Linear(hidden, last))


class Mlp(nn.Module):
    def __init__(self, first, hidden, last):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(first, hidden), nn.Linear(hidden, last)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class RmsNorm(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x):
        return F.rms_norm(x, (x.shape[-1],), self.weight, 1e-6)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.proj = nn.Linear(CHANNELS, 3 * CHANNELS), nn.Linear(CHANNELS, CHANNELS)
        self.q_norm, self.k_norm = RmsNorm(CHANNELS // HEADS), RmsNorm(CHANNELS // HEADS)

    def forward(self, x, rope=None):  # [N, L, C]
        q, k, v = self.qkv(x).view(*x.shape[:2], 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        q, k = self.q_norm(q), self.k_norm(k)
        if rope is not None:
            q, k = (t * rope[0] + torch.stack([-t[..., 1::2], t[..., ::2]], -1).flatten(-2) * rope[1] for t in (q, k))
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class CrossAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q_linear, self.kv_linear = nn.Linear(CHANNELS, CHANNELS), nn.Linear(CHANNELS, 2 * CHANNELS)
        self.proj = nn.Linear(CHANNELS, CHANNELS)

    def forward(self, x, caption):
        q = self.q_linear(x).unflatten(2, (HEADS, -1)).transpose(1, 2)
        k, v = self.kv_linear(caption).unflatten(2, (2, HEADS, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, temporal):
        super().__init__()
        self.temporal = temporal
        self.attn, self.cross_attn, self.mlp = Attention(), CrossAttention(), Mlp(CHANNELS, 4 * CHANNELS, CHANNELS)
        self.scale_shift_table = nn.Parameter(torch.randn(6, CHANNELS) / CHANNELS**0.5)

    def forward(self, x, caption, t, rope, frames):  # [B, T*S, C]
        m = (self.scale_shift_table + t.unflatten(1, (6, -1))).chunk(6, 1)
        normed = F.layer_norm(x, (CHANNELS,), eps=1e-6) * (1 + m[1]) + m[0]
        grid = normed.unflatten(1, (frames, -1))
        if self.temporal:
            attended = self.attn(grid.transpose(1, 2).flatten(0, 1), rope)
            attended = attended.unflatten(0, (len(x), -1)).transpose(1, 2).flatten(1, 2)
        else:
            attended = self.attn(grid.flatten(0, 1)).view_as(x)
        x = x + m[2] * attended
        x = x + self.cross_attn(x, caption)
        return x + m[5] * self.mlp(F.layer_norm(x, (CHANNELS,), eps=1e-6) * (1 + m[4]) + m[3])


class STDiT3(nn.Module):
    """The layers and names of the release, for a video without given frames."""

    def __init__(self):
        super().__init__()
        self.x_embedder = nn.ModuleDict({"proj": nn.Conv3d(4, CHANNELS, (1, 2, 2), (1, 2, 2))})
        self.t_embedder = nn.ModuleDict({"mlp": mlp(256, CHANNELS, CHANNELS, nn.SiLU())})
        self.fps_embedder = nn.ModuleDict({"mlp": mlp(256, CHANNELS, CHANNELS, nn.SiLU())})
        self.t_block = nn.Sequential(nn.SiLU(), nn.Linear(CHANNELS, 6 * CHANNELS))
        self.y_embedder = nn.ModuleDict({"y_proj": Mlp(CAPTION, CHANNELS, CHANNELS)})
        self.y_embedder.register_buffer("y_embedding", torch.randn(300, CAPTION) / CAPTION**0.5)
        self.rope = nn.Module()
        self.rope.register_buffer("freqs", 1 / 10000 ** (torch.arange(0, 72, 2) / 72))
        self.spatial_blocks = nn.ModuleList(Block(temporal=False) for _ in range(DEPTH))
        self.temporal_blocks = nn.ModuleList(Block(temporal=True) for _ in range(DEPTH))
        self.final_layer = nn.ModuleDict({"linear": nn.Linear(CHANNELS, 4 * 8)})
        self.final_layer.scale_shift_table = nn.Parameter(torch.randn(2, CHANNELS) / CHANNELS**0.5)

    def positions(self, rows, columns):
        scale, side = (HEIGHT * WIDTH) ** 0.5 / 512, round((rows * columns) ** 0.5)
        omega = 1 / 10000 ** (torch.arange(CHANNELS // 4) / (CHANNELS // 4))
        row, column = (torch.arange(n) / scale * (side / n) for n in (rows, columns))
        row, column = (torch.cat([(p[:, None] * omega).sin(), (p[:, None] * omega).cos()], 1) for p in (row, column))
        return torch.cat([column[None].expand(rows, -1, -1), row[:, None].expand(-1, columns, -1)], 2).flatten(0, 1)

    def forward(self, latents, timesteps, text, fps):
        dtype, frames = latents.dtype, latents.shape[2]
        rows, columns = (-(-size // 2) for size in latents.shape[3:])
        padded = F.pad(latents, (0, 2 * columns - latents.shape[4], 0, 2 * rows - latents.shape[3]))
        x = self.x_embedder["proj"](padded).flatten(3).permute(0, 2, 3, 1)  # [B, T, S, C]
        x = (x + self.positions(rows, columns).to(dtype)).flatten(1, 2)
        t = self.t_embedder["mlp"](sinusoids(timesteps).to(dtype)) + self.fps_embedder["mlp"](sinusoids(fps).to(dtype))
        time, caption = self.t_block(t), self.y_embedder["y_proj"](text)
        angles = torch.outer(torch.arange(frames), self.rope.freqs.float()).repeat_interleave(2, 1)
        rope = angles.cos().to(dtype), angles.sin().to(dtype)
        for spatial, temporal in zip(self.spatial_blocks, self.temporal_blocks):
            x = temporal(spatial(x, caption, time, rope, frames), caption, time, rope, frames)
        shift, scale = (self.final_layer.scale_shift_table + t[:, None]).chunk(2, 1)
        x = self.final_layer["linear"](F.layer_norm(x, (CHANNELS,), eps=1e-6) * (1 + scale) + shift)
        x = x.view(-1, frames, rows, columns, 2, 2, 8).permute(0, 6, 1, 2, 4, 3, 5).flatten(5, 6).flatten(3, 4)
        return x[..., : latents.shape[3], : latents.shape[4]].float()


def open_reference(folder, dtype):
    model = STDiT3()
    model.load_state_dict(load_file(f"{folder}/model.safetensors"))
    return model.to(getattr(torch, dtype)).eval()


def reference(folder, inputs, dtype, threads):
    torch.set_num_threads(threads)
    model = open_reference(folder, dtype)
    latents, text = (load_file(inputs)[name].to(getattr(torch, dtype)) for name in ("latents", "text"))

    def run():
        with torch.inference_mode():
            model(latents, torch.full((len(latents),), 500.0), text, torch.full((len(latents),), 24.0))

    reference_loop(run)


def save_checkpoint(folder):
    torch.manual_seed(0)
    save_file(STDiT3().state_dict(), f"{folder}/model.safetensors")
    config = {"model_type": "STDiT3", "depth": DEPTH, "hidden_size": CHANNELS, "num_heads": HEADS, "qk_norm": True}
    pathlib.Path(folder, "config.json").write_text(json.dumps(config))


def main():
    parser = forward_parser(__doc__, reference_arguments=3)
    parser.add_argument("--batches", default=[1, 2], nargs="+", type=int)
    options = parser.parse_args()
    if options.reference:
        return reference(*options.reference, options.threads)

    print(f"{DEPTH} spatial and temporal blocks, {options.threads} threads, {options.rounds} rounds: seconds at best")
    print(f"{'':20}{'PyTorch':>10}{'off':>8}{'on':>8}{'maps':>8}{'off/PyTorch':>13}{'on/off':>8}{'maps/on':>9}{'peak MiB':>16}")
    with tempfile.TemporaryDirectory() as folder:
        save_checkpoint(folder)
        for batch in options.batches:
            inputs = f"{folder}/inputs{batch}.safetensors"
            save_file({"latents": torch.randn(batch, 4, FRAMES, ROWS, COLUMNS), "text": torch.randn(batch, 120, CAPTION)}, inputs)
            for dtype in options.types:
                commands = {"PyTorch": [sys.executable, __file__, "--threads", options.threads,
                                        "--reference", folder, inputs, dtype]}  # fmt: skip
                for enhance in ("off", "on", "maps"):
                    commands[enhance] = [options.bench, options.threads, "open_sora", folder, inputs, dtype, enhance,
                                         HEIGHT, WIDTH]  # fmt: skip
                results = alternate(commands, options.rounds)
                least, peak = least_and_peak(results)
                print(f"{f'batch {batch}, {dtype}':20}{least['PyTorch']:10.3f}{least['off']:8.3f}{least['on']:8.3f}"
                      f"{least['maps']:8.3f}{least['off'] / least['PyTorch']:13.3f}{least['on'] / least['off']:8.3f}"
                      f"{least['maps'] / least['on']:9.3f}{peak['off']:9.0f}/{peak['PyTorch']:.0f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
