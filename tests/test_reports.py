import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sat2map import tables
from sat2map.areas import Areas, ClassArea, Estimate
from sat2map.cli.app import show
from sat2map.errors import OutputError
from sat2map.fidelity import Metric
from sat2map.legend import IGNORED, Legend, legend_of
from sat2map.metrics import confusion, scores_of
from sat2map.pictures import class_picture, curves
from sat2map.reference import AreaReport
from sat2map.reports import (
    Example,
    Figure,
    Overview,
    Report,
    Rival,
    SceneRow,
    percent,
    picture_verdict,
    verdict,
    write_comparison,
    write_report,
)
from sat2map.reports.rivalry import axes
from sat2map.sources import Finding

EVIL = "<script>alert('x')</script> & \"co\""
LEGEND = legend_of(("water", EVIL, "road"))


VOID = {"meta", "img", "input", "br"}


class Page(HTMLParser):
    """What a browser would see: tags, addresses, links within the page and text; each tag is closed in its turn."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert not self.open
        assert len(self.ids) == len(set(self.ids))
        assert {link.removeprefix("#") for link in self.links} <= set(self.ids)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.tags.append(tag)
        self.open += [] if tag in VOID else [tag]
        self.links += [named["href"]] if tag == "a" else []
        self.ids += [named["id"]] if "id" in named else []
        self.addresses += [
            named[n] or "" for n in ("src", "srcset", "data", "action", "href") if n in named and tag != "a"
        ]
        assert tag != "img" or named["alt"]
        assert tag != "th" or named["scope"] in ("col", "row")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] not in ("style", "script"):
            self.text += data


def example(caption: str, score: str) -> Example:
    picture = class_picture(np.zeros((700, 520), np.uint8), LEGEND)
    return Example(caption, picture, picture, picture, score)


@pytest.fixture(scope="module")
def drawing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("drawing") / "curves.png"
    curves([{"epoch": 1, "train_loss": 1.0}], path)
    return path


@pytest.fixture
def report(drawing: Path) -> Report:
    rng = np.random.default_rng(0)
    truth, mapped = rng.integers(0, 3, (2, 900))
    matrix = confusion(truth, np.where(rng.random(900) < 0.7, truth, mapped), 3)
    image = rng.integers(0, 255, (60, 2000, 3), np.uint8)
    return Report(
        title=EVIL,
        subtitle=EVIL,
        legend=LEGEND,
        scores=scores_of(matrix, LEGEND.names),
        confusion=matrix,
        best=[example(EVIL, "98.8 % right")],
        worst=[example("far away", "12.3 % right")],
        overview=Overview("a.tif", image, class_picture(image[..., 0] % 3, LEGEND)),
        curves=drawing,
        facts={"How it was trained": {"Network": EVIL}, "Split": {"By": "blocks"}},
        findings=[Finding("warning", "no-mask", EVIL, (EVIL, "b.tif")), Finding("note", "small", "It is small.")],
        commands=["sat2map train data run --loss 'dice + focal'", EVIL],
    )


def test_the_page_holds_all_it_shows_and_escapes_what_users_wrote(report: Report, tmp_path: Path) -> None:
    path = write_report(tmp_path / "out", report)
    assert path == tmp_path / "out" / "report.html"
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]
    html = path.read_text("utf-8")
    page = Page(html)
    assert len(page.addresses) == 2 + 3 + 3 + 1
    assert all(address.startswith("data:image/") for address in page.addresses)
    assert not re.search(r"https?://|@import|url\(", html)
    assert "<script>alert" not in html
    assert page.tags.count("script") == 1
    # title twice, subtitle, class table, two matrix heads, two legends, caption, fact, finding, place, command, verdict
    assert page.text.count(EVIL) >= 12


def test_the_page_tells_in_this_order(report: Report, tmp_path: Path) -> None:
    html = write_report(tmp_path / "a.html", report).read_text("utf-8")
    headings = re.findall(r"<h[23]>(.*?)</h[23]>", html)
    assert headings == [
        "Image and map", "Classes", "What was taken for what", "Best and worst places", "Best mapped", "Worst mapped",
        "How it came about", "How it was trained", "Split", "To know", "How to repeat it",
    ]  # fmt: skip
    text = Page(html).text
    scores = report.scores
    for value in (percent(scores.accuracy), f"{scores.mean_iou:.3f}", "98.8 % right", "12.3 % right", "2 places"):
        assert value in text
    for part in scores.classes:
        assert f"{part.precision:.3f}" in text


def test_a_report_of_scores_alone_has_no_empty_sections(report: Report, tmp_path: Path) -> None:
    bare = Report(title="t", subtitle="s", legend=LEGEND, scores=report.scores, confusion=report.confusion)
    page = Page(write_report(tmp_path / "bare.html", bare).read_text("utf-8"))
    assert page.tags.count("section") == 3
    assert not page.addresses + page.links
    assert "script" not in page.tags


def test_classes_without_scores_are_shown_with_a_dash(tmp_path: Path) -> None:
    matrix = np.zeros((3, 3), np.int64)
    nothing = Report(title="t", subtitle="s", legend=LEGEND, scores=scores_of(matrix, LEGEND.names), confusion=matrix)
    text = Page(write_report(tmp_path / "none.html", nothing).read_text("utf-8")).text
    assert "nothing can be said" in text
    assert not re.search(r"\b(nan|none)\b", text.casefold())


def test_a_page_takes_the_place_of_an_older_one_or_leaves_it(report: Report, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    with pytest.raises(ValueError, match="zip"):
        write_report(tmp_path, replace(report, legend=legend_of(("a", "b"))))
    assert path.read_text() == "old"
    assert write_report(tmp_path, report).stat().st_size > 10_000


def test_a_place_that_cannot_be_written_is_told(report: Report, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="report cannot be written to"):
        write_report(tmp_path / "file" / "below", report)


def test_a_report_stays_small_enough_for_a_mail(report: Report, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (2048, 2048, 3), np.uint8)
    place = Example("p", noise[:512, :512], noise[:512, :512], noise[:512, :512], "50.0 % right")
    figures = [Figure("Leaks", "Two.", noise)] * 2
    big = replace(report, best=[place] * 2, worst=[place] * 2, overview=Overview("a", noise, noise), figures=figures)
    assert write_report(tmp_path, big).stat().st_size < 5_000_000


def test_a_large_file_is_made_smaller_where_a_page_would_be_too_large(report: Report, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (1200, 1300, 4), np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    assert (tmp_path / "noise.png").stat().st_size > 5_000_000
    big = replace(report, figures=[Figure("A", "b", tmp_path / "noise.png")])
    assert write_report(tmp_path, big).stat().st_size < 5_000_000


def test_the_verdict_compares_with_a_map_of_one_class() -> None:
    good = verdict(scores_of(np.array([[80, 0], [5, 15]]), ("land", "road")))
    assert good == (
        "The map is right on 95.0 % of the labelled pixels. Calling everything land would reach 80.0 %. "
        "land is mapped best (IoU 0.94), road worst (IoU 0.75)."
    )
    assert "would reach 80.0 %: the map is no better" in verdict(scores_of(np.array([[80, 0], [20, 0]]), ("a", "b")))
    assert "best" not in verdict(scores_of(np.array([[80, 0], [0, 0]]), ("a", "b")))


def measures(l1: float = 12.5) -> list[Metric]:
    return [
        Metric("L1", l1, 9000, "pixels", "lower"),
        Metric("PSNR", 20.0, 9000, "pixels", "higher"),
        Metric("FID", 300.0, 12, "patches", "lower", extractor="Inception <3>", reason="Too few."),
        Metric("KID", 0.0123, 12, "patches", "lower", spread=0.004, extractor="Inception <3>"),
        Metric("LPIPS", None, 12, "patches", "lower", reason="No net."),
    ]


def test_a_report_of_pictures_tells_measures_and_classes(report: Report, tmp_path: Path) -> None:
    painted = replace(report, metrics=measures(), l1_of_mean_colour=40.0)
    html = write_report(tmp_path / "a.html", painted).read_text("utf-8")
    headings = re.findall(r"<h2>(.*?)</h2>", html)
    assert headings[:3] == ["Image and map", "How like the truth", "Classes, read from the colours"]
    text = Page(html).text
    for value in ("9,000 pixels", "0.0123 ± 0.0040", "Inception <3>", "Too few.", "Without LPIPS.", "No net."):
        assert value in text
    tiles = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", html))
    assert tiles == {"L1": "12.5", "PSNR": "20.0", "Mean IoU": f"{report.scores.mean_iou:.3f}", "KID": "0.0123"}
    assert "no data" not in text and "no label" not in text


def test_the_legend_tells_of_stripes_where_there_are_some(report: Report, tmp_path: Path) -> None:
    striped = class_picture(np.full((90, 90), IGNORED), LEGEND)
    mapped = replace(report.overview, map=striped)
    holed = [replace(report.best[0], truth=striped)]

    def told(**changes: object) -> list[str]:
        html = write_report(tmp_path / "a.html", replace(report, **changes)).read_text("utf-8")
        return re.findall(r"no label|no data", Page(html).text)

    assert told() == []
    assert told(best=holed) == ["no label"] and told(overview=mapped) == ["no data"]
    assert told(best=holed, overview=mapped, metrics=measures()) == ["no data", "no data"]


def test_a_report_of_pictures_without_a_legend_has_no_classes(report: Report, tmp_path: Path) -> None:
    painted = replace(
        report, metrics=measures(), l1_of_mean_colour=40.0, legend=Legend(()), scores=None, confusion=None
    )
    html = write_report(tmp_path / "a.html", painted).read_text("utf-8")
    assert not re.search('What was taken for what|Classes, read|swatch"', html)
    assert "<h2>How like the truth</h2>" in html
    assert not re.search(r"\b(nan|none)\b", Page(html).text.casefold())


def test_the_verdict_of_pictures_compares_with_one_colour() -> None:
    assert picture_verdict(measures(), 40.04) == (
        "The picture is 12.5 of 255 grey levels from the truth on average. "
        "Painting everything in the mean colour of the truth would be 40.0 from it."
    )
    assert picture_verdict(measures(41.0), 40.04).endswith("40.0 from it: the picture is no better than that.")
    assert "nothing can be said" in picture_verdict([], None)


def test_the_template_is_part_of_the_package() -> None:
    assert (files("sat2map") / "templates" / "report.html").is_file()


# --- how sure it is ---------------------------------------------------------------------------------------------------


def rich(report: Report) -> Report:
    """Return the report with all that can be told beside it."""
    one, *rest = report.scores.classes
    one = replace(one, boundary_f1=0.411, boundary_iou=0.322, object_precision=0.7, object_recall=None, object_f1=0.633)
    estimate = Estimate(0.9, 0.01)
    area = ClassArea(EVIL, 1234.5, Estimate(1100.2, 20.0), estimate, None, 51)
    return replace(
        report,
        scores=replace(report.scores, classes=(one, *rest), mean_boundary_iou=0.322),
        intervals={"accuracy": (0.6123, 0.8456), "mean_iou": (0.5001, 0.5103), "iou/water": (0.25, 0.75)},
        interval_note=f"from 9 places {EVIL}",
        areas=Areas((area, replace(area, name="water", mapped=3.25, producers=estimate)), estimate),
        area_unit="ha",
        area_note="From the test.",
        scenes=[SceneRow(EVIL, 1500, {"Accuracy": 0.9, "Mean IoU": None}), SceneRow("b", 9, {"Accuracy": 0.123})],
        figures=[
            Figure("How sure it is", f"One.\n\n{EVIL}", report.curves, {"ECE": EVIL}),
            Figure("Leaks", "Pairs.", np.zeros((20, 30, 3), np.uint8), wide=True),
            Figure("Words", "Only words."),
        ],
        rivals=rivals(),
    )


def rivals() -> list[Rival]:
    """Return three models: a first, one that is surely lower, and one that cannot be told apart."""
    return [
        Rival("first", {"Mean IoU": 0.6, "L1": 12.34}, {"Mean IoU": (0.55, 0.65)}),
        Rival(EVIL, {"Mean IoU": 0.5}, {"Mean IoU": (0.45, 0.56)}, {"Mean IoU": (-0.1, -0.15, -0.05)}),
        Rival("third", {"Mean IoU": 0.61, "L1": None}, {}, {"Mean IoU": (0.01, -0.02, 0.04)}),
    ]


def test_all_that_a_report_can_hold_is_told(report: Report, tmp_path: Path) -> None:
    html = write_report(tmp_path / "a.html", rich(report)).read_text("utf-8")
    page = Page(html)
    headings = re.findall(r"<h2>(.*?)</h2>", html)
    assert headings == [
        "Image and map", "Classes", "Objects", "What was taken for what", "How sure it is", "Leaks", "Words",
        "Best and worst places", "By picture", "How large the classes are", "Beside other models", "How it came about",
        "To know", "How to repeat it",
    ]  # fmt: skip
    assert [link for link in page.links if link != "#to-know"] == [f"#part-{i + 1}" for i in range(len(headings))]
    text = " ".join(page.text.split())
    for told in (
        "61.2 – 84.6 %", "0.500 – 0.510", "0.25 – 0.75", "from 9 places", "1 warning goes",
        "Boundary IoU", "0.411", "0.322", "0.633", "Mapped, ha", "1,234", "1,100", "± 39", "3.25", "0.900± 0.020",
        "Overall accuracy, by area: 0.900 ± 0.020", "From the test.", "1.5k", "0.123", "Only words.", "−0.100 lower",
        "−0.150 to −0.050", "+0.010 unclear", "12.3",
    ):  # fmt: skip
        assert told in text
    assert html.count('class="whisker" style="left:25.0%;width:50.0%"') == 1
    assert "<script>alert" not in html
    assert not re.search(r"\b(nan|none)\b", text.casefold())


def test_the_page_without_them_is_silent_of_them(report: Report, tmp_path: Path) -> None:
    html = write_report(tmp_path / "a.html", report).read_text("utf-8")
    body = html[html.index("<main>") :]
    assert not re.search("Objects|Boundary|By picture|How large|Beside other|whisker|class=.range", body)


def test_pictures_are_listed_from_the_worst_on_and_not_all_of_many(report: Report, tmp_path: Path) -> None:
    scenes = [SceneRow(f"s{i:02}", 10, {"Accuracy": None if i == 7 else i / 100}) for i in reversed(range(60))]
    html = write_report(tmp_path / "a.html", replace(report, scenes=scenes)).read_text("utf-8")
    names = re.findall(r'scope="row">(s\d\d)<', html)
    assert names == [f"s{i:02}" for i in range(51) if i != 7]
    assert "10 better pictures are not listed" in html


def test_of_measures_of_error_the_largest_is_the_worst(report: Report, tmp_path: Path) -> None:
    scenes = [SceneRow("low", 10, {"L1": 3.0}), SceneRow("high", 10, {"L1": 30.0})]
    painted = replace(report, scenes=scenes, metrics=measures(), l1_of_mean_colour=40.0, intervals={"L1": (9.0, 14.0)})
    html = write_report(tmp_path / "a.html", painted).read_text("utf-8")
    assert re.findall(r'scope="row">(low|high)<', html) == ["high", "low"]
    assert html.count("9.0 – 14.0") == 2


def test_a_comparison_is_a_page_of_its_own(tmp_path: Path) -> None:
    path = write_comparison(tmp_path, EVIL, "s", rivals(), [f"Note {EVIL}"], ["sat2map evaluate 'a  b'"])
    assert path == tmp_path / "comparison.html"
    html = path.read_text("utf-8")
    page = Page(html)
    assert re.findall(r"<h[23]>(.*?)</h[23]>", html) == [
        "Scores on the same places", "Mean IoU", "L1", "To know", "How to repeat it",
    ]  # fmt: skip
    assert "−0.100 lower" in page.text
    assert "sat2map evaluate 'a  b'" in page.text
    assert "<script" not in html
    assert ":root {" in html
    assert not re.search(r"\b(nan|none)\b", page.text.casefold())
    bare = Page(write_comparison(tmp_path / "b.html", "t", "s", rivals()).read_text("utf-8"))
    assert bare.tags.count("section") == 1


def test_axes_begin_and_end_at_round_numbers_around_all_intervals() -> None:
    first, second = axes(rivals())
    assert (first.name, first.low, first.high) == ("Mean IoU", 0.45, 0.65)
    assert [mark.at for mark in first.marks] == [75.0, 25.0, 80.0]
    assert [mark.span for mark in first.marks] == [(50.0, 100.0), (0.0, 55.0), None]
    assert [mark.name for mark in second.marks] == ["first"]
    assert second.low <= 12.34 < second.high
    assert axes([Rival("a", {"x": None})]) == []


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=6))
def test_every_score_lies_on_its_axis(scores: list[float]) -> None:
    (axis,) = axes([Rival(str(i), {"x": score}) for i, score in enumerate(scores)])
    assert axis.low < axis.high
    assert all(-0.01 <= mark.at <= 100.01 for mark in axis.marks)


@pytest.mark.parametrize("name", ["Biomass [t/ha]", "[/x]", "[bold]road", "a :smile: b"])
def test_names_of_classes_are_printed_as_they_are(capsys, monkeypatch, name):
    monkeypatch.setenv("COLUMNS", "200")
    size = Estimate(1.0, 0.1)
    areas = Areas((ClassArea(name, 1.0, size, size, None, 4),), size)
    show(tables.areas(AreaReport(areas, "ha", 4)))
    assert name in capsys.readouterr().out
