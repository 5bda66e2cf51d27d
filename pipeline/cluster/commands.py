"""The commands of `lookout` that need a Kafka cluster: parses and calls, nothing more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import platformdirs
import typer

from operators.errors import SettingsError
from pipeline.allocator import keep_memory_flat
from pipeline.logs import FORMAT_HELP, LogFormat, form_for_machines, log_to_stream
from pipeline.settings import LookoutSettings, load
from pipeline.topics.kafka_settings import KafkaSettings

if TYPE_CHECKING:
    from pipeline.topics.kafka_log import KafkaLog

FAILED, DRIFTED = 1, 3  # exit codes

Config = Annotated[Path | None, typer.Option(help="YAML file, with `kafka:` and whatever the stages need")]
Servers = Annotated[str | None, typer.Option("--kafka", metavar="HOST:PORT[,…]", help="brokers of the cluster")]
StageOfLetters = Annotated[str, typer.Argument(metavar="STAGE", help="perceive, fuse, notify, deliver or evidence")]
Place = Annotated[str, typer.Argument(metavar="PARTITION:OFFSET", help="as `list` shows it")]

topics_app = typer.Typer(no_args_is_help=True, help="The topics of the cluster.")
cameras_app = typer.Typer(no_args_is_help=True, help="The cameras that the cluster watches.")
dead_letters_app = typer.Typer(no_args_is_help=True, help="The records that a stage could not take.")


def run(
    stages: Annotated[list[str], typer.Argument(
        metavar="STAGE…", help="capture, perceive, fuse, notify, deliver, evidence; several run in one process")],
    config: Config = None,
    kafka: Servers = None,
    data: Annotated[Path | None, typer.Option(help=(
        "folder for webhook secrets that are made here, and for media of live cameras that is not sent yet"))] = None,
    metrics_port: Annotated[int | None, typer.Option(min=0, max=65535, help=(
        "serve /metrics and /healthz; 0: any port"))] = None,
    log_format: Annotated[LogFormat, typer.Option(help=f"{FORMAT_HELP}: JSON unless on a terminal")] = "auto",
) -> None:
    """Run stages on a Kafka cluster until stopped. Start as many processes as you like: they share the cameras."""
    from pipeline.cluster.run_stages import check_names, run_stages  # noqa: PLC0415 - the engines take seconds

    log_to_stream(form_for_machines(log_format))
    check_names(stages)
    settings = _settings(config, kafka)
    if metrics_port is not None:
        settings = msgspec.structs.replace(settings, metrics=msgspec.structs.replace(
            settings.metrics, port=metrics_port))
    keep_memory_flat()
    if run_stages(stages, settings, data or Path(platformdirs.user_data_dir("lookout"))):
        raise typer.Exit(FAILED)


@topics_app.command()
def create(config: Config = None, kafka: Servers = None) -> None:
    """Create the topics that are missing, and give the others the wanted configuration."""
    from pipeline.topology import topics  # noqa: PLC0415

    settings = _settings(config, kafka)
    with _opened(settings) as log:
        log.ensure(topics(settings.log))
    typer.echo("all topics are as wanted")


@topics_app.command(epilog=f"Exit code {DRIFTED} says that something differs.")
def describe(config: Config = None, kafka: Servers = None) -> None:
    """Show the wanted topics, and what is different on the cluster."""
    from pipeline.topology import topics  # noqa: PLC0415

    settings = _settings(config, kafka)
    with _opened(settings) as log:
        drifts = log.drift(topics(settings.log))
        wanted = log.wanted(topics(settings.log))
    for name, config_ in wanted.items():
        drifted = [drift for drift in drifts if drift.topic == name]
        shown = ", ".join(f"{key}={value}" for key, value in config_.items())
        typer.echo(f"{'differs' if drifted else 'ok':8}{name}: {shown}")
        for drift in drifted:
            typer.echo(f"        {drift}")
    if drifts:
        raise typer.Exit(DRIFTED)


@cameras_app.command("add", epilog=(
    "Example:\n\n  lookout cameras add 'gate=rtsp://${GATE_LOGIN}@10.0.0.5/stream1' --kafka 10.0.0.2:9092"))
def add_cameras(
    sources: Annotated[list[str], typer.Argument(
        metavar="[NAME=]SOURCE…", help="${NAME} is filled in from the environment of the capture processes")],
    config: Config = None, kafka: Servers = None,
) -> None:
    """Watch these cameras from now on, in place of those with the same name."""
    from pipeline.cluster.cameras import add  # noqa: PLC0415

    with _opened(_settings(config, kafka)) as log:
        for name in add(log, sources):
            typer.echo(f"watching {name}")


@cameras_app.command("remove")
def remove_cameras(
    names: Annotated[list[str], typer.Argument(metavar="NAME…")], config: Config = None, kafka: Servers = None,
) -> None:
    """Watch these cameras no more."""
    from pipeline.cluster.cameras import remove  # noqa: PLC0415

    with _opened(_settings(config, kafka)) as log:
        remove(log, names)


@cameras_app.command("list")
def list_cameras(config: Config = None, kafka: Servers = None) -> None:
    """Show every camera and its source."""
    from pipeline.cluster.cameras import known  # noqa: PLC0415

    with _opened(_settings(config, kafka)) as log:
        for camera in known(log).values():
            typer.echo(camera.source)


@dead_letters_app.command("list")
def list_dead_letters(stage: StageOfLetters, config: Config = None, kafka: Servers = None) -> None:
    """Show a stage's dead letters, a line each."""
    from pipeline.cluster.dead_letters import dead_letters  # noqa: PLC0415

    with _opened(_settings(config, kafka)) as log:
        for letter in dead_letters(log, stage):
            typer.echo(letter.line())


