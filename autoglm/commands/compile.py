# SPDX-License-Identifier: Apache-2.0
"""The command line of autoglm-compile."""

from __future__ import annotations

import json as json_module
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click
from click.core import ParameterSource

import hal

from .. import threads
from ..output import refuse_sources
from .outcome import run

EPILOG = """\b
Examples:
  autoglm-compile --model model.onnx --output model.glm
  autoglm-compile --model model.onnx --target cpu --target vulkan --output model.glm --explain
  autoglm-compile --model detect.onnx --shape x=1,3,640,640 --output detect.glm
  autoglm-compile --model vad.onnx --set sr=16000 --typical sequence=576 --output vad.glm
  autoglm-compile --model qwen --weights Qwen2.5-0.5B-Instruct --output qwen.glm
  autoglm-compile --model vad.onnx --target riscv64 --emit executable --output vad
  autoglm-compile --list-targets

\b
Exit codes: 0 fine, 1 something failed, 2 wrong use, 3 the model, 4 no such target, 5 the target
needs what is not here, 6 no engine can, 7 the result is wrong, 15 the inputs, 128 and more a
signal. docs/autoglm.md has it all.
"""

_TEXTS = {
    "list_targets": "--list-targets",
    "emit": "--emit",
    "language": "a language model",
    "graph": "an artifact of a graph (.onnx, .pt2)",
}
"""What it is to do."""

_ALWAYS = {
    *("model", "targets", "output", "seed", "rtol", "atol"),
    *("time_limit", "memory_limit", "json", "quiet"),
}
_PINS = {"dims", "shapes", "values"}
_RECIPE = {"weights", "random_weights", "config"}
_TAKES = {
    "list_targets": {"list_targets", "json", "quiet"},
    "emit": {*_ALWAYS, *_PINS, "emit", "inputs", "weights_beside"},
    "language": {*_ALWAYS, *_RECIPE, "threads", "no_source", "explain"},
    "graph": {
        *(*_ALWAYS, *_PINS, "typical", "inputs", "engines", "threads", "no_source", "explain"),
        *_RECIPE,  # what is no recipe, because of a slip in its name, is told so
    },
}
"""The options that each changes something by."""

T = TypeVar("T")


def _pairs(convert: Callable[[str], T]) -> Callable[..., dict[str, T]]:
    """NAME=VALUE, any number of times, each name once, as a mapping."""

    def read(
        context: click.Context, parameter: click.Parameter, texts: Sequence[str]
    ) -> dict[str, T]:
        found = {}
        for text in texts:
            name, equals, value = text.rpartition("=")
            if not equals or not name:
                raise click.BadParameter(f"{text!r} is not NAME=VALUE", context, parameter)
            if name in found:
                raise click.BadParameter(f"{name!r} is there twice", context, parameter)
            try:
                found[name] = convert(value)
            except ValueError as error:
                raise click.BadParameter(f"{text!r}: {error}", context, parameter) from None
        return found

    return read


