"""Checkpoints of other implementations: the same maps, and nothing else is taken for one."""

import json
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from foreign_models import Weights, bowenc, detectron2
from safetensors.torch import save_file

from panodeeplab import config as configuration
from panodeeplab.classes import CITYSCAPES, COCO, ClassTable
from panodeeplab.cli import main
from panodeeplab.config import override
from panodeeplab.data.datasets import build_dataset
from panodeeplab.inference.predictor import Predictor
from panodeeplab.model import import_checkpoint, load_checkpoint

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
GOLDEN = (
    # name, window of the image pooling in pixels, what needs timm
    ("bowenc_h48_os4", None, False),
    ("bowenc_mnv2_os32", None, False),
    ("bowenc_r50_os32", None, False),
    ("bowenc_x65_os32", None, True),
    ("detectron2_r52_os16", (64, 128), False),
    ("detectron2_r52_os16_coco_dsconv", (64, 64), False),
    ("detectron2_r52_os16_dsconv", (64, 128), False),
)


def relative_error(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return ((ours.double() - theirs.double()).norm() / theirs.double().norm()).item()


def image(height: int, width: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (1, 3, height, width), generator=generator).float()


@pytest.mark.parametrize(("name", "window", "needs_timm"), GOLDEN, ids=lambda value: str(value))
def test_golden_models(golden, monkeypatch, name, window, needs_timm):
    if needs_timm:
        pytest.importorskip("timm")
    monkeypatch.syspath_prepend(golden)
    from seeded_weights import seeded_state_dict

    state = seeded_state_dict(json.loads((golden / f"{name}.keys.json").read_text()))
    loaded = import_checkpoint(state, pooling_window=window)
    expected = np.load(golden / f"{name}.npz", allow_pickle=False)
    batch = torch.from_numpy(expected["image_rgb"]).permute(2, 0, 1)[None]
    with torch.inference_mode():
        predictions = loaded.model(batch)
    for key, value in predictions._asdict().items():
        theirs = torch.from_numpy(expected[key])
        assert value.shape == theirs.shape
        assert relative_error(value, theirs) <= 1e-4, key
    assert loaded.classes == (COCO if "coco" in name else CITYSCAPES)


@pytest.mark.parametrize("name", ["resnet101", "resnext101_32x8d"])
def test_bowenc_backbones_that_are_torchvisions(golden, monkeypatch, name):
    """Their keys are torchvision's, and the rest of the model is the ResNet-50's, whose maps are compared."""
    monkeypatch.syspath_prepend(golden)
    from seeded_weights import seeded_state_dict

    theirs = getattr(torchvision.models, name)().eval()
    keys = json.loads((golden / "bowenc_r50_os32.keys.json").read_text())
    keys = {key: shape for key, shape in keys.items() if not key.startswith("backbone.")}
    backbone = {k: list(v.shape) for k, v in theirs.state_dict().items() if not k.startswith("fc.")}
    keys |= {f"backbone.{key}": shape for key, shape in backbone.items()}
    state = {key: torch.as_tensor(value) for key, value in seeded_state_dict(keys).items()}
    loaded = import_checkpoint(state)
    assert loaded.config.model.backbone == name
    recipe = {"resnet101": "resnet101", "resnext101_32x8d": "resnext101"}[name]
    published = configuration.load(CONFIGS / f"cityscapes_bowenc_{recipe}.yaml").model.model_dump()
    published["backbone_weights"] = None
    assert loaded.config.model.model_dump() == published

    theirs.load_state_dict(
        {k.removeprefix("backbone."): v for k, v in state.items() if k.startswith("backbone.")}, strict=False
    )
    x = torch.randn(1, 3, 65, 97, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        ours = loaded.model.backbone(x)
        x = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(x))))
        for stride, layer in zip((4, 8, 16, 32), ("layer1", "layer2", "layer3", "layer4"), strict=True):
            x = getattr(theirs, layer)(x)
            assert relative_error(ours[stride], x) < 1e-5


