"""The command `lookout`: parses and calls, nothing more."""

from __future__ import annotations

import sys
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated

import msgspec
import platformdirs
import typer
from rich.console import Console

from operators.capture.camera import CameraSettings
from operators.errors import BundleError, LookoutError, SettingsError
from operators.evidence.settings import EvidenceSettings
from operators.notify.webhook import WebhookSettings
from pipeline.alerts import commands as alerting
from pipeline.allocator import keep_memory_flat
from pipeline.cluster import commands
from pipeline.logs import FORMAT_HELP, LogFormat, form_for_people, log_beside, log_to_stream
from pipeline.settings import LookoutSettings, MetricsSettings, load
from pipeline.training import commands as bundles

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
                  rich_markup_mode="rich")

app.command(epilog="Example:\n\n  lookout run perceive fuse --config cluster.yaml")(commands.run)
app.add_typer(commands.topics_app, name="topics")
app.add_typer(commands.cameras_app, name="cameras")
app.add_typer(commands.dead_letters_app, name="deadletters")
app.add_typer(alerting.rules_app, name="rules")
app.add_typer(alerting.alerts_app, name="alerts")
app.command(epilog="Examples:\n\n  lookout export my-bundle --out checked\n\n"
                   "  lookout export my-bundle --int8 clips --out my-int8-bundle")(bundles.export)
app.add_typer(bundles.engines_app, name="engines")
app.add_typer(bundles.model_app, name="model")

BAD_INPUT, FAILED = 2, 1  # exit codes


def default_data() -> Path:
    """Where the embedded log lies unless told otherwise."""
    return Path(platformdirs.user_data_dir("lookout"))


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lookout {installed_version('lookout')}")
        raise typer.Exit


@app.callback()
def lookout(
    version: Annotated[bool, typer.Option(
        "--version", help="print the version", is_eager=True, callback=_show_version)] = False,
) -> None:
    """Watches and listens to camera streams and raises the alarm."""


@app.command(epilog=(
    "Examples:\n\n  lookout watch lobby.mp4\n\n"
    "  lookout watch gate=rtsp://user:pass@10.0.0.5/stream1 --webhook https://guard.example/alerts\n\n"
    "  lookout watch --config cameras.yaml --json > events.jsonl"))
