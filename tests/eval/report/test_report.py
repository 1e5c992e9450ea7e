"""runs/report.html: everything that lies in runs/tables, in one file that needs nothing else. A
browser opens it where one is installed."""

import base64
import shutil
import subprocess
from html.parser import HTMLParser

import pandas
import pytest

from eval.report import html as report
from eval.report.tables import markdown
from unlearn.config.run_directory import write_text

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
VOID = {"meta", "img", "br", "hr", "link"}


class Page(HTMLParser):
    """Checks that elements are closed in order; keeps sections with their text, images, rows and
    links."""

    def __init__(self, text: str):
        super().__init__()
        self.open = []
        self.sections = {}
        self.links = []
        self.images = {}
        self.now = ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        told = dict(attrs)
        self.open += [tag] if tag not in VOID else []
        if tag == "section":
            self.now = told["id"]
            self.sections[self.now] = {
                "text": "",
                "images": [],
                "rows": 0,
                "tables": 0,
                "headings": 0,
                "saved": [],
                "warnings": 0,
            }
        if tag in ("a", "img"):
            self.links.append(told.get("href") or told.get("src"))
        if self.now:
            here = self.sections[self.now]
            here["images"] += [told["alt"]] if tag == "img" else []
            here["saved"] += [told["download"]] if "download" in told else []
            here["warnings"] += told.get("class") == "warning"
            for name, element in (("rows", "tr"), ("tables", "table"), ("headings", "h3")):
                here[name] += tag == element

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        self.now = "" if tag == "section" else self.now

    def handle_data(self, data):
        if self.now:
            self.sections[self.now]["text"] += data


@pytest.fixture
def tables(tmp_path):
    """Tables of the evaluation, and of others that the report has not been told of."""
    folder = tmp_path / "tables"
    wide = (
        "| method | "
        + " | ".join(f"set{i // 4} c{i}" for i in range(20))
        + " |\n|:--|"
        + "--:|" * 20
        + "\n| npo | "
        + " | ".join(["0.5"] * 20)
        + " |"
    )
    write_text(
        folder / "tofu.md",
        f"# Results\n\n## authors, tiny, forget10: overview\n\n{wide}\n\nWARNING, target (!): a <b> & c.\n\nTold below.\n",
    )
    for name, title in (
        ("attacks", "Attacks"),
        ("muse", "MUSE"),
        ("wmdp", "WMDP"),
        ("sequential", "Results"),
        ("another", "Another one"),
    ):
        write_text(
            folder / f"{name}.md", f"# {title}\n\n| method | x |\n|:--|--:|\n| {name} run | 1 |\n"
        )
    for name in ("tofu", "muse"):
        write_text(folder / f"{name}.csv", "a,b\n1,2\n")
    write_text(folder / "tofu.tex", "\\begin{table}")
    for name in (
        "gates",
        "forget_quality",
        "tradeoff",
        "attacks",
        "muse_scaling",
        "sequential",
        "lonely",
    ):
        (folder / f"{name}.png").write_bytes(PNG)
    return folder


def test_every_table_and_picture_is_in_the_page_and_nothing_outside(tables):
    path = report.report(tables.parent)
    assert path == tables.parent / "report.html"
    page = Page(path.read_text(encoding="utf-8"))
    assert list(page.sections) == [
        "tofu",
        "attacks",
        "muse",
        "wmdp",
        "another",
        "lonely",
        "sequential",
    ]
    assert {name: found["images"] for name, found in page.sections.items()} == {
        "tofu": ["tradeoff", "gates", "forget_quality"],
        "attacks": ["attacks"],
        "muse": ["muse_scaling"],
        "wmdp": [],
        "another": [],
        "lonely": ["lonely"],
        "sequential": ["sequential"],
    }
    assert page.sections["tofu"]["saved"] == ["tofu.csv", "tofu.tex"] and page.sections["muse"][
        "saved"
    ] == ["muse.csv"]
    assert "another run" in page.sections["another"]["text"]
    assert all(link.startswith(("data:", "#")) for link in page.links)
    assert [link for link in page.links if link.startswith("#")] == [
        f"#{name}" for name in page.sections
    ]
    pictures = [
        base64.b64decode(link.partition(",")[2])
        for link in page.links
        if link.startswith("data:image/png;base64,")
    ]
    assert pictures == [PNG] * 7


def test_a_wide_table_is_cut_between_headings_and_warnings_stand_out(tables):
    """Twenty columns under five headings of four: two, two and one; each part has a head and a row,
    and begins with the method."""
    section = Page(report.report(tables.parent).read_text(encoding="utf-8")).sections["tofu"]
    assert (section["tables"], section["rows"], section["headings"], section["warnings"]) == (
        3,
        6,
        1,
        1,
    )
    assert section["text"].count("npo") == 3 and "a <b> & c." in section["text"]


def test_a_second_report_takes_new_files_and_the_first_needs_one(tables, tmp_path_factory):
    with pytest.raises(ValueError, match="holds no table; run ./cmd_eval.sh first"):
        report.report(tmp_path_factory.mktemp("empty"))
    report.main(["--runs", str(tables.parent)])
    write_text(tables / "later.md", "# Later\n")
    report.main(["--runs", str(tables.parent)])
    assert "later" in Page((tables.parent / "report.html").read_text(encoding="utf-8")).sections


BROWSER = next(
    (
        found
        for name in ("chromium", "chromium-browser", "google-chrome")
        if (found := shutil.which(name))
    ),
    None,
)


@pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome here")
@pytest.mark.slow
def test_a_browser_opens_it_from_disk(tables):
    path = report.report(tables.parent)
    words = [
        BROWSER,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--dump-dom",
        f"--user-data-dir={tables.parent / 'profile'}",
        path.as_uri(),
    ]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    page = Page(done.stdout)
    assert len(page.sections) == 7 and page.sections["tofu"]["tables"] == 3


def test_markdown_of_our_own_tables_is_read(tables):
    """What eval.report.tables writes is what the report can cut and show."""
    cells = pandas.DataFrame(
        [["0.1", "-"]],
        index=["npo | x"],
        columns=pandas.MultiIndex.from_tuples([("ROUGE-L", "forget"), ("", "gate > .5")]),
    )
    write_text(tables / "ours.md", markdown({"authors, tiny: overview": cells}))
    section = Page(report.report(tables.parent).read_text(encoding="utf-8")).sections["ours"]
    assert (section["tables"], section["rows"]) == (1, 2) and "gate > .5" in section["text"]
