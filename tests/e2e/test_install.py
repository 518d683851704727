"""What `cmake --install` gives: a program that runs, and a library that a program outside the tree is built with."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT
from safetensors.numpy import load_file

BUILD = Path(os.environ.get("EAV_BUILD", ROOT / "build"))
PROMPT = "a red circle moving right"


def run(*command, **options):
    options = {"capture_output": True, "text": True, "timeout": 300, **options}
    result = subprocess.run(list(map(str, command)), stdin=subprocess.DEVNULL, **options)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    """What `cmake --install` puts where it is told to."""
    folder = tmp_path_factory.mktemp("installed")
    run("cmake", "--install", BUILD, "--prefix", folder)
    return folder


@pytest.fixture(scope="module")
def library(prefix):
    (found,) = prefix.glob("lib*/**/libeav.so")
    return found


def page_block(language):
    """The only block in that language on the page about the library."""
    (block,) = re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / "docs/library.md").read_text(), re.M | re.S)
    return block


def test_all_is_there(prefix):
    assert {p.relative_to(prefix / "include").as_posix() for p in (prefix / "include").rglob("*.h")} == {
        p.relative_to(ROOT / "include").as_posix() for p in (ROOT / "include").rglob("*.h")
    }
    demo = prefix / "share/eav/models/demo"
    assert (demo / "model_index.json").exists() and not (demo / "train").exists()
    assert (prefix / "share/doc/eav/LICENSE").exists() and (prefix / "share/doc/eav/echarts/LICENSE").exists()
    # Headers show no types of other libraries but PyTorch's tensor.
    included = {name for p in (prefix / "include").rglob("*.h") for name in re.findall(r'#include [<"](.*)[>"]', p.read_text())}
    assert {name for name in included if "/" in name and not name.startswith("eav/")} == {"ATen/core/Tensor.h"}


def test_only_the_api_is_visible(library):
    names = {}
    for line in run("nm", "--dynamic", "--defined-only", "--demangle", library).splitlines():
        name = re.sub(r"^((non-virtual thunk to|(typeinfo|typeinfo name|vtable) for) )", "", line.split(" ", 2)[2])
        names[re.sub(r"\[abi:\w+\]", "", name)] = line
    shown = {name for name in names if not name.startswith("eav::")}
    assert not shown, sorted(shown)[:20]
    # Whatever is visible is declared by a header, by its name.
    headers = "\n".join(p.read_text() for p in (ROOT / "include").rglob("*.h"))
    words = {re.sub(r"\(.*", "", name).rsplit("::", 1)[-1].lstrip("~") for name in names}
    assert len(words) > 50
    undeclared = {word for word in words if not word.startswith("operator") and not re.search(rf"\b{re.escape(word)}\b", headers)}
    assert not undeclared


def test_the_program_of_the_page_makes_what_the_command_makes(prefix, tmp_path):
    source, build = tmp_path / "source", tmp_path / "build"
    source.mkdir()
    (source / "clip.cpp").write_text(page_block("cpp"))
    (source / "CMakeLists.txt").write_text(page_block("cmake"))
    # A library that was built with a sanitizer asks for a program that was, too.
    sanitizers = re.search(r"^EAV_SANITIZE:\w+=(.*)$", (BUILD / "CMakeCache.txt").read_text(), re.M)[1]
    flags = f"-fsanitize={sanitizers}" if sanitizers else ""
    run("cmake", "-S", source, "-B", build, f"-DCMAKE_PREFIX_PATH={prefix}", f"-DCMAKE_CXX_FLAGS={flags}")
    run("cmake", "--build", build)
    demo = (prefix / "share/eav/models/demo").resolve()
    (tmp_path / "ours").mkdir(), (tmp_path / "command").mkdir()
    run(build / "clip", demo, PROMPT, cwd=tmp_path / "ours")

    page = (ROOT / "docs/library.md").read_text()
    assert f'build/clip ~/eav/share/eav/models/demo "{PROMPT}"' in page
    (options,) = re.findall(rf'^`eav generate "{PROMPT}" (.*?)`', page, re.M)
    # Without --model it finds the demo beside itself.
    run(prefix / "bin/eav", "generate", PROMPT, *options.split(), "--out", "clip.mp4", "--save-latents", "clip.safetensors",
        cwd=tmp_path / "command")  # fmt: skip
    ours, theirs = (load_file(tmp_path / who / "clip.safetensors")["latents"] for who in ("ours", "command"))
    assert ours.shape == theirs.shape and (ours == theirs).all() and ours.std() > 0.1
    assert (tmp_path / "ours/clip.mp4").read_bytes() == (tmp_path / "command/clip.mp4").read_bytes()


def test_a_program_needs_pytorch_alone(prefix):
    # The package names no library but PyTorch's.
    package = next(prefix.glob("lib*/**/cmake/eav"))
    linked = re.findall(r'INTERFACE_LINK_LIBRARIES "(.*)"', (package / "eavTargets.cmake").read_text())
    assert linked == ["Torch"]
