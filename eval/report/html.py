"""All tables and pictures in one page, runs/report.html, which opens from disk and holds everything
in itself.

    python -m eval.report.html --runs runs

Takes whatever lies in <runs>/tables: every .md is a section, with the pictures of its name
(tofu.png, tofu_bars.png), or of a name listed in PICTURES, below it, and its .csv and .tex to save.
The other commands write those files; this one computes nothing."""

import argparse
import base64
import html
import re
from datetime import datetime
from pathlib import Path

from markdown_it import MarkdownIt

from unlearn.config.flags import run_command
from unlearn.config.run_directory import provenance, write_text

ORDER = ("tofu", "honest", "attacks", "muse", "wmdp")  # sections that come first; the rest by name
PICTURES = {
    "tradeoff": "tofu",
    "gates": "tofu",
    "forget_quality": "tofu",
}  # pictures of another section than their own name's, in their order
WIDTH = 10  # columns that fit on a screen
TYPES = {".csv": "text/csv", ".tex": "text/plain", ".png": "image/png"}

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Unlearning results</title>
<style>
:root {{ color-scheme: light dark; --line: #8884;
  --soft: light-dark(#f4f4f2, #262626); --page: light-dark(#fff, #1a1a1a); --text: light-dark(#1c1c1c, #e6e6e6); }}
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; padding: 1.5rem 2rem 4rem; max-width: 1500px; background: var(--page); color: var(--text); }}
h1 {{ font-size: 1.6rem; margin: 0; }}
h2 {{ font-size: 1.25rem; margin: 2.5rem 0 .5rem; border-bottom: 1px solid var(--line); }}
h3 {{ font-size: 1rem; margin: 1.5rem 0 .3rem; }}
nav a, .files a {{ margin-right: 1rem; }}
.told {{ color: #888; font-size: .85rem; }}
.table {{ overflow-x: auto; margin: .5rem 0 1rem; border: 1px solid var(--line); border-radius: 4px; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .82rem; }}
th, td {{ padding: .3rem .55rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }}
th {{ font-weight: 600; white-space: normal; vertical-align: bottom; min-width: 3.4rem; background: var(--soft); }}
th:first-child, td:first-child {{ text-align: left; position: sticky; left: 0; background: var(--soft); font-weight: 600; }}
tr:last-child td {{ border-bottom: 0; }}
p {{ max-width: 75rem; }}
.warning {{ border-left: 4px solid #d55e00; background: #d55e0022; padding: .4rem .8rem; }}
img {{ display: block; max-width: 100%; margin: 1rem 0; background: #fff; border: 1px solid var(--line); border-radius: 4px; }}
</style>
</head>
<body>
<h1>Unlearning results</h1>
<p class="told">{told}</p>
<nav>{links}</nav>
{sections}
</body>
</html>
"""


def embedded(path: Path) -> str:
    """The file as a data: address."""
    return f"data:{TYPES[path.suffix]};base64,{base64.b64encode(path.read_bytes()).decode()}"


def rendered(text: str) -> str:
    """Markdown as HTML: the first heading is left to the section, the others go one level down;
    tables scroll, warnings stand out."""
    body = (
        MarkdownIt("commonmark", {"html": False})
        .enable("table")
        .render(narrow(re.sub(r"\A# .*\n", "", text)))
    )
    body = re.sub(r"<(/?)h2>", r"<\1h3>", body)
    body = body.replace("<table>", '<div class="table"><table>').replace(
        "</table>", "</table></div>"
    )
    return re.sub(r' style="text-align:\w+"', "", body).replace(
        "<p>WARNING", '<p class="warning">WARNING'
    )


def narrow(text: str) -> str:
    """Markdown with each table of more than WIDTH columns cut into several, between headings; every
    part repeats the first column."""
    parts = re.split(r"((?:^\|.*\n?)+)", text, flags=re.M)
    parts[1::2] = ["\n".join(blocks(part.strip().split("\n"))) for part in parts[1::2]]
    return "".join(parts)


def blocks(lines: list[str]) -> list[str]:
    """One table's lines -> those of its parts. Columns whose first words agree belong under one
    heading."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    cuts = [1]
    under = [0]
    for i, name in enumerate(rows[0][1:], 1):
        under.append(
            under[-1] if i > 1 and name.split(" ")[0] == rows[0][i - 1].split(" ")[0] else i
        )
    for i in range(1, len(rows[0])):
        if i - cuts[-1] >= WIDTH:
            cuts.append(under[i] if under[i] > cuts[-1] else i)
    spans = zip(cuts, [*cuts[1:], len(rows[0])], strict=True)
    return [
        line
        for a, b in spans
        for line in [*("| " + " | ".join([row[0], *row[a:b]]) + " |" for row in rows), ""]
    ]


def sections(tables: Path) -> dict[str, tuple[str, list[Path], list[Path]]]:
    """name -> (text of its .md, its pictures, its other files), in reading order; pictures without
    a section make one of their own."""
    texts = {path.stem: path.read_text(encoding="utf-8") for path in tables.glob("*.md")}
    pictures: dict[str, list[Path]] = {}
    for path in sorted(
        tables.glob("*.png"), key=lambda path: ([*PICTURES, path.stem].index(path.stem), path.stem)
    ):
        own = [name for name in texts if path.stem == name or path.stem.startswith(f"{name}_")]
        owner = max(own, key=len) if own else PICTURES.get(path.stem, path.stem)
        pictures.setdefault(owner, []).append(path)
    names = sorted(
        {*texts, *pictures},
        key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name),
    )
    return {
        name: (
            texts.get(name, ""),
            pictures.get(name, []),
            [tables / f"{name}{end}" for end in (".csv", ".tex")],
        )
        for name in names
    }


def section(name: str, text: str, pictures: list[Path], files: list[Path]) -> str:
    heading = re.match(r"# (.*)\n", text)
    title = f"{name}: {heading[1]}" if heading else name.replace("_", " ")
    saved = "".join(
        f'<a download="{path.name}" href="{embedded(path)}">{path.name}</a>'
        for path in files
        if path.exists()
    )
    drawn = "".join(
        f'<img alt="{html.escape(path.stem)}" src="{embedded(path)}">' for path in pictures
    )
    return f'<section id="{html.escape(name)}">\n<h2>{html.escape(title)}</h2>\n{rendered(text)}\n<p class="files">{saved}</p>\n{drawn}\n</section>'


def report(runs: str | Path) -> Path:
    """Write <runs>/report.html and return its path. Raises `ValueError` when there is no table
    yet."""
    found = sections(Path(runs) / "tables")
    if not found:
        raise ValueError(f"{runs}/tables holds no table; run ./cmd_eval.sh first")
    made = provenance()
    told = f"Made {datetime.now():%Y-%m-%d %H:%M} from {runs}/tables, commit {(made['git'] or 'unknown')[:10]}{', changed since' if made['dirty'] else ''}, "
    told += ", ".join(f"{name} {version}" for name, version in made["versions"].items() if version)
    links = "".join(f'<a href="#{html.escape(name)}">{html.escape(name)}</a>' for name in found)
    parts = "\n".join(section(name, *part) for name, part in found.items())
    return write_text(
        Path(runs) / "report.html", PAGE.format(told=html.escape(told), links=links, sections=parts)
    )


def main(argv: list[str] | None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, allow_abbrev=False, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--runs", default="runs", help="folder of all run directories")
    print(f"written: {report(parser.parse_args(argv).runs)}", flush=True)


if __name__ == "__main__":
    run_command(main)
