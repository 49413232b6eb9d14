"""The CUDA kernels give the reference's bits on a GPU: any input, stream, graph, batch and dtype.

    PANODEEPLAB_CUDA=1 pip install --no-build-isolation --no-deps . && pytest tests/gpu

Skipped where there is no GPU; tests/ops/test_emulated_cuda.py runs the same kernels' bodies on the CPU.
"""

import math
import threading

import pytest
import torch
from calls import by_reference
from hypothesis import given, settings
from hypothesis import strategies as st
from street import THINGS, street
from test_backends_agree import calls
from test_votes import calls_with_votes

from panodeeplab.ops import panoptic_segmentation

STREET = {"stride": 4, "thing_ids": THINGS, "stuff_area": 100}

SOURCES = {
    "heatmap": {},
    "votes": {"center_source": "votes"},
    "votes by class": {"center_source": "votes", "class_aware_votes": True},
    "both": {"center_source": "both"},
    "both by class": {"center_source": "both", "class_aware_votes": True},
}
any_source = pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)


def assert_equal(ours, theirs):
    for name, a, b in zip(ours._fields, ours, theirs, strict=True):
        a, b = a.cpu(), b.cpu()
        assert torch.equal(a, b), f"{name} differs in {(a != b).sum()} of {a.numel()} places"


def assert_same(maps, **arguments):
    """Whether the kernels give what the reference gives on the CPU."""
    ours = panoptic_segmentation(*(m.cuda() for m in maps), **arguments)
    assert_equal(ours, by_reference(*maps, **arguments))
    return ours


@settings(max_examples=400, deadline=None)
@given(calls())
def test_any_maps(call):
    maps, arguments = call
    assert_same(maps, **arguments)


@settings(max_examples=400, deadline=None)
@given(calls_with_votes())
def test_any_maps_with_votes(call):
    maps, arguments = call
    assert_same(maps, **arguments)


@settings(max_examples=50, deadline=None)
@given(calls() | calls_with_votes())
def test_the_cpu_kernel_gives_the_same(call):
    maps, arguments = call
    ours = panoptic_segmentation(*(m.cuda() for m in maps), **arguments)
    assert_equal(ours, panoptic_segmentation(*maps, **arguments))


@settings(max_examples=30, deadline=None)
@given(calls() | calls_with_votes())
def test_the_reference_gives_the_same_on_the_gpu(call):
    maps, arguments = call
    maps = [m.cuda() for m in maps]
    assert_equal(panoptic_segmentation(*maps, **arguments), by_reference(*maps, **arguments))


