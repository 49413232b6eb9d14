#!/usr/bin/env python3
"""Write a model repository for Triton Inference Server (Python backend) around a trained model."""

import argparse
import shutil
import sys
from pathlib import Path

from panodeeplab import Predictor

HERE = Path(__file__).resolve().parent

# max_batch_size counts images of one size: Triton puts only equal shapes into a batch.
CONFIG = """\
name: "panoptic"
backend: "python"
max_batch_size: {max_batch_size}
input [
  {{
    name: "IMAGE"
    data_type: TYPE_UINT8
    dims: [ -1, -1, 3 ]
  }}
]
output [
  {{
    name: "PANOPTIC"
    data_type: TYPE_INT32
    dims: [ -1, -1 ]
  }},
  {{
    name: "SEGMENTS"
    data_type: TYPE_STRING
    dims: [ 1 ]
  }}
]
instance_group [
  {{
    count: 1
    kind: {kind}
  }}
]
dynamic_batching {{
  max_queue_delay_microseconds: 1000
}}
parameters: {{
  key: "checkpoint"
  value: {{ string_value: "{checkpoint}" }}
}}
"""


def make_repository(
    output: Path, *, checkpoint: str = "street-tiny", gpu: bool = False, max_batch_size: int = 4
) -> Path:
    """Write `output/panoptic` with its configuration, its code and a copy of the checkpoint.

    Args:
        output: the repository; other models may lie in it.
        checkpoint: a file ending in .safetensors, or the name of a bundled model.
        gpu: whether each GPU of the server gets an instance, instead of one on the CPU.
        max_batch_size: images of one size that go through the network together.

    Returns:
        The model's folder.

    Raises:
        FileNotFoundError: no such checkpoint.
        ValueError: not a checkpoint, or another argument is wrong.
        FileExistsError: the model's folder is there already.
    """
    if max_batch_size < 1:
        raise ValueError(f"max_batch_size must be at least 1, got {max_batch_size}")
    Predictor.from_checkpoint(checkpoint)  # A server is a bad place to find out that it cannot be loaded.
    model = output / "panoptic"
    model.mkdir(parents=True)
    version = model / "1"
    version.mkdir()
    shutil.copyfile(HERE / "model.py", version / "model.py")
    # A bundled model comes with the package, so that its name is enough.
    name = checkpoint
    if Path(checkpoint).is_file():
        name = "model.safetensors"
        shutil.copyfile(checkpoint, version / name)
    kind = "KIND_GPU" if gpu else "KIND_CPU"
    config = CONFIG.format(max_batch_size=max_batch_size, kind=kind, checkpoint=name)
    (model / "config.pbtxt").write_text(config)
    return model


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path, help="folder of the model repository")
    parser.add_argument("--checkpoint", default="street-tiny", help="default: %(default)s")
    parser.add_argument("--gpu", action="store_true", help="an instance on each GPU")
    parser.add_argument("--max-batch-size", type=int, default=4, help="default: %(default)s")
    args = parser.parse_args()
    try:
        model = make_repository(
            args.output, checkpoint=args.checkpoint, gpu=args.gpu, max_batch_size=args.max_batch_size
        )
    except FileExistsError as error:
        print(f"output: {error.filename} exists already", file=sys.stderr)
        return 2
    except (ValueError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"wrote {model}; serve it with tritonserver --model-repository={args.output.resolve()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
