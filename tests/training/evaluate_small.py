"""The bundled model's scores on five streets, counted by all processes together; the last one prints them."""

import json

import torch

from panodeeplab.data.scenes import StreetScenes
from panodeeplab.inference.predictor import Predictor
from panodeeplab.training.distributed import process_group, rank, world_size
from panodeeplab.training.evaluation import evaluate_together

if __name__ == "__main__":
    predictor = Predictor.from_checkpoint("street-tiny", class_map=True, backend="eager")
    with process_group(torch.device("cpu")):
        scenes = StreetScenes(5, size=(128, 256), seed=1)
        scores = evaluate_together(predictor, scenes, label_divisor=1000, stop=lambda: False)
        if rank() == world_size() - 1:
            print(json.dumps(scores))
