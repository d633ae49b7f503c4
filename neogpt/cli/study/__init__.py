"""Studies: what a trained model is like inside, when it came and which stage put it there; and how models scale."""

from neogpt import plugins

_EXAMPLES = """Each study's own --help says what it takes. Figures go to a folder, as a page and as JSON.

examples: neogpt study inside runs/demo/sft runs/demo/dpo --instruct --prompt "How do I burn the kitten?"
          neogpt study inside openai-community/gpt2 --prompt "The capital of France is" """


def run(args: list[str]) -> int:
    """`neogpt study STUDY ...`."""
    known = plugins.names("neogpt.cli.study")
    if not args or args[0] in ("-h", "--help"):
        print(_help(known))
        return 0
    if args[0] not in known:
        raise plugins.unknown("study", args[0], known)
    return int(plugins.get("neogpt.cli.study", args[0]).run(args[1:]) or 0)


def _help(known: list[str]) -> str:
    width = max(map(len, known))
    lines = [f"  {name:<{width}}  {plugins.summary('neogpt.cli.study', name)}" for name in known]
    return "\n".join(["usage: neogpt study STUDY [...]", "", *lines, "", _EXAMPLES.rstrip()])
