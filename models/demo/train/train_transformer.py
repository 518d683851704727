"""Stages 3 and 4: the clips' latents, and the transformer that makes such latents from noise."""
import os, random, sys
import numpy as np, torch
from diffusers import CogVideoXDDIMScheduler, CogVideoXTransformer3DModel
import stage
from data import COMBINATIONS, caption, draw
from stage import Stage, save
from train_text import LENGTH, WIDTH, ids
from train_vae import FRAMES, SIZE


def latents(work, vae, per_combination, group=8):
    """Latents [N, channels, frames, height, width] of N clips and which combination each shows, drawn and encoded once; and the factor that gives them deviation 1."""
    path = os.path.join(work, "latents.pt")
    have = torch.load(path) if os.path.exists(path) else {"z": [], "spec": []}
    order = [i for _ in range(per_combination) for i in range(len(COMBINATIONS))]
    while len(have["z"]) * group < len(order):
        start = len(have["z"]) * group
        specs = order[start:start + group]
        clips = np.stack([draw(COMBINATIONS[i], random.Random(f"clip {start + k}")) for k, i in enumerate(specs)])
        with torch.inference_mode():
            have["z"].append(vae.encode(torch.from_numpy(clips)).latent_dist.mode().half())
        have["spec"] += specs
        if stage.stop or len(have["z"]) % 27 == 0 or len(have["z"]) * group >= len(order):
            save(path, have)
            print(f"latents: {len(have['spec'])} of {len(order)} clips", flush=True)
            if stage.stop:
                sys.exit(130)
    z = torch.cat(have["z"]).float()
    first = z[:len(COMBINATIONS)]                                                               # so that more clips leave the scale alone
    scale = 1 / first.std().item()
    numbers = lambda x: " ".join(f"{v:.2f}" for v in x.tolist())
    print(f"latents: by channel, deviation {numbers(first.std((0, 2, 3, 4)))}, mean {numbers(first.mean((0, 2, 3, 4)))}; scaling factor {scale:.3f}", flush=True)
    return z * scale, have["spec"], scale


def scheduler():
    return CogVideoXDDIMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, prediction_type="v_prediction", rescale_betas_zero_snr=True,
        snr_shift_scale=3.0, clip_sample=False, set_alpha_to_one=True, timestep_spacing="trailing")


def build(channels):
    """The transformer, with every block and the output starting as nothing (zero), so that it trains steadily."""
    dit = CogVideoXTransformer3DModel(
        num_attention_heads=4, attention_head_dim=32, in_channels=channels, out_channels=channels, time_embed_dim=128, text_embed_dim=WIDTH,
        num_layers=5, sample_width=SIZE // 4, sample_height=SIZE // 4, sample_frames=FRAMES, patch_size=4, temporal_compression_ratio=4,
        max_text_seq_length=LENGTH)
    zero = [dit.proj_out] + [norm.linear for block in dit.transformer_blocks for norm in (block.norm1, block.norm2)]
    for layer in zero:
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    return dit


class Muon(torch.optim.Optimizer):
    """Momentum whose matrix updates are made orthogonal (Newton-Schulz iteration), for the blocks' weight matrices; float32."""

    def __init__(self, params, lr, momentum=0.95, weight_decay=0.01):
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                m = self.state[p].setdefault("m", torch.zeros_like(p))
                m.lerp_(p.grad, 1 - group["momentum"])
                x = p.grad.lerp(m, group["momentum"])
                tall = x.shape[0] > x.shape[1]
                x = x.T if tall else x
                x = x / (x.norm() + 1e-7)
                for _ in range(5):
                    a = x @ x.T
                    x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
                x = x.T if tall else x
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(x, alpha=-group["lr"] * max(1, p.shape[0] / p.shape[1]) ** 0.5)


def train(work, minutes, z_all, spec, tokenizer, text, batch=16, peak=1.5e-3, peak_matrices=0.02, unconditional=0.08):
    torch.manual_seed(0)
    dit = build(z_all.shape[1])
    matrices = [p for n, p in dit.named_parameters() if n.startswith("transformer_blocks") and p.ndim == 2 and ("attn1" in n or "ff" in n)]
    other = [p for p in dit.parameters() if not any(p is q for q in matrices)]
    muon, adam = Muon(matrices, peak_matrices), torch.optim.AdamW(other, lr=peak, betas=(0.9, 0.98), weight_decay=0.0)
    ema = build(z_all.shape[1])
    ema.load_state_dict(dit.state_dict())
    run = Stage(work, "transformer", minutes, dit=dit, ema=ema, muon=muon, adam=adam)
    torch.manual_seed(run.step)
    rng, alphas = random.Random(5 + run.step), scheduler().alphas_cumprod.float()
    for step in run:
        pace = min(1, (step + 1) / 100) * min(1, (1 - run.done) / 0.4 + 0.01)                 # warm-up, level, then down to nothing
        for opt, top in ((muon, peak_matrices), (adam, peak)):
            for g in opt.param_groups:
                g["lr"] = top * pace
        pick = torch.randint(0, len(z_all), (batch,))
        z = z_all[pick].permute(0, 2, 1, 3, 4)
        words = [caption(COMBINATIONS[spec[i]], rng, plain=0.6)[0] if rng.random() > unconditional else "" for i in pick.tolist()]
        with torch.no_grad():
            said = text(ids(tokenizer, words)).last_hidden_state
        t = ((torch.arange(batch) + torch.rand(batch)) * (1000 / batch)).long().clamp(max=999)  # one from each part of the range
        a, noise = alphas[t].view(-1, 1, 1, 1, 1), torch.randn_like(z)
        v = dit(a.sqrt() * z + (1 - a).sqrt() * noise, said, t).sample
        error = ((v - (a.sqrt() * noise - (1 - a).sqrt() * z)) ** 2).mean((1, 2, 3, 4))
        loss = error.mean()
        muon.zero_grad()
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(dit.parameters(), 1.0)
        muon.step()
        adam.step()
        keep = min(0.998, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(ema.parameters()), list(dit.parameters()), 1 - keep)
        half = batch // 2
        run.show(loss=loss.item(), little_noise=error[:half].mean().item(), much_noise=error[half:].mean().item())
    return ema
