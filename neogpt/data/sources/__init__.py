"""One file here is one data set, found by its name (`neogpt list sources`).

A source has a one-line docstring and one frozen dataclass, whose fields are its settings and whose methods read it.
It inherits from each class of `neogpt/data/source.py` that says what it gives: `HasDocuments` (pretrain),
`HasInstructions` (sft), `HasPairs` (dpo), `HasPrompts` and `ScoresAnswers` (rl), `Remote` (files that are fetched).

`bad` is the RowStats that counts the rows which cannot be used. A part is the path of a file wherever there is one
(see `input_files`), so that its content becomes part of the prepared data's key.
"""
