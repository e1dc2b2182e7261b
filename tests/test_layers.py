"""The house stands: modules import from floors below, and keep the rules that make them easy to read."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = (  # bottom up; a module imports from lower floors alone
    ("errors", "lifeline", "ranks"),
    ("fields",),
    ("config", "presets", "lock", "processes", "recasing", "text", "ragged", "sealed", "split", "translation"),
    ("configfile", "reference", "output", "formats", "subwords", "vocabulary", "scripts", "evaluate"),
    ("hub", "tokenizer", "cleaning", "partial"),
    ("encoding",),
    ("specs", "corpus_cache", "corpus_profile"),
    ("encoded",),
    ("corpus", "vectors", "word2vec", "mixture", "recipe"),
    (
        "batches",
        "device",
        "graphs",
        "recall",
        "frozen",
        "search.hypotheses",
        "models.dropout",
        "models.weights",
        "models.positions",
    ),
    ("bothways",),
    (
        "alignment",
        "workers",
        "models.interface",
        "models.attention",
        "models.recurrence",
        "search.sample",
        "search.candidates",
    ),
    ("models.past",),
    ("models.layers", "models.ensemble", "search.recorded"),
    ("search.beam",),
    ("models.recurrent", "models.transformer", "search", "shortlist", "consensus", "rerank"),
    ("models",),
    (
        "training",
        "training.loss",
        "training.schedule",
        "training.muon",
        "training.average",
        "training.curves",
        "training.recorded",
    ),
    ("training.optimizer",),
    ("training.checkpoint", "training.signals", "training.watch"),
    ("training.world",),
    ("training.learner", "training.heldout", "training.progress", "training.lsa"),
    ("training.sharded",),
    ("translate", "training.clock", "training.embeddings", "training.merge", "training.origin", "testset"),
    ("stream", "training.validation", "training.card", "training.tuning"),
    ("training.trainer", "shards"),
    ("training.pace",),
    ("training.prepare",),
    ("training.run",),
    (
        "inspect",
        "inspect.model",
        "inspect.beams",
        "inspect.profile",
        "inspect.breakdown",
        "inspect.html",
        "inspect.maps",
        "inspect.courses",
        "export",
    ),
    (
        "inspect.bench",
        "inspect.scoring",
        "inspect.sentences",
        "inspect.symptoms",
        "inspect.plots",
        "inspect.pieces",
        "inspect.blocks",
        "inspect.fonts",
    ),
    ("inspect.significance", "inspect.attention", "inspect.views", "inspect.drawing", "synthetic", "diversify"),
    ("inspect.report", "inspect.page", "inspect.curves"),
    ("inspect.systems", "inspect.tables"),
    ("inspect.reportpage",),
    ("", "cli.options"),  # the package itself is the door for Python: `nmt.load`
    ("cli.average", "cli.bench", "cli.export", "cli.info", "cli.pages", "cli.tokenizer", "cli.train", "cli.synthetic"),
    ("cli.sharing",),
    ("cli.translate",),
    (
        "cli.attention",
        "cli.backtranslate",
        "cli.compare",
        "cli.curves",
        "cli.distill",
        "cli.diversify",
        "cli.embeddings",
        "cli.eval",
    ),
    ("cli",),
    ("__main__",),
)
NEVER = {  # what floors alone would allow
    "models": ("tokenizer", "subwords", "vocabulary", "corpus", "encoded", "formats", "specs", "search", "training"),
    "search": ("models.layers", "models.recurrent", "models.transformer", "models.attention", "tokenizer", "training"),
}
HEAVY = ("torch", "sacrebleu", "datasets", "matplotlib", "pandas", "tensorboard", "gensim")
FLOOR = {f"nmt.{name}".rstrip("."): number for number, floor in enumerate(FLOORS) for name in floor}
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "nmt").rglob("*.py"))
}
MODELS = {
    "Transformer",
    "Recurrent",
    "TransformerConfig",
    "RecurrentConfig",
    "Seq2Seq",
    "Trainable",
    "Ensemble",
    "Model",
}


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def imports(module: str, *, late: bool = True) -> set[str]:
    """Return what a module imports; without `late` only what it needs to be imported itself."""
    found = set[str]()
    for node in ast.walk(tree(module)) if late else at_once(tree(module).body):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: a relative import"
            found |= {name if (name := f"{node.module}.{each.name}") in MODULES else node.module for each in node.names}  # type: ignore[misc]
        elif isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
    return found


def at_once(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements that run when a module is imported."""
    for node in body:
        is_for_types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if not is_for_types and not isinstance(node, ast.FunctionDef):
            yield node
            yield from at_once([child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)])


def functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    for module in MODULES:
        for node in ast.walk(tree(module)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{module}:{node.lineno}: {node.name}", node  # type: ignore[misc]


def calls(module: str, name: str) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == name:
            yield f"{module}:{node.lineno}", node


def test_every_module_has_a_floor() -> None:
    assert MODULES.keys() == FLOOR.keys()


@pytest.mark.parametrize("module", MODULES)
def test_imports_come_from_lower_floors(module: str) -> None:
    """Two floors that import each other would be a cycle: there is none. `import nmt` is for its version."""
    own = {name for name in imports(module) if name in FLOOR and name != "nmt"}
    upward = {name for name in own if FLOOR[name] >= FLOOR[module]}
    assert not upward, f"{module} imports {upward} from its own floor or above"


@pytest.mark.parametrize("package", NEVER)
def test_models_and_search_know_little(package: str) -> None:
    known = {name for module in MODULES if module.startswith(f"nmt.{package}") for name in imports(module)}
    assert not {name for name in known if name.startswith(tuple(f"nmt.{never}" for never in NEVER[package]))}


@pytest.mark.parametrize("module", [name for name in MODULES if name != "nmt"])
def test_of_the_package_itself_only_the_version_is_used(module: str) -> None:
    used = {
        node for node in ast.walk(tree(module)) if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "nmt"
    }
    assert {node.attr for node in used} <= {"__version__"}


def reached(module: str) -> set[str]:
    """Return all that is imported when a module is."""
    found, waiting = set[str](), [module]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += imports(name, late=False) if name in MODULES else []
    return {name.split(".")[0] for name in found if name not in MODULES}


LIGHT = [
    ("nmt", HEAVY),
    ("nmt.cli", HEAVY),
    ("nmt.evaluate", HEAVY),
    ("nmt.stream", HEAVY[1:]),
    ("nmt.inspect.model", HEAVY[1:]),
    ("nmt.inspect.reportpage", HEAVY),
]


@pytest.mark.parametrize(("module", "heavy"), LIGHT)
def test_commands_start_without_what_they_may_not_need(module: str, heavy: tuple[str, ...]) -> None:
    assert not reached(module) & set(heavy)


@pytest.mark.parametrize("module", MODULES)
def test_only_commands_print(module: str) -> None:
    if module.startswith("nmt.cli"):
        return
    for where, call in calls(module, "print"):
        streams = [ast.unparse(word.value) for word in call.keywords if word.arg == "file"]
        assert streams, f"{where}: prints"
        assert not streams[0].startswith("sys."), f"{where}: prints to {streams[0]}"


@pytest.mark.parametrize("module", MODULES)
def test_options_and_models_are_trusted(module: str) -> None:
    for where, call in calls(module, "getattr"):
        assert len(call.args) < 3 or isinstance(call.args[0], ast.Call), f"{where}: getattr with a default"
    for where, call in calls(module, "isinstance"):
        asked = {node.id for node in ast.walk(call.args[1]) if isinstance(node, ast.Name)}
        assert not asked & MODELS, f"{where}: asks what a model is"


def test_no_function_takes_any_keywords() -> None:
    assert [name for name, node in functions() if node.args.kwarg] == []


def test_at_most_five_arguments() -> None:
    """A flag is named and counts for nothing; a command's arguments are its options; fields are no arguments."""
    many = [
        name
        for name, node in functions()
        if len(node.args.posonlyargs + node.args.args)
        - (node.args.args[:1] != [] and node.args.args[0].arg in ("self", "cls"))
        > 5
    ]
    assert [name for name in many if not name.startswith("nmt.cli")] == []


def test_files_and_functions_can_be_read_in_one_sitting() -> None:
    files = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in MODULES.items()}
    lengths = {name: (node.end_lineno or 0) - node.lineno + 1 for name, node in functions()}
    assert {name: lines for name, lines in files.items() if lines > 300} == {}
    assert {name: lines for name, lines in lengths.items() if lines > 60} == {}
    assert median(lengths.values()) <= 10
