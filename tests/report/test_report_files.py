"""Every format of a report: what stands in it, and that no name can do harm."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from made_sweeps import save_scores, sweep, write, write_report

from twostream.report import all_as_text, as_text, build_report
from twostream.report.confusion import group_confusion
from twostream.report.csv_files import cells_as_csv, groups_as_csv
from twostream.report.curves import read_curves
from twostream.report.html import MATRICES, as_html, page_data
from twostream.report.latex import as_latex
from twostream.report.markdown import as_markdown
from twostream.runs.sweep import Sweep

EVIL = "</script><script>document.title='harm'</script>"
AXES = {"fusion": ("sum", "conv"), "layer": ("conv3", "conv5"), "seed": ("0", "1")}
TOPS = {("sum", "conv5"): (0.6, 0.7), ("conv", "conv3"): (0.5, "failed"), ("conv", "conv5"): (0.8, 1.0)}


def small(folder: Path = Path("sweep")) -> Sweep:
    """sum conv3 was never begun; conv conv3 has one seed; conv conv5 is best: 0.9 ± .1414."""
    return sweep(AXES, lambda f, layer, seed: TOPS.get((f, layer), ("missing",) * 2)[int(seed)], folder)


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_markdown() -> None:
    text = as_markdown(build_report(small()))
    assert "8 runs: 5 finished, 1 failed, 2 missing" in text
    assert "| **conv** | **conv5** | **90.00 ± 14.14** | **2** |" in text
    assert "| conv | conv3 | 50.00 | 1/2 | failed: seed=1 |" in text
    assert "| fusion \\\\ layer | conv3 | conv5 |" in text
    assert "| sum | missing: seed=0, seed=1 | 65.00 ± 7.07 |" in text
    assert "| conv | 50.00 (n=1/2; failed: seed=1) | **90.00 ± 14.14** |" in text
    assert "| 5 | fusion=conv layer=conv3 seed=1 | failed | ValueError: no such file |" in text
    assert "sample standard deviation (ddof = 1) over seed" in text
    assert "sign flips of the runs' differences" in text


def test_csv_has_a_row_a_run_and_a_row_a_group() -> None:
    report = build_report(small())
    cells, groups = rows_of(cells_as_csv(report)), rows_of(groups_as_csv(report))
    assert len(cells) == 8
    assert [cell["state"] for cell in cells].count("finished") == 5
    assert (cells[3]["fusion"], cells[3]["layer"], cells[3]["test/top1"]) == ("sum", "conv5", "0.7")
    assert (cells[5]["test/top1"], cells[5]["error"]) == ("", "ValueError: no such file")
    assert [(group["fusion"], group["layer"]) for group in groups] == [
        ("conv", "conv5"),
        ("sum", "conv5"),
        ("conv", "conv3"),  # lacks a run
        ("sum", "conv3"),  # has none
    ]
    best = groups[0]
    assert (best["n"], best["planned"], best["best"], best["reference"], best["pairs"]) == ("2", "2", "1", "1", "")
    assert float(best["mean"]) == pytest.approx(0.9)
    assert float(best["std"]) == pytest.approx(0.02**0.5)
    assert (groups[3]["mean"], groups[3]["without_result"]) == ("", "missing: seed=0, seed=1")
    assert (groups[1]["pairs"], groups[1]["p_seeds"]) == ("2", "0.5"), "two pairs, both the same way: 2 of 4 signs"
    assert float(groups[1]["difference"]) == pytest.approx(-0.25)


def test_the_groups_follow_from_the_runs_by_an_independent_few_lines() -> None:
    report = build_report(small())
    for group in rows_of(groups_as_csv(report)):
        found = [
            float(cell["test/top1"])
            for cell in rows_of(cells_as_csv(report))
            if (cell["fusion"], cell["layer"]) == (group["fusion"], group["layer"]) and cell["state"] == "finished"
        ]
        assert int(group["n"]) == len(found)
        if found:
            assert float(group["mean"]) == pytest.approx(np.mean(found))
        if len(found) > 1:
            assert float(group["std"]) == pytest.approx(np.std(found, ddof=1))


def test_no_text_in_a_csv_file_is_a_formula() -> None:
    made = sweep({"fusion": ("=1+1", "@a"), "seed": ("-1", "0")}, lambda *_: "failed")
    made = made._replace(cells=tuple(cell._replace(error="-x") for cell in made.cells))
    cells = rows_of(cells_as_csv(build_report(made)))
    assert [cell["fusion"] for cell in cells] == ["'=1+1", "'=1+1", "'@a", "'@a"]
    assert [cell["seed"] for cell in cells] == ["-1", "0", "-1", "0"], "a number stays one"
    assert {cell["error"] for cell in cells} == {"'-x"}


def test_latex_is_balanced_and_escaped() -> None:
    made = sweep({"fusion": ("a_b", "50%", r"\x{"), "layer": ("conv3", "conv5")}, lambda fusion, layer: 0.5)
    text = as_latex(build_report(made))
    assert r"a\_b" in text
    assert r"50\%" in text
    assert r"\textbackslash{}x\{" in text
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 2
    assert [text.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [2, 2, 2]
    body = re.sub(r"\\[{}]", "", text)
    assert body.count("{") == body.count("}")
    widths = {line.count(" & ") for line in text.split(r"\begin{tabular}")[1].splitlines() if line.endswith(r"\\")}
    assert len(widths) == 1, "every row has as many cells as the head"
    assert text.isascii(), "signs beyond ASCII would need a package"


def test_latex_has_rows_that_begin_with_a_bracket(tmp_path: Path) -> None:
    made = sweep({"layer": ("conv3", "[conv5,fc8]", "*"), "fusion": ("a---b", "max")}, lambda layer, fusion: 0.5)
    text = as_latex(build_report(made))
    assert not [line for line in text.splitlines() if line.startswith(("[", "*"))]
    if shutil.which("pdflatex"):
        page = f"\\documentclass{{article}}\\usepackage{{booktabs}}\\begin{{document}}{text}\\end{{document}}"
        (tmp_path / "page.tex").write_text(page)
        command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "page.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False)
        assert done.returncode == 0, done.stdout[-2000:]


class Elements(HTMLParser):
    """The elements of a page, and the texts of its scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.scripts: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] == ["script"]:
            self.scripts.append(data)


