"""Text for models of tokens: pairs with a judged similarity, and running text."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from scipy import stats

from workbench.foundation.errors import DataError
from workbench.graph.build import TensorSpec
from workbench.maths.metrics import spearman
from workbench.session.scores import compare
from workbench.session.sentences import PairSource, read_text

INPUTS = [
    TensorSpec(name, ("batch", "sequence"), torch.int64)
    for name in ("input_ids", "attention_mask", "token_type_ids")
]


@dataclass
class Encoding:
    ids: list[int]

    @property
    def type_ids(self) -> list[int]:
        return [0] * len(self.ids)


class Letters:
    """One token for each character."""

    def encode_batch(self, input: list[str]) -> list[Encoding]:  # noqa: A002 - their name
        return [Encoding([ord(letter) for letter in text]) for text in input]


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.tsv"
    lines = [f"{score}\tab\t{'ab' + 'c' * score}" for score in range(6)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_a_pair_is_a_row_and_lies_together_in_the_batch(pairs: Path):
    source = PairSource(pairs, INPUTS, Letters())
    ids, mask, types = source.read(torch.tensor([1, 3]).numpy())
    assert source.labels.tolist() == [0, 1, 2, 3, 4, 5]
    assert ids.tolist()[:2] == [[97, 98, 0, 0, 0, 0, 0], [97, 98, 99, 0, 0, 0, 0]]
    assert mask.sum(1).tolist() == [2, 3, 2, 5]
    assert not types.any()


def test_the_score_is_the_rank_correlation_of_cosines(pairs: Path):
    data = read_text(pairs, INPUTS, Letters)
    assert data is not None
    assert (data.task, data.size("test")) == ("pairs", 3)

    def right(ids, mask, types):
        angle = mask.sum(1, keepdim=True) / 10  # further from 0.2 with each further letter
        return (torch.cat((angle.cos(), angle.sin()), 1),)

    def wrong(ids, mask, types):
        angle = 1 / mask.sum(1, keepdim=True)
        return (torch.cat((angle.cos(), angle.sin()), 1) * ids[:, :1],)

    records = compare(right, {"other": wrong}, data)
    assert records["float"]["metric"] == "Spearman"
    assert records["float"]["score"] == pytest.approx(-1.0)
    assert records["other"]["score"] == pytest.approx(-1.0)


def test_ranks_share_ties():
    torch.manual_seed(0)
    x, y = torch.randint(0, 6, (50,)).double(), torch.randint(0, 6, (50,)).double()
    assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic)
    assert spearman(x, torch.ones(50)) == 0.0


@pytest.mark.parametrize("name", ["text.txt", "text.txt.gz"])
def test_running_text_is_cut_into_windows(tmp_path: Path, name: str):
    path = tmp_path / name
    text = b"a line of text\n" * 100
    path.write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    data = read_text(path, INPUTS[:1], Letters)
    assert data is not None
    (ids,) = data.source.read(torch.tensor([2]).numpy())
    assert ids.tolist() == [list(text[256:384])]
    assert (data.task, len(data.source)) == ("tokens", 11)

    def uniform(ids):
        return (torch.zeros(*ids.shape, 256),)

    assert compare(uniform, {}, data)["float"]["score"] == pytest.approx(8.0)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.tsv", "1.0\tonly one\n", "line 1 of 'a.tsv' is not a score and two sentences"),
        ("a.tsv", "high\ta\tb\n", "line 1 of 'a.tsv' is not a score and two sentences"),
        ("a.tsv", "nan\ta\tb\n1\ta\tb\n", "scores that are finite"),
        ("a.txt", "short", "5 tokens, fewer than two windows"),
    ],
)
def test_wrong_files_are_named(tmp_path: Path, name: str, text: str, message: str):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_text(path, INPUTS, Letters)


def test_other_files_and_inputs_are_left_to_others(tmp_path: Path, pairs: Path):
    assert read_text(tmp_path / "a.npz", INPUTS, Letters) is None
    strange = [TensorSpec("pixels", ("batch", 3), torch.float32)]
    with pytest.raises(DataError, match="what input 'pixels' needs"):
        read_text(pairs, strange, Letters)
