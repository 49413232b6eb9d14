"""Score another system's panoptic predictions: a model of transformers, from images to `panodeeplab score`.

    pip install "panodeeplab[peers,score]"
    python examples/score_a_peer.py --output peer
    panodeeplab score --gt peer/truth.json --pred peer/prediction.json

The model is a tiny Mask2Former with random weights, so that nothing is downloaded and the scores are near 0.
For a real one give its name, `--model facebook/mask2former-swin-tiny-cityscapes-panoptic`, and transformers
downloads it; its classes must be Cityscapes' 19 in the usual order. The images are generated streets, whose
truth is known.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from transformers import (
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    Mask2FormerImageProcessor,
    SwinConfig,
)

from panodeeplab.classes import CITYSCAPES
from panodeeplab.data.coco_writer import PanopticWriter
from panodeeplab.data.scenes import render_scene
from panodeeplab.evaluation.score import score


def tiny_model() -> tuple[Mask2FormerForUniversalSegmentation, Mask2FormerImageProcessor]:
    """Random weights; more than enough to see how the formats fit together."""
    stages = ["stage1", "stage2", "stage3", "stage4"]
    backbone = SwinConfig(
        embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=4, out_features=stages
    )
    config = Mask2FormerConfig(
        backbone_config=backbone,
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=32,
        dim_feedforward=32,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=2,
        num_queries=20,
        num_labels=len(CITYSCAPES),
    )
    torch.manual_seed(0)
    return Mask2FormerForUniversalSegmentation(config), Mask2FormerImageProcessor(do_resize=False)


def panoptic_map(result: dict, label_divisor: int = 1000) -> tuple[np.ndarray, dict[int, float]]:
    """What `post_process_panoptic_segmentation` gives for an image, in the ids of this project.

    Args:
        result: with "segmentation" (H, W) and "segments_info". Made without `label_ids_to_fuse`: stuff of one
            class becomes one segment here, since its id has instance 0.
        label_divisor: of the ids.

    Returns:
        (H, W) int32, `category * label_divisor + instance`, -1 where there is nothing; and the score by id.
    """
    segmentation = result["segmentation"].numpy()
    panoptic = np.full(segmentation.shape, -1, np.int32)
    scores: dict[int, float] = {}
    instances = dict.fromkeys(CITYSCAPES.thing_ids, 0)
    for segment in result["segments_info"]:
        category = segment["label_id"]
        if category in instances:
            instances[category] += 1
        panoptic_id = category * label_divisor + instances.get(category, 0)
        panoptic[segmentation == segment["id"]] = panoptic_id
        scores[panoptic_id] = max(segment["score"], scores.get(panoptic_id, 0.0))
    return panoptic, scores


@torch.inference_mode()
def run(
    output: Path, *, model: str | None = None, count: int = 2, size: tuple[int, int] = (128, 256)
) -> dict:
    """Predict generated streets, write truth and predictions as COCO panoptic files, and score them."""
    if model is None:
        network, processor = tiny_model()
        # Random weights are never sure.
        thresholds = dict.fromkeys(("threshold", "mask_threshold", "overlap_mask_area_threshold"), 0.0)
    else:
        network = Mask2FormerForUniversalSegmentation.from_pretrained(model)
        processor = Mask2FormerImageProcessor.from_pretrained(model)
        thresholds = {}
    network.eval()
    with (
        PanopticWriter(output, CITYSCAPES, name="truth") as truth,
        PanopticWriter(output, CITYSCAPES, name="prediction") as prediction,
    ):
        for seed in range(count):
            street = render_scene(seed, size)
            truth.add_truth(
                street.panoptic,
                street.segments_info,
                image_id=street.image_id,
                image_file=f"{street.image_id}.png",
            )
            inputs = processor([street.image], return_tensors="pt")
            (result,) = processor.post_process_panoptic_segmentation(
                network(**inputs), label_ids_to_fuse=set(), target_sizes=[size], **thresholds
            )
            panoptic, scores = panoptic_map(result)
            prediction.add(
                panoptic, image_id=street.image_id, image_file=f"{street.image_id}.png", scores=scores
            )
    return score(truth.json_path, prediction.json_path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("peer"), help="folder (default: %(default)s)")
    parser.add_argument("--model", help="name of a Mask2Former on the hub (default: tiny, random weights)")
    parser.add_argument("--count", type=int, default=2, help="streets (default: %(default)s)")
    args = parser.parse_args()
    scores = run(args.output, model=args.model, count=args.count)
    print("PQ", {name: round(100 * scores[name]["pq"], 2) for name in ("All", "Things", "Stuff")})
    print(f"panodeeplab score --gt {args.output}/truth.json --pred {args.output}/prediction.json")


if __name__ == "__main__":
    main()
