"""Pictures of a run for TensorBoard: what the network was given, what it said, and what was true."""

import torch
from torch.utils.tensorboard import SummaryWriter

from panodeeplab.config import RunConfig
from panodeeplab.data.sample import PanopticDataset
from panodeeplab.data.transforms import EvalTransform
from panodeeplab.inference.predictor import Predictor
from panodeeplab.visualize import (
    color_panoptic,
    draw_center_heatmap,
    draw_offset,
    draw_panoptic,
    panoptic_from_segments,
)

# Enough to see progress; more would fill the disk.
_IMAGES = 4


@torch.inference_mode()
def write_pictures(
    board: SummaryWriter,
    predictor: Predictor,
    dataset: PanopticDataset,
    *,
    config: RunConfig,
    iteration: int,
) -> None:
    """Add input, truth, prediction, centre heatmap and offsets of the first images to TensorBoard."""
    divisor = config.postprocess.label_divisor
    resize = EvalTransform(config.inference.input_size)
    for i in range(min(_IMAGES, len(dataset))):
        sample = resize(dataset[i])
        truth = panoptic_from_segments(
            sample.panoptic, sample.segments_info, dataset.classes, label_divisor=divisor
        )
        result = predictor(sample.image)
        batch = torch.from_numpy(sample.image).permute(2, 0, 1)[None].to(predictor.device)
        predictions = predictor.network(batch)
        semantic = predictions.semantic[0].argmax(0).cpu().numpy()
        things = torch.isin(torch.from_numpy(semantic), torch.tensor(dataset.classes.thing_ids)).numpy()
        pictures = {
            "input": sample.image,
            "truth": color_panoptic(truth, dataset.classes, label_divisor=divisor),
            "prediction": draw_panoptic(
                sample.image,
                result.panoptic,
                dataset.classes,
                label_divisor=divisor,
                segments=result.segments,
            ),
            "center": draw_center_heatmap(predictions.center[0].float().cpu().numpy(), image=sample.image),
            "offset": draw_offset(predictions.offset[0].float().cpu().numpy(), mask=things),
        }
        for name, picture in pictures.items():
            board.add_image(f"{i}/{name}", picture, iteration, dataformats="HWC")
