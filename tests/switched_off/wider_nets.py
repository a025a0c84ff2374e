def without_widths(script, patch):
    patch.setattr(script, "WIDTHS", (25,) * 5)


OFF = [(without_widths, "the spread should narrow")]
