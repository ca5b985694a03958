"""The table of options, read from conf/: it says what each value may be, checks what was typed, and makes --help.

Each value in conf/ has its rule in the comment beside it, before a semicolon: `epochs: 6  # whole >= 0; of the training
videos`. `rule.py` explains how rules are written. A new option needs only its line in conf/.
"""

from twostream.options.rule import Rule, shown
from twostream.options.table import NO_VALUES, Finding, Value, check_plain, conf_folder, examine, read_table

__all__ = ["NO_VALUES", "Finding", "Rule", "Value", "check_plain", "conf_folder", "examine", "read_table", "shown"]
