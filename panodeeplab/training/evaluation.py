"""Evaluation during training, shared out among the processes."""

from collections.abc import Callable
from typing import Any

from tqdm import tqdm

from panodeeplab.data.sample import PanopticDataset
from panodeeplab.evaluation.evaluate import Scores
from panodeeplab.inference.predictor import Predictor
from panodeeplab.training.distributed import gather, rank, world_size


def evaluate_together(
    predictor: Predictor, dataset: PanopticDataset, *, label_divisor: int, stop: Callable[[], bool]
) -> dict[str, Any] | None:
    """Scores of a model on a data set, equal to the last bit to those that one process would count.

    Process r of w takes images r, r + w, ... The scores of single images are then added in the order of the
    data set, in every process.

    Args:
        predictor: of the model, the same in all processes.
        dataset: images with ground truth.
        label_divisor: of the predicted ids.
        stop: whether to give up, asked before every image.

    Returns:
        What `panodeeplab.evaluation.evaluate.evaluate` returns; None if a process gave up.
    """
    mine: list[Scores] | None = []
    indices = range(rank(), len(dataset), world_size())
    for index in tqdm(indices, desc="evaluate", unit="image", leave=False, disable=rank() != 0):
        if stop():
            mine = None
            break
        sample = dataset[index]
        scores = Scores(dataset.classes, label_divisor=label_divisor)
        scores.update(predictor(sample.image), sample)
        mine.append(scores)
    shares = gather(mine)
    if any(share is None for share in shares):
        return None
    merged = Scores(dataset.classes, label_divisor=label_divisor)
    for index in range(len(dataset)):
        merged.merge(shares[index % world_size()][index // world_size()])
    return merged.result()
