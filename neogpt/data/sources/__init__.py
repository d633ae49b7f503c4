"""One file here is one data set, found by its name (`neogpt list sources`).

A source has a one-line docstring, a frozen dataclass `Config(SourceConfig)` with its options, and any of

    parts(config) -> list[str]                               independent pieces, in canonical order
    documents(config, part, bad) -> Iterator[Document]       text to pretrain on
    instructions(config, bad) -> Iterator[Instruction]       examples for SFT
    pairs(config, bad) -> Iterator[Pair]                     preferences for DPO
    expected(config) -> tuple[int, int] | None               about how many GPT-2 tokens, and bytes to download

`bad` is the RowStats that counts the rows which cannot be used. A part is the path of a file wherever there
is one (see `_files`), so that its content becomes part of the prepared data's key.
"""
