"""Fit a scaling law to a table of runs, draw IsoFLOP parabolas, train a grid of runs for the law."""


def run(args: list[str]) -> int:
    """`neogpt study scaling [isoflop|grid] ...`."""
    from neogpt.studies.scaling import command  # start-up time

    return command.run(args)
