"""`eav pull` and --model ORG/NAME, against a server that plays the hub, and Python's huggingface_hub beside them."""

import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from conftest import PROGRAM, PROMPT, SMALL, error_line
from faults import can_mount
from hub import COMMIT, Hub, etag_of, serving

NAME = "some/model"
BIG = bytes(range(256)) * 12_000  # 3 MB


@pytest.fixture
def home(tmp_path):
    return tmp_path / "huggingface"


@pytest.fixture
def cached(home):
    return home / "hub" / "models--some--model"


@pytest.fixture
def environment(home):
    """That of a user with a cache of their own."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("HF_") and not k.lower().endswith("_proxy")}
    return kept | {"HF_HOME": str(home)}


@pytest.fixture
def hub():
    with serving(Hub()) as server:
        yield server


@pytest.fixture
def pull(eav, environment, hub):
    """Runs `eav pull`; with code other than 0 it must fail with one line, which is returned."""

    def run(name=NAME, *arguments, code=0, **variables):
        result = eav("pull", name, *arguments, env=environment | {"HF_ENDPOINT": hub.url} | variables)
        assert result.returncode == code, result.stderr
        return error_line(result) if code else result

    return run


def tree(folder):
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir()}


def snapshot(cached, commit=COMMIT):
    return cached / "snapshots" / commit


def contents(cached, commit=COMMIT):
    folder = snapshot(cached, commit)
    return {name: (folder / name).read_bytes() for name in tree(folder)}


def fake(*names, size=5000):
    """Files of random bytes, other ones for each name."""
    return {name: (name.encode() * size)[:size] for name in names}


FOLDER = ["model_index.json", "scheduler/scheduler_config.json", "tokenizer/spiece.model", "tokenizer/tokenizer_config.json",
          "transformer/config.json", "vae/config.json"]  # fmt: skip
VAE = "vae/diffusion_pytorch_model.safetensors"


# ---- what is fetched, and where it lies


def test_a_model_is_fetched_and_opened_by_its_name(pull, hub, tiny, eav, environment, cached, out):
    hub.files = Hub.of_folder(tiny).files
    read = set(hub.files)
    hub.files |= fake("README.md", ".gitattributes", "assets/cat.png", "vae/diffusion_pytorch_model.bin",
                      "vae/diffusion_pytorch_model.fp16.safetensors", "text_encoder/generation_config.json",
                      "single-file.safetensors")  # fmt: skip
    hub.token = "hf_secret"
    result = pull(HF_TOKEN=hub.token)
    assert result.stdout == f"{snapshot(cached)}\n"
    assert f"{NAME}: {len(read)} files, " in result.stderr

    assert contents(cached) == {name: hub.files[name] for name in read}
    assert (cached / "refs/main").read_text() == COMMIT
    for name in read:
        link = snapshot(cached) / name
        assert os.readlink(link) == "../" * (2 + name.count("/")) + "blobs/" + etag_of(name, hub.files[name])
    assert {p.name for p in (cached / "blobs").iterdir()} == {etag_of(name, hub.files[name]) for name in read}

    # The token goes to the hub alone, and nothing is asked for that is not read.
    assert {token for who, _, token, _ in hub.requests if who == "cdn"} == {None}
    assert {token for who, _, token, _ in hub.requests if who == "hub"} == {f"Bearer {hub.token}"}
    assert {path.split(COMMIT + "/")[1] for who, path, *_ in hub.requests if COMMIT in path} == read

    hub.requests.clear()
    assert "0 bytes fetched" in pull(HF_TOKEN=hub.token).stderr
    assert len(hub.requests) == 1

    def latents(model, name):
        made = eav("generate", PROMPT, "--model", model, "--seed", "1", *SMALL, "--latents-only", "--save-latents", name,
                   env=environment)  # fmt: skip
        assert made.returncode == 0, made.stderr
        return (out / name).read_bytes()

    assert latents(NAME, "a.safetensors") == latents(tiny, "b.safetensors")
    assert json.loads((out / "a.json").read_text())["model"] == str(snapshot(cached))
    # A part of it by its name, and a folder here before a name there.
    assert f"{snapshot(cached)}/vae: is no checkpoint" in error_line(eav("inspect", f"{NAME}:vae", env=environment))
    (out / "some").mkdir()
    (out / NAME).symlink_to(tiny)
    inspected = eav("inspect", NAME, env=environment)
    assert inspected.returncode == 0 and f", {NAME}\n" in inspected.stdout


def test_a_repository_of_wans_own(pull, hub, cached):
    expert = ["high_noise_model/config.json", "high_noise_model/diffusion_pytorch_model.safetensors"]
    hub.files = fake("Wan2.1_VAE.pth", "configuration.json", "google/umt5-xxl/spiece.model", *expert)
    pull()
    assert tree(snapshot(cached)) == {"google/umt5-xxl/spiece.model", *expert}
    hub.files, hub.commit = fake("config.json", "diffusion_pytorch_model.safetensors", "Wan2.1_VAE.pth"), "d" * 40
    pull()
    assert tree(snapshot(cached, hub.commit)) == {"config.json", "diffusion_pytorch_model.safetensors"}


def test_pickled_objects_are_named_and_left(pull, hub, cached):
    hub.files = fake(*FOLDER, VAE, "text_encoder/config.json", "text_encoder/pytorch_model.bin")
    result = pull()
    warning = "eav: warning: left out, as they hold pickled objects, which are never read: text_encoder/pytorch_model.bin"
    assert warning in result.stderr
    assert tree(snapshot(cached)) == {*FOLDER, VAE, "text_encoder/config.json"}
    assert "never read" in pull(f"{NAME}:text_encoder/pytorch_model.bin", code=1)
    hub.files = fake("config.json", "pytorch_model.bin")
    assert "pytorch_model.bin holds pickled objects" in pull(code=1)


def test_a_repository_of_single_files(pull, hub, cached, eav, environment):
    hub.files = fake("split_files/vae/a.safetensors", "b-Q4_K_M.gguf", "README.md")
    result = eav("pull", NAME, env=environment | {"HF_ENDPOINT": hub.url})
    assert result.returncode == 1 and not cached.exists()
    assert result.stdout.splitlines() == [f"     5 kB  {NAME}:b-Q4_K_M.gguf", f"     5 kB  {NAME}:split_files/vae/a.safetensors"]
    assert error_line(result) == f"{NAME} holds several files: name one, as in `eav pull {NAME}:b-Q4_K_M.gguf`"

    assert pull(f"{NAME}:split_files/vae/a.safetensors").stdout == f"{snapshot(cached)}/split_files/vae/a.safetensors\n"
    assert tree(snapshot(cached)) == {"split_files/vae/a.safetensors"}
    # The only one that is here is meant by the repository's name, until there are more.
    for name in (NAME, f"{NAME}:split_files/vae/a.safetensors"):
        assert f"{snapshot(cached)}/split_files/vae/a.safetensors" in error_line(eav("inspect", name, env=environment))
    missing = eav("inspect", f"{NAME}:b-Q4_K_M.gguf", env=environment)
    assert f"`eav pull {NAME}:b-Q4_K_M.gguf` fetches it" in error_line(missing)
    pull(f"{NAME}:b-Q4_K_M.gguf")
    assert "give one of them, as in some/model:b-Q4_K_M.gguf" in error_line(eav("inspect", NAME, env=environment))
    assert f"{NAME} has no file and no folder 'c.gguf'" in pull(f"{NAME}:c.gguf", code=1)


def test_a_folder_of_a_repository_and_a_lora(pull, hub, cached, eav, environment, tiny):
    hub.files = fake(*FOLDER, VAE, "loras/adapter_model.safetensors", "loras/adapter_config.json")
    pull(f"{NAME}:tokenizer")
    assert tree(snapshot(cached)) == {"tokenizer/spiece.model", "tokenizer/tokenizer_config.json"}
    lora = eav("generate", "x", "--model", tiny, "--lora", f"{NAME}:loras/adapter_model.safetensors:0.5", env=environment)
    assert f"`eav pull {NAME}:loras/adapter_model.safetensors` fetches it" in error_line(lora)
    pull(f"{NAME}:loras/adapter_model.safetensors")
    assert {"loras/adapter_config.json", "loras/adapter_model.safetensors"} < tree(snapshot(cached))


def test_another_revision(pull, hub, cached):
    hub.files = fake("a.gguf")
    pull(NAME, "--revision", "refs/pr/1")
    assert (cached / "refs/refs/pr/1").read_text() == COMMIT and not (cached / "refs/main").exists()
    pull(NAME, "--revision", COMMIT)
    assert tree(cached / "refs") == {"refs/pr/1"}
    assert f"{NAME} has no revision 'nightly'" in pull(NAME, "--revision", "nightly", code=1)
    assert "is no revision" in pull(NAME, "--revision", "../../x", code=1)


def test_where_the_cache_is(pull, hub, tmp_path, environment):
    hub.files = fake("a.gguf")
    for variables in ({"HF_HUB_CACHE": str(tmp_path / "a")}, {"HF_HOME": str(tmp_path / "b")},
                      {"HF_HOME": "", "XDG_CACHE_HOME": str(tmp_path / "c")},
                      {"HF_HOME": "", "XDG_CACHE_HOME": "", "HOME": str(tmp_path / "d")},
                      {"HF_HOME": "~/e", "HOME": str(tmp_path)}):  # fmt: skip
        pull(**variables)
    for cache in ("a", "b/hub", "c/huggingface/hub", "d/.cache/huggingface/hub", "e/hub"):
        assert (tmp_path / cache / "models--some--model/refs/main").exists()


def test_a_token_of_a_file(pull, hub, home):
    hub.files, hub.token = fake("a.gguf"), "hf_other"
    home.mkdir()
    (home / "token").write_text("hf_other\n")
    pull()


# ---- what generate says


def test_generate_names_the_command_and_fetches_nothing(eav, environment, hub, out):
    for command in (["generate", "x", "--model", "an-org/a-model"], ["inspect", "an-org/a-model"]):
        line = error_line(eav(*command, env=environment | {"HF_ENDPOINT": hub.url}))
        assert line.startswith("an-org/a-model: there is no such file or folder, and the hub's cache ")
        assert line.endswith("`eav pull an-org/a-model` fetches it from the hub")
    assert "neither a folder nor" in error_line(eav("generate", "x", "--model", "models/wan.safetensors", env=environment))
    assert not hub.requests and not list(out.iterdir())


def test_a_model_that_is_there_in_part(pull, hub, cached, eav, environment):
    hub.files = fake(*FOLDER, VAE)
    hub.status = [0] * len(FOLDER) + [403] * 3  # the listing, what comes first, and then no more
    assert pull(code=1)
    assert 0 < len(tree(snapshot(cached))) < len(hub.files) and not (cached / "refs").exists()
    line = error_line(eav("generate", "x", "--model", NAME, env=environment))
    assert "its download did not finish" in line and f"`eav pull {NAME}` goes on with it" in line
    hub.status = []
    pull()
    assert "did not finish" not in error_line(eav("generate", "x", "--model", NAME, env=environment))


def test_offline(pull, hub):
    assert pull(code=1, HF_HUB_OFFLINE="1") == f"{NAME}: nothing is fetched, as HF_HUB_OFFLINE is set"
    assert not hub.requests


def test_what_is_no_name(pull, hub):
    for name in ("model", "some/model:../x"):
        assert "is no name of a repository" in pull(name, code=1)
    assert not hub.requests


# ---- what goes wrong on the way


def test_dropped_connections_go_on(pull, hub, cached):
    hub.files, hub.drop_after = {"a.safetensors": BIG}, [100_000, 2_000_000, 0]
    pull()
    assert contents(cached) == hub.files
    assert hub.requests[0][0] == "hub" and [s for who, *_, s in hub.requests if who == "cdn"] == [
        None, "bytes=100000-", "bytes=2100000-", "bytes=2100000-"]  # fmt: skip


def test_bodies_of_unknown_length(pull, hub, cached):
    hub.files, hub.cut_after = {"a.safetensors": BIG}, [2_000_000, len(BIG)]
    pull()
    assert contents(cached) == hub.files and hub.asked_for("cdn/a.safetensors") == [None, "bytes=2000000-"]
    hub.files, hub.commit = {"b.safetensors": BIG[::-1]}, "b" * 40
    hub.sent, hub.cut_after = {"b.safetensors": BIG[::-1] + b"more"}, [len(BIG) + 4]
    assert f"b.safetensors: the hub sends more than the {len(BIG)} bytes that it lists: nothing of it is kept" in pull(code=1)
    assert not tree(snapshot(cached, hub.commit)) and sum(p.stat().st_size for p in (cached / "blobs").iterdir()) == len(BIG)


def test_a_server_without_ranges_begins_anew(pull, hub, cached):
    hub.files, hub.drop_after, hub.ignores_range = {"a.safetensors": BIG}, [100_000], True
    pull()
    assert contents(cached) == hub.files and hub.asked_for("cdn/a.safetensors") == [None, "bytes=100000-"]


def test_a_server_that_is_busy_is_asked_again(pull, hub, cached):
    hub.files, hub.status = fake("a.gguf"), [429, 503, 0, 500, 0, 502]
    pull()
    assert contents(cached) == hub.files


def test_a_server_that_stays_down(pull, hub):
    hub.files, hub.status = fake("a.gguf"), [500] * 20
    line = pull(code=1)
    assert f"{hub.url}: the server answers 500, 6 times one after the other" in line
    assert len(hub.requests) == 6


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_pull_that_is_stopped_goes_on(pull, hub, cached, environment, number, code):
    hub.files, hub.pause = {"a.safetensors": BIG}, threading.Event()
    part = cached / "blobs" / (etag_of("a.safetensors", BIG) + ".incomplete")
    process = start(environment, hub)
    wait_for(lambda: part.exists() and part.stat().st_size == len(BIG) // 2)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == code
    if number == signal.SIGINT:
        assert stderr.splitlines()[-1] == f"eav: stopped; `eav pull {NAME}` goes on"
    assert part.stat().st_size == len(BIG) // 2 and not (cached / "refs").exists()
    hub.pause.set()
    assert "1 file, 3.1 MB, 1.5 MB fetched" in pull().stderr
    assert hub.asked_for("cdn/a.safetensors") == [None, f"bytes={len(BIG) // 2}-"]
    assert contents(cached) == hub.files and not part.exists()


def start(environment, hub):
    return subprocess.Popen([PROGRAM, "pull", NAME], env=environment | {"HF_ENDPOINT": hub.url}, text=True,
                            stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
                            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))  # fmt: skip


def wait_for(is_so):
    for _ in range(500):
        if is_so():
            return
        time.sleep(0.02)
    raise AssertionError("it did not happen within 10 s")


def test_two_pulls_at_once_fetch_each_file_once(hub, cached, environment):
    hub.files, hub.pause = {"a.safetensors": BIG}, threading.Event()
    first = start(environment, hub)
    wait_for(lambda: hub.asked_for("cdn/a.safetensors"))
    second = start(environment, hub)
    assert "another program fetches the same file" in "".join(second.stderr.readline() for _ in range(2))
    hub.pause.set()
    for process in (first, second):
        process.communicate(timeout=20)
        assert process.returncode == 0
    assert hub.asked_for("cdn/a.safetensors") == [None] and contents(cached) == hub.files


def test_a_blob_that_was_cut_is_fetched_again(pull, hub, cached):
    hub.files = {"a.safetensors": BIG}
    pull()
    os.truncate(cached / "blobs" / etag_of("a.safetensors", BIG), 10)
    pull()
    assert contents(cached) == hub.files


def test_a_page_in_the_place_of_a_file_costs_nothing_of_its_part(pull, hub, cached):
    hub.files, hub.sent, hub.ignores_range = {"a.safetensors": BIG}, {"a.safetensors": b"<html>log in</html>"}, True
    part = cached / "blobs" / (etag_of("a.safetensors", BIG) + ".incomplete")
    part.parent.mkdir(parents=True)
    part.write_bytes(BIG[:1_000_000])
    assert f"its size as 19, and the hub lists {len(BIG)}" in pull(code=1)
    hub.sent, hub.ignores_range = {}, False
    pull()
    assert contents(cached) == hub.files and hub.asked_for("cdn/a.safetensors")[-1] == "bytes=1000000-"


def test_a_part_with_other_bytes_is_told_and_dropped(pull, hub, cached):
    hub.files = {"a.safetensors": BIG}
    part = cached / "blobs" / (etag_of("a.safetensors", BIG) + ".incomplete")
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * 1000)
    line = pull(code=1)
    assert "a.safetensors: what came is not what the hub lists, by its checksum" in line and not part.exists()
    pull()
    assert contents(cached) == hub.files


# ---- servers that lie


def nothing_of(cached):
    """No file is in a snapshot, none is half there, none lies outside of the cache."""
    left = [p for p in cached.parents[1].rglob("*") if p.is_file() and cached not in p.parents and ".locks" not in p.parts]
    return not left and not tree(snapshot(cached)) and not (cached / "refs").exists()


@pytest.mark.parametrize("name", ["a.safetensors", "config.json"])
def test_bytes_that_differ(pull, hub, cached, name):
    hub.files = fake("config.json", "model.safetensors", "a.safetensors")
    hub.files[name] = b"what the hub lists"
    hub.sent[name] = b"what the hub sends"
    assert f"{name}: what came is not what the hub lists, by its checksum" in pull(f"{NAME}:{name}", code=1)
    assert nothing_of(cached) and not list((cached / "blobs").iterdir())


@pytest.mark.parametrize("sent, word", [
    (BIG + b"more", f"as {len(BIG) + 4}, and the hub lists {len(BIG)}"),
    (BIG[:-1], f"as {len(BIG) - 1}, and the hub lists {len(BIG)}"),
])  # fmt: skip
def test_sizes_that_differ(pull, hub, cached, sent, word):
    hub.files, hub.sent = {"a.safetensors": BIG}, {"a.safetensors": sent}
    assert word in pull(code=1)
    assert nothing_of(cached)


@pytest.mark.parametrize("listed", [{"size": 10**9}, {"lfs": {"sha256": "0" * 64, "size": 2999, "pointerSize": 130}}])
def test_a_listing_that_lies(pull, hub, cached, listed):
    hub.files, hub.listed = fake("config.json", "model.safetensors"), {"config.json": listed, "model.safetensors": listed}
    pull(code=1)
    assert nothing_of(cached)


@pytest.mark.parametrize("headers", [{"X-Linked-Size": "17"}, {"X-Linked-Etag": f'"{"0" * 64}"'}, {"X-Repo-Commit": "1" * 40}])
def test_headers_that_differ(pull, hub, cached, headers):
    hub.files, hub.headers = fake("a.safetensors"), headers
    assert "and the hub lists" in pull(code=1)
    assert nothing_of(cached)


def test_names_that_no_honest_server_has(pull, hub, home):
    hub.files = fake("a.gguf", "b.gguf")
    for name in ("../x.gguf", "/tmp/x.gguf", "a\nb.gguf"):
        hub.listed = {"b.gguf": {"rfilename": name}}
        assert "lists a file by the name" in pull(f"{NAME}:a.gguf", code=1)
    assert not home.exists()


def test_listings_that_are_none(pull, hub, home):
    for hub.listing in (b"<html>", b"[" * 100_000, b'{"sha": "../../x", "siblings": []}'):
        pull(code=1)
    assert not home.exists()


def test_a_repository_that_was_renamed(pull, hub, home):
    hub.files, hub.token, hub.renamed = fake("config.json", "model.safetensors"), "hf_secret", "old/name"
    pull("old/name", HF_TOKEN=hub.token)
    assert contents(home / "hub/models--old--name") == hub.files
    assert {token for who, _, token, _ in hub.requests if who == "cdn"} == {None}
    hub.files, hub.headers, hub.commit = fake("a.gguf"), {"X-Linked-Size": "17"}, "a" * 40
    assert "gives its size as 17" in pull("old/name", code=1, HF_TOKEN=hub.token)


def test_redirects_that_lead_elsewhere(pull, hub, cached, tmp_path):
    hub.files = fake("a.safetensors")
    secret = tmp_path / "secret"
    secret.write_bytes(hub.files["a.safetensors"])
    for location in (f"file://{secret}", f"ftp://127.0.0.1/{secret}"):
        hub.location = location
        assert f"cannot get {location}" in pull(code=1)
    hub.location = f"{hub.url}/{NAME}/resolve/{COMMIT}/a.safetensors"
    assert "leads from one address to the next, and nowhere" in pull(code=1)
    assert nothing_of(cached)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl to make a certificate with")
def test_a_certificate_that_nobody_vouches_for(pull, hub, home, tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ed25519", "-nodes", "-keyout", key, "-out", certificate, "-subj",
                    "/CN=localhost"], check=True, capture_output=True)  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.handle_request, daemon=True).start()
    line = pull(code=1, HF_ENDPOINT=f"https://localhost:{server.server_port}", HF_TOKEN="hf_secret")
    assert line.startswith("cannot get https://localhost:") and "certificate" in line
    server.server_close()
    assert not home.exists()


# ---- what may not be fetched


def test_what_the_hub_refuses(pull, hub, environment):
    assert "the hub has no repository no/such" in pull("no/such", code=1)
    hub.files, hub.token = fake("a.gguf"), "hf_secret"
    assert f"no repository {NAME}, or not for everybody" in pull(code=1)
    assert "the hub does not know the token of HF_TOKEN" in pull(code=1, HF_TOKEN="hf_wrong")
    assert "HF_TOKEN holds characters that no token has" in pull(code=1, HF_TOKEN="a\tb")
    hub.gated = True
    line = pull(code=1)
    assert line.startswith(f"{NAME} is gated: accept its terms at {hub.url}/{NAME} and set HF_TOKEN")
    assert "expected a URL that begins with https://" in pull(code=1, HF_ENDPOINT="file:///etc")


# ---- disks


def test_a_disk_without_room(pull, hub, home, tmp_path):
    hub.files, hub.listed = fake("a.gguf"), {"a.gguf": {"lfs": {"sha256": "0" * 64, "size": 10**14, "pointerSize": 130}}}
    line = pull(code=1)
    assert line.startswith("100000.0 GB are needed, and the disk of ") and "HF_HUB_CACHE" in line
    assert not list((home / "hub").iterdir())


def test_a_cache_that_takes_no_files(pull, hub, tmp_path):
    hub.files = fake("a.gguf")
    (tmp_path / "file").write_text("")
    assert f"cannot write '{tmp_path}/file" in pull(code=1, HF_HUB_CACHE=str(tmp_path / "file/hub"))


@pytest.mark.skipif(not can_mount(), reason="no file system can be mounted here")
def test_a_disk_that_fills(hub, home, environment):
    """A pull on a small file system of its own, which somebody else fills meanwhile."""
    hub.files, hub.pause = {"a.safetensors": BIG}, threading.Event()
    home.mkdir()
    script = 'mount -t tmpfs -o size=8m none "$HF_HOME" && exec "$0" pull "$1"'
    process = subprocess.Popen(["unshare", "-m", "sh", "-c", script, PROGRAM, NAME], env=environment | {"HF_ENDPOINT": hub.url},
                               stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)  # fmt: skip
    inside = Path(f"/proc/{process.pid}/root{home}")
    wait_for(lambda: any(p.stat().st_size == len(BIG) // 2 for p in inside.rglob("*.incomplete")))
    room = os.statvfs(inside)
    (inside / "filler").write_bytes(bytes((room.f_bavail - 2) * room.f_frsize))
    hub.pause.set()
    line = process.communicate(timeout=20)[1].splitlines()[-1]
    assert process.returncode == 1
    assert line.startswith("eav: cannot write '")
    assert line.endswith("No space left on device; once there is room, the same command goes on")


# ---- Python's huggingface_hub


def python(code, environment, hub):
    done = subprocess.run([sys.executable, "-c", code], env=environment | {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1"},
                          capture_output=True, text=True, timeout=60, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_python_finds_what_was_pulled(pull, hub, cached, environment):
    hub.files = fake(*FOLDER, VAE)
    pull()
    code = f"""
