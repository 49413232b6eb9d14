"""What was measured, as tables for people, as JSON for scripts, and beside what was measured before."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from panodeeplab.bench.environment import describe, differences
from panodeeplab.bench.stages import STAGES

Result = dict[str, Any]
# What makes two results comparable.
_KEY = ("model", "backend", "precision", "size", "batch", "threads", "device", "image", "seed")


def as_json(results: Sequence[Result]) -> str:
    """One result as it is; several as {"results": [...], "environment": that of the first}."""
    if len(results) == 1:
        return json.dumps(results[0], indent=2)
    return json.dumps({"results": list(results), "environment": results[0]["environment"]}, indent=2)


def read_json(path: Path) -> list[Result]:
    """The results of a file that `as_json` wrote.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is none of these.
    """
    if not path.is_file():
        raise FileNotFoundError(f"compare: no file {path}")
    try:
        content = json.loads(path.read_text())
        results = content.get("results", [content])
        for result in results:
            for key in ("stages", "end_to_end", "environment"):
                if not isinstance(result[key], dict):
                    raise TypeError(key)
            if not all(timing["median_ms"] > 0 for timing in _timings(result).values()):
                raise ValueError("median_ms")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"compare: {path} is not what `panodeeplab bench --json` prints ({error!r})"
        ) from None
    return results


def compare(results: Sequence[Result], old: Sequence[Result], path: Path) -> tuple[list[Result], list[str]]:
    """Results with what they are beside an earlier report, and what a reader must be warned of.

    A result stands beside the earlier one of the same setting; a single one beside a single one, whatever
    the settings.

    Returns:
        The results, where one was found with "compared_with": {"file", "ratios": median now by median then,
        of each stage and "end_to_end"}; and warnings.
    """
    warnings: list[str] = []
    compared = []
    for result in results:
        then = next((o for o in old if all(o.get(k) == result.get(k) for k in _KEY)), None)
        if then is None and len(old) == len(results) == 1:
            then = old[0]
            changed = [
                f"{k} was {then.get(k)!r}, is {result.get(k)!r}" for k in _KEY if then.get(k) != result.get(k)
            ]
            warnings.append(f"the settings differ: {'; '.join(changed)}")
        if then is None:
            warnings.append(f"{path} has no {title(result)}")
            compared.append(result)
            continue
        warnings += [
            f"the environments differ: {line}"
            for line in differences(then["environment"], result["environment"])
        ]
        before, now = _timings(then), _timings(result)
        ratios = {
            name: timing["median_ms"] / before[name]["median_ms"]
            for name, timing in now.items()
            if name in before
        }
        compared.append(result | {"compared_with": {"file": str(path), "ratios": ratios}})
    return compared, list(dict.fromkeys(warnings))


def title(result: Result) -> str:
    """A setting in a line."""
    size = f"{result['size'][0]}x{result['size'][1]}" if result["size"] else "size of the image"
    random = ", random weights" if result["weights"] == "random" else ""
    return (
        f"{result['model']}{random}, {result['backend']}, {result['precision']}, {size}, "
        f"batch {result['batch']}, {result['threads']} threads, {result['device']}"
    )


def as_text(results: Sequence[Result]) -> str:
    """A table for each result, what it holds, and where it was measured."""
    parts = []
    for result in results:
        ratios = result.get("compared_with", {}).get("ratios", {})
        lines = [
            title(result),
            f"{'':16}{'median ms':>11}{'p90':>9}{'p99':>9}{'min':>9}{'  x before' if ratios else ''}",
        ]
        for name, timing in _timings(result).items():
            row = "".join(f"{timing[q]:9.2f}" for q in ("p90_ms", "p99_ms", "min_ms"))
            ratio = f"{ratios[name]:10.2f}" if name in ratios else ""
            lines.append(f"{name.replace('_', ' '):16}{timing['median_ms']:11.2f}{row}{ratio}")
        lines.append(
            f"{result['end_to_end']['fps']:.1f} images/s end to end, "
            f"{result['file_to_picture']['fps']:.1f} from file to picture; post-processing is "
            f"{100 * result['postprocess_share']:.1f} % of end to end{_cpu(result)}"
        )
        lines.append(
            f"{result['runs']} runs after {result['warmup']} to warm up, {result['segments']:g} segments an "
            f"image{_memory(result)}"
        )
        parts.append("\n".join([*lines, *result["warnings"]]))
    notes = dict.fromkeys(note for result in results for note in result["notes"])
    return "\n\n".join([*parts, "\n".join(notes), describe(results[0]["environment"])])


def as_markdown(results: Sequence[Result]) -> str:
    """One table with a row for each result; medians in ms."""
    stages = [stage for stage in STAGES if any(stage in result["stages"] for result in results)]
    head = ["model", "weights", "backend", "precision", "size", "batch", "threads", *stages]
    head += ["end to end", "p99", "images/s", "processor", "post-processing", "peak MB"]
    rows = [head, ["---"] * 5 + ["---:"] * (len(head) - 5)]
    for result in results:
        medians = [
            f"{result['stages'][s]['median_ms']:.1f}" if s in result["stages"] else "-" for s in stages
        ]
        memory = result.get("peak_device_memory_mb") or result["peak_memory_mb"]
        rows.append(
            [
                f"`{result['model']}`",
                result["weights"],
                result["backend"],
                result["precision"],
                f"{result['size'][0]} x {result['size'][1]}" if result["size"] else "-",
                str(result["batch"]),
                str(result["threads"]),
                *medians,
                f"{result['end_to_end']['median_ms']:.1f}",
                f"{result['end_to_end']['p99_ms']:.1f}",
                f"{result['end_to_end']['fps']:.2f}",
                f"{result['processor']['end_to_end_ms']:.1f}",
                f"{100 * result['postprocess_share']:.1f} %",
                "-" if memory is None else str(memory),
            ]
        )
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    runs = sorted({result["runs"] for result in results})
    counted = f"{runs[0]}" if len(runs) == 1 else f"{runs[0]} to {runs[-1]}"
    notes = [f"Medians in ms of {counted} runs after {results[0]['warmup']} to warm up."]
    notes += ["processor: processor time of end to end, all threads; others on the machine hardly change it."]
    notes += dict.fromkeys(note for result in results for note in result["notes"])
    where = describe(results[0]["environment"]).replace("\n", "; ")
    return "\n\n".join([table, "\n".join(f"- {note}" for note in [*notes, where])])


def _timings(result: Result) -> dict[str, dict[str, float]]:
    whole = {"end_to_end": result["end_to_end"]}
    if "file_to_picture" in result:
        whole["file_to_picture"] = result["file_to_picture"]
    return result["stages"] | whole


def _cpu(result: Result) -> str:
    share = result["processor"].get("outside_network_share")
    return "" if share is None else f"\n(of the processor time {100 * share:.1f} % is outside the network)"


def _memory(result: Result) -> str:
    parts = []
    if result["peak_memory_mb"] is not None:
        parts.append(
            f"peak memory of the process {result['peak_memory_mb']} MB, "
            f"{result['memory_before_model_mb']} MB before the model was loaded"
        )
    if "peak_device_memory_mb" in result:
        parts.append(f"{result['peak_device_memory_mb']} MB on the device")
    return "".join(f"; {part}" for part in parts)