def evil(folder: Path) -> Sweep:
    """Names that are HTML wherever a name can be."""
    made = sweep({"fusion": (EVIL, "@@STYLE@@"), "seed": ("0", "1")}, lambda fusion, seed: 0.5, folder / "<b>evil")
    failed = made.cells[0]._replace(state="failed", results=None, error=f"ValueError: {EVIL}")
    return made._replace(cells=(failed, *made.cells[1:]), command=f"python train.py -m fusion={EVIL}")


def test_no_name_becomes_html(tmp_path: Path) -> None:
    made = evil(tmp_path)
    write(made, epochs=3, classes=(EVIL, "b"))
    write_report(made.folder, wandb="off")
    page = (made.folder / "report" / "report.html").read_text()
    elements = Elements()
    elements.feed(page)
    assert elements.tags.count("script") == 2
    assert elements.tags.count("b") == 0
    assert elements.addresses == [], "nothing is fetched"
    data = json.loads(elements.scripts[0])
    assert [group["label"] for group in data["groups"]] == ["fusion=@@STYLE@@", f"fusion={EVIL}"]
    assert data["confusions"][0]["classes"][0] == EVIL
    assert (
        "<script" not in (made.folder / "report" / "report.md").read_text().replace("    python", "").split("##", 1)[1]
    )


