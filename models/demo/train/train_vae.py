"""Stage 1: the video autoencoder, on short windows of clips."""
import math, os, random
import numpy as np, torch
from diffusers import AutoencoderKLCogVideoX
from data import COMBINATIONS, draw
from stage import Stage

SIZE, FRAMES = 64, 25


def build():
    """The autoencoder; its latents start with little noise (deviation 0.05)."""
    vae = AutoencoderKLCogVideoX(
        in_channels=3, out_channels=3, down_block_types=("CogVideoXDownBlock3D",) * 3, up_block_types=("CogVideoXUpBlock3D",) * 3,
        block_out_channels=(16, 32, 48), latent_channels=4, layers_per_block=1, norm_num_groups=8, temporal_compression_ratio=4,
        sample_height=SIZE, sample_width=SIZE)
    with torch.no_grad():
        vae.encoder.conv_out.conv.bias[4:] = -6
    return vae


def windows(step, done, rng, batch=2):
    """A batch of windows [B, 3, frames, size, size]. The first third of the time at half size, which is four times as quick;
    later every fourth step two joined batches of frames (17), as the autoencoder works through a whole clip batch by batch."""
    if done < 0.35:
        size, frames, length, batch = SIZE // 2, 13, 9, 4
    else:
        size, frames, length, batch = SIZE, FRAMES, *((17, 1) if step % 4 == 3 else (9, batch))
    first = lambda: 0 if rng.random() < 0.25 else rng.randrange(frames - length + 1)
    return torch.from_numpy(np.stack([draw(rng.choice(COMBINATIONS), rng, size, frames, (first(), length)) for _ in range(batch)]))


@torch.no_grad()
def even(vae, clips=16):
    """Gives every channel of the latents mean 0 and deviation 1: changes the encoder's last layer, and the decoder's layers
    that read latents the other way. All stays as it was but for the padding at the frame's border, which trains away."""
    z = vae.encode(windows(0, 1, random.Random(9), clips)).latent_dist.mode()
    mean, by = z.mean((0, 2, 3, 4)), 1 / z.std((0, 2, 3, 4))
    out, channels = vae.encoder.conv_out.conv, len(by)
    out.weight[:channels] *= by.view(-1, 1, 1, 1, 1)
    out.bias[:channels] = (out.bias[:channels] - mean) * by
    out.bias[channels:] += 2 * by.log()
    readers = [vae.decoder.conv_in.conv] + [m.conv for name, m in vae.decoder.named_modules() if name.endswith(("conv_y", "conv_b"))]
    for conv in readers:
        conv.bias += conv.weight.sum((2, 3, 4)) @ mean
        conv.weight /= by.view(1, -1, 1, 1, 1)


def difference(y, x):
    """L1 and L2, weighted towards the shape, and L1 of the slopes for sharp edges."""
    still = x.flatten(3).median(-1).values[..., None, None]
    weight = 1 + 3 * ((x - still).abs().amax(1, keepdim=True) > 0.15).float()
    weight = weight / weight.mean()
    slopes = sum((y.diff(dim=d) - x.diff(dim=d)).abs().mean() for d in (2, 3, 4))
    return (weight * (y - x).abs()).mean() + 2 * (weight * (y - x) ** 2).mean() + slopes


def train(work, minutes, peak=2e-3):
    torch.manual_seed(0)
    vae = build()
    opt = torch.optim.AdamW(vae.parameters(), lr=peak, betas=(0.9, 0.99), weight_decay=0)
    stage = Stage(work, "vae", minutes, vae=vae, opt=opt)
    rng = random.Random(1 + stage.step)
    for step in stage:
        if stage.done > 0.7 and not stage.notes.get("even"):
            even(vae)
            stage.notes["even"] = True
        for g in opt.param_groups:
            g["lr"] = peak * min(1, (step + 1) / 50) * (0.98 * 0.5 * (1 + math.cos(math.pi * stage.done)) + 0.02)
        x = windows(step, stage.done, rng)
        posterior = vae.encode(x).latent_dist
        y = vae.decode(posterior.sample()).sample
        kl = 0.5 * (posterior.mean ** 2 + posterior.var - 1 - posterior.logvar).mean()
        loss = difference(y, x) + 2e-3 * kl
        opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        opt.step()
        stage.show(loss=loss.item(), l1=(y - x).detach().abs().mean().item(), kl=kl.item())
    return vae
