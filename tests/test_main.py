"""One program runs every command, teaches by example, and says in one sentence what it does not have."""

import subprocess
import sys

import pytest

from dynamicvit import __version__
from dynamicvit.__main__ import COMMANDS, main


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_names_every_command_and_shows_how_it_is_called(arguments, capsys):
    main(arguments)
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in COMMANDS)
    assert "dynamicvit analyze cat.jpg" in text


def test_version_is_that_of_the_library(capsys):
    main(["--version"])
    assert capsys.readouterr().out == f"dynamicvit {__version__}\n"


def test_an_unknown_command_is_refused_with_the_known_ones():
    with pytest.raises(SystemExit, match="no command 'anlyze'; choose one of app, analyze"):
        main(["anlyze"])


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name, capsys):
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    assert "usage: " in capsys.readouterr().out


def test_a_command_whose_library_is_missing_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "dynamicvit.app.main", None)  # as if importing it failed
    monkeypatch.setitem(COMMANDS, "app", ("no_such_module_of_ours:main", ""))
    with pytest.raises(ModuleNotFoundError, match="no_such_module_of_ours"):
        main(["app"])
    blocked = "import sys; sys.modules['gradio'] = None; from dynamicvit.__main__ import main; main(['app'])"
    done = subprocess.run([sys.executable, "-c", blocked], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stderr.strip() == "dynamicvit app needs gradio; install it: pip install 'dynamicvit[app,train]'"


def test_help_is_quick_because_it_loads_no_torch():
    code = "import sys; from dynamicvit.__main__ import main; main(['--help']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=120).returncode == 0
