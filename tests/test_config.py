"""Configuration: every shipped file is valid, overrides apply, and mistakes are named."""

from pathlib import Path

import pytest
import yaml

from panodeeplab import config as configuration

CONFIGS = sorted((Path(__file__).resolve().parent.parent / "configs").glob("*.yaml"))
STREET = next(path for path in CONFIGS if path.stem == "street_tiny")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configs_are_complete(path):
    config = configuration.load(path)
    # Complete: the file says everything, so nothing changes when a default does.
    assert yaml.safe_load(path.read_text()).keys() == config.model_dump().keys()
    for section, values in yaml.safe_load(path.read_text()).items():
        assert values.keys() == config.model_dump()[section].keys(), section


def test_overrides():
    overrides = [
        "training.learning_rate=1e-3",
        "augmentation.crop_size=[64, 96]",
        "model.backbone=resnet50",
        "model.backbone_weights=null",
        "training.deterministic=true",
    ]
    config = configuration.load(STREET, overrides)
    assert config.training.learning_rate == 1e-3
    assert config.augmentation.crop_size == (64, 96)
    assert config.model.backbone == "resnet50"
    assert config.model.backbone_weights is None
    assert config.training.deterministic is True


def test_a_saved_config_loads_again(tmp_path):
    config = configuration.load(STREET)
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    assert configuration.load(path) == config


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.learning_rte=1", "unknown key 'training.learning_rte'; .* 'learning_rate'"),
        ("trainig.iterations=1", "unknown key 'trainig'; .* 'training'"),
        ("model.semantic.chanels=3", "unknown key 'model.semantic.chanels'; .* 'channels'"),
        ("data.train_cuont=3", "unknown key 'data.train_cuont'; .* 'train_count'"),
        ("training.iterations=0", "training.iterations: .*greater than or equal to 1, got 0"),
        ("training.iterations=many", "training.iterations: .*got 'many'"),
        ("data.val_seed=0", "val_seed must differ"),
        ("augmentation.scale=[2, 1]", "low <= high"),
        ("model.output_stride=4", "model.output_stride"),
        ("model.backbone=resnet5", "model.backbone: .*wanted one of .*resnet50, .*, got 'resnet5'"),
        ("model.semantic.skip_channels=[8]", "model.semantic.skip_channels: .*at least 2 items"),
        ("postprocess.center_source=offsets", "postprocess.center_source: .*got 'offsets'"),
        ("postprocess.vote_threshold=-1", "postprocess.vote_threshold"),
        ("training.iterations", "must read section.key=value"),
        ("training.iterations.x=1", "training.iterations is a value"),
        ("training.iterations={", "not a YAML value"),
    ],
)
def test_mistakes_are_named(override, message):
    with pytest.raises(ValueError, match=message):
        configuration.load(STREET, [override])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("{dataset: coco_panoptic, train: {images: a}}", r"data.train.annotations: Field required"),
        (
            "{dataset: coco_panoptic, train: {images: a, annotations: b, png: c}}",
            "unknown key 'data.train.png'; the nearest known one is 'pngs'",
        ),
        ("{dataset: kitti_step, rot: a}", "unknown key 'data.rot'; the nearest known one is 'root'"),
        ("{dataset: cityscapes, root: a, clases: b}", "unknown key 'data.clases'; .* 'classes'"),
        ("{dataset: coco}", "data: .*'coco_panoptic'"),
    ],
)
def test_mistakes_in_the_data_are_named(data, message):
    with pytest.raises(ValueError, match=message):
        configuration.load(STREET, [f"data={data}"])


def test_files_that_are_no_configuration(tmp_path):
    path = tmp_path / "list.yaml"
    path.write_text("- 1\n")
    with pytest.raises(ValueError, match="must hold a mapping"):
        configuration.load(path)
    path.write_text("a: [")
    with pytest.raises(ValueError, match="not valid YAML"):
        configuration.load(path)
    with pytest.raises(FileNotFoundError):
        configuration.load(tmp_path / "absent.yaml")
    path.write_text("{}")
    with pytest.raises(ValueError, match="data: Field required"):
        configuration.load(path)
