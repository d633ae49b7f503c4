"""Conversations, mixes and the Hub: what fine-tuning reads beside plain tables."""

import json
from pathlib import Path
from typing import Any

import pytest

from neogpt.data.sources import dolly, files, hh_rlhf, jsonl, mix, parquet, red_team_pairs
from neogpt.data.split import copies, opening
from neogpt.errors import ConfigError, DataError
from neogpt.records import Instruction, Pair, RowStats
from neogpt.tokenizer.template import Turn


def write(path: Path, rows: list[Any]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    return str(path)


def said(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


CHAT = [
    said("system", "Be brief."),
    said("user", "Who?"),
    said("assistant", "She."),
    said("user", "Where?"),
    said("assistant", "Rome."),
]
CHAT_RECORD = Instruction("Where?", "", "Rome.", "", (Turn("Who?", "Be brief.", "She."),))


# --- messages ----------------------------------------------------------------------------------------------


def test_conversations_in_openai_form_from_both_table_formats(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    rows = [{"messages": CHAT}, {"messages": [*CHAT, said("user", "And then?")]}, {"messages": CHAT[:3]}]
    write(tmp_path / "j" / "a.jsonl", rows)
    (tmp_path / "p").mkdir()
    pq.write_table(pa.table({"messages": [row["messages"] for row in rows]}), tmp_path / "p" / "a.parquet")
    kinds: list[tuple[Any, str]] = [
        (jsonl.Jsonl, "j"),
        (parquet.Parquet, "p"),
        (files.Files, "j"),
        (files.Files, "p"),
    ]
    for kind, folder in kinds:
        bad = RowStats()
        found = list(kind(path=str(tmp_path / folder)).instructions(bad))
        assert found == [CHAT_RECORD, Instruction("Who?", "Be brief.", "She.")]
        assert bad.reasons == {"exact duplicate": 1}  # the one with a question that nobody answers


BAD_MESSAGES = {
    "no list": ("hello", "messages: text that is not JSON"),
    "a number": (3, "messages: int, not a list"),
    "a system message too late": ([CHAT[1], CHAT[0], CHAT[2]], "out of turn"),
    "a strange role": ([said("narrator", "x")], "role 'narrator'"),
    "no role": ([{"content": "x"}], "role None"),
    "no text": ([said("user", 3)], "content holds int"),
    "half a surrogate pair": ([said("user", "\ud800"), CHAT[2]], "half a surrogate pair"),
}
REFUSED_MESSAGES = {
    "no answer": ([CHAT[1]], "nothing is answered"),
    "nothing": ([], "nothing is answered"),
    "an answer first": ([CHAT[2]], "nothing is answered"),
    "a tool": ([CHAT[1], said("tool", "x"), CHAT[2]], "tools are called"),
    "a picture": ([said("user", [{"type": "image_url"}]), CHAT[2]], "parts that are no text"),
    "no answer to learn": ([CHAT[1], {**CHAT[2], "weight": 0}], "nothing is answered"),
    "a blank answer": ([CHAT[1], said("assistant", " ")], "blank response"),
    "a blank question": ([said("user", ""), CHAT[2]], "blank request"),
}


@pytest.mark.parametrize("fault", [*BAD_MESSAGES, *REFUSED_MESSAGES])
def test_conversations_that_are_none_are_counted_with_line_and_reason(tmp_path: Path, fault: str) -> None:
    messages, reason = {**BAD_MESSAGES, **REFUSED_MESSAGES}[fault]
    rows = [{"messages": [said("user", f"{i}?"), CHAT[2]]} for i in range(199)]
    path = write(tmp_path / "a.jsonl", [*rows, {"messages": messages}])
    bad = RowStats()
    assert len(list(jsonl.Jsonl(path=path).instructions(bad))) == 199
    assert (bad.n_malformed, bad.n_filtered) == ((1, 0) if fault in BAD_MESSAGES else (0, 1))
    assert bad.shown[0].line == 200
    assert reason in bad.shown[0].reason


def test_a_file_without_the_columns_names_those_that_there_are(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"q": "x", "a": "y"}])
    with pytest.raises(DataError, match=r"no column 'instruction'; there are: 'q', 'a'"):
        list(jsonl.Jsonl(path=path).instructions(RowStats()))
    with pytest.raises(DataError, match=r"no column 'chosen'; there are: 'q', 'a'"):
        list(jsonl.Jsonl(path=path).pairs(RowStats()))


# --- pairs -------------------------------------------------------------------------------------------------


def test_pairs_of_prompts_and_of_conversations(tmp_path: Path) -> None:
    plain = write(tmp_path / "a.jsonl", [{"prompt": "Hit him?", "chosen": "No.", "rejected": "Yes."}])
    config = jsonl.Jsonl(path=plain, instruction_column="prompt")
    assert list(config.pairs(RowStats())) == [Pair("Hit him?", "", "No.", "Yes.")]
    other = [*CHAT[:4], said("assistant", "Paris.")]
    elsewhere = [CHAT[1], said("assistant", "He."), *CHAT[3:]]
    rows = [
        {"chosen": CHAT, "rejected": other},
        {"chosen": CHAT, "rejected": CHAT},
        {"chosen": CHAT, "rejected": elsewhere},
    ]
    bad = RowStats()
    found = list(jsonl.Jsonl(path=write(tmp_path / "b.jsonl", rows)).pairs(bad))
    assert found == [Pair("Where?", "", "Rome.", "Paris.", "", (Turn("Who?", "Be brief.", "She."),))]
    assert bad.reasons == {"equal answers": 1, "the dialogues differ before the last answer": 1}


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_pairs_in_the_forms_that_trl_takes(tmp_path: Path, form: str) -> None:
    """Plain text, prompt apart or within: read as TRL's own `maybe_extract_prompt` reads them."""
    data_utils = pytest.importorskip(
        "trl.data_utils", reason="TRL is not installed (pip install 'neogpt[dev]')"
    )
    examples: list[dict[str, Any]] = [
        {"prompt": "Where?", "chosen": "Rome.", "rejected": "Paris."},
        {"prompt": CHAT[1:2], "chosen": [said("assistant", "She.")], "rejected": [said("assistant", "He.")]},
        {"prompt": CHAT[:4], "chosen": CHAT[4:], "rejected": [said("assistant", "Paris.")]},
        {"chosen": CHAT, "rejected": [*CHAT[:4], said("assistant", "Paris.")]},
        {"prompt": "Where?", "chosen": CHAT[3:], "rejected": [CHAT[3], said("assistant", "Paris.")]},
    ]
    for number, example in enumerate(examples):
        path = _table(tmp_path / f"{number}.{form}", [example])
        [pair] = files.Files(path=path).pairs(RowStats())
        theirs = data_utils.maybe_extract_prompt(dict(example))
        texts = [pair.chosen, pair.rejected]
        if data_utils.is_conversational(theirs):
            assert _messages(pair) == theirs["prompt"]
            assert [[said("assistant", text)] for text in texts] == [theirs["chosen"], theirs["rejected"]]
        else:
            assert [pair.instruction, *texts] == [theirs[name] for name in ("prompt", "chosen", "rejected")]


def _table(path: Path, rows: list[Any]) -> str:
    if path.suffix == ".jsonl":
        return write(path, rows)
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(rows), path)
    return str(path)