def test_the_page_says_what_the_other_formats_say(tmp_path: Path) -> None:
    made = small(tmp_path / "sweep")
    write(made, epochs=3, classes=("a", "b", "c"))
    report = build_report(made)
    data = page_data(report)
    assert data["states"] == {"finished": 5, "failed": 1, "missing": 2}
    assert [group["mean"] for group in data["groups"]] == [pytest.approx(0.9), pytest.approx(0.65), 0.5, None]
    assert [group["place"] for group in data["groups"]] == [3, 1, 2, 0], "where the sweep has them"
    assert [group["lack"] for group in data["groups"]][2] == "n=1/2; failed: seed=1"
    assert [group["cells"] for group in data["groups"]] == [[6, 7], [2, 3], [4, 5], [0, 1]]
    assert data["range"] == ["50.00", "90.00"]
    texts = {column["title"]: column["texts"] for column in data["groupTable"]}
    assert texts["test/top1, %"] == ("90.00 ± 14.14", "65.00 ± 7.07", "50.00", "—")
    assert sorted(data["curves"]["val/top1"]) == [2, 3, 4, 5, 6, 7], "the failed run has a curve, too"
    counted = data["confusions"][0]
    assert counted["label"] == "fusion=conv layer=conv5", "the best comes first"
    assert (counted["runs"], sum(count for _, _, count in counted["counts"])) == (2, 2 * 3 * 4)