@pytest.fixture(scope="module")
def bowenc_run():
    weights, x = Weights(0), image(65, 97)
    with torch.inference_mode():
        return bowenc(weights, x), weights.state, x


def run_detectron2(separable: bool):
    weights, x = Weights(1), image(64, 96)
    with torch.inference_mode():
        return detectron2(weights, x, (2, 3), 19, separable=separable), weights.state, x


@pytest.fixture(scope="module")
def detectron2_run():
    return run_detectron2(separable=True)


def check(loaded, maps, x):
    with torch.inference_mode():
        for ours, theirs in zip(loaded.model(x), maps, strict=True):
            assert ours.shape == theirs.shape
            assert relative_error(ours, theirs) < 1e-5


@pytest.mark.parametrize("wrapper", ["none", "state_dict", "module", "safetensors"])
def test_bowenc(tmp_path, bowenc_run, wrapper):
    maps, state, x = bowenc_run
    path = tmp_path / "model.pth"
    if wrapper == "safetensors":
        path = path.with_suffix(".safetensors")
        save_file(state, path)
    elif wrapper == "module":
        torch.save({f"module.{key}": value for key, value in state.items()}, path)
    else:
        torch.save({"state_dict": state, "epoch": 3} if wrapper == "state_dict" else state, path)
    loaded = import_checkpoint(path)
    check(loaded, maps, x)
    model = loaded.config.model
    assert (model.backbone, model.output_stride, model.align_corners) == ("mobilenet_v2", 32, True)
    assert model.semantic.skip_channels == (12, 8, 4)
    assert loaded.model.align_corners


@pytest.mark.parametrize(("separable", "protocol"), [(True, 4), (False, 2)])
def test_detectron2(tmp_path, separable, protocol):
    maps, state, x = run_detectron2(separable)
    arrays = {key: value.numpy() for key, value in state.items()}
    path = tmp_path / "model_final_0123ab.pkl"
    path.write_bytes(pickle.dumps({"model": arrays, "__author__": "somebody"}, protocol=protocol))
    loaded = import_checkpoint(path, pooling_window=(32, 48))
    check(loaded, maps, x)
    model = loaded.config.model
    assert (model.backbone, model.output_stride) == ("resnet52", 16)
    assert model.last_stage_dilations == (2, 4, 8)
    assert (model.separable, model.separable_aspp, model.separable_center_head) == (
        separable,
        separable,
        False,
    )
    # Detectron2's own .pth holds what training needs, too.
    torch.save({"model": state, "iteration": 7, "optimizer": {"state": {}}}, tmp_path / "model.pth")
    check(import_checkpoint(tmp_path / "model.pth", pooling_window=(32, 48)), maps, x)


def test_a_pooling_window_pads_to_its_multiples(detectron2_run):
    """As Detectron2 wants it: a smaller image gives what it gives when padded with the mean color."""
    _, state, _ = detectron2_run
    model = import_checkpoint(state, pooling_window=(64, 96)).model
    small = image(48, 80)
    padded = model.pixel_mean.expand(1, 3, 64, 96).clone()
    padded[..., :48, :80] = small
    with torch.inference_mode():
        for ours, whole in zip(model(small), model(padded), strict=True):
            assert torch.allclose(ours, whole[..., :12, :20], atol=1e-5)


def test_the_published_window_is_the_default(detectron2_run):
    _, state, _ = detectron2_run
    assert import_checkpoint(state).config.model.pooling_window == (512, 1024)
    assert import_checkpoint(state, pooling_window="image").config.model.pooling_window is None


def test_the_normalization_of_a_checkpoint_is_taken_over(detectron2_run):
    _, state, _ = detectron2_run
    mean = torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1)
    model = import_checkpoint(state | {"pixel_mean": mean, "pixel_std": 2 * mean}).model
    assert model.pixel_mean.flatten().tolist() == [1, 2, 3]
    assert model.pixel_std.flatten().tolist() == [2, 4, 6]


