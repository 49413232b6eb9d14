import json

import pytest
import torch
from PIL import Image

from panodeeplab.bench import PostprocessBench, sweep
from panodeeplab.cli import main


def test_a_sweep_varies_one_thing():
    bench = PostprocessBench(classes=7, seed=3, instances=12)
    by_instances, by_pixels = sweep.sweep_of(bench)
    assert [b.instances for b in by_instances] == list(sweep.INSTANCES)
    assert {(b.height, b.width, b.classes, b.seed) for b in by_instances} == {(1024, 2048, 7, 3)}
    assert [(b.height, b.width) for b in by_pixels] == list(sweep.SIZES)
    assert {(b.instances, b.classes, b.seed) for b in by_pixels} == {(12, 7, 3)}


@pytest.mark.parametrize("stride", [3, 64])
def test_a_sweep_has_whole_cells_and_enough_of_them(stride):
    bench = PostprocessBench(height=16 * stride, width=32 * stride, stride=stride)
    by_pixels = sweep.sweep_of(bench).by_pixels
    assert len(by_pixels) >= 4
    assert all(b.height % stride == b.width % stride == 0 for b in by_pixels)


def test_a_street_of_both_sweeps_is_measured_once(monkeypatch):
    measured = []
    monkeypatch.setattr(sweep, "measure_point", lambda bench: measured.append(bench))
    sweep.measure_all(sweep.sweep_of(PostprocessBench()))
    assert len(measured) == len(set(measured)) == len(sweep.INSTANCES) + len(sweep.SIZES) - 1


@pytest.fixture
def small(monkeypatch):
    """Sweeps of small streets, and the arguments that go with them."""
    monkeypatch.setattr(sweep, "INSTANCES", (2, 6))
    monkeypatch.setattr(sweep, "SIZES", ((64, 128), (128, 256)))
    monkeypatch.setattr(sweep, "CAREFUL_PIXELS", 64 * 128)
    size = ["--height", "64", "--width", "128", "--instances", "2"]
    return ["bench", "postprocess", *size, "--seconds", "0.01", "--threads", "1"]


def test_plot_measures_prints_and_draws(small, tmp_path, capsys):
    threads, path = torch.get_num_threads(), tmp_path / "time.png"
    assert main([*small, "--plot", str(path), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert torch.get_num_threads() == threads
    assert result["threads"] == 1
    points = {(p["height"], p["instances"]): p for p in result["points"]}
    assert points.keys() == {(64, 2), (64, 6), (128, 2)}
    for (height, _), point in points.items():
        names = [variant["name"] for variant in point["variants"]]
        assert ("careful PyTorch" in names) == (height == 64)
        assert names[0].startswith("op (")
        assert names[-1] == "copy"
    assert 0 < points[64, 2]["centers"] < points[64, 6]["centers"]
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert picture.width > 1000

    assert main([*small, "--plot", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 + 3 + 1
    assert lines[5].split()[:3] == ["128", "x", "256"]
    assert "-" in lines[5].split()


def test_a_line_has_the_points_that_were_measured():
    def point(pixels, **medians):
        variants = [{"name": name, "median_ms": ms} for name, ms in medians.items()]
        return sweep.Point(PostprocessBench(height=1000, width=pixels // 1000, stride=1), 5, variants)

    points = [point(100_000, op=1.0, careful=50.0), point(400_000, op=3.0)]
    expected = {"op": [(0.1, 1.0), (0.4, 3.0)], "careful": [(0.1, 50.0)]}
    assert sweep.lines_of(points, "megapixels") == expected


def test_the_careful_variant_keeps_as_many_centers_as_the_op():
    variants, centers = sweep.variants_of(PostprocessBench(height=512, width=1024, instances=400))
    assert centers > 200
    op, careful, copy = variants
    result = variants[op]()
    assert result.num_centers == centers
    differ = variants[careful]() != result.panoptic[0]
    assert differ.double().mean() < 1e-4
    assert 2 * variants[copy]().nbytes > result.panoptic.nbytes
