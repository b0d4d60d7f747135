# SPDX-License-Identifier: Apache-2.0
"""The command line of autoglm-runtime. What a mode needs is imported when it runs."""

from __future__ import annotations

import gc
import json as json_module
import logging
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import click
from click.core import ParameterSource

import hal

from .. import busy_poll, threads
from ..errors import (
    DeviceError,
    Error,
    InputError,
    TargetUnavailable,
    WrongTarget,
)
from ..manifest import DECODER
from .outcome import run

EPILOG = """\b
Examples:
  autoglm-runtime --list-devices
  autoglm-runtime --model model.glm                     serve it on 127.0.0.1:8000
  autoglm-runtime --model model.glm --device-id 0 --input in.npz --output out.npz
  autoglm-runtime --model qwen.glm --prompt "The answer is"
  autoglm-runtime --model model.glm --benchmark --plot figures.svg
  autoglm-runtime --model model.glm --host :: --own /etc/hal/link

\b
Exit codes: 0 fine, 1 something failed, 2 wrong use, 5 what it was compiled for is not here, 8 to 12
the artifact, 13 nothing in it for the device, 14 the device, 15 the inputs. docs/autoglm-runtime.md
has it all.
"""

_TEXTS = {
    "list_devices": "--list-devices",
    "source": "--input",
    "prompt": "--prompt",
    "benchmark": "--benchmark",
    "explain": "--explain",
}
"""The options that say what to do; without any it serves."""

_TAKES = {
    "list_devices": {"list_devices", "json"},
    "source": {"models", "device", "threads", "source", "output"},
    "prompt": {"models", "device", "threads", "prompt", "max_tokens", "json"},
    "benchmark": {
        *("models", "device", "threads", "benchmark", "source", "seconds", "plot", "json"),
    },
    "explain": {"models", "device", "explain", "json"},
    "serve": {
        *("models", "device", "threads", "host", "port", "own", "max_requests", "max_body"),
        *("deadline", "grace", "memory_limit", "wake_latency", "busy_poll", "stall"),
    },
}
"""The options that each changes something by."""


def _file(**rules: Any) -> click.Path:
    return click.Path(dir_okay=False, path_type=Path, **rules)