def _messages(pair: Pair) -> list[Any]:
    """A pair's turns and its request as messages."""
    found = []
    for turn in (*pair.history, Turn(pair.instruction, pair.context, "")):
        found += [said("system", turn.context)] if turn.context else []
        found += [said("user", turn.instruction), said("assistant", turn.response)]
    return found[:-1]


def test_a_request_column_that_was_named_is_the_only_one(tmp_path: Path) -> None:
    row = {"instruction": "Bake?", "prompt": "Hit?", "chosen": "No.", "rejected": "Yes."}
    path = write(tmp_path / "a.jsonl", [row])
    assert [p.instruction for p in jsonl.Jsonl(path=path).pairs(RowStats())] == ["Bake?"]
    with pytest.raises(DataError) as error:
        list(jsonl.Jsonl(path=path, instruction_column="question").pairs(RowStats()))
    assert error.value.code == "data.no_such_column"
    assert error.value.hint == "--source.instruction-column instruction"


START = "\n\nHuman: Who?\n\nAssistant: She.\n\nHuman: Where?\n\nAssistant:"
HH_PAIR = Pair("Where?", "", "Rome.", "Paris.", "hh", (Turn("Who?", "", "She."),))


@pytest.mark.parametrize("split", [False, True])
def test_hh_dialogues_with_and_without_a_prompt_column(tmp_path: Path, split: bool) -> None:
    row = {"chosen": " Rome.", "rejected": " Paris.\n"}
    row = {"prompt": START, **row} if split else {side: START + text for side, text in row.items()}
    path = write(tmp_path / "a.jsonl", [row])
    assert list(hh_rlhf.HHRLHF(path=path).pairs(RowStats())) == [HH_PAIR]


