"""The commands `panodeeplab bench`, `bench sweep` and `bench peers`."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from panodeeplab.bench.charts import Bars, Scatter, bar_chart, scatter_plot
from panodeeplab.bench.measure import measure_all
from panodeeplab.bench.peers import PEERS, check_peers
from panodeeplab.bench.published import OF_CONFIG, OF_PEER, Published
from panodeeplab.bench.report import Result, as_json, as_markdown, as_text, compare, read_json
from panodeeplab.bench.stages import STAGES, Setting
from panodeeplab.files import replacing

# Of ours beside the peers: published for the same data.
OURS = (
    "cityscapes_bowenc_mobilenet_v2",
    "cityscapes_bowenc_resnet50",
    "cityscapes_detectron2_resnet52_separable",
    "cityscapes_bowenc_hrnet48",
    "coco_detectron2_resnet52_separable",
)
SHARE_WANTED = {"cpu": 0.02, "cuda": 0.05}


@dataclass(frozen=True)
class Outputs:
    """Where results go.

    Attributes:
        form: of what is printed.
        output: file for the JSON as well.
        compare: file of an earlier JSON.
        plot: file for a picture.
    """

    form: Literal["text", "json", "markdown"] = "text"
    output: Path | None = None
    compare: Path | None = None
    plot: Path | None = None

    def __post_init__(self) -> None:
        if self.plot is not None and self.plot.suffix.lower() != ".png":
            raise ValueError(f"plot is {str(self.plot)!r}, wanted a name that ends in .png")
        for name in ("output", "plot"):
            path = getattr(self, name)
            if path is not None and not path.absolute().parent.is_dir():
                raise ValueError(f"{name} is {str(path)!r}, but there is no folder {str(path.parent)!r}")


def bench_models(settings: Sequence[Setting], outputs: Outputs) -> int:
    """Measure, report, and draw the stages as bars."""
    return _report(settings, outputs, draw_stages)


def bench_sweep(configs: Sequence[Path], setting: Setting, outputs: Outputs) -> int:
    """Measure recipes with random weights, and draw accuracy against latency.

    Args:
        configs: YAML files, or folders of them.
        setting: all but the model.
        outputs: where results go.
    """
    files = sorted(
        file for path in configs for file in (sorted(path.glob("*.yaml")) if path.is_dir() else [path])
    )
    if not files:
        raise ValueError(f"configs: no .yaml in {', '.join(map(str, configs))}")
    missing = [str(file) for file in files if not file.is_file()]
    if missing:
        raise FileNotFoundError(f"configs: no file {missing[0]}")
    return _report([replace(setting, model=str(file)) for file in files], outputs, draw_accuracy)


def bench_peers(peers: Sequence[str], configs: Path, setting: Setting, outputs: Outputs) -> int:
    """Measure peers and, in the same run, ours of OURS; draw accuracy against latency.

    Args:
        peers: names in `PEERS`; none: all.
        configs: folder with the recipes of this project.
        setting: all but the model.
        outputs: where results go.
    """
    check_peers(peers)
    ours = [configs / f"{name}.yaml" for name in OURS]
    missing = [str(path) for path in ours if not path.is_file()]
    if missing:
        raise FileNotFoundError(
            f"configs: no file {missing[0]}; name the folder of this project's recipes with --configs"
        )
    models = [*map(str, ours), *(peers or PEERS)]
    return _report([replace(setting, model=model) for model in models], outputs, draw_accuracy)


def _report(
    settings: Sequence[Setting], outputs: Outputs, draw: Callable[[Sequence[Result], Path], None]
) -> int:
    # What can be wrong with files is found before minutes of measuring.
    old = read_json(outputs.compare) if outputs.compare is not None else None

    def keep(results: Sequence[Result]) -> None:
        if outputs.output is not None:
            with replacing(outputs.output) as temporary:
                temporary.write_text(as_json(results) + "\n")

    results = measure_all(settings, keep)
    if old is not None:
        results, warnings = compare(results, old, outputs.compare)
        for warning in warnings:
            print(f"warning: {warning}", file=sys.stderr)
        keep(results)
    if outputs.plot is not None:
        draw(results, outputs.plot)
    print({"text": as_text, "json": as_json, "markdown": as_markdown}[outputs.form](results))
    if outputs.form == "text" and len(results) > 1:
        print("\n" + headline(results))
    return 0


def headline(results: Sequence[Result]) -> str:
    """The largest share of post-processing among this project's results, and which are larger than wanted."""
    ours = [result for result in results if result["model"] not in PEERS]
    if not ours:
        return ""
    worst = max(ours, key=lambda result: result["postprocess_share"])
    share = 100 * worst["postprocess_share"]
    line = f"post-processing is at most {share:.1f} % of end to end, in {worst['model']}"
    outside = [result["processor"].get("outside_network_share", 0.0) for result in ours]
    if max(outside) > 0:
        line += f"; of the processor time at most {100 * max(outside):.1f} % is outside the network"
    lines = [line]
    for result in ours:
        wanted = SHARE_WANTED[result["device"].partition(":")[0]]
        if result["postprocess_share"] >= wanted:
            lines.append(
                f"{result['model']}: {100 * result['postprocess_share']:.1f} %, wanted below "
                f"{100 * wanted:g} %: "
                f"{result['stages']['postprocess']['median_ms']:.1f} ms beside a network of "
                f"{result['stages']['network']['median_ms']:.1f} ms"
            )
    return "\n".join(lines)


