"""runs/report.html: everything of a folder of runs in one file that needs nothing else. A browser
opens it, at a desk's and a phone's width, where one is installed.
"""

import base64
import html
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from eval.report.collect import find_runs
from eval.report.html import write_page
from eval.report.registry import PLOTS
from tests.eval.report.made_runs import write_table
from tests.eval.report.synthetic_runs import make_many_runs
from unlearn.config.files import read_json, write_json, write_text

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9"
    "awAAAABJRU5ErkJggg=="
)
VOID_ELEMENTS = {"meta", "img", "br", "hr", "link"}
COUNTED = {"tr": "rows", "table": "tables", "details": "folded", "strong": "best"}
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next((path for name in BROWSERS if (path := shutil.which(name))), None)
HOSTILE = "<script>alert(1)</script>"


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
            self.section = {"text": "", "images": {}, "files": [], "warnings": 0}
            self.section |= dict.fromkeys(COUNTED.values(), 0)
            self.sections[values["id"]] = self.section
        if self.section:
            self.section["images"] |= {values["src"]: values["alt"]} if tag == "img" else {}
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


def read_page(runs):
    return Page(write_page(find_runs(runs)).read_text(encoding="utf-8"))


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
    for number, name in enumerate(("lonely", "gates", "attacks", "tradeoff")):
        (folder / f"{name}.png").write_bytes(PNG + bytes(number))
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Three methods with one hostile answer, and their table."""
    folder = make_many_runs(tmp_path_factory.mktemp("runs"), 3, rows=12)
    path = folder / "authors/tiny/forget10/npo-grun-seed42/eval/forget10/forget.json"
    rows = read_json(path)
    rows["rows"][2] |= {"generation": HOSTILE, "leaked": True}
    write_json(path, rows)
    write_table(folder)
    return folder


def test_page_has_every_table_and_picture_in_order(tables):
    page = read_page(tables.parent)
    known = ["tofu", "attacks", "muse", "wmdp", "sequential"]
    assert list(page.sections) == ["legend", "pictures", *known, "another"]
    assert [alt.split(":")[0] for alt in page.sections["pictures"]["images"].values()] == [
        "Picture Tradeoff",
        "Picture Gates",
        "Picture Attacks",
        "Picture Lonely",
    ]
    assert PLOTS["tofu"]["gates"].caption in page.sections["pictures"]["text"]
    assert page.sections["tofu"]["files"] == ["tofu.csv", "tofu.tex"]
    assert page.sections["muse"]["files"] == ["muse.csv"]
    assert "another run" in page.sections["another"]["text"]


def test_page_needs_no_other_file(tables):
    page = read_page(tables.parent)
    assert all(link.startswith(("data:", "#")) for link in page.links)
    anchors = [link for link in page.links if link.startswith("#")]
    assert anchors == [f"#{name}" for name in page.sections]
    prefix = "data:image/png;base64,"
    images = [link.removeprefix(prefix) for link in page.links if link.startswith(prefix)]
    assert all(base64.b64decode(image).startswith(PNG) for image in images) and len(images) == 4


def test_wide_tables_are_cut_and_warnings_stand_out(tables):
    """Twenty columns under five headings of four: two, two and one; each part has a head and a row,
    and begins with the method. The table and the notes are folded.
    """
    section = read_page(tables.parent).sections["tofu"]
    assert (section["tables"], section["rows"]) == (3, 6)
    assert (section["folded"], section["warnings"]) == (2, 1)
    assert section["text"].count("npo") == 3 and "a <b> & c." in section["text"]


def test_a_second_page_takes_new_files(tables):
    write_page(find_runs(tables.parent))
    write_text(tables / "later.md", "# Later\n")
    assert "later" in read_page(tables.parent).sections


def test_page_without_tables_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no table; run ./cmd_eval.sh first"):
        write_page(find_runs(tmp_path))


def test_page_of_runs_has_summary_answers_and_commands(runs):
    """Legend first; three methods and the reference with ten questions each; answers are text."""
    page = read_page(runs)
    assert list(page.sections) == ["legend", "summary", "answers", "tofu", "commands"]
    assert "What was forgotten?" in page.sections["summary"]["text"]
    answers = page.sections["answers"]
    assert answers["folded"] == 4 and answers["text"].count("this run") == 40
    assert HOSTILE in answers["text"] and HOSTILE not in (runs / "report.html").read_text()
    assert page.sections["tofu"]["best"] > 0
    assert f"python -m eval.report --runs {runs}" in page.sections["commands"]["text"]


def test_a_broken_run_costs_its_answers_alone(runs, tmp_path):
    shutil.copytree(runs, tmp_path, dirs_exist_ok=True)
    broken = tmp_path / "authors/tiny/forget10/idk-grun-seed42/eval/forget10/forget.json"
    broken.write_text("{")
    page = read_page(tmp_path)
    assert page.sections["answers"]["folded"] == 3
    assert page.sections["summary"]["warnings"] == 1


@pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome here")
@pytest.mark.parametrize("width", [1400, 390])
def test_a_browser_shows_it_without_scrolling_sideways(runs, tables, width):
    """The page in a frame as wide as the screen; the frame's neighbour measures it."""
    shutil.copytree(runs, tables.parent, dirs_exist_ok=True)
    page = write_page(find_runs(tables.parent)).read_text(encoding="utf-8")
    page = page.replace("<details>", "<details open>")
    script = (
        "onload = () => { const root = document.querySelector('iframe').contentDocument;"
        "document.body.id = 'w' + root.documentElement.scrollWidth +"
        " 's' + root.querySelectorAll('section').length; }"
    )
    frame = f'<iframe style="width:{width}px;height:900px;border:0" srcdoc="{html.escape(page)}">'
    wrapper = tables.parent / "wrapper.html"
    wrapper.write_text(f"<body>{frame}</iframe><script>{script}</script>", encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", "--window-size=1500,900"]
    profile = f"--user-data-dir={tables.parent / 'profile'}"
    command = [BROWSER, *flags, profile, wrapper.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    wide, sections = map(int, re.search(r'<body id="w(\d+)s(\d+)"', done.stdout).groups())
    assert wide <= width and sections == 11
