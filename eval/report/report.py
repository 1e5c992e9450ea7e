"""Makes the tables, the plots and the page of one folder of runs, each by itself (import only)."""

import shutil
from collections.abc import Callable, Iterable
from functools import partial

from matplotlib.figure import Figure

from eval.report.collect import RunSet
from eval.report.format import to_terminal, write_files
from eval.report.html import write_page
from eval.report.plots.style import save
from eval.report.registry import PLOTS, TABLES
from eval.report.table import TableSpec
from eval.run_each import run_each


class Report:
    """The report of one set of runs; `width`: characters of the terminal."""

    def __init__(self, runs: RunSet, width: int | None = None):
        self.runs = runs
        self.width = width or shutil.get_terminal_size((120, 40)).columns
        self.folder = runs.root / "tables"
        self.missing: dict[str, str] = {}  # table without results -> what to run to get some

    def make(self, tables: Iterable[str] = tuple(TABLES)) -> None:
        """Make these tables (keys of TABLES), their plots, and the page.

        Raises `ValueError` where there is no result at all, and at the end, naming what could not
        be made.
        """
        specs = [TABLES[name] for name in tables]
        steps = {f"table {spec.name}": partial(self.make_table, spec) for spec in specs}
        for spec in specs:
            for name, plot in PLOTS.get(spec.name, {}).items():
                steps[f"plot {name}"] = partial(self.make_plot, spec.name, name, plot.draw)
        steps["page"] = partial(self.make_page, specs)
        run_each(steps, lambda name: steps[name]())
        if self.missing:
            print(f"without results, so not made: {', '.join(self.missing)}", flush=True)

    def make_table(self, spec: TableSpec) -> None:
        """Write and print one table."""
        table = spec.build(self.runs)
        if table is None:
            self.missing[spec.name] = spec.missing
            return
        path = self.folder / spec.name
        write_files(table, spec.title, path)
        print(f"{to_terminal(table, self.width)}\n\nwritten: {path}.md, .csv, .tex\n", flush=True)
        if table.problems:
            raise ValueError("; ".join(table.problems))

    def make_plot(self, table: str, name: str, draw: Callable[[RunSet], Figure | None]) -> None:
        """Draw one plot of a table."""
        figure = draw(self.runs)
        if figure is not None:
            print(f"written: {save(figure, self.folder / f'{name}.png')}", flush=True)
        elif table not in self.missing:
            self.missing[f"{name}.png"] = "no run has what it draws"

    def make_page(self, specs: list[TableSpec]) -> None:
        """Write the page of everything in the folder of tables."""
        if all(spec.name in self.missing for spec in specs):
            reasons = dict.fromkeys(spec.missing for spec in specs)
            raise ValueError(f"{self.runs.root} has no results: {'; '.join(reasons)}")
        print(f"written: {write_page(self.runs)}", flush=True)