@any_source
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("stride", [1, 2, 3, 4, 7, 8, 16])
def test_large_streets(stride, align_corners, source):
    """Many blocks at once; the CPU kernel is what there is to compare with at this size."""
    maps = street(h=256 // min(stride, 4), w=512 // min(stride, 4), instances=60, seed=stride)
    arguments = STREET | source | {"stride": stride, "align_corners": align_corners, "vote_threshold": 8}
    ours = panoptic_segmentation(*(m.cuda() for m in maps), **arguments, semantic_probability=True)
    assert_equal(ours, panoptic_segmentation(*maps, **arguments, semantic_probability=True))
    assert ours.num_segments.item() > 20


@any_source
def test_many_repetitions_give_the_same(source):
    """A race would show now and then."""
    maps = [m.cuda() for m in street(h=128, w=256, instances=40, seed=1)]
    arguments = STREET | source | {"semantic_probability": True}
    first = panoptic_segmentation(*maps, **arguments)
    for _ in range(300):
        assert_equal(panoptic_segmentation(*maps, **arguments), first)


@pytest.mark.parametrize("class_aware", [False, True])
@pytest.mark.parametrize("source", ["votes", "both"])
@pytest.mark.parametrize("spread", [0.0, 3.0, 300.0])
def test_all_samples_vote(spread, source, class_aware):
    """For one place, for many, or all over the image: much contention, or many places."""
    h, w, generator = 200, 300, torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    offset = torch.stack((h // 2 - y, w // 2 - x))[None].float()
    offset += spread * torch.randn(offset.shape, generator=generator)
    semantic = torch.randn(1, 3, h, w, generator=generator)
    maps = (semantic, torch.rand(1, 1, h, w, generator=generator), offset)
    arguments = {"stride": 2, "thing_ids": (0, 1, 2), "top_k": 3000, "label_divisor": 9999}
    arguments |= {"center_source": source, "vote_threshold": 10, "class_aware_votes": class_aware}
    ours = panoptic_segmentation(*(m.cuda() for m in maps), **arguments)
    assert_equal(ours, panoptic_segmentation(*maps, **arguments))
    assert ours.num_centers.item() > 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "odd_width", "flipped", "offset_address"])
def test_dtypes_and_layouts(dtype, layout):
    maps = street(h=60, w=99 if layout == "odd_width" else 100, seed=3)
    maps = [torch.cat((m, m.flip(3))).to(dtype) for m in maps]
    if layout == "channels_last":
        maps = [m.contiguous(memory_format=torch.channels_last) for m in maps]
    if layout == "flipped":
        maps = [m.transpose(2, 3).contiguous().transpose(2, 3) for m in maps]
    if layout == "offset_address":
        maps = [torch.cat((m.flatten()[:1], m.flatten())).cuda()[1:].view(m.shape) for m in maps]
    ours = panoptic_segmentation(*(m.cuda() for m in maps), **STREET, semantic_probability=True)
    assert_equal(ours, by_reference(*(m.cpu() for m in maps), **STREET, semantic_probability=True))


@any_source
def test_a_batch_is_its_images(source):
    images = [street(h=64, w=128, seed=n) for n in range(9)]
    arguments = STREET | source
    both = panoptic_segmentation(*(torch.cat(m).cuda() for m in zip(*images, strict=True)), **arguments)
    for n, maps in enumerate(images):
        alone = panoptic_segmentation(*maps, **arguments)
        for ours, theirs in zip(both, alone, strict=True):
            assert torch.equal(ours[n].cpu(), theirs[0])


@any_source
def test_more_images_than_a_launch_takes(source):
    maps = [m.expand(70000, -1, -1, -1).contiguous().cuda() for m in street(h=2, w=3, instances=1)]
    maps[0][::2] = 0
    arguments = {"stride": 1, "thing_ids": THINGS, "stuff_area": 0, "top_k": 3, "vote_threshold": 1} | source
    result = panoptic_segmentation(*maps, **arguments)
    for n in (0, 1):
        alone = by_reference(*(m[n : n + 1].cpu() for m in maps), **arguments)
        for ours, theirs in zip(result, alone, strict=True):
            assert (ours[n::2].cpu() == theirs).all()


def test_no_image():
    result = panoptic_segmentation(*(m[:0].cuda() for m in street()), **STREET)
    assert result.panoptic.shape == (0, 96, 160)


@pytest.mark.parametrize("top_k", [1, 1024, 1025, 65536])
def test_65535_instances(top_k):
    """A plateau of 256 x 256 peaks less one; each pixel is a thing of its own."""
    maps = [torch.zeros(1, c, 256, 256) for c in (3, 1, 2)]
    maps[0][:, 1] = torch.rand(256, 256, generator=torch.Generator().manual_seed(0)) - 0.5
    maps[1].fill_(0.5)
    maps[1][..., 77, 99] = 0
    arguments = {"stride": 1, "thing_ids": (0, 1), "nms_kernel": 1, "top_k": top_k, "label_divisor": 100000}
    ours = panoptic_segmentation(*(m.cuda() for m in maps), **arguments)
    assert ours.num_centers.item() == (65535 if top_k > 65535 else 0)
    if top_k > 65535:
        assert ours.panoptic.unique().numel() >= 65535
    assert_equal(ours, panoptic_segmentation(*maps, **arguments))


@any_source
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("which", range(3))
def test_whole_maps_of_what_is_not_a_number(which, value, source):
    maps = list(street(h=60, w=90))
    maps[which] = torch.full_like(maps[which], value)
    assert_same(maps, **STREET, **source, semantic_probability=True)


@any_source
@pytest.mark.parametrize("classes", [1, 33, 133, 1000])
def test_any_number_of_classes(classes, source):
    generator = torch.Generator().manual_seed(classes)
    maps = (
        torch.randn(1, classes, 20, 70, generator=generator),
        torch.rand(1, 1, 20, 70, generator=generator),
        torch.randn(1, 2, 20, 70, generator=generator),
    )
    arguments = {"thing_ids": range(0, classes, 3), "stuff_area": 0, "semantic_probability": True}
    assert_same(maps, stride=4, vote_threshold=10, **arguments, **source)


@any_source
def test_any_stream(source):
    """Two streams at once, each with inputs that are still being made when the op is called."""
    images = [street(h=128, w=256, seed=n) for n in range(2)]
    expected = [panoptic_segmentation(*maps, **STREET, **source) for maps in images]
    streams = [torch.cuda.Stream() for _ in images]
    results = []
    for stream, maps in zip(streams, images, strict=True):
        with torch.cuda.stream(stream):
            late = [m.cuda() for m in maps]
            for _ in range(50):  # busy for a while
                torch.mm(torch.ones(2048, 2048, device="cuda"), torch.ones(2048, 2048, device="cuda"))
            late = [m + 0 for m in late]
            results.append(panoptic_segmentation(*late, **STREET, **source))
    torch.cuda.synchronize()
    for ours, theirs in zip(results, expected, strict=True):
        assert_equal(ours, theirs)


def test_any_thread():
    maps = street(h=64, w=128, seed=5)
    expected, results = panoptic_segmentation(*maps, **STREET), []

    def run():
        results.append(panoptic_segmentation(*(m.cuda() for m in maps), **STREET))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for ours in results:
        assert_equal(ours, expected)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs a second GPU")
def test_the_device_of_the_tensors():
    maps = street(seed=6)
    ours = panoptic_segmentation(*(m.to("cuda:1") for m in maps), **STREET)
    assert torch.cuda.current_device() == 0
    assert ours.panoptic.device.index == 1
    assert_equal(ours, panoptic_segmentation(*maps, **STREET))


@any_source
def test_it_waits_for_nothing(source):
    maps = [m.cuda() for m in street()]
    panoptic_segmentation(*maps, **STREET, **source)
    torch.cuda.set_sync_debug_mode("error")
    try:
        panoptic_segmentation(*maps, **STREET, **source)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@any_source
@pytest.mark.parametrize("probability", [False, True])
def test_a_graph_is_captured_once_and_replayed_on_other_input(probability, source):
    arguments = STREET | source | {"semantic_probability": probability}
    held = [m.cuda() for m in street(h=64, w=128, seed=0)]
    panoptic_segmentation(*held, **arguments)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = panoptic_segmentation(*held, **arguments)
    for seed in range(5):
        maps = street(h=64, w=128, instances=3 * seed, seed=seed)
        for x, y in zip(held, maps, strict=True):
            x.copy_(y)
        graph.replay()
        assert_equal(result, panoptic_segmentation(*maps, **arguments))


def test_compiled_with_cuda_graphs():
    def doubled(semantic, center, offset):
        return panoptic_segmentation(semantic * 2, center, offset + 0, **STREET)

    torch.compiler.reset()
    compiled = torch.compile(doubled, mode="reduce-overhead", fullgraph=True)
    for seed in range(5):
        maps = street(h=64, w=128, seed=seed)
        torch.compiler.cudagraph_mark_step_begin()
        assert_equal(compiled(*(m.cuda() for m in maps)), doubled(*maps))


@pytest.mark.parametrize("source", ["heatmap", "votes", "both"])
def test_opcheck(source):
    maps = [m.cuda() for m in street(8, 9)]
    arguments = (*maps, 4, False, 32, 36, list(THINGS), 0.1, 7, 200, 100, 1000, -1, True, source, 64, True)
    torch.library.opcheck(torch.ops.panodeeplab.panoptic_segmentation.default, arguments)


@settings(max_examples=40, deadline=None)
@given(call=calls() | calls_with_votes(), offset=st.integers(1, 3))
def test_what_memory_held_before_does_not_matter(call, offset):
    """Outputs and scratch memory come from blocks that torch hands out again."""
    maps, arguments = call
    filler = [
        torch.full((n * offset,), 0x5A5A5A5A, dtype=torch.int32, device="cuda") for n in (100, 10000, 1000000)
    ]
    del filler
    assert_same(maps, **arguments)
