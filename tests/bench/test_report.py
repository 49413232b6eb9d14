import copy
import json

import pytest
from PIL import Image
from results import check_result

from panodeeplab.bench import measure, run
from panodeeplab.bench.report import as_json, as_markdown, as_text, compare, read_json, title
from panodeeplab.cli import main

FAST = ["--size", "64x128", "--warmup", "0", "--runs", "2", "--threads", "1", "--backend", "eager"]


def faster(result: dict, factor: float, **changed) -> dict:
    """The same, `factor` times as fast."""
    other = copy.deepcopy(result) | changed
    for timing in [*other["stages"].values(), other["end_to_end"], other["file_to_picture"]]:
        for name in timing:
            if name.endswith("_ms"):
                timing[name] /= factor
    return other


def test_one_result_is_one_object_and_several_are_listed(trained, random, tmp_path):
    assert json.loads(as_json([trained])) == json.loads(json.dumps(trained))
    both = json.loads(as_json([trained, random]))
    assert [r["weights"] for r in both["results"]] == ["trained", "random"]
    assert both["environment"] == trained["environment"]
    (tmp_path / "both.json").write_text(as_json([trained, random]))
    assert [title(r) for r in read_json(tmp_path / "both.json")] == [title(trained), title(random)]


def test_ratios_stand_beside_the_same_setting(trained, random, tmp_path):
    path = tmp_path / "old.json"
    old = [faster(random, 4.0), faster(trained, 2.0)]
    (compared, other), warnings = compare([trained, random], old, path)
    assert set(compared["compared_with"]["ratios"]) == {*trained["stages"], "end_to_end", "file_to_picture"}
    assert all(ratio == pytest.approx(2.0) for ratio in compared["compared_with"]["ratios"].values())
    assert other["compared_with"]["ratios"]["network"] == pytest.approx(4.0)
    assert warnings == []
    assert "2.00" in as_text([compared])


def test_comparing_warns_of_other_machines_and_settings(trained, tmp_path):
    path = tmp_path / "old.json"
    environment = trained["environment"] | {"torch": "0.1"}
    old = faster(trained, 1.0, environment=environment, batch=2)
    _, warnings = compare([trained], [old], path)
    assert any("batch was 2, is 1" in warning for warning in warnings)
    assert any("torch was '0.1'" in warning for warning in warnings)
    (kept, _), warnings = compare([trained, trained], [old], path)
    assert "compared_with" not in kept
    assert len(warnings) == 1
    assert "has no street-tiny" in warnings[0]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"stages": 1}', '{"results": [{}]}', '{"stages": {}}'])
def test_a_file_that_is_no_report(tmp_path, text):
    path = tmp_path / "old.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="is not what"):
        read_json(path)


def test_tables_say_what_is_in_them(trained, random):
    text = as_text([trained, random])
    for words in ("p99", "postprocess", "2 runs after 1 to warm up", "not in it", "random weights", "torch"):
        assert words in text
    lines = as_markdown([trained, random]).splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 4
    assert len({line.count("|") for line in table}) == 1
    assert "`street-tiny`" in table[2]
    assert "Medians in ms of 2 runs" in "\n".join(lines)


def test_the_headline_names_who_misses(trained):
    quick, slow = faster(trained, 1.0, postprocess_share=0.01), faster(trained, 1.0, postprocess_share=0.03)
    assert "at most 1.0 %" in run.headline([quick])
    assert "wanted below 2 %" not in run.headline([quick])
    assert "3.0 %, wanted below 2 %" in run.headline([quick, slow])
    assert "wanted below" not in run.headline([faster(slow, 1.0, device="cuda:0")])


def test_pictures(trained, random, tmp_path):
    run.draw_stages([trained, random], tmp_path / "bars.png")
    models = [
        "configs/cityscapes_bowenc_resnet50.yaml",
        "configs/coco_detectron2_resnet52_separable.yaml",
        "mask2former-swin-tiny",
    ]
    placed = [faster(random, 2.0**n, model=model) for n, model in enumerate(models)]
    run.draw_accuracy([trained, *placed], tmp_path / "scatter.png")
    run.draw_accuracy([trained], tmp_path / "no-accuracy.png")
    assert (tmp_path / "no-accuracy.png").stat().st_size > 1000
    with Image.open(tmp_path / "bars.png") as bars, Image.open(tmp_path / "scatter.png") as scatter:
        assert bars.format == scatter.format == "PNG"
        assert scatter.width == 2 * 1120  # a panel for each data set
        colors = {color for _, color in scatter.convert("RGB").getcolors(1 << 24)}
        assert len(colors) > 10


