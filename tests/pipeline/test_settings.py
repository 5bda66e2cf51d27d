"""The configuration file: what is refused, and how it says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.errors import SettingsError
from pipeline.settings import LookoutSettings, load


def write(folder: Path, tree: Any) -> Path:
    path = folder / "lookout.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    path = tmp_path / "lookout.yaml"
    path.write_text("# nothing yet\n")
    assert load(path) == LookoutSettings()


def test_variables_are_filled_in_wherever_they_stand(tmp_path: Path) -> None:
    path = write(tmp_path, {"cameras": [{"source": "a=rtsp://${USER}:${PASS}@h/"}], "model": "${MODEL}"})
    settings = load(path, {"USER": "u", "PASS": "p", "MODEL": "m"})
    assert settings.cameras[0].source == "a=rtsp://u:p@h/"
    assert settings.model == "m"


@pytest.mark.parametrize(("tree", "named"), [
    ({"camera": []}, "camera"),
    ({"log": {"partition": 3}}, "$.log"),
    ({"cameras": [{"source": "a", "read_timeout_s": -1}]}, "$.cameras[0].read_timeout_s"),
    ({"cameras": [{}]}, "source"),
    ({"metrics": {"port": 70000}}, "$.metrics.port"),
    ({"encode": {"backend": "cuda"}}, "$.encode.backend"),
    ({"rules": [{"name": "r", "min_score": 2}]}, "$.rules[0].min_score"),
    (["cameras"], "object"),
    ({"model": "${NOT_SET}"}, "NOT_SET"),
])
def test_what_is_wrong_is_named(tmp_path: Path, tree: Any, named: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load(write(tmp_path, tree), {})
    assert named in str(refused.value)
    assert "lookout.yaml" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.yaml"):
        load(tmp_path / "nowhere.yaml")


@settings(deadline=None)
@given(tree=st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: (
    st.lists(inner) | st.dictionaries(st.sampled_from(["cameras", "log", "rules", "name", "source", "model"]), inner))))
def test_any_file_gives_settings_or_a_settings_error(tmp_path_factory: pytest.TempPathFactory, tree: Any) -> None:
    try:
        loaded = load(write(tmp_path_factory.mktemp("any"), tree), {})
    except SettingsError:
        return
    assert isinstance(loaded, LookoutSettings)
