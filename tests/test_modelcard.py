import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sat2map.areas import Areas, ClassArea, Estimate
from sat2map.errors import OutputError
from sat2map.fidelity import Metric
from sat2map.legend import Legend, legend_of
from sat2map.metrics import scores_of
from sat2map.modelcard import ModelCard, fenced, inline, write_model_card
from sat2map.reports import Report

markdown = pytest.importorskip("markdown_it")
yaml = pytest.importorskip("yaml")

EVIL = "# a | `b` <script>x</script> *c* _d_ [e](f) \\\n\n- g\n---\n"
SHOWN = "# a | `b` <script>x</script> *c* _d_ [e](f) \\ - g ---"
LEGEND = legend_of(("water", EVIL))


def texts(source: str) -> list[str]:
    """Return what a reader sees, a text for each paragraph, heading, item and cell."""
    tokens = markdown.MarkdownIt("gfm-like", {"linkify": False}).parse(source)
    assert not any(token.type.startswith("html") for token in tokens)
    return ["".join(part.content for part in token.children) for token in tokens if token.type == "inline"]


def front(source: str) -> dict:
    return yaml.safe_load(source.split("\n---\n")[0])


@pytest.fixture
def card() -> ModelCard:
    scores = scores_of(np.array([[80, 0], [5, 15]]), LEGEND.names)
    first = replace(scores.classes[0], object_precision=0.5, object_recall=0.6, object_f1=0.55)
    estimate = Estimate(0.9, 0.01)
    report = Report(
        title="Tiles: one",
        subtitle="test ground",
        legend=LEGEND,
        scores=replace(scores, classes=(first, *scores.classes[1:])),
        intervals={"accuracy": (0.91, 0.97), "iou/water": (0.81, 0.99)},
        interval_note="95 % intervals of 9 places.",
        areas=Areas((ClassArea("water", 123.4, Estimate(110.2, 5.0), estimate, None, 5),), estimate),
        area_unit="ha",
        facts={"How it was trained": {"Loss": "told once"}, "What was scored": {"Part": "test"}},
    )
    return ModelCard(
        report=report,
        name=EVIL,
        what_it_maps=EVIL,
        inputs={"Bands": "red"},
        training={EVIL: EVIL},
        calibration={"ECE": "0.012"},
        domain={"Resolution": "0.3 m"},
        limits=[EVIL, "1. first", "2 pictures."],
        commands=["sat2map predict a b", "echo ```"],
        python="import sat2map\n",
    )


def test_a_card_has_the_parts_of_model_cards_and_all_facts(card: ModelCard, tmp_path: Path) -> None:
    path = write_model_card(tmp_path / "run", card)
    assert path == tmp_path / "run" / "MODEL_CARD.md"
    source = path.read_text("utf-8")
    assert re.findall(r"^## (.*)", source, re.M) == [
        "Model details", "Intended use", "Factors", "Metrics", "Evaluation data", "Training data",
        "Quantitative analyses", "Ethical considerations", "Caveats and recommendations",
    ]  # fmt: skip
    shown = texts(source.split("\n---\n", 1)[1])
    for told in (
        "red", "0.012", "0.3 m", "test", "0.950 (0.91 – 0.97)", "0.941 (0.81 – 0.99)", "80.0 %", "0.550", "110.2 ± 9.8",
        "123.4", "0.900 ± 0.020", "1. first", "2 pictures.", "95 % intervals of 9 places.",
    ):  # fmt: skip
        assert told in shown
    assert "told once" not in shown
    assert any("the user's to choose" in text for text in shown)
    assert "````bash\nsat2map predict a b\necho ```\n````\n" in source
    assert "```python\nimport sat2map\n```\n" in source


def test_what_a_user_wrote_is_shown_as_it_is(card: ModelCard, tmp_path: Path) -> None:
    source = write_model_card(tmp_path, card).read_text("utf-8")
    shown = texts(source.split("\n---\n", 1)[1])
    # title, what it maps, both cells of training, class table, limit; besides: what it tells apart, the verdict
    assert shown.count(SHOWN) == 6
    assert sum(SHOWN in text for text in shown) == 8


def test_the_front_matter_is_what_hubs_read(card: ModelCard, tmp_path: Path) -> None:
    data = front(write_model_card(tmp_path, card).read_text("utf-8"))
    assert "license" not in data
    assert data["pipeline_tag"] == "image-segmentation"
    assert data["metrics"][:2] == ["accuracy", "mean_iou"]
    (model,) = data["model-index"]
    assert model["name"].split() == EVIL.split()
    (result,) = model["results"]
    assert result["dataset"]["name"] == "Tiles: one"
    assert result["metrics"][0] == {"type": "accuracy", "name": "Accuracy", "value": 0.95}
    licensed = front(write_model_card(tmp_path, replace(card, licence="cc-by-4.0")).read_text("utf-8"))
    assert licensed["license"] == "cc-by-4.0"


def test_a_card_of_pictures_tells_measures(card: ModelCard, tmp_path: Path) -> None:
    metrics = [
        Metric("L1", 12.34, 9, "pixels", "lower"),
        Metric("FID", 300.0, 9, "patches", "lower", reason="Too few."),
        Metric("KID", None, 0, "patches", "lower", reason="No net."),
    ]
    report = Report(title="t", subtitle="s", legend=Legend(()), metrics=metrics, l1_of_mean_colour=40.0)
    source = write_model_card(tmp_path, replace(card, report=report)).read_text("utf-8")
    assert front(source)["pipeline_tag"] == "image-to-image"
    assert front(source)["metrics"] == ["l1"]
    assert {"12.3", "300.0"} <= set(texts(source))
    assert "KID" not in texts(source)


def test_a_card_of_little_has_no_empty_tables(tmp_path: Path) -> None:
    report = Report(title="t", subtitle="s", legend=LEGEND)
    bare = ModelCard(report=report, name="n", what_it_maps="w")
    source = write_model_card(tmp_path / "card.md", bare).read_text("utf-8")
    assert "|" not in source.replace(r"\|", "")
    assert not re.search(r"\b(nan|none)\b", source.casefold().replace("none is named yet", ""))
    assert "model-index" not in front(source)


def test_a_place_that_cannot_be_written_is_told(card: ModelCard, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="model card cannot be written to"):
        write_model_card(tmp_path / "file" / "below", card)


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cf", "Cs"]), max_size=40))
def test_any_text_is_shown_as_it_is(text: str) -> None:
    plain = " ".join(text.split())
    assert texts(f"| a |\n|---|\n| {inline(plain)} |\n") == ["a", plain]
    assert texts(inline(plain)) == ([plain] if plain else [])
    assert texts(f"- {inline(plain)}x") == [f"{plain}x"]


@given(st.text("`a\n", max_size=20))
def test_any_code_stays_within_its_fence(code: str) -> None:
    (token,) = markdown.MarkdownIt().parse(fenced([code], "bash"))
    assert token.content == f"{code}\n"
