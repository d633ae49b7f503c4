"""Contracts of import-linter that it does not bring: private modules, and circles.

A module whose name, or a folder of whose path, begins with an underscore may be imported only from within the folder
that holds it. No module may import itself by way of others.
"""

from graphlib import CycleError, TopologicalSorter

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, output


class PrivateModules(Contract):
    """Every import of a private module comes from within the package that the module lies in."""

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        wrong = sorted(
            (importer, imported)
            for imported in graph.modules
            if (owner := owner_of(imported))
            for importer in graph.find_modules_that_directly_import(imported)
            if importer != owner and not importer.startswith(f"{owner}.")
        )
        return ContractCheck(kept=not wrong, metadata={"wrong": wrong})

    def render_broken_contract(self, check: ContractCheck) -> None:
        for importer, imported in check.metadata["wrong"]:
            output.print_error(f"{importer} imports {imported}, which is private to {owner_of(imported)}")


def owner_of(module: str) -> str:
    """The package whose folder holds the first private name on the module's path; "" where none is private."""
    names = module.split(".")
    private = [
        place for place, name in enumerate(names) if name.startswith("_") and not name.startswith("__")
    ]
    return ".".join(names[: private[0]]) if private and names[0] == "neogpt" else ""


class NoCircles(Contract):
    """No module imports itself by way of others, inside a folder neither."""

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        order = TopologicalSorter(
            {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
        )
        try:
            order.prepare()
        except CycleError as error:
            return ContractCheck(kept=False, metadata={"circle": error.args[1]})
        return ContractCheck(kept=True)

    def render_broken_contract(self, check: ContractCheck) -> None:
        output.print_error(" is imported by ".join(check.metadata["circle"]))
