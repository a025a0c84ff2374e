"""For each script of the gallery, how to switch its idea off and what the script then says.

A file has the script's name, and a table OFF of (switch_off(script, patch), message).
"""
