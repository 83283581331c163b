"""What every benchmark of resilience prints, and its command line."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.table import Table as TextTable


class Report:
    """Rows for people, and the same for programs."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def add(self, name: str, value: float, unit: str, target: str = "", met: bool | None = None) -> None:
        self.rows.append(
            {
                "name": name,
                "value": float(value),
                "unit": unit,
                "target": target,
                "met": None if met is None else bool(met),
            }
        )

    def print(self, title: str) -> None:
        table = TextTable(title=title, title_justify="left")
        for heading in ("what", "value", "unit", "target", "met"):
            table.add_column(heading, justify="right" if heading == "value" else "left")
        for row in self.rows:
            met = {None: "", True: "yes", False: "no"}[row["met"]]
            table.add_row(row["name"], f"{row['value']:.3g}", row["unit"], row["target"], met)
        Console(width=150).print(table)


class Measure(Protocol):
    """A benchmark: adds its rows to the report."""

    def __call__(self, *, quick: bool, report: Report, console: Console) -> None: ...


def run_benchmark(title: str, description: str, measure: Measure, more: Mapping[str, Measure] | None = None) -> None:
    """Measure as the command line says, print the table, and write it. ``more``: what ``--all`` measures besides."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    if more:
        parser.add_argument("--all", action="store_true")
    said, console = parser.parse_args(), Console()
    rows: list[dict[str, Any]] = []
    others = more if more and said.all else {}
    for name, each in {title: measure, **others}.items():
        report = Report()
        each(quick=said.quick, report=report, console=console)
        report.print(name)
        rows += report.rows
    if said.json:
        said.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")
