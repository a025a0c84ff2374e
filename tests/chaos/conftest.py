"""Without fork only the tests themselves are looked at; they say that they are skipped."""
import os

collect_ignore_glob = [] if hasattr(os, "fork") else ["[!t]*.py"]