@dead_letters_app.command("show")
def show_dead_letter(stage: StageOfLetters, place: Place, config: Config = None, kafka: Servers = None, *,
                     value: Annotated[Path | None, typer.Option(help="write the record itself to this file")] = None,
                     ) -> None:
    """Show one dead letter with its traceback."""
    from pipeline.cluster.dead_letters import dead_letter  # noqa: PLC0415

    with _opened(_settings(config, kafka)) as log:
        letter = dead_letter(log, stage, place)
    typer.echo(letter.text())
    if value:
        value.write_bytes(letter.message.value)


@dead_letters_app.command("replay")
def replay_dead_letters(
    stage: StageOfLetters,
    place: Annotated[str | None, typer.Argument(metavar="[PARTITION:OFFSET]", help="only this one")] = None,
    config: Config = None, kafka: Servers = None,
) -> None:
    """Give a stage's dead letters to it once more: one, or all that were not replayed yet."""
    from pipeline.cluster.dead_letters import dead_letter, replay, replay_all  # noqa: PLC0415

    with _opened(_settings(config, kafka)) as log:
        if place:
            replay(log, dead_letter(log, stage, place))
            typer.echo("replayed 1")
        else:
            typer.echo(f"replayed {replay_all(log, stage)}")


def _settings(config: Path | None, kafka: str | None) -> LookoutSettings:
    settings = load(config) if config else LookoutSettings()
    if kafka is None:
        return settings
    given = {**(msgspec.to_builtins(settings.kafka) if settings.kafka else {}), "servers": kafka.split(",")}
    try:
        return msgspec.structs.replace(settings, kafka=msgspec.convert(given, KafkaSettings))
    except msgspec.ValidationError as error:
        message = f"--kafka: {error}"
        raise SettingsError(message) from error


@contextmanager
def _opened(settings: LookoutSettings) -> Iterator[KafkaLog]:
    from pipeline.cluster.run_stages import kafka_log  # noqa: PLC0415

    with closing(kafka_log(settings)) as log:
        yield log
