"""Measures against the packages that define them: VBench's own code, and scikit-image."""

import importlib.util
import json
import subprocess
import sys
import types

import cv2
import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

FRAMES, HEIGHT, WIDTH = 6, 90, 122


@pytest.fixture(scope="session")
def cal_score():
    """vbench.temporal_flickering.cal_score, without what the module imports for other things."""
    package = types.ModuleType("vbench")
    package.__path__ = importlib.util.find_spec("vbench").submodule_search_locations
    names = {"vbench.utils": ["load_dimension_info"],
             "vbench.distributed": ["get_world_size", "get_rank", "all_gather", "barrier", "distribute_list_to_rank",
                                    "gather_list_of_dict"]}  # fmt: skip
    added = {"vbench": package}
    try:
        for name, members in names.items():
            added[name] = types.ModuleType(name)
            vars(added[name]).update(dict.fromkeys(members))
        sys.modules.update(added)
        from vbench.temporal_flickering import cal_score
    finally:
        for name in added:
            sys.modules.pop(name, None)
    return cal_score


@pytest.fixture(scope="session")
def videos():
    """A moving texture, and the same with noise: uint8 [F, H, W, 3]."""
    random = np.random.default_rng(4)
    texture = cv2.GaussianBlur(random.uniform(0, 255, (HEIGHT, WIDTH + 40, 3)), (0, 0), 2) * 2.5 - 190
    clean = np.stack([texture[:, 3 * t : 3 * t + WIDTH] for t in range(FRAMES)])
    noisy = clean + random.normal(0, 9, clean.shape)
    return [np.clip(np.round(video), 0, 255).astype(np.uint8) for video in (clean, noisy)]


@pytest.fixture
def files(videos, tmp_path):
    paths = [tmp_path / "clean.mkv", tmp_path / "noisy.mkv"]
    for path, video in zip(paths, videos):
        subprocess.run(["ffmpeg", "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{WIDTH}x{HEIGHT}", "-i", "-",
                        "-c:v", "ffv1", "-pix_fmt", "bgr0", path], input=video.tobytes(), check=True)  # fmt: skip
    return paths


@pytest.fixture
def evaluated(run, files, tmp_path):
    out = tmp_path / "measures.json"
    run("eav", "evaluate", *files, "--reference", files[0], "--json", out)
    return json.loads(out.read_text())["videos"]


def test_temporal_flickering_is_vbenchs(evaluated, files, cal_score):
    for ours, path in zip(evaluated, files):
        assert ours["measures"]["temporal_flickering"] == pytest.approx(cal_score(str(path)), abs=1e-6)


def grey(video):
    return video.astype(np.float64) @ [0.299, 0.587, 0.114]


def ssim(a, b):
    return structural_similarity(a, b, data_range=255, gaussian_weights=True, use_sample_covariance=False)


def test_fidelity_is_scikit_images(evaluated, videos):
    clean, noisy = videos
    assert evaluated[0]["reference"] == {"psnr": None, "ssim": pytest.approx(1)}
    psnr = peak_signal_noise_ratio(clean, noisy)
    assert evaluated[1]["reference"]["psnr"] == pytest.approx(psnr, abs=1e-4)
    expected = np.mean([ssim(a, b) for a, b in zip(grey(clean), grey(noisy))])
    assert evaluated[1]["reference"]["ssim"] == pytest.approx(expected, abs=1e-4)


def test_temporal_ssim_is_scikit_images(evaluated, videos):
    for ours, video in zip(evaluated, videos):
        luma = grey(video)
        expected = np.mean([ssim(a, b) for a, b in zip(luma, luma[1:])])
        assert ours["measures"]["temporal_ssim"] == pytest.approx(expected, abs=1e-4)


def test_single_frames_follow_their_definitions(evaluated, videos):
    for ours, video in zip(evaluated, videos):
        luma, measures = grey(video), ours["measures"]
        assert measures["contrast"] == pytest.approx(np.mean([f.std() / 255 for f in luma]), rel=1e-5)
        laplacian = [cv2.Laplacian(f, cv2.CV_64F).var() for f in luma]
        assert measures["laplacian_variance"] == pytest.approx(np.mean(laplacian), rel=1e-4)
        gradients = [cv2.Sobel(f, cv2.CV_64F, 1, 0) ** 2 + cv2.Sobel(f, cv2.CV_64F, 0, 1) ** 2 for f in luma]
        assert measures["tenengrad"] == pytest.approx(np.mean(gradients), rel=1e-4)
        r, g, b = np.moveaxis(video.astype(np.float64), 3, 0)
        rg, yb = r - g, (r + g) / 2 - b
        each = [np.hypot(p.std(), q.std()) + 0.3 * np.hypot(p.mean(), q.mean()) for p, q in zip(rg, yb)]
        assert measures["colourfulness"] == pytest.approx(np.mean(each), rel=1e-4)