def watch(
    sources: Annotated[list[str] | None, typer.Argument(
        metavar="SOURCE…", help="file, rtsp(s)://, http(s)://, v4l2:/dev/videoN, each also as NAME=SOURCE")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file with cameras, rules, webhooks and more")] = None,
    model: Annotated[str | None, typer.Option(help="model bundle: a folder, or `starter`")] = None,
    data: Annotated[Path | None, typer.Option(
        help=f"folder of the embedded log, where a second run goes on; {default_data()} unless told otherwise")] = None,
    webhook: Annotated[list[str] | None, typer.Option(help="URL that alerts are posted to")] = None,
    allow: Annotated[list[str] | None, typer.Option(
        metavar="HOST", help="host, address or network that they may be posted to although it is private")] = None,
    events: Annotated[Path | None, typer.Option(help="also append events to this file, as JSON lines")] = None,
    evidence: Annotated[str | None, typer.Option(metavar="FOLDER", help=(
        "keep a clip, a snapshot and a picture that shows why for every alert; also an fsspec URL"))] = None,
    metrics_port: Annotated[int | None, typer.Option(help="serve /metrics, /healthz, /readyz; 0: any port")] = None,
    json: Annotated[bool, typer.Option("--json", help="events as CloudEvents JSON lines on standard output")] = False,
    log_format: Annotated[LogFormat, typer.Option(help=f"{FORMAT_HELP}: plain unless told otherwise")] = "auto",
) -> None:
    """Watch cameras and files: events on the terminal, alerts to webhooks."""
    from pipeline.watch import WatchOptions  # noqa: PLC0415 - the engines take seconds to import
    from pipeline.watch import watch as run  # noqa: PLC0415

    settings = load(config) if config else LookoutSettings()
    cameras = tuple(CameraSettings(source=source) for source in sources or ())
    hooks = tuple(WebhookSettings(name=f"webhook{i or ''}", url=url, allow=tuple(allow or ()))
                  for i, url in enumerate(webhook or ()))
    settings = msgspec.structs.replace(settings, cameras=settings.cameras + cameras, webhooks=settings.webhooks + hooks,
                                       model=model or settings.model)
    if evidence:
        kept = settings.evidence or EvidenceSettings(url=evidence)
        settings = msgspec.structs.replace(settings, evidence=msgspec.structs.replace(kept, url=evidence))
    if metrics_port is not None:
        port = _converted("--metrics-port", {"host": settings.metrics.host, "port": metrics_port})
        settings = msgspec.structs.replace(settings, metrics=port)
    console = Console(stderr=json)
    drawn = console.is_terminal and not json and log_format == "auto"
    if drawn:
        log_beside(console)
    else:
        log_to_stream(form_for_people(log_format))
    keep_memory_flat()
    report = run(settings, WatchOptions(data or default_data(), json=json, drawn=drawn, events=events), console)
    for line in report.lines():
        console.print(line, highlight=False, soft_wrap=True)
    raise typer.Exit(report.exit_code)


@app.command(epilog="Example:\n\n  lookout demo")
def demo(
    model: Annotated[str, typer.Option(help="model bundle: a folder, or `starter`")] = "starter",
    serve: Annotated[str | None, typer.Option(metavar="HOST:PORT", help=(
        "only be the camera, at this address, and do nothing else"))] = None,
) -> None:
    """Watch a scene made on the spot, served as a camera, until its alert is delivered and verified."""
    from pipeline.demo import run  # noqa: PLC0415

    console = Console()
    if console.is_terminal:
        log_beside(console)
    else:
        log_to_stream("plain")
    raise typer.Exit(run.serve(serve, console) if serve else run.demo(console, model))


@app.command(epilog="Examples:\n\n  lookout train --init clips\n\n  lookout train --data clips --out my-bundle\n\n"
                    "  lookout train --data clips --out my-bundle --false-per-hour 1")
def train(
    data: Annotated[Path | None, typer.Option(help="folder with labels.csv and the media files it lists")] = None,
    out: Annotated[Path | None, typer.Option(help="folder of the bundle to write")] = None,
    init: Annotated[Path | None, typer.Option(help="write an example of such a folder, and do nothing else")] = None,
    seed: Annotated[int, typer.Option(help="the same seed and data give the same bundle")] = 0,
    version: Annotated[str, typer.Option(help="of the bundle, as its card has it")] = "0.1.0",
    false_per_hour: Annotated[float | None, typer.Option(min=0.0, help=(
        "choose each label's threshold for this rate of false events on scenes it has not learnt from"))] = None,
    pairs: Annotated[Path | None, typer.Option(help=(
        "folder of short unlabelled videos, to learn from beforehand what is seen and heard together"))] = None,
    visual: Annotated[Path | None, typer.Option(help="ONNX encoder of pictures in place of ours")] = None,
    acoustic: Annotated[Path | None, typer.Option(help="ONNX encoder of sound in place of ours")] = None,
) -> None:
    """Train a model bundle on labelled clips and measure it. A run that was killed goes on where it was."""
    from pipeline.training.evaluate import evaluate as measure  # noqa: PLC0415
    from pipeline.training.example import write_example  # noqa: PLC0415
    from pipeline.training.measuring.quality import record  # noqa: PLC0415

    if init:
        typer.echo(f"wrote {write_example(init)} clips, labels.csv and README.md into {init}", err=True)
        return
    if not data or not out:
        message = "train needs --data and --out, or --init"
        raise SettingsError(message)
    with bundles.training_extra("training"):
        from pipeline.training.train import Plan  # noqa: PLC0415
        from pipeline.training.train import train as run  # noqa: PLC0415
    log_to_stream("plain")
    plan = Plan(seed=seed, version=version, false_per_hour=false_per_hour, pairs=pairs, visual=visual,
                acoustic=acoustic)
    bundle, problems = run(data, out, plan)
    report, _ = measure(bundle, data)  # on what was held out
    record(bundle, report)
    typer.echo(f"wrote {bundle.path} with {len(bundle.label_names)} labels; {len(problems)} rows could not be used",
               err=True)


@app.command(epilog="Examples:\n\n  lookout evaluate --data clips\n\n"
                    "  lookout evaluate --model my-bundle --data clips --json > quality.json\n\n"
                    "  lookout evaluate --model my-bundle --data clips --record\n\n"
                    "  lookout evaluate --data clips --compare --out comparison")
def evaluate(
    data: Annotated[Path, typer.Option(help="folder with labels.csv, streams/*.mp4 with their .csv, or both")],
    model: Annotated[str, typer.Option(help="model bundle: a folder, or `starter`")] = "starter",
    json: Annotated[bool, typer.Option("--json", help="machine-readable, on standard output")] = False,
    compare: Annotated[bool, typer.Option("--compare", help=(
        "compare ways of fusing instead, each trained and measured on folds of sources: takes hours"))] = False,
    out: Annotated[Path, typer.Option(help="with --compare: folder for diagrams, and for what a killed run goes on "
                                           "with")] = Path("lookout-comparison"),
    folds: Annotated[int, typer.Option(min=2, max=10, help="with --compare: parts held out in turn")] = 5,
    record: Annotated[bool, typer.Option("--record", help=(
        "write the figures into the bundle's manifest and its model card, too"))] = False,
) -> None:
    """Measure a bundle through the serving path, on sources it was not trained on; or compare ways of fusing."""
    from operators.models.bundle import load as load_bundle  # noqa: PLC0415
    from pipeline.training.evaluate import evaluate as run  # noqa: PLC0415
    from pipeline.training.measuring.quality import compared  # noqa: PLC0415
    from pipeline.training.measuring.quality import record as write  # noqa: PLC0415
    from pipeline.training.measuring.report import comparison, tables  # noqa: PLC0415

    log_to_stream("plain")
    bundle = load_bundle(model)
    if compare:
        with bundles.training_extra("training"):
            from pipeline.training.comparison.compare import Terms  # noqa: PLC0415
            from pipeline.training.comparison.compare import compare as run_all  # noqa: PLC0415
        report, problems = run_all(bundle, data, out, Terms(folds=folds))
    else:
        report, problems = run(bundle, data)
    for problem in problems:
        typer.echo(str(problem), err=True)
    if json:
        typer.echo(msgspec.json.format(msgspec.json.encode(report), indent=2).decode())
    else:
        for table in (comparison if compare else tables)(report):
            Console().print(table)
    if record:
        write(bundle, {**bundle.manifest.quality, **({"comparison": compared(report)} if compare else report)})


def main() -> None:
    """Run the command; what the user gave wrong is one line and exit code 2."""
    try:
        app(standalone_mode=True)
    except (SettingsError, BundleError) as error:
        _say(error)
        sys.exit(BAD_INPUT)
    except LookoutError as error:
        _say(error)
        sys.exit(FAILED)


def _converted(option: str, value: object) -> MetricsSettings:
    try:
        return msgspec.convert(value, MetricsSettings)
    except msgspec.ValidationError as error:
        message = f"{option}: {error}"
        raise SettingsError(message) from error


def _say(error: LookoutError) -> None:
    print(f"lookout: {' '.join(str(error).split())}", file=sys.stderr)  # noqa: T201
