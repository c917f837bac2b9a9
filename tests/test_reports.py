import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from sat2map.errors import OutputError
from sat2map.fidelity import Metric
from sat2map.legend import Legend, legend_of
from sat2map.metrics import confusion, scores_of
from sat2map.pictures import class_picture, curves
from sat2map.reports import Example, Overview, Report, percent, picture_verdict, verdict, write_report
from sat2map.sources import Finding

EVIL = "<script>alert('x')</script> & \"co\""
LEGEND = legend_of(("water", EVIL, "road"))


class Page(HTMLParser):
    """What a browser would see: tags, addresses, headings and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] not in ("style", "script"):
            self.text += data


def example(caption: str, score: str) -> Example:
    picture = class_picture(np.zeros((700, 520), np.uint8), LEGEND)
    return Example(caption, picture, picture, picture, score)


@pytest.fixture
def report(tmp_path: Path) -> Report:
    rng = np.random.default_rng(0)
    truth, mapped = rng.integers(0, 3, (2, 900))
    matrix = confusion(truth, np.where(rng.random(900) < 0.7, truth, mapped), 3)
    curves([{"epoch": 1, "train_loss": 1.0}], tmp_path / "curves.png")
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
        curves=tmp_path / "curves.png",
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
        "Classes", "What was taken for what", "Image and map", "Best and worst places", "Best mapped", "Worst mapped",
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
    assert not page.addresses
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
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (200, 200, 3), np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    picture = class_picture(image[..., 0] % 3, LEGEND)
    place = Example("p", image[:512, :512], picture[:512, :512], picture[:512, :512], "50.0 % right")
    big = replace(report, best=[place] * 4, worst=[place] * 4, overview=Overview("a.tif", image, picture))
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
    assert headings[:3] == ["How like the truth", "Classes, read from the colours", "What was taken for what"]
    text = Page(html).text
    for value in ("9,000 pixels", "0.0123 ± 0.0040", "Inception <3>", "Too few.", "Without LPIPS.", "No net."):
        assert value in text
    tiles = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", html))
    assert tiles == {"L1": "12.5", "PSNR": "20.0", "Mean IoU": f"{report.scores.mean_iou:.3f}", "KID": "0.0123"}
    assert text.count("no data") == 2
    assert "no label" not in text


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
