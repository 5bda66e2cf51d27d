"""`lookout rules` and `lookout alerts`: parses and calls, nothing more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import platformdirs
import typer
from rich.console import Console
from rich.table import Table

from operators.errors import SettingsError
from operators.notify.rules import check_rules
from pipeline.settings import LookoutSettings, load
from pipeline.topics.kafka_settings import KafkaSettings

if TYPE_CHECKING:
    from pipeline.topics.base import Log

Config = Annotated[Path | None, typer.Option(help="YAML file; with `kafka:` the alerts are those of the cluster")]
Data = Annotated[Path | None, typer.Option(help="folder of the embedded log, as given to `lookout watch`")]
Json = Annotated[bool, typer.Option("--json", help="machine-readable, on standard output")]

rules_app = typer.Typer(no_args_is_help=True, help="Which events become alerts.")
alerts_app = typer.Typer(no_args_is_help=True, help="What became of the alerts.")


@rules_app.callback()
def rules() -> None:
    """Which events become alerts."""


@rules_app.command(epilog=(
    "Example:\n\n  lookout watch lobby.mp4 --json > events.jsonl\n\n"
    "  lookout rules test events.jsonl --config cameras.yaml"))
def test(
    events: Annotated[Path, typer.Argument(metavar="EVENTS.jsonl", help="as --json or --events of `watch` write it")],
    config: Annotated[Path | None, typer.Option(help="YAML file with the rules; none: the default rule")] = None,
    json: Json = False,
) -> None:
    """Show which rule would have sent what, and why each other event was held back. An open event ends with the file.

    Nothing is sent. Exit code 2 says that a rule or a line cannot be read.
    """
    from operators.models.bundle import load as load_bundle  # noqa: PLC0415
    from pipeline.alerts.trial import read_events, try_rules  # noqa: PLC0415
    from pipeline.sinks import sink_names  # noqa: PLC0415

    settings = load(config) if config else LookoutSettings()
    bundle = load_bundle(settings.model)
    check_rules(settings.rules, bundle.label_names, sink_names(settings))
    try:
        with events.open("rb") as lines:
            alertable = [label.name for label in bundle.manifest.labels if label.alertable]
            trial = try_rules(read_events(lines), settings.rules, alertable)
    except (OSError, SettingsError) as error:
        message = f"{events}: {error.strerror if isinstance(error, OSError) else error}"
        raise SettingsError(message) from error
    if json:
        typer.echo(msgspec.json.format(msgspec.json.encode(trial), indent=2).decode())
        return
    for verdict in trial.verdicts:
        typer.echo(verdict.line())
    table = Table("rule", "sent", "escalated", "held back", "not about", title=f"{trial.events} events", box=None)
    for tally in trial.rules:
        held = ", ".join(f"{reason} {count}" for reason, count in tally.held.items())
        table.add_row(tally.rule, str(tally.sent), str(tally.escalated), held or "0", str(tally.not_about))
    Console().print(table)


@alerts_app.command("list")
def list_alerts(
    config: Config = None, data: Data = None,
    status: Annotated[str | None, typer.Option(help="only those dead, waiting, queued or delivered")] = None,
    suppressed: Annotated[bool, typer.Option("--suppressed", help="events that became no alert, and why")] = False,
    json: Json = False,
) -> None:
    """Show every alert that the log holds, a line each: whether all have it, it waits, or was given up."""
    from pipeline.alerts.ledger import entries, held_back, held_line, held_record  # noqa: PLC0415

    with _opened(config, data) as log:
        if suppressed:
            shown = [(held_line(held), held_record(held)) for held in held_back(log)]
        else:
            shown = [(entry.line(), entry.record()) for entry in entries(log) if status in (None, entry.status)]
    for line, record in shown:
        typer.echo(msgspec.json.encode(record).decode() if json else line)


@alerts_app.command()
def show(alert: Annotated[str, typer.Argument(metavar="ID", help="or how it begins")],
         config: Config = None, data: Data = None) -> None:
    """Show one alert as its receivers get it, and where it stands with those that do not have it."""
    from pipeline.alerts.ledger import entry_of  # noqa: PLC0415

    with _opened(config, data) as log:
        entry = entry_of(log, alert)
    typer.echo(msgspec.json.format(msgspec.json.encode(entry.record()), indent=2).decode())


@alerts_app.command()
def replay(
    alert: Annotated[str | None, typer.Argument(metavar="[ID]", help="only this one, or how its id begins")] = None,
    sink: Annotated[list[str] | None, typer.Option(help="to these receivers, also if they have it; with an ID")] = None,
    config: Config = None, data: Data = None,
) -> None:
    """Send alerts that were given up once more, to those who did not get them: one, or all.

    The stage that delivers takes it from there: `lookout watch` on the same data, or `lookout run deliver`.
    """
    from pipeline.alerts import ledger  # noqa: PLC0415

    if sink and not alert:
        message = "--sink needs the ID of an alert"
        raise SettingsError(message)
    with _opened(config, data) as log:
        chosen = [ledger.entry_of(log, alert)] if alert else [entry for entry in ledger.entries(log) if entry.dead]
        wanted = [(entry, sink or list(entry.dead)) for entry in chosen if sink or entry.dead]
        if alert and not wanted:
            message = f"alert {chosen[0].alert.id} was not given up; name receivers with --sink to send it again"
            raise SettingsError(message)
        typer.echo(f"replayed {ledger.replay(log, wanted)}")


@contextmanager
def _opened(config: Path | None, data: Path | None) -> Iterator[Log]:
    """The log that is meant: a cluster's where the configuration names one, else the folder's."""
    kafka: KafkaSettings | None = load(config).kafka if config else None
    if kafka and not data:
        from pipeline.topics.kafka_log import KafkaLog  # noqa: PLC0415

        with closing(KafkaLog(kafka)) as cluster:
            yield cluster
        return
    from pipeline.topics.embedded_log import EmbeddedLog  # noqa: PLC0415

    folder = data or Path(platformdirs.user_data_dir("lookout"))
    if not folder.is_dir():
        message = f"--data {folder}: no such folder"
        raise SettingsError(message)
    with closing(EmbeddedLog(folder)) as log:
        yield log