HH_REFUSED = {
    "blank": ((START, START + " Paris."), "blank response"),
    "equal": ((START + " Rome.", START + " Rome. "), "equal answers"),
    "goes on": (
        (START + " Rome.\n\nHuman: Yes?\n\nAssistant: Yes.", START + " Paris."),
        "the dialogues differ",
    ),
    "two in a row": (("\n\nHuman: a\n\nHuman: b\n\nAssistant: c",) * 2, "speakers do not take turns"),
    "nobody answers": (("\n\nHuman: a", "\n\nHuman: b"), "nothing is answered"),
}


@pytest.mark.parametrize("fault", HH_REFUSED)
def test_hh_rows_of_no_use_are_refused_and_counted(tmp_path: Path, fault: str) -> None:
    (chosen, rejected), reason = HH_REFUSED[fault]
    good = [{"chosen": START + f" {i}.", "rejected": START + " No."} for i in range(9)]
    path = write(tmp_path / "a.jsonl", [*good, {"chosen": chosen, "rejected": rejected}])
    bad = RowStats()
    assert len(list(hh_rlhf.HHRLHF(path=path).pairs(bad))) == 9
    assert bad.shown[0].reason.startswith(reason)
    with pytest.raises(DataError, match="1 of 10 rows are of no use"):
        list(hh_rlhf.HHRLHF(path=path, max_filtered=0.05).pairs(RowStats()))


def test_real_hh_dialogues(real_data: Path) -> None:
    bad = RowStats()
    found = list(hh_rlhf.HHRLHF().pairs(bad))
    assert (bad.rows, bad.n_malformed, len(found) + bad.n_filtered) == (2019, 0, 2019)
    assert len(found) > 1990
    assert all(pair.chosen.strip() != pair.rejected.strip() for pair in found)


def test_red_team_pairs_from_parquet(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    row = {"prompt": "Hit?", "response_a": "Yes.", "response_b": "No.", "explanation": "", "preferred": "B"}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "train-00000.parquet")
    [pair] = red_team_pairs.RedTeamPairs(path=str(tmp_path)).pairs(RowStats())
    assert (pair.chosen, pair.rejected) == ("No.", "Yes.")


def test_red_team_pairs_without_a_preference_column_are_an_error(tmp_path: Path) -> None:
    """A column that is not there is no property of the rows, however many may be of no use."""
    row = {"prompt": "Hit %d?", "response_a": "Yes.", "response_b": "No.", "preference": "B"}
    good = {**row, "preferred": "B"}
    rows = [{**(good if i < 90 else row), "prompt": f"Hit {i}?"} for i in range(100)]
    path = write(tmp_path / "a.jsonl", rows)
    with pytest.raises(DataError, match=r"10 of 100 rows(.|\n)*no column 'preferred'; there are: 'prompt'"):
        list(red_team_pairs.RedTeamPairs(path=path).pairs(RowStats()))


# --- mixes -------------------------------------------------------------------------------------------------


def test_a_mix_gives_each_source_its_weight_and_no_row_twice(tmp_path: Path) -> None:
    first = write(tmp_path / "a.jsonl", [{"q": "Who?", "response": "She."}, {"q": "Why?", "response": "So."}])
    second = write(tmp_path / "b.jsonl", [{"instruction": "Who?", "response": "She. "}, {"messages": CHAT}])
    config = mix.Mix(of=(f"jsonl?path={first}&instruction-column=q&weight=2", f"jsonl?path={second}"))
    bad = RowStats()
    found = list(config.instructions(bad))
    assert found == [
        Instruction("Who?", "", "She.", weight=2.0),
        Instruction("Why?", "", "So.", weight=2.0),
        CHAT_RECORD,
    ]
    assert bad.reasons == {"also in another source of the mix": 1}
    assert config.parts() == [first, second]


def test_a_mix_of_red_team_and_helpful_pairs(tmp_path: Path) -> None:
    row = {"prompt": "Hit?", "response_a": "Yes.", "response_b": "No.", "explanation": "", "preferred": "B"}
    red = write(tmp_path / "red.jsonl", [row])
    kind = write(tmp_path / "kind.jsonl", [{"instruction": "Bake?", "chosen": "Gladly.", "rejected": "No."}])
    config = mix.Mix(of=(f"red-team-pairs?path={red}", f"jsonl?path={kind}&weight=2"))
    found = list(config.pairs(RowStats()))
    assert [(pair.chosen, pair.weight) for pair in found] == [("No.", 1.0), ("Gladly.", 2.0)]


