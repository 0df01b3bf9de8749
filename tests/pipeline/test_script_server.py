"""Claims about scripts that run in processes forked from one that has the package loaded."""

import os
import signal
from pathlib import Path

import pytest

from VAE_model.pipeline import script_server
from VAE_model.pipeline.script_server import ScriptServer


@pytest.fixture(scope="module", params=["forked", "new interpreter"])
def server(request):
    """On Linux scripts are forked; elsewhere each has a new interpreter."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(script_server, "_CAN_FORK", request.param == "forked")
        with ScriptServer({**os.environ, "SAID": "so", "OMP_NUM_THREADS": "2"}) as server:
            yield server


def result(server: ScriptServer, tmp_path: Path, text: str, *words: str) -> tuple[int, str, str]:
    """Exit code, output and errors of a script."""
    script, out, err = (tmp_path / name for name in ("script.py", "out", "err"))
    script.write_text(text)
    code = server.run([str(script), *words], out, err, timeout=60)
    return code, out.read_text(), err.read_text()


def test_a_script_has_its_arguments_folder_and_environment(server, tmp_path):
    (tmp_path / "beside.py").write_text("word = 'beside'")
    text = """
import atexit, os, sys
import beside
atexit.register(print, "the end")
print(__name__, sys.argv[1:], beside.word, os.environ["SAID"], repr(sys.stdin.read()))
os.environ["SAID"] = "otherwise"
"""
    for _ in range(2):  # one script leaves nothing for the next
        code, out, err = result(server, tmp_path, text, "--run", "a run")
        assert (code, err) == (0, "")
        assert out == "__main__ ['--run', 'a run'] beside so ''\nthe end\n"


@pytest.mark.parametrize(
    ("end", "code", "says"),
    [
        ("raise SystemExit", 0, ""),
        ("raise SystemExit(7)", 7, ""),
        ("raise SystemExit('error: no such file')", 1, "error: no such file"),
        ("raise ValueError('wrong')", 1, "ValueError: wrong"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL, ""),
    ],
)
def test_exit_codes_are_those_of_python(server, tmp_path, end, code, says):
    found, _, err = result(server, tmp_path, end)
    assert found == code and says in err
    assert result(server, tmp_path, "print(1)") == (0, "1\n", "")


def test_a_script_gets_objects_of_its_own_from_its_processes(server, tmp_path):
    text = """
from dataclasses import dataclass
from VAE_model.pipeline.parallel import each

@dataclass
class Found:
    number: int

def find(number):
    return Found(number)

if __name__ == "__main__":
    print(sum(one.number for one in each(find, range(100), 2)))
"""
    code, out, err = result(server, tmp_path, text)
    assert (code, out) == (0, "4950\n"), err


def test_a_script_computes_with_the_threads_of_its_environment(server, tmp_path):
    text = """
import numpy, torch
from sklearn.ensemble import HistGradientBoostingClassifier
a = torch.ones(600, 600)
print(torch.get_num_threads(), float((a @ a).sum()), torch.fft.rfft2(a.repeat(64, 1, 1)).shape[0])
print(numpy.ones((600, 600)).dot(numpy.ones(600)).sum())
x = numpy.arange(4000.0).reshape(-1, 2)
print(HistGradientBoostingClassifier(max_iter=2).fit(x, x[:, 0] > 2000).predict(x).shape[0])
"""
    code, out, err = result(server, tmp_path, text)
    assert (code, out) == (0, "2 216000000.0 64\n360000.0\n2000\n"), err
