"""runs/report.html: everything that lies in runs/tables, in one file that needs nothing else. A
browser opens it where one is installed.
"""

import base64
import shutil
import subprocess
from html.parser import HTMLParser

import pandas
import pytest

from eval.report.format import to_markdown
from eval.report.html import write_page
from eval.report.table import Table
from unlearn.config.files import write_text

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9"
    "awAAAABJRU5ErkJggg=="
)
VOID_ELEMENTS = {"meta", "img", "br", "hr", "link"}
COUNTED = {"tr": "rows", "table": "tables", "h3": "headings"}
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next((path for name in BROWSERS if (path := shutil.which(name))), None)


class Page(HTMLParser):
    """Checks that elements are closed in order; keeps sections with their text, images, rows and
    links.
    """

    def __init__(self, text: str):
        super().__init__()
        self.open = []
        self.sections = {}
        self.links = []
        self.section = None
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if tag not in VOID_ELEMENTS:
            self.open.append(tag)
        if tag in ("a", "img"):
            self.links.append(values.get("href") or values.get("src"))
        if tag == "section":
            self.section = {"text": "", "images": [], "files": [], "warnings": 0}
            self.section |= dict.fromkeys(COUNTED.values(), 0)
            self.sections[values["id"]] = self.section
        if self.section:
            self.section["images"] += [values["alt"]] if tag == "img" else []
            self.section["files"] += [values["download"]] if "download" in values else []
            self.section["warnings"] += values.get("class") == "warning"
            if tag in COUNTED:
                self.section[COUNTED[tag]] += 1

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag == "section":
            self.section = None

    def handle_data(self, data):
        if self.section:
            self.section["text"] += data


def read_page(tables):
    return Page(write_page(tables.parent).read_text(encoding="utf-8"))


@pytest.fixture
def tables(tmp_path):
    """Tables and pictures of the evaluation, and others that the report does not know."""
    folder = tmp_path / "tables"
    headings = " | ".join(f"set{i // 4} c{i}" for i in range(20))
    rule = "|:--|" + "--:|" * 20
    row = " | ".join(["0.5"] * 20)
    write_text(
        folder / "tofu.md",
        f"# Results\n\n## overview\n\n| method | {headings} |\n{rule}\n| npo | {row} |\n\n"
        "WARNING, target (!): a <b> & c.\n\nNotes.\n",
    )
    for name in ("attacks", "muse", "wmdp", "sequential", "another"):
        text = f"# {name} title\n\n| method | x |\n|:--|--:|\n| {name} run | 1 |\n"
        write_text(folder / f"{name}.md", text)
    for name in ("tofu.csv", "muse.csv", "tofu.tex"):
        write_text(folder / name, "a,b\n1,2\n")
    pictures = ("gates", "forget_quality", "tradeoff", "attacks", "muse_steps", "sequential")
    for name in (*pictures, "lonely"):
        (folder / f"{name}.png").write_bytes(PNG)
    return folder


def test_page_has_every_table_and_picture_in_order(tables):
    page = read_page(tables)
    assert {name: section["images"] for name, section in page.sections.items()} == {
        "tofu": ["tradeoff", "gates", "forget_quality"],
        "attacks": ["attacks"],
        "muse": ["muse_steps"],
        "wmdp": [],
        "sequential": ["sequential"],
        "another": [],
        "lonely": ["lonely"],
    }
    known = ["tofu", "attacks", "muse", "wmdp", "sequential"]
    assert list(page.sections) == [*known, "another", "lonely"]
    assert page.sections["tofu"]["files"] == ["tofu.csv", "tofu.tex"]
    assert page.sections["muse"]["files"] == ["muse.csv"]
    assert "another run" in page.sections["another"]["text"]


def test_page_needs_no_other_file(tables):
    page = read_page(tables)
    assert all(link.startswith(("data:", "#")) for link in page.links)
    anchors = [link for link in page.links if link.startswith("#")]
    assert anchors == [f"#{name}" for name in page.sections]
    prefix = "data:image/png;base64,"
    images = [link.removeprefix(prefix) for link in page.links if link.startswith(prefix)]
    assert [base64.b64decode(image) for image in images] == [PNG] * 7


def test_wide_tables_are_cut_and_warnings_stand_out(tables):
    """Twenty columns under five headings of four: two, two and one; each part has a head and a row,
    and begins with the method.
    """
    section = read_page(tables).sections["tofu"]
    assert (section["tables"], section["rows"]) == (3, 6)
    assert (section["headings"], section["warnings"]) == (1, 1)
    assert section["text"].count("npo") == 3 and "a <b> & c." in section["text"]


def test_a_second_page_takes_new_files(tables):
    write_page(tables.parent)
    write_text(tables / "later.md", "# Later\n")
    assert "later" in read_page(tables).sections


def test_page_without_tables_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no table; run ./cmd_eval.sh first"):
        write_page(tmp_path)


@pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome here")
def test_a_browser_opens_it_from_disk(tables):
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    profile = f"--user-data-dir={tables.parent / 'profile'}"
    command = [BROWSER, *flags, profile, write_page(tables.parent).as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    page = Page(done.stdout)
    assert len(page.sections) == 7 and page.sections["tofu"]["tables"] == 3


def test_tables_as_the_report_writes_them_are_rendered(tables):
    """A bar inside a cell stays there."""
    columns = pandas.MultiIndex.from_tuples([("ROUGE-L", "forget"), ("", "gate > .5")])
    cells = pandas.DataFrame([["0.1", "-"]], index=["npo | x"], columns=columns)
    text = to_markdown(Table({"overview": cells}, ["Note."], cells), "Ours")
    write_text(tables / "ours.md", text)
    section = read_page(tables).sections["ours"]
    assert (section["tables"], section["rows"]) == (1, 2)
    assert "gate > .5" in section["text"] and "npo | x" in section["text"]
