"""Fonts and colours that all charts share, and how a chart becomes a file without a network.

Colours are those of Okabe and Ito (2008), which people with any common colour blindness tell apart.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import altair as alt
import vl_convert as vlc

from fairlead.optimizer.persistence.atomic_file import write_atomically

INK: Final = "#222222"
FAINT: Final = "#6B6B6B"
BLUE: Final = "#0072B2"
VERMILION: Final = "#D55E00"
GREEN: Final = "#009E73"
COLOURS: Final = (VERMILION, GREEN, "#CC79A7", "#E69F00", "#56B4E9")
FONT: Final = "Helvetica Neue, Arial, Liberation Sans, DejaVu Sans, sans-serif"
_MARK: Final = "\ufdd0"
"""Stands for `<` in a chart until it is a script; no text may hold this character."""

_VERSION: Final = ".".join(alt.SCHEMA_VERSION.split(".")[:2])


def apply_theme(chart: alt.LayerChart) -> alt.LayerChart:
    """Return the chart in the shared fonts and colours."""
    axis: dict[str, Any] = {"labelFont": FONT, "titleFont": FONT, "labelColor": INK, "titleColor": INK}
    themed: alt.LayerChart = (
        chart.configure(background="white", padding=16)
        .configure_view(stroke=None)
        .configure_axis(
            **axis, labelFontSize=11, titleFontSize=12, titleFontWeight="normal", titlePadding=10,
            gridColor="#E8E8E8", domainColor="#9A9A9A", tickColor="#9A9A9A",
        )
        .configure_legend(orient="top", labelFont=FONT, labelFontSize=12, labelColor=INK, symbolSize=320,
                          symbolStrokeWidth=2.5, columnPadding=18, offset=10)
        .configure_title(anchor="start", font=FONT, fontSize=17, color=INK, subtitleFont=FONT,
                         subtitleFontSize=12, subtitleColor=FAINT, subtitlePadding=6, offset=12)
    )  # fmt: skip
    return themed


def svg_text(chart: alt.LayerChart) -> str:
    """Return the chart as a picture in SVG."""
    return str(vlc.vegalite_to_svg(chart.to_dict(), vl_version=_VERSION))


def _html_text(chart: alt.LayerChart) -> str:
    """Return the chart as a page, in which no name can end the script that holds the chart."""
    guarded = json.loads(json.dumps(chart.to_dict()).replace("<", json.dumps(_MARK)[1:-1]))
    page: str = vlc.vegalite_to_html(guarded, vl_version=_VERSION, bundle=True)
    return page.replace(_MARK, r"\u003c")


def save_chart(chart: alt.LayerChart, path: str | Path) -> Path:
    """Write a chart as .png (two pixels to the point), .svg or one .html that needs no network.

    The file appears whole or not at all.
    """
    path = Path(path)
    if path.suffix == ".png":
        content = vlc.vegalite_to_png(chart.to_dict(), vl_version=_VERSION, scale=2.0)
    elif path.suffix == ".svg":
        content = svg_text(chart).encode()
    elif path.suffix == ".html":
        content = _html_text(chart).encode()
    else:
        raise ValueError(f"{path}: a chart cannot be saved as {path.suffix!r}: use .png, .svg or .html.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: the folder {path.parent} is not there: create it first.")
    write_atomically(path, content)
    return path