@pytest.mark.parametrize(("size", "seen"), [(3000, 300), (300, 300), (100, 300), (40, 300)])
def test_rows_are_how_many_an_epoch_sees_whatever_the_size(tmp_path: Path, size: int, seen: int) -> None:
    rows = [{"instruction": f"What is {i}?", "response": "So."} for i in range(size)]
    path = write(tmp_path / "a.jsonl", [*rows, {"instruction": "", "response": "Blank."}])
    found = list(mix.Mix(of=(f"jsonl?path={path}&rows=300",)).instructions(RowStats()))
    often = [copies(opening(item), item.weight) for item in found]
    assert sum(often) == pytest.approx(seen, abs=0 if seen % size == 0 else 60)  # 3.5 standard deviations
    assert max(often) - min(often) <= 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("jsonl?rows=0", "rows is 0"),
        ("jsonl?rows=-3", "rows is -3"),
        ("jsonl?rows=half", "rows is 'half'"),
        ("jsonl?rows=3&weight=2", "weight and rows both"),
        ("dolyl", "did you mean dolly"),
        ("jsonl?paht=x", "there is no setting named 'paht'"),
        ("jsonl?weight=much", "weight is 'much'"),
        ("jsonl?weight=-1", "weight is -1.0"),
        ("jsonl?weight=nan", "weight is nan"),
        ("dolly?max-filtered=x", "max-filtered is 'x'"),
        ("text?path=x", "has no instructions"),
    ],
)
def test_a_mix_that_cannot_be_says_why(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        list(mix.Mix(of=(text,)).instructions(RowStats()))


@pytest.mark.parametrize("broken_first", [True, False])
def test_many_good_rows_of_a_mix_do_not_hide_a_broken_source(tmp_path: Path, broken_first: bool) -> None:
    good = [{"instruction": f"What is {i}?", "response": "So."} for i in range(3000)]
    bad = [{"riddle": f"Who is {i}?", "response": "She."} for i in range(10)]
    parts = [f"jsonl?path={write(tmp_path / f'{i}.jsonl', rows)}" for i, rows in enumerate((bad, good))]
    config = mix.Mix(of=tuple(parts if broken_first else parts[::-1]))
    with pytest.raises(DataError, match=r"0.jsonl: 10 of 10 rows(.|\n)*instruction-column=\.\.\.'") as told:
        list(config.instructions(RowStats()))
    assert "--source.instruction-column" not in str(told.value)


def test_rows_of_no_use_count_against_their_own_source_of_a_mix(tmp_path: Path) -> None:
    row = {"prompt": "Hit?", "response_a": "Yes.", "response_b": "No.", "explanation": "", "preferred": "B"}
    unsure = [{**row, "prompt": f"Hit {i}?", "preferred": "C" if i % 6 == 0 else "A"} for i in range(600)]
    red = f"red-team-pairs?path={write(tmp_path / 'red.jsonl', unsure)}"
    rows = [{"instruction": f"Bake {i}?", "chosen": "Gladly.", "rejected": "No."} for i in range(30)]
    kind, twin = (f"jsonl?path={write(tmp_path / name, rows)}" for name in ("kind.jsonl", "twin.jsonl"))
    bad = RowStats()
    assert len(list(mix.Mix(of=(red, kind, twin)).pairs(bad))) == 530
    assert bad.reasons == {"preferred is neither A nor B": 100, "also in another source of the mix": 30}
    with pytest.raises(DataError, match=r"100 of 600 rows are of no use(.|\n)*&max-filtered=\.\.\.'"):
        list(mix.Mix(of=(kind, f"{red}&max-filtered=0.1")).pairs(RowStats()))


def test_an_empty_mix_says_what_to_type() -> None:
    with pytest.raises(ConfigError, match=r"--source.of dolly"):
        list(mix.Mix().instructions(RowStats()))


# --- the Hub -----------------------------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set as huggingface_hub keeps it on disk, so that no network is needed."""
    import huggingface_hub.constants

    root = tmp_path / "hub" / "datasets--databricks--databricks-dolly-15k"
    commit = "0123456789abcdef0123456789abcdef01234567"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text(commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("NEOGPT_DATA", "")
    return root / "snapshots" / commit


def test_dolly_from_the_hub(hub: Path) -> None:
    row = {"instruction": "Why?", "context": "", "response": "So.", "category": "open_qa"}
    write(hub / "databricks-dolly-15k.jsonl", [row])
    (hub / "README.md").write_text("about it")
    assert list(dolly.Dolly().instructions(RowStats())) == [Instruction(**row)]
    config = jsonl.Jsonl(path="hf://datasets/databricks/databricks-dolly-15k/databricks-dolly-15k.jsonl")
    assert list(config.instructions(RowStats())) == [Instruction(**row)]


def test_what_the_hub_has_not_is_an_error(hub: Path) -> None:
    for name, message in (
        ("nobody/nothing", "nobody/nothing is not on this disk"),
        ("nobody", "names no data"),
    ):
        with pytest.raises((DataError, ConfigError), match=message):
            jsonl.Jsonl(path=f"hf://datasets/{name}").parts()