@click.command(context_settings={"help_option_names": ["-h", "--help"]}, epilog=EPILOG)
@click.option(
    "--model", "models", multiple=True, type=_file(), metavar="FILE",
    help="An artifact of autoglm-compile; several are served together.",
)  # fmt: skip
@click.option(
    "--device-id", "device", metavar="N",
    help="Number, or kind, of the only device to use; the best, and then the next, without it.",
)  # fmt: skip
@click.option("--list-devices", is_flag=True, help="Say which devices there are.")
@click.option("--explain", is_flag=True, help="Say what would run where, and why; run nothing.")
@click.option(
    "--input", "source", type=_file(), metavar="FILE.npz",
    help="Run once, or measure it, with these.",
)  # fmt: skip
@click.option("--output", type=_file(), metavar="FILE.npz", help="Where the outputs go.")
@click.option("--prompt", metavar="TEXT", help="Let a language model go on from it.")
@click.option(
    "--max-tokens", type=click.IntRange(1), default=128, show_default=True,
    help="Of what it says to a prompt.",
)  # fmt: skip
@click.option("--benchmark", is_flag=True, help="Measure it on every device that can run it.")
@click.option(
    "--seconds", type=click.FloatRange(0, min_open=True), default=3.0, show_default=True,
    help="For each device of the benchmark.",
)  # fmt: skip
@click.option("--plot", type=_file(), metavar="FILE.svg", help="Draw the benchmark.")
@click.option("--json", is_flag=True, help="Print JSON.")
@click.option(
    "--threads", type=click.IntRange(0, threads.MOST), default=0,
    help="For one call on the processor; 0 leaves it to the artifact.  [default: 0]",
)  # fmt: skip
@click.option("--host", default="127.0.0.1", show_default=True, help="Address on which it serves.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True,
    help="TCP; 0 takes any.",
)  # fmt: skip
@click.option(
    "--own", type=click.Path(file_okay=False, path_type=Path), metavar="FOLDER",
    help="Credentials of hal-ca enrol: TLS, and only who has certificate and token.",
)  # fmt: skip
@click.option(
    "--max-requests", type=click.IntRange(1), default=256, show_default=True,
    help="Answered or waiting at one time; the next ones get 429.",
)  # fmt: skip
@click.option(
    "--max-body", type=click.IntRange(1), default=64, show_default=True, metavar="MIB",
    help="Longest request.",
)  # fmt: skip
@click.option(
    "--deadline", type=click.FloatRange(0, min_open=True), default=60.0, show_default=True,
    help="Seconds for a request.",
)  # fmt: skip
@click.option(
    "--grace", type=click.FloatRange(0), default=30.0, show_default=True,
    help="Seconds that requests have when it is told to end.",
)  # fmt: skip
@click.option(
    "--memory-limit", type=click.IntRange(1), metavar="MIB",
    help="Of each worker; any unless told.",
)  # fmt: skip
@click.option(
    "--wake-latency", type=click.IntRange(0, 2_000_000_000), metavar="US",
    help="Microseconds in which processors have to wake up while requests come; 0: they do not"
    " sleep. It costs power, and takes the right to /dev/cpu_dma_latency. Any unless told.",
)  # fmt: skip
@click.option(
    "--busy-poll", type=click.IntRange(0, 1_000_000), default=busy_poll.DEFAULT, show_default=True,
    metavar="US",
    help="Microseconds for which service and worker look for the next message instead of sleeping,"
    " while messages come as quickly; 0: never.",
)  # fmt: skip
@click.option(
    "--stall", type=click.FloatRange(0, min_open=True), default=120.0, show_default=True,
    help="Seconds without an answer after which a worker is replaced.",
)  # fmt: skip
@click.version_option(hal.__version__, prog_name="autoglm-runtime")
def cli(**options: Any) -> int:
    """Run what autoglm-compile made: serve it over HTTP, or run it once, or measure it.

    Without --input, --prompt, --benchmark, --explain or --list-devices it serves until it is
    interrupted: the Open Inference Protocol, version 2, for any model, OpenAI's API for language
    models.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    mode = _mode(options)
    _refuse_unused(mode)
    if mode == "list_devices":
        return _list_devices(options["json"])
    models: Sequence[Path] = options["models"]
    if not models:
        raise click.UsageError("name an artifact: --model FILE")
    if mode == "serve":
        return _serve(options)
    if len(models) > 1:
        raise click.UsageError(f"{_TEXTS[mode]} takes one --model; several are served together")
    return _MODES[mode](models[0], options)


def _mode(options: Mapping[str, Any]) -> str:
    """What it is to do, by the option that says so.

    Raises:
        click.UsageError: There are two.
    """
    asked = [name for name in _TEXTS if options[name] is not None and options[name] is not False]
    if asked == ["source", "benchmark"]:
        return "benchmark"
    if len(asked) > 1:
        told = ", ".join(_TEXTS[name] for name in asked)
        raise click.UsageError(
            f"{told} are different things to do: give one of them; --input goes with --benchmark"
        )
    return asked[0] if asked else "serve"


def _refuse_unused(mode: str) -> None:
    """An option that changes nothing is a misunderstanding.

    Raises:
        click.UsageError: One was given.
    """
    context = click.get_current_context()
    for each in context.command.params:
        given = context.get_parameter_source(each.name or "") is ParameterSource.COMMANDLINE
        if given and each.name not in _TAKES[mode]:
            where = f"with {_TEXTS[mode]}" if mode in _TEXTS else "for a service"
            raise click.UsageError(f"{each.opts[0]} changes nothing {where}: leave it out")


def _list_devices(json: bool) -> int:
    from hal.probe.output import table

    from ..devices import devices

    found = devices()
    if json:
        plain = [vars(each) | {"features": sorted(each.features)} for each in found]
        click.echo(json_module.dumps(plain, indent=2))
        return 0
    rows = [
        [str(each.number), each.kind, each.name, _size(each.memory), each.problem or "ready"]
        for each in found
    ]
    table(["ID", "KIND", "NAME", "MEMORY", "STATE"], rows)
    return 0


def _size(count: int) -> str:
    return f"{count / (1 << 30):.1f} GiB" if count else "-"


def _explain(model: Path, options: Mapping[str, Any]) -> int:
    from ..artifact import Artifact
    from ..dispatch import choose

    with Artifact(model) as artifact:
        choice = choose(artifact, options["device"])
    if options["json"]:
        plain = {
            "candidates": [
                {"name": each.name, "cost_ms": each.cost, "why": str(each)}
                for each in choice.candidates
            ],
            "refused": list(choice.refused),
        }
        click.echo(json_module.dumps(plain, indent=2))
    else:
        click.echo(choice.explain())
    return 0


def _once(model: Path, options: Mapping[str, Any]) -> int:
    from ..cases import arrays, save
    from ..loaded import load
    from ..output import check_file

    if options["output"] is None:
        raise click.UsageError("--input wants --output FILE.npz")
    check_file(options["output"])
    inputs = arrays(options["source"])
    with load(model, options["device"], threads=options["threads"]) as loaded:
        save(options["output"], loaded(inputs))
    return 0


def _prompt(model: Path, options: Mapping[str, Any]) -> int:
    _need_language(model)
    return int(_language().prompt(model, options))


def _benchmark(model: Path, options: Mapping[str, Any]) -> int:
    from hal.probe.output import table

    from .. import benchmark

    if options["plot"]:
        benchmark.check_plot(options["plot"])
    found = _figures(model, options)
    if options["json"]:
        click.echo(benchmark.as_json(model.stem, found))
    else:
        table(*benchmark.as_rows(found))
    if options["plot"]:
        benchmark.plot(model.stem, found, options["plot"])
    return 0 if any(isinstance(each, benchmark.Figures) for each in found) else 1


def _figures(model: Path, options: Mapping[str, Any]) -> list[Any]:
    """Of every device that is meant, each with the best program for it."""
    from ..artifact import Artifact
    from ..benchmark import Absent
    from ..dispatch import choose

    with Artifact(model) as artifact:
        choice = choose(artifact, options["device"])
    numbers = dict.fromkeys(each.device.number for each in choice.candidates)
    found: list[Any] = [_measured(model, number, options) for number in numbers]
    return found + [Absent("-", reason) for reason in choice.refused]


def _measured(model: Path, device: int, options: Mapping[str, Any]) -> Any:
    """Figures of a device, or why there are none."""
    from ..benchmark import Absent

    try:
        return _measure(model, device, options)
    except (TargetUnavailable, WrongTarget, DeviceError) as error:
        return Absent(f"device {device}", str(error))


def _measure(model: Path, device: int, options: Mapping[str, Any]) -> Any:
    from ..benchmark import measure
    from ..cases import arrays
    from ..loaded import load

    if _family(model) == DECODER:
        if options["source"]:
            raise InputError(f'"{model}" is a language model: it is measured without --input')
        return _language().measure(model, device, options)
    inputs = arrays(options["source"]) if options["source"] else _inputs(model)
    with load(model, device, threads=options["threads"]) as loaded:
        return measure(loaded, inputs, options["seconds"])


def _inputs(model: Path) -> dict[str, Any]:
    """Seeded ones, such as a compile times it with."""
    import tempfile

    from ..artifact import Artifact
    from ..reference import extents, index_limits, seeded

    with Artifact(model) as artifact, tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        manifest = artifact.manifest
        limits: Mapping[str, int] = {}
        if manifest.source:
            file.write(artifact.blob(manifest.source))
            file.flush()
            limits = index_limits(Path(file.name))
        specs, typical = manifest.model.inputs, manifest.model.typical
    return seeded(specs, extents(specs, typical), 0, limits)


def _family(model: Path) -> str:
    from ..artifact import Artifact

    with Artifact(model) as artifact:
        return artifact.manifest.model.family


def _language() -> Any:
    """What runs language models: its ``prompt`` and ``measure`` are called as above and below."""
    return import_module("autoglm.decoder.command")


def _need_language(model: Path) -> None:
    if _family(model) != DECODER:
        raise InputError(f'"{model}" is no language model: give --input FILE.npz')


def _serve(options: Mapping[str, Any]) -> int:
    try:
        from ..serve.access import Access
        from ..serve.application import Application
        from ..serve.limits import Limits
        from ..serve.server import Server, check_host
        from ..serve.wake import WakeLatency
    except ImportError as error:
        raise Error(f"serve: {error}: pip install 'open-autoglm[serve]'") from None

    _check_names(options["models"])
    access = Access(options["own"]) if options["own"] else None
    check_host(options["host"], access)
    limits = Limits(
        requests=options["max_requests"],
        connections=4 * options["max_requests"],
        body=options["max_body"] << 20,
        bodies=8 * options["max_body"] << 20,
        deadline=options["deadline"],
        grace=options["grace"],
    )
    models = [_served(path, options) for path in options["models"]]
    application = Application(models, limits, access)
    scheme = "https" if access else "http"
    bound = options["wake_latency"]
    wake = None if bound is None else WakeLatency(bound)

    def began(host: str, port: int) -> None:
        gc.freeze()  # what is loaded stays: a collection that looks at it all takes milliseconds
        place = f"[{host}]" if ":" in host else host
        click.echo(f"serving {', '.join(application.models)} on {scheme}://{place}:{port}")

    Server(application, options["host"], options["port"], limits, access, began, wake).run()
    return 0


def _check_names(paths: Sequence[Path]) -> None:
    """Requests name a model as its file is named.

    Raises:
        click.UsageError: Two have one name.
    """
    known: dict[str, Path] = {}
    for path in paths:
        other = known.setdefault(path.stem, path)
        if other is not path:
            raise click.UsageError(
                f'"{other}" and "{path}" would both be served as {path.stem!r}: rename one'
            )


def _served(path: Path, options: Mapping[str, Any]) -> Any:
    from ..serve.model import Graph

    settings = {
        "threads": options["threads"],
        "memory": (options["memory_limit"] or 0) << 20,
        "stall": options["stall"],
    }
    if _family(path) == DECODER:
        language = import_module("autoglm.serve.language").Language
        return language(path, options["device"], **settings)
    return Graph(path, options["device"], busy_poll=options["busy_poll"], **settings)


_MODES = {
    "source": _once,
    "prompt": _prompt,
    "benchmark": _benchmark,
    "explain": _explain,
}


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """What ``autoglm-runtime`` runs."""
    run(cli, "autoglm-runtime", arguments)


if __name__ == "__main__":
    main()