def test_curves_are_the_rows_of_epochs(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text(
        "epoch,step,val/top1,train/loss_step\n0,9,,2.5\n0,9,0.25,\n1,19,,2.4\n1,19,0.123456,\n2,29,nan,\n2,3"
    )
    assert read_curves(path, ["val/top1", "val/loss"]) == {"val/top1": ([1, 2], [0.25, 0.1235])}
    path.write_text("")
    assert read_curves(path, ["val/top1"]) == {}
    assert read_curves(tmp_path / "absent.csv", ["val/top1"]) == {}


def test_confusions_by_hand(tmp_path: Path) -> None:
    """Labels 0 0 1, predictions 0 1 1, in two runs: [[2, 2], [0, 2]]."""
    made = sweep({"seed": ("0", "1", "2")}, lambda seed: 0.5, tmp_path)
    write(made)
    for cell in made.cells[:2]:
        assert cell.folder is not None
        logits = np.array([[2, 1], [0, 1], [0, 3]], dtype=np.float32)
        save_scores(cell.folder / "test_scores.npz", [0, 0, 1], logits, ("a", "b"))
    found = group_confusion(made.cells)
    assert found is not None
    assert (found.classes, found.counts.tolist(), found.runs) == (("a", "b"), [[2, 2], [0, 2]], 2)
    first = made.cells[0].folder
    assert first is not None
    (first / "test_scores.npz").write_bytes(b"PK\x03\x04 no")
    assert group_confusion(made.cells[:1]) is None


def test_a_terminal_shows_the_best_with_a_star() -> None:
    lines = as_text(build_report(small())).splitlines()
    assert lines[0] == "8 runs: 5 finished, 1 failed, 2 missing"
    assert lines[2].startswith("*  conv ")


def test_a_narrow_terminal_shows_the_columns_that_fit() -> None:
    report = build_report(small())
    whole, _ = all_as_text({Path("report"): report}).split("\n->")
    for width in (20, 60, 80):
        cut, named = all_as_text({Path("report"): report}, width).split("not shown here: ")
        lines = cut.splitlines()
        assert all(line.startswith(short) for line, short in zip(whole.splitlines(), lines, strict=False))
        assert width < 60 or max(map(len, lines)) <= width < max(map(len, whole.splitlines()))
        assert lines[1].split()[:4] == ["fusion", "layer", "test/top1,", "%"]
        assert "parameters" in named


def test_of_nothing_finished_everything_is_written(tmp_path: Path) -> None:
    made = sweep({"fusion": ("a", "b"), "layer": ("conv3", "conv5")}, lambda *values: "failed", tmp_path / "sweep")
    write(made)
    report = write_report(made.folder, wandb="off")
    assert report.reference is None
    found = sorted(path.name for path in (made.folder / "report").iterdir())
    assert found == ["groups.csv", "report.csv", "report.html", "report.md", "report.tex"]


def test_a_running_cell_says_so_and_a_second_report_replaces_the_first(tmp_path: Path) -> None:
    made = sweep({"fusion": ("a", "b")}, lambda fusion: 0.5 if fusion == "a" else "running", tmp_path / "sweep")
    [claim] = write(made)
    assert dict(write_report(made.folder).states) == {"finished": 1, "running": 1}
    claim.release()
    assert dict(write_report(made.folder).states) == {"finished": 1, "interrupted": 1}
    assert "interrupted" in (made.folder / "report" / "report.md").read_text()


@pytest.mark.long
def test_a_page_of_a_thousand_runs_stays_small(tmp_path: Path) -> None:
    """5 × 5 × 4 settings of 10 seeds, 30 epochs each, curves and scores of 16 classes."""
    axes = {"fusion": "abcde", "layer": "fghij", "pooling": "klmn", "seed": "0123456789"}
    generator = np.random.default_rng(0)
    made = sweep(axes, lambda *values: generator.uniform(0.4, 0.9), tmp_path / "sweep")
    write(made, epochs=30, classes=[f"class {i}" for i in range(16)])
    report = write_report(made.folder, wandb="off")
    assert (len(report.sweep.cells), len(report.rows)) == (1000, 100)
    assert (made.folder / "report" / "report.html").stat().st_size < 4_000_000
    assert len(page_data(report)["confusions"]) == MATRICES


@pytest.mark.long
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
def test_in_a_browser_names_stay_text(tmp_path: Path) -> None:
    made = evil(tmp_path)
    write(made, epochs=3, classes=(EVIL, "b"))
    page = tmp_path / "report.html"
    page.write_text(as_html(build_report(made)))
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", page.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=200, check=True).stdout
    assert "2 of 2 rows" in shown
    assert "<title>&lt;b&gt;evil: report</title>" in shown
    assert shown.count("<script") == 2
    assert shown.count("<rect") > 3
    assert shown.count('class="curve"') == 2


ORDER = """<script>
const buttons = [...document.querySelectorAll("#result-controls button.choice")];
buttons.find((button) => button.textContent === PRESSED)?.click();
</script></body>"""


@pytest.mark.long
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
@pytest.mark.parametrize(
    ("pressed", "rows"),
    [
        ("", ["conv conv5", "sum conv5", "conv conv3", "sum conv3"]),
        ("worst first", ["conv conv3", "sum conv5", "conv conv5", "sum conv3"]),
        ("sweep's order", ["sum conv3", "sum conv5", "conv conv3", "conv conv5"]),
        ("runs", ["7 conv conv5", "6 conv conv5", "3 sum conv5", "2 sum conv5", "4 conv conv3"]),
    ],
)
def test_in_a_browser_one_click_gives_each_order(pressed: str, rows: list[str], tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(as_html(build_report(small())).replace("</body>", ORDER.replace("PRESSED", json.dumps(pressed))))
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'chromium'}"]
    options = ["--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync"]
    done = subprocess.run(
        [*command, *options, "--window-size=390,800", "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
    )
    table = done.stdout.split('id="result-table"')[1].split("</table>")[0]
    body = re.findall(r"<tr[^>]*>(<td.*?)</tr>", table.split("<tbody>")[1])
    texts = [" ".join(re.findall(r"<td[^>]*>([^<]*)<", row)) for row in body]
    assert [text.startswith(row) for text, row in zip(texts, rows, strict=False)] == [True] * len(rows), texts
    assert 'class="scroll cut"' in done.stdout, "a table that is wider than the phone says so"
    assert done.stdout.count(">more at the right →<") >= 1
