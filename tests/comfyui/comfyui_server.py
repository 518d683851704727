"""ComfyUI's own server, headless: from the checkout COMFYUI_DIR, by the interpreter COMFYUI_PYTHON."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent
NODES = HERE.parent.parent / "integrations" / "comfyui"


class Refused(Exception):
    """What the server answers when a node failed or a prompt is invalid."""


class Server:
    def __init__(self, folder, hide_package=False):
        checkout = os.environ["COMFYUI_DIR"]
        (folder / "custom_nodes").mkdir(parents=True)
        (folder / "custom_nodes" / "enhance_a_video").symlink_to(NODES)
        (folder / "custom_nodes" / "eav_test_nodes").symlink_to(HERE / "nodes_for_tests")
        self.folder, self.saved = folder, 0
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        python = os.environ.get("COMFYUI_PYTHON", sys.executable)
        options = "--cpu --disable-api-nodes --database-url sqlite:///:memory:".split()
        self.log = open(folder / "log", "w+")
        self.process = subprocess.Popen(
            [python, HERE / "serve.py", checkout, *options, "--base-directory", folder, "--port", str(self.port)],
            env={**os.environ, "EAV_HIDE_PACKAGE": "1" if hide_package else "", "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )

    def ask(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{path}", data, timeout=30) as answer:
            return json.load(answer)

    def wait(self):
        for _ in range(600):
            if self.process.poll() is not None:
                break
            try:
                return self.ask("system_stats")
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        self.stop()
        raise RuntimeError("ComfyUI does not start:\n" + (self.folder / "log").read_text()[-4000:])

    def queue(self, prompt):
        try:
            return self.ask("prompt", {"prompt": prompt})["prompt_id"]
        except urllib.error.HTTPError as error:
            raise Refused(error.read().decode()) from None

    def finish(self, prompt_id):
        for _ in range(1200):
            history = self.ask(f"history/{prompt_id}")
            if prompt_id in history:
                break
            time.sleep(0.1)
        status = history[prompt_id]["status"]
        errors = [data["exception_message"] for kind, data in status["messages"] if kind == "execution_error"]
        if errors or status["status_str"] != "success":
            raise Refused("\n".join(errors))
        return history[prompt_id]["outputs"]

    def run(self, prompt):
        return self.finish(self.queue(prompt))

    def path(self):
        self.saved += 1
        return str(self.folder / f"saved-{self.saved}.pt")

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


def start(tmp_path_factory, **options):
    if "COMFYUI_DIR" not in os.environ:
        pytest.skip("COMFYUI_DIR names no checkout of ComfyUI (https://github.com/comfyanonymous/ComfyUI)")
    server = Server(tmp_path_factory.mktemp("comfyui") / "base", **options)
    server.wait()
    models = server.ask("object_info/EAVTestTinyModel")
    server.families = models["EAVTestTinyModel"]["input"]["required"]["family"][0]
    return server


class Graph:
    """An API prompt that is put together node by node."""

    def __init__(self, server):
        self.server, self.prompt = server, {}

    def add(self, kind, **inputs):
        name = str(len(self.prompt) + 1)
        self.prompt[name] = {"class_type": kind, "inputs": inputs}
        return [name, 0]

    def save(self, **inputs):
        path = self.server.path()
        self.add("EAVTestSave", path=path, **inputs)
        return path

    def run(self):
        return self.server.run(self.prompt)


def load(path):
    return torch.load(path, weights_only=True)


def relative(value, reference):
    return ((value - reference).norm() / reference.norm()).item()
