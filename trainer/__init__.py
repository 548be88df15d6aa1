"""Training, import, export and evaluation of the networks that `models` defines; nothing here is needed to anonymize."""
