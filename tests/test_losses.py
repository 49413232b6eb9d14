"""Losses: equal to the reference implementation's, and to a plain restatement of what they say."""

import threading

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from panodeeplab.config import LossConfig
from panodeeplab.losses import (
    center_loss,
    find_hard_pixels,
    hard_pixel_count,
    offset_loss,
    panoptic_losses,
    pixel_losses,
    semantic_loss,
    upsample_predictions,
    whole_batch,
)
from panodeeplab.losses_per_image import (
    center_loss_per_image,
    mean_per_image,
    offset_loss_per_image,
    semantic_loss_per_image,
)
from panodeeplab.model import Predictions
from panodeeplab.targets import PanopticTargets, panoptic_targets


@pytest.mark.parametrize("top_k", [1.0, 0.2])
def test_semantic_loss_equals_detectron2(golden, top_k):
    expected = np.load(golden / "losses.npz", allow_pickle=False)
    logits = torch.from_numpy(expected["logits"]).requires_grad_()
    loss = semantic_loss(
        logits,
        torch.from_numpy(expected["labels"]),
        torch.from_numpy(expected["weights"]),
        top_k=top_k,
        ignore_label=int(expected["ignore_label"]),
    )
    loss.backward()
    assert loss.item() == pytest.approx(float(expected[f"semantic_loss_{top_k}"]), rel=1e-6)
    assert torch.allclose(
        logits.grad, torch.from_numpy(expected[f"semantic_grad_{top_k}"]), atol=1e-8, rtol=1e-5
    )


def test_semantic_loss_keeps_the_hardest_and_counts_ignored_pixels():
    logits = torch.zeros(1, 2, 1, 5)
    logits[0, 0] = torch.tensor([[3.0, 2.0, 1.0, 0.0, -1.0]])
    labels = torch.tensor([[[0, 0, 0, 0, 255]]])
    per_pixel = torch.log1p(torch.exp(-logits[0, 0, 0, :4]))
    weights = torch.ones(1, 1, 5)
    # int(0.4 * 5) = 2 hardest of five pixels, the ignored one among the five.
    kept = semantic_loss(logits, labels, weights, top_k=0.4)
    assert kept.item() == pytest.approx(per_pixel.sort(descending=True).values[:2].mean().item(), rel=1e-6)
    everything = semantic_loss(logits, labels, weights, top_k=1.0)
    assert everything.item() == pytest.approx(per_pixel.sum().item() / 5, rel=1e-6)


def test_semantic_loss_refuses_a_wrong_fraction():
    with pytest.raises(ValueError, match="top_k"):
        semantic_loss(torch.zeros(1, 2, 1, 1), torch.zeros(1, 1, 1).long(), torch.ones(1, 1, 1), top_k=0)


def test_center_and_offset_loss_are_means_over_weighted_pixels():
    generator = torch.Generator().manual_seed(3)
    weights = (torch.rand(2, 1, 4, 6, generator=generator) < 0.5).float()
    heatmap, target = torch.rand(2, 1, 4, 6, generator=generator), torch.rand(2, 4, 6, generator=generator)
    inside = weights[:, 0].bool()
    assert center_loss(heatmap, target, weights).item() == pytest.approx(
        ((heatmap[:, 0] - target)[inside] ** 2).mean().item()
    )
    offset, truth = torch.rand(2, 2, 4, 6, generator=generator), torch.rand(2, 2, 4, 6, generator=generator)
    assert offset_loss(offset, truth, weights).item() == pytest.approx(
        (offset - truth).abs().permute(0, 2, 3, 1)[inside].mean().item()
    )
    nothing = torch.zeros_like(weights)
    assert center_loss(heatmap, target, nothing) == 0
    assert offset_loss(offset, truth, nothing) == 0


