"""The kinds of panel that the dashboards are made of, by Grafana's own builder."""

from __future__ import annotations

from collections.abc import Mapping

from grafana_foundation_sdk.builders.common import StackingConfig, VizLegendOptions, VizTooltipOptions
from grafana_foundation_sdk.builders.dashboard import Dashboard, DatasourceVariable, FieldColor, QueryVariable
from grafana_foundation_sdk.builders.dashboard import DashboardLink as Link
from grafana_foundation_sdk.builders.dashboard import ThresholdsConfig as Thresholds
from grafana_foundation_sdk.builders.heatmap import HeatmapColorOptions, YAxisConfig
from grafana_foundation_sdk.builders.heatmap import Panel as HeatmapPanel
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.builders.stat import Panel as StatPanel
from grafana_foundation_sdk.builders.statetimeline import Panel as TimelinePanel
from grafana_foundation_sdk.builders.timeseries import Panel as GraphPanel
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery as AnyQuery
from grafana_foundation_sdk.models.common import LegendDisplayMode, StackingMode, TooltipDisplayMode, VisibilityMode
from grafana_foundation_sdk.models.common import LegendPlacement as Placement
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    FieldColorModeId,
    Panel,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
    VariableRefresh,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
WIDTH = 24  # of Grafana's grid
TAG = "lookout"

Queries = Mapping[str, str]  # what the legend shows -> PromQL
State = tuple[str, str]  # text and colour


def query(expr: str, legend: str, ref: str) -> Dataquery:
    """One question to Prometheus."""
    return Dataquery().expr(expr).legend_format(legend).ref_id(ref).range().datasource(SOURCE)


def _asked(queries: Queries) -> list[Builder[AnyQuery]]:
    return [query(expr, legend, chr(ord("A") + i)) for i, (legend, expr) in enumerate(queries.items())]


def graph(title: str, unit: str, queries: Queries, *, about: str = "", stacked: bool = False, span: int = 8,
          height: int = 8) -> Builder[Panel]:
    """Values over time."""
    panel = (GraphPanel().title(title).description(about).unit(unit).datasource(SOURCE).span(span).height(height)
             .targets(_asked(queries)).fill_opacity(10).show_points(VisibilityMode.NEVER)
             .tooltip(VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
             .legend(VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(Placement.BOTTOM)
                     .show_legend(True)))
    if stacked:
        panel = panel.stacking(StackingConfig().mode(StackingMode.NORMAL))
    return panel


def timeline(title: str, queries: Queries, states: Mapping[int, State], *, about: str = "", span: int = WIDTH,
             height: int = 10) -> Builder[Panel]:
    """A line of states for every series, as long as each lasted."""
    named = {str(value): ValueMappingResult(text=text, color=colour, index=value)
             for value, (text, colour) in states.items()}
    return (TimelinePanel().title(title).description(about).datasource(SOURCE).span(span).height(height)
            .targets(_asked(queries)).mappings([ValueMap(options=named)]).merge_values(True).row_height(0.8)
            .show_value(VisibilityMode.NEVER).color_scheme(FieldColor().mode(FieldColorModeId.THRESHOLDS))
            .legend(VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(Placement.BOTTOM)
                    .show_legend(True)))


def heatmap(title: str, expr: str, *, about: str = "", span: int = 8, height: int = 8) -> Builder[Panel]:
    """How the durations of a histogram are spread, over time; `expr` gives its buckets by `le`."""
    asked: list[Builder[AnyQuery]] = [query(expr, "{{le}}", "A").format(PromQueryFormat.HEATMAP)]
    return (HeatmapPanel().title(title).description(about).datasource(SOURCE).span(span).height(height)
            .targets(asked).calculate(False).cell_gap(1).y_axis(YAxisConfig().unit("s"))
            .color(HeatmapColorOptions().scheme("Turbo").steps(64)).show_legend().mode(TooltipDisplayMode.SINGLE))


def stat(title: str, expr: str, *, legend: str = "", unit: str = "none", bad_from: float | None = None,
         bad_below: float | None = None, span: int = 4, height: int = 4, about: str = "") -> Builder[Panel]:
    """The newest value, green or red."""
    steps = [Threshold(value=None, color="green")]
    if bad_from is not None:
        steps.append(Threshold(value=bad_from, color="red"))
    if bad_below is not None:
        steps = [Threshold(value=None, color="red"), Threshold(value=bad_below, color="green")]
    return (StatPanel().title(title).description(about).unit(unit).datasource(SOURCE).span(span).height(height)
            .targets(_asked({legend: expr})).thresholds(Thresholds().mode(ThresholdsMode.ABSOLUTE).steps(steps)))


def dashboard(uid: str, title: str, about: str, panels: list[Builder[Panel]], *, cameras: bool = False) -> Dashboard:
    """Panels in rows as they fit, with the data source to choose, and one camera where `cameras` is set."""
    board = (Dashboard(title).uid(uid).description(about).tags([TAG]).readonly().time("now-1h", "now").refresh("30s")
             .timezone("browser").tooltip(DashboardCursorSync.CROSSHAIR)
             .link(Link("Lookout").type(DashboardLinkType.DASHBOARDS).tags([TAG]).as_dropdown(False).keep_time(True))
             .with_variable(DatasourceVariable("datasource").label("data source").type("prometheus")))
    if cameras:
        board = board.with_variable(
            QueryVariable("camera").label("camera").datasource(SOURCE).refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
            .query("label_values(lookout_camera_connected, camera)"))
    for number, panel in enumerate(panels, 1):
        built = panel.build()
        built.id_val = number
        board = board.with_panel(panel)
    return board
