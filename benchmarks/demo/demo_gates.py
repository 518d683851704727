"""The demo checkpoint's gates.

    python benchmarks/demo/demo_gates.py                        # all three, videos made by diffusers
    python benchmarks/demo/demo_gates.py --engine eav           # videos made by the program
    python benchmarks/demo/demo_gates.py --videos DIR           # videos that are there already: DIR/seed_1000/frame_00000.png ...

- checker: true clips (5 of each combination) that read_clip.py reads right in colour, shape and direction: at least 99 %;
- gate 1: true clips, encoded and decoded by the autoencoder, read right: at least 97 %;
- gate 2: each of the 216 combinations once, seeds 1000 + i, with the checkpoint's defaults (eav.json) and the enhancement on:
  colour at least 98 %, direction 90 %, shape 85 %, all three 80 %.

Exit status 0 when every gate that ran is passed. Needs numpy, scipy, pillow; gate 1 and the diffusers engine need torch and diffusers.
"""
import argparse, json, os, random, subprocess, sys, time
import numpy as np
from PIL import Image

here = os.path.dirname(os.path.abspath(__file__))
root = os.path.dirname(os.path.dirname(here))
sys.path[:0] = [here, os.path.join(root, "models", "demo", "train")]
from data import COMBINATIONS, MAIN, draw                                                  # noqa: E402
from read_clip import read_clip                                                            # noqa: E402

ASPECTS = ("color", "direction", "shape")
GATES = {"color": 0.98, "direction": 0.90, "shape": 0.85, "all": 0.80}


def frames_of(video):
    """[3, T, H, W] in -1..1 to uint8 [T, H, W, 3]."""
    return ((np.clip(video.transpose(1, 2, 3, 0), -1, 1) + 1) * 127.5).round().astype(np.uint8)


def right(frames, spec):
    read = read_clip(frames)
    said = dict(zip(("color", "shape", "direction", "background"), spec))
    result = {k: read[k] == said[k] for k in ("color", "direction", "shape", "background")}
    result["all"] = all(result[k] for k in ASPECTS)
    return result, read


def rate(results, key):
    return sum(r[key] for r in results) / len(results)


def line(results):
    return ", ".join(f"{k} {rate(results, k):.3f}" for k in (*ASPECTS, "all", "background"))


def check_checker(each):
    results = [right(frames_of(draw(spec, random.Random(f"check {i} {spec}"))), spec)[0] for i in range(each) for spec in COMBINATIONS]
    print(f"checker: {len(results)} true clips: {line(results)}", flush=True)
    return rate(results, "all") >= 0.99


def gate_1(model, count):
    import torch
    from diffusers import AutoencoderKLCogVideoX
    vae = AutoencoderKLCogVideoX.from_pretrained(model, subfolder="vae", torch_dtype=torch.float32).eval()
    results, errors = [], []
    for i in range(count):
        spec = COMBINATIONS[i * 7 % len(COMBINATIONS)]
        clip = draw(spec, random.Random(f"gate 1 {i}"))
        with torch.inference_mode():
            again = vae.decode(vae.encode(torch.from_numpy(clip)[None]).latent_dist.mode()).sample[0].numpy()
        errors.append(np.mean((np.clip(again, -1, 1) - clip) ** 2) / 4)
        results.append(right(frames_of(again), spec)[0])
    print(f"gate 1: {count} clips through the autoencoder: {line(results)}; PSNR {np.mean(-10 * np.log10(errors)):.1f} dB", flush=True)
    return rate(results, "all") >= 0.97


class Enhance:
    """Attention with Enhance-A-Video: scales the video part of the attention's output by the strength of attention between frames."""

    def __init__(self, frames, weight):
        self.frames, self.weight = frames, weight

    def __call__(self, attn, hidden_states, encoder_hidden_states, attention_mask=None, image_rotary_emb=None):
        import torch
        words = encoder_hidden_states.size(1)
        x = torch.cat([encoder_hidden_states, hidden_states], 1)
        q, k, v = (f(x).unflatten(-1, (attn.heads, -1)).transpose(1, 2) for f in (attn.to_q, attn.to_k, attn.to_v))
        q, k = attn.norm_q(q), attn.norm_k(k)
        if image_rotary_emb is not None:
            from diffusers.models.embeddings import apply_rotary_emb
            q[:, :, words:], k[:, :, words:] = apply_rotary_emb(q[:, :, words:], image_rotary_emb), apply_rotary_emb(k[:, :, words:], image_rotary_emb)
        out = torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        out = attn.to_out[0](out)
        # [batch, heads, frames, places, width] to frames x frames for each place
        over_time = lambda y: y[:, :, words:].unflatten(2, (self.frames, -1)).transpose(2, 3)
        scores = (over_time(q) @ over_time(k).transpose(-1, -2) * q.shape[-1] ** -0.5).float().softmax(-1)
        t = self.frames
        strength = (scores.sum((-1, -2)) - scores.diagonal(dim1=-1, dim2=-2).sum(-1)) / (t * (t - 1))       # [batch, heads, places]
        strength = strength.mean((1, 2)).view(2, -1).mean(0)                                                   # the guidance pair of each video together
        gain = (strength * (t + self.weight)).clamp(min=1).repeat(2).view(-1, 1, 1).to(out.dtype)
        return out[:, words:] * gain, out[:, :words]