def test_total_is_the_weighted_sum_and_offsets_are_scaled_to_pixels():
    panoptic = np.full((32, 48), 7, np.int32)
    panoptic[4:20, 8:30] = 26000
    segments = [{"id": 7, "category_id": 0, "iscrowd": 0}, {"id": 26000, "category_id": 13, "iscrowd": 0}]
    one = panoptic_targets(panoptic, segments, thing_ids=(13,))
    targets = type(one)(*(x[None] for x in one))
    predictions = Predictions(
        torch.zeros(1, 19, 8, 12), torch.zeros(1, 1, 8, 12), torch.full((1, 2, 8, 12), 0.25)
    )
    config = LossConfig(semantic_weight=2.0, center_weight=3.0, offset_weight=0.5, semantic_top_k=1.0)
    losses = panoptic_losses(predictions, targets, config)
    # The class weight of the small car is 3, of road 1.
    weights = one.sem_seg_weights
    assert losses["semantic"].item() == pytest.approx(2 * np.log(19) * weights.mean().item(), rel=1e-5)
    assert losses["center"].item() == pytest.approx(3 * (one.center**2).mean().item(), rel=1e-5)
    mask = torch.from_numpy(panoptic == 26000)
    # A quarter of a cell is one pixel.
    assert losses["offset"].item() == pytest.approx(
        0.5 * (1 - one.offset)[:, mask].abs().mean().item(), rel=1e-5
    )
    assert losses["total"].item() == pytest.approx(
        sum(losses[name].item() for name in ("semantic", "center", "offset")), rel=1e-6
    )


def test_aligned_corners_reach_the_losses():
    """A map that rises evenly from the middle of the first pixel to that of the last is met exactly."""
    ramp = torch.arange(9 * 17, dtype=torch.float32).view(9, 17)
    coarse = ramp[::4, ::4]
    zeros = torch.zeros(1, 2, 3, 5)
    predictions = Predictions(zeros, coarse[None, None], torch.stack((coarse, -coarse))[None] / 4)
    ones = torch.ones(1, 9, 17)
    targets = PanopticTargets(
        sem_seg=torch.zeros(1, 9, 17, dtype=torch.int64),
        center=ramp[None],
        offset=torch.stack((ramp, -ramp))[None],
        sem_seg_weights=ones,
        center_weights=ones[None],
        offset_weights=ones[None],
        center_points=torch.zeros(1, 0, 2),
    )
    losses = panoptic_losses(predictions, targets, LossConfig(), align_corners=True)
    assert losses["center"] == pytest.approx(0, abs=1e-4)
    assert losses["offset"] == pytest.approx(0, abs=1e-5)


# Losses with ties, zeros and a wide range: what a threshold among them has to deal with.
LOSSES = st.lists(st.sampled_from([0.0, 1e-30, 0.5, 0.5000001, 1.0, 3.0, 1e30]), min_size=2, max_size=40)


@given(LOSSES, st.data())
def test_hard_pixels_of_parts_are_those_of_the_whole(values, data):
    losses = torch.tensor(values)
    count = data.draw(st.integers(1, len(values)))
    cut = data.draw(st.integers(0, len(values)))
    parts = losses[:cut], losses[cut:]
    hard = find_hard_pixels(losses, count)
    mean = sum(hard.mean(part) for part in parts)
    assert mean.item() == pytest.approx(torch.topk(losses, count).values.mean().item(), rel=1e-5)


