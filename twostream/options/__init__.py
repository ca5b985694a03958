"""The one table of options: what conf/ says each value may be. It checks what was typed, and is shown by --help.

Each value in conf/ has its rule in the comment beside it, before a semicolon: `epochs: 6  # whole >= 0; of the training
videos`. `rule.py` explains how rules are written. A new option brings its own, and nothing else has to be told of it.
"""

from twostream.options.rule import Rule, shown
from twostream.options.table import NO_VALUES, Finding, Value, check_plain, conf_folder, examine, read_table

__all__ = ["NO_VALUES", "Finding", "Rule", "Value", "check_plain", "conf_folder", "examine", "read_table", "shown"]