import huggingface_hub as h
print(h.snapshot_download("{NAME}", local_files_only=True))
(repo,) = h.scan_cache_dir().repos
(revision,) = repo.revisions
assert not h.scan_cache_dir().warnings, h.scan_cache_dir().warnings
print(repo.repo_id, revision.commit_hash, *revision.refs, len(revision.files))
print(h.hf_hub_download("{NAME}", "{VAE}"))
"""
    found, listed, fetched = python(code, environment, hub).splitlines()
    assert found == str(snapshot(cached)) and listed == f"{NAME} {COMMIT} main {len(hub.files)}"
    assert Path(fetched) == snapshot(cached) / VAE
    assert hub.asked_for(f"cdn/{VAE}") == [None]  # not once more


def test_what_python_fetched_is_found(hub, tiny, cached, eav, environment, pull):
    hub.files = Hub.of_folder(tiny).files
    found = python(f"import huggingface_hub as h; print(h.snapshot_download('{NAME}'))", environment, hub)
    assert found == str(snapshot(cached)) and contents(cached) == hub.files
    inspected = eav("inspect", NAME, env=environment)
    assert inspected.returncode == 0 and f", {found}\n" in inspected.stdout
    assert "0 bytes fetched" in pull().stderr
    # A download of theirs that did not finish.
    shutil.rmtree(cached / ".eav")
    shutil.rmtree(snapshot(cached) / "vae")
    line = error_line(eav("inspect", NAME, env=environment))
    assert f"1 file is missing (vae/): `eav pull {NAME}` goes on with it" in line