def test_hard_pixels_are_found_by_processes_that_see_only_their_own():
    losses = torch.rand(2, 1000, generator=torch.Generator().manual_seed(0)) ** 4
    found, barrier, shared = {}, threading.Barrier(2), {}

    def process(rank):
        calls = iter(range(10))

        def total(values):
            shared[rank, call := next(calls)] = values
            barrier.wait()
            return sum(shared[r, call] for r in range(2))

        found[rank] = find_hard_pixels(losses[rank], 300, total)

    threads = [threading.Thread(target=process, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0] == found[1]
    assert found[0].threshold == torch.topk(losses.flatten(), 300).values.min()


def test_a_loss_that_is_no_number_shows():
    losses = torch.tensor([1.0, 2.0, float("nan"), 3.0])
    for count in (1, 2, 4):
        assert find_hard_pixels(losses, count).mean(losses).isnan()


@pytest.mark.parametrize(("top_k", "per"), [(0.2, "batch"), (0.2, "image"), (1.0, "batch")])
def test_losses_and_gradients_of_parts_add_up_to_those_of_the_batch(top_k, per):
    torch.manual_seed(0)
    predictions = Predictions(torch.randn(3, 4, 4, 6), torch.randn(3, 1, 4, 6), torch.randn(3, 2, 4, 6))
    targets = PanopticTargets(
        sem_seg=torch.randint(0, 4, (3, 16, 24)),
        center=torch.rand(3, 16, 24),
        offset=torch.randn(3, 2, 16, 24),
        sem_seg_weights=torch.randint(1, 4, (3, 16, 24)).float(),
        center_weights=torch.randint(0, 2, (3, 1, 16, 24)).float(),
        offset_weights=torch.randint(0, 2, (3, 1, 16, 24)).float(),
        center_points=torch.empty(3, 0, 2),
    )
    config = LossConfig(semantic_top_k=top_k, normalization=per)
    leaves = [x.clone().requires_grad_() for x in predictions]
    whole = panoptic_losses(Predictions(*leaves), targets, config)
    whole["total"].backward()

    cuts = (slice(0, 1), slice(1, 3))
    parts = [PanopticTargets(*(field[cut] for field in targets)) for cut in cuts]
    batch = whole_batch(parts)
    logits = upsample_predictions(predictions.semantic, (16, 24))
    losses = pixel_losses(logits, targets.sem_seg, targets.sem_seg_weights)
    batch = batch._replace(hardest=find_hard_pixels(losses, hard_pixel_count(losses, top_k)))
    again = [x.clone().requires_grad_() for x in predictions]
    summed = dict.fromkeys(whole, 0.0)
    for cut, part in zip(cuts, parts, strict=True):
        found = panoptic_losses(Predictions(*(x[cut] for x in again)), part, config, whole=batch)
        found["total"].backward()
        summed = {name: summed[name] + value.item() for name, value in found.items()}
    assert summed == pytest.approx({name: value.item() for name, value in whole.items()}, rel=1e-5)
    for one, other in zip(leaves, again, strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-6)


def test_each_image_counts_as_much_as_any_other():
    """Two images of one error each, one of which has ten times as many pixels with a weight."""
    losses = torch.zeros(3, 4, 5)
    losses[0, :2] = 4.0
    losses[1, 0, 0] = 2.0  # and the third has none
    assert mean_per_image(losses) == (4.0 + 2.0 + 0.0) / 3
    # The hardest quarter of 20 pixels is 5: of the second image one pixel alone has a loss.
    losses[0, 0, 0] = 14.0
    assert mean_per_image(losses, 0.25) == ((14.0 + 4 * 4.0) / 5 + 2.0) / 3


def test_images_of_a_batch_do_not_share_a_normalization():
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(2, 3, 6, 7, generator=generator), torch.zeros(2, 6, 7, dtype=torch.int64)
    labels[1, 1:] = 255
    weights = torch.ones(2, 6, 7)
    alone = [
        semantic_loss_per_image(logits[i : i + 1], labels[i : i + 1], weights[i : i + 1]) for i in (0, 1)
    ]
    together = semantic_loss_per_image(logits, labels, weights)
    torch.testing.assert_close(together, sum(alone) / 2)
    assert together != semantic_loss(logits, labels, weights)


def test_nothing_to_learn_is_no_loss_and_has_a_gradient_per_image():
    heatmap = torch.zeros(2, 1, 3, 3, requires_grad=True)
    loss = center_loss_per_image(heatmap, torch.zeros(2, 3, 3), torch.zeros(2, 1, 3, 3))
    loss += offset_loss_per_image(
        heatmap.repeat(1, 2, 1, 1), torch.zeros(2, 2, 3, 3), torch.zeros(2, 1, 3, 3)
    )
    loss.backward()
    assert loss == 0
    assert not heatmap.grad.isnan().any()
