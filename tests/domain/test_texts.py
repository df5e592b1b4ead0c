"""Names are filled in, blocks become files, lines become variables; everything else stays."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.domain import texts
from modelyard.domain.errors import Invalid

NAMES = {
    "MODELYARD_PORT": "20007",
    "MODELYARD_MODEL_PATH": "/m",
    "KUBEFLOW_MODEL_NAME": "churn",
    "MODELYARD_MODEL_VERSION": "3",
}
_FILE = st.from_regex(r"[a-z0-9_.][a-z0-9_.-]{0,8}", fullmatch=True)
_LINE = st.text(st.characters(codec="ascii", exclude_characters="\r\n\v\f\x1c\x1d\x1e"), max_size=12)
_BODY = st.lists(_LINE.filter(lambda line: not line.startswith("---")), max_size=4)
_BODIES = _BODY.map(lambda lines: "".join(f"{line}\n" for line in lines))


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("serve {{MODELYARD_PORT}} {{ MODELYARD_PORT }}", "serve 20007 20007"),
        ("$model_path/x ${model_name} $model_version", "/m/x churn 3"),
        (
            "$model_paths {{ message.role }} {{OTHER}} $OTHER",
            "$model_paths {{ message.role }} {{OTHER}} $OTHER",
        ),
    ],
)
def test_only_known_names_are_filled_in(text: str, filled: str) -> None:
    assert texts.fill(text, NAMES) == filled


@settings(max_examples=50)
@given(
    st.text(max_size=40).filter(lambda text: "{{" not in text and "$model" not in text and "${" not in text)
)
def test_a_text_without_names_stays_as_it_is(text: str) -> None:
    assert texts.fill(text, NAMES) == text


def test_a_command_of_words_is_started_as_it_is_and_a_text_by_a_shell() -> None:
    assert texts.argv(texts.fill_command(("a", "{{MODELYARD_PORT}}"), NAMES)) == ("a", "20007")
    assert texts.argv("a | b") == ("/bin/sh", "-c", "a | b")


@settings(max_examples=60)
@given(st.dictionaries(_FILE, _BODIES, max_size=4))
def test_files_joined_and_split_are_the_same_files(files: dict[str, str]) -> None:
    assert texts.split_files(texts.join_files(files), "spec.config") == files


def test_a_block_may_hold_the_marks_of_other_formats() -> None:
    text = "---a.yaml\n---\nx: 1\n--- # more\n---b.pem\n-----BEGIN CERTIFICATE-----\n"
    found = texts.split_files(text, "spec.config")
    assert found == {"a.yaml": "---\nx: 1\n--- # more\n", "b.pem": "-----BEGIN CERTIFICATE-----\n"}


@pytest.mark.parametrize(
    ("text", "said"), [("x: 1\n---a\n", "line 1 belongs to no file"), ("---a\n1\n---a\n", "line 3: a file a")]
)
def test_a_text_that_is_no_blocks_is_refused_with_its_line(text: str, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        texts.split_files(text, "spec.config")


def test_variables_are_lines_and_keep_every_equals_sign() -> None:
    found = texts.split_variables("# keys\nA=b=c==\n\nURL=http://x?y=1&z= 2 \r\nEMPTY=\n", "spec.env")
    assert found == {"A": "b=c==", "URL": "http://x?y=1&z= 2 ", "EMPTY": ""}


def test_a_line_without_an_equals_sign_is_refused() -> None:
    with pytest.raises(Invalid, match=r"spec\.env: line 2 has no `=`"):
        texts.split_variables("A=1\nB\n", "spec.env")
