"""Options of a step: each does what it says, and those that only save memory change no number."""

import copy
import gc
import json
from pathlib import Path

import pytest
import torch
from small_run import make_config
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

from panodeeplab.data.loader import Batch
from panodeeplab.model import PanopticDeepLab
from panodeeplab.model.backbones import build_backbone
from panodeeplab.targets import PanopticTargets
from panodeeplab.training.fine_tuning import freeze
from panodeeplab.training.memory import step_memory
from panodeeplab.training.recompute import checkpoint_activations, untracked_statistics
from panodeeplab.training.step import TrainingStep

CPU = torch.device("cpu")


def make_batch(images: int = 2, size: tuple[int, int] = (64, 96)) -> Batch:
    generator = torch.Generator().manual_seed(1)
    shape = (images, *size)

    def random(*shape):
        return torch.rand(shape, generator=generator)

    targets = PanopticTargets(
        sem_seg=torch.randint(0, 19, shape, generator=generator),
        center=random(*shape),
        offset=random(images, 2, *size) * 10,
        sem_seg_weights=torch.ones(shape),
        center_weights=torch.ones(images, 1, *size),
        offset_weights=torch.ones(images, 1, *size),
        center_points=torch.empty(images, 0, 2),
    )
    return Batch((random(images, 3, *size) * 255).to(torch.uint8), targets)


def make_step(**training) -> TrainingStep:
    config = make_config(**training)
    torch.manual_seed(0)
    model = PanopticDeepLab(config.model, num_classes=19)
    freeze(model, config.training.frozen)
    if config.training.activation_checkpointing:
        assert checkpoint_activations(model.backbone) > 5
    step = TrainingStep(model, torch.optim.Adam(model.parameters()), config, CPU)
    step.train_mode()
    return step


def test_activation_checkpointing_changes_no_number():
    plain, saving = make_step(), make_step(activation_checkpointing=True)
    for iteration in range(2):
        torch.manual_seed(iteration)
        figures = plain(make_batch(), iteration)
        torch.manual_seed(iteration)
        assert saving(make_batch(), iteration) == figures
    # Running statistics too: the second run of a block leaves no trace.
    for (name, one), other in zip(
        plain.model.state_dict().items(), saving.model.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other), name


@pytest.mark.parametrize("backbone", ["resnet50", "mobilenet_v2", "hrnet_w18", "timm/convnext_atto"])
def test_every_backbone_has_blocks_to_checkpoint(backbone):
    stride = 32 if "resnet" not in backbone or "hr" in backbone else 16
    config = make_config(f"model.backbone={backbone}", f"model.output_stride={stride}").model
    network = build_backbone(config).train()
    saving = copy.deepcopy(network)
    assert checkpoint_activations(saving) >= 8
    assert network.state_dict().keys() == saving.state_dict().keys()
    images = torch.randn(2, 3, 64, 64)
    torch.manual_seed(0)
    one = network(images)
    torch.manual_seed(0)
    other = saving(images)
    for stride in (4, 8, 16, 32):
        assert torch.equal(one[stride], other[stride])


def test_untracked_statistics_are_not_touched():
    norm = nn.BatchNorm2d(3)
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    with untracked_statistics(norm):
        norm(torch.randn(2, 3, 4, 4))
    assert all(torch.equal(before[name], value) for name, value in norm.state_dict().items())
    norm(torch.randn(2, 3, 4, 4))
    assert norm.num_batches_tracked == 1


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_lower_precisions_are_near_float32(precision):
    exact = make_step()(make_batch(), 0)
    near = make_step(precision=precision)(make_batch(), 0)
    assert near["total"] == pytest.approx(exact["total"], rel=0.05)
    assert near["total"] != exact["total"]


def test_float16_skips_a_step_whose_gradients_overflow():
    step = make_step(precision="float16")
    step.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**120)
    before = copy.deepcopy(step.model.state_dict())
    step(make_batch(), 0)
    assert all(torch.equal(before[name], p) for name, p in step.model.named_parameters())
    assert step.scaler.get_scale() == 2.0**119


