"""Which parts of a document are whole pieces of syntax: what a middle may cover, and where a long file may be cut."""

import re
from collections.abc import Iterator, Sequence
from functools import cache

from tree_sitter import Node

from training.corpus.document import Document
from training.corpus.languages.grammars import language, parse

_FIT = re.compile(
    r"""(statement|expression|expr|declaration|definition|declarator|specifier|invocation|call|assignment|await|yield
    |lambda|comprehension|subscript|attribute|attribute_item|operator|block|body|suite|clause|item|spec|section|switch_case
    |switch_default|arm|entry|getter|setter|constructor|initializer|arguments|argument_list|parameters|parameter_list
    |parameter|argument|pair|element|field|variant|list|dictionary|tuple|set|array|object|slice|literal|string|constructor_call
    |function|closure|macro_rule|element_declaration|signature|interface_type|struct_type|method_elem|condition|pattern
    |modifiers|annotation|decorator|generic_type|type_annotation|initialization|property|companion_object|template_string
    |switch_rule|switch_label|catch_block|finally_block|value_argument|value_arguments|as_pattern|with_item|accessor)$""",
    re.VERBOSE,
)
_UNFIT = re.compile(
    r"^(import_|preproc_(?!if|def)|access_specifier|storage_class_specifier|virtual_specifier)|_directive$"
)
_MEMBERS = re.compile(
    r"""^(class_definition|class_declaration|abstract_class_declaration|class|interface_declaration|enum_declaration
    |record_declaration|struct_declaration|annotation_type_declaration|object_declaration|companion_object
    |class_specifier|struct_specifier|union_specifier|namespace_definition|linkage_specification|template_declaration
    |namespace_declaration|mod_item|impl_item|trait_item|foreign_mod_item|export_statement|decorated_definition
    |internal_module|module|ambient_declaration|expression_statement|preproc_if|preproc_ifdef|preproc_else|preproc_elif
    |ERROR|class_body|interface_body|enum_body|enum_class_body|enum_body_declarations|declaration_list|field_declaration_list
    |block|statement_block|body)$""",
    re.VERBOSE,
)
_IMPORT = re.compile(r"^(import|use|using|package|preproc_include|future_import)|^extern_crate_declaration$")
_COMMENT = re.compile(r"comment$|^attribute_item$|^decorator$|^annotation$")
_BODIES = ("body", "block", "list", "declarations", "ERROR")
_BLANKS = b" \t\r\n\f"
_DEPTH = 6
"""How deep members are looked for: a class within a namespace within a conditional, each with its body."""


def middle_nodes(document: Document) -> Sequence[tuple[int, int]]:
    """Ranges of characters (start, end) that are whole statements, blocks, expressions, functions and the like.

    Ranges nest and are sorted. White space at their ends is not part of them. Left out are the document as a whole,
    nodes that are one token (names, numbers), comments, imports, and whatever holds a syntax error.

    Returns:
        Nothing where there is no grammar.
    """
    tree = parse(document)
    if tree is None:
        return ()
    fit, broken = _fit(tree.grammar), tree.root.has_error
    found = {
        node.byte_range
        for node in _with_children(tree.root)
        if node.kind_id in fit and node.named_child_count and not (broken and node.has_error)
    }
    source, whole = tree.source, _trimmed(tree.source, 0, len(tree.source))
    found = {item for item in found if item[0] < item[1]}
    blank = [item for item in found if source[item[1] - 1] in _BLANKS or source[item[0]] in _BLANKS]
    found.difference_update(blank)
    found.update(_trimmed(source, *item) for item in blank)
    found.discard(whole)
    ranges = sorted(item for item in found if item[0] < item[1])
    if source.isascii():
        return ranges
    starts, ends = zip(*ranges, strict=True) if ranges else ((), ())
    return list(zip(tree.characters(starts).tolist(), tree.characters(ends).tolist(), strict=True))


def split_points(document: Document) -> Sequence[int]:
    """Characters where a document that is too long may be cut: first those of top-level nodes, then those of members.

    A point stands before the comments, attributes and decorators that belong to a node, so that they stay with it,
    and after the white space before them. Both lists are sorted; 0 is not among them.

    Returns:
        Nothing where there is no grammar.
    """
    tree = parse(document)
    if tree is None:
        return ()
    top = list(_beginnings(tree.source, tree.root.children))
    members = sorted(set(_members(tree.source, tree.root)) - set(top) - {0})
    return tree.characters([*(offset for offset in top if offset), *members]).tolist()


def _with_children(root: Node) -> Iterator[Node]:
    """A root and the nodes below it that have children, by a walk: a query for them takes half as long again."""
    cursor = root.walk()
    down, aside, up = cursor.goto_first_child, cursor.goto_next_sibling, cursor.goto_parent
    while True:
        while down():
            pass
        while not aside():
            if not up():
                return
            if node := cursor.node:
                yield node


@cache
def _fit(grammar: str) -> frozenset[int]:
    """The kinds of nodes that may be a middle."""
    of = language(grammar)
    numbers = (number for number in range(of.node_kind_count) if of.node_kind_is_named(number))
    named = ((number, of.node_kind_for_id(number) or "") for number in numbers)
    return frozenset(number for number, kind in named if _FIT.search(kind) and not _UNFIT.search(kind))


def _trimmed(source: bytes, start: int, end: int) -> tuple[int, int]:
    """Some grammars end a node behind its line end, or begin it before its indentation."""
    while end > start and source[end - 1] in _BLANKS:
        end -= 1
    while start < end and source[start] in _BLANKS:
        start += 1
    return start, end


def _members(source: bytes, root: Node) -> Iterator[int]:
    level = [child for child in root.children if _MEMBERS.search(child.type)]
    for _ in range(_DEPTH):
        following = []
        for node in level:
            children = node.children
            if node.type.endswith(_BODIES) or node.type.startswith("preproc_"):
                yield from _beginnings(source, [child for child in children if child.is_named])
            following += [child for child in children if _MEMBERS.search(child.type)]
        level = following


def _beginnings(source: bytes, nodes: Sequence[Node]) -> Iterator[int]:
    """Where each node begins, or the comments right above it; of imports that follow each other, the first alone."""
    above: int | None = None
    last_end, last_is_import = 0, False
    for node in nodes:
        start, end = _trimmed(source, node.start_byte, node.end_byte)
        gap = source[last_end:start]
        is_first_in_line = not source[source.rfind(b"\n", 0, start) + 1 : start].strip()
        if above is not None and gap.count(b"\n") > 1:
            yield above  # a blank line: the comment stands for itself
            above = None
        if not _COMMENT.search(node.type):
            is_import = _IMPORT.search(node.type) is not None
            if (is_first_in_line or above is not None) and not (is_import and last_is_import):
                yield start if above is None else above
            above, last_is_import = None, is_import
        elif is_first_in_line and above is None:
            above = start
        last_end = end
    if above is not None:
        yield above
