"""An output folder holds one run, and never half a file."""

import json

import pytest
import torch
from full_disk import room_for

from dynamicvit.errors import CheckpointError, OutputError, SettingError
from dynamicvit.training.output import OutputFolder


def test_another_runs_folder_is_refused_and_the_difference_named(tmp_path):
    output = OutputFolder(tmp_path / "run")
    output.check({"batch": 8})
    output.open({"batch": 8})
    output.check({"batch": 4})  # nothing was saved yet
    output.write_state({"step": 1})
    output.check({"batch": 8})
    with pytest.raises(SettingError, match="holds a run with batch 8, not 4"):
        output.check({"batch": 4})


def test_a_state_of_unknown_origin_is_refused(tmp_path):
    OutputFolder(tmp_path).write_state({"step": 1})
    with pytest.raises(SettingError, match="unknown origin"):
        OutputFolder(tmp_path).check({})


def test_a_write_that_fails_leaves_the_old_state(tmp_path):
    output = OutputFolder(tmp_path)
    output.write_state({"step": 1})
    with pytest.raises(Exception, match="pickle"):
        output.write_state({"step": (lambda: 2)})
    assert output.read_state() == {"step": 1}


def test_a_full_disk_ends_the_run_in_a_sentence_and_leaves_the_old_state(tmp_path):
    output = OutputFolder(tmp_path)
    output.write_state({"step": 1})
    with room_for(5000), pytest.raises(OutputError, match=r"state\.pt cannot be written"):
        output.write_state({"step": torch.zeros(10_000)})
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]
    assert output.read_state() == {"step": 1}
    with room_for(10), pytest.raises(OutputError, match=r"log\.jsonl cannot be written"):
        output.log({"step": 1})


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(OutputError, match=r"run cannot be written \(File exists\)"):
        OutputFolder(tmp_path / "run").open({})


def test_what_a_killed_call_left_half_written_is_removed_when_the_run_goes_on(tmp_path):
    (tmp_path / ".weights.safetensors.7.part").write_bytes(b"half")
    OutputFolder(tmp_path).open({})
    assert [path.name for path in tmp_path.iterdir()] == ["options.json"]


def test_a_damaged_state_is_named(tmp_path):
    (tmp_path / "state.pt").write_bytes(b"half")
    with pytest.raises(CheckpointError, match=r"state\.pt cannot be read"):
        OutputFolder(tmp_path).read_state()


def test_log_lines_of_steps_to_be_done_again_are_dropped(tmp_path):
    output = OutputFolder(tmp_path)
    for step in (1, 2, 3):
        output.log({"step": step})
    with (tmp_path / "log.jsonl").open("a") as stream:
        stream.write('{"step": 4, "los')
    output.forget_log_after(2)
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2]
