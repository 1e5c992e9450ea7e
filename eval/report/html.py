"""All tables and plots in one page, <runs>/report.html, which a browser opens from disk and which
holds everything in itself (import only).

Takes whatever lies in <runs>/tables: every .md is a section, below it the pictures that belong to
it (eval.report.registry.PLOTS) or bear its name (tofu.png, tofu_bars.png), and its .csv and .tex to
save. The page computes nothing.
"""

import base64
import html
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from markdown_it import MarkdownIt

from eval.report.page_template import PAGE
from eval.report.registry import PLOTS, TABLES
from unlearn.config.files import write_text
from unlearn.config.run_directory import provenance

MAX_COLUMNS = 10  # that fit on a screen
MEDIA_TYPES = {".csv": "text/csv", ".tex": "text/plain", ".png": "image/png"}


@dataclass(frozen=True)
class Section:
    """One table of the page: its Markdown, its pictures, and the files to save."""

    name: str
    text: str
    pictures: list[Path]
    files: list[Path]


def embed(path: Path) -> str:
    """The file as a data: address."""
    content = base64.b64encode(path.read_bytes()).decode()
    return f"data:{MEDIA_TYPES[path.suffix]};base64,{content}"


def render_markdown(text: str) -> str:
    """Markdown as HTML: the first heading is left to the section, the others go one level down;
    tables scroll, warnings stand out.
    """
    text = split_wide_tables(re.sub(r"\A# .*\n", "", text))
    # no images but our own: the page must fetch nothing
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    body = markdown.render(text)
    body = re.sub(r"<(/?)h2>", r"<\1h3>", body)
    body = body.replace("<table>", '<div class="table"><table>')
    body = body.replace("</table>", "</table></div>")
    body = re.sub(r' style="text-align:\w+"', "", body)
    return body.replace("<p>WARNING", '<p class="warning">WARNING')


def split_wide_tables(text: str) -> str:
    """Markdown with each table of more than MAX_COLUMNS columns cut into several, between headings;
    every part repeats the first column.
    """
    parts = re.split(r"((?:^\|.*\n?)+)", text, flags=re.M)
    parts[1::2] = ["\n".join(split_table(part.strip().split("\n"))) for part in parts[1::2]]
    return "".join(parts)


def split_table(lines: list[str]) -> list[str]:
    """One table's lines -> those of its parts."""
    rows = [[cell.strip() for cell in split_cells(line)] for line in lines]
    cuts = find_cuts(rows[0])
    blocks = []
    for start, end in zip(cuts, [*cuts[1:], len(rows[0])], strict=True):
        blocks += ["| " + " | ".join([row[0], *row[start:end]]) + " |" for row in rows]
        blocks.append("")
    return blocks


def split_cells(line: str) -> list[str]:
    """The cells of a line; a bar after a backslash belongs to its cell."""
    return re.split(r"(?<!\\)\|", line.strip())[1:-1]


def find_cuts(headings: list[str]) -> list[int]:
    """The columns at which the parts begin. Neighbours whose first words agree have one heading and
    stay together.
    """
    cuts = [1]
    group_start = [0]
    for i, name in enumerate(headings[1:], 1):
        same = i > 1 and name.split(" ")[0] == headings[i - 1].split(" ")[0]
        group_start.append(group_start[-1] if same else i)
    for i in range(1, len(headings)):
        if i - cuts[-1] >= MAX_COLUMNS:
            cuts.append(group_start[i] if group_start[i] > cuts[-1] else i)
    return cuts


def find_sections(tables: Path) -> list[Section]:
    """All sections in reading order; pictures without a table make one of their own."""
    texts = {path.stem: path.read_text(encoding="utf-8") for path in tables.glob("*.md")}
    registered = [picture for plots in PLOTS.values() for picture in plots]
    pictures: dict[str, list[Path]] = {}
    for path in sorted(tables.glob("*.png"), key=lambda path: rank(path.stem, registered)):
        pictures.setdefault(find_owner(path.stem, list(texts)), []).append(path)
    order = [spec.name for spec in TABLES.values()]
    names = sorted({*texts, *pictures}, key=lambda name: rank(name, order))
    return [
        Section(
            name,
            texts.get(name, ""),
            pictures.get(name, []),
            [path for end in (".csv", ".tex") if (path := tables / f"{name}{end}").exists()],
        )
        for name in names
    ]


def rank(name: str, order: list[str]) -> tuple[int, str]:
    """Sorts the names of `order` first, in this order, then all others by name."""
    return (order.index(name) if name in order else len(order), name)


def find_owner(picture: str, tables: list[str]) -> str:
    """The table that a picture stands below: the one that it is registered for, else the one whose
    name it begins with, else none but its own.
    """
    for table, plots in PLOTS.items():
        if picture in plots:
            return table
    owners = [name for name in tables if picture == name or picture.startswith(f"{name}_")]
    return max(owners, key=len, default=picture)


def render_section(section: Section) -> str:
    """One section as HTML."""
    heading = re.match(r"# (.*)\n", section.text)
    title = f"{section.name}: {heading[1]}" if heading else section.name.replace("_", " ")
    links = "".join(
        f'<a download="{name}" href="{embed(path)}">{name}</a>'
        for path in section.files
        for name in [html.escape(path.name)]
    )
    images = "".join(
        f'<img alt="{html.escape(path.stem)}" src="{embed(path)}">' for path in section.pictures
    )
    return "\n".join(
        [
            f'<section id="{html.escape(section.name)}">',
            f"<h2>{html.escape(title)}</h2>",
            render_markdown(section.text),
            f'<p class="files">{links}</p>',
            f"{images}</section>",
        ]
    )


def describe_origin(runs: str | Path) -> str:
    """When, from what, and by which version the page was made."""
    made = provenance()
    commit = (made["git"] or "unknown")[:10] + (", changed since" if made["dirty"] else "")
    versions = [f"{name} {version}" for name, version in made["versions"].items() if version]
    words = [f"Made {datetime.now():%Y-%m-%d %H:%M} from {runs}/tables", f"commit {commit}"]
    return ", ".join([*words, *versions])


def write_page(runs: str | Path) -> Path:
    """Write <runs>/report.html and return its path. Raises `ValueError` when there is no table
    yet.
    """
    sections = find_sections(Path(runs) / "tables")
    if not sections:
        raise ValueError(f"{runs}/tables holds no table; run ./cmd_eval.sh first")
    names = [html.escape(section.name) for section in sections]
    page = PAGE.format(
        origin=html.escape(describe_origin(runs)),
        links="".join(f'<a href="#{name}">{name}</a>' for name in names),
        sections="\n".join(render_section(section) for section in sections),
    )
    return write_text(Path(runs) / "report.html", page)
