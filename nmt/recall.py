"""What the recipe has chosen for a run holds when the run goes on, but for what is given anew and what follows."""

from __future__ import annotations

from collections.abc import Mapping

from nmt.config import Config
from nmt.configfile import build_config, dump_config
from nmt.recipe import given_options

TUNABLE = "length_penalty", "beam_size"
BEST = "the best BLEU on validation pairs"  # the reason for what was found by tuning


def recall(config: Config, chosen: Config, reasons: Mapping[str, str]) -> tuple[Config, dict[str, str]]:
    """Return the config of a run that was `chosen` before, changed by what `config` is given now, and what still holds.

    With more passes, or else a longer time, it is trained for as many steps more, if their number is not given; should
    there be no time for all of them, the clock ends the plan. What was tuned is tuned anew, unless it is given.
    """
    before, given = dump_config(chosen), config.model_dump(mode="json", exclude_unset=True)
    hold = {key: reason for key, reason in reasons.items() if key not in given_options(config)}
    for option in TUNABLE:
        if option in given.get("search", {}):
            before["training"][f"tune_{option}"] = False
            hold.pop(f"training.tune_{option}", None)
        elif hold.get(f"search.{option}") == BEST:
            del before["search"][option], hold[f"search.{option}"]
    if given.get("model", {}).get("type", chosen.model.type) != chosen.model.type:
        before.pop("model")
    tree = {name: {**before.get(name, {}), **given.get(name, {})} for name in {**before, **given}}
    old, new = chosen.training, config.training
    limits = (old.max_epochs, new.max_epochs), (old.max_time, new.max_time)
    more = next((now / then for then, now in limits if then and now and now > then), 1)
    if more > 1 and "max_steps" not in new.model_fields_set:
        tree["training"]["max_steps"] = round(old.max_steps * more)
        if "training.max_steps" in hold:
            hold["training.max_steps"] = f"{more:.3g} times as many as before, as the limit is"
    return build_config(tree), hold
