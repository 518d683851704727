"""Trains the demo checkpoint from nothing and writes its pipeline folder, in one command:

    python models/demo/train/train.py --minutes 120 --work build/demo-train

The stages, with their share of the time: the video autoencoder (16 %), the text encoder (2 %), the clips' latents (about
4 minutes, whatever the rest takes), the transformer (the rest). Stop it with Ctrl-C or SIGTERM; the same command goes on
from there. Minutes are processor time over threads: with nothing else running, minutes by the clock.
"""
import argparse, os, time
import torch
import export, train_text, train_transformer, train_vae

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--minutes", type=float, default=120, help="for the whole training (default 120)")
parser.add_argument("--work", required=True, help="folder for checkpoints and latents")
parser.add_argument("--out", default=os.path.dirname(os.path.dirname(os.path.abspath(__file__))), help="the pipeline folder to write (default: the one this lies in)")
parser.add_argument("--clips", type=int, default=16, help="training clips of each combination (default 16, of 216 combinations)")
parser.add_argument("--threads", type=int, default=2)
for stage in ("vae", "text", "transformer"):
    parser.add_argument(f"--{stage}", type=float, metavar="MINUTES", help=f"for this stage alone")
a = parser.parse_args()
rest = max(a.minutes - 4, 1)
vae_minutes, text_minutes, transformer_minutes = a.vae or 0.16 * rest, a.text or 0.02 * rest, a.transformer or 0.82 * rest

os.makedirs(a.work, exist_ok=True)
with open(os.path.join(a.work, "pid"), "w") as f:
    f.write(str(os.getpid()))
torch.set_num_threads(a.threads)
torch.set_flush_denormal(True)
print(f"autoencoder {vae_minutes:.1f} minutes, text encoder {text_minutes:.1f}, latents about 4, transformer {transformer_minutes:.1f}", flush=True)

vae = train_vae.train(a.work, vae_minutes).eval()
tokenizer, text = train_text.train(a.work, text_minutes)
z, spec, scale = train_transformer.latents(a.work, vae, a.clips)
dit = train_transformer.train(a.work, transformer_minutes, z, spec, tokenizer, text)
export.export(a.out, os.path.join(a.work, "tokenizer"), tokenizer, text, vae, dit, scale)
