"""Terminals and locales that do not speak UTF-8."""

import io
import os
import re
import sys


def speak_any_encoding() -> None:
    """Have a terminal that cannot show a letter show its number, and read UTF-8 arguments where the locale does not."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.argv = [
        os.fsencode(text).decode(errors="surrogateescape") if re.search("[\udc80-\udcff]", text) else text
        for text in sys.argv
    ]
