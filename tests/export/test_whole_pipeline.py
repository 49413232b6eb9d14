"""Post-processing inside of an ONNX file: equal to the reference in every pixel."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from panodeeplab import ops
from panodeeplab.classes import CITYSCAPES, ClassTable
from panodeeplab.config import InferenceConfig, PostprocessConfig
from panodeeplab.export.library import OUTPUTS, append_library, library_path
from panodeeplab.export.metadata import Metadata
from panodeeplab.export.operators import append_operators

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

FIVE = ClassTable("five", tuple("abcde"), ((0, 0, 0),) * 5, (1, 3, 4), tuple(range(5)))


def describe(classes=FIVE, align_corners=False, **config):
    return Metadata(
        classes=classes,
        postprocess=PostprocessConfig(**config),
        inference=InferenceConfig(),
        align_corners=align_corners,
        pixel_mean=(0.0,) * 3,
        pixel_std=(1.0,) * 3,
        outputs="panoptic",
    )


def only_postprocessing(append, metadata):
    """A model of nothing but the post-processing: images for their size, and the maps."""
    helper, kind = onnx.helper, onnx.TensorProto
    maps = [
        helper.make_tensor_value_info(name, kind.FLOAT, ["batch", channels, "rows", "columns"])
        for name, channels in (("semantic", len(metadata.classes)), ("center", 1), ("offset", 2))
    ]
    images = helper.make_tensor_value_info("images", kind.UINT8, ["batch", "height", "width", 3])
    graph = helper.make_graph([], "postprocessing", [images, *maps], [])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    append(model, metadata)
    options = onnxruntime.SessionOptions()
    options.register_custom_ops_library(str(library_path()))
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def expected(maps, size, metadata):
    config = metadata.postprocess
    return ops.panoptic_segmentation(
        *map(torch.from_numpy, maps),
        stride=4,
        align_corners=metadata.align_corners,
        output_size=size,
        thing_ids=metadata.classes.thing_ids,
        semantic_probability=True,
        **config.model_dump(exclude={"instance_score"}),
    )


def check(session, maps, size, metadata):
    images = np.zeros((len(maps[0]), *size, 3), np.uint8)
    found = session.run(
        None, {"images": images, **dict(zip(("semantic", "center", "offset"), maps, strict=True))}
    )
    wanted = expected(maps, size, metadata)
    for output, ours in zip(session.get_outputs(), found, strict=True):
        np.testing.assert_array_equal(ours, getattr(wanted, output.name).numpy(), err_msg=output.name)


def random_maps(seed, batch, rows, columns, classes=5):
    """Few distinct values, so that there are ties, plateaus, too many centers; and hostile ones."""
    random = np.random.default_rng(seed)
    semantic = random.integers(-3, 4, (batch, classes, rows, columns)).astype(np.float32)
    center = random.choice([0.0, 0.2, 0.5, 0.9], (batch, 1, rows, columns)).astype(np.float32)
    offset = random.normal(0, 3, (batch, 2, rows, columns)).astype(np.float32)
    for maps in (semantic, center, offset):
        strange = random.random(maps.shape) < 0.01
        maps[strange] = random.choice([np.nan, np.inf, -np.inf, 3e38], strange.sum())
    return semantic, center, offset


@pytest.fixture(scope="module")
def sessions():
    metadata = describe(center_threshold=0.3, top_k=12, stuff_area=9, label_divisor=100)
    return metadata, [only_postprocessing(append, metadata) for append in (append_operators, append_library)]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    batch=st.integers(1, 2),
    rows=st.integers(1, 9),
    columns=st.integers(1, 9),
    cut=st.tuples(st.integers(0, 3), st.integers(0, 3)),
)
def test_hostile_maps(sessions, seed, batch, rows, columns, cut):
    metadata, both = sessions
    maps = random_maps(seed, batch, rows, columns)
    for session in both:
        check(session, maps, (4 * rows - cut[0], 4 * columns - cut[1]), metadata)


@pytest.mark.parametrize("append", [append_operators, append_library])
@pytest.mark.parametrize(
    "metadata",
    [
        describe(align_corners=True, stuff_area=0, center_threshold=0.1, nms_kernel=3),
        describe(classes=replace(FIVE, thing_ids=())),
        describe(classes=replace(FIVE, thing_ids=(0, 1, 2, 3, 4)), nms_kernel=41),
        describe(center_threshold=5.0),
    ],
    ids=["align_corners", "stuff only", "things only", "no center"],
)
def test_other_settings(append, metadata):
    size = (29, 37) if metadata.align_corners else (32, 39)
    maps = random_maps(0, 1, 8, 10)
    check(only_postprocessing(append, metadata), maps, size, metadata)


@pytest.mark.parametrize("center_source", ["votes", "both"])
def test_centers_from_votes_need_the_library(center_source):
    metadata = describe(center_source=center_source, vote_threshold=3, class_aware_votes=True)
    maps = random_maps(1, 2, 8, 10)
    check(only_postprocessing(append_library, metadata), maps, (32, 40), metadata)
    with pytest.raises(ValueError, match="export it with postprocess 'library'"):
        only_postprocessing(append_operators, metadata)


@pytest.mark.parametrize("append", [append_operators, append_library])
def test_whole_pipeline_in_one_file(append, onnx_file, frame):
    """From the image to the map, against the maps of the same network."""
    network = onnxruntime.InferenceSession(str(onnx_file))
    model = onnx.load(onnx_file)
    metadata = replace(describe(CITYSCAPES, stuff_area=256, center_threshold=0.3))
    append(model, metadata)
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.register_custom_ops_library(str(library_path()))
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    images = np.stack([frame[:90, :131], frame[100:190, 200:331]])
    maps = network.run(None, {"images": images})
    wanted = expected(maps, (90, 131), metadata)
    assert len(wanted.panoptic.unique()) > 3
    found = session.run(["panoptic", "num_segments"], {"images": images})
    np.testing.assert_array_equal(found[0], wanted.panoptic.numpy())
    np.testing.assert_array_equal(found[1], wanted.num_segments.numpy())


def test_shapes_that_do_not_fit_are_an_error_and_not_a_crash(sessions):
    _, (_, library) = sessions
    semantic, center, offset = random_maps(0, 1, 4, 4)
    images = np.zeros((1, 16, 16, 3), np.uint8)
    feed = {"images": images, "semantic": semantic, "center": center[..., :3], "offset": offset}
    with pytest.raises(Exception, match="the shapes of the inputs do not fit"):
        library.run(None, feed)
    with pytest.raises(Exception, match="out of range"):
        library.run(None, feed | {"images": np.zeros((1, 99, 16, 3), np.uint8), "center": center})


def test_outputs_of_the_library_are_those_of_the_op():
    assert ops.PanopticOutput._fields == OUTPUTS


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="no list of what is loaded")
def test_the_library_stays_loaded():
    """ONNX Runtime unloads it with its last session; the threads of its kernels would wake up in nothing."""
    program = f"""
import gc, onnxruntime
library = {str(library_path())!r}
options = onnxruntime.SessionOptions()
options.register_custom_ops_library(library)
del options
gc.collect()
assert library in open("/proc/self/maps").read()
"""
    subprocess.run([sys.executable, "-c", program], check=True)
