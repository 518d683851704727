"""Pictures and videos as they are read and resized, against Pillow and the ffmpeg program."""

import random
import subprocess

import numpy as np
import pytest
from PIL import Image, ImageOps
from safetensors.numpy import load_file


def noise(height, width, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def smooth(height, width):
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 255 // width, y * 255 // height, 128 + 0 * x], axis=2).astype(np.uint8)


@pytest.fixture
def read(run, tmp_path):
    def read(path, *arguments):
        run("eav_probe", "pictures", path, "--out", tmp_path / "frames.safetensors", *arguments)
        return load_file(tmp_path / "frames.safetensors")["frames"]

    return read


@pytest.mark.parametrize("name", ["lanczos", "bicubic"])
def test_resized_as_pillow_does(read, tmp_path, name):
    """To the bit, also where sums of weights overshoot, and whichever axis Pillow takes first."""
    draw = random.Random(1)
    sizes = [[draw.randint(1, 130) for _ in range(4)] for _ in range(12)]
    for height, width, new_height, new_width in [*sizes, (480, 640, 320, 512), (64, 96, 64, 96), (500, 40, 32, 33)]:
        picture = Image.fromarray(noise(height, width))
        picture.save(tmp_path / "a.png")
        ours = read(tmp_path / "a.png", "--height", new_height, "--width", new_width, "--filter", name)
        theirs = np.asarray(picture.resize((new_width, new_height), Image.Resampling[name.upper()]))
        np.testing.assert_array_equal(ours[0], theirs, f"{height}x{width} -> {new_height}x{new_width}")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1"])
def test_pictures_are_read_as_pillow_does(read, tmp_path, mode):
    picture = Image.fromarray(noise(37, 53, 4), "RGBA").convert(mode)
    picture.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read(tmp_path / "a.png")[0], np.asarray(picture.convert("RGB")))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_turned_upright(read, tmp_path, orientation):
    picture = Image.fromarray(smooth(48, 80))
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture.save(tmp_path / "a.jpg", quality=95, exif=exif, subsampling=0)
    theirs = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a.jpg")).convert("RGB"))
    ours = read(tmp_path / "a.jpg")[0]
    assert ours.shape == theirs.shape
    assert np.abs(ours.astype(int) - theirs).max() <= 3  # another JPEG decoder


@pytest.mark.parametrize("suffix", ["webp", "bmp", "gif", "tiff"])
def test_other_formats(read, tmp_path, suffix):
    picture = Image.fromarray(smooth(48, 80))
    picture.save(tmp_path / f"a.{suffix}", **({"lossless": True} if suffix == "webp" else {}))
    theirs = np.asarray(Image.open(tmp_path / f"a.{suffix}").convert("RGB"))
    assert np.abs(read(tmp_path / f"a.{suffix}")[0].astype(int) - theirs).max() <= 1


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_webp_is_read_as_pillow_does(read, tmp_path, mode):
    picture = Image.fromarray(noise(37, 53, 4), "RGBA").convert(mode)
    picture.save(tmp_path / "a.webp", quality=60)
    theirs = np.asarray(Image.open(tmp_path / "a.webp").convert("RGB"))
    np.testing.assert_array_equal(read(tmp_path / "a.webp")[0], theirs)


def test_videos_are_read_as_ffmpeg_does(read, tmp_path):
    def ffmpeg(*arguments):
        return subprocess.run(["ffmpeg", "-v", "error", "-y", *map(str, arguments)], check=True, capture_output=True)

    source = tmp_path / "a.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=96x64:rate=10:duration=1.7", "-pix_fmt", "yuv420p", source)
    exact = ffmpeg("-i", source, "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-sws_flags",
                   "accurate_rnd+full_chroma_int+bicubic", "-").stdout  # fmt: skip
    ours = read(source)
    np.testing.assert_array_equal(ours, np.frombuffer(exact, np.uint8).reshape(-1, 64, 96, 3))
    assert len(ours) == 17

    turned = tmp_path / "turned.mp4"  # as a telephone held upright marks it
    ffmpeg("-i", source, "-c", "copy", "-metadata:s:v", "rotate=90", turned)
    upright = read(turned)
    assert upright.shape == (17, 96, 64, 3)
    first = ffmpeg("-i", turned, "-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "rgb24", "-").stdout
    difference = np.abs(upright[0].astype(int) - np.frombuffer(first, np.uint8).reshape(96, 64, 3))
    assert np.median(difference) <= 2  # it turns before it converts, so colours at edges differ


@pytest.mark.parametrize("case", ["text", "empty", "folder", "missing", "cut"])
def test_what_cannot_be_read_is_named(run, tmp_path, case):
    path = tmp_path / "a.png"
    if case == "text":
        path.write_text("no picture")
    elif case == "empty":
        path.touch()
    elif case == "folder":
        path.mkdir()
    elif case == "cut":
        Image.fromarray(noise(64, 64)).save(path)
        path.write_bytes(path.read_bytes()[:3000])
    message = run("eav_probe", "pictures", path, "--out", tmp_path / "out", fails=True).decode()
    assert str(path) in message and len(message.strip().splitlines()) == 1, message
