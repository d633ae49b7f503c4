"""House rules that no single room can see: layers, instant help, no pickle, the public names, small files."""

import ast
import inspect
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import neogpt
from neogpt import errors, plugins

sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))
import mutants
from training import flags

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "neogpt").rglob("*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LAYERS = PROJECT["tool"]["importlinter"]["contracts"][0]
NO_TORCH = PROJECT["tool"]["importlinter"]["contracts"][1]

# The promise to people who import neogpt. Growing it is a decision, shrinking it a breach.
PUBLIC = {
    "GPT2": None,
    "GPT2Config": ["n_layer", "n_head", "n_embd", "n_positions", "vocab_size"],
    "__version__": None,
    "generate": ["model", "tokenizer", "prompts"],
    "load": ["name"],
    "load_tokenizer": ["name"],
    "save": ["model", "tokenizer", "folder"],
}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def run_python(code: str) -> str:
    """What a fresh interpreter prints; a test that loaded torch already would prove nothing."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


# Layers


def test_every_room_has_its_place_in_the_layers() -> None:
    """A new folder that the contract does not list would be free to import anything."""
    listed = {room for layer in LAYERS["layers"] for room in re.findall(r"neogpt\.(\w+)", layer)}
    present = {path.stem if path.is_file() else path.name for path in (ROOT / "neogpt").iterdir()}
    rooms = {name for name in present if not name.startswith("_") and name not in ("version", "py")}
    assert rooms == listed


def test_the_rooms_without_torch_are_listed() -> None:
    floor = {
        "errors",
        "paths",
        "atomic",
        "fetch",
        "ledger",
        "plugins",
        "renamed",
        "config",
        "compared",
        "batching",
        "hardware",
        "outcomes",
    }
    floor |= {"retention", "records", "tinyworld", "tokenizer", "data", "plan"}
    assert {name.removeprefix("neogpt.") for name in NO_TORCH["source_modules"]} == floor
    assert NO_TORCH["forbidden_modules"] == ["torch"]


def test_options_are_read_without_torch() -> None:
    """What the command line reads of objectives and recipes, which the linter cannot see, knows no torch."""
    found = run_python(
        "import sys, neogpt\n"
        "from neogpt import plugins\n"
        "for package in ('neogpt.objectives', 'neogpt.recipes', 'neogpt.data.sources', 'neogpt.evals'):\n"
        "    for name in plugins.names(package): plugins.get(package, name)\n"
        "print(*sorted({'torch', 'transformers', 'matplotlib', 'pyarrow'} & sys.modules.keys()))"
    )
    assert found.split() == []


# Command line


def test_help_is_instant_because_it_loads_nothing_heavy() -> None:
    """`neogpt --help`, every command's help and `neogpt list`; benchmarks/help_speed.py times them."""
    found = run_python(
        "import contextlib, io, sys\n"
        "from neogpt import plugins\n"
        "from neogpt.cli.main import main\n"
        "commands = [name for name in plugins.names('neogpt.cli') if name != 'main']\n"
        "for args in [['--help'], ['list'], *([name, '--help'] for name in commands)]:\n"
        "    with contextlib.redirect_stdout(io.StringIO()) as shown:\n"
        "        try: code = main(args)\n"
        "        except SystemExit as stop: code = stop.code\n"
        "    assert not code and len(shown.getvalue()) > 100, (args, code, shown.getvalue())\n"
        "print(*sorted({'torch', 'transformers', 'matplotlib', 'pyarrow'} & sys.modules.keys()))"
    )
    assert found.split() == []


def test_training_loads_no_compiler_that_it_does_not_use(tmp_path: Path) -> None:
    """PyTorch's compiler takes 70 MB and more than a second; its own optimizers load it."""
    found = run_python(
        "import sys\n"
        "from neogpt.cli.main import main\n"
        f"assert main({['pretrain', 'tinyworld', '--run', str(tmp_path), *flags('pretrain', '--steps', '1')]}) == 0\n"
        "print('\\n' + str('torch._dynamo' in sys.modules), end='')"
    )
    assert found.splitlines()[-1] == "False"


def test_every_command_has_a_line_of_help() -> None:
    for name in plugins.names("neogpt.cli"):
        line = plugins.summary("neogpt.cli", name)
        assert 10 < len(line) <= 110, name


def test_exit_codes_are_those_that_the_documentation_lists() -> None:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
    codes = {kind.exit_code for kind in kinds if issubclass(kind, errors.NeoGPTError)} - {1}
    listed = re.findall(r"^\| (\d+) \|", (ROOT / "docs" / "index.md").read_text(), re.MULTILINE)
    assert {int(code) for code in listed} - {0, 1} == codes == {2, 3, 4, 5, 6, 7, 75}


# Security


def forbidden_calls(source: str) -> list[str]:
    """Every place in a module that could run what it reads: pickle, torch.load, eval, exec, a shell."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found += [f"import {n.name}" for n in names if n.name.split(".")[0] in BANNED_MODULES]
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] in BANNED_MODULES:
                found.append(f"from {module}")
            case ast.Call(func=ast.Name(id="eval" | "exec" | "compile" as name)):
                found.append(f"{name}()")
            case ast.Call(func=ast.Attribute(value=ast.Name(id=owner), attr=attribute)):
                found += [f"{owner}.{attribute}()"] * ((owner, attribute) in BANNED_CALLS)
            case ast.keyword(arg="shell" | "weights_only" | "allow_pickle" as name):
                found.append(f"{name}=")
            case ast.Attribute(value=ast.Attribute(attr="distributed"), attr="checkpoint"):
                found.append("torch.distributed.checkpoint")
    return found


BANNED_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
BANNED_CALLS = {("torch", "load"), ("torch", "save"), ("os", "system"), ("os", "popen"), ("np", "load")}


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_nothing_that_is_read_can_be_run(path: Path) -> None:
    assert forbidden_calls(path.read_text()) == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from pickle import loads",
        "torch.load(path)",
        "load_state(path, weights_only=True)",
        "eval(text)",
        "os.system('ls')",
        "subprocess.run('ls', shell=True)",
        "torch.distributed.checkpoint.load(state)",
    ],
)
def test_the_search_for_such_calls_finds_them(line: str) -> None:
    assert forbidden_calls(line)
    assert not forbidden_calls("model.eval(); tokenizer.load(path); 'pickle'")


# Python


def test_public_names_are_frozen() -> None:
    assert sorted(neogpt.__all__) == sorted(PUBLIC)
    for name, parameters in PUBLIC.items():
        value = getattr(neogpt, name)
        assert isinstance(value, str) or inspect.getdoc(value), name
        if parameters:
            found = list(inspect.signature(value).parameters)
            assert found[: len(parameters)] == parameters, name


def test_importing_neogpt_imports_no_torch() -> None:
    assert run_python("import sys, neogpt; print('torch' in sys.modules)").strip() == "False"


# Size and form


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_files_are_small_and_say_what_they_are_for(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 350
    assert path.name == "version.py" or ast.get_docstring(ast.parse(text)), "no docstring at the top"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_imports_inside_functions_say_why(path: Path) -> None:
    """A block of them says in its first line that it saves start-up time, or names the extra that brings it."""
    lines = path.read_text("utf-8").splitlines()
    functions = [node for node in ast.walk(ast.parse("\n".join(lines))) if isinstance(node, ast.FunctionDef)]
    inside = {
        node.lineno: node
        for function in functions
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    said_up_to = 0
    for number, node in sorted(inside.items()):
        goes_on = all(not line.strip() for line in lines[said_up_to : number - 1])
        says = re.search("start-up time|extra: ", lines[number - 1])
        assert says or (said_up_to and goes_on), f"{path}:{number}: {lines[number - 1].strip()}"
        said_up_to = node.end_lineno or number


# The faults that `make mutants` puts back


def test_every_mutant_still_finds_its_place() -> None:
    """A fault whose text is gone would be put back nowhere, and no test could be seen to notice it."""
    lost = [m.fault for m in mutants.MUTANTS if m.old not in (ROOT / m.file).read_text()]
    files = {word for m in mutants.MUTANTS for word in m.tests.split() if word.endswith(".py")}
    assert not lost
    assert all((ROOT / file).is_file() for file in files)
