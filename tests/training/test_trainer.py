"""Training: a run writes what it promises, and a resumed run is the run that was not interrupted."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file
from small_run import make_config

from panodeeplab import config as configuration
from panodeeplab.data.cache import write_cache
from panodeeplab.data.datasets import build_dataset
from panodeeplab.model import load_checkpoint
from panodeeplab.training import train
from panodeeplab.training.step import learning_rate


def test_a_run_writes_checkpoints_metrics_and_pictures(tmp_path):
    config = make_config()
    last = train(config, output=tmp_path / "run")
    assert last == tmp_path / "run" / "last.safetensors"
    assert load_checkpoint(last).iteration == 4
    assert load_checkpoint(last).config == config
    assert load_checkpoint(last.with_name("best.safetensors")).iteration == 4
    assert configuration.load(tmp_path / "run" / "config.yaml") == config
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    steps = [record for record in records if record["kind"] == "train"]
    assert [record["iteration"] for record in steps] == [1, 2, 3, 4]
    assert all(math.isfinite(record["total"]) for record in steps)
    (evaluation,) = (record for record in records if record["kind"] == "evaluation")
    assert 0 <= evaluation["pq"] <= 100
    events = b"".join(path.read_bytes() for path in (tmp_path / "run").glob("events.out.tfevents.*"))
    for tag in (b"train/semantic", b"train/learning_rate", b"evaluation/pq", b"0/prediction", b"1/offset"):
        assert tag in events
    assert not list((tmp_path / "run").glob("*.tmp"))


def test_the_seed_makes_the_run(tmp_path):
    first = train(make_config(iterations=2), output=tmp_path / "a").read_bytes()
    assert train(make_config(iterations=2), output=tmp_path / "b").read_bytes() == first
    other = load_file(train(make_config(iterations=2, seed=1), output=tmp_path / "c"))
    same = load_file(tmp_path / "a/last.safetensors")
    assert any(not torch.equal(same[name], value) for name, value in other.items())


def test_learning_rate_warms_up_and_decays():
    config = make_config(iterations=100, warmup_iterations=10, learning_rate=1.0, poly_power=0.9).training
    assert learning_rate(0, config) == pytest.approx(0.1)
    assert learning_rate(10, config) == pytest.approx(0.9**0.9)
    rates = [learning_rate(i, config) for i in range(100)]
    assert max(rates) == rates[9]
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[-1] > 0


def test_output_folders_are_not_mixed_up(tmp_path):
    with pytest.raises(ValueError, match="holds no run to resume"):
        train(make_config(), output=tmp_path / "new", resume="yes")
    train(make_config(iterations=1), output=tmp_path / "run")
    with pytest.raises(ValueError, match="already holds a run; go on with --resume"):
        train(make_config(iterations=1), output=tmp_path / "run")
    with pytest.raises(ValueError, match=r"training.learning_rate was 0.001 and is 0.5"):
        train(make_config(learning_rate=0.5), output=tmp_path / "run", resume="yes")


def test_fine_tuning_starts_from_a_checkpoint(tmp_path):
    first = train(make_config(iterations=1), output=tmp_path / "first")
    config = make_config(iterations=1, learning_rate=1e-12, init_checkpoint=str(first), seed=1)
    before, after = load_file(first), load_file(train(config, output=tmp_path / "second"))
    for name, value in before.items():
        if name.endswith(("weight", "bias")):
            assert torch.allclose(value, after[name], atol=1e-6), name


def test_fine_tuning_another_model_names_what_differs(tmp_path):
    first = train(make_config(iterations=1), output=tmp_path / "first")
    config = make_config(iterations=1, init_checkpoint=str(first))
    config = configuration.override(config, ["model.skip_first=true", "model.aspp_dropout=0.5"])
    message = "model.skip_first is True, the checkpoint has False$"
    with pytest.raises(ValueError, match=message):
        train(config, output=tmp_path / "second")


def test_frozen_layers_stay_as_they_are(tmp_path):
    first = train(make_config(iterations=1), output=tmp_path / "first")
    config = make_config(
        iterations=2,
        evaluate_every=1,
        learning_rate=0.01,
        init_checkpoint=str(first),
        frozen=["backbone", "*.aspp"],
        learning_rate_factors={"semantic_decoder": 1e-6},
    )
    before, after = load_file(first), load_file(train(config, output=tmp_path / "second"))
    for name, value in before.items():
        change = (value.float() - after[name].float()).abs().max() if value.numel() else 0
        if name.startswith("backbone.") or ".aspp." in name or name.startswith("pixel_"):
            # Statistics of batch norm too.
            assert change == 0, name
        elif name.startswith("semantic_decoder.") and name.endswith("weight"):
            assert 0 < change < 1e-6 or value.ndim == 1, name
        elif name.startswith("semantic_head.") and name.endswith("weight"):
            assert change > 1e-3, name


def test_names_that_fit_nothing_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"training.frozen: 'backbon' matches no weights; .* is 'backbone'"):
        train(make_config(frozen=["backbon"]), output=tmp_path / "a")
    with pytest.raises(ValueError, match=r"_factors: 'semantic_hed' matches no .*'semantic_head'"):
        train(make_config(learning_rate_factors={"semantic_hed": 2}), output=tmp_path / "b")
    with pytest.raises(ValueError, match=r"training.frozen: \['\*'\] freeze all weights"):
        train(make_config(frozen=["*"]), output=tmp_path / "c")


def test_bad_samples_are_replaced_and_listed(tmp_path, monkeypatch):
    from panodeeplab.data.scenes import StreetScenes

    read = StreetScenes.__getitem__

    def damaged(self, index):
        if self._seed == 0 and index in (1, 3):
            raise ValueError(f"scene {index} cannot be decoded")
        return read(self, index)

    monkeypatch.setattr(StreetScenes, "__getitem__", damaged)
    train(make_config(max_bad_samples=2, workers=2), output=tmp_path / "run")
    listed = [json.loads(line) for line in (tmp_path / "run" / "bad_samples.jsonl").read_text().splitlines()]
    assert sorted(bad["index"] for bad in listed) == [1, 3]
    assert {bad["reason"] for bad in listed} == {"scene 1 cannot be decoded", "scene 3 cannot be decoded"}
    with pytest.raises(ValueError, match=r"training.max_bad_samples is 0: scene . cannot be decoded"):
        train(make_config(), output=tmp_path / "strict")


@pytest.mark.parametrize("crop_size", [(65, 97), (64, 96)])
def test_a_model_with_aligned_corners_trains(tmp_path, crop_size):
    config = make_config(iterations=1)
    overrides = ["model.align_corners=true", f"augmentation.crop_size={list(crop_size)}"]
    last = train(configuration.override(config, overrides), output=tmp_path / "run")
    assert load_checkpoint(last).model.align_corners


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    config = make_config(iterations=3, checkpoint_every=1, learning_rate=1e30)
    with pytest.raises(FloatingPointError, match=r"lower training\.learning_rate"):
        train(config, output=tmp_path / "run")
    assert all(value.isfinite().all() for value in load_file(tmp_path / "run" / "last.safetensors").values())


def test_a_run_goes_on_from_a_cache_of_its_data(tmp_path):
    config = make_config(iterations=1)
    train(config, output=tmp_path / "run")
    for split in ("train", "val"):
        write_cache(build_dataset(config.data, split), tmp_path / "cache", split, progress=False)
    cached = configuration.override(make_config(iterations=2), [f"data.cache={tmp_path / 'cache'}"])
    assert load_checkpoint(train(cached, output=tmp_path / "run", resume="yes")).iteration == 2
