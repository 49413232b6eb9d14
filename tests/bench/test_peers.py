"""The peers at a size at which they take no time; no weights, no downloads."""

import importlib.util
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from results import check_result

from panodeeplab.bench.measure import measure_setting
from panodeeplab.bench.peers import PEERS, PeerPipeline, check_peers
from panodeeplab.bench.stages import Setting
from panodeeplab.bench.streets import image_file
from panodeeplab.cli import main

pytest.importorskip("transformers")

FAST = {"size": (64, 128), "warmup": 0, "runs": 2, "threads": 1}
SMALL = {
    "feature_size": 32,
    "mask_feature_size": 32,
    "hidden_dim": 32,
    "encoder_feedforward_dim": 32,
    "dim_feedforward": 32,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "num_attention_heads": 2,
}
ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def small(monkeypatch):
    """Every configuration class with little in it, whatever size the peers ask for."""
    import transformers as t

    detr = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 8}
    detr |= {"decoder_attention_heads": 8, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "num_queries": 30}
    former = SMALL | {"num_queries": 30}
    one = {k: v for k, v in former.items() if k not in ("feature_size", "mask_feature_size")}
    one |= {"conv_dim": 32, "mask_dim": 32, "query_dec_layers": 1}
    mask = {"fpn_feature_size": 32, "mask_feature_size": 32}
    for name, sizes in (
        ("DetrConfig", detr),
        ("Mask2FormerConfig", former),
        ("OneFormerConfig", one),
        ("MaskFormerConfig", mask),
    ):
        made = getattr(t, name)
        monkeypatch.setattr(t, name, lambda made=made, sizes=sizes, **given: made(**given | sizes))
    swin = {"embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2], "window_size": 4}
    monkeypatch.setattr(t, "SwinConfig", lambda made=t.SwinConfig, **given: made(**given | swin))
    narrow = {"hidden_sizes": [16, 16, 32, 32], "embedding_size": 8, "depths": [1, 1, 1, 1]}
    monkeypatch.setattr(
        t, "ResNetConfig", lambda made=t.ResNetConfig, **given: made(**given | narrow, layer_type="basic")
    )


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_is_measured_like_ours(small, name):
    result = measure_setting(Setting(model=name, **FAST))
    check_result(result, stages=("decode", "preprocess", "network", "postprocess"))
    assert result["weights"] == "random"
    assert any("ground truth" in note for note in result["notes"])
    # Its own post-processing sees the street, not what random weights make of it.
    assert result["segments"] > 5


def test_precision_and_batch(small):
    setting = Setting(model="mask2former-swin-tiny", precision="bfloat16", batch=2, **FAST)
    result = measure_setting(setting)
    assert result["precision"] == "bfloat16"
    assert result["batch"] == 2


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"model": "yolo"}, "peer is 'yolo', wanted one of"),
        ({"backend": "openvino"}, "backend is 'openvino', wanted eager"),
        ({"precision": "int8"}, "precision is 'int8'"),
    ],
)
def test_what_a_peer_cannot_do(changed, message):
    setting = Setting(**{"model": "detr-resnet50", **FAST} | changed)
    with pytest.raises(ValueError, match=message):
        PeerPipeline(setting, [])


def test_a_peer_wants_streets_with_truth(tmp_path):
    cv2.imwrite(str(tmp_path / "image.png"), np.zeros((40, 40, 3), np.uint8))
    streets = image_file(tmp_path / "image.png")
    with pytest.raises(ValueError, match="generated streets only"):
        PeerPipeline(Setting(model="detr-resnet50"), streets)


def test_the_error_names_the_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'panodeeplab\[peers\]'"):
        check_peers(["detr-resnet50"])


def test_predictions_of_a_peer_go_through_score(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(ROOT / "examples")
    import score_a_peer

    scores = score_a_peer.run(tmp_path / "peer")
    capsys.readouterr()
    files = ["--gt", str(tmp_path / "peer/truth.json"), "--pred", str(tmp_path / "peer/prediction.json")]
    assert main(["score", *files, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["All"] == scores["All"]
    prediction = json.loads((tmp_path / "peer/prediction.json").read_text())
    assert all(len(annotation["segments_info"]) > 1 for annotation in prediction["annotations"])


def test_a_peers_result_becomes_a_panoptic_map(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "examples")
    import torch
    from score_a_peer import panoptic_map

    # Two cars, and road in two pieces, which are one segment of ours.
    labels = {1: 13, 2: 0, 3: 13, 4: 0}
    segments = [{"id": i, "label_id": label, "score": 0.1 * i} for i, label in labels.items()]
    result = {"segmentation": torch.tensor([[1, 2, 3, 4, 0]]), "segments_info": segments}
    panoptic, scores = panoptic_map(result)
    assert panoptic.tolist() == [[13001, 0, 13002, 0, -1]]
    assert scores == {13001: 0.1, 0: pytest.approx(0.4), 13002: pytest.approx(0.3)}
