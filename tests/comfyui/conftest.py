"""The server as fixtures: one with the package enhance_a_video, where it is installed, and one without."""

import pytest
from comfyui_server import Graph, start


@pytest.fixture(scope="session")
def comfyui(tmp_path_factory):
    server = start(tmp_path_factory)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def without_package(tmp_path_factory):
    server = start(tmp_path_factory, hide_package=True)
    yield server
    server.stop()


@pytest.fixture
def graph(comfyui):
    return lambda: Graph(comfyui)
