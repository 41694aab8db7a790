"""`inv cluster.manual`: the manual's own commands, beside what kubefab runs for them."""

from __future__ import annotations

from .common import Options, command, described, print_json, print_text


@command("env", "json", help={"reveal": "with the token, as the manual has it"})
def manual(*, reveal: bool = False, options: Options) -> None:
    """The manual's commands, by ID."""
    from ..legacy.commands import Manual
    from ..text.masking import mask
    from ..views.legacy import rendering

    environment, shown = described(options._replace(kubernetes="1.5")), (str if reveal else mask)
    if options.json:
        lines = Manual(environment).lines()
        data = [
            {"id": line.id, "manual": shown(line.text), "in_words": line.in_words, "kubefab": shown(line.run)}
            for line in lines
        ]
        print_json(data)
    else:
        print_text(shown(rendering(environment)))
