"""The page and the CSV of disagreements: what is ruled on them comes back."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tuneladder.errors import BadInput
from tuneladder.evaluate.adjudicate import changed, corrected, read_adjudicated, rulings
from tuneladder.evaluate.disagreements import Neighbour, View, disagreements
from tuneladder.ladder import review as reviews
from tuneladder.ladder.review import Review, review_page, sorts, write_review
from tuneladder.types import Answer, Marked

LABELS = ("sport", "money", "rain <b>")
SAID = ("sport", "money", "money", "money", "rain <b>", "")
ANSWERS = tuple(
    Marked(f"test:{n}", f'row {n}, <script>alert(1)</script>\u2028 "said"\nso', "sport", Answer(said, 0.8), said == "sport")
    for n, said in enumerate(SAID)
)
SHARES = ((1, 0, 0), (0, 1, 0), (0.5, 0.5, 0), (1, 0, 0), (0, 0.9, 0.1), (0.1, 0.5, 0.4))


@pytest.fixture
def review() -> Review:
    near = tuple(Neighbour(f"another {n}", "money", 0.9 - n / 10) for n in range(4))
    view = View("words", np.array(SHARES, dtype=float), (near,) * len(ANSWERS))
    found = disagreements(ANSWERS, [view], {}, LABELS)
    return Review("r:lora/x", "lora/x", "news & more", LABELS, len(ANSWERS), found)


def ruled_on(review: Review, ruled: dict[str, tuple[str, ...]]) -> Review:
    metrics = rulings(ANSWERS, corrected(ANSWERS, ruled), ["accuracy", "macro_f1"], LABELS, seed=0)
    return replace(review, ruled=ruled, changed=changed(ANSWERS, ruled), metrics=metrics, rungs={"lora/x": metrics[0]})


def test_the_csv_comes_back_as_references(review: Review, tmp_path: Path) -> None:
    written = write_review(review, ANSWERS, tmp_path)
    assert written.table
    with written.table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == [each.marked.id for each in review.rows]
    assert rows[0]["input"] == review.rows[0].marked.input
    rows[0]["right"], rows[1]["right"] = "money", "sport | money"
    with written.table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    ruled = read_adjudicated(written.table, ANSWERS, LABELS)
    assert ruled == {rows[0]["id"]: ("money",), rows[1]["id"]: ("sport", "money")}
    with pytest.raises(BadInput, match="holds 2 rulings that would be written over"):
        write_review(review, ANSWERS, tmp_path)
    again = write_review(ruled_on(review, ruled), ANSWERS, tmp_path)
    assert again.table
    assert read_adjudicated(again.table, ANSWERS, LABELS) == ruled
    (file,) = tmp_path.glob("*.corrected.jsonl")
    lines = [json.loads(line) for line in file.read_text("utf-8").split("\n")[:-1]]
    assert {line["id"]: (line["reference"], *line.get("others", ())) for line in lines if line["id"] in ruled} == ruled
    assert len(lines) == len(ANSWERS)


@pytest.mark.parametrize(
    ("saved", "said"),
    [
        (b"id;right;input\ntest:1;money;x\n", "holds 1 ruling that would be written over"),
        ("id,right,input\ntest:1,money,M\u00fcnchen\n".encode("cp1252"), "cannot be read"),
        (b"id,ruled\ntest:1,money\n", "has no column `right`"),
        (b"number,right\n1,money\n", "has no column `id`"),
    ],
    ids=["semicolons", "another encoding", "no rulings", "no ids"],
)
def test_what_a_spreadsheet_saved_is_never_written_over(review: Review, tmp_path: Path, saved: bytes, said: str) -> None:
    table = write_review(review, ANSWERS, tmp_path).table
    assert table
    write_review(review, ANSWERS, tmp_path)  # nothing is ruled on yet
    table.write_bytes(saved)
    with pytest.raises(BadInput, match=said) as refused:
        write_review(review, ANSWERS, tmp_path)
    assert "move the file away" in refused.value.hint
    assert table.read_bytes() == saved


def test_rulings_on_rows_that_agree_are_kept(review: Review, tmp_path: Path) -> None:
    written = write_review(ruled_on(review, {"test:0": ("money",)}), ANSWERS, tmp_path)
    assert written.table
    assert read_adjudicated(written.table, ANSWERS, LABELS) == {"test:0": ("money",)}


def test_the_page_shows_and_asks_nothing_of_the_network(review: Review, monkeypatch: pytest.MonkeyPatch) -> None:
    page = review_page(review)
    assert "5 of 6 answers differ" in page
    assert "<script>alert" not in page
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", page)
    assert page.count('<article class="card doubt"') == len(review.rows) == sum(sorts(review).values())
    assert "By the references ruled right" not in page
    after = review_page(ruled_on(review, {"test:1": ("money",)}))
    assert "By the references ruled right" in after
    assert '"test:1": "money"' in after
    assert "+0.167" in after
    monkeypatch.setattr(reviews, "MOST_ITEMS", 1)
    assert review_page(review).count('<article class="card doubt"') == sum(count > 0 for count in sorts(review).values())
    assert "others too" in review_page(review)
    assert "0 of 6 answers differ" in review_page(replace(review, rows=()))


def test_what_is_ruled_in_a_browser_is_the_csv(review: Review, browser: Any, tmp_path: Path) -> None:
    written = write_review(ruled_on(review, {"test:0": ("money",)}), ANSWERS, tmp_path)
    page = browser.new_page()
    asked, errors = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(written.page.as_uri())
    assert page.inner_text("#done") == "1 ruled on"
    page.check('[data-id="test:1"] input[value="money"]')
    page.check('[data-id="test:2"] input[value="sport | money"]')
    page.select_option('[data-id="test:3"] select', "rain <b>")
    page.check('[data-id="test:4"] input[value="sport"]')
    page.check('[data-id="test:4"] input[value=""]')
    page.reload()  # the browser keeps what was ruled
    with page.expect_download() as download:
        page.click("#save")
    download.value.save_as(tmp_path / "ruled.csv")
    assert read_adjudicated(tmp_path / "ruled.csv", ANSWERS, LABELS) == {
        "test:0": ("money",),
        "test:1": ("money",),
        "test:2": ("sport", "money"),
        "test:3": ("rain <b>",),
    }
    assert errors == []
    assert {url.partition(":")[0] for url in asked} <= {"file", "blob"}
    page.close()
