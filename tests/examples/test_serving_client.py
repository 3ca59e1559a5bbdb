"""The example client against a stand-in that speaks TensorFlow Serving's REST protocol over a real exported model."""

from __future__ import annotations

import importlib.util
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from runtime.model.saved_model import load_model
from runtime.scoring.scorer import Scorer
from tests.helpers import drawn_model, drawn_videos

PATH = Path(__file__).parents[2] / "examples" / "serving_client.py"


@pytest.fixture(scope="module")
def client():
    spec = importlib.util.spec_from_file_location("serving_client", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(drawn_model.save(tmp_path_factory.mktemp("model") / "1"), trust=True)


@pytest.fixture(scope="module")
def address(model):
    """Where the model is served, with the shapes of requests and answers of tensorflow.org/tfx/serving/api_rest."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def answer(self, content):
            data = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self):
            assert self.path == "/v1/models/deepfake/metadata"
            dims = [{"size": str(size), "name": ""} for size in (-1, model.input_size, model.input_size, 3)]
            inputs = {"images": {"dtype": "DT_UINT8", "tensor_shape": {"dim": dims, "unknown_rank": False}}}
            self.answer({"metadata": {"signature_def": {"signature_def": {"serving_default": {"inputs": inputs}}}}})

        def do_POST(self):
            assert self.path == "/v1/models/deepfake:predict"
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert body["signature_name"] == "serving_default"
            masks, scores = model.predict(np.asarray(body["inputs"]["images"], np.uint8))
            self.answer({"outputs": {"mask": masks[..., None].tolist(), "frame_score": scores.tolist()}})

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1/models/deepfake"
    server.shutdown()


def test_the_served_model_gives_the_local_ones_answer(client, model, address, tmp_path):
    crops = np.random.default_rng(0).integers(0, 256, (9, 64, 64, 3), np.uint8)
    for served, local in zip(client.predict(address, crops), model.predict(crops)):
        np.testing.assert_allclose(served, local, atol=1e-6)
    path = drawn_videos.clip(tmp_path / "fake.mp4", 16, faces=2, fake={1: range(16)})
    served = client.score(str(path), address, drawn_videos.OvalDetector())
    local = Scorer(model, detector=drawn_videos.OvalDetector()).score(path)
    assert served.score == pytest.approx(local.score, abs=1e-6)
    assert served.is_fake
