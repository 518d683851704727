"""Checkpoints as downloads leave them: what is unambiguous opens, the rest is told in one line."""

import json
import shutil

import numpy
import pytest
from conftest import PROMPT, SMALL, error_line
from safetensors.numpy import load_file, save_file

STEM = "diffusion_pytorch_model"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 134217728\n"


def shard(folder, variant=""):
    """The part's file as two shards and their index, in the names that diffusers gives them."""
    file = folder / f"{STEM}.safetensors"
    tensors = load_file(file)
    names, weight_map = sorted(tensors), {}
    for number, part in enumerate((names[::2], names[1::2]), 1):
        name = f"{STEM}{variant}-0000{number}-of-00002.safetensors"
        save_file({key: tensors[key] for key in part}, folder / name)
        weight_map.update(dict.fromkeys(part, name))
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / f"{STEM}.safetensors.index{variant}.json").write_text(json.dumps(index))
    file.unlink()


@pytest.fixture
def transformer(checkpoint):
    return checkpoint / "transformer"


@pytest.fixture
def made_as_before(eav, out, tiny):
    """Asserts that a folder opens, and makes the same latents as the plain checkpoint."""

    def latents(model, name):
        result = eav("generate", PROMPT, "--model", model, "--seed", "1", *SMALL, "--latents-only", "--save-latents", name)
        assert result.returncode == 0 and "eav: " not in result.stderr, result.stderr
        return (out / name).read_bytes()

    def check(model):
        assert latents(model, "a.safetensors") == latents(tiny, "b.safetensors")

    return check


def test_a_missing_shard(refused, checkpoint, transformer):
    shard(transformer)
    (transformer / f"{STEM}-00002-of-00002.safetensors").unlink()
    line = refused(model=checkpoint)
    assert f"transformer/{STEM}-00002-of-00002.safetensors: is missing, as 1 of the 2 files" in line
    assert "the download is not complete" in line


def test_a_missing_index(refused, checkpoint, transformer):
    shard(transformer)
    (transformer / f"{STEM}.safetensors.index.json").unlink()
    assert f"shards such as '{STEM}-00001-of-00002.safetensors' without their index" in refused(model=checkpoint)


@pytest.mark.parametrize("sharded", [False, True])
def test_the_only_variant_opens(made_as_before, checkpoint, transformer, sharded):
    if sharded:
        shard(transformer, ".fp16")
    else:
        (transformer / f"{STEM}.safetensors").rename(transformer / f"{STEM}.fp16.safetensors")
    text = checkpoint / "text_encoder"
    (text / "model.safetensors").rename(text / "model.fp16.safetensors")
    made_as_before(checkpoint)


def test_the_plain_file_goes_before_variants(made_as_before, checkpoint, transformer):
    (transformer / f"{STEM}.fp16.safetensors").write_bytes(b"broken")
    (transformer / f"{STEM}.safetensors.index.bf16.json").write_text("broken")
    made_as_before(checkpoint)


def test_several_variants(refused, checkpoint, transformer):
    shutil.copy(transformer / f"{STEM}.safetensors", transformer / f"{STEM}.bf16.safetensors")
    shard(transformer, ".fp16")
    line = refused(model=checkpoint)
    assert f"{STEM}.bf16.safetensors, {STEM}.safetensors.index.fp16.json; leave one" in line


@pytest.fixture
def cached(tiny, tmp_path):
    """A checkpoint in a cache of the hub: of snapshots of links to blobs."""
    root = tmp_path / "cache" / "hub" / "models--somebody--tiny"
    shutil.copytree(tiny, root / "blobs")
    for revision in ("aaa", "bbb"):
        for file in (root / "blobs").rglob("*.*"):
            link = root / "snapshots" / revision / file.relative_to(root / "blobs")
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text("bbb")
    return root


