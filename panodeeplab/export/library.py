"""The post-processing as one ONNX operator, which ONNX Runtime loads from a library of the compiled core."""

import importlib.util
import shutil
from pathlib import Path

from panodeeplab.export.metadata import Metadata
from panodeeplab.files import replacing
from panodeeplab.predictions import STRIDE

DOMAIN = "panodeeplab"
VOID_LABEL = -1
# Of the operator, in its order; see `panodeeplab.ops.PanopticOutput`. Those of floats are named again.
OUTPUTS = (
    "panoptic",
    "centers",
    "center_scores",
    "center_votes",
    "num_centers",
    "segment_ids",
    "segment_areas",
    "segment_boxes",
    "segment_centers",
    "segment_probabilities",
    "num_segments",
)
_FLOATS = ("center_scores", "segment_probabilities")
# PDL_CENTERS_... of ext/panoptic.h.
_SOURCES = ("heatmap", "votes", "both")


def library_path() -> Path:
    """The library that has the operator, for `onnxruntime.SessionOptions.register_custom_ops_library`.

    Raises:
        ModuleNotFoundError: it was not built.
    """
    found = importlib.util.find_spec("_panodeeplab_onnxruntime")
    if found is None or found.origin is None:
        raise ModuleNotFoundError(
            "_panodeeplab_onnxruntime is not installed: install panodeeplab with a C++ compiler to build it"
        )
    return Path(found.origin)


def copy_library(path: Path) -> None:
    """Write the library where it is to be deployed."""
    source = library_path()
    with replacing(path) as temporary:
        shutil.copy2(source, temporary)


def append_library(proto, metadata: Metadata) -> None:
    """End an ONNX model with the operator, so that it gives panoptic maps at the size of its images.

    Args:
        proto: `onnx.ModelProto` of `panodeeplab.export.onnx.network_to_onnx`; changed in place. Its outputs
            are those of `OUTPUTS` then.
        metadata: with the settings of the post-processing.
    """
    from onnx import TensorProto, helper

    graph, config, classes = proto.graph, metadata.postprocess, metadata.classes
    things = [int(index in classes.thing_ids) for index in range(len(classes))]
    graph.initializer.extend(
        [
            helper.make_tensor("is_thing", TensorProto.UINT8, [len(things)], things),
        ]
    )
    graph.node.extend(
        [
            helper.make_node("Shape", ["images"], ["size"], start=1, end=3),
            helper.make_node(
                "PanopticSegmentation",
                ["semantic", "center", "offset", "is_thing", "size"],
                list(OUTPUTS),
                domain=DOMAIN,
                stride=STRIDE,
                align_corners=int(metadata.align_corners),
                center_threshold=config.center_threshold,
                nms_kernel=config.nms_kernel,
                top_k=config.top_k,
                center_source=_SOURCES.index(config.center_source),
                vote_threshold=config.vote_threshold,
                class_aware_votes=int(config.class_aware_votes),
                stuff_area=config.stuff_area,
                label_divisor=config.label_divisor,
                void_label=VOID_LABEL,
            ),
        ]
    )
    top_k, segments = config.top_k, config.top_k + len(classes)
    shapes = {
        "panoptic": ["batch", "height", "width"],
        "centers": ["batch", top_k, 2],
        "segment_boxes": ["batch", segments, 4],
        "num_centers": ["batch"],
        "num_segments": ["batch"],
    }
    del graph.output[:]
    for name in OUTPUTS:
        shape = shapes.get(name, ["batch", top_k if name.startswith("center_") else segments])
        kind = TensorProto.FLOAT if name in _FLOATS else TensorProto.INT32
        graph.output.append(helper.make_tensor_value_info(name, kind, shape))
    proto.opset_import.append(helper.make_opsetid(DOMAIN, 1))
