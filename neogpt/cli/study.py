"""Study a model, or training itself: scaling laws (`neogpt study scaling`)."""

from neogpt import plugins
from neogpt.errors import ConfigError

_ROOM = "neogpt.studies"
_USAGE = """usage: neogpt study NAME [...]        neogpt study NAME --help

{studies}
"""


def run(args: list[str]) -> int:
    """`neogpt study NAME ...`: the `command` of that study's folder."""
    known = plugins.names(_ROOM)
    if args and args[0] in ("-h", "--help"):
        width = max(map(len, known))
        rows = [f"  {name:<{width}}  {plugins.summary(_ROOM, name)}" for name in known]
        print(_USAGE.format(studies="\n".join(rows)))
        return 0
    if not args:
        raise ConfigError(
            "neogpt study needs the name of a study", f"one of {', '.join(known)}", code="study.no_name"
        )
    if args[0] not in known:
        raise plugins.unknown("study", args[0], known)
    folder = f"{_ROOM}.{args[0].replace('-', '_')}"
    return int(plugins.get(folder, "command").run(args[1:]))