def _extent(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError("an extent is 1 or more")
    return number


def _number(text: str) -> float:
    """A whole number with all its digits, a real one, or a truth value as 1 or 0."""
    if text in ("true", "false"):
        return int(text == "true")
    try:
        return int(text)
    except ValueError:
        return float(text)


def _shape(text: str) -> tuple[int, ...]:
    return tuple(map(_extent, text.split(",")))


@click.command(context_settings={"help_option_names": ["-h", "--help"]}, epilog=EPILOG)
@click.option(
    "--model",
    metavar="MODEL",
    help="An ONNX file, a program of torch.export (.pt2); a folder of Hugging Face's with a"
    " language model like Qwen2 or Qwen3, or a recipe: qwen, qwen3.",
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Of a recipe: a folder of Hugging Face's, from which the weights come.",
)
@click.option("--random-weights", is_flag=True, help="Of a recipe: make the weights up, by a seed.")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Of a recipe with random weights: a config.json, for another size.",
)
@click.option(
    "--target",
    "targets",
    multiple=True,
    default=("cpu",),
    metavar="TARGET",
    help="What for; may be repeated, one artifact holds them all.  [default: cpu]",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The artifact to write; NAME.glm in the current directory unless told, NAME being that of"
    " the model. With --emit: the program, or the library's folder.",
)
@click.option("--list-targets", is_flag=True, help="Say for each target whether it can be had.")
@click.option(
    "--dim",
    "dims",
    multiple=True,
    callback=_pairs(_extent),
    metavar="NAME=N",
    help="Fix a dynamic extent.",
)
@click.option(
    "--shape",
    "shapes",
    multiple=True,
    callback=_pairs(_shape),
    metavar="INPUT=N,N,...",
    help="Fix the shape of an input.",
)
@click.option(
    "--set",
    "values",
    multiple=True,
    callback=_pairs(_number),
    metavar="INPUT=X",
    help="Make an input a constant.",
)
@click.option(
    "--typical",
    multiple=True,
    callback=_pairs(_extent),
    metavar="NAME=N",
    help="Check and time a dynamic extent at N; it stays dynamic.",
)
@click.option(
    "--inputs",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE.npz",
    help="Check and time with these inputs, not with seeded ones.",
)
@click.option("--seed", default=0, show_default=True, help="Of the inputs of the check.")
@click.option("--rtol", default=1e-3, show_default=True, help="Relative tolerance of the check.")
@click.option("--atol", default=1e-4, show_default=True, help="Absolute tolerance of the check.")
@click.option(
    "--emit",
    type=click.Choice(["executable", "library"]),
    help="Not an artifact but a program, or a library in C, without Python (docs/light.md).",
)
@click.option(
    "--weights-beside", is_flag=True, help="--emit puts the weights into a file of their own."
)
@click.option(
    "--engine", "engines", multiple=True, metavar="NAME", help="Try only this one; may be repeated."
)
@click.option(
    "--threads",
    type=click.IntRange(0, threads.MOST),
    default=0,
    help="For one call; 0 finds out how many are best.  [default: 0]",
)
@click.option("--no-source", is_flag=True, help="Do not keep the source model as fall-back.")
@click.option(
    "--time-limit",
    type=click.FloatRange(0, min_open=True),
    default=900.0,
    show_default=True,
    help="Seconds for each step of an engine.",
)
@click.option(
    "--memory-limit",
    type=click.IntRange(1),
    metavar="MIB",
    help="Memory for each step of an engine; 80% of what is free unless told.",
)
@click.option("--explain", is_flag=True, help="Say what was done, and why.")
@click.option("--json", is_flag=True, help="Say it as JSON.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
@click.version_option(hal.__version__, prog_name="autoglm-compile")
def cli(**options: Any) -> int:
    """Compile a model for a target: the engine that is fastest, and right, on it.

    Every engine that serves the target compiles the model; each result is held against ONNX Runtime
    on the source model; those that are right are timed in turns, and the best goes into the
    artifact.
    """
    mode = _mode(options)
    _refuse_unused(mode)
    if mode == "list_targets":
        return _list_targets(options["json"])
    if not options["model"]:
        raise click.UsageError("--model is needed (or --list-targets)")
    if options["config"] and not options["random_weights"]:
        raise click.UsageError("--config goes with --random-weights: weights of a folder have one")
    if options["output"] and options["inputs"]:
        refuse_sources(options["output"], [options["inputs"]])
    if mode == "emit":
        return _emit(options)
    from ..explain import as_dict, as_text, summary

    report = _compile(options)
    if options["json"]:
        click.echo(json_module.dumps(as_dict(report), indent=2))
    else:
        click.echo(as_text(report) if options["explain"] else summary(report))
    return 0


def _mode(options: Mapping[str, Any]) -> str:
    from ..decoder.asked import is_language

    if options["list_targets"]:
        return "list_targets"
    if options["emit"]:
        return "emit"
    return "language" if options["model"] and is_language(options["model"]) else "graph"


def _refuse_unused(mode: str) -> None:
    """An option that changes nothing is a misunderstanding.

    Raises:
        click.UsageError: One was given; it says with what it goes.
    """
    context = click.get_current_context()
    for each in context.command.params:
        name = each.name or ""
        given = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if given and name not in _TAKES[mode]:
            goes = " and ".join(_TEXTS[other] for other, takes in _TAKES.items() if name in takes)
            told = f"{each.opts[0]} changes nothing with {_TEXTS[mode]}"
            raise click.UsageError(f"{told}: it goes with {goes}")


def _compile(options: Mapping[str, Any]) -> Any:
    from .. import compiler
    from .progress import Progress

    with Progress(quiet=options["quiet"]) as progress:
        return compiler.compile(
            options["model"],
            options["targets"],
            output=options["output"],
            engines=options["engines"],
            threads=options["threads"],
            keep_source=not options["no_source"],
            explain=options["explain"] or options["json"],
            progress=progress,
            weights=options["weights"],
            random_weights=options["random_weights"],
            config=options["config"],
            **_told(options),
        )


def _emit(options: Mapping[str, Any]) -> int:
    from ..light.deliver import deliver
    from .progress import Progress

    if not options["output"]:
        raise click.UsageError("--emit needs --output: the program, or the library's folder")
    if len(options["targets"]) > 1:
        raise click.UsageError("--emit makes one program: give one --target")
    with Progress(quiet=options["quiet"]) as progress:
        made = deliver(
            options["model"],
            options["targets"][0],
            options["emit"],
            options["output"],
            weights_beside=options["weights_beside"],
            progress=progress,
            **_told(options),
        )
    as_dict = {**vars(made), "output": str(made.output)}
    click.echo(json_module.dumps(as_dict, indent=2) if options["json"] else str(made))
    return 0


def _told(options: Mapping[str, Any]) -> dict[str, Any]:
    """What is fixed, how it is checked, and the limits: alike for whatever is made."""
    from .. import compiler
    from ..cases import Check, arrays
    from ..child import Limits
    from ..ready import Pins

    limits = compiler.default_limits()
    memory = options["memory_limit"]
    return {
        "pins": Pins(options["dims"], options["shapes"], options["values"]),
        "check": Check(
            options["seed"],
            options["rtol"],
            options["atol"],
            options["typical"],
            arrays(options["inputs"]) if options["inputs"] else None,
        ),
        "limits": Limits(options["time_limit"], memory << 20 if memory else limits.memory),
    }


def _list_targets(json: bool) -> int:
    from ..targets import list_targets

    found = list_targets()
    if json:
        click.echo(json_module.dumps([each.as_dict() for each in found], indent=2))
        return 0
    for each in found:
        click.echo(f"{each.name:9} {'available' if each.available else 'missing':10} {each.says}")
    return 0


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """What ``autoglm-compile`` runs."""
    run(cli, "autoglm-compile", arguments)
