"""The plan says what the run would be, and leaves nothing behind."""

from pathlib import Path

import pytest

from panodeeplab import config as configuration
from panodeeplab.cli import main
from panodeeplab.training.plan import plan

STREET = Path(__file__).resolve().parents[2] / "configs" / "street_tiny.yaml"
SMALL = ["data.train_count=50", "augmentation.crop_size=[64,96]", "training.device=cpu"]


def test_the_plan_in_words():
    overrides = [
        *SMALL,
        "training.iterations=100",
        "training.batch_size=4",
        "training.micro_batch_size=2",
        "training.base_batch_size=8",
        "training.frozen=[backbone]",
        "training.learning_rate_factors={semantic_head: 2}",
        "augmentation.auto_augment=true",
    ]
    text = "\n".join(plan(configuration.load(STREET, overrides)))
    assert "mobilenet_v2 at output stride 32" in text
    assert "50 images to train on, 100 to evaluate on" in text
    assert "100 iterations of 4 images, 8 times through the data" in text
    assert "learning rate 0.001 (0.002 for a batch of 8, times 4 / 8)" in text
    assert "times 2 in semantic_head" in text
    assert "colors changed by AutoAugment" in text
    assert "2 images at once, gradients of 2 added up" in text
    assert "frozen        backbone: " in text


def test_memory_grows_with_the_batch():
    def memory(batch: int) -> float:
        lines = plan(configuration.load(STREET, [*SMALL, f"training.batch_size={batch}"]))
        (line,) = (line for line in lines if line.startswith("memory"))
        return float(line.split("network ")[1].split(",")[0])

    assert memory(32) == pytest.approx(4 * memory(8), rel=0.1)


def test_the_command_writes_nothing(tmp_path, capsys):
    command = ["train", "--plan", "--config", str(STREET), "--output", str(tmp_path / "run")]
    command += [word for setting in SMALL for word in ("--set", setting)]
    assert main(command) == 0
    assert "8 000 iterations of 2 images, 320 times through the data" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
    for wrong, message in (
        ("training.frozen=[nothing]", "training.frozen: 'nothing' matches no weights"),
        (
            "augmentation.copy_paste={classes: [bear]}",
            "augmentation.copy_paste.classes has 'bear'; the things",
        ),
        ("training.init_checkpoint=none.safetensors", "no file none.safetensors"),
    ):
        assert main([*command, "--set", wrong]) == 2
        assert message in capsys.readouterr().err