def test_the_cache_of_the_hub(made_as_before, refused, eav, out, cached):
    made_as_before(cached)
    record = json.loads((out / "a.json").read_text())
    assert record["model"] == str(cached / "snapshots" / "bbb")
    (cached / "refs" / "main").write_text("ccc")
    line = refused(model=cached)
    assert "names none of its snapshots: give one of them" in line and "aaa, bbb" in line
    shutil.rmtree(cached / "snapshots" / "bbb")
    result = eav("inspect", cached)
    assert result.returncode == 0 and str(cached / "snapshots" / "aaa") in result.stdout
    (cached / "refs" / "main").write_text("../../../hub")
    assert "aaa" in eav("inspect", cached).stdout
    assert eav("inspect", cached, cwd=cached).returncode == 0
    shutil.rmtree(cached / "snapshots" / "aaa")
    assert "holds no snapshot yet" in refused(model=cached)


def test_folders_around_a_checkpoint(refused, checkpoint, cached):
    assert f"give one of the folders in {cached.parent}: models--somebody--tiny" in refused(model=cached.parent)
    assert f"give one of the folders in {cached.parent}: models--somebody--tiny" in refused(model=cached.parents[1])
    assert f"it is a part of one, which is {checkpoint}" in refused(model=checkpoint / "transformer")
    assert "give one of the files in it: a.safetensors, b.safetensors" in refused(model=folder_with(cached, "a", "b"))


def folder_with(beside, *names):
    folder = beside.parents[1] / "files"
    folder.mkdir()
    for name in names:
        (folder / f"{name}.safetensors").touch()
    return folder


@pytest.mark.parametrize("suffix", [".bin", ".ckpt", ".pt"])
def test_pickled_files(refused, checkpoint, transformer, tmp_path, suffix):
    (transformer / f"{STEM}.safetensors").rename(transformer / f"{STEM}{suffix}")
    line = refused(model=checkpoint)
    assert f"'{STEM}{suffix}'" in line and "convert it to safetensors with: python -c" in line
    assert f"from diffusers import CogVideoXTransformer3DModel; CogVideoXTransformer3DModel.from_pretrained('{transformer}'" in line
    single = tmp_path / f"model{suffix}"
    single.write_bytes(b"x")
    assert "convert it to safetensors with: python -c" in refused(model=single)


def test_a_name_of_a_class_is_no_command(refused, checkpoint, transformer):
    config = json.loads((transformer / "config.json").read_text())
    config["_class_name"] = "X; import os; os.system('x')"
    (transformer / "config.json").write_text(json.dumps(config))
    (transformer / f"{STEM}.safetensors").rename(transformer / f"{STEM}.bin")
    line = refused(model=checkpoint)
    assert "from diffusers import AutoModel;" in line and "os.system" not in line


def test_downloads_that_did_not_finish(refused, checkpoint, transformer, tmp_path):
    file = transformer / f"{STEM}.safetensors"
    file.rename(transformer / f"{STEM}.safetensors.incomplete")
    assert f"'{STEM}.safetensors.incomplete', a download that did not finish" in refused(model=checkpoint)
    assert "a download that did not finish" in refused(model=transformer / f"{STEM}.safetensors.incomplete")


@pytest.mark.parametrize("file", [f"transformer/{STEM}.safetensors", "vae/config.json", "tokenizer/spiece.model"])
def test_pointers_of_git_lfs(refused, checkpoint, file):
    (checkpoint / file).write_bytes(POINTER)
    line = refused(model=checkpoint)
    assert f"{checkpoint / file}: is a git-lfs pointer, not the file itself: fetch it with 'git lfs pull'" in line


def test_tensors_that_nobody_knows(eav, refused, out, checkpoint, transformer):
    file = transformer / f"{STEM}.safetensors"
    tensors = load_file(file)
    strange = {f"strange.{i}": numpy.zeros(3, numpy.float32) for i in range(4)}
    save_file({**tensors, **strange, "lora": numpy.zeros(3, numpy.int64)}, file)
    result = eav("generate", PROMPT, "--model", checkpoint, "--seed", "1", *SMALL, "--out", "a.mp4")
    assert result.returncode == 0
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("eav: ")]
    assert line == (f"eav: warning: {file}: 5 tensors are no part of this model, and left out: "
                    "lora, strange.0, strange.1, …")  # fmt: skip
    for name in out.iterdir():
        name.unlink()
    save_file({**tensors, "transformer_blocks.7.strange": numpy.zeros(3, numpy.float32)}, file)
    line = refused(model=checkpoint)
    assert '"transformer_blocks.7.strange" of shape [3] belongs to no layer' in line
