"""A generated repository: its configuration against Triton's schema, its code without the server."""

import importlib.util
import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from panodeeplab.inference.demo import CLIP, read_clip
from panodeeplab.inference.predictor import Predictor

GENERATOR = Path(__file__).resolve().parents[2] / "examples" / "triton" / "make_repository.py"


def load(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    bundled = CLIP.with_name("street_tiny.safetensors")
    output = tmp_path_factory.mktemp("triton") / "models"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["make_repository.py", str(output), "--checkpoint", str(bundled)])
        assert load(GENERATOR).main() == 0
    return output


class Tensor:
    def __init__(self, name, values):
        self.name, self.values = name, values

    def as_numpy(self):
        return self.values


class TritonError:
    def __init__(self, text):
        self.text = text


class InferenceResponse:
    def __init__(self, output_tensors, error=None):
        self.outputs = {tensor.name: tensor.as_numpy() for tensor in output_tensors}
        self.error = error


@pytest.fixture
def model(repository, monkeypatch):
    backend = types.ModuleType("triton_python_backend_utils")
    backend.Tensor, backend.TritonError, backend.InferenceResponse = Tensor, TritonError, InferenceResponse
    backend.get_input_tensor_by_name = lambda request, name: Tensor(name, request[name])
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", backend)
    model = load(repository / "panoptic" / "1" / "model.py").TritonPythonModel()
    parameters = {"checkpoint": {"string_value": "model.safetensors"}}
    model.initialize(
        {
            "model_config": json.dumps({"parameters": parameters}),
            "model_repository": str(repository / "panoptic"),
            "model_version": "1",
            "model_instance_kind": "CPU",
            "model_instance_device_id": "0",
        }
    )
    return model


def test_the_configuration_is_triton_s(repository):
    text_format = pytest.importorskip("google.protobuf.text_format")
    client = importlib.util.find_spec("tritonclient")
    if client is None:
        pytest.skip("tritonclient, which has the schema, is not installed")
    # Not by its package, which would want grpcio.
    schema = load(Path(client.submodule_search_locations[0]) / "grpc" / "model_config_pb2.py")
    config = text_format.Parse((repository / "panoptic" / "config.pbtxt").read_text(), schema.ModelConfig())
    assert (config.name, config.backend, config.max_batch_size) == ("panoptic", "python", 4)
    kinds = {
        tensor.name: schema.DataType.Name(tensor.data_type) for tensor in (*config.input, *config.output)
    }
    assert kinds == {"IMAGE": "TYPE_UINT8", "PANOPTIC": "TYPE_INT32", "SEGMENTS": "TYPE_STRING"}
    assert [list(tensor.dims) for tensor in (*config.input, *config.output)] == [[-1, -1, 3], [-1, -1], [1]]
    assert config.parameters["checkpoint"].string_value == "model.safetensors"
    assert config.HasField("dynamic_batching")
    assert config.instance_group[0].kind == schema.ModelInstanceGroup.KIND_CPU


def test_requests_of_all_kinds(model):
    frames = [frame for frame, _ in read_clip(CLIP)][:3]
    small = frames[2][:64, :128]
    wrong = np.zeros((1, 8, 8, 4), np.uint8)
    requests = [np.stack(frames[:2]), wrong, small[None], np.zeros((1, 0, 8, 3), np.uint8)]
    responses = model.execute([{"IMAGE": images} for images in requests])
    assert [response.error is not None for response in responses] == [False, True, False, True]
    assert responses[1].error.text == "IMAGE must be (N, H, W, 3) uint8 RGB, got (1, 8, 8, 4)"

    predictor = Predictor.from_checkpoint("street-tiny")
    for images, response in ((frames[:2], responses[0]), ([small], responses[2])):
        maps, texts = response.outputs["PANOPTIC"], response.outputs["SEGMENTS"]
        assert (maps.dtype, texts.dtype, texts.shape) == (np.int32, np.object_, (len(images), 1))
        for image, panoptic, text in zip(images, maps, texts[:, 0], strict=True):
            expected = predictor(image)
            # A batch may round otherwise than one image.
            assert (panoptic == expected.panoptic).mean() > 0.999
            segments = json.loads(text)
            assert {segment["id"] for segment in segments} == set(np.unique(panoptic[panoptic >= 0]).tolist())


def test_a_failure_is_an_answer(model, monkeypatch):
    def broken(images):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(model, "_predictor", broken)
    responses = model.execute([{"IMAGE": np.zeros((1, 8, 8, 3), np.uint8)}] * 2)
    assert [response.error.text for response in responses] == ["segmentation failed: out of memory"] * 2


def test_a_bundled_model_needs_no_copy(tmp_path):
    generator = load(GENERATOR)
    model = generator.make_repository(tmp_path, gpu=True)
    text = (model / "config.pbtxt").read_text()
    assert 'string_value: "street-tiny"' in text
    assert "kind: KIND_GPU" in text
    assert sorted(path.name for path in (model / "1").iterdir()) == ["model.py"]
    with pytest.raises(FileExistsError):
        generator.make_repository(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--checkpoint", "none.safetensors"], "none"), (["--max-batch-size", "0"], "at least 1")],
)
def test_wrong_arguments(tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.setattr(sys, "argv", ["make_repository.py", str(tmp_path / "models"), *arguments])
    assert load(GENERATOR).main() == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "models").exists()
