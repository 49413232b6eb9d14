"""Panoptic segmentation on Triton's Python backend: images in, panoptic maps and their segments out."""

import json
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

from panodeeplab import Predictor


class TritonPythonModel:
    """IMAGE (N, H, W, 3) uint8 RGB → PANOPTIC (N, H, W) int32 and SEGMENTS (N, 1) JSON text."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the checkpoint that config.pbtxt names, onto the device of this instance."""
        config = json.loads(args["model_config"])
        checkpoint = config["parameters"]["checkpoint"]["string_value"]
        beside = Path(args["model_repository"]) / args["model_version"] / checkpoint
        on_gpu = args["model_instance_kind"] == "GPU"
        self._predictor = Predictor.from_checkpoint(
            beside if beside.is_file() else checkpoint,
            device=f"cuda:{args['model_instance_device_id']}" if on_gpu else "cpu",
        )

    def execute(self, requests: list) -> list:
        """Answer requests; images of one size, of all of them, go through the network together."""
        batches, errors = [], []
        for request in requests:
            images = pb_utils.get_input_tensor_by_name(request, "IMAGE").as_numpy()
            wrong = images.ndim != 4 or images.shape[3] != 3 or images.size == 0
            errors.append(f"IMAGE must be (N, H, W, 3) uint8 RGB, got {images.shape}" if wrong else None)
            batches.append([] if wrong else list(images))
        try:
            results = iter(self._predictor([image for batch in batches for image in batch]))
        except Exception as error:
            # Triton takes an answer for each request, or the instance is restarted.
            results, errors = iter(()), [old or f"segmentation failed: {error}" for old in errors]
        responses = []
        for batch, error in zip(batches, errors, strict=True):
            if error is not None:
                failure = pb_utils.TritonError(error)
                responses.append(pb_utils.InferenceResponse(output_tensors=[], error=failure))
                continue
            seen = [next(results) for _ in batch]
            maps = np.stack([result.panoptic for result in seen])
            texts = [json.dumps([s._asdict() for s in result.segments]).encode() for result in seen]
            tensors = [
                pb_utils.Tensor("PANOPTIC", maps),
                pb_utils.Tensor("SEGMENTS", np.array(texts, np.object_).reshape(-1, 1)),
            ]
            responses.append(pb_utils.InferenceResponse(output_tensors=tensors))
        return responses