def test_an_image_of_another_size_is_seen_at_the_same_place(bowenc_run):
    """Corners that are aligned in the network are aligned in the result, scaled or not."""
    _, state, _ = bowenc_run
    loaded = import_checkpoint(state)
    generator = np.random.default_rng(0)
    picture = generator.integers(0, 256, (9, 13, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    native = Predictor(loaded.model, loaded.classes, backend="eager")(picture)
    double = Predictor(loaded.model, loaded.classes, backend="eager", size=(72, 104))(
        picture.repeat(2, 0).repeat(2, 1)
    )
    assert native.panoptic.shape == (72, 104)
    same = (native.semantic == double.semantic[::2, ::2]).mean()
    assert same > 0.9


def test_from_the_file_to_a_prediction_and_to_training(tmp_path, monkeypatch, bowenc_run, capsys):
    maps, state, x = bowenc_run
    monkeypatch.chdir(tmp_path)
    torch.save(state, "theirs.pth")
    assert main(["import-checkpoint", "theirs.pth", "ours.safetensors"]) == 0
    assert "mobilenet_v2, output stride 32, 19 classes (cityscapes)" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "ours.safetensors",
        "ours.yaml",
        "theirs.pth",
    ]
    check(load_checkpoint("ours.safetensors"), maps, x)
    for output, message in (("ours.safetensors", "ours.yaml exists"), ("a.pth", "must end in .safetensors")):
        assert main(["import-checkpoint", "theirs.pth", output]) == 2
        assert message in capsys.readouterr().err
    assert main(["scenes", "--output", "streets", "--count", "1", "--size", "64", "96"]) == 0
    images = "streets/leftImg8bit/train"
    assert main(["predict", images, "--checkpoint", "ours.safetensors", "--output", "out"]) == 0
    settings = (
        "data.root=streets",
        "data.val_split=train",
        "augmentation.crop_size=[65, 97]",
        "training.iterations=1",
        "training.batch_size=2",
        "training.workers=0",
        "training.device=cpu",
        "training.learning_rate=1e-9",
    )
    overrides = [part for setting in settings for part in ("--set", setting)]
    assert main(["train", "--config", "ours.yaml", "--output", "run", *overrides]) == 0
    tuned = load_checkpoint("run/last.safetensors").model.state_dict()
    weight = "semantic_head.1.weight"
    assert torch.allclose(tuned[weight], load_checkpoint("ours.safetensors").model.state_dict()[weight])


def test_models_of_other_classes():
    weights = Weights(2)
    with torch.inference_mode():
        bowenc(weights, image(33, 33), classes=3)
    with pytest.raises(
        ValueError, match=r"classes must be given for a checkpoint of 3 classes, .* --classes\)"
    ):
        import_checkpoint(weights.state)
    table = ClassTable("mine", ("a", "b", "c"), ((0, 0, 0),) * 3, (1,), (0, 1, 2))
    loaded = import_checkpoint(weights.state, classes=table)
    assert loaded.classes == table
    assert loaded.config.data is None
    with pytest.raises(ValueError, match="data is null: this configuration comes from a checkpoint without"):
        build_dataset(loaded.config.data, "val")
    config = override(loaded.config, ["data.dataset=scenes", "data.val_count=7"])
    assert len(build_dataset(config.data, "val")) == 7
    with pytest.raises(ValueError, match="classes has 19 classes, the checkpoint predicts 3"):
        import_checkpoint(weights.state, classes=CITYSCAPES)


def test_classes_of_ones_own_have_a_table(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    weights = Weights(2)
    with torch.inference_mode():
        bowenc(weights, image(33, 33), classes=3)
    torch.save(weights.state, "theirs.pth")
    assert main(["import-checkpoint", "theirs.pth", "ours.safetensors"]) == 2
    assert "import-checkpoint --classes" in capsys.readouterr().err
    entries = "".join(
        f"  - {{id: {i}, name: {name}, isthing: {name == 'box'}}}\n"
        for i, name in ((4, "floor"), (7, "box"), (9, "wall"))
    )
    Path("classes.yaml").write_text(f"classes:\n{entries}")
    assert main(["import-checkpoint", "theirs.pth", "ours.safetensors", "--classes", "classes.yaml"]) == 0
    assert "fill in the data section of ours.yaml" in capsys.readouterr().out
    classes = load_checkpoint("ours.safetensors").classes
    assert (classes.names, classes.label_ids, classes.thing_ids) == (
        ("floor", "box", "wall"),
        (4, 7, 9),
        (1,),
    )
    assert main(["train", "--config", "ours.yaml", "--output", "run"]) == 2
    assert "name one in the YAML file of the run" in capsys.readouterr().err
    Path("classes.yaml").write_text("classes:\n  - {id: 4, name: floor, isthing: false}\n")
    assert main(["import-checkpoint", "theirs.pth", "b.safetensors", "--classes", "classes.yaml"]) == 2
    assert "classes has 1 classes, the checkpoint predicts 3" in capsys.readouterr().err
    assert not Path("b.safetensors").exists()


def test_a_model_of_coco_says_where_it_looks_for_coco(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    weights = Weights(2)
    with torch.inference_mode():
        bowenc(weights, image(33, 33), classes=len(COCO))
    torch.save(weights.state, "theirs.pth")
    assert main(["import-checkpoint", "theirs.pth", "ours.safetensors"]) == 0
    assert "set data.train and data.val in ours.yaml" in capsys.readouterr().out
    assert main(["evaluate", "--checkpoint", "ours.safetensors"]) == 2
    message = capsys.readouterr().err
    assert "no COCO JSON at data/coco/annotations/panoptic_val2017.json" in message
    assert "set data.val.images and data.val.annotations" in message


def test_an_error_names_a_handful_of_keys_and_counts_the_rest(bowenc_run):
    _, state, _ = bowenc_run
    kept = {key: value for key, value in state.items() if "instance_decoder.aspp.convs" not in key}
    with pytest.raises(ValueError, match=r"missing: instance_decoder\.aspp\.convs.* and \d+ more$") as caught:
        import_checkpoint(kept)
    assert str(caught.value).count("aspp") == 5


def test_errors_list_the_keys(bowenc_run, detectron2_run):
    _, state, _ = bowenc_run
    bn = "decoder.semantic_decoder.fuse.0.0.2.running_var"
    with pytest.raises(ValueError, match=r"missing: semantic_decoder.fuse.0.1.1.running_var$"):
        import_checkpoint({key: value for key, value in state.items() if key != bn})
    last = "decoder.semantic_head.classifier.semantic.1.weight"
    with pytest.raises(
        ValueError, match=r"incomplete checkpoint, without the convolution semantic_head.1.weight"
    ):
        import_checkpoint({key: value for key, value in state.items() if key != last})
    with pytest.raises(ValueError, match=r"no place in a bowenc0221 model for head.a, head.b"):
        import_checkpoint(state | {"head.a": torch.zeros(1), "head.b": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"left over: backbone.fc.weight$"):
        import_checkpoint(state | {"backbone.fc.weight": torch.zeros(1)})
    with pytest.raises(
        ValueError, match=r"semantic_decoder.fuse.0.1.1.running_var is \(1,\), wanted \(24,\)"
    ):
        import_checkpoint(state | {bn: torch.zeros(1)})
    with pytest.raises(ValueError, match=r"pool over the whole image"):
        import_checkpoint(state, pooling_window=(64, 64))
    _, state, _ = detectron2_run
    with pytest.raises(ValueError, match=r"the backbone is none of"):
        import_checkpoint({k: v for k, v in state.items() if not k.startswith("backbone.res4.5")})
    with pytest.raises(
        ValueError, match=r"pooling_window is \(30, 48\) pixels, wanted multiples of output_stride, 16"
    ):
        import_checkpoint(state, pooling_window=(30, 48))
    with pytest.raises(ValueError, match=r"pixel_mean has shape \(4,\)"):
        import_checkpoint(state | {"pixel_mean": torch.zeros(4)})
    with pytest.raises(ValueError, match=r"pooling_window must be \(H, W\)"):
        import_checkpoint(state, pooling_window="all")


def test_files_that_are_no_checkpoint(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file"):
        import_checkpoint(tmp_path / "absent.pth")
    for name in ("ckpt-60000.index", "ckpt-60000.data-00000-of-00001", "ckpt-60000", "saved_model.pb"):
        with pytest.raises(
            ValueError, match="TensorFlow checkpoint, as DeepLab2 writes them; they are not read"
        ):
            import_checkpoint(tmp_path / name)
    with pytest.raises(ValueError, match="TensorFlow checkpoint"):
        import_checkpoint(tmp_path)
    for suffix in (".pkl", ".pth", ".safetensors"):
        path = tmp_path / f"text{suffix}"
        path.write_text("no checkpoint at all")
        with pytest.raises(ValueError, match=f"text{suffix} is not a"):
            import_checkpoint(path)
    other = tmp_path / "other.pth"
    torch.save({"fc.weight": torch.zeros(1)}, other)
    with pytest.raises(ValueError, match=r"neither .* it has 1 keys such as fc.weight"):
        import_checkpoint(other)
    torch.save([1, 2], other)
    with pytest.raises(ValueError, match="holds list, wanted tensors by name"):
        import_checkpoint(other)
    with pytest.raises(ValueError, match="has str under 'a', wanted tensors by name"):
        import_checkpoint({"a": "b"})


class Hostile:
    """Runs a function of `os` when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("suffix", [".pkl", ".pth"])
def test_nothing_in_a_file_is_run(tmp_path, suffix):
    path, trace = tmp_path / f"hostile{suffix}", tmp_path / "was_here"
    if suffix == ".pkl":
        path.write_bytes(pickle.dumps({"model": {"a": Hostile(trace)}}))
    else:
        torch.save({"model": {"a": Hostile(trace)}}, path)
    with pytest.raises(ValueError, match=f"hostile{suffix} is not a"):
        import_checkpoint(path)
    assert not trace.exists()
    # The test is worth something: read carelessly, the file does run.
    torch.load(path, weights_only=False) if suffix == ".pth" else pickle.loads(path.read_bytes())
    assert trace.exists()


def test_a_model_of_timm_says_that_it_needs_timm(monkeypatch):
    state = {
        "decoder.semantic_decoder.aspp.project.0.weight": torch.zeros(8, 40, 1, 1),
        "decoder.semantic_head.classifier.semantic.1.weight": torch.zeros(19, 8, 1, 1),
    }
    for branch in ("semantic", "instance"):
        decoder = f"decoder.{branch}_decoder"
        state[f"{decoder}.aspp.project.0.weight"] = torch.zeros(8, 40, 1, 1)
        for i in range(3):
            state[f"{decoder}.project.{i}.0.weight"] = torch.zeros(8, 8, 1, 1)
            state[f"{decoder}.fuse.{i}.0.1.weight"] = torch.zeros(8, 16, 1, 1)
    for head in ("semantic_head.classifier.semantic", "instance_head.classifier.center"):
        state[f"decoder.{head}.0.0.1.weight"] = torch.zeros(8, 8, 1, 1)
    for block in range(1, 22):
        state[f"backbone.block{block}.sep_conv1.block.depthwise.weight"] = torch.zeros(1)
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'panodeeplab\[timm\]'"):
        import_checkpoint(state)
