def without_company(script, patch):
    patch.setattr(script, "KEEP", 1)


OFF = [(without_company, "together they should be better than the last alone")]