def make_with_diffusers(model, jobs, enhance, settings, group=8):
    """Yields the frames of every (seed, prompt); every video has a generator of its own."""
    import torch
    from diffusers import CogVideoXPipeline
    pipe = CogVideoXPipeline.from_pretrained(model, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    if enhance:
        latent_frames = (settings["frames"] - 1) // pipe.vae.config.temporal_compression_ratio + 1
        pipe.transformer.set_attn_processor(Enhance(latent_frames, settings["enhance_weight"]))
    for start in range(0, len(jobs), group):
        part = jobs[start:start + group]
        videos = pipe([p for _, p in part], num_inference_steps=settings["steps"], guidance_scale=settings["guidance"], num_frames=settings["frames"],
                      height=settings["height"], width=settings["width"], max_sequence_length=pipe.transformer.config.max_text_seq_length,
                      generator=[torch.Generator().manual_seed(s) for s, _ in part], output_type="np").frames
        for video in videos:
            yield (video * 255).round().astype(np.uint8)


def read_folder(folder):
    return np.stack([np.asarray(Image.open(os.path.join(folder, n)).convert("RGB")) for n in sorted(os.listdir(folder)) if n.endswith(".png")])


def make_with_program(program, model, jobs, enhance, given, keep):
    for seed, prompt in jobs:
        folder = os.path.join(keep, f"seed_{seed}")
        command = [program, "generate", prompt, "--model", model, "--seed", str(seed), "--out", folder + "/"]
        for key in ("steps", "guidance"):
            if given.get(key) is not None:
                command += [f"--{key}", str(given[key])]
        if not enhance:
            command += ["--no-enhance"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
        yield read_folder(folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=os.path.join(root, "models", "demo"))
    parser.add_argument("--only", choices=("checker", "1", "2"), help="one gate alone")
    parser.add_argument("--engine", choices=("diffusers", "eav"), default="diffusers")
    parser.add_argument("--program", default=os.path.join(root, "build", "eav"), help="the program, for --engine eav (default build/eav)")
    parser.add_argument("--videos", help="judge the videos in this folder instead of making some")
    parser.add_argument("--keep", help="folder for the videos that are made, as frames (default: build/demo-gates)")
    parser.add_argument("--seed", type=int, default=1000, help="of the first combination (default 1000)")
    parser.add_argument("--every", type=int, default=1, help="every n-th combination only")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--guidance", type=float)
    parser.add_argument("--enhance-weight", type=float)
    parser.add_argument("--no-enhance", action="store_true")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--sheet", help="write a contact sheet of the videos here")
    parser.add_argument("--json", help="write the figures here")
    a = parser.parse_args()
    if a.threads:
        import torch
        torch.set_num_threads(a.threads)
    passed, figures = True, {}

    if a.only in (None, "checker"):
        passed &= check_checker(5)
    if a.only in (None, "1"):
        passed &= gate_1(a.model, 216)
    if a.only in (None, "2"):
        with open(os.path.join(a.model, "eav.json")) as f:
            settings = {"enhance_weight": 3.4, **json.load(f)}
        given = {"steps": a.steps, "guidance": a.guidance, "enhance_weight": a.enhance_weight}
        settings.update({k: v for k, v in given.items() if v is not None})
        picked = list(range(0, len(COMBINATIONS), a.every))
        jobs = [(a.seed + i, MAIN.format(**dict(zip("csmb", COMBINATIONS[i])))) for i in picked]
        keep = a.keep or os.path.join(root, "build", "demo-gates")
        start = time.time()
        if a.videos:
            videos = (read_folder(os.path.join(a.videos, f"seed_{seed}")) for seed, _ in jobs)
        elif a.engine == "eav":
            videos = make_with_program(a.program, a.model, jobs, not a.no_enhance, given, keep)
        else:
            videos = make_with_diffusers(a.model, jobs, not a.no_enhance, settings)
        results, rows = [], []
        for i, video in zip(picked, videos):
            result, read = right(video, COMBINATIONS[i])
            results.append(result)
            if not result["all"]:
                print(f"  seed {a.seed + i}, {' '.join(COMBINATIONS[i])}: read {read}")
            rows.append(np.concatenate(list(video[::6]), 1))
        if a.sheet:
            rows += [np.zeros_like(rows[0])] * (-len(rows) % 4)
            Image.fromarray(np.concatenate([np.concatenate(rows[i:i + 4], 1) for i in range(0, len(rows), 4)], 0)).save(a.sheet)
        figures = {k: rate(results, k) for k in (*ASPECTS, "all", "background")}
        what = f"{settings['steps']} steps, guidance {settings['guidance']}, " + ("no enhancement" if a.no_enhance else f"enhancement weight {settings['enhance_weight']}")
        print(f"gate 2: {len(results)} combinations, {a.videos or a.engine}, {what}: {line(results)}; {(time.time() - start) / len(results):.2f} s a video", flush=True)
        passed &= all(figures[k] >= v for k, v in GATES.items())
    if a.json:
        with open(a.json, "w") as f:
            json.dump(figures, f, indent=2)
    print("passed" if passed else "NOT passed")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