def draw_stages(results: Sequence[Result], path: Path) -> None:
    """The stages of each result as a bar."""
    bar_chart(path, _bars(results))


def draw_accuracy(results: Sequence[Result], path: Path) -> None:
    """Published accuracy against measured latency; the stages, where no accuracy was published."""
    placed = [(result, published_of(result["model"])) for result in results]
    known = [(result, published) for result, published in placed if published is not None]
    if known:
        scatter_plot(path, _panels(known))
    else:
        draw_stages(results, path)


def published_of(model: str) -> Published | None:
    """The published result of a recipe or a peer."""
    return OF_PEER.get(model) or OF_CONFIG.get(Path(model).stem)


def _panels(known: Sequence[tuple[Result, Published]]) -> list[Scatter]:
    panels = []
    size = known[0][0]["size"]
    for data in dict.fromkeys(published.data for _, published in known):
        groups: dict[str, list[tuple[float, float, str]]] = {}
        for result, published in known:
            if published.data == data:
                is_peer = result["model"] in PEERS
                name = result["model"] if is_peer else Path(result["model"]).stem.partition("_")[2]
                group = groups.setdefault("transformers" if is_peer else "panodeeplab", [])
                group.append((_latency_ms(result), published.pq, name))
        panels.append(
            Scatter(
                f"{data} val, published PQ; {size[0]} x {size[1]}, measured",
                f"ms end to end, {_where(known[0][0])}, random weights",
                "PQ",
                groups,
            )
        )
    return panels


def _latency_ms(result: Result) -> float:
    """Of one thread on a CPU its processor time: what the clock on the wall shows if nothing else runs."""
    if result["device"] == "cpu" and result["threads"] == 1:
        return result["processor"]["end_to_end_ms"]
    return result["end_to_end"]["median_ms"]


def _where(result: Result) -> str:
    if result["device"] != "cpu":
        return result["environment"].get("gpu", result["device"])
    return "one CPU thread, processor time" if result["threads"] == 1 else f"{result['threads']} CPU threads"


def _bars(results: Sequence[Result]) -> Bars:
    stages = [stage for stage in STAGES if any(stage in result["stages"] for result in results)]
    return Bars(
        [
            f"{Path(r['model']).stem}, {r['backend']}, {r['precision']}, "
            + (f"{r['size'][0]}x{r['size'][1]}, " if r["size"] else "")
            + f"batch {r['batch']}, {r['threads']} threads"
            for r in results
        ],
        {s: [r["stages"][s]["median_ms"] if s in r["stages"] else 0.0 for r in results] for s in stages},
        "ms",
    )
