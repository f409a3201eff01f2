"""Tables of packages as sources: one package a line, its sha256 first."""

from training.corpus.recipe import Source


def pypi(table: str) -> tuple[Source, ...]:
    """Lines "sha256 name version licence", of source distributions."""
    return tuple(
        _source("pypi", row, file=f"{row[1].replace('-', '_')}-{row[2]}.tar.gz", licence=row[3])
        for row in _rows(table, 4)
    )


def npm(table: str) -> tuple[Source, ...]:
    """Lines "sha256 name version licence"."""
    return tuple(
        _source("npm", row, file=f"{row[1].lstrip('@').replace('/', '-')}-{row[2]}.tgz", licence=row[3])
        for row in _rows(table, 4)
    )


def debian(table: str, *, trust_licence: bool = False) -> tuple[Source, ...]:
    """Lines "sha256 name version ending licence", of upstream's archive of a source package, .orig.tar.ending."""
    found = []
    for row in _rows(table, 5):
        upstream = row[2].partition(":")[2] or row[2]
        file = f"{row[1]}_{upstream.rpartition('-')[0]}.orig.tar.{row[3]}"
        found.append(_source("debian", row, file=file, licence=row[4], trust_licence=trust_licence))
    return tuple(found)


def _source(kind: str, row: list[str], *, file: str, licence: str, trust_licence: bool = False) -> Source:
    return Source(
        kind=kind, name=row[1], version=row[2], licence=licence, file=file, sha256=row[0], trust_licence=trust_licence
    )


def _rows(table: str, columns: int) -> list[list[str]]:
    """The last column may have spaces: licences do."""
    return [line.split(maxsplit=columns - 1) for line in table.strip().splitlines()]
