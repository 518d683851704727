"""Writes the pipeline folder as diffusers saves it, in float16, with eav.json, the program's defaults for it."""
import copy, json, os, shutil, tempfile
from diffusers import CogVideoXPipeline
from train_transformer import scheduler
from train_vae import FRAMES, SIZE

DEFAULTS = {"steps": 25, "guidance": 3.0, "width": SIZE, "height": SIZE, "frames": FRAMES, "fps": 8}


def export(target, vocabulary, tokenizer, text, vae, dit, scale):
    vae, text, dit = (copy.deepcopy(part).half() for part in (vae, text, dit))
    vae.register_to_config(scaling_factor=round(scale, 5))
    text.config.dtype = "float16"
    pipe = CogVideoXPipeline(tokenizer=tokenizer, text_encoder=text, vae=vae, transformer=dit, scheduler=scheduler())
    with tempfile.TemporaryDirectory() as folder:
        pipe.save_pretrained(folder)
        shutil.copy(os.path.join(vocabulary, "spiece.model"), os.path.join(folder, "tokenizer"))
        with open(os.path.join(folder, "eav.json"), "w") as f:
            json.dump(DEFAULTS, f, indent=2)
            f.write("\n")
        for root, _, names in os.walk(folder):
            for name in names:
                into = os.path.join(target, os.path.relpath(root, folder))
                os.makedirs(into, exist_ok=True)
                shutil.copyfile(os.path.join(root, name), os.path.join(into, name + ".new"))
                os.replace(os.path.join(into, name + ".new"), os.path.join(into, name))
    size = sum(os.path.getsize(os.path.join(r, n)) for r, _, ns in os.walk(target) for n in ns)
    print(f"wrote {target}, {size / 1e6:.1f} MB", flush=True)