def test_the_published_are_of_files_that_exist(request):
    configs = request.config.rootpath / "configs"
    assert {f"{name}.yaml" for name in run.OF_CONFIG} <= {path.name for path in configs.iterdir()}
    assert run.OF_PEER.keys() == run.PEERS.keys()
    assert {f"{name}.yaml" for name in run.OURS} <= {path.name for path in configs.iterdir()}
    assert run.published_of("elsewhere/cityscapes_bowenc_resnet50.yaml").pq == 59.8
    assert run.published_of("street-tiny") is None


def test_bench_prints_json_alone_and_writes_what_it_is_told(recipe, tmp_path, capfd, monkeypatch):
    output, plot = tmp_path / "new.json", tmp_path / "bars.png"
    arguments = ["bench", "--model", str(recipe), *FAST, "--json", "--output", str(output)]
    # In a process of its own, as every setting is; the second time what it said is enough.
    assert main([*arguments, "--plot", str(plot)]) == 0
    printed = json.loads(capfd.readouterr().out)
    check_result(printed)
    if printed["peak_memory_mb"] is not None:
        assert printed["peak_memory_mb"] >= printed["memory_before_model_mb"] > 10
    assert printed == json.loads(output.read_text())
    assert plot.stat().st_size > 1000
    monkeypatch.setattr(measure, "_in_fresh_process", lambda setting: copy.deepcopy(printed))
    assert main([*arguments, "--compare", str(output)]) == 0
    again = json.loads(capfd.readouterr().out)
    assert again["compared_with"]["file"] == str(output)
    assert "compared_with" not in printed


def test_bench_takes_every_combination(monkeypatch, capsys, trained):
    seen = []

    def measured(settings, _):
        seen.extend(settings)
        return [trained]

    monkeypatch.setattr(run, "measure_all", measured)
    arguments = ["--size", "64x128", "32x64", "--batch", "1", "2", "--threads", "1", "2"]
    assert main(["bench", *arguments, "--runs", "7", "--markdown"]) == 0
    assert len(seen) == 8
    assert {(s.size, s.batch, s.threads, s.runs) for s in seen} == {
        (size, batch, threads, 7) for size in ((64, 128), (32, 64)) for batch in (1, 2) for threads in (1, 2)
    }
    assert capsys.readouterr().out.startswith("| model |")
    seen.clear()
    assert main(["bench"]) == 0
    assert [(s.model, s.backend, s.size) for s in seen] == [("street-tiny", "auto", (512, 1024))]


def test_sweep_takes_files_and_folders(monkeypatch, recipe, trained, tmp_path):
    seen = []
    monkeypatch.setattr(run, "measure_all", lambda settings, _: seen.extend(settings) or [trained])
    assert main(["bench", "sweep", str(recipe.parent), str(recipe), "--threads", "2"]) == 0
    assert [s.model for s in seen] == [str(recipe)] * 2
    assert {s.threads for s in seen} == {2}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "absent.yaml"], "absent.yaml"),
        (["--plot", "bars.jpg"], "wanted a name that ends in .png"),
        (["--output", "absent/new.json"], "no folder"),
        (["--compare", "absent.json"], "compare: no file absent.json"),
        (["--batch", "0"], "batch is 0"),
        (["sweep", "absent.yaml"], "no file absent.yaml"),
        (["sweep", "."], "no .yaml"),
        (["sweep", "--threads", "0"], "threads is 0"),
        (["peers", "yolo"], "peer is 'yolo', wanted one of mask2former-resnet50"),
        (["peers", "--configs", "absent"], "name the folder of this project's recipes with --configs"),
    ],
)
def test_mistakes_end_in_one_line(tmp_path, monkeypatch, capfd, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main(["bench", *arguments]) == 2
    error = capfd.readouterr().err.strip().splitlines()
    assert len(error) == 1
    assert message in error[0]


@pytest.mark.parametrize("arguments", [["--size", "512"], ["--json", "--markdown"], ["--backend", "fast"]])
def test_arguments_that_do_not_parse(arguments):
    with pytest.raises(SystemExit) as exit:
        main(["bench", *arguments])
    assert exit.value.code == 2
