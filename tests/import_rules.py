"""What a module of the package may import, read off its source: the drawing in the style guide as code.

Every import counts, those inside functions and for type checkers too, because each makes one file know another.
"""

import ast
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

PACKAGE = "keras_codegemma"

# Top to bottom. A module may import from its own row and from rows below. `__init__` stands outside: it names
# everything and imports nothing.
ROWS: tuple[frozenset[str], ...] = (
    frozenset({"__main__"}),
    frozenset({"cli"}),
    frozenset({"finetuning"}),
    frozenset({"evaluation", "serving", "hub", "dry_run"}),
    frozenset({"causal_lm"}),
    frozenset(
        {
            *("backbone", "preprocessor", "generation", "presets", "convert"),
            *("adapters", "batches", "beam_search", "completion", "decode_state", "example_encoder", "prompt_budget"),
            *("requests", "scoring", "settling", "trainer", "training_examples"),
        }
    ),
    frozenset({"layers", "sampling", "token_scores"}),
    frozenset(
        {
            *("quantization", "kernels", "cache", "tokenizer", "tensorflow_tokenizer", "vocabulary"),
            *("distribution", "sharding", "planning"),
        }
    ),
    frozenset({"axes", "config", "fim", "chat", "stopping", "neighbours", "user_cache", "heap"}),
)
APART = frozenset({"evaluation", "serving", "hub"})
"""Never import each other."""

PLAIN = frozenset({"fim", "chat", "stopping", "neighbours", "user_cache", "heap"})
"""Import nothing but the standard library and each other."""

KERAS_FREE = frozenset(
    {
        "axes",
        "kernels",
        "quantization",
        "sharding",
        "planning",
        "config",
        "fim",
        "chat",
        "stopping",
        "neighbours",
        "user_cache",
    }
)

HEAVY = frozenset({"tensorflow", "tensorflow_text", "torch", "transformers", "keras_hub", "keras_nlp"})
"""Left to the modules in `ALLOWED_HEAVY`, so that no inference path has them."""

ALLOWED_HEAVY: Mapping[str, frozenset[str]] = {
    "hub": frozenset({"keras_hub"}),
    "tensorflow_tokenizer": frozenset({"tensorflow", "tensorflow_text"}),
}
"""These modules themselves are imported inside functions only."""

DEVICE_CALLS = (
    "jax.device",
    "jax.local_device",
    "jax.default_backend",
    "jax.process_",
    "jax.random.",
    "jnp.",
    "jax.numpy.",
)
"""Beginnings of calls that start a JAX backend: queries, and whatever makes an array."""


@dataclass(frozen=True, kw_only=True)
class Import:
    """One imported name, dotted, with its line and whether the import runs when the module does."""

    name: str
    line: int
    at_import: bool


def imports(tree: ast.Module) -> Iterator[Import]:
    """Every import of a module; of `from a import b` the name is `a.b`. `import_module("a")` counts."""
    for node, at_import in _walk(tree, at_import=True):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(name=alias.name, line=node.lineno, at_import=at_import)
        elif isinstance(node, ast.ImportFrom):
            source = "." * node.level + (node.module or "")
            for alias in node.names:
                yield Import(name=f"{source}.{alias.name}", line=node.lineno, at_import=at_import)
        elif isinstance(node, ast.Call) and (name := _argument_of_import_module(node)):
            yield Import(name=name, line=node.lineno, at_import=at_import)


def violations(module: str, source: str, *, homes: Mapping[str, str]) -> list[str]:
    """What a module does against the rules, one sentence each.

    Args:
        module: dotted, as `keras_codegemma.layers.rotary`.
        source: its text.
        homes: the module of each public name of the package, as `CodeGemmaBackbone` -> `backbone`.
    """
    part = module.split(".")[1]
    tree = ast.parse(source)
    found = []
    for item in imports(tree):
        place = f"{module}:{item.line}"
        root, *rest = item.name.split(".")
        if root == "":
            found.append(f"{place} imports relatively; write the whole name.")
        elif root == PACKAGE:
            target = homes.get(rest[0], rest[0]) if rest else "__init__"
            if not target.startswith("__"):
                found += [f"{place} {reason}" for reason in _refused_inside(part, target, item)]
        else:
            found += [f"{place} {reason}" for reason in _refused_outside(part, root, item)]
    return found + [f"{module}:{line} calls {name} when it is imported." for line, name in _device_calls(tree)]


def _refused_inside(part: str, target: str, item: Import) -> Iterator[str]:
    rows = {name: index for index, row in enumerate(ROWS) for name in row}
    if part not in rows or target not in rows:
        yield f"imports {target}: {part if part not in rows else target} has no row in ROWS; give it one."
    elif rows[target] < rows[part]:
        yield f"imports {target}, which stands above {part}."
    elif part != target and {part, target} <= APART:
        yield f"imports {target}; {part} and {target} must stay apart."
    elif part in PLAIN and target not in PLAIN:
        yield f"imports {target}; {part} is plain Python."
    elif part != target and target in ALLOWED_HEAVY and item.at_import:
        heavy = " and ".join(sorted(ALLOWED_HEAVY[target]))
        yield f"imports {target}, which brings {heavy}, at module level; do it in the function that needs it."


def _refused_outside(part: str, root: str, item: Import) -> Iterator[str]:
    if root == "training":
        yield "imports training, which is not installed with the package."
    if root in HEAVY and root not in ALLOWED_HEAVY.get(part, ()):
        yield f"imports {root}, which only {[name for name, all in ALLOWED_HEAVY.items() if root in all]} may."
    if part in PLAIN and root not in sys.stdlib_module_names:
        yield f"imports {root}; {part} is plain Python."
    if part in KERAS_FREE and root == "keras":
        yield f"imports keras; {part} does without."


def _device_calls(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node, at_import in _walk(tree, at_import=True):
        if at_import and isinstance(node, ast.Call) and _dotted(node.func).startswith(DEVICE_CALLS):
            yield node.lineno, _dotted(node.func)


def _walk(node: ast.AST, *, at_import: bool) -> Iterator[tuple[ast.AST, bool]]:
    """Every node below, and whether it runs when the module is imported."""
    for child in ast.iter_child_nodes(node):
        deferred = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) or _for_type_checkers(child)
        yield child, at_import
        yield from _walk(child, at_import=at_import and not deferred)


def _for_type_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and _dotted(node.test).endswith("TYPE_CHECKING")


def _argument_of_import_module(call: ast.Call) -> str:
    if not _dotted(call.func).endswith("import_module") or not call.args:
        return ""
    argument = call.args[0]
    return argument.value if isinstance(argument, ast.Constant) and isinstance(argument.value, str) else ""


def _dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""
