"""TOML and `key=value` in, typed frozen settings out, and back again to the same bytes.

A recipe that is read wrongly is a wasted run, so nothing is guessed: an unknown key names its path and the nearest
right one, a value of the wrong kind names its rule, and only TOML is read (it cannot run code). A table of settings
changes the keys that it names; the others keep their defaults, those of the recipe before those of the table's class.
A plain mapping (`filters`) takes the place of its default.

TOML has no null. The word `"none"` stands for it in every field that may be `None`: `train.clip=none`.
"""

from modeledge.config.read import load_config, load_values, read_toml
from modeledge.config.settings import Settings
from modeledge.config.write import to_toml

__all__ = ["Settings", "load_config", "load_values", "read_toml", "to_toml"]
