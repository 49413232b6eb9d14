import pytest
from PIL import Image

from panodeeplab.bench.plot import Panel, Scale, freest, line_plot, log_ticks, ticks, x_scale, y_scale


def test_a_linear_scale_shows_differences_and_a_logarithmic_one_ratios():
    assert [Scale(10, 30).share(x) for x in (10, 15, 30)] == [0, 0.25, 1]
    assert [Scale(1, 10000, log=True).share(x) for x in (1, 10, 10000)] == pytest.approx([0, 0.25, 1])


def test_a_scale_of_one_value_has_it_in_the_middle():
    assert Scale(7, 7).share(7) == Scale(7, 7, log=True).share(7) == 0.5


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (5, 500, [5, 10, 20, 50, 100, 200, 500]),
        (0.52, 33.6, [1, 2, 5, 10, 20]),
        (0.08, 0.3, [0.1, 0.2]),
        (0.9, 2000, [1, 10, 100, 1000]),
        (3e-4, 3e-2, [5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2]),
    ],
)
def test_logarithmic_ticks_are_round_and_not_too_many(low, high, expected):
    assert log_ticks(low, high) == expected


def test_linear_ticks_are_round():
    assert ticks(0, 80) == [0, 20, 40, 60, 80]
    assert ticks(0.2, 1.0) == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


def test_axes_hold_every_point_and_linear_y_begins_at_0():
    lines = {"a": [(2.0, 3.0), (5.0, 40.0)], "b": [(1.0, 7.0)]}
    assert x_scale(Panel("", "", "", lines)) == Scale(1, 5)
    low, high, log = y_scale(Panel("", "", "", lines))
    assert low == 0
    assert high > 40
    assert not log
    low, high, log = y_scale(Panel("", "", "", lines, y_log=True))
    assert 0 < low < 3
    assert high > 40
    assert log


def test_a_logarithmic_axis_refuses_0_and_the_old_file_stays(tmp_path):
    path = tmp_path / "plot.png"
    path.write_text("old")
    panel = Panel("speed", "x", "y", {"a": [(1, 0), (2, 1)]}, y_log=True)
    with pytest.raises(ValueError, match="'speed' have 0 on a logarithmic axis"):
        line_plot(path, [panel])
    assert [p.name for p in tmp_path.iterdir()] == ["plot.png"]
    assert path.read_text() == "old"


def test_a_power_law_is_a_straight_line_on_logarithmic_axes(tmp_path):
    # The second line covers all but the dots of the first if that is straight.
    points = [(x, x**2) for x in (1, 3, 10, 40, 100)]
    lines = {"power law": points, "from end to end": [points[0], points[-1]]}
    panel = Panel("", "", "", lines, x_log=True, y_log=True)
    line_plot(tmp_path / "log.png", [panel])
    line_plot(tmp_path / "linear.png", [panel._replace(x_log=False)])

    def blue(name):
        r, _, b = Image.open(tmp_path / name).convert("RGB").split()
        return sum(1 for x, y in zip(r.tobytes(), b.tobytes(), strict=True) if y > x + 100)

    assert blue("linear.png") > 2 * blue("log.png")


def test_the_legend_goes_where_it_hides_no_line():
    low, high = [(0, 290), (100, 280)], [(0, 10), (100, 20)]
    box = {"right": 80, "height": 60, "bottom": 300, "top": 0}
    assert freest([high], **box) == 300 - 60  # the lowest of many places
    assert freest([low], **box) + 60 < 281
    assert 20 < freest([low, high], **box) < 281 - 60
    assert freest([[(90, 290), (100, 280)]], **box) == 300 - 60  # right of the box