def test_gradients_are_clipped():
    step = make_step(max_gradient_norm=1e-3)
    assert step(make_batch(), 0)["gradient_norm"] > 1
    norm = torch.nn.utils.get_total_norm([p.grad for p in step.parameters])
    assert norm == pytest.approx(1e-3, rel=1e-3)


def test_the_average_follows_the_weights():
    step = make_step(ema_decay=0.5)
    name, weight = next(iter(step.model.named_parameters()))
    seen = []
    for iteration in range(3):
        step(make_batch(), iteration)
        seen.append(weight.detach().clone())
    expected = seen[0]
    for steps, value in enumerate(seen[1:], start=1):
        decay = min(0.5, (1 + steps) / (10 + steps))
        expected = decay * expected + (1 - decay) * value
    torch.testing.assert_close(step.average.module.get_parameter(name), expected)
    assert not torch.equal(step.average.module.get_parameter(name), weight)


def test_frozen_batch_norm_keeps_its_statistics():
    step = make_step(batch_norm="frozen")
    before = {name: value.clone() for name, value in step.model.named_buffers()}
    step(make_batch(), 0)
    assert all(torch.equal(before[name], value) for name, value in step.model.named_buffers())


def test_nothing_reaches_the_weights_from_a_gradient_that_is_not_finite():
    step = make_step()
    before = copy.deepcopy(step.model.state_dict())
    batch = make_batch()
    batch.targets.center[0, 0, 0] = float("inf")
    with pytest.raises(FloatingPointError, match=r"the loss is not finite at iteration 7 \(.*center inf"):
        step(batch, 7)
    assert all(torch.equal(before[name], p) for name, p in step.model.named_parameters())


def test_a_compiled_step_takes_the_same_step():
    plain, compiled = make_step(), make_step(compile=True)
    # The frontend is what can go wrong here; making kernels takes a minute.
    compiled.network = torch.compile(compiled.model, backend="aot_eager")
    torch.manual_seed(0)
    expected = plain(make_batch(), 0)
    torch.manual_seed(0)
    assert compiled(make_batch(), 0)["total"] == pytest.approx(expected["total"], rel=0.02)


def peak_of_a_step(folder: Path, **training) -> int:
    """Bytes at the worst moment of a second step, as torch's profiler sees them.

    Without the workspace of convolutions, which depends on the CPU: that for AMX can be half as much again.
    """
    gc.collect()  # what earlier tests left would be given back meanwhile, and count as less
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        step = make_step(**training)
        for parameter in step.parameters:
            parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
        step.optimizer.step()
        batch = make_batch(4)
        with record_function("the step"):
            step(batch, 1)
    watched.export_chrome_trace(str(folder / "trace.json"))
    events = json.loads((folder / "trace.json").read_text())["traceEvents"]
    (begin,) = (e["ts"] for e in events if e["name"] == "the step" and e["ph"] == "X")
    memory = sorted((e["ts"], e["args"]) for e in events if e["name"] == "[memory]")
    # The profiler goes on counting where the last one in this process stopped.
    before = memory[0][1]["Total Allocated"] - memory[0][1]["Bytes"]
    inside = [
        (e["ts"], e["ts"] + e["dur"])
        for e in events
        if e["name"] in ("aten::convolution", "aten::convolution_backward")
    ]
    outside = (
        args["Total Allocated"]
        for ts, args in memory
        if ts >= begin and not any(start <= ts <= end for start, end in inside)
    )
    return max(outside) - before


@pytest.mark.parametrize(
    "training",
    [
        {},
        {"activation_checkpointing": True},
        {"micro_batch_size": 1, "frozen": ["backbone"], "ema_decay": 0.9},
    ],
)
def test_estimated_memory_is_that_of_a_step(tmp_path, training):
    estimate = step_memory(make_config(**training), num_classes=19, images=4)
    assert estimate.total == pytest.approx(peak_of_a_step(tmp_path, **training), rel=0.03)
    assert min(estimate.weights, estimate.optimizer, estimate.network, estimate.rest) > 0
    assert (estimate.average > 0) == ("ema_decay" in training)
