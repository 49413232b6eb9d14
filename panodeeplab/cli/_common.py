"""What the modules of commands share."""

import argparse
from collections.abc import Callable

# Adds a subcommand: its name, the function that runs it, and what it does in a line.
Command = Callable[[str, Callable[[argparse.Namespace], int] | None, str], argparse.ArgumentParser]

OVERRIDE = {
    "action": "append",
    "default": [],
    "metavar": "SECTION.KEY=VALUE",
    "help": "change a setting of the run, as in training.learning_rate=1e-3; may be given several times",
}

BACKEND = {
    "choices": ["auto", "eager", "compile", "onnxruntime", "openvino", "aoti"],
    "help": "what runs the network (default: %(default)s)",
}

PRECISION = {
    "choices": ["auto", "float32", "bfloat16", "float16"],
    "help": "of the network (default: %(default)s)",
}

RESULT_FORMAT = {
    "choices": ["coco", "cityscapes"],
    "default": "coco",
    "help": "COCO panoptic files, or the folders for Cityscapes' server (default: %(default)s)",
}
